//! Keeps one dnode's data on one disk.
//!
//! A vnode is a deterministic function of its log: [`wal::Wal`] keeps the logs of all vgroups of the dnode, a vnode
//! keeps what its log says. Give two vnodes the same log and they answer the same rows.
//!
//! This room knows nothing of Raft, peers or SQL. It is told positions and commands, and answers what became of
//! them. How it fails is [`halt::Halt`]; how it reaches the disk is [`files::LogFiles`].
//!
//! Start reading at [`wal`] and [`vnode::Vnode`].

pub mod block;
pub mod codec;
pub mod entry;
pub mod files;
pub mod halt;
pub mod kv;
pub mod vnode;
pub mod wal;

pub use codec::Corrupt;
pub use halt::Halt;
