//! Keeps vnodes and their log on one disk.
//!
//! A vnode is a deterministic function of its log: give two vnodes the same log and they answer the same rows. This
//! room knows nothing of Raft, peers or SQL.

pub mod block;
pub mod codec;
pub mod entry;

pub use codec::Corrupt;
