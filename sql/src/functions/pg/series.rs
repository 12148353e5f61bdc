//! `generate_series` as a list: of whole numbers, numerics and doubles, and of times by intervals.
//!
//! [`crate::compat`] unnests it. Times step as PostgreSQL's do: each from the one before, months and days on the wall clock
//! of the session's zone.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Decimal128Array, Float64Array, Int32Array, Int64Array, ListArray, new_empty_array,
};
use arrow::buffer::OffsetBuffer;
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Decimal128Type, Field, FieldRef, Float64Type, Int64Type, IntervalMonthDayNano, IntervalMonthDayNanoType,
    IntervalUnit, TimeUnit,
};
use chrono::{Months, TimeDelta};
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::ScalarUDF;
use model::error;

use super::scalar::{Call, external};
use super::text::settings;
use super::time::{civil, to_local, to_utc};
use super::whole::Whole;
use crate::pgtype::PgType;
use crate::pgvalue::{TimeZone, decode};

/// Values that one call may give.
const VALUES_MAX: usize = 50_000_000;

/// Every function of this file.
pub(super) fn functions() -> Vec<ScalarUDF> {
    vec![Whole::udf("pg_series", series_type, series)]
}

fn undefined(fields: &[FieldRef]) -> datafusion::common::DataFusionError {
    let types: Vec<&str> = fields.iter().map(|field| PgType::of(field).name).collect();
    external(
        error!(UndefinedFunction, "function generate_series({}) does not exist", types.join(", "))
            .with_hint("Give two integers, numerics or timestamps, and a step; timestamps need one of type interval."),
    )
}

fn is_text(of: &DataType) -> bool {
    matches!(of, DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8 | DataType::Null)
}

/// The type of the members.
fn element(fields: &[FieldRef]) -> Option<DataType> {
    if !matches!(fields.len(), 2 | 3) {
        return None;
    }
    let types: Vec<&DataType> = fields.iter().map(|field| field.data_type()).collect();
    let bounds = &types[..2];
    if bounds.iter().any(|of| of.is_temporal()) || matches!(types.get(2), Some(DataType::Interval(_))) {
        return times(bounds, types.get(2).copied());
    }
    let known: Vec<&DataType> = types.into_iter().filter(|of| !is_text(of)).collect();
    let all = |test: fn(&DataType) -> bool| !known.is_empty() && known.iter().all(|of| test(of));
    if all(|of| matches!(of, DataType::Int8 | DataType::Int16 | DataType::Int32)) {
        Some(DataType::Int32)
    } else if all(DataType::is_integer) {
        Some(DataType::Int64)
    } else if all(|of| of.is_integer() || matches!(of, DataType::Decimal128(..))) {
        let scale = known.iter().map(|of| if let DataType::Decimal128(_, scale) = of { *scale } else { 0 }).max();
        Some(DataType::Decimal128(38, scale.unwrap_or(0)))
    } else if all(DataType::is_numeric) {
        Some(DataType::Float64)
    } else {
        None
    }
}

/// Times without a zone stay so only among themselves; a date is a midnight in the session's zone.
fn times(bounds: &[&DataType], step: Option<&DataType>) -> Option<DataType> {
    if !step.is_some_and(|of| is_text(of) || matches!(of, DataType::Interval(_))) {
        return None;
    }
    let (mut zoned, mut unit, mut naive) = (false, TimeUnit::Microsecond, false);
    for of in bounds {
        match of {
            DataType::Timestamp(of, zone) => {
                zoned |= zone.is_some();
                naive |= zone.is_none();
                if *of == TimeUnit::Nanosecond {
                    unit = TimeUnit::Nanosecond;
                }
            }
            DataType::Date32 => zoned = true,
            of if is_text(of) => {}
            _ => return None,
        }
    }
    Some(DataType::Timestamp(unit, (zoned || !naive).then(|| Arc::from("UTC"))))
}

fn series_type(fields: &[FieldRef]) -> Result<FieldRef> {
    let item = element(fields).ok_or_else(|| undefined(fields))?;
    let list = DataType::List(Arc::new(Field::new("item", item, true)));
    Ok(Arc::new(Field::new("generate_series", list, true)))
}

