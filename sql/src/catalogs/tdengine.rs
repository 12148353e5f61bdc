//! Rows of TDengine's system tables: `information_schema.ins_*` and `performance_schema.perf_*`.
//!
//! `ins_tables` and `ins_tags` read the children from their vgroups, one vgroup after another, so that memory stays flat;
//! conditions on `db_name`, `stable_name` and `table_name` keep the vgroups that cannot match from being asked.

use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use futures::StreamExt as _;
use futures::stream::BoxStream;
use model::catalog::{Database, Vgroup};
use model::plane::{Command, Reply, Status};
use model::scan::{ScanRequest, Series, TagsRequest};
use model::schema::{Column, Relation, RelationKind};
use model::{DataType, Error, Result, VgroupId};

use super::provider::Wanted;
use super::relations::SystemRelation;
use super::rows::{Cell, Rows, moment};
use super::{CatalogContext, pg};

/// Adds the rows of `rows`' relation.
pub(super) async fn fill(context: &CatalogContext, rows: &mut Rows) -> Result<()> {
    match rows.relation().name {
        "ins_databases" => databases(context, rows).await?,
        "ins_stables" => stables(context, rows),
        "ins_columns" => columns(context, rows),
        "ins_views" => views(context, rows),
        "ins_users" => users(context, rows),
        "ins_user_privileges" => privileges(context, rows),
        "ins_vgroups" => vgroups(context, rows).await?,
        "ins_vnodes" => vnodes(context, rows).await?,
        "ins_dnodes" => dnodes(context, rows).await?,
        "ins_mnodes" => mnodes(context, rows).await?,
        "ins_cluster" => cluster(context, rows),
        "ins_disk_usage" => disk_usage(context, rows).await?,
        "ins_compacts" => compacts(context, rows).await?,
        "ins_compact_details" => compact_details(context, rows).await?,
        "ins_configs" => variables(context, rows, false),
        "ins_dnode_variables" => variables(context, rows, true),
        "perf_connections" => connections(context, rows),
        "perf_keywords" => keywords(rows),
        "perf_queries" => queries(context, rows),
        _ => {}
    }
    Ok(())
}

async fn status(context: &CatalogContext) -> Result<Status> {
    match context.plane.admin(Command::Status).await? {
        Reply::Status(status) => Ok(status),
        Reply::Done => Err(Error::internal("a request for the cluster's status was answered without one")),
    }
}

/// Minutes as TDengine prints a duration: `14400m`.
fn minutes(n: u32) -> String {
    format!("{n}m")
}

fn precision_keep(database: &Database) -> String {
    database.options.keep_minutes.map(minutes).join(",")
}

async fn databases(context: &CatalogContext, rows: &mut Rows) -> Result<()> {
    let status = status(context).await?;
    for database in context.catalog.databases.values() {
        let of = &database.options;
        let tables: u64 = database.vgroups.iter().map(|id| tables_in(&status, *id)).sum();
        rows.add([
            ("name", (&database.name).into()),
            ("create_time", moment(database.created_ms)),
            ("vgroups", of.vgroups.into()),
            ("ntables", count(tables)),
            ("replica", of.replica.into()),
            ("strict", "on".into()),
            ("duration", minutes(of.duration_minutes).into()),
            ("keep", precision_keep(database).into()),
            ("buffer", of.buffer_mb.into()),
            ("pagesize", of.pagesize_kb.into()),
            ("pages", of.pages.into()),
            ("minrows", of.minrows.into()),
            ("maxrows", of.maxrows.into()),
            ("comp", of.comp.into()),
            ("precision", of.precision.name().into()),
            ("status", "ready".into()),
            ("single_stable", of.single_stable.into()),
            ("cachemodel", of.cachemodel.name().into()),
            ("cachesize", of.cachesize_mb.into()),
            ("wal_level", of.wal_level.into()),
            ("wal_fsync_period", of.wal_fsync_period_ms.into()),
            ("wal_retention_period", of.wal_retention_period_s.into()),
            ("wal_retention_size", of.wal_retention_size_kb.into()),
            ("stt_trigger", of.stt_trigger.into()),
            ("table_prefix", 0.into()),
            ("table_suffix", 0.into()),
            ("with_arbitrator", 0.into()),
            ("encrypt_algorithm", "none".into()),
        ]);
    }
    Ok(())
}

fn count(n: u64) -> Cell {
    Cell::Int(i64::try_from(n).unwrap_or(i64::MAX))
}

