//! What happens without being asked: memtables that are old, or too many, or keep the log from being reused are
//! flushed, as are drops and deletes after a while; the log is purged after each flush; buckets that KEEP has left behind go.
//! Merges are storage's own; it is only told that time passes.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use model::VgroupId;
use model::command::{Operation, Stamp};
use tokio::time::Instant;

use super::Node;
use crate::peers::Maintenance;
use crate::plane::share::{Part, Step};
use crate::vgroup::Replica;

/// Segments of the log that a vgroup may keep from being reused before it is flushed.
const PINNED_SEGMENTS_MAX: u64 = 16;

/// Entries of the mnode group's log between two files of the catalog.
const CATALOG_ENTRIES: u64 = 128;

/// After a drop or delete a vnode is flushed within this time, so that the space of the rows can be freed.
const DELETES_AGE: Duration = Duration::from_secs(10);

/// Between two looks for expired buckets.
const EXPIRY: Duration = Duration::from_secs(60);

/// Runs until the shutdown.
pub(super) async fn run(node: Arc<Node>) {
    let mut stop = node.stop.subscribe();
    let mut round = tokio::time::interval(Duration::from_millis(node.settings.background_ms));
    round.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut ages = BTreeMap::new();
    let mut expired = None;
    let mut compared = BTreeMap::new();
    let mut stored = node.catalog().index;
    loop {
        let crowded = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => return,
            _ = round.tick() => false,
            () = node.env.memtables().crowded() => true,
        };
        if !crowded && look_after(&node).await {
            continue;
        }
        let replicas: Vec<Arc<Replica>> = node.replicas.read().values().cloned().collect();
        flush_some(&node, &replicas, &mut ages).await;
        if crowded {
            // Writers may be waiting for no more than this.
            continue;
        }
        if expired.is_none_or(|expired: Instant| expired.elapsed() > EXPIRY) {
            expired = Some(Instant::now());
            for replica in &replicas {
                report("drop expired buckets", replica.id(), node.maintain(replica.id(), Maintenance::Trim).await);
            }
        }
        for replica in &replicas {
            drop_forgotten(&node, replica, &mut compared).await;
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

/// Opens halted vnodes again. Whether there were any, or the dnode as a whole cannot go on.
async fn look_after(node: &Arc<Node>) -> bool {
    let replicas: Vec<Arc<Replica>> = node.replicas.read().values().cloned().collect();
    let halted: Vec<Arc<Replica>> = replicas.into_iter().filter(|replica| !replica.group.running()).collect();
    if halted.is_empty() && node.mnode.running() {
        return false;
    }
    let failure = match node.wal.sync().await {
        Err(halt) => Some(format!("the log has failed: {halt}")),
        Ok(()) if !node.mnode.running() => Some("the replica of the mnode group has halted".to_owned()),
        Ok(()) => None,
    };
    if let Some(why) = failure {
        if node.failure.borrow().is_none() {
            tracing::error!(why, "this dnode cannot go on; start it again");
            node.failure.send_replace(Some(why));
        }
        return true;
    }
    for replica in halted {
        node.revive(&replica).await;
    }
    true
}

/// Drops the tables of relations that the catalog has dropped: a crash may have come between the two. Looks once in
/// each term and at each catalog, when all that older terms said is applied.
async fn drop_forgotten(node: &Arc<Node>, replica: &Replica, compared: &mut BTreeMap<VgroupId, (u64, u64)>) {
    let catalog = node.catalog();
    let Some(term) = replica.group.leading_term() else { return };
    if compared.get(&replica.id()) == Some(&(term, catalog.index)) || replica.ready().await.is_err() {
        return;
    }
    let Ok(vnode) = replica.shard.vnode() else { return };
    let Some(vgroup) = catalog.vgroups.get(&replica.id()) else { return };
    let gone = |suid: &model::Suid| *suid < catalog.next.suid && catalog.relation(*suid).is_none();
    let suids: Vec<model::Suid> = vnode.relations().into_iter().filter(gone).collect();
    drop(vnode);
    if suids.is_empty() {
        compared.insert(replica.id(), (term, catalog.index));
        return;
    }
    tracing::info!(vgroup = %replica.id(), ?suids, "dropping what is left of dropped tables");
    let operations = suids.into_iter().map(|suid| Operation::DropRelation { suid });
    let steps = operations.map(|operation| Step { operation, names: Vec::new() }).collect();
    let (writer, seq) = node.next_seq();
    let stamp = Stamp { hlc: 0, origin: 0, writer, seq };
    let part = Part { stamp, database: vgroup.database, epoch: vgroup.epoch, steps };
    match replica.propose(&part).await {
        Ok(pending) => {
            if let Err(lost) = pending.answer().await {
                tracing::warn!(vgroup = %replica.id(), ?lost, "dropped tables are still there");
            }
        }
        Err(error) => tracing::warn!(vgroup = %replica.id(), ?error, "dropped tables are still there"),
    }
}

/// Flushes what is old, what pins the log, and the largest ones while all together hold too much.
async fn flush_some(node: &Arc<Node>, replicas: &[Arc<Replica>], ages: &mut BTreeMap<VgroupId, Instant>) {
    let mut due: Vec<Arc<Replica>> = Vec::new();
    let limit = Duration::from_millis(node.settings.flush_interval_ms);
    let pinning: BTreeMap<VgroupId, u64> = node.wal.pinning().into_iter().collect();
    let mut sizes = Vec::new();
    let (mut total, mark) = (0, node.env.memtables().mark());
    for replica in replicas {
        let Ok(vnode) = replica.shard.vnode() else { continue };
        let (rows, bytes) = (vnode.memtable_rows(), vnode.memtable_bytes());
        total += bytes;
        sizes.push((bytes, replica));
        // Without rows there may still be created tables and blank entries that pin the log.
        let pins = pinning.get(&replica.id()).is_some_and(|segments| *segments > PINNED_SEGMENTS_MAX);
        let since = *ages.entry(replica.id()).or_insert_with(Instant::now);
        let deletes = vnode.holds_deletes();
        vnode.tend();
        if rows == 0 && !pins && !deletes {
            ages.insert(replica.id(), Instant::now());
        } else if pins || since.elapsed() > limit || (deletes && since.elapsed() > DELETES_AGE) {
            ages.insert(replica.id(), Instant::now());
            due.push(replica.clone());
        }
    }
    sizes.sort_unstable_by_key(|(bytes, _)| std::cmp::Reverse(*bytes));
    for (bytes, replica) in sizes {
        if total <= mark {
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
    let (weak, clock) = (Arc::downgrade(replica), node.world.clock.clone());
    replica.group.on_role_change(move || {
        let (weak, now) = (weak.clone(), clock.now_ms());
        async move {
            if let Some(replica) = weak.upgrade() {
                replica.group.role_changed(now);
            }
        }
    });
    tokio::spawn(follow_flushes(Arc::downgrade(replica)));
}

/// Until the replica is gone. A snapshot puts another vnode in place of the one that is watched.
async fn follow_flushes(replica: Weak<Replica>) {
    loop {
        let mut durable = {
            let Some(replica) = replica.upgrade() else { return };
            if !replica.group.running() {
                return;
            }
            replica.shard.vnode().ok().map(|vnode| vnode.watch_durable())
        };
        match &mut durable {
            Some(durable) => {
                while durable.changed().await.is_ok() {
                    let Some(replica) = replica.upgrade() else { return };
                    if replica.group.flushed().await.is_err() {
                        return;
                    }
                }
            }
            None => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}
