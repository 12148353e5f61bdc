//! What clients and enemies send: bad input gets a clear error, the session goes on, and nothing is half-written.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use futures::{SinkExt, StreamExt};
use tests::{Options, Server, column, sqlstate};
use tokio_postgres::Client;

async fn started() -> (tempfile::TempDir, Server, Client) {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let server = Server::start(folder.path(), &Options::default()).await;
    let admin = server.connect("postgres").await;
    admin.batch_execute("CREATE DATABASE bad").await.expect("a database");
    let client = server.connect("bad").await;
    client
        .batch_execute(
            "CREATE STABLE meters (ts TIMESTAMP, current FLOAT, voltage INT, note VARCHAR(8)) TAGS (place VARCHAR(16));
             CREATE TABLE d1 USING meters TAGS ('here')",
        )
        .await
        .expect("tables");
    (folder, server, client)
}

async fn rows(client: &Client) -> String {
    column(client, "SELECT count(*) FROM meters").await.remove(0)
}

#[tokio::test]
async fn bad_values_are_refused_and_nothing_is_written() {
    let (_folder, _server, client) = started().await;
    for (sql, state) in [
        ("INSERT INTO d1 VALUES (now(), 1.5, 'abc', 'x')", "22P02"),
        ("INSERT INTO d1 VALUES (now(), 1.5, 2147483648, 'x')", "22003"),
        ("INSERT INTO d1 VALUES (now(), 1.5, 1, 'nine bytes')", "22001"),
        ("INSERT INTO d1 VALUES (now(), 1.5, 1, 'x')(now() + 1a, 1.5, 'oops', 'x')", "22P02"),
        ("INSERT INTO nowhere VALUES (now(), 1)", "42P01"),
        ("INSERT INTO d1 VALUES ('1970-01-01 00:00:00', 1, 1, 'x')", "22008"),
        ("INSERT INTO d1 VALUES ('3000-01-01 00:00:00', 1, 1, 'x')", "22008"),
        ("INSERT INTO d1 VALUES (NULL, 1, 1, 'x')", "23502"),
        ("INSERT INTO d1 (ts, nosuch) VALUES (now(), 1)", "42703"),
        ("INSERT INTO d1 VALUES (now(), 1)", "42601"),
        ("SELECT * FROM nowhere", "42P01"),
        ("SELECT nosuch FROM d1", "42703"),
        ("SELECT nosuch(1)", "42883"),
        ("SELECT 1 / 0", "22012"),
        ("SELEC 1", "42601"),
        ("SELECT 'open", "42601"),
    ] {
        assert_eq!(sqlstate(&client, sql).await, state, "{sql}");
        assert_eq!(rows(&client).await, "0", "{sql}");
    }
}

#[tokio::test]
async fn an_error_says_where_it_is() {
    let (_folder, _server, client) = started().await;
    for (sql, position) in [("SELECT 1 FROM FROM d1", 15), ("INSERT INTO d1 VALUES (now(), 1.5, 'abc', 'x')", 36)] {
        let error = client.simple_query(sql).await.map(|_| ()).expect_err(sql);
        let db = error.as_db_error().expect("the server answers");
        let found = db.position().cloned();
        assert_eq!(found, Some(tokio_postgres::error::ErrorPosition::Original(position)), "{sql}: {db:?}");
    }
}

#[tokio::test]
async fn deep_nesting_is_refused() {
    let (_folder, _server, client) = started().await;
    for depth in [1_000, 100_000] {
        let sql = format!("SELECT {}1{}", "(".repeat(depth), ")".repeat(depth));
        assert_eq!(sqlstate(&client, &sql).await, "54001", "{depth}");
    }
    let chain = format!("SELECT 1{}", " + 1".repeat(5_000));
    // A long chain is deep too; it may be answered or refused, but the session goes on.
    let _ = client.simple_query(&chain).await;
    assert_eq!(column(&client, "SELECT 1").await, ["1"]);
}

#[tokio::test]
async fn a_bad_copy_line_keeps_nothing_and_says_its_number() {
    let (_folder, _server, client) = started().await;
    let mut sink = Box::pin(client.copy_in("COPY d1 FROM STDIN WITH (FORMAT csv)").await.expect("COPY starts"));
    let data = "2025-01-01 00:00:00,1.5,1,a\n2025-01-01 00:00:01,1.5,1,b\n2025-01-01 00:00:02,1.5,oops,c\n";
    sink.send(bytes(data)).await.expect("data is taken");
    let error = sink.close().await.expect_err("the third line is bad");
    let db = error.as_db_error().expect("the server answers");
    assert_eq!(db.code().code(), "22P02");
    let place = db.where_().unwrap_or_default();
    assert!(place.contains("line 3") && place.contains("voltage"), "{place}");
    drop(sink);
    assert_eq!(rows(&client).await, "0");
}

fn bytes(text: &str) -> std::io::Cursor<Vec<u8>> {
    std::io::Cursor::new(text.as_bytes().to_vec())
}