/// Tables in the leader's replica of a vgroup, or in the fullest one known.
fn tables_in(status: &Status, vgroup: VgroupId) -> u64 {
    let of = status.vnodes.iter().filter(|of| of.vgroup == vgroup);
    of.max_by_key(|of| (of.role == "leader", of.tables)).map_or(0, |of| of.tables)
}

fn every_relation(context: &CatalogContext) -> impl Iterator<Item = (&Arc<Database>, &Arc<Relation>)> {
    let databases = context.catalog.databases.values();
    databases.flat_map(|database| database.relations.values().map(move |relation| (database, relation)))
}

fn stables(context: &CatalogContext, rows: &mut Rows) {
    for (database, relation) in every_relation(context).filter(|(_, of)| of.kind == RelationKind::Super) {
        rows.add([
            ("stable_name", (&relation.name).into()),
            ("db_name", (&database.name).into()),
            ("create_time", moment(relation.created_ms)),
            ("columns", (relation.columns.len() as i64).into()),
            ("tags", (relation.tags.len() as i64).into()),
            ("last_update", moment(relation.altered_ms)),
            ("table_comment", relation.comment.clone().into()),
            ("uid", relation.suid.0.into()),
        ]);
    }
}

/// The type of a column or tag as TDengine's system tables print it: `VARCHAR(16)`.
pub(super) fn type_name(of: DataType) -> String {
    match of {
        DataType::Varchar(_) | DataType::NChar(_) | DataType::Varbinary(_) | DataType::Decimal(..) => of.to_string(),
        _ => of.name().to_owned(),
    }
}

fn columns(context: &CatalogContext, rows: &mut Rows) {
    for (database, relation) in every_relation(context) {
        let kind = if relation.kind == RelationKind::Super { "SUPER_TABLE" } else { "NORMAL_TABLE" };
        for of in &relation.columns {
            let decimal = match of.data_type {
                DataType::Decimal(precision, scale) => Some((precision, scale)),
                _ => None,
            };
            rows.add([
                ("table_name", (&relation.name).into()),
                ("db_name", (&database.name).into()),
                ("table_type", kind.into()),
                ("col_name", (&of.name).into()),
                ("col_type", type_name(of.data_type).into()),
                ("col_length", of.data_type.length().into()),
                ("col_precision", decimal.map(|(precision, _)| precision).into()),
                ("col_scale", decimal.map(|(_, scale)| scale).into()),
                ("col_nullable", i64::from(of.nullable).into()),
            ]);
        }
    }
}

fn views(context: &CatalogContext, rows: &mut Rows) {
    for database in context.catalog.databases.values() {
        for view in database.views.values() {
            rows.add([
                ("view_name", (&view.name).into()),
                ("db_name", (&database.name).into()),
                ("effective_user", "root".into()),
                ("create_time", moment(view.created_ms)),
                ("type", "view".into()),
                ("query_sql", (&view.query).into()),
            ]);
        }
    }
}

fn users(context: &CatalogContext, rows: &mut Rows) {
    for user in context.catalog.users.values() {
        let open = user.password.is_some();
        rows.add([
            ("name", (&user.name).into()),
            ("super", i64::from(user.superuser).into()),
            ("enable", i64::from(user.enabled).into()),
            ("sysinfo", i64::from(user.sysinfo).into()),
            ("createdb", i64::from(user.createdb || user.superuser).into()),
            ("create_time", moment(user.created_ms)),
            ("allowed_host", if open { "0.0.0.0/0" } else { "127.0.0.1/32" }.into()),
        ]);
    }
}

fn privileges(context: &CatalogContext, rows: &mut Rows) {
    for user in context.catalog.users.values().filter(|user| user.superuser) {
        rows.add([("user_name", (&user.name).into()), ("privilege", "all".into()), ("db_name", "all".into())]);
    }
}

fn database_name(context: &CatalogContext, vgroup: &Vgroup) -> Cell {
    context.catalog.database_by_id(vgroup.database).map(|of| of.name.clone()).into()
}

