//! Random histories: after every few steps the vnode must answer as a sorted map does.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::aggregate::{Aggregate, AggregateRequest, Function, SeriesKey, Windows};
use model::command::{Applied, Operation, Target};
use model::options::CacheModel;
use model::scan::{ColumnFilter, LastValuesRequest, Order, Output, ScanRequest, Series};
use model::schema::RelationKind;
use model::types::Value;
use model::write::{Change, Keys, RowBatch, TableRef, Tables, WriteColumn};
use model::{ColumnId, Suid, TimeRange};
use proptest::prelude::*;

use crate::vnode::tests::aggregates;
use crate::vnode::tests::{Bench, Cell, chunk, columns, creation, lines, relation, request};
use crate::vnode::{EnvOptions, StorageEnv};

const TABLES: usize = 5;
const SUID: u32 = 7;

type Row = (usize, i64, [Cell; 3]);

#[derive(Clone, Debug)]
enum Step {
    Write(Vec<Row>),
    /// Several operations in one entry: rows, a delete, rows.
    Mixed(Vec<Row>, usize, TimeRange, Vec<Row>),
    DeleteRange(Option<usize>, TimeRange),
    DeleteKeys(Vec<(usize, i64)>),
    DropTable(usize),
    SetTag(usize, i64),
    Flush,
    Merge,
    Compact,
    Reopen,
    Snapshot,
    /// The process dies after this many changes of the disk, in the middle of flushes and merges.
    Crash(u32),
}

/// What must be there: rows by table and key, and tags.
#[derive(Default)]
struct Model {
    rows: BTreeMap<(String, i64), [Cell; 3]>,
    /// Tables in the order of their sids.
    tables: Vec<String>,
    tags: BTreeMap<String, i64>,
}

fn name(table: usize) -> String {
    format!("t{table}")
}

impl Model {
    fn create(&mut self, table: usize) {
        let name = name(table);
        if !self.tables.contains(&name) {
            self.tables.push(name.clone());
            self.tags.insert(name, table as i64);
        }
    }

    fn write(&mut self, rows: &[Row]) {
        for (table, key, cells) in rows {
            self.create(*table);
            let row = self.rows.entry((name(*table), *key)).or_insert([Cell::Null, Cell::Null, Cell::Null]);
            for (old, new) in row.iter_mut().zip(cells) {
                if *new != Cell::Absent {
                    *old = new.clone();
                }
            }
        }
    }

    fn delete(&mut self, table: Option<usize>, range: TimeRange) -> u64 {
        let before = self.rows.len();
        let of = table.map(name);
        self.rows.retain(|(name, key), _| of.as_ref().is_some_and(|of| of != name) || !range.contains(*key));
        (before - self.rows.len()) as u64
    }

    fn drop_table(&mut self, table: usize) -> bool {
        let name = name(table);
        self.rows.retain(|(of, _), _| *of != name);
        self.tags.remove(&name);
        let before = self.tables.len();
        self.tables.retain(|of| *of != name);
        self.tables.len() < before
    }

    fn lines(&self) -> Vec<Vec<String>> {
        let mut lines = Vec::new();
        for table in &self.tables {
            for ((name, key), cells) in self.rows.range((table.clone(), i64::MIN)..=(table.clone(), i64::MAX)) {
                let mut line = vec![name.clone(), key.to_string()];
                line.extend(cells.iter().map(show));
                line.push(self.tags[name].to_string());
                lines.push(line);
            }
        }
        lines
    }
}

fn show(cell: &Cell) -> String {
    match cell {
        Cell::Absent | Cell::Null => "-".to_owned(),
        Cell::Int(x) => x.to_string(),
        Cell::Float(x) => x.to_string(),
        Cell::Text(x) => x.clone(),
    }
}

fn key(line: &[String]) -> i64 {
    line[1].parse().expect("a number")
}

