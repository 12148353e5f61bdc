//! Times as text beside timestamps: read in the session's zone, to the nanosecond.

use chrono::{NaiveDateTime, TimeZone as _};
use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Expr, Operator};
use model::error;

use crate::pgvalue::TimeZone;
use crate::plan::PlanContext;
use crate::plan::filter::{instant_nanos, unit_nanos};

/// 22008 for a time that no timestamp can be.
pub(super) fn out_of_range(text: &str) -> model::Error {
    error!(DatetimeFieldOverflow, "timestamp out of range: \"{text}\"")
}

/// Whether an expression is a time in finer ticks than `arrow`, a timestamp, has.
pub(super) fn is_finer(expr: &Expr, arrow: &DataType) -> bool {
    match (expr, arrow) {
        (Expr::Literal(value, _), DataType::Timestamp(unit, _)) => {
            matches!(value.data_type(), DataType::Timestamp(own, _) if unit_nanos(own) < unit_nanos(*unit))
        }
        _ => false,
    }
}

/// `expr op value` where `value` is a time in finer ticks than `expr`, whose unit is `unit`, has: the same in whole ticks.
/// A cast of `value` would cut it off, and a cast of `expr` hide it from the scan. None if it is not finer.
pub(super) fn on_ticks(expr: &Expr, op: Operator, value: &ScalarValue, unit: TimeUnit) -> Option<Expr> {
    let DataType::Timestamp(own, Some(zone)) = value.data_type() else { return None };
    let tick = i128::from(unit_nanos(unit));
    if i128::from(unit_nanos(own)) >= tick {
        return None;
    }
    let nanos = instant_nanos(value)?;
    let floor = i64::try_from(nanos.div_euclid(tick)).ok()?;
    let floor = Expr::Literal(super::timestamp(unit, floor, zone), None);
    let compared = |op| super::operators::binary(expr.clone(), op, floor.clone());
    if nanos % tick == 0 {
        return Some(compared(op));
    }
    // Between two ticks: nothing equals it.
    match op {
        Operator::Gt | Operator::GtEq => Some(compared(Operator::Gt)),
        Operator::Lt | Operator::LtEq => Some(compared(Operator::LtEq)),
        Operator::Eq => {
            Some(super::operators::binary(compared(Operator::Eq), Operator::And, compared(Operator::NotEq)))
        }
        Operator::NotEq => {
            Some(super::operators::binary(compared(Operator::Eq), Operator::Or, compared(Operator::NotEq)))
        }
        Operator::IsDistinctFrom => Some(Expr::Literal(ScalarValue::from(true), None)),
        Operator::IsNotDistinctFrom => Some(Expr::Literal(ScalarValue::from(false), None)),
        _ => None,
    }
}

/// Nanoseconds since the epoch of a time as text; without a zone it is read in the session's.
///
/// # Errors
///
/// 22007 if it is no time.
pub fn parse_instant(text: &str, context: &PlanContext) -> model::Result<i128> {
    let trimmed = text.trim();
    let day = |days: i64| {
        let local = chrono::DateTime::from_timestamp_micros(context.now())?.with_timezone(&context.timezone);
        let midnight = (local.date_naive() + chrono::Duration::days(days)).and_hms_opt(0, 0, 0)?;
        Some(i128::from(local_instant(context.timezone, midnight)?.timestamp()) * 1_000_000_000)
    };
    let special = match trimmed.to_ascii_lowercase().as_str() {
        "now" => Some(i128::from(context.now()) * 1000),
        "epoch" => Some(0),
        "today" => day(0),
        "tomorrow" => day(1),
        "yesterday" => day(-1),
        _ => None,
    };
    if let Some(nanos) = special {
        return Ok(nanos);
    }
    let wrong = || error!(InvalidDatetimeFormat, "invalid input syntax for type timestamp with time zone: \"{text}\"");
    let (wall, rest) = split_zone(trimmed).ok_or_else(wrong)?;
    let naive = parse_wall(wall).ok_or_else(wrong)?;
    let nanos =
        |seconds: i64| i128::from(seconds) * 1_000_000_000 + i128::from(naive.and_utc().timestamp_subsec_nanos());
    if rest.is_empty() {
        let instant = local_instant(context.timezone, naive).ok_or_else(|| out_of_range(text))?;
        return Ok(nanos(instant.timestamp()));
    }
    if let Some(offset) = offset_seconds(rest) {
        return Ok(nanos(naive.and_utc().timestamp() - offset));
    }
    let zone = TimeZone::named(rest).ok_or_else(wrong)?;
    Ok(nanos(local_instant(zone, naive).ok_or_else(|| out_of_range(text))?.timestamp()))
}

