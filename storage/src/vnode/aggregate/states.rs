//! What is known of each group: one [`States`] for each aggregate, with one state for each group.
//!
//! Rows come as [`Stretch`]es of one group, so that a loop over values has nothing to look up.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Decimal128Array, Float64Array, Int64Array};
use arrow::buffer::NullBuffer;
use arrow::datatypes::ArrowNativeType;
use model::aggregate::{Function, SUM_DIGITS};
use model::{DataType, Precision, Value};

use crate::block::{CompensatedSum, Statistics, Sum};
use crate::codec::natives;
use crate::vnode::aggregate::groups::Stretch;
use crate::vnode::values::{array_of, value_at};

/// Sums that run side by side: an addition need not wait for the one before.
const LANES: usize = 8;

/// One aggregate of all groups.
pub(super) struct States {
    function: Function,
    data_type: DataType,
    state: State,
}

enum State {
    Count(Vec<i64>),
    Whole(Vec<Option<i128>>),
    Float(Vec<Option<CompensatedSum>>),
    /// Least or greatest; NULL if there is none.
    Best(Vec<Value>),
    /// The key and the cell of the chosen row.
    Pick(Vec<Option<(i64, Value)>>),
}

/// Rows that are to be taken in.
pub(super) struct Rows<'a> {
    pub(super) stretches: &'a [Stretch],
    /// Key of each row; may be empty if no function asks for the oldest or newest.
    pub(super) keys: &'a [i64],
    /// The cells of the aggregate's column; None: all NULL.
    pub(super) cells: Option<&'a ArrayRef>,
}

/// What a block's header says of all its rows, as one column of one group.
pub(super) struct Summary<'a> {
    pub(super) rows: usize,
    /// Keys of the first and the last row; None if they are of several series.
    pub(super) ends: Option<(i64, i64)>,
    /// None: every cell is NULL.
    pub(super) statistics: Option<&'a Statistics>,
}

impl States {
    pub(super) fn new(function: Function, data_type: DataType) -> Self {
        let state = match function {
            Function::Rows | Function::Count => State::Count(Vec::new()),
            Function::Sum if data_type.is_float() => State::Float(Vec::new()),
            Function::Sum => State::Whole(Vec::new()),
            Function::Min | Function::Max => State::Best(Vec::new()),
            Function::First | Function::Last | Function::LastRow => State::Pick(Vec::new()),
        };
        Self { function, data_type, state }
    }

    /// Whether it must be known which row is the oldest or newest.
    pub(super) fn needs_keys(&self) -> bool {
        matches!(self.state, State::Pick(_))
    }

    pub(super) fn resize(&mut self, groups: usize) {
        match &mut self.state {
            State::Count(counts) => counts.resize(groups, 0),
            State::Whole(sums) => sums.resize(groups, None),
            State::Float(sums) => sums.resize(groups, None),
            State::Best(best) => best.resize(groups, Value::Null),
            State::Pick(picks) => picks.resize(groups, None),
        }
    }

    /// Takes rows in.
    pub(super) fn take(&mut self, rows: &Rows<'_>) {
        let (function, data_type) = (self.function, self.data_type);
        match &mut self.state {
            State::Count(counts) => count(counts, function, rows),
            State::Pick(picks) => pick(picks, function, data_type, rows),
            _ if rows.cells.is_none() => {}
            State::Whole(sums) => sum_whole(sums, data_type, rows),
            State::Float(sums) => sum_floats(sums, data_type, rows),
            State::Best(best) => choose(best, function == Function::Max, data_type, rows),
        }
    }

