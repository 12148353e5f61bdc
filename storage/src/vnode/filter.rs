//! One condition on values, decided exactly: for a whole block by what its header says, else row by row.

use std::ops::Range;

use arrow::array::{Array, ArrayRef};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::ArrowNativeType;
use model::scan::ColumnFilter;
use model::{DataType, Value};

use crate::block::Statistics;
use crate::codec::natives;
use crate::vnode::view::less;

/// How many rows of a block satisfy a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    None,
    Some,
    All,
}

/// What a block's header says of a condition; `statistics` is None where every cell is NULL.
pub(super) fn verdict(filter: &ColumnFilter, statistics: Option<&Statistics>, rows: usize) -> Verdict {
    let Some(statistics) = statistics else { return Verdict::None };
    if !statistics.usable() || statistics.nan {
        return Verdict::Some;
    }
    let (Some(least), Some(most)) = (&statistics.min, &statistics.max) else {
        return if statistics.count == 0 { Verdict::None } else { Verdict::Some };
    };
    let known = |bound: &Option<Value>| bound.as_ref().is_none_or(|bound| same_kind(bound, least));
    if !known(&filter.min) || !known(&filter.max) {
        return Verdict::Some;
    }
    let below = |value: &Value| filter.min.as_ref().is_some_and(|min| less(value, min));
    let above = |value: &Value| filter.max.as_ref().is_some_and(|max| less(max, value));
    if below(most) || above(least) {
        Verdict::None
    } else if statistics.count as usize == rows && !below(least) && !above(most) {
        Verdict::All
    } else {
        Verdict::Some
    }
}

fn same_kind(a: &Value, b: &Value) -> bool {
    std::mem::discriminant(a) == std::mem::discriminant(b)
}

/// Which cells satisfy a condition. NULL never does; NaN is greater than every number.
pub(super) fn mask(filter: &ColumnFilter, cells: &ArrayRef, data_type: DataType) -> BooleanBuffer {
    let found = match data_type {
        DataType::TinyInt => whole::<i8>(filter, cells),
        DataType::SmallInt => whole::<i16>(filter, cells),
        DataType::Int => whole::<i32>(filter, cells),
        DataType::UTinyInt => counted::<u8>(filter, cells),
        DataType::USmallInt => counted::<u16>(filter, cells),
        DataType::UInt => counted::<u32>(filter, cells),
        DataType::UBigInt => counted::<u64>(filter, cells),
        DataType::Float => floating::<f32>(filter, cells),
        DataType::Double => floating::<f64>(filter, cells),
        _ => whole::<i64>(filter, cells),
    };
    match cells.nulls() {
        Some(nulls) => &found & nulls.inner(),
        None => found,
    }
}

fn whole<T: ArrowNativeType + Into<i64>>(filter: &ColumnFilter, cells: &ArrayRef) -> BooleanBuffer {
    let bound = |bound: &Option<Value>, open: i64| match bound {
        Some(Value::Int(bound)) => *bound,
        _ => open,
    };
    let (min, max) = (bound(&filter.min, i64::MIN), bound(&filter.max, i64::MAX));
    let all = natives::<T>(cells);
    BooleanBuffer::collect_bool(all.len(), |row| (min..=max).contains(&all[row].into()))
}

fn counted<T: ArrowNativeType + Into<u64>>(filter: &ColumnFilter, cells: &ArrayRef) -> BooleanBuffer {
    let bound = |bound: &Option<Value>, open: u64| match bound {
        Some(Value::UInt(bound)) => *bound,
        _ => open,
    };
    let (min, max) = (bound(&filter.min, 0), bound(&filter.max, u64::MAX));
    let all = natives::<T>(cells);
    BooleanBuffer::collect_bool(all.len(), |row| (min..=max).contains(&all[row].into()))
}

fn floating<T: ArrowNativeType + Into<f64>>(filter: &ColumnFilter, cells: &ArrayRef) -> BooleanBuffer {
    let bound = |bound: &Option<Value>, open: f64| match bound {
        Some(Value::Float(bound)) => *bound,
        _ => open,
    };
    let (min, max) = (bound(&filter.min, f64::NEG_INFINITY), bound(&filter.max, f64::INFINITY));
    let nan = filter.max.is_none();
    let all = natives::<T>(cells);
    BooleanBuffer::collect_bool(all.len(), |row| {
        let value: f64 = all[row].into();
        (min <= value && value <= max) || (nan && value.is_nan())
    })
}

/// The parts of rows of series that are set in `mask`, whose first bit is of row `offset`.
pub(super) fn keep(rows: Vec<(u32, Range<usize>)>, mask: &BooleanBuffer, offset: usize) -> Vec<(u32, Range<usize>)> {
    let parts = |(sid, rows): (u32, Range<usize>)| {
        let slices: Vec<(usize, usize)> = mask.slice(rows.start - offset, rows.len()).set_slices().collect();
        slices.into_iter().map(move |(start, end)| (sid, rows.start + start..rows.start + end))
    };
    rows.into_iter().flat_map(parts).collect()
}
