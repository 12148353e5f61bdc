//! Plans are kept for statements that come again: prepared ones, and texts that differ in their literals. Whatever happens
//! between two runs of a statement, it must say what a session says that has `plan_cache` off and has not seen it before.

use tests::raw::{Raw, bind, describe, execute, parse, sync};
use tests::{Options, Server, column};

/// Queries with places for literals: `{a}` and `{z}` are times, `{n}` is a name, `{s}` a value of a tag.
const QUERIES: [&str; 24] = [
    "SELECT _wstart, max(i), min(f) FROM m WHERE tbname = '{n}' AND ts >= '{a}' AND ts < '{z}' INTERVAL(1m) ORDER BY 1",
    "SELECT date_trunc('minute', ts) t, max(i) FROM m WHERE site = '{s}' AND ts >= '{a}' AND ts < '{z}' GROUP BY t ORDER BY t",
    "SELECT date_trunc('day', ts) t, count(*) FROM m WHERE ts BETWEEN '{a}' AND '{z}' GROUP BY 1 ORDER BY 1",
    "SELECT tbname, count(*), sum(i), avg(f) FROM m WHERE tbname IN ('{n}', 'm2') AND ts > '{a}' GROUP BY tbname ORDER BY 1",
    "SELECT * FROM m WHERE ts >= '{a}' AND '{z}' > ts ORDER BY ts, tbname",
    "SELECT ts, i, t FROM m WHERE t = '{s}' AND ts < '{z}' ORDER BY ts DESC LIMIT 5",
    "SELECT ts, f FROM m WHERE ts <= '{z}' ORDER BY ts DESC LIMIT 3",
    "SELECT count(*) FROM m WHERE site IN ('{s}', 'west') AND i > 3",
    "SELECT '{s}' AS said, count(*) FROM m WHERE site = '{s}'",
    "SELECT count(*) FROM m WHERE ts = '{a}'",
    "SELECT ts, i FROM m1 WHERE ts >= '{a}' ORDER BY ts",
    "SELECT last_row(*) FROM m WHERE ts < '{z}' GROUP BY tbname ORDER BY 1, 2",
    "SELECT _wstart, count(*) FROM m WHERE ts >= '{a}' AND ts < '{z}' INTERVAL(1h) FILL(VALUE, 0)",
    "SELECT count(*) FROM m WHERE ts >= '{a}' AND (site = '{s}' OR tbname = '{n}')",
    "SELECT count(*) FROM m WHERE ts < now() AND site = '{s}'",
    "SELECT count(*) FROM m WHERE ts < 'now' AND site <> '{s}'",
    "SELECT site, kind, count(*) FROM m WHERE ts >= '{a}'  GROUP BY site, kind ORDER BY 1, 2 ; ",
    "SELECT id, v FROM p WHERE v = '{s}' ORDER BY id",
    "SELECT to_char(ts, 'HH24:MI'), i FROM m WHERE ts >= '{a}' AND ts < '{z}' AND tbname = '{n}' ORDER BY ts",
    "SELECT a.i FROM m a JOIN p ON p.v = a.t WHERE a.ts >= '{a}' ORDER BY 1",
    "SELECT i / 2, ts FROM m WHERE ts >= '{a}' AND tbname = '{n}' ORDER BY ts",
    "SELECT count(*) FROM view_of_m WHERE ts >= '{a}' AND site = '{s}'",
    "SELECT current_setting('TimeZone'), count(*) FROM m WHERE ts >= '{a}'",
    "SELECT max(ts), current_database() FROM m WHERE ts >= '{a}' AND ts < '{z}'",
];

