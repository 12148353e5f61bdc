//! How fast merges may go: so many bytes a second for all vnodes of a dnode, fewer while flushes are under way, more while
//! nothing is ingested or runs pile up.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// What a merge may take at once after a pause.
const BURST: Duration = Duration::from_millis(50);

/// What else goes on, as far as a merge has to care.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Load {
    /// Flushes are under way or waiting for a thread.
    pub(crate) flushing: bool,
    /// No memtable was flushed for a while.
    pub(crate) idle: bool,
    /// Somebody waits for this very merge.
    pub(crate) awaited: bool,
    /// Runs in the fullest bucket, in percent of what it may have.
    pub(crate) crowded: usize,
}

/// The rate of all merges of a dnode.
pub(crate) struct Pace {
    /// Of blocks that are read to be merged; 0 is no limit.
    bytes_per_second: u64,
    /// When all that was granted so far has been merged, if merges keep to the rate.
    paid: Mutex<Option<Instant>>,
}

impl Pace {
    pub(crate) fn new(bytes_per_second: u64) -> Self {
        Self { bytes_per_second, paid: Mutex::new(None) }
    }

    /// Bytes a second under this load; None is no limit.
    fn rate(&self, load: Load) -> Option<u64> {
        // Late enough to be kind to writers, early enough that no flush ever has to wait for a merge.
        if self.bytes_per_second == 0 || load.awaited || load.crowded >= 75 {
            return None;
        }
        let rate = match load {
            Load { flushing: true, .. } => self.bytes_per_second / 4,
            Load { idle: true, .. } => self.bytes_per_second.saturating_mul(4),
            _ => self.bytes_per_second,
        };
        let hurry = if load.crowded >= 50 { 4 } else { 1 };
        Some(rate.saturating_mul(hurry).max(1))
    }

    /// Grants `bytes` and says how long to wait before they are merged.
    pub(crate) fn take(&self, bytes: u64, load: Load, now: Instant) -> Duration {
        let mut paid = self.paid.lock();
        let Some(rate) = self.rate(load) else {
            *paid = None;
            return Duration::ZERO;
        };
        let from = paid.map_or(now, |paid| paid.max(now));
        let until = from + Duration::from_secs_f64(bytes as f64 / rate as f64);
        *paid = Some(until);
        until.saturating_duration_since(now).saturating_sub(BURST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    /// Seconds that 100 MiB take, a block of 32 KiB at a time, on a clock that only waiting moves.
    fn seconds(pace: &Pace, load: Load) -> f64 {
        let start = Instant::now();
        let mut now = start;
        for _ in 0..100 * 32 {
            now += pace.take(32 << 10, load, now);
        }
        (now - start).as_secs_f64()
    }

    #[test]
    fn merges_yield_to_flushes_and_catch_up_when_nothing_is_ingested() {
        let of = |load: Load| seconds(&Pace::new(10 * MIB), load);
        let near = |seconds: f64, wanted: f64| (seconds - wanted).abs() < 0.2;
        assert!(near(of(Load::default()), 10.0), "{}", of(Load::default()));
        assert!(near(of(Load { flushing: true, ..Load::default() }), 40.0));
        assert!(near(of(Load { idle: true, ..Load::default() }), 2.5));
        assert!(near(of(Load { flushing: true, crowded: 50, ..Load::default() }), 10.0));
        assert!(near(of(Load { flushing: true, crowded: 75, ..Load::default() }), 0.0));
        assert!(near(of(Load { flushing: true, awaited: true, ..Load::default() }), 0.0));
        assert!(near(seconds(&Pace::new(0), Load::default()), 0.0));
    }

    #[test]
    fn vnodes_share_one_rate() {
        let pace = Pace::new(10 * MIB);
        let start = Instant::now();
        let first = pace.take(10 * MIB, Load::default(), start);
        let second = pace.take(10 * MIB, Load::default(), start);
        assert!(second >= first + Duration::from_millis(990), "{first:?}, {second:?}");
        // Whoever comes after a pause owes nothing.
        assert_eq!(pace.take(MIB / 4, Load::default(), start + Duration::from_secs(60)), Duration::ZERO);
    }
}
