//! A vnode: one replica of one vgroup's tables and rows, a deterministic function of its log.
//!
//! Start reading at [`Vnode`]. Writes come in by [`Vnode::apply`] (`apply.rs`), wait in the memtable (`memtable.rs`),
//! and go to disk by [`Vnode::flush`] (`flush.rs`) as runs of columnar blocks (`run.rs`). Reads merge memtables and
//! runs, newest version first ([`Vnode::scan`]: `scan.rs`, `merge.rs`, `assemble.rs`). Runs are merged and expired in
//! `compact.rs`. What is no row (tables, tags, tombstones, outcomes for retries) is in `state.rs` and stored by
//! `meta.rs`.

mod options;
mod scheduler;
mod snapshot;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::RecordBatch;
use bytes::Bytes;
use model::command::{Applied, Entry};
use model::scan::ScanRequest;
use model::types::Value;
use model::write::Tables;
use model::{ColumnId, Sid, Suid, TimeRange};

use crate::halt::Halt;
use crate::wal::Position;
pub use options::{EnvOptions, StorageEnv, VnodeOptions};

/// Batches of a scan. Dropping it ends the scan.
pub type Batches = Box<dyn Iterator<Item = Result<RecordBatch, Halt>> + Send>;

/// Most rows in a batch of a scan.
pub const BATCH_ROWS_MAX: usize = 8192;

/// Places where a test may kill the process: `FAILPOINTS="flush.ingested=return"` aborts there.
pub const FAILPOINTS: &[&str] = &[
    "flush.start",
    "flush.sst_written",
    "flush.ingested",
    "flush.meta_written",
    "merge.start",
    "merge.ingested",
    "merge.removed",
    "drop.relation",
    "drop.expired",
    "purge",
];

/// One replica of one vgroup's tables and rows.
///
/// `apply*` must be called by one task at a time, in log order. Everything else may be called from any thread; it
/// blocks on the disk, so not from an async one.
pub struct Vnode {
    dir: PathBuf,
}

/// What is known of a table by name.
#[derive(Clone, Debug, PartialEq)]
pub struct SeriesInfo {
    /// Its relation.
    pub suid: Suid,
    /// Unique in the cluster.
    pub uid: u64,
    /// Its place in this vnode.
    pub sid: Sid,
    /// Its name.
    pub name: String,
    /// Tags that are not NULL, by ascending id.
    pub tags: Vec<(ColumnId, Value)>,
    /// Milliseconds since the epoch, from the stamp of the creating entry.
    pub created_ms: i64,
}

/// A delete of time ranges as the log wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedRange {
    /// Which series; None is every series of the relation.
    pub sids: Option<Vec<Sid>>,
    /// Rows that exist there.
    pub counted: u64,
}

/// A delete of single rows as the log wants it. Rows of tables that are not there are left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvedKeys {
    /// Series of each row.
    pub sids: Vec<Sid>,
    /// Key of each row.
    pub keys: Vec<i64>,
    /// Rows that exist there.
    pub counted: u64,
}

impl Vnode {
    /// Opens the vnode in `dir`, or makes a new one there. What a crash left half done is undone.
    ///
    /// # Errors
    ///
    /// If the disk fails, what is stored is damaged or of a newer format, or belongs to another vgroup.
    pub fn open(dir: &Path, options: VnodeOptions, env: Arc<StorageEnv>) -> Result<Arc<Self>, Halt> {
        let _ = (dir, options, env);
        todo!()
    }

    /// The last entry that was applied.
    #[must_use]
    pub fn applied(&self) -> Option<Position> {
        todo!()
    }

    /// The membership that was applied last, as the caller encoded it, and where.
    #[must_use]
    pub fn membership(&self) -> Option<(Position, Bytes)> {
        todo!()
    }

    /// The last entry whose effect is on disk: the log up to it is not needed any more by this vnode.
    #[must_use]
    pub fn durable(&self) -> Option<Position> {
        todo!()
    }

    /// Tells of each change of [`Vnode::durable`].
    #[must_use]
    pub fn watch_durable(&self) -> tokio::sync::watch::Receiver<Option<Position>> {
        todo!()
    }

    /// Applies an entry: all of it or, if it is rejected, nothing. An entry at or below [`Vnode::applied`] is passed over.
    ///
    /// # Errors
    ///
    /// If this replica cannot go on, also because of an earlier failure in the background.
    pub fn apply(&self, position: Position, entry: &Entry) -> Result<Applied, Halt> {
        let _ = (position, entry);
        todo!()
    }

