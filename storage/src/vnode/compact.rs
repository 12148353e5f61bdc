//! Makes fewer and smaller runs: merges neighbours of one bucket, drops expired buckets, removes what nobody reads.
//!
//! Start reading at [`Task`]. Which runs are merged says `policy.rs`, how fast `pace.rs`, on which threads `scheduler.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use model::{ColumnId, DataType, Suid, TimeRange};

use crate::halt::Halt;
use crate::vnode::compaction::Compaction;
use crate::vnode::keys::{PLAIN_BUCKET, bucket_range};
use crate::vnode::merge::{SeriesMerge, Source};
use crate::vnode::pace::Load;
use crate::vnode::policy::{self, RunSize};
use crate::vnode::run::{Block, Run, RunHeader};
use crate::vnode::run_writer::RunWriter;
use crate::vnode::segment::{Segment, SeriesFilter, Wanted, WantedColumn};
use crate::vnode::tombstones::Tombstones;
use crate::vnode::{Inner, Vnode, VnodeOptions};

/// Deletes of one relation that wait in memory; for more, the runs that they wait for are merged.
const TOMBSTONES_MAX: usize = 1024;
/// A merge that waits for its turn looks so often whether it shall stop or hurry.
const PAUSE: Duration = Duration::from_millis(20);

/// Why runs are merged.
#[derive(Clone, Copy)]
enum Task<'a> {
    /// The policy says so.
    Due,
    /// A flush waits, because a bucket has all the runs that it may have.
    Room,
    /// Somebody asked for one run in each bucket, and no deleted row in it.
    All(TimeRange, Option<&'a Arc<Compaction>>),
}

/// Runs to be merged.
struct Choice {
    bucket: i32,
    range: Range<usize>,
    tier: u8,
    /// The bucket gets no more rows: they are encoded as small as can be.
    last: bool,
}

/// Runs to be merged, and what of the state is on disk.
struct Job {
    bucket: i32,
    /// Adjacent in age, oldest first.
    runs: Vec<Arc<Run>>,
    /// Whether no older run is in the bucket.
    oldest: bool,
    number: u32,
    tier: u8,
    last: bool,
    clock: u64,
    /// Runs of the bucket that were replaced before and may still be there.
    retired: Vec<u32>,
    relations: BTreeMap<Suid, (SeriesFilter, Vec<Arc<Tombstones>>)>,
}

impl Job {
    fn bytes(&self) -> u64 {
        self.runs.iter().map(|run| run.bytes()).sum()
    }
}

/// What a merge pays for each block that it reads: time, so that it keeps its pace.
struct Toll {
    vnode: Arc<Vnode>,
    compaction: Option<Arc<Compaction>>,
    /// Nobody waits for it, so that it ends when the dnode stops.
    background: bool,
}

impl Toll {
    fn pay(&self, bytes: u64) -> Result<(), Halt> {
        let scheduler = self.vnode.env.scheduler();
        if let Some(compaction) = &self.compaction {
            compaction.read(bytes);
        }
        let load = || {
            let (flushing, idle) = scheduler.load();
            let awaited = self.vnode.awaited.load(Ordering::Acquire) > 0;
            Load { flushing, idle, awaited, crowded: self.vnode.crowded.load(Ordering::Relaxed) }
        };
        let wait = self.vnode.env.pace().take(bytes, load(), Instant::now());
        let until = Instant::now() + wait;
        loop {
            self.vnode.check()?;
            let stopped = self.compaction.as_ref().is_some_and(|compaction| compaction.is_stopped());
            if stopped || (self.background && scheduler.is_stopped()) {
                return Err(Halt::Closed);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || load().awaited {
                return Ok(());
            }
            std::thread::park_timeout(left.min(PAUSE));
        }
    }
}

/// The blocks of one run on their way into another.
struct MergeSource {
    run: Arc<Run>,
    blocks: std::vec::IntoIter<Arc<Block>>,
    wanted: Arc<Wanted>,
    toll: Arc<Toll>,
}

impl Source for MergeSource {
    fn bound(&self) -> Option<(u32, i64)> {
        self.blocks.as_slice().first().map(|block| block.first())
    }

