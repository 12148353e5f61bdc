//! Arithmetic of dates, times and intervals, which the planner puts in place of DataFusion's operators.
//!
//! Months and days of an interval are those of the calendar: beside a timestamp with a zone they count in the session's
//! zone, and only the time part is absolute. Start reading at [`kind`], which says what an operator means for its types.

use std::sync::{Arc, LazyLock};

use arrow::array::{
    Array, ArrayRef, AsArray, Date32Array, Decimal128Array, Int32Array, Int64Array, IntervalMonthDayNanoArray,
};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Date32Type, Float64Type, Int64Type, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit,
    TimeUnit,
};
use chrono::{DateTime, Months, NaiveDateTime};
use datafusion::common::{Result, ScalarValue, exec_err, plan_err};
use datafusion::config::ConfigOptions;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{
    ColumnarValue, Operator, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use model::error;

use super::scalar::{external, zone};
use super::time::{per_second, to_local, to_utc};
use crate::pgvalue::TimeZone;

const DAY_NS: i64 = 86_400_000_000_000;
const INTERVAL: DataType = DataType::Interval(IntervalUnit::MonthDayNano);

/// What an operator does with two types, the moment or interval first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A timestamp or date and an interval; the date becomes a timestamp.
    Shift,
    /// A date and a number of days.
    Days,
    /// Two dates.
    DatesApart,
    /// A date or timestamp and a time of day.
    AtTime,
    /// A time of day and an interval.
    Clock,
    /// Two times of day.
    ClocksApart,
    /// Two intervals.
    Sum,
    /// An interval and a factor or divisor.
    Scale,
}

/// What `left operator right` does, and whether the operands stand the other way round; None if that is not this file's.
fn kind(left: &DataType, operator: Operator, right: &DataType) -> Option<(Kind, bool)> {
    use Operator::{Divide, Minus, Multiply, Plus};
    let moment = |of: &DataType| matches!(of, DataType::Timestamp(..) | DataType::Date32);
    let length = |of: &DataType| matches!(of, DataType::Interval(_) | DataType::Duration(_));
    let clock = |of: &DataType| matches!(of, DataType::Time32(_) | DataType::Time64(_));
    let date = |of: &DataType| *of == DataType::Date32;
    let straight = |kind| Some((kind, false));
    let swapped = |kind| Some((kind, true));
    match operator {
        Plus | Minus if moment(left) && length(right) => straight(Kind::Shift),
        Plus if length(left) && moment(right) => swapped(Kind::Shift),
        Plus | Minus if date(left) && right.is_integer() => straight(Kind::Days),
        Plus if left.is_integer() && date(right) => swapped(Kind::Days),
        Minus if date(left) && date(right) => straight(Kind::DatesApart),
        Plus | Minus if moment(left) && clock(right) => straight(Kind::AtTime),
        Plus if clock(left) && moment(right) => swapped(Kind::AtTime),
        Plus | Minus if clock(left) && length(right) => straight(Kind::Clock),
        Plus if length(left) && clock(right) => swapped(Kind::Clock),
        Minus if clock(left) && clock(right) => straight(Kind::ClocksApart),
        Plus | Minus if length(left) && length(right) => straight(Kind::Sum),
        Multiply | Divide if length(left) && right.is_numeric() => straight(Kind::Scale),
        Multiply if left.is_numeric() && length(right) => swapped(Kind::Scale),
        _ => None,
    }
}

/// One operator of which an operand is a date, a time or an interval.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Moment {
    /// Which.
    pub(crate) operator: Operator,
    signature: Signature,
}

macro_rules! operators {
    ($($name:ident = $operator:ident)+) => {
        $(static $name: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| {
            let signature = Signature::any(2, Volatility::Stable);
            Arc::new(ScalarUDF::from(Moment { operator: Operator::$operator, signature }))
        });)+

        /// The function that is this operator for these types; None if it is none of this file's.
        pub(crate) fn operator(left: &DataType, of: Operator, right: &DataType) -> Option<&'static Arc<ScalarUDF>> {
            kind(left, of, right)?;
            match of {
                $(Operator::$operator => Some(&$name),)+
                _ => None,
            }
        }
    };
}

