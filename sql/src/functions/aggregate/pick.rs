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

use datafusion::arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, new_empty_array, new_null_array};
use datafusion::arrow::compute::{cast, interleave};
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
        Picker::new(self.kind, args.return_type().clone(), value)
    }
}

/// No row.
const NOWHERE: u32 = u32::MAX;
/// Arrays that are held before the chosen cells are copied out of them.
const ARRAYS_MAX: usize = 1024;
/// Bytes of arrays that are held beside those that the chosen cells need, about.
const LOOSE_BYTES_MAX: usize = 4 << 20;

/// The chosen row of each group: its key, and where its result stands in the arrays that came. Cells are copied when they
/// are asked for, or when too much is held for them.
struct Picker {
    kind: Kind,
    result: DataType,
    value: DataType,
    keys: Vec<i64>,
    /// Array and row; [`NOWHERE`] if no row is chosen yet.
    places: Vec<(u32, u32)>,
    arrays: Vec<ArrayRef>,
    /// Bytes of `arrays`, and how many there were after they were copied last.
    bytes: usize,
    copied: usize,
    /// Only where the value decides.
    values: Vec<ScalarValue>,
}

impl std::fmt::Debug for Picker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Picker").field("kind", &self.kind).field("groups", &self.keys.len()).finish_non_exhaustive()
    }
}

impl Picker {
    fn new(kind: Kind, result: DataType, value: DataType) -> Self {
        let (keys, places, arrays, values) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { kind, result, value, keys, places, arrays, bytes: 0, copied: 0, values }
    }

    fn resize(&mut self, total: usize) {
        self.keys.resize(total, 0);
        self.places.resize(total, (NOWHERE, 0));
        if self.kind.by_value() {
            self.values.resize(total, ScalarValue::Null);
        }
    }

    /// Takes rows in: `values` decides where the kind goes by value. Rows without a key and those that `keep` refuses are
    /// passed over.
    fn take(
        &mut self,
        results: &ArrayRef,
        values: &ArrayRef,
        keys: &Int64Array,
        groups: &[usize],
        keep: &dyn Fn(usize) -> bool,
    ) -> Result<()> {
        let rows = (0..groups.len()).filter(|row| keys.is_valid(*row) && keep(*row));
        let used = if self.kind.by_value() {
            self.take_by_value(values, keys, groups, rows)?
        } else {
            let oldest = matches!(self.kind, Kind::First | Kind::AtFirst);
            let array = self.arrays.len() as u32;
            let mut used = false;
            for row in rows {
                let (key, group) = (keys.value(row), groups[row]);
                let known = self.keys[group];
                let better = if oldest { key < known } else { key > known };
                if better || self.places[group].0 == NOWHERE {
                    (self.keys[group], self.places[group]) = (key, (array, row as u32));
                    used = true;
                }
            }
            used
        };
        if used {
            let results =
                if *results.data_type() == self.result { Arc::clone(results) } else { cast(results, &self.result)? };
            self.bytes += bytes_of(&results);
            self.arrays.push(results);
            if self.arrays.len() > ARRAYS_MAX || self.bytes > LOOSE_BYTES_MAX + 4 * self.copied {
                self.copy()?;
            }
        }
        Ok(())
    }

    /// The row with the greatest or least value, the earliest of several. Whether some group has a new one.
    fn take_by_value(
        &mut self,
        values: &ArrayRef,
        keys: &Int64Array,
        groups: &[usize],
        rows: impl Iterator<Item = usize>,
    ) -> Result<bool> {
        let greatest = self.kind == Kind::AtMax;
        let better = |key: i64, known: i64, order: Ordering| {
            order == (if greatest { Ordering::Greater } else { Ordering::Less }) || (order.is_eq() && key < known)
        };
        // The best row of each group inside this batch first: only that one becomes a scalar.
        let compare = datafusion::arrow::array::make_comparator(values, values, Default::default())?;
        let mut chosen: Vec<usize> = vec![usize::MAX; self.keys.len()];
        let mut touched = Vec::new();
        for row in rows {
            let known = chosen[groups[row]];
            if known == usize::MAX {
                touched.push(groups[row]);
            }
            if known == usize::MAX || better(keys.value(row), keys.value(known), compare(row, known)) {
                chosen[groups[row]] = row;
            }
        }
        let (array, mut used) = (self.arrays.len() as u32, false);
        for group in touched {
            let row = chosen[group];
            let (key, value) = (keys.value(row), ScalarValue::try_from_array(values, row)?);
            let order = value.partial_cmp(&self.values[group]).unwrap_or(Ordering::Equal);
            if self.places[group].0 == NOWHERE || better(key, self.keys[group], order) {
                (self.keys[group], self.places[group]) = (key, (array, row as u32));
                self.values[group] = value.compacted();
                used = true;
            }
        }
        Ok(used)
    }

