//! A small catalog, a plane over it, and a way to run SQL on the system relations.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, UInt32Array, new_null_array};
use async_trait::async_trait;
use datafusion::catalog::{CatalogProvider, MemoryCatalogProvider, SchemaProvider, TableProvider};
use datafusion::datasource::empty::EmptyTable;
use datafusion::execution::{FunctionRegistry, SessionStateBuilder};
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion::sql::parser::Statement as DfStatement;
use model::catalog::{CatalogChange, Database, Defined, Dnode, Mnode, Replica, User, Vgroup, View};
use model::options::DatabaseOptions;
use model::plane::{Command, DnodeStatus, Reply, Status, VnodeStatus};
use model::scan::{RowStream, ScanRequest, Series};
use model::schema::{Column, Relation, RelationKind, Table};
use model::write::{Outcome, WriteBatch};
use model::{Catalog, ColumnId, DataPlane, DataType, DatabaseId, DnodeId, Result, Suid, VgroupId};
use sqlparser::ast::Statement;
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;

use super::{CatalogContext, names, table};
use crate::pgtype::PgType;
use crate::pgvalue::{OidNames, ValueSettings, text_of};

fn column(id: u16, name: &str, data_type: DataType, nullable: bool) -> Column {
    let mut column = Column::new(ColumnId(id), name, data_type);
    column.nullable = nullable;
    column
}

fn relation(suid: u32, name: &str, kind: RelationKind, columns: Vec<Column>, tags: Vec<Column>) -> Relation {
    Relation {
        suid: Suid(suid),
        name: name.into(),
        kind,
        version: 1,
        next_column: ColumnId(columns.len() as u16 + tags.len() as u16),
        columns,
        tags,
        primary_key: Vec::new(),
        comment: None,
        created_ms: 1_500_000_000_000,
        altered_ms: 1_500_000_000_000,
    }
}

fn power() -> Database {
    let meters = relation(
        0,
        "meters",
        RelationKind::Super,
        vec![
            column(0, "ts", DataType::Timestamp, false),
            column(1, "current", DataType::Float, true),
            column(2, "voltage", DataType::Int, true),
            column(3, "phase", DataType::Double, true),
        ],
        vec![column(4, "location", DataType::Varchar(64), true), column(5, "groupid", DataType::Int, true)],
    );
    let mut t2 = relation(
        7,
        "t2",
        RelationKind::Plain,
        vec![
            column(1, "id", DataType::Int, false),
            column(2, "name", DataType::Text, true),
            column(3, "amt", DataType::Decimal(10, 2), true),
            column(4, "day", DataType::Date, true),
        ],
        Vec::new(),
    );
    t2.primary_key = vec![ColumnId(1)];
    t2.columns[2].default = Some("0.5".into());
    t2.columns[1].comment = Some("who".into());
    t2.comment = Some("people".into());
    let log = relation(
        8,
        "log",
        RelationKind::Normal,
        vec![column(0, "ts", DataType::Timestamp, false), column(1, "line", DataType::NChar(20), true)],
        Vec::new(),
    );
    let view = View {
        suid: Suid(9),
        name: "v1".into(),
        query: "SELECT id, name FROM t2".into(),
        created_ms: 1_500_000_000_000,
    };
    Database {
        id: DatabaseId(2),
        name: "power".into(),
        options: DatabaseOptions { vgroups: 2, ..DatabaseOptions::default() },
        created_ms: 1_500_000_000_000,
        relations: [meters, t2, log].into_iter().map(|of| (of.name.clone(), Arc::new(of))).collect(),
        views: BTreeMap::from([("v1".into(), Arc::new(view))]),
        vgroups: vec![VgroupId(2), VgroupId(3)],
    }
}

/// The catalog of the tests: databases `postgres` and `power`, users `root` and `reader`.
pub(crate) fn catalog() -> Catalog {
    let user = |name: &str, superuser| User {
        name: name.into(),
        password: None,
        superuser,
        enabled: true,
        sysinfo: superuser,
        createdb: superuser,
        created_ms: 1_500_000_000_000,
    };
    let power = power();
    let postgres = Database {
        id: DatabaseId(1),
        name: "postgres".into(),
        relations: BTreeMap::new(),
        views: BTreeMap::new(),
        vgroups: Vec::new(),
        ..power.clone()
    };
    let vgroup = |id: u32, begin, end| Vgroup {
        id: VgroupId(id),
        database: DatabaseId(2),
        hash_begin: begin,
        hash_end: end,
        replicas: vec![Replica { id: u64::from(id), dnode: DnodeId(1) }],
        epoch: 1,
    };
    let dnode = Dnode { id: DnodeId(1), endpoint: "127.0.0.1:6030".into(), support_vnodes: 16, created_ms: 0 };
    Catalog {
        index: 9,
        cluster_id: 77,
        created_ms: 1_500_000_000_000,
        databases: [postgres, power].into_iter().map(|of| (of.name.clone(), Arc::new(of))).collect(),
        vgroups: [vgroup(2, 0, u32::MAX / 2), vgroup(3, u32::MAX / 2 + 1, u32::MAX)]
            .into_iter()
            .map(|of| (of.id, of))
            .collect(),
        dnodes: BTreeMap::from([(DnodeId(1), dnode)]),
        mnodes: BTreeMap::from([(DnodeId(1), Mnode { replica: 1, created_ms: 0 })]),
        users: [user("root", true), user("reader", false)].into_iter().map(|of| (of.name.clone(), of)).collect(),
        ..Catalog::default()
    }
}

