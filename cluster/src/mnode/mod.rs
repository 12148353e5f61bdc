//! The metadata group: a Raft group whose state machine is the catalog.

mod file;
mod machine;

pub(crate) use file::CatalogFile;
pub(crate) use machine::{Machine, Proposal};
