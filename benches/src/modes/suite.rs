//! One shape: loaded in each form, then its queries, next to PostgreSQL and the other peers on the same data.

use tests::postgres::Postgres;

use super::rates;
use crate::arguments::Arguments;
use crate::data::Form;
use crate::load::{Lane, Load, race};
use crate::report::Report;
use crate::servers::{Ours, Subject, postgres_subject};
use crate::shapes::Shape;
use crate::suites::{Extent, questions};
use crate::{embedded, lines, queries};

/// Rows of one COPY: all that are made at once, as one who loads a file would.
const COPY_ROWS: usize = 1_000_000;

/// False if engines answered differently.
pub(crate) async fn run(arguments: &Arguments, report: &mut Report) -> bool {
    let ours = Ours::start(arguments, &arguments.database()).await;
    let postgres = if arguments.peer { Some(Postgres::start().await) } else { None };
    let clients = arguments.clients[0];
    let subject = ours.subject("ours", clients).await;
    let theirs = match &postgres {
        Some(postgres) => Some(postgres_subject(postgres, "PostgreSQL 15", clients).await),
        None => None,
    };
    report.line(&format!(
        "{}: {} series, {} h, {clients} clients, {}\n",
        arguments.shape.name(),
        arguments.hosts,
        arguments.hours,
        arguments.database()
    ));
    let rows = load_forms(arguments, report, &ours, &subject, theirs.as_ref()).await;
    subject.settle().await;
    sizes(report, &ours, theirs.as_ref(), rows).await;
    let extent = Extent { series: arguments.hosts, hours: arguments.hours };
    let asked = questions(arguments.shape);
    let mut answers = queries::run(&asked, &subject, theirs.as_ref(), arguments.instances, extent).await;
    let mut names: Vec<String> = theirs.iter().map(|theirs| theirs.name.clone()).collect();
    if arguments.embedded && matches!(arguments.shape, Shape::Cpu) {
        names.extend(embedded::run(&mut answers, &asked, arguments, report));
    } else if arguments.embedded {
        report.line("DuckDB and ClickHouse are measured with cpu only: their SQL for other shapes is not written.\n");
    }
    if arguments.debian {
        names.extend(lines::run(&mut answers, &asked, arguments, report).await);
    }
    let alike = answers.is_empty() || queries::print(report, &answers, &names);
    if arguments.wait {
        println!("port {}, pid {}: press Ctrl-C to end", ours.server.port, ours.server.pid());
        let _ = tokio::signal::ctrl_c().await;
    }
    alike
}

/// Loads the shape in each form, in a database of its own; the last one stays. How many rows it has.
async fn load_forms(
    arguments: &Arguments,
    report: &mut Report,
    ours: &Ours,
    subject: &Subject,
    theirs: Option<&Subject>,
) -> usize {
    let mut rows = Vec::new();
    let mut loaded = 0;
    let forms = Form::ALL.into_iter().filter(|form| arguments.forms.contains(form));
    for (n, form) in forms.enumerate() {
        if n > 0 {
            ours.anew(arguments, &arguments.database()).await;
        }
        let own = load(arguments, subject, form).await;
        loaded = own.rows;
        let mut row = vec![form.name().to_owned()];
        row.extend(rates(&own));
        if let Some(theirs) = theirs {
            let peer = load(arguments, theirs, form).await;
            row.extend(rates(&peer));
            row.push(format!("{:.1}", own.cpu_rate() / peer.cpu_rate()));
        }
        rows.push(row);
    }
    let head = ["load, rows", "ours /s", "ours /CPU s", "PostgreSQL /s", "PostgreSQL /CPU s", "ratio of CPU"];
    report.table(&head[..if theirs.is_some() { 6 } else { 3 }], &rows);
    loaded
}

async fn load(arguments: &Arguments, subject: &Subject, form: Form) -> Load {
    let batch = match form {
        Form::CopyBinary | Form::CopyCsv => arguments.batch.unwrap_or(COPY_ROWS),
        Form::Insert | Form::Prepared => arguments.batch_rows(form),
    };
    let source = arguments.shape.source(arguments.hosts);
    let mut lanes = [Lane::new(subject, source, form, batch, arguments.ticks()).await];
    race(&mut lanes).await;
    lanes[0].load
}

async fn sizes(report: &mut Report, ours: &Ours, theirs: Option<&Subject>, rows: usize) {
    let per_row = |bytes: f64| bytes / rows.max(1) as f64;
    let mut text = format!(
        "{rows} rows; ours {:.1} bytes per row after compaction, {} MiB of memory",
        per_row(ours.data_bytes() as f64),
        ours.server.memory() >> 20
    );
    if let Some(theirs) = theirs {
        text.push_str(&format!(
            "; PostgreSQL {:.1} bytes per row with its indexes",
            per_row(postgres_bytes(theirs).await)
        ));
    }
    report.line(&format!("{text}.\n"));
}

/// Bytes of all tables with their indexes.
pub(crate) async fn postgres_bytes(theirs: &Subject) -> f64 {
    theirs.number("SELECT sum(pg_total_relation_size(relid)) FROM pg_stat_user_tables").await
}
