//! Clients' catalog queries, as they were captured, planned and run over a small catalog.

use crate::catalogs::tests::{context, print, run};

const CLIENTS: &str = include_str!("testdata/clients.sql");

/// Queries of psql 15 and what PostgreSQL 15 answers to them for the same schema, each pair apart by a line of dashes.
const PSQL: &str = include_str!("testdata/psql.golden");

/// How many of [`CLIENTS`] run. May only grow.
const RUN_MIN: usize = 119;

/// A statement with its parameters filled in as its client would.
fn bound(statement: &str) -> String {
    let text = statement.replace("$1::oid[]", "'{1009}'::oid[]");
    let text = text
        .replace("'jit', $1", "'jit', 'off'")
        .replace("ANY($1)", "ANY('{r,p,f}')")
        .replace("ANY($2)", "ANY('{r,p,f}')");
    text.replace("$1", "'public'").replace("$2", "'meters'").replace("$3", "'%'")
}

#[tokio::test]
async fn captured_statements_run() {
    let context = context();
    let statements: Vec<_> = CLIENTS.split(";\n").map(str::trim).filter(|of| !of.is_empty()).collect();
    let mut failed = Vec::new();
    for statement in &statements {
        match run(&bound(statement), &context, "UTC").await {
            Ok(rows) => {
                print(&rows, &context, "UTC");
            }
            Err(error) => failed.push(format!("{statement}\n--> {error}\n")),
        }
    }
    let ran = statements.len() - failed.len();
    println!("{}\n{ran} of {} run", failed.join("\n"), statements.len());
    assert!(ran >= RUN_MIN, "{ran} of {} run, {RUN_MIN} did before", statements.len());
}

#[tokio::test]
async fn psql_sees_what_postgres_shows() {
    let context = context();
    let mut wrong = Vec::new();
    for pair in PSQL.split("\n====\n").filter(|pair| !pair.trim().is_empty()) {
        let (statement, expected) = pair.split_once("\n----\n").expect("a statement and its rows");
        let got = match run(statement, &context, "UTC").await {
            Ok(rows) => print(&rows, &context, "UTC"),
            Err(error) => error,
        };
        if got.trim_end() != expected.trim_end() {
            wrong.push(format!("{statement}\n--- PostgreSQL:\n{expected}\n--- here:\n{got}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}
