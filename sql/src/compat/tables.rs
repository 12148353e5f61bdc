//! What stands in FROM: functions that return rows, and the names that PostgreSQL gives their columns.

use sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, Ident, ObjectName, TableAlias, TableAliasColumnDef, TableFactor,
};

use super::build::call;
use super::system_name;

/// Functions that are read as tables: the function and the table of `pg_catalog` that has its rows.
const TABLES: [(&str, &str); 4] = [
    ("pg_show_all_settings", "pg_settings"),
    ("pg_timezone_names", "pg_timezone_names"),
    ("pg_lock_status", "pg_locks"),
    ("pg_stat_get_activity", "pg_stat_activity"),
];

/// Rewrites one member of FROM.
pub(super) fn rewrite(table: &mut TableFactor) {
    match table {
        TableFactor::Table { name, args: Some(args), alias, .. } => {
            let Some(function) = system_name(name) else { return };
            if let Some((_, rows)) = TABLES.iter().find(|(name, _)| *name == function) {
                *name = ObjectName::from(vec![Ident::new("pg_catalog"), Ident::new(*rows)]);
                if let TableFactor::Table { args, .. } = table {
                    *args = None;
                }
                return;
            }
            *name = ObjectName::from(vec![Ident::new(function.clone())]);
            match function.as_str() {
                "generate_series" => {
                    name_column(alias, "generate_series");
                }
                "generate_subscripts" | "regexp_split_to_table" | "string_to_table" | "jsonb_array_elements_text" => {
                    let values: Option<Vec<Expr>> = args.args.iter().map(plain).collect();
                    let Some(mut values) = values else { return };
                    let list = match function.as_str() {
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
        TableFactor::UNNEST { alias, array_exprs, .. } if array_exprs.len() == 1 => name_column(alias, "unnest"),
        _ => {}
    }
}

fn plain(arg: &FunctionArg) -> Option<Expr> {
    match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
        _ => None,
    }
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
