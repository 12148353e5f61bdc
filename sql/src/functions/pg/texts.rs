//! Casts to the types that are text here: `varchar(n)`, `char(n)`, `json`, `uuid`. [`crate::compat`] puts them in.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, StringBuilder};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type};
use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::ScalarUDF;
use model::error;

use super::scalar::{Call, external};
use super::text::show;
use super::whole::Whole;
use crate::catalogs::relations::field;
use crate::pgtype::PgType;
use crate::pgvalue::decode;

/// Every function of this file.
pub(super) fn functions() -> Vec<ScalarUDF> {
    vec![
        Whole::udf("pg_varchar", |_| typed(PgType::VARCHAR), |call, args, count, _| limited(call, args, count, false)),
        Whole::udf("pg_bpchar", |_| typed(PgType::BPCHAR), |call, args, count, _| limited(call, args, count, true)),
        Whole::udf(
            "pg_json",
            |of| checked_type(of, PgType::JSON),
            |call, args, count, _| read(call, args, count, PgType::JSON),
        ),
        Whole::udf(
            "pg_jsonb",
            |of| checked_type(of, PgType::JSONB),
            |call, args, count, _| read(call, args, count, PgType::JSONB),
        ),
        Whole::udf(
            "pg_uuid",
            |of| checked_type(of, PgType::UUID),
            |call, args, count, _| read(call, args, count, PgType::UUID),
        ),
    ]
}

fn typed(pg: PgType) -> Result<FieldRef> {
    Ok(Arc::new(field(pg.name, pg, true)))
}

fn checked_type(fields: &[FieldRef], pg: PgType) -> Result<FieldRef> {
    let Some(given) = fields.first() else { return plan_err!("a cast has a value") };
    if !(given.data_type().is_string() || given.data_type().is_null()) {
        let (from, to) = (crate::plan::types::type_name(PgType::of(given)), pg.name);
        return Err(external(error!(CannotCoerce, "cannot cast type {from} to {to}")));
    }
    typed(pg)
}

/// Text cut to a length; `padded` to it too. A cast cuts without asking, unlike an INSERT.
fn limited(call: &Call<'_>, args: &[ArrayRef], count: usize, padded: bool) -> Result<ArrayRef> {
    let length = match args.get(1) {
        Some(length) => cast(length, &DataType::Int64)?.as_primitive::<Int64Type>().iter().next().flatten(),
        None => None,
    };
    let length = length.map(|length| usize::try_from(length).unwrap_or(usize::MAX));
    let of = call.fields.first().map_or_else(|| Arc::new(Field::new("text", DataType::Utf8, true)), Arc::clone);
    let mut out = StringBuilder::with_capacity(count, count * 8);
    for row in 0..count {
        let Some(mut text) = show(call, &args[0], &of, row)? else {
            out.append_null();
            continue;
        };
        if let Some(length) = length {
            if let Some((end, _)) = text.char_indices().nth(length) {
                text.truncate(end);
            }
            if padded {
                let missing = length.saturating_sub(text.chars().count()).min(10_485_760);
                text.extend(std::iter::repeat_n(' ', missing));
            }
        }
        out.append_value(text);
    }
    Ok(Arc::new(out.finish()))
}

/// Text that is a value of its type, as it is.
fn read(call: &Call<'_>, args: &[ArrayRef], count: usize, pg: PgType) -> Result<ArrayRef> {
    let texts = cast(&args[0], &DataType::Utf8)?;
    let settings = super::text::settings(call)?;
    let mut out = StringBuilder::with_capacity(count, count * 16);
    for text in texts.as_string::<i32>() {
        match text {
            Some(text) => {
                let value = decode(pg, false, text.as_bytes(), &settings).map_err(external)?;
                out.append_value(value.try_as_str().flatten().unwrap_or(text));
            }
            None => out.append_null(),
        }
    }
    Ok(Arc::new(out.finish()))
}