fn cells() -> impl Strategy<Value = [Cell; 3]> {
    let a = prop_oneof![Just(Cell::Absent), Just(Cell::Null), (0..100i32).prop_map(Cell::Int)];
    let b = prop_oneof![Just(Cell::Absent), Just(Cell::Null), "[a-c]{0,3}".prop_map(Cell::Text)];
    let c = prop_oneof![Just(Cell::Absent), Just(Cell::Null), (0..9i32).prop_map(|x| Cell::Float(f64::from(x) / 4.0))];
    (a, b, c).prop_map(|(a, b, c)| [a, b, c])
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let one = (0..TABLES, -120..320i64, cells());
    prop_oneof![
        4 => prop::collection::vec(one, 1..12),
        // A stretch of one series, long enough for a block of its own.
        1 => (0..TABLES, -100..0i64, 100..400usize, cells()).prop_map(|(table, from, count, cells)| {
            (0..count as i64).map(|at| (table, from + at, cells.clone())).collect()
        }),
    ]
}

fn range() -> impl Strategy<Value = TimeRange> {
    (-150..350i64, 0..200i64).prop_map(|(min, len)| TimeRange { min, max: min + len })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        10 => rows().prop_map(Step::Write),
        1 => (rows(), 0..TABLES, range(), rows()).prop_map(|(a, table, range, b)| Step::Mixed(a, table, range, b)),
        2 => (prop::option::of(0..TABLES), range()).prop_map(|(table, range)| Step::DeleteRange(table, range)),
        2 => prop::collection::vec((0..TABLES, -120..320i64), 1..5).prop_map(Step::DeleteKeys),
        1 => (0..TABLES).prop_map(Step::DropTable),
        1 => (0..TABLES, 0..9i64).prop_map(|(table, tag)| Step::SetTag(table, tag)),
        5 => Just(Step::Flush),
        2 => Just(Step::Merge),
        1 => Just(Step::Compact),
        2 => Just(Step::Reopen),
        1 => Just(Step::Snapshot),
        2 => (0..8u32).prop_map(Step::Crash),
    ]
}

/// The write operation of rows, as a leader makes it: tables that it knows by sid, others by name.
fn operation(bench: &Bench, rows: &[Row], fresh: bool) -> Operation {
    let mut targets = Vec::new();
    let mut seen: Vec<usize> = Vec::new();
    let mut ordinals = Vec::new();
    for (table, ..) in rows {
        let at = seen.iter().position(|other| other == table).unwrap_or_else(|| {
            let known = bench.vnode().lookup(&[name(*table)]).remove(0).filter(|_| !fresh);
            targets.push(match known {
                Some(info) => Target::Existing { uid: info.uid, sid: info.sid },
                None => Target::Create(creation(&name(*table), *table as i64)),
            });
            seen.push(*table);
            seen.len() - 1
        });
        ordinals.push(at as u32);
    }
    let keys = rows.iter().map(|(_, key, _)| *key).collect();
    let cells: Vec<[Cell; 3]> = rows.iter().map(|(.., cells)| cells.clone()).collect();
    let ordinals = if targets.len() == 1 { Vec::new() } else { ordinals };
    chunk(SUID, targets, ordinals, keys, &cells)
}

