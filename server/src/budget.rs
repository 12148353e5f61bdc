//! The memory of the process: one setting, and who has which share of it. Said once, in [`SHARES`].
//!
//! Each room is given its share at the start and keeps to it in its own way: writers wait for memtables, caches forget,
//! queries spill or fail with 53200, COPY and its like write to temporary files. What is left over is for everything
//! that nobody counts: connections, plans, the catalog, blocks on their way, what the allocator holds back. The program's
//! own code comes on top.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use cluster::MemoryUse;
use sql::plan::QueryMemory;

use crate::config::Config;
use crate::size::{machine_memory, share, shown};

/// Hundredths of the budget without [`FIXED`].
struct Shares {
    /// Rows that are not on disk yet.
    memtables: u64,
    /// RocksDB's block cache, which its write buffers and indices are part of.
    block_cache: u64,
    /// Headers of blocks: where which rows are, and the statistics of columns.
    headers: u64,
    /// The newest entries of the log, and those that wait to be written.
    log: u64,
    /// Queries that run.
    queries: u64,
    /// Rows of statements that have not come to their end, and of open transactions.
    staging: u64,
}

/// Nine tenths are given out.
const SHARES: Shares = Shares { memtables: 25, block_cache: 15, headers: 5, log: 5, queries: 30, staging: 10 };

/// More of the log in memory helps nobody.
const LOG_MAX: u64 = 128 << 20;

/// What the process takes before its first row: heaps of threads, catalogs, tables of functions. At most half.
const FIXED: u64 = 96 << 20;

/// Less than this is of no use.
const LEAST: u64 = 128 << 20;

/// Bytes that each part may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Budget {
    pub(crate) total: u64,
    pub(crate) memtables: u64,
    pub(crate) block_cache: u64,
    pub(crate) headers: u64,
    pub(crate) log: u64,
    pub(crate) queries: u64,
    pub(crate) staging: u64,
}

impl Budget {
    /// The budget on this machine.
    ///
    /// # Errors
    ///
    /// A budget that nothing can work with, or that its parts exceed.
    pub(crate) fn here(config: &Config) -> Result<Self, String> {
        Self::of(config, machine_memory())
    }

    fn of(config: &Config, machine: u64) -> Result<Self, String> {
        let total = config.memory.bytes(machine, share(machine, 50));
        if total < LEAST {
            return Err(format!("memory is {}, it must be at least {}", shown(total), shown(LEAST)));
        }
        let divided = total - FIXED.min(total / 2);
        let part = |percent| share(divided, percent);
        let budget = Self {
            total,
            memtables: config.memtable_bytes.bytes(total, part(SHARES.memtables)),
            block_cache: config.cache_bytes.bytes(total, part(SHARES.block_cache)),
            headers: part(SHARES.headers),
            log: part(SHARES.log).min(LOG_MAX),
            queries: config.query_memory_bytes.bytes(total, part(SHARES.queries)),
            staging: part(SHARES.staging),
        };
        let given = budget.parts().iter().map(|(_, bytes)| *bytes).fold(0_u64, u64::saturating_add);
        if given > total {
            return Err(format!(
                "memtable_bytes, cache_bytes, query_memory_bytes and the rest come to {}, but memory is {}",
                shown(given),
                shown(total)
            ));
        }
        Ok(budget)
    }

    fn parts(&self) -> [(&'static str, u64); 6] {
        [
            ("memtables", self.memtables),
            ("block_cache", self.block_cache),
            ("headers", self.headers),
            ("log", self.log),
            ("queries", self.queries),
            ("staging", self.staging),
        ]
    }

    /// Tells what each part holds, and what it may.
    pub(crate) fn report(&self, stored: &MemoryUse, queries: &QueryMemory) {
        let held = [
            ("memtables", stored.memtables),
            ("block_cache", stored.block_cache),
            ("headers", stored.headers),
            ("log", stored.log),
            ("queries", queries.queries),
            ("staging", queries.staging),
        ];
        for (part, bytes) in held.into_iter().chain([("resident", Resident::all())]) {
            metrics::gauge!("marigraph_memory_bytes", "part" => part).set(bytes as f64);
        }
        for (part, bytes) in self.parts().into_iter().chain([("resident", self.total)]) {
            metrics::gauge!("marigraph_memory_limit_bytes", "part" => part).set(bytes as f64);
        }
        metrics::gauge!("marigraph_temp_bytes").set(queries.spilled as f64);
        metrics::gauge!("marigraph_temp_files").set(queries.files as f64);
        metrics::gauge!("marigraph_temp_limit_bytes").set(queries.spilled_max as f64);
    }
}

/// Milliseconds that a look at the process's memory is good for.
const LOOK_MS: u64 = 10;

/// What the kernel says that this process holds.
#[derive(Debug)]
pub(crate) struct Resident {
    began: Instant,
    /// Milliseconds from `began` to the last look, plus one.
    looked: AtomicU64,
    allocated: AtomicU64,
}

impl Resident {
    pub(crate) fn new() -> Self {
        Self { began: Instant::now(), looked: AtomicU64::new(0), allocated: AtomicU64::new(0) }
    }

    /// Bytes in memory that are no part of a file, such as the program's code, as of a few milliseconds ago at most. 0
    /// where the system does not tell.
    pub(crate) fn allocated(&self) -> u64 {
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1);
        let looked = self.looked.load(Ordering::Relaxed);
        let stale = looked == 0 || now.saturating_sub(looked) >= LOOK_MS;
        let mine = || self.looked.compare_exchange(looked, now, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if stale && mine() {
            self.allocated.store(Self::now("RssAnon:"), Ordering::Relaxed);
        }
        self.allocated.load(Ordering::Relaxed)
    }

    /// Bytes in memory, with the program's code.
    pub(crate) fn all() -> u64 {
        Self::now("VmRSS:")
    }

    fn now(what: &str) -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let line = status.lines().find(|line| line.starts_with(what));
        let kib = line.and_then(|line| line.split_whitespace().nth(1)).and_then(|kib| kib.parse::<u64>().ok());
        kib.unwrap_or(0) * 1024
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::size::Size;

    #[test]
    fn the_parts_stay_below_the_whole() {
        let machine = 8_u64 << 30;
        let budget = Budget::of(&Config::default(), machine).unwrap();
        assert_eq!(budget.total, 4 << 30);
        let given: u64 = budget.parts().iter().map(|(_, bytes)| bytes).sum();
        assert!(given <= budget.total * 9 / 10 && given > budget.total * 7 / 10, "{given}");
        let config = Config { memory: Size::Bytes(1 << 30), cache_bytes: Size::Percent(1), ..Config::default() };
        let small = Budget::of(&config, machine).unwrap();
        assert_eq!((small.total, small.block_cache), (1 << 30, share(1 << 30, 1)));
        let config = Config { memtable_bytes: Size::Bytes(4 << 30), ..Config::default() };
        assert!(Budget::of(&config, machine).unwrap_err().contains("memory is 4 GiB"));
        let config = Config { memory: Size::Bytes(1 << 20), ..Config::default() };
        assert_eq!(Budget::of(&config, machine).unwrap_err(), "memory is 1 MiB, it must be at least 128 MiB");
    }

    #[test]
    fn the_process_knows_what_it_holds() {
        let allocated = Resident::new().allocated();
        assert!(allocated > 64 << 10 && allocated <= 2 * Resident::all(), "{allocated}");
    }
}
