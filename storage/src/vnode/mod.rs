//! A vnode: one replica of one vgroup's tables and rows, a deterministic function of its log.
//!
//! Start reading at [`Vnode`]. Writes come in by [`Vnode::apply`] (`apply.rs`), wait in the memtable (`memtable.rs`),
//! and go to disk by [`Vnode::flush`] (`flush.rs`) as runs of columnar blocks (`run.rs`). Reads merge memtables and
//! runs, newest version first ([`Vnode::scan`]: `scan.rs`, `merge.rs`, `assemble.rs`). Runs are merged and expired in
//! `compact.rs`, as `policy.rs` and `pace.rs` say. What is no row (tables, tags, tombstones, outcomes for retries) is in `state.rs` and stored by
//! `meta.rs`.

mod aggregate;
mod apply;
mod assemble;
mod budget;
mod compact;
mod compaction;
mod decide;
mod filter;
mod flush;
mod inspect;
mod keys;
mod last;
mod last_cache;
mod memtable;
mod merge;
mod meta;
mod options;
mod overlay;
mod pace;
mod policy;
mod registry;
mod report;
mod resolve;
mod retry;
mod run;
mod run_writer;
mod scan;
mod scheduler;
mod segment;
mod snapshot;
mod state;
mod time_merge;
mod tombstones;
mod values;
mod view;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use arrow::array::RecordBatch;
use bytes::Bytes;
use model::command::{Applied, Entry};
use model::scan::ScanRequest;
use model::types::Value;
use model::write::Tables;
use model::{ColumnId, Sid, Suid, TimeRange};

use crate::halt::Halt;
use crate::kv::BlockStore;
use crate::vnode::apply::Verdict;
use crate::vnode::budget::Share;
use crate::vnode::memtable::Memtable;
use crate::vnode::run::Run;
use crate::vnode::scheduler::Work;
use crate::vnode::state::State;
use crate::wal::Position;
pub use budget::MemtableBudget;
pub use compaction::{Compaction, Progress};
pub use inspect::{inspect, inspect_runs};
pub use options::{ColumnOptions, EnvOptions, StorageEnv, VnodeOptions};
use parking_lot::{Condvar, Mutex, RwLock};
pub use report::Written;
use tokio::sync::watch;

/// Who a table is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableId {
    /// Its relation.
    pub suid: Suid,
    /// What it is called everywhere.
    pub uid: u64,
    /// What it is called in this vnode.
    pub sid: Sid,
}

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
];

/// One replica of one vgroup's tables and rows.
///
/// `apply*` must be called by one task at a time, in log order. Everything else may be called from any thread; it
/// blocks on the disk, so not from an async one.
pub struct Vnode {
    dir: PathBuf,
    options: VnodeOptions,
    env: Arc<StorageEnv>,
    store: Arc<dyn BlockStore>,
    inner: RwLock<Inner>,
    /// What the memtables hold of the dnode's budget.
    share: Share,
    /// One flush at a time; a checkpoint holds it too.
    flushing: Mutex<()>,
    /// One merge at a time.
    merging: Mutex<()>,
    /// Flushes that wait for a merge.
    awaited: AtomicUsize,
    /// Runs in the fullest bucket, in percent of what it may have.
    crowded: AtomicUsize,
    report: report::Report,
    /// Wakes an apply that waits for room in the memtable.
    room: Condvar,
    halted: Mutex<Option<Halt>>,
    durable: watch::Sender<Option<Position>>,
    last_cache: last_cache::LastCache,
    me: Weak<Self>,
}

/// What changes while a vnode is open.
struct Inner {
    state: State,
    /// Takes rows.
    active: Memtable,
    /// On its way to disk.
    frozen: Option<Arc<Memtable>>,
    /// Tables that were dropped before the freeze, whose drop is not on disk yet.
    frozen_gone: BTreeMap<u32, Suid>,
    /// By bucket, from oldest to newest.
    runs: BTreeMap<i32, Vec<Arc<Run>>>,
    /// Replaced runs that a scan may still read.
    retired: Vec<Arc<Run>>,
    next_run: u32,
    /// The bucket of which runs are being merged.
    merging: Option<i32>,
    /// How often [`Vnode::tend`] was called, and at which of them a bucket got rows last.
    rounds: u64,
    touched: BTreeMap<i32, u64>,
    /// Version of the last entry that is on disk.
    durable_clock: u64,
    /// The membership that is on disk.
    durable_membership: Option<(Position, Bytes)>,
}