fn run(bench: &mut Bench, model: &mut Model, step: &Step) {
    match step {
        Step::Write(rows) => {
            let operation = operation(bench, rows, false);
            let Applied::Done(effect) = bench.apply(vec![operation]) else { panic!("refused") };
            model.write(rows);
            assert_eq!(effect.written, rows.len() as u64);
        }
        Step::Mixed(before, table, range, after) => {
            let tables = Tables::Named(vec![name(*table)]);
            let resolved = bench.vnode().resolve_range(Suid(SUID), &tables, *range).expect("resolve");
            let delete = Operation::DeleteRange {
                suid: Suid(SUID),
                sids: resolved.sids,
                range: *range,
                counted: resolved.counted,
            };
            let known = model.tables.contains(&name(*table));
            let operations = vec![operation(bench, before, false), delete, operation(bench, after, true)];
            assert!(matches!(bench.apply(operations), Applied::Done(_)));
            model.write(before);
            if known {
                model.delete(Some(*table), *range);
            }
            model.write(after);
        }
        Step::DeleteRange(table, range) => {
            let tables = table.map_or(Tables::All, |table| Tables::Named(vec![name(table)]));
            let resolved = bench.vnode().resolve_range(Suid(SUID), &tables, *range).expect("resolve");
            let counted = resolved.counted;
            let operation = Operation::DeleteRange { suid: Suid(SUID), sids: resolved.sids, range: *range, counted };
            bench.apply(vec![operation]);
            assert_eq!(counted, model.delete(*table, *range), "rows counted by a delete");
        }
        Step::DeleteKeys(rows) => {
            let names: Vec<String> = (0..TABLES).map(name).collect();
            let ordinals: Vec<u32> = rows.iter().map(|(table, _)| *table as u32).collect();
            let keys: Vec<i64> = rows.iter().map(|(_, key)| *key).collect();
            let resolved = bench.vnode().resolve_keys(Suid(SUID), &names, &ordinals, &keys).expect("resolve");
            let counted = resolved.counted;
            let operation =
                Operation::DeleteKeys { suid: Suid(SUID), sids: resolved.sids, keys: resolved.keys, counted };
            bench.apply(vec![operation]);
            let gone = rows.iter().map(|(table, key)| model.delete(Some(*table), TimeRange { min: *key, max: *key }));
            assert_eq!(counted, gone.sum::<u64>(), "rows counted by a delete");
        }
        Step::DropTable(table) => {
            let operation = Operation::DropTables { suid: Suid(SUID), names: vec![name(*table)] };
            let done = matches!(bench.apply(vec![operation]), Applied::Done(_));
            assert_eq!(done, model.drop_table(*table));
        }
        Step::SetTag(table, tag) => {
            let values = vec![(ColumnId(9), Value::Int(*tag))];
            bench.apply(vec![Operation::SetTags { suid: Suid(SUID), name: name(*table), values }]);
            model.tags.entry(name(*table)).and_modify(|old| *old = *tag);
        }
        Step::Flush => drop(bench.vnode().flush().expect("flush")),
        Step::Merge => drop(bench.vnode().merge().expect("merge")),
        Step::Compact => bench.vnode().compact().expect("compact"),
        Step::Reopen => bench.reopen(),
        Step::Snapshot => bench.move_to_snapshot(),
        Step::Crash(changes) => crash(bench, *changes),
    }
}

/// Lets the disk fail in the middle of a flush or a merge, and starts again. What had been applied is there again.
fn crash(bench: &mut Bench, changes: u32) {
    let env = Arc::clone(&bench.env);
    let Some(stores) = env.memory() else { return bench.reopen() };
    stores.fail_after(changes);
    let vnode = bench.vnode();
    let failed = vnode.flush().is_err() || vnode.compact().is_err();
    assert_eq!(failed, vnode.apply_blank(crate::wal::Position { term: 1, node: 1, index: 0 }).is_err());
    stores.heal();
    bench.reopen();
}

