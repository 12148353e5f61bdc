//! What a vnode tells of its flushes and merges: numbers for [`super::Vnode::written`], and metrics of its vgroup.

use std::sync::atomic::{AtomicU64, Ordering};

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use model::VgroupId;

/// What a vnode has written since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Bytes of rows that came to disk, as they were in memory.
    pub ingested_bytes: u64,
    /// Rows that came to disk.
    pub ingested_rows: u64,
    /// Bytes of runs that flushes wrote.
    pub flushed_bytes: u64,
    /// Bytes of runs that merges wrote.
    pub merged_bytes: u64,
    /// Rows that merges wrote.
    pub merged_rows: u64,
    /// Merges that are done.
    pub merges: u64,
    /// Merges under way: 0 or 1.
    pub merging: u64,
}

impl Written {
    /// Bytes that were written for one byte of rows: below 1 as long as compression saves more than merges cost.
    #[must_use]
    pub fn amplification(&self) -> f64 {
        ratio(self.flushed_bytes + self.merged_bytes, self.ingested_bytes)
    }

    /// How often a stored byte was written: 1 without merges.
    #[must_use]
    pub fn rewrites(&self) -> f64 {
        ratio(self.flushed_bytes + self.merged_bytes, self.flushed_bytes)
    }
}

fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// The counters of one vnode.
pub(super) struct Report {
    numbers: [AtomicU64; 7],
    ingested_bytes: Counter,
    flushes: Counter,
    flushed_rows: Counter,
    flushed_bytes: Counter,
    flush_seconds: Histogram,
    merges: Counter,
    merged_rows: Counter,
    merged_bytes: Counter,
    merge_seconds: Histogram,
    merging: Gauge,
    amplification: Gauge,
    rewrites: Gauge,
    runs: Gauge,
    fullest: Gauge,
}

impl Report {
    pub(super) fn new(vgroup: VgroupId) -> Self {
        let vgroup = vgroup.0.to_string();
        let of = |name: &'static str| counter!(name, "vgroup" => vgroup.clone());
        let level = |name: &'static str| gauge!(name, "vgroup" => vgroup.clone());
        Self {
            numbers: std::array::from_fn(|_| AtomicU64::new(0)),
            ingested_bytes: of("storage_ingested_bytes_total"),
            flushes: of("storage_flushes_total"),
            flushed_rows: of("storage_flushed_rows_total"),
            flushed_bytes: of("storage_flushed_bytes_total"),
            flush_seconds: histogram!("storage_flush_seconds"),
            merges: of("storage_merges_total"),
            merged_rows: of("storage_merged_rows_total"),
            merged_bytes: of("storage_merged_bytes_total"),
            merge_seconds: histogram!("storage_merge_seconds"),
            merging: level("storage_merges_running"),
            amplification: level("storage_write_amplification"),
            rewrites: level("storage_rewrites"),
            runs: level("storage_runs"),
            fullest: level("storage_bucket_runs_max"),
        }
    }

    fn add(&self, at: usize, count: u64) {
        self.numbers[at].fetch_add(count, Ordering::Relaxed);
    }

    pub(super) fn written(&self) -> Written {
        let of = |at: usize| self.numbers[at].load(Ordering::Relaxed);
        Written {
            ingested_bytes: of(0),
            ingested_rows: of(1),
            flushed_bytes: of(2),
            merged_bytes: of(3),
            merged_rows: of(4),
            merges: of(5),
            merging: of(6),
        }
    }

    pub(super) fn flushed(&self, memory: u64, rows: u64, bytes: u64, seconds: f64) {
        self.add(0, memory);
        self.add(1, rows);
        self.add(2, bytes);
        self.ingested_bytes.increment(memory);
        self.flushes.increment(1);
        self.flushed_rows.increment(rows);
        self.flushed_bytes.increment(bytes);
        self.flush_seconds.record(seconds);
        self.ratios();
    }

    pub(super) fn merge_begins(&self) {
        self.add(6, 1);
        self.merging.increment(1.0);
    }

    /// A merge ends that [`Report::merge_begins`] announced; None if it was broken off.
    pub(super) fn merge_ends(&self, made: Option<(u64, u64)>, seconds: f64) {
        self.numbers[6].fetch_sub(1, Ordering::Relaxed);
        self.merging.decrement(1.0);
        let Some((rows, bytes)) = made else { return };
        self.add(3, bytes);
        self.add(4, rows);
        self.add(5, 1);
        self.merges.increment(1);
        self.merged_rows.increment(rows);
        self.merged_bytes.increment(bytes);
        self.merge_seconds.record(seconds);
        self.ratios();
    }

    /// How many runs there are, and in the bucket with the most.
    pub(super) fn runs(&self, all: usize, fullest: usize) {
        self.runs.set(all as f64);
        self.fullest.set(fullest as f64);
    }

    fn ratios(&self) {
        let written = self.written();
        self.amplification.set(written.amplification());
        self.rewrites.set(written.rewrites());
    }
}
