//! One budget for the process: what needs more than its share of it spills, or fails with 53200 in its statement; the
//! session goes on, and the server lives.

use std::io::Cursor;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::{SinkExt, StreamExt};
use tests::{Options, Server, column};
use tokio_postgres::Client;

/// What the server is given.
const BUDGET: u64 = 256 << 20;
/// Code and tables of a debug binary that are resident and that no setting can take away.
const DEBUG_BINARY: u64 = 128 << 20;
/// Rows of the table, of more than a kilobyte each: twice what queries may hold, seven times what statements may.
const ROWS: u64 = 100_000;
const PAD: usize = 1_100;
/// First timestamp, in milliseconds.
const START_MS: u64 = 1_700_000_000_000;

fn mixed(seed: u64) -> u64 {
    let mut x = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// The text of row `n`: another one for each, in no order.
fn pad(n: u64) -> String {
    let word = format!("{:016x}", mixed(n));
    word.repeat(PAD.div_ceil(16))
}

/// Lines of COPY data for these rows.
fn lines(rows: std::ops::Range<u64>) -> Vec<u8> {
    let mut data = Vec::new();
    for n in rows {
        data.extend(format!("t{}\t{}\t{n}\t{}\t{}\n", n % 20, START_MS + n, pad(n), n % 20).bytes());
    }
    data
}

/// Sends rows by COPY; how many the server says it took, or its error.
async fn copy_in(client: &Client, table: &str, rows: std::ops::Range<u64>) -> Result<u64, tokio_postgres::Error> {
    let sink =
        client.copy_in::<_, Cursor<Vec<u8>>>(&format!("COPY {table} (tbname, ts, v, pad, id) FROM STDIN")).await?;
    let mut sink = std::pin::pin!(sink);
    let mut at = rows.start;
    while at < rows.end {
        let next = (at + 500).min(rows.end);
        sink.send(Cursor::new(lines(at..next))).await?;
        at = next;
    }
    sink.finish().await
}

/// Watches the memory of a server until it is dropped.
struct Watch {
    peak: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    line.and_then(|line| line.split_whitespace().nth(1)).and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) * 1024
}

impl Watch {
    fn start(pid: u32) -> Self {
        let (peak, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let watch = Self { peak: Arc::clone(&peak), stop: Arc::clone(&stop) };
        std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                peak.fetch_max(resident(pid), Ordering::Relaxed);
                std::thread::park_timeout(Duration::from_millis(5));
            }
        });
        watch
    }

    /// The most since the last call.
    fn peak(&self) -> u64 {
        self.peak.swap(0, Ordering::Relaxed)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// A query whose answer is one row of text: what it must say, and whether it may fail for memory instead.
async fn ask(client: &Client, sql: &str, answer: &str, may_fail: bool) -> &'static str {
    match client.simple_query(sql).await {
        Ok(messages) => {
            let row = messages.iter().find_map(|message| match message {
                tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
                _ => None,
            });
            assert_eq!(row.as_deref(), Some(answer), "{sql}");
            "answered"
        }
        Err(error) => {
            assert!(may_fail, "{sql}: {error:?}");
            refused(&error, sql)
        }
    }
}

/// An error that says that there is not enough memory, what wanted it, and the way out.
fn refused(error: &tokio_postgres::Error, what: &str) -> &'static str {
    let db = error.as_db_error().unwrap_or_else(|| panic!("{what}: {error:?}"));
    assert_eq!(db.code().code(), "53200", "{what}: {error:?}");
    assert!(db.detail().is_some() && db.hint().is_some_and(|hint| hint.contains("memory")), "{db:?}");
    println!("{what}: {}", db.detail().unwrap_or_default());
    "53200"
}

/// The value of a line of /metrics.
fn metric(server: &Server, name: &str) -> f64 {
    let address = format!("http://127.0.0.1:{}/metrics", server.http_port);
    let page = Command::new("curl").args(["-sS", "--max-time", "10", &address]).output().expect("curl can be run");
    let page = String::from_utf8_lossy(&page.stdout).into_owned();
    let line = page.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name}: {page}"));
    line.rsplit(' ').next().and_then(|value| value.parse().ok()).expect("a number")
}

/// Files below a folder.
fn files(folder: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    entries.flatten().map(|entry| if entry.path().is_dir() { files(&entry.path()) } else { 1 }).sum()
}

