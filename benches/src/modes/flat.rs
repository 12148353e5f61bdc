//! Whether the cost of a query depends on what it does not ask for: the same questions about the first hour, and the one
//! that was the last when it was asked first, while more and more data is loaded behind them.

use crate::arguments::Arguments;
use crate::data::{Dialect, HOUR_MS, START_MS, time_text};
use crate::load::Lane;
use crate::queries::{Run, one};
use crate::report::{Report, count};
use crate::servers::{Ours, Subject};

/// Queries of one hour that begins at `from`, with hosts that stay the same.
fn questions(from: i64) -> Vec<(String, String)> {
    let when = format!("ts >= '{}' AND ts < '{}'", time_text(from), time_text(from + HOUR_MS));
    let eight = (0..8).map(|host| format!("'host_{}'", host * 7)).collect::<Vec<_>>().join(", ");
    [
        (
            "one host, minutes",
            format!("SELECT _wstart, max(usage_user) FROM cpu WHERE tbname = 'host_7' AND {when} INTERVAL(1m)"),
        ),
        (
            "eight hosts, five gauges, minutes",
            format!(
                "SELECT _wstart, max(usage_user), max(usage_system), max(usage_idle), max(usage_nice), \
                 max(usage_iowait) FROM cpu WHERE tbname IN ({eight}) AND {when} INTERVAL(1m)"
            ),
        ),
        (
            "all hosts, averages",
            format!("SELECT tbname, avg(usage_user), avg(usage_idle) FROM cpu WHERE {when} GROUP BY tbname"),
        ),
        (
            "all hosts, rows above 90",
            format!("SELECT tbname, ts, usage_user FROM cpu WHERE usage_user > 90 AND {when}"),
        ),
    ]
    .map(|(name, sql)| (name.to_owned(), sql))
    .to_vec()
}

/// False if an answer about the first hour changed while later data came.
pub(crate) async fn run(arguments: &Arguments, report: &mut Report) -> bool {
    let form = *arguments.forms.last().expect("there is a form");
    let ours = Ours::start(arguments, &arguments.database()).await;
    let subject = ours.subject("ours", arguments.clients[0]).await;
    let longest = *arguments.steps.iter().max().expect("there is a step");
    let source = crate::shapes::Shape::Cpu.source(arguments.hosts);
    let mut lane = Lane::new(&subject, source, form, arguments.batch_rows(form), longest as usize * 360).await;
    let per_hour = arguments.hosts * 360;
    let mut steps = arguments.steps.clone();
    steps.sort_unstable();
    let mut columns: Vec<Vec<Run>> = Vec::new();
    for hours in &steps {
        while lane.load.rows < per_hour * *hours as usize && lane.step().await {}
        subject.run("FLUSH DATABASE bench").await;
        columns.push(ask(&subject, arguments.instances).await);
        println!(
            "{} rows are there, {:.1} bytes each",
            lane.load.rows,
            ours.data_bytes() as f64 / lane.load.rows as f64
        );
    }
    subject.settle().await;
    columns.push(ask(&subject, arguments.instances).await);
    let alike = print(report, arguments, &steps, &columns);
    report.line(&format!("{} rows in the end, loaded with {}.\n", count(lane.load.rows as f64), form.name()));
    alike
}

/// Each question so many times, after one that warms up.
async fn ask(subject: &Subject, instances: usize) -> Vec<Run> {
    assert_eq!(subject.dialect, Dialect::Ours, "the questions are in our SQL");
    let mut runs = Vec::new();
    for (_, sql) in questions(START_MS) {
        // Many more than of other queries: they are quick, and a fifth more is to be seen.
        runs.push(one(subject, &vec![sql; instances * 10 + 1]).await);
    }
    runs
}

fn print(report: &mut Report, arguments: &Arguments, steps: &[i64], columns: &[Vec<Run>]) -> bool {
    let names: Vec<String> = questions(START_MS).into_iter().map(|(name, _)| name).collect();
    let mut head = vec!["first hour, median ms (least)".to_owned()];
    head.extend(steps.iter().map(|hours| format!("{hours} h")));
    head.extend(["compacted".to_owned(), "growth".to_owned()]);
    let mut rows = Vec::new();
    let mut alike = true;
    for (n, name) in names.iter().enumerate() {
        let mut row = vec![name.clone()];
        row.extend(columns.iter().map(|runs| format!("{:.2} ({:.2})", runs[n].median, runs[n].least)));
        let last = &columns[steps.len() - 1][n];
        row.push(format!("{:+.0} %", 100.0 * (last.median / columns[0][n].median - 1.0)));
        alike &= columns.iter().all(|runs| runs[n].first.difference(&columns[0][n].first, false).is_none());
        rows.push(row);
    }
    report.line(&format!(
        "{} hosts; {} times each; growth from the first column to the last before compaction.\n",
        arguments.hosts,
        arguments.instances * 10
    ));
    report.table(&head.iter().map(String::as_str).collect::<Vec<_>>(), &rows);
    if !alike {
        report.line("- answers about the first hour changed while later data came");
    }
    alike
}
