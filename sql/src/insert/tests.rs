//! Both ways of INSERT over one corpus (`sql/testscripts/insert`): they must agree on rows, errors and positions.

use std::collections::HashMap;
use std::error::Error;
use std::fmt::Write;
use std::sync::Arc;

use arrow::util::display::array_value_to_string;
use model::schema::{ChildTable, Column, Relation, RelationKind, Table};
use model::{ColumnId, DataType, DatabaseId, Precision, Suid, TimeRange, VgroupId};

use proptest::prelude::*;

use super::template::{Given, Open, Template};
use super::{Batch, Cell, Resolved, Resolver, Straight, from_ast, read, scan_tables};
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
        agree(text, &self.0);
        let general = generally(text, &self.0);
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

/// What the general way gives.
fn generally(text: &str, tables: &Tables) -> String {
    let general = parse_insert(text, &ParserOptions::default()).and_then(|insert| {
        let mut refuse = |expr: &sqlparser::ast::Expr, column: &Column| {
            Err(model::error!(FeatureNotSupported, "evaluate {expr} for {}", column.name))
        };
        from_ast(&insert, tables, &reading(), &mut refuse)
    });
    general.map_or_else(|error| describe(&error), |batches| print(&batches))
}

/// What one pass gives; None if it gives up.
fn straight(text: &str, tables: &Tables) -> Option<String> {
    let mut straight = Straight::begin(text, &reading())?;
    if straight.rows(tables)? {
        let all = straight.all_tables()?;
        assert!(all.len() > straight.tables().len() || all == straight.tables());
        while straight.rows(tables)? {}
    }
    Some(print(&straight.finish()))
}

/// Checks the fast way and the way of one pass against the general one; gives what the one pass gave.
fn agree(text: &str, tables: &Tables) -> Option<String> {
    let general = generally(text, tables);
    let fast = scan_tables(text).map(|_| read(text, tables, &reading()));
    match &fast {
        Some(Ok(Some(batches))) => assert_eq!(print(batches), general, "{text}"),
        // The general grammar reads to the end before it looks at values.
        Some(Err(error)) => {
            assert!(describe(error) == general || general.starts_with("Error: 42601"), "{text}\n{error}\n{general}");
        }
        Some(Ok(None)) | None => {}
    }
    let once = straight(text, tables);
    match (&once, &fast) {
        (Some(once), Some(Ok(Some(_)))) => assert_eq!(*once, general, "{text}"),
        (Some(once), _) => panic!("{text}\none pass took what the fast way refuses: {once}"),
        (None, Some(Ok(Some(_)))) => panic!("{text}\none pass gave up"),
        (None, _) => {}
    }
    once
}

const HEADS: &[&str] = &[
    "d1",
    "d2 (ts, a)",
    "d1 (ts, c)",
    "d2 (ts, a, c, t2, b)",
    "st (tbname, ts, a)",
    "st (ts, c, tbname, g)",
    "n",
    "n (u, ts)",
    "q",
    "q (id, ok, d)",
    "q (r, day, s)",
    "p (id, name, at)",
    "p",
    "d9 USING st TAGS ('x', 1)",
    "d9 USING st (g) TAGS (7) (ts, a)",
    "d1 USING other TAGS (1)",
    "db.d1",
    "\"d1\"",
    "`d2`(ts)",
    "nosuch",
    "other",
    "d1 (ts, nosuch)",
    "d1 (ts, ts)",
    "d1 (a)",
    "D1",
    "\"D1\"",
    "é",
];