    /// Applies a change of membership, which means nothing here.
    ///
    /// # Errors
    ///
    /// As [`Vnode::apply`].
    pub fn apply_membership(&self, position: Position, membership: Bytes) -> Result<(), Halt> {
        let _ = (position, membership);
        todo!()
    }

    /// Applies an entry that says nothing.
    ///
    /// # Errors
    ///
    /// As [`Vnode::apply`].
    pub fn apply_blank(&self, position: Position) -> Result<(), Halt> {
        let _ = position;
        todo!()
    }

    /// Brings everything applied so far to disk and gives the new [`Vnode::durable`]. Blocks.
    ///
    /// # Errors
    ///
    /// If the disk fails; the vnode must be reopened then.
    pub fn flush(&self) -> Result<Option<Position>, Halt> {
        todo!()
    }

    /// Merges runs where there are too many, and frees what no scan reads any more. Blocks. Gives how many merges ran.
    ///
    /// # Errors
    ///
    /// If the disk fails or a run is damaged.
    pub fn merge(&self) -> Result<usize, Halt> {
        todo!()
    }

    /// Flushes, then merges every bucket into one run, which frees the space of deleted rows. Blocks.
    ///
    /// # Errors
    ///
    /// As [`Vnode::merge`].
    pub fn compact(&self) -> Result<(), Halt> {
        todo!()
    }

    /// Drops the buckets that lie below tick `floor` as a whole; rows of plain tables stay. Gives how many went.
    ///
    /// # Errors
    ///
    /// If the disk fails.
    pub fn drop_expired(&self, floor: i64) -> Result<usize, Halt> {
        let _ = floor;
        todo!()
    }

    /// Reads a consistent state: everything applied before the call and nothing after it.
    ///
    /// # Errors
    ///
    /// If the disk fails or a run is damaged; the iterator ends after its first error.
    pub fn scan(&self, request: ScanRequest) -> Result<Batches, Halt> {
        let _ = request;
        todo!()
    }

    /// What each name means here; None for one that is no table.
    #[must_use]
    pub fn lookup(&self, names: &[String]) -> Vec<Option<SeriesInfo>> {
        let _ = names;
        todo!()
    }

    /// What a DELETE of time ranges means now. Names that are no table of the relation are passed over.
    ///
    /// # Errors
    ///
    /// As [`Vnode::scan`].
    pub fn resolve_range(&self, suid: Suid, tables: &Tables, range: TimeRange) -> Result<ResolvedRange, Halt> {
        let _ = (suid, tables, range);
        todo!()
    }

    /// What a DELETE of single rows means now: `ordinals[i]` is the table of `keys[i]`, as an index into `names`.
    ///
    /// # Errors
    ///
    /// As [`Vnode::scan`].
    pub fn resolve_keys(
        &self,
        suid: Suid,
        names: &[String],
        ordinals: &[u32],
        keys: &[i64],
    ) -> Result<ResolvedKeys, Halt> {
        let _ = (suid, names, ordinals, keys);
        todo!()
    }

    /// The position that a snapshot taken now would have: [`Vnode::durable`].
    #[must_use]
    pub fn snapshot_position(&self) -> Option<Position> {
        self.durable()
    }

    /// Writes all that is on disk into the new directory `dir`, mostly as hard links, and gives its position and
    /// membership. Blocks flushes for that long.
    ///
    /// # Errors
    ///
    /// If the disk fails.
    pub fn checkpoint(&self, dir: &Path) -> Result<Snapshot, Halt> {
        let _ = dir;
        todo!()
    }

    /// Puts the checkpoint in `from` in the place of the vnode directory `to`, which must not be open: syncs the
    /// files, moves the old directory aside, renames, and removes the old one. Open `to` afterwards.
    ///
    /// # Errors
    ///
    /// If the disk fails; then either the old or the new state is in `to`.
    pub fn install(from: &Path, to: &Path, env: &StorageEnv) -> Result<(), Halt> {
        env.install_store(from, to)
    }

    /// Bytes on disk.
    #[must_use]
    pub fn disk_bytes(&self) -> u64 {
        todo!()
    }

    /// Rows that are not on disk yet.
    #[must_use]
    pub fn memtable_rows(&self) -> u64 {
        todo!()
    }

    /// Bytes of rows that are not on disk yet.
    #[must_use]
    pub fn memtable_bytes(&self) -> u64 {
        todo!()
    }

    /// Tables that exist.
    #[must_use]
    pub fn tables(&self) -> u64 {
        todo!()
    }

    /// Its directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

/// What a checkpoint holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The last entry in it; None of a vnode that never flushed.
    pub position: Option<Position>,
    /// The membership in it, and where it was applied.
    pub membership: Option<(Position, Bytes)>,
}
