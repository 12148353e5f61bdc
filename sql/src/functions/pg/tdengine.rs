//! TDengine's scalar functions that PostgreSQL and DataFusion lack.

use std::fmt::Write as _;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, FieldRef};
use chrono::{Datelike as _, NaiveDate};
use datafusion::common::{Result, exec_err, plan_err};
use datafusion::logical_expr::ScalarUDF;

use super::scalar::{Call, Cell, Scalar, external, int, text};
use super::time::{civil, moments, to_local};
use super::whole::Whole;
use crate::catalogs::relations::field;
use crate::functions::grid::Windows;
use crate::pgtype::PgType;
use crate::pgvalue::TimeZone;

/// Every function of this file.
pub(super) fn functions() -> Vec<ScalarUDF> {
    let scalars = vec![
        Scalar::new("to_iso8601", "z?t", PgType::TEXT, |call, args| {
            let zone = match args.get(1) {
                Some(name) => TimeZone::parse(&offset_name(text(name)?)).map_err(external)?,
                None => call.zone()?,
            };
            Ok(iso8601(zone, int(&args[0])?)?.into())
        }),
        Scalar::new("to_unixtimestamp", "z?i", PgType::INT8, |_, args| Ok((int(&args[0])?.div_euclid(1000)).into())),
        Scalar::new("weekday", "z", PgType::INT8, |call, args| {
            Ok(day(call, &args[0])?.weekday().num_days_from_monday().into())
        }),
        Scalar::new("dayofweek", "z", PgType::INT8, |call, args| {
            Ok((day(call, &args[0])?.weekday().num_days_from_sunday() + 1).into())
        }),
        Scalar::new("weekofyear", "z", PgType::INT8, |call, args| Ok(week(day(call, &args[0])?, 3).into())),
        Scalar::new("week", "z?i", PgType::INT8, |call, args| {
            let mode = args.get(1).map(int).transpose()?.unwrap_or(0);
            match mode {
                0..=7 => Ok(week(day(call, &args[0])?, mode).into()),
                _ => Err(external(model::error!(InvalidParameterValue, "the mode of week() is 0 to 7"))),
            }
        }),
        Scalar::new("to_base64", "t", PgType::TEXT, |_, args| Ok(base64(text(&args[0])?.as_bytes()).into())),
        Scalar::new("json_build_object", "?a*", PgType::JSON, json_object).named(&["jsonb_build_object"]).lenient(),
    ];
    let wholes = vec![
        Whole::udf("timediff", difference_type, timediff),
        Whole::udf("timetruncate", truncated_type, timetruncate),
    ];
    scalars.into_iter().map(Scalar::udf).chain(wholes).collect()
}

/// TDengine's zones may be written `+08:00`, `+0800`, `z`; as hours west of a POSIX zone.
fn offset_name(name: &str) -> String {
    let flip = |rest: &str, sign: char| {
        let rest = rest.replace(':', "");
        let (hours, minutes) = rest.split_at(rest.len().min(2));
        format!("UTC{sign}{hours}:{}", if minutes.is_empty() { "00" } else { minutes })
    };
    match name.split_at_checked(1) {
        Some(("+", rest)) => flip(rest, '-'),
        Some(("-", rest)) => flip(rest, '+'),
        Some(("z" | "Z", "")) => "UTC".into(),
        _ => name.into(),
    }
}

/// `2017-07-14T02:40:00.000Z`, `…+0800`: milliseconds, or microseconds if there are any.
fn iso8601(zone: TimeZone, micros: i64) -> Result<String> {
    let local = to_local(zone, micros, 1_000_000);
    let at = civil(local.div_euclid(1_000_000))?;
    let rest = local.rem_euclid(1_000_000);
    let mut out = at.format("%Y-%m-%dT%H:%M:%S").to_string();
    let _ = if rest % 1000 == 0 { write!(out, ".{:03}", rest / 1000) } else { write!(out, ".{rest:06}") };
    let offset = zone.offset_at(micros.div_euclid(1_000_000));
    if offset == 0 {
        out.push('Z');
    } else {
        let size = offset.abs();
        let _ = write!(out, "{}{:02}{:02}", if offset < 0 { '-' } else { '+' }, size / 3600, size % 3600 / 60);
    }
    Ok(out)
}