    fn next(&mut self) -> Result<Option<Arc<Segment>>, Halt> {
        for block in self.blocks.by_ref() {
            self.toll.pay(self.run.bytes_of(&block))?;
            if let Some(segment) = self.run.read(&block, &self.wanted)? {
                return Ok(Some(segment));
            }
        }
        Ok(None)
    }
}

impl Vnode {
    /// Merges until nothing is due; `all`: until there is one run in each bucket and no deleted row in it.
    pub(super) fn merge_now(&self, all: bool) -> Result<usize, Halt> {
        let task = if all { Task::All(TimeRange::ALL, None) } else { Task::Due };
        self.merge_while(task, false)
    }

    /// Merges what is due, unless somebody does.
    pub(super) fn merge_in_background(&self) -> Result<usize, Halt> {
        if self.merging.try_lock().is_none() {
            return self.check().map(|()| 0);
        }
        self.merge_while(Task::Due, true)
    }

    /// COMPACT of some buckets, which can be watched and stopped.
    pub(super) fn compact_now(&self, compaction: &Arc<Compaction>) -> Result<(), Halt> {
        self.flush_now()?;
        {
            let inner = self.inner.read();
            let due = inner.compactable(compaction.range(), &self.options);
            let bytes = |bucket: &i32| inner.runs[bucket].iter().map(|run| run.bytes()).sum::<u64>();
            compaction.plan(due.len() as u64, due.iter().map(bytes).sum());
        }
        self.merge_while(Task::All(compaction.range(), Some(compaction)), true).map(drop)
    }

    /// One merge after the other: in between, others may merge too.
    fn merge_while(&self, task: Task<'_>, background: bool) -> Result<usize, Halt> {
        let scheduler = self.env.scheduler();
        let compaction = match task {
            Task::All(_, compaction) => compaction.cloned(),
            _ => None,
        };
        let mut merges = 0;
        let mut done = BTreeSet::new();
        let Some(vnode) = self.me.upgrade() else { return Err(Halt::Closed) };
        let toll = Arc::new(Toll { vnode, compaction, background });
        let gives_up = || {
            let stopped = toll.compaction.as_ref().is_some_and(|compaction| compaction.is_stopped());
            self.check().is_err() || stopped || (background && scheduler.is_stopped())
        };
        loop {
            let Some(_slot) = scheduler.merge_slot(gives_up) else { return Err(Halt::Closed) };
            let _one = self.merging.lock();
            self.check()?;
            if gives_up() {
                return Err(Halt::Closed);
            }
            let Some(job) = self.next_merge(task, &mut done) else { break };
            self.merge_or_halt(&job, &toll)?;
            merges += 1;
        }
        let _one = self.merging.lock();
        self.halting(self.sweep()).map(|()| merges)
    }

    /// Merges, because a bucket has all the runs that it may have and a flush is to add one.
    pub(super) fn make_room(&self) -> Result<(), Halt> {
        while self.crowded.load(Ordering::Relaxed) >= 100 {
            self.awaited.fetch_add(1, Ordering::AcqRel);
            let made = self.make_some_room();
            self.awaited.fetch_sub(1, Ordering::AcqRel);
            if !made? {
                break;
            }
        }
        Ok(())
    }

    fn make_some_room(&self) -> Result<bool, Halt> {
        let _one = self.merging.lock();
        self.check()?;
        let Some(job) = self.next_merge(Task::Room, &mut BTreeSet::new()) else { return Ok(false) };
        let Some(vnode) = self.me.upgrade() else { return Err(Halt::Closed) };
        let toll = Arc::new(Toll { vnode, compaction: None, background: false });
        self.merge_or_halt(&job, &toll)?;
        Ok(true)
    }

    fn merge_or_halt(&self, job: &Job, toll: &Arc<Toll>) -> Result<(), Halt> {
        self.report.merge_begins();
        let started = Instant::now();
        let read = toll.compaction.as_ref().map_or(0, |compaction| compaction.progress().done);
        let made = self.merge_runs(job, toll);
        self.inner.write().merging = None;
        self.report.merge_ends(made.as_ref().ok().copied(), started.elapsed().as_secs_f64());
        if let (Ok(_), Some(compaction)) = (&made, &toll.compaction) {
            // Blocks of deleted rows were not read.
            let read = compaction.progress().done.saturating_sub(read);
            compaction.finish(job.bytes().saturating_sub(read));
        }
        self.halting(made).map(drop)
    }

    /// What fails stops the vnode; what was stopped does not.
    fn halting<T>(&self, result: Result<T, Halt>) -> Result<T, Halt> {
        if let Err(halt) = &result
            && !matches!(halt, Halt::Closed)
        {
            self.halt(halt);
        }
        result
    }