fn series(call: &Call<'_>, args: &[ArrayRef], count: usize, of: &FieldRef) -> Result<ArrayRef> {
    let DataType::List(item) = of.data_type() else { return exec_err!("a series is a list") };
    match item.data_type().clone() {
        DataType::Int32 | DataType::Int64 => {
            let numbers = numbers(args, &DataType::Int64)?;
            let values = |at: usize, row: usize| numbers[at].as_primitive::<Int64Type>().value(row);
            let lists = lists(&numbers, count, |row, out| {
                let step = if numbers.len() == 3 { values(2, row) } else { 1 };
                steps(out, values(0, row), values(1, row), &step, step.cmp(&0), |now, step| now.checked_add(*step))
            })?;
            let narrow = *item.data_type() == DataType::Int32;
            list_of(item, &lists, |values| {
                if narrow {
                    // Both ends are of this type, and so is what lies between them.
                    Arc::new(values.into_iter().map(|n| n as i32).collect::<Int32Array>())
                } else {
                    Arc::new(Int64Array::from(values))
                }
            })
        }
        DataType::Decimal128(precision, scale) => {
            let numbers = numbers(args, item.data_type())?;
            let values = |at: usize, row: usize| numbers[at].as_primitive::<Decimal128Type>().value(row);
            let one = 10_i128.pow(u32::try_from(scale).unwrap_or(0));
            let lists = lists(&numbers, count, |row, out| {
                let step = if numbers.len() == 3 { values(2, row) } else { one };
                steps(out, values(0, row), values(1, row), &step, step.cmp(&0), |now, step| now.checked_add(*step))
            })?;
            let array = |values| Decimal128Array::from(values).with_precision_and_scale(precision, scale);
            array(Vec::new())?;
            list_of(item, &lists, |values| Arc::new(array(values).expect("the precision was taken above")))
        }
        DataType::Float64 => {
            let numbers = numbers(args, &DataType::Float64)?;
            let values = |at: usize, row: usize| numbers[at].as_primitive::<Float64Type>().value(row);
            let lists = lists(&numbers, count, |row, out| {
                doubles(out, [0, 1, 2].map(|at| if at < numbers.len() { values(at, row) } else { 1.0 }))
            })?;
            list_of(item, &lists, |values| Arc::new(Float64Array::from(values)))
        }
        DataType::Timestamp(unit, zone) => moments(call, args, count, item, unit, zone.is_some()),
        other => exec_err!("a series of {other}"),
    }
}

fn numbers(args: &[ArrayRef], to: &DataType) -> Result<Vec<ArrayRef>> {
    let one = |array: &ArrayRef| {
        cast(array, to)
            .map_err(|_| external(error!(InvalidTextRepresentation, "an argument of generate_series is no number")))
    };
    args.iter().map(one).collect()
}

/// The members of each row, one after the other, and where each row's end. A NULL among the arguments gives none.
fn lists<T>(
    args: &[ArrayRef],
    count: usize,
    mut row: impl FnMut(usize, &mut Vec<T>) -> Result<()>,
) -> Result<(Vec<T>, Vec<i32>)> {
    let (mut values, mut ends) = (Vec::new(), vec![0]);
    for at in 0..count {
        if args.iter().all(|array| array.is_valid(at)) {
            row(at, &mut values)?;
        }
        ends.push(i32::try_from(values.len()).map_err(|_| too_many())?);
    }
    Ok((values, ends))
}

fn list_of<T: Clone>(
    item: &FieldRef,
    (values, ends): &(Vec<T>, Vec<i32>),
    array: impl FnOnce(Vec<T>) -> ArrayRef,
) -> Result<ArrayRef> {
    let values = if values.is_empty() { new_empty_array(item.data_type()) } else { array(values.clone()) };
    let values = if values.data_type() == item.data_type() { values } else { cast(&values, item.data_type())? };
    Ok(Arc::new(ListArray::try_new(Arc::clone(item), OffsetBuffer::new(ends.clone().into()), values, None)?))
}

fn too_many() -> datafusion::common::DataFusionError {
    let error = error!(ConfigurationLimitExceeded, "generate_series would give more than {VALUES_MAX} values");
    external(error.with_hint("with literals for its integers it has no such bound"))
}

fn zero() -> datafusion::common::DataFusionError {
    external(error!(InvalidParameterValue, "step size cannot equal zero"))
}

/// From `from` by `step`, whose sign is `sign`, as far as `to`.
fn steps<T: Copy + PartialOrd, S>(
    out: &mut Vec<T>,
    from: T,
    to: T,
    step: &S,
    sign: std::cmp::Ordering,
    next: impl Fn(T, &S) -> Option<T>,
) -> Result<()> {
    if sign.is_eq() {
        return Err(zero());
    }
    let mut now = from;
    while if sign.is_gt() { now <= to } else { now >= to } {
        if out.len() >= VALUES_MAX {
            return Err(too_many());
        }
        out.push(now);
        // What lies beyond the type lies beyond the end.
        let Some(after) = next(now, step) else { break };
        now = after;
    }
    Ok(())
}

/// Doubles are counted, not added up, so that a tenth ten times is one.
fn doubles(out: &mut Vec<f64>, [from, to, step]: [f64; 3]) -> Result<()> {
    if [from, to, step].iter().any(|n| !n.is_finite()) {
        return Err(external(error!(InvalidParameterValue, "the arguments of generate_series must be finite")));
    }
    if step == 0.0 {
        return Err(zero());
    }
    let at = |n: u64| from + step * n as f64;
    let count = (to - from) / step;
    // A step that is lost in the first value would never end.
    if count >= VALUES_MAX as f64 || (count > 0.0 && at(1) == from) {
        return Err(too_many());
    }
    let inside = |n: &f64| if step > 0.0 { *n <= to } else { *n >= to };
    out.extend((0..=count.max(0.0) as u64 + 1).map(at).filter(inside));
    Ok(())
}

