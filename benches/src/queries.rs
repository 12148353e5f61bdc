//! Times of queries: the median of several instances, each with hosts and times of its own, after one that warms up.
//!
//! The answer of the one that warms up is kept and compared value by value; of the others, rows and the sum of all numbers.

use std::time::Instant;

use tokio_postgres::SimpleQueryMessage;

use crate::answers::{Answer, is_ordered};
use crate::report::Report;
use crate::servers::Subject;
use crate::suites::{Extent, Question};

/// Times of one query in milliseconds, and what it answered.
pub(crate) struct Run {
    pub(crate) least: f64,
    pub(crate) median: f64,
    /// Rows of all instances but the first, and the sum of all numbers in them.
    pub(crate) rows: usize,
    pub(crate) sum: f64,
    /// Of the first instance.
    pub(crate) first: Answer,
}

/// One row of the table: the query, ours, and each peer's; none where a peer has no words for it.
pub(crate) struct Line {
    pub(crate) name: &'static str,
    pub(crate) ordered: bool,
    pub(crate) ours: Run,
    pub(crate) peers: Vec<Option<Run>>,
}

impl Run {
    /// Of the times of all instances but the first.
    pub(crate) fn new(mut times: Vec<f64>, rows: usize, sum: f64, first: Answer) -> Self {
        times.sort_by(f64::total_cmp);
        Self { least: times[0], median: times[times.len() / 2], rows, sum, first }
    }
}

/// Runs all questions on the servers that speak PostgreSQL's protocol.
pub(crate) async fn run(
    questions: &[Question],
    ours: &Subject,
    theirs: Option<&Subject>,
    many: usize,
    extent: Extent,
) -> Vec<Line> {
    let mut lines = Vec::new();
    for question in questions {
        let texts = |subject: &Subject| question.instances(many + 1, extent, subject.dialect);
        let own = texts(ours).unwrap_or_else(|| panic!("{} can be said in our SQL", question.name));
        let ordered = is_ordered(&own[0]);
        let run = one(ours, &own).await;
        let mut peers = Vec::new();
        if let Some(theirs) = theirs {
            peers.push(match texts(theirs) {
                Some(texts) => Some(one(theirs, &texts).await),
                None => None,
            });
        }
        lines.push(Line { name: question.name, ordered, ours: run, peers });
    }
    lines
}

/// Runs the instances of one query, the first of which warms up.
pub(crate) async fn one(subject: &Subject, texts: &[String]) -> Run {
    let mut times = Vec::new();
    let (mut rows, mut sum, mut first) = (0, 0.0, Answer::default());
    for (instance, sql) in texts.iter().enumerate() {
        let start = Instant::now();
        let answer = subject.client().simple_query(sql).await;
        let elapsed = start.elapsed().as_secs_f64() * 1e3;
        let answer = answer.unwrap_or_else(|error| panic!("{}: {sql}: {error:?}", subject.name));
        if instance == 0 {
            first = Answer::of(&answer);
            continue;
        }
        times.push(elapsed);
        for message in &answer {
            if let SimpleQueryMessage::Row(row) = message {
                rows += 1;
                sum += (0..row.len()).filter_map(|at| row.get(at)?.parse::<f64>().ok()).sum::<f64>();
            }
        }
    }
    Run::new(times, rows, sum, first)
}

/// The table, and every difference between answers. True if there was none.
pub(crate) fn print(report: &mut Report, lines: &[Line], names: &[String]) -> bool {
    let mut head = vec!["query, median ms (least)".to_owned(), "ours".to_owned(), "rows".to_owned()];
    for name in names {
        head.push(name.clone());
        head.push("ratio".to_owned());
    }
    let mut rows = Vec::new();
    let mut differences = Vec::new();
    for line in lines {
        let ours = format!("{:.2} ({:.2})", line.ours.median, line.ours.least);
        let mut row = vec![line.name.to_owned(), ours, line.ours.rows.to_string()];
        for (peer, name) in line.peers.iter().zip(names) {
            let Some(peer) = peer else {
                row.extend(["–".to_owned(), "–".to_owned()]);
                continue;
            };
            row.push(format!("{:.2} ({:.2})", peer.median, peer.least));
            row.push(format!("{:.1}", peer.median / line.ours.median));
            differences
                .extend(difference(line, peer).map(|what| format!("{}: {name} answers otherwise: {what}", line.name)));
        }
        rows.push(row);
    }
    report.table(&head.iter().map(String::as_str).collect::<Vec<_>>(), &rows);
    if names.is_empty() {
        return true;
    }
    if differences.is_empty() {
        report.line("All engines gave the same answers.\n");
    }
    for what in &differences {
        report.line(&format!("- {what}"));
    }
    differences.is_empty()
}

fn difference(line: &Line, peer: &Run) -> Option<String> {
    if let Some(what) = line.ours.first.difference(&peer.first, line.ordered) {
        return Some(what);
    }
    let near = (line.ours.sum - peer.sum).abs() <= 1e-9 * line.ours.sum.abs().max(1.0);
    let same = near && line.ours.rows == peer.rows;
    (!same)
        .then(|| format!("{} rows with the sum {} and {} with {}", line.ours.rows, line.ours.sum, peer.rows, peer.sum))
}
