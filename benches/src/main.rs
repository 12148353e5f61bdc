//! `make bench` and `make bench-peers`: what the field measures, ours next to its peers in one run on one machine.
//!
//! Every figure is printed beside a peer's or another of ours and as a ratio, because machines are noisy and only ratios of
//! the same run mean anything. `--help` lists the modes and their options, README.md says how to read them. Start reading
//! at [`measure`].

mod answers;
mod arguments;
mod cpu;
mod data;
mod embedded;
mod http;
mod lines;
mod load;
mod modes;
mod queries;
mod report;
mod servers;
mod shapes;
mod suites;
mod wire;

use std::process::ExitCode;

use arguments::{Arguments, Mode};
use report::Report;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = match Arguments::parse(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(message) => {
            eprintln!("{message}");
            return ExitCode::from(2);
        }
    };
    let mut report = Report::new(arguments.report.clone(), title(&arguments));
    let alike = measure(&arguments, &mut report).await;
    if let Err(fault) = report.finish() {
        eprintln!("the report cannot be written: {fault}");
        return ExitCode::FAILURE;
    }
    if alike { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

const fn title(arguments: &Arguments) -> &'static str {
    match arguments.mode {
        Mode::Suite => "Loads and queries",
        Mode::Ingest => "Ingest: forms, clients, WAL policies",
        Mode::Disorder => "Rows that come late",
        Mode::Cardinality => "Many series",
        Mode::Recovery => "Recovery",
        Mode::Flat => "Flat cost",
        Mode::Size => "Size",
        Mode::Answers => "Answers after updates and deletes",
    }
}

/// False if answers differ that should not.
async fn measure(arguments: &Arguments, report: &mut Report) -> bool {
    match arguments.mode {
        Mode::Suite => return modes::suite::run(arguments, report).await,
        Mode::Flat => return modes::flat::run(arguments, report).await,
        Mode::Answers => return modes::answers::run(arguments, report).await,
        Mode::Ingest => modes::ingest::run(arguments, report).await,
        Mode::Disorder => modes::disorder::run(arguments, report).await,
        Mode::Cardinality => modes::cardinality::run(arguments, report).await,
        Mode::Recovery => modes::recovery::run(arguments, report).await,
        Mode::Size => modes::size::run(arguments, report).await,
    }
    true
}
