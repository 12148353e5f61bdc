//! How a vnode is set up, and what all vnodes of a dnode share.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::schema::Compression;
use model::{ColumnId, DatabaseId, Precision, Suid, VgroupId};
use parking_lot::{Mutex, RwLock};

use crate::halt::Halt;
use crate::kv::{BlockStore, MemoryStores, RocksShared, RocksStore};
use crate::vnode::budget::MemtableBudget;
use crate::vnode::pace::Pace;
use crate::vnode::scheduler::Scheduler;

/// How one vnode is set up. The first six fields are written into a new vnode; opening it with others is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VnodeOptions {
    /// Its Raft group.
    pub vgroup: VgroupId,
    /// Its database: entries of another one are rejected.
    pub database: DatabaseId,
    /// Length of a tick.
    pub precision: Precision,
    /// Ticks in one bucket. At least 1.
    pub duration_ticks: i64,
    /// First hash of a table name that belongs here.
    pub hash_begin: u32,
    /// Last hash of a table name that belongs here.
    pub hash_end: u32,
    /// Most rows in a block: an upper hint, at most [`crate::block::ROWS_MAX`] are used.
    pub maxrows: usize,
    /// Rows in the memtable that make it flush.
    pub flush_rows_max: usize,
    /// Bytes in the memtable that make it flush.
    pub flush_bytes_max: usize,
    /// Runs of similar size in one bucket that make them merge. At least 2.
    pub merge_trigger: usize,
    /// Outcomes that are kept for retries.
    pub retries_max: usize,
    /// Milliseconds of stamped time that an outcome is kept for retries.
    pub retry_window_ms: i64,
    /// COMP of the database: 0 nothing is compressed, 1 columns are encoded, 2 cold ones also by a general codec.
    pub comp: u8,
    /// What single columns ask for.
    pub columns: ColumnOptions,
    /// Calls of [`super::Vnode::tend`] without rows for a bucket before it is merged for the last time.
    pub cold_rounds: u64,
}

/// `ENCODE`, `COMPRESS` and `LEVEL` of the columns that have any, which may change while a vnode is open. Clones are the
/// same.
#[derive(Clone, Debug, Default)]
pub struct ColumnOptions(Arc<RwLock<Columns>>);

type Columns = Arc<BTreeMap<(Suid, ColumnId), Compression>>;

impl ColumnOptions {
    /// From now on.
    pub fn set(&self, columns: BTreeMap<(Suid, ColumnId), Compression>) {
        if **self.0.read() != columns {
            *self.0.write() = Arc::new(columns);
        }
    }

    pub(crate) fn now(&self) -> Columns {
        Arc::clone(&self.0.read())
    }
}

impl PartialEq for ColumnOptions {
    fn eq(&self, other: &Self) -> bool {
        self.now() == other.now()
    }
}

impl Eq for ColumnOptions {}

impl VnodeOptions {
    /// Whether a table of this name belongs here.
    #[must_use]
    pub fn owns(&self, name: &str) -> bool {
        (self.hash_begin..=self.hash_end).contains(&model::hash::table_hash(name))
    }

    /// Whether a last merge encodes more thoroughly than others.
    pub(crate) fn recodes(&self) -> bool {
        self.comp >= 2
    }

    /// # Panics
    ///
    /// If a bucket has no length.
    pub(crate) fn check(&self) {
        assert!(self.duration_ticks > 0, "a bucket is at least one tick long");
    }

    /// With every limit at its default, all of the hash space, and ten days to a bucket.
    #[must_use]
    pub fn new(vgroup: VgroupId, database: DatabaseId, precision: Precision) -> Self {
        Self {
            vgroup,
            database,
            precision,
            duration_ticks: 10 * 86_400 * precision.ticks_per_second(),
            hash_begin: 0,
            hash_end: u32::MAX,
            maxrows: 4096,
            flush_rows_max: 2_000_000,
            flush_bytes_max: 256 << 20,
            merge_trigger: 4,
            retries_max: 131_072,
            retry_window_ms: 600_000,
            comp: 2,
            columns: ColumnOptions::default(),
            cold_rounds: 600,
        }
    }
}

/// What all vnodes of a dnode share: RocksDB's block cache and threads, and the workers that flush and merge.
pub struct StorageEnv {
    stores: Stores,
    scheduler: Scheduler,
    pace: Pace,
    headers: Arc<HeaderBudget>,
    memtables: Arc<MemtableBudget>,
}

enum Stores {
    Rocks(RocksShared),
    Memory(MemoryStores),
}

/// How [`StorageEnv`] is set up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvOptions {
    /// Bytes of RocksDB's block cache.
    pub block_cache_bytes: usize,
    /// Bytes of block headers kept in memory.
    pub header_bytes_max: usize,
    /// Bytes that all memtables should hold together.
    pub memtable_bytes_max: u64,
    /// Threads that flush. With 0 nothing happens in the background: the caller flushes and merges.
    pub workers: usize,
    /// Threads that merge, which is also the most merges at a time.
    pub merge_workers: usize,
    /// Bytes of blocks that all merges together read in a second while rows are ingested; fewer while a memtable is
    /// flushed, more while nothing is ingested or runs pile up. 0 is no limit.
    pub merge_bytes_per_second: u64,
}

