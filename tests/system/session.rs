//! Sessions, settings and transactions, message by message as PostgreSQL 15 answers them.
//!
//! Each script is sent to both servers, and every answer must be the same line. The scripts under `tests/data/session`
//! are simple queries: `-- what` begins one, over a connection of its own and a fresh table `t (a int)`; each line is a
//! message. Pipelines are written here.

use tests::postgres::Postgres;
use tests::raw::{Raw, bind, close, describe, execute, parse, query, statement, sync};
use tests::{Options, Server, root};

/// Messages in the order in which they are sent; each is answered up to ReadyForQuery.
struct Script {
    what: String,
    messages: Vec<Vec<u8>>,
}

fn script(what: &str, messages: Vec<Vec<u8>>) -> Script {
    Script { what: what.to_owned(), messages }
}

/// The scripts of a file.
fn scripts(name: &str) -> Vec<Script> {
    let text = std::fs::read_to_string(root().join("tests/data/session").join(name)).expect("the scripts are there");
    let mut scripts: Vec<Script> = Vec::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        match line.strip_prefix("-- ") {
            Some(what) => scripts.push(script(what, Vec::new())),
            None => scripts.last_mut().expect("a script has begun").messages.push(query(line)),
        }
    }
    scripts
}

/// Sends the scripts to both.
async fn compare(scripts: Vec<Script>) {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let server = Server::start(folder.path(), &Options::default()).await;
    let postgres = Postgres::start().await;
    let done = tokio::task::spawn_blocking(move || {
        let mut wrong = Vec::new();
        for Script { what, messages } in scripts {
            let mut ours = Raw::connect(server.port, "postgres");
            let mut theirs = Raw::connect(postgres.port, "postgres");
            for raw in [&mut ours, &mut theirs] {
                let made =
                    raw.query("DROP TABLE IF EXISTS t; CREATE TABLE t (a int); SET client_min_messages = notice");
                assert!(made.iter().all(|answer| !answer.starts_with("error")), "{made:?}");
            }
            for (at, message) in messages.iter().enumerate() {
                let (ours, theirs) = (ours.ask(message), theirs.ask(message));
                if ours != theirs {
                    let sent = String::from_utf8_lossy(message).replace(|c: char| c.is_control(), " ");
                    wrong.push(format!(
                        "{what}, message {}: {sent}\n  ours   {}\n  theirs {}\n",
                        at + 1,
                        ours.join("\n         "),
                        theirs.join("\n         ")
                    ));
                }
            }
        }
        wrong
    });
    let wrong = done.await.expect("the scripts run");
    assert!(wrong.is_empty(), "{} differ\n{}", wrong.len(), wrong.join("\n"));
}

#[tokio::test]
async fn transactions() {
    compare(scripts("transactions.txt")).await;
}

#[tokio::test]
async fn read_only_transactions() {
    compare(scripts("read_only.txt")).await;
}

#[tokio::test]
async fn settings() {
    compare(scripts("settings.txt")).await;
}

/// One after another in a pipeline.
fn pipeline(texts: &[&str]) -> Vec<u8> {
    let statements: Vec<u8> = texts.iter().flat_map(|text| statement(text)).collect();
    [statements, sync()].concat()
}

#[tokio::test]
async fn pipelines() {
    compare(vec![
        script(
            "a pipeline is one transaction up to Sync",
            vec![
                pipeline(&["INSERT INTO t VALUES (1)", "SELECT nosuch"]),
                query("SELECT a FROM t"),
                pipeline(&["INSERT INTO t VALUES (1)", "COMMIT", "INSERT INTO t VALUES (2)"]),
                pipeline(&[
                    "INSERT INTO t VALUES (3)",
                    "COMMIT",
                    "INSERT INTO t VALUES (4)",
                    "SELECT nosuch",
                    "INSERT INTO t VALUES (5)",
                ]),
                query("SELECT a FROM t ORDER BY a"),
                pipeline(&["INSERT INTO t VALUES (6)", "ROLLBACK", "INSERT INTO t VALUES (7)"]),
                query("SELECT a FROM t ORDER BY a"),
            ],
        ),
        script(
            "BEGIN in a pipeline",
            vec![
                pipeline(&["INSERT INTO t VALUES (6)", "BEGIN", "INSERT INTO t VALUES (7)"]),
                query("ROLLBACK"),
                query("SELECT a FROM t ORDER BY a"),
                pipeline(&["BEGIN", "INSERT INTO t VALUES (8)", "COMMIT"]),
                query("SELECT a FROM t ORDER BY a"),
                pipeline(&["BEGIN", "INSERT INTO t VALUES (9)", "SELECT nosuch", "COMMIT"]),
                pipeline(&["SELECT 1"]),
                pipeline(&["ROLLBACK"]),
                query("SELECT a FROM t ORDER BY a"),
            ],
        ),
    ])
    .await;
}

