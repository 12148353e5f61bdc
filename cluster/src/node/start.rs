//! The start of a dnode.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use model::catalog::{CatalogChange, Defined};
use model::options::{DatabaseOptions, FsyncPolicy};
use model::{DnodeId, SqlState, VgroupId};
use parking_lot::{Mutex, RwLock};
use storage::Halt;
use storage::files::{LogFiles, boot};
use storage::wal::{GroupLog, GroupRecovery, Recovery, Wal, WalSettings};
use tokio::sync::watch;

use super::{Node, StartError};
use crate::catalog::mnode_replica;
use crate::hlc::Uids;
use crate::identity::FOUNDER;
use crate::raft::group::{Group, Parts};
use crate::raft::inbox::Inbox;
use crate::raft::log_store::LogStore;
use crate::raft::types::Member;
use crate::suspect::Suspicion;
use crate::{Settings, World, mnode};

/// How long a start waits for the mnode group.
const LEADER_WAIT: Duration = Duration::from_secs(60);

/// A database that is there from the start, because every client of PostgreSQL expects it.
const FIRST_DATABASE: &str = "postgres";

/// Who this dnode is, and how the last run of it ended.
pub(super) struct Boot {
    pub(super) dnode: DnodeId,
    marks: Mutex<boot::Boot>,
}

impl Boot {
    fn enter(files: &Arc<dyn LogFiles>, boot_id: &str, dnode: DnodeId) -> Result<Self, StartError> {
        let marks = boot::Boot::open(files.clone(), boot_id)?;
        if !marks.clean {
            tracing::info!(same_machine_boot = marks.same_machine_boot, "the last run did not end in order");
        }
        Ok(Self { dnode, marks: Mutex::new(marks) })
    }

    /// Whether the log of a group may lack what was acknowledged under `policy`. Notes that it is used from now on.
    pub(super) fn doubtful(&self, group: VgroupId, policy: FsyncPolicy, log: &GroupLog) -> Result<bool, Halt> {
        let mut marks = self.marks.lock();
        let moved =
            marks.lasts.as_ref().and_then(|lasts| lasts.get(&group)).is_some_and(|last| *last != log.state().last);
        let doubtful = marks.suspects(policy) || moved;
        marks.note_policy(policy)?;
        Ok(doubtful)
    }

    /// Notes that a group is going to acknowledge under `policy`.
    pub(super) fn note(&self, policy: FsyncPolicy) -> Result<(), Halt> {
        self.marks.lock().note_policy(policy)
    }

    /// Every replica that is suspect is marked as such; `weakest` is the weakest policy of all.
    fn settle(&self, weakest: FsyncPolicy) -> Result<(), Halt> {
        self.marks.lock().settle(weakest)
    }

    /// Everything is synced: leaves the marker that says so.
    pub(super) fn leave(&self, lasts: &boot::Lasts) -> io::Result<()> {
        Ok(self.marks.lock().mark_clean(lasts)?)
    }
}

impl From<Halt> for StartError {
    fn from(halt: Halt) -> Self {
        match halt {
            Halt::Newer { .. } => Self::NewerFormat(halt.to_string()),
            Halt::Corrupt { .. } => Self::Damaged(halt.to_string()),
            Halt::Disk { .. } | Halt::Closed => {
                let what = halt.to_string();
                Self::Io { what, source: io::Error::from(halt) }
            }
        }
    }
}

/// An error of the file system with what was tried.
fn failed(what: &str, path: &Path) -> impl FnOnce(io::Error) -> StartError {
    let what = format!("{what} {}", path.display());
    move |source| StartError::Io { what, source }
}

