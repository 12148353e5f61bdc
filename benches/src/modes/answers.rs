//! Whether answers stay right when data comes as it should not: shuffled, with 5 % of the rows sent again with other values,
//! some of them with one column only, and deletes in between. PostgreSQL, and DuckDB if it is there, do the same with
//! `ON CONFLICT DO UPDATE`; every answer is compared value by value, in each state of our server and with each setting
//! off that exists to compare.
//!
//! [`script`] makes what happens, [`run`] lets it happen everywhere.

use std::collections::HashSet;
use std::time::Instant;

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use tests::postgres::Postgres;
use tokio_postgres::SimpleQueryMessage;

use crate::answers::{Answer, is_ordered};
use crate::arguments::Arguments;
use crate::data::{Dialect, Form, HOUR_MS, Rows, START_MS, STEP_ROWS, Source, Table, step_ticks, time_text};
use crate::embedded;
use crate::load::deliver;
use crate::report::Report;
use crate::servers::{Ours, Subject, postgres_subject};
use crate::shapes::Shape;
use crate::suites::{Extent, Question, questions};

/// Rows that are written at once.
const BATCH: usize = 1_000;
/// How settings of a session that exist to compare say so in their description.
const TO_COMPARE: &str = "off to compare";

/// Something that happens.
enum Step {
    /// Rows, no two with the same key, of all columns or of the first only.
    Put { rows: Rows, first_column_only: bool },
    /// Of a table: a series (or all), from, to, and a bound above which the first column is (or none).
    Delete { table: usize, series: Option<usize>, from: i64, to: i64, above: Option<i64> },
}

/// False if any answer differs.
pub(crate) async fn run(arguments: &Arguments, report: &mut Report) -> bool {
    let asked = questions(arguments.shape);
    if asked.is_empty() {
        report.line(&format!("{} has no queries to compare.\n", arguments.shape.name()));
        return true;
    }
    let source = arguments.shape.source(arguments.hosts);
    let steps = script(arguments);
    let mut ours = Ours::start(arguments, &arguments.database()).await;
    let subject = ours.subject("ours", 1).await;
    subject.make_tables(&*source).await;
    let postgres = Postgres::start().await;
    let theirs = postgres_subject(&postgres, "PostgreSQL 15", 1).await;
    theirs.make_tables(&*source).await;
    for table in source.tables() {
        theirs.run(&format!("ALTER TABLE {} ADD UNIQUE ({}, ts)", table.name, table.key)).await;
    }
    let mut duckdb = duckdb_tables(&*source);
    let (mut rows, mut deletes) = (0, 0);
    for (n, step) in steps.iter().enumerate() {
        // Updates and deletes are to find some rows in runs and some in memory.
        if n == steps.len() / 2 {
            subject.run("FLUSH DATABASE bench").await;
        }
        happen(n, step, source.tables(), &subject, &theirs, &mut duckdb).await;
        match step {
            Step::Put { rows: some, .. } => rows += some.len(),
            Step::Delete { .. } => deletes += 1,
        }
    }
    theirs.run("VACUUM ANALYZE").await;
    report.line(&format!(
        "{}: {rows} rows written, {deletes} deletes; {} rows are left; {} queries × {}.\n",
        arguments.shape.name(),
        theirs.number(&format!("SELECT count(*) FROM {}", source.tables()[0].name)).await,
        asked.len(),
        arguments.instances
    ));
    let expected = expect(&asked, &theirs, arguments).await;
    let mut differences = compare_duckdb(arguments, &asked, &expected, &duckdb, report);
    let mut table = Vec::new();
    for state in STATES {
        let subject = reach(state, &mut ours).await;
        differences.extend(check(state, &expected, &subject, &mut table).await);
    }
    report.table(&["state", "settings off", "answers", "differences"], &table);
    for what in differences.iter().take(20) {
        report.line(&format!("- {what}"));
    }
    differences.is_empty()
}

/// The states in which everything is asked, one after the other.
const STATES: [&str; 5] = ["loaded", "flushed", "compacted", "restarted", "killed and restarted"];