fn day(call: &Call<'_>, at: &Cell) -> Result<NaiveDate> {
    Ok(civil(to_local(call.zone()?, int(at)?, 1_000_000).div_euclid(1_000_000))?.date())
}

/// MySQL's week numbers: bit 0 is Monday first, bit 1 counts from 1, bit 2 (xor bit 0 …) wants the first full week.
fn week(date: NaiveDate, mode: i64) -> i64 {
    let monday = mode & 1 == 1;
    let from_one = mode & 2 == 2;
    // In modes 0, 2, 5 and 7 week 1 is the first that begins in this year; otherwise the first with four days in it.
    let begins = matches!(mode, 0 | 2 | 5 | 7);
    let first_of = |year: i32| {
        let january = NaiveDate::from_ymd_opt(year, 1, 1).unwrap_or(date);
        let weekday =
            if monday { january.weekday().num_days_from_monday() } else { january.weekday().num_days_from_sunday() };
        let into = i64::from(weekday);
        let skip = if begins { into > 0 } else { into > 3 };
        i64::from(january.num_days_from_ce()) - into + if skip { 7 } else { 0 }
    };
    let today = i64::from(date.num_days_from_ce());
    let this = first_of(date.year());
    if today < this {
        return if from_one { (today - first_of(date.year() - 1)) / 7 + 1 } else { 0 };
    }
    if from_one && today >= first_of(date.year() + 1) {
        return 1;
    }
    (today - this) / 7 + 1
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let n = chunk.iter().fold(0u32, |n, byte| n << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for at in 0..4 {
            let letter = LETTERS[(n >> (18 - 6 * at) & 63) as usize];
            out.push(if at <= chunk.len() { char::from(letter) } else { '=' });
        }
    }
    out
}

fn json_object(call: &Call<'_>, args: &[Cell]) -> Result<Cell> {
    if !args.len().is_multiple_of(2) {
        return exec_err!("argument list must have even number of elements");
    }
    let mut out = String::from("{");
    for (at, pair) in args.chunks(2).enumerate() {
        let key = match &pair[0] {
            Cell::Null => return exec_err!("argument {}: key must not be null", at * 2 + 1),
            key => text(key)?,
        };
        let bare = call
            .fields
            .get(at * 2 + 1)
            .is_some_and(|field| field.data_type().is_numeric() || matches!(field.data_type(), DataType::Boolean));
        let value = match &pair[1] {
            Cell::Null => "null".to_owned(),
            value if bare => match text(value)? {
                "t" => "true".to_owned(),
                "f" => "false".to_owned(),
                number => number.to_owned(),
            },
            value => serde_json::Value::from(text(value)?).to_string(),
        };
        let comma = if at > 0 { ", " } else { "" };
        let _ = write!(out, "{comma}{} : {value}", serde_json::Value::from(key));
    }
    out.push('}');
    Ok(out.into())
}

fn difference_type(fields: &[FieldRef]) -> Result<FieldRef> {
    match fields.len() {
        2 | 3 => Ok(Arc::new(field("timediff", PgType::INT8, true))),
        _ => plan_err!("timediff() takes two timestamps and a unit"),
    }
}

fn truncated_type(fields: &[FieldRef]) -> Result<FieldRef> {
    match fields.first().map(|field| field.data_type()) {
        Some(of @ DataType::Timestamp(..)) => {
            Ok(Arc::new(arrow::datatypes::Field::new("timetruncate", of.clone(), true)))
        }
        _ => Ok(Arc::new(field("timetruncate", PgType::TIMESTAMPTZ, true))),
    }
}