async fn prepared(server: &Server) -> Client {
    let admin = server.connect("postgres").await;
    admin.batch_execute("CREATE DATABASE m KEEP 36500 VGROUPS 2").await.expect("a database");
    let client = server.connect("m").await;
    let create = "CREATE STABLE s (ts TIMESTAMP, v BIGINT, pad VARCHAR(2000)) TAGS (id INT)";
    client.batch_execute(create).await.expect("a super table");
    client
}

/// A sort of all rows by their texts.
async fn sorted(client: &Client) -> &'static str {
    let mut order: Vec<u64> = (0..ROWS).collect();
    order.sort_unstable_by_key(|n| format!("{:016x}", mixed(*n)));
    match client.simple_query("SELECT v FROM s ORDER BY pad").await {
        Ok(rows) => {
            let values = rows.iter().filter_map(|message| match message {
                tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).and_then(|v| v.parse::<u64>().ok()),
                _ => None,
            });
            assert!(values.eq(order), "rows come sorted");
            "answered"
        }
        Err(error) => refused(&error, "the sort"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_needs_more_than_its_share_spills_or_fails_and_the_server_lives() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let options = Options::default().set(&format!("memory={BUDGET}"));
    let mut server = Server::start(folder.path(), &options).await;
    let client = prepared(&server).await;
    let watch = Watch::start(server.pid());
    // Statements that write stay near the budget. What the allocator keeps of queries is only printed.
    let limit = 2 * BUDGET + DEBUG_BINARY;
    let mut over = Vec::new();
    let mut began = Instant::now();
    let mut said = |what: &str, how: &str| {
        let peak = watch.peak();
        println!("{what}: {how} in {:.1} s, peak {} MiB", began.elapsed().as_secs_f64(), peak >> 20);
        if peak > limit && ["copy in", "create table as", "update", "copy out"].contains(&what) {
            over.push(format!("{what}: {} MiB", peak >> 20));
        }
        began = Instant::now();
    };
    said("start", "ready");
    assert_eq!(copy_in(&client, "s", 0..ROWS).await.expect("COPY takes any number of rows"), ROWS);
    said("copy in", "written");
    let count = ROWS.to_string();
    assert_eq!(metric(&server, "marigraph_temp_files"), 0.0);
    let memtables = metric(&server, "marigraph_memory_bytes{part=\"memtables\"}");
    assert!(memtables < 1.25 * metric(&server, "marigraph_memory_limit_bytes{part=\"memtables\"}"), "{memtables}");
    client.batch_execute("CREATE TABLE c AS SELECT v, pad FROM s").await.expect("CREATE TABLE AS");
    said("create table as", "written");
    client.batch_execute("UPDATE c SET v = v + 1").await.expect("UPDATE");
    said("update", "written");
    let sums = column(&client, "SELECT sum(v) - count(*) FROM c").await;
    assert_eq!(sums, [(ROWS * (ROWS - 1) / 2).to_string()]);
    let rows = client.copy_out("COPY s TO STDOUT").await.expect("COPY TO");
    let bytes: usize = rows.map(|piece| piece.expect("data").len()).fold(0, |sum, len| async move { sum + len }).await;
    assert!(bytes as u64 > ROWS * PAD as u64, "{bytes}");
    said("copy out", "read");
    said("sort", sorted(&client).await);
    for (what, sql, answer, may_fail) in [
        ("group by", "SELECT sum(c) FROM (SELECT pad, count(*) AS c FROM s GROUP BY pad) q", &count, true),
        ("distinct", "SELECT count(*) FROM (SELECT DISTINCT pad FROM s) q", &count, true),
        ("hash join", "SELECT count(*) FROM s a JOIN s b ON a.pad = b.pad AND a.v = b.v", &count, true),
        ("array_agg", "SELECT array_length(array_agg(pad), 1) FROM s", &count, true),
        ("string_agg", "SELECT length(string_agg(pad, ',')) FROM s", &(ROWS * 1105 - 1).to_string(), true),
        ("count distinct", "SELECT count(DISTINCT pad) FROM s", &count, true),
        (
            "window",
            "SELECT count(*) FROM (SELECT pad, sum(v) OVER () AS x FROM s) q WHERE length(pad) < x",
            &count,
            true,
        ),
    ] {
        let how = ask(&client, sql, answer, may_fail).await;
        said(what, how);
        assert_eq!(column(&client, "SELECT count(*) FROM s").await, [count.as_str()], "the session goes on");
    }
    assert_eq!((metric(&server, "marigraph_temp_files"), files(&folder.path().join("temp"))), (0.0, 0));
    assert!(over.is_empty(), "more than {} MiB: {over:?}", limit >> 20);
    drop(client);
    assert_eq!(server.stop().await.code(), Some(0), "{}", server.log());
}

