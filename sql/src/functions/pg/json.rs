//! Fields of JSON: what [`crate::lower`] makes of `->`, `->>`, CONTAINS and comparisons with them.
//!
//! | function | gives |
//! |---|---|
//! | `__json_get(json, key)` | the value as JSON; NULL if there is none or it is null |
//! | `__json_text(json, key)` | the same as text, a string without its quotes |
//! | `__json_string`, `__json_number`, `__json_bool` | the value if it is of that kind, NULL otherwise |
//! | `__json_has(json, key)` | whether there is one, also null |

use datafusion::common::Result;
use datafusion::logical_expr::ScalarUDF;
use model::error;
use serde_json::Value;

use super::scalar::{Cell, Scalar, external, text};
use crate::pgtype::PgType;

/// Every function of this file.
pub(super) fn functions() -> Vec<ScalarUDF> {
    let scalars = vec![
        Scalar::new("__json_get", "tt", PgType::JSON, |_, args| with(args, |value| Some(value.to_string().into()))),
        Scalar::new("__json_text", "tt", PgType::TEXT, |_, args| {
            with(args, |value| match value {
                Value::String(text) => Some(text.into()),
                other => Some(other.to_string().into()),
            })
        }),
        Scalar::new("__json_string", "tt", PgType::TEXT, |_, args| {
            with(args, |value| if let Value::String(text) = value { Some(text.into()) } else { None })
        }),
        Scalar::new("__json_number", "tt", PgType::FLOAT8, |_, args| {
            with(args, |value| value.as_f64().map(Cell::Float))
        }),
        Scalar::new("__json_bool", "tt", PgType::BOOL, |_, args| with(args, |value| value.as_bool().map(Cell::Bool))),
        Scalar::new("__json_has", "tt", PgType::BOOL, |_, args| {
            let has = match (read(&args[0])?, text(&args[1])?) {
                (Value::Object(fields), key) => fields.contains_key(key),
                (Value::Array(items), key) => items.iter().any(|item| item.as_str() == Some(key)),
                (Value::String(own), key) => own == key,
                _ => false,
            };
            Ok(Cell::Bool(has))
        }),
    ];
    scalars.into_iter().map(Scalar::udf).collect()
}

fn read(json: &Cell) -> Result<Value> {
    serde_json::from_str(text(json)?)
        .map_err(|_| external(error!(InvalidTextRepresentation, "invalid input syntax for type json")))
}

/// What `of` makes of the field, or of the item of an array whose number the key is; counted from the end below zero.
fn with(args: &[Cell], of: impl Fn(Value) -> Option<Cell>) -> Result<Cell> {
    let key = text(&args[1])?;
    let found = match read(&args[0])? {
        Value::Object(mut fields) => fields.remove(key),
        Value::Array(mut items) => {
            let at = key.parse::<i64>().ok().map(|at| if at < 0 { at + items.len() as i64 } else { at });
            let at = at.and_then(|at| usize::try_from(at).ok()).filter(|at| *at < items.len());
            at.map(|at| items.swap_remove(at))
        }
        _ => None,
    };
    Ok(found.filter(|value| !value.is_null()).and_then(of).unwrap_or(Cell::Null))
}
