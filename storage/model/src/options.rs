//! Database options: names, ranges and defaults are TDengine's, each said once.

use serde::{Deserialize, Serialize};

use crate::time::Precision;

/// When the write-ahead log is synced: the `WAL_LEVEL` and `WAL_FSYNC_PERIOD` of a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FsyncPolicy {
    /// `WAL_LEVEL 1`. Never synced by us. An acknowledged write survives the death of this process, not of the machine.
    Never,
    /// `WAL_LEVEL 2` with a period: the death of the machine loses at most the last `period_ms`.
    Every {
        /// Milliseconds between two syncs.
        period_ms: u32,
    },
    /// `WAL_LEVEL 2, WAL_FSYNC_PERIOD 0`. Synced before every acknowledgement.
    Always,
}

/// `CACHEMODEL`: which last values are kept in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum CacheModel {
    /// `'none'`.
    #[default]
    None,
    /// `'last_row'`.
    LastRow,
    /// `'last_value'`.
    LastValue,
    /// `'both'`.
    Both,
}

impl CacheModel {
    /// As written in SQL.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::LastRow => "last_row",
            Self::LastValue => "last_value",
            Self::Both => "both",
        }
    }
}

/// What CREATE DATABASE asked for. Durations in minutes, so that `DURATION 60m` is exact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseOptions {
    /// Number of shards.
    pub vgroups: u32,
    /// Replicas of each shard.
    pub replica: u8,
    /// Length of a tick.
    pub precision: Precision,
    /// Minutes that rows are kept: three tiers, of which the last one decides.
    pub keep_minutes: [u32; 3],
    /// Minutes of time in one bucket.
    pub duration_minutes: u32,
    /// MB of memtable per vnode: an upper hint under the one memory budget.
    pub buffer_mb: u32,
    /// Fewest rows in a block before it is merged with others.
    pub minrows: u32,
    /// Most rows in a block.
    pub maxrows: u32,
    /// Last values in memory.
    pub cachemodel: CacheModel,
    /// MB of last values per vnode.
    pub cachesize_mb: u32,
    /// 0 none, 1 light, 2 light and then a general codec.
    pub comp: u8,
    /// 1 or 2.
    pub wal_level: u8,
    /// Milliseconds; only used at level 2.
    pub wal_fsync_period_ms: u32,
    /// Seconds that applied log is kept; -1 for ever.
    pub wal_retention_period_s: i64,
    /// KB of applied log that are kept; 0 as the period says, -1 without bound.
    pub wal_retention_size_kb: i64,
    /// KB of a page of TDengine's metadata cache; accepted, without effect.
    pub pagesize_kb: u32,
    /// Pages of TDengine's metadata cache; accepted, without effect.
    pub pages: u32,
    /// Runs in a bucket before they are merged.
    pub stt_trigger: u32,
    /// Only one super table allowed.
    pub single_stable: bool,
    /// Free text.
    pub comment: Option<String>,
}

impl Default for DatabaseOptions {
    fn default() -> Self {
        Self {
            vgroups: 2,
            replica: 1,
            precision: Precision::Milli,
            keep_minutes: [3650 * 1440; 3],
            duration_minutes: 10 * 1440,
            buffer_mb: 256,
            minrows: 100,
            maxrows: 4096,
            cachemodel: CacheModel::None,
            cachesize_mb: 1,
            comp: 2,
            wal_level: 1,
            wal_fsync_period_ms: 3000,
            wal_retention_period_s: 3600,
            wal_retention_size_kb: 0,
            pagesize_kb: 4,
            pages: 256,
            stt_trigger: 4,
            single_stable: false,
            comment: None,
        }
    }
}

impl DatabaseOptions {
    /// When the log of this database's vgroups is synced.
    #[must_use]
    pub const fn fsync_policy(&self) -> FsyncPolicy {
        match (self.wal_level, self.wal_fsync_period_ms) {
            (2, 0) => FsyncPolicy::Always,
            (2, period_ms) => FsyncPolicy::Every { period_ms },
            _ => FsyncPolicy::Never,
        }
    }

    /// The oldest tick that is kept at `now_ms` (milliseconds since the epoch).
    #[must_use]
    pub fn keep_floor(&self, now_ms: i64) -> i64 {
        let floor_ms = now_ms.saturating_sub(i64::from(self.keep_minutes[2]) * 60_000);
        floor_ms.saturating_mul(self.precision.ticks_per_second() / 1000)
    }

    /// Ticks in one bucket.
    #[must_use]
    pub fn duration_ticks(&self) -> i64 {
        i64::from(self.duration_minutes) * 60 * self.precision.ticks_per_second()
    }
}
