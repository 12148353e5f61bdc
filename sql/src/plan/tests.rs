//! Queries over a plane in memory, from text to printed rows.

use std::sync::Arc;

use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::common::ScalarValue;
use futures::TryStreamExt;
use model::schema::RelationKind;
use model::{DataPlane, DataType, Precision, Value};

use super::{PlanContext, Planner, PlannerSettings};
use crate::testing::FakePlane;

/// A planner over a plane in memory, and a session's settings.
pub(crate) struct Fixture {
    pub(crate) planner: Planner,
    pub(crate) context: PlanContext,
}

/// Milliseconds of a time in UTC.
pub(crate) fn ms(text: &str) -> i64 {
    let time = chrono::NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S").expect("a time");
    time.and_utc().timestamp_millis()
}

impl Fixture {
    /// Database `power` with super table `meters` (ts, v DOUBLE, n INT; location, grp) of three children, normal table
    /// `alone` and plain table `people`.
    pub(crate) fn new() -> Self {
        let plane = FakePlane::with_database("power", Precision::Milli, 3);
        let columns = [("ts", DataType::Timestamp), ("v", DataType::Double), ("n", DataType::Int)];
        let tags = [("location", DataType::Varchar(20)), ("grp", DataType::Int)];
        let meters = plane.relation("power", "meters", RelationKind::Super, &columns, &tags);
        for (name, location, grp) in [("d1", "north", 1), ("d2", "south", 2), ("d3", "north", 2)] {
            plane.child(meters, name, &[Value::Text(location.into()), Value::Int(grp)]);
        }
        let row = |key: &str, v: Option<f64>, n: Option<i64>| {
            vec![ScalarValue::Int64(Some(ms(key))), ScalarValue::Float64(v), ScalarValue::Int64(n)]
        };
        for (table, key, v, n) in [
            ("d1", "2024-01-01 00:00:01", Some(1.0), Some(10)),
            ("d1", "2024-01-01 00:00:06", Some(2.0), None),
            ("d1", "2024-01-01 00:00:10", None, Some(30)),
            ("d1", "2024-01-01 00:00:16", Some(4.5), Some(40)),
            ("d2", "2024-01-01 00:00:02", Some(10.0), Some(7)),
            ("d2", "2024-01-01 00:00:36", Some(20.0), Some(8)),
        ] {
            plane.insert(meters, table, &row(key, v, n));
        }
        let alone = plane.relation("power", "alone", RelationKind::Normal, &columns, &[]);
        plane.insert(alone, "alone", &row("2024-01-01 00:00:00", Some(1.5), Some(1)));
        let columns = [("id", DataType::Int), ("name", DataType::Text)];
        let people = plane.relation("power", "people", RelationKind::Plain, &columns, &[]);
        for (id, name) in [(1, "ann"), (2, "bob")] {
            plane.insert(people, "people", &[ScalarValue::Int64(Some(id)), ScalarValue::from(name)]);
        }
        Self::over(plane, "power")
    }

    /// A planner over this plane.
    pub(crate) fn over(plane: Arc<FakePlane>, database: &str) -> Self {
        let settings = PlannerSettings { target_partitions: 2, ..PlannerSettings::default() };
        let planner = Planner::new(plane.clone(), &settings).expect("the settings are fine");
        let context = PlanContext::new(plane.catalog(), database, ms("2024-02-01 12:00:00") * 1000);
        Self { planner, context }
    }

    /// Runs a query: a header, then rows, `|` between columns.
    pub(crate) async fn rows(&self, sql: &str, values: Vec<ScalarValue>) -> model::Result<Vec<String>> {
        let query = parse(sql)?;
        let planned = self.planner.plan_query(&query, Arc::new(self.context.clone()), &[]).await?;
        let (_, stream) = self.planner.execute(&planned, values).await?;
        let batches: Vec<_> = stream.try_collect().await?;
        let header: Vec<_> =
            planned.columns.iter().map(|column| format!("{}:{}", column.name, column.pg_type.name)).collect();
        let mut lines = vec![header.join("|")];
        let options = FormatOptions::default().with_null("NULL");
        for batch in &batches {
            let columns: Vec<_> = batch
                .columns()
                .iter()
                .map(|column| ArrayFormatter::try_new(column, &options).expect("printable"))
                .collect();
            for row in 0..batch.num_rows() {
                lines.push(columns.iter().map(|c| c.value(row).to_string()).collect::<Vec<_>>().join("|"));
            }
        }
        Ok(lines)
    }

