//! The seam to other dnodes: what they are asked ([`Request`]), who asks ([`Network`]) and who answers ([`Service`]).
//!
//! Everything in a [`Request`] and a [`Response`] can be serialised; [`local::LocalNetwork`] serialises it too, so
//! that tests run over the same bytes as a wire would.

pub mod local;
mod refusal;
pub mod wire;

use std::sync::Weak;

use async_trait::async_trait;
use model::catalog::{CatalogChange, Defined};
use model::command::Applied;
use model::plane::{CompactStatus, Status, VnodeStatus};
use model::scan::{RowStream, ScanRequest};
use model::{DnodeId, Result, TimeRange, Value, VgroupId};
use serde::{Deserialize, Serialize};

use crate::identity::Identity;
pub use refusal::Refusal;

/// What one dnode asks of another.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Request {
    /// A message of the Raft group `group` to its replica `replica`; another replica there refuses it.
    Raft {
        /// Which group.
        group: VgroupId,
        /// Which replica.
        replica: u64,
        /// What.
        call: RaftCall,
    },
    /// To the leader of the mnode group: one step of DDL.
    Define(CatalogChange),
    /// To the leader of a group: which index must be applied before a read that starts now.
    Barrier(VgroupId),
    /// To the leader of a vgroup: what it knows of these names.
    Lookup {
        /// Which vgroup.
        vgroup: VgroupId,
        /// Which names.
        names: Vec<String>,
    },
    /// To the leader of a vgroup: one share of a write, as `plane::share` encodes it.
    Write {
        /// Which vgroup.
        vgroup: VgroupId,
        /// The share.
        share: Vec<u8>,
    },
    /// FLUSH or TRIM of one vnode of that dnode.
    Maintain {
        /// Which vgroup.
        vgroup: VgroupId,
        /// What.
        work: Maintenance,
    },
    /// COMPACT of one vnode of that dnode.
    Compact {
        /// The number of the COMPACT.
        id: u64,
        /// Which vgroup.
        vgroup: VgroupId,
        /// Which times.
        range: TimeRange,
    },
    /// KILL COMPACT: that dnode ends its part of it.
    KillCompact(u64),
    /// The state of that dnode.
    Status,
    /// To any dnode: a new one asks to belong to the cluster.
    Join {
        /// `host:port` under which it answers.
        endpoint: String,
        /// Most vnodes that it may carry.
        support_vnodes: u32,
        /// See [`Identity::uuid`].
        uuid: u128,
        /// What the operator gave both of them.
        token: String,
    },
}

/// A message between two replicas of a group, encoded as `raft::types` does.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum RaftCall {
    /// Append entries, or a heartbeat.
    Append(Vec<u8>),
    /// A vote is asked for.
    Vote(Vec<u8>),
    /// Whether a vote would be granted.
    PreVote(Vec<u8>),
    /// The leader hands over.
    Transfer(Vec<u8>),
    /// A piece of a file of a snapshot.
    SnapshotPart(SnapshotPart),
    /// All pieces were sent: install them.
    SnapshotInstall {
        /// Which transfer.
        transfer: u64,
        /// The leader's vote.
        vote: Vec<u8>,
        /// What the snapshot contains.
        meta: Vec<u8>,
    },
    /// The last log id of the leader, for a replica that does not know what it has lost.
    LastLogId,
}

/// A piece of a file of a snapshot.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SnapshotPart {
    /// Given out by the sender; parts of another transfer are forgotten.
    pub transfer: u64,
    /// Path inside the snapshot; no part of it is `..`.
    pub file: String,
    /// Where in the file.
    pub offset: u64,
    /// What is there.
    pub bytes: Vec<u8>,
    /// CRC-32C of `bytes`.
    pub checksum: u32,
}

/// Work on one vnode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Maintenance {
    /// Its memtable to disk.
    Flush,
    /// Drop what is older than KEEP.
    Trim,
}

/// The answer to a [`Request`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Response {
    /// To [`Request::Raft`]: the encoded answer.
    Raft(Vec<u8>),
    /// To [`Request::Define`]: what it gave, and the index of the log that it stands at.
    Defined(std::result::Result<(Defined, u64), Refusal>),
    /// To [`Request::Barrier`].
    Index(u64),
    /// To [`Request::Lookup`]: one per name.
    Found(Vec<Option<FoundTable>>),
    /// To [`Request::Write`].
    Written(Written),
    /// To [`Request::Maintain`], [`Request::Compact`] and [`Request::KillCompact`].
    Maintained,
    /// To [`Request::Status`].
    Status(PeerStatus),
    /// To [`Request::Join`]: who the new dnode is.
    Joined(Identity),
    /// This dnode does not lead that group; here is who does, if it knows.
    NotLeader(Option<String>),
    /// The request could not be served.
    Failed(Refusal),
}

