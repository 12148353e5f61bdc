//! The mnode group and a vgroup with three voters: leader changes, snapshots, suspects, lost answers.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use arrow::array::{AsArray, Float64Array, RecordBatch};
use arrow::datatypes::{Float64Type, TimestampMillisecondType, UInt32Type};
use async_trait::async_trait;
use model::catalog::CatalogChange;
use model::command::{Applied, Chunk, ChunkColumn, Creation, Operation, Stamp, Target};
use model::options::FsyncPolicy;
use model::scan::{Order, Output, RowStream, RowsRequest, ScanRequest, Series};
use model::schema::{Column, Relation, RelationKind};
use model::write::{Effect, Keys};
use model::{ColumnId, DataType, DatabaseId, DnodeId, Precision, Suid, TimeRange, VgroupId};
use storage::files::SimulatedFiles;
use storage::vnode::{EnvOptions, StorageEnv, VnodeOptions};
use storage::wal::{Wal, WalSettings};

use crate::hlc::Uids;
use crate::identity::Identity;
use crate::mnode;
use crate::peers::local::LocalNetwork;
use crate::peers::{Request, Response, Service};
use crate::plane::define;
use crate::plane::share::{Part, Step};
use crate::raft::group::{Group, Lost, Parts};
use crate::raft::inbox::Inbox;
use crate::raft::log_store::LogStore;
use crate::raft::types::Member;
use crate::suspect::Suspicion;
use crate::vgroup::{Machine, Replica, Shard, replica};
use crate::world::SystemClock;
use crate::{Settings, World};

const VGROUP: VgroupId = VgroupId(2);
const DATABASE: DatabaseId = DatabaseId(1);
const PATIENCE: Duration = Duration::from_secs(60);

/// What survives a restart of a voter.
struct Disk {
    directory: PathBuf,
    wal: SimulatedFiles,
    catalog: SimulatedFiles,
    marks: SimulatedFiles,
}

/// One of three dnodes, with nothing but its replicas.
struct Voter {
    number: u64,
    wal: Wal,
    mnode: Arc<Group<mnode::Machine>>,
    catalog: mnode::Machine,
    replica: Arc<Replica>,
    world: World,
}

fn endpoint(number: u64) -> String {
    format!("voter{number}:6030")
}

fn members() -> BTreeMap<u64, Member> {
    (1..=3).map(|n| (n, Member { dnode: DnodeId(n as u32), endpoint: endpoint(n) })).collect()
}

#[async_trait]
impl Service for Voter {
    async fn answer(&self, _caller: &Identity, request: Request) -> Response {
        let Request::Raft { group, replica, call } = request else { return Response::NotLeader(None) };
        assert_eq!(replica, self.number);
        let answered = match group {
            VgroupId::MNODE => self.mnode.answer(call).await,
            _ => self.replica.group.answer(call).await,
        };
        answered.map_or_else(|error| Response::Failed(model::Error::internal(error).into()), Response::Raft)
    }

    async fn scan(&self, _caller: &Identity, _vgroup: VgroupId, _request: ScanRequest) -> model::Result<RowStream> {
        Err(model::Error::internal("not here"))
    }
}

