//! Times: `date_trunc`, `date_part`, `age`, `time_bucket`, `timezone` and their kin, in the session's time zone.
//!
//! They keep the unit of their argument: milliseconds stay milliseconds. A date or a text is taken as a timestamptz.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array, IntervalMonthDayNanoArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, FieldRef, Int64Type, IntervalMonthDayNano, TimeUnit};
use chrono::{DateTime, Datelike as _, Days, Months, NaiveDate, NaiveDateTime, Timelike as _};
use datafusion::common::{Result, exec_err, plan_err};
use datafusion::logical_expr::ScalarUDF;

use super::moments::intervals;
use super::scalar::{Call, Cell, Scalar, external, float, int, text};
use super::whole::Whole;
use crate::catalogs::relations::field;
use crate::pgtype::PgType;
use crate::pgvalue::TimeZone;

/// Every function of this file.
pub(super) fn functions() -> Vec<ScalarUDF> {
    let scalars = vec![
        Scalar::new("make_timestamp", "iiiiif", PgType::TIMESTAMP, |_, args| Ok(Cell::Int(made(args)?))),
        Scalar::new("make_timestamptz", "iiiiif?t", PgType::TIMESTAMPTZ, |call, args| {
            let zone = match args.get(6) {
                Some(name) => TimeZone::parse(text(name)?).map_err(external)?,
                None => call.zone()?,
            };
            Ok(Cell::Int(to_utc(zone, made(args)?, 1_000_000)))
        }),
        Scalar::new("pg_timestamptz", "t", PgType::TIMESTAMPTZ, |call, args| literal(call, args, PgType::TIMESTAMPTZ)),
        Scalar::new("pg_timestamp", "t", PgType::TIMESTAMP, |call, args| literal(call, args, PgType::TIMESTAMP)),
        Scalar::new("clock_timestamp", "", PgType::TIMESTAMPTZ, |_, _| {
            Ok(Cell::Int(chrono::Utc::now().timestamp_micros()))
        })
        .volatile(),
        Scalar::new("statement_timestamp", "", PgType::TIMESTAMPTZ, |call, _| Ok(Cell::Int(call.context()?.now_us)))
            .named(&["transaction_timestamp"]),
        Scalar::new("localtimestamp", "", PgType::TIMESTAMP, |call, _| {
            Ok(Cell::Int(to_local(call.zone()?, call.context()?.now_us, 1_000_000)))
        }),
        Scalar::new("today", "", PgType::TIMESTAMPTZ, |call, _| {
            let zone = call.zone()?;
            let local_s = to_local(zone, call.context()?.now_us, 1_000_000).div_euclid(1_000_000);
            Ok(Cell::Int(zone.epoch_of_local(local_s - local_s.rem_euclid(86_400)) * 1_000_000))
        }),
    ];
    let wholes = vec![
        Whole::udf("date_trunc", second_type, date_trunc),
        Whole::udf("date_part", part_type, date_part),
        super::extract::function(),
        Whole::udf("age", interval_type, age),
        Whole::udf("time_bucket", second_type, time_bucket),
        Whole::udf("timezone", timezone_type, timezone),
    ];
    scalars.into_iter().map(Scalar::udf).chain(wholes).collect()
}

/// A literal that Arrow does not read: [`crate::compat`] makes calls of them.
fn literal(call: &Call<'_>, args: &[Cell], of: PgType) -> Result<Cell> {
    let settings = super::text::settings(call)?;
    match crate::pgvalue::decode(of, false, text(&args[0])?.as_bytes(), &settings).map_err(external)? {
        datafusion::scalar::ScalarValue::TimestampMicrosecond(micros, _) => Ok(micros.into()),
        // More than six digits of a second: rounded, as PostgreSQL rounds.
        datafusion::scalar::ScalarValue::TimestampNanosecond(nanos, _) => {
            Ok(nanos.map(|nanos| nanos.saturating_add(500).div_euclid(1000)).into())
        }
        other => exec_err!("a timestamp is read as {other:?}"),
    }
}

