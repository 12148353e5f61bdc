//! Forms × clients × WAL policies. The policies are servers of their own, loaded in turns in one run; then
//! PostgreSQL with `synchronous_commit` off and on, which promise what periods above and of 0 ms do.

use tests::postgres::Postgres;

use super::{rates, share};
use crate::arguments::Arguments;
use crate::data::Form;
use crate::load::{Lane, Load, race};
use crate::report::Report;
use crate::servers::{Ours, Subject, postgres_subject};

const POLICIES: [(&str, &str); 3] = [
    ("level 1", "WAL_LEVEL 1"),
    ("level 2, 3000 ms", "WAL_LEVEL 2 WAL_FSYNC_PERIOD 3000"),
    ("level 2, 0 ms", "WAL_LEVEL 2 WAL_FSYNC_PERIOD 0"),
];

/// What PostgreSQL promises for each of ours, if it has a word for it.
const COMMITS: [(&str, &str); 2] = [("PostgreSQL, off", "off"), ("PostgreSQL, on", "on")];

pub(crate) async fn run(arguments: &Arguments, report: &mut Report) {
    let mut servers = Vec::new();
    for (_, wal) in POLICIES {
        servers.push(Ours::start(arguments, &format!("{wal} {}", arguments.options)).await);
    }
    let postgres = if arguments.peer { Some(Postgres::start().await) } else { None };
    let mut rows = Vec::new();
    for form in &arguments.forms {
        for clients in &arguments.clients {
            let loads = cell(arguments, &servers, postgres.as_ref(), *form, *clients).await;
            let mut row = vec![form.name().to_owned(), clients.to_string(), arguments.batch_rows(*form).to_string()];
            for load in &loads {
                row.extend(rates(load));
            }
            row.push(share(loads[1].rate(), loads[0].rate()));
            row.push(share(loads[1].cpu_rate(), loads[0].cpu_rate()));
            row.push(share(loads[2].rate(), loads[1].rate()));
            println!("{}", row.join("  "));
            rows.push(row);
        }
    }
    let mut head = vec!["form".to_owned(), "clients".to_owned(), "batch".to_owned()];
    let peers = COMMITS.iter().filter(|_| postgres.is_some()).map(|(name, _)| *name);
    for name in POLICIES.iter().map(|(name, _)| *name).chain(peers) {
        head.extend([format!("{name}, rows/s"), "rows/CPU s".to_owned()]);
    }
    head.extend(["3000 ms of level 1", "the same of CPU", "0 ms of 3000 ms"].map(str::to_owned));
    report.table(&head.iter().map(String::as_str).collect::<Vec<_>>(), &rows);
}

/// One form and number of clients under all policies.
async fn cell(
    arguments: &Arguments,
    servers: &[Ours],
    postgres: Option<&Postgres>,
    form: Form,
    clients: usize,
) -> Vec<Load> {
    let mut subjects: Vec<Subject> = Vec::new();
    for (server, (name, wal)) in servers.iter().zip(POLICIES) {
        server.anew(arguments, &format!("{wal} {}", arguments.options)).await;
        subjects.push(server.subject(name, clients).await);
    }
    let mut loads = Vec::new();
    // PostgreSQL's two share a server, so they come after ours and one after the other.
    {
        let mut lanes = Vec::new();
        for subject in &subjects {
            lanes.push(lane(arguments, subject, form).await);
        }
        race(&mut lanes).await;
        loads.extend(lanes.iter().map(|lane| lane.load));
    }
    if let Some(postgres) = postgres {
        for (name, commit) in COMMITS {
            // Sessions that begin after it keep to it.
            let admin = postgres_subject(postgres, name, 1).await;
            admin.run(&format!("ALTER ROLE root SET synchronous_commit = {commit}")).await;
            let subject = postgres_subject(postgres, name, clients).await;
            let mut lanes = [lane(arguments, &subject, form).await];
            race(&mut lanes).await;
            loads.push(lanes[0].load);
        }
    }
    loads
}

async fn lane<'a>(arguments: &Arguments, subject: &'a Subject, form: Form) -> Lane<'a> {
    let source = arguments.shape.source(arguments.hosts);
    Lane::new(subject, source, form, arguments.batch_rows(form), arguments.ticks()).await
}