operators! {
    PLUS = Plus
    MINUS = Minus
    MULTIPLY = Multiply
    DIVIDE = Divide
}

impl Moment {
    fn result(&self, types: &[DataType]) -> Result<(Kind, bool, DataType)> {
        let Some((kind, swapped)) = kind(&types[0], self.operator, &types[1]) else {
            return plan_err!("{} {} {} means nothing", types[0], self.operator, types[1]);
        };
        let first = if swapped { &types[1] } else { &types[0] };
        let to = match (kind, first) {
            (Kind::Shift | Kind::AtTime, DataType::Timestamp(..)) => first.clone(),
            (Kind::Shift | Kind::AtTime, _) => DataType::Timestamp(TimeUnit::Microsecond, None),
            (Kind::Days, _) => DataType::Date32,
            (Kind::DatesApart, _) => DataType::Int32,
            (Kind::Clock, _) => first.clone(),
            (Kind::ClocksApart | Kind::Sum | Kind::Scale, _) => INTERVAL,
        };
        Ok((kind, swapped, to))
    }
}

impl ScalarUDFImpl for Moment {
    fn name(&self) -> &str {
        match self.operator {
            Operator::Plus => "time_add",
            Operator::Minus => "time_subtract",
            Operator::Multiply => "interval_multiply",
            _ => "interval_divide",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(self.result(types)?.2)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let types: Vec<DataType> = args.arg_fields.iter().map(|field| field.data_type().clone()).collect();
        let (kind, swapped, to) = self.result(&types)?;
        let scalars = args.args.iter().all(|value| matches!(value, ColumnarValue::Scalar(_)));
        let rows = if scalars { 1 } else { args.number_rows };
        let mut arrays = args.args.iter().map(|value| value.to_array(rows)).collect::<Result<Vec<_>>>()?;
        if swapped {
            arrays.swap(0, 1);
        }
        let back = self.operator == Operator::Minus;
        let (left, right) = (&arrays[0], &arrays[1]);
        let array = match kind {
            Kind::Shift => shift(left, &intervals(right)?, back, &to, &args.config_options)?,
            Kind::AtTime => shift(left, &clock_intervals(right)?, back, &to, &args.config_options)?,
            Kind::Days => shift_days(left, right, back)?,
            Kind::DatesApart => dates_apart(left, right)?,
            Kind::Clock => shift_clock(left, &intervals(right)?, back, &to)?,
            Kind::ClocksApart => sum(&clock_intervals(left)?, &clock_intervals(right)?, true)?,
            Kind::Sum => sum(&intervals(left)?, &intervals(right)?, back)?,
            Kind::Scale => scale(&intervals(left)?, right, self.operator == Operator::Divide)?,
        };
        if scalars {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&array, 0)?));
        }
        Ok(ColumnarValue::Array(array))
    }
}

/// Intervals of any Arrow type. The difference of two moments counts days, as PostgreSQL's does.
pub(super) fn intervals(array: &ArrayRef) -> Result<IntervalMonthDayNanoArray> {
    if let DataType::Duration(_) = array.data_type() {
        let nanos = cast(&cast(array, &DataType::Duration(TimeUnit::Nanosecond))?, &DataType::Int64)?;
        let days = |nanos: i64| IntervalMonthDayNano::new(0, (nanos / DAY_NS) as i32, nanos % DAY_NS);
        return Ok(nanos.as_primitive::<Int64Type>().unary(days));
    }
    let array = cast(array, &INTERVAL)?;
    Ok(array.as_primitive::<IntervalMonthDayNanoType>().clone())
}

/// Times of day as intervals since midnight.
fn clock_intervals(array: &ArrayRef) -> Result<IntervalMonthDayNanoArray> {
    let nanos = cast(&cast(array, &DataType::Time64(TimeUnit::Nanosecond))?, &DataType::Int64)?;
    Ok(nanos.as_primitive::<Int64Type>().unary(|nanos| IntervalMonthDayNano::new(0, 0, nanos)))
}

fn out_of_range(what: &str) -> DataFusionError {
    external(error!(DatetimeFieldOverflow, "{what} out of range"))
}

