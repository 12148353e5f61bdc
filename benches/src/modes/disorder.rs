//! The same rows, some of them late: 0, 5 and 30 per cent come up to an hour after their time, at random places. One server
//! for each share, loaded in turns. What merging costs later is counted too, as the CPU of a flush and a compaction.

use super::rates;
use crate::arguments::Arguments;
use crate::cpu;
use crate::load::{Lane, race};
use crate::report::Report;
use crate::servers::Ours;
use crate::shapes::Disorder;

pub(crate) async fn run(arguments: &Arguments, report: &mut Report) {
    let (form, clients) = (*arguments.forms.last().expect("there is a form"), arguments.clients[0]);
    let (mut servers, mut subjects) = (Vec::new(), Vec::new());
    for late in &arguments.late {
        let server = Ours::start(arguments, &arguments.database()).await;
        subjects.push(server.subject(&format!("{late} %"), clients).await);
        servers.push(server);
    }
    let mut lanes = Vec::new();
    for (subject, late) in subjects.iter().zip(&arguments.late) {
        let source = Box::new(Disorder::new(arguments.shape.source(arguments.hosts), *late as f64 / 100.0));
        lanes.push(Lane::new(subject, source, form, arguments.batch_rows(form), arguments.ticks()).await);
    }
    race(&mut lanes).await;
    let mut rows: Vec<Vec<String>> = Vec::new();
    let mut first = None;
    for ((lane, subject), server) in lanes.iter().zip(&subjects).zip(&servers) {
        let load = lane.load;
        let before = cpu::seconds(subject.pid);
        subject.settle().await;
        let settled = cpu::seconds(subject.pid) - before;
        let all = load.cpu_seconds + settled;
        let (seconds, cpu_seconds, whole) = *first.get_or_insert((load.seconds, load.cpu_seconds, all));
        let mut row = vec![subject.name.clone()];
        row.extend(rates(&load));
        row.push(format!("{settled:.1}"));
        row.extend(
            [load.seconds / seconds, load.cpu_seconds / cpu_seconds, all / whole].map(|ratio| format!("{ratio:.2}")),
        );
        row.push(format!("{:.1}", server.data_bytes() as f64 / load.rows.max(1) as f64));
        rows.push(row);
    }
    let per_batch = arguments.batch_rows(form);
    report.line(&format!("{}, {clients} clients, {per_batch} rows at a time.\n", form.name()));
    let head = [
        "late",
        "rows/s",
        "rows/CPU s",
        "CPU s of flush and compaction",
        "time ×",
        "CPU ×",
        "CPU with compaction ×",
        "bytes/row",
    ];
    report.table(&head, &rows);
}
