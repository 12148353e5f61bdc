//! How much all memtables of a dnode hold together, and who is told when that is too much.
//!
//! Each vnode notes what it holds ([`Share`]). Above half of the limit [`MemtableBudget::crowded`] wakes whoever flushes
//! the largest vnodes; well above the limit even what is agreed already waits ([`MemtableBudget::is_overfull`]). Before
//! that, whoever lets writers in has to hold them back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

/// The memory of all memtables of a dnode.
#[derive(Debug)]
pub struct MemtableBudget {
    limit: u64,
    held: AtomicU64,
    crowded: Notify,
}

impl MemtableBudget {
    pub(crate) fn new(limit: u64) -> Arc<Self> {
        Arc::new(Self { limit, held: AtomicU64::new(0), crowded: Notify::new() })
    }

    /// Bytes in all memtables, those that are on their way to disk too.
    #[must_use]
    pub fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    /// Most bytes that they should hold.
    #[must_use]
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// What they are flushed down to, largest first, once they hold more.
    #[must_use]
    pub fn mark(&self) -> u64 {
        self.limit / 2
    }

    /// Returns when they hold more than [`Self::mark`], or soon after they did.
    pub async fn crowded(&self) {
        self.crowded.notified().await;
    }

    /// Asks for the largest ones to be flushed.
    pub fn flush_largest(&self) {
        self.crowded.notify_one();
    }

    /// Whether entries that are agreed already have to wait: more than a quarter above the limit.
    pub(crate) fn is_overfull(&self) -> bool {
        self.held() > self.limit.saturating_add(self.limit / 4)
    }
}

/// What one vnode holds of the budget; gives it back when the vnode goes.
#[derive(Debug)]
pub(crate) struct Share {
    budget: Arc<MemtableBudget>,
    bytes: AtomicU64,
}

impl Share {
    pub(crate) fn new(budget: &Arc<MemtableBudget>) -> Self {
        Self { budget: Arc::clone(budget), bytes: AtomicU64::new(0) }
    }

    /// Notes that the vnode now holds `bytes`. Callers must hold the lock of what they speak of.
    pub(crate) fn note(&self, bytes: usize) {
        let now = bytes as u64;
        let before = self.bytes.swap(now, Ordering::Relaxed);
        if now >= before {
            let held = self.budget.held.fetch_add(now - before, Ordering::Relaxed) + (now - before);
            if now > before && held > self.budget.mark() {
                self.budget.flush_largest();
            }
        } else {
            self.budget.held.fetch_sub(before - now, Ordering::Relaxed);
        }
    }

    pub(crate) fn budget(&self) -> &MemtableBudget {
        &self.budget
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.note(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn shares_add_up_and_are_given_back() {
        let budget = MemtableBudget::new(1000);
        let (a, b) = (Share::new(&budget), Share::new(&budget));
        a.note(300);
        b.note(150);
        a.note(200);
        assert_eq!((budget.held(), budget.is_overfull()), (350, false));
        b.note(400);
        // Both the crossing and what was told before it are one wake-up.
        budget.crowded().await;
        b.note(1051);
        assert!(budget.is_overfull());
        drop(b);
        assert_eq!((budget.held(), budget.is_overfull()), (200, false));
        drop(a);
        assert_eq!(budget.held(), 0);
    }
}
