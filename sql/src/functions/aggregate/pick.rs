//! Selection functions: the value in the first, last, greatest or least row of a group, with companions.
//!
//! | function | arguments | chosen row |
//! |---|---|---|
//! | `first`, `last` | value, key | the first, last one where the value is not null |
//! | `last_row` | value, key | the last one |
//! | `__at_first`, `__at_last`, `__at_last_row` | companion, value, key | the same; the companion's value is given |
//! | `__at_max`, `__at_min` | companion, value, key | the one of the greatest, least value; the earliest of several |

use std::cmp::Ordering;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, new_empty_array};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Int64Type};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, EmitTo, GroupsAccumulator, Signature, Volatility,
};
use model::error;

use super::{Single, passes, taken};
use crate::pgtype::{PG_OID, PG_TYPMOD};
use crate::plan::error::to_datafusion;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    First,
    Last,
    LastRow,
    AtFirst,
    AtLast,
    AtLastRow,
    AtMax,
    AtMin,
}

impl Kind {
    const ALL: [Self; 8] = [
        Self::First,
        Self::Last,
        Self::LastRow,
        Self::AtFirst,
        Self::AtLast,
        Self::AtLastRow,
        Self::AtMax,
        Self::AtMin,
    ];

    /// By value, then by key; the others by key alone.
    const fn by_value(self) -> bool {
        matches!(self, Self::AtMax | Self::AtMin)
    }

    const fn arguments(self) -> usize {
        if matches!(self, Self::First | Self::Last | Self::LastRow) { 2 } else { 3 }
    }

    /// Rows whose value is null are passed over.
    const fn skips_null(self) -> bool {
        !matches!(self, Self::LastRow | Self::AtLastRow)
    }
}

/// The functions of this file.
#[must_use]
pub fn all() -> Vec<AggregateUDF> {
    let udf = |kind: Kind| Pick { kind, signature: Signature::any(kind.arguments(), Volatility::Immutable) };
    Kind::ALL.into_iter().map(|kind| AggregateUDF::from(udf(kind))).collect()
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Pick {
    kind: Kind,
    signature: Signature,
}

impl AggregateUDFImpl for Pick {
    fn name(&self) -> &'static str {
        match self.kind {
            Kind::First => "first",
            Kind::Last => "last",
            Kind::LastRow => "last_row",
            Kind::AtFirst => "__at_first",
            Kind::AtLast => "__at_last",
            Kind::AtLastRow => "__at_last_row",
            Kind::AtMax => "__at_max",
            Kind::AtMin => "__at_min",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, args: &[DataType]) -> Result<DataType> {
        Ok(args[0].clone())
    }

    fn return_field(&self, args: &[FieldRef]) -> Result<FieldRef> {
        let key = args[args.len() - 1].data_type();
        if !matches!(key, DataType::Timestamp(..) | DataType::Int64) {
            let error = error!(UndefinedFunction, "{} goes by a TIMESTAMP, not by {key}", self.name());
            return Err(to_datafusion(error));
        }
        // The type on the wire stays; the origin does not: the result is no column of a table.
        let of_type = args[0].metadata().iter().filter(|(key, _)| matches!(key.as_str(), PG_OID | PG_TYPMOD));
        let metadata = of_type.map(|(key, value)| (key.clone(), value.clone())).collect();
        Ok(Arc::new(Field::new(self.name(), args[0].data_type().clone(), true).with_metadata(metadata)))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let field = |name: &str, data_type: &DataType| {
            Arc::new(Field::new(format_state_name(args.name, name), data_type.clone(), true))
        };
        let mut fields = vec![field("key", &DataType::Int64), field("result", args.return_type())];
        if self.kind.by_value() {
            fields.push(field("value", args.input_fields[1].data_type()));
        }
        Ok(fields)
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Single(self.picker(&args))))
    }

    fn groups_accumulator_supported(&self, _: AccumulatorArgs) -> bool {
        true
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn GroupsAccumulator>> {
        Ok(Box::new(self.picker(&args)))
    }
}

impl Pick {
    fn picker(&self, args: &AccumulatorArgs) -> Picker {
        let value = args.expr_fields.get(1).map_or(DataType::Null, |field| field.data_type().clone());
        Picker { kind: self.kind, result: args.return_type().clone(), value, best: Vec::new() }
    }
}

/// The chosen row of one group so far.
#[derive(Clone, Debug)]
struct Best {
    key: i64,
    result: ScalarValue,
    /// Only where the value decides.
    value: ScalarValue,
}

#[derive(Debug)]
struct Picker {
    kind: Kind,
    result: DataType,
    value: DataType,
    best: Vec<Option<Best>>,
}

