//! kill -9 under concurrent inserts: after a restart every acknowledged row is there, and nothing that was never sent.
//!
//! The kills come from outside at any moment, and from failpoints inside flush, merge, drop and purge, with a memtable of
//! 1,000 rows so that all of these happen all the time.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tests::{Options, Server, column};
use tokio_postgres::Client;

/// Clients that write at once.
const WRITERS: u64 = 4;
/// Rows in one INSERT.
const BATCH: u64 = 50;
/// First timestamp, in milliseconds.
const START_MS: u64 = 1_700_000_000_000;

const POLICIES: [(&str, &str); 3] = [
    ("never", "WAL_LEVEL 1"),
    ("every", "WAL_LEVEL 2 WAL_FSYNC_PERIOD 3000"),
    ("always", "WAL_LEVEL 2 WAL_FSYNC_PERIOD 0"),
];

fn small_memtable() -> Options {
    Options::default().set("flush_rows=1000")
}

/// What one writer knows: rows that were acknowledged, and the batch whose outcome it never heard.
#[derive(Default)]
struct Heard {
    acknowledged: u64,
    sent: u64,
}

/// Inserts rows 0, 1, 2, … of writer `writer` until the connection breaks. Row n of a writer has a time of its own.
async fn write_until_broken(client: Client, writer: u64, first: u64, stop: Arc<AtomicBool>) -> Heard {
    let mut heard = Heard { acknowledged: first, sent: first };
    while !stop.load(Ordering::Relaxed) {
        let rows: Vec<String> =
            (heard.acknowledged..heard.acknowledged + BATCH).map(|n| format!("({}, {n})", START_MS + n)).collect();
        heard.sent = heard.acknowledged + BATCH;
        let insert = format!("INSERT INTO w{writer} USING writers TAGS ({writer}) VALUES {}", rows.join(" "));
        match client.batch_execute(&insert).await {
            Ok(()) => heard.acknowledged = heard.sent,
            Err(error) => {
                // Only a broken connection may end a write here: anything else is a defect.
                assert!(error.code().is_none(), "writer {writer}: {error:?}");
                break;
            }
        }
    }
    heard
}

/// Every acknowledged row is there, and no row that was never sent.
async fn check(server: &Server, writer: u64, heard: &Heard) {
    let client = server.connect("crash").await;
    let values = column(&client, &format!("SELECT n FROM writers WHERE id = {writer} ORDER BY ts")).await;
    let found: BTreeSet<u64> = values.iter().map(|n| n.parse().expect("n is a number")).collect();
    assert_eq!(found.len(), values.len(), "writer {writer}: a row is there twice");
    let lost: Vec<u64> = (0..heard.acknowledged).filter(|n| !found.contains(n)).collect();
    assert!(
        lost.is_empty(),
        "writer {writer}: {} acknowledged rows are lost, the first is {:?}",
        lost.len(),
        lost.first()
    );
    assert!(found.last().is_none_or(|last| *last < heard.sent), "writer {writer}: a row is there that was never sent");
}

async fn create(server: &Server, policy: &str) {
    let admin = server.connect("postgres").await;
    let sql = format!("CREATE DATABASE crash {policy} KEEP 36500 VGROUPS 2");
    admin.batch_execute(&sql).await.expect("the database can be created");
    let client = server.connect("crash").await;
    client
        .batch_execute("CREATE STABLE writers (ts TIMESTAMP, n BIGINT) TAGS (id BIGINT)")
        .await
        .expect("the super table can be created");
}

/// Runs writers from where they were until `end` has ended the server.
async fn load<F: AsyncFnOnce(&mut Server)>(server: &mut Server, heard: &mut [Heard], end: F) {
    let stop = Arc::new(AtomicBool::new(false));
    let mut writers = Vec::new();
    for (writer, heard) in heard.iter().enumerate() {
        let client = server.connect("crash").await;
        writers.push(tokio::spawn(write_until_broken(client, writer as u64, heard.acknowledged, stop.clone())));
    }
    end(server).await;
    stop.store(true, Ordering::Relaxed);
    for (heard, writer) in heard.iter_mut().zip(writers) {
        let now = writer.await.expect("a writer does not panic");
        // A batch whose answer was lost may be there; the writer sends it again, which updates the same rows.
        *heard = Heard { acknowledged: now.acknowledged, sent: now.sent.max(heard.sent) };
    }
}

async fn kill_rounds(policy: &str, rounds: u32) {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let data = folder.path().join("data");
    let mut heard: Vec<Heard> = (0..WRITERS).map(|_| Heard::default()).collect();
    let mut server = Server::start(&data, &small_memtable()).await;
    create(&server, policy).await;
    for round in 0..rounds {
        let pause = Duration::from_millis(300 + 170 * u64::from(round));
        load(&mut server, &mut heard, async |server| {
            tokio::time::sleep(pause).await;
            server.kill();
        })
        .await;
        server = Server::start(&data, &small_memtable()).await;
        for (writer, heard) in heard.iter().enumerate() {
            check(&server, writer as u64, heard).await;
        }
    }
    let rows: u64 = heard.iter().map(|heard| heard.acknowledged).sum();
    assert!(rows > 1000, "only {rows} rows were acknowledged: the load was no load");
    println!("{policy}: {rows} acknowledged rows over {rounds} kills, none lost");
}

