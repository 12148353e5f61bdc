//! Fields of JSON: what [`crate::lower`] makes of `->`, `->>`, CONTAINS and comparisons with them.
//!
//! | function | gives |
//! |---|---|
//! | `__json_get(json, key)` | the value as JSON; NULL if there is none or it is null |
//! | `__json_text(json, key)` | the same as text, a string without its quotes |
//! | `__json_string`, `__json_number`, `__json_bool` | the value if it is of that kind, NULL otherwise |
//! | `__json_has(json, key)` | whether there is one, also null |
//! | `pg_json_path(json, path)`, `pg_json_path_text` | what `#>` and `#>>` give |
//!
//! JSON that comes out is cut out of the text as it was written.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringBuilder};
use arrow::compute::cast;
use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::ScalarUDF;
use model::error;
use serde_json::Value;

use super::arrays::parse_array;
use super::scalar::{Cell, Scalar, external, text};
use super::whole::Whole;
use crate::catalogs::relations::field;
use crate::pgtype::PgType;

/// Every function of this file.
pub(super) fn functions() -> Vec<ScalarUDF> {
    let scalars = vec![
        Scalar::new("__json_get", "tt", PgType::JSON, |_, args| {
            let found = step(text(&args[0])?, text(&args[1])?).map(str::trim);
            Ok(found.filter(|found| *found != "null").map_or(Cell::Null, Cell::from))
        }),
        Scalar::new("__json_text", "tt", PgType::TEXT, |_, args| {
            let found = step(text(&args[0])?, text(&args[1])?);
            Ok(found.and_then(|found| shown(found, true)).map_or(Cell::Null, Cell::Text))
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
    let paths = vec![
        Whole::udf("pg_json_path", |of| returned(of, "#>", None), |_, args, count, _| followed(args, count, false)),
        Whole::udf(
            "pg_json_path_text",
            |of| returned(of, "#>>", Some(PgType::TEXT)),
            |_, args, count, _| followed(args, count, true),
        ),
    ];
    scalars.into_iter().map(Scalar::udf).chain(paths).collect()
}

fn returned(fields: &[FieldRef], operator: &str, returns: Option<PgType>) -> Result<FieldRef> {
    let [left, _] = fields else { return plan_err!("{operator} has two sides") };
    let pg = if PgType::of(left) == PgType::JSONB { PgType::JSONB } else { PgType::JSON };
    Ok(Arc::new(field("?column?", returns.unwrap_or(pg), true)))
}

/// The field of an object, or the item of an array whose number the key is.
fn step<'a>(json: &'a str, key: &str) -> Option<&'a str> {
    let json = json.trim_start();
    if json.starts_with('[') { member(json, key.trim().parse().ok()?) } else { value_of(json, key) }
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

fn followed(args: &[ArrayRef], count: usize, as_text: bool) -> Result<ArrayRef> {
    let texts = cast(&args[0], &DataType::Utf8)?;
    let texts = texts.as_string::<i32>();
    let mut out = StringBuilder::with_capacity(count, count * 16);
    for row in 0..count {
        if texts.is_null(row) || args[1].is_null(row) {
            out.append_null();
            continue;
        }
        let mut found = Some(texts.value(row).trim());
        for next in path(&args[1], row)? {
            found = found.zip(next).and_then(|(json, key)| step(json, &key));
        }
        out.append_option(found.and_then(|found| shown(found, as_text)));
    }
    Ok(Arc::new(out.finish()))
}

/// The steps of a path: an array of texts, or the text of one.
fn path(array: &ArrayRef, row: usize) -> Result<Vec<Option<String>>> {
    if let DataType::List(_) = array.data_type() {
        let steps = cast(&array.as_list::<i32>().value(row), &DataType::Utf8)?;
        return Ok(steps.as_string::<i32>().iter().map(|step| step.map(str::to_owned)).collect());
    }
    parse_array(cast(array, &DataType::Utf8)?.as_string::<i32>().value(row))
}

/// A value as it stands, or as text: a string without quotes, nothing for null.
fn shown(json: &str, as_text: bool) -> Option<String> {
    let json = json.trim();
    match json.as_bytes().first() {
        Some(b'"') if as_text => serde_json::from_str(json).ok(),
        Some(b'n') if as_text => None,
        _ => Some(json.to_owned()),
    }
}

/// Past the value that begins at `at`. The text was checked when it became JSON.
fn skip(text: &[u8], mut at: usize) -> usize {
    let mut depth = 0_usize;
    while let Some(byte) = text.get(at) {
        match byte {
            b'"' => at = string_end(text, at),
            b'{' | b'[' => {
                depth += 1;
                at += 1;
            }
            b'}' | b']' if depth == 0 => return at,
            b'}' | b']' => {
                depth -= 1;
                at += 1;
            }
            b',' if depth == 0 => return at,
            _ => at += 1,
        }
    }
    at
}

/// Past the string whose quote is at `at`.
fn string_end(text: &[u8], at: usize) -> usize {
    let mut at = at + 1;
    while let Some(byte) = text.get(at) {
        match byte {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    text.len()
}

fn space(text: &[u8], mut at: usize) -> usize {
    while text.get(at).is_some_and(u8::is_ascii_whitespace) {
        at += 1;
    }
    at
}

/// The value of a key of an object; of equal keys the last, as in PostgreSQL.
fn value_of<'a>(json: &'a str, key: &str) -> Option<&'a str> {
    let text = json.as_bytes();
    let mut at = space(text, 0);
    if text.get(at) != Some(&b'{') {
        return None;
    }
    let mut found = None;
    at += 1;
    loop {
        at = space(text, at);
        if text.get(at) != Some(&b'"') {
            return found;
        }
        let end = string_end(text, at);
        let name: String = serde_json::from_str(json.get(at..end)?).ok()?;
        at = space(text, end);
        if text.get(at) != Some(&b':') {
            return found;
        }
        let value = at + 1;
        at = skip(text, value);
        if name == key {
            found = json.get(value..at);
        }
        if text.get(at) == Some(&b',') {
            at += 1;
        }
    }
}

/// A member of an array: from 0, or from its end for a negative number.
fn member(json: &str, index: i64) -> Option<&str> {
    let text = json.as_bytes();
    let mut at = space(text, 0);
    if text.get(at) != Some(&b'[') {
        return None;
    }
    at += 1;
    let mut members = Vec::new();
    if text.get(space(text, at)) == Some(&b']') {
        return None;
    }
    while at < text.len() {
        let end = skip(text, at);
        members.push(json.get(at..end)?);
        if text.get(end) != Some(&b',') {
            break;
        }
        at = end + 1;
    }
    let count = i64::try_from(members.len()).ok()?;
    let at = if index < 0 { count.checked_add(index)? } else { index };
    members.get(usize::try_from(at).ok()?).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_cut_out_as_they_were_written() {
        let json = r#"{"a": {"b" : [1, "x,]}", null]}, "c":"q\"uo", "a2":1, "a2": 2}"#;
        assert_eq!(value_of(json, "a").map(str::trim), Some(r#"{"b" : [1, "x,]}", null]}"#));
        assert_eq!(value_of(json, "a2").map(str::trim), Some("2"));
        assert_eq!(value_of(json, "none"), None);
        let list = value_of(value_of(json, "a").unwrap(), "b").unwrap();
        assert_eq!(member(list, 1).and_then(|of| shown(of, true)).as_deref(), Some("x,]}"));
        assert_eq!(member(list, -1).and_then(|of| shown(of, true)), None);
        assert_eq!(member(list, -1).and_then(|of| shown(of, false)).as_deref(), Some("null"));
        assert_eq!(member(list, 3), None);
        assert_eq!(member("[]", 0), None);
        assert_eq!(value_of(json, "c").and_then(|of| shown(of, true)).as_deref(), Some("q\"uo"));
    }

    #[test]
    fn broken_text_is_survived() {
        for text in ["", "{", "{\"a", "{\"a\":", "[", "[1", "[1,", "{\"a\":\"\\"] {
            let _ = (value_of(text, "a"), member(text, 0), member(text, -1));
        }
    }
}
