//! Literals of times that PostgreSQL reads and Arrow does not: `'1 day 02:03:04'`, `'2017-03-01 12:00'`, `'05 Dec 2000'`.
//!
//! What Arrow reads as PostgreSQL would is left alone. The session's time zone is not known here, so a literal that needs it
//! becomes a call that is folded when the query is planned.

use arrow::compute::kernels::cast_utils::string_to_datetime;
use chrono::Utc;
use datafusion::scalar::ScalarValue;
use sqlparser::ast::{DataType, Expr, Interval, TimezoneInfo, TypedString, Value};

use super::build::{call, literal, text};
use crate::pgtype::PgType;
use crate::pgvalue::{ValueSettings, decode};

/// `INTERVAL '1 day 02:03:04'`, with the text in units that DataFusion knows.
pub(super) fn interval(of: &mut Interval) {
    if of.leading_field.is_some() {
        return;
    }
    if let Some(plain) = literal(&of.value).and_then(plain_interval) {
        *of.value = text(&plain);
    }
}

/// The same length in months, days and seconds.
fn plain_interval(given: &str) -> Option<String> {
    let value = decode(PgType::INTERVAL, false, given.as_bytes(), &ValueSettings::default()).ok()?;
    let ScalarValue::IntervalMonthDayNano(Some(of)) = value else { return None };
    let sign = if of.nanoseconds < 0 { "-" } else { "" };
    let (seconds, nanos) =
        (of.nanoseconds.unsigned_abs() / 1_000_000_000, of.nanoseconds.unsigned_abs() % 1_000_000_000);
    Some(format!("{} months {} days {sign}{seconds}.{nanos:09} seconds", of.months, of.days))
}

/// `TIMESTAMP '2017-03-01 12:00'`.
pub(super) fn typed(of: &TypedString) -> Option<Expr> {
    match &of.value.value {
        Value::SingleQuotedString(given) => moment(given, &of.data_type),
        _ => None,
    }
}

/// `'2017-03-01 12:00'::timestamp`, `'1 day 02:03:04'::interval`.
pub(super) fn cast(inner: &Expr, data_type: &DataType) -> Option<Expr> {
    let given = literal(inner)?;
    if let DataType::Interval { .. } = data_type {
        return Some(Expr::Interval(Interval {
            value: Box::new(text(&plain_interval(given)?)),
            leading_field: None,
            leading_precision: None,
            last_field: None,
            fractional_seconds_precision: None,
        }));
    }
    moment(given, data_type)
}

fn moment(given: &str, data_type: &DataType) -> Option<Expr> {
    let function = match data_type {
        DataType::Timestamp(_, TimezoneInfo::WithTimeZone | TimezoneInfo::Tz) => "pg_timestamptz",
        DataType::Timestamp(..) => "pg_timestamp",
        DataType::Date => "to_date",
        _ => return None,
    };
    string_to_datetime(&Utc, given).is_err().then(|| call(function, vec![text(given)]))
}