/// Takes the data directory for this process.
fn lock(directory: &Path) -> Result<File, StartError> {
    std::fs::create_dir_all(directory).map_err(failed("make", directory))?;
    let path = directory.join("lock");
    let options = File::options().create(true).truncate(false).write(true).open(&path);
    let file = options.map_err(failed("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(StartError::InUse(directory.display().to_string())),
        Err(std::fs::TryLockError::Error(error)) => Err(failed("lock", &path)(error)),
    }
}

fn check(settings: &Settings) -> Result<(), StartError> {
    let wrong = |what: &str| Err(StartError::Setting(what.to_owned()));
    if settings.heartbeat_ms == 0 || settings.heartbeat_ms * 2 > settings.election_min_ms {
        return wrong("election_min_ms must be at least twice heartbeat_ms, and heartbeat_ms not 0");
    }
    if settings.election_min_ms >= settings.election_max_ms {
        return wrong("election_max_ms must be greater than election_min_ms");
    }
    if settings.flush_rows == 0 || settings.memtable_bytes == 0 || settings.background_ms == 0 {
        return wrong("flush_rows, memtable_bytes and background_ms must not be 0");
    }
    Ok(())
}

/// Reads the log and says what was found.
fn open_wal(files: Arc<dyn LogFiles>, memory: u64) -> Result<(Wal, Recovery), StartError> {
    let (wal, recovery) = Wal::open(files, WalSettings::within(memory))?;
    if let Some((segment, range)) = &recovery.torn {
        tracing::info!(segment, ?range, "cut an unsynced, torn end off the log");
    }
    for (group, found) in &recovery.groups {
        if let GroupRecovery::Damaged { place } = found {
            tracing::error!(%group, place, "the log of this group is damaged");
            if *group == VgroupId::MNODE {
                return Err(StartError::Damaged(format!("the log of the metadata is damaged: {place}")));
            }
        }
    }
    Ok((wal, recovery))
}

/// Starts a dnode: as the one that its data directory says, else as a new one.
pub(super) async fn start(world: World, settings: Settings) -> Result<Arc<Node>, StartError> {
    check(&settings)?;
    let directory = settings.data_dir.clone();
    let lock = lock(&directory)?;
    let marks = world.disk.files(&directory.join("boot")).map_err(failed("make", &directory.join("boot")))?;
    let identity = super::join::identity(&world, &settings, &marks).await?;
    world.network.introduce(identity);
    let boot = Boot::enter(&marks, &world.disk.boot_id()?, identity.dnode)?;
    let wal_files = world.disk.files(&directory.join("wal")).map_err(failed("make", &directory.join("wal")))?;
    let memory = settings.log_bytes;
    let opened = tokio::task::spawn_blocking(move || open_wal(wal_files, memory)).await;
    let (wal, _recovery) = opened.map_err(|error| failed("open", &directory)(io::Error::other(error)))??;
    let env = world.disk.vnodes(&settings)?;
    let (group, catalog) = open_mnode(&world, &settings, &wal, &marks, mnode_replica(identity.dnode)).await?;
    let (stop, _) = watch::channel(false);
    let (failure, _) = watch::channel(None);
    let node = Arc::new(Node {
        start_ms: world.clock.now_ms(),
        stopping: AtomicBool::new(false),
        wal,
        env,
        boot,
        identity: RwLock::new(identity),
        marks,
        mnode: group,
        catalog,
        replicas: RwLock::new(BTreeMap::new()),
        broken: Mutex::new(BTreeMap::new()),
        writer: AtomicU64::new(0),
        seq: AtomicU64::new(0),
        door: super::room::Door::default(),
        uids: RwLock::new(Arc::new(Uids::new(0))),
        tasks: Mutex::new(Vec::new()),
        stop,
        failure,
        compacts: super::compact::Compacts::default(),
        changing: tokio::sync::Mutex::new(()),
        settings,
        world,
        _lock: lock,
    });
    let own: Arc<dyn crate::peers::Service> = node.clone();
    node.world.network.serve(&node.settings.endpoint, Arc::downgrade(&own));
    if identity.dnode == FOUNDER {
        node.initialize().await?;
    }
    node.found().await?;
    node.take_writer().await?;
    node.clear_leftovers().await?;
    node.reconcile().await;
    node.settle()?;
    node.run();
    node.first_database().await?;
    Ok(node)
}

async fn open_mnode(
    world: &World,
    settings: &Settings,
    wal: &Wal,
    marks: &Arc<dyn LogFiles>,
    replica: u64,
) -> Result<(Arc<Group<mnode::Machine>>, mnode::Machine), StartError> {
    let directory = settings.data_dir.join("mnode");
    let files = world.disk.files(&directory).map_err(failed("make", &directory))?;
    let machine = mnode::Machine::open(files)?;
    // The mnode group always runs level 2, period 0: nothing it acknowledged can be lost, so it is never suspect.
    let suspicion = Suspicion::load(marks.clone(), replica, false).map_err(failed("read", &directory))?;
    let parts = Parts {
        id: VgroupId::MNODE,
        replica,
        store: LogStore::open(wal, VgroupId::MNODE, FsyncPolicy::Always)?,
        machine: machine.clone(),
        network: world.network.clone(),
        suspicion,
        inbox: Inbox::new(directory.join("incoming")).map_err(failed("clear", &directory))?,
    };
    let group = Group::start(parts, settings).await.map_err(failed("start the mnode in", &directory))?;
    Ok((group, machine))
}

impl Node {
    /// Makes the mnode group, if there is none yet.
    async fn initialize(&self) -> Result<(), StartError> {
        let failed = |source| StartError::Io { what: "start the mnode group".to_owned(), source };
        let own = Member { dnode: FOUNDER, endpoint: self.settings.endpoint.clone() };
        self.mnode.initialize(BTreeMap::from([(mnode_replica(FOUNDER), own)])).await.map_err(failed)
    }

    /// Waits for the mnode group, and founds the cluster if there is none.
    async fn found(self: &Arc<Self>) -> Result<(), StartError> {
        let plane = self.plane();
        let wait = async {
            loop {
                match plane.refresh().await {
                    Ok(catalog) => return Ok(catalog),
                    Err(error) if !self.mnode.running() => return Err(StartError::Damaged(error.to_string())),
                    Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
                }
            }
        };
        let no_leader = |_| StartError::NoLeader("the mnode group has no leader".to_owned());
        let catalog = tokio::time::timeout(LEADER_WAIT, wait).await.map_err(no_leader)??;
        if catalog.cluster_id == 0 {
            self.must_define(CatalogChange::Found {
                cluster_id: self.world.randomness.id(),
                endpoint: self.settings.endpoint.clone(),
                support_vnodes: self.settings.support_vnodes,
            })
            .await?;
        }
        self.remember()
    }

    /// Writes down who this dnode is, now that its cluster is founded.
    fn remember(&self) -> Result<(), StartError> {
        let mut identity = self.identity.write();
        let catalog = self.catalog();
        if let Some(own) = catalog.dnodes.get(&identity.dnode).filter(|own| own.endpoint != self.settings.endpoint) {
            let why = format!(
                "the other dnodes know this one as {}, and it was started as {}: set endpoint or rpc_listen as before",
                own.endpoint, self.settings.endpoint
            );
            if catalog.dnodes.len() > 1 {
                return Err(StartError::Setting(why));
            }
        }
        let cluster_id = catalog.cluster_id;
        if identity.cluster_id == cluster_id {
            return Ok(());
        }
        if identity.cluster_id != 0 {
            let why = format!("the data is of cluster {cluster_id:016x}, the identity of {:016x}", identity.cluster_id);
            return Err(StartError::Damaged(why));
        }
        identity.cluster_id = cluster_id;
        self.world.network.introduce(*identity);
        identity.store(&self.marks).map_err(failed("write the identity in", &self.settings.data_dir))
    }

    /// All replicas are open, and those that are suspect are marked: the last run is dealt with.
    fn settle(&self) -> Result<(), StartError> {
        let policies =
            self.catalog().databases.values().map(|database| database.options.fsync_policy()).collect::<Vec<_>>();
        let weakest = policies.into_iter().min_by_key(|policy| match policy {
            FsyncPolicy::Never => (0, 0),
            FsyncPolicy::Every { period_ms } => (1, u32::MAX - period_ms),
            FsyncPolicy::Always => (2, 0),
        });
        if self.broken.lock().is_empty() {
            self.boot.settle(weakest.unwrap_or(FsyncPolicy::Always))?;
        }
        Ok(())
    }

    /// A step of DDL that the start cannot do without.
    async fn must_define(self: &Arc<Self>, change: CatalogChange) -> Result<Defined, StartError> {
        self.plane().define(change).await.map_err(|error| match error.state() {
            SqlState::CannotConnectNow | SqlState::StatementCompletionUnknown => {
                StartError::NoLeader(error.to_string())
            }
            _ => StartError::Setting(error.to_string()),
        })
    }

    /// A number that no earlier run of any dnode has had.
    async fn take_writer(self: &Arc<Self>) -> Result<(), StartError> {
        let deadline = tokio::time::Instant::now() + LEADER_WAIT;
        // A number too many does no harm, so what is not known is asked for again.
        let taken = loop {
            match self.plane().define(CatalogChange::TakeWriter).await {
                Err(error)
                    if error.state() == SqlState::StatementCompletionUnknown
                        && tokio::time::Instant::now() < deadline => {}
                Err(error) => return Err(StartError::NoLeader(error.to_string())),
                Ok(taken) => break taken,
            }
        };
        match taken {
            Defined::Writer(writer) => {
                self.writer.store(writer, std::sync::atomic::Ordering::Release);
                *self.uids.write() = Arc::new(Uids::new(writer));
                Ok(())
            }
            other => Err(StartError::Damaged(format!("the catalog gave {other:?} for a writer"))),
        }
    }

    async fn first_database(self: &Arc<Self>) -> Result<(), StartError> {
        let catalog = self.catalog();
        if catalog.next.database != model::DatabaseId(1) {
            return Ok(());
        }
        let options = DatabaseOptions { vgroups: 1, ..DatabaseOptions::default() };
        let create = CatalogChange::CreateDatabase { name: FIRST_DATABASE.to_owned(), options, if_not_exists: true };
        match self.must_define(create).await {
            // It is in the catalog; its leader comes when it comes.
            Err(StartError::NoLeader(why)) if self.catalog().database(FIRST_DATABASE).is_some() => {
                tracing::warn!(why, database = FIRST_DATABASE, "a new database has no leader yet");
                Ok(())
            }
            defined => defined.map(|_| ()),
        }
    }
}