async fn vgroups(context: &CatalogContext, rows: &mut Rows) -> Result<()> {
    const REPLICAS: [(&str, &str); 4] =
        [("v1_dnode", "v1_status"), ("v2_dnode", "v2_status"), ("v3_dnode", "v3_status"), ("v4_dnode", "v4_status")];
    let status = status(context).await?;
    for vgroup in context.catalog.vgroups.values() {
        let mut cells = vec![
            ("vgroup_id", vgroup.id.0.into()),
            ("db_name", database_name(context, vgroup)),
            ("tables", count(tables_in(&status, vgroup.id))),
            ("cacheload", 0.into()),
            ("cacheelements", 0.into()),
            ("tsma", 0.into()),
        ];
        for (replica, (dnode, role)) in vgroup.replicas.iter().zip(REPLICAS) {
            let of = status.vnodes.iter().find(|of| of.vgroup == vgroup.id && of.dnode == replica.dnode);
            cells.push((dnode, replica.dnode.0.into()));
            cells.push((role, of.map_or("offline".into(), |of| (&of.role).into())));
        }
        rows.add(cells);
    }
    Ok(())
}

async fn vnodes(context: &CatalogContext, rows: &mut Rows) -> Result<()> {
    for of in status(context).await?.vnodes {
        let vgroup = context.catalog.vgroups.get(&of.vgroup);
        rows.add([
            ("dnode_id", of.dnode.0.into()),
            ("vgroup_id", of.vgroup.0.into()),
            ("db_name", vgroup.map_or(Cell::Null, |vgroup| database_name(context, vgroup))),
            ("status", of.role.into()),
            ("role_time", moment(of.role_ms)),
            ("start_time", moment(of.start_ms)),
            ("restored", of.restored.into()),
        ]);
    }
    Ok(())
}

async fn dnodes(context: &CatalogContext, rows: &mut Rows) -> Result<()> {
    let status = status(context).await?;
    for dnode in context.catalog.dnodes.values() {
        let of = status.dnodes.iter().find(|of| of.dnode == dnode.id);
        let carried = context.catalog.vgroups.values();
        let carried = carried.filter(|vgroup| vgroup.replicas.iter().any(|of| of.dnode == dnode.id)).count();
        rows.add([
            ("id", dnode.id.0.into()),
            ("endpoint", (&dnode.endpoint).into()),
            ("vnodes", (carried as i64).into()),
            ("support_vnodes", dnode.support_vnodes.into()),
            ("status", of.map_or("offline".into(), |of| (&of.status).into())),
            ("create_time", moment(dnode.created_ms)),
            ("reboot_time", of.filter(|of| of.reboot_ms > 0).map_or(Cell::Null, |of| moment(of.reboot_ms))),
            ("note", of.map_or("".into(), |of| (&of.note).into())),
        ]);
    }
    Ok(())
}

async fn mnodes(context: &CatalogContext, rows: &mut Rows) -> Result<()> {
    let status = status(context).await?;
    for (dnode, mnode) in &context.catalog.mnodes {
        let of = status.mnodes.iter().find(|of| of.dnode == *dnode);
        rows.add([
            ("id", dnode.0.into()),
            ("endpoint", context.catalog.dnodes.get(dnode).map(|of| of.endpoint.clone()).into()),
            ("role", of.map_or("offline".into(), |of| (&of.role).into())),
            ("status", of.map_or("offline".into(), |of| (&of.status).into())),
            ("create_time", moment(mnode.created_ms)),
            ("role_time", of.map_or(Cell::Null, |of| moment(of.role_ms))),
        ]);
    }
    Ok(())
}

fn cluster(context: &CatalogContext, rows: &mut Rows) {
    let id = context.catalog.cluster_id;
    let uptime_s = (context.now_us / 1000 - context.started_ms).max(0) / 1000;
    rows.add([
        // The id is 64 random bits, the column is signed: the bits are kept.
        ("id", Cell::Int(i64::from_ne_bytes(id.to_ne_bytes()))),
        ("name", format!("{id:016x}").into()),
        ("uptime", uptime_s.into()),
        ("create_time", moment(context.catalog.created_ms)),
        ("version", env!("CARGO_PKG_VERSION").into()),
    ]);
}

async fn disk_usage(context: &CatalogContext, rows: &mut Rows) -> Result<()> {
    for of in status(context).await?.vnodes {
        let vgroup = context.catalog.vgroups.get(&of.vgroup);
        rows.add([
            ("db_name", vgroup.map_or(Cell::Null, |vgroup| database_name(context, vgroup))),
            ("vgroup_id", of.vgroup.0.into()),
            ("data1", count(of.disk_bytes)),
        ]);
    }
    Ok(())
}

