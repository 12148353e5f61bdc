//! How storage fails. There are two kinds of failure and they must never be confused: a rejection is part of the
//! replicated history, a [`Halt`] is this disk's private misfortune.

use std::io;
use std::sync::Arc;

/// This replica can no longer be trusted to follow its log. It stops; its peers go on.
///
/// Cheap to clone, because everything that shares a broken disk is told of the same failure.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Halt {
    /// The disk refused a read, a write or a sync. After a failed sync nothing unsynced may be assumed to be stored,
    /// so whatever was open must be reopened before it is used again; nothing is retried.
    #[error("the disk failed at {place}: {error}")]
    Disk {
        /// What was being done to which file, for the operator.
        place: String,
        /// What the operating system said.
        error: Arc<io::Error>,
    },
    /// Stored bytes are not what was written.
    #[error("stored data is damaged: {place}")]
    Corrupt {
        /// Which file, where, for the operator.
        place: String,
    },
    /// Written by a newer version of this program. Nothing was changed.
    #[error("{place} has format {found}, this program reads up to {known}: use a newer marigraph")]
    Newer {
        /// Which file.
        place: String,
        /// The format it says it has.
        found: u32,
        /// The newest format known here.
        known: u32,
    },
    /// The log was closed, or the group was dropped from it.
    #[error("the log is closed")]
    Closed,
}

impl Halt {
    /// The disk refused, while doing `place` (such as `sync 0000000000000007.wal`).
    pub fn disk(place: impl Into<String>, error: io::Error) -> Self {
        Self::Disk { place: place.into(), error: Arc::new(error) }
    }

    /// For `map_err`: makes a halt of what the operating system said while doing `place`.
    pub fn disk_at(place: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::disk(place, error)
    }

    /// Stored bytes are not what was written.
    pub fn corrupt(place: impl Into<String>) -> Self {
        Self::Corrupt { place: place.into() }
    }

    /// A format that only newer programs know.
    pub fn newer(place: impl Into<String>, found: u32, known: u32) -> Self {
        Self::Newer { place: place.into(), found, known }
    }
}

impl From<Halt> for io::Error {
    /// For callers whose own interface speaks `io::Error`, such as Raft's storage traits.
    fn from(halt: Halt) -> Self {
        let kind = match &halt {
            Halt::Disk { error, .. } => error.kind(),
            Halt::Corrupt { .. } | Halt::Newer { .. } => io::ErrorKind::InvalidData,
            Halt::Closed => io::ErrorKind::BrokenPipe,
        };
        Self::new(kind, halt)
    }
}
