//! Keeps the vnodes of this dnode as the catalog wants them: opens, initializes, and deletes.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use model::catalog::{Catalog, Database, Vgroup};
use model::options::FsyncPolicy;
use model::schema::Compression;
use model::{ColumnId, DatabaseId, Suid, VgroupId};
use storage::vnode::VnodeOptions;

use super::Node;
use crate::raft::group::{Group, Parts};
use crate::raft::inbox::Inbox;
use crate::raft::log_store::LogStore;
use crate::raft::types::Member;
use crate::suspect::Suspicion;
use crate::vgroup::{Machine, Replica, Shard};

/// How long a deleted vnode waits for scans of it to end.
const SCANS_WAIT: Duration = Duration::from_secs(60);

impl Node {
    /// Starts the tasks that run until the shutdown.
    pub(super) fn run(self: &Arc<Self>) {
        let mut tasks = self.tasks.lock();
        tasks.push(tokio::spawn(follow(self.clone())));
        tasks.push(tokio::spawn(super::background::run(self.clone())));
        tasks.push(tokio::spawn(super::members::run(self.clone())));
    }

    /// Compares the catalog with the vnodes that are open here, and makes them agree.
    pub(super) async fn reconcile(self: &Arc<Self>) {
        let _changing = self.changing.lock().await;
        let catalog = self.catalog();
        let open: Vec<Arc<Replica>> = self.replicas.read().values().cloned().collect();
        for replica in open {
            match catalog.vgroups.get(&replica.id()) {
                Some(vgroup) => self.follow_options(&catalog, vgroup, &replica),
                None => self.delete(&replica).await,
            }
        }
        let missing = catalog.vgroups.values().filter(|vgroup| !self.replicas.read().contains_key(&vgroup.id));
        let opening = missing.filter_map(|vgroup| {
            let own = vgroup.replicas.iter().find(|replica| replica.dnode == self.dnode())?;
            let database = catalog.database_by_id(vgroup.database)?;
            Some(self.open_or_note(&catalog, database, vgroup, own.id))
        });
        futures::future::join_all(opening.collect::<Vec<_>>()).await;
    }

    /// ALTER DATABASE may have changed when the log is synced.
    fn follow_options(&self, catalog: &Catalog, vgroup: &Vgroup, replica: &Replica) {
        if let Some(database) = catalog.database_by_id(vgroup.database) {
            let policy = database.options.fsync_policy();
            match self.boot.note(policy) {
                Ok(()) => replica.group.store.set_policy(policy),
                Err(error) => tracing::error!(vgroup = %vgroup.id, %error, "the WAL level stays as it was"),
            }
        }
    }

    async fn open_or_note(self: &Arc<Self>, catalog: &Catalog, database: &Database, vgroup: &Vgroup, replica: u64) {
        match self.open(catalog, database, vgroup, replica).await {
            Ok(opened) => {
                self.broken.lock().remove(&vgroup.id);
                self.replicas.write().insert(vgroup.id, opened.clone());
                // The catalog may have gone on since.
                if let Some(database) = self.catalog().database_by_id(vgroup.database) {
                    opened.shard.columns().set(column_options(database));
                }
                super::background::watch_flushes(self, &opened);
            }
            Err(error) => {
                let known = self.broken.lock().insert(vgroup.id, error.to_string());
                if known.is_none() {
                    tracing::error!(vgroup = %vgroup.id, database = database.name, %error, "a vnode cannot be opened");
                }
            }
        }
    }

