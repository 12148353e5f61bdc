//! `sum` and `avg`: floats are summed with Neumaier's compensation, whole numbers are checked for overflow.
//!
//! Types are TDengine's: whole numbers sum to BIGINT or BIGINT UNSIGNED, floats to DOUBLE; `avg` is a DOUBLE, of DECIMALs a
//! numeric ([`super::average`]). Sums of DECIMALs and sliding frames are left to DataFusion.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, UInt64Array};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Float64Type, Int64Type, UInt64Type};
use datafusion::common::Result;
use datafusion::functions_aggregate::average::avg_udaf;
use datafusion::functions_aggregate::sum::sum_udaf;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, EmitTo, GroupsAccumulator, Signature, Volatility,
};
use model::error;

use super::average::{self, Average, average_type};
use super::distinct::Distinct;
use super::{Single, passes, taken};
use crate::plan::error::to_datafusion;

/// The functions of this file.
#[must_use]
pub fn all() -> Vec<AggregateUDF> {
    let udf = |average| Sum { average, signature: Signature::user_defined(Volatility::Immutable) };
    vec![AggregateUDF::from(udf(false)), AggregateUDF::from(udf(true))]
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Sum {
    average: bool,
    signature: Signature,
}

impl Sum {
    fn stock(&self) -> Arc<AggregateUDF> {
        if self.average { avg_udaf() } else { sum_udaf() }
    }

    fn is_ours(&self, input: &DataType) -> bool {
        matches!(input, DataType::Float64 | DataType::Int64 | DataType::UInt64)
    }
}

impl AggregateUDFImpl for Sum {
    fn name(&self) -> &'static str {
        if self.average { "avg" } else { "sum" }
    }

    fn aliases(&self) -> &[String] {
        &[]
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, args: &[DataType]) -> Result<Vec<DataType>> {
        let [arg] = args else {
            let error = error!(UndefinedFunction, "function {} takes one argument", self.name());
            return Err(to_datafusion(error));
        };
        Ok(vec![match arg {
            DataType::Null => DataType::Float64,
            DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 if self.average => DataType::Float64,
            unsigned if unsigned.is_unsigned_integer() && self.average => DataType::Float64,
            DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 => DataType::Int64,
            unsigned if unsigned.is_unsigned_integer() => DataType::UInt64,
            DataType::Float16 | DataType::Float32 | DataType::Float64 => DataType::Float64,
            DataType::Decimal128(..) | DataType::Decimal256(..) | DataType::Interval(_) | DataType::Duration(_) => {
                arg.clone()
            }
            other => {
                let pg = crate::pgtype::PgType::of_arrow(other).name;
                return Err(to_datafusion(error!(UndefinedFunction, "function {}({pg}) does not exist", self.name())));
            }
        }])
    }

    fn return_type(&self, args: &[DataType]) -> Result<DataType> {
        if self.average && args[0].is_decimal() {
            return Ok(average_type(&args[0]));
        }
        if self.is_ours(&args[0]) { Ok(args[0].clone()) } else { self.stock().inner().return_type(args) }
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let input = args.input_fields[0].data_type().clone();
        if args.is_distinct && (self.is_ours(&input) || self.average && input.is_decimal()) {
            return Ok(vec![Distinct::state_field(format_state_name(args.name, "distinct"), input)]);
        }
        if self.average && input.is_decimal() {
            return Ok(average::state_fields(|part| format_state_name(args.name, part), &input));
        }
        if !self.is_ours(&input) {
            return self.stock().inner().state_fields(args);
        }
        let field = |name: &str, data_type| Arc::new(Field::new(format_state_name(args.name, name), data_type, true));
        let mut fields = vec![field("sum", input.clone())];
        if input == DataType::Float64 {
            fields.push(field("lost", DataType::Float64));
            fields.push(field("count", DataType::UInt64));
        }
        Ok(fields)
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let input = args.expr_fields[0].data_type();
        let ours = self.is_ours(input) || self.average && input.is_decimal();
        match (ours, args.is_distinct) {
            (true, true) => Ok(Box::new(Distinct::new(self.average, input.clone(), plain))),
            (true, false) => plain(self.average, input),
            (false, _) => self.stock().inner().accumulator(args),
        }
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let input = args.expr_fields[0].data_type();
        if self.average && input.is_decimal() && !args.is_distinct {
            return plain(true, input);
        }
        self.stock().inner().create_sliding_accumulator(args)
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        let input = args.expr_fields[0].data_type();
        if self.is_ours(input) {
            return !args.is_distinct;
        }
        !(self.average && input.is_decimal()) && self.stock().inner().groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(match args.expr_fields[0].data_type() {
            DataType::Float64 => Box::new(Compensated { average: self.average, ..Compensated::default() }),
            DataType::Int64 => Box::new(Signed::default()),
            DataType::UInt64 => Box::new(Unsigned::default()),
            _ => return self.stock().inner().create_groups_accumulator(args),
        })
    }
}

/// The accumulator of one of our sums or averages.
fn plain(average: bool, input: &DataType) -> Result<Box<dyn Accumulator>> {
    Ok(match input {
        DataType::Float64 => Box::new(Single(Compensated { average, ..Compensated::default() })),
        DataType::Int64 => Box::new(Single(Signed::default())),
        DataType::UInt64 => Box::new(Single(Unsigned::default())),
        decimal => Box::new(Average::new(decimal.clone())),
    })
}

