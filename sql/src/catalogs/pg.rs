//! Rows of `pg_catalog` that follow from the cluster's catalog: databases, users, relations, columns, indexes.
//!
//! A relation that has no arm in [`fill`] and no list in [`super::statics`] is empty: this server has no such thing.

use std::sync::Arc;

use model::catalog::{Database, User};
use model::schema::Relation;

use super::names::{self, BTREE, HEAP, INFORMATION_SCHEMA, PUBLIC};
use super::relations::{self, SystemRelation};
use super::rows::{Cell, Rows, moment};
use super::statics::{OWNER, PG_CATALOG};
use super::{CatalogContext, Connection};
use crate::pgtype::PgType;

/// Adds the rows of `rows`' relation.
pub(super) fn fill(context: &CatalogContext, rows: &mut Rows) {
    match rows.relation().name {
        "pg_class" => classes(context, rows),
        "pg_attribute" => attributes(context, rows),
        "pg_attrdef" => defaults(context, rows),
        "pg_namespace" => namespaces(rows),
        "pg_database" => databases(context, rows),
        "pg_description" => descriptions(context, rows),
        "pg_index" => indexes(context, rows),
        "pg_constraint" => constraints(context, rows),
        "pg_roles" | "pg_authid" => roles(context, rows),
        "pg_user" | "pg_shadow" => users(context, rows),
        "pg_tables" => tables(context, rows),
        "pg_views" => views(context, rows),
        "pg_indexes" => index_list(context, rows),
        "pg_stat_all_tables" | "pg_stat_user_tables" => table_statistics(context, rows),
        "pg_stat_database" => database_statistics(context, rows),
        "pg_stat_activity" => activity(context, rows),
        "pg_stat_gssapi" | "pg_stat_ssl" => encryption(context, rows),
        "pg_tablespace" => tablespaces(rows),
        "pg_timezone_names" => timezones(context, rows),
        _ => {}
    }
}

/// The relations of the current database, by name.
pub(super) fn relations_of(context: &CatalogContext) -> impl Iterator<Item = &Arc<Relation>> {
    context.current().into_iter().flat_map(|database| database.relations.values())
}

/// The schemas that clients see, with their oids.
pub(super) const SCHEMAS: [(&str, u32); 3] =
    [("information_schema", INFORMATION_SCHEMA), ("pg_catalog", PG_CATALOG), ("public", PUBLIC)];

/// System relations that clients see: those of `performance_schema` have no schema that PostgreSQL knows.
pub(super) fn system_relations() -> impl Iterator<Item = (&'static SystemRelation, u32)> {
    relations::all().iter().filter_map(|of| Some((of, names::schema_oid(of.schema)?)))
}

fn classes(context: &CatalogContext, rows: &mut Rows) {
    let class = |oid: u32, name: &str, schema: u32, kind: &str, natts: usize| {
        let table = kind == "r";
        vec![
            ("oid", oid.into()),
            ("relname", name.into()),
            ("relnamespace", schema.into()),
            ("relowner", OWNER.into()),
            ("relam", if table { HEAP.into() } else { 0.into() }),
            ("relfilenode", if table { oid.into() } else { 0.into() }),
            ("reltuples", Cell::Float(-1.0)),
            ("relpersistence", "p".into()),
            ("relkind", kind.into()),
            ("relnatts", (natts as i64).into()),
            ("relispopulated", true.into()),
            ("relreplident", if table && schema == PUBLIC { "d" } else { "n" }.into()),
        ]
    };
    for (system, schema) in system_relations() {
        rows.add(class(system.oid, system.name, schema, system.kind, system.columns.len()));
    }
    for relation in relations_of(context) {
        let natts = relation.columns.len() + relation.tags.len();
        let mut cells = class(names::relation_oid(relation.suid), &relation.name, PUBLIC, "r", natts);
        let index = names::index_name(relation);
        cells.push(("relhasindex", index.is_some().into()));
        rows.add(cells);
        if let Some(index) = index {
            let mut cells = class(names::index_oid(relation.suid), &index, PUBLIC, "i", relation.primary_key.len());
            cells.push(("relam", BTREE.into()));
            cells.push(("reltuples", Cell::Float(0.0)));
            rows.add(cells);
        }
    }
    for view in context.current().into_iter().flat_map(|database| database.views.values()) {
        let natts = view_columns(context, &view.name).len();
        let mut cells = class(names::relation_oid(view.suid), &view.name, PUBLIC, "v", natts);
        cells.push(("relhasrules", true.into()));
        rows.add(cells);
    }
}

/// The columns of a view of the current database, as far as the server knows them.
pub(super) fn view_columns(context: &CatalogContext, name: &str) -> Vec<(String, PgType)> {
    let known = |database: &Arc<Database>| {
        let view = database.views.get(name)?;
        Some(context.observer.as_ref()?.view_columns(database, view))
    };
    context.current().and_then(known).unwrap_or_default()
}