fn made(args: &[Cell]) -> Result<i64> {
    let [year, month, day, hour, minute] =
        [int(&args[0])?, int(&args[1])?, int(&args[2])?, int(&args[3])?, int(&args[4])?];
    let seconds = float(&args[5])?;
    let small = |n: i64| u32::try_from(n).ok();
    let date = || NaiveDate::from_ymd_opt(i32::try_from(year).ok()?, small(month)?, small(day)?);
    let time = || date()?.and_hms_opt(small(hour)?, small(minute)?, 0);
    match time().filter(|_| (0.0..=60.0).contains(&seconds)) {
        Some(at) => Ok(at.and_utc().timestamp_micros() + (seconds * 1e6).round() as i64),
        None => Err(external(model::error!(
            DatetimeFieldOverflow,
            "date/time field value out of range: {year}-{month:02}-{day:02} {hour:02}:{minute:02}:{seconds:02}"
        ))),
    }
}

/// Ticks of a moment as ticks of the wall clock of a zone.
pub(super) fn to_local(zone: TimeZone, ticks: i64, per_second: i64) -> i64 {
    ticks + i64::from(zone.offset_at(ticks.div_euclid(per_second))) * per_second
}

/// Ticks of the wall clock of a zone as ticks of the moment.
pub(super) fn to_utc(zone: TimeZone, local: i64, per_second: i64) -> i64 {
    zone.epoch_of_local(local.div_euclid(per_second)) * per_second + local.rem_euclid(per_second)
}

/// Moments in an argument.
pub(super) struct Moments {
    /// Ticks since the epoch, or of the wall clock if there is no zone.
    pub(super) ticks: Int64Array,
    /// Ticks in a second.
    pub(super) per_second: i64,
    /// Whether they are moments, not readings of a wall clock.
    pub(super) zoned: bool,
}

pub(super) const fn per_second(unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => 1,
        TimeUnit::Millisecond => 1_000,
        TimeUnit::Microsecond => 1_000_000,
        TimeUnit::Nanosecond => 1_000_000_000,
    }
}

/// Reads an argument as moments. A date is its midnight in the session's zone.
pub(super) fn moments(call: &Call<'_>, array: &ArrayRef) -> Result<Moments> {
    match array.data_type() {
        DataType::Timestamp(unit, zone) => {
            let ticks = cast(array, &DataType::Int64)?.as_primitive::<Int64Type>().clone();
            Ok(Moments { ticks, per_second: per_second(*unit), zoned: zone.is_some() })
        }
        DataType::Date32 | DataType::Date64 => {
            let zone = call.zone()?;
            let days = cast(&cast(array, &DataType::Date32)?, &DataType::Int32)?;
            let days = days.as_primitive::<arrow::datatypes::Int32Type>();
            let ticks = days.unary::<_, Int64Type>(|day| zone.epoch_of_local(i64::from(day) * 86_400) * 1_000_000);
            Ok(Moments { ticks, per_second: 1_000_000, zoned: true })
        }
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
            let texts = cast(array, &DataType::Utf8)?;
            let settings = super::text::settings(call)?;
            let read = |text: Option<&str>| {
                let Some(text) = text else { return Ok(None) };
                let value = crate::pgvalue::decode(PgType::TIMESTAMPTZ, false, text.as_bytes(), &settings);
                match value.map_err(external)? {
                    datafusion::scalar::ScalarValue::TimestampMicrosecond(value, _) => Ok(value),
                    other => exec_err!("a timestamp is read as {other:?}"),
                }
            };
            let ticks: Result<Int64Array> = texts.as_string::<i32>().iter().map(read).collect();
            Ok(Moments { ticks: ticks?, per_second: 1_000_000, zoned: true })
        }
        DataType::Null => Ok(Moments { ticks: Int64Array::new_null(array.len()), per_second: 1_000_000, zoned: true }),
        other => exec_err!("{other} is no timestamp"),
    }
}

