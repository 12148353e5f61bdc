//! The data plane: how sessions of this dnode reach the whole cluster.
//!
//! `define.rs` is DDL, `write.rs` writes (cut by `share.rs`), `read.rs` looks up and scans. Each finds the leader of
//! the group in question, here or elsewhere, and asks again when the leadership has moved.

pub(crate) mod define;
mod read;
pub(crate) mod share;
mod write;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use model::catalog::{Catalog, CatalogChange, Database, Defined};
use model::plane::{Command, Reply};
use model::scan::{RowStream, ScanRequest};
use model::schema::Table;
use model::write::{Outcome, WriteBatch};
use model::{DataPlane, DatabaseId, Error, Result, VgroupId, error, fail};
use tokio::time::Instant;

use crate::node::Node;
use crate::node::compact::busy;
use crate::peers::{Maintenance, Request, Response, Unreachable};
use crate::raft::types::Member;

/// Between two looks for a leader.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Between two looks whether the dnode that was asked still leads.
const LOOK_AFTER_LEADER: Duration = Duration::from_millis(50);

/// The data plane of one dnode.
pub(crate) struct Plane {
    pub(crate) node: Arc<Node>,
}

impl Plane {
    /// When to give up waiting for a leader.
    fn deadline(&self) -> Instant {
        Instant::now() + Duration::from_millis(self.node.settings.leader_wait_ms)
    }

    /// Fails once the dnode is going down.
    fn running(&self) -> Result<()> {
        if self.node.stopping.load(Ordering::Acquire) {
            fail!(AdminShutdown, "the server is shutting down");
        }
        Ok(())
    }

    /// 57P03, saying who is missing.
    fn no_leader(&self, group: VgroupId) -> Error {
        let catalog = self.node.catalog();
        let dnodes: Vec<String> = match catalog.vgroups.get(&group) {
            Some(vgroup) => vgroup.replicas.iter().map(|replica| replica.dnode.0.to_string()).collect(),
            None => catalog.mnodes.keys().map(|dnode| dnode.0.to_string()).collect(),
        };
        let error = match self.node.broken(group) {
            Some(why) => {
                return error!(CannotConnectNow, "vgroup {} is not open on this dnode", group.0).with_detail(why);
            }
            None => |what: String| error!(CannotConnectNow, "{what} has no leader right now"),
        };
        let what = if group == VgroupId::MNODE { "the mnode group".to_owned() } else { format!("vgroup {}", group.0) };
        error(what)
            .with_detail(format!("Its replicas are on the dnodes {}", dnodes.join(", ")))
            .with_hint("Try again; if it stays, see SHOW DNODES for a dnode that is offline")
    }

    /// Where the leader of a vgroup is: its own replica's word, or that of the catalog's first replica elsewhere.
    fn leader_of(&self, vgroup: VgroupId, tried: usize) -> Option<Member> {
        if let Some(leader) = self.node.replica(vgroup).and_then(|replica| replica.group.leader()) {
            return Some(leader);
        }
        let catalog = self.node.catalog();
        let replicas = &catalog.vgroups.get(&vgroup)?.replicas;
        let dnode = replicas.get(tried % replicas.len().max(1))?.dnode;
        let endpoint = catalog.dnodes.get(&dnode)?.endpoint.clone();
        (dnode != self.node.dnode()).then_some(Member { dnode, endpoint })
    }

    /// Waits for an answer of `member`, but not longer than it leads the vgroup to the knowledge of the replica here: a
    /// leader that hangs is replaced long before its silence is noticed.
    async fn while_leading<T>(
        &self,
        vgroup: VgroupId,
        member: &Member,
        asked: impl Future<Output = std::result::Result<T, Unreachable>>,
    ) -> std::result::Result<T, Unreachable> {
        let replaced = async {
            loop {
                tokio::time::sleep(LOOK_AFTER_LEADER).await;
                let leader = match (vgroup, self.node.replica(vgroup)) {
                    (VgroupId::MNODE, _) => self.node.mnode().leader(),
                    (_, replica) => replica.and_then(|replica| replica.group.leader()),
                };
                if leader.is_some_and(|leader| leader.dnode != member.dnode) {
                    return;
                }
            }
        };
        tokio::select! {
            answer = asked => answer,
            () = replaced => {
                let why = "another dnode leads now".to_owned();
                Err(Unreachable { endpoint: member.endpoint.clone(), why, sent: true })
            }
        }
    }

