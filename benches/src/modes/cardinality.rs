//! The same number of rows over few and over many series: TDengine's meters, one server for each number, loaded in turns.
//! Making the child tables is timed apart.

use std::time::Instant;

use super::{rates, share};
use crate::arguments::Arguments;
use crate::load::{Lane, race};
use crate::report::{Report, count};
use crate::servers::Ours;
use crate::shapes::Shape;

pub(crate) async fn run(arguments: &Arguments, report: &mut Report) {
    let (form, clients) = (*arguments.forms.last().expect("there is a form"), arguments.clients[0]);
    let (mut servers, mut subjects) = (Vec::new(), Vec::new());
    for series in &arguments.series {
        let server = Ours::start(arguments, &arguments.database()).await;
        subjects.push(server.subject(&count(*series as f64), clients).await);
        servers.push(server);
    }
    let (mut lanes, mut made) = (Vec::new(), Vec::new());
    for (subject, series) in subjects.iter().zip(&arguments.series) {
        let start = Instant::now();
        let source = Shape::Meters.source(*series);
        let ticks = (arguments.rows / series).max(1);
        lanes.push(Lane::new(subject, source, form, arguments.batch_rows(form), ticks).await);
        made.push(*series as f64 / start.elapsed().as_secs_f64());
        println!("{} series are there", subject.name);
    }
    race(&mut lanes).await;
    let (base, base_cpu) = (lanes[0].load.rate(), lanes[0].load.cpu_rate());
    let mut rows = Vec::new();
    for (((lane, subject), server), made) in lanes.iter().zip(&subjects).zip(&servers).zip(made) {
        let load = lane.load;
        let memory = server.server.memory() >> 20;
        let start = Instant::now();
        subject.settle().await;
        let settled = start.elapsed().as_secs_f64();
        let counted = subject.number("SELECT count(*) FROM meters").await;
        assert_eq!(counted as usize, load.rows, "{} series: every row is there", subject.name);
        let mut row = vec![subject.name.clone(), count(made), count(load.rows as f64)];
        row.extend(rates(&load));
        row.extend([share(load.rate(), base), share(load.cpu_rate(), base_cpu)]);
        row.extend([memory.to_string(), format!("{settled:.1}")]);
        row.push(format!("{:.1}", server.data_bytes() as f64 / load.rows.max(1) as f64));
        rows.push(row);
    }
    report.line(&format!("{}, {clients} clients, {} rows at a time.\n", form.name(), arguments.batch_rows(form)));
    let head = [
        "series",
        "tables made/s",
        "rows",
        "rows/s",
        "rows/CPU s",
        "of the first",
        "of its CPU",
        "MiB of memory",
        "s of flush and compaction",
        "bytes/row",
    ];
    report.table(&head, &rows);
}