/// `attalign` and `attstorage` of a type.
fn layout(of: PgType) -> (&'static str, &'static str) {
    let align = match of.len {
        1 => "c",
        2 => "s",
        8 | 16 if of != PgType::UUID => "d",
        64 => "c",
        _ if of == PgType::UUID => "c",
        _ => "i",
    };
    let storage = match of {
        PgType::NUMERIC => "m",
        _ if of.len == -1 => "x",
        _ => "p",
    };
    (align, storage)
}

/// `attbyval` of a type.
fn by_value(of: PgType) -> bool {
    matches!(of.len, 1 | 2 | 4 | 8)
}

/// The collation of a type: text has the default one, names have `C`.
pub(super) fn collation(of: PgType) -> u32 {
    let element = PgType::from_oid(of.element).unwrap_or(of);
    match element {
        PgType::TEXT | PgType::VARCHAR | PgType::BPCHAR => 100,
        PgType::NAME => 950,
        _ => 0,
    }
}

fn attribute(rows: &mut Rows, relation: u32, name: &str, number: i16, of: (PgType, i32), rest: [bool; 2]) {
    let (pg_type, typmod) = of;
    let (align, storage) = layout(pg_type);
    let [required, has_default] = rest;
    rows.add([
        ("attrelid", relation.into()),
        ("attname", name.into()),
        ("atttypid", pg_type.oid.into()),
        ("attstattarget", (-1).into()),
        ("attlen", pg_type.len.into()),
        ("attnum", number.into()),
        ("attndims", i64::from(pg_type.element != 0).into()),
        ("attcacheoff", (-1).into()),
        ("atttypmod", typmod.into()),
        ("attbyval", by_value(pg_type).into()),
        ("attalign", align.into()),
        ("attstorage", storage.into()),
        ("attnotnull", required.into()),
        ("atthasdef", has_default.into()),
        ("attislocal", true.into()),
        ("attcollation", collation(pg_type).into()),
    ]);
}

fn attributes(context: &CatalogContext, rows: &mut Rows) {
    for (system, _) in system_relations() {
        for (column, number) in system.columns.iter().zip(1..) {
            attribute(rows, system.oid, column.name, number, (column.pg_type, -1), [column.required, false]);
        }
    }
    for relation in relations_of(context) {
        let oid = names::relation_oid(relation.suid);
        for (number, column) in names::columns(relation) {
            let rest = [!column.nullable, column.default.is_some()];
            attribute(rows, oid, &column.name, number, names::column_type(column.data_type), rest);
        }
        if names::index_name(relation).is_some() {
            for (column, number) in key_columns(relation).zip(1..) {
                let of = names::column_type(column.1.data_type);
                attribute(rows, names::index_oid(relation.suid), &column.1.name, number, of, [false, false]);
            }
        }
    }
    for view in context.current().into_iter().flat_map(|database| database.views.values()) {
        for ((name, of), number) in view_columns(context, &view.name).iter().zip(1..) {
            attribute(rows, names::relation_oid(view.suid), name, number, (*of, -1), [false, false]);
        }
    }
}

/// The columns of a relation's primary key, in its order.
pub(crate) fn key_columns(relation: &Relation) -> impl Iterator<Item = (i16, &model::schema::Column)> {
    relation.primary_key.iter().filter_map(|id| names::columns(relation).find(|(_, column)| column.id == *id))
}

fn defaults(context: &CatalogContext, rows: &mut Rows) {
    let mut oid = names::FIRST_OID;
    for relation in relations_of(context) {
        for (number, column) in names::columns(relation) {
            let Some(default) = &column.default else { continue };
            rows.add([
                ("oid", oid.into()),
                ("adrelid", names::relation_oid(relation.suid).into()),
                ("adnum", number.into()),
                ("adbin", default.into()),
            ]);
            oid += 1;
        }
    }
}

fn namespaces(rows: &mut Rows) {
    for (name, oid) in SCHEMAS {
        let owner = if oid == PUBLIC { names::DATABASE_OWNER } else { OWNER };
        rows.add([("oid", oid.into()), ("nspname", name.into()), ("nspowner", owner.into())]);
    }
}

fn databases(context: &CatalogContext, rows: &mut Rows) {
    for database in context.catalog.databases.values() {
        rows.add([
            ("oid", names::database_oid(database.id).into()),
            ("datname", (&database.name).into()),
            ("datdba", OWNER.into()),
            ("encoding", 6.into()),
            ("datlocprovider", "c".into()),
            ("datallowconn", true.into()),
            ("datconnlimit", (-1).into()),
            ("dattablespace", 1663.into()),
            ("datcollate", "C.UTF-8".into()),
            ("datctype", "C.UTF-8".into()),
        ]);
    }
}

