//! A whole dnode: found, define, write, scan, restart.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, AsArray, Float64Array, RecordBatch};
use arrow::datatypes::{Float64Type, TimestampMillisecondType};
use futures::TryStreamExt;
use model::catalog::{CatalogChange, Defined};
use model::options::DatabaseOptions;
use model::plane::{Command, Reply};
use model::scan::{Order, Output, RowsRequest, ScanRequest, Series};
use model::schema::{Column, Relation, RelationKind, Table};
use model::write::{Change, Effect, Keys, NewTable, RowBatch, TableRef, Tables, WriteBatch, WriteColumn};
use model::{ColumnId, DataPlane, DataType, DatabaseId, SqlState, Suid, TimeRange, Value};

use crate::peers::local::LocalNetwork;
use crate::{Node, Settings, World};

/// A start of the times that rows of these tests have: recent, so that KEEP leaves them.
const START: i64 = 1_767_225_600_000;

pub(super) fn settings(directory: &std::path::Path) -> Settings {
    Settings { data_dir: directory.to_owned(), worker_threads: 1, ..Settings::default() }
}

async fn start(settings: &Settings) -> Arc<Node> {
    let world = World::in_process(settings, &LocalNetwork::new());
    Node::start(world, settings.clone()).await.expect("the dnode starts")
}

pub(super) async fn stop(node: Arc<Node>) {
    node.shutdown(Duration::from_secs(60)).await.expect("the dnode stops");
    drop(node);
}

fn column(name: &str, data_type: DataType) -> Column {
    Column::new(ColumnId(0), name, data_type)
}

pub(super) async fn create_database(plane: &dyn DataPlane, name: &str, options: DatabaseOptions) -> DatabaseId {
    let change = CatalogChange::CreateDatabase { name: name.to_owned(), options, if_not_exists: false };
    plane.define(change).await.expect("created");
    plane.catalog().database(name).expect("there").id
}

pub(super) async fn create(
    plane: &dyn DataPlane,
    database: DatabaseId,
    name: &str,
    kind: RelationKind,
) -> Arc<Relation> {
    let tags = if kind == RelationKind::Super { vec![column("site", DataType::Varchar(16))] } else { Vec::new() };
    let key = if kind == RelationKind::Plain { DataType::Int } else { DataType::Timestamp };
    let change = CatalogChange::CreateRelation {
        database,
        name: name.to_owned(),
        kind,
        columns: vec![column("ts", key), column("v", DataType::Double)],
        tags,
        primary_key: Vec::new(),
        comment: None,
        if_not_exists: false,
    };
    let defined = plane.define(change).await.expect("created");
    let Defined::Relation(suid) = defined else { panic!("{defined:?}") };
    relation(plane, suid)
}

fn relation(plane: &dyn DataPlane, suid: Suid) -> Arc<Relation> {
    plane.catalog().relation(suid).expect("there").1.clone()
}

/// `rows` rows of each table, one second apart, the value counting on.
pub(super) fn rows(relation: &Relation, tables: &[&str], from: i64, rows: i64) -> Change {
    let count = tables.len() as i64 * rows;
    let table = |name: &&str| {
        let create =
            (relation.kind == RelationKind::Super).then(|| vec![(tag(relation), Value::Text((*name).to_owned()))]);
        TableRef { name: (*name).to_owned(), create }
    };
    Change::Rows(RowBatch {
        suid: relation.suid,
        version: relation.version,
        tables: tables.iter().map(table).collect(),
        ordinals: (0..count).map(|row| (row % tables.len() as i64) as u32).collect(),
        keys: Keys::Given((0..count).map(|row| START + (from + row / tables.len() as i64) * 1000).collect()),
        columns: vec![WriteColumn {
            id: relation.columns[1].id,
            data_type: DataType::Double,
            values: Arc::new(Float64Array::from_iter_values((0..count).map(|row| (from * 100 + row) as f64))),
            absent: None,
        }],
    })
}

fn tag(relation: &Relation) -> ColumnId {
    relation.tags[0].id
}

pub(super) async fn write(plane: &dyn DataPlane, database: DatabaseId, change: Change) -> model::Result<Effect> {
    plane.write(WriteBatch { database, changes: vec![change] }).await?.total()
}