/// Literals: two times, a name, a tag. The last ones are no times, or such that no row can have.
const LITERALS: [[&str; 4]; 9] = [
    ["2024-01-01 00:00:00", "2024-01-01 00:05:00", "m1", "north"],
    ["2024-01-01 00:02:30", "2024-01-01 00:09:00+00", "m2", "south"],
    ["2024-01-01T00:01:00Z", "2024-01-02", "m3", "north"],
    ["2023-12-31 20:00:00-05", "2024-01-01 00:30:00.0005", "nosuch", "nowhere"],
    ["2024-01-01 00:00:00", "2024-01-01 01:00:00", "m4", "west"],
    ["2024-02-30", "2024-01-01 00:05:00", "m1", "it is"],
    ["yesterday", "tomorrow", "m1", ""],
    ["2024-01-01 00:09:00", "2024-01-01 00:01:00", "m5", "\u{e9}t\u{e9}"],
    ["2024-01-01 00:00:00", "2024-01-01 00:05:00", "it''s", "o''clock"],
];

/// Prepared statements: their types and texts, and what is bound.
const PREPARED: [(&str, &[u32], &str); 7] = [
    ("window", &[], "SELECT _wstart, max(i) FROM m WHERE tbname = $1 AND ts >= $2 AND ts < $3 INTERVAL(1m) ORDER BY 1"),
    ("tag", &[25, 1184, 1184], "SELECT count(*), sum(i) FROM m WHERE site = $1 AND ts >= $2 AND ts < $3"),
    ("child", &[], "SELECT ts, i FROM m1 WHERE $1 <> '' AND ts >= $2 AND ts < $3 ORDER BY ts"),
    ("output", &[25, 1184, 1184], "SELECT $1, count(*) FROM m WHERE ts >= $2 AND ts < $3"),
    ("star", &[25, 1184, 1184], "SELECT * FROM m WHERE tbname = $1 AND ts BETWEEN $2 AND $3 ORDER BY ts"),
    ("clock", &[25, 1184, 1184], "SELECT count(*), now() > $2, $1 FROM m WHERE ts < $3"),
    ("text", &[25, 1184, 1184], "SELECT ts, t FROM m WHERE t = $1 AND ts >= $2 AND ts < $3 ORDER BY ts"),
];

const BOUND: [[&str; 3]; 4] = [
    ["m1", "2024-01-01 00:00:00", "2024-01-01 00:05:00"],
    ["north", "2024-01-01 00:01:00.001", "2024-01-01 00:09:00"],
    ["m2", "2023-01-01", "2025-01-01"],
    ["m4", "2024-01-01 00:05:00", "2024-01-01 00:00:00"],
];

const NUMBER: (&str, &[u32], &str) =
    ("number", &[20], "SELECT count(*), max(i), min(i) FROM m WHERE i > $1 AND ts > '2024-01-01'");

/// What a number is compared with. A vgroup decides conditions on most numbers, not on the last ones.
const NUMBERS: [&str; 6] = ["3", "0", "9223372036854775807", "-9223372036854775808", "2147483647", "7"];

fn with(query: &str, [a, z, n, s]: [&str; 4]) -> String {
    query.replace("{a}", a).replace("{z}", z).replace("{n}", n).replace("{s}", s)
}