#[tokio::test]
async fn every_acknowledged_row_survives_kills_under_each_policy() {
    for (_, policy) in POLICIES {
        kill_rounds(policy, 3).await;
    }
}

/// Failpoints where the server kills itself, and what makes it come by.
const FAILPOINTS: [&str; 8] = [
    "flush.start",
    "flush.sst_written",
    "flush.ingested",
    "flush.meta_written",
    "merge.ingested",
    "merge.removed",
    "drop.relation",
    "purge",
];

#[tokio::test]
async fn every_acknowledged_row_survives_a_death_at_each_failpoint() {
    for failpoint in FAILPOINTS {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        die_at(failpoint, &folder.path().join("data")).await;
    }
}

async fn die_at(failpoint: &str, data: &Path) {
    let mut heard: Vec<Heard> = (0..WRITERS).map(|_| Heard::default()).collect();
    // The first few visits pass, so that there is something to lose.
    let armed = small_memtable().env("FAILPOINTS", &format!("{failpoint}=3*off->return"));
    let mut server = Server::start(data, &armed).await;
    create(&server, "WAL_LEVEL 1").await;
    let dropper = tokio::spawn(drop_and_create(server.connect("crash").await));
    load(&mut server, &mut heard, async |server| {
        // A failpoint that is never hit leaves the server running, and this fails.
        let status = server.wait(Duration::from_secs(60)).await;
        assert!(!status.success(), "{failpoint}: the server ended in peace");
    })
    .await;
    dropper.await.expect("the dropper does not panic");
    let server = Server::start(data, &small_memtable()).await;
    for (writer, heard) in heard.iter().enumerate() {
        check(&server, writer as u64, heard).await;
    }
    println!(
        "{failpoint}: hit, {} acknowledged rows, none lost",
        heard.iter().map(|heard| heard.acknowledged).sum::<u64>()
    );
}

/// Makes and drops a super table with rows, so that the drop of a relation comes by.
async fn drop_and_create(client: Client) {
    for n in 0_u64.. {
        let sql = [
            "CREATE STABLE gone (ts TIMESTAMP, n BIGINT) TAGS (id BIGINT)".to_owned(),
            format!("INSERT INTO g{n} USING gone TAGS (1) VALUES ({}, 1)", START_MS + n),
            "FLUSH DATABASE crash".to_owned(),
            "DROP STABLE gone".to_owned(),
        ];
        for sql in sql {
            if client.batch_execute(&sql).await.is_err() {
                return;
            }
        }
    }
}

#[tokio::test]
async fn a_clean_stop_and_start_keeps_everything() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let mut server = Server::start(folder.path(), &Options::default()).await;
    create(&server, "WAL_LEVEL 1").await;
    let client = server.connect("crash").await;
    client
        .batch_execute("INSERT INTO a USING writers TAGS (7) VALUES (1700000000000, 1)(1700000000001, 2)")
        .await
        .expect("rows");
    assert!(server.stop().await.success());
    let server = Server::start(folder.path(), &Options::default()).await;
    let client = server.connect("crash").await;
    assert_eq!(column(&client, "SELECT n FROM writers WHERE id = 7 ORDER BY ts").await, ["1", "2"]);
}

/// The keys of such a block fill a chunk of their own, and the versions lie in the next one; that was read as damage.
#[tokio::test]
async fn blocks_whose_keys_do_not_pack_are_read_back() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let server = Server::start(folder.path(), &Options::default()).await;
    let admin = server.connect("postgres").await;
    admin.batch_execute("CREATE DATABASE wide PRECISION 'ns' KEEP 36500 VGROUPS 1").await.expect("a database");
    let client = server.connect("wide").await;
    client.batch_execute("CREATE TABLE t (ts TIMESTAMP, v INT)").await.expect("a table");
    let mut time = 1_700_000_000_000_000_000_u64;
    for _ in 0..50 {
        let rows: Vec<String> = (0..100)
            .map(|n| {
                // A multiplicative hash: steps that no encoding packs well.
                time += time.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 17;
                format!("({}, {n})", time % 400_000_000_000_000 + 1_700_000_000_000_000_000)
            })
            .collect();
        client.batch_execute(&format!("INSERT INTO t VALUES {}", rows.join(","))).await.expect("rows");
    }
    let question = "SELECT count(*)::text || '/' || sum(v)::text FROM t";
    let before = column(&client, question).await;
    client.batch_execute("FLUSH DATABASE wide").await.expect("flushed");
    assert_eq!(column(&client, question).await, before);
    assert!(before[0].starts_with("5000/"), "{before:?}");
}