#[tokio::test]
async fn a_copy_that_dies_leaves_neither_rows_nor_files() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let options = Options::default().set("memory=128MiB");
    let mut server = Server::start(folder.path(), &options).await;
    let client = prepared(&server).await;
    let temp = folder.path().join("temp");
    // A bad line behind many good ones: nothing is kept.
    let sink = client.copy_in::<_, Cursor<Vec<u8>>>("COPY s (tbname, ts, v, pad, id) FROM STDIN").await.expect("COPY");
    let mut sink = std::pin::pin!(sink);
    for start in (0..20_000).step_by(1000) {
        sink.send(Cursor::new(lines(start..start + 1000))).await.expect("data");
    }
    assert!(metric(&server, "marigraph_temp_bytes") > 10e6, "rows are in a file");
    assert!(metric(&server, "marigraph_memory_bytes{part=\"staging\"}") < 6.5e6);
    assert!(files(&temp) > 0);
    sink.send(Cursor::new(b"t0\tnonsense\t1\tx\t0\n".to_vec())).await.expect("data");
    let error = sink.finish().await.expect_err("a bad line");
    let db = error.as_db_error().unwrap_or_else(|| panic!("{error:?}"));
    assert!(db.where_().is_some_and(|place| place.contains("line 20001")), "{db:?}");
    assert_eq!((files(&temp), metric(&server, "marigraph_temp_bytes")), (0, 0.0));
    assert_eq!(column(&client, "SELECT count(*) FROM s").await, ["0"]);
    // A client that goes away in the middle.
    let other = server.connect("m").await;
    {
        let sink =
            other.copy_in::<_, Cursor<Vec<u8>>>("COPY s (tbname, ts, v, pad, id) FROM STDIN").await.expect("COPY");
        let mut sink = std::pin::pin!(sink);
        for start in (0..20_000).step_by(1000) {
            sink.send(Cursor::new(lines(start..start + 1000))).await.expect("data");
        }
    }
    drop(other);
    let began = Instant::now();
    while files(&temp) > 0 {
        assert!(began.elapsed() < Duration::from_secs(10), "files stay behind a client that left");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // The machine kills the server in the middle.
    let sink = client.copy_in::<_, Cursor<Vec<u8>>>("COPY s (tbname, ts, v, pad, id) FROM STDIN").await.expect("COPY");
    let mut sink = std::pin::pin!(sink);
    for start in (0..20_000).step_by(1000) {
        sink.send(Cursor::new(lines(start..start + 1000))).await.expect("data");
    }
    while files(&temp) == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    server.kill();
    assert!(files(&temp) > 0, "a killed process leaves its files");
    let server = Server::start(folder.path(), &options).await;
    assert_eq!(files(&temp), 0, "and the next one removes them");
    let client = server.connect("m").await;
    assert_eq!(column(&client, "SELECT count(*) FROM s").await, ["0"]);
    assert_eq!(copy_in(&client, "s", 0..20_000).await.expect("COPY"), 20_000);
    assert_eq!(column(&client, "SELECT count(*) FROM s").await, ["20000"]);
}

#[tokio::test]
async fn writers_wait_for_memtables_and_lose_nothing() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let server = Server::start(folder.path(), &Options::default().set("memory=128MiB")).await;
    prepared(&server).await;
    let mut most = 0.0_f64;
    let mut writers = Vec::new();
    for writer in 0..4_u64 {
        let client = server.connect("m").await;
        writers.push(tokio::spawn(async move {
            for part in 0..6_u64 {
                let start = (writer * 6 + part) * 2500;
                copy_in(&client, "s", start..start + 2500).await.expect("COPY");
            }
        }));
    }
    while !writers.iter().all(tokio::task::JoinHandle::is_finished) {
        most = most.max(metric(&server, "marigraph_memory_bytes{part=\"memtables\"}"));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for writer in writers {
        writer.await.expect("a writer does not fail");
    }
    let limit = metric(&server, "marigraph_memory_limit_bytes{part=\"memtables\"}");
    assert!(most > 0.0 && most <= 1.25 * limit, "{most} of {limit}");
    let client = server.connect("m").await;
    assert_eq!(column(&client, "SELECT count(*), sum(v) FROM s").await, ["60000"]);
}
