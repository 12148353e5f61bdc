//! The agreement: Raft groups for metadata and shards, and the [`model::DataPlane`] that a server gives to its sessions.
//!
//! Start reading at [`Node`]: one process of a cluster. It owns the shared log, the mnode group (the catalog is what
//! that group agrees on) and one Raft group per vnode; [`Node::plane`] is how everything above reaches them.

pub mod node;
pub mod settings;
pub mod world;

pub use node::{Node, StartError};
pub use settings::Settings;
pub use world::World;
