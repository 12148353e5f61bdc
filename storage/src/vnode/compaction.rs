//! A COMPACT under way: what it has to do, how far it is, and whether it shall stop.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use model::TimeRange;

/// One COMPACT of one vnode, shared by who runs it, who watches it and who stops it.
#[derive(Debug)]
pub struct Compaction {
    range: TimeRange,
    stopped: AtomicBool,
    buckets: AtomicU64,
    finished: AtomicU64,
    bytes: AtomicU64,
    done: AtomicU64,
}

/// How far a [`Compaction`] is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Buckets that have to be merged.
    pub buckets: u64,
    /// Buckets that are merged.
    pub finished: u64,
    /// Bytes that have to be read.
    pub bytes: u64,
    /// Bytes that were read.
    pub done: u64,
}

impl Progress {
    /// Percent of the bytes that were read; 100 when there is nothing to do.
    #[must_use]
    pub fn percent(&self) -> u64 {
        (self.done.saturating_mul(100)).checked_div(self.bytes).map_or(100, |percent| percent.min(100))
    }
}

impl Compaction {
    /// Of the buckets that overlap `range`.
    #[must_use]
    pub fn new(range: TimeRange) -> Self {
        Self {
            range,
            stopped: AtomicBool::new(false),
            buckets: AtomicU64::new(0),
            finished: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            done: AtomicU64::new(0),
        }
    }

    /// Which times are compacted.
    #[must_use]
    pub const fn range(&self) -> TimeRange {
        self.range
    }

    /// Makes it stop soon. What is merged by then stays merged.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
    }

    /// Whether somebody stopped it.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// How far it is.
    #[must_use]
    pub fn progress(&self) -> Progress {
        let of = |number: &AtomicU64| number.load(Ordering::Relaxed);
        Progress {
            buckets: of(&self.buckets),
            finished: of(&self.finished),
            bytes: of(&self.bytes),
            done: of(&self.done),
        }
    }

    /// What there is to do.
    pub(super) fn plan(&self, buckets: u64, bytes: u64) {
        self.buckets.store(buckets, Ordering::Relaxed);
        self.bytes.store(bytes, Ordering::Relaxed);
    }

    /// Bytes were read.
    pub(super) fn read(&self, bytes: u64) {
        self.done.fetch_add(bytes, Ordering::Relaxed);
    }

    /// A bucket is merged; of its bytes `rest` needed not to be read.
    pub(super) fn finish(&self, rest: u64) {
        self.read(rest);
        self.finished.fetch_add(1, Ordering::Relaxed);
    }
}
