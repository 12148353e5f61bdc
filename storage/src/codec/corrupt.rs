//! How reading stored bytes fails.

use crate::halt::Halt;

/// Stored bytes are not what was written, or were written by a newer server. Never a user's mistake.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Corrupt {
    /// The bytes contradict themselves.
    #[error("{place} is damaged: {what}")]
    Damaged {
        /// Which part of which format.
        place: &'static str,
        /// What does not hold.
        what: &'static str,
    },
    /// A format version that this server does not know.
    #[error("{place} has format {found}, this server reads up to {known}")]
    Format {
        /// Which format.
        place: &'static str,
        /// The version in the bytes.
        found: u8,
        /// The newest version that this server reads.
        known: u8,
    },
    /// An encoding that this server does not know.
    #[error("{place} has encoding {found}, which this server does not know")]
    Encoding {
        /// Which kind of values.
        place: &'static str,
        /// The encoding in the bytes.
        found: u8,
    },
}

impl Corrupt {
    /// Bytes of `place` that contradict themselves.
    #[must_use]
    pub const fn damaged(place: &'static str, what: &'static str) -> Self {
        Self::Damaged { place, what }
    }

    /// Which part of which format was being read.
    #[must_use]
    pub const fn place(&self) -> &'static str {
        match self {
            Self::Damaged { place, .. } | Self::Format { place, .. } | Self::Encoding { place, .. } => place,
        }
    }

    /// What this means for the vnode that read `file`.
    #[must_use]
    pub fn halt(&self, file: impl std::fmt::Display) -> Halt {
        match self {
            Self::Format { place, found, known } if found > known => {
                Halt::newer(format!("{file}: {place}"), u32::from(*found), u32::from(*known))
            }
            _ => Halt::corrupt(format!("{file}: {self}")),
        }
    }
}
