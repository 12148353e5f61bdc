//! `sum(DISTINCT x)` and `avg(DISTINCT x)` beside other aggregates: the values are kept until all are there.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::Accumulator;

/// Feeds each value once to another accumulator.
pub(super) struct Distinct {
    values: HashSet<ScalarValue>,
    /// Bytes that values have beside their place in the set.
    bytes: usize,
    data_type: DataType,
    inner: fn(bool, &DataType) -> Result<Box<dyn Accumulator>>,
    average: bool,
}

impl std::fmt::Debug for Distinct {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Distinct({} values)", self.values.len())
    }
}

impl Distinct {
    /// `inner` makes the accumulator of a sum or an average of values of `data_type`.
    pub(super) fn new(
        average: bool,
        data_type: DataType,
        inner: fn(bool, &DataType) -> Result<Box<dyn Accumulator>>,
    ) -> Self {
        Self { values: HashSet::new(), bytes: 0, data_type, inner, average }
    }

    /// What goes between the partial and the final step: the values.
    pub(super) fn state_field(name: String, data_type: DataType) -> FieldRef {
        let item = Field::new_list_field(data_type, true);
        Arc::new(Field::new(name, DataType::List(Arc::new(item)), true))
    }

    fn keep(&mut self, array: &ArrayRef) -> Result<()> {
        for row in (0..array.len()).filter(|row| array.is_valid(*row)) {
            let value = ScalarValue::try_from_array(array, row)?.compacted();
            let bytes = value.size() - size_of::<ScalarValue>();
            if self.values.insert(value) {
                self.bytes += bytes;
            }
        }
        Ok(())
    }
}

impl Accumulator for Distinct {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.keep(&values[0])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let mut inner = (self.inner)(self.average, &self.data_type)?;
        if !self.values.is_empty() {
            // In one order, so that floats give the same digits every time.
            let mut values: Vec<ScalarValue> = self.values.iter().cloned().collect();
            values.sort_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
            inner.update_batch(&[ScalarValue::iter_to_array(values)?])?;
        }
        inner.evaluate()
    }

    fn size(&self) -> usize {
        // The end sorts a copy of them.
        size_of_val(self) + 2 * (self.values.capacity() * size_of::<ScalarValue>() + self.bytes)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let values: Vec<ScalarValue> = self.values.iter().cloned().collect();
        Ok(vec![ScalarValue::List(ScalarValue::new_list_nullable(&values, &self.data_type))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let lists = states[0].as_list::<i32>();
        for row in (0..lists.len()).filter(|row| lists.is_valid(*row)) {
            self.keep(&lists.value(row))?;
        }
        Ok(())
    }
}
