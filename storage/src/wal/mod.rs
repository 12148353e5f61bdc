//! The log of a dnode: one [`Wal`] for all vgroups and the mnode group.
//!
//! One writer takes what all groups have queued, writes it with one write, and syncs once where anything of it asks
//! for that. A group sees its own log only, through a [`GroupLog`].

mod types;

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use model::VgroupId;
use model::options::FsyncPolicy;

pub use types::{Done, GroupRecovery, GroupState, Position, RECORD_PAYLOAD_BYTES_MAX, Record, Recovery, WalSettings};

use crate::files::LogFiles;
use crate::halt::Halt;

/// The log of a dnode. Cheap to clone; the log is closed in haste when the last clone goes (see [`Wal::close`]).
#[derive(Clone, Debug)]
pub struct Wal(());

/// The log of one group. Cheap to clone.
#[derive(Clone, Debug)]
pub struct GroupLog(());

impl Wal {
    /// Reads what is there, starts a new segment and starts the writer thread.
    pub fn open(_files: Arc<dyn LogFiles>, _settings: WalSettings) -> Result<(Self, Recovery), Halt> {
        unimplemented!()
    }

    /// The log of one group, empty if nothing was ever written to it.
    ///
    /// # Errors
    ///
    /// [`Halt::Corrupt`] if the start found it damaged; [`Wal::drop_group`] makes room for a new one.
    pub fn group(&self, _id: VgroupId) -> Result<GroupLog, Halt> {
        unimplemented!()
    }

    /// Forgets everything of one group; `done` when that is durable. Its [`GroupLog`]s are closed.
    pub fn drop_group(&self, _id: VgroupId, _done: Done) {
        unimplemented!()
    }

    /// Groups of which the log holds something, also damaged ones.
    #[must_use]
    pub fn groups(&self) -> Vec<VgroupId> {
        unimplemented!()
    }

    /// Which groups keep old segments from being reused, and how many; the worst first. Flush these.
    #[must_use]
    pub fn pinning(&self) -> Vec<(VgroupId, u64)> {
        unimplemented!()
    }

    /// Returns when everything that was queued before is synced.
    pub async fn sync(&self) -> Result<(), Halt> {
        unimplemented!()
    }

    /// Writes and syncs what is queued, then stops. Later calls fail with [`Halt::Closed`].
    pub async fn close(&self) -> Result<(), Halt> {
        unimplemented!()
    }
}

impl GroupLog {
    /// What the log holds, including what is queued.
    #[must_use]
    pub fn state(&self) -> GroupState {
        unimplemented!()
    }

    /// Saves the vote; `done` when it is synced, whatever the policy of the group.
    pub fn save_vote(&self, _vote: Bytes, _done: Done) {
        unimplemented!()
    }

    /// Appends `records`. They can be read when this returns; `done` is called when `policy` lets them be acknowledged.
    ///
    /// Waits, without blocking the thread, while [`WalSettings::queue_bytes_max`] is used up. A call that is dropped
    /// while it waits appends nothing and drops `done`.
    ///
    /// # Panics
    ///
    /// If the first record does not follow the last one stored: the caller has lost the log.
    pub async fn append(&self, _records: Vec<Record>, _policy: FsyncPolicy, _done: Done) {
        unimplemented!()
    }

    /// Removes all entries after `index`; all there are with `None`.
    pub fn truncate_after(&self, _index: Option<u64>) -> Result<(), Halt> {
        unimplemented!()
    }

    /// Removes all entries up to and including `position`, which may lie beyond the last one.
    pub fn purge(&self, _position: Position) -> Result<(), Halt> {
        unimplemented!()
    }

    /// The entries of `range` that there are, in order; stops early when `bytes_max` of payload is reached, but gives at
    /// least one. May read the disk where the payload is no longer in memory.
    pub fn read(&self, _range: Range<u64>, _bytes_max: usize) -> Result<Vec<Record>, Halt> {
        unimplemented!()
    }

    /// The last entry that is synced (or purged).
    #[must_use]
    pub fn synced(&self) -> Option<Position> {
        unimplemented!()
    }

    /// The last entry that is written (or purged), synced or not.
    #[must_use]
    pub fn written(&self) -> Option<Position> {
        unimplemented!()
    }
}