fn descriptions(context: &CatalogContext, rows: &mut Rows) {
    let mut add = |oid: u32, number: i16, text: &Option<String>| {
        let Some(text) = text else { return };
        rows.add([
            ("objoid", oid.into()),
            ("classoid", 1259.into()),
            ("objsubid", number.into()),
            ("description", text.into()),
        ]);
    };
    for relation in relations_of(context) {
        let oid = names::relation_oid(relation.suid);
        add(oid, 0, &relation.comment);
        for (number, column) in names::columns(relation) {
            add(oid, number, &column.comment);
        }
    }
}

fn key_numbers(relation: &Relation) -> Vec<i64> {
    key_columns(relation).map(|(number, _)| i64::from(number)).collect()
}

fn indexes(context: &CatalogContext, rows: &mut Rows) {
    for relation in relations_of(context).filter(|of| names::index_name(of).is_some()) {
        let keys = key_numbers(relation);
        let collations = key_columns(relation).map(|(_, of)| i64::from(collation(names::column_type(of.data_type).0)));
        rows.add([
            ("indexrelid", names::index_oid(relation.suid).into()),
            ("indrelid", names::relation_oid(relation.suid).into()),
            ("indnatts", (keys.len() as i64).into()),
            ("indnkeyatts", (keys.len() as i64).into()),
            ("indisunique", true.into()),
            ("indisprimary", true.into()),
            ("indimmediate", true.into()),
            ("indisvalid", true.into()),
            ("indisready", true.into()),
            ("indislive", true.into()),
            ("indcollation", Cell::Ints(collations.collect())),
            ("indclass", Cell::Ints(vec![0; keys.len()])),
            ("indoption", Cell::Ints(vec![0; keys.len()])),
            ("indkey", Cell::Ints(keys)),
        ]);
    }
}

fn constraints(context: &CatalogContext, rows: &mut Rows) {
    for relation in relations_of(context) {
        let Some(name) = names::index_name(relation) else { continue };
        rows.add([
            ("oid", names::index_oid(relation.suid).into()),
            ("conname", name.into()),
            ("connamespace", PUBLIC.into()),
            ("contype", "p".into()),
            ("convalidated", true.into()),
            ("conrelid", names::relation_oid(relation.suid).into()),
            ("conindid", names::index_oid(relation.suid).into()),
            ("confupdtype", " ".into()),
            ("confdeltype", " ".into()),
            ("confmatchtype", " ".into()),
            ("conislocal", true.into()),
            ("connoinherit", true.into()),
            ("conkey", Cell::Ints(key_numbers(relation))),
        ]);
    }
}

fn roles(context: &CatalogContext, rows: &mut Rows) {
    rows.add([
        ("oid", names::DATABASE_OWNER.into()),
        ("rolname", "pg_database_owner".into()),
        ("rolinherit", true.into()),
        ("rolconnlimit", (-1).into()),
    ]);
    for user in context.catalog.users.values() {
        let mut cells = vec![
            ("oid", names::user_oid(&user.name).into()),
            ("rolname", (&user.name).into()),
            ("rolsuper", user.superuser.into()),
            ("rolinherit", true.into()),
            ("rolcreaterole", user.superuser.into()),
            ("rolcreatedb", (user.createdb || user.superuser).into()),
            ("rolcanlogin", user.enabled.into()),
            ("rolreplication", user.superuser.into()),
            ("rolconnlimit", (-1).into()),
            ("rolbypassrls", user.superuser.into()),
        ];
        if rows.relation().name == "pg_roles" {
            cells.push(("rolpassword", "********".into()));
        }
        rows.add(cells);
    }
}

fn users(context: &CatalogContext, rows: &mut Rows) {
    let can_login = |user: &&User| user.enabled;
    for user in context.catalog.users.values().filter(can_login) {
        let mut cells = vec![
            ("usename", (&user.name).into()),
            ("usesysid", names::user_oid(&user.name).into()),
            ("usecreatedb", (user.createdb || user.superuser).into()),
            ("usesuper", user.superuser.into()),
            ("userepl", user.superuser.into()),
            ("usebypassrls", user.superuser.into()),
        ];
        if rows.relation().name == "pg_user" {
            cells.push(("passwd", "********".into()));
        }
        rows.add(cells);
    }
}

fn tables(context: &CatalogContext, rows: &mut Rows) {
    let mut add = |schema: &str, name: &str, index: bool| {
        rows.add([
            ("schemaname", schema.into()),
            ("tablename", name.into()),
            ("tableowner", "root".into()),
            ("hasindexes", index.into()),
            ("hasrules", false.into()),
            ("hastriggers", false.into()),
            ("rowsecurity", false.into()),
        ]);
    };
    system_relations().filter(|(of, _)| of.kind == "r").for_each(|(of, _)| add(of.schema, of.name, false));
    relations_of(context).for_each(|of| add("public", &of.name, names::index_name(of).is_some()));
}

