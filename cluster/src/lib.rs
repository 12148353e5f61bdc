//! The agreement: Raft groups for metadata and shards, and the [`model::DataPlane`] that sessions work on.
//!
//! Start reading at [`Node`]: one process of a cluster. It owns the shared log, the mnode group ([`catalog`] is what
//! that group agrees on) and one Raft group per vnode; [`Node::plane`] is how everything above reaches them.

pub mod catalog;
mod hlc;
pub mod identity;
mod mnode;
pub mod node;
pub mod peers;
mod plane;
mod raft;
pub mod settings;
mod suspect;
mod vgroup;
pub mod world;

pub use node::{MemoryUse, Node, StartError};
pub use settings::Settings;
pub use world::World;

#[cfg(test)]
mod tests;