/// Compares every kind of scan with the model.
fn check(bench: &Bench, model: &Model, probe: (TimeRange, usize)) {
    let relation = relation(SUID, RelationKind::Super);
    let rows = |request| bench.scan(ScanRequest::Rows(request));
    let all = model.lines();
    assert_eq!(rows(request(&relation, Order::SeriesTime)), all, "by series");
    let mut by_time = all.clone();
    by_time.sort_by_key(|line| key(line));
    assert_eq!(rows(request(&relation, Order::TimeAscending)), by_time, "by time");
    let mut newest_first = all.clone();
    newest_first.sort_by_key(|line| std::cmp::Reverse(key(line)));
    assert_eq!(rows(request(&relation, Order::TimeDescending)), newest_first, "by time, descending");

    let (range, limit) = probe;
    let chosen = [name(1), name(3), "nobody".to_owned()];
    for order in [Order::SeriesTime, Order::TimeAscending, Order::TimeDescending] {
        let mut request = request(&relation, order);
        request.range = range;
        request.series = Series::Named(Arc::from(chosen.as_slice()));
        request.limit = Some(limit);
        let mut expected: Vec<_> =
            all.iter().filter(|line| range.contains(key(line)) && chosen.contains(&line[0])).cloned().collect();
        match order {
            Order::TimeAscending => expected.sort_by_key(|line| key(line)),
            Order::TimeDescending => expected.sort_by_key(|line| std::cmp::Reverse(key(line))),
            _ => {}
        }
        expected.truncate(limit);
        assert_eq!(rows(request), expected, "{order:?} of some series in {range:?}");
    }

    let mut filtered = request(&relation, Order::Any);
    filtered.filters = vec![ColumnFilter { column: ColumnId(1), min: Some(Value::Int(50)), max: None }];
    let satisfies = |line: &&Vec<String>| line[2].parse::<i32>().is_ok_and(|a| a >= 50);
    let found = rows(filtered);
    let found: Vec<_> = found.iter().filter(satisfies).collect();
    assert_eq!(found, all.iter().filter(satisfies).collect::<Vec<_>>(), "with a filter");

    check_conditions(bench, &all, &relation, range, limit);
    check_last(bench, &all, &relation);
    check_groups(bench, &all, &relation, range);
}

/// Rows that satisfy conditions, and no others: in every order, with and without a limit, of columns that are shown or not.
fn check_conditions(
    bench: &Bench,
    all: &[Vec<String>],
    relation: &Arc<model::schema::Relation>,
    range: TimeRange,
    limit: usize,
) {
    let number = |value: &Value| match value {
        Value::Int(value) => *value as f64,
        Value::Float(value) => *value,
        other => panic!("{other:?} is no number"),
    };
    let a = |min, max| ColumnFilter { column: ColumnId(1), min, max };
    let c = |min, max| ColumnFilter { column: ColumnId(3), min, max };
    let int = |value: i64| Some(Value::Int(value));
    let conditions = [
        vec![a(int(50), None)],
        vec![a(int(95), None)],
        vec![a(int(20), int(60)), c(None, Some(Value::Float(1.0)))],
        vec![c(Some(Value::Float(0.75)), Some(Value::Float(0.75)))],
        vec![a(int(1000), None)],
        vec![a(int(-5), int(500))],
        vec![a(int(30), None), a(None, int(29))],
    ];
    for (conditions, order) in
        conditions.iter().flat_map(|c| [(c, Order::SeriesTime), (c, Order::TimeAscending), (c, Order::TimeDescending)])
    {
        let satisfies = |line: &&Vec<String>| {
            conditions.iter().all(|one| {
                let cell = line[usize::from(one.column.0) + 1].parse::<f64>().ok();
                cell.is_some_and(|cell| {
                    one.min.as_ref().is_none_or(|min| number(min) <= cell)
                        && one.max.as_ref().is_none_or(|max| cell <= number(max))
                })
            })
        };
        let mut expected: Vec<Vec<String>> =
            all.iter().filter(|line| range.contains(key(line))).filter(satisfies).cloned().collect();
        match order {
            Order::TimeAscending => expected.sort_by_key(|line| key(line)),
            Order::TimeDescending => expected.sort_by_key(|line| std::cmp::Reverse(key(line))),
            _ => {}
        }
        let mut request = request(relation, order);
        (request.range, request.conditions) = (range, conditions.clone());
        let what = format!("{order:?} in {range:?}, {conditions:?}");
        assert_eq!(bench.scan(ScanRequest::Rows(request.clone())), expected, "{what}");
        let mut hidden = request.clone();
        hidden.output = vec![Output::Column(ColumnId(2)), Output::Column(ColumnId::KEY)];
        let shown: Vec<Vec<String>> = expected.iter().map(|line| vec![line[3].clone(), line[1].clone()]).collect();
        assert_eq!(bench.scan(ScanRequest::Rows(hidden)), shown, "not shown, {what}");
        request.limit = Some(limit);
        expected.truncate(limit);
        assert_eq!(bench.scan(ScanRequest::Rows(request)), expected, "at most {limit}, {what}");
    }
}

