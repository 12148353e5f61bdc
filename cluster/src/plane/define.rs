//! DDL: a step of the catalog, and what vgroups have to do with it.

use std::time::Duration;

use model::catalog::{CatalogChange, Defined};
use model::schema::RelationKind;
use model::write::{Change, NewTable, WriteBatch};
use model::{DatabaseId, Error, Result, Suid, VgroupId, error, fail};
use tokio::time::Instant;

use super::{LOOK_AGAIN, Plane, database};
use crate::mnode::Proposal;
use crate::peers::{Request, Response};
use crate::raft::group::Lost;
use crate::raft::types::{Answer, encode};

impl Plane {
    /// One step, with all that belongs to it: a database has leaders when this returns, a normal or plain table its
    /// one series, and what is dropped is gone from the vgroups.
    pub(super) async fn define_all(&self, change: CatalogChange) -> Result<Defined> {
        match &change {
            CatalogChange::CreateDatabase { name, .. } => {
                let defined = self.define_one(change.clone()).await?;
                self.wait_for_leaders(name).await?;
                Ok(defined)
            }
            CatalogChange::CreateRelation { database, name, kind, .. } => {
                self.shadowed(*database, name).await?;
                let defined = self.define_one(change.clone()).await?;
                if let (Defined::Relation(suid), RelationKind::Normal | RelationKind::Plain) = (&defined, kind) {
                    self.make_series(*database, *suid, name).await?;
                }
                Ok(defined)
            }
            CatalogChange::CreateView { database, name, .. } => {
                self.shadowed(*database, name).await?;
                self.define_one(change).await
            }
            CatalogChange::DropRelation { suid } => {
                let owner = self.node.catalog().relation(*suid).map(|(database, _)| database.id);
                let suid = *suid;
                let defined = self.define_one(change).await?;
                self.drop_series(owner, suid).await;
                Ok(defined)
            }
            _ => self.define_one(change).await,
        }
    }

    /// Replicates one step and waits until this dnode's catalog has it.
    async fn define_one(&self, change: CatalogChange) -> Result<Defined> {
        let deadline = self.deadline();
        loop {
            let lost = match self.node.define(change.clone()).await {
                Ok((defined, _)) => return defined,
                Err(lost) => lost,
            };
            match lost {
                Lost::Unknown(why) => return Err(unknown(&why)),
                Lost::Stopped(why) => {
                    self.running()?;
                    return Err(self.no_leader(VgroupId::MNODE).with_detail(why));
                }
                Lost::NotLeader(Some(leader)) if leader.dnode != self.node.dnode() => {
                    let request = Request::Define(change.clone());
                    match self.node.world.network.call(&leader.endpoint, request).await {
                        Ok(Response::Defined(Ok((defined, index)))) => {
                            let left = deadline.saturating_duration_since(Instant::now());
                            if !self.node.mnode().applied(index, left).await {
                                return Err(unknown("This dnode does not follow the mnode group"));
                            }
                            return Ok(defined);
                        }
                        Ok(Response::Defined(Err(refusal))) => return Err(refusal.into()),
                        Ok(Response::Failed(refusal)) => match Error::from(refusal) {
                            error if super::write::moves_on(&error) => {}
                            error => return Err(error),
                        },
                        Ok(Response::NotLeader(_)) => {}
                        Ok(other) => return Err(unknown(&format!("{} answered {other:?}", leader.endpoint))),
                        Err(unreachable) if unreachable.sent => return Err(unknown(&unreachable.to_string())),
                        Err(_) => {}
                    }
                }
                Lost::NotLeader(_) => {}
            }
            if Instant::now() > deadline {
                return Err(self.no_leader(VgroupId::MNODE));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Refuses a relation or view whose name a child table has: the child would not be found any more.
    async fn shadowed(&self, id: DatabaseId, name: &str) -> Result<()> {
        let catalog = self.node.catalog();
        let own = database(&catalog, id)?;
        if own.relations.contains_key(name) || own.views.contains_key(name) {
            // The mnode says what of it, and knows IF NOT EXISTS.
            return Ok(());
        }
        let vgroup = catalog.vgroup_of(own, name).id;
        let found = self.look_up_in(vgroup, vec![name.to_owned()]).await?;
        match found.first() {
            Some(Some(table)) if own.relations.values().any(|relation| relation.suid == table.suid) => {
                fail!(DuplicateTable, "table \"{name}\" already exists")
            }
            _ => Ok(()),
        }
    }

    /// The one series of a new normal or plain table. If its vgroup refuses the name, the relation goes again.
    async fn make_series(&self, database: DatabaseId, suid: Suid, name: &str) -> Result<()> {
        let tables = vec![NewTable { name: name.to_owned(), tags: Vec::new() }];
        let change = Change::CreateTables { suid, tables, if_not_exists: true };
        let made = match self.write_all(WriteBatch { database, changes: vec![change] }).await {
            Ok(outcome) => outcome.total(),
            Err(error) => Err(error),
        };
        match made {
            Ok(_) => Ok(()),
            Err(error) => {
                if let Err(kept) = self.define_one(CatalogChange::DropRelation { suid }).await {
                    tracing::warn!(table = name, %kept, "a table that could not be made could not be undone");
                }
                Err(error)
            }
        }
    }

    /// Drops all tables of a relation that the catalog has no more. What cannot be reached now is dropped when the
    /// vgroup's leader next compares itself with the catalog.
    async fn drop_series(&self, owner: Option<DatabaseId>, suid: Suid) {
        let Some(database) = owner else { return };
        let batch = WriteBatch { database, changes: vec![Change::DropRelation { suid }] };
        let dropped = match self.write_all(batch).await {
            Ok(outcome) => outcome.total().map(|_| ()),
            Err(error) => Err(error),
        };
        if let Err(error) = dropped {
            tracing::warn!(%suid, %error, "the rows of a dropped table are still there");
        }
    }

    /// Returns when every vgroup of a database has a leader that can be reached.
    async fn wait_for_leaders(&self, name: &str) -> Result<()> {
        let deadline = self.deadline();
        let catalog = self.node.catalog();
        let Some(database) = catalog.database(name) else { return Ok(()) };
        for vgroup in &database.vgroups {
            while !self.led(*vgroup).await {
                if Instant::now() > deadline || self.node.broken(*vgroup).is_some() {
                    return Err(self.no_leader(*vgroup));
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        Ok(())
    }

    async fn led(&self, vgroup: VgroupId) -> bool {
        if let Some(replica) = self.node.replica(vgroup) {
            return replica.group.leader().is_some();
        }
        let Some(member) = self.leader_of(vgroup, 0) else { return false };
        let asked = self.node.world.network.call(&member.endpoint, Request::Barrier(vgroup)).await;
        matches!(asked, Ok(Response::Index(_) | Response::NotLeader(Some(_))))
    }
}

fn unknown(why: &str) -> Error {
    error!(StatementCompletionUnknown, "it is not known whether the definition took place")
        .with_detail(why.to_owned())
        .with_hint("Look at the catalog before trying again")
}

/// One entry of the mnode group's log.
pub(crate) fn proposal(change: CatalogChange, stamp_ms: i64) -> bytes::Bytes {
    encode(&Proposal { change, stamp_ms })
}

/// What the mnode group answered.
pub(crate) fn defined(answer: Answer) -> Result<Defined> {
    match answer {
        Answer::Defined(defined) => defined.map_err(Error::from),
        other => Err(Error::internal(format!("the mnode group answered {other:?}"))),
    }
}