    /// Opens the vnode and starts its Raft replica.
    async fn open(
        &self,
        catalog: &Catalog,
        database: &Database,
        vgroup: &Vgroup,
        replica: u64,
    ) -> io::Result<Arc<Replica>> {
        let directory = self.vnode_directory(vgroup.id);
        let policy = database.options.fsync_policy();
        let store = LogStore::open(&self.wal, vgroup.id, policy)?;
        if let Some(purged) = store.log().state().purged
            && !directory.exists()
        {
            let message = format!("{} is gone, and the log before {purged} is not kept", directory.display());
            return Err(io::Error::new(io::ErrorKind::NotFound, message));
        }
        let fresh = store.log().state().last.is_none();
        let options = vnode_options(&self.settings, database, vgroup);
        let (path, env) = (directory.clone(), self.env.clone());
        let opened = tokio::task::spawn_blocking(move || Shard::open(path, options, env)).await;
        let shard = opened.map_err(io::Error::other)??;
        let doubtful = self.boot.doubtful(vgroup.id, policy, store.log())?;
        let parts = Parts {
            id: vgroup.id,
            replica,
            store,
            machine: Machine::new(shard.clone()),
            network: self.world.network.clone(),
            suspicion: Suspicion::load(self.marks.clone(), replica, doubtful)?,
            inbox: Inbox::new(directory.with_extension("incoming"))?,
        };
        let group = Group::start(parts, &self.settings).await?;
        let members = vgroup.replicas.iter().filter_map(|replica| {
            let dnode = catalog.dnodes.get(&replica.dnode)?;
            Some((replica.id, Member { dnode: replica.dnode, endpoint: dnode.endpoint.clone() }))
        });
        group.initialize(members.collect::<BTreeMap<_, _>>()).await?;
        // Each replica makes the first entry itself, under its own id: the greatest id has the greatest log and wins.
        if fresh && !group.alone() && vgroup.replicas.iter().all(|other| other.id <= replica) {
            group.campaign_first();
        }
        Ok(Replica::new(group, shard, self.world.clock.clone(), self.uids.read().clone()))
    }

    /// Stops and deletes a vnode that the catalog has no more.
    async fn delete(&self, replica: &Replica) {
        let vgroup = replica.id();
        self.replicas.write().remove(&vgroup);
        self.compacts.leave(vgroup);
        if !close(replica).await {
            tracing::warn!(%vgroup, "scans of a dropped vnode do not end; its files go at the next start");
            return;
        }
        if let Err(error) = self.erase(vgroup).await {
            tracing::warn!(%vgroup, %error, "the files of a dropped vnode go at the next start");
        }
    }

    /// Closes a replica that has halted and opens it again, as after a start: it recovers from its log.
    pub(super) async fn revive(self: &Arc<Self>, replica: &Arc<Replica>) {
        let changing = self.changing.lock().await;
        let vgroup = replica.id();
        let current = self.replica(vgroup);
        if current.is_none_or(|current| !Arc::ptr_eq(&current, replica)) {
            return;
        }
        tracing::warn!(%vgroup, "a vnode has halted and is opened again");
        self.replicas.write().remove(&vgroup);
        self.broken.lock().insert(vgroup, "it halted and is being opened again".to_owned());
        if !close(replica).await {
            tracing::warn!(%vgroup, "scans of a halted vnode do not end");
            self.replicas.write().insert(vgroup, replica.clone());
            return;
        }
        drop(changing);
        self.reconcile().await;
    }

    /// Removes the files and the log of a vnode that is not open.
    async fn erase(&self, vgroup: VgroupId) -> io::Result<()> {
        let directory = self.vnode_directory(vgroup);
        let removed = tokio::task::spawn_blocking(move || match std::fs::remove_dir_all(directory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        });
        removed.await.map_err(io::Error::other)??;
        let (done, dropped) = tokio::sync::oneshot::channel();
        self.wal.drop_group(vgroup, Box::new(move |result| drop(done.send(result))));
        Ok(dropped.await.map_err(io::Error::other)??)
    }