    /// Copies the chosen cells out of the arrays that came.
    fn copy(&mut self) -> Result<()> {
        let cells = self.cells(&self.places)?;
        for (row, place) in self.places.iter_mut().enumerate().filter(|(_, place)| place.0 != NOWHERE) {
            *place = (0, row as u32);
        }
        self.bytes = bytes_of(&cells);
        self.copied = self.bytes;
        self.arrays = vec![cells];
        Ok(())
    }

    /// The cells at these places; NULL where there is none.
    fn cells(&self, places: &[(u32, u32)]) -> Result<ArrayRef> {
        if self.arrays.is_empty() {
            return Ok(new_null_array(&self.result, places.len()));
        }
        let null = new_null_array(&self.result, 1);
        let mut arrays: Vec<&dyn Array> = self.arrays.iter().map(|array| &**array).collect();
        let nowhere = (arrays.len(), 0);
        arrays.push(&*null);
        let of = |place: &(u32, u32)| if place.0 == NOWHERE { nowhere } else { (place.0 as usize, place.1 as usize) };
        Ok(interleave(&arrays, &places.iter().map(of).collect::<Vec<_>>())?)
    }

    /// Keys, results and values of the groups that `emit` takes out.
    fn emit(&mut self, emit: EmitTo) -> Result<(Int64Array, ArrayRef, Vec<ScalarValue>)> {
        let (keys, places) = (taken(&mut self.keys, emit), taken(&mut self.places, emit));
        let values = if self.kind.by_value() { taken(&mut self.values, emit) } else { Vec::new() };
        let results = self.cells(&places)?;
        if self.keys.is_empty() {
            self.arrays.clear();
            (self.bytes, self.copied) = (0, 0);
        }
        let key = |(key, place): (i64, &(u32, u32))| (place.0 != NOWHERE).then_some(key);
        Ok((keys.into_iter().zip(&places).map(key).collect(), results, values))
    }

    fn values(&self, values: Vec<ScalarValue>) -> Result<ArrayRef> {
        if values.is_empty() {
            return Ok(new_empty_array(&self.value));
        }
        let null = ScalarValue::try_from(&self.value)?;
        let known = |value: ScalarValue| if value.is_null() { null.clone() } else { value };
        ScalarValue::iter_to_array(values.into_iter().map(known))
    }
}

