//! How long a start takes that must replay the log: a load that nothing flushes, kill -9, and the time until the server
//! takes connections and has answered a count of all rows.

use std::time::Instant;

use crate::arguments::Arguments;
use crate::cpu;
use crate::http::Http;
use crate::load::Lane;
use crate::report::{Report, count};
use crate::servers::{Ours, Subject};

/// Nothing but a log that is too long makes the server flush.
const SETTINGS: [&str; 3] = ["memtable_bytes=2147483648", "flush_rows=1000000000000", "flush_interval_ms=86400000"];

pub(crate) async fn run(arguments: &Arguments, report: &mut Report) {
    let settings = SETTINGS.map(str::to_owned);
    let options = format!("{} BUFFER 16384", arguments.database());
    let mut rows = Vec::new();
    for form in &arguments.forms {
        let mut ours = Ours::start_with(arguments, &options, &settings).await;
        let subject = ours.subject("ours", arguments.clients[0]).await;
        let source = arguments.shape.source(arguments.hosts);
        let tables: Vec<&str> = source.tables().iter().map(|table| table.name).collect();
        let mut lane = Lane::new(&subject, source, *form, arguments.batch_rows(*form), arguments.ticks()).await;
        while lane.step().await {}
        let loaded = lane.load.rows;
        let before = counted(&subject, &tables).await;
        let log = metric(&ours, "wal_written_bytes").await;
        let flushes = metric(&ours, "storage_flushes_total").await;
        drop(lane);
        drop(subject);
        ours.server.kill();
        let start = Instant::now();
        ours.restart().await;
        let ready = start.elapsed().as_secs_f64();
        let subject = ours.subject("ours", 1).await;
        let after = counted(&subject, &tables).await;
        let answered = start.elapsed().as_secs_f64();
        let cpu_seconds = cpu::seconds(ours.server.pid());
        assert_eq!((before, after), (loaded, loaded), "every row that was acknowledged is there after kill -9");
        let gib = log / f64::from(1 << 30);
        rows.push(vec![
            form.name().to_owned(),
            count(loaded as f64),
            format!("{gib:.3}"),
            format!("{flushes:.0}"),
            format!("{ready:.2}"),
            format!("{answered:.2}"),
            format!("{cpu_seconds:.2}"),
            format!("{:.1}", answered / gib),
            count(loaded as f64 / answered),
        ]);
    }
    report.line("Of a log of which a part was flushed before the kill, only the rest is replayed.\n");
    let head = [
        "form",
        "rows",
        "GiB of log",
        "flushes before",
        "s until it takes connections",
        "s until all rows are counted",
        "CPU s",
        "s per GiB",
        "rows/s",
    ];
    report.table(&head, &rows);
}

async fn counted(subject: &Subject, tables: &[&str]) -> usize {
    let mut all = 0;
    for table in tables {
        all += subject.number(&format!("SELECT count(*) FROM {table}")).await as usize;
    }
    all
}

/// A figure of /metrics, summed over its labels; 0 if it was never counted.
pub(crate) async fn metric(ours: &Ours, name: &str) -> f64 {
    let mut http = Http::connect(ours.server.http_port).await.expect("the server answers HTTP");
    let body = http.ask("GET", "/metrics", b"").await.expect("the server tells its metrics");
    let text = String::from_utf8_lossy(&body).into_owned();
    let of = |line: &str| {
        let (head, value) = line.rsplit_once(' ')?;
        (head.split('{').next() == Some(name)).then(|| value.parse::<f64>().ok())?
    };
    text.lines().filter_map(of).fold(0.0, |sum, value| sum + value)
}
