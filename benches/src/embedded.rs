//! Engines that live inside a Python process: DuckDB and ClickHouse (chdb), over the same rows, one thread each.
//!
//! `peers.py` loads a file, runs queries, says how long each took and writes answers down; where Python lacks an engine
//! it is left out, and the report says so.

use std::collections::HashMap;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::answers::Answer;
use crate::arguments::Arguments;
use crate::data::{Dialect, STEP_ROWS, step_ticks, write_csv};
use crate::queries::{Line, Run};
use crate::report::{Report, count};
use crate::suites::{Extent, Question};

/// Adds what each engine took to the lines; the names of those that ran.
pub(crate) fn run(
    lines: &mut [Line],
    questions: &[Question],
    arguments: &Arguments,
    report: &mut Report,
) -> Vec<String> {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let data = folder.path().join("data.csv");
    let rows = export(&data, arguments).expect("the data can be written");
    let extent = Extent { series: arguments.hosts, hours: arguments.hours };
    let mut ran = Vec::new();
    for (name, dialect) in [("DuckDB", Dialect::DuckDb), ("ClickHouse", Dialect::ClickHouse)] {
        let texts = questions.iter().filter_map(|question| {
            Some((question.name, question.instances(arguments.instances + 1, extent, dialect)?))
        });
        let list = folder.path().join(format!("{name}.tsv"));
        write_queries(&list, texts).expect("queries can be written");
        let given = [data.as_path(), &list, folder.path()];
        let Some(mut done) = engine(name, &given, rows, report) else { continue };
        for line in &mut *lines {
            line.peers.push(done.remove(line.name));
        }
        ran.push(name.to_owned());
    }
    ran
}

/// Answers of DuckDB to all instances, after these statements have been run; none if it is not there.
pub(crate) fn duckdb_answers<'a>(
    statements: &[String],
    texts: impl Iterator<Item = (&'a str, Vec<String>)>,
    report: &mut Report,
) -> Option<HashMap<(String, usize), Answer>> {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let (script, list) = (folder.path().join("statements.sql"), folder.path().join("queries.tsv"));
    std::fs::write(&script, statements.join("\n")).expect("statements can be written");
    let texts: Vec<(&str, Vec<String>)> = texts.collect();
    write_queries(&list, texts.iter().map(|(name, texts)| (*name, texts.clone()))).expect("queries can be written");
    python("DuckDB", &[&script, &list, folder.path()], report)?;
    let mut answers = HashMap::new();
    for (name, texts) in texts {
        for instance in 0..texts.len() {
            answers.insert((name.to_owned(), instance), answer(folder.path(), "DuckDB", name, instance));
        }
    }
    Some(answers)
}

fn export(data: &Path, arguments: &Arguments) -> std::io::Result<usize> {
    let mut out = BufWriter::new(std::fs::File::create(data)?);
    let mut source = arguments.shape.source(arguments.hosts);
    let (step, mut rows) = (step_ticks(&*source, STEP_ROWS), 0);
    for _ in 0..arguments.ticks() / step {
        for some in source.next(step) {
            rows += some.len();
            write_csv(&source.tables()[some.table], &some, &mut out)?;
        }
    }
    out.flush()?;
    Ok(rows)
}

fn write_queries<'a>(list: &Path, texts: impl Iterator<Item = (&'a str, Vec<String>)>) -> std::io::Result<()> {
    let mut out = BufWriter::new(std::fs::File::create(list)?);
    for (name, instances) in texts {
        for sql in instances {
            writeln!(out, "{name}\t{sql}")?;
        }
    }
    out.flush()
}

/// What `peers.py` says, or why it says nothing.
fn python(name: &str, given: &[&Path], report: &mut Report) -> Option<String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers.py");
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/venv/bin/python3");
    let python = if ours.exists() { ours } else { PathBuf::from("python3") };
    match Command::new(python).arg(script).arg(name).args(given).output() {
        Ok(output) if output.status.success() => String::from_utf8(output.stdout).ok(),
        Ok(output) => {
            let why = String::from_utf8_lossy(&output.stderr).trim().lines().last().unwrap_or("no word").to_owned();
            report.line(&format!("{name} did not run ({why}): `pip install duckdb chdb numpy` into target/venv.\n"));
            None
        }
        Err(fault) => {
            report.line(&format!("{name} did not run: python3: {fault}.\n"));
            None
        }
    }
}

fn engine(name: &str, given: &[&Path], rows: usize, report: &mut Report) -> Option<HashMap<String, Run>> {
    let text = python(name, given, report)?;
    let mut runs = HashMap::new();
    for line in text.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let number = |text: &str| text.parse::<f64>().unwrap_or(f64::NAN);
        if let ["load", seconds, cpu, bytes] = fields[..] {
            report.line(&format!(
                "{name} loaded csv with {} rows/s, {} rows/CPU s, {:.1} bytes/row.\n",
                count(rows as f64 / number(seconds)),
                count(rows as f64 / number(cpu)),
                number(bytes) / rows as f64
            ));
        } else if let [query, times, rows, sum] = fields[..] {
            let first = answer(given[2], name, query, 0);
            let times = times.split(',').map(number).collect();
            runs.insert(query.to_owned(), Run::new(times, rows.parse().unwrap_or(0), number(sum), first));
        }
    }
    Some(runs)
}

/// As `peers.py` wrote it down.
fn answer(folder: &Path, engine: &str, query: &str, instance: usize) -> Answer {
    let file = folder.join(format!("{engine}.{query}.{instance}"));
    let text = std::fs::read_to_string(&file).unwrap_or_else(|fault| panic!("{}: {fault}", file.display()));
    Answer::of_lines(text.lines())
}
