//! Oids of what the catalog has, and names of what an oid means.
//!
//! Oids follow from the ids of the catalog, so that every dnode and every restart gives the same ones.

use model::catalog::{Database, User};
use model::schema::{Column, Relation};
use model::{DataType, DatabaseId, Suid};

use super::{CatalogContext, relations, statics};
use crate::pgtype::PgType;
use crate::pgvalue::OidNames;

/// The first oid that is not PostgreSQL's own.
pub const FIRST_OID: u32 = 16_384;
/// Oid of the schema `public`.
pub const PUBLIC: u32 = 2200;
/// Oid of the schema `information_schema`.
pub const INFORMATION_SCHEMA: u32 = 13_000;
/// Oid of the access method `heap`.
pub const HEAP: u32 = 2;
/// Oid of the access method `btree`.
pub const BTREE: u32 = 403;
/// Oid of the role `pg_database_owner`, which owns the schema `public`.
pub const DATABASE_OWNER: u32 = 6171;
/// Added to a relation's oid: its primary key's index, and the constraint.
const INDEX: u32 = 0x4000_0000;

/// The oid of a relation or view.
#[must_use]
pub const fn relation_oid(suid: Suid) -> u32 {
    FIRST_OID + suid.0
}

/// The oid of the index of a relation's primary key.
#[must_use]
pub const fn index_oid(suid: Suid) -> u32 {
    relation_oid(suid) + INDEX
}

/// The oid of a database.
#[must_use]
pub const fn database_oid(id: DatabaseId) -> u32 {
    FIRST_OID + id.0
}

/// The oid of a user: 10 for `root`, otherwise one that its name gives.
#[must_use]
pub fn user_oid(name: &str) -> u32 {
    if name == "root" { statics::OWNER } else { 0x2000_0000 | (model::hash::table_hash(name) >> 4) }
}

/// The user of this oid.
#[must_use]
pub fn user_of(context: &CatalogContext, oid: u32) -> Option<String> {
    if oid == DATABASE_OWNER {
        return Some("pg_database_owner".into());
    }
    let named = context.catalog.users.values().find(|user: &&User| user_oid(&user.name) == oid);
    named.map(|user| user.name.clone()).or_else(|| (oid == statics::OWNER).then(|| "root".to_owned()))
}

/// Columns and then tags, in the order of `SELECT *`; the number of a column is its place here, from 1.
pub fn columns(relation: &Relation) -> impl Iterator<Item = (i16, &Column)> {
    relation.columns.iter().chain(&relation.tags).zip(1..).map(|(column, number)| (number, column))
}

/// The PostgreSQL type and type modifier of a column's type.
#[must_use]
pub fn column_type(of: DataType) -> (PgType, i32) {
    match of {
        DataType::Timestamp => (PgType::TIMESTAMPTZ, -1),
        DataType::Bool => (PgType::BOOL, -1),
        DataType::TinyInt | DataType::SmallInt | DataType::UTinyInt => (PgType::INT2, -1),
        DataType::Int | DataType::USmallInt => (PgType::INT4, -1),
        DataType::BigInt | DataType::UInt => (PgType::INT8, -1),
        DataType::UBigInt => (PgType::NUMERIC, -1),
        DataType::Float => (PgType::FLOAT4, -1),
        DataType::Double => (PgType::FLOAT8, -1),
        DataType::Varchar(n) | DataType::NChar(n) => (PgType::VARCHAR, i32::try_from(n).map_or(-1, |n| n + 4)),
        DataType::Varbinary(_) | DataType::Geometry(_) => (PgType::BYTEA, -1),
        DataType::Json => (PgType::JSON, -1),
        DataType::Decimal(p, s) => (PgType::NUMERIC, ((i32::from(p) << 16) | (i32::from(s) & 0x7ff)) + 4),
        DataType::Text => (PgType::TEXT, -1),
        DataType::Date => (PgType::DATE, -1),
    }
}

/// The name of a type as `format_type` gives it. `typmod` -1 is none given; None is a call with NULL.
#[must_use]
pub fn format_type(oid: u32, typmod: Option<i32>) -> String {
    let Some(of) = PgType::from_oid(oid) else {
        return if oid == 0 { "-".into() } else { "???".into() };
    };
    if of.element != 0 {
        return format!("{}[]", format_type(of.element, typmod));
    }
    let modifier = typmod.filter(|typmod| *typmod >= 0);
    let with = |base: &str, rest: &str, modifier: Option<String>| match modifier {
        Some(modifier) => format!("{base}({modifier}){rest}"),
        None => format!("{base}{rest}"),
    };
    match of {
        PgType::BOOL => "boolean".into(),
        PgType::CHAR => "\"char\"".into(),
        PgType::INT2 => "smallint".into(),
        PgType::INT4 => "integer".into(),
        PgType::INT8 => "bigint".into(),
        PgType::FLOAT4 => "real".into(),
        PgType::FLOAT8 => "double precision".into(),
        PgType::VARCHAR => with("character varying", "", modifier.map(|n| (n - 4).to_string())),
        PgType::BPCHAR => match (typmod, modifier) {
            (_, Some(n)) => format!("character({})", n - 4),
            (None, _) => "character".into(),
            _ => "bpchar".into(),
        },
        PgType::NUMERIC => with("numeric", "", modifier.map(numeric_modifier)),
        PgType::TIME => with("time", " without time zone", modifier.map(|n| n.to_string())),
        PgType::TIMESTAMP => with("timestamp", " without time zone", modifier.map(|n| n.to_string())),
        PgType::TIMESTAMPTZ => with("timestamp", " with time zone", modifier.map(|n| n.to_string())),
        other => other.name.into(),
    }
}