const VALUES: &[&str] = &[
    "1",
    "2",
    "-5",
    "+7",
    "1.5",
    "-1.5",
    ".5",
    "5.",
    "1e3",
    "1E+2",
    "1e",
    "1e400",
    "-1e-400",
    "NULL",
    "true",
    "FALSE",
    "'x'",
    "'it''s'",
    "\"y\"",
    "'é'",
    "now",
    "NOW()",
    "now + 1s",
    "today()",
    "today",
    "'2024-01-01 00:00:00'",
    "'2024-01-01 00:00:00'",
    "'2024-01-01'",
    "1700000000000",
    "99999999999999999999",
    "999999999999999999",
    "-999999999999999999",
    "2147483648",
    "-2147483649",
    "007",
    "-0",
    "''",
    "'toolong'",
    "e'x'",
    "1+1",
    "DEFAULT",
    "nan",
    "- 5",
    "-",
    "0x1F",
    "1_000",
    "18446744073709551615",
    "255",
    "256",
    "'d1'",
    "'d2'",
    "'new'",
    "'no.dot'",
    "'1'",
    "' 5 '",
    "1 ",
    " 1",
    "(1)",
    "1--c\n",
    "1/* c */",
    "'\\x00'",
    "$1",
    "3.4e38",
    "3.5e38",
];

const SEPARATORS: &[&str] = &[",", "", " ", " , ", "/* ( */", "-- (\n", ",,", "\n"];

/// A statement of these parts, and sometimes one byte of it changed.
fn statements() -> impl Strategy<Value = String> {
    let row = prop::collection::vec(prop::sample::select(VALUES), 0..6);
    let rows = prop::collection::vec((row, prop::sample::select(SEPARATORS)), 1..4);
    let parts = prop::collection::vec((prop::sample::select(HEADS), rows), 1..3);
    let damage = prop::option::weighted(0.3, (any::<prop::sample::Index>(), "[-'\"();,e$ .0-9\\\\é]?"));
    (parts, damage).prop_map(|(parts, damage)| {
        let mut text = "INSERT INTO".to_owned();
        for (head, rows) in parts {
            text += &format!(" {head} VALUES ");
            for (values, separator) in rows {
                text += &format!("({}){separator}", values.join(","));
            }
        }
        if let Some((at, with)) = damage {
            let at = at.index(text.len());
            if text.is_char_boundary(at) && text.is_char_boundary(at + 1) {
                text.replace_range(at..=at, &with);
            }
        }
        text
    })
}