async fn reach(state: &str, ours: &mut Ours) -> Subject {
    match state {
        "flushed" => ours.subject("ours", 1).await.run("FLUSH DATABASE bench").await,
        "compacted" => ours.subject("ours", 1).await.run("COMPACT DATABASE bench").await,
        "restarted" => {
            ours.server.stop().await;
            ours.restart().await;
        }
        "killed and restarted" => {
            ours.server.kill();
            ours.restart().await;
        }
        _ => {}
    }
    ours.subject("ours", 1).await
}

/// One answer that is expected: query and instance, our text, whether it is ordered, PostgreSQL's answer.
struct Expected {
    name: &'static str,
    instance: usize,
    sql: String,
    ordered: bool,
    answer: Answer,
}

fn extent(arguments: &Arguments) -> Extent {
    Extent { series: arguments.hosts, hours: arguments.hours }
}

async fn expect(asked: &[Question], theirs: &Subject, arguments: &Arguments) -> Vec<Expected> {
    let mut expected = Vec::new();
    for question in asked {
        let texts = |dialect| question.instances(arguments.instances, extent(arguments), dialect);
        let pairs = texts(Dialect::Ours).into_iter().flatten().zip(texts(Dialect::Postgres).into_iter().flatten());
        for (instance, (sql, peer)) in pairs.enumerate() {
            let (ordered, answer) = (is_ordered(&sql), answer(theirs, &peer).await);
            expected.push(Expected { name: question.name, instance, sql, ordered, answer });
        }
    }
    expected
}

async fn answer(subject: &Subject, sql: &str) -> Answer {
    let messages = subject.client().simple_query(sql).await;
    Answer::of(&messages.unwrap_or_else(|error| panic!("{}: {sql}: {error:?}", subject.name)))
}

/// Asks everything in one state: as it is, with each setting off, with all off.
async fn check(state: &str, expected: &[Expected], subject: &Subject, table: &mut Vec<Vec<String>>) -> Vec<String> {
    let settings = settings(subject).await;
    let mut sets: Vec<Vec<&String>> = vec![Vec::new()];
    sets.extend(settings.iter().map(|setting| vec![setting]));
    if settings.len() > 1 {
        sets.push(settings.iter().collect());
    }
    let mut differences = Vec::new();
    for set in sets {
        for setting in &set {
            subject.run(&format!("SET {setting} = off")).await;
        }
        let off = set.iter().map(|setting| setting.as_str()).collect::<Vec<_>>().join(", ");
        let (before, start) = (differences.len(), Instant::now());
        for one in expected {
            // Twice, so that what is remembered from the first time is compared too.
            for turn in ["", ", asked again"] {
                if let Some(what) = answer(subject, &one.sql).await.difference(&one.answer, one.ordered) {
                    differences
                        .push(format!("{state}, off: {off}{turn}: {} {}: {what}: {}", one.name, one.instance, one.sql));
                }
            }
        }
        for setting in &set {
            subject.run(&format!("RESET {setting}")).await;
        }
        let off = if off.is_empty() { "none".to_owned() } else { off };
        println!("{state}, off: {off}: {:.1} s", start.elapsed().as_secs_f64());
        let answers = (expected.len() * 2).to_string();
        table.push(vec![state.to_owned(), off, answers, (differences.len() - before).to_string()]);
    }
    differences
}

/// The settings that exist to compare.
async fn settings(subject: &Subject) -> Vec<String> {
    let messages = subject.client().simple_query("SHOW ALL").await.expect("settings are shown");
    let rows = messages.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some((row.get(0)?, row.get(2)?)),
        _ => None,
    });
    let found: Vec<String> =
        rows.filter(|(_, text)| text.contains(TO_COMPARE)).map(|(name, _)| name.to_owned()).collect();
    assert!(!found.is_empty(), "no setting says that it exists to compare");
    found
}

