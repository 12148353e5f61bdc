//! One dnode: opens or founds a data directory, runs its Raft groups, and stops them in order.

use std::sync::Arc;
use std::time::Duration;

use model::DataPlane;
use model::plane::Status;

use crate::{Settings, World};

/// Why a dnode does not start. Every one is for the operator: exit code 2.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Another process holds the data directory.
    #[error("{0} is in use by another process")]
    InUse(String),
    /// The data directory was written by a newer version.
    #[error("{0}")]
    NewerFormat(String),
    /// A setting makes no sense.
    #[error("{0}")]
    Setting(String),
    /// Stored bytes fail their checksum.
    #[error("{0}")]
    Damaged(String),
    /// Reading or writing failed.
    #[error("{what}: {source}")]
    Io {
        /// What was tried, with the path.
        what: String,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The mnode group has found no leader in time.
    #[error("{0}")]
    NoLeader(String),
}

/// A running dnode.
pub struct Node {}

impl Node {
    /// Opens the data directory, or founds a cluster in an empty one, and returns when the mnode group has a leader,
    /// the catalog is loaded and every vnode of this dnode is open.
    ///
    /// # Errors
    ///
    /// See [`StartError`].
    pub async fn start(_world: World, _settings: Settings) -> Result<Arc<Self>, StartError> {
        Err(StartError::Setting("being written".to_owned()))
    }

    /// The data plane, as sessions use it.
    #[must_use]
    pub fn plane(&self) -> Arc<dyn DataPlane> {
        unimplemented!("being written")
    }

    /// What the cluster looks like from here.
    pub async fn status(&self) -> Status {
        Status::default()
    }

    /// Stops: refuses new proposals, flushes every vnode, syncs the log and leaves the clean-shutdown marker. What is
    /// not flushed by `deadline` is replayed from the log at the next start; nothing acknowledged is lost.
    ///
    /// # Errors
    ///
    /// If the log cannot be synced.
    pub async fn shutdown(&self, _deadline: Duration) -> std::io::Result<()> {
        Ok(())
    }
}
