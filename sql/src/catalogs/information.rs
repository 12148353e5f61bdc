//! Rows of `information_schema`, as the SQL standard has it, with PostgreSQL's names of types.

use super::names::{self, column_type};
use super::pg::{SCHEMAS, key_columns, relations_of, system_relations, view_columns};
use super::rows::{Cell, Rows};
use super::{CatalogContext, relations};
use crate::pgtype::PgType;

/// Adds the rows of `rows`' relation.
pub(super) fn fill(context: &CatalogContext, rows: &mut Rows) {
    match rows.relation().name {
        "schemata" => schemata(context, rows),
        "tables" => tables(context, rows),
        "columns" => columns(context, rows),
        "views" => views(context, rows),
        "table_constraints" => table_constraints(context, rows),
        "key_column_usage" | "constraint_column_usage" => key_columns_used(context, rows),
        "information_schema_catalog_name" => rows.add([("catalog_name", (&context.database).into())]),
        "enabled_roles" => context.catalog.users.keys().for_each(|name| rows.add([("role_name", name.into())])),
        "character_sets" => rows.add([
            ("character_set_name", "UTF8".into()),
            ("character_repertoire", "UCS".into()),
            ("form_of_use", "UTF8".into()),
            ("default_collate_catalog", (&context.database).into()),
        ]),
        _ => {}
    }
}

fn schemata(context: &CatalogContext, rows: &mut Rows) {
    for (name, _) in SCHEMAS {
        rows.add([
            ("catalog_name", (&context.database).into()),
            ("schema_name", name.into()),
            ("schema_owner", if name == "public" { "pg_database_owner" } else { "root" }.into()),
        ]);
    }
}

fn tables(context: &CatalogContext, rows: &mut Rows) {
    let mut add = |schema: &str, name: &str, table: bool, own: bool| {
        rows.add([
            ("table_catalog", (&context.database).into()),
            ("table_schema", schema.into()),
            ("table_name", name.into()),
            ("table_type", if table { "BASE TABLE" } else { "VIEW" }.into()),
            ("is_insertable_into", if table && own { "YES" } else { "NO" }.into()),
            ("is_typed", "NO".into()),
        ]);
    };
    system_relations().for_each(|(of, _)| add(of.schema, of.name, of.kind == "r", false));
    relations_of(context).for_each(|of| add("public", &of.name, true, true));
    for view in context.current().into_iter().flat_map(|database| database.views.values()) {
        add("public", &view.name, false, true);
    }
}

/// What `columns` says of a type: `data_type` and its precision.
fn column(context: &CatalogContext, rows: &mut Rows, table: (&str, &str), number: i16, name: &str, of: Described) {
    let typmod = (of.typmod >= 0).then_some(of.typmod);
    let text = matches!(of.pg_type, PgType::TEXT | PgType::VARCHAR | PgType::BPCHAR);
    let length = typmod.filter(|_| text).map(|n| n - 4);
    let bits = match of.pg_type {
        PgType::INT2 => Some((16, 2, Some(0))),
        PgType::INT4 => Some((32, 2, Some(0))),
        PgType::INT8 => Some((64, 2, Some(0))),
        PgType::FLOAT4 => Some((24, 2, None)),
        PgType::FLOAT8 => Some((53, 2, None)),
        _ => None,
    };
    let decimal = typmod.filter(|_| of.pg_type == PgType::NUMERIC).map(names::numeric);
    let numeric = bits.or(decimal.map(|(precision, scale)| (precision, 10, Some(scale))));
    let radix = numeric.map(|(_, radix, _)| radix).or((of.pg_type == PgType::NUMERIC).then_some(10));
    let array = of.pg_type.element != 0;
    let moment = matches!(of.pg_type, PgType::TIME | PgType::TIMESTAMP | PgType::TIMESTAMPTZ | PgType::INTERVAL);
    let precision = if of.pg_type == PgType::DATE { Some(0) } else { moment.then_some(6) };
    rows.add([
        ("table_catalog", (&context.database).into()),
        ("table_schema", table.0.into()),
        ("table_name", table.1.into()),
        ("column_name", name.into()),
        ("ordinal_position", number.into()),
        ("column_default", of.default.map(str::to_owned).into()),
        ("is_nullable", if of.nullable { "YES" } else { "NO" }.into()),
        ("data_type", if array { "ARRAY".into() } else { names::format_type(of.pg_type.oid, Some(-1)).into() }),
        ("character_maximum_length", length.into()),
        (
            "character_octet_length",
            if text { length.map_or(Some(1 << 30), |n| n.checked_mul(4)).into() } else { Cell::Null },
        ),
        ("numeric_precision", numeric.map(|(precision, ..)| precision).into()),
        ("numeric_precision_radix", radix.into()),
        ("numeric_scale", numeric.and_then(|(_, _, scale)| scale).into()),
        ("datetime_precision", precision.into()),
        ("udt_catalog", (&context.database).into()),
        ("udt_schema", "pg_catalog".into()),
        ("udt_name", of.pg_type.name.into()),
        ("dtd_identifier", number.to_string().into()),
        ("is_self_referencing", "NO".into()),
        ("is_identity", "NO".into()),
        ("identity_cycle", "NO".into()),
        ("is_generated", "NEVER".into()),
        ("is_updatable", if of.updatable { "YES" } else { "NO" }.into()),
    ]);
}