    /// As [`Fixture::rows`], one line per row, or the error's SQLSTATE and message.
    pub(crate) async fn run(&self, sql: &str) -> String {
        match self.rows(sql, Vec::new()).await {
            Ok(lines) => lines.join("\n"),
            Err(error) => {
                let position = error.fields().position.map_or(String::new(), |at| format!(" at {at}"));
                format!("{} {error}{position}", error.state().code())
            }
        }
    }
}

fn parse(sql: &str) -> model::Result<sqlparser::ast::Query> {
    let mut statements = crate::parser::parse(sql, &crate::parser::ParserOptions::default())?;
    match statements.pop().map(|parsed| parsed.statement) {
        Some(crate::statement::Statement::Query(query)) => Ok(*query),
        other => panic!("{other:?} is no query"),
    }
}

/// Runs a golden script: `> SELECT …` prints rows, `zone Europe/Berlin` and `division double` set the session.
struct Script {
    fixture: Fixture,
    runtime: tokio::runtime::Runtime,
}

impl goldenscript::Runner for Script {
    type Command = goldenscript::Command;

    fn run(
        &mut self,
        command: &goldenscript::Command,
        _: &goldenscript::Context,
    ) -> Result<String, Box<dyn std::error::Error>> {
        let argument = command.consume_args().next_pos().unwrap_or_default();
        match command.name.as_str() {
            "zone" => self.fixture.context.timezone = argument.parse()?,
            "division" => self.fixture.context.double_division = argument == "double",
            sql => return Ok(self.runtime.block_on(self.fixture.run(sql))),
        }
        Ok(String::new())
    }
}

fn script(name: &str, fixture: Fixture) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let path = format!("{}/src/plan/testdata/{name}", env!("CARGO_MANIFEST_DIR"));
    goldenscript::run(&mut Script { fixture, runtime }, &path).expect("the script's results are as before");
}

#[test]
fn selects() {
    script("select", Fixture::new());
}

#[test]
fn windows() {
    script("window", Fixture::new());
}

#[test]
fn fills() {
    script("fill", Fixture::new());
}

#[test]
fn functions() {
    script("functions", Fixture::new());
}

/// One row per hour over both changes of daylight saving of 2024, in Berlin and New York.
#[test]
fn calendars() {
    let plane = FakePlane::with_database("clock", Precision::Milli, 1);
    let columns = [("ts", DataType::Timestamp), ("v", DataType::Int)];
    let hours = plane.relation("clock", "hours", RelationKind::Normal, &columns, &[]);
    for (from, to) in [("2024-03-09 00:00:00", "2024-04-02 00:00:00"), ("2024-10-26 00:00:00", "2024-11-05 00:00:00")] {
        for key in (ms(from)..ms(to)).step_by(3_600_000) {
            plane.insert(hours, "hours", &[ScalarValue::Int64(Some(key)), ScalarValue::Int64(Some(1))]);
        }
    }
    script("calendar", Fixture::over(plane, "clock"));
}