/// All rows of a relation as (table, key, value), sorted.
pub(super) async fn read(plane: &dyn DataPlane, relation: &Arc<Relation>) -> Vec<(String, i64, f64)> {
    let catalog = plane.catalog();
    let (database, _) = catalog.relation(relation.suid).expect("there");
    let mut found = Vec::new();
    for vgroup in &database.vgroups {
        let request = ScanRequest::Rows(RowsRequest {
            relation: relation.clone(),
            precision: database.options.precision,
            output: vec![Output::TableName, Output::Column(ColumnId::KEY), Output::Column(relation.columns[1].id)],
            series: Series::All,
            range: TimeRange::ALL,
            filters: Vec::new(),
            conditions: Vec::new(),
            order: Order::Any,
            limit: None,
            overlay: Vec::new(),
            cachemodel: model::options::CacheModel::None,
        });
        let stream = plane.scan(*vgroup, request).await.expect("scans");
        let batches: Vec<RecordBatch> = stream.try_collect().await.expect("reads");
        for batch in batches {
            let (names, values) = (batch.column(0).as_string::<i32>(), batch.column(2).as_primitive::<Float64Type>());
            let keys = batch.column(1).as_primitive::<TimestampMillisecondType>();
            for row in 0..batch.num_rows() {
                let value = if values.is_null(row) { f64::NAN } else { values.value(row) };
                found.push((names.value(row).to_owned(), keys.value(row), value));
            }
        }
    }
    found.sort_by(|a, b| (&a.0, a.1).cmp(&(&b.0, b.1)));
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_dnode_keeps_everything_over_restarts() {
    let directory = tempfile::tempdir().expect("a directory");
    let settings = settings(directory.path());
    let node = start(&settings).await;
    let plane = node.plane();
    assert!(plane.catalog().database("postgres").is_some(), "a client of PostgreSQL expects it");
    let database = create_database(&*plane, "power", DatabaseOptions::default()).await;
    let meters = create(&*plane, database, "meters", RelationKind::Super).await;
    let effect = write(&*plane, database, rows(&meters, &["a", "b", "c", "d", "e"], 0, 10)).await.expect("written");
    assert_eq!(effect, Effect { written: 50, created: 5, ..Effect::default() });
    let before = read(&*plane, &meters).await;
    assert_eq!(before.len(), 50);

    let names = ["a", "meters", "nothing"].map(str::to_owned);
    let found = plane.lookup(database, &names).await.expect("looked up");
    assert!(matches!(&found[0], Some(Table::Child(child)) if child.tags == [Value::Text("a".to_owned())]));
    assert!(matches!(&found[1], Some(Table::Relation(relation)) if relation.suid == meters.suid));
    assert!(found[2].is_none());
    drop(plane);
    stop(node).await;

    // In order, and then as if the process had died: no flush, no marker.
    let node = start(&settings).await;
    assert_eq!(read(&*node.plane(), &meters).await, before);
    write(&*node.plane(), database, rows(&meters, &["a", "f"], 100, 3)).await.expect("written");
    let more = read(&*node.plane(), &meters).await;
    assert_eq!(more.len(), 56);
    node.abandon().await;
    drop(node);
    let node = start(&settings).await;
    assert_eq!(read(&*node.plane(), &meters).await, more);
    let status = loop {
        let Reply::Status(status) = node.plane().admin(Command::Status).await.expect("status") else { panic!() };
        assert_eq!(status.vnodes.len(), 3);
        if status.vnodes.iter().all(|vnode| vnode.role == "leader" && vnode.restored) {
            break status;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    assert_eq!(status.vnodes.iter().map(|vnode| vnode.tables).sum::<u64>(), 6);
    stop(node).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_come_and_go() {
    let directory = tempfile::tempdir().expect("a directory");
    let settings = settings(directory.path());
    let node = start(&settings).await;
    let plane = node.plane();
    let database = create_database(&*plane, "d", DatabaseOptions::default()).await;
    let normal = create(&*plane, database, "n", RelationKind::Normal).await;
    let meters = create(&*plane, database, "s", RelationKind::Super).await;
    write(&*plane, database, rows(&normal, &["n"], 0, 4)).await.expect("written");
    write(&*plane, database, rows(&meters, &["a", "b"], 0, 4)).await.expect("written");

    // One name is one thing.
    let refused = write(&*plane, database, rows(&meters, &["n"], 0, 1)).await.expect_err("n is a normal table");
    assert_eq!(refused.state(), SqlState::DuplicateTable);
    let again = CatalogChange::CreateRelation {
        database,
        name: "a".to_owned(),
        kind: RelationKind::Normal,
        columns: vec![column("ts", DataType::Timestamp), column("v", DataType::Double)],
        tags: Vec::new(),
        primary_key: Vec::new(),
        comment: None,
        if_not_exists: true,
    };
    assert_eq!(plane.define(again).await.expect_err("a is a child").state(), SqlState::DuplicateTable);
    let tables = vec![NewTable { name: "a".to_owned(), tags: Vec::new() }];
    let twice = Change::CreateTables { suid: meters.suid, tables, if_not_exists: false };
    assert_eq!(write(&*plane, database, twice).await.expect_err("is there").state(), SqlState::DuplicateTable);

    // Deletes say what was there.
    let range = TimeRange { min: START, max: START + 1000 };
    let delete = Change::DeleteRange { suid: meters.suid, tables: Tables::Named(vec!["a".to_owned()]), range };
    assert_eq!(write(&*plane, database, delete).await.expect("deleted").deleted, 2);
    let (ordinals, names, keys) = (vec![1, 1], vec!["a".to_owned(), "b".to_owned()], vec![START, START + 5]);
    let delete = Change::DeleteKeys { suid: meters.suid, ordinals, names, keys };
    assert_eq!(write(&*plane, database, delete).await.expect("deleted").deleted, 1);
    assert_eq!(read(&*plane, &meters).await.len(), 5);

    let drop_child = Change::DropTables { suid: meters.suid, names: vec!["a".to_owned()] };
    assert_eq!(write(&*plane, database, drop_child.clone()).await.expect("dropped").dropped, 1);
    assert_eq!(write(&*plane, database, drop_child).await.expect_err("gone").state(), SqlState::UndefinedTable);
    plane.define(CatalogChange::DropRelation { suid: meters.suid }).await.expect("dropped");
    let late = write(&*plane, database, rows(&meters, &["b"], 9, 1)).await.expect_err("the super table is gone");
    assert_eq!(late.state(), SqlState::UndefinedTable);
    assert!(plane.lookup(database, &["b".to_owned()]).await.expect("looked up")[0].is_none());

    // A dropped database leaves nothing behind.
    let vgroups = plane.catalog().database("d").expect("there").vgroups.clone();
    plane.define(CatalogChange::DropDatabase { database }).await.expect("dropped");
    for vgroup in vgroups {
        let path = settings.data_dir.join("vnode").join(vgroup.0.to_string());
        while path.exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    let refused = write(&*plane, database, rows(&normal, &["n"], 0, 1)).await.expect_err("gone");
    assert_eq!(refused.state(), SqlState::InvalidCatalogName);
    drop(plane);
    stop(node).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_write_is_cut_and_flushes_purge_the_log() {
    let directory = tempfile::tempdir().expect("a directory");
    let settings = Settings { flush_rows: 1000, ..settings(directory.path()) };
    let node = start(&settings).await;
    let plane = node.plane();
    let options = DatabaseOptions { vgroups: 1, ..DatabaseOptions::default() };
    let database = create_database(&*plane, "d", options).await;
    let meters = create(&*plane, database, "s", RelationKind::Super).await;
    let tables: Vec<String> = (0..50).map(|table| format!("t{table}")).collect();
    let tables: Vec<&str> = tables.iter().map(String::as_str).collect();
    // 20 MiB of keys, values and ordinals: four entries.
    let effect = write(&*plane, database, rows(&meters, &tables, 0, 20_000)).await.expect("written");
    assert_eq!((effect.written, effect.created), (1_000_000, 50));
    plane.admin(Command::Flush(database)).await.expect("flushed");
    let vgroup = plane.catalog().database("d").expect("there").vgroups[0];
    let replica = node.replica(vgroup).expect("here");
    while replica.group.purged().is_none() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(read(&*plane, &meters).await.len(), 1_000_000);
    drop(replica);
    drop(plane);
    stop(node).await;
    let node = start(&settings).await;
    assert_eq!(read(&*node.plane(), &meters).await.len(), 1_000_000);
    stop(node).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_data_directory_has_one_process() {
    let directory = tempfile::tempdir().expect("a directory");
    let settings = settings(directory.path());
    let node = start(&settings).await;
    let world = World::in_process(&settings, &LocalNetwork::new());
    let second = Node::start(world, settings.clone()).await;
    assert!(matches!(second.err(), Some(crate::StartError::InUse(_))));
    stop(node).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_crash_left_half_done_is_finished() {
    let directory = tempfile::tempdir().expect("a directory");
    let settings = Settings { background_ms: 20, ..settings(directory.path()) };
    let node = start(&settings).await;
    let plane = node.plane();
    let database = create_database(&*plane, "d", DatabaseOptions::default()).await;
    let meters = create(&*plane, database, "s", RelationKind::Super).await;
    write(&*plane, database, rows(&meters, &["a", "b", "c"], 0, 4)).await.expect("written");
    // The mnode has dropped the super table, and nobody told the vgroups.
    node.define(CatalogChange::DropRelation { suid: meters.suid }).await.expect("led").0.expect("dropped");
    drop(plane);
    node.abandon().await;
    drop(node);

    let node = start(&settings).await;
    let plane = node.plane();
    let vgroups = plane.catalog().database("d").expect("there").vgroups.clone();
    let left = || {
        let replicas = vgroups.iter().filter_map(|vgroup| node.replica(*vgroup));
        replicas.filter_map(|replica| replica.shard.vnode().ok()).map(|vnode| vnode.relations().len()).sum::<usize>()
    };
    for vgroup in &vgroups {
        let replica = node.replica(*vgroup).expect("here");
        while replica.ready().await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    while left() > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let again = create(&*plane, database, "s", RelationKind::Super).await;
    write(&*plane, database, rows(&again, &["a", "b", "c"], 0, 4)).await.expect("the names are free");

    // A replica that has halted alone is opened again.
    let halted = node.replica(vgroups[0]).expect("here");
    halted.group.stop().await;
    drop(halted);
    while node.replica(vgroups[0]).is_none_or(|replica| !replica.group.running()) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    write(&*plane, database, rows(&again, &["a", "b", "c"], 4, 4)).await.expect("written");
    assert_eq!(read(&*plane, &again).await.len(), 24);
    drop(plane);
    stop(node).await;
}

/// The machine's disk, but for a log that can be made to fail.
#[derive(Default)]
struct FailingLog(storage::files::SimulatedFiles);

impl crate::world::Disk for FailingLog {
    fn files(&self, directory: &std::path::Path) -> std::io::Result<Arc<dyn storage::files::LogFiles>> {
        if directory.ends_with("wal") {
            return Ok(Arc::new(self.0.clone()));
        }
        crate::world::RealDisk.files(directory)
    }

    fn vnodes(&self, settings: &Settings) -> Result<Arc<storage::vnode::StorageEnv>, storage::Halt> {
        crate::world::RealDisk.vnodes(settings)
    }

    fn boot_id(&self) -> Result<String, storage::Halt> {
        crate::world::RealDisk.boot_id()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_nobody_knows_of_is_40003_and_the_next_ones_are_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let settings = Settings { leader_wait_ms: 5_000, ..settings(directory.path()) };
    let disk = Arc::new(FailingLog::default());
    let world = World { disk: disk.clone(), ..World::in_process(&settings, &LocalNetwork::new()) };
    let node = Node::start(world.clone(), settings.clone()).await.expect("starts");
    let plane = node.plane();
    let options = DatabaseOptions { vgroups: 1, ..DatabaseOptions::default() };
    let database = create_database(&*plane, "d", options).await;
    let meters = create(&*plane, database, "s", RelationKind::Super).await;
    write(&*plane, database, rows(&meters, &["a"], 0, 3)).await.expect("written");
    disk.0.fail_write_after(0);
    let lost = write(&*plane, database, rows(&meters, &["a"], 3, 3)).await.expect_err("the disk is broken");
    assert_eq!(lost.state(), SqlState::StatementCompletionUnknown);
    let refused = write(&*plane, database, rows(&meters, &["a"], 6, 3)).await.expect_err("the replica has stopped");
    assert_eq!(refused.state(), SqlState::CannotConnectNow);
    assert!(node.failed().await.starts_with("the log has failed"));
    drop(plane);
    node.abandon().await;
    drop(node);
    disk.0.crash_process();
    disk.0.heal();
    let node = Node::start(world, settings).await.expect("starts again");
    assert_eq!(read(&*node.plane(), &meters).await.len(), 3, "what was acknowledged is there");
    stop(node).await;
}
