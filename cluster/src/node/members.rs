//! The members of the mnode group: whoever leads it has every dnode that has joined follow it, and makes it grow.
//!
//! A dnode follows without a vote, so that it knows the catalog; as many as `num_of_mnodes` have one. A group of two is
//! lost with either of them, so it grows from one to three at once.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use model::catalog::{Catalog, CatalogChange, Dnode};
use model::{DnodeId, Result};

use super::Node;
use crate::catalog::mnode_replica;
use crate::identity::FOUNDER;
use crate::raft::types::Member;

/// Between two looks at the members.
const LOOK: Duration = Duration::from_millis(200);

/// Entries that a replica may lack and still count as caught up.
const LAG_ENTRIES_MAX: u64 = 16;

/// Runs until the shutdown.
pub(super) async fn run(node: Arc<Node>) {
    let mut stop = node.stop.subscribe();
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = look.tick() => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
        if !node.mnode.is_leader() {
            continue;
        }
        tokio::select! {
            minded = node.mind_members() => if let Err(error) = minded {
                tracing::warn!(%error, "the members of the mnode group are not as they should be yet");
            },
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

/// The replica ids of dnodes.
fn replicas<'a>(dnodes: impl IntoIterator<Item = &'a DnodeId>) -> BTreeSet<u64> {
    dnodes.into_iter().map(|dnode| mnode_replica(*dnode)).collect()
}

/// Which dnodes are to get an mnode now, so that their number grows towards `wanted` and stays odd.
fn chosen(catalog: &Catalog, ready: &BTreeSet<u64>, wanted: usize) -> Vec<DnodeId> {
    let free = |dnode: &&DnodeId| !catalog.mnodes.contains_key(dnode) && ready.contains(&mnode_replica(**dnode));
    let mut free: Vec<DnodeId> = catalog.dnodes.keys().filter(free).copied().collect();
    let have = catalog.mnodes.len();
    let most = wanted.min(have + free.len());
    let odd = if most.is_multiple_of(2) { most.saturating_sub(1) } else { most };
    free.truncate(odd.saturating_sub(have));
    free
}

impl Node {
    /// One step towards the members that the catalog wants, if this dnode leads.
    async fn mind_members(&self) -> Result<()> {
        let catalog = self.catalog();
        let failed = |error: std::io::Error| model::Error::internal(error);
        let members = self.mnode.members();
        let belongs = |dnode: &&Dnode| dnode.id == FOUNDER || catalog.joined.contains_key(&dnode.id);
        for dnode in catalog.dnodes.values().filter(belongs) {
            let replica = mnode_replica(dnode.id);
            if !members.contains(&replica) {
                let member = Member { dnode: dnode.id, endpoint: dnode.endpoint.clone() };
                self.mnode.add_learner(replica, member).await.map_err(failed)?;
                tracing::info!(dnode = dnode.id.0, "follows the mnode group");
            }
        }
        if self.mnode.is_joint() {
            return self.mnode.add_voters(BTreeSet::new()).await.map_err(failed);
        }
        let ready = self.mnode.caught_up(LAG_ENTRIES_MAX);
        let grown = chosen(&catalog, &ready, self.settings.num_of_mnodes as usize);
        for dnode in &grown {
            // Somebody else may lead by now: it looks for itself.
            let Ok((defined, _)) = self.define(CatalogChange::CreateMnode { dnode: *dnode }).await else {
                return Ok(());
            };
            defined?;
        }
        let voters = self.mnode.voters();
        let missing: BTreeSet<u64> =
            replicas(self.catalog().mnodes.keys()).into_iter().filter(|replica| !voters.contains(replica)).collect();
        let able: BTreeSet<u64> = missing.intersection(&ready).copied().collect();
        // Some of them only if that leaves no even number.
        if !able.is_empty() && (able == missing || (voters.len() + able.len()) % 2 == 1) {
            self.mnode.add_voters(able.clone()).await.map_err(failed)?;
            tracing::info!(?able, "the mnode group has grown");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mnodes_grow_from_one_to_three_at_once() {
        let mut catalog = Catalog::default();
        let found = CatalogChange::Found { cluster_id: 1, endpoint: "a:1".into(), support_vnodes: 1 };
        let change = |catalog: &mut Catalog, change| {
            *catalog = crate::catalog::apply(catalog, &change, 0).expect("applies").0;
        };
        change(&mut catalog, found);
        for (number, endpoint) in ["b:1", "c:1", "d:1"].into_iter().enumerate() {
            let join = CatalogChange::Join { endpoint: endpoint.into(), support_vnodes: 1, uuid: number as u128 + 1 };
            change(&mut catalog, join);
        }
        let all = replicas(catalog.dnodes.keys());
        assert_eq!(chosen(&catalog, &BTreeSet::new(), 3), []);
        assert_eq!(chosen(&catalog, &replicas(&[DnodeId(3)]), 3), [], "two are worse than one");
        assert_eq!(chosen(&catalog, &all, 3), [DnodeId(2), DnodeId(3)]);
        assert_eq!(chosen(&catalog, &all, 1), []);
        for dnode in [DnodeId(2), DnodeId(3)] {
            change(&mut catalog, CatalogChange::CreateMnode { dnode });
        }
        assert_eq!(chosen(&catalog, &all, 3), []);
    }
}
