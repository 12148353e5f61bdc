//! `twa(value, key)`: the time-weighted average, the area under straight lines between points divided by their span.
//!
//! Points are kept until the end, because partitions bring them in any order. One point gives its own value. With INTERVAL
//! the lines go on to the edges of the window: `__twa_points(value, key)` collects the points of one window, and
//! `__twa(points, start, end) OVER (…)` takes the row before it and the one after it from the windows around.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, ListArray};
use datafusion::arrow::buffer::{OffsetBuffer, ScalarBuffer};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Float64Type, Int64Type};
use datafusion::common::Result;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, EmitTo, GroupsAccumulator, Signature, Volatility,
};
use model::error;

use super::{Single, passes, taken};
use crate::plan::error::to_datafusion;

/// The function of this file.
#[must_use]
pub fn all() -> Vec<AggregateUDF> {
    let udf = |points| Twa { points, signature: Signature::any(2, Volatility::Immutable) };
    vec![AggregateUDF::from(udf(false)), AggregateUDF::from(udf(true))]
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Twa {
    /// Gives the points themselves: a list of keys and the bits of their values in turn.
    points: bool,
    signature: Signature,
}

fn list_of(data_type: DataType) -> DataType {
    DataType::List(Arc::new(Field::new("item", data_type, true)))
}

impl AggregateUDFImpl for Twa {
    fn name(&self) -> &'static str {
        if self.points { "__twa_points" } else { "twa" }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, args: &[DataType]) -> Result<DataType> {
        if args[0].is_numeric() && matches!(args[1], DataType::Timestamp(..)) {
            return Ok(if self.points { list_of(DataType::Int64) } else { DataType::Float64 });
        }
        Err(to_datafusion(error!(UndefinedFunction, "twa takes a number of a time series")))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let field = |name: &str, of| Arc::new(Field::new(format_state_name(args.name, name), list_of(of), true));
        Ok(vec![field("keys", DataType::Int64), field("values", DataType::Float64)])
    }

    fn accumulator(&self, _: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Single(Points { give: self.points, ..Points::default() })))
    }

    fn groups_accumulator_supported(&self, _: AccumulatorArgs) -> bool {
        true
    }

    fn create_groups_accumulator(&self, _: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(Box::new(Points { give: self.points, ..Points::default() }))
    }
}

/// A row: its key and value.
type Point = (i64, f64);

/// The points of each group.
#[derive(Debug, Default)]
struct Points {
    /// They are the result.
    give: bool,
    groups: Vec<Vec<Point>>,
    held: usize,
}

/// Sorts points by their keys, which must differ.
fn sorted(mut points: Vec<Point>) -> Result<Vec<Point>> {
    points.sort_unstable_by_key(|point| point.0);
    if points.windows(2).any(|pair| pair[0].0 == pair[1].0) {
        return Err(to_datafusion(twice("twa")));
    }
    Ok(points)
}

/// Two rows at one time have no order, so nothing goes from one to the next.
pub(crate) fn twice(function: &str) -> model::Error {
    error!(CardinalityViolation, "{function} over rows with the same time")
        .with_hint("use PARTITION BY tbname, so that each table is a time line of its own")
}

/// The area under the lines between `points`, divided by their span.
fn average(points: &[Point]) -> Option<f64> {
    let (first, last) = (points.first()?, points.last()?);
    if first.0 == last.0 {
        return Some(first.1);
    }
    let area = |pair: &[Point]| (pair[1].0 - pair[0].0) as f64 * (pair[0].1 + pair[1].1) / 2.0;
    Some(points.windows(2).map(area).sum::<f64>() / (last.0 - first.0) as f64)
}

/// The value at `key` on the line from `from` to `to`.
fn between(from: Point, to: Point, key: i64) -> Point {
    let part = (key - from.0) as f64 / (to.0 - from.0) as f64;
    (key, from.1 + (to.1 - from.1) * part)
}

/// The averages of windows, in the order of their starts: `windows` has the points of each, `spans` its first and last tick.
///
/// Windows may overlap; the points before one are looked for in those before it, and so after it.
pub(crate) fn averages(windows: &[Vec<Point>], spans: &[(i64, i64)]) -> Vec<Option<f64>> {
    let one = |at: usize| {
        let ((start, last), own) = (spans[at], &windows[at]);
        let (first, end) = (*own.first()?, *own.last()?);
        let before = windows[..at].iter().rev().find(|points| points.first().is_some_and(|point| point.0 < start));
        let before = before.and_then(|points| points.iter().rev().find(|point| point.0 < start));
        let after = windows[at + 1..].iter().find(|points| points.last().is_some_and(|point| point.0 > last));
        let after = after.and_then(|points| points.iter().find(|point| point.0 > last));
        let mut points = Vec::with_capacity(own.len() + 2);
        points.extend(before.filter(|_| first.0 > start).map(|before| between(*before, first, start)));
        points.extend(own);
        points.extend(after.filter(|_| end.0 < last).map(|after| between(end, *after, last)));
        average(&points)
    };
    (0..windows.len()).map(one).collect()
}

/// The points in a value of `__twa_points`.
pub(crate) fn points_of(list: &ArrayRef) -> Vec<Point> {
    let pairs = list.as_primitive::<Int64Type>().values();
    pairs.chunks_exact(2).map(|pair| (pair[0], f64::from_bits(pair[1].cast_unsigned()))).collect()
}