#[tokio::test]
async fn copy_goes_out_as_it_came_in() {
    let (_folder, _server, client) = started().await;
    let data = "2025-01-01 00:00:00+00,1.5,1,a\n2025-01-01 00:00:01+00,,2,\"b,c\"\n";
    let mut sink = Box::pin(client.copy_in("COPY d1 FROM STDIN WITH (FORMAT csv)").await.expect("COPY starts"));
    sink.send(bytes(data)).await.expect("data is taken");
    assert_eq!(sink.as_mut().finish().await.expect("COPY ends"), 2);
    let stream =
        client.copy_out("COPY (SELECT * FROM d1 ORDER BY ts) TO STDOUT WITH (FORMAT csv)").await.expect("COPY starts");
    let parts: Vec<_> = stream.map(|part| part.expect("data").to_vec()).collect().await;
    assert_eq!(String::from_utf8(parts.concat()).expect("UTF-8"), data);
}

#[tokio::test]
async fn a_message_of_two_gigabytes_is_refused_at_once() {
    let (_folder, server, client) = started().await;
    let before = server.memory();
    let mut socket = TcpStream::connect(("127.0.0.1", server.port)).expect("the server listens");
    socket.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout can be set");
    let mut startup = vec![0, 3, 0, 0];
    startup.extend(b"user\0root\0database\0bad\0\0");
    let mut message = u32::try_from(startup.len() + 4).expect("short").to_be_bytes().to_vec();
    message.extend(startup);
    socket.write_all(&message).expect("startup");
    let mut answer = [0_u8; 4096];
    let _ = socket.read(&mut answer).expect("the server greets");
    socket.write_all(b"Q\x7f\xff\xff\xffSELECT").expect("the header is sent");
    let mut said = Vec::new();
    let start = Instant::now();
    let _ = socket.read_to_end(&mut said);
    assert!(start.elapsed() < Duration::from_secs(5), "the server waits for two gigabytes");
    let said = String::from_utf8_lossy(&said);
    assert!(said.contains("08P01"), "{said}");
    assert!(server.memory() < before + (64 << 20), "memory was taken for it");
    assert_eq!(column(&client, "SELECT 1").await, ["1"]);
}

#[tokio::test]
async fn rows_of_a_statement_come_before_the_next_one_fails() {
    let (_folder, _server, client) = started().await;
    let mut seen = Vec::new();
    let mut stream = Box::pin(client.simple_query_raw("SELECT 1; SELECT nosuch; SELECT 3").await.expect("it starts"));
    let error = loop {
        match stream.next().await.expect("an error comes") {
            Ok(tokio_postgres::SimpleQueryMessage::Row(row)) => seen.push(row.get(0).unwrap_or_default().to_owned()),
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(seen, ["1"]);
    assert_eq!(error.code().expect("the server answers").code(), "42703");
}

#[tokio::test]
async fn cancel_and_statement_timeout_stop_the_work() {
    let (_folder, _server, client) = started().await;
    let long = "SELECT count(*) FROM generate_series(1, 1000000000) a, generate_series(1, 1000000) b";
    let token = client.cancel_token();
    let start = Instant::now();
    let (state, cancelled) = tokio::join!(sqlstate(&client, long), async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        token.cancel_query(tokio_postgres::NoTls).await
    });
    cancelled.expect("the cancel is taken");
    assert_eq!(state, "57014");
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    client.batch_execute("SET statement_timeout = '500ms'").await.expect("a setting");
    let start = Instant::now();
    assert_eq!(sqlstate(&client, long).await, "57014");
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    client.batch_execute("RESET statement_timeout").await.expect("a setting");
    assert_eq!(column(&client, "SELECT 1").await, ["1"]);
}

#[tokio::test]
async fn a_transaction_is_held_until_commit() {
    let (_folder, server, client) = started().await;
    let other = server.connect("bad").await;
    client.batch_execute("BEGIN; INSERT INTO d1 VALUES ('2025-01-01', 1, 1, 'x')").await.expect("held");
    assert_eq!(rows(&client).await, "1", "a transaction sees its own rows");
    assert_eq!(rows(&other).await, "0", "another one does not");
    client.batch_execute("DELETE FROM d1 WHERE ts = '2025-01-01'").await.expect("held");
    assert_eq!(rows(&client).await, "0", "a transaction sees its own deletes");
    client.batch_execute("ROLLBACK").await.expect("rolled back");
    assert_eq!(rows(&client).await, "0");
    client.batch_execute("BEGIN; INSERT INTO d1 VALUES ('2025-01-01', 1, 1, 'x'); COMMIT").await.expect("committed");
    assert_eq!(rows(&other).await, "1");
    // Several statements in one message are one transaction.
    assert_eq!(sqlstate(&client, "INSERT INTO d1 VALUES ('2025-01-02', 1, 1, 'x'); SELECT 1/0").await, "22012");
    assert_eq!(rows(&client).await, "1");
    assert_eq!(sqlstate(&client, "BEGIN; SELECT nosuch").await, "42703");
    assert_eq!(sqlstate(&client, "SELECT 1").await, "25P02");
    client.batch_execute("ROLLBACK").await.expect("rolled back");
}
