//! The waist: all that the language knows of the cluster, and all that the cluster offers the language.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::catalog::{Catalog, CatalogChange, Defined};
use crate::error::Result;
use crate::id::{DatabaseId, DnodeId, VgroupId};
use crate::scan::{RowStream, ScanRequest};
use crate::schema::Table;
use crate::time::TimeRange;
use crate::write::{Outcome, WriteBatch};

/// Metadata, rows and commands of a cluster, from the view of one dnode.
#[async_trait]
pub trait DataPlane: Send + Sync {
    /// The newest metadata that this dnode has applied. Cheap: a pointer.
    fn catalog(&self) -> Arc<Catalog>;

    /// What each name means in `database`: relations from the catalog, children from the vgroups that own the names.
    /// Reflects every create that was acknowledged before the call. None for a name that is nothing.
    ///
    /// # Errors
    ///
    /// `CannotConnectNow` while a vgroup has no leader.
    async fn lookup(&self, database: DatabaseId, names: &[String]) -> Result<Vec<Option<Table>>>;

    /// Waits until this dnode has applied everything that the mnode group had committed at the call, and gives that
    /// catalog. An unknown object costs one such barrier before it is an error.
    ///
    /// # Errors
    ///
    /// `CannotConnectNow` while the mnode group has no leader.
    async fn refresh(&self) -> Result<Arc<Catalog>>;

    /// Replicates one step of DDL and returns when this dnode's own catalog has reached it.
    ///
    /// # Errors
    ///
    /// Whatever the catalog refuses; `StatementCompletionUnknown` if nobody knows.
    async fn define(&self, change: CatalogChange) -> Result<Defined>;

    /// Writes. The outcome says per vgroup what became of its share.
    ///
    /// # Errors
    ///
    /// Only if nothing was proposed to any vgroup.
    async fn write(&self, batch: WriteBatch) -> Result<Outcome>;

    /// Reads one vgroup, reflecting every write that was acknowledged before the call.
    ///
    /// # Errors
    ///
    /// `CannotConnectNow` while the vgroup has no leader.
    async fn scan(&self, vgroup: VgroupId, request: ScanRequest) -> Result<RowStream>;

    /// Runs a command of operation.
    ///
    /// # Errors
    ///
    /// As the command says.
    async fn admin(&self, command: Command) -> Result<Reply>;
}

/// A command of operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// FLUSH DATABASE: every memtable to disk.
    Flush(DatabaseId),
    /// COMPACT DATABASE: merge runs, free the space of deleted rows. Answered when it is done.
    Compact {
        /// Which database.
        database: DatabaseId,
        /// Which times, in its ticks; rows without a time belong to the range of all times only.
        range: TimeRange,
    },
    /// KILL COMPACT: end the one of this number soon.
    KillCompact(u64),
    /// TRIM DATABASE: drop what is older than KEEP.
    Trim(DatabaseId),
    /// The state of vnodes, mnodes and dnodes.
    Status,
}

/// The answer to a [`Command`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Done.
    Done,
    /// To [`Command::Status`].
    Status(Status),
}

/// What the cluster looks like from this dnode.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Which dnode answers.
    pub dnode: DnodeId,
    /// Every vnode that it knows of.
    pub vnodes: Vec<VnodeStatus>,
    /// Every replica of the mnode group.
    pub mnodes: Vec<MnodeStatus>,
    /// Every dnode.
    pub dnodes: Vec<DnodeStatus>,
    /// Every vnode that is being compacted, or waits for it.
    pub compacts: Vec<CompactStatus>,
}

/// One vnode of a COMPACT DATABASE under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompactStatus {
    /// Which COMPACT.
    pub id: u64,
    /// Of which database.
    pub database: DatabaseId,
    /// Where the vnode is.
    pub dnode: DnodeId,
    /// Which vnode.
    pub vgroup: VgroupId,
    /// Milliseconds since the epoch of the start of the COMPACT.
    pub start_ms: i64,
    /// Buckets of time that have to be merged; 0 before it is this vnode's turn.
    pub buckets: u64,
    /// Buckets that are merged.
    pub finished: u64,
    /// Bytes that have to be read.
    pub bytes: u64,
    /// Bytes that were read.
    pub done: u64,
    /// Whether it is this vnode's turn, or was.
    pub started: bool,
}

/// One replica of a vgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VnodeStatus {
    /// Its dnode.
    pub dnode: DnodeId,
    /// Its vgroup.
    pub vgroup: VgroupId,
    /// leader, follower, candidate, unsynced, offline.
    pub role: String,
    /// Milliseconds since the epoch of the last change of role.
    pub role_ms: i64,
    /// Milliseconds since the epoch when it was opened.
    pub start_ms: i64,
    /// Whether it has applied all that was in its log at the start.
    pub restored: bool,
    /// Tables that it holds.
    pub tables: u64,
    /// Rows in memtables.
    pub memtable_rows: u64,
    /// Bytes on disk.
    pub disk_bytes: u64,
    /// Last applied log index.
    pub applied: u64,
}

/// One replica of the mnode group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MnodeStatus {
    /// Its dnode.
    pub dnode: DnodeId,
    /// leader, follower, candidate.
    pub role: String,
    /// ready, unsynced, offline.
    pub status: String,
    /// Milliseconds since the epoch of the last change of role.
    pub role_ms: i64,
}

/// One dnode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnodeStatus {
    /// Which.
    pub dnode: DnodeId,
    /// ready, offline.
    pub status: String,
    /// Milliseconds since the epoch of its start.
    pub reboot_ms: i64,
    /// Why it is offline.
    pub note: String,
}
