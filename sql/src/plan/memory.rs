//! The memory that queries and statements under way may have, and the temporary files that take what does not fit.
//!
//! Operators of DataFusion reserve what they hold in a pool: sorts and aggregates spill when it is used up, others fail
//! with 53200. What they reserve is an estimate; [`WatchedPool`] also looks at what the process really holds.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use datafusion::error::{DataFusionError, Result};
use datafusion::execution::disk_manager::{DiskManager, DiskManagerMode};
use datafusion::execution::memory_pool::{
    FairSpillPool, GreedyMemoryPool, MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation,
};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};

use super::PlannerSettings;

/// Where temporary files go, and how much of the disk they may take.
#[derive(Clone, Debug)]
pub struct TempFiles {
    /// An empty folder, for nobody else.
    pub folder: PathBuf,
    /// Bytes of all files in it.
    pub bytes_max: u64,
}

/// What the process holds, as the system counts it.
#[derive(Clone)]
pub struct ProcessMemory {
    /// Bytes in memory now that are no part of a file.
    pub allocated: Arc<dyn Fn() -> u64 + Send + Sync>,
    /// Bytes above which queries get no more than half of their share.
    pub bytes_max: u64,
}

impl fmt::Debug for ProcessMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessMemory").field("bytes_max", &self.bytes_max).finish_non_exhaustive()
    }
}

/// What queries and statements under way hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueryMemory {
    /// Bytes that running queries have reserved.
    pub queries: u64,
    /// Bytes of rows of statements under way, and of open transactions.
    pub staging: u64,
    /// Bytes of temporary files.
    pub spilled: u64,
    /// And the most there may be.
    pub spilled_max: u64,
    /// How many there are.
    pub files: u64,
}

/// The part of a process's memory that the language works with. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Memory {
    /// For queries; it has the temporary files.
    runtime: Arc<RuntimeEnv>,
    staging: Arc<dyn MemoryPool>,
    staging_max: usize,
}

impl Memory {
    pub(crate) fn new(settings: &PlannerSettings) -> Result<Self> {
        let fair = FairSpillPool::new(settings.memory_bytes);
        let (size, process) = (settings.memory_bytes, settings.process.clone());
        let pool = WatchedPool { inner: fair, size, spillers: AtomicUsize::new(0), process };
        let mut disk = DiskManager::builder();
        if let Some(temp) = &settings.temp {
            disk = disk.with_mode(DiskManagerMode::Directories(vec![temp.folder.clone()]));
            disk = disk.with_max_temp_directory_size(temp.bytes_max);
        }
        let runtime = RuntimeEnvBuilder::new().with_memory_pool(Arc::new(pool)).with_disk_manager_builder(disk);
        let staging_max = settings.staging_bytes;
        let staging: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(staging_max));
        Ok(Self { runtime: runtime.build_arc()?, staging, staging_max })
    }

    /// Where queries run.
    pub(crate) fn runtime(&self) -> &Arc<RuntimeEnv> {
        &self.runtime
    }

    /// Registers somebody who holds rows of a statement under way.
    pub(crate) fn stage(&self, who: &'static str) -> MemoryReservation {
        MemoryConsumer::new(who).register(&self.staging)
    }

    /// Registers somebody who holds what a query gave and cannot put it elsewhere.
    pub(crate) fn query(&self, who: &'static str) -> MemoryReservation {
        MemoryConsumer::new(who).register(&self.runtime.memory_pool)
    }

    /// Bytes that all statements under way may hold together.
    pub(crate) fn staging_max(&self) -> usize {
        self.staging_max
    }

    /// What is held now.
    #[must_use]
    pub fn used(&self) -> QueryMemory {
        let disk = &self.runtime.disk_manager;
        let files = disk.spilling_progress();
        QueryMemory {
            queries: self.runtime.memory_pool.reserved() as u64,
            staging: self.staging.reserved() as u64,
            spilled: files.current_bytes,
            spilled_max: disk.max_temp_directory_size(),
            files: files.active_files_count as u64,
        }
    }
}

