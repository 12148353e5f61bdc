//! Between the callers and the writer: what is queued, how much of it may be, and what both sides share.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use model::VgroupId;
use model::options::FsyncPolicy;
use parking_lot::{Condvar, Mutex};
use tokio::sync::{Notify, Semaphore};

use super::group::Group;
use super::segment::Segment;
use super::types::{Done, Position, Record, WalSettings};
use crate::halt::Halt;

/// One change of one group, or a wish of the log's owner.
pub(crate) enum Op {
    Append {
        group: Arc<Group>,
        /// Serial of the first record.
        serial: u64,
        records: Vec<Record>,
        policy: FsyncPolicy,
        /// Permits of [`Shared::room`] to give back.
        permits: u32,
        done: Done,
    },
    Vote {
        group: Arc<Group>,
        serial: u64,
        vote: bytes::Bytes,
        done: Done,
    },
    Purge {
        group: Arc<Group>,
        serial: u64,
        position: Position,
    },
    Truncate {
        group: Arc<Group>,
        serial: u64,
        index: Option<u64>,
    },
    Drop {
        group: Arc<Group>,
        serial: u64,
        done: Done,
    },
    /// Sync everything before.
    Sync {
        done: Done,
    },
    /// Stop after everything before; synced if there is someone to tell.
    Stop {
        done: Option<Done>,
    },
}

impl Op {
    /// Tells whoever waits for it that it failed.
    pub(crate) fn fail(self, halt: &Halt) {
        match self {
            Self::Append { done, .. }
            | Self::Vote { done, .. }
            | Self::Drop { done, .. }
            | Self::Sync { done }
            | Self::Stop { done: Some(done) } => done(Err(halt.clone())),
            Self::Purge { .. } | Self::Truncate { .. } | Self::Stop { done: None } => {}
        }
    }

    /// The group it belongs to, if it writes a record.
    pub(crate) fn group(&self) -> Option<VgroupId> {
        match self {
            Self::Append { group, .. }
            | Self::Vote { group, .. }
            | Self::Purge { group, .. }
            | Self::Truncate { group, .. }
            | Self::Drop { group, .. } => Some(group.id),
            Self::Sync { .. } | Self::Stop { .. } => None,
        }
    }
}

/// A serial's upper bits say in which run the group was made.
pub(crate) const RUN_SHIFT: u32 = 32;

#[derive(Default)]
struct Queue {
    ops: VecDeque<Op>,
    halted: Option<Halt>,
}

/// What callers and the writer share.
pub(crate) struct Shared {
    pub(crate) settings: WalSettings,
    queue: Mutex<Queue>,
    filled: Condvar,
    pub(crate) filled_async: Notify,
    /// One permit per byte that may be queued.
    pub(crate) room: Semaphore,
    pub(crate) groups: Mutex<BTreeMap<VgroupId, Arc<Group>>>,
    pub(crate) segments: Mutex<BTreeMap<u64, Arc<Segment>>>,
    /// What the serials of groups that are made in this run come after: more than any that an earlier run gave.
    serial_base: u64,
    /// The last serials of groups that were dropped in this run.
    pub(crate) dropped: Mutex<BTreeMap<VgroupId, u64>>,
    /// Bytes of payload in memory that are written already.
    pub(crate) cached: AtomicUsize,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Shared {
    /// `sequence` is that of the run's first segment.
    pub(crate) fn new(settings: WalSettings, sequence: u64) -> Self {
        let room = u32::try_from(settings.queue_bytes_max).unwrap_or(u32::MAX) as usize;
        Self {
            settings,
            queue: Mutex::default(),
            filled: Condvar::new(),
            filled_async: Notify::new(),
            room: Semaphore::new(room.min(Semaphore::MAX_PERMITS)),
            groups: Mutex::default(),
            segments: Mutex::default(),
            serial_base: sequence << RUN_SHIFT,
            dropped: Mutex::default(),
            cached: AtomicUsize::new(0),
        }
    }

    /// What the serials of a group that is made now come after.
    pub(crate) fn serial_before(&self, id: VgroupId) -> u64 {
        self.dropped.lock().get(&id).copied().unwrap_or_default().max(self.serial_base)
    }

    /// Permits that an append of so many bytes needs: never more than there are.
    pub(crate) fn permits(&self, bytes: usize) -> u32 {
        let most = u32::try_from(self.settings.queue_bytes_max).unwrap_or(u32::MAX);
        u32::try_from(bytes).unwrap_or(u32::MAX).min(most)
    }

    /// Bytes of payload in memory: those that wait and those that stay.
    pub(crate) fn memory(&self) -> usize {
        let room = u32::try_from(self.settings.queue_bytes_max).unwrap_or(u32::MAX) as usize;
        let waiting = room.min(Semaphore::MAX_PERMITS).saturating_sub(self.room.available_permits());
        waiting + self.cached.load(Ordering::Relaxed)
    }

    /// Queues `op` for the writer; gives it back, with the reason, if the log has halted.
    pub(crate) fn push(&self, op: Op) -> Result<(), (Op, Halt)> {
        {
            let mut queue = self.queue.lock();
            if let Some(halt) = &queue.halted {
                return Err((op, halt.clone()));
            }
            queue.ops.push_back(op);
        }
        self.filled.notify_one();
        self.filled_async.notify_one();
        Ok(())
    }

    /// Everything queued, without waiting.
    pub(crate) fn take(&self) -> VecDeque<Op> {
        std::mem::take(&mut self.queue.lock().ops)
    }

    /// Waits until something is queued or `until` has come.
    pub(crate) fn wait(&self, until: Option<Instant>) {
        let mut queue = self.queue.lock();
        while queue.ops.is_empty() {
            match until {
                None => self.filled.wait(&mut queue),
                Some(until) => {
                    if self.filled.wait_until(&mut queue, until).timed_out() {
                        return;
                    }
                }
            }
        }
    }

    /// From now on everything fails with `halt`; gives what was queued. The first reason stays.
    pub(crate) fn halt(&self, halt: Halt) -> VecDeque<Op> {
        let ops = {
            let mut queue = self.queue.lock();
            queue.halted.get_or_insert(halt);
            std::mem::take(&mut queue.ops)
        };
        self.room.close();
        ops
    }

    /// Why the log has halted, if it has.
    pub(crate) fn halted(&self) -> Option<Halt> {
        self.queue.lock().halted.clone()
    }
}
