//! The one place that knows openraft: types, the log store over the shared log, the network over `peers`, and
//! [`group::Group`], which is all that the rest of the room sees of a Raft group.

pub(crate) mod group;
pub(crate) mod inbox;
pub(crate) mod log_store;
pub(crate) mod network;
pub(crate) mod types;

#[cfg(test)]
mod tests;
