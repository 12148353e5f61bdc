//! Both ways of INSERT over one corpus (`sql/testscripts/insert`): they must agree on rows, errors and positions.

use std::collections::HashMap;
use std::error::Error;
use std::fmt::Write;
use std::sync::Arc;

use arrow::util::display::array_value_to_string;
use model::schema::{ChildTable, Column, Relation, RelationKind, Table};
use model::{ColumnId, DataType, DatabaseId, Precision, Suid, TimeRange, VgroupId};

use super::{Batch, Resolved, Resolver, from_ast, read, scan_tables};
use crate::literal::Reading;
use crate::parser::{ParserOptions, parse_insert};
use crate::statement::TableName;

/// Tables for tests of INSERT and COPY.
pub(crate) struct Tables(HashMap<String, Resolved>);

impl Resolver for Tables {
    fn resolve(&self, name: &TableName) -> Option<&Resolved> {
        self.0.get(&name.name)
    }
}

impl Tables {
    /// `st` with the children `d1` and `d2`, the normal table `n`, the plain tables `p` (with defaults) and `q`.
    pub(crate) fn new(precision: Precision) -> Self {
        let st = relation(
            1,
            "st",
            RelationKind::Super,
            &[
                ("ts", DataType::Timestamp),
                ("a", DataType::Int),
                ("b", DataType::Varchar(5)),
                ("c", DataType::Double),
                ("t2", DataType::Timestamp),
            ],
            &[("loc", DataType::Varchar(8)), ("g", DataType::UTinyInt)],
        );
        let other = relation(2, "other", RelationKind::Super, &[("ts", DataType::Timestamp)], &[("x", DataType::Int)]);
        let n = relation(
            3,
            "n",
            RelationKind::Normal,
            &[("ts", DataType::Timestamp), ("v", DataType::Float), ("u", DataType::UBigInt)],
            &[],
        );
        let mut p = relation(
            4,
            "p",
            RelationKind::Plain,
            &[("id", DataType::Int), ("name", DataType::Text), ("at", DataType::Timestamp)],
            &[],
        );
        let q = every_kind();
        p.columns[0].nullable = false;
        p.columns[1].default = Some("'none'".to_owned());
        p.columns[2].default = Some("now()".to_owned());
        let keep = TimeRange { min: 0, max: precision.max_ticks() };
        let st = Arc::new(st);
        let child = |name: &str| {
            Table::Child(ChildTable {
                parent: st.clone(),
                name: name.to_owned(),
                uid: 1,
                vgroup: VgroupId(2),
                tags: Vec::new(),
                created_ms: 0,
            })
        };
        let mut tables = HashMap::new();
        let mut put = |name: &str, table| {
            tables.insert(name.to_owned(), Resolved { database: DatabaseId(1), precision, keep, table });
        };
        for name in ["d1", "d2"] {
            put(name, child(name));
        }
        for of in [other, n, p, q] {
            put(&of.name.clone(), Table::Relation(Arc::new(of)));
        }
        put("st", Table::Relation(st.clone()));
        Self(tables)
    }

    /// The table of this name.
    pub(crate) fn get(&self, name: &str) -> &Resolved {
        &self.0[name]
    }
}

/// A plain table `q` with the types that time series rarely have.
fn every_kind() -> Relation {
    relation(
        5,
        "q",
        RelationKind::Plain,
        &[
            ("id", DataType::BigInt),
            ("ok", DataType::Bool),
            ("d", DataType::Decimal(6, 2)),
            ("x", DataType::Varbinary(4)),
            ("j", DataType::Json),
            ("day", DataType::Date),
            ("s", DataType::NChar(3)),
            ("r", DataType::Float),
        ],
        &[],
    )
}