/// Rows where both are there.
fn pairs<T>(
    left: &dyn Array,
    right: &dyn Array,
    one: impl FnMut(usize) -> Result<T>,
) -> impl Iterator<Item = Result<Option<T>>> {
    let mut one = one;
    let known: Vec<bool> = (0..left.len()).map(|row| left.is_valid(row) && right.is_valid(row)).collect();
    known.into_iter().enumerate().map(move |(row, known)| if known { one(row).map(Some) } else { Ok(None) })
}

fn shift(
    left: &ArrayRef,
    lengths: &IntervalMonthDayNanoArray,
    back: bool,
    to: &DataType,
    options: &ConfigOptions,
) -> Result<ArrayRef> {
    let DataType::Timestamp(unit, zoned) = to else { return exec_err!("{to} is no timestamp") };
    let zone = if zoned.is_some() { zone(options)? } else { TimeZone::UTC };
    let ticks = cast(&cast(left, to)?, &DataType::Int64)?;
    let ticks = ticks.as_primitive::<Int64Type>();
    let per = per_second(*unit);
    let one = |row: usize| {
        let length = lengths.value(row);
        let length = if back { negated(length)? } else { length };
        moved(ticks.value(row), length, zone, per)
    };
    let moved: Result<Int64Array> = pairs(ticks, lengths, one).collect();
    Ok(cast(&moved?, to)?)
}

/// A moment, in ticks, and an interval: the calendar's part in `zone`, the rest absolute.
fn moved(ticks: i64, by: IntervalMonthDayNano, zone: TimeZone, per: i64) -> Result<i64> {
    let overflow = || out_of_range("timestamp");
    let mut ticks = ticks;
    if by.months != 0 || by.days != 0 {
        let local = to_local(zone, ticks, per);
        let (seconds, rest) = (local.div_euclid(per), local.rem_euclid(per));
        let wall = DateTime::from_timestamp(seconds, 0).ok_or_else(overflow)?.naive_utc();
        let wall = add_months(wall, by.months).ok_or_else(overflow)?;
        let wall = wall.checked_add_signed(chrono::Duration::days(by.days.into())).ok_or_else(overflow)?;
        let local = wall.and_utc().timestamp().checked_mul(per).and_then(|of| of.checked_add(rest));
        ticks = to_utc(zone, local.ok_or_else(overflow)?, per);
    }
    let tick_ns = 1_000_000_000 / per;
    let more = by.nanoseconds.div_euclid(tick_ns);
    // Half a tick rounds up.
    let more = more + i64::from(by.nanoseconds.rem_euclid(tick_ns) * 2 >= tick_ns && tick_ns > 1);
    ticks.checked_add(more).ok_or_else(overflow)
}

/// The same day some months later, or the last of that month.
fn add_months(wall: NaiveDateTime, months: i32) -> Option<NaiveDateTime> {
    let by = Months::new(months.unsigned_abs());
    if months >= 0 { wall.checked_add_months(by) } else { wall.checked_sub_months(by) }
}

fn shift_days(dates: &ArrayRef, days: &ArrayRef, back: bool) -> Result<ArrayRef> {
    let dates = dates.as_primitive::<Date32Type>();
    let days = cast(days, &DataType::Int64)?;
    let days = days.as_primitive::<Int64Type>();
    let one = |row: usize| {
        let by = if back { -i128::from(days.value(row)) } else { i128::from(days.value(row)) };
        i32::try_from(i128::from(dates.value(row)) + by).map_err(|_| out_of_range("date"))
    };
    let moved: Result<Date32Array> = pairs(dates, days, one).collect();
    Ok(Arc::new(moved?))
}

fn dates_apart(left: &ArrayRef, right: &ArrayRef) -> Result<ArrayRef> {
    let (left, right) = (left.as_primitive::<Date32Type>(), right.as_primitive::<Date32Type>());
    let one = |row: usize| left.value(row).checked_sub(right.value(row)).ok_or_else(|| out_of_range("date"));
    let days: Result<Int32Array> = pairs(left, right, one).collect();
    Ok(Arc::new(days?))
}