    /// Whether [`States::summarize`] can take the rows of this block in.
    pub(super) fn can_summarize(&self, summary: &Summary<'_>) -> bool {
        let statistics = match (self.function, summary.statistics) {
            (Function::Rows, _) => return true,
            (Function::LastRow, None) => return summary.ends.is_some(),
            (_, None) => return true,
            (_, Some(statistics)) => statistics,
        };
        let empty = statistics.count == 0;
        statistics.usable()
            && match self.function {
                Function::Rows | Function::Count => true,
                Function::Sum => match (&self.state, &statistics.sum) {
                    (State::Whole(_), Some(Sum::Int(_))) | (State::Float(_), Some(Sum::Float(_))) => true,
                    _ => empty,
                },
                Function::Min | Function::Max => {
                    !statistics.nan && (empty || statistics.min.as_ref().is_some_and(|min| self.fits(min)))
                }
                Function::First | Function::Last if empty => true,
                Function::First => summary.ends.is_some() && cell(&statistics.first).is_some_and(|v| self.fits(v)),
                Function::Last => summary.ends.is_some() && cell(&statistics.last).is_some_and(|v| self.fits(v)),
                Function::LastRow => {
                    let known = |last: &Value| *last == Value::Null || self.fits(last);
                    summary.ends.is_some() && statistics.last.as_ref().is_some_and(known)
                }
            }
    }

    /// Whether a value has the kind that the column has now: its type may have changed since the block was written.
    fn fits(&self, value: &Value) -> bool {
        match self.data_type {
            DataType::Bool => matches!(value, Value::Bool(_)),
            DataType::Float | DataType::Double => matches!(value, Value::Float(_)),
            DataType::Decimal(..) => matches!(value, Value::Decimal(_)),
            DataType::UTinyInt | DataType::USmallInt | DataType::UInt | DataType::UBigInt => {
                matches!(value, Value::UInt(_))
            }
            data_type if data_type.is_text() => matches!(value, Value::Text(_)),
            DataType::Varbinary(_) | DataType::Geometry(_) => matches!(value, Value::Bytes(_)),
            _ => matches!(value, Value::Int(_)),
        }
    }

    /// Takes all rows of a block in without looking at them.
    pub(super) fn summarize(&mut self, group: u32, summary: &Summary<'_>) {
        let group = group as usize;
        let function = self.function;
        let some = summary.statistics.filter(|statistics| statistics.count > 0);
        match &mut self.state {
            State::Count(counts) if function == Function::Rows => counts[group] += summary.rows as i64,
            State::Count(counts) => counts[group] += some.map_or(0, |statistics| i64::from(statistics.count)),
            State::Whole(sums) => {
                if let Some(Sum::Int(more)) = some.and_then(|statistics| statistics.sum) {
                    *sums[group].get_or_insert(0) += more;
                }
            }
            State::Float(sums) => {
                if let Some(Sum::Float(more)) = some.and_then(|statistics| statistics.sum) {
                    sums[group].get_or_insert_default().merge(more);
                }
            }
            State::Best(best) => {
                let max = function == Function::Max;
                let of = some.and_then(|s| if max { s.max.as_ref() } else { s.min.as_ref() });
                if let Some(value) = of {
                    improve(&mut best[group], value.clone(), max);
                }
            }
            State::Pick(picks) => {
                let Some((first, last)) = summary.ends else { return };
                let null = Value::Null;
                let (key, value) = match (function, some) {
                    (Function::First, Some(statistics)) => (first, statistics.first.as_ref()),
                    (Function::Last, Some(statistics)) => (last, statistics.last.as_ref()),
                    (Function::LastRow, _) => {
                        (last, summary.statistics.map_or(Some(&null), |statistics| statistics.last.as_ref()))
                    }
                    _ => return,
                };
                prefer(&mut picks[group], function, key, || value.cloned().unwrap_or(Value::Null));
            }
        }
    }

    /// The states of all groups, which are forgotten.
    pub(super) fn emit(&mut self, precision: Precision) -> Vec<ArrayRef> {
        match &mut self.state {
            State::Count(counts) => vec![Arc::new(Int64Array::from(std::mem::take(counts)))],
            State::Whole(sums) => {
                let sums: Decimal128Array = std::mem::take(sums).into_iter().collect();
                let sums = sums.with_precision_and_scale(SUM_DIGITS, 0).expect("38 digits are what there is");
                vec![Arc::new(sums)]
            }
            State::Float(sums) => {
                let sums = std::mem::take(sums);
                let part = |of: fn(CompensatedSum) -> f64| -> ArrayRef {
                    Arc::new(sums.iter().map(|sum| sum.map(of)).collect::<Float64Array>())
                };
                vec![part(|sum| sum.sum), part(|sum| sum.compensation)]
            }
            State::Best(best) => vec![array_of(self.data_type, precision, std::mem::take(best).iter())],
            State::Pick(picks) => {
                let picks = std::mem::take(picks);
                let keys: Int64Array = picks.iter().map(|pick| pick.as_ref().map(|(key, _)| *key)).collect();
                let null = Value::Null;
                let values = picks.iter().map(|pick| pick.as_ref().map_or(&null, |(_, value)| value));
                vec![Arc::new(keys), array_of(self.data_type, precision, values)]
            }
        }
    }
}

