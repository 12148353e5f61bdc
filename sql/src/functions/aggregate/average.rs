//! The average of numerics: their exact sum divided as PostgreSQL divides. DataFusion's has four digits more than its input.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, UInt64Type, i256};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::Accumulator;
use model::error;

use crate::functions::pg::numeric;
use crate::numeric::Shape;
use crate::plan::error::to_datafusion;

/// Sum and count of decimals of one type.
#[derive(Debug)]
pub(super) struct Average {
    input: DataType,
    sum: i256,
    count: u64,
}

/// The type of the average of decimals of a type.
pub(super) fn average_type(input: &DataType) -> DataType {
    let own = Shape::of(input).unwrap_or(Shape::FREE);
    // The count has no digits behind the point.
    own.quotient(Shape::fixed(19, 0)).arrow()
}

/// What goes between the partial and the final step.
pub(super) fn state_fields(name: impl Fn(&str) -> String, input: &DataType) -> Vec<FieldRef> {
    let field = |part: &str, data_type| Arc::new(Field::new(name(part), data_type, true));
    vec![field("sum", sum_type(input)), field("count", DataType::UInt64)]
}

fn sum_type(input: &DataType) -> DataType {
    match input {
        DataType::Decimal32(_, scale)
        | DataType::Decimal64(_, scale)
        | DataType::Decimal128(_, scale)
        | DataType::Decimal256(_, scale) => DataType::Decimal256(76, *scale),
        _ => DataType::Decimal256(76, 0),
    }
}

impl Average {
    pub(super) fn new(input: DataType) -> Self {
        Self { input, sum: i256::ZERO, count: 0 }
    }

    fn add(&mut self, value: i256) -> Result<()> {
        let overflow = || to_datafusion(error!(NumericValueOutOfRange, "value overflows numeric format"));
        self.sum = self.sum.checked_add(value).ok_or_else(overflow)?;
        Ok(())
    }
}

impl Accumulator for Average {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let values = numeric::unscaled(&values[0])?;
        for value in values.iter().flatten() {
            self.add(value)?;
            self.count += 1;
        }
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let values = numeric::unscaled(&values[0])?;
        for value in values.iter().flatten() {
            self.add(value.wrapping_neg())?;
            self.count -= 1;
        }
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let to = average_type(&self.input);
        if self.count == 0 {
            return ScalarValue::try_from(&to);
        }
        let own = Shape::of(&self.input).unwrap_or(Shape::FREE);
        let count = (i256::from_i128(self.count.into()), Shape::fixed(19, 0));
        let quotient = numeric::quotient((self.sum, own), count, Shape::of(&to).unwrap_or(Shape::FREE))?;
        ScalarValue::try_from_array(&numeric::scaled(vec![Some(quotient)], &to)?, 0)
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let sum = numeric::scaled(vec![Some(self.sum)], &sum_type(&self.input))?;
        Ok(vec![ScalarValue::try_from_array(&sum, 0)?, ScalarValue::UInt64(Some(self.count))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let sums = numeric::unscaled(&states[0])?;
        let counts = states[1].as_primitive::<UInt64Type>();
        for row in 0..sums.len() {
            if sums.is_valid(row) && counts.is_valid(row) {
                self.add(sums.value(row))?;
                self.count += counts.value(row);
            }
        }
        Ok(())
    }
}
