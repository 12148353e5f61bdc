//! Aggregates of the plane in memory, row by row: what [`model::aggregate`] says, with nothing clever about it.

use std::collections::BTreeMap;

use datafusion::arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use datafusion::common::ScalarValue;
use model::aggregate::{AggregateRequest, Function, SUM_DIGITS, SeriesKey};
use model::scan::Output;
use model::{ColumnId, DataType, VgroupId};

use super::{Inner, array_of, scan_rows};

/// The rows of a group: their keys, and the cells of each aggregate's column.
type Group = Vec<(i64, Vec<ScalarValue>)>;

pub(super) fn groups(inner: &Inner, vgroup: VgroupId, request: &AggregateRequest) -> RecordBatch {
    let mut rows = request.rows.clone();
    rows.output = vec![Output::Column(ColumnId::KEY)];
    rows.output.extend(request.series.iter().map(|key| match key {
        SeriesKey::Tag(id) => Output::Tag(*id),
        SeriesKey::TableName => Output::TableName,
    }));
    rows.output.extend(request.aggregates.iter().map(|one| Output::Column(one.column)));
    let read = scan_rows(inner, vgroup, &rows);
    let cell = |column: usize, row: usize| ScalarValue::try_from_array(read.column(column), row).expect("a cell");
    let mut groups: BTreeMap<String, (Vec<ScalarValue>, Group)> = BTreeMap::new();
    for row in 0..read.num_rows() {
        let tick = cell(0, row).cast_to(&datafusion::arrow::datatypes::DataType::Int64).expect("ticks");
        let ScalarValue::Int64(Some(key)) = tick else { panic!("a key is never NULL") };
        let mut of: Vec<ScalarValue> = (0..request.series.len()).map(|at| cell(1 + at, row)).collect();
        if let Some(windows) = &request.windows {
            let start = ScalarValue::Int64(Some(windows.around(key).0));
            of.push(start.cast_to(&DataType::Timestamp.arrow(rows.precision)).expect("ticks"));
        }
        let cells = (0..request.aggregates.len()).map(|at| cell(1 + request.series.len() + at, row)).collect();
        groups.entry(format!("{of:?}")).or_insert_with(|| (of, Vec::new())).1.push((key, cells));
    }
    let schema = request.schema();
    let mut columns: Vec<Vec<ScalarValue>> = vec![Vec::new(); schema.fields().len()];
    for (of, rows) in groups.values() {
        let mut values = of.clone();
        for (at, one) in request.aggregates.iter().enumerate() {
            let cells: Vec<(i64, &ScalarValue)> = rows.iter().map(|(key, cells)| (*key, &cells[at])).collect();
            values.extend(states(one.function, request.data_type(*one), &cells));
        }
        columns.iter_mut().zip(values).for_each(|(column, value)| column.push(value));
    }
    let arrays: Vec<ArrayRef> = columns
        .into_iter()
        .zip(schema.fields())
        .map(|(values, field)| {
            let of = |value: ScalarValue| value.cast_to(field.data_type()).expect("a state of its type");
            array_of(values.into_iter().map(of).collect(), field.data_type())
        })
        .collect();
    let options = RecordBatchOptions::new().with_row_count(Some(groups.len()));
    RecordBatch::try_new_with_options(schema, arrays, &options).expect("the schema of the request")
}

fn states(function: Function, data_type: DataType, cells: &[(i64, &ScalarValue)]) -> Vec<ScalarValue> {
    let some = || cells.iter().filter(|(_, cell)| !cell.is_null());
    let count = |n: usize| vec![ScalarValue::Int64(Some(n as i64))];
    let picked = |found: Option<&(i64, &ScalarValue)>| match found {
        Some((key, cell)) => vec![ScalarValue::Int64(Some(*key)), (*cell).clone()],
        None => vec![ScalarValue::Int64(None), ScalarValue::Null],
    };
    let best = |found: Option<&(i64, &ScalarValue)>| vec![found.map_or(ScalarValue::Null, |(_, cell)| (*cell).clone())];
    let compare = |a: &&(i64, &ScalarValue), b: &&(i64, &ScalarValue)| a.1.partial_cmp(b.1).expect("of one type");
    match function {
        Function::Rows => count(cells.len()),
        Function::Count => count(some().count()),
        Function::Sum if data_type.is_float() => {
            let float = datafusion::arrow::datatypes::DataType::Float64;
            let value = |(_, cell): &(i64, &ScalarValue)| match cell.cast_to(&float) {
                Ok(ScalarValue::Float64(Some(value))) => value,
                other => panic!("a float, not {other:?}"),
            };
            let any = some().next().is_some();
            let sum: f64 = some().map(value).sum();
            vec![ScalarValue::Float64(any.then_some(sum)), ScalarValue::Float64(any.then_some(0.0))]
        }
        Function::Sum => {
            let value = |(_, cell): &(i64, &ScalarValue)| cell.to_string().parse::<i128>().expect("a whole number");
            let sum = some().next().is_some().then(|| some().map(value).sum());
            vec![ScalarValue::Decimal128(sum, SUM_DIGITS, 0)]
        }
        Function::Min => best(some().min_by(compare)),
        Function::Max => best(some().max_by(compare)),
        Function::First => picked(some().min_by_key(|(key, _)| *key)),
        Function::Last => picked(some().max_by_key(|(key, _)| *key)),
        Function::LastRow => picked(cells.iter().max_by_key(|(key, _)| *key)),
    }
}