/// A cell that statistics keep, unless it is NULL.
fn cell(value: &Option<Value>) -> Option<&Value> {
    value.as_ref().filter(|value| **value != Value::Null)
}

fn nulls_of(cells: &ArrayRef) -> Option<&NullBuffer> {
    cells.nulls().filter(|nulls| nulls.null_count() > 0)
}

fn count(counts: &mut [i64], function: Function, rows: &Rows<'_>) {
    let nulls = match (function, rows.cells) {
        (Function::Rows, _) => None,
        (_, None) => return,
        (_, Some(cells)) => nulls_of(cells),
    };
    for stretch in rows.stretches {
        let rows = stretch.rows();
        let valid = nulls.map_or(rows.len(), |nulls| nulls.inner().slice(rows.start, rows.len()).count_set_bits());
        counts[stretch.group as usize] += valid as i64;
    }
}

/// Runs `$body` with `$T` as the native type of a numeric column, or of one that is kept as a number.
macro_rules! with_native {
    ($data_type:expr, $T:ident => $body:expr) => {
        match $data_type {
            DataType::TinyInt => {
                type $T = i8;
                $body
            }
            DataType::SmallInt => {
                type $T = i16;
                $body
            }
            DataType::Int | DataType::Date => {
                type $T = i32;
                $body
            }
            DataType::UTinyInt => {
                type $T = u8;
                $body
            }
            DataType::USmallInt => {
                type $T = u16;
                $body
            }
            DataType::UInt => {
                type $T = u32;
                $body
            }
            DataType::UBigInt => {
                type $T = u64;
                $body
            }
            DataType::Float => {
                type $T = f32;
                $body
            }
            DataType::Double => {
                type $T = f64;
                $body
            }
            _ => {
                type $T = i64;
                $body
            }
        }
    };
}

fn sum_whole(sums: &mut [Option<i128>], data_type: DataType, rows: &Rows<'_>) {
    let Some(cells) = rows.cells else { return };
    with_native!(data_type, T => {
        let (all, nulls) = (natives::<T>(cells), nulls_of(cells));
        for stretch in rows.stretches {
            let sum = &mut sums[stretch.group as usize];
            match nulls {
                None => *sum.get_or_insert(0) += T::total(&all[stretch.rows()]),
                Some(nulls) => {
                    for row in stretch.rows().filter(|row| nulls.is_valid(*row)) {
                        *sum.get_or_insert(0) += T::total(&all[row..=row]);
                    }
                }
            }
        }
    });
}

/// Values that can be summed without loss in 128 bits.
trait Total: Sized {
    fn total(values: &[Self]) -> i128;
}

macro_rules! narrow_total {
    ($($int:ty),*) => {
        $(impl Total for $int {
            fn total(values: &[Self]) -> i128 {
                // 2^31 values fit.
                i128::from(values.iter().map(|value| i64::from(*value)).sum::<i64>())
            }
        })*
    };
}
narrow_total!(i8, i16, i32, u8, u16, u32);

/// Both halves are summed by themselves: additions of 64 bits can be done several at once.
impl Total for i64 {
    fn total(values: &[Self]) -> i128 {
        let (mut high, mut low) = (0_i64, 0_i64);
        for value in values {
            high += value >> 32;
            low += value & 0xffff_ffff;
        }
        (i128::from(high) << 32) + i128::from(low)
    }
}

impl Total for u64 {
    fn total(values: &[Self]) -> i128 {
        values.iter().map(|value| i128::from(*value)).sum()
    }
}

/// Never asked for: sums of floats are [`CompensatedSum`]s.
macro_rules! no_total {
    ($($float:ty),*) => {
        $(impl Total for $float {
            fn total(_: &[Self]) -> i128 {
                unreachable!("floats are summed as floats")
            }
        })*
    };
}
no_total!(f32, f64);