/// What groups must be, made of rows as a scan shows them: name, key, `a`, `b`, `c`, tag.
fn check_groups(bench: &Bench, all: &[Vec<String>], relation: &Arc<model::schema::Relation>, range: TimeRange) {
    let starts: Arc<[i64]> = Arc::from([range.min, range.min + 17, range.min + 100]);
    let by_window = |windows: &Option<Windows>, line: &[String]| match windows {
        None => String::new(),
        Some(Windows::Fixed { step, offset }) => ((key(line) - offset).div_euclid(*step) * step + offset).to_string(),
        Some(Windows::Starts(starts)) => {
            starts.iter().rev().find(|start| **start <= key(line)).expect("none is before the first").to_string()
        }
    };
    let windowings = [
        None,
        Some(Windows::Fixed { step: 30, offset: 0 }),
        Some(Windows::Fixed { step: 7, offset: 3 }),
        Some(Windows::Starts(starts)),
    ];
    let above = ColumnFilter { column: ColumnId(1), min: Some(Value::Int(30)), max: Some(Value::Int(80)) };
    let below = ColumnFilter { column: ColumnId(3), min: None, max: Some(Value::Float(1.5)) };
    for (windows, by_series, statistics, filters) in windowings.iter().flat_map(|w| {
        [
            (w, false, true, vec![]),
            (w, true, true, vec![]),
            (w, true, false, vec![]),
            (w, false, false, vec![]),
            (w, false, true, vec![above.clone()]),
            (w, true, true, vec![above.clone(), below.clone()]),
            (w, true, false, vec![below.clone()]),
        ]
    }) {
        let mut rows = request(relation, Order::Any);
        rows.range = range;
        rows.conditions.clone_from(&filters);
        let number = |line: &[String], column: ColumnId| line[usize::from(column.0) + 1].parse::<f64>().ok();
        let bound = |value: &Option<Value>, open: f64| match value {
            Some(Value::Int(value)) => *value as f64,
            Some(Value::Float(value)) => *value,
            _ => open,
        };
        let inside = |line: &[String]| {
            let one = |filter: &ColumnFilter| {
                let (min, max) = (bound(&filter.min, f64::MIN), bound(&filter.max, f64::MAX));
                number(line, filter.column).is_some_and(|value| min <= value && value <= max)
            };
            filters.iter().all(one)
        };
        let aggregates = (aggregates::ALL).to_vec();
        let series = if by_series { vec![SeriesKey::TableName, SeriesKey::Tag(ColumnId(9))] } else { Vec::new() };
        let (newest, windows_of) = (None, windows.clone());
        let wanted =
            AggregateRequest { rows, series, windows: windows_of, aggregates, newest, statistics, last_cache: false };
        let mut expected: BTreeMap<Vec<String>, Vec<&Vec<String>>> = BTreeMap::new();
        for line in all.iter().filter(|line| range.contains(key(line)) && inside(line)) {
            let mut group = if by_series { vec![line[0].clone(), line[5].clone()] } else { Vec::new() };
            group.extend(windows.as_ref().map(|_| by_window(windows, line)));
            expected.entry(group).or_default().push(line);
        }
        let expected: BTreeMap<Vec<String>, Vec<String>> =
            expected.into_iter().map(|(group, lines)| (group, aggregates::expected(&lines))).collect();
        let what = format!("{windows:?}, by series: {by_series}, statistics: {statistics}, {range:?}, {filters:?}");
        let found = bench.batches(ScanRequest::Aggregate(wanted.clone()));
        aggregates::check(&found, &wanted, &expected, None, &what);
        if windows.is_some() && !by_series {
            let newest = AggregateRequest { newest: Some(2), ..wanted };
            let found = bench.batches(ScanRequest::Aggregate(newest.clone()));
            let mut groups: Vec<Vec<String>> = expected.keys().cloned().collect();
            groups.sort_by_key(|group| std::cmp::Reverse(group[0].parse::<i64>().expect("a tick")));
            groups.truncate(2);
            aggregates::check(&found, &newest, &expected, Some(&groups), &format!("newest, {what}"));
        }
    }
}

