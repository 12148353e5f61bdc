//! Aggregates: TDengine's selection functions ([`pick`]), and sums that neither overflow nor lose digits ([`sum`]).

mod average;
mod distinct;
pub mod pick;
pub mod sum;
pub mod twa;

use datafusion::arrow::array::{ArrayRef, BooleanArray};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{Accumulator, AggregateUDF, EmitTo, GroupsAccumulator};

/// Every aggregate of ours. `sum` and `avg` take the place of DataFusion's.
#[must_use]
pub fn all() -> Vec<AggregateUDF> {
    let mut all = pick::all();
    all.extend(sum::all());
    all.extend(twa::all());
    all
}

/// A [`GroupsAccumulator`] with one group, where DataFusion wants an [`Accumulator`].
struct Single<G>(G);

impl<G: std::fmt::Debug> std::fmt::Debug for Single<G> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl<G: GroupsAccumulator + std::fmt::Debug + Sync> Accumulator for Single<G> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let groups = vec![0; values[0].len()];
        self.0.update_batch(values, &groups, None, 1)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        // An empty input has not made the group yet.
        self.touch()?;
        let state = self.0.state(EmitTo::All)?;
        let groups = vec![0; state[0].len()];
        self.0.merge_batch(&state, &groups, 1)?;
        let value = self.0.evaluate(EmitTo::All)?;
        self.0.merge_batch(&state, &groups, 1)?;
        ScalarValue::try_from_array(&value, 0)
    }

    fn size(&self) -> usize {
        self.0.size()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.touch()?;
        let state = self.0.state(EmitTo::All)?;
        state.iter().map(|array| ScalarValue::try_from_array(array, 0)).collect()
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let groups = vec![0; states[0].len()];
        self.0.merge_batch(states, &groups, 1)
    }
}

impl<G: GroupsAccumulator> Single<G> {
    fn touch(&mut self) -> Result<()> {
        let none: &[ArrayRef] = &[];
        let empty = self.0.state(EmitTo::First(0))?;
        let _ = none;
        self.0.merge_batch(&empty, &[], 1)
    }
}

/// Whether a row passes FILTER.
fn passes(filter: Option<&BooleanArray>, row: usize) -> bool {
    use datafusion::arrow::array::Array;
    filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row))
}

/// What `emit` takes out of `values`.
fn taken<T>(values: &mut Vec<T>, emit: EmitTo) -> Vec<T> {
    emit.take_needed(values)
}
