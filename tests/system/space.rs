//! What is deleted, dropped or older than KEEP gives its place on the disk back: measured in bytes of the data directory,
//! while others read, and after a restart. And a COMPACT that takes long can be watched and ended.

use std::path::Path;
use std::time::Duration;

use futures::StreamExt as _;
use tests::{Options, Server, column, sqlstate};
use tokio_postgres::Client;

/// Bytes of all files that hold rows or metadata, of all vnodes. RocksDB's own logs and options are left out: they stay.
fn bytes(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let size = |entry: std::io::Result<std::fs::DirEntry>| {
        // Files come and go while this looks.
        let Ok(entry) = entry else { return 0 };
        let path = entry.path();
        match path.extension() {
            _ if path.is_dir() => bytes(&path),
            Some(of) if of == "sst" => entry.metadata().map_or(0, |file| file.len()),
            _ => 0,
        }
    };
    entries.map(size).sum()
}

async fn run(client: &Client, sql: &str) {
    client.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
}

/// 60,000 rows of about 16 random bytes each, over 60 days.
fn fill(table: &str, stable: &str) -> String {
    format!(
        "CREATE TABLE {table} USING {stable} TAGS (1); INSERT INTO {table} SELECT '2026-01-01'::timestamptz + \
         n * interval '86400 milliseconds', random(), random() FROM generate_series(0, 59999) AS x(n)"
    )
}

async fn create(server: &Server, options: &str) -> Client {
    let admin = server.connect("postgres").await;
    run(&admin, &format!("CREATE DATABASE space {options}")).await;
    let client = server.connect("space").await;
    run(&client, "CREATE STABLE a (ts TIMESTAMP, x DOUBLE, y DOUBLE) TAGS (g INT)").await;
    run(&client, "CREATE STABLE b (ts TIMESTAMP, x DOUBLE, y DOUBLE) TAGS (g INT)").await;
    run(&client, &fill("a1", "a")).await;
    run(&client, &fill("b1", "b")).await;
    run(&client, "FLUSH DATABASE space").await;
    client
}

/// Waits until there are fewer bytes than that.
async fn shrinks(vnodes: &Path, below: u64, why: &str) {
    for _ in 0..600 {
        if bytes(vnodes) < below {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{why}: still {} bytes, not less than {below}", bytes(vnodes));
}

#[tokio::test(flavor = "multi_thread")]
async fn deletes_drops_and_expiry_free_the_disk() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let vnodes = folder.path().join("vnode");
    let mut server = Server::start(folder.path(), &Options::default()).await;
    let client = create(&server, "VGROUPS 1 DURATION 5 KEEP 36500").await;
    let full = bytes(&vnodes);
    assert!(full > 1_500_000, "{full} bytes of two million random ones");

    // A reader that is in the middle of it keeps its rows, not the place for ever.
    let reader = server.connect("space").await;
    let mut rows = Box::pin(reader.query_raw("SELECT ts, x FROM a", Vec::<String>::new()).await.expect("a query"));
    rows.next().await.expect("a row").expect("a row");
    run(&client, "DELETE FROM a WHERE ts < '2026-02-15'").await;
    run(&client, "COMPACT DATABASE space").await;
    let mut read = 1;
    while let Some(row) = rows.next().await {
        row.expect("a row");
        read += 1;
    }
    assert_eq!(read, 60_000);
    assert_eq!(column(&client, "SELECT count(*) FROM a").await, ["15000"]);
    shrinks(&vnodes, full * 7 / 10, "COMPACT after DELETE").await;

    // Nobody asks for it.
    run(&client, "DROP STABLE b").await;
    shrinks(&vnodes, full * 3 / 10, "DROP STABLE").await;

    run(&client, "ALTER DATABASE space KEEP 20; TRIM DATABASE space").await;
    drop(client);
    assert!(server.stop().await.success());
    let server = Server::start(folder.path(), &Options::default()).await;
    let client = server.connect("space").await;
    assert_eq!(column(&client, "SELECT count(*) FROM a").await, ["0"]);
    shrinks(&vnodes, full / 10, "TRIM after KEEP, and a restart").await;

    run(&client, &fill("a2", "a").replace("2026-01-01", "2026-11-01")).await;
    drop(client);
    let admin = server.connect("postgres").await;
    run(&admin, "DROP DATABASE space").await;
    shrinks(&vnodes, 100_000, "DROP DATABASE").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compact_is_watched_and_ended() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let slow = Options::default().set("merge_bytes_per_second=4000");
    let server = Server::start(folder.path(), &slow).await;
    let client = create(&server, "VGROUPS 2 DURATION 5 KEEP 36500").await;
    let compacting = server.connect("space").await;
    let compact = tokio::spawn(async move { compacting.batch_execute("COMPACT DATABASE space").await });
    let mut seen = Vec::new();
    for _ in 0..200 {
        let done = "SELECT compact_id, sum(number_fileset), sum(bytes), sum(bytes_done) \
                    FROM information_schema.ins_compact_details GROUP BY compact_id HAVING sum(bytes_done) > 0";
        seen = column(&client, done).await;
        if !seen.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let [id] = seen.as_slice() else { panic!("no COMPACT is under way: {seen:?}") };
    assert_eq!(column(&client, "SHOW COMPACTS").await, [id.as_str()]);
    let details = client.simple_query(&format!("SHOW COMPACT {id}")).await.expect("details");
    let rows = details.iter().filter(|message| matches!(message, tokio_postgres::SimpleQueryMessage::Row(_))).count();
    assert_eq!(rows, 2, "one for each vnode");
    assert_eq!(sqlstate(&client, "COMPACT DATABASE space").await, "55006");
    // Whoever reads and writes is not in its way.
    assert_eq!(column(&client, "SELECT count(*) FROM a").await, ["60000"]);
    run(&client, "INSERT INTO a1 VALUES ('2026-11-01', 1, 2)").await;
    run(&client, &format!("KILL COMPACT {id}")).await;
    let ended = compact.await.expect("the session goes on").expect_err("it was ended");
    assert_eq!(ended.code().map(|code| code.code()), Some("57014"));
    assert!(column(&client, "SHOW COMPACTS").await.is_empty());
    assert_eq!(sqlstate(&client, &format!("KILL COMPACT {id}")).await, "42704");
    assert_eq!(column(&client, "SELECT count(*) FROM a").await, ["60001"]);

    // A client that goes away ends its COMPACT, and a database is dropped in the middle of one.
    let cancelled = server.connect("space").await;
    let token = cancelled.cancel_token();
    let compact = tokio::spawn(async move { cancelled.batch_execute("COMPACT DATABASE space").await });
    while column(&client, "SHOW COMPACTS").await.is_empty() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    token.cancel_query(tokio_postgres::NoTls).await.expect("asked");
    compact.await.expect("the session goes on").expect_err("cancelled");
    while !column(&client, "SHOW COMPACTS").await.is_empty() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let last = server.connect("space").await;
    let compact = tokio::spawn(async move { last.batch_execute("COMPACT DATABASE space").await });
    while column(&client, "SHOW COMPACTS").await.is_empty() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let admin = server.connect("postgres").await;
    run(&admin, "DROP DATABASE space").await;
    compact.await.expect("the session goes on").expect_err("its database is gone");
    shrinks(&folder.path().join("vnode"), 100_000, "DROP DATABASE").await;
}