/// A plane whose children of `meters` are `d1001` and `d1002`, wherever their names belong.
struct Plane(Arc<Catalog>);

#[async_trait]
impl DataPlane for Plane {
    fn catalog(&self) -> Arc<Catalog> {
        self.0.clone()
    }

    async fn lookup(&self, _: DatabaseId, names: &[String]) -> Result<Vec<Option<Table>>> {
        Ok(names.iter().map(|_| None).collect())
    }

    async fn refresh(&self) -> Result<Arc<Catalog>> {
        Ok(self.0.clone())
    }

    async fn define(&self, _: CatalogChange) -> Result<Defined> {
        model::fail!(FeatureNotSupported, "tests define nothing")
    }

    async fn write(&self, _: WriteBatch) -> Result<Outcome> {
        model::fail!(FeatureNotSupported, "tests write nothing")
    }

    async fn scan(&self, vgroup: VgroupId, request: ScanRequest) -> Result<RowStream> {
        let ScanRequest::Tags(request) = request else { model::fail!(FeatureNotSupported, "only tags are here") };
        let database = self.0.database("power").expect("the fixture has it");
        let children = [("d1001", "Berlin", 1), ("d1002", "Bonn", 2)];
        let here = children.into_iter().filter(|(name, ..)| {
            let asked = match &request.series {
                Series::Named(names) => names.iter().any(|of| of == name),
                _ => true,
            };
            asked && self.0.vgroup_of(database, name).id == vgroup
        });
        let here: Vec<_> = here.collect();
        let int =
            |of: fn(usize) -> i64| Arc::new((0..here.len()).map(of).map(Some).collect::<Int64Array>()) as ArrayRef;
        let mut arrays: Vec<ArrayRef> = vec![
            Arc::new((0..here.len() as u32).collect::<UInt32Array>()),
            Arc::new(StringArray::from_iter_values(here.iter().map(|(name, ..)| name))),
            int(|n| 100 + n as i64),
            int(|_| 1_500_000_000_000),
        ];
        let schema = request.schema();
        for field in &schema.fields()[4..] {
            arrays.push(match field.name().as_str() {
                "location" => Arc::new(StringArray::from_iter_values(here.iter().map(|(_, place, _)| place))),
                _ => new_null_array(field.data_type(), here.len()),
            });
        }
        let batch = RecordBatch::try_new(schema, arrays).map_err(model::Error::internal)?;
        Ok(Box::pin(futures::stream::iter([Ok(batch)])))
    }

    async fn admin(&self, _: Command) -> Result<Reply> {
        let vnode = |id| VnodeStatus {
            dnode: DnodeId(1),
            vgroup: VgroupId(id),
            role: "leader".into(),
            role_ms: 0,
            start_ms: 0,
            restored: true,
            tables: 1,
            memtable_rows: 0,
            disk_bytes: 4096,
            applied: 1,
        };
        let dnode = DnodeStatus { dnode: DnodeId(1), status: "ready".into(), reboot_ms: 0, note: String::new() };
        let vnodes = vec![vnode(2), vnode(3)];
        Ok(Reply::Status(Status {
            dnode: DnodeId(1),
            vnodes,
            mnodes: Vec::new(),
            dnodes: vec![dnode],
            compacts: Vec::new(),
        }))
    }
}

/// Knows the columns of the view.
struct Views;

impl super::Observer for Views {
    fn view_columns(&self, _: &Database, _: &View) -> Vec<(String, PgType)> {
        vec![("id".into(), PgType::INT4), ("name".into(), PgType::TEXT)]
    }

    fn connections(&self) -> Vec<super::Connection> {
        Vec::new()
    }
}