/// One row for each COMPACT DATABASE under way.
async fn compacts(context: &CatalogContext, rows: &mut Rows) -> Result<()> {
    let mut all = status(context).await?.compacts;
    all.sort_by_key(|of| of.id);
    all.dedup_by_key(|of| of.id);
    for of in all {
        let database = context.catalog.database_by_id(of.database).map(|of| of.name.clone());
        rows.add([("compact_id", count(of.id)), ("db_name", database.into()), ("start_time", moment(of.start_ms))]);
    }
    Ok(())
}

/// One row for each vnode of each COMPACT DATABASE under way. A bucket of time is a file set.
async fn compact_details(context: &CatalogContext, rows: &mut Rows) -> Result<()> {
    for of in status(context).await?.compacts {
        let percent = of.done.saturating_mul(100).checked_div(of.bytes).unwrap_or(if of.started { 100 } else { 0 });
        let elapsed_s = (context.now_us / 1000 - of.start_ms).max(0) as u64 / 1000;
        let left = of.bytes.saturating_sub(of.done);
        let remaining = (u128::from(elapsed_s) * u128::from(left)).checked_div(u128::from(of.done));
        rows.add([
            ("compact_id", count(of.id)),
            ("vgroup_id", of.vgroup.0.into()),
            ("dnode_id", of.dnode.0.into()),
            ("number_fileset", count(of.buckets)),
            ("finished", count(of.finished)),
            ("start_time", moment(of.start_ms)),
            ("progress(%)", count(percent.min(100))),
            ("remain_time(s)", remaining.map_or(Cell::Null, |seconds| Cell::Int(seconds.min(1 << 40) as i64))),
            ("bytes", count(of.bytes)),
            ("bytes_done", count(of.done.min(of.bytes))),
        ]);
    }
    Ok(())
}

fn variables(context: &CatalogContext, rows: &mut Rows, per_dnode: bool) {
    let dnode = context.catalog.dnodes.keys().next().map_or(0, |id| id.0);
    for (name, value, _) in context.settings.now().all() {
        let mut cells = vec![("name", name.into()), ("value", value.into())];
        if per_dnode {
            cells.extend([("dnode_id", dnode.into()), ("scope", "session".into())]);
        }
        rows.add(cells);
    }
}

fn connections(context: &CatalogContext, rows: &mut Rows) {
    for of in pg::connections(context) {
        rows.add([
            ("conn_id", of.backend.into()),
            ("user", (&of.user).into()),
            ("app", (&of.application).into()),
            ("pid", of.backend.into()),
            ("end_point", (&of.address).into()),
            ("login_time", moment(of.login_ms)),
            ("last_access", moment(of.query_ms)),
        ]);
    }
}

/// The reserved words, as `pg_get_keywords()` gives them.
fn keywords(rows: &mut Rows) {
    for word in super::names::RESERVED {
        rows.add([("word", (*word).into()), ("catcode", "R".into()), ("catdesc", "reserved".into())]);
    }
}

fn queries(context: &CatalogContext, rows: &mut Rows) {
    for of in pg::connections(context).into_iter().filter(|of| of.state == "active") {
        rows.add([
            ("kill_id", of.backend.to_string().into()),
            ("conn_id", of.backend.into()),
            ("app", (&of.application).into()),
            ("pid", of.backend.into()),
            ("user", (&of.user).into()),
            ("end_point", (&of.address).into()),
            ("create_time", moment(of.query_ms)),
            ("exec_usec", (context.now_us - of.query_ms.saturating_mul(1000)).max(0).into()),
            ("sql", (&of.query).into()),
        ]);
    }
}

/// `ins_tables` and `ins_tags`: relations of the catalog first, then each vgroup's children of each super table.
pub(super) fn children(
    relation: &'static SystemRelation,
    context: Arc<CatalogContext>,
    wanted: Wanted,
) -> BoxStream<'static, Result<RecordBatch>> {
    let tables = relation.name == "ins_tables";
    let mut own = Rows::of(relation);
    let mut asked = Vec::new();
    for (database, of) in every_relation(&context) {
        if !wanted.allows("db_name", &database.name) {
            continue;
        }
        if of.kind == RelationKind::Super {
            if wanted.allows("stable_name", &of.name) {
                asked.extend(vgroups_asked(&context, database, &wanted).map(|id| (database.clone(), of.clone(), id)));
            }
        } else if tables && wanted.allows("table_name", &of.name) {
            let vgroup = context.catalog.vgroup_of(database, &of.name).id;
            own.push(table_cells(database, of, None, i64::from(of.suid.0), of.created_ms, vgroup));
        }
    }
    let named = wanted.value("table_name").map(str::to_owned);
    let scans = futures::stream::iter(asked).then(move |(database, of, vgroup)| {
        let (context, named) = (context.clone(), named.clone());
        async move { children_of(relation, context, database, of, vgroup, named).await }
    });
    let scans = scans.flat_map(|result| match result {
        Ok(stream) => stream,
        Err(error) => futures::stream::once(async { Err(error) }).boxed(),
    });
    futures::stream::once(async { own.finish() }).chain(scans).boxed()
}