fn views(context: &CatalogContext, rows: &mut Rows) {
    let mut add = |schema: &str, name: &str, query: Cell| {
        rows.add([
            ("schemaname", schema.into()),
            ("viewname", name.into()),
            ("viewowner", "root".into()),
            ("definition", query),
        ]);
    };
    system_relations().filter(|(of, _)| of.kind == "v").for_each(|(of, _)| add(of.schema, of.name, Cell::Null));
    for view in context.current().into_iter().flat_map(|database| database.views.values()) {
        add("public", &view.name, (&view.query).into());
    }
}

/// `CREATE UNIQUE INDEX …`, as `pg_get_indexdef` and `pg_indexes` give it.
pub(crate) fn index_definition(relation: &Relation) -> Option<String> {
    let name = names::index_name(relation)?;
    let keys: Vec<_> = key_columns(relation).map(|(_, column)| names::quote_ident(&column.name)).collect();
    let (name, table) = (names::quote_ident(&name), names::quote_ident(&relation.name));
    Some(format!("CREATE UNIQUE INDEX {name} ON public.{table} USING btree ({})", keys.join(", ")))
}

fn index_list(context: &CatalogContext, rows: &mut Rows) {
    for relation in relations_of(context) {
        let Some(definition) = index_definition(relation) else { continue };
        rows.add([
            ("schemaname", "public".into()),
            ("tablename", (&relation.name).into()),
            ("indexname", names::index_name(relation).into()),
            ("indexdef", definition.into()),
        ]);
    }
}

fn table_statistics(context: &CatalogContext, rows: &mut Rows) {
    for relation in relations_of(context) {
        rows.add([
            ("relid", names::relation_oid(relation.suid).into()),
            ("schemaname", "public".into()),
            ("relname", (&relation.name).into()),
        ]);
    }
}

fn database_statistics(context: &CatalogContext, rows: &mut Rows) {
    for database in context.catalog.databases.values() {
        rows.add([("datid", names::database_oid(database.id).into()), ("datname", (&database.name).into())]);
    }
}

/// Every session that the server knows of, or at least the one that asks.
pub(super) fn connections(context: &CatalogContext) -> Vec<Connection> {
    let known = context.observer.as_ref().map(|observer| observer.connections()).unwrap_or_default();
    if !known.is_empty() {
        return known;
    }
    vec![Connection {
        backend: context.backend,
        user: context.user.clone(),
        database: context.database.clone(),
        application: context.setting("application_name").unwrap_or_default(),
        address: context.address.clone(),
        login_ms: context.now_us / 1000,
        query_ms: context.now_us / 1000,
        query: String::new(),
        state: "active",
    }]
}

fn activity(context: &CatalogContext, rows: &mut Rows) {
    for of in connections(context) {
        let database = context.catalog.database(&of.database).map(|of| names::database_oid(of.id));
        rows.add([
            ("datid", database.into()),
            ("datname", (&of.database).into()),
            ("pid", of.backend.into()),
            ("usesysid", names::user_oid(&of.user).into()),
            ("usename", (&of.user).into()),
            ("application_name", (&of.application).into()),
            ("client_addr", (!of.address.is_empty()).then_some(&of.address).map(Cell::from).unwrap_or(Cell::Null)),
            ("backend_start", moment(of.login_ms)),
            ("query_start", moment(of.query_ms)),
            ("state_change", moment(of.query_ms)),
            ("state", of.state.into()),
            ("query", (&of.query).into()),
            ("backend_type", "client backend".into()),
        ]);
    }
}

fn encryption(context: &CatalogContext, rows: &mut Rows) {
    let gss = rows.relation().name == "pg_stat_gssapi";
    for of in connections(context) {
        let flags: &[&str] = if gss { &["gss_authenticated", "encrypted"] } else { &["ssl"] };
        rows.add(flags.iter().map(|name| (*name, false.into())).chain([("pid", of.backend.into())]));
    }
}

fn tablespaces(rows: &mut Rows) {
    for (oid, name) in [(1663, "pg_default"), (1664, "pg_global")] {
        rows.add([("oid", oid.into()), ("spcname", name.into()), ("spcowner", OWNER.into())]);
    }
}

fn timezones(context: &CatalogContext, rows: &mut Rows) {
    let now_s = context.now_us.div_euclid(1_000_000);
    for tz in chrono_tz::TZ_VARIANTS {
        let zone = crate::pgvalue::TimeZone::Named(tz);
        rows.add([("name", tz.name().into()), ("abbrev", zone.abbreviation_at(now_s).into())]);
    }
}
