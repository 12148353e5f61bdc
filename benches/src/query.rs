//! The fifteen queries: the median of several instances, each with hosts and times of its own, after one that warms up.

use std::time::Instant;

use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio_postgres::SimpleQueryMessage;

use crate::Subject;
use crate::arguments::Arguments;
use crate::tsbs::QUERIES;

/// Times of one query in milliseconds, and what it answered.
struct Run {
    least: f64,
    median: f64,
    rows: usize,
}

pub(crate) async fn run(ours: &Subject, theirs: Option<&Subject>, arguments: &Arguments) {
    println!(
        "\n{:<26} {:>10} {:>10} {:>10} {:>10} {:>8} {:>9}",
        "", "ours ms", "least", "PG ms", "least", "ratio", "rows"
    );
    for (name, query) in QUERIES {
        let own = one(ours, query, arguments).await;
        let peer = match theirs {
            Some(theirs) => Some(one(theirs, query, arguments).await),
            None => None,
        };
        print!("{name:<26} {:>10.2} {:>10.2}", own.median, own.least);
        match peer {
            Some(peer) => {
                println!(
                    " {:>10.2} {:>10.2} {:>7.1}x {:>9}",
                    peer.median,
                    peer.least,
                    peer.median / own.median,
                    own.rows
                );
                assert_eq!(own.rows, peer.rows, "{name}: both answer the same number of rows");
            }
            None => println!(" {:>39}", own.rows),
        }
    }
}

async fn one(subject: &Subject, query: crate::tsbs::Query, arguments: &Arguments) -> Run {
    let mut random = StdRng::seed_from_u64(7);
    let mut times = Vec::new();
    let mut rows = 0;
    for instance in 0..=arguments.instances {
        let sql = query.sql(&mut random, arguments.hosts, arguments.hours, subject.dialect);
        let start = Instant::now();
        let answer = subject.client.simple_query(&sql).await;
        let elapsed = start.elapsed().as_secs_f64() * 1e3;
        let answer = answer.unwrap_or_else(|error| panic!("{}: {sql}: {error:?}", subject.name));
        if instance > 0 {
            times.push(elapsed);
            rows += answer.iter().filter(|message| matches!(message, SimpleQueryMessage::Row(_))).count();
        }
    }
    times.sort_by(f64::total_cmp);
    Run { least: times[0], median: times[times.len() / 2], rows }
}
