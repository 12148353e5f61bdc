//! Functions against PostgreSQL 15: each line is an expression, ` => `, and what PostgreSQL prints in Europe/Berlin.

use crate::catalogs::tests::{context, print, run};

const POSTGRES: &str = include_str!("testdata/postgres.golden");
const TDENGINE: &str = include_str!("testdata/tdengine.golden");

async fn compare(list: &str) {
    let context = context();
    let mut wrong = Vec::new();
    for line in list.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (expression, expected) = line.split_once(" => ").expect("an expression and its value");
        let got = match run(&format!("SELECT {expression}"), &context, "Europe/Berlin").await {
            Ok(rows) => print(&rows, &context, "Europe/Berlin").trim_end_matches('\n').to_owned(),
            Err(error) => error,
        };
        if got != expected {
            wrong.push(format!("{expression} => {expected}\n   here: {got}"));
        }
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[tokio::test]
async fn functions_answer_as_postgres() {
    compare(POSTGRES).await;
}

#[tokio::test]
async fn functions_answer_as_tdengine() {
    compare(TDENGINE).await;
}