    fn next_merge(&self, task: Task<'_>, done: &mut BTreeSet<i32>) -> Option<Job> {
        let mut inner = self.inner.write();
        let inner = &mut *inner;
        let choice = match task {
            Task::Due => inner.due(&self.options),
            Task::Room => inner.crowded(&self.options),
            Task::All(range, _) => {
                let due = inner.compactable(range, &self.options);
                let bucket = due.into_iter().find(|bucket| done.insert(*bucket));
                bucket.map(|bucket| inner.whole(bucket))
            }
        };
        let Choice { bucket, range, tier, last } = choice?;
        let runs = inner.runs[&bucket][range.clone()].to_vec();
        let number = inner.next_run;
        inner.next_run += 1;
        inner.merging = Some(bucket);
        let suids: BTreeSet<Suid> =
            runs.iter().flat_map(|run| run.header.relations.iter().map(|(suid, ..)| *suid)).collect();
        let relation = |suid: Suid| {
            let gone = inner.undurable_gone(suid);
            let series = if inner.state.has_gaps(suid) {
                let live = inner.state.relation(suid).iter().map(|series| series.sid).collect::<BTreeSet<u32>>();
                SeriesFilter::Set(live.union(&gone).copied().collect())
            } else {
                SeriesFilter::All
            };
            let tombstones = inner.state.tombstones(suid).map(|all| Arc::new(all.until(inner.durable_clock)));
            (suid, (series, tombstones.into_iter().collect()))
        };
        let retired = inner.retired.iter().filter(|run| run.bucket == bucket).map(|run| run.number).collect();
        Some(Job {
            bucket,
            oldest: range.start == 0,
            number,
            tier,
            last,
            clock: inner.durable_clock,
            retired,
            relations: suids.into_iter().map(relation).collect(),
            runs,
        })
    }

    /// Gives the rows and bytes of the new run.
    fn merge_runs(&self, job: &Job, toll: &Arc<Toll>) -> Result<(u64, u64), Halt> {
        fail::fail_point!("merge.start", |_| std::process::abort());
        let position = job.runs.iter().map(|run| run.header.position).max().flatten();
        let replaces = job.runs.iter().map(|run| run.number).chain(job.retired.iter().copied()).collect();
        let header = RunHeader { last: job.last, ..RunHeader::start(position, job.clock, job.tier, replaces) };
        let place = (job.bucket, job.number);
        let mut writer = RunWriter::new(&*self.store, place, &self.options, header);
        writer.within(self.share.budget());
        if job.oldest {
            writer.settle();
        }
        for (suid, (series, tombstones)) in &job.relations {
            if matches!(series, SeriesFilter::Set(sids) if sids.is_empty()) {
                continue;
            }
            let wanted = Arc::new(Wanted {
                columns: self.columns_of(&job.runs, *suid)?,
                series: series.clone(),
                range: TimeRange::ALL,
                tombstones: tombstones.clone(),
            });
            let mut sources: Vec<Box<dyn Source>> = Vec::new();
            for run in &job.runs {
                let mut blocks = run.wanted_blocks(*suid, &wanted)?;
                // Whole blocks of deleted rows are not even read.
                blocks.retain(|block| !wanted.erases(block.sids(), block.keys(), block.header.version_max));
                let (run, wanted, toll) = (Arc::clone(run), Arc::clone(&wanted), Arc::clone(toll));
                sources.push(Box::new(MergeSource { run, blocks: blocks.into_iter(), wanted, toll }));
            }
            writer.relation(*suid, &wanted.columns, SeriesMerge::new(sources))?;
        }
        let mut made = (0, 0);
        let run = match writer.finish()? {
            Some((file, header)) => {
                made = (header.rows, file.bytes);
                self.store.ingest(&[file])?;
                Some(Run::new(place, header, &self.store, self.env.headers(), &self.place()))
            }
            None => None,
        };
        fail::fail_point!("merge.ingested", |_| std::process::abort());
        self.replace(job, run);
        self.sweep()?;
        Ok(made)
    }