/// A session of `root` in the database `power`.
pub(crate) fn context() -> Arc<CatalogContext> {
    let catalog = Arc::new(catalog());
    let mut context = CatalogContext::new(catalog.clone(), Arc::new(Plane(catalog)), "power", "root");
    context.now_us = 1_600_000_000_000_000;
    context.backend = 42;
    context.observer = Some(Arc::new(Views));
    Arc::new(context)
}

/// A schema of the system relations; `public` has the fixture's tables, empty, and finds `pg_catalog`'s too.
#[derive(Debug)]
struct Schema(&'static str, Arc<CatalogContext>);

#[async_trait]
impl SchemaProvider for Schema {
    fn table_names(&self) -> Vec<String> {
        Vec::new()
    }

    async fn table(&self, name: &str) -> datafusion::common::Result<Option<Arc<dyn TableProvider>>> {
        let Self(schema, context) = self;
        if *schema != "public" {
            return Ok(table(schema, name, context));
        }
        if let Some(found) = table("pg_catalog", name, context) {
            return Ok(Some(found));
        }
        let relation = context.current().and_then(|database| database.relations.get(name));
        let empty = |of: &Arc<Relation>| {
            let field =
                |column: &Column| super::relations::field(&column.name, names::column_type(column.data_type).0, true);
            let fields: Vec<_> = names::columns(of).map(|(_, column)| field(column)).collect();
            Arc::new(EmptyTable::new(Arc::new(arrow::datatypes::Schema::new(fields)))) as Arc<dyn TableProvider>
        };
        Ok(relation.map(empty))
    }

    fn table_exist(&self, name: &str) -> bool {
        let (Self(schema, context), system) = (self, if self.0 == "public" { "pg_catalog" } else { self.0 });
        let own = *schema == "public" && context.current().is_some_and(|of| of.relations.contains_key(name));
        own || super::relations::find(system, name).is_some()
    }
}

/// Parses, rewrites, plans and runs one query.
///
/// # Errors
///
/// What DataFusion says.
pub(crate) async fn run(
    sql: &str,
    context: &Arc<CatalogContext>,
    zone: &str,
) -> std::result::Result<Vec<RecordBatch>, String> {
    let mut statements = Parser::parse_sql(&PostgreSqlDialect {}, sql).map_err(|error| format!("parse: {error}"))?;
    let Some(Statement::Query(mut query)) = statements.pop() else { return Err("no query".into()) };
    crate::compat::rewrite(&mut query).map_err(|error| error.to_string())?;
    let mut config = SessionConfig::new().with_target_partitions(1).with_default_catalog_and_schema("power", "public");
    config.options_mut().extensions.insert(context.extension());
    config.options_mut().execution.time_zone = Some(zone.into());
    config.options_mut().sql_parser.dialect = datafusion::config::Dialect::PostgreSQL;
    let catalog = MemoryCatalogProvider::new();
    for schema in ["public", "pg_catalog", "information_schema", "performance_schema"] {
        catalog
            .register_schema(schema, Arc::new(Schema(schema, context.clone())))
            .map_err(|error| error.to_string())?;
    }
    let mut state = SessionStateBuilder::new_with_default_features().with_config(config).build();
    crate::functions::pg::register(&mut state as &mut dyn FunctionRegistry).map_err(|error| error.to_string())?;
    let session = SessionContext::new_with_state(state);
    session.register_catalog("power", Arc::new(catalog));
    let statement = DfStatement::Statement(Box::new(Statement::Query(query)));
    let plan = session.state().statement_to_plan(statement).await.map_err(|error| format!("plan: {error}"))?;
    let frame = session.execute_logical_plan(plan).await.map_err(|error| format!("execute: {error}"))?;
    frame.collect().await.map_err(|error| format!("run: {error}"))
}

/// Rows as `psql -A -t` prints them: values apart by `|`, NULL as nothing.
///
/// # Panics
///
/// If a value cannot be printed.
pub(crate) fn print(batches: &[RecordBatch], context: &Arc<CatalogContext>, zone: &str) -> String {
    let oid_names = Some(Arc::clone(context) as Arc<dyn OidNames>);
    let time_zone = crate::pgvalue::TimeZone::parse(zone).expect("tests name zones that exist");
    let settings = Arc::new(ValueSettings { oid_names, time_zone, ..ValueSettings::default() });
    let mut out = String::new();
    for batch in batches {
        let schema = batch.schema();
        for row in 0..batch.num_rows() {
            let cells = batch.columns().iter().zip(schema.fields()).map(|(array, field)| {
                let shown = text_of(array, row, PgType::of(field), &settings);
                shown.unwrap_or_else(|error| panic!("{}: {error}", field.name()))
            });
            let cells: Vec<_> = cells.map(Option::unwrap_or_default).collect();
            out.push_str(&cells.join("|"));
            out.push('\n');
        }
    }
    out
}
