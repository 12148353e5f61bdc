//! The queries that the field measures with, in the SQL of each engine.
//!
//! A [`Question`] has a text for each dialect; the same state of the generator gives the same question in each.

mod devops;
mod iot;

use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::data::{Dialect, HOUR_MS, START_MS, time_text};
use crate::shapes::Shape;

/// A query of a suite: its name, and its text of one instance in a dialect, if it can be said there.
pub(crate) struct Question {
    pub(crate) name: &'static str,
    text: Text,
}

enum Text {
    Devops(devops::Query),
    Iot(iot::Query),
}

/// How much data there is to ask for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent {
    /// Hosts or trucks.
    pub(crate) series: usize,
    pub(crate) hours: i64,
}

/// The queries of a shape; shapes without any have none.
pub(crate) fn questions(shape: Shape) -> Vec<Question> {
    match shape {
        Shape::Cpu | Shape::Devops => {
            devops::QUERIES.iter().map(|(name, query)| Question { name, text: Text::Devops(*query) }).collect()
        }
        Shape::Iot => iot::QUERIES.iter().map(|(name, query)| Question { name, text: Text::Iot(*query) }).collect(),
        Shape::Meters => Vec::new(),
    }
}

impl Question {
    /// The texts of so many instances, each with hosts and times of its own; none if the dialect has no words for it.
    pub(crate) fn instances(&self, many: usize, extent: Extent, dialect: Dialect) -> Option<Vec<String>> {
        let mut random = StdRng::seed_from_u64(7);
        (0..many)
            .map(|_| match self.text {
                Text::Devops(query) => Some(query.sql(&mut random, extent, dialect)),
                Text::Iot(query) => query.sql(&mut random, extent, dialect),
            })
            .collect()
    }
}

/// A time as a literal. Peers without zones are told UTC.
fn time(ms: i64, dialect: Dialect) -> String {
    let text = time_text(ms);
    match dialect {
        Dialect::Ours | Dialect::Postgres => text,
        Dialect::DuckDb | Dialect::ClickHouse => text.trim_end_matches("+00").to_owned(),
        Dialect::Influx => format!("{}Z", text.trim_end_matches("+00").replace(' ', "T")),
    }
}

/// A stretch of at most `wanted` milliseconds somewhere in the data: from, to.
fn stretch(random: &mut StdRng, wanted: i64, hours: i64) -> (i64, i64) {
    use rand::Rng;
    let length = wanted.min(hours * HOUR_MS);
    let latest = START_MS + hours * HOUR_MS - length;
    let from = if latest > START_MS { random.random_range(START_MS..latest) / 1000 * 1000 } else { START_MS };
    (from, from + length)
}

/// The stretch as a condition.
fn during((from, to): (i64, i64), dialect: Dialect) -> String {
    let column = if dialect == Dialect::Influx { "time" } else { "ts" };
    format!("{column} >= '{}' AND {column} < '{}'", time(from, dialect), time(to, dialect))
}

/// So many different numbers below `all`, or all.
fn chosen(random: &mut StdRng, all: usize, wanted: usize) -> Vec<usize> {
    use rand::Rng;
    let mut picked: Vec<usize> = Vec::new();
    while picked.len() < wanted.min(all) {
        let one = random.random_range(0..all);
        if !picked.contains(&one) {
            picked.push(one);
        }
    }
    picked
}
