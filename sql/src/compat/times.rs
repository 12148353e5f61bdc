//! Literals of times that PostgreSQL reads and Arrow does not: `'1 day 02:03:04'`, `'2017-03-01 12:00'`, `'05 Dec 2000'`.
//!
//! What Arrow reads as PostgreSQL would is left alone. The session's time zone is not known here, so a literal that needs it
//! becomes a call that is folded when the query is planned.

use arrow::compute::kernels::cast_utils::string_to_datetime;
use arrow::datatypes::IntervalMonthDayNano;
use chrono::Utc;
use datafusion::scalar::ScalarValue;
use sqlparser::ast::{BinaryOperator, CastKind, DataType, Expr, Interval, TimezoneInfo, TypedString, Value};

use super::build::{call, literal, number, text};
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

/// The interval that goes the other way; None if it is not a literal in one of PostgreSQL's forms.
pub(super) fn negated(of: &Interval) -> Option<Interval> {
    if of.leading_field.is_some() {
        return None;
    }
    let length = length_of(literal(&of.value)?)?;
    let (months, days) = (length.months.checked_neg()?, length.days.checked_neg()?);
    let turned = IntervalMonthDayNano::new(months, days, length.nanoseconds.checked_neg()?);
    Some(Interval { value: Box::new(text(&words(turned))), ..of.clone() })
}

fn length_of(given: &str) -> Option<IntervalMonthDayNano> {
    match decode(PgType::INTERVAL, false, given.as_bytes(), &ValueSettings::default()).ok()? {
        ScalarValue::IntervalMonthDayNano(value) => value,
        _ => None,
    }
}

/// The same length in months, days and seconds.
fn plain_interval(given: &str) -> Option<String> {
    length_of(given).map(words)
}

fn words(of: IntervalMonthDayNano) -> String {
    let sign = if of.nanoseconds < 0 { "-" } else { "" };
    let (seconds, nanos) =
        (of.nanoseconds.unsigned_abs() / 1_000_000_000, of.nanoseconds.unsigned_abs() % 1_000_000_000);
    format!("{} months {} days {sign}{seconds}.{nanos:09} seconds", of.months, of.days)
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

/// `'now'`, `'today'` and the like.
fn special(given: &str, data_type: &DataType) -> Option<Expr> {
    let cast = |expr: Expr, data_type: DataType| Expr::Cast {
        kind: CastKind::Cast,
        expr: Box::new(expr),
        data_type,
        array: false,
        format: None,
    };
    let now = || call("now", Vec::new());
    let day = |by: i64| {
        let today = cast(now(), DataType::Date);
        let day = if by == 0 {
            today
        } else {
            let op = if by < 0 { BinaryOperator::Minus } else { BinaryOperator::Plus };
            Expr::BinaryOp { left: Box::new(today), op, right: Box::new(number(by.abs())) }
        };
        cast(Expr::Nested(Box::new(day)), data_type.clone())
    };
    Some(match given.trim().to_ascii_lowercase().as_str() {
        "now" => cast(now(), data_type.clone()),
        "today" => day(0),
        "tomorrow" => day(1),
        "yesterday" => day(-1),
        "epoch" => cast(text("1970-01-01 00:00:00+00"), data_type.clone()),
        _ => return None,
    })
}

fn moment(given: &str, data_type: &DataType) -> Option<Expr> {
    let function = match data_type {
        DataType::Timestamp(_, TimezoneInfo::WithTimeZone | TimezoneInfo::Tz) => "pg_timestamptz",
        DataType::Timestamp(..) => "pg_timestamp",
        DataType::Date => "to_date",
        _ => return None,
    };
    if let Some(special) = special(given, data_type) {
        return Some(special);
    }
    // Arrow cuts the seventh digit of a second off, PostgreSQL rounds.
    let fine = given.split_once('.').is_some_and(|(_, rest)| rest.bytes().take_while(u8::is_ascii_digit).count() > 6);
    (fine || string_to_datetime(&Utc, given).is_err()).then(|| call(function, vec![text(given)]))
}
