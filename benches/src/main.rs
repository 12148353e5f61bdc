//! `make bench`: ingest and scans, ours next to PostgreSQL 15, in one run on one machine.
//!
//! Every figure is printed beside PostgreSQL's and as a ratio, because the machine is noisy and only ratios of the same run
//! mean anything. `ARGS="--rows 5000000"` makes it larger. Start reading at [`main`]; the data comes from [`workload`].

mod cpu;
mod workload;

use std::time::Instant;

use bytes::Bytes;
use futures::SinkExt;
use tests::postgres::Postgres;
use tests::{Options, Server};
use tokio_postgres::Client;

use workload::{Form, Workload};

/// Rows unless `--rows` says otherwise.
const ROWS_DEFAULT: usize = 1_000_000;
/// Series that the rows belong to.
const SERIES: usize = 1_000;

/// One measurement.
struct Figure {
    what: String,
    /// Rows that were moved or looked at.
    rows: usize,
    seconds: f64,
    cpu_seconds: f64,
}

/// A server under test.
struct Subject {
    name: &'static str,
    client: Client,
    pid: u32,
    ours: bool,
}

#[tokio::main]
async fn main() {
    let rows = rows_wanted();
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let server = Server::start(folder.path(), &Options::default()).await;
    let admin = server.connect("postgres").await;
    admin.batch_execute("CREATE DATABASE bench KEEP 36500 VGROUPS 2").await.expect("a database");
    let ours = Subject { name: "marigraph", client: server.connect("bench").await, pid: server.pid(), ours: true };
    let postgres = Postgres::start().await;
    let theirs = Subject { name: "PostgreSQL 15", client: postgres.connect().await, pid: postgres.pid(), ours: false };
    println!(
        "{rows} rows of 5 columns in {SERIES} series; rows per second of wall time, and per second of server CPU\n"
    );
    println!("{:<34} {:>14} {:>14} {:>14} {:>14} {:>8}", "", "ours /s", "ours /cpu s", "PG /s", "PG /cpu s", "ratio");
    let workload = Workload::new(rows, SERIES);
    for form in [Form::CopyBinary, Form::CopyCsv, Form::Insert] {
        let figures = [ingest(&ours, &workload, form).await, ingest(&theirs, &workload, form).await];
        print(&figures);
    }
    ours.client.batch_execute("FLUSH DATABASE bench").await.expect("flushed");
    theirs.client.batch_execute("VACUUM ANALYZE").await.expect("vacuumed");
    for (what, sql) in workload::QUERIES {
        let figures = [scan(&ours, what, sql, rows).await, scan(&theirs, what, sql, rows).await];
        print(&figures);
    }
    let size = folder_bytes(folder.path());
    println!("\nour data directory: {size} bytes, {:.1} per row of all three loads", size as f64 / (3 * rows) as f64);
}

fn rows_wanted() -> usize {
    let arguments: Vec<String> = std::env::args().collect();
    let at = arguments.iter().position(|argument| argument == "--rows");
    at.and_then(|at| arguments.get(at + 1)).and_then(|rows| rows.parse().ok()).unwrap_or(ROWS_DEFAULT)
}

fn print([ours, theirs]: &[Figure; 2]) {
    let rate = |figure: &Figure| figure.rows as f64 / figure.seconds;
    let cpu_rate = |figure: &Figure| figure.rows as f64 / figure.cpu_seconds.max(0.01);
    println!(
        "{:<34} {:>14.0} {:>14.0} {:>14.0} {:>14.0} {:>7.1}x",
        ours.what,
        rate(ours),
        cpu_rate(ours),
        rate(theirs),
        cpu_rate(theirs),
        rate(ours) / rate(theirs)
    );
}

/// Loads the whole workload into a table of its own in one form.
async fn ingest(subject: &Subject, workload: &Workload, form: Form) -> Figure {
    let table = form.table();
    for sql in workload::schema(table, subject.ours) {
        subject.client.batch_execute(&sql).await.unwrap_or_else(|error| panic!("{}: {sql}: {error:?}", subject.name));
    }
    // The data is made before the clock starts.
    let pieces: Vec<Bytes> = workload.pieces(form, subject.ours);
    let (start, cpu) = (Instant::now(), cpu::seconds(subject.pid));
    if form == Form::Insert {
        for piece in &pieces {
            let sql = std::str::from_utf8(piece).expect("SQL is text");
            subject.client.batch_execute(sql).await.unwrap_or_else(|error| panic!("{}: {error:?}", subject.name));
        }
    } else {
        let sink = subject.client.copy_in(&form.copy(subject.ours)).await;
        let mut sink = Box::pin(sink.unwrap_or_else(|error| panic!("{}: {error:?}", subject.name)));
        for piece in pieces {
            sink.send(piece).await.expect("data is taken");
        }
        let rows = sink.as_mut().finish().await.unwrap_or_else(|error| panic!("{}: {error:?}", subject.name));
        assert_eq!(rows as usize, workload.rows(), "{}: every row arrives", subject.name);
    }
    let (seconds, cpu_seconds) = (start.elapsed().as_secs_f64(), cpu::seconds(subject.pid) - cpu);
    Figure { what: format!("ingest, {}", form.name()), rows: workload.rows(), seconds, cpu_seconds }
}

/// The best of five runs of a query, after one that is not counted.
async fn scan(subject: &Subject, what: &str, sql: &str, rows: usize) -> Figure {
    let sql = if subject.ours {
        sql.replace("{window}", "PARTITION BY tbname INTERVAL(1m)").replace("{start}", "_wstart, ")
    } else {
        workload::for_postgres(sql)
    };
    let mut best: Option<Figure> = None;
    for run in 0..6 {
        let (start, cpu) = (Instant::now(), cpu::seconds(subject.pid));
        subject.client.simple_query(&sql).await.unwrap_or_else(|error| panic!("{}: {sql}: {error:?}", subject.name));
        let (seconds, cpu_seconds) = (start.elapsed().as_secs_f64(), cpu::seconds(subject.pid) - cpu);
        if run > 0 && best.as_ref().is_none_or(|best| seconds < best.seconds) {
            best = Some(Figure { what: format!("query, {what}"), rows, seconds, cpu_seconds });
        }
    }
    best.expect("five runs were counted")
}

fn folder_bytes(folder: &std::path::Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => folder_bytes(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        })
        .sum()
}
