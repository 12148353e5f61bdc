//! Prepared INSERTs: executions of one transaction are one write, and nobody can tell but by the clock.

use tests::raw::{Raw, bind, execute, parse, query, statement, sync};
use tests::{Options, Server, column};

const ONE: &str = "INSERT INTO meters (tbname, ts, a) VALUES ($1, $2, $3)";

async fn started() -> (tempfile::TempDir, Server) {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let server = Server::start(folder.path(), &Options::default()).await;
    let admin = server.connect("postgres").await;
    admin.batch_execute("CREATE DATABASE d KEEP 36500 VGROUPS 2").await.expect("a database");
    let client = server.connect("d").await;
    let tables = "CREATE STABLE meters (ts TIMESTAMP, a INT, b VARCHAR(8)) TAGS (g INT);
        CREATE TABLE d1 USING meters TAGS (1) d2 USING meters TAGS (2) d3 USING meters TAGS (3);
        CREATE TABLE n (ts TIMESTAMP, x DOUBLE)";
    client.batch_execute(tables).await.expect("tables");
    (folder, server)
}

/// One execution of the statement of this name.
fn run(name: &str, values: &[&str]) -> Vec<u8> {
    [bind("", name, values), execute("", 0)].concat()
}

/// Sends these as one pipeline; gives what is not routine.
fn pipeline(raw: &mut Raw, messages: &[Vec<u8>]) -> Vec<String> {
    let mut answers = raw.ask(&[messages.concat(), sync()].concat());
    answers.retain(|answer| !matches!(answer.as_str(), "bound" | "parsed" | "no data"));
    answers
}

const ROWS: &str = "SELECT concat_ws(' ', tbname, a, b) FROM meters ORDER BY tbname, ts";

#[tokio::test]
async fn a_pipeline_of_executions_is_one_transaction() {
    let (_folder, server) = started().await;
    let client = server.connect("d").await;
    let port = server.port;
    let sent = tokio::task::spawn_blocking(move || {
        let mut raw = Raw::connect(port, "d");
        let both = [parse("one", ONE, &[]), parse("n", "INSERT INTO n VALUES ($1, $2)", &[]), sync()].concat();
        assert_eq!(raw.ask(&both), ["parsed", "parsed", "ready I"]);
        // Two statements by turns; the row of the same time that comes later wins, column by column.
        let b = "INSERT INTO d1 (ts, b) VALUES ($1, $2), (3000, 'three')";
        let answers = pipeline(
            &mut raw,
            &[
                run("one", &["d1", "1000", "1"]),
                run("n", &["1", "0.5"]),
                run("one", &["d2", "2000", "2"]),
                run("n", &["2", "1.5"]),
                parse("", b, &[]),
                run("", &["1000", "x"]),
                run("one", &["d2", "2000", "22"]),
            ],
        );
        let done = "complete INSERT 0 1";
        assert_eq!(answers, [done, done, done, done, "complete INSERT 0 2", done, "ready I"]);
        // A query among them sees what stands before it, and nothing is written if one of them fails.
        let answers = pipeline(
            &mut raw,
            &[
                run("one", &["d3", "1", "1"]),
                statement("SELECT count(*) FROM meters"),
                run("one", &["d3", "2", "2"]),
                statement("SELECT count(*) FROM meters"),
                run("one", &["d3", "3", "three"]),
                run("one", &["d3", "4", "4"]),
            ],
        );
        let refused = "error 22P02 invalid input syntax for type integer: \"three\"";
        let counted = "complete SELECT 1";
        assert_eq!(answers, [done, "row 4", counted, done, "row 5", counted, refused, "ready I"]);
        let none = pipeline(&mut raw, &[run("one", &["nosuch", "1", "1"])]);
        assert_eq!(none, ["error 42P01 table \"nosuch\" does not exist", "ready I"]);
        assert_eq!(pipeline(&mut raw, &[run("one", &["d3", "5", "5"])]), [done, "ready I"]);
    });
    sent.await.expect("the script runs");
    assert_eq!(column(&client, ROWS).await, ["d1 1 x", "d1 three", "d2 22", "d3 5"]);
    assert_eq!(column(&client, "SELECT x FROM n ORDER BY ts").await, ["0.5", "1.5"]);
}

#[tokio::test]
async fn savepoints_divide_the_executions_of_a_block() {
    let (_folder, server) = started().await;
    let client = server.connect("d").await;
    let port = server.port;
    let sent = tokio::task::spawn_blocking(move || {
        let mut raw = Raw::connect(port, "d");
        raw.ask(&[parse("one", ONE, &[]), sync()].concat());
        raw.ask(&query("BEGIN"));
        pipeline(&mut raw, &[run("one", &["d1", "1", "1"]), run("one", &["d1", "2", "2"])]);
        raw.ask(&query("SAVEPOINT s"));
        pipeline(&mut raw, &[run("one", &["d1", "3", "3"])]);
        let failed = pipeline(&mut raw, &[run("one", &["d1", "4", "9999999999"])]);
        assert_eq!(failed.last().map(String::as_str), Some("ready E"), "{failed:?}");
        raw.ask(&query("ROLLBACK TO s"));
        pipeline(&mut raw, &[run("one", &["d1", "5", "5"])]);
        // DELETE comes between them.
        raw.ask(&query("DELETE FROM d1 WHERE ts = 2"));
        pipeline(&mut raw, &[run("one", &["d1", "6", "6"])]);
        assert_eq!(raw.ask(&query("COMMIT")), ["complete COMMIT", "ready I"]);
        raw.ask(&query("BEGIN"));
        pipeline(&mut raw, &[run("one", &["d1", "7", "7"])]);
        raw.ask(&query("ROLLBACK"));
        pipeline(&mut raw, &[run("one", &["d1", "8", "8"])]);
    });
    sent.await.expect("the script runs");
    assert_eq!(column(&client, ROWS).await, ["d1 1", "d1 5", "d1 6", "d1 8"]);
}

#[tokio::test]
async fn parameters_come_in_any_format_and_type() {
    let (_folder, server) = started().await;
    let client = server.connect("d").await;
    let insert =
        client.prepare("INSERT INTO meters (tbname, ts, a, b) VALUES ($1, $2, $3, $4)").await.expect("prepares");
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_millis(1500);
    for (name, a, b) in [("d1", Some(7_i32), Some("x")), ("d2", None, None)] {
        assert_eq!(client.execute(&insert, &[&name, &time, &a, &b]).await.expect("a row"), 1);
    }
    // A type that is not the column's, and a table that changes between executions.
    use tokio_postgres::types::Type;
    let typed = client.prepare_typed(ONE, &[Type::TEXT, Type::TIMESTAMPTZ, Type::INT8]).await.expect("prepares");
    assert_eq!(client.execute(&typed, &[&"d3", &time, &5_i64]).await.expect("a row"), 1);
    client.batch_execute("ALTER STABLE meters DROP COLUMN b").await.expect("alters");
    assert_eq!(client.execute(&typed, &[&"d1", &time, &6_i64]).await.expect("a row"), 1);
    let gone =
        client.execute(&insert, &[&"d1", &time, &Some(1_i32), &Some("x")]).await.expect_err("the column is gone");
    assert_eq!(gone.code().map(tokio_postgres::error::SqlState::code), Some("42703"));
    let rows = "SELECT concat_ws(' ', tbname, a) FROM meters ORDER BY tbname";
    assert_eq!(column(&client, rows).await, ["d1 6", "d2", "d3 5"]);
}