fn numeric_modifier(typmod: i32) -> String {
    let (precision, scale) = numeric(typmod);
    format!("{precision},{scale}")
}

/// Precision and scale in the type modifier of a numeric.
#[must_use]
pub const fn numeric(typmod: i32) -> (i32, i32) {
    let digits = typmod - 4;
    (digits >> 16, ((digits & 0x7ff) ^ 1024) - 1024)
}

/// The type that a name means, as `format_type` and SQL spell it.
#[must_use]
pub fn type_of_name(text: &str) -> Option<PgType> {
    let text = text.trim();
    let text = text.strip_prefix("pg_catalog.").unwrap_or(text);
    if let Some(element) = text.strip_suffix("[]") {
        return type_of_name(element)?.array_of();
    }
    if let Some(quoted) = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        return relations::type_named(quoted);
    }
    let lower = text.to_ascii_lowercase();
    let base = match lower.split_once('(') {
        Some((base, rest)) => format!("{}{}", base.trim(), rest.split_once(')').map_or("", |(_, rest)| rest)),
        None => lower,
    };
    Some(match base.as_str() {
        "boolean" => PgType::BOOL,
        "smallint" => PgType::INT2,
        "integer" | "int" => PgType::INT4,
        "bigint" => PgType::INT8,
        "real" => PgType::FLOAT4,
        "double precision" | "float" => PgType::FLOAT8,
        "character varying" => PgType::VARCHAR,
        "character" | "char" => PgType::BPCHAR,
        "decimal" => PgType::NUMERIC,
        "time without time zone" => PgType::TIME,
        "timestamp without time zone" => PgType::TIMESTAMP,
        "timestamp with time zone" => PgType::TIMESTAMPTZ,
        other => return relations::type_named(other),
    })
}

/// The oid of a type by its name, also of those that no column here can have.
#[must_use]
pub fn type_oid(name: &str) -> Option<u32> {
    const OTHERS: [(&str, u32); 8] = [
        ("trigger", 2279),
        ("event_trigger", 3838),
        ("record", 2249),
        ("cstring", 2275),
        ("any", 2276),
        ("anyarray", 2277),
        ("anyelement", 2283),
        ("internal", 2281),
    ];
    let other = || OTHERS.iter().find(|(of, _)| *of == name.trim().trim_matches('"')).map(|(_, oid)| *oid);
    type_of_name(name).map(|of| of.oid).or_else(other)
}

