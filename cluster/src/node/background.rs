//! What happens without being asked: memtables that are old, or too many, or keep the log from being reused are
//! flushed; the log is purged after each flush; buckets that KEEP has left behind are dropped. Merges are storage's own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use model::VgroupId;
use tokio::time::Instant;

use super::Node;
use crate::peers::Maintenance;
use crate::vgroup::Replica;

/// Segments of the log that a vgroup may keep from being reused before it is flushed.
const PINNED_SEGMENTS_MAX: u64 = 16;

/// Entries of the mnode group's log between two files of the catalog.
const CATALOG_ENTRIES: u64 = 128;

/// Between two looks for expired buckets.
const EXPIRY: Duration = Duration::from_secs(60);

/// Runs until the shutdown.
pub(super) async fn run(node: Arc<Node>) {
    let mut stop = node.stop.subscribe();
    let mut round = tokio::time::interval(Duration::from_millis(node.settings.background_ms));
    round.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut ages = BTreeMap::new();
    let mut expired = Instant::now();
    let mut stored = node.catalog().index;
    loop {
        tokio::select! {
            _ = round.tick() => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
        let replicas: Vec<Arc<Replica>> = node.replicas.read().values().cloned().collect();
        flush_some(&node, &replicas, &mut ages).await;
        if expired.elapsed() > EXPIRY {
            expired = Instant::now();
            for replica in &replicas {
                report("drop expired buckets", replica.id(), node.maintain(replica.id(), Maintenance::Trim).await);
            }
        }
        for replica in &replicas {
            if let Err(error) = replica.group.clear_suspicion(&node.world.network).await {
                tracing::warn!(vgroup = %replica.id(), %error, "a suspect replica cannot be cleared yet");
            }
        }
        let index = node.catalog().index;
        if index > stored + CATALOG_ENTRIES {
            stored = index;
            if let Err(error) = node.mnode.flushed().await {
                tracing::warn!(%error, "the catalog was not written");
            }
        }
    }
}

/// Flushes what is old, what pins the log, and the largest ones while all together hold too much.
async fn flush_some(node: &Arc<Node>, replicas: &[Arc<Replica>], ages: &mut BTreeMap<VgroupId, Instant>) {
    let mut due: Vec<Arc<Replica>> = Vec::new();
    let limit = Duration::from_millis(node.settings.flush_interval_ms);
    let pinning: BTreeMap<VgroupId, u64> = node.wal.pinning().into_iter().collect();
    let mut sizes = Vec::new();
    let mut total = 0;
    for replica in replicas {
        let Ok(vnode) = replica.shard.vnode() else { continue };
        let (rows, bytes) = (vnode.memtable_rows(), vnode.memtable_bytes());
        total += bytes;
        sizes.push((bytes, replica));
        // Without rows there may still be created tables and blank entries that pin the log.
        let pins = pinning.get(&replica.id()).is_some_and(|segments| *segments > PINNED_SEGMENTS_MAX);
        let since = *ages.entry(replica.id()).or_insert_with(Instant::now);
        if rows == 0 && !pins {
            ages.insert(replica.id(), Instant::now());
        } else if pins || since.elapsed() > limit {
            ages.insert(replica.id(), Instant::now());
            due.push(replica.clone());
        }
    }
    sizes.sort_unstable_by_key(|(bytes, _)| std::cmp::Reverse(*bytes));
    for (bytes, replica) in sizes {
        if total <= node.settings.memtable_bytes / 2 {
            break;
        }
        total -= bytes;
        due.push(replica.clone());
    }
    if pinning.get(&VgroupId::MNODE).is_some_and(|segments| *segments > PINNED_SEGMENTS_MAX)
        && let Err(error) = node.mnode.flushed().await
    {
        tracing::warn!(%error, "the catalog was not written");
    }
    for replica in due {
        report("flush", replica.id(), replica.maintain(Maintenance::Flush, 0).await);
    }
}

fn report(what: &str, vgroup: VgroupId, done: model::Result<()>) {
    if let Err(error) = done {
        tracing::error!(%vgroup, %error, "could not {what}");
    }
}

/// After each flush of a vnode, whoever asked for it, openraft is told, so that it purges the log.
pub(super) fn watch_flushes(node: &Arc<Node>, replica: &Arc<Replica>) {
    let Ok(vnode) = replica.shard.vnode() else { return };
    let mut durable = vnode.watch_durable();
    drop(vnode);
    let (replica, clock) = (Arc::downgrade(replica), node.world.clock.clone());
    if let Some(replica) = replica.upgrade() {
        let weak = Arc::downgrade(&replica);
        replica.group.on_role_change(move || {
            let (weak, now) = (weak.clone(), clock.now_ms());
            async move {
                if let Some(replica) = weak.upgrade() {
                    replica.group.role_changed(now);
                }
            }
        });
    }
    tokio::spawn(async move {
        while durable.changed().await.is_ok() {
            let Some(replica) = replica.upgrade() else { return };
            if let Err(error) = replica.group.flushed().await {
                tracing::debug!(vgroup = %replica.id(), %error, "a flushed vnode has stopped");
                return;
            }
        }
    });
}