    /// Puts a merged run in the place of what it was made of.
    fn replace(&self, job: &Job, run: Option<Arc<Run>>) {
        let mut inner = self.inner.write();
        let inner = &mut *inner;
        if let Some(runs) = inner.runs.get_mut(&job.bucket) {
            runs.retain(|run| !job.runs.iter().any(|old| Arc::ptr_eq(old, run)));
            if runs.is_empty() {
                inner.runs.remove(&job.bucket);
            }
        }
        inner.retired.extend(job.runs.iter().cloned());
        if let Some(run) = run {
            inner.add_run(run);
        }
        inner.drop_spent_tombstones();
        self.count_runs(inner);
    }

    /// All columns of a relation in some runs, oldest first; of several types of a column the newest.
    fn columns_of(&self, runs: &[Arc<Run>], suid: Suid) -> Result<Vec<WantedColumn>, Halt> {
        let mut columns: BTreeMap<ColumnId, DataType> = BTreeMap::new();
        for run in runs {
            for block in run.blocks(suid)? {
                columns.extend(block.header.columns.iter().map(|column| (column.id, column.data_type)));
            }
        }
        let precision = self.options.precision;
        Ok(columns.into_iter().map(|(id, data_type)| WantedColumn::new(id, data_type, precision)).collect())
    }

    /// Removes replaced runs that no scan reads any more.
    fn sweep(&self) -> Result<(), Halt> {
        let free: Vec<Arc<Run>> = {
            let mut inner = self.inner.write();
            let (free, rest) =
                std::mem::take(&mut inner.retired).into_iter().partition(|run| Arc::strong_count(run) == 1);
            inner.retired = rest;
            free
        };
        for run in &free {
            run.remove()?;
        }
        if !free.is_empty() {
            fail::fail_point!("merge.removed", |_| std::process::abort());
            self.inner.write().drop_spent_tombstones();
        }
        Ok(())
    }

    pub(super) fn drop_expired_now(&self, floor: i64) -> Result<usize, Halt> {
        self.check()?;
        let dropped = {
            let mut inner = self.inner.write();
            let duration = self.options.duration_ticks;
            let expired: Vec<i32> = inner
                .runs
                .keys()
                .copied()
                .filter(|bucket| *bucket != PLAIN_BUCKET && bucket_range(*bucket, duration).max < floor)
                // What is being merged goes the next time: nobody waits for a merge here.
                .filter(|bucket| inner.merging != Some(*bucket))
                .collect();
            for bucket in &expired {
                let runs = inner.runs.remove(bucket).unwrap_or_default();
                inner.retired.extend(runs);
                inner.touched.remove(bucket);
            }
            inner.state.expiries += u64::from(!expired.is_empty());
            self.count_runs(&inner);
            expired.len()
        };
        fail::fail_point!("drop.expired", |_| std::process::abort());
        self.sweep()?;
        Ok(dropped)
    }

    /// Notes how many runs there are, for whoever paces merges and for people.
    pub(super) fn count_runs(&self, inner: &Inner) {
        let all = inner.runs.values().map(Vec::len).sum();
        let fullest = inner.runs.values().map(Vec::len).max().unwrap_or(0);
        self.report.runs(all, fullest);
        self.crowded.store(fullest * 100 / policy::runs_max(self.options.merge_trigger), Ordering::Relaxed);
    }

    /// One look whether something has become due with time: a bucket that gets no more rows, a run that nobody reads any
    /// more. To be called about once a second.
    pub(super) fn tend_now(&self) {
        let wanted = {
            let mut inner = self.inner.write();
            inner.rounds += 1;
            !inner.retired.is_empty() || inner.due(&self.options).is_some()
        };
        if wanted {
            self.env.scheduler().request_merge(self.work_handle());
        }
    }
}

impl Inner {
    fn sizes(runs: &[Arc<Run>]) -> Vec<RunSize> {
        let size = |run: &Arc<Run>| RunSize { tier: run.header.level, bytes: run.bytes(), last: run.header.last };
        runs.iter().map(size).collect()
    }

    /// What the policy wants merged: where deletes have left little, where runs are many, where deletes wait in memory,
    /// where no more rows come.
    fn due(&self, options: &VnodeOptions) -> Option<Choice> {
        self.mostly_dead().or_else(|| self.crowd(options)).or_else(|| self.burdened()).or_else(|| self.cold(options))
    }

