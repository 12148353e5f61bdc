//! Time as rows carry it: signed ticks since the Unix epoch, UTC, in the database's precision.

use arrow::datatypes::TimeUnit;
use serde::{Deserialize, Serialize};

/// How long one tick is: the `PRECISION` of a database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Precision {
    /// `'ms'`.
    #[default]
    Milli,
    /// `'us'`.
    Micro,
    /// `'ns'`.
    Nano,
}

impl Precision {
    /// Ticks in one second.
    #[must_use]
    pub const fn ticks_per_second(self) -> i64 {
        match self {
            Self::Milli => 1_000,
            Self::Micro => 1_000_000,
            Self::Nano => 1_000_000_000,
        }
    }

    /// Nanoseconds in one tick.
    #[must_use]
    pub const fn nanos_per_tick(self) -> i64 {
        1_000_000_000 / self.ticks_per_second()
    }

    /// As written in SQL: `ms`, `us`, `ns`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Milli => "ms",
            Self::Micro => "us",
            Self::Nano => "ns",
        }
    }

    /// The unit of Arrow arrays that hold such ticks.
    #[must_use]
    pub const fn unit(self) -> TimeUnit {
        match self {
            Self::Milli => TimeUnit::Millisecond,
            Self::Micro => TimeUnit::Microsecond,
            Self::Nano => TimeUnit::Nanosecond,
        }
    }

    /// The largest timestamp that a row may carry: 2970-01-01, or 2262-01-01 in nanoseconds (TDengine's limits).
    #[must_use]
    pub const fn max_ticks(self) -> i64 {
        match self {
            Self::Milli => 31_556_995_200_000,
            Self::Micro => 31_556_995_200_000_000,
            Self::Nano => 9_214_646_400_000_000_000,
        }
    }
}

/// A closed range of ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TimeRange {
    /// The first tick inside.
    pub min: i64,
    /// The last tick inside.
    pub max: i64,
}

impl TimeRange {
    /// Every tick there is.
    pub const ALL: Self = Self { min: i64::MIN, max: i64::MAX };

    /// Whether no tick is inside.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.min > self.max
    }

    /// Whether `tick` is inside.
    #[must_use]
    pub const fn contains(self, tick: i64) -> bool {
        self.min <= tick && tick <= self.max
    }

    /// The ticks inside both.
    #[must_use]
    pub fn intersect(self, other: Self) -> Self {
        Self { min: self.min.max(other.min), max: self.max.min(other.max) }
    }

    /// Whether some tick is inside both.
    #[must_use]
    pub fn overlaps(self, other: Self) -> bool {
        !self.intersect(other).is_empty()
    }
}
