//! `make bench`: the cpu-only shape of TSBS, loaded and queried, ours next to PostgreSQL 15 in one run on one machine.
//!
//! Every figure is printed beside PostgreSQL's and as a ratio, because machines are noisy and only ratios of the same run
//! mean anything. `ARGS="--hours 12"` makes it larger; `--help` lists the rest. Start reading at [`main`].

mod arguments;
mod cpu;
mod ingest;
mod peers;
mod query;
mod tsbs;

use std::process::ExitCode;

use tests::postgres::Postgres;
use tests::{Options, Server};
use tokio_postgres::Client;

use arguments::Arguments;
use tsbs::{Dialect, Form, Hosts};

/// A server under test.
pub(crate) struct Subject {
    pub(crate) name: &'static str,
    pub(crate) dialect: Dialect,
    pub(crate) client: Client,
    /// More connections, for loads by several clients.
    pub(crate) more: Vec<Client>,
    pub(crate) pid: u32,
}

#[tokio::main]
async fn main() -> ExitCode {
    match Arguments::parse(std::env::args().skip(1)) {
        Ok(arguments) => {
            measure(arguments).await;
            ExitCode::SUCCESS
        }
        Err(message) => {
            eprintln!("{message}");
            ExitCode::from(2)
        }
    }
}

async fn measure(arguments: Arguments) {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let server = Server::start(folder.path(), &Options::default()).await;
    let admin = server.connect("postgres").await;
    let create = format!("CREATE DATABASE bench KEEP 36500 VGROUPS {} {}", arguments.vgroups, arguments.wal);
    admin.batch_execute(&create).await.unwrap_or_else(|error| panic!("{create}: {error:?}"));
    let mut more = Vec::new();
    for _ in 1..arguments.clients {
        more.push(server.connect("bench").await);
    }
    let client = server.connect("bench").await;
    let ours = Subject { name: "marigraph", dialect: Dialect::Ours, client, more, pid: server.pid() };
    let postgres = if arguments.peer { Some(Postgres::start().await) } else { None };
    let theirs = match &postgres {
        None => None,
        Some(postgres) => {
            let mut more = Vec::new();
            for _ in 1..arguments.clients {
                more.push(postgres.connect().await);
            }
            let client = postgres.connect().await;
            Some(Subject { name: "PostgreSQL 15", dialect: Dialect::Postgres, client, more, pid: postgres.pid() })
        }
    };
    let rows = arguments.hosts as i64 * arguments.hours * 360;
    println!("cpu-only: {} hosts, {} h, {rows} rows of 12 columns; {create}\n", arguments.hosts, arguments.hours);
    println!("{:<26} {:>12} {:>12} {:>12} {:>12} {:>8}", "", "ours /s", "ours /cpu s", "PG /s", "PG /cpu s", "ratio");
    let forms = [(Form::Insert, "cpu_insert"), (Form::CopyCsv, "cpu_csv"), (Form::CopyBinary, "cpu")];
    for (form, table) in forms.into_iter().filter(|(_, table)| arguments.only.is_none_or(|only| only == *table)) {
        let own = ingest::load(&ours, Hosts::new(arguments.hosts), arguments.hours, form, table).await;
        let peer = match &theirs {
            Some(theirs) => Some(ingest::load(theirs, Hosts::new(arguments.hosts), arguments.hours, form, table).await),
            None => None,
        };
        ingest::print(form, &own, peer.as_ref());
    }
    settle(&ours, theirs.as_ref()).await;
    println!("\nserver memory {} MiB; data directory {:.1} bytes per row of all loads", server.memory() >> 20, {
        let loads = if arguments.only.is_some() { 1 } else { 3 };
        folder_bytes(&folder.path().join("vnode")) as f64 / (loads * rows) as f64
    });
    if arguments.only.is_none_or(|only| only == "cpu") {
        let mut lines = query::run(&ours, theirs.as_ref(), &arguments).await;
        let mut names: Vec<&str> = theirs.iter().map(|theirs| theirs.name).collect();
        if arguments.embedded {
            let scratch = tempfile::tempdir().expect("a temporary folder can be made");
            names.extend(peers::run(&mut lines, &arguments, scratch.path()));
        }
        query::print(&lines, &names);
    }
    if arguments.wait {
        println!("\nport {}, pid {}: press Ctrl-C to end", server.port, server.pid());
        let _ = tokio::signal::ctrl_c().await;
    }
}

/// Everything to disk before queries are timed.
async fn settle(ours: &Subject, theirs: Option<&Subject>) {
    ours.client.batch_execute("FLUSH DATABASE bench").await.expect("flushed");
    ours.client.batch_execute("COMPACT DATABASE bench").await.expect("merged");
    if let Some(theirs) = theirs {
        theirs.client.batch_execute("VACUUM ANALYZE").await.expect("vacuumed");
    }
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