    /// A run of which at least a quarter are deleted rows, as far as its header tells: what is written anew is three times
    /// what is freed at most.
    fn mostly_dead(&self) -> Option<Choice> {
        if self.state.dropped.is_empty() && self.state.all_tombstones().next().is_none() {
            return None;
        }
        self.runs.iter().find_map(|(bucket, runs)| {
            let at = runs.iter().position(|run| {
                let dead = self.dead_bytes(run);
                dead > 0 && dead * 4 >= run.bytes()
            })?;
            let header = &runs[at].header;
            Some(Choice { bucket: *bucket, range: at..at + 1, tier: header.level, last: header.last })
        })
    }

    /// Bytes of relations that were dropped, or of which a delete on disk covers the whole run.
    fn dead_bytes(&self, run: &Run) -> u64 {
        let header = &run.header;
        let dead = |suid: Suid| {
            let dropped = self.state.dropped.contains(&suid)
                && !self.state.dirty.dropped.contains(&suid)
                && self.undurable_gone(suid).is_empty();
            let erased = || {
                self.state.tombstones(suid).is_some_and(|tombstones| {
                    tombstones.cover((0, u32::MAX), header.key_range, header.version_max, self.durable_clock)
                })
            };
            dropped || erased()
        };
        header.relations.iter().filter(|(suid, ..)| dead(*suid)).map(|(.., bytes)| bytes).sum()
    }

    /// Of the bucket with the most runs that has neighbours to merge.
    fn crowd(&self, options: &VnodeOptions) -> Option<Choice> {
        let fullest = self.runs.iter().filter(|(_, runs)| runs.len() > 1);
        let due = fullest.filter_map(|(bucket, runs)| {
            let (range, tier) = policy::due(&Self::sizes(runs), options.merge_trigger)?;
            Some((runs.len(), Choice { bucket: *bucket, range, tier, last: false }))
        });
        due.max_by_key(|(runs, choice)| (*runs, std::cmp::Reverse(choice.bucket))).map(|(_, choice)| choice)
    }

    /// As [`Inner::crowd`], only of a bucket that takes no more runs.
    fn crowded(&self, options: &VnodeOptions) -> Option<Choice> {
        let most = policy::runs_max(options.merge_trigger);
        self.crowd(options).filter(|choice| self.runs[&choice.bucket].len() >= most)
    }

    /// A bucket whose runs keep too many deletes in memory.
    fn burdened(&self) -> Option<Choice> {
        let crowded: Vec<Suid> = self
            .state
            .all_tombstones()
            .filter(|(_, tombstones)| tombstones.len() > TOMBSTONES_MAX)
            .map(|(suid, _)| suid)
            .collect();
        let waits =
            |run: &Arc<Run>| run.header.folded < self.durable_clock && crowded.iter().any(|suid| run.has(*suid));
        let bucket = self.runs.iter().find_map(|(bucket, runs)| runs.iter().any(waits).then_some(*bucket))?;
        Some(Choice { last: false, ..self.whole(bucket) })
    }

    /// A bucket that got no rows for long, if a last merge makes it smaller.
    fn cold(&self, options: &VnodeOptions) -> Option<Choice> {
        let bucket = self.runs.iter().find_map(|(bucket, runs)| {
            let quiet = self.rounds.saturating_sub(self.touched.get(bucket).copied().unwrap_or(0));
            let due = quiet >= options.cold_rounds && policy::last_is_due(&Self::sizes(runs), options.recodes());
            due.then_some(*bucket)
        })?;
        Some(self.whole(bucket))
    }

    /// Buckets of these times that are not one run without deleted rows, encoded as small as can be.
    fn compactable(&self, range: TimeRange, options: &VnodeOptions) -> Vec<i32> {
        let inside = |bucket: i32| {
            bucket == PLAIN_BUCKET && range == TimeRange::ALL
                || bucket != PLAIN_BUCKET && bucket_range(bucket, options.duration_ticks).overlaps(range)
        };
        let loose = |run: &Arc<Run>| self.has_dead_rows(run) || (options.recodes() && !run.header.last);
        let due =
            self.runs.iter().filter(|(bucket, runs)| inside(**bucket) && (runs.len() > 1 || runs.iter().any(loose)));
        due.map(|(bucket, _)| *bucket).collect()
    }

    /// All runs of a bucket, into one.
    fn whole(&self, bucket: i32) -> Choice {
        let runs = &self.runs[&bucket];
        let tier = runs.iter().map(|run| run.header.level).max().unwrap_or(0);
        Choice { bucket, range: 0..runs.len(), tier, last: true }
    }
}
