//! Brings the memtable to disk: freeze, write one run per bucket, ingest, then one batch of meta with the watermark.
//!
//! Meta is never ahead of data: a crash in between leaves runs that no watermark covers, and opening removes them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use model::{ColumnId, DataType, Suid};

use crate::halt::Halt;
use crate::vnode::keys::{PLAIN_BUCKET, bucket_of, bucket_range};
use crate::vnode::memtable::{MemChunk, Memtable};
use crate::vnode::merge::{Once, SeriesMerge, Source};
use crate::vnode::run::{Run, RunHeader};
use crate::vnode::run_writer::RunWriter;
use crate::vnode::segment::{Segment, SeriesFilter, Wanted, WantedColumn};
use crate::vnode::tombstones::Tombstones;
use crate::vnode::{Vnode, meta};
use crate::wal::Position;

/// A memtable on its way to disk, and the state at its freeze.
struct Frozen {
    memtable: Arc<Memtable>,
    changes: meta::Changes,
    position: Option<Position>,
    membership: Option<(Position, Bytes)>,
    clock: u64,
    /// The number of its runs.
    number: u32,
    relations: BTreeMap<Suid, FrozenRelation>,
}

struct FrozenRelation {
    plain: bool,
    series: SeriesFilter,
    tombstones: Vec<Arc<Tombstones>>,
}

impl Vnode {
    pub(super) fn flush_now(&self) -> Result<Option<Position>, Halt> {
        let _one = self.flushing.lock();
        // Behind the lock: after a flush that failed, its rows are only in the log. A flush that follows it would move the
        // watermark past them, and they would be lost.
        self.check()?;
        let result = self.flush_locked();
        if let Err(halt) = &result {
            self.halt(halt);
        }
        self.room.notify_all();
        result
    }

    fn flush_locked(&self) -> Result<Option<Position>, Halt> {
        let started = Instant::now();
        let _flushing = self.env.scheduler().flushing();
        self.make_room()?;
        let Some(frozen) = self.freeze() else { return Ok(self.durable()) };
        fail::fail_point!("flush.start", |_| std::process::abort());
        let mut runs = Vec::new();
        let mut files = Vec::new();
        for (bucket, suids) in self.buckets(&frozen) {
            if let Some((file, run)) = self.write_bucket(&frozen, bucket, &suids)? {
                files.push(file);
                runs.push(run);
            }
        }
        fail::fail_point!("flush.sst_written", |_| std::process::abort());
        self.store.ingest(&files)?;
        fail::fail_point!("flush.ingested", |_| std::process::abort());
        self.store.write_meta(frozen.changes.encode())?;
        fail::fail_point!("flush.meta_written", |_| std::process::abort());
        let bytes: u64 = files.iter().map(|file| file.bytes).sum();
        let memory = frozen.memtable.bytes as u64;
        self.report.flushed(memory, frozen.memtable.rows as u64, bytes, started.elapsed().as_secs_f64());
        {
            let mut inner = self.inner.write();
            inner.frozen = None;
            inner.frozen_gone.clear();
            inner.durable_clock = frozen.clock;
            inner.durable_membership = frozen.membership;
            let inner = &mut *inner;
            for run in runs {
                inner.touched.insert(run.bucket, inner.rounds);
                inner.add_run(run);
            }
            inner.drop_spent_tombstones();
            self.share.note(inner.memtable_size().1);
            self.count_runs(inner);
        }
        self.durable.send_replace(frozen.position);
        self.env.scheduler().request_merge(self.work_handle());
        Ok(frozen.position)
    }

    /// Makes the memtable read-only and starts a new one. None if there is nothing to bring to disk.
    fn freeze(&self) -> Option<Frozen> {
        let mut inner = self.inner.write();
        if inner.state.applied == self.durable() {
            return None;
        }
        let memtable = Arc::new(std::mem::take(&mut inner.active));
        inner.frozen = Some(Arc::clone(&memtable));
        inner.frozen_gone = std::mem::take(&mut inner.state.dirty.gone);
        let number = inner.next_run;
        inner.next_run += 1;
        let state = &mut inner.state;
        let relation = |suid: &Suid| {
            let sids = || state.relation(*suid).sids().into();
            let relation = FrozenRelation {
                plain: state.row_ids.contains_key(suid),
                series: if state.has_gaps(*suid) { SeriesFilter::Set(sids()) } else { SeriesFilter::All },
                tombstones: state.tombstones(*suid).into_iter().collect(),
            };
            (*suid, relation)
        };
        let relations = memtable.relations.keys().map(relation).collect();
        let changes = meta::take_changes(state);
        let (position, membership, clock) = (state.applied, state.membership.clone(), state.clock);
        Some(Frozen { memtable, changes, position, membership, clock, number, relations })
    }