/// Nanoseconds of one of TDengine's units: `1b`, `1u`, `1a`, `1s`, `1m`, `1h`, `1d`, `1w`.
fn unit_nanos(array: &ArrayRef) -> Result<Option<i64>> {
    if array.is_empty() || array.is_null(0) {
        return Ok(None);
    }
    let array = cast(&array.slice(0, 1), &DataType::Utf8)?;
    let name = array.as_string::<i32>().value(0);
    let bare = name.trim().trim_start_matches('1').to_ascii_lowercase();
    Ok(Some(match bare.as_str() {
        "b" => 1,
        "u" => 1_000,
        "a" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        "d" => 86_400_000_000_000,
        "w" => 604_800_000_000_000,
        _ => {
            return Err(external(
                model::error!(InvalidParameterValue, "\"{name}\" is no time unit")
                    .with_hint("Units are 1b, 1u, 1a, 1s, 1m, 1h, 1d, 1w."),
            ));
        }
    }))
}

/// `timediff(a, b[, unit])`: a minus b in whole units, or in ticks of a.
fn timediff(call: &Call<'_>, args: &[ArrayRef], count: usize, _: &FieldRef) -> Result<ArrayRef> {
    let (a, b) = (moments(call, &args[0])?, moments(call, &args[1])?);
    let tick = 1_000_000_000 / a.per_second;
    let unit = match args.get(2) {
        Some(unit) => unit_nanos(unit)?.unwrap_or(tick),
        None => tick,
    };
    let nanos = |ticks: i64, per: i64| i128::from(ticks) * i128::from(1_000_000_000 / per);
    let one = |row: usize| {
        let both = a.ticks.is_valid(row) && b.ticks.is_valid(row);
        let difference = || nanos(a.ticks.value(row), a.per_second) - nanos(b.ticks.value(row), b.per_second);
        both.then(|| (difference() / i128::from(unit)) as i64)
    };
    Ok(Arc::new((0..count).map(one).collect::<Int64Array>()))
}

/// `timetruncate(ts, unit[, use_current_timezone = 1])`; weeks begin on Thursdays, as the epoch did.
fn timetruncate(call: &Call<'_>, args: &[ArrayRef], _: usize, of: &FieldRef) -> Result<ArrayRef> {
    let moments = moments(call, &args[0])?;
    let Some(unit) = args.get(1).map(unit_nanos).transpose()?.flatten() else {
        return exec_err!("timetruncate() takes a timestamp and a unit");
    };
    let local = match args.get(2) {
        Some(flag) if !flag.is_empty() && flag.is_valid(0) => {
            let flag = cast(&flag.slice(0, 1), &DataType::Int64)?;
            flag.as_primitive::<arrow::datatypes::Int64Type>().value(0) != 0
        }
        _ => true,
    };
    let zone = if local { call.zone()? } else { TimeZone::UTC };
    let per = moments.per_second;
    let step = (unit / (1_000_000_000 / per)).max(1);
    let days = step / (86_400 * per);
    let ticks: Int64Array = match (zone, of.data_type()) {
        // A day of the wall clock has 23 or 25 hours when the clocks change.
        (TimeZone::Named(zone), DataType::Timestamp(unit, Some(_))) if days > 0 => {
            let windows = Windows::parse(&format!("{days}d"), "", "", zone.name(), *unit).map_err(external)?;
            let outside = || external(model::error!(DatetimeFieldOverflow, "timestamp out of range"));
            let cut = |ticks: Option<i64>| ticks.map(|ticks| windows.floor(ticks).ok_or_else(outside)).transpose();
            moments.ticks.iter().map(cut).collect::<Result<_>>()?
        }
        (TimeZone::Fixed(east), DataType::Timestamp(_, Some(_))) if days > 0 => {
            let offset = i64::from(east) * per;
            moments.ticks.unary::<_, arrow::datatypes::Int64Type>(|ticks| ticks - (ticks + offset).rem_euclid(step))
        }
        _ => moments.ticks.unary::<_, arrow::datatypes::Int64Type>(|ticks| ticks - ticks.rem_euclid(step)),
    };
    Ok(cast(&ticks, of.data_type())?)
}