fn given(groups: Vec<Vec<Point>>) -> Result<ArrayRef> {
    let mut ends = vec![0_i32];
    let mut flat: Vec<i64> = Vec::new();
    for group in groups {
        flat.extend(sorted(group)?.into_iter().flat_map(|(key, value)| [key, value.to_bits().cast_signed()]));
        let end = i32::try_from(flat.len());
        ends.push(end.map_err(|_| to_datafusion(error!(OutOfMemory, "twa holds too many points")))?);
    }
    let field = Arc::new(Field::new("item", DataType::Int64, true));
    let offsets = OffsetBuffer::new(ScalarBuffer::from(ends));
    Ok(Arc::new(ListArray::try_new(field, offsets, Arc::new(Int64Array::from(flat)), None)?))
}

fn lists(groups: &[Vec<Point>]) -> Result<Vec<ArrayRef>> {
    let mut ends = vec![0_i32];
    let mut length = 0_usize;
    for group in groups {
        length += group.len();
        let end = i32::try_from(length).map_err(|_| to_datafusion(error!(OutOfMemory, "twa holds too many points")))?;
        ends.push(end);
    }
    let offsets = OffsetBuffer::new(ScalarBuffer::from(ends));
    let keys: Int64Array = groups.iter().flatten().map(|point| Some(point.0)).collect();
    let values: Float64Array = groups.iter().flatten().map(|point| Some(point.1)).collect();
    let list = |values: ArrayRef| {
        let field = Arc::new(Field::new("item", values.data_type().clone(), true));
        ListArray::try_new(field, offsets.clone(), values, None)
    };
    Ok(vec![Arc::new(list(Arc::new(keys))?), Arc::new(list(Arc::new(values))?)])
}

impl GroupsAccumulator for Points {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) -> Result<()> {
        self.groups.resize(total, Vec::new());
        let numbers = cast(&values[0], &DataType::Float64)?;
        let numbers = numbers.as_primitive::<Float64Type>();
        let keys = cast(&values[1], &DataType::Int64)?;
        let keys = keys.as_primitive::<Int64Type>();
        for (row, group) in groups.iter().enumerate() {
            if numbers.is_valid(row) && keys.is_valid(row) && passes(filter, row) {
                self.groups[*group].push((keys.value(row), numbers.value(row)));
                self.held += 1;
            }
        }
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        self.groups.resize(total, Vec::new());
        let (keys, values) = (states[0].as_list::<i32>(), states[1].as_list::<i32>());
        for (row, group) in groups.iter().enumerate() {
            if keys.is_null(row) {
                continue;
            }
            let (keys, values) = (keys.value(row), values.value(row));
            let keys = keys.as_primitive::<Int64Type>().values().iter().copied();
            let values = values.as_primitive::<Float64Type>().values().iter().copied();
            let before = self.groups[*group].len();
            self.groups[*group].extend(keys.zip(values));
            self.held += self.groups[*group].len() - before;
        }
        Ok(())
    }

    fn evaluate(&mut self, emit: EmitTo) -> Result<ArrayRef> {
        let groups = taken(&mut self.groups, emit);
        self.held -= groups.iter().map(Vec::len).sum::<usize>();
        if self.give {
            return given(groups);
        }
        let values = groups.into_iter().map(|group| Ok(average(&sorted(group)?)));
        Ok(Arc::new(values.collect::<Result<Float64Array>>()?))
    }

    fn state(&mut self, emit: EmitTo) -> Result<Vec<ArrayRef>> {
        let groups = taken(&mut self.groups, emit);
        self.held -= groups.iter().map(Vec::len).sum::<usize>();
        lists(&groups)
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let rows = values[0].len();
        let mut points = Self::default();
        let groups: Vec<usize> = (0..rows).collect();
        points.update_batch(values, &groups, filter, rows)?;
        lists(&points.groups)
    }

    fn size(&self) -> usize {
        self.held * 16 + self.groups.capacity() * 24
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(got: &[Option<f64>], wanted: &[f64]) {
        let near = |(got, wanted): (&Option<f64>, &f64)| got.is_some_and(|got| (got - wanted).abs() < 1e-9);
        assert!(got.len() == wanted.len() && got.iter().zip(wanted).all(near), "{got:?} {wanted:?}");
    }

    /// The line y = t has at the middle of every window what its average is, wherever the rows are.
    #[test]
    fn windows_of_a_straight_line() {
        let points = |keys: &[i64]| keys.iter().map(|key| (*key, *key as f64)).collect::<Vec<_>>();
        let windows = [points(&[2, 7]), points(&[13]), points(&[40, 41])];
        close(&averages(&windows, &[(0, 9), (10, 19), (40, 49)]), &[5.5, 14.5, 40.5]);
        // Overlapping windows find their neighbours beyond the windows beside them.
        let windows = [points(&[2, 7]), points(&[7, 13]), points(&[13])];
        close(&averages(&windows, &[(0, 9), (5, 14), (10, 19)]), &[5.5, 9.0, 11.5]);
    }

    #[test]
    fn a_lone_point_is_its_own_average() {
        close(&averages(&[vec![(3, 8.0)]], &[(0, 9)]), &[8.0]);
        assert_eq!(averages(&[Vec::new()], &[(0, 9)]), vec![None]);
    }
}