/// What happens between the runs: what another session does, and what the sessions that are compared do.
fn history() -> Vec<(&'static str, &'static str, &'static str)> {
    vec![
        ("as it was made", "", ""),
        ("more rows", "INSERT INTO m1 VALUES ('2024-01-01 00:03:03', 77, 7.5, 'north')", ""),
        (
            "a new child",
            "CREATE TABLE m4 USING m TAGS ('west', 9); INSERT INTO m4 VALUES ('2024-01-01 00:00:30', 5, 5, 'x')",
            "",
        ),
        (
            "a child of the same name with another tag",
            "DROP TABLE m2; CREATE TABLE m2 USING m TAGS ('north', 4); INSERT INTO m2 VALUES ('2024-01-01 00:02:00', 1, 1, 'y')",
            "",
        ),
        ("a tag that changed", "ALTER TABLE m3 SET TAG site = 'south'", ""),
        ("deletes", "DELETE FROM m WHERE ts < '2024-01-01 00:01:00'", ""),
        ("flushed", "FLUSH DATABASE plans", ""),
        ("a zone", "", "SET TIME ZONE 'America/New_York'"),
        ("no push-down", "", "SET push_aggregates = off"),
        ("division", "", "SET push_aggregates = on; SET division = 'double'"),
        (
            "a new column",
            "ALTER TABLE m ADD COLUMN extra INT; INSERT INTO m1 (ts, extra) VALUES ('2024-01-01 00:04:00', 8)",
            "RESET ALL",
        ),
        ("a column that is gone", "ALTER TABLE m DROP COLUMN f", ""),
        (
            "a column of the same name again",
            "ALTER TABLE m ADD COLUMN f BIGINT; INSERT INTO m1 (ts, f) VALUES ('2024-01-01 00:04:01', 8)",
            "",
        ),
        (
            "a child of another table",
            "DROP TABLE m1; CREATE STABLE o (ts TIMESTAMP, i DOUBLE) TAGS (k INT); CREATE TABLE m1 USING o TAGS (1); INSERT INTO m1 VALUES ('2024-01-01 00:00:07', 0.5)",
            "",
        ),
        ("another view", "CREATE OR REPLACE VIEW view_of_m AS SELECT ts, 'north' AS site FROM m WHERE i > 5", ""),
        (
            "other types",
            "DROP STABLE m; CREATE STABLE m (ts TIMESTAMP, i BIGINT, f VARCHAR(5), t INT) TAGS (kind INT, site VARCHAR(20)); CREATE TABLE m5 USING m TAGS (1, 'north'); INSERT INTO m5 VALUES ('2024-01-01 00:01:01', 9, 'f', 3)",
            "",
        ),
        (
            "a table without tags",
            "DROP STABLE m; CREATE TABLE m (ts TIMESTAMP, i INT, f INT, t VARCHAR(9), site VARCHAR(9), kind INT); INSERT INTO m VALUES ('2024-01-01 00:01:01', 9, 1, 'north', 'north', 2)",
            "",
        ),
        ("another database", "", "USE others"),
        (
            "what a transaction holds",
            "",
            "BEGIN; INSERT INTO c1 VALUES ('2024-01-01 00:01:09', 4, 4.5, 'north'); DELETE FROM c2",
        ),
        ("behind it", "", "ROLLBACK"),
        ("nothing", "DROP STABLE others.m", ""),
    ]
}

const SCHEMA: &str = "CREATE STABLE m (ts TIMESTAMP, i INT, f DOUBLE, t VARCHAR(10)) TAGS (site VARCHAR(10), kind INT);
    CREATE TABLE p (id INT PRIMARY KEY, v VARCHAR(10));
    INSERT INTO p VALUES (1, 'north'), (2, 'south'), (3, 'north');
    CREATE VIEW view_of_m AS SELECT ts, site FROM m;";

fn rows(child: &str, tags: &str) -> String {
    let row = |n: u32| format!("('2024-01-01 00:{:02}:{:02}', {n}, {}.5, 'north')", n / 4, n % 4 * 15, n * 3 % 7);
    let rows: String = (0..40).map(row).collect();
    format!("INSERT INTO {child} USING m TAGS ({tags}) VALUES {rows};")
}

/// What one round of statements gives, by each. Every round has a third of the literals.
fn round(raw: &mut Raw, number: usize, again: usize) -> Vec<String> {
    let mut answers = Vec::new();
    for text in QUERIES {
        for literals in LITERALS.into_iter().skip(number % 3).step_by(3) {
            let sql = with(text, literals);
            for _ in 0..again {
                answers.push(format!("{sql}: {}", raw.query(&sql).join(" | ")));
            }
        }
    }
    answers
}

/// The statements that are prepared, the last one with a number.
fn prepared() -> impl Iterator<Item = (&'static str, &'static [u32], &'static str)> {
    PREPARED.into_iter().chain([NUMBER])
}

fn prepare(raw: &mut Raw) {
    for (name, types, text) in prepared() {
        raw.ask(&[parse(name, text, types), sync()].concat());
    }
}

