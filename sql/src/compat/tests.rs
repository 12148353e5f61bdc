//! Clients' catalog queries, as they were captured, planned and run over a small catalog.

use crate::catalogs::tests::{context, print, run};

const CLIENTS: &str = include_str!("testdata/clients.sql");

/// How many of [`CLIENTS`] run. May only grow.
const RUN_MIN: usize = 104;

/// A statement with its parameters filled in as its client would.
fn bound(statement: &str) -> String {
    let text = statement.replace("$1::oid[]", "'{1009}'::oid[]");
    let text = text.replace("ANY($1)", "ANY('{r,p,f}')").replace("ANY($2)", "ANY('{r,p,f}')");
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