/// What happens, the same in every run.
fn script(arguments: &Arguments) -> Vec<Step> {
    let mut random = StdRng::seed_from_u64(5);
    let mut source = arguments.shape.source(arguments.hosts);
    let mut steps: Vec<(f64, Step)> = Vec::new();
    for rows in all_rows(&mut *source, arguments.ticks()) {
        if rows.len() == 0 {
            continue;
        }
        let table = rows.table;
        // Each row at some time; 5 % again later with another row's values, 1 % again later with one of them.
        let mut order: Vec<(f64, usize, Option<usize>)> =
            (0..rows.len()).map(|at| (random.random(), at, None)).collect();
        let again: Vec<(f64, usize, Option<usize>)> = (0..rows.len() / 20)
            .map(|_| {
                let at = random.random_range(0..rows.len());
                (random.random_range(order[at].0..1.0), at, Some(random.random_range(0..rows.len())))
            })
            .collect();
        order.extend(again);
        order.sort_by(|(a, ..), (b, ..)| a.total_cmp(b));
        puts(&rows, &order, &mut steps);
        let mut partial: Vec<usize> = (0..rows.len()).collect();
        partial.shuffle(&mut random);
        for some in partial[..rows.len() / 100].chunks(200) {
            steps.push((random.random_range(0.3..1.0), Step::Put { rows: rows.pick(some), first_column_only: true }));
        }
        for delete in deletes(&mut random, arguments, table) {
            steps.push((random.random_range(0.3..1.0), delete));
        }
    }
    steps.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    steps.into_iter().map(|(_, step)| step).collect()
}

fn all_rows(source: &mut dyn Source, ticks: usize) -> Vec<Rows> {
    let (step, mut left) = (step_ticks(source, STEP_ROWS), ticks);
    let mut all: Vec<Rows> = Vec::new();
    let mut add = |some: Vec<Rows>| {
        for rows in some {
            match all.iter_mut().find(|known| known.table == rows.table) {
                Some(known) => rows.each().for_each(|(series, ms, cells)| known.push(series, ms, cells)),
                None => all.push(rows),
            }
        }
    };
    while left > 0 {
        let ticks = step.min(left);
        left -= ticks;
        add(source.next(ticks));
    }
    add(source.rest());
    all
}

/// Cuts rows in this order into steps; a key comes once in each, as one statement of PostgreSQL's wants it.
fn puts(rows: &Rows, order: &[(f64, usize, Option<usize>)], steps: &mut Vec<(f64, Step)>) {
    let mut batch = rows.pick(&[]);
    let mut keys = HashSet::new();
    for (when, at, other) in order {
        let (series, ms, own) = rows.row(*at);
        if batch.len() == BATCH || keys.contains(&(series, ms)) {
            let full = std::mem::replace(&mut batch, rows.pick(&[]));
            steps.push((*when, Step::Put { rows: full, first_column_only: false }));
            keys.clear();
        }
        keys.insert((series, ms));
        batch.push(series, ms, other.map_or(own, |other| rows.row(other).2));
    }
    steps.push((1.0, Step::Put { rows: batch, first_column_only: false }));
}

/// Half an hour of some series, a minute of all, one series altogether, and rows by a value.
fn deletes(random: &mut StdRng, arguments: &Arguments, table: usize) -> Vec<Step> {
    let end = START_MS + arguments.hours * HOUR_MS;
    let mut deletes = Vec::new();
    let mut delete = |series, length: i64, above, random: &mut StdRng| {
        let from = random.random_range(START_MS..end) / 1_000 * 1_000;
        deletes.push(Step::Delete { table, series, from, to: from + length, above });
    };
    for _ in 0..(arguments.hosts / 20).max(2) {
        delete(Some(random.random_range(0..arguments.hosts)), HOUR_MS / 2, None, random);
    }
    for _ in 0..3 {
        delete(None, HOUR_MS / 60, None, random);
        delete(None, HOUR_MS / 2, Some(95), random);
    }
    let series = Some(random.random_range(0..arguments.hosts));
    deletes.push(Step::Delete { table, series, from: START_MS, to: end, above: None });
    deletes
}

