//! The door of the memtables: a write comes in when there is room for it under the dnode's budget, and waits until then.
//!
//! What was let in and is not in a memtable yet counts too, so that a thousand sessions at once cannot all pass by the
//! same free byte.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use model::{Result, error};
use storage::vnode::MemtableBudget;
use tokio::time::Instant;

/// Between two looks for room.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Counts what was let in.
#[derive(Debug, Default)]
pub(crate) struct Door {
    under_way: AtomicU64,
}

/// A write that was let in, until it is applied or given up.
#[derive(Debug)]
pub(crate) struct Admitted<'a> {
    door: &'a Door,
    bytes: u64,
}

impl Drop for Admitted<'_> {
    fn drop(&mut self) {
        self.door.under_way.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Door {
    /// Lets a write of `bytes` in once it fits. One that is larger than everything waits until it is alone and the
    /// memtables are half empty.
    ///
    /// # Errors
    ///
    /// 53200 at `deadline`.
    pub(crate) async fn enter(
        &self,
        memtables: &MemtableBudget,
        bytes: u64,
        deadline: Instant,
    ) -> Result<Admitted<'_>> {
        loop {
            if let Some(admitted) = self.try_enter(memtables, bytes) {
                return Ok(admitted);
            }
            memtables.flush_largest();
            if Instant::now() > deadline {
                return Err(error!(OutOfMemory, "the memtables of this dnode are full")
                    .with_detail("Rows arrive faster than they can be written to disk")
                    .with_hint("Write more slowly, or give the server more memory (setting memory)"));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    fn try_enter(&self, memtables: &MemtableBudget, bytes: u64) -> Option<Admitted<'_>> {
        let enter = |under_way: u64| {
            let held = memtables.held();
            let fits = held.saturating_add(under_way).saturating_add(bytes) <= memtables.limit();
            let alone = under_way == 0 && held <= memtables.mark();
            (fits || alone).then_some(under_way + bytes)
        };
        let entered = self.under_way.fetch_update(Ordering::Relaxed, Ordering::Relaxed, enter);
        // Made only then: one that is dropped gives its bytes back.
        entered.is_ok().then(|| Admitted { door: self, bytes })
    }
}

#[cfg(test)]
mod tests {
    use storage::vnode::{EnvOptions, StorageEnv};

    use super::*;

    #[tokio::test]
    async fn what_was_let_in_counts_until_it_is_written() {
        let options = EnvOptions { workers: 0, memtable_bytes_max: 100, ..EnvOptions::default() };
        let env = StorageEnv::new(&options).expect("environment");
        let (door, memtables) = (Door::default(), env.memtables());
        let soon = || Instant::now() + Duration::from_millis(1);
        let first = door.enter(memtables, 60, soon()).await.expect("it fits");
        let refused = door.enter(memtables, 60, soon()).await.expect_err("both do not fit");
        assert_eq!(refused.state(), model::SqlState::OutOfMemory);
        let second = door.enter(memtables, 40, soon()).await.expect("it fits");
        drop((first, second));
        let huge = door.enter(memtables, 1000, soon()).await.expect("alone");
        door.enter(memtables, 1, soon()).await.expect_err("not beside it");
        drop(huge);
        door.enter(memtables, 100, soon()).await.expect("all of it is free again");
    }
}