/// What prepared statements give. One whose result has other columns than it had must be prepared again.
fn executed(raw: &mut Raw) -> Vec<String> {
    let mut answers = Vec::new();
    for (name, types, text) in prepared() {
        let values: Vec<&[&str]> = match name {
            "number" => NUMBERS.iter().map(std::slice::from_ref).collect(),
            _ => BOUND.iter().map(|values| &values[..]).collect(),
        };
        for values in values {
            let run = || [bind("", name, values), execute("", 0), sync()].concat();
            let mut answer = raw.ask(&run());
            if answer.iter().any(|line| line.contains("0A000")) {
                raw.query(&format!("DEALLOCATE \"{name}\""));
                raw.ask(&[parse(name, text, types), describe(b'S', name), sync()].concat());
                answer = raw.ask(&run());
            }
            answers.push(format!("{name} {values:?}: {}", answer.join(" | ")));
        }
    }
    answers
}

fn hits(server_port: u16) -> u64 {
    use std::io::{Read, Write};
    let mut http = std::net::TcpStream::connect(("127.0.0.1", server_port)).expect("HTTP is served");
    http.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("it reads");
    let mut page = String::new();
    http.read_to_string(&mut page).expect("it answers");
    let line = page.lines().find(|line| line.starts_with("marigraph_plan_cache_hits_total"));
    line.and_then(|line| line.split(' ').next_back()?.parse().ok()).expect("it counts")
}

fn compare(server: &Server) {
    let (port, http) = (server.port, server.http_port);
    let mut admin = Raw::connect(port, "postgres");
    for database in ["plans", "others"] {
        let made = admin.query(&format!("CREATE DATABASE {database} KEEP 36500 VGROUPS 2"));
        assert!(made.iter().all(|line| !line.starts_with("error")), "{made:?}");
        let children = if database == "plans" { ["m1", "m2", "m3"] } else { ["c1", "c2", "m3"] };
        let mut owner = Raw::connect(port, database);
        owner.query(SCHEMA);
        for (child, tags) in children.iter().zip(["'north', 1", "'south', 2", "'north', 3"]) {
            owner.query(&rows(child, tags));
        }
    }
    let mut other = Raw::connect(port, "plans");
    let mut warm = Raw::connect(port, "plans");
    let mut plain = Raw::connect(port, "plans");
    plain.query("SET plan_cache = off");
    prepare(&mut warm);
    (0..3).for_each(|number| drop(round(&mut warm, number, 2)));
    executed(&mut warm);
    let mut wrong = Vec::new();
    for (number, (what, theirs, own)) in history().into_iter().enumerate() {
        for raw in
            [&mut other, &mut warm, &mut plain].into_iter().zip([theirs, own, own]).filter(|(_, sql)| !sql.is_empty())
        {
            let (raw, sql) = raw;
            let done = raw.query(sql);
            assert!(done.iter().all(|line| !line.starts_with("error")), "{what}: {done:?}");
        }
        if own == "RESET ALL" {
            plain.query("SET plan_cache = off");
        }
        let in_block = own.starts_with("BEGIN");
        // An error would end the transaction that is looked at.
        if in_block {
            for text in [
                "SELECT count(*), sum(i) FROM m WHERE ts >= '2024-01-01'",
                "SELECT count(*) FROM m WHERE site = 'south'",
            ] {
                let (ours, theirs) = (warm.query(text), plain.query(text));
                if ours != theirs {
                    wrong.push(format!("{what}: {text}: {ours:?} is not {theirs:?}"));
                }
            }
            continue;
        }
        let before = hits(http);
        for (ours, theirs) in round(&mut warm, number, 1).into_iter().zip(round(&mut plain, number, 1)) {
            if ours != theirs {
                wrong.push(format!("{what}:\n  {ours}\n  {theirs}"));
            }
        }
        let ours = executed(&mut warm);
        let mut fresh = Raw::connect(port, "plans");
        let settings = "SET plan_cache = off";
        fresh.query(settings);
        replay(&mut fresh, what);
        prepare(&mut fresh);
        for (ours, theirs) in ours.into_iter().zip(executed(&mut fresh)) {
            // What cannot be prepared any more says so when it is run.
            let refused = theirs.contains("error 26000");
            if refused && !ours.contains("error") || !refused && ours != theirs {
                wrong.push(format!("{what}:\n  {ours}\n  {theirs}"));
            }
        }
        assert!(hits(http) > before || what == "nothing", "no plan was used again: {what}");
    }
    assert!(wrong.is_empty(), "{} differ\n{}", wrong.len(), wrong.join("\n"));
}

