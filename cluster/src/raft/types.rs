//! What openraft is told of our types, and how our answers survive the way between dnodes.

use bytes::Bytes;
use model::DnodeId;
use model::catalog::Defined;
use model::command::Applied;
use serde::{Deserialize, Serialize};
use storage::wal::Position;

use crate::peers::Refusal;

openraft::declare_raft_types!(
    /// Of every group: the mnode group and the vgroups differ in what their commands say.
    pub(crate) Types:
        D = Command,
        R = Answer,
        NodeId = u64,
        Node = Member,
);

pub(crate) type LogId = openraft::type_config::alias::LogIdOf<Types>;
pub(crate) type Entry = openraft::type_config::alias::EntryOf<Types>;
pub(crate) type Vote = openraft::type_config::alias::VoteOf<Types>;
pub(crate) type StoredMembership = openraft::type_config::alias::StoredMembershipOf<Types>;
pub(crate) type Payload = openraft::EntryPayload<Command, u64, Member>;
pub(crate) type Membership = openraft::Membership<u64, Member>;
pub(crate) type SnapshotMeta = openraft::type_config::alias::SnapshotMetaOf<Types>;

/// Where a replica is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Member {
    /// Its dnode.
    pub(crate) dnode: DnodeId,
    /// `host:port` of that dnode.
    pub(crate) endpoint: String,
}

/// What a log entry carries: for a vgroup a `storage::entry`, for the mnode group a `mnode::Proposal`. Already
/// encoded, so that it is encoded once and nothing between here and the disk looks inside.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Command(pub(crate) Bytes);

impl std::fmt::Debug for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Command({} bytes)", self.0.len())
    }
}

impl std::fmt::Display for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Debug::fmt(self, f)
    }
}

impl Serialize for Command {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Command {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Command;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Command, E> {
                Ok(Command(Bytes::copy_from_slice(bytes)))
            }

            fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Command, E> {
                Ok(Command(Bytes::from(bytes)))
            }
        }
        deserializer.deserialize_byte_buf(Visitor)
    }
}

/// What applying an entry answers to whoever proposed it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Answer {
    /// A blank entry or a change of membership.
    Nothing,
    /// An entry of a vgroup.
    Applied(Applied),
    /// An entry of the mnode group.
    Defined(Result<Defined, Refusal>),
}

/// A log id as the log and the vnodes keep it.
pub(crate) fn position(id: &LogId) -> Position {
    Position { term: id.leader_id.term, node: id.leader_id.node_id, index: id.index }
}

/// The way back.
pub(crate) fn log_id(position: Position) -> LogId {
    let leader = openraft::impls::leader_id_adv::LeaderId { term: position.term, node_id: position.node };
    openraft::LogId { leader_id: leader, index: position.index }
}

/// Encodes what only this room reads.
///
/// # Panics
///
/// Never for our types: postcard fails on maps of unknown length only.
pub(crate) fn encode<T: Serialize>(value: &T) -> Bytes {
    Bytes::from(postcard::to_stdvec(value).expect("our types have known lengths"))
}

/// Reads what [`encode`] wrote.
pub(crate) fn decode<T: for<'de> Deserialize<'de>>(bytes: &[u8]) -> std::io::Result<T> {
    postcard::from_bytes(bytes).map_err(|error| std::io::Error::new(std::io::ErrorKind::InvalidData, error))
}
