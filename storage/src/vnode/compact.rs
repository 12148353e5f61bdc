//! Makes fewer and smaller runs: merges neighbours of one bucket, drops expired buckets, removes what nobody reads.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use model::{ColumnId, DataType, Suid, TimeRange};

use crate::halt::Halt;
use crate::vnode::Vnode;
use crate::vnode::keys::{PLAIN_BUCKET, bucket_range};
use crate::vnode::merge::{SeriesMerge, Source};
use crate::vnode::run::{Run, RunHeader, RunSource};
use crate::vnode::run_writer::RunWriter;
use crate::vnode::segment::{SeriesFilter, Wanted, WantedColumn};
use crate::vnode::tombstones::Tombstones;

/// Deletes of one relation that wait in memory; for more, the runs that they wait for are merged.
const TOMBSTONES_MAX: usize = 1024;
/// Most runs in one merge.
const MERGE_RUNS_MAX: usize = 32;

/// Runs to be merged, and what of the state is on disk.
struct Job {
    bucket: i32,
    /// Adjacent in age, oldest first.
    runs: Vec<Arc<Run>>,
    /// Whether no older run is in the bucket.
    oldest: bool,
    number: u32,
    level: u8,
    clock: u64,
    /// Runs of the bucket that were replaced before and may still be there.
    retired: Vec<u32>,
    relations: BTreeMap<Suid, (SeriesFilter, Vec<Arc<Tombstones>>)>,
}

impl Vnode {
    /// Merges until nothing is due; `all`: until there is one run in each bucket and no deleted row in it.
    pub(super) fn merge_now(&self, all: bool) -> Result<usize, Halt> {
        let _one = self.merging.lock();
        self.check()?;
        self.merge_locked(all)
    }

    /// Merges what is due, unless somebody does, or so many others merge that flushes might have to wait.
    pub(super) fn merge_in_background(&self) -> Result<(), Halt> {
        let (Some(_slot), Some(_one)) = (self.env.scheduler().merge_slot(), self.merging.try_lock()) else {
            return self.check();
        };
        self.check()?;
        self.merge_locked(false).map(drop)
    }

    fn merge_locked(&self, all: bool) -> Result<usize, Halt> {
        let mut merges = 0;
        let mut done = BTreeSet::new();
        let result = loop {
            let Some(job) = self.next_merge(all, &mut done) else { break Ok(merges) };
            if let Err(halt) = self.merge_runs(&job) {
                break Err(halt);
            }
            merges += 1;
        };
        let result = result.and_then(|merges| self.sweep().map(|()| merges));
        if let Err(halt) = &result {
            self.halt(halt);
        }
        result
    }

    fn next_merge(&self, all: bool, done: &mut BTreeSet<i32>) -> Option<Job> {
        let mut inner = self.inner.write();
        let inner = &mut *inner;
        let trigger = self.options.merge_trigger.max(2);
        let crowded: Vec<Suid> = inner
            .state
            .all_tombstones()
            .filter(|(_, tombstones)| tombstones.len() > TOMBSTONES_MAX)
            .map(|(suid, _)| suid)
            .collect();
        let burdened = |run: &Run| run.header.folded < inner.durable_clock && crowded.iter().any(|suid| run.has(*suid));
        let found = inner.runs.iter().find_map(|(bucket, runs)| {
            let range = if all {
                let due = runs.len() > 1 || runs.iter().any(|run| inner.has_dead_rows(run));
                (due && !done.contains(bucket)).then_some(0..runs.len())
            } else {
                let all = || runs.iter().any(|run| burdened(run)).then_some(0..runs.len());
                due(runs, trigger).or_else(all)
            };
            range.map(|range| (*bucket, range))
        });
        let (bucket, range) = found?;
        if all {
            done.insert(bucket);
        }
        let runs = inner.runs[&bucket][range.clone()].to_vec();
        let number = inner.next_run;
        inner.next_run += 1;
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
            level: runs.iter().map(|run| run.header.level).max().unwrap_or(0).saturating_add(1),
            clock: inner.durable_clock,
            retired,
            relations: suids.into_iter().map(relation).collect(),
            runs,
        })
    }

    fn merge_runs(&self, job: &Job) -> Result<(), Halt> {
        let started = Instant::now();
        fail::fail_point!("merge.start", |_| std::process::abort());
        let position = job.runs.iter().map(|run| run.header.position).max().flatten();
        let replaces = job.runs.iter().map(|run| run.number).chain(job.retired.iter().copied()).collect();
        let header = RunHeader::start(position, job.clock, job.level, replaces);
        let place = (job.bucket, job.number);
        let mut writer = RunWriter::new(&*self.store, place, self.options.precision, self.options.maxrows, header);
        writer.within(self.share.budget());
        if job.oldest {
            writer.settle();
        }
        for (suid, (series, tombstones)) in &job.relations {
            let wanted = Arc::new(Wanted {
                columns: self.columns_of(&job.runs, *suid)?,
                series: series.clone(),
                range: TimeRange::ALL,
                tombstones: tombstones.clone(),
            });
            let mut sources: Vec<Box<dyn Source>> = Vec::new();
            for run in &job.runs {
                let blocks = run.wanted_blocks(*suid, &wanted)?;
                let wanted = Arc::clone(&wanted);
                sources.push(Box::new(RunSource { run: Arc::clone(run), blocks: blocks.into_iter(), wanted }));
            }
            writer.relation(*suid, &wanted.columns, SeriesMerge::new(sources))?;
        }
        let run = match writer.finish()? {
            Some((file, header)) => {
                metrics::counter!("storage_merged_bytes_total").increment(file.bytes);
                metrics::counter!("storage_merged_rows_total").increment(header.rows);
                self.store.ingest(&[file])?;
                Some(Run::new(place, header, &self.store, self.env.headers(), &self.place()))
            }
            None => None,
        };
        fail::fail_point!("merge.ingested", |_| std::process::abort());
        self.replace(job, run);
        metrics::counter!("storage_merges_total").increment(1);
        metrics::histogram!("storage_merge_seconds").record(started.elapsed().as_secs_f64());
        self.sweep()
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
        let _one = self.merging.lock();
        let dropped = {
            let mut inner = self.inner.write();
            let duration = self.options.duration_ticks;
            let expired: Vec<i32> = inner
                .runs
                .keys()
                .copied()
                .filter(|bucket| *bucket != PLAIN_BUCKET && bucket_range(*bucket, duration).max < floor)
                .collect();
            for bucket in &expired {
                let runs = inner.runs.remove(bucket).unwrap_or_default();
                inner.retired.extend(runs);
            }
            inner.state.expiries += u64::from(!expired.is_empty());
            expired.len()
        };
        fail::fail_point!("drop.expired", |_| std::process::abort());
        self.sweep()?;
        Ok(dropped)
    }
}

/// Which neighbours to merge: `trigger` or more runs that were merged about equally often, the newest and smallest first.
fn due(runs: &[Arc<Run>], trigger: usize) -> Option<std::ops::Range<usize>> {
    let most = runs.iter().map(|run| run.header.level).max()?;
    for level in 0..=most {
        let mut end = runs.len();
        while end > 0 {
            let tail = runs[..end].iter().rev().take_while(|run| run.header.level <= level);
            let (count, equal) =
                tail.fold((0, 0), |(count, equal), run| (count + 1, equal + usize::from(run.header.level == level)));
            if equal >= trigger {
                let start = end - count;
                return Some(start..end.min(start + MERGE_RUNS_MAX));
            }
            end -= count.max(1);
        }
    }
    None
}