/// The instant of a wall clock: the earlier one where it comes twice; in a gap, as if the clock had gone on.
#[must_use]
pub fn local_instant(zone: TimeZone, wall: NaiveDateTime) -> Option<chrono::DateTime<TimeZone>> {
    match zone.from_local_datetime(&wall) {
        chrono::LocalResult::Single(instant) => Some(instant),
        chrono::LocalResult::Ambiguous(earlier, _) => Some(earlier),
        chrono::LocalResult::None => {
            let before = zone.from_local_datetime(&(wall - chrono::Duration::hours(3))).earliest()?;
            Some(before + chrono::Duration::hours(3))
        }
    }
}

/// Wall clock and zone of a time as text.
fn split_zone(text: &str) -> Option<(&str, &str)> {
    if let Some(wall) = text.strip_suffix(['Z', 'z']) {
        return Some((wall.trim_end(), "+00"));
    }
    let date_end = text.char_indices().nth(10).map_or(text.len(), |(at, _)| at);
    let tail = &text[date_end..];
    let sign = tail.find(['+', '-']);
    let word = tail.find(|c: char| c.is_ascii_alphabetic() && c != 'T' && c != 't');
    let at = match (sign, word) {
        (Some(sign), Some(word)) => sign.min(word),
        (Some(at), None) | (None, Some(at)) => at,
        (None, None) => return Some((text, "")),
    };
    Some((text[..date_end + at].trim_end(), tail[at..].trim()))
}

fn parse_wall(text: &str) -> Option<NaiveDateTime> {
    let text = text.replace(['T', 't', '/'], " ");
    let text = text.split_whitespace().collect::<Vec<_>>();
    let date = text.first()?.to_owned();
    // '2017/01/02' became three words above.
    let (date, time) = match text.as_slice() {
        [year, month, day, rest @ ..] if year.len() == 4 && month.len() <= 2 && day.len() <= 2 => {
            (format!("{year}-{month}-{day}"), rest.first().copied())
        }
        [_, rest @ ..] if rest.len() <= 1 => (date.to_owned(), rest.first().copied()),
        _ => return None,
    };
    let date = chrono::NaiveDate::parse_from_str(&date, "%Y-%m-%d").ok()?;
    let Some(time) = time else { return date.and_hms_opt(0, 0, 0) };
    let formats = ["%H:%M:%S%.f", "%H:%M"];
    let time = formats.iter().find_map(|format| chrono::NaiveTime::parse_from_str(time, format).ok())?;
    Some(date.and_time(time))
}

/// Seconds east of UTC in `+08`, `+0800`, `-08:00`, `+05:30:15`.
fn offset_seconds(text: &str) -> Option<i64> {
    let (sign, digits) = match text.split_at_checked(1)? {
        ("+", digits) => (1, digits),
        ("-", digits) => (-1, digits),
        _ => return None,
    };
    let digits: String = digits.chars().filter(|c| *c != ':').collect();
    if digits.is_empty() || digits.len() > 6 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let padded = if digits.len() % 2 == 1 { format!("0{digits}") } else { digits };
    let part = |at: usize| padded.get(at..at + 2).map_or(Some(0), |two| two.parse::<i64>().ok());
    let (hours, minutes, seconds) = (part(0)?, part(2)?, part(4)?);
    (hours <= 15 && minutes < 60 && seconds < 60).then(|| sign * (hours * 3600 + minutes * 60 + seconds))
}