/// What [`moments`] makes of an argument's type.
fn moment_type(of: &DataType) -> DataType {
    match of {
        DataType::Timestamp(..) => of.clone(),
        _ => DataType::Timestamp(TimeUnit::Microsecond, Some(Arc::from("UTC"))),
    }
}

fn second_type(fields: &[FieldRef]) -> Result<FieldRef> {
    let Some(of) = fields.get(1) else { return plan_err!("two arguments at least are needed") };
    if let DataType::Interval(_) = of.data_type() {
        return Ok(Arc::new(field("date_trunc", PgType::INTERVAL, true)));
    }
    Ok(Arc::new(arrow::datatypes::Field::new("time", moment_type(of.data_type()), true)))
}

fn part_type(_: &[FieldRef]) -> Result<FieldRef> {
    Ok(Arc::new(field("date_part", PgType::FLOAT8, true)))
}

fn interval_type(_: &[FieldRef]) -> Result<FieldRef> {
    Ok(Arc::new(field("age", PgType::INTERVAL, true)))
}

/// Applies `of` to each moment, with its row.
fn map(moments: &Moments, mut of: impl FnMut(usize, i64) -> Result<i64>) -> Result<Int64Array> {
    let one = |(row, ticks): (usize, Option<i64>)| ticks.map(|ticks| of(row, ticks)).transpose();
    moments.ticks.iter().enumerate().map(one).collect()
}

/// The one word that an argument is in every row, lower case; None for NULL.
fn constant(array: &ArrayRef, name: &str) -> Result<Option<String>> {
    Ok(constant_name(array, name)?.map(|word| word.to_ascii_lowercase()))
}

/// As [`constant`], with its letters as they are.
fn constant_name(array: &ArrayRef, name: &str) -> Result<Option<String>> {
    let array = cast(array, &DataType::Utf8)?;
    let mut words = array.as_string::<i32>().iter();
    let first = words.next().flatten();
    if words.any(|word| word != first) {
        return exec_err!("the unit and the zone of {name} must be the same in every row");
    }
    Ok(first.map(str::to_owned))
}

pub(super) fn civil(local_s: i64) -> Result<NaiveDateTime> {
    match DateTime::from_timestamp(local_s, 0) {
        Some(at) => Ok(at.naive_utc()),
        None => Err(external(model::error!(DatetimeFieldOverflow, "timestamp out of range"))),
    }
}

fn unknown_unit(unit: &str) -> datafusion::common::DataFusionError {
    external(
        model::error!(InvalidParameterValue, "unit \"{unit}\" not recognized for type timestamp with time zone")
            .with_hint("Units are microseconds, milliseconds, second, minute, hour, day, week, month, quarter, year, decade, century, millennium."),
    )
}

fn date_trunc(call: &Call<'_>, args: &[ArrayRef], count: usize, of: &FieldRef) -> Result<ArrayRef> {
    let Some(unit) = constant(&args[0], "date_trunc")? else {
        return Ok(arrow::array::new_null_array(of.data_type(), count));
    };
    if let DataType::Interval(_) = args[1].data_type() {
        return trunc_interval(&unit, &args[1]);
    }
    let moments = moments(call, &args[1])?;
    let zone = match args.get(2) {
        Some(names) => match constant_name(names, "date_trunc")? {
            Some(name) => TimeZone::parse(&name).map_err(external)?,
            None => return Ok(arrow::array::new_null_array(of.data_type(), count)),
        },
        None if moments.zoned => call.zone()?,
        None => TimeZone::UTC,
    };
    let unit = unit.trim_end_matches('s');
    let per_second = moments.per_second;
    let ticks = map(&moments, |_, ticks| trunc(unit, zone, ticks, per_second))?;
    Ok(cast(&ticks, of.data_type())?)
}