fn check_last(bench: &Bench, all: &[Vec<String>], relation: &Arc<model::schema::Relation>) {
    let mut last: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let mut newest: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for line in all {
        let row = newest.entry(&line[0]).or_insert_with(|| line.clone());
        for (old, new) in row.iter_mut().zip(line) {
            if new != "-" {
                old.clone_from(new);
            }
        }
        last.insert(&line[0], line.clone());
    }
    for (per_column, expected) in [(false, last), (true, newest)] {
        let rows = request(relation, Order::Any);
        let mut found = bench.scan(ScanRequest::LastValues(LastValuesRequest { rows, per_column }));
        found.sort();
        assert_eq!(found, expected.into_values().collect::<Vec<_>>(), "last, per column: {per_column}");
    }
}

/// Newest rows and values that are kept in memory must be those that are read.
fn check_kept(bench: &Bench, range: TimeRange) {
    let relation = relation(SUID, RelationKind::Super);
    let of = |function: Function, column: u16| Aggregate { function, column: ColumnId(column) };
    let rows = [of(Function::LastRow, 0), of(Function::LastRow, 1), of(Function::LastRow, 2)];
    let values = [of(Function::Last, 3), of(Function::Last, 1), of(Function::LastRow, 3)];
    let names = vec![SeriesKey::TableName, SeriesKey::Tag(ColumnId(9))];
    let ranges = [TimeRange::ALL, TimeRange { max: i64::MAX, ..range }, range];
    for (range, aggregates, series) in ranges.into_iter().flat_map(|range| {
        [(range, &rows[..], names.clone()), (range, &values[..], names.clone()), (range, &values[..2], Vec::new())]
    }) {
        let mut rows = request(&relation, Order::Any);
        (rows.range, rows.cachemodel) = (range, CacheModel::Both);
        let aggregates = aggregates.to_vec();
        let (windows, newest, statistics) = (None, None, true);
        let kept = AggregateRequest { rows, series, windows, aggregates, newest, statistics, last_cache: true };
        let read = AggregateRequest { last_cache: false, ..kept.clone() };
        let what = format!("{range:?}, {:?} by {:?}", kept.aggregates, kept.series);
        assert_eq!(newest_of(bench, kept), newest_of(bench, read), "{what}");
    }
}

/// For each group the key and the cell of every aggregate; of several tables with the same key only the key is compared.
fn newest_of(bench: &Bench, request: AggregateRequest) -> BTreeMap<Vec<String>, Vec<Option<(i64, String)>>> {
    let (groups, aggregates) = (request.series.len(), request.aggregates.len());
    let mut found: BTreeMap<Vec<String>, Vec<Option<(i64, String)>>> = BTreeMap::new();
    for line in bench.batches(ScanRequest::Aggregate(request)).iter().flat_map(lines) {
        let best = found.entry(line[..groups].to_vec()).or_insert_with(|| vec![None; aggregates]);
        for (best, state) in best.iter_mut().zip(line[groups..].chunks(2)) {
            let cell = if groups > 0 { state[1].clone() } else { String::new() };
            let state = state[0].parse::<i64>().ok().map(|key| (key, cell));
            if state.as_ref().map(|(key, _)| *key) > best.as_ref().map(|(key, _)| *key) {
                *best = state;
            }
        }
    }
    found
}

