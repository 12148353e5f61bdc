//! What a vgroup's log says: one entry, already cut to the vgroup, with names turned into a table dictionary.
//!
//! Apply is a pure function of these: it reads no clock, no randomness and no settings. Encoding: `storage::entry`.

use arrow::array::ArrayRef;
use arrow::buffer::BooleanBuffer;
use serde::{Deserialize, Serialize};

use crate::id::{ColumnId, DatabaseId, Sid, Suid};
use crate::time::TimeRange;
use crate::types::{DataType, Value};

/// Who wrote an entry and when, stamped by the leader.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Stamp {
    /// Hybrid logical clock: milliseconds since the epoch << 16 | counter. Never goes back inside a vgroup.
    pub hlc: u64,
    /// The cluster that the entry was first written in, so that two active clusters agree later. 0 here.
    pub origin: u16,
    /// The gateway incarnation that asked.
    pub writer: u128,
    /// Its request number: (writer, seq) is applied once.
    pub seq: u64,
}

impl Stamp {
    /// Milliseconds since the epoch at the leader.
    #[must_use]
    pub const fn millis(self) -> i64 {
        (self.hlc >> 16) as i64
    }
}

/// One entry of a vgroup's log.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Who and when.
    pub stamp: Stamp,
    /// The database; a vnode refuses another one's entries.
    pub database: DatabaseId,
    /// The vgroup's hash range epoch; a vnode refuses an older one.
    pub epoch: u64,
    /// Applied in order, all or nothing.
    pub operations: Vec<Operation>,
}

/// One change of a vnode.
#[derive(Clone, Debug)]
pub enum Operation {
    /// Rows.
    Write(Chunk),
    /// Creates tables.
    CreateTables {
        /// Their relation.
        suid: Suid,
        /// Which, with a uid each.
        tables: Vec<Creation>,
        /// Pass over the ones that exist.
        if_not_exists: bool,
    },
    /// Drops tables by name; one that is not there is refused.
    DropTables {
        /// Their relation.
        suid: Suid,
        /// Which.
        names: Vec<String>,
    },
    /// Drops all tables of a relation and refuses late writes to it.
    DropRelation {
        /// Which.
        suid: Suid,
    },
    /// New tag values of a table.
    SetTags {
        /// The super table.
        suid: Suid,
        /// The child.
        name: String,
        /// Tag and value.
        values: Vec<(ColumnId, Value)>,
    },
    /// Deletes time ranges; `sids` were resolved by the leader. `counted` is how many rows existed.
    DeleteRange {
        /// The relation.
        suid: Suid,
        /// Which series; None is every series of the relation.
        sids: Option<Vec<Sid>>,
        /// Which keys.
        range: TimeRange,
        /// Rows that the leader found there.
        counted: u64,
    },
    /// Deletes single rows.
    DeleteKeys {
        /// The relation.
        suid: Suid,
        /// Series of each row.
        sids: Vec<Sid>,
        /// Key of each row.
        keys: Vec<i64>,
        /// Rows that the leader found there.
        counted: u64,
    },
}

/// A table to be created by apply.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Creation {
    /// Its name.
    pub name: String,
    /// Unique in the cluster: given out by the leader.
    pub uid: u64,
    /// Tags that are not NULL.
    pub tags: Vec<(ColumnId, Value)>,
}

/// A table that rows of a [`Chunk`] go to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Target {
    /// One that the leader knows.
    Existing {
        /// Its uid: another one under this sid is refused.
        uid: u64,
        /// Its sid.
        sid: Sid,
    },
    /// Creates it, unless a table of this name and relation exists by now: then rows go there.
    Create(Creation),
}

/// Rows of one relation, in columns.
#[derive(Clone, Debug)]
pub struct Chunk {
    /// The relation.
    pub suid: Suid,
    /// Its version at the session.
    pub version: u32,
    /// The dictionary of `ordinals`.
    pub targets: Vec<Target>,
    /// Target of each row; empty when there is one target.
    pub ordinals: Vec<u32>,
    /// Keys of the rows.
    pub keys: crate::write::Keys,
    /// Columns without the key.
    pub columns: Vec<ChunkColumn>,
}

/// One column of a [`Chunk`].
#[derive(Clone, Debug)]
pub struct ChunkColumn {
    /// Which.
    pub id: ColumnId,
    /// Its type at the session.
    pub data_type: DataType,
    /// Values; null is an explicit NULL.
    pub values: ArrayRef,
    /// Set where the row leaves the column as it was.
    pub absent: Option<BooleanBuffer>,
}

/// What applying an entry gave: part of the replicated history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Applied {
    /// Done.
    Done(crate::write::Effect),
    /// Merely wrong: nothing of the entry was done, on any replica.
    Rejected(Rejection),
}

/// Why an entry was rejected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rejection {
    /// The sid or relation was dropped, or belongs to another table now: look the name up again.
    Stale,
    /// The hash range or database is not this vgroup's: fetch the map again.
    WrongVgroup,
    /// A table of this name exists.
    TableExists(String),
    /// A table of this name exists in another relation.
    OtherRelation(String),
    /// No table of this name.
    NoTable(String),
    /// (writer, seq) is below the floor of the retry table: the outcome is not known any more.
    Forgotten,
}
