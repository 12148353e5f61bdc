//! Looking up names and scanning vgroups.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::try_join_all;
use model::catalog::{Catalog, Database};
use model::scan::{RowStream, ScanRequest};
use model::schema::{ChildTable, Relation, Table};
use model::{DatabaseId, Error, Result, Suid, Value, VgroupId};
use tokio::time::Instant;

use super::{LOOK_AGAIN, Plane, database};
use crate::peers::{FoundTable, Request, Response};
use crate::raft::group::Lost;
use crate::vgroup::replica::NotWritten;

impl Plane {
    pub(super) async fn look_up(&self, id: DatabaseId, names: &[String]) -> Result<Vec<Option<Table>>> {
        let mut catalog = self.node.catalog();
        let own = database(&catalog, id)?;
        let mut answer = vec![None; names.len()];
        let mut open: BTreeMap<VgroupId, Vec<usize>> = BTreeMap::new();
        for (at, name) in names.iter().enumerate() {
            match own.relations.get(name) {
                Some(relation) => answer[at] = Some(Table::Relation(relation.clone())),
                None => open.entry(catalog.vgroup_of(own, name).id).or_default().push(at),
            }
        }
        let asked = open.into_iter().map(|(vgroup, places)| async move {
            let wanted: Vec<String> = places.iter().map(|at| names[*at].clone()).collect();
            let found = self.look_up_in(vgroup, wanted).await?;
            Ok::<_, Error>((vgroup, places, found))
        });
        for (vgroup, places, found) in try_join_all(asked).await? {
            for (at, found) in places.into_iter().zip(found) {
                let Some(found) = found else { continue };
                if relation(&catalog, id, found.suid).is_none() {
                    catalog = self.catch_up().await?;
                }
                answer[at] = relation(&catalog, id, found.suid).map(|parent| table(parent, &names[at], vgroup, found));
            }
        }
        Ok(answer)
    }

    /// What the leader of a vgroup knows of these names.
    pub(super) async fn look_up_in(&self, vgroup: VgroupId, names: Vec<String>) -> Result<Vec<Option<FoundTable>>> {
        let deadline = self.deadline();
        loop {
            if let Some(replica) = self.node.replica(vgroup) {
                if let Some(error) = replica.broken() {
                    return Err(error);
                }
                match replica.lookup(&names).await {
                    Ok(found) => return Ok(found),
                    Err(NotWritten::Refused(error)) => return Err(error),
                    Err(NotWritten::Lost(lost)) => self.not_here(vgroup, &lost, deadline).await?,
                }
                if replica.group.is_leader() || replica.group.leader().is_none() {
                    continue;
                }
            }
            let request = Request::Lookup { vgroup, names: names.clone() };
            return match self.ask(vgroup, &request, deadline).await? {
                Response::Found(found) => Ok(found),
                other => Err(Error::internal(format!("a lookup was answered {other:?}"))),
            };
        }
    }

    /// After a replica here could not answer: waits a little, or gives up.
    pub(super) async fn not_here(&self, vgroup: VgroupId, lost: &Lost, deadline: Instant) -> Result<()> {
        if let Lost::Stopped(why) = lost {
            self.running()?;
            return Err(self.no_leader(vgroup).with_detail(format!("The replica on this dnode has stopped: {why}")));
        }
        if Instant::now() > deadline {
            return Err(self.no_leader(vgroup));
        }
        if !matches!(lost, Lost::NotLeader(Some(leader)) if leader.dnode != self.node.dnode()) {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        Ok(())
    }

    pub(super) async fn scan_one(&self, vgroup: VgroupId, request: ScanRequest) -> Result<RowStream> {
        let deadline = self.deadline();
        for tried in 0.. {
            if let Some(replica) = self.node.replica(vgroup) {
                if let Some(error) = replica.broken() {
                    return Err(error);
                }
                match replica.scan(request.clone()).await {
                    Ok(stream) => return Ok(stream),
                    Err(NotWritten::Refused(error)) => return Err(error),
                    Err(NotWritten::Lost(lost)) => self.not_here(vgroup, &lost, deadline).await?,
                }
            }
            if let Some(member) = self.leader_of(vgroup, tried).filter(|member| member.dnode != self.node.dnode()) {
                let asked = self.node.world.network.scan(&member.endpoint, vgroup, request.clone());
                match self.while_leading(vgroup, &member, asked).await {
                    Ok(Ok(stream)) => return Ok(stream),
                    Ok(Err(error)) if !super::write::moves_on(&error) => return Err(error),
                    Ok(Err(_)) | Err(_) => {}
                }
            }
            if Instant::now() > deadline {
                break;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        Err(self.no_leader(vgroup))
    }

    /// The catalog as of now: a read barrier of the mnode group.
    pub(super) async fn catch_up(&self) -> Result<Arc<Catalog>> {
        let deadline = self.deadline();
        loop {
            match self.node.mnode().barrier().await {
                Ok(_) => return Ok(self.node.catalog()),
                Err(Lost::NotLeader(Some(leader))) if leader.dnode != self.node.dnode() => {
                    let request = Request::Barrier(VgroupId::MNODE);
                    let asked = self.node.world.network.call(&leader.endpoint, request);
                    if let Ok(Response::Index(index)) = self.while_leading(VgroupId::MNODE, &leader, asked).await {
                        let left = deadline.saturating_duration_since(Instant::now());
                        if self.node.mnode().applied(index, left).await {
                            return Ok(self.node.catalog());
                        }
                    }
                }
                Err(Lost::Stopped(why)) => {
                    self.running()?;
                    return Err(self.no_leader(VgroupId::MNODE).with_detail(why));
                }
                Err(_) => {}
            }
            if Instant::now() > deadline {
                return Err(self.no_leader(VgroupId::MNODE));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
}

fn relation(catalog: &Catalog, database: DatabaseId, suid: Suid) -> Option<&Arc<Relation>> {
    let database: &Arc<Database> = catalog.database_by_id(database)?;
    database.relations.values().find(|relation| relation.suid == suid)
}

/// A table that a vgroup knows: a child, or the one series of a relation, which then has been renamed meanwhile.
fn table(parent: &Arc<Relation>, name: &str, vgroup: VgroupId, found: FoundTable) -> Table {
    if parent.kind != model::schema::RelationKind::Super {
        return Table::Relation(parent.clone());
    }
    let value = |tag: &model::schema::Column| {
        let given = found.tags.iter().find(|(id, _)| *id == tag.id);
        given.map_or(Value::Null, |(_, value)| value.clone())
    };
    Table::Child(ChildTable {
        tags: parent.tags.iter().map(value).collect(),
        parent: parent.clone(),
        name: name.to_owned(),
        uid: found.uid,
        vgroup,
        created_ms: found.created_ms,
    })
}
