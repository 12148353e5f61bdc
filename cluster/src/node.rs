//! One dnode: opens or founds a data directory, runs its Raft groups, and stops them in order.
//!
//! `start.rs` is the start, `controller.rs` keeps the vnodes as the catalog wants them, `background.rs` flushes and
//! expires, `compact.rs` is COMPACT DATABASE, `room.rs` holds writers back, `service.rs` answers other dnodes.

mod background;
pub(crate) mod compact;
mod controller;
mod join;
mod members;
mod room;
mod service;
pub(crate) mod start;
mod status;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use model::catalog::{Catalog, CatalogChange, Defined};
use model::plane::Status;
use model::{DataPlane, DnodeId, Result, VgroupId};
use parking_lot::{Mutex, RwLock};
use storage::files::LogFiles;
use storage::vnode::StorageEnv;
use storage::wal::Wal;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::hlc::Uids;
use crate::identity::Identity;
use crate::peers::Maintenance;
use crate::plane::{Plane, define};
use crate::raft::group::{Group, Lost};
use crate::vgroup::Replica;
use crate::{Settings, World, mnode};

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
    /// The cluster does not take this dnode.
    #[error("{0}")]
    NotJoined(String),
}

/// How long a stop waits for others to lead what this dnode led.
const HAND_OVER_MAX: Duration = Duration::from_secs(1);

/// A running dnode.
pub struct Node {
    pub(crate) settings: Settings,
    pub(crate) world: World,
    pub(crate) stopping: AtomicBool,
    wal: Wal,
    env: Arc<StorageEnv>,
    boot: start::Boot,
    identity: RwLock<Identity>,
    marks: Arc<dyn LogFiles>,
    mnode: Arc<Group<mnode::Machine>>,
    catalog: mnode::Machine,
    replicas: RwLock<BTreeMap<VgroupId, Arc<Replica>>>,
    /// Why a vnode that should be here is not open.
    broken: Mutex<BTreeMap<VgroupId, String>>,
    /// The incarnation of this process, half of the key of exactly-once writes.
    writer: AtomicU64,
    seq: AtomicU64,
    door: room::Door,
    uids: RwLock<Arc<Uids>>,
    start_ms: i64,
    tasks: Mutex<Vec<JoinHandle<()>>>,
    stop: watch::Sender<bool>,
    /// Why this dnode cannot go on.
    failure: watch::Sender<Option<String>>,
    pub(crate) compacts: compact::Compacts,
    /// Held while vnodes are opened and closed.
    changing: tokio::sync::Mutex<()>,
    /// Keeps other processes out of the data directory.
    _lock: std::fs::File,
}

impl Node {
    /// Opens the data directory, or founds or joins a cluster with an empty one, and returns when the mnode group has a leader,
    /// the catalog is loaded and every vnode of this dnode is open.
    ///
    /// # Errors
    ///
    /// See [`StartError`].
    pub async fn start(world: World, settings: Settings) -> Result<Arc<Self>, StartError> {
        start::start(world, settings).await
    }

    /// The data plane, as sessions use it.
    #[must_use]
    pub fn plane(self: &Arc<Self>) -> Arc<dyn DataPlane> {
        Arc::new(Plane { node: self.clone() })
    }

    /// What the cluster looks like from here.
    pub async fn status(&self) -> Status {
        self.cluster_status().await
    }

    /// Returns when this dnode cannot go on: its log or its mnode replica has failed. Nothing acknowledged is lost; a
    /// new start recovers. Until then writes are refused.
    pub async fn failed(&self) -> String {
        let mut failure = self.failure.subscribe();
        let known = failure.wait_for(Option::is_some).await.map(|why| why.clone());
        known.ok().flatten().unwrap_or_else(|| "the dnode is gone".to_owned())
    }

    /// Stops: refuses new proposals, hands over what it leads, flushes every vnode, syncs the log and leaves the
    /// clean-shutdown marker. What is not flushed within `deadline` is replayed from the log at the next start; nothing acknowledged is lost.
    ///
    /// # Errors
    ///
    /// If the log cannot be synced.
    pub async fn shutdown(&self, deadline: Duration) -> std::io::Result<()> {
        if self.stopping.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        self.stop.send_replace(true);
        self.compacts.end();
        let deadline = Instant::now() + deadline;
        let replicas: Vec<Arc<Replica>> = self.replicas.read().values().cloned().collect();
        let led = replicas.iter().map(|replica| replica.group.hand_over(HAND_OVER_MAX));
        tokio::join!(futures::future::join_all(led), self.mnode.hand_over(HAND_OVER_MAX));
        let tasks: Vec<JoinHandle<()>> = std::mem::take(&mut *self.tasks.lock());
        for task in tasks {
            // Each ends at its next look at `stop`, after the flush that it may be in.
            if tokio::time::timeout_at(deadline, task).await.is_err() {
                tracing::warn!("background work goes on while the dnode stops");
            }
        }
        let replicas: Vec<Arc<Replica>> = self.replicas.read().values().cloned().collect();
        let flushes = replicas.iter().map(|replica| replica.maintain(Maintenance::Flush, 0));
        let clean = tokio::time::timeout_at(deadline, futures::future::join_all(flushes)).await;
        match &clean {
            Ok(flushed) => {
                for error in flushed.iter().filter_map(|result| result.as_ref().err()) {
                    tracing::warn!(%error, "a vnode was not flushed; its log is replayed at the next start");
                }
            }
            Err(_) => tracing::warn!("not every vnode was flushed in time; the log is replayed at the next start"),
        }
        if let Err(error) = self.mnode.flushed().await {
            tracing::warn!(%error, "the catalog was not written; its log is replayed at the next start");
        }
        for replica in &replicas {
            replica.stop().await;
        }
        self.mnode.stop().await;
        self.env.stop();
        let mut lasts: storage::files::boot::Lasts =
            replicas.iter().map(|replica| (replica.id(), replica.group.last())).collect();
        lasts.insert(VgroupId::MNODE, self.mnode.last());
        self.wal.sync().await?;
        self.wal.close().await?;
        self.boot.leave(&lasts)
    }

