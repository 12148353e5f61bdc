//! Queries have several ways to their answer: every row through the planner's operators, conditions decided inside the
//! vgroups, rows reduced there, statistics of blocks in place of rows, and newest values that are kept in memory. Whatever
//! happened to the data, all must say the same.

use tests::{Options, Server};
use tokio_postgres::{Client, SimpleQueryMessage};

/// The ways, as settings of the session.
const WAYS: [(&str, &str); 5] = [
    ("rows", "SET push_aggregates = off; SET push_conditions = off; SET last_cache = off"),
    ("conditions", "SET push_aggregates = off; SET push_conditions = on"),
    ("reduced", "SET push_aggregates = on; SET block_statistics = off"),
    ("statistics", "SET push_aggregates = on; SET block_statistics = on"),
    ("kept", "SET last_cache = on"),
];

const QUERIES: [&str; 48] = [
    "SELECT count(*), count(i), count(f), count(t), sum(i), sum(b), avg(i), avg(f), min(i), max(i), min(f), max(f), min(ts), max(ts) FROM m",
    "SELECT count(*), sum(u), avg(u), min(u), max(u), min(s), max(s), sum(s) FROM m WHERE ts >= '2024-01-01 00:20:00'",
    "SELECT tbname, count(*), sum(i), avg(f), first(i), last(f), last_row(t), min(ts) FROM m GROUP BY tbname ORDER BY tbname",
    "SELECT site, count(*), sum(f), max(t) FROM m GROUP BY site ORDER BY site",
    "SELECT site, kind, avg(i) FROM m WHERE site <> 'north' GROUP BY site, kind ORDER BY 1, 2",
    "SELECT _wstart, count(*), sum(i), avg(f) FROM m INTERVAL(1m) ORDER BY 1",
    "SELECT _wstart, _wend, count(*), max(f) FROM m INTERVAL(7s, 3s) ORDER BY 1",
    "SELECT _wstart, tbname, count(*), avg(f), last(i) FROM m PARTITION BY tbname INTERVAL(10m) ORDER BY 2, 1",
    "SELECT _wstart, site, count(*), first(ts), max(f) FROM m PARTITION BY site INTERVAL(1h) ORDER BY 2, 1",
    "SELECT _wstart, count(*), sum(b) FROM m WHERE ts >= '2024-01-01 00:10:03' AND ts < '2024-01-01 01:59:59.5' INTERVAL(1h) FILL(NULL)",
    "SELECT _wstart, max(i) FROM m WHERE ts < '2024-01-01 01:30:00' INTERVAL(1m) ORDER BY _wstart DESC LIMIT 5",
    "SELECT _wstart, max(i) FROM m WHERE tbname IN ('m1', 'm3') INTERVAL(1m) ORDER BY _wstart DESC LIMIT 3",
    "SELECT _wstart, count(*) FROM m INTERVAL(1d)",
    "SELECT _wstart, count(*) FROM m INTERVAL(1n)",
    "SELECT _wstart, count(*), avg(f) FROM m WHERE ts >= '2024-01-01' AND ts < '2024-01-03' INTERVAL(1d) FILL(VALUE, 0, 0)",
    "SELECT date_trunc('minute', ts), sum(i) FROM m GROUP BY 1 ORDER BY 1",
    "SELECT date_trunc('hour', ts), tbname, avg(f) FROM m GROUP BY 1, 2 ORDER BY 1, 2",
    "SELECT date_trunc('day', ts), count(t) FROM m GROUP BY 1 ORDER BY 1",
    "SELECT last_row(*), tbname FROM m GROUP BY tbname ORDER BY tbname",
    "SELECT first(ts), last(ts), last_row(ts) FROM m",
    "SELECT spread(i), spread(f), spread(ts) FROM m",
    "SELECT count(*) FILTER (WHERE i > 50), count(*) FROM m",
    "SELECT count(DISTINCT i), count(*) FROM m",
    "SELECT sum(i) FROM m WHERE i > 50",
    "SELECT count(*), max(f), min(b) FROM m WHERE f < 0.5 AND i >= 20 AND 90 > i",
    "SELECT count(*), avg(f) FROM m WHERE u BETWEEN 1000000 AND 500000000000 AND s > -1000",
    "SELECT _wstart, count(*), sum(b) FROM m WHERE i > 97 INTERVAL(1m) ORDER BY 1",
    "SELECT tbname, count(*), last(f) FROM m WHERE f > 40 AND f <= 49.5 GROUP BY tbname ORDER BY 1",
    "SELECT count(*) FROM m WHERE i = 7 AND ts > '2024-01-01 00:10:00'",
    "SELECT count(*) FROM m WHERE i > 1000",
    "SELECT count(*), sum(i) FROM m WHERE i <> 50 OR f < 0",
    "SELECT avg(x) FROM (SELECT _wstart, avg(f) x FROM m INTERVAL(1m)) w",
    "SELECT count(*), sum(v), avg(w) FROM p",
    "SELECT * FROM m WHERE i > 90 ORDER BY tbname, ts",
    "SELECT tbname, ts, t, f FROM m WHERE i >= 95 AND f < 0 AND ts >= '2024-01-01 00:10:00' ORDER BY tbname, ts",
    "SELECT ts, i FROM m WHERE f BETWEEN 10 AND 10.5 ORDER BY ts, i, f",
    "SELECT ts, tbname, u FROM m WHERE u < 3000000000 AND site = 'south' ORDER BY ts, tbname",
    "SELECT ts, i, t FROM m2 WHERE i > 80 AND t = 'w3'",
    "SELECT ts, i FROM m WHERE i > 50 AND tbname IN ('m1', 'm2') ORDER BY ts DESC, i LIMIT 7",
    "SELECT ts, i FROM m5 WHERE i > 97 ORDER BY ts DESC LIMIT 4",
    "SELECT ts, b FROM m3 WHERE b > 0 AND i = 12 ORDER BY ts LIMIT 3",
    "SELECT count(*) FROM (SELECT * FROM m WHERE s >= 29000 OR s < -29000) r",
    "SELECT count(*) FROM m WHERE i > 10.5 AND b < -1.5 AND f <> 3",
    "SELECT tbname, last(i), last(f), last(t), last_row(ts) FROM m WHERE ts > '2024-01-01 00:30:00' GROUP BY tbname ORDER BY tbname",
    "SELECT tbname, last(u), last_row(s) FROM m WHERE ts < '2024-01-01 01:00:00' GROUP BY tbname ORDER BY tbname",
    "SELECT site, last(ts) FROM m WHERE kind > 0 GROUP BY site ORDER BY site",
    "SELECT last_row(ts), last(ts) FROM m WHERE ts >= '2024-01-01 00:20:00'",
    "SELECT v, w FROM p WHERE w > 0.25 AND v < 3.5 ORDER BY 1, 2",
];