/// A series of times.
fn moments(
    call: &Call<'_>,
    args: &[ArrayRef],
    count: usize,
    item: &FieldRef,
    unit: TimeUnit,
    zoned: bool,
) -> Result<ArrayRef> {
    let zone = if zoned { call.zone()? } else { TimeZone::UTC };
    let per = if unit == TimeUnit::Nanosecond { 1_000_000_000 } else { 1_000_000 };
    let [from, to] = [ticks(call, &args[0], zoned, per)?, ticks(call, &args[1], zoned, per)?];
    let by = intervals(call, &args[2])?;
    let args: Vec<ArrayRef> = vec![Arc::new(from.clone()), Arc::new(to.clone()), Arc::clone(&by)];
    let by = by.as_primitive::<IntervalMonthDayNanoType>();
    let lists = lists(&args, count, |row, out| {
        let step = by.value(row);
        steps(out, from.value(row), to.value(row), &step, sign(&step), |now, step| after(zone, now, step, per))
    })?;
    list_of(item, &lists, |values| Arc::new(Int64Array::from(values)))
}

/// Ticks of times in an argument: of the epoch if `zoned`, of the wall clock otherwise.
fn ticks(call: &Call<'_>, array: &ArrayRef, zoned: bool, per: i64) -> Result<Int64Array> {
    if is_text(array.data_type()) && !zoned {
        return texts(call, array, PgType::TIMESTAMP);
    }
    let moments = super::time::moments(call, array)?;
    let zone = call.zone()?;
    let scale = |ticks: i64| {
        let ticks = if moments.per_second <= per {
            ticks.checked_mul(per / moments.per_second)?
        } else {
            ticks.div_euclid(moments.per_second / per)
        };
        Some(if zoned && !moments.zoned { to_utc(zone, ticks, per) } else { ticks })
    };
    let outside = || external(error!(DatetimeFieldOverflow, "timestamp out of range"));
    let one = |ticks: Option<i64>| ticks.map(|ticks| scale(ticks).ok_or_else(outside)).transpose();
    moments.ticks.iter().map(one).collect()
}

fn texts(call: &Call<'_>, array: &ArrayRef, of: PgType) -> Result<Int64Array> {
    let settings = settings(call)?;
    let texts = cast(array, &DataType::Utf8)?;
    let one = |text: Option<&str>| {
        let Some(text) = text else { return Ok(None) };
        match decode(of, false, text.as_bytes(), &settings).map_err(external)? {
            datafusion::scalar::ScalarValue::TimestampMicrosecond(ticks, _) => Ok(ticks),
            other => exec_err!("a timestamp is read as {other:?}"),
        }
    };
    texts.as_string::<i32>().iter().map(one).collect()
}

/// Intervals in an argument; text is read as one.
fn intervals(call: &Call<'_>, array: &ArrayRef) -> Result<ArrayRef> {
    let of = DataType::Interval(IntervalUnit::MonthDayNano);
    if !is_text(array.data_type()) {
        return Ok(cast(array, &of)?);
    }
    let settings = settings(call)?;
    let texts = cast(array, &DataType::Utf8)?;
    let one = |text: Option<&str>| {
        let Some(text) = text else { return Ok(None) };
        match decode(PgType::INTERVAL, false, text.as_bytes(), &settings).map_err(external)? {
            datafusion::scalar::ScalarValue::IntervalMonthDayNano(value) => Ok(value),
            other => exec_err!("an interval is read as {other:?}"),
        }
    };
    let values: Result<arrow::array::IntervalMonthDayNanoArray> = texts.as_string::<i32>().iter().map(one).collect();
    Ok(Arc::new(values?))
}

/// As PostgreSQL compares an interval with zero: a month has 30 days, a day 24 hours.
fn sign(step: &IntervalMonthDayNano) -> std::cmp::Ordering {
    let days = i128::from(step.months) * 30 + i128::from(step.days);
    (days * 86_400_000_000_000 + i128::from(step.nanoseconds)).cmp(&0)
}

/// The time one step after `now`: months, then days on the wall clock, then the rest.
fn after(zone: TimeZone, now: i64, step: &IntervalMonthDayNano, per: i64) -> Option<i64> {
    let mut now = now;
    if step.months != 0 || step.days != 0 {
        let local = to_local(zone, now, per);
        let wall = civil(local.div_euclid(per)).ok()?;
        let months = Months::new(step.months.unsigned_abs());
        let wall = if step.months < 0 { wall.checked_sub_months(months) } else { wall.checked_add_months(months) };
        let wall = wall?.checked_add_signed(TimeDelta::days(step.days.into()))?;
        let local = wall.and_utc().timestamp().checked_mul(per)?.checked_add(local.rem_euclid(per))?;
        now = to_utc(zone, local, per);
    }
    now.checked_add(step.nanoseconds / (1_000_000_000 / per))
}
