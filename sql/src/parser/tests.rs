//! Golden scripts of the parser (`sql/testscripts/parser`): a line `> text` is parsed, and what it says is printed.
//!
//! The prefix `strings:` sets `double_quotes = 'string'`. `[statements]` prints offset and text of each statement too.

use std::error::Error;
use std::fmt::Write;

use super::{ParserOptions, parse, parse_insert};
use crate::statement::{Insert, InsertSource, Statement, Using};

struct Script;

impl goldenscript::Runner for Script {
    type Command = goldenscript::Command;

    fn run(
        &mut self,
        command: &goldenscript::Command,
        context: &goldenscript::Context,
    ) -> Result<String, Box<dyn Error>> {
        let options = ParserOptions { double_quotes_are_strings: context.prefix.as_deref() == Some("strings") };
        let mut out = String::new();
        let parsed = match parse(&command.name, &options) {
            Ok(parsed) => parsed,
            Err(error) => return Ok(describe(&error)),
        };
        for one in parsed {
            if context.tags.contains("statements") {
                writeln!(out, "at {}: {:?}", one.offset, one.text)?;
            }
            writeln!(out, "{}", print(&one.statement))?;
            if matches!(one.statement, Statement::InsertValues) {
                match parse_insert(&one.text, &options) {
                    Ok(insert) => writeln!(out, "  {}", print_insert(&insert))?,
                    Err(error) => write!(out, "  {}", describe(&error))?,
                }
            }
        }
        Ok(out)
    }
}

fn describe(error: &model::Error) -> String {
    let fields = error.fields();
    let mut out = format!("Error: {} {}", fields.state.code(), fields.message);
    if let Some(position) = fields.position {
        write!(out, " (position {position})").expect("writes to memory");
    }
    for (name, text) in [("detail", &fields.detail), ("hint", &fields.hint)] {
        if let Some(text) = text {
            write!(out, "\n  {name}: {text}").expect("writes to memory");
        }
    }
    out + "\n"
}

fn print(statement: &Statement) -> String {
    match statement {
        Statement::Query(query) => format!("query: {query}"),
        Statement::Explain { analyze, verbose, json, statement } => {
            format!("explain(analyze={analyze}, verbose={verbose}, json={json}) {}", print(statement))
        }
        Statement::Insert(insert) => print_insert(insert),
        Statement::Delete { table, condition } => format!("delete {table:?} where {}", or_none(condition.as_ref())),
        Statement::Update { table, assignments, condition } => {
            let sets: Vec<_> = assignments.iter().map(|(column, value)| format!("{column} = {value}")).collect();
            format!("update {table:?} set {} where {}", sets.join(", "), or_none(condition.as_ref()))
        }
        Statement::Copy(copy) => {
            let query = or_none(copy.query.as_ref());
            format!(
                "copy {:?} columns={:?} query={query} from={} {:?}",
                copy.table, copy.columns, copy.from, copy.format
            )
        }
        Statement::CreateTableAs { table, query, if_not_exists } => {
            format!("create {table:?} if_not_exists={if_not_exists} as {query}")
        }
        Statement::CreateChildren(children) => {
            let children = children.iter().map(|child| {
                let using = print_using(&child.using);
                format!("{:?} if_not_exists={} {using}", child.table, child.if_not_exists)
            });
            format!("create children: {}", children.collect::<Vec<_>>().join("; "))
        }
        Statement::Declare { name, hold, binary, scroll, query } => {
            format!("declare {name} hold={hold} binary={binary} scroll={scroll} {query}")
        }
        Statement::Execute { name, arguments } => format!("execute {name} ({})", list(arguments)),
        Statement::CreateTable(create) => print_table(create),
        Statement::AlterTable { table, changes, stable, if_exists } => {
            let mut out = format!("alter {table:?} stable={stable} if_exists={if_exists}");
            for change in changes {
                match change {
                    crate::statement::AlterTable::SetTags(values) => {
                        for (tag, value) in values {
                            out += &format!("\n  set tag {tag:?} = {value}");
                        }
                    }
                    other => out += &format!("\n  {other:?}"),
                }
            }
            out
        }
        other => format!("{other:?}"),
    }
}

fn print_table(create: &crate::statement::CreateTable) -> String {
    let mut out = format!(
        "create table {:?} stable={} if_not_exists={} temporary={} kind={:?} serial={} key={:?} comment={:?} \
                 ignored={:?}",
        create.table,
        create.stable,
        create.if_not_exists,
        create.temporary,
        create.kind,
        create.serial,
        create.primary_key,
        create.comment,
        create.ignored
    );
    for (what, columns) in [("column", Some(&create.columns)), ("tag", create.tags.as_ref())] {
        for column in columns.into_iter().flatten() {
            write!(out, "\n  {what} {} {}", column.name, column.data_type).expect("writes to memory");
            if !column.nullable {
                out += " NOT NULL";
            }
            if let Some(default) = &column.default {
                out += &format!(" DEFAULT {default}");
            }
            if column.compression != model::schema::Compression::default() {
                out += &format!(" {:?}", column.compression);
            }
            if let Some(comment) = &column.comment {
                out += &format!(" COMMENT {comment:?}");
            }
        }
    }
    out
}

