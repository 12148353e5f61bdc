//! Statistics of one column of one block, exact for the cells of the block.

use std::cmp::Ordering;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::ArrowNativeType;
use model::{DataType, Value};

use crate::codec::{natives, valid_cells};

/// Longer text and bytes are not kept in statistics.
const TEXT_BYTES_MAX: usize = 32;

/// Statistics of one column.
///
/// They speak for the rows of the block alone: whoever answers from them makes sure that no tombstone, no other run and
/// no memtable row touches these rows, and that [`Statistics::usable`] holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Statistics {
    /// Cells with a value.
    pub count: u32,
    /// Cells with an explicit NULL.
    pub nulls: u32,
    /// Cells that this block says nothing about: an older run may hold their value.
    pub absent: u32,
    /// Whether some value is NaN. NaN is left out of `min` and `max`, not of `sum`.
    pub nan: bool,
    /// Least value; of floats by IEEE 754's total order. None if there is none, or it is too long to keep.
    pub min: Option<Value>,
    /// Greatest value; None as for `min`, and both are None or neither.
    pub max: Option<Value>,
    /// Sum of the values; None if the type has none (text, time, bytes) or it overflows (DECIMAL).
    pub sum: Option<Sum>,
    /// The cell of the block's first row, [`Value::Null`] if it is NULL or absent. None if the block has several
    /// series, or the value is too long to keep.
    pub first: Option<Value>,
    /// The cell of the block's last row, as `first`.
    pub last: Option<Value>,
}

impl Statistics {
    /// Whether they say all about the column: no cell is absent.
    #[must_use]
    pub const fn usable(&self) -> bool {
        self.absent == 0
    }
}

/// Sum of a column.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Sum {
    /// Of integers, truth values (how many are true), and the unscaled digits of a DECIMAL. Exact.
    Int(i128),
    /// Of floats, added in row order.
    Float(CompensatedSum),
}

/// Neumaier's sum: the same values in the same order give the same digits, and small terms are not lost.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CompensatedSum {
    /// The plain sum.
    pub sum: f64,
    /// What the plain sum lost.
    pub compensation: f64,
}

impl CompensatedSum {
    /// Adds one value.
    pub fn add(&mut self, value: f64) {
        let sum = self.sum + value;
        if sum.is_finite() {
            self.compensation +=
                if self.sum.abs() >= value.abs() { (self.sum - sum) + value } else { (value - sum) + self.sum };
        }
        self.sum = sum;
    }

    /// Adds what another one holds.
    pub fn merge(&mut self, other: Self) {
        self.add(other.sum);
        self.compensation += other.compensation;
    }

    /// The sum.
    #[must_use]
    pub fn value(self) -> f64 {
        if self.sum.is_finite() { self.sum + self.compensation } else { self.sum }
    }
}

/// The statistics of one column. `single`: all rows are of one series.
pub(super) fn of(values: &ArrayRef, data_type: DataType, absent: Option<&BooleanBuffer>, single: bool) -> Statistics {
    let valid = valid_cells(values, absent);
    let rows = values.len();
    let count = valid.as_ref().map_or(rows, BooleanBuffer::count_set_bits);
    let absent = absent.map_or(0, BooleanBuffer::count_set_bits);
    let mut statistics = Statistics {
        count: count as u32,
        nulls: (rows - count - absent) as u32,
        absent: absent as u32,
        ..Statistics::default()
    };
    let mut cells = Cells { values, valid, single, statistics: &mut statistics };
    match data_type {
        DataType::Timestamp => cells.integers(false, |v: i64| Value::Int(v), i128::from),
        DataType::Date => cells.integers(false, |v: i32| Value::Int(i64::from(v)), i128::from),
        DataType::TinyInt => cells.integers(true, |v: i8| Value::Int(i64::from(v)), i128::from),
        DataType::SmallInt => cells.integers(true, |v: i16| Value::Int(i64::from(v)), i128::from),
        DataType::Int => cells.integers(true, |v: i32| Value::Int(i64::from(v)), i128::from),
        DataType::BigInt => cells.integers(true, |v: i64| Value::Int(v), i128::from),
        DataType::UTinyInt => cells.integers(true, |v: u8| Value::UInt(u64::from(v)), i128::from),
        DataType::USmallInt => cells.integers(true, |v: u16| Value::UInt(u64::from(v)), i128::from),
        DataType::UInt => cells.integers(true, |v: u32| Value::UInt(u64::from(v)), i128::from),
        DataType::UBigInt => cells.integers(true, |v: u64| Value::UInt(v), i128::from),
        DataType::Decimal(..) => cells.integers(true, Value::Decimal, |v: i128| v),
        DataType::Float => cells.floats(|v: f32| f64::from(v)),
        DataType::Double => cells.floats(|v: f64| v),
        DataType::Bool => cells.bools(),
        DataType::Varchar(_) | DataType::NChar(_) | DataType::Json | DataType::Text => {
            let texts = values.as_string::<i32>();
            cells.strings(|row| texts.value(row).as_bytes(), |row| Value::Text(texts.value(row).to_owned()));
        }
        DataType::Varbinary(_) | DataType::Geometry(_) => {
            let blobs = values.as_binary::<i32>();
            cells.strings(|row| blobs.value(row), |row| Value::Bytes(blobs.value(row).to_vec()));
        }
    }
    statistics
}

