//! What stands in FROM: functions that return rows, and the names that PostgreSQL gives their columns.

use sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, Ident, ObjectName, Parens, SetExpr, TableAlias, TableAliasColumnDef,
    TableFactor, Values,
};

use super::build::call;
use super::system_name;

/// Functions that are read as tables: the function and the table of `pg_catalog` that has its rows.
const TABLES: [(&str, &str); 5] = [
    ("pg_get_keywords", "perf_keywords"),
    ("pg_show_all_settings", "pg_settings"),
    ("pg_timezone_names", "pg_timezone_names"),
    ("pg_lock_status", "pg_locks"),
    ("pg_stat_get_activity", "pg_stat_activity"),
];

/// Rewrites one member of FROM.
pub(super) fn rewrite(table: &mut TableFactor) {
    match table {
        TableFactor::Table { name, args: Some(args), alias, with_ordinality, .. } => {
            let Some(function) = system_name(name) else { return };
            if let Some((_, rows)) = TABLES.iter().find(|(name, _)| *name == function) {
                let schema = if rows.starts_with("perf_") { "performance_schema" } else { "pg_catalog" };
                *name = ObjectName::from(vec![Ident::new(schema), Ident::new(*rows)]);
                if let TableFactor::Table { args, .. } = table {
                    *args = None;
                }
                return;
            }
            *name = ObjectName::from(vec![Ident::new(function.clone())]);
            match function.as_str() {
                "generate_series" => {
                    let values: Option<Vec<Expr>> = args.args.iter().map(plain).collect();
                    if let Some(values) = values {
                        *table = super::series::table(values, *with_ordinality, alias.take());
                    }
                }
                "string_to_array" | "current_schemas" | "current_database" | "current_user" | "version" | "now"
                | "current_setting" | "parse_ident" | "pg_backend_pid" => {
                    let values: Option<Vec<Expr>> = args.args.iter().map(plain).collect();
                    let Some(values) = values else { return };
                    let mut alias = alias.take();
                    name_column(&mut alias, &function);
                    *table = one_row(call(&function, values), alias);
                }
                "unnest"
                | "generate_subscripts"
                | "regexp_split_to_table"
                | "string_to_table"
                | "jsonb_array_elements_text" => {
                    let values: Option<Vec<Expr>> = args.args.iter().map(plain).collect();
                    let Some(mut values) = values else { return };
                    let list = match function.as_str() {
                        "unnest" => values.swap_remove(0),
                        "generate_subscripts" => call("pg_subscripts", vec![values.swap_remove(0)]),
                        "string_to_table" => call("string_to_array", values),
                        _ => return,
                    };
                    let mut alias = alias.take();
                    name_column(&mut alias, &function);
                    *table = unnest(list, alias);
                }
                _ => {}
            }
        }
        // LATERAL before a function only says what holds anyway.
        TableFactor::Function { lateral: true, name, args, with_ordinality, alias } => {
            if system_name(name).as_deref() == Some("generate_series")
                && let Some(values) = args.iter().map(plain).collect()
            {
                *table = super::series::table(values, *with_ordinality, alias.take());
            }
        }
        TableFactor::UNNEST { alias, array_exprs, .. } if array_exprs.len() == 1 => name_column(alias, "unnest"),
        TableFactor::UNNEST { alias, array_exprs, .. } => name_columns(alias, "unnest", array_exprs.len()),
        _ => {}
    }
}

fn plain(arg: &FunctionArg) -> Option<Expr> {
    match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
        _ => None,
    }
}

/// `(SELECT value) AS alias`: a function in FROM that gives one value.
fn one_row(value: Expr, alias: Option<TableAlias>) -> TableFactor {
    let body = SetExpr::Values(Values {
        explicit_row: false,
        value_keyword: false,
        rows: vec![Parens::with_empty_span(vec![value])],
    });
    TableFactor::Derived { lateral: false, subquery: Box::new(super::build::query(body)), alias, sample: None }
}

fn unnest(list: Expr, alias: Option<TableAlias>) -> TableFactor {
    TableFactor::UNNEST {
        alias,
        array_exprs: vec![list],
        with_offset: false,
        with_offset_alias: None,
        with_ordinality: false,
    }
}

/// Several columns of a function are all called as the function. Behind the mark of `crate::plan::error::shown` they
/// are told apart.
fn name_columns(alias: &mut Option<TableAlias>, function: &str, count: usize) {
    let alias = alias.get_or_insert_with(|| TableAlias {
        explicit: true,
        name: Ident::new(function),
        columns: Vec::new(),
        at: None,
    });
    for at in alias.columns.len()..count {
        let name = if at == 0 { function.to_owned() } else { format!("{function}\u{1}{at}") };
        alias.columns.push(TableAliasColumnDef { name: Ident::with_quote('"', name), data_type: None });
    }
}

/// The one column of a function in FROM is called as the table's alias, or as the function.
fn name_column(alias: &mut Option<TableAlias>, function: &str) {
    let alias = alias.get_or_insert_with(|| TableAlias {
        explicit: true,
        name: Ident::new(function),
        columns: Vec::new(),
        at: None,
    });
    if alias.columns.is_empty() {
        alias.columns.push(TableAliasColumnDef { name: alias.name.clone(), data_type: None });
    }
}