/// One moment cut to a unit (without its `s`).
fn trunc(unit: &str, zone: TimeZone, ticks: i64, per_second: i64) -> Result<i64> {
    let cut = |step: i64| ticks - ticks.rem_euclid(step.max(1));
    match unit {
        "microsecond" | "u" => return Ok(cut(per_second / 1_000_000)),
        "millisecond" | "m" => return Ok(cut(per_second / 1_000)),
        "second" => return Ok(cut(per_second)),
        "minute" | "hour" => {
            let step = if unit == "hour" { 3600 } else { 60 } * per_second;
            let offset = i64::from(zone.offset_at(ticks.div_euclid(per_second))) * per_second;
            return Ok(ticks - (ticks + offset).rem_euclid(step));
        }
        _ => {}
    }
    let local_s = to_local(zone, ticks, per_second).div_euclid(per_second);
    if unit == "day" {
        return Ok(zone.epoch_of_local(local_s - local_s.rem_euclid(86_400)) * per_second);
    }
    let date = civil(local_s)?.date();
    let year = date.year();
    let first = match unit {
        "week" => date.checked_sub_days(Days::new(u64::from(date.weekday().num_days_from_monday()))),
        "month" => date.with_day(1),
        "quarter" => NaiveDate::from_ymd_opt(year, date.month0() / 3 * 3 + 1, 1),
        "year" => NaiveDate::from_ymd_opt(year, 1, 1),
        "decade" => NaiveDate::from_ymd_opt(year.div_euclid(10) * 10, 1, 1),
        "century" | "centurie" => NaiveDate::from_ymd_opt((year - 1).div_euclid(100) * 100 + 1, 1, 1),
        "millennium" | "millennia" => NaiveDate::from_ymd_opt((year - 1).div_euclid(1000) * 1000 + 1, 1, 1),
        _ => return Err(unknown_unit(unit)),
    };
    let first = first.and_then(|date| date.and_hms_opt(0, 0, 0)).map(|at| at.and_utc().timestamp());
    match first {
        Some(local_s) => Ok(zone.epoch_of_local(local_s) * per_second),
        None => Err(external(model::error!(DatetimeFieldOverflow, "timestamp out of range"))),
    }
}

fn trunc_interval(unit: &str, array: &ArrayRef) -> Result<ArrayRef> {
    const SECOND: i64 = 1_000_000_000;
    let unit = unit.trim_end_matches('s');
    let months = match unit {
        "month" => 1,
        "quarter" => 3,
        "year" => 12,
        "decade" => 120,
        "century" | "centurie" => 1200,
        "millennium" | "millennia" => 12_000,
        _ => 0,
    };
    let nanos = match unit {
        "microsecond" => 1_000,
        "millisecond" => 1_000_000,
        "second" => SECOND,
        "minute" => 60 * SECOND,
        "hour" => 3600 * SECOND,
        _ => 0,
    };
    if months == 0 && nanos == 0 && unit != "day" {
        return Err(unknown_unit(unit));
    }
    let cut = |of: IntervalMonthDayNano| match (months, nanos) {
        (0, 0) => IntervalMonthDayNano::new(of.months, of.days, 0),
        (0, step) => IntervalMonthDayNano::new(of.months, of.days, of.nanoseconds / step * step),
        (step, _) => IntervalMonthDayNano::new(of.months / step * step, 0, 0),
    };
    Ok(Arc::new(intervals(array)?.iter().map(|of| of.map(cut)).collect::<IntervalMonthDayNanoArray>()))
}

pub(super) fn date_part(call: &Call<'_>, args: &[ArrayRef], count: usize, _: &FieldRef) -> Result<ArrayRef> {
    let Some(unit) = constant(&args[0], "date_part")? else { return Ok(Arc::new(Float64Array::new_null(count))) };
    let unit = unit.trim_end_matches('s');
    let values: Result<Float64Array> = match args[1].data_type() {
        DataType::Interval(_) | DataType::Duration(_) => {
            intervals(&args[1])?.iter().map(|of| of.map(|of| interval_part(unit, of)).transpose()).collect()
        }
        DataType::Time32(_) | DataType::Time64(_) => {
            let micros = cast(&cast(&args[1], &DataType::Time64(TimeUnit::Microsecond))?, &DataType::Int64)?;
            let part = |of: i64| interval_part(unit, IntervalMonthDayNano::new(0, 0, of * 1000));
            micros.as_primitive::<Int64Type>().iter().map(|of| of.map(part).transpose()).collect()
        }
        _ => {
            let moments = moments(call, &args[1])?;
            let zone = if moments.zoned { call.zone()? } else { TimeZone::UTC };
            let part = |ticks| moment_part(unit, zone, ticks, moments.per_second);
            moments.ticks.iter().map(|ticks| ticks.map(part).transpose()).collect()
        }
    };
    Ok(Arc::new(values?))
}

