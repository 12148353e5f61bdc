//! COMPACT DATABASE on this dnode: which are under way, how far they are, and how they are ended.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use model::plane::CompactStatus;
use model::{DatabaseId, DnodeId, Result, TimeRange, VgroupId, error};
use parking_lot::Mutex;
use storage::vnode::Compaction;

use super::Node;

/// Numbers that one dnode gives out before they could be another one's.
const IDS_PER_DNODE: u64 = 1_000_000;

/// The COMPACTs that this dnode has a part in.
#[derive(Default)]
pub(crate) struct Compacts {
    given: AtomicU64,
    running: Mutex<BTreeMap<(u64, VgroupId), Running>>,
}

struct Running {
    database: DatabaseId,
    start_ms: i64,
    started: bool,
    compaction: Arc<Compaction>,
    /// Who wants it to be there.
    holds: usize,
}

/// Keeps a part of a COMPACT in the list. Without its last holder it ends: the session that waited has gone.
pub(crate) struct Hold<'a> {
    compacts: &'a Compacts,
    key: (u64, VgroupId),
    compaction: Arc<Compaction>,
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        let mut running = self.compacts.running.lock();
        let Some(own) = running.get_mut(&self.key) else { return };
        own.holds -= 1;
        if own.holds == 0 {
            running.remove(&self.key);
            self.compaction.stop();
        }
    }
}

impl Compacts {
    /// The number of the next COMPACT that this dnode is asked for.
    pub(crate) fn next_id(&self, dnode: DnodeId) -> u64 {
        let given = self.given.fetch_add(1, Ordering::Relaxed) % (IDS_PER_DNODE - 1) + 1;
        u64::from(dnode.0).saturating_sub(1) * IDS_PER_DNODE + given
    }

    /// Puts a part of a COMPACT into the list, or holds on to one that is there.
    ///
    /// # Errors
    ///
    /// 55006 while another one has the same vgroup.
    pub(crate) fn hold(
        &self,
        (id, vgroup): (u64, VgroupId),
        database: DatabaseId,
        range: TimeRange,
        start_ms: i64,
    ) -> Result<Hold<'_>> {
        let mut running = self.running.lock();
        if let Some((other, _)) = running.keys().find(|(other, of)| *of == vgroup && *other != id) {
            return Err(busy(*other));
        }
        let own = running.entry((id, vgroup)).or_insert_with(|| Running {
            database,
            start_ms,
            started: false,
            compaction: Arc::new(Compaction::new(range)),
            holds: 0,
        });
        own.holds += 1;
        Ok(Hold { compacts: self, key: (id, vgroup), compaction: Arc::clone(&own.compaction) })
    }

    /// Ends this dnode's parts of a COMPACT soon.
    pub(crate) fn kill(&self, id: u64) {
        self.stop(|(other, _)| *other == id);
    }

    /// Ends whatever compacts a vgroup.
    pub(crate) fn leave(&self, vgroup: VgroupId) {
        self.stop(|(_, of)| *of == vgroup);
    }

    /// Ends all of them soon: the dnode goes down.
    pub(crate) fn end(&self) {
        self.stop(|_| true);
    }

    fn stop(&self, which: impl Fn(&(u64, VgroupId)) -> bool) {
        let running = self.running.lock();
        running.iter().filter(|(key, _)| which(key)).for_each(|(_, own)| own.compaction.stop());
    }

    /// What SHOW COMPACTS shows of this dnode.
    pub(crate) fn status(&self, dnode: DnodeId) -> Vec<CompactStatus> {
        let running = self.running.lock();
        let status = |((id, vgroup), own): (&(u64, VgroupId), &Running)| {
            let progress = own.compaction.progress();
            CompactStatus {
                id: *id,
                database: own.database,
                dnode,
                vgroup: *vgroup,
                start_ms: own.start_ms,
                buckets: progress.buckets,
                finished: progress.finished,
                bytes: progress.bytes,
                done: progress.done,
                started: own.started,
            }
        };
        running.iter().map(status).collect()
    }
}

/// 55006: another COMPACT is under way.
pub(crate) fn busy(id: u64) -> model::Error {
    error!(ObjectInUse, "the database is being compacted already")
        .with_detail(format!("That is compact {id}"))
        .with_hint(format!("SHOW COMPACTS tells how far it is; KILL COMPACT {id} ends it"))
}

impl Node {
    /// COMPACT of one vnode of this dnode.
    pub(crate) async fn compact(&self, id: u64, vgroup: VgroupId, range: TimeRange) -> Result<()> {
        let catalog = self.catalog();
        let (Some(replica), Some(own)) = (self.replica(vgroup), catalog.vgroups.get(&vgroup)) else { return Ok(()) };
        let hold = self.compacts.hold((id, vgroup), own.database, range, self.world.clock.now_ms())?;
        if let Some(running) = self.compacts.running.lock().get_mut(&(id, vgroup)) {
            running.started = true;
        }
        let compaction = Arc::clone(&hold.compaction);
        let stopped = || error!(QueryCanceled, "compact {id} was ended").with_detail("What is merged stays merged");
        if compaction.is_stopped() {
            return Err(stopped());
        }
        let done = replica.compact(Arc::clone(&compaction)).await;
        if done.is_err() && compaction.is_stopped() { Err(stopped()) } else { done }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_compact_at_a_time_and_none_without_a_holder() {
        let compacts = Compacts::default();
        let (a, b) = (VgroupId(2), VgroupId(3));
        let first = compacts.next_id(DnodeId(1));
        let other = compacts.next_id(DnodeId(2));
        assert_eq!((first, other), (1, 1_000_002));
        let hold = |id, vgroup| compacts.hold((id, vgroup), DatabaseId(1), TimeRange::ALL, 5);
        let coordinator = hold(first, a).expect("free");
        let worker = hold(first, a).expect("the same");
        assert!(Arc::ptr_eq(&coordinator.compaction, &worker.compaction));
        let refused = hold(other, a).err().expect("busy");
        assert_eq!(refused.state(), model::SqlState::ObjectInUse);
        assert!(hold(other, b).is_ok());
        drop(worker);
        assert_eq!(compacts.status(DnodeId(1)).len(), 1);
        assert!(!coordinator.compaction.is_stopped());
        compacts.kill(first);
        assert!(coordinator.compaction.is_stopped());
        let compaction = Arc::clone(&hold(other, b).expect("free again").compaction);
        assert!(compaction.is_stopped());
        drop(coordinator);
        assert!(compacts.status(DnodeId(1)).is_empty());
    }
}
