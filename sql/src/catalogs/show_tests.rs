//! SHOW, DESCRIBE and the `ins_*` tables over the fixture, against `testdata/show.golden`.

use std::fmt::Write as _;

use model::schema::{ChildTable, Table};
use model::{Value, VgroupId};

use super::describe::{describe, show_create_database, show_create_table, show_create_view};
use super::show::show;
use super::tests::{context, print, run};
use crate::statement::{Show, TableName};

const GOLDEN: &str = include_str!("testdata/show.golden");

fn table(name: &str) -> TableName {
    TableName { qualifier: Vec::new(), name: name.into(), position: 0 }
}

fn shows() -> Vec<Show> {
    let things = [
        "dnodes",
        "mnodes",
        "vnodes",
        "users",
        "views",
        "functions",
        "queries",
        "connections",
        "transactions",
        "indexes",
        "streams",
        "nonsense",
    ];
    let mut shows = vec![
        Show::Databases,
        Show::Tables(String::new(), None, None),
        Show::Tables("child".into(), Some("power".into()), Some("d%1".into())),
        Show::Tables("normal".into(), Some("power".into()), None),
        Show::Tables(String::new(), Some("absent".into()), None),
        Show::Stables(None, None),
        Show::Stables(Some("postgres".into()), None),
        Show::Vgroups(None),
        Show::Tags(table("d1001")),
        Show::Alive(None),
        Show::Alive(Some("power".into())),
    ];
    shows.extend(things.map(|thing| Show::Thing(thing.into())));
    shows
}

const QUERIES: [&str; 8] = [
    "SELECT * FROM information_schema.ins_tables ORDER BY table_name",
    "SELECT table_name FROM information_schema.ins_tables WHERE table_name = 'd1002'",
    "SELECT * FROM information_schema.ins_tags WHERE stable_name = 'meters' ORDER BY 1, 4",
    "SELECT * FROM information_schema.ins_stables",
    "SELECT * FROM information_schema.ins_columns ORDER BY 1, 4",
    "SELECT name, vgroups, ntables, replica, duration, keep, \"precision\", cachemodel FROM information_schema.ins_databases ORDER BY 1",
    "SELECT * FROM information_schema.ins_cluster",
    "SELECT count(*) FROM information_schema.ins_tables WHERE db_name = 'postgres'",
];

async fn script() -> String {
    let context = context();
    let mut out = String::new();
    for of in shows() {
        let _ = writeln!(out, "> {of:?}");
        match show(&of, &context) {
            Ok(Some(sql)) => {
                let _ = writeln!(out, "{sql}");
                match run(&sql, &context, "UTC").await {
                    Ok(rows) => out.push_str(&print(&rows, &context, "UTC")),
                    Err(error) => out.push_str(&error),
                }
            }
            Ok(None) => out.push_str("(not a query)\n"),
            Err(error) => {
                let _ = writeln!(out, "{}: {error}", error.state().code());
            }
        }
        out.push('\n');
    }
    for sql in QUERIES {
        let _ = writeln!(out, "> {sql}");
        match run(sql, &context, "UTC").await {
            Ok(rows) => out.push_str(&print(&rows, &context, "UTC")),
            Err(error) => out.push_str(&error),
        }
        out.push('\n');
    }
    let power = context.current().expect("the fixture has it");
    for name in ["meters", "t2", "log"] {
        let of = Table::Relation(power.relations[name].clone());
        for (word, batch) in [("DESCRIBE", describe(&of)), ("SHOW CREATE TABLE", show_create_table(&of))] {
            let rows = print(&[batch.expect("it is a relation")], &context, "UTC");
            let _ = writeln!(out, "> {word} {name}\n{rows}");
        }
    }
    let child = Table::Child(ChildTable {
        parent: power.relations["meters"].clone(),
        name: "d1001".into(),
        uid: 1,
        vgroup: VgroupId(2),
        tags: vec![Value::Text("it's".into()), Value::Int(-1)],
        created_ms: 0,
    });
    for batch in [show_create_table(&child), show_create_database(power), show_create_view(&power.views["v1"])] {
        let rows = print(&[batch.expect("it is there")], &context, "UTC");
        let _ = writeln!(out, "> SHOW CREATE\n{rows}");
    }
    out
}

#[tokio::test]
async fn shows_answer_as_written() {
    let got = script().await;
    assert!(got.trim_end() == GOLDEN.trim_end(), "{got}");
}

#[tokio::test]
async fn every_system_relation_is_read() {
    let context = context();
    for of in super::relations::all() {
        let sql = format!("SELECT * FROM {}.{}", of.schema, of.name);
        match run(&sql, &context, "UTC").await {
            Ok(rows) => drop(print(&rows, &context, "UTC")),
            Err(error) => panic!("{sql}: {error}"),
        }
    }
}