fn moment_part(unit: &str, zone: TimeZone, ticks: i64, per_second: i64) -> Result<f64> {
    if unit == "epoch" {
        let (whole, rest) = (ticks.div_euclid(per_second), ticks.rem_euclid(per_second));
        return Ok(if rest == 0 { whole as f64 } else { ticks as f64 / per_second as f64 });
    }
    let local = to_local(zone, ticks, per_second);
    let (local_s, rest) = (local.div_euclid(per_second), local.rem_euclid(per_second));
    let at = civil(local_s)?;
    let seconds = f64::from(at.second()) + rest as f64 / per_second as f64;
    let micros = f64::from(at.second()) * 1e6 + (rest as f64 * 1e6 / per_second as f64);
    let year = at.year();
    let before = |n: i32| if n > 0 { n } else { n - 1 };
    Ok(match unit {
        "microsecond" | "us" | "u" => micros,
        "millisecond" | "ms" | "m" => micros / 1e3,
        "second" | "sec" => seconds,
        "minute" | "min" => at.minute().into(),
        "hour" => at.hour().into(),
        "day" => at.day().into(),
        "dow" => at.weekday().num_days_from_sunday().into(),
        "isodow" => at.weekday().number_from_monday().into(),
        "doy" => at.ordinal().into(),
        "week" => at.iso_week().week().into(),
        "isoyear" => at.iso_week().year().into(),
        "month" | "mon" => at.month().into(),
        "quarter" => (at.month0() / 3 + 1).into(),
        "year" => before(year).into(),
        "decade" => year.div_euclid(10).into(),
        "century" | "centurie" => before((year + 99).div_euclid(100)).into(),
        "millennium" | "millennia" => before((year + 999).div_euclid(1000)).into(),
        "timezone" => zone.offset_at(ticks.div_euclid(per_second)).into(),
        "timezone_hour" => (zone.offset_at(ticks.div_euclid(per_second)) / 3600).into(),
        "timezone_minute" => (zone.offset_at(ticks.div_euclid(per_second)) % 3600 / 60).into(),
        "julian" => (local_s as f64) / 86_400.0 + 2_440_588.0,
        _ => return Err(unknown_unit(unit)),
    })
}

fn interval_part(unit: &str, of: IntervalMonthDayNano) -> Result<f64> {
    let seconds = of.nanoseconds as f64 / 1e9;
    let years = of.months / 12;
    Ok(match unit {
        "epoch" => {
            f64::from(years) * 31_557_600.0
                + f64::from(of.months % 12) * 2_592_000.0
                + f64::from(of.days) * 86_400.0
                + seconds
        }
        "microsecond" => (of.nanoseconds % 60_000_000_000) as f64 / 1e3,
        "millisecond" => (of.nanoseconds % 60_000_000_000) as f64 / 1e6,
        "second" => (of.nanoseconds % 60_000_000_000) as f64 / 1e9,
        "minute" => (of.nanoseconds / 60_000_000_000 % 60) as f64,
        "hour" => (of.nanoseconds / 3_600_000_000_000) as f64,
        "day" => of.days.into(),
        "month" => (of.months % 12).into(),
        "quarter" => (of.months % 12 / 3 + 1).into(),
        "year" => years.into(),
        "decade" => (years / 10).into(),
        "century" => (years / 100).into(),
        "millennium" => (years / 1000).into(),
        _ => return Err(unknown_unit(unit)),
    })
}