/// Statements in which nothing is wrong.
fn sound_statements() -> impl Strategy<Value = String> {
    let number =
        || prop_oneof![any::<i32>().prop_map(|n| n.to_string()), Just("NULL".to_owned()), Just("7".to_owned())];
    let time = prop_oneof![
        (0..1_000_000_000_000_i64).prop_map(|ms| ms.to_string()),
        prop::sample::select(&["'2024-01-01 00:00:00'", "'2024-01-01 00:00:01.5+02'", "NOW"][..])
            .prop_map(str::to_owned),
    ];
    let name = prop::sample::select(&["'d1'", "'d2'", "'d3'", "\"d1\"", "'d''4'"][..]);
    let float =
        prop_oneof![any::<f64>().prop_filter("a number", |x| x.is_finite()).prop_map(|x| x.to_string()), number()];
    let row = (name, time, number(), float);
    prop::collection::vec((prop::bool::ANY, prop::collection::vec(row, 1..20)), 1..4).prop_map(|parts| {
        let mut text = " insert into".to_owned();
        for (by_name, rows) in parts {
            text += if by_name { " st (c, tbname, ts, a) values" } else { " d1 (ts, a, c) values" };
            for (name, time, a, c) in rows {
                let row = if by_name { format!("({c},{name}, {time},{a})") } else { format!("( {time} ,{a},{c} )") };
                text += &row;
            }
        }
        text
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Whatever stands there, the ways agree.
    #[test]
    fn both_ways_agree_on_anything(text in statements()) {
        agree(&text, &Tables::new(Precision::Milli));
    }

    /// What is right is taken in one pass.
    #[test]
    fn one_pass_takes_what_is_right(text in sound_statements()) {
        prop_assert!(agree(&text, &Tables::new(Precision::Micro)).is_some(), "{}", text);
    }
}

/// The rows of executions of a prepared INSERT that share a stage, and those of the general way.
fn executed(text: &str, executions: &[&[Cell]]) -> (String, String) {
    let tables = Tables::new(Precision::Milli);
    let insert = parse_insert(text, &ParserOptions::default()).expect("it parses");
    let template = std::sync::Arc::new(Template::of(&insert).expect("parameters and literals"));
    let mut open = Open::new(std::sync::Arc::default(), reading());
    let once = || -> model::Result<String> {
        let Some(at) = open.add(&template, tables.resolve(&template.table).expect("the table is there")) else {
            return Ok("general".to_owned());
        };
        for cells in executions {
            assert_eq!(open.find(&template), Some(at));
            open.put(at, &mut |n, _| Ok(Given::Cell(cells[n].clone())))?;
        }
        Ok(print(&open.finish()))
    };
    let mut general = String::new();
    for cells in executions {
        let mut evaluate = |expr: &sqlparser::ast::Expr, _: &Column| {
            let text = expr.to_string();
            Ok(cells[text.trim_start_matches('$').parse::<usize>().expect("a parameter") - 1].clone())
        };
        match from_ast(&insert, &tables, &reading(), &mut evaluate) {
            Ok(batches) => {
                let printed = print(&batches);
                let (head, rows) = printed.split_once('\n').expect("rows");
                general += &if general.is_empty() { format!("{head}\n{rows}") } else { rows.to_owned() };
            }
            Err(error) => {
                general = describe(&error);
                break;
            }
        }
    }
    (once().unwrap_or_else(|error| describe(&error)), general)
}

#[test]
fn executions_of_a_template_share_a_stage() {
    let text = |text: &str| Cell::Text(text.as_bytes().to_vec());
    let binary = |number: i64| Cell::Binary(number.to_be_bytes().to_vec());
    let sound = "INSERT INTO st (tbname, ts, a, b) VALUES ($1, $2, -3, 'x'), ('d2', 5, $3, NULL)";
    let (once, general) =
        executed(sound, &[&[text("d1"), text("1000"), text("4")], &[text("d3"), binary(0), Cell::Null]]);
    assert_eq!(once, general);
    assert_eq!(once.lines().count(), 5, "{once}");
    for (wrong, cells) in [
        ("INSERT INTO d1 (ts, a) VALUES ($1, $2)", [text("1"), text("x")]),
        ("INSERT INTO d1 (ts, a) VALUES (1, 2), ($1, $2)", [Cell::Null, text("1")]),
        ("INSERT INTO d1 (ts, b) VALUES ($1, $2)", [text("1"), text("toolong")]),
        ("INSERT INTO d1 (ts, b) VALUES ($1, $2)", [text("1"), Cell::Text(vec![0xff])]),
        ("INSERT INTO st (tbname, ts) VALUES ($1, $2)", [text("a.b"), text("1")]),
        ("INSERT INTO d1 (ts, a) VALUES ($1, $2)", [text("9999999999999999"), text("1")]),
    ] {
        let (once, general) = executed(wrong, &[&cells]);
        assert_eq!(once, general, "{wrong}");
        assert!(once.starts_with("Error: "), "{wrong}: {once}");
    }
    for other in ["INSERT INTO p (id, name) VALUES ($1, $2)", "INSERT INTO st (tbname, ts, g) VALUES ('d1', $1, $2)"] {
        assert_eq!(executed(other, &[]).0, "general", "{other}");
    }
}

#[test]
fn a_template_is_only_parameters_and_literals() {
    for text in [
        "INSERT INTO d1 VALUES ($1, $2 + 1)",
        "INSERT INTO d1 VALUES (now, $1)",
        "INSERT INTO d1 VALUES ($1, DEFAULT)",
        "INSERT INTO d9 USING st TAGS ('x', 1) VALUES ($1)",
        "INSERT INTO d1 VALUES ($1) d2 VALUES ($2)",
        "INSERT INTO d1 VALUES ($1), ($2, 1)",
        "INSERT INTO d1 SELECT $1",
    ] {
        let insert = parse_insert(text, &ParserOptions::default()).expect("it parses");
        assert!(Template::of(&insert).is_none(), "{text}");
    }
}