/// An identifier as PostgreSQL prints it: quoted if it would not read back otherwise.
#[must_use]
pub fn quote_ident(name: &str) -> String {
    let plain = |c: char| c.is_ascii_lowercase() || c == '_';
    let safe = name.starts_with(plain) && name.chars().all(|c| plain(c) || c.is_ascii_digit() || c == '$');
    if safe && !is_reserved(name) { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

/// Whether PostgreSQL 15 keeps a word for itself, so that it must be quoted as an identifier.
#[must_use]
pub fn is_reserved(word: &str) -> bool {
    RESERVED.binary_search(&word).is_ok()
}

/// The words that PostgreSQL 15 keeps for itself, in order.
#[rustfmt::skip]
pub const RESERVED: &[&str] = &[
    "all", "analyse", "analyze", "and", "any", "array", "as", "asc", "asymmetric", "authorization", "between",
    "bigint", "binary", "bit", "boolean", "both", "case", "cast", "char", "character", "check", "coalesce", "collate",
    "collation", "column", "concurrently", "constraint", "create", "cross", "current_catalog", "current_date",
    "current_role", "current_schema", "current_time", "current_timestamp", "current_user", "dec", "decimal",
    "default", "deferrable", "desc", "distinct", "do", "else", "end", "except", "exists", "extract", "false", "fetch",
    "float", "for", "foreign", "freeze", "from", "full", "grant", "greatest", "group", "grouping", "having", "ilike",
    "in", "initially", "inner", "inout", "int", "integer", "intersect", "interval", "into", "is", "isnull", "join",
    "lateral", "leading", "least", "left", "like", "limit", "localtime", "localtimestamp", "national", "natural",
    "nchar", "none", "normalize", "not", "notnull", "null", "nullif", "numeric", "offset", "on", "only", "or",
    "order", "out", "outer", "overlaps", "overlay", "placing", "position", "precision", "primary", "real",
    "references", "returning", "right", "row", "select", "session_user", "setof", "similar", "smallint", "some",
    "substring", "symmetric", "table", "tablesample", "then", "time", "timestamp", "to", "trailing", "treat", "trim",
    "true", "union", "unique", "user", "using", "values", "varchar", "variadic", "verbose", "when", "where", "window",
    "with", "xmlattributes", "xmlconcat", "xmlelement", "xmlexists", "xmlforest", "xmlnamespaces", "xmlparse",
    "xmlpi", "xmlroot", "xmlserialize", "xmltable",
];

/// Splits a name such as `a."B".c` into its parts, folded; None if it is not a name.
#[must_use]
pub fn parse_ident(text: &str) -> Option<Vec<String>> {
    let mut parts = Vec::new();
    let mut rest = text.trim();
    loop {
        if let Some(quoted) = rest.strip_prefix('"') {
            let mut part = String::new();
            let mut tail = quoted;
            loop {
                let end = tail.find('"')?;
                part.push_str(&tail[..end]);
                tail = &tail[end + 1..];
                match tail.strip_prefix('"') {
                    Some(more) => {
                        part.push('"');
                        tail = more;
                    }
                    None => break,
                }
            }
            parts.push(part);
            rest = tail;
        } else {
            let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$')).unwrap_or(rest.len());
            if end == 0 || rest.starts_with(|c: char| c.is_ascii_digit()) {
                return None;
            }
            parts.push(rest[..end].to_lowercase());
            rest = &rest[end..];
        }
        rest = rest.trim_start();
        match rest.strip_prefix('.') {
            Some(more) => rest = more.trim_start(),
            None if rest.is_empty() => return Some(parts),
            None => return None,
        }
    }
}

/// The oid of a relation, view, index or system relation that a name means in this session.
#[must_use]
pub fn relation_of_name(context: &CatalogContext, text: &str) -> Option<u32> {
    let mut parts = parse_ident(text)?;
    let name = parts.pop()?;
    let schema = parts.pop();
    let system = |schema: &str| relations::find(schema, &name).map(|of| of.oid);
    let own = |database: &Database| {
        let relation = database.relations.get(&name).map(|of| relation_oid(of.suid));
        let index = || {
            let table = database.relations.values().find(|of| index_name(of).as_deref() == Some(&name))?;
            Some(index_oid(table.suid))
        };
        relation.or_else(|| database.views.get(&name).map(|of| relation_oid(of.suid))).or_else(index)
    };
    let current = || context.current().and_then(|database| own(database));
    match schema.as_deref() {
        None => system("pg_catalog").or_else(current),
        Some("public") => current(),
        Some(schema) => system(schema).or_else(|| context.catalog.database(schema).and_then(|of| own(of))),
    }
}

/// What PostgreSQL would call the index of a relation's primary key; None without one.
#[must_use]
pub fn index_name(relation: &Relation) -> Option<String> {
    (!relation.primary_key.is_empty() && !relation.is_time_series()).then(|| format!("{}_pkey", relation.name))
}

/// The name of a relation by its oid, with its schema when the search path would not find it.
#[must_use]
pub fn name_of_relation(context: &CatalogContext, oid: u32) -> Option<String> {
    if let Some(system) = relations::all().iter().find(|of| of.oid == oid) {
        let hidden = system.schema != "pg_catalog";
        return Some(if hidden { format!("{}.{}", system.schema, system.name) } else { system.name.to_owned() });
    }
    let database = context.current()?;
    let relation = database.relations.values().find(|of| relation_oid(of.suid) == oid).map(|of| of.name.clone());
    let view = || database.views.values().find(|of| relation_oid(of.suid) == oid).map(|of| of.name.clone());
    let index = || database.relations.values().find(|of| index_oid(of.suid) == oid).and_then(|of| index_name(of));
    let name = quote_ident(&relation.or_else(view).or_else(index)?);
    Some(if context.search_path.iter().any(|schema| schema == "public") { name } else { format!("public.{name}") })
}

/// The name of a schema by its oid.
#[must_use]
pub fn schema_name(oid: u32) -> Option<&'static str> {
    match oid {
        statics::PG_CATALOG => Some("pg_catalog"),
        PUBLIC => Some("public"),
        INFORMATION_SCHEMA => Some("information_schema"),
        _ => None,
    }
}

/// The oid of a schema by its name.
#[must_use]
pub fn schema_oid(name: &str) -> Option<u32> {
    [statics::PG_CATALOG, PUBLIC, INFORMATION_SCHEMA].into_iter().find(|oid| schema_name(*oid) == Some(name))
}

impl OidNames for CatalogContext {
    fn name(&self, kind: PgType, oid: u32) -> Option<String> {
        if oid == 0 {
            return Some("-".into());
        }
        match kind {
            PgType::REGCLASS => name_of_relation(self, oid),
            PgType::REGTYPE => PgType::from_oid(oid).map(|of| format_type(of.oid, Some(-1))),
            PgType::REGPROC => statics::function_name(oid).map(str::to_owned),
            PgType::REGNAMESPACE => schema_name(oid).map(str::to_owned),
            _ => None,
        }
    }
}
