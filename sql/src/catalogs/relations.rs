//! The system relations: their names, oids and columns, read once from the lists in `data/`.
//!
//! `relations.txt` has one line per relation of PostgreSQL 15, so that `SELECT *` gives the columns that clients know;
//! `tdengine.txt` has TDengine's `ins_*` and `perf_*`. `!` after a column says that it is never null: a row that does
//! not give it gets the zero of its type.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use crate::pgtype::{PG_OID, PgType};

/// One column of a system relation.
#[derive(Debug)]
pub struct SystemColumn {
    /// Its name.
    pub name: &'static str,
    /// Its type on the wire.
    pub pg_type: PgType,
    /// Never null.
    pub required: bool,
}

/// One system table or view.
#[derive(Debug)]
pub struct SystemRelation {
    /// As in PostgreSQL; TDengine's are numbered from [`TDENGINE_OID`].
    pub oid: u32,
    /// `pg_catalog`, `information_schema` or `performance_schema`.
    pub schema: &'static str,
    /// Its name.
    pub name: &'static str,
    /// `r` or `v`.
    pub kind: &'static str,
    /// In order.
    pub columns: Vec<SystemColumn>,
    /// What batches of it look like.
    pub arrow: SchemaRef,
}

/// The oid of the first of TDengine's system tables; the others follow.
pub const TDENGINE_OID: u32 = 13_900;

const POSTGRES: &str = include_str!("data/relations.txt");
const TDENGINE: &str = include_str!("data/tdengine.txt");

/// Every system relation, in the order of the lists.
pub fn all() -> &'static [SystemRelation] {
    static ALL: OnceLock<Vec<SystemRelation>> = OnceLock::new();
    ALL.get_or_init(|| {
        let postgres = POSTGRES.lines().map(|line| {
            let (oid, rest) = line.split_once(' ').expect("a line starts with an oid");
            let (name, rest) = rest.split_once(' ').expect("then comes the name");
            let (kind, columns) = rest.split_once(' ').expect("then comes the kind");
            relation(oid.parse().expect("oids are numbers"), name, kind, columns)
        });
        let tdengine = TDENGINE.lines().zip(TDENGINE_OID..).map(|(line, oid)| {
            let (name, columns) = line.split_once(' ').expect("a line starts with the name");
            relation(oid, name, "v", columns)
        });
        postgres.chain(tdengine).collect()
    })
}

/// The system relation of this schema and name.
pub fn find(schema: &str, name: &str) -> Option<&'static SystemRelation> {
    static BY_NAME: OnceLock<HashMap<(&str, &str), &SystemRelation>> = OnceLock::new();
    let by_name = BY_NAME.get_or_init(|| all().iter().map(|of| ((of.schema, of.name), of)).collect());
    by_name.get(&(schema, name)).copied()
}

fn relation(oid: u32, name: &'static str, kind: &'static str, columns: &'static str) -> SystemRelation {
    let (schema, name) = name.split_once('.').expect("names have a schema");
    let columns: Vec<_> = columns.split(' ').map(column).collect();
    let fields: Vec<_> = columns.iter().map(|of| field(of.name, of.pg_type, !of.required)).collect();
    SystemRelation { oid, schema, name, kind, columns, arrow: Arc::new(Schema::new(fields)) }
}

fn column(text: &'static str) -> SystemColumn {
    let (name, of) = text.split_once(':').expect("a column has a type");
    let (of, required) = of.strip_suffix('!').map_or((of, false), |of| (of, true));
    let pg_type = type_named(of).unwrap_or_else(|| panic!("no type {of} of column {name}"));
    SystemColumn { name, pg_type, required }
}

/// The type with this `typname`: a scalar, or an array with `_` before it.
#[must_use]
pub fn type_named(name: &str) -> Option<PgType> {
    let scalar = |name: &str| PgType::SCALARS.iter().find(|of| of.name == name).copied();
    scalar(name).or_else(|| scalar(name.strip_prefix('_')?)?.array_of())
}

/// An Arrow field that says which PostgreSQL type it is.
#[must_use]
pub fn field(name: &str, pg_type: PgType, nullable: bool) -> Field {
    let oid = [(PG_OID.to_owned(), pg_type.oid.to_string())];
    Field::new(name, arrow_type(pg_type), nullable).with_metadata(oid.into())
}

/// The Arrow type of a column here: as [`PgType::arrow`], and lists for the vectors, so that they can be subscripted.
#[must_use]
pub fn arrow_type(pg_type: PgType) -> DataType {
    let list = |of: PgType| DataType::List(Arc::new(Field::new("item", of.arrow(), true)));
    match pg_type {
        PgType::INT2VECTOR => list(PgType::INT2),
        PgType::OIDVECTOR => list(PgType::OID),
        array if array.element != 0 => list(PgType::from_oid(array.element).unwrap_or(PgType::TEXT)),
        other => other.arrow(),
    }
}