/// `age(a, b)`: years, months, days and time from b to a; `age(a)` is from midnight today.
fn age(call: &Call<'_>, args: &[ArrayRef], count: usize, _: &FieldRef) -> Result<ArrayRef> {
    let zone = call.zone()?;
    let local = |array: &ArrayRef| -> Result<Int64Array> {
        let moments = moments(call, array)?;
        let (zone, per) = (if moments.zoned { zone } else { TimeZone::UTC }, moments.per_second);
        map(&moments, |_, ticks| Ok((i128::from(to_local(zone, ticks, per)) * 1_000_000 / i128::from(per)) as i64))
    };
    let first = local(&args[0])?;
    let second = match args.get(1) {
        Some(array) => local(array)?,
        None => {
            let now = to_local(zone, call.context()?.now_us, 1_000_000);
            Int64Array::from(vec![now - now.rem_euclid(86_400_000_000); count])
        }
    };
    // age(a) is today minus a, age(a, b) is a minus b.
    let (later, earlier) = if args.len() > 1 { (&first, &second) } else { (&second, &first) };
    let one = |row: usize| {
        if later.is_null(row) || earlier.is_null(row) {
            return Ok(None);
        }
        between(later.value(row), earlier.value(row)).map(Some)
    };
    let ages: Result<IntervalMonthDayNanoArray> = (0..count).map(one).collect();
    Ok(Arc::new(ages?))
}

/// Whole months, whole days and the rest from `earlier` to `later`, both microseconds of a wall clock.
fn between(later: i64, earlier: i64) -> Result<IntervalMonthDayNano> {
    if later < earlier {
        let of = between(earlier, later)?;
        return Ok(IntervalMonthDayNano::new(-of.months, -of.days, -of.nanoseconds));
    }
    const DAY: i64 = 86_400_000_000;
    let (a, b) = (civil(later.div_euclid(1_000_000))?, civil(earlier.div_euclid(1_000_000))?);
    let mut micros = later.rem_euclid(DAY) - earlier.rem_euclid(DAY);
    let mut days = i64::from(a.day()) - i64::from(b.day());
    let mut months = (a.year() - b.year()) * 12 + a.month() as i32 - b.month() as i32;
    if micros < 0 {
        micros += DAY;
        days -= 1;
    }
    if days < 0 {
        // The days of the earlier moment's month are what one month is worth.
        let start = NaiveDate::from_ymd_opt(b.year(), b.month(), 1);
        let next = start.and_then(|start| start.checked_add_months(Months::new(1)));
        days += start.zip(next).map_or(30, |(start, next)| (next - start).num_days());
        months -= 1;
    }
    Ok(IntervalMonthDayNano::new(months, days as i32, micros * 1000))
}

/// TimescaleDB's: the start of the bucket of a width that a moment is in. Months count from 2000-01-01, other widths from
/// Monday 2000-01-03, or from the third argument.
fn time_bucket(call: &Call<'_>, args: &[ArrayRef], count: usize, of: &FieldRef) -> Result<ArrayRef> {
    let widths = match args[0].data_type() {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => super::format::parse_intervals(call, &args[0])?,
        _ => intervals(&args[0])?,
    };
    let moments = moments(call, &args[1])?;
    let per = moments.per_second;
    let origin = match args.get(2) {
        Some(array) => Some(self::moments(call, array)?),
        None => None,
    };
    let one = |row: usize| -> Result<Option<i64>> {
        if widths.is_null(row) || moments.ticks.is_null(row) {
            return Ok(None);
        }
        let width = widths.value(row);
        let from = match &origin {
            Some(origin) if origin.ticks.is_null(row) => return Ok(None),
            Some(origin) => {
                (i128::from(origin.ticks.value(row)) * i128::from(per) / i128::from(origin.per_second)) as i64
            }
            None => 946_857_600 * per,
        };
        bucket(width, moments.ticks.value(row), per, from, origin.is_some()).map(Some)
    };
    let ticks: Result<Int64Array> = (0..count).map(one).collect();
    Ok(cast(&ticks?, of.data_type())?)
}