/// A column being looked at.
struct Cells<'a> {
    values: &'a ArrayRef,
    valid: Option<BooleanBuffer>,
    single: bool,
    statistics: &'a mut Statistics,
}

impl Cells<'_> {
    /// Calls `each` with every row that has a value, in order.
    fn each(&self, mut each: impl FnMut(usize)) {
        match &self.valid {
            None => (0..self.values.len()).for_each(each),
            Some(valid) => valid.set_indices().for_each(&mut each),
        }
    }

    /// Notes the first and the last cell; `value` is None where it is too long.
    fn ends(&mut self, value: impl Fn(usize) -> Option<Value>) {
        let rows = self.values.len();
        if !self.single || rows == 0 {
            return;
        }
        let cell = |row: usize| match &self.valid {
            Some(valid) if !valid.value(row) => Some(Value::Null),
            _ => value(row),
        };
        self.statistics.first = cell(0);
        self.statistics.last = cell(rows - 1);
    }

    fn integers<T: ArrowNativeType + Ord>(
        &mut self,
        summed: bool,
        value: impl Fn(T) -> Value,
        widen: impl Fn(T) -> i128,
    ) {
        let all = natives::<T>(self.values);
        let mut range: Option<(T, T)> = None;
        let mut sum = Some(0_i128);
        self.each(|row| {
            let value = all[row];
            range = Some(range.map_or((value, value), |(min, max)| (min.min(value), max.max(value))));
            sum = sum.and_then(|sum| sum.checked_add(widen(value)));
        });
        self.statistics.min = range.map(|(min, _)| value(min));
        self.statistics.max = range.map(|(_, max)| value(max));
        self.statistics.sum = sum.filter(|_| summed).map(Sum::Int);
        self.ends(|row| Some(value(all[row])));
    }

    fn floats<T: ArrowNativeType>(&mut self, widen: impl Fn(T) -> f64) {
        let all = natives::<T>(self.values);
        let mut range: Option<(f64, f64)> = None;
        let mut sum = CompensatedSum::default();
        let mut nan = false;
        self.each(|row| {
            let value = widen(all[row]);
            sum.add(value);
            if value.is_nan() {
                nan = true;
                return;
            }
            let (min, max) = range.unwrap_or((value, value));
            let less = |a: f64, b: f64| if a.total_cmp(&b) == Ordering::Less { a } else { b };
            let more = |a: f64, b: f64| if a.total_cmp(&b) == Ordering::Greater { a } else { b };
            range = Some((less(value, min), more(value, max)));
        });
        self.statistics.nan = nan;
        self.statistics.min = range.map(|(min, _)| Value::Float(min));
        self.statistics.max = range.map(|(_, max)| Value::Float(max));
        self.statistics.sum = Some(Sum::Float(sum));
        self.ends(|row| Some(Value::Float(widen(all[row]))));
    }

    fn bools(&mut self) {
        let all = self.values.as_boolean().values();
        let mut trues = 0;
        self.each(|row| trues += u32::from(all.value(row)));
        if self.statistics.count > 0 {
            self.statistics.min = Some(Value::Bool(trues == self.statistics.count));
            self.statistics.max = Some(Value::Bool(trues > 0));
        }
        self.statistics.sum = Some(Sum::Int(i128::from(trues)));
        self.ends(|row| Some(Value::Bool(all.value(row))));
    }

    fn strings<'b>(&mut self, bytes: impl Fn(usize) -> &'b [u8], value: impl Fn(usize) -> Value) {
        let mut range: Option<(usize, usize)> = None;
        self.each(|row| {
            let (mut min, mut max) = range.unwrap_or((row, row));
            if bytes(row) < bytes(min) {
                min = row;
            }
            if bytes(row) > bytes(max) {
                max = row;
            }
            range = Some((min, max));
        });
        let kept = |row: usize| (bytes(row).len() <= TEXT_BYTES_MAX).then(|| value(row));
        if let Some((min, max)) = range
            && let (Some(min), Some(max)) = (kept(min), kept(max))
        {
            (self.statistics.min, self.statistics.max) = (Some(min), Some(max));
        }
        self.ends(kept);
    }
}