/// What the compared sessions have set by now.
fn replay(fresh: &mut Raw, until: &str) {
    for (what, _, own) in history() {
        let in_block = own.starts_with("BEGIN") || own.starts_with("ROLLBACK");
        if !own.is_empty() && !in_block {
            fresh.query(own);
        }
        if what == until {
            break;
        }
    }
    fresh.query("SET plan_cache = off");
}

#[tokio::test(flavor = "multi_thread")]
async fn plans_say_what_planning_says() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let server = Server::start(folder.path(), &Options::default()).await;
    tokio::task::spawn_blocking(move || compare(&server)).await.expect("it runs");
}

#[tokio::test(flavor = "multi_thread")]
async fn keep_hides_rows_from_plans_too() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let server = Server::start(folder.path(), &Options::default()).await;
    let admin = server.connect("postgres").await;
    admin.batch_execute("CREATE DATABASE short KEEP 1d DURATION 1h").await.expect("a database");
    let client = server.connect("short").await;
    let made = "CREATE STABLE m (ts TIMESTAMP, i INT) TAGS (k INT); CREATE TABLE c USING m TAGS (1)";
    client.batch_execute(made).await.expect("a table");
    // A row that KEEP is about to hide.
    client.batch_execute("INSERT INTO c VALUES (now - 1d + 5s, 1)").await.expect("a row");
    let count = async || column(&client, "SELECT count(*) FROM m WHERE ts > '2000-01-01'").await;
    for _ in 0..4 {
        assert_eq!(count().await, ["1"]);
    }
    let start = std::time::Instant::now();
    while count().await != ["0"] {
        assert!(start.elapsed() < std::time::Duration::from_secs(60), "KEEP hides nothing");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_keep_their_places() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let server = Server::start(folder.path(), &Options::default()).await;
    let client = server.connect("postgres").await;
    client.batch_execute("CREATE STABLE m (ts TIMESTAMP, i INT) TAGS (site VARCHAR(10))").await.expect("a table");
    let texts = |time: &str| {
        [
            format!("SELECT count(*) FROM m WHERE ts >= '{time}'"),
            format!("  SELECT i FROM m WHERE site = 'é' AND ts >= '{time}' AND ts < '2024-01-01'"),
            format!("SELECT i FROM m WHERE ts BETWEEN '2024-01-01' AND '{time}' ORDER BY i"),
        ]
    };
    for _ in 0..4 {
        for text in texts("2024-01-01") {
            client.simple_query(&text).await.expect("it is right");
        }
    }
    for time in ["2024-02-30", "2024-01-01 25:00", "x", "", "999999-01-01", "2024-01-01 00:00 Nowhere/City"] {
        for text in texts(time) {
            let mut errors = Vec::new();
            for setting in ["on", "off"] {
                client.batch_execute(&format!("SET plan_cache = {setting}")).await.expect("a setting");
                let error = client.simple_query(&text).await.map(|_| ()).expect_err(&text);
                let error = error.as_db_error().expect("the server says it");
                let (code, place) = (error.code().code().to_owned(), error.position().cloned());
                errors.push((code, error.message().to_owned(), place));
            }
            assert_eq!(errors[0], errors[1], "{text}");
        }
    }
}