/// Bytes of the cells of an array, without what else lies in the buffers that it is a part of.
fn bytes_of(array: &ArrayRef) -> usize {
    array.to_data().get_slice_memory_size().unwrap_or_else(|_| array.get_array_memory_size())
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
        self.resize(total);
        let decides = if values.len() == 3 { &values[1] } else { &values[0] };
        let keys = ticks(&values[values.len() - 1])?;
        let skips = self.kind.skips_null();
        let keep = |row: usize| passes(filter, row) && !(skips && decides.is_null(row));
        self.take(&values[0], decides, &keys, groups, &keep)
    }

    fn merge_batch(&mut self, states: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        self.resize(total);
        let keys = ticks(&states[0])?;
        let values = states.get(2).unwrap_or(&states[1]);
        self.take(&states[1], values, &keys, groups, &|_| true)
    }

    fn evaluate(&mut self, emit: EmitTo) -> Result<ArrayRef> {
        Ok(self.emit(emit)?.1)
    }

    fn state(&mut self, emit: EmitTo) -> Result<Vec<ArrayRef>> {
        let (keys, results, values) = self.emit(emit)?;
        let mut state: Vec<ArrayRef> = vec![Arc::new(keys), results];
        if self.kind.by_value() {
            state.push(self.values(values)?);
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
        let scalars = self.values.iter().map(ScalarValue::size).sum::<usize>();
        self.bytes
            + scalars
            + self.keys.capacity() * size_of::<i64>()
            + self.places.capacity() * size_of::<(u32, u32)>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use datafusion::arrow::array::StringArray;

    fn random(seed: &mut u64, below: u64) -> u64 {
        *seed ^= *seed << 13;
        *seed ^= *seed >> 7;
        *seed ^= *seed << 17;
        *seed % below
    }

    /// Random batches against a plain search, with cells copied now and then, and groups emitted in two parts.
    #[test]
    fn the_same_rows_as_a_plain_search() {
        let mut seed = 0x9e37_79b9_7f4a_7c15;
        for kind in Kind::ALL {
            let mut picker = Picker::new(kind, DataType::Utf8, DataType::Int64);
            let mut rows: Vec<(usize, String, Option<i64>, i64)> = Vec::new();
            let groups = 7;
            for batch in 0..40 {
                let of = |seed: &mut u64, n: u64| {
                    let value = (random(seed, 4) > 0).then(|| random(seed, 5) as i64);
                    (random(seed, groups) as usize, format!("{batch}.{n}"), value, random(seed, 30) as i64)
                };
                let count = random(&mut seed, 9);
                let some: Vec<_> = (0..count).map(|n| of(&mut seed, n)).collect();
                let column = |value: bool| -> ArrayRef {
                    if value {
                        Arc::new(some.iter().map(|row| row.2).collect::<Int64Array>())
                    } else if kind.arguments() == 2 {
                        Arc::new(some.iter().map(|row| row.2.map(|_| row.1.clone())).collect::<StringArray>())
                    } else {
                        Arc::new(some.iter().map(|row| Some(row.1.clone())).collect::<StringArray>())
                    }
                };
                let keys: ArrayRef = Arc::new(some.iter().map(|row| Some(row.3)).collect::<Int64Array>());
                let columns = match kind.arguments() {
                    2 => vec![column(false), keys],
                    _ => vec![column(false), column(true), keys],
                };
                let of: Vec<usize> = some.iter().map(|row| row.0).collect();
                picker.update_batch(&columns, &of, None, groups as usize).expect("rows");
                if batch % 9 == 8 {
                    picker.copy().expect("copied");
                }
                rows.extend(some);
            }
            let expected = |group: usize| {
                let mut best: Option<&(usize, String, Option<i64>, i64)> = None;
                for row in rows.iter().filter(|row| row.0 == group && (!kind.skips_null() || row.2.is_some())) {
                    let better = best.is_none_or(|known| match kind {
                        Kind::First | Kind::AtFirst => row.3 < known.3,
                        Kind::AtMax => (row.2, -row.3) > (known.2, -known.3),
                        Kind::AtMin => (row.2, row.3) < (known.2, known.3),
                        _ => row.3 > known.3,
                    });
                    if better {
                        best = Some(row);
                    }
                }
                best.and_then(
                    |row| if kind.arguments() == 2 { row.2.map(|_| row.1.clone()) } else { Some(row.1.clone()) },
                )
            };
            // Half of the groups by way of states.
            let states = picker.state(EmitTo::First(3)).expect("states");
            let mut merged = Picker::new(kind, DataType::Utf8, DataType::Int64);
            merged.merge_batch(&states, &[0, 1, 2], 3).expect("states");
            let first = merged.evaluate(EmitTo::All).expect("results");
            let second = picker.evaluate(EmitTo::All).expect("results");
            let found = first.as_string::<i32>().iter().chain(second.as_string::<i32>());
            let found: Vec<Option<String>> = found.map(|text| text.map(str::to_owned)).collect();
            assert_eq!(found, (0..groups as usize).map(expected).collect::<Vec<_>>(), "{kind:?}");
        }
    }
}
