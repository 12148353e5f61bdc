//! Engines that live inside a Python process: DuckDB and ClickHouse (chdb), over the same rows, one thread each.
//!
//! `peers.py` loads a file, runs queries and says how long each took; where Python lacks an engine it is left out.

use std::collections::HashMap;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::Command;

use crate::arguments::Arguments;
use crate::query::{Line, Run, instances};
use crate::tsbs::{Dialect, Hosts, QUERIES};

/// Adds what each engine took to the lines; the names of those that ran.
pub(crate) fn run(lines: &mut [Line], arguments: &Arguments, folder: &Path) -> Vec<&'static str> {
    let data = folder.join("cpu.csv");
    export(&data, arguments).expect("the data can be written");
    let mut ran = Vec::new();
    for (name, dialect) in [("DuckDB", Dialect::DuckDb), ("ClickHouse", Dialect::ClickHouse)] {
        let Some(mut runs) = engine(name, dialect, &data, arguments, folder) else {
            println!("{name} is not there: pip install duckdb chdb numpy");
            continue;
        };
        ran.push(name);
        for line in &mut *lines {
            line.peers.extend(runs.remove(line.name));
        }
    }
    ran
}

fn export(data: &Path, arguments: &Arguments) -> std::io::Result<()> {
    let mut out = BufWriter::new(std::fs::File::create(data)?);
    let mut hosts = Hosts::new(arguments.hosts);
    for _ in 0..arguments.hours {
        hosts.next(360).export(&mut out)?;
    }
    out.flush()
}

fn engine(
    name: &str,
    dialect: Dialect,
    data: &Path,
    arguments: &Arguments,
    folder: &Path,
) -> Option<HashMap<String, Run>> {
    let mut queries = String::new();
    for (query_name, query) in QUERIES {
        for sql in instances(query, arguments, dialect) {
            queries.push_str(&format!("{query_name}\t{sql}\n"));
        }
    }
    let list = folder.join(format!("{name}.tsv"));
    std::fs::write(&list, queries).expect("queries can be written");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers.py");
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/venv/bin/python3");
    let output = Command::new(python).arg(script).arg(name).arg(data).arg(list).output().ok()?;
    if !output.status.success() {
        eprintln!("{}", String::from_utf8_lossy(&output.stderr));
        return None;
    }
    let text = String::from_utf8(output.stdout).ok()?;
    let mut runs = HashMap::new();
    for line in text.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        if let ["load", seconds, cpu] = fields[..] {
            println!("{name}: loaded in {seconds} s, {cpu} s of CPU");
        } else if let [query, median, least, rows, sum] = fields[..] {
            let number = |text: &str| text.parse::<f64>().unwrap_or(f64::NAN);
            let run =
                Run { median: number(median), least: number(least), rows: rows.parse().unwrap_or(0), sum: number(sum) };
            runs.insert(query.to_owned(), run);
        }
    }
    Some(runs)
}