fn bucket(width: IntervalMonthDayNano, ticks: i64, per: i64, origin: i64, given: bool) -> Result<i64> {
    let refuse = |why: &str| Err(external(model::error!(InvalidParameterValue, "{why}")));
    if width.months != 0 {
        if width.days != 0 || width.nanoseconds != 0 {
            return refuse("a bucket of months cannot have days or hours too");
        }
        if width.months < 0 {
            return refuse("period must be greater than 0");
        }
        let start = if given { civil(origin.div_euclid(per))?.date() } else { NaiveDate::default() };
        let (year, month) = if given { (start.year(), start.month0() as i32) } else { (2000, 0) };
        let at = civil(ticks.div_euclid(per))?;
        let since = (at.year() - year) * 12 + at.month0() as i32 - month;
        let first = since.div_euclid(width.months) * width.months + month;
        let date = NaiveDate::from_ymd_opt(year + first.div_euclid(12), first.rem_euclid(12) as u32 + 1, 1);
        let seconds = date.and_then(|date| date.and_hms_opt(0, 0, 0)).map(|at| at.and_utc().timestamp());
        return seconds.map_or_else(|| refuse("timestamp out of range"), |seconds| Ok(seconds * per));
    }
    let nanos = i128::from(width.days) * 86_400_000_000_000 + i128::from(width.nanoseconds);
    let step = i64::try_from(nanos * i128::from(per) / 1_000_000_000).unwrap_or(i64::MAX);
    if step <= 0 {
        return refuse("period must be greater than 0 and no shorter than a tick");
    }
    Ok(ticks - (ticks - origin).rem_euclid(step))
}

fn timezone_type(fields: &[FieldRef]) -> Result<FieldRef> {
    match fields {
        [] => Ok(Arc::new(field("timezone", PgType::TEXT, false))),
        [_, of] => Ok(Arc::new(match of.data_type() {
            DataType::Timestamp(unit, None) => {
                arrow::datatypes::Field::new("timezone", DataType::Timestamp(*unit, Some(Arc::from("UTC"))), true)
            }
            DataType::Timestamp(unit, Some(_)) => {
                arrow::datatypes::Field::new("timezone", DataType::Timestamp(*unit, None), true)
            }
            _ => field("timezone", PgType::TIMESTAMP, true),
        })),
        _ => plan_err!("timezone() takes a zone and a timestamp"),
    }
}

/// `timezone(zone, x)`, `x AT TIME ZONE zone`: a moment as that zone's wall clock, or the other way round. Without
/// arguments TDengine's: the session's zone.
fn timezone(call: &Call<'_>, args: &[ArrayRef], count: usize, of: &FieldRef) -> Result<ArrayRef> {
    let [zones, values] = args else {
        return Ok(Arc::new(arrow::array::StringArray::from(vec![call.zone()?.name(); count])));
    };
    let moments = moments(call, values)?;
    let zones = cast(zones, &DataType::Utf8)?;
    let zones = zones.as_string::<i32>();
    let mut last: Option<(String, TimeZone)> = None;
    let mut zone_of = |row: usize| -> Result<Option<TimeZone>> {
        if zones.is_null(row) {
            return Ok(None);
        }
        let name = zones.value(row);
        if last.as_ref().is_none_or(|(known, _)| known != name) {
            let zone = TimeZone::parse(name).map_err(external)?;
            last = Some((name.to_owned(), zone));
        }
        Ok(last.as_ref().map(|(_, zone)| *zone))
    };
    let one = |row: usize| -> Result<Option<i64>> {
        if moments.ticks.is_null(row) {
            return Ok(None);
        }
        let (ticks, per) = (moments.ticks.value(row), moments.per_second);
        let turn = |zone| if moments.zoned { to_local(zone, ticks, per) } else { to_utc(zone, ticks, per) };
        Ok(zone_of(row)?.map(turn))
    };
    let ticks: Result<Int64Array> = (0..count).map(one).collect();
    Ok(cast(&ticks?, of.data_type())?)
}