#[tokio::test(flavor = "multi_thread")]
async fn aggregates_agree_on_every_way() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let server = Server::start(folder.path(), &Options::default()).await;
    let admin = server.connect("postgres").await;
    admin.batch_execute("CREATE DATABASE ways KEEP 36500 VGROUPS 2 CACHEMODEL 'both'").await.expect("a database");
    let client = server.connect("ways").await;
    let zone = server.connect("ways").await;
    zone.batch_execute("SET TIME ZONE 'America/New_York'").await.expect("a zone");
    for (what, sql) in history() {
        client.batch_execute(&sql).await.unwrap_or_else(|error| panic!("{what}: {error:?}"));
        compare(&client, what).await;
    }
    compare(&zone, "a zone with summer time").await;
    client
        .batch_execute("BEGIN; INSERT INTO m1 (ts, i) VALUES ('2024-01-01 00:00:01', 7); DELETE FROM m2")
        .await
        .expect("held");
    compare(&client, "rows that a transaction holds").await;
    client.batch_execute("ROLLBACK").await.expect("rolled back");
}

/// What happens to the data, step by step.
fn history() -> Vec<(&'static str, String)> {
    let mut seed = 88_172_645_463_325_252_u64;
    let mut random = move |below: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % below
    };
    let mut rows = |table: usize, from: u64, count: u64, step: u64| {
        let mut sql = format!("INSERT INTO m{table} VALUES ");
        for n in 0..count {
            let seconds = from + n * step;
            let (h, m, s) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
            let null = |value: String, odds: u64| if odds == 0 { "NULL".to_owned() } else { value };
            let i = null(random(100).to_string(), random(9));
            let f = null((random(10_000) as f64 / 100.0 - 50.0).to_string(), random(7));
            let t = null(format!("'w{}'", random(5)), random(5));
            let (b, u, s2) = (random(2) == 0, random(1 << 40), i64::try_from(random(60_000)).unwrap_or(0) - 30_000);
            let big = i64::try_from(random(1 << 50)).unwrap_or(0) - (1 << 49);
            sql.push_str(&format!("('2024-01-01 {h:02}:{m:02}:{s:02}', {i}, {big}, {f}, {t}, {b}, {u}, {s2})"));
        }
        sql + ";"
    };
    let mut create = String::from(
        "CREATE STABLE m (ts TIMESTAMP, i INT, b BIGINT, f DOUBLE, t VARCHAR(10), o BOOL, u BIGINT UNSIGNED, s SMALLINT) TAGS (site VARCHAR(10), kind INT); CREATE TABLE p (id INT PRIMARY KEY, v INT, w DOUBLE);",
    );
    for table in 1..=5 {
        let site = ["north", "south"][table % 2];
        create.push_str(&format!("CREATE TABLE m{table} USING m TAGS ('{site}', {});", table % 3));
    }
    let mut load = |from: u64, count: u64, step: u64| (1..=5).map(|t| rows(t, from, count, step)).collect::<String>();
    vec![
        ("empty", create),
        ("rows in memory", load(0, 700, 3)),
        ("one block per table", "FLUSH DATABASE ways".into()),
        ("a block and newer rows in memory", load(2_100, 900, 2)),
        ("two runs", "FLUSH DATABASE ways".into()),
        (
            "rows written again",
            load(1_000, 300, 3)
                + "INSERT INTO m2 (ts, i) VALUES ('2024-01-01 00:30:00', 99)('2024-01-01 00:31:00', NULL);",
        ),
        ("overlapping runs", "FLUSH DATABASE ways".into()),
        (
            "deletes",
            "DELETE FROM m3 WHERE ts > '2024-01-01 00:40:00'; DELETE FROM m WHERE ts < '2024-01-01 00:05:00'".into(),
        ),
        ("a plain table", "INSERT INTO p VALUES (1, 2, 0.5), (2, NULL, 1.5), (3, 4, NULL)".into()),
        ("deletes over blocks", "FLUSH DATABASE ways".into()),
        (
            "a dropped and a wider column",
            "ALTER TABLE m DROP COLUMN o; ALTER TABLE m ADD COLUMN extra INT; DROP TABLE m4".into(),
        ),
        ("merged", "COMPACT DATABASE ways".into()),
        ("far away rows", "INSERT INTO m1 (ts, i) VALUES ('2023-06-01', 1)('2025-06-01', 2)".into()),
    ]
}

async fn compare(client: &Client, when: &str) {
    for sql in QUERIES {
        let mut answers = Vec::new();
        for (way, set) in WAYS {
            client.batch_execute(set).await.expect("a setting");
            answers.push((way, answer(client, sql).await));
        }
        for (way, answer) in &answers[1..] {
            assert_eq!(answer, &answers[0].1, "{sql}\n{way}, {when}");
        }
    }
}

/// Rows as text, numbers to 12 digits; or the error.
async fn answer(client: &Client, sql: &str) -> Vec<String> {
    let messages = match client.simple_query(sql).await {
        Ok(messages) => messages,
        Err(error) => return vec![format!("{:?}", error.code())],
    };
    let cell = |text: Option<&str>| match text {
        Some(text) => match text.parse::<f64>() {
            Ok(number) => format!("{number:.11e}"),
            Err(_) => text.to_owned(),
        },
        None => "NULL".to_owned(),
    };
    let line = |message: &SimpleQueryMessage| match message {
        SimpleQueryMessage::Row(row) => Some((0..row.len()).map(|at| cell(row.get(at))).collect::<Vec<_>>().join(" ")),
        _ => None,
    };
    messages.iter().filter_map(line).collect()
}
