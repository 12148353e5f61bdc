//! What groups come to, twice: merged from the states that a vnode gives, and made of its rows as text.

use std::collections::BTreeMap;

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::util::display::array_value_to_string;
use model::ColumnId;
use model::aggregate::{Aggregate, AggregateRequest, Function};

const A: ColumnId = ColumnId(1);
const B: ColumnId = ColumnId(2);
const C: ColumnId = ColumnId(3);

const fn of(function: Function, column: ColumnId) -> Aggregate {
    Aggregate { function, column }
}

/// Every function of every column that takes it.
pub(super) const ALL: [Aggregate; 22] = [
    of(Function::Rows, ColumnId::KEY),
    of(Function::Count, ColumnId::KEY),
    of(Function::Count, A),
    of(Function::Count, B),
    of(Function::Count, C),
    of(Function::Sum, A),
    of(Function::Sum, C),
    of(Function::Min, ColumnId::KEY),
    of(Function::Min, A),
    of(Function::Min, C),
    of(Function::Max, ColumnId::KEY),
    of(Function::Max, A),
    of(Function::Max, C),
    of(Function::First, ColumnId::KEY),
    of(Function::First, A),
    of(Function::First, B),
    of(Function::First, C),
    of(Function::Last, A),
    of(Function::Last, B),
    of(Function::Last, C),
    of(Function::LastRow, ColumnId::KEY),
    of(Function::LastRow, A),
];

const NULL: &str = "-";

/// What the rows of a group (name, key, a, b, c, tag) come to. Of several tables the oldest row may be of any of them:
/// of rows with one key the set of candidates is told.
pub(super) fn expected(lines: &[&Vec<String>]) -> Vec<String> {
    ALL.iter().map(|one| expected_of(*one, lines)).collect()
}

fn place(column: ColumnId) -> usize {
    usize::from(column.0) + 1
}

fn expected_of(one: Aggregate, lines: &[&Vec<String>]) -> String {
    let cell = |line: &&&Vec<String>| line[place(one.column)].clone();
    let key = |line: &&&Vec<String>| line[1].parse::<i64>().expect("a tick");
    let some: Vec<&&Vec<String>> = lines.iter().filter(|line| cell(line) != NULL).collect();
    let numbers = || some.iter().map(|line| cell(line).parse::<f64>().expect("a number"));
    let shown = |number: Option<f64>| number.map_or(NULL.to_owned(), |number| number.to_string());
    let candidates = |rows: Vec<&&Vec<String>>, at: Option<i64>| {
        let Some(at) = at else { return NULL.to_owned() };
        let mut cells: Vec<String> = rows.iter().filter(|row| key(row) == at).map(cell).collect();
        cells.sort();
        cells.dedup();
        format!("{at}:{}", cells.join("|"))
    };
    match one.function {
        Function::Rows => lines.len().to_string(),
        Function::Count => some.len().to_string(),
        Function::Sum => shown((!some.is_empty()).then(|| numbers().sum())),
        Function::Min => shown(numbers().reduce(f64::min)),
        Function::Max => shown(numbers().reduce(f64::max)),
        Function::First => candidates(some.clone(), some.iter().map(key).min()),
        Function::Last => candidates(some.clone(), some.iter().map(key).max()),
        Function::LastRow => {
            let all: Vec<_> = lines.iter().collect();
            let newest = all.iter().map(key).max();
            candidates(all, newest)
        }
    }
}

/// The states of each group put together, and then against `expected`: a picked row may be any of its candidates.
pub(super) fn check(
    batches: &[RecordBatch],
    request: &AggregateRequest,
    expected: &BTreeMap<Vec<String>, Vec<String>>,
    only: Option<&[Vec<String>]>,
    what: &str,
) {
    let mut found: BTreeMap<Vec<String>, Vec<Vec<String>>> = BTreeMap::new();
    let groups = request.series.len() + usize::from(request.windows.is_some());
    for batch in batches {
        assert_eq!(batch.schema(), request.schema());
        for row in 0..batch.num_rows() {
            let text = |column: usize| {
                let array = batch.column(column);
                if matches!(array.data_type(), arrow::datatypes::DataType::Timestamp(..)) {
                    // Without the database of zones Arrow shows no timestamp that has one.
                    let ticks = arrow::compute::cast(array, &arrow::datatypes::DataType::Int64).expect("ticks");
                    return shown(&ticks, row);
                }
                shown(array, row)
            };
            let group: Vec<String> = (0..groups).map(text).collect();
            found.entry(group).or_default().push((groups..batch.num_columns()).map(text).collect());
        }
    }
    match only {
        None => {
            assert!(found.keys().eq(expected.keys()), "groups {:?}, not {:?}; {what}", found.keys(), expected.keys())
        }
        Some(groups) => groups.iter().for_each(|group| assert!(found.contains_key(group), "{group:?}, {what}")),
    }
    for (group, states) in &found {
        if only.is_some_and(|groups| !groups.contains(group)) {
            continue;
        }
        let mut at = 0;
        for (one, wanted) in ALL.iter().zip(&expected[group]) {
            let parts: Vec<&[String]> = states.iter().map(|state| &state[at..at + width(*one)]).collect();
            at += width(*one);
            let merged = merge(*one, &parts);
            let same = match (wanted.split_once(':'), merged.split_once(':')) {
                (Some((key, candidates)), Some((found, cell))) => {
                    key == found && candidates.split('|').any(|candidate| candidate == cell)
                }
                _ => *wanted == merged,
            };
            assert!(same, "{one:?} of {group:?} is {wanted}, not {merged}; {what}");
        }
    }
}

fn width(one: Aggregate) -> usize {
    match one.function {
        Function::Sum if one.column == C => 2,
        Function::First | Function::Last | Function::LastRow => 2,
        _ => 1,
    }
}

fn shown(array: &ArrayRef, row: usize) -> String {
    if array.is_null(row) { NULL.to_owned() } else { array_value_to_string(array, row).expect("text") }
}

fn number(text: &str) -> Option<f64> {
    text.parse().ok()
}

fn merge(one: Aggregate, parts: &[&[String]]) -> String {
    let numbers = || parts.iter().filter_map(|part| number(&part[0]));
    let shown = |number: Option<f64>| number.map_or(NULL.to_owned(), |number| number.to_string());
    match one.function {
        Function::Rows | Function::Count => shown(Some(numbers().sum())),
        Function::Sum => {
            let any = numbers().next().is_some();
            let lost: f64 = parts.iter().filter_map(|part| number(part.get(1)?)).sum();
            shown(any.then(|| numbers().sum::<f64>() + lost))
        }
        Function::Min => shown(numbers().reduce(f64::min)),
        Function::Max => shown(numbers().reduce(f64::max)),
        Function::First | Function::Last | Function::LastRow => {
            let rows = parts.iter().filter_map(|part| Some((part[0].parse::<i64>().ok()?, &part[1])));
            let oldest = one.function == Function::First;
            let best = rows.reduce(|a, b| if (b.0 < a.0) == oldest && b.0 != a.0 { b } else { a });
            best.map_or(NULL.to_owned(), |(key, cell)| {
                let counted = matches!(one.column, ColumnId::KEY | C) && *cell != NULL;
                let cell = if counted { shown(number(cell)) } else { cell.clone() };
                format!("{key}:{cell}")
            })
        }
    }
}
