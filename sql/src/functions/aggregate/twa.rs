//! `twa(value, key)`: the time-weighted average, the area under straight lines between points divided by their span.
//!
//! Points are kept until the end, because partitions bring them in any order. One point gives its own value.

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
    vec![AggregateUDF::from(Twa { signature: Signature::any(2, Volatility::Immutable) })]
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Twa {
    signature: Signature,
}

fn list_of(data_type: DataType) -> DataType {
    DataType::List(Arc::new(Field::new("item", data_type, true)))
}

impl AggregateUDFImpl for Twa {
    fn name(&self) -> &'static str {
        "twa"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, args: &[DataType]) -> Result<DataType> {
        if args[0].is_numeric() && matches!(args[1], DataType::Timestamp(..)) {
            return Ok(DataType::Float64);
        }
        Err(to_datafusion(error!(UndefinedFunction, "twa takes a number of a time series")))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let field = |name: &str, of| Arc::new(Field::new(format_state_name(args.name, name), list_of(of), true));
        Ok(vec![field("keys", DataType::Int64), field("values", DataType::Float64)])
    }

    fn accumulator(&self, _: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Single(Points::default())))
    }

    fn groups_accumulator_supported(&self, _: AccumulatorArgs) -> bool {
        true
    }

    fn create_groups_accumulator(&self, _: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(Box::new(Points::default()))
    }
}

/// The points of each group.
#[derive(Debug, Default)]
struct Points {
    groups: Vec<Vec<(i64, f64)>>,
    held: usize,
}

fn average(mut points: Vec<(i64, f64)>) -> Option<f64> {
    points.sort_by_key(|point| point.0);
    let (first, last) = (points.first()?, points.last()?);
    if first.0 == last.0 {
        return Some(first.1);
    }
    let span = (last.0 - first.0) as f64;
    let area = |pair: &[(i64, f64)]| (pair[1].0 - pair[0].0) as f64 * (pair[0].1 + pair[1].1) / 2.0;
    Some(points.windows(2).map(area).sum::<f64>() / span)
}

fn lists(groups: &[Vec<(i64, f64)>]) -> Result<Vec<ArrayRef>> {
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
        let values: Float64Array = groups.into_iter().map(average).collect();
        Ok(Arc::new(values))
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