/// The vgroups that may hold children that are asked for: one if the name is given, otherwise all.
fn vgroups_asked(context: &CatalogContext, database: &Database, wanted: &Wanted) -> std::vec::IntoIter<VgroupId> {
    let vgroups = match wanted.value("table_name") {
        Some(name) => vec![context.catalog.vgroup_of(database, name).id],
        None => database.vgroups.clone(),
    };
    vgroups.into_iter()
}

async fn children_of(
    system: &'static SystemRelation,
    context: Arc<CatalogContext>,
    database: Arc<Database>,
    relation: Arc<Relation>,
    vgroup: VgroupId,
    named: Option<String>,
) -> Result<BoxStream<'static, Result<RecordBatch>>> {
    let tags = system.name == "ins_tags";
    let request = TagsRequest {
        relation: relation.clone(),
        precision: database.options.precision,
        tags: if tags { relation.tags.iter().map(|tag| tag.id).collect() } else { Vec::new() },
        series: named.map_or(Series::All, |name| Series::Named(Arc::from([name]))),
        bare: false,
    };
    let stream = context.plane.scan(vgroup, ScanRequest::Tags(request)).await?;
    Ok(stream
        .map(move |batch| {
            let batch = batch?;
            let mut rows = Rows::of(system);
            match tags {
                true => tag_rows(&mut rows, &database, &relation, &batch)?,
                false => table_rows(&mut rows, &database, &relation, vgroup, &batch),
            }
            rows.finish()
        })
        .boxed())
}

fn table_rows(rows: &mut Rows, database: &Database, relation: &Relation, vgroup: VgroupId, batch: &RecordBatch) {
    let names = batch.column(1).as_string::<i32>();
    let uids = batch.column(2).as_primitive::<Int64Type>();
    let created = batch.column(3).as_primitive::<Int64Type>();
    for row in 0..batch.num_rows() {
        let name = Some(names.value(row));
        rows.push(table_cells(database, relation, name, uids.value(row), created.value(row), vgroup));
    }
}

/// One row of `ins_tables`: the child of this name, or the relation itself.
fn table_cells(
    database: &Database,
    relation: &Relation,
    child: Option<&str>,
    uid: i64,
    created_ms: i64,
    vgroup: VgroupId,
) -> Vec<Cell> {
    vec![
        child.unwrap_or(&relation.name).into(),
        (&database.name).into(),
        moment(created_ms),
        (relation.columns.len() as i64).into(),
        child.map(|_| relation.name.clone()).into(),
        uid.into(),
        vgroup.0.into(),
        0.into(),
        relation.comment.clone().filter(|_| child.is_none()).into(),
        if child.is_some() { "CHILD_TABLE" } else { "NORMAL_TABLE" }.into(),
    ]
}

fn tag_rows(rows: &mut Rows, database: &Database, relation: &Relation, batch: &RecordBatch) -> Result<()> {
    let names = batch.column(1).as_string::<i32>();
    let options = FormatOptions::new();
    let formatters: std::result::Result<Vec<_>, _> =
        batch.columns()[4..].iter().map(|tag| ArrayFormatter::try_new(tag.as_ref(), &options)).collect();
    let formatters = formatters.map_err(Error::internal)?;
    for row in 0..batch.num_rows() {
        for ((tag, values), formatter) in relation.tags.iter().zip(&batch.columns()[4..]).zip(&formatters) {
            let value = (!values.is_null(row)).then(|| formatter.value(row).to_string());
            rows.push(tag_cells(database, relation, names.value(row), tag, value));
        }
    }
    Ok(())
}

fn tag_cells(database: &Database, relation: &Relation, child: &str, tag: &Column, value: Option<String>) -> Vec<Cell> {
    vec![
        child.into(),
        (&database.name).into(),
        (&relation.name).into(),
        (&tag.name).into(),
        type_name(tag.data_type).into(),
        value.into(),
    ]
}