    /// Erases what a crash in the middle of a drop has left. Only with a catalog that is up to date.
    pub(super) async fn clear_leftovers(&self) -> Result<(), super::StartError> {
        let catalog = self.catalog();
        let directory = self.settings.data_dir.join("vnode");
        let failed = |source| super::StartError::Io { what: format!("clear {}", directory.display()), source };
        std::fs::create_dir_all(&directory).map_err(failed)?;
        let mut gone: Vec<VgroupId> = self.wal.groups();
        for entry in std::fs::read_dir(&directory).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            match name.parse::<u32>() {
                Ok(id) => gone.push(VgroupId(id)),
                // What a snapshot has left: `2.incoming`, `2.outgoing-…`.
                Err(_) if name.split_once('.').is_some_and(|(id, _)| id.parse::<u32>().is_ok()) => {
                    std::fs::remove_dir_all(&path).map_err(failed)?;
                }
                Err(_) => {}
            }
        }
        gone.retain(|id| *id != VgroupId::MNODE && !catalog.vgroups.contains_key(id));
        gone.sort_unstable();
        gone.dedup();
        for vgroup in gone {
            tracing::info!(%vgroup, "erasing what is left of a dropped vnode");
            self.erase(vgroup).await.map_err(failed)?;
        }
        Ok(())
    }

    fn vnode_directory(&self, vgroup: VgroupId) -> PathBuf {
        self.settings.data_dir.join("vnode").join(vgroup.0.to_string())
    }
}

/// Stops a replica and waits until nobody holds its vnode.
async fn close(replica: &Replica) -> bool {
    let vnode = replica.shard.vnode().ok().map(|vnode| Arc::downgrade(&vnode));
    replica.stop().await;
    let Some(vnode) = vnode else { return true };
    let closed = async {
        while vnode.strong_count() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(SCANS_WAIT, closed).await.is_ok()
}

/// How a vnode is set up: what the database asks for, under what the dnode allows.
fn vnode_options(settings: &crate::Settings, database: &Database, vgroup: &Vgroup) -> VnodeOptions {
    let options = &database.options;
    let limit = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
    let buffer = u64::from(options.buffer_mb) << 20;
    VnodeOptions {
        duration_ticks: options.duration_ticks(),
        hash_begin: vgroup.hash_begin,
        hash_end: vgroup.hash_end,
        maxrows: options.maxrows as usize,
        flush_rows_max: limit(settings.flush_rows),
        flush_bytes_max: limit(buffer.min(settings.memtable_bytes / 4)),
        merge_trigger: (options.stt_trigger as usize).max(2),
        comp: options.comp,
        ..VnodeOptions::new(vgroup.id, database.id, options.precision)
    }
}

/// `ENCODE`, `COMPRESS` and `LEVEL` of all columns of a database that have any.
fn column_options(database: &Database) -> BTreeMap<(Suid, ColumnId), Compression> {
    let columns = database.relations.values().flat_map(|of| of.columns.iter().map(|column| (of.suid, column)));
    let asks = columns.filter(|(_, column)| column.compression != Compression::default());
    asks.map(|(suid, column)| ((suid, column.id), column.compression.clone())).collect()
}

/// Follows the catalog until the shutdown.
async fn follow(node: Arc<Node>) {
    let mut catalog = node.catalog.watch();
    let mut stop = node.stop.subscribe();
    let mut vgroups = None;
    let mut seen: BTreeMap<DatabaseId, Arc<Database>> = BTreeMap::new();
    loop {
        let now: (Vec<VgroupId>, Vec<FsyncPolicy>) = {
            let catalog = catalog.borrow_and_update();
            let policies = catalog.databases.values().map(|database| database.options.fsync_policy());
            (catalog.vgroups.keys().copied().collect(), policies.collect())
        };
        if vgroups.as_ref() != Some(&now) {
            node.reconcile().await;
            vgroups = Some(now);
        }
        follow_columns(&node, &mut seen);
        tokio::select! {
            changed = catalog.changed() => if changed.is_err() { return },
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

/// Tells the vnodes of databases that have changed how their columns are to be encoded.
fn follow_columns(node: &Node, seen: &mut BTreeMap<DatabaseId, Arc<Database>>) {
    let catalog = node.catalog();
    for database in catalog.databases.values() {
        if seen.get(&database.id).is_some_and(|known| Arc::ptr_eq(known, database)) {
            continue;
        }
        let options = column_options(database);
        for replica in database.vgroups.iter().filter_map(|vgroup| node.replica(*vgroup)) {
            replica.shard.columns().set(options.clone());
        }
    }
    *seen = catalog.databases.values().map(|database| (database.id, Arc::clone(database))).collect();
}
