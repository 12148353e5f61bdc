//! Catalog rows that never change: types, their functions, operators, collations, settings. From the lists in `data/`.

use std::sync::OnceLock;

use arrow::datatypes::DataType;
use model::{Error, Result};

use super::CatalogContext;
use super::relations::{SystemRelation, arrow_type};
use super::rows::{Cell, Rows};

const LISTS: &[(&str, &str)] = &[
    ("pg_am", include_str!("data/pg_am.tsv")),
    ("pg_collation", include_str!("data/pg_collation.tsv")),
    ("pg_opclass", include_str!("data/pg_opclass.tsv")),
    ("pg_operator", include_str!("data/pg_operator.tsv")),
    ("pg_proc", include_str!("data/pg_proc.tsv")),
    ("pg_type", include_str!("data/pg_type.tsv")),
];

const SETTINGS: &str = include_str!("data/pg_settings.tsv");

/// Oid of the schema `pg_catalog`.
pub const PG_CATALOG: u32 = 11;
/// Oid of the first superuser, who owns what the system has.
pub const OWNER: u32 = 10;

/// The columns that say in which schema and whose an object is, of each list.
fn home(relation: &str) -> &'static [(&'static str, u32)] {
    match relation {
        "pg_collation" => &[("collnamespace", PG_CATALOG), ("collowner", OWNER)],
        "pg_opclass" => &[("opcnamespace", PG_CATALOG), ("opcowner", OWNER)],
        "pg_operator" => &[("oprnamespace", PG_CATALOG), ("oprowner", OWNER)],
        "pg_proc" => &[("pronamespace", PG_CATALOG), ("proowner", OWNER)],
        "pg_type" => &[("typnamespace", PG_CATALOG), ("typowner", OWNER)],
        _ => &[],
    }
}

/// Adds the rows that `rows`' relation always has.
pub(super) fn fill(context: &CatalogContext, rows: &mut Rows) -> Result<()> {
    let relation = rows.relation();
    if relation.name == "pg_settings" {
        return settings(context, rows);
    }
    let Some((_, list)) = LISTS.iter().find(|(name, _)| *name == relation.name) else { return Ok(()) };
    let mut lines = list.lines();
    let header: Vec<&str> = lines.next().unwrap_or_default().split('\t').collect();
    for line in lines {
        let own = home(relation.name).iter().map(|(name, oid)| (*name, Cell::from(*oid)));
        let mut cells: Vec<_> = own.collect();
        for (name, text) in header.iter().zip(line.split('\t')) {
            cells.push((name, cell(relation, name, text)?));
        }
        match relation.name {
            "pg_type" => cells.push(("typisdefined", Cell::Bool(true))),
            "pg_proc" => {
                cells.extend([("prokind", "f".into()), ("proparallel", "s".into()), ("procost", Cell::Float(1.0))]);
            }
            _ => {}
        }
        rows.add(cells);
    }
    Ok(())
}

/// Reads one value of a list in the text format of COPY.
fn cell(relation: &SystemRelation, name: &str, text: &str) -> Result<Cell> {
    if text == "\\N" {
        return Ok(Cell::Null);
    }
    let column = relation.columns.iter().find(|of| of.name == name);
    let column = column.ok_or_else(|| Error::internal(format!("{} has no column {name}", relation.name)))?;
    let bad = |_| Error::internal(format!("{text} in the list of {}", relation.name));
    Ok(match arrow_type(column.pg_type) {
        DataType::Boolean => Cell::Bool(text == "t"),
        DataType::Int16 | DataType::Int32 | DataType::Int64 => Cell::Int(text.parse().map_err(bad)?),
        DataType::List(item) if item.data_type() == &DataType::Utf8 => {
            let inner = text.trim_matches(['{', '}']);
            Cell::Texts(inner.split(',').map(|part| part.trim_matches('"').to_owned()).collect())
        }
        DataType::List(_) => {
            let numbers: std::result::Result<_, _> =
                text.split(' ').filter(|of| !of.is_empty()).map(str::parse).collect();
            Cell::Ints(numbers.map_err(bad)?)
        }
        _ => Cell::Text(text.to_owned()),
    })
}

/// Name and default of every setting that clients ask for.
fn defaults() -> &'static [(&'static str, &'static str)] {
    static ALL: OnceLock<Vec<(&str, &str)>> = OnceLock::new();
    ALL.get_or_init(|| {
        let pair = |line: &'static str| {
            let (name, rest) = line.split_once('\t')?;
            Some((name, rest.split('\t').next()?))
        };
        SETTINGS.lines().skip(1).filter_map(pair).collect()
    })
}

/// The default of a setting, by its name in any case.
#[must_use]
pub fn default_setting(name: &str) -> Option<&'static str> {
    defaults().iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| *value)
}

/// `pg_settings`: the list, with the session's values.
fn settings(context: &CatalogContext, rows: &mut Rows) -> Result<()> {
    let mut lines = SETTINGS.lines();
    let header: Vec<&str> = lines.next().unwrap_or_default().split('\t').collect();
    for line in lines {
        let mut cells = Vec::new();
        for (name, text) in header.iter().zip(line.split('\t')) {
            cells.push((*name, cell(rows.relation(), name, text)?));
        }
        if let Some(value) = line.split('\t').next().and_then(|name| context.setting(name)) {
            let own = default_setting(line.split('\t').next().unwrap_or_default()) != Some(value.as_str());
            cells.push(("setting", value.into()));
            cells.push(("source", if own { "session" } else { "default" }.into()));
        }
        cells.push(("pending_restart", Cell::Bool(false)));
        rows.add(cells);
    }
    Ok(())
}

/// Name and oid of every function in `pg_proc`.
fn functions() -> &'static [(u32, &'static str)] {
    static ALL: OnceLock<Vec<(u32, &str)>> = OnceLock::new();
    ALL.get_or_init(|| {
        let list = LISTS.iter().find(|(name, _)| *name == "pg_proc").map_or("", |(_, list)| list);
        let pair = |line: &'static str| {
            let mut parts = line.split('\t');
            Some((parts.next()?.parse().ok()?, parts.next()?))
        };
        list.lines().skip(1).filter_map(pair).collect()
    })
}

/// The name of a function by its oid.
#[must_use]
pub fn function_name(oid: u32) -> Option<&'static str> {
    functions().iter().find(|(of, _)| *of == oid).map(|(_, name)| *name)
}

/// The oid of a function by its name.
#[must_use]
pub fn function_oid(name: &str) -> Option<u32> {
    functions().iter().find(|(_, of)| *of == name).map(|(oid, _)| *oid)
}
