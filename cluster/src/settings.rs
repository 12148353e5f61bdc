//! What an operator may choose about a dnode. Plain data: where the values come from is the server's business.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The settings of one dnode. Every field has a default, so that an empty table is a valid configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Where everything is kept. One process at a time.
    pub data_dir: PathBuf,
    /// `host:port` under which other dnodes reach this one; it becomes part of the catalog when the cluster is founded.
    pub endpoint: String,
    /// `host:port` of a dnode of the cluster to join; empty, or this dnode's own: found one. Looked at once, with an empty
    /// data directory.
    pub first_ep: String,
    /// What a dnode must say to join, and what this one says. Empty: nothing.
    pub join_token: String,
    /// Whether dnodes may join that no CREATE DNODE has authorised.
    pub self_join: bool,
    /// Replicas of the mnode group that the cluster grows to as dnodes join: 1 or 3.
    pub num_of_mnodes: u32,
    /// Most vnodes that this dnode may carry.
    pub support_vnodes: u32,
    /// Milliseconds between two heartbeats of a leader.
    pub heartbeat_ms: u64,
    /// Least milliseconds without a heartbeat before an election.
    pub election_min_ms: u64,
    /// Most milliseconds without a heartbeat before an election.
    pub election_max_ms: u64,
    /// Rows in a vnode's memtable that make it flush.
    pub flush_rows: u64,
    /// Milliseconds after which a memtable that holds rows is flushed, so that the log can be reused.
    pub flush_interval_ms: u64,
    /// Bytes that all memtables of this dnode may hold; beyond it the largest is flushed, and writers wait.
    pub memtable_bytes: u64,
    /// Bytes of the block cache that all vnodes share.
    pub cache_bytes: u64,
    /// Bytes of block headers, of all vnodes, that stay in memory.
    pub header_bytes: u64,
    /// Bytes of log entries in memory, of all groups: half for those that wait to be written, half for the newest.
    pub log_bytes: u64,
    /// Threads that flush memtables.
    pub worker_threads: usize,
    /// Threads that merge runs, with low priority; the most merges at a time, COMPACT DATABASE included.
    pub merge_threads: usize,
    /// Bytes that all merges together read in a second while rows are ingested: a quarter of it during a flush, four
    /// times as much while nothing is ingested or runs pile up. 0 is no limit.
    pub merge_bytes_per_second: u64,
    /// Milliseconds that a write, a read or a definition waits for a leader before it fails with 57P03.
    pub leader_wait_ms: u64,
    /// Milliseconds between two rounds of background work: merges, and buckets that KEEP has left behind.
    pub background_ms: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("data"),
            endpoint: "127.0.0.1:6030".to_owned(),
            first_ep: String::new(),
            join_token: String::new(),
            self_join: true,
            num_of_mnodes: 3,
            support_vnodes: 1024,
            heartbeat_ms: 150,
            election_min_ms: 500,
            election_max_ms: 900,
            flush_rows: 3_000_000,
            flush_interval_ms: 600_000,
            memtable_bytes: 1 << 30,
            cache_bytes: 256 << 20,
            header_bytes: 256 << 20,
            log_bytes: 128 << 20,
            worker_threads: std::thread::available_parallelism().map_or(2, usize::from),
            merge_threads: std::thread::available_parallelism().map_or(1, |cores| cores.get().div_ceil(2)),
            merge_bytes_per_second: 64 << 20,
            leader_wait_ms: 10_000,
            background_ms: 1_000,
        }
    }
}