/// A scan with an overlay must answer as if the overlay had been written.
fn check_overlay(bench: &Bench, model: &mut Model, held: &[Row], range: TimeRange) {
    let relation = relation(SUID, RelationKind::Super);
    let mut changes = vec![Arc::new(Change::DeleteRange { suid: Suid(SUID), tables: Tables::All, range })];
    model.delete(None, range);
    for (table, key, cells) in held {
        let rows = RowBatch {
            suid: Suid(SUID),
            version: 1,
            tables: vec![TableRef { name: name(*table), create: Some(vec![(ColumnId(9), Value::Int(*table as i64))]) }],
            ordinals: Vec::new(),
            keys: Keys::Given(vec![*key]),
            columns: columns(std::slice::from_ref(cells))
                .into_iter()
                .map(|c| WriteColumn { id: c.id, data_type: c.data_type, values: c.values, absent: c.absent })
                .collect(),
        };
        changes.push(Arc::new(Change::Rows(rows)));
    }
    model.write(held);
    for order in [Order::SeriesTime, Order::TimeDescending] {
        let mut request = request(&relation, order);
        request.overlay = changes.clone();
        let mut expected = model.lines();
        if order == Order::TimeDescending {
            expected.sort_by_key(|line| std::cmp::Reverse(key(line)));
        }
        assert_eq!(bench.scan(ScanRequest::Rows(request)), expected, "with an overlay, {order:?}");
    }
}

fn history(bench: &mut Bench, steps: &[Step], probe: (TimeRange, usize), held: &[Row]) {
    let mut model = Model::default();
    for (number, step) in steps.iter().enumerate() {
        run(bench, &mut model, step);
        check_kept(bench, probe.0);
        if number % 7 == 6 {
            check(bench, &model, probe);
        }
    }
    check(bench, &model, probe);
    assert_eq!(bench.vnode().tables(), model.tables.len() as u64);
    bench.reopen();
    check(bench, &model, probe);
    check_overlay(bench, &mut model, held, probe.0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn in_memory(
        steps in prop::collection::vec(step(), 1..40),
        probe in (range(), 1..30usize),
        held in rows(),
    ) {
        let mut bench = Bench::new(StorageEnv::in_memory(), std::path::Path::new("/memory/vnode"));
        history(&mut bench, &steps, probe, &held);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, ..ProptestConfig::default() })]

    #[test]
    fn on_rocksdb(
        steps in prop::collection::vec(step(), 20..40),
        probe in (range(), 1..30usize),
        held in rows(),
    ) {
        let root = tempfile::tempdir().expect("a temporary directory");
        let options = EnvOptions { block_cache_bytes: 8 << 20, header_bytes_max: 1, workers: 0, ..EnvOptions::default() };
        let env = StorageEnv::new(&options).expect("environment");
        let mut bench = Bench::new(env, &root.path().join("vnode"));
        history(&mut bench, &steps, probe, &held);
    }
}

#[test]
fn a_sid_is_never_given_out_twice() {
    let mut bench = Bench::new(StorageEnv::in_memory(), std::path::Path::new("/memory/vnode"));
    let rows = |table| [(table, 1, [Cell::Int(1), Cell::Null, Cell::Null])];
    let first = operation(&bench, &rows(0), false);
    bench.apply(vec![first]);
    let stale = operation(&bench, &rows(0), false);
    bench.apply(vec![Operation::DropTables { suid: Suid(SUID), names: vec![name(0)] }]);
    let again = operation(&bench, &rows(0), false);
    bench.apply(vec![again]);
    assert_eq!(bench.apply(vec![stale]), Applied::Rejected(model::command::Rejection::Stale));
    let relation = relation(SUID, RelationKind::Super);
    let mut request = request(&relation, Order::SeriesTime);
    request.output = vec![Output::Sid];
    assert_eq!(bench.scan(ScanRequest::Rows(request)), [["1"]]);
}

#[test]
fn kept_rows_expire() {
    let mut bench = Bench::new(StorageEnv::in_memory(), std::path::Path::new("/memory/vnode"));
    for (table, key) in [(0, 5), (1, 5), (1, 250)] {
        let rows = operation(&bench, &[(table, key, [Cell::Int(1), Cell::Null, Cell::Null])], false);
        bench.apply(vec![rows]);
    }
    bench.vnode().flush().expect("flush");
    let range = TimeRange { min: 0, max: 1000 };
    check_kept(&bench, range);
    assert_eq!(bench.vnode().drop_expired(200).expect("dropped"), 1);
    // Without a floor, as after KEEP was made longer: what is gone does not come back.
    check_kept(&bench, range);
}