/// What became of a share of a write.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Written {
    /// It stands in the log, and this is what applying it gave.
    Applied(Applied),
    /// It was not proposed.
    Refused(Refusal),
    /// It was proposed, and nobody there knows what became of it.
    Unknown(String),
}

/// A table as its vgroup knows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FoundTable {
    /// Its relation.
    pub suid: model::Suid,
    /// Unique in the cluster.
    pub uid: u64,
    /// Tags that are not NULL.
    pub tags: Vec<(model::ColumnId, Value)>,
    /// Milliseconds since the epoch.
    pub created_ms: i64,
}

/// What a dnode says of itself.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct PeerStatus {
    /// Its vnodes.
    pub vnodes: Vec<PeerVnode>,
    /// The role of its mnode replica and since when, if it has one.
    pub mnode: Option<(String, String, i64)>,
    /// When it was started.
    pub reboot_ms: i64,
    /// What it compacts.
    pub compacts: Vec<CompactStatus>,
}

/// What a dnode says of one vnode: the fields of [`model::plane::VnodeStatus`].
#[derive(Clone, Debug, Serialize, Deserialize)]
#[expect(missing_docs, reason = "said at VnodeStatus")]
pub struct PeerVnode {
    pub vgroup: VgroupId,
    pub role: String,
    pub role_ms: i64,
    pub start_ms: i64,
    pub restored: bool,
    pub tables: u64,
    pub memtable_rows: u64,
    pub disk_bytes: u64,
    pub applied: u64,
}

/// A dnode that cannot be reached, or went away before it answered.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{endpoint} cannot be reached: {why}")]
pub struct Unreachable {
    /// Who.
    pub endpoint: String,
    /// Why, for the log.
    pub why: String,
    /// The request may have reached it, so that nobody knows whether it had an effect.
    pub sent: bool,
}

/// The way to other dnodes.
#[async_trait]
pub trait Network: Send + Sync {
    /// Asks the dnode at `endpoint`.
    async fn call(&self, endpoint: &str, request: Request) -> std::result::Result<Response, Unreachable>;

    /// Scans a vgroup on the dnode at `endpoint`, which leads it. Dropping the stream stops the work there.
    async fn scan(
        &self,
        endpoint: &str,
        vgroup: VgroupId,
        request: ScanRequest,
    ) -> std::result::Result<Result<RowStream>, Unreachable>;

    /// From now on requests to `endpoint` go to `service`, until it is gone.
    fn serve(&self, endpoint: &str, service: Weak<dyn Service>);

    /// From now on every request says that `identity` asks.
    fn introduce(&self, identity: Identity);
}

/// Who answers other dnodes.
#[async_trait]
pub trait Service: Send + Sync {
    /// Answers a request of `caller`, or refuses a caller who does not belong here.
    async fn answer(&self, caller: &Identity, request: Request) -> Response;

    /// Scans a vgroup that this dnode leads, for `caller`.
    async fn scan(&self, caller: &Identity, vgroup: VgroupId, request: ScanRequest) -> Result<RowStream>;
}

/// Pieces of a file that travel in one message.
pub(crate) const PART_BYTES: usize = 1 << 20;

impl From<VnodeStatus> for PeerVnode {
    fn from(vnode: VnodeStatus) -> Self {
        Self {
            vgroup: vnode.vgroup,
            role: vnode.role,
            role_ms: vnode.role_ms,
            start_ms: vnode.start_ms,
            restored: vnode.restored,
            tables: vnode.tables,
            memtable_rows: vnode.memtable_rows,
            disk_bytes: vnode.disk_bytes,
            applied: vnode.applied,
        }
    }
}

impl From<PeerVnode> for VnodeStatus {
    /// Of an unknown dnode: whoever asked knows which.
    fn from(vnode: PeerVnode) -> Self {
        Self {
            dnode: DnodeId::default(),
            vgroup: vnode.vgroup,
            role: vnode.role,
            role_ms: vnode.role_ms,
            start_ms: vnode.start_ms,
            restored: vnode.restored,
            tables: vnode.tables,
            memtable_rows: vnode.memtable_rows,
            disk_bytes: vnode.disk_bytes,
            applied: vnode.applied,
        }
    }
}

impl From<Status> for PeerStatus {
    fn from(status: Status) -> Self {
        let mnode = status.mnodes.iter().find(|mnode| mnode.dnode == status.dnode);
        let reboot_ms = status.dnodes.iter().find(|own| own.dnode == status.dnode).map_or(0, |own| own.reboot_ms);
        Self {
            mnode: mnode.map(|mnode| (mnode.role.clone(), mnode.status.clone(), mnode.role_ms)),
            vnodes: status.vnodes.into_iter().map(PeerVnode::from).collect(),
            reboot_ms,
            compacts: status.compacts,
        }
    }
}