    /// Stops without a flush, a sync or a marker, as a process that dies.
    #[cfg(test)]
    pub(crate) async fn abandon(&self) {
        self.stopping.store(true, Ordering::Release);
        self.stop.send_replace(true);
        let tasks: Vec<JoinHandle<()>> = std::mem::take(&mut *self.tasks.lock());
        for task in tasks {
            task.await.expect("ends");
        }
        let replicas: Vec<Arc<Replica>> = self.replicas.read().values().cloned().collect();
        for replica in replicas {
            replica.stop().await;
        }
        self.mnode.stop().await;
        self.env.stop();
    }

    /// The newest catalog that is applied here.
    pub(crate) fn catalog(&self) -> Arc<Catalog> {
        self.catalog.catalog()
    }

    /// The replica of the mnode group on this dnode.
    pub(crate) fn mnode(&self) -> &Group<mnode::Machine> {
        &self.mnode
    }

    /// The replica of a vgroup on this dnode.
    pub(crate) fn replica(&self, vgroup: VgroupId) -> Option<Arc<Replica>> {
        self.replicas.read().get(&vgroup).cloned()
    }

    /// Why the replica of a vgroup on this dnode is not open.
    pub(crate) fn broken(&self, vgroup: VgroupId) -> Option<String> {
        self.broken.lock().get(&vgroup).cloned()
    }

    /// Who this dnode is; of cluster 0 before the cluster is founded.
    pub(crate) fn identity(&self) -> Identity {
        *self.identity.read()
    }

    /// Which dnode this is.
    pub(crate) fn dnode(&self) -> DnodeId {
        self.boot.dnode
    }

    /// The writer and its next number.
    pub(crate) fn next_seq(&self) -> (u128, u64) {
        let cluster = u128::from(self.catalog().cluster_id) << 64;
        let writer = cluster | u128::from(self.writer.load(Ordering::Acquire));
        (writer, self.seq.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// One step of DDL, if this dnode leads the mnode group: what it gave, and the index it stands at.
    pub(crate) async fn define(&self, change: CatalogChange) -> Result<(Result<Defined>, u64), Lost> {
        let proposed = self.mnode.propose(define::proposal(change, self.world.clock.now_ms())).await?;
        let (index, answer) = proposed.answer().await?;
        Ok((define::defined(answer), index))
    }

    /// FLUSH or TRIM of one vnode of this dnode.
    pub(crate) async fn maintain(&self, vgroup: VgroupId, work: Maintenance) -> Result<()> {
        let catalog = self.catalog();
        let (Some(replica), Some(own)) = (self.replica(vgroup), catalog.vgroups.get(&vgroup)) else { return Ok(()) };
        let Some(database) = catalog.database_by_id(own.database) else { return Ok(()) };
        replica.maintain(work, database.options.keep_floor(self.world.clock.now_ms())).await
    }

    /// What this dnode holds in memory.
    #[must_use]
    pub fn memory(&self) -> MemoryUse {
        MemoryUse {
            memtables: self.env.memtables().held(),
            block_cache: self.env.block_cache_bytes(),
            headers: self.env.header_bytes(),
            log: self.wal.memory_bytes(),
        }
    }

    /// Waits until the memtables have room for a write of `bytes` under the budget, which it has until it is dropped.
    ///
    /// # Errors
    ///
    /// 53200 at `deadline`.
    pub(crate) async fn room(&self, bytes: u64, deadline: Instant) -> Result<room::Admitted<'_>> {
        self.door.enter(self.env.memtables(), bytes, deadline).await
    }
}

/// Bytes that a dnode holds in memory, by what they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryUse {
    /// Rows that are not on disk yet.
    pub memtables: u64,
    /// The block cache, with RocksDB's write buffers and indices.
    pub block_cache: u64,
    /// Headers of blocks.
    pub headers: u64,
    /// Log entries.
    pub log: u64,
}
