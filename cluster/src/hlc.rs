//! Numbers that the leader of a vgroup gives out: stamps and table uids.

use std::sync::atomic::{AtomicU64, Ordering};

/// A hybrid logical clock: milliseconds since the epoch << 16 | counter. Never gives the same twice, never goes back.
#[derive(Debug, Default)]
pub(crate) struct Hlc(u64);

impl Hlc {
    /// The next stamp, at `now_ms` by the machine's clock; greater than `seen`, the greatest of earlier leaders.
    pub(crate) fn next(&mut self, now_ms: i64, seen: u64) -> u64 {
        let now = u64::try_from(now_ms).unwrap_or(0) << 16;
        self.0 = now.max(self.0 + 1).max(seen + 1);
        self.0
    }
}

/// Table uids that are unique in the cluster: the incarnation of this process, which the mnode gave out, and a count.
#[derive(Debug)]
pub(crate) struct Uids {
    incarnation: u64,
    count: AtomicU64,
}

/// Bits of a uid that count.
const COUNT_BITS: u32 = 36;

impl Uids {
    pub(crate) fn new(incarnation: u64) -> Self {
        Self { incarnation, count: AtomicU64::new(0) }
    }

    /// One that nobody has.
    ///
    /// # Panics
    ///
    /// After 2^36 uids of one process.
    pub(crate) fn next(&self) -> u64 {
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        assert!(count < 1 << COUNT_BITS, "a process gives out at most 2^36 table uids");
        self.incarnation << COUNT_BITS | count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_grow_whatever_the_clock_does() {
        let mut hlc = Hlc::default();
        let first = hlc.next(1_000, 0);
        assert_eq!(first, 1_000 << 16);
        assert_eq!(hlc.next(1_000, 0), first + 1);
        assert_eq!(hlc.next(5, 0), first + 2);
        assert_eq!(hlc.next(-5, first + 100), first + 101);
        assert_eq!(hlc.next(2_000, 0), 2_000 << 16);
    }

    #[test]
    fn uids_of_two_processes_differ() {
        let (one, two) = (Uids::new(1), Uids::new(2));
        assert!(one.next() < one.next());
        assert!(one.next() < two.next());
    }
}