/// The memtable may grow to this many times its limit while a flush is under way; then apply waits.
const MEMTABLE_EXCESS: usize = 3;

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
        options.check();
        snapshot::recover(dir)?;
        let place = options::place(dir);
        let store = env.open_store(dir)?;
        let state = meta::load(&*store, &options, &place)?;
        let runs = Run::find_all(&store, env.headers(), &place)?;
        let watermark = state.applied;
        let next_run = flush::next_run(&runs);
        let share = Share::new(env.memtables());
        let vnode = Arc::new_cyclic(|me| Self {
            dir: dir.to_path_buf(),
            report: report::Report::new(options.vgroup),
            options,
            share,
            env,
            store,
            inner: RwLock::new(Inner::new(state, next_run)),
            flushing: Mutex::new(()),
            merging: Mutex::new(()),
            awaited: AtomicUsize::new(0),
            crowded: AtomicUsize::new(0),
            room: Condvar::new(),
            halted: Mutex::new(None),
            durable: watch::Sender::new(watermark),
            last_cache: last_cache::LastCache::default(),
            me: me.clone(),
        });
        let runs = vnode.sort_out_runs(runs, watermark)?;
        {
            let mut inner = vnode.inner.write();
            runs.into_iter().for_each(|run| inner.add_run(run));
            vnode.count_runs(&inner);
        }
        Ok(vnode)
    }

    /// The last entry that was applied.
    #[must_use]
    pub fn applied(&self) -> Option<Position> {
        self.inner.read().state.applied
    }

    /// The membership that was applied last, as the caller encoded it, and where.
    #[must_use]
    pub fn membership(&self) -> Option<(Position, Bytes)> {
        self.inner.read().state.membership.clone()
    }

    /// The last entry whose effect is on disk: the log up to it is not needed any more by this vnode.
    #[must_use]
    pub fn durable(&self) -> Option<Position> {
        *self.durable.borrow()
    }

    /// Tells of each change of [`Vnode::durable`].
    #[must_use]
    pub fn watch_durable(&self) -> tokio::sync::watch::Receiver<Option<Position>> {
        self.durable.subscribe()
    }

    /// Applies an entry: all of it or, if it is rejected, nothing. An entry at or below [`Vnode::applied`] is passed over.
    ///
    /// # Errors
    ///
    /// If this replica cannot go on, also because of an earlier failure in the background.
    pub fn apply(&self, position: Position, entry: &Entry) -> Result<Applied, Halt> {
        self.wait_for_room()?;
        let verdict = {
            let inner = self.inner.read();
            if inner.state.applied.is_some_and(|applied| position.index <= applied.index) {
                return Ok(inner.outcome_of(entry));
            }
            apply::plan(&inner.state, &self.options, entry)
        };
        let mut inner = self.inner.write();
        let version = apply::next_version(&inner.state, entry);
        let (applied, remember) = match verdict {
            Verdict::Answer(applied) => (applied, false),
            Verdict::Refused(applied) => (applied, true),
            Verdict::Go(plan) => {
                inner.state.epoch = inner.state.epoch.max(entry.epoch);
                (inner.carry_out(plan, &self.options), true)
            }
        };
        if remember && entry.stamp.writer != 0 {
            let (most, window) = (self.options.retries_max, self.options.retry_window_ms);
            inner.state.retries.put(entry.stamp, version, applied.clone(), most, window);
        }
        inner.state.clock = version;
        inner.state.applied = Some(position);
        let full = self.is_full(&inner.active);
        self.share.note(inner.memtable_size().1);
        drop(inner);
        if full {
            self.env.scheduler().request_flush(self.work_handle());
        }
        Ok(applied)
    }

    /// Applies a change of membership, which means nothing here.
    ///
    /// # Errors
    ///
    /// As [`Vnode::apply`].
    pub fn apply_membership(&self, position: Position, membership: Bytes) -> Result<(), Halt> {
        self.check()?;
        let state = &mut self.inner.write().state;
        if state.applied.is_none_or(|applied| position.index > applied.index) {
            state.membership = Some((position, membership));
            state.applied = Some(position);
        }
        Ok(())
    }

    /// Applies an entry that says nothing.
    ///
    /// # Errors
    ///
    /// As [`Vnode::apply`].
    pub fn apply_blank(&self, position: Position) -> Result<(), Halt> {
        self.check()?;
        let state = &mut self.inner.write().state;
        if state.applied.is_none_or(|applied| position.index > applied.index) {
            state.applied = Some(position);
        }
        Ok(())
    }

    /// Brings everything applied so far to disk and gives the new [`Vnode::durable`]. Blocks.
    ///
    /// # Errors
    ///
    /// If the disk fails; the vnode must be reopened then.
    pub fn flush(&self) -> Result<Option<Position>, Halt> {
        self.flush_now()
    }

    /// Merges runs where there are too many, and frees what no scan reads any more. Blocks. Gives how many merges ran.
    ///
    /// # Errors
    ///
    /// If the disk fails or a run is damaged.
    pub fn merge(&self) -> Result<usize, Halt> {
        self.merge_now(false)
    }

    /// Flushes, then merges every bucket into one run, which frees the space of deleted rows. Blocks.
    ///
    /// # Errors
    ///
    /// As [`Vnode::merge`].
    pub fn compact(&self) -> Result<(), Halt> {
        self.flush_now()?;
        self.merge_now(true).map(drop)
    }

    /// [`Vnode::compact`] of the buckets that overlap the range of `compaction`, which tells how far it is and can be
    /// stopped. Plain tables, which have no times, belong to the range of all times only. Keeps to the pace of merges. Blocks.
    ///
    /// # Errors
    ///
    /// As [`Vnode::merge`]; [`Halt::Closed`] when it was stopped.
    pub fn compact_watched(&self, compaction: &Arc<Compaction>) -> Result<(), Halt> {
        self.compact_now(compaction)
    }

    /// To be called about once a second: merges in the background what has become due with time alone, such as the last
    /// merge of a bucket that got no rows for [`VnodeOptions::cold_rounds`] calls.
    pub fn tend(&self) {
        self.tend_now();
    }

    /// What was written since the vnode was opened.
    #[must_use]
    pub fn written(&self) -> Written {
        self.report.written()
    }

    /// Whether a drop or delete was applied that is not on disk yet: until then its rows keep their place there.
    #[must_use]
    pub fn holds_deletes(&self) -> bool {
        let inner = self.inner.read();
        let dirty = &inner.state.dirty;
        let deletes = !(dirty.gone.is_empty() && dirty.dropped.is_empty() && dirty.tombstones.is_empty());
        deletes && inner.state.applied != self.durable()
    }

    /// Drops the buckets that lie below tick `floor` as a whole; rows of plain tables stay. Gives how many went.
    ///
    /// # Errors
    ///
    /// If the disk fails.
    pub fn drop_expired(&self, floor: i64) -> Result<usize, Halt> {
        self.drop_expired_now(floor)
    }

    /// Reads a consistent state: everything applied before the call and nothing after it.
    ///
    /// # Errors
    ///
    /// If the disk fails or a run is damaged; the iterator ends after its first error.
    pub fn scan(&self, request: ScanRequest) -> Result<Batches, Halt> {
        self.check()?;
        self.scan_now(request)
    }

    /// What each name means here; None for one that is no table.
    #[must_use]
    pub fn lookup(&self, names: &[String]) -> Vec<Option<SeriesInfo>> {
        let inner = self.inner.read();
        names.iter().map(|name| inner.state.by_name(name).map(|series| series.info())).collect()
    }

    /// Which table each name is; None for one that is none. Costs less than [`Vnode::lookup`]: no tag is copied.
    #[must_use]
    pub fn find(&self, names: &[String]) -> Vec<Option<TableId>> {
        let inner = self.inner.read();
        let of = |series: &Arc<registry::Series>| TableId { suid: series.suid, uid: series.uid, sid: Sid(series.sid) };
        names.iter().map(|name| inner.state.by_name(name).map(of)).collect()
    }

    /// What a DELETE of time ranges means now. Names that are no table of the relation are passed over.
    ///
    /// # Errors
    ///
    /// As [`Vnode::scan`].
    pub fn resolve_range(&self, suid: Suid, tables: &Tables, range: TimeRange) -> Result<ResolvedRange, Halt> {
        self.resolve_range_now(suid, tables, range)
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
        self.resolve_keys_now(suid, names, ordinals, keys)
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
        // A merge that is under way makes haste.
        self.awaited.fetch_add(1, Ordering::AcqRel);
        let _paused = (self.flushing.lock(), self.merging.lock());
        self.awaited.fetch_sub(1, Ordering::AcqRel);
        self.check()?;
        self.store.checkpoint(dir)?;
        let membership = self.inner.read().durable_membership.clone();
        Ok(Snapshot { position: self.durable(), membership })
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

    /// Stops: waits for a flush or merge under way, and refuses everything from now on. The files are free when the
    /// last reference to the vnode and the last scan of it are gone. What is not flushed must come from the log again.
    pub fn close(&self) {
        self.leave();
        drop((self.flushing.lock(), self.merging.lock()));
    }

    /// As [`Vnode::close`], without waiting: a merge is broken off, a flush comes to its end.
    pub fn leave(&self) {
        self.halted.lock().get_or_insert(Halt::Closed);
        self.room.notify_all();
    }

    /// Bytes on disk.
    #[must_use]
    pub fn disk_bytes(&self) -> u64 {
        self.store.bytes()
    }

    /// Rows that are not on disk yet.
    #[must_use]
    pub fn memtable_rows(&self) -> u64 {
        self.inner.read().memtable_size().0 as u64
    }

    /// Bytes of rows that are not on disk yet.
    #[must_use]
    pub fn memtable_bytes(&self) -> u64 {
        self.inner.read().memtable_size().1 as u64
    }

    /// Tables that exist.
    #[must_use]
    pub fn tables(&self) -> u64 {
        self.inner.read().state.tables() as u64
    }

    /// Relations that have tables here, in ascending order.
    #[must_use]
    pub fn relations(&self) -> Vec<Suid> {
        self.inner.read().state.relations()
    }

    /// Its directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

impl Vnode {
    fn place(&self) -> String {
        options::place(&self.dir)
    }

    /// Fails if the vnode has stopped, with the reason.
    ///
    /// # Errors
    ///
    /// What failed in the background, most often the disk.
    pub fn check(&self) -> Result<(), Halt> {
        self.halted.lock().as_ref().map_or(Ok(()), |halt| Err(halt.clone()))
    }

    /// After a failed flush it is unknown what is on disk: nothing is done any more.
    fn halt(&self, halt: &Halt) {
        tracing::error!(vnode = %self.place(), %halt, "the vnode stops");
        self.halted.lock().get_or_insert_with(|| halt.clone());
        self.room.notify_all();
    }

    fn is_full(&self, memtable: &Memtable) -> bool {
        memtable.rows >= self.options.flush_rows_max || memtable.bytes >= self.options.flush_bytes_max
    }

    /// Whether all memtables of the dnode hold far too much, and this one has a part in it.
    fn is_overfull(&self) -> bool {
        self.share.budget().is_overfull() && self.inner.read().active.rows > 0
    }

    fn work_handle(&self) -> Weak<dyn Work> {
        let me: Weak<Self> = self.me.clone();
        me
    }

    /// Waits while the memtable is far over its limit, or all of the dnode's are, and somebody works on it.
    fn wait_for_room(&self) -> Result<(), Halt> {
        let mut halted = self.halted.lock();
        loop {
            if let Some(halt) = &*halted {
                return Err(halt.clone());
            }
            // Who has nothing to flush need not wait: no other vnode depends on it.
            let overfull = self.is_overfull();
            let crowded = overfull || {
                let inner = self.inner.read();
                inner.active.rows >= MEMTABLE_EXCESS.saturating_mul(self.options.flush_rows_max)
                    || inner.active.bytes >= MEMTABLE_EXCESS.saturating_mul(self.options.flush_bytes_max)
            };
            if !crowded || !self.env.scheduler().is_active() {
                return Ok(());
            }
            if overfull {
                self.share.budget().flush_largest();
            }
            self.env.scheduler().request_flush(self.work_handle());
            // A bound on the wait, so that a missed wake-up costs little.
            self.room.wait_for(&mut halted, Duration::from_millis(20));
        }
    }
}

impl Work for Vnode {
    fn flush_due(&self) {
        let full = self.is_full(&self.inner.read().active) || self.is_overfull();
        // What fails has stopped the vnode and said why.
        let _ = full.then(|| self.flush_now());
    }

    fn merge_due(&self) {
        let _ = self.merge_in_background();
    }
}

impl Inner {
    fn new(state: State, next_run: u32) -> Self {
        Self {
            durable_clock: state.clock,
            durable_membership: state.membership.clone(),
            state,
            active: Memtable::default(),
            frozen: None,
            frozen_gone: BTreeMap::new(),
            runs: BTreeMap::new(),
            retired: Vec::new(),
            next_run,
            merging: None,
            rounds: 0,
            touched: BTreeMap::new(),
        }
    }

    fn add_run(&mut self, run: Arc<Run>) {
        let runs = self.runs.entry(run.bucket).or_default();
        let at = runs.partition_point(|other| other.header.version_max <= run.header.version_max);
        runs.insert(at, run);
    }

    /// Rows and bytes that are not on disk.
    fn memtable_size(&self) -> (usize, usize) {
        let frozen = self.frozen.as_ref().map_or((0, 0), |frozen| (frozen.rows, frozen.bytes));
        (self.active.rows + frozen.0, self.active.bytes + frozen.1)
    }

    /// What an entry that was applied before gave, as far as it is known.
    fn outcome_of(&self, entry: &Entry) -> Applied {
        match self.state.retries.find((entry.stamp.writer, entry.stamp.seq)) {
            retry::Known::Outcome(applied) => applied,
            _ => Applied::Done(model::write::Effect::default()),
        }
    }

    /// Forgets deletes that no row waits for any more.
    fn drop_spent_tombstones(&mut self) {
        let clock = self.durable_clock;
        let spent: Vec<(Suid, tombstones::Tombstones)> = self
            .state
            .all_tombstones()
            .filter_map(|(suid, tombstones)| {
                let runs: Vec<&Arc<Run>> =
                    self.runs.values().flatten().chain(&self.retired).filter(|run| run.has(suid)).collect();
                let mut rest = (**tombstones).clone();
                rest.retain(|_, range, at| at > clock || runs.iter().any(|run| run.awaits(range, at)));
                (rest.len() < tombstones.len()).then_some((suid, rest))
            })
            .collect();
        for (suid, rest) in spent {
            self.state.change_tombstones(suid, |tombstones| *tombstones = rest);
        }
    }

    /// Whether a run may hold rows that are deleted or belong to dropped tables.
    fn has_dead_rows(&self, run: &Run) -> bool {
        let deleted = || {
            let mut tombstones = self.state.all_tombstones().filter(|(suid, _)| run.has(*suid));
            tombstones.any(|(_, tombstones)| {
                tombstones.touch((0, u32::MAX), run.header.key_range, run.header.version_min.max(run.header.folded))
            })
        };
        let gaps = || run.header.relations.iter().any(|(suid, ..)| self.state.has_gaps(*suid));
        run.header.folded < self.durable_clock && (gaps() || deleted())
    }

    /// Tables whose drop is not on disk yet: their rows must not leave the disk before it.
    fn undurable_gone(&self, suid: Suid) -> BTreeSet<u32> {
        let gone = self.frozen_gone.iter().chain(&self.state.dirty.gone);
        gone.filter(|(_, of)| **of == suid).map(|(sid, _)| *sid).collect()
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