/// Lets a step happen in our server and PostgreSQL, and writes it down for DuckDB.
async fn happen(n: usize, step: &Step, tables: &[Table], ours: &Subject, theirs: &Subject, duckdb: &mut Vec<String>) {
    match step {
        Step::Delete { table, series, from, to, above } => {
            let table = &tables[*table];
            let sql = |dialect: Dialect| {
                let mut conditions =
                    vec![format!("ts >= '{}'", time_text(*from)), format!("ts < '{}'", time_text(*to))];
                conditions.extend(
                    series.map(|series| format!("{} = '{}'", table.key(dialect), table.series_name(series, dialect))),
                );
                conditions.extend(above.map(|above| format!("{} > {above}", table.columns[0].0)));
                format!("DELETE FROM {} WHERE {}", table.name, conditions.join(" AND "))
            };
            ours.run(&sql(Dialect::Ours)).await;
            theirs.run(&sql(Dialect::Postgres)).await;
            duckdb.push(sql(Dialect::DuckDb));
        }
        Step::Put { rows, first_column_only } => {
            let table = &tables[rows.table];
            let narrow = Table {
                columns: table.columns[..if *first_column_only { 1 } else { table.columns.len() }].to_vec(),
                series: table.series.clone(),
                tags: Vec::new(),
                ..*table
            };
            put_ours(n, &narrow, rows, ours).await;
            let upsert = upsert(&narrow, rows);
            theirs.run(&upsert).await;
            duckdb.push(upsert);
        }
    }
}

/// In one of the forms, by turns.
async fn put_ours(n: usize, table: &Table, rows: &Rows, ours: &Subject) {
    let form = [Form::Insert, Form::CopyCsv, Form::CopyBinary][n % 3];
    let statement = table.statement(form, Dialect::Ours);
    let narrowed = rows.narrowed(table.columns.len());
    for batch in table.batches(&narrowed, form, Dialect::Ours, BATCH) {
        deliver(ours.client(), form, &statement, batch).await;
    }
}

/// PostgreSQL's and DuckDB's word for a row that may be there.
fn upsert(table: &Table, rows: &Rows) -> String {
    let narrowed = rows.narrowed(table.columns.len());
    let named = narrowed.each().map(|(series, ms, cells)| (table.series[series].name.as_str(), ms, cells));
    let sets = table.columns.iter().map(|(name, _)| format!("{name} = excluded.{name}")).collect::<Vec<_>>().join(", ");
    let insert = table.insert(named, Dialect::Postgres);
    format!("{insert} ON CONFLICT ({}, ts) DO UPDATE SET {sets}", table.key)
}

fn duckdb_tables(source: &dyn Source) -> Vec<String> {
    let mut statements = Vec::new();
    for table in source.tables() {
        for sql in table.schema(Dialect::DuckDb) {
            let keyed = format!(", UNIQUE ({}, ts))", table.key);
            let create = sql.starts_with(&format!("CREATE TABLE {} ", table.name));
            statements.push(if create { format!("{}{keyed}", sql.trim_end_matches(')')) } else { sql });
        }
    }
    statements
}

fn compare_duckdb(
    arguments: &Arguments,
    asked: &[Question],
    expected: &[Expected],
    statements: &[String],
    report: &mut Report,
) -> Vec<String> {
    if !arguments.embedded || arguments.shape != Shape::Cpu {
        return Vec::new();
    }
    let texts = asked.iter().filter_map(|question| {
        Some((question.name, question.instances(arguments.instances, extent(arguments), Dialect::DuckDb)?))
    });
    let Some(answers) = embedded::duckdb_answers(statements, texts, report) else { return Vec::new() };
    let mut differences = Vec::new();
    for one in expected {
        let theirs = &answers[&(one.name.to_owned(), one.instance)];
        if let Some(what) = theirs.difference(&one.answer, one.ordered) {
            differences.push(format!("DuckDB and PostgreSQL differ: {} {}: {what}", one.name, one.instance));
        }
    }
    report.line(&format!("DuckDB gave {} answers, {} unlike PostgreSQL's.\n", answers.len(), differences.len()));
    differences
}