/// A time of day goes around at midnight; the calendar's part of the interval has no effect.
fn shift_clock(left: &ArrayRef, by: &IntervalMonthDayNanoArray, back: bool, to: &DataType) -> Result<ArrayRef> {
    let nanos = cast(&cast(left, &DataType::Time64(TimeUnit::Nanosecond))?, &DataType::Int64)?;
    let nanos = nanos.as_primitive::<Int64Type>();
    let one = |row: usize| {
        let length = by.value(row).nanoseconds % DAY_NS;
        Ok((nanos.value(row) + if back { -length } else { length }).rem_euclid(DAY_NS))
    };
    let moved: Result<Int64Array> = pairs(nanos, by, one).collect();
    Ok(cast(&cast(&moved?, &DataType::Time64(TimeUnit::Nanosecond))?, to)?)
}

fn negated(of: IntervalMonthDayNano) -> Result<IntervalMonthDayNano> {
    let parts = (of.months.checked_neg(), of.days.checked_neg(), of.nanoseconds.checked_neg());
    let (Some(months), Some(days), Some(nanoseconds)) = parts else { return Err(out_of_range("interval")) };
    Ok(IntervalMonthDayNano::new(months, days, nanoseconds))
}

fn sum(left: &IntervalMonthDayNanoArray, right: &IntervalMonthDayNanoArray, back: bool) -> Result<ArrayRef> {
    let one = |row: usize| {
        let (a, b) = (left.value(row), right.value(row));
        let b = if back { negated(b)? } else { b };
        let parts =
            (a.months.checked_add(b.months), a.days.checked_add(b.days), a.nanoseconds.checked_add(b.nanoseconds));
        let (Some(months), Some(days), Some(nanoseconds)) = parts else { return Err(out_of_range("interval")) };
        Ok(IntervalMonthDayNano::new(months, days, nanoseconds))
    };
    let sums: Result<IntervalMonthDayNanoArray> = pairs(left, right, one).collect();
    Ok(Arc::new(sums?))
}

fn scale(lengths: &IntervalMonthDayNanoArray, factors: &ArrayRef, divide: bool) -> Result<ArrayRef> {
    let factors = cast(factors, &DataType::Float64)?;
    let factors = factors.as_primitive::<Float64Type>();
    let one = |row: usize| {
        let factor = factors.value(row);
        if divide && factor == 0.0 {
            return Err(external(error!(DivisionByZero, "division by zero")));
        }
        multiplied(lengths.value(row), |part| if divide { part / factor } else { part * factor })
    };
    let scaled: Result<IntervalMonthDayNanoArray> = pairs(lengths, factors, one).collect();
    Ok(Arc::new(scaled?))
}

/// PostgreSQL's interval_mul: what a fraction of a month or day leaves over spills into the smaller fields, at 30 days a
/// month and 24 hours a day, rounded to microseconds.
fn multiplied(of: IntervalMonthDayNano, by: impl Fn(f64) -> f64) -> Result<IntervalMonthDayNano> {
    let overflow = || out_of_range("interval");
    let rounded = |seconds: f64| (seconds * 1e6).round() / 1e6;
    let whole = |value: f64| {
        let fits = value.is_finite() && value >= f64::from(i32::MIN) && value <= f64::from(i32::MAX);
        if fits { Ok(value as i32) } else { Err(overflow()) }
    };
    let (months, days) = (by(f64::from(of.months)), by(f64::from(of.days)));
    let month_days = rounded(months.fract() * 30.0);
    let mut seconds = rounded((days.fract() + month_days.fract()) * 86_400.0);
    let mut result_days = whole(days)?.checked_add(month_days as i32).ok_or_else(overflow)?;
    if seconds.abs() >= 86_400.0 {
        result_days = result_days.checked_add((seconds / 86_400.0) as i32).ok_or_else(overflow)?;
        seconds %= 86_400.0;
    }
    let nanos = by(of.nanoseconds as f64) + seconds * 1e9;
    if !nanos.is_finite() || nanos.abs() >= 9.2e18 {
        return Err(overflow());
    }
    Ok(IntervalMonthDayNano::new(whole(months)?, result_days, (nanos / 1e3).round_ties_even() as i64 * 1000))
}