#[tokio::test]
async fn parameters_have_types_and_values() {
    let f = Fixture::new();
    let query = parse("SELECT v + $1, n FROM meters WHERE ts >= $2 AND location = $3 AND n > $4 LIMIT $5")
        .expect("the SQL is right");
    let planned = f.planner.plan_query(&query, Arc::new(f.context.clone()), &[]).await.expect("it is right");
    let names: Vec<_> = planned.parameters.iter().map(|pg| pg.name).collect();
    assert_eq!(names, ["float8", "timestamptz", "text", "int4", "int8"]);
    let values = vec![
        ScalarValue::Float64(Some(0.5)),
        ScalarValue::TimestampMicrosecond(Some(ms("2024-01-01 00:00:10") * 1000), Some("UTC".into())),
        ScalarValue::from("north"),
        ScalarValue::Int32(Some(30)),
        ScalarValue::Int64(Some(10)),
    ];
    let (_, stream) = f.planner.execute(&planned, values).await.expect("it runs");
    let batches: Vec<_> = stream.try_collect().await.expect("it ends");
    assert_eq!(batches.iter().map(|batch| batch.num_rows()).sum::<usize>(), 1);
    let few = f.planner.execute(&planned, Vec::new()).await;
    assert_eq!(few.err().map(|error| error.state().code()), Some("08P01"));
}

#[tokio::test]
async fn a_statement_ends_at_its_deadline() {
    let f = Fixture::new();
    let mut context = f.context.clone();
    context.deadline = Some(tokio::time::Instant::now());
    let query = parse("SELECT count(*) FROM meters a, meters b").expect("the SQL is right");
    let planned = f.planner.plan_query(&query, Arc::new(context), &[]).await.expect("planning is not bounded");
    let error = match f.planner.execute(&planned, Vec::new()).await {
        Err(error) => error,
        Ok((_, stream)) => stream.try_collect::<Vec<_>>().await.expect_err("its time is up"),
    };
    assert_eq!(error.state().code(), "57014");
}

#[tokio::test]
async fn explain_shows_rows_and_pushed_down_filters() {
    let f = Fixture::new();
    let leaf = async |list: &str, leaf: &str| {
        let text = format!("SELECT {list} FROM meters WHERE tbname = 'd1' AND ts >= '2024-01-01 00:00:06' AND v > 1");
        let query = parse(&text).expect("the SQL is right");
        let planned = f.planner.plan_query(&query, Arc::new(f.context.clone()), &[]).await.expect("it is right");
        let options = super::ExplainOptions { analyze: true, ..Default::default() };
        let (_, stream) = f.planner.explain(&planned, Vec::new(), options).await.expect("it runs");
        let batches: Vec<_> = stream.try_collect().await.expect("it ends");
        let lines = datafusion::arrow::util::pretty::pretty_format_batches(&batches).expect("printable").to_string();
        lines.lines().find(|line| line.contains(leaf)).unwrap_or_else(|| panic!("{leaf}\n{lines}")).to_owned()
    };
    let scan = leaf("v", "VgroupScanExec").await;
    assert!(scan.contains("series=1") && scan.contains("range=[1704067206000, ∞]"), "{scan}");
    assert!(scan.contains("rows=2") && scan.contains("bytes_read="), "{scan}");
    assert!(scan.contains("where v in [Some(Float(1.0000000000000002)), None]"), "{scan}");
    let groups = leaf("avg(v)", "VgroupAggregateExec").await;
    let mut context = f.context.clone();
    context.pushdown.conditions = false;
    let query = parse("SELECT v FROM meters WHERE v > 1").expect("the SQL is right");
    let planned = f.planner.plan_query(&query, Arc::new(context), &[]).await.expect("it is right");
    let (_, stream) = f.planner.explain(&planned, Vec::new(), Default::default()).await.expect("it runs");
    let batches: Vec<_> = stream.try_collect().await.expect("it ends");
    let lines = datafusion::arrow::util::pretty::pretty_format_batches(&batches).expect("printable").to_string();
    assert!(lines.contains("FilterExec") && !lines.contains("where v"), "{lines}");
    assert!(groups.contains("series=1") && groups.contains("range=[1704067206000, ∞]"), "{groups}");
    assert!(groups.contains("states=[sum(v), count(v)]") && groups.contains("v in ["), "{groups}");
    assert!(groups.contains("rows=1"), "{groups}");
}