fn relation(
    suid: u32,
    name: &str,
    kind: RelationKind,
    columns: &[(&str, DataType)],
    tags: &[(&str, DataType)],
) -> Relation {
    let first = u16::from(kind == RelationKind::Plain);
    let mut next = first;
    let mut make = |(name, data_type): &(&str, DataType)| {
        let column = Column::new(ColumnId(next), *name, *data_type);
        next += 1;
        column
    };
    let mut columns: Vec<Column> = columns.iter().map(&mut make).collect();
    let tags = tags.iter().map(&mut make).collect();
    columns[0].nullable = kind == RelationKind::Plain;
    Relation {
        suid: Suid(suid),
        name: name.to_owned(),
        kind,
        version: 1,
        columns,
        tags,
        next_column: ColumnId(next),
        primary_key: Vec::new(),
        comment: None,
        created_ms: 0,
        altered_ms: 0,
    }
}

/// The time zone and the clock of tests: 2023-11-14 22:13:20.123456789 UTC.
pub(crate) fn reading() -> Reading {
    Reading { timezone: crate::pgvalue::TimeZone::UTC, now_nanos: 1_700_000_000_123_456_789 }
}

/// Batches as text: one line per row.
pub(crate) fn print(batches: &[Batch]) -> String {
    let mut out = String::new();
    for batch in batches {
        let rows = &batch.rows;
        writeln!(out, "{} of {}:", rows.suid, batch.database).expect("writes to memory");
        for table in &rows.tables {
            if let Some(tags) = &table.create {
                writeln!(out, "  create {} {tags:?}", table.name).expect("writes to memory");
            }
        }
        for row in 0..rows.rows() {
            let key = match &rows.keys {
                model::write::Keys::Given(keys) => keys[row].to_string(),
                model::write::Keys::Assigned(_) => "new".to_owned(),
            };
            write!(out, "  {} {key}", rows.tables[rows.table_of(row)].name).expect("writes to memory");
            for column in &rows.columns {
                assert_eq!(column.values.len(), rows.rows(), "columns are as long as the batch");
                let value = if column.absent.as_ref().is_some_and(|absent| absent.value(row)) {
                    "-".to_owned()
                } else if column.values.is_null(row) {
                    "NULL".to_owned()
                } else {
                    array_value_to_string(&column.values, row).expect("every type can be shown")
                };
                write!(out, " {}={value}", column.id).expect("writes to memory");
            }
            out.push('\n');
        }
    }
    out
}

/// An error as text.
pub(crate) fn describe(error: &model::Error) -> String {
    let fields = error.fields();
    let mut out = format!("Error: {} {}", fields.state.code(), fields.message);
    if let Some(position) = fields.position {
        out += &format!(" (position {position})");
    }
    for (name, text) in [("detail", &fields.detail), ("hint", &fields.hint), ("context", &fields.context)] {
        if let Some(text) = text {
            out += &format!("\n  {name}: {text}");
        }
    }
    out + "\n"
}

struct Script(Tables);

impl goldenscript::Runner for Script {
    type Command = goldenscript::Command;

    fn run(
        &mut self,
        command: &goldenscript::Command,
        _context: &goldenscript::Context,
    ) -> Result<String, Box<dyn Error>> {
        let text = &command.name;
        let general = parse_insert(text, &ParserOptions::default()).and_then(|insert| {
            let mut refuse = |expr: &sqlparser::ast::Expr, column: &Column| {
                Err(model::error!(FeatureNotSupported, "evaluate {expr} for {}", column.name))
            };
            from_ast(&insert, &self.0, &reading(), &mut refuse)
        });
        let general = general.map_or_else(|error| describe(&error), |batches| print(&batches));
        let Some(tables) = scan_tables(text) else { return Ok(format!("general only\n{general}")) };
        let names: Vec<_> = tables.iter().map(|table| format!("{}@{}", table.name, table.position)).collect();
        let fast = match read(text, &self.0, &reading()) {
            Ok(None) => return Ok(format!("not recognised\n{general}")),
            Ok(Some(batches)) => print(&batches),
            Err(error) => describe(&error),
        };
        if fast != general {
            return Err(format!("{text}\nthe two ways differ\nfast:\n{fast}general:\n{general}").into());
        }
        Ok(format!("tables {}\n{fast}", names.join(" ")))
    }
}

#[test]
fn both_ways_agree_on_the_corpus() {
    let mut script = Script(Tables::new(Precision::Milli));
    goldenscript::run(&mut script, "testscripts/insert/corpus").expect("the script runs and its output is as before");
}