/// A column as the catalogs know it.
struct Described<'a> {
    pg_type: PgType,
    typmod: i32,
    nullable: bool,
    default: Option<&'a str>,
    updatable: bool,
}

fn columns(context: &CatalogContext, rows: &mut Rows) {
    for system in relations::all().iter().filter(|of| names::schema_oid(of.schema).is_some()) {
        for (of, number) in system.columns.iter().zip(1..) {
            let described =
                Described { pg_type: of.pg_type, typmod: -1, nullable: !of.required, default: None, updatable: false };
            column(context, rows, (system.schema, system.name), number, of.name, described);
        }
    }
    for relation in relations_of(context) {
        for (number, of) in names::columns(relation) {
            let (pg_type, typmod) = column_type(of.data_type);
            let (nullable, default) = (of.nullable, of.default.as_deref());
            let described = Described { pg_type, typmod, nullable, default, updatable: true };
            column(context, rows, ("public", &relation.name), number, &of.name, described);
        }
    }
    for view in context.current().into_iter().flat_map(|database| database.views.values()) {
        for ((name, pg_type), number) in view_columns(context, &view.name).into_iter().zip(1..) {
            let described = Described { pg_type, typmod: -1, nullable: true, default: None, updatable: false };
            column(context, rows, ("public", &view.name), number, &name, described);
        }
    }
}

fn views(context: &CatalogContext, rows: &mut Rows) {
    for view in context.current().into_iter().flat_map(|database| database.views.values()) {
        rows.add([
            ("table_catalog", (&context.database).into()),
            ("table_schema", "public".into()),
            ("table_name", (&view.name).into()),
            ("view_definition", (&view.query).into()),
            ("check_option", "NONE".into()),
            ("is_updatable", "NO".into()),
            ("is_insertable_into", "NO".into()),
            ("is_trigger_updatable", "NO".into()),
            ("is_trigger_deletable", "NO".into()),
            ("is_trigger_insertable_into", "NO".into()),
        ]);
    }
}

fn table_constraints(context: &CatalogContext, rows: &mut Rows) {
    for relation in relations_of(context) {
        let Some(name) = names::index_name(relation) else { continue };
        rows.add([
            ("constraint_catalog", (&context.database).into()),
            ("constraint_schema", "public".into()),
            ("constraint_name", name.into()),
            ("table_catalog", (&context.database).into()),
            ("table_schema", "public".into()),
            ("table_name", (&relation.name).into()),
            ("constraint_type", "PRIMARY KEY".into()),
            ("is_deferrable", "NO".into()),
            ("initially_deferred", "NO".into()),
            ("enforced", "YES".into()),
        ]);
    }
}

fn key_columns_used(context: &CatalogContext, rows: &mut Rows) {
    let ordinals = rows.relation().name == "key_column_usage";
    for relation in relations_of(context) {
        let Some(name) = names::index_name(relation) else { continue };
        for ((_, of), ordinal) in key_columns(relation).zip(1..) {
            let mut cells = vec![
                ("constraint_catalog", Cell::from(&context.database)),
                ("constraint_schema", "public".into()),
                ("constraint_name", (&name).into()),
                ("table_catalog", (&context.database).into()),
                ("table_schema", "public".into()),
                ("table_name", (&relation.name).into()),
                ("column_name", (&of.name).into()),
            ];
            if ordinals {
                cells.push(("ordinal_position", Cell::Int(ordinal)));
            }
            rows.add(cells);
        }
    }
}