fn sum_floats(sums: &mut [Option<CompensatedSum>], data_type: DataType, rows: &Rows<'_>) {
    let Some(cells) = rows.cells else { return };
    if data_type == DataType::Float {
        sum_floats_of(sums, &natives::<f32>(cells), nulls_of(cells), rows.stretches);
    } else {
        sum_floats_of(sums, &natives::<f64>(cells), nulls_of(cells), rows.stretches);
    }
}

fn sum_floats_of<T: ArrowNativeType + Into<f64>>(
    sums: &mut [Option<CompensatedSum>],
    all: &[T],
    nulls: Option<&NullBuffer>,
    stretches: &[Stretch],
) {
    for stretch in stretches {
        let sum = &mut sums[stretch.group as usize];
        match nulls {
            None => sum.get_or_insert_default().merge(float_total(&all[stretch.rows()])),
            Some(nulls) => {
                for row in stretch.rows().filter(|row| nulls.is_valid(*row)) {
                    sum.get_or_insert_default().add(all[row].into());
                }
            }
        }
    }
}

/// Neumaier's sum in several lanes, without a branch (Knuth's two-sum keeps what is lost whichever term is larger).
fn float_total<T: Copy + Into<f64>>(values: &[T]) -> CompensatedSum {
    let mut total = CompensatedSum::default();
    let (whole, rest) = values.as_chunks::<LANES>();
    if !whole.is_empty() {
        let (mut sums, mut lost) = ([0.0_f64; LANES], [0.0_f64; LANES]);
        for part in whole {
            for lane in 0..LANES {
                let value: f64 = part[lane].into();
                let sum = sums[lane] + value;
                let taken = sum - sums[lane];
                lost[lane] += (sums[lane] - (sum - taken)) + (value - taken);
                sums[lane] = sum;
            }
        }
        for lane in 0..LANES {
            total.merge(CompensatedSum { sum: sums[lane], compensation: lost[lane] });
        }
    }
    rest.iter().for_each(|value| total.add((*value).into()));
    if total.sum.is_finite() && total.compensation.is_finite() {
        return total;
    }
    // Infinities and NaN: one by one.
    let mut total = CompensatedSum::default();
    values.iter().for_each(|value| total.add((*value).into()));
    total
}

fn choose(best: &mut [Value], max: bool, data_type: DataType, rows: &Rows<'_>) {
    let Some(cells) = rows.cells else { return };
    with_native!(data_type, T => {
        let (all, nulls) = (natives::<T>(cells), nulls_of(cells));
        for stretch in rows.stretches {
            let found = match nulls {
                None => T::extreme(&all[stretch.rows()], max),
                Some(nulls) => {
                    let valid = stretch.rows().filter(|row| nulls.is_valid(*row));
                    let valid: Vec<T> = valid.map(|row| all[row]).collect();
                    T::extreme(&valid, max)
                }
            };
            if let Some(found) = found {
                improve(&mut best[stretch.group as usize], found.value(), max);
            }
        }
    });
}

/// Values of which one is the least.
trait Extreme: Copy {
    fn extreme(values: &[Self], max: bool) -> Option<Self>;
    fn value(self) -> Value;
}

macro_rules! whole_extreme {
    ($($int:ty => $kind:ident($wide:ty)),*) => {
        $(impl Extreme for $int {
            fn extreme(values: &[Self], max: bool) -> Option<Self> {
                if max { values.iter().copied().max() } else { values.iter().copied().min() }
            }
            fn value(self) -> Value {
                Value::$kind(<$wide>::from(self))
            }
        })*
    };
}
whole_extreme!(
    i8 => Int(i64), i16 => Int(i64), i32 => Int(i64), i64 => Int(i64),
    u8 => UInt(u64), u16 => UInt(u64), u32 => UInt(u64), u64 => UInt(u64)
);

macro_rules! float_extreme {
    ($($float:ty),*) => {
        $(impl Extreme for $float {
            fn extreme(values: &[Self], max: bool) -> Option<Self> {
                values.first()?;
                // `max` and `min` pass over NaN, which is greater than every number.
                let nan = values.iter().fold(false, |nan, value| nan | value.is_nan());
                let found = if max {
                    values.iter().copied().fold(<$float>::NAN, <$float>::max)
                } else {
                    values.iter().copied().fold(<$float>::NAN, <$float>::min)
                };
                Some(if max && nan { <$float>::NAN } else { found })
            }
            fn value(self) -> Value {
                Value::Float(f64::from(self))
            }
        })*
    };
}
float_extreme!(f32, f64);

