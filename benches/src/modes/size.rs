//! Bytes per row: after a flush, after a compaction, and PostgreSQL's with its indexes. The log is not counted.

use tests::postgres::Postgres;

use super::suite::postgres_bytes;
use crate::arguments::Arguments;
use crate::load::Lane;
use crate::modes::recovery::metric;
use crate::report::{Report, count};
use crate::servers::{Ours, Subject, postgres_subject};

pub(crate) async fn run(arguments: &Arguments, report: &mut Report) {
    let ours = Ours::start(arguments, &arguments.database()).await;
    let subject = ours.subject("ours", arguments.clients[0]).await;
    let rows = load(arguments, &subject).await;
    let per_row = |bytes: f64| format!("{:.2}", bytes / rows.max(1) as f64);
    subject.run("FLUSH DATABASE bench").await;
    let flushed = ours.data_bytes() as f64;
    let written =
        metric(&ours, "storage_flushed_bytes_total").await + metric(&ours, "storage_merged_bytes_total").await;
    let log = metric(&ours, "wal_written_bytes").await;
    subject.run("COMPACT DATABASE bench").await;
    let compacted = ours.data_bytes() as f64;
    let rewritten =
        metric(&ours, "storage_flushed_bytes_total").await + metric(&ours, "storage_merged_bytes_total").await;
    let mut table = vec![
        vec!["log".to_owned(), per_row(log), String::new()],
        vec!["after FLUSH".to_owned(), per_row(flushed), per_row(written)],
        vec!["after COMPACT".to_owned(), per_row(compacted), per_row(rewritten)],
    ];
    if arguments.peer {
        let postgres = Postgres::start().await;
        let theirs = postgres_subject(&postgres, "PostgreSQL 15", arguments.clients[0]).await;
        load(arguments, &theirs).await;
        theirs.settle().await;
        table.push(vec![
            "PostgreSQL with its indexes".to_owned(),
            per_row(postgres_bytes(&theirs).await),
            String::new(),
        ]);
    }
    report.line(&format!("{}: {} rows of {} series.\n", arguments.shape.name(), count(rows as f64), arguments.hosts));
    report.table(&["", "bytes/row", "written by flushes and merges so far, bytes/row"], &table);
}

async fn load(arguments: &Arguments, subject: &Subject) -> usize {
    let form = *arguments.forms.last().expect("there is a form");
    let source = arguments.shape.source(arguments.hosts);
    let mut lane = Lane::new(subject, source, form, arguments.batch_rows(form), arguments.ticks()).await;
    while lane.step().await {}
    lane.load.rows
}