#[tokio::test]
async fn names_are_shared_by_sql_and_protocol() {
    let fetch = |name: &str, limit| [describe(b'P', name), execute(name, limit), sync()].concat();
    let unnamed = |name: &str, values: &[&str]| [bind("", name, values), execute("", 0), sync()].concat();
    compare(vec![
        script(
            "a cursor is a portal",
            vec![
                query("INSERT INTO t VALUES (1), (2), (3), (4), (5)"),
                query("BEGIN; DECLARE c CURSOR FOR SELECT a FROM t ORDER BY a"),
                fetch("c", 2),
                query("FETCH 1 FROM c"),
                fetch("c", 0),
                fetch("c", 0),
                query("COMMIT"),
                fetch("c", 0),
                query("BEGIN; DECLARE c CURSOR FOR SELECT 1"),
                [parse("", "SELECT 2", &[]), bind("c", "", &[]), sync()].concat(),
                query("ROLLBACK"),
                query("BEGIN; DECLARE c CURSOR FOR SELECT 1"),
                [close(b'P', "c"), close(b'P', "nosuch"), sync()].concat(),
                query("FETCH c"),
                query("ROLLBACK"),
                query("BEGIN; DECLARE c BINARY CURSOR FOR SELECT 'x'::text; FETCH c; COMMIT"),
            ],
        ),
        script(
            "statements of PREPARE and of Parse",
            vec![
                [parse("s", "SELECT $1::int + 1", &[]), sync()].concat(),
                query("EXECUTE s(4)"),
                query("PREPARE s AS SELECT 1"),
                query("DEALLOCATE s"),
                unnamed("s", &["1"]),
                query("PREPARE s (int) AS SELECT $1 * 2"),
                [parse("s", "SELECT 1", &[]), sync()].concat(),
                [describe(b'S', "s"), sync()].concat(),
                unnamed("s", &["21"]),
                query("DEALLOCATE ALL"),
                [parse("s", "SELECT 'again'", &[]), sync()].concat(),
                unnamed("s", &[]),
                [close(b'S', "s"), sync()].concat(),
                query("EXECUTE s"),
            ],
        ),
        script(
            "rows without columns",
            vec![
                query("SELECT"),
                query("INSERT INTO t VALUES (1), (2); SELECT FROM t"),
                [parse("", "SELECT", &[]), describe(b'S', ""), bind("", "", &[]), execute("", 0), sync()].concat(),
                query("SELECT WHERE false"),
                query("SELECT count(*) FROM (SELECT) x"),
                query("SELECT EXISTS (SELECT WHERE true), EXISTS (SELECT FROM t WHERE a > 5)"),
                query(""),
                query(";"),
            ],
        ),
    ])
    .await;
}

/// Statements, and the types that PostgreSQL gives their parameters.
const PARAMETERS: &[&str] = &[
    "SELECT $1",
    "SELECT $1::int + 1",
    "SELECT $1::timestamptz, $2::date, $3::text[] AS texts, $4::numeric(10,2), $5::double precision, $6::bool",
    "SELECT CAST($1 AS bigint), $2::varchar(5), $3::oid, $4::interval, $5::bytea, $6::smallint, $7::real",
    "SELECT 5 + $1, $2 - 1.5::float8, $3 || 'x', $4 = 5",
    "SELECT now() + $1, now() - $2, now() > $3",
    "SELECT a FROM t WHERE a = $1 AND a > $2",
    "SELECT a FROM t WHERE a = ANY($1)",
    "SELECT a FROM t WHERE a IN ($1, $2) OR a BETWEEN $3 AND $4",
    "SELECT a FROM t WHERE $1",
    "SELECT a FROM t WHERE NOT $1 AND $2",
    "SELECT a FROM t LIMIT $1 OFFSET $2",
    "SELECT a FROM t ORDER BY a FETCH FIRST $1 ROWS ONLY",
    "SELECT coalesce($1, 5) > 1, nullif($2, 5) > 1",
    "SELECT CASE WHEN $1 THEN $2 ELSE 3 END",
    "SELECT CASE a WHEN $1 THEN 'x' ELSE $2 END FROM t",
    "SELECT $1 UNION SELECT 5",
    "SELECT count(*) FROM (VALUES ($1, 1), (2, $2)) v",
    "SELECT * FROM (VALUES ($1::int, $2::text)) v (a, b)",
    "SELECT date_trunc($1, now()), to_char(now(), $2), left('abc', $3), repeat('x', $4), substr('abc', $5) AS rest",
    "SELECT $1 LIKE $2",
    "SELECT lag(a, $1) OVER () FROM t",
    "SELECT count(*) FILTER (WHERE $1) FROM t",
    "SELECT sum(a) FROM t HAVING sum(a) > $1",
    "INSERT INTO t VALUES ($1)",
    "INSERT INTO t (a) SELECT $1",
    "UPDATE t SET a = $1 WHERE a = $2",
    "UPDATE t SET a = a + $1",
    "DELETE FROM t WHERE a = $1",
    "WITH x AS (SELECT a FROM t WHERE a = $1) SELECT * FROM x WHERE a < $2",
    "SELECT EXISTS (SELECT 1 FROM t WHERE a = $1)",
    "SELECT ARRAY[$1, 5] IS NULL",
    "SELECT current_setting($1, $2), set_config($3, $4, $5)",
];

#[tokio::test]
async fn parameters_have_the_types_of_their_places() {
    let described = |sql: &&str| [parse("", sql, &[]), describe(b'S', ""), sync()].concat();
    compare(vec![script("types of parameters", PARAMETERS.iter().map(described).collect())]).await;
}
