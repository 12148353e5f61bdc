//! Queries over a plane in memory, from text to printed rows.

use std::sync::Arc;

use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::common::ScalarValue;
use futures::TryStreamExt;
use model::schema::RelationKind;
use model::{DataPlane, DataType, Precision, Value};

use super::{PlanContext, Planner, PlannerSettings};
use crate::testing::FakePlane;

/// A plane, a planner over it, and a session's settings.
pub(crate) struct Fixture {
    pub(crate) plane: Arc<FakePlane>,
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
        Self { plane, planner, context }
    }

    /// Runs a query: a header, then rows, `|` between columns.
    pub(crate) async fn rows(&self, sql: &str, values: Vec<ScalarValue>) -> model::Result<Vec<String>> {
        let query = parse(sql);
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

/// A query as the parser gives it.
fn parse(sql: &str) -> sqlparser::ast::Query {
    let statements = sqlparser::parser::Parser::parse_sql(&sqlparser::dialect::PostgreSqlDialect {}, sql);
    match statements.expect("the test's SQL is right").pop() {
        Some(sqlparser::ast::Statement::Query(query)) => *query,
        other => panic!("{other:?} is no query"),
    }
}

#[tokio::test]
async fn tables_of_every_kind() {
    let f = Fixture::new();
    for sql in [
        "SELECT * FROM meters ORDER BY ts, tbname",
        "SELECT * FROM d1",
        "SELECT tbname, location, v FROM d2 WHERE location = 'south'",
        "SELECT * FROM alone",
        "SELECT * FROM people ORDER BY id DESC",
        "SELECT count(*), count(v), sum(n), avg(v), min(v), max(v) FROM meters",
        "SELECT count(*) FROM meters WHERE ts >= '2024-01-01 00:00:06' AND ts < '2024-01-01 00:00:16'",
        "SELECT m.tbname, p.name FROM meters m JOIN people p ON m.grp = p.id WHERE m.n > 7 ORDER BY 1, m.ts",
        "SELECT power.meters.v FROM power.public.meters WHERE power.meters.n = 7",
        "WITH x AS (SELECT v, v FROM d1) SELECT * FROM x LIMIT 1",
        "SELECT 1, 'a', 7/2, 1.5, count(*), sum(n)::int8 FROM d1",
        "SELECT DISTINCT tbname, location FROM meters ORDER BY tbname",
        "SELECT tbname FROM meters WHERE tbname IN ('d2', 'nope')",
        "SELECT nope FROM meters",
        "SELECT * FROM nope",
        "SELECT nope(v) FROM meters",
        "SELECT v, count(*) FROM people, meters GROUP BY id",
        "SELECT 1/0",
        "SELECT now() - interval '1 day' FROM d1 LIMIT 1",
        "SELECT (SELECT max(v) FROM d1), EXISTS (SELECT 1 FROM d2)",
        "SELECT ts, v FROM d1 UNION ALL SELECT ts, n FROM d2 ORDER BY ts LIMIT 2",
    ] {
        println!("---- {sql}\n{}", f.run(sql).await);
    }
}