/// Neumaier's sum: what an addition rounds away is kept beside it.
#[derive(Debug, Default)]
struct Compensated {
    average: bool,
    sums: Vec<f64>,
    lost: Vec<f64>,
    counts: Vec<u64>,
}

impl Compensated {
    fn resize(&mut self, total: usize) {
        self.sums.resize(total, 0.0);
        self.lost.resize(total, 0.0);
        self.counts.resize(total, 0);
    }

    fn add(&mut self, group: usize, value: f64) {
        let sum = self.sums[group];
        let new = sum + value;
        if new.is_finite() {
            self.lost[group] += if sum.abs() >= value.abs() { (sum - new) + value } else { (value - new) + sum };
        }
        self.sums[group] = new;
    }
}

impl GroupsAccumulator for Compensated {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) -> Result<()> {
        self.resize(total);
        let values = values[0].as_primitive::<Float64Type>();
        for (row, group) in groups.iter().enumerate() {
            if values.is_valid(row) && passes(filter, row) {
                self.add(*group, values.value(row));
                self.counts[*group] += 1;
            }
        }
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        self.resize(total);
        let (sums, lost) = (states[0].as_primitive::<Float64Type>(), states[1].as_primitive::<Float64Type>());
        let counts = states[2].as_primitive::<UInt64Type>();
        for (row, group) in groups.iter().enumerate() {
            if counts.is_valid(row) && counts.value(row) > 0 {
                self.add(*group, sums.value(row));
                self.lost[*group] += lost.value(row);
                self.counts[*group] += counts.value(row);
            }
        }
        Ok(())
    }

    fn evaluate(&mut self, emit: EmitTo) -> Result<ArrayRef> {
        let sums = taken(&mut self.sums, emit);
        let lost = taken(&mut self.lost, emit);
        let counts = taken(&mut self.counts, emit);
        let average = self.average;
        let one = |((sum, lost), count): ((f64, f64), u64)| {
            let sum = if sum.is_finite() { sum + lost } else { sum };
            (count > 0).then(|| if average { sum / count as f64 } else { sum })
        };
        let values: Float64Array = sums.into_iter().zip(lost).zip(counts).map(one).collect();
        Ok(Arc::new(values))
    }

    fn state(&mut self, emit: EmitTo) -> Result<Vec<ArrayRef>> {
        Ok(vec![
            Arc::new(Float64Array::from(taken(&mut self.sums, emit))),
            Arc::new(Float64Array::from(taken(&mut self.lost, emit))),
            Arc::new(UInt64Array::from(taken(&mut self.counts, emit))),
        ])
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let values = values[0].as_primitive::<Float64Type>();
        let kept = |row: usize| values.is_valid(row) && passes(filter, row);
        let rows = values.len();
        let sums: Float64Array = (0..rows).map(|row| Some(if kept(row) { values.value(row) } else { 0.0 })).collect();
        let counts: UInt64Array = (0..rows).map(|row| Some(u64::from(kept(row)))).collect();
        Ok(vec![Arc::new(sums), Arc::new(Float64Array::from(vec![0.0; rows])), Arc::new(counts)])
    }

    fn size(&self) -> usize {
        (self.sums.capacity() + self.lost.capacity() + self.counts.capacity()) * 8
    }
}

macro_rules! checked {
    ($name:ident, $arrow:ty, $array:ty, $int:ty, $sql:literal) => {
        /// A sum that says when it does not fit.
        #[derive(Debug, Default)]
        struct $name(Vec<Option<$int>>);

        impl GroupsAccumulator for $name {
            fn update_batch(
                &mut self,
                values: &[ArrayRef],
                groups: &[usize],
                filter: Option<&BooleanArray>,
                total: usize,
            ) -> Result<()> {
                self.0.resize(total, None);
                let values = values[0].as_primitive::<$arrow>();
                for (row, group) in groups.iter().enumerate() {
                    if values.is_valid(row) && passes(filter, row) {
                        let sum = self.0[*group].unwrap_or(0).checked_add(values.value(row));
                        let sum = sum.ok_or_else(|| {
                            to_datafusion(error!(NumericValueOutOfRange, concat!($sql, " out of range")))
                        })?;
                        self.0[*group] = Some(sum);
                    }
                }
                Ok(())
            }

            fn merge_batch(&mut self, states: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
                self.update_batch(states, groups, None, total)
            }

            fn evaluate(&mut self, emit: EmitTo) -> Result<ArrayRef> {
                Ok(Arc::new(<$array>::from(taken(&mut self.0, emit))))
            }

            fn state(&mut self, emit: EmitTo) -> Result<Vec<ArrayRef>> {
                Ok(vec![self.evaluate(emit)?])
            }

            fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
                let of = cast(&values[0], &<$arrow as datafusion::arrow::datatypes::ArrowPrimitiveType>::DATA_TYPE)?;
                let of = of.as_primitive::<$arrow>();
                let kept = |row: usize| (of.is_valid(row) && passes(filter, row)).then(|| of.value(row));
                let state: $array = (0..of.len()).map(kept).collect();
                Ok(vec![Arc::new(state)])
            }

            fn size(&self) -> usize {
                self.0.capacity() * 16
            }
        }
    };
}

checked!(Signed, Int64Type, Int64Array, i64, "bigint");
checked!(Unsigned, UInt64Type, UInt64Array, u64, "bigint unsigned");
