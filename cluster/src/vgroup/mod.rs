//! A vgroup's replica on this dnode: a Raft group whose state machine is a [`storage::vnode::Vnode`].
//!
//! [`Replica`] proposes and reads, [`resolve`] turns names into sids, [`Machine`] applies, [`Shard`] is the vnode and
//! how a snapshot takes its place.

mod machine;
pub(crate) mod replica;
mod resolve;
mod shard;

pub(crate) use machine::Machine;
pub(crate) use replica::Replica;
pub(crate) use shard::Shard;