    /// Asks the leader of a vgroup that is not here, until `deadline`. The answer is never `NotLeader`; an error says
    /// that nothing was asked of a leader. For requests that may be repeated.
    async fn ask(&self, vgroup: VgroupId, request: &Request, deadline: Instant) -> Result<Response> {
        for tried in 0.. {
            if let Some(member) = self.leader_of(vgroup, tried) {
                let asked = self.node.world.network.call(&member.endpoint, request.clone());
                match self.while_leading(vgroup, &member, asked).await {
                    Ok(Response::NotLeader(_)) | Err(_) => {}
                    Ok(Response::Failed(refusal)) => match Error::from(refusal) {
                        error if write::moves_on(&error) => {}
                        error => return Err(error),
                    },
                    Ok(response) => return Ok(response),
                }
            }
            if Instant::now() > deadline {
                break;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        Err(self.no_leader(vgroup))
    }

    async fn maintain(&self, id: DatabaseId, work: Maintenance) -> Result<Reply> {
        let catalog = self.node.catalog();
        let database = database(&catalog, id)?;
        for vgroup in &database.vgroups {
            for replica in &catalog.vgroups[vgroup].replicas {
                self.maintain_one(&catalog, *vgroup, replica.dnode, work).await?;
            }
        }
        Ok(Reply::Done)
    }

    /// COMPACT DATABASE, one vnode after the other. Dropping the future ends it.
    async fn compact(&self, id: DatabaseId, range: model::TimeRange) -> Result<Reply> {
        let catalog = self.node.catalog();
        let database = database(&catalog, id)?;
        let running = self.node.cluster_status().await.compacts;
        if let Some(other) = running.iter().find(|other| other.database == id) {
            return Err(busy(other.id));
        }
        let (own, now) = (self.node.dnode(), self.node.world.clock.now_ms());
        let number = self.node.compacts.next_id(own);
        let vnodes = || {
            let replicas = |vgroup: &VgroupId| catalog.vgroups[vgroup].replicas.clone();
            database.vgroups.iter().flat_map(move |vgroup| replicas(vgroup).into_iter().map(|of| (*vgroup, of.dnode)))
        };
        // In the list at once, though their turn comes later.
        let mut held = Vec::new();
        for (vgroup, _) in vnodes().filter(|(_, dnode)| *dnode == own) {
            held.push(self.node.compacts.hold((number, vgroup), id, range, now)?);
        }
        for (vgroup, dnode) in vnodes() {
            if dnode == own {
                self.node.compact(number, vgroup, range).await?;
            } else {
                self.maintain_there(&catalog, dnode, Request::Compact { id: number, vgroup, range }).await?;
            }
        }
        Ok(Reply::Done)
    }

    async fn kill_compact(&self, id: u64) -> Result<Reply> {
        let running = self.node.cluster_status().await.compacts;
        let dnodes: std::collections::BTreeSet<_> =
            running.iter().filter(|part| part.id == id).map(|part| part.dnode).collect();
        if dnodes.is_empty() {
            return Err(error!(UndefinedObject, "compact {id} does not exist")
                .with_hint("SHOW COMPACTS lists those that are under way"));
        }
        for dnode in dnodes {
            if dnode == self.node.dnode() {
                self.node.compacts.kill(id);
            } else {
                self.maintain_there(&self.node.catalog(), dnode, Request::KillCompact(id)).await?;
            }
        }
        Ok(Reply::Done)
    }

    async fn maintain_one(
        &self,
        catalog: &Catalog,
        vgroup: VgroupId,
        dnode: model::DnodeId,
        work: Maintenance,
    ) -> Result<()> {
        if dnode == self.node.dnode() {
            return self.node.maintain(vgroup, work).await;
        }
        self.maintain_there(catalog, dnode, Request::Maintain { vgroup, work }).await
    }

    /// Asks another dnode for something that it answers when it is done.
    async fn maintain_there(&self, catalog: &Catalog, dnode: model::DnodeId, request: Request) -> Result<()> {
        let Some(peer) = catalog.dnodes.get(&dnode) else { return Ok(()) };
        match self.node.world.network.call(&peer.endpoint, request).await {
            Ok(Response::Maintained) => Ok(()),
            Ok(Response::Failed(refusal)) => Err(refusal.into()),
            Ok(other) => Err(Error::internal(format!("{} answered {other:?}", peer.endpoint))),
            Err(unreachable) => Err(error!(CannotConnectNow, "dnode {}: {unreachable}", dnode.0)),
        }
    }
}

/// The database of this id, or 3D000.
fn database(catalog: &Catalog, id: DatabaseId) -> Result<&Arc<Database>> {
    catalog.database_by_id(id).ok_or_else(|| error!(InvalidCatalogName, "database {id} does not exist"))
}

#[async_trait]
impl DataPlane for Plane {
    fn catalog(&self) -> Arc<Catalog> {
        self.node.catalog()
    }

    async fn lookup(&self, database: DatabaseId, names: &[String]) -> Result<Vec<Option<Table>>> {
        self.running()?;
        self.look_up(database, names).await
    }

    async fn refresh(&self) -> Result<Arc<Catalog>> {
        self.running()?;
        self.catch_up().await
    }

    async fn define(&self, change: CatalogChange) -> Result<Defined> {
        self.running()?;
        self.define_all(change).await
    }

    async fn write(&self, batch: WriteBatch) -> Result<Outcome> {
        self.running()?;
        self.write_all(batch).await
    }

    async fn scan(&self, vgroup: VgroupId, request: ScanRequest) -> Result<RowStream> {
        self.running()?;
        self.scan_one(vgroup, request).await
    }

    async fn admin(&self, command: Command) -> Result<Reply> {
        self.running()?;
        match command {
            Command::Flush(database) => self.maintain(database, Maintenance::Flush).await,
            Command::Compact { database, range } => self.compact(database, range).await,
            Command::KillCompact(id) => self.kill_compact(id).await,
            Command::Trim(database) => self.maintain(database, Maintenance::Trim).await,
            Command::Status => Ok(Reply::Status(self.node.cluster_status().await)),
        }
    }
}
