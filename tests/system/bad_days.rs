//! Bad days of a machine: a full disk, clients that never answer, few open files.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use tests::raw::{Raw, query};
use tests::{Options, Server, column};

/// A file system of its own, unmounted on every way out.
struct SmallDisk {
    path: PathBuf,
}

impl SmallDisk {
    /// None where this process may not mount one.
    fn mount(path: &Path, megabytes: u32) -> Option<Self> {
        std::fs::create_dir_all(path).expect("a folder can be made");
        let size = format!("size={megabytes}m");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(path).output();
        mounted.is_ok_and(|done| done.status.success()).then(|| Self { path: path.to_owned() })
    }

    /// Fills it up to the last `kilobytes`.
    fn fill(&self, kilobytes: u64) -> PathBuf {
        let ballast = self.path.join("ballast");
        let free = Command::new("df").args(["--output=avail", "-k"]).arg(&self.path).output().expect("df can be run");
        let text = String::from_utf8_lossy(&free.stdout).into_owned();
        let free: u64 = text.lines().last().and_then(|line| line.trim().parse().ok()).expect("a number of kilobytes");
        let file = std::fs::File::create(&ballast).expect("a file can be made");
        let bytes = free.saturating_sub(kilobytes) << 10;
        let mut rest = bytes;
        let zeros = vec![0; 1 << 20];
        while rest > 0 {
            let now = rest.min(zeros.len() as u64) as usize;
            std::io::Write::write_all(&mut &file, &zeros[..now]).expect("there is room for it");
            rest -= now as u64;
        }
        ballast
    }
}

/// Text that nothing compresses well.
fn noise(seed: u64) -> String {
    let mut state = seed ^ 0x9e37_79b9_7f4a_7c15;
    let mut word = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    };
    (0..240).map(|_| format!("{:016x}", word())).collect()
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.path).status();
    }
}

#[tokio::test]
async fn a_full_disk_is_reported_and_loses_nothing() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let Some(disk) = SmallDisk::mount(&folder.path().join("disk"), 400) else {
        eprintln!("no file system can be mounted here: the test needs root");
        return;
    };
    let data = disk.path.join("data");
    let mut server = Server::start(&data, &Options::default().set("flush_rows=1000")).await;
    server.connect("postgres").await.batch_execute("CREATE DATABASE full VGROUPS 1").await.expect("a database");
    let client = server.connect("full").await;
    client.batch_execute("CREATE TABLE n (ts TIMESTAMP, v BIGINT, pad VARCHAR(4000))").await.expect("a table");
    let ballast = disk.fill(6 << 10);
    let mut acknowledged = 0_u64;
    let (mut broken, mut heard) = (None, Vec::new());
    let began = Instant::now();
    while broken.is_none() {
        assert!(began.elapsed() < Duration::from_secs(120), "the disk is not full after {acknowledged} rows");
        let rows =
            (acknowledged..acknowledged + 100).map(|n| format!("({}, {n}, '{}')", 1_700_000_000_000 + n, noise(n)));
        let insert = format!("INSERT INTO n VALUES {}", rows.collect::<Vec<_>>().join(" "));
        match client.batch_execute(&insert).await {
            Ok(()) => acknowledged += 100,
            Err(error) => {
                let state = error.code().map(|code| code.code().to_owned()).unwrap_or_default();
                match state.as_str() {
                    "53100" => broken = Some(error),
                    // Not known, or not now: the same rows again.
                    "40003" | "57P03" => tokio::time::sleep(Duration::from_millis(100)).await,
                    other => panic!("{other}: {error:?}\n{}", server.log()),
                }
                heard.push(state);
            }
        }
    }
    println!("{acknowledged} rows are acknowledged; heard {heard:?}");
    assert!(acknowledged > 0, "{heard:?}");
    // What was acknowledged can be read while the disk is full, or the reader is told that it cannot.
    if let Ok(rows) = client.simple_query("SELECT count(*) FROM n").await {
        let count = rows.iter().find_map(|message| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).and_then(|text| text.parse::<u64>().ok()),
            _ => None,
        });
        assert!(count >= Some(acknowledged), "{count:?} of {acknowledged}");
    }
    drop(client);
    server.stop().await;
    std::fs::remove_file(ballast).expect("there is room again");
    let server = Server::start(&data, &Options::default().set("flush_rows=1000")).await;
    let client = server.connect("full").await;
    let found = column(&client, "SELECT v FROM n ORDER BY ts").await;
    let values: Vec<u64> = found.iter().map(|v| v.parse().expect("a number")).collect();
    assert!(values.len() as u64 >= acknowledged, "{} of {acknowledged} rows are left", values.len());
    assert!(values.iter().enumerate().all(|(at, v)| at as u64 == *v), "the rows are those that were sent");
    client.batch_execute("INSERT INTO n VALUES (now, 1, 'after')").await.expect("writes go on");
    assert_eq!(column(&client, "SELECT pad FROM n WHERE pad = 'after'").await, ["after"]);
}

#[tokio::test]
async fn clients_that_never_answer_hold_up_nobody() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let mut server = Server::start(folder.path(), &Options::default()).await;
    let port = server.port;
    // One says nothing at all, one stops in the middle of a message, some never read what they asked for.
    let silent = std::net::TcpStream::connect(("127.0.0.1", port)).expect("the server listens");
    let mut halfway = Raw::connect(port, "postgres");
    halfway.send(&query("SELECT 1")[..7]);
    let deaf: Vec<Raw> = (0..8)
        .map(|_| {
            let mut raw = Raw::connect(port, "postgres");
            raw.send(&query("SELECT repeat('x', 1000) FROM generate_series(1, 10000000)"));
            raw
        })
        .collect();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let memory = server.memory();
    let client = server.connect("postgres").await;
    for _ in 0..20 {
        let began = Instant::now();
        assert_eq!(column(&client, "SELECT 1").await, ["1"]);
        assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let grown = server.memory().saturating_sub(memory);
    assert!(grown < 200 << 20, "rows that nobody reads take {} MiB", grown >> 20);
    drop(client);
    let status = server.stop().await;
    assert_eq!(status.code(), Some(0), "{}", server.log());
    drop((silent, halfway, deaf));
}

#[tokio::test]
async fn the_limit_of_open_files_is_raised_at_the_start() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let server = Server::start(folder.path(), &Options::default()).await;
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", server.pid())).expect("the kernel tells");
    let line = limits.lines().find(|line| line.starts_with("Max open files")).expect("it has this limit");
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(words[3], words[4], "the limit is as high as it may be: {line}");
}
