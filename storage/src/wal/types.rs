//! What callers of the log see: positions, records, settings, and what a start found.

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::Bytes;
use model::VgroupId;

use crate::halt::Halt;

/// The largest payload of one record. A Raft entry is at most 8 MiB; the rest is room for what wraps it.
pub const RECORD_PAYLOAD_BYTES_MAX: usize = 16 << 20;

/// Where a record stands in its group's log: which leader wrote it, and its index.
///
/// Ordered as Raft orders logs: by term, then node, then index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct Position {
    /// The term of the leader that wrote it.
    pub term: u64,
    /// The leader that wrote it.
    pub node: u64,
    /// Consecutive inside one group.
    pub index: u64,
}

impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "T{}-N{}-{}", self.term, self.node, self.index)
    }
}

/// One entry of a group's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Where it stands.
    pub position: Position,
    /// The caller's own tag; the log only keeps it.
    pub kind: u8,
    /// The caller's bytes: at most [`RECORD_PAYLOAD_BYTES_MAX`]. Kept in memory for a while, so it should not be a
    /// slice of something much larger.
    pub payload: Bytes,
}

/// What a group's log holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupState {
    /// The vote last saved.
    pub vote: Option<Bytes>,
    /// The last entry, or `purged` if there is none.
    pub last: Option<Position>,
    /// The last entry that was purged; with it all before.
    pub purged: Option<Position>,
}

/// Called exactly once, from the writer: when what it was given with may be acknowledged, or with why it never will.
/// Must not block.
pub type Done = Box<dyn FnOnce(Result<(), Halt>) + Send>;

/// How the log uses its disk and its memory. Plain data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalSettings {
    /// Bytes of a segment file. A larger one is made where a single record needs it.
    pub segment_bytes: u64,
    /// Free segment files that are kept for reuse; further ones are removed.
    pub pool_segments_max: usize,
    /// Bytes of payload waiting for the writer, of all groups. An append beyond it waits for room.
    pub queue_bytes_max: usize,
    /// Bytes of payload that stay in memory after they were written, of all groups: the newest ones.
    pub cache_bytes_max: usize,
    /// Bytes that one write to the disk takes at most, unless a single record is larger.
    pub batch_bytes_max: usize,
}

impl Default for WalSettings {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            pool_segments_max: 8,
            queue_bytes_max: 64 << 20,
            cache_bytes_max: 64 << 20,
            batch_bytes_max: 8 << 20,
        }
    }
}

impl WalSettings {
    /// With about so many bytes of memory, half for what waits and half for what stays. Never too few for one record.
    #[must_use]
    pub fn within(memory: u64) -> Self {
        let half = usize::try_from(memory / 2).unwrap_or(usize::MAX);
        Self { queue_bytes_max: half.max(RECORD_PAYLOAD_BYTES_MAX), cache_bytes_max: half, ..Self::default() }
    }
}

/// What a start found.
#[derive(Clone, Debug, Default)]
pub struct Recovery {
    /// Every group of which something was found.
    pub groups: BTreeMap<VgroupId, GroupRecovery>,
    /// Records that were read, of all groups.
    pub records: u64,
    /// Bytes that were read, of all segments.
    pub bytes: u64,
    /// The unsynced tail that was cut off because it is torn, if there was one: segment file and bytes in it.
    /// Normal after a power loss.
    pub torn: Option<(String, Range<u64>)>,
    /// Damage of which no group can be named: of a mark of the log's own, or of so much that any group may have lost
    /// something. Groups that cannot be shown to have lost nothing are damaged then.
    pub elsewhere: Vec<String>,
}

/// What a start found of one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupRecovery {
    /// Everything that was synced is there.
    Ok {
        /// The last entry, or the purged one.
        last: Option<Position>,
    },
    /// Something that was synced is not what was written. The group cannot be opened; it can be dropped, and rebuilt
    /// from its peers.
    Damaged {
        /// Where, for the operator.
        place: String,
    },
}