    /// Which relations have rows in which bucket.
    fn buckets(&self, frozen: &Frozen) -> BTreeMap<i32, Vec<Suid>> {
        let duration = self.options.duration_ticks;
        let mut buckets: BTreeMap<i32, Vec<Suid>> = BTreeMap::new();
        for (suid, relation) in &frozen.relations {
            let mut add = |bucket: i32| {
                let suids = buckets.entry(bucket).or_default();
                if suids.last() != Some(suid) {
                    suids.push(*suid);
                }
            };
            for chunk in frozen.memtable.chunks(*suid) {
                if relation.plain {
                    add(PLAIN_BUCKET);
                    continue;
                }
                let (first, last) =
                    (bucket_of(chunk.key_range.min, duration), bucket_of(chunk.key_range.max, duration));
                add(first);
                if first != last {
                    chunk.keys.iter().for_each(|key| add(bucket_of(*key, duration)));
                }
            }
        }
        buckets
    }

    fn write_bucket(
        &self,
        frozen: &Frozen,
        bucket: i32,
        suids: &[Suid],
    ) -> Result<Option<(crate::kv::Finished, Arc<Run>)>, Halt> {
        let header = RunHeader::start(frozen.position, frozen.clock, 0, Vec::new());
        let place = (bucket, frozen.number);
        let mut writer = RunWriter::new(&*self.store, place, &self.options, header);
        writer.within(self.share.budget());
        if !self.inner.read().runs.contains_key(&bucket) {
            writer.settle();
        }
        for suid in suids {
            let relation = &frozen.relations[suid];
            let chunks = frozen.memtable.chunks(*suid);
            let wanted = Wanted {
                columns: columns_of(chunks, self.options.precision),
                series: relation.series.clone(),
                range: bucket_range(bucket, self.options.duration_ticks),
                tombstones: relation.tombstones.clone(),
            };
            let sources = chunk_sources(chunks, &wanted);
            writer.relation(*suid, &wanted.columns, SeriesMerge::new(sources))?;
        }
        let Some((file, header)) = writer.finish()? else { return Ok(None) };
        Ok(Some((file, Run::new(place, header, &self.store, self.env.headers(), &self.place()))))
    }

    /// Removes what a crash left: runs that no watermark covers, and runs that a merge has replaced.
    pub(super) fn sort_out_runs(
        &self,
        runs: Vec<Arc<Run>>,
        watermark: Option<Position>,
    ) -> Result<Vec<Arc<Run>>, Halt> {
        let uncovered = |run: &Run| run.header.position > watermark;
        let (gone, mut runs): (Vec<_>, Vec<_>) = runs.into_iter().partition(|run| uncovered(run));
        for run in &gone {
            tracing::info!(vnode = %self.place(), bucket = run.bucket, run = run.number, "removing a run that a crash left");
            run.remove()?;
        }
        let replaced: Vec<(i32, u32)> =
            runs.iter().flat_map(|run| run.header.replaces.iter().map(|number| (run.bucket, *number))).collect();
        for run in runs.iter().filter(|run| replaced.contains(&(run.bucket, run.number))) {
            run.remove()?;
        }
        runs.retain(|run| !replaced.contains(&(run.bucket, run.number)));
        Ok(runs)
    }
}

impl RunHeader {
    /// What is known of a run before its rows.
    pub(crate) fn start(position: Option<Position>, folded: u64, level: u8, replaces: Vec<u32>) -> Self {
        let key_range = model::TimeRange { min: i64::MAX, max: i64::MIN };
        Self {
            position,
            folded,
            level,
            rows: 0,
            key_range,
            version_min: u64::MAX,
            version_max: 0,
            relations: Vec::new(),
            replaces,
            last: false,
        }
    }
}

/// All columns of some chunks; of several types of a column the newest.
fn columns_of(chunks: &[Arc<MemChunk>], precision: model::Precision) -> Vec<WantedColumn> {
    let mut columns: BTreeMap<ColumnId, DataType> = BTreeMap::new();
    for column in chunks.iter().flat_map(|chunk| &chunk.columns) {
        columns.insert(column.id, column.data_type);
    }
    columns.into_iter().map(|(id, data_type)| WantedColumn::new(id, data_type, precision)).collect()
}

/// Chunks as sources, oldest first.
pub(super) fn chunk_sources(chunks: &[Arc<MemChunk>], wanted: &Wanted) -> Vec<Box<dyn Source>> {
    let source = |chunk: &Arc<MemChunk>| {
        let segment = Segment::of_chunk(chunk, wanted)?;
        Some(Box::new(Once(Some(Arc::new(segment)))) as Box<dyn Source>)
    };
    chunks.iter().filter_map(source).collect()
}

/// The next free run number.
pub(super) fn next_run(runs: &[Arc<Run>]) -> u32 {
    runs.iter().map(|run| run.number + 1).max().unwrap_or(1)
}