impl Voter {
    async fn start(number: u64, disk: &Disk, network: &LocalNetwork, doubtful: bool) -> Arc<Self> {
        let settings = Settings { endpoint: endpoint(number), ..Settings::default() };
        let world = World::in_process(&settings, network);
        let (wal, _) = Wal::open(Arc::new(disk.wal.clone()), WalSettings::default()).expect("the log opens");
        let marks = Arc::new(disk.marks.clone());
        let parts = |id: VgroupId, doubtful: bool| {
            let directory = disk.directory.join(format!("{id}.incoming"));
            (
                LogStore::open(&wal, id, FsyncPolicy::Never).expect("the group opens"),
                Suspicion::load(marks.clone(), u64::from(id.0) * 10 + number, doubtful).expect("the mark is read"),
                Inbox::new(directory).expect("the inbox is cleared"),
            )
        };
        let catalog = mnode::Machine::open(Arc::new(disk.catalog.clone())).expect("the catalog opens");
        let (store, suspicion, inbox) = parts(VgroupId::MNODE, false);
        let (id, machine, network) = (VgroupId::MNODE, catalog.clone(), world.network.clone());
        let mnode = Parts { id, replica: number, store, machine, network, suspicion, inbox };
        let mnode = Group::start(mnode, &settings).await.expect("the mnode starts");
        let env = StorageEnv::new(&EnvOptions { workers: 0, ..EnvOptions::default() }).expect("the store starts");
        let options = VnodeOptions::new(VGROUP, DATABASE, Precision::Milli);
        let shard = Shard::open(disk.directory.join("2"), options, env).expect("the vnode opens");
        let (store, suspicion, inbox) = parts(VGROUP, doubtful);
        let (id, machine, network) = (VGROUP, Machine::new(shard.clone()), world.network.clone());
        let group = Parts { id, replica: number, store, machine, network, suspicion, inbox };
        let group = Group::start(group, &settings).await.expect("the vgroup starts");
        let replica = Replica::new(group, shard, Arc::new(SystemClock), Arc::new(Uids::new(number)));
        let voter = Arc::new(Self { number, wal, mnode, catalog, replica, world });
        let service: Arc<dyn Service> = voter.clone();
        let service: Weak<dyn Service> = Arc::downgrade(&service);
        voter.world.network.serve(&endpoint(number), service);
        voter.mnode.initialize(members()).await.expect("initialized");
        voter.replica.group.initialize(members()).await.expect("initialized");
        voter
    }

    async fn stop(self: Arc<Self>) {
        self.replica.stop().await;
        self.mnode.stop().await;
        self.wal.close().await.expect("the log closes");
    }

    fn rows(&self) -> Vec<(u32, i64, f64)> {
        let request = ScanRequest::Rows(RowsRequest {
            relation: relation(),
            precision: Precision::Milli,
            output: vec![Output::Sid, Output::Column(ColumnId::KEY), Output::Column(ColumnId(1))],
            series: Series::All,
            range: TimeRange::ALL,
            filters: Vec::new(),
            conditions: Vec::new(),
            order: Order::SeriesTime,
            limit: None,
            overlay: Vec::new(),
            cachemodel: model::options::CacheModel::None,
        });
        let batches = self.replica.shard.vnode().expect("open").scan(request).expect("scans");
        let batches: Vec<RecordBatch> = batches.map(|batch| batch.expect("reads")).collect();
        let mut rows = Vec::new();
        for batch in batches {
            let sids = batch.column(0).as_primitive::<UInt32Type>();
            let keys = batch.column(1).as_primitive::<TimestampMillisecondType>();
            let values = batch.column(2).as_primitive::<Float64Type>();
            rows.extend((0..batch.num_rows()).map(|row| (sids.value(row), keys.value(row), values.value(row))));
        }
        rows
    }
}

fn relation() -> Arc<Relation> {
    let mut key = Column::new(ColumnId::KEY, "ts", DataType::Timestamp);
    key.nullable = false;
    Arc::new(Relation {
        suid: Suid(1),
        name: "s".to_owned(),
        kind: RelationKind::Super,
        version: 1,
        columns: vec![key, Column::new(ColumnId(1), "v", DataType::Double)],
        tags: vec![Column::new(ColumnId(2), "t", DataType::Int)],
        next_column: ColumnId(3),
        primary_key: Vec::new(),
        comment: None,
        created_ms: 0,
        altered_ms: 0,
    })
}

/// One row into each of three tables, with sequence number `seq`.
fn part(seq: u64) -> Part {
    let names: Vec<String> = (0..3).map(|table| format!("t{table}")).collect();
    let create = |name: &String| Target::Create(Creation { name: name.clone(), uid: 0, tags: Vec::new() });
    let chunk = Chunk {
        suid: Suid(1),
        version: 1,
        targets: names.iter().map(create).collect(),
        ordinals: vec![0, 1, 2],
        keys: Keys::Given(vec![seq as i64 * 1000; 3]),
        columns: vec![ChunkColumn {
            id: ColumnId(1),
            data_type: DataType::Double,
            values: Arc::new(Float64Array::from(vec![seq as f64; 3])),
            absent: None,
        }],
    };
    let stamp = Stamp { hlc: 0, origin: 0, writer: 7, seq };
    let steps = vec![Step { operation: Operation::Write(chunk), names }];
    Part { stamp, database: DATABASE, epoch: 1, steps }
}

/// Three voters on one network.
struct Cluster {
    network: LocalNetwork,
    disks: Vec<Disk>,
    voters: BTreeMap<u64, Arc<Voter>>,
    seq: u64,
    _directory: tempfile::TempDir,
}