/// A [`FairSpillPool`] with two more rules.
///
/// Those who can spill leave a quarter to those who cannot: a merge of what one sort has spilled would else find that
/// another sort has taken the rest. And it becomes half as large while the process holds more than it may: what nobody
/// reserves (rows between operators, copies while a hash table grows) is then given back by those who can.
#[derive(Debug)]
struct WatchedPool {
    inner: FairSpillPool,
    size: usize,
    /// How many can spill.
    spillers: AtomicUsize,
    process: Option<ProcessMemory>,
}

impl WatchedPool {
    /// What the process holds, if that is too much for queries to have `wanted` bytes.
    fn shortage(&self, wanted: usize) -> Option<u64> {
        let process = self.process.as_ref()?;
        if wanted <= self.size / 2 {
            return None;
        }
        let allocated = (process.allocated)();
        (allocated > process.bytes_max).then_some(allocated)
    }
}

impl fmt::Display for WatchedPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl MemoryPool for WatchedPool {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.spillers.fetch_add(usize::from(consumer.can_spill()), Ordering::Relaxed);
        self.inner.register(consumer);
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.spillers.fetch_sub(usize::from(consumer.can_spill()), Ordering::Relaxed);
        self.inner.unregister(consumer);
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.inner.grow(reservation, additional);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.inner.shrink(reservation, shrink);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        if additional > 0
            && let Some(resident) = self.shortage(self.inner.reserved().saturating_add(additional))
        {
            let most = self.process.as_ref().map_or(0, |process| process.bytes_max);
            return Err(DataFusionError::ResourcesExhausted(format!(
                "{} wanted {} more; the process holds {} of {}, and queries then have {}",
                reservation.consumer().name(),
                mib(additional as u64),
                mib(resident),
                mib(most),
                mib(self.size as u64 / 2),
            )));
        }
        if reservation.consumer().can_spill() {
            let share = self.size / 4 * 3 / self.spillers.load(Ordering::Relaxed).max(1);
            if reservation.size().saturating_add(additional) > share {
                return Err(DataFusionError::ResourcesExhausted(format!(
                    "{} wanted {} more, beyond its share of {}",
                    reservation.consumer().name(),
                    mib(additional as u64),
                    mib(share as u64),
                )));
            }
        }
        self.inner.try_grow(reservation, additional)
    }

    fn reserved(&self) -> usize {
        self.inner.reserved()
    }

    fn memory_limit(&self) -> MemoryLimit {
        self.inner.memory_limit()
    }
}

fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;

    #[test]
    fn those_who_can_spill_leave_something_to_those_who_cannot() {
        let settings = PlannerSettings { memory_bytes: 1000, ..PlannerSettings::default() };
        let memory = Memory::new(&settings).expect("the settings are fine");
        let spiller = |name: &str| MemoryConsumer::new(name).with_can_spill(true).register(&memory.runtime.memory_pool);
        let (a, b) = (spiller("a"), spiller("b"));
        a.try_grow(375).expect("its share");
        a.try_grow(1).expect_err("and no more");
        b.try_grow(375).expect("its share");
        let merge = memory.query("a merge");
        merge.try_grow(250).expect("what they have left");
        drop(b);
        a.try_grow(300).expect("alone it has more");
    }

    #[test]
    fn a_process_that_holds_too_much_gives_queries_half() {
        let resident = Arc::new(AtomicU64::new(10));
        let seen = Arc::clone(&resident);
        let process = ProcessMemory { allocated: Arc::new(move || seen.load(Ordering::Relaxed)), bytes_max: 100 };
        let settings = PlannerSettings { memory_bytes: 1000, process: Some(process), ..PlannerSettings::default() };
        let memory = Memory::new(&settings).expect("the settings are fine");
        let hold = memory.query("a test");
        hold.try_grow(500).expect("there is room");
        resident.store(101, Ordering::Relaxed);
        let error = hold.try_grow(1).expect_err("the process is too large").to_string();
        assert!(error.contains("a test wanted") && error.contains("the process holds"), "{error}");
        hold.shrink(100);
        hold.try_grow(100).expect("half is there");
        hold.try_grow(100).expect_err("and no more");
        resident.store(99, Ordering::Relaxed);
        hold.try_grow(500).expect("all of it is there again");
        hold.try_grow(1).expect_err("and no more");
        assert_eq!(memory.used().queries, 1000);
        drop(hold);
        assert_eq!(memory.used().queries, 0);
    }
}