/// Puts the better of two values into `best`.
fn improve(best: &mut Value, value: Value, max: bool) {
    use std::cmp::Ordering;
    let order = match (&*best, &value) {
        (Value::Null, _) => None,
        (Value::Int(a), Value::Int(b)) => Some(b.cmp(a)),
        (Value::UInt(a), Value::UInt(b)) => Some(b.cmp(a)),
        (Value::Float(a), Value::Float(b)) => {
            let order = b.is_nan().cmp(&a.is_nan());
            Some(order.then(b.partial_cmp(a).unwrap_or(Ordering::Equal)))
        }
        _ => None,
    };
    let better = if max { Ordering::Greater } else { Ordering::Less };
    if order.is_none_or(|order| order == better) {
        *best = value;
    }
}

fn pick(picks: &mut [Option<(i64, Value)>], function: Function, data_type: DataType, rows: &Rows<'_>) {
    let nulls = rows.cells.and_then(nulls_of);
    let keeps_null = function == Function::LastRow;
    for stretch in rows.stretches {
        let valid =
            |row: &usize| keeps_null || (rows.cells.is_some() && nulls.is_none_or(|nulls| nulls.is_valid(*row)));
        let found = match function {
            Function::First => stretch.rows().find(valid),
            _ => stretch.rows().rev().find(valid),
        };
        if let Some(row) = found {
            let value = || rows.cells.map_or(Value::Null, |cells| value_at(cells, row, data_type));
            prefer(&mut picks[stretch.group as usize], function, rows.keys[row], value);
        }
    }
}

/// Takes a row if it is older, or newer, than the one that is known.
fn prefer(known: &mut Option<(i64, Value)>, function: Function, key: i64, value: impl FnOnce() -> Value) {
    let better = known.as_ref().is_none_or(|(other, _)| match function {
        Function::First => key < *other,
        _ => key > *other,
    });
    if better {
        *known = Some((key, value()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_of_whole_numbers_do_not_wrap() {
        assert_eq!(i64::total(&[i64::MAX; 5]), 5 * i128::from(i64::MAX));
        assert_eq!(i64::total(&[i64::MIN; 5]), 5 * i128::from(i64::MIN));
        assert_eq!(i64::total(&[-1, 1, -7]), -7);
        assert_eq!(u64::total(&[u64::MAX, u64::MAX]), 2 * i128::from(u64::MAX));
    }

    #[test]
    fn lanes_lose_nothing() {
        let mut values: Vec<f64> = (0..1001).map(|n| f64::from(n) * 0.1).collect();
        values.extend([1e100, 1.0, -1e100]);
        let mut one_by_one = CompensatedSum::default();
        values.iter().for_each(|value| one_by_one.add(*value));
        assert_eq!(float_total(&values).value(), one_by_one.value());
        assert!((float_total(&values).value() - 50051.0).abs() < 1e-9);
        assert_eq!(float_total(&[f64::INFINITY; 20]).value(), f64::INFINITY);
        assert!(float_total(&[f64::INFINITY, f64::NEG_INFINITY, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]).value().is_nan());
    }

    #[test]
    fn nan_is_greater_than_every_number() {
        assert_eq!(f64::extreme(&[1.0, f64::NAN, -3.0], false), Some(-3.0));
        assert!(f64::extreme(&[1.0, f64::NAN, -3.0], true).is_some_and(f64::is_nan));
        assert_eq!(f64::extreme(&[f64::NEG_INFINITY], true), Some(f64::NEG_INFINITY));
        assert!(f32::extreme(&[f32::NAN], false).is_some_and(f32::is_nan));
        let mut best = Value::Float(1.0);
        improve(&mut best, Value::Float(f64::NAN), false);
        assert_eq!(best, Value::Float(1.0));
        improve(&mut best, Value::Float(f64::NAN), true);
        assert!(matches!(best, Value::Float(nan) if nan.is_nan()));
    }
}