impl Cluster {
    async fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let network = LocalNetwork::new();
        let mut disks = Vec::new();
        let mut voters = BTreeMap::new();
        for number in 1..=3 {
            let own = directory.path().join(number.to_string());
            std::fs::create_dir_all(&own).expect("made");
            let files = SimulatedFiles::new;
            let disk = Disk { directory: own, wal: files(), catalog: files(), marks: files() };
            voters.insert(number, Voter::start(number, &disk, &network, false).await);
            disks.push(disk);
        }
        Self { network, disks, voters, seq: 0, _directory: directory }
    }

    async fn restart(&mut self, number: u64, doubtful: bool) {
        self.voters.remove(&number).expect("is there").stop().await;
        let voter = Voter::start(number, &self.disks[number as usize - 1], &self.network, doubtful).await;
        self.voters.insert(number, voter);
    }

    /// The voter that leads the vgroup, among those that are not `without`; it has proved it.
    async fn leader(&self, without: &[u64]) -> Arc<Voter> {
        let look = async {
            loop {
                for voter in self.voters.values().filter(|voter| !without.contains(&voter.number)) {
                    if voter.replica.group.barrier().await.is_ok() {
                        return voter.clone();
                    }
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PATIENCE, look).await.expect("a leader is elected")
    }

    /// Writes `count` times three rows through the leader.
    async fn write(&mut self, count: u64, without: &[u64]) {
        for _ in 0..count {
            self.seq += 1;
            // A busy machine may change the leader in the middle: the same (writer, seq) again is applied once.
            let write = async {
                loop {
                    let leader = self.leader(without).await;
                    let Ok(pending) = leader.replica.propose(&part(self.seq)).await else { continue };
                    if let Ok((_, answer)) = pending.answer().await {
                        return replica::applied(answer).expect("of a vgroup");
                    }
                }
            };
            let applied = tokio::time::timeout(PATIENCE, write).await.expect("a leader applies it");
            assert!(matches!(applied, Applied::Done(Effect { written: 3, .. })), "{applied:?}");
        }
    }

    /// One step of DDL through whoever leads the mnode group.
    async fn define(&self, name: &str, without: &[u64]) {
        let change = CatalogChange::CreateDatabase {
            name: name.to_owned(),
            options: model::options::DatabaseOptions { vgroups: 1, ..Default::default() },
            if_not_exists: true,
        };
        let found = CatalogChange::Found { cluster_id: 1, endpoint: endpoint(1), support_vnodes: 64 };
        let change = if name == "found" { found } else { change };
        let define = async {
            loop {
                for voter in self.voters.values().filter(|voter| !without.contains(&voter.number)) {
                    let Ok(pending) = voter.mnode.propose(define::proposal(change.clone(), 1)).await else { continue };
                    if let Ok((_, answer)) = pending.answer().await {
                        define::defined(answer).expect("defined");
                        return;
                    }
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PATIENCE, define).await.expect("a leader is elected");
    }

    /// Waits until all replicas have applied the same, and compares what they hold.
    async fn all_equal(&self) {
        let indexes = |voter: &Arc<Voter>| (voter.replica.group.applied_index(), voter.mnode.applied_index());
        let settled = async {
            loop {
                let all: Vec<(u64, u64)> = self.voters.values().map(indexes).collect();
                let last = |voter: &Arc<Voter>| voter.replica.group.last().map_or(0, |last| last.index);
                let lasts: Vec<u64> = self.voters.values().map(last).collect();
                if all.windows(2).all(|pair| pair[0] == pair[1]) && lasts.iter().all(|last| *last == all[0].0) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PATIENCE, settled).await.expect("the replicas catch up");
        let first = self.voters[&1].rows();
        assert_eq!(first.len() as u64, self.seq * 3);
        for voter in self.voters.values() {
            assert_eq!(voter.rows(), first, "voter {}", voter.number);
            assert_eq!(voter.catalog.catalog(), self.voters[&1].catalog.catalog(), "voter {}", voter.number);
        }
    }

    async fn stop(self) {
        for voter in self.voters.into_values() {
            voter.stop().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_missed_the_log_gets_a_snapshot() {
    let mut cluster = Cluster::start().await;
    cluster.define("found", &[]).await;
    cluster.define("one", &[]).await;
    cluster.write(20, &[]).await;
    cluster.all_equal().await;

    // One is cut off, and the others go on and purge what it misses.
    let away = (1..=3).find(|n| !cluster.voters[n].replica.group.is_leader()).expect("two do not lead");
    cluster.network.cut(&endpoint(away));
    cluster.write(20, &[away]).await;
    cluster.define("two", &[away]).await;
    let leader = cluster.leader(&[away]).await;
    let missed = cluster.voters[&away].replica.group.last().expect("has a log").index;
    for voter in cluster.voters.values().filter(|voter| voter.number != away) {
        voter.replica.maintain(crate::peers::Maintenance::Flush, 0).await.expect("flushed");
        voter.replica.group.flushed().await.expect("told");
        voter.mnode.flushed().await.expect("told");
    }
    let purged = async {
        while leader.replica.group.purged().is_none_or(|purged| purged.index <= missed) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, purged).await.expect("the leader purges its log");
    cluster.network.heal(&endpoint(away));
    drop(leader);
    cluster.write(5, &[away]).await;
    cluster.all_equal().await;

    // What came as a snapshot survives a restart, and leads when it is asked to.
    cluster.restart(away, false).await;
    cluster.all_equal().await;
    let lead = async {
        while !cluster.voters[&away].replica.group.is_leader() {
            cluster.leader(&[]).await.replica.group.transfer(away).await.expect("asked");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(PATIENCE, lead).await.expect("the leadership is handed over");
    cluster.write(5, &[]).await;
    cluster.all_equal().await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_leader_is_replaced_and_its_unanswered_write_is_unknown() {
    let mut cluster = Cluster::start().await;
    cluster.define("found", &[]).await;
    cluster.write(5, &[]).await;
    let old = cluster.leader(&[]).await;
    cluster.network.cut(&endpoint(old.number));
    // It does not know yet that nobody hears it.
    let pending = old.replica.propose(&part(1_000_000)).await.expect("proposed");
    let unanswered = tokio::spawn(pending.answer());
    cluster.write(5, &[old.number]).await;
    let lost = old.replica.group.barrier().await.expect_err("cut off, it must not read");
    assert!(matches!(lost, Lost::NotLeader(_)), "{lost:?}");
    cluster.network.heal(&endpoint(old.number));
    let answer = tokio::time::timeout(PATIENCE, unanswered).await.expect("answered").expect("no panic");
    assert!(matches!(answer, Err(Lost::Unknown(_))), "discarded, and only the new leader knows");
    drop(old);

    // The same (writer, seq) is applied once, whoever leads.
    let leader = cluster.leader(&[]).await;
    let again = leader.replica.propose(&part(cluster.seq)).await.expect("proposed");
    again.answer().await.expect("answered");
    drop(leader);
    cluster.all_equal().await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_suspect_decides_nothing_until_it_has_caught_up() {
    let mut cluster = Cluster::start().await;
    cluster.define("found", &[]).await;
    cluster.write(5, &[]).await;
    cluster.all_equal().await;
    let leader = cluster.leader(&[]).await.number;
    let suspect = leader % 3 + 1;
    let other = suspect % 3 + 1;
    cluster.restart(suspect, true).await;
    assert_eq!(cluster.voters[&suspect].replica.group.role(), "unsynced");

    // Without the leader there are a sound replica and a suspect: nobody can be elected.
    cluster.network.cut(&endpoint(leader));
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    for number in [suspect, other] {
        assert!(!cluster.voters[&number].replica.group.is_leader(), "voter {number} leads by a suspect's vote");
    }
    // A second start does not make it sound.
    cluster.restart(suspect, false).await;
    assert_eq!(cluster.voters[&suspect].replica.group.role(), "unsynced");

    // The leader back, the suspect catches up, is cleared, and counts again.
    cluster.network.heal(&endpoint(leader));
    let back = cluster.leader(&[suspect]).await.number;
    let cleared = async {
        while cluster.voters[&suspect].replica.group.role() == "unsynced" {
            let voter = &cluster.voters[&suspect];
            voter.replica.group.clear_suspicion(&voter.world.network).await.expect("asked");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, cleared).await.expect("the suspect is cleared");
    cluster.network.cut(&endpoint(back));
    cluster.write(5, &[back]).await;
    cluster.network.heal(&endpoint(back));
    cluster.all_equal().await;
    cluster.stop().await;
}
