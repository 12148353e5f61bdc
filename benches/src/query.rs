//! The fifteen queries: the median of several instances, each with hosts and times of its own, after one that warms up.

use std::time::Instant;

use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio_postgres::SimpleQueryMessage;

use crate::Subject;
use crate::arguments::Arguments;
use crate::tsbs::{Dialect, QUERIES, Query};

/// Times of one query in milliseconds, and what it answered.
pub(crate) struct Run {
    pub(crate) least: f64,
    pub(crate) median: f64,
    /// Rows of all instances, and the sum of all numbers in them.
    pub(crate) rows: usize,
    pub(crate) sum: f64,
}

/// One row of the table: the query, ours, and each peer's that ran.
pub(crate) struct Line {
    pub(crate) name: &'static str,
    pub(crate) ours: Run,
    pub(crate) peers: Vec<Run>,
}

/// The texts of all instances of a query, the first of which only warms up.
pub(crate) fn instances(query: Query, arguments: &Arguments, dialect: Dialect) -> Vec<String> {
    let mut random = StdRng::seed_from_u64(7);
    (0..=arguments.instances).map(|_| query.sql(&mut random, arguments.hosts, arguments.hours, dialect)).collect()
}

/// Runs everything on the servers that speak PostgreSQL's protocol.
pub(crate) async fn run(ours: &Subject, theirs: Option<&Subject>, arguments: &Arguments) -> Vec<Line> {
    let mut lines = Vec::new();
    for (name, query) in QUERIES {
        let own = one(ours, query, arguments).await;
        let peers = match theirs {
            Some(theirs) => vec![one(theirs, query, arguments).await],
            None => Vec::new(),
        };
        lines.push(Line { name, ours: own, peers });
    }
    lines
}

async fn one(subject: &Subject, query: Query, arguments: &Arguments) -> Run {
    let mut times = Vec::new();
    let (mut rows, mut sum) = (0, 0.0);
    for (instance, sql) in instances(query, arguments, subject.dialect).iter().enumerate() {
        let start = Instant::now();
        let answer = subject.client.simple_query(sql).await;
        let elapsed = start.elapsed().as_secs_f64() * 1e3;
        let answer = answer.unwrap_or_else(|error| panic!("{}: {sql}: {error:?}", subject.name));
        if instance > 0 {
            times.push(elapsed);
            for message in &answer {
                if let SimpleQueryMessage::Row(row) = message {
                    rows += 1;
                    sum += (0..row.len()).filter_map(|at| row.get(at)?.parse::<f64>().ok()).sum::<f64>();
                }
            }
        }
    }
    times.sort_by(f64::total_cmp);
    Run { least: times[0], median: times[times.len() / 2], rows, sum }
}

/// The table, and whether everybody answered alike: as many rows, and numbers with the same sum to ten digits.
pub(crate) fn print(lines: &[Line], names: &[&str]) {
    print!("\n{:<24} {:>10} {:>9}", "median ms (least)", "ours", "rows");
    names.iter().for_each(|name| print!(" {name:>22} {:>7}", "ratio"));
    println!();
    for line in lines {
        print!("{:<24} {:>10.2} {:>9}", line.name, line.ours.median, line.ours.rows);
        for peer in &line.peers {
            print!(" {:>12.2} ({:>7.2}) {:>6.1}x", peer.median, peer.least, peer.median / line.ours.median);
        }
        println!("   ours least {:.2}", line.ours.least);
        for (peer, name) in line.peers.iter().zip(names) {
            let near = (line.ours.sum - peer.sum).abs() <= 1e-10 * line.ours.sum.abs().max(1.0);
            assert!(near && line.ours.rows == peer.rows, "{}: {name} answers otherwise", line.name);
        }
    }
}