/// What intervals are compared by: their length at 30 days a month and 24 hours a day.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Length {
    signature: Signature,
}

static LENGTH: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| {
    let signature = Signature::any(1, Volatility::Immutable);
    Arc::new(ScalarUDF::from(Length { signature }))
});

/// The function whose results order intervals as PostgreSQL does.
pub(crate) fn length() -> &'static Arc<ScalarUDF> {
    &LENGTH
}

impl ScalarUDFImpl for Length {
    fn name(&self) -> &'static str {
        "interval_length"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Decimal128(38, 0))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let scalar = matches!(args.args[0], ColumnarValue::Scalar(_));
        let lengths = intervals(&args.args[0].to_array(if scalar { 1 } else { args.number_rows })?)?;
        let of = |of: IntervalMonthDayNano| {
            (i128::from(of.months) * 30 + i128::from(of.days)) * i128::from(DAY_NS) + i128::from(of.nanoseconds)
        };
        let lengths: Decimal128Array = lengths.iter().map(|length| length.map(of)).collect();
        let array: ArrayRef = Arc::new(lengths.with_precision_and_scale(38, 0)?);
        if scalar {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&array, 0)?));
        }
        Ok(ColumnarValue::Array(array))
    }
}

/// `-interval`.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Negated {
    signature: Signature,
}

static NEGATED: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| {
    let signature = Signature::any(1, Volatility::Immutable);
    Arc::new(ScalarUDF::from(Negated { signature }))
});

/// The function that turns an interval around.
pub(crate) fn negation() -> &'static Arc<ScalarUDF> {
    &NEGATED
}

impl ScalarUDFImpl for Negated {
    fn name(&self) -> &'static str {
        "interval_negated"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(INTERVAL)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let scalar = matches!(args.args[0], ColumnarValue::Scalar(_));
        let lengths = intervals(&args.args[0].to_array(if scalar { 1 } else { args.number_rows })?)?;
        let turned: Result<Vec<_>> = lengths.iter().map(|of| of.map(negated).transpose()).collect();
        let array: ArrayRef = Arc::new(IntervalMonthDayNanoArray::from(turned?));
        if scalar {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&array, 0)?));
        }
        Ok(ColumnarValue::Array(array))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_multiply_as_in_postgres() {
        // PostgreSQL 15: interval '1 month' * 1.5 = 1 mon 15 days; '1 day' * 1.5 = 1 day 12:00; '1 month' / 4 = 7 days 12:00.
        let of = |months, days, nanos| IntervalMonthDayNano::new(months, days, nanos);
        let by = |length, factor: f64| multiplied(length, |part| part * factor).expect("it fits");
        assert_eq!(by(of(1, 0, 0), 1.5), of(1, 15, 0));
        assert_eq!(by(of(0, 1, 0), 1.5), of(0, 1, DAY_NS / 2));
        assert_eq!(by(of(1, 0, 0), 0.25), of(0, 7, DAY_NS / 2));
        assert_eq!(by(of(0, 0, 3_600_000_000_000), -0.5), of(0, 0, -1_800_000_000_000));
        assert!(multiplied(of(i32::MAX, 0, 0), |part| part * 2.0).is_err());
    }

    #[test]
    fn days_are_the_zone_s() {
        let zone = TimeZone::parse("Europe/Berlin").expect("it is known");
        // 2024-03-30 12:00+01; the clocks go forward in the night.
        let noon = 1_711_796_400_000_000;
        let day = IntervalMonthDayNano::new(0, 1, 0);
        assert_eq!(moved(noon, day, zone, 1_000_000).expect("it fits"), noon + 23 * 3_600_000_000);
        let hours = IntervalMonthDayNano::new(0, 0, DAY_NS);
        assert_eq!(moved(noon, hours, zone, 1_000_000).expect("it fits"), noon + 24 * 3_600_000_000);
    }

    #[test]
    fn floats_scale_too() {
        let lengths = IntervalMonthDayNanoArray::from(vec![IntervalMonthDayNano::new(0, 2, 0)]);
        let factors: ArrayRef = Arc::new(arrow::array::Float64Array::from(vec![0.0]));
        assert!(scale(&lengths, &factors, true).is_err());
    }
}