impl Default for EnvOptions {
    fn default() -> Self {
        Self {
            block_cache_bytes: 256 << 20,
            header_bytes_max: 256 << 20,
            memtable_bytes_max: 1 << 30,
            workers: 2,
            merge_workers: 1,
            merge_bytes_per_second: 64 << 20,
        }
    }
}

impl StorageEnv {
    /// Vnodes on disk.
    ///
    /// # Errors
    ///
    /// If RocksDB cannot start its threads.
    pub fn new(options: &EnvOptions) -> Result<Arc<Self>, Halt> {
        Ok(Arc::new(Self {
            stores: Stores::Rocks(RocksShared::new(options.block_cache_bytes)?),
            scheduler: Scheduler::start(options.workers, options.merge_workers),
            pace: Pace::new(if options.workers == 0 { 0 } else { options.merge_bytes_per_second }),
            headers: Arc::new(HeaderBudget::new(options.header_bytes_max)),
            memtables: MemtableBudget::new(options.memtable_bytes_max),
        }))
    }

    /// Vnodes in memory, which live as long as this does and come back when they are opened again. Nothing happens in
    /// the background. For tests and the simulator.
    #[must_use]
    pub fn in_memory() -> Arc<Self> {
        Arc::new(Self {
            stores: Stores::Memory(MemoryStores::default()),
            scheduler: Scheduler::start(0, 0),
            pace: Pace::new(0),
            headers: Arc::new(HeaderBudget::new(64 << 20)),
            memtables: MemtableBudget::new(1 << 30),
        })
    }

    /// The stores of vnodes in memory; None of an environment on disk.
    #[must_use]
    pub fn memory(&self) -> Option<&MemoryStores> {
        match &self.stores {
            Stores::Rocks(_) => None,
            Stores::Memory(stores) => Some(stores),
        }
    }

    /// Stops the workers and waits for what they are doing. Vnodes can still be flushed and merged by hand.
    pub fn stop(&self) {
        self.scheduler.stop();
    }

    pub(crate) fn open_store(&self, dir: &Path) -> Result<Arc<dyn BlockStore>, Halt> {
        match &self.stores {
            Stores::Rocks(shared) => Ok(Arc::new(RocksStore::open(dir, shared)?)),
            Stores::Memory(stores) => stores.open(dir),
        }
    }

    /// Puts the store that a checkpoint wrote into `from` in the place of `to`.
    pub(crate) fn install_store(&self, from: &Path, to: &Path) -> Result<(), Halt> {
        match &self.stores {
            Stores::Rocks(shared) => {
                shared.wait_closed(to)?;
                crate::vnode::snapshot::install_files(from, to)
            }
            Stores::Memory(stores) => stores.install(from, to),
        }
    }

    pub(crate) fn scheduler(&self) -> &Scheduler {
        &self.scheduler
    }

    pub(crate) fn pace(&self) -> &Pace {
        &self.pace
    }

    pub(crate) fn headers(&self) -> &Arc<HeaderBudget> {
        &self.headers
    }

    /// What all memtables hold together.
    #[must_use]
    pub fn memtables(&self) -> &Arc<MemtableBudget> {
        &self.memtables
    }

    /// Bytes that the block cache holds, with RocksDB's write buffers and indices.
    #[must_use]
    pub fn block_cache_bytes(&self) -> u64 {
        match &self.stores {
            Stores::Rocks(shared) => shared.cache_bytes(),
            Stores::Memory(_) => 0,
        }
    }

    /// Bytes of block headers in memory.
    #[must_use]
    pub fn header_bytes(&self) -> u64 {
        self.headers.bytes()
    }
}

/// Bounds the bytes of block headers in memory: whoever loads headers registers a way to forget them.
pub(crate) struct HeaderBudget {
    bytes_max: usize,
    loaded: Mutex<Loaded>,
}

#[derive(Default)]
struct Loaded {
    bytes: usize,
    /// Oldest first.
    entries: std::collections::VecDeque<(usize, Box<dyn Fn() + Send>)>,
}

impl HeaderBudget {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, loaded: Mutex::default() }
    }

    fn bytes(&self) -> u64 {
        self.loaded.lock().bytes as u64
    }

    /// Notes that headers of `bytes` are in memory now; `forget` frees them. The oldest ones go when the budget is
    /// exceeded; a scan that uses them keeps its own reference.
    pub(crate) fn loaded(&self, bytes: usize, forget: Box<dyn Fn() + Send>) {
        let mut victims = Vec::new();
        {
            let mut loaded = self.loaded.lock();
            loaded.bytes += bytes;
            loaded.entries.push_back((bytes, forget));
            while loaded.bytes > self.bytes_max && loaded.entries.len() > 1 {
                let Some((bytes, victim)) = loaded.entries.pop_front() else { break };
                loaded.bytes -= bytes;
                victims.push(victim);
            }
        }
        for victim in victims {
            victim();
        }
    }
}

/// A directory of a vnode, for messages.
pub(crate) fn place(dir: &Path) -> String {
    PathBuf::from(dir).display().to_string()
}