impl Picker {
    /// Whether a row (key, order of its value to the known one) is to be chosen before the known one.
    fn better(&self, key: i64, known: i64, value: Ordering) -> bool {
        match self.kind {
            Kind::First | Kind::AtFirst => key < known,
            Kind::Last | Kind::LastRow | Kind::AtLast | Kind::AtLastRow => key > known,
            Kind::AtMax => value == Ordering::Greater || (value == Ordering::Equal && key < known),
            Kind::AtMin => value == Ordering::Less || (value == Ordering::Equal && key < known),
        }
    }

    /// Takes rows in: `values` decides where the kind goes by value, and is null where a row is to be passed over.
    fn take(
        &mut self,
        results: &ArrayRef,
        values: &ArrayRef,
        keys: &Int64Array,
        groups: &[usize],
        keep: &dyn Fn(usize) -> bool,
    ) -> Result<()> {
        // The best row of each group inside this batch first: only that one becomes a scalar.
        let compare = if self.kind.by_value() {
            Some(datafusion::arrow::array::make_comparator(values, values, Default::default())?)
        } else {
            None
        };
        let mut chosen: Vec<usize> = vec![usize::MAX; self.best.len()];
        let mut touched = Vec::new();
        for (row, group) in groups.iter().enumerate() {
            if keys.is_null(row) || !keep(row) {
                continue;
            }
            let known = chosen[*group];
            let better = known == usize::MAX || {
                let order = compare.as_ref().map_or(Ordering::Equal, |compare| compare(row, known));
                self.better(keys.value(row), keys.value(known), order)
            };
            if known == usize::MAX {
                touched.push(*group);
            }
            if better {
                chosen[*group] = row;
            }
        }
        for group in touched {
            let row = chosen[group];
            let key = keys.value(row);
            let value = match compare {
                Some(_) => ScalarValue::try_from_array(values, row)?,
                None => ScalarValue::Null,
            };
            let better = self.best[group].as_ref().is_none_or(|known| {
                let order = value.partial_cmp(&known.value).unwrap_or(Ordering::Equal);
                self.better(key, known.key, order)
            });
            if better {
                let result = ScalarValue::try_from_array(results, row)?.compacted();
                self.best[group] = Some(Best { key, result, value: value.compacted() });
            }
        }
        Ok(())
    }

    fn column<'b>(
        &self,
        best: &'b [Option<Best>],
        data_type: &DataType,
        of: impl Fn(&'b Best) -> &'b ScalarValue,
    ) -> Result<ArrayRef> {
        if best.is_empty() {
            return Ok(new_empty_array(data_type));
        }
        let null = ScalarValue::try_from(data_type)?;
        ScalarValue::iter_to_array(
            best.iter().map(|best| best.as_ref().map_or_else(|| null.clone(), |b| of(b).clone())),
        )
    }
}

fn ticks(array: &ArrayRef) -> Result<Int64Array> {
    Ok(cast(array, &DataType::Int64)?.as_primitive::<Int64Type>().clone())
}

impl GroupsAccumulator for Picker {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) -> Result<()> {
        self.best.resize(total, None);
        let decides = if values.len() == 3 { &values[1] } else { &values[0] };
        let keys = ticks(&values[values.len() - 1])?;
        let skips = self.kind.skips_null();
        let keep = |row: usize| passes(filter, row) && !(skips && decides.is_null(row));
        self.take(&values[0], decides, &keys, groups, &keep)
    }

    fn merge_batch(&mut self, states: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        self.best.resize(total, None);
        let keys = ticks(&states[0])?;
        let values = states.get(2).unwrap_or(&states[1]);
        self.take(&states[1], values, &keys, groups, &|_| true)
    }

    fn evaluate(&mut self, emit: EmitTo) -> Result<ArrayRef> {
        let best = taken(&mut self.best, emit);
        self.column(&best, &self.result, |best| &best.result)
    }

    fn state(&mut self, emit: EmitTo) -> Result<Vec<ArrayRef>> {
        let best = taken(&mut self.best, emit);
        let keys: Int64Array = best.iter().map(|best| best.as_ref().map(|best| best.key)).collect();
        let mut state: Vec<ArrayRef> = vec![Arc::new(keys), self.column(&best, &self.result, |best| &best.result)?];
        if self.kind.by_value() {
            state.push(self.column(&best, &self.value, |best| &best.value)?);
        }
        Ok(state)
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let decides = if values.len() == 3 { &values[1] } else { &values[0] };
        let keys = ticks(&values[values.len() - 1])?;
        let skips = self.kind.skips_null();
        let keep = |row: &usize| passes(filter, *row) && !(skips && decides.is_null(*row)) && keys.is_valid(*row);
        let keys: Int64Array = (0..keys.len()).map(|row| keep(&row).then(|| keys.value(row))).collect();
        let mut state: Vec<ArrayRef> = vec![Arc::new(keys), Arc::clone(&values[0])];
        if self.kind.by_value() {
            state.push(Arc::clone(decides));
        }
        Ok(state)
    }

    fn size(&self) -> usize {
        self.best.capacity() * size_of::<Option<Best>>()
    }
}