fn or_none<T: std::fmt::Display>(value: Option<&T>) -> String {
    value.map_or("(none)".to_owned(), T::to_string)
}

fn list<T: std::fmt::Display>(values: &[T]) -> String {
    values.iter().map(T::to_string).collect::<Vec<_>>().join(", ")
}

fn print_using(using: &Using) -> String {
    format!("using {:?} tags={:?} ({}) at {:?}", using.stable, using.tags, list(&using.values), using.positions)
}

fn print_insert(insert: &Insert) -> String {
    let mut out = format!("insert on_conflict={:?} returning={}", insert.on_conflict, insert.returning);
    for target in &insert.targets {
        write!(out, "\n  into {:?}", target.table).expect("writes to memory");
        if let Some(using) = &target.using {
            out += &format!(" {}", print_using(using));
        }
        if let Some(columns) = &target.columns {
            out += &format!(" columns={columns:?}");
        }
        match &target.source {
            InsertSource::Values(rows) => {
                for row in rows {
                    out += &format!("\n    row at {}: ({}) at {:?}", row.position, list(&row.values), row.positions);
                }
            }
            InsertSource::Query(query) => out += &format!("\n    {query}"),
            InsertSource::File(file) => out += &format!("\n    file {file:?}"),
            InsertSource::Default => out += "\n    default values",
        }
    }
    out
}

macro_rules! scripts {
    ($($name:ident)+) => { $(
        #[test]
        fn $name() {
            let path = concat!("testscripts/parser/", stringify!($name));
            goldenscript::run(&mut Script, path).expect("the script runs and its output is as before");
        }
    )+ };
}

scripts! { lexical nesting select window insert database table alter show session copy user other misread }

#[test]
fn deep_statements_are_refused_quickly() {
    let options = ParserOptions::default();
    let shapes: [fn(usize) -> String; 16] = [
        |n| format!("SELECT {}1{}", "(".repeat(n), ")".repeat(n)),
        |n| format!("SELECT {}1{}", "f(".repeat(n), ")".repeat(n)),
        |n| format!("SELECT {}1{}", "(SELECT ".repeat(n), ")".repeat(n)),
        |n| format!("SELECT * FROM {}t{}", "(".repeat(n), " JOIN u ON true)".repeat(n)),
        |n| format!("SELECT * FROM {}t{}", "(SELECT * FROM ".repeat(n), ") x".repeat(n)),
        |n| format!("SELECT {}1{}", "CASE WHEN a THEN ".repeat(n), " END".repeat(n)),
        |n| format!("SELECT {}1{}", "CAST(".repeat(n), " AS int)".repeat(n)),
        |n| format!("SELECT {}1{}", "SUBSTRING(".repeat(n), " FROM 1)".repeat(n)),
        |n| format!("SELECT {}1{}", "ARRAY[".repeat(n), "]".repeat(n)),
        |n| format!("SELECT {}1", "NOT ".repeat(n)),
        |n| format!("SELECT {}1", "- ".repeat(n)),
        |n| format!("SELECT 1{}", " + 1".repeat(n)),
        |n| format!("SELECT 1{}", " OR a = 1".repeat(n)),
        |n| format!("SELECT 1{}", "::int".repeat(n)),
        |n| format!("SELECT 1, 2{}", " UNION SELECT 1, 2".repeat(n)),
        |n| format!("INSERT INTO t VALUES ({}1{})", "(".repeat(n), ")".repeat(n)),
    ];
    // A small stack, as a server's worker threads have.
    let body = move || {
        for shape in shapes {
            for depth in [10, 16, 100, 127, 400, 999, 1_000, 100_000] {
                let text = shape(depth);
                let result = parse(&text, &options).map(|mut parsed| {
                    if matches!(parsed[0].statement, Statement::InsertValues) {
                        parsed[0].statement = Statement::Insert(Box::new(parse_insert(&text, &options)?));
                    }
                    Ok::<_, model::Error>(parsed)
                });
                match result.and_then(|parsed| parsed) {
                    Ok(parsed) => {
                        assert!(depth < 1_000, "{}", text.get(..60).unwrap_or(&text));
                        drop(parsed);
                    }
                    Err(error) => {
                        let state = error.state();
                        assert_eq!(
                            state.code(),
                            "54001",
                            "{error} at depth {depth}: {}",
                            text.get(..40).unwrap_or(&text)
                        );
                        assert!(depth > 16, "{error}: {text}");
                    }
                }
            }
        }
    };
    let thread = std::thread::Builder::new().stack_size(2 << 20).spawn(body).expect("a thread can be started");
    thread.join().expect("no panic");
}

#[test]
fn broken_nested_statements_do_not_double_with_each_level() {
    let shapes: [fn(usize) -> String; 5] = [
        |n| format!("SELECT {}1", "CAST(".repeat(n)),
        |n| format!("SELECT {}1 FROM FROM", "SUBSTRING(".repeat(n)),
        |n| format!("SELECT {}1 1", "f(".repeat(n)),
        |n| format!("SELECT {}1 1", "CASE WHEN ".repeat(n)),
        |n| format!("SELECT * FROM {}t t t", "(".repeat(n)),
    ];
    for shape in shapes {
        for depth in [8, 16, 60, 120] {
            assert!(parse(&shape(depth), &ParserOptions::default()).is_err());
        }
    }
}
