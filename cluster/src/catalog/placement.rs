//! Which dnodes carry the replicas of a new vgroup.

use model::catalog::{Dnode, Replica, Vgroup};
use model::{Catalog, DnodeId, Result, fail};

use crate::identity::FOUNDER;

/// The dnodes that may carry vnodes: one that was only authorised has never been there.
fn present(catalog: &Catalog) -> impl Iterator<Item = &Dnode> {
    catalog.dnodes.values().filter(|dnode| dnode.id == FOUNDER || catalog.joined.contains_key(&dnode.id))
}

/// Whether the cluster has a dnode for each of `replica` replicas.
pub(super) fn enough(catalog: &Catalog, replica: u8) -> Result<()> {
    let dnodes = present(catalog).count();
    if dnodes < usize::from(replica) {
        return Err(model::error!(
            ConfigurationLimitExceeded,
            "Out of dnodes: REPLICA {replica} needs {replica} dnodes and the cluster has {dnodes}, \
             more dnodes are needed"
        )
        .with_hint("Start more dnodes with --first-ep, or ask for fewer replicas"));
    }
    Ok(())
}

/// Replicas of one vgroup on distinct dnodes: those that carry the fewest vnodes, the oldest first among equals.
/// Gives out replica ids.
pub(super) fn place(catalog: &mut Catalog, replica: u8) -> Result<Vec<Replica>> {
    enough(catalog, replica)?;
    let mut load: Vec<(usize, DnodeId)> = present(catalog)
        .map(|dnode| (carried(catalog, dnode.id), dnode.id))
        .filter(|(vnodes, id)| *vnodes < catalog.dnodes[id].support_vnodes as usize)
        .collect();
    load.sort_unstable();
    if load.len() < usize::from(replica) {
        fail!(ConfigurationLimitExceeded, "Vnodes exhausted: no dnode may carry another vnode, more dnodes are needed");
    }
    let mut chosen: Vec<DnodeId> = load.into_iter().take(usize::from(replica)).map(|(_, dnode)| dnode).collect();
    // The last one leads first (see `Node::open`), so those that lead least come last in turn.
    if let Some(last) = (0..chosen.len()).min_by_key(|at| (last_of(catalog, chosen[*at]), *at)) {
        chosen[last..].rotate_left(1);
    }
    let mut replicas = Vec::with_capacity(usize::from(replica));
    for dnode in chosen {
        replicas.push(Replica { id: catalog.next.replica, dnode });
        catalog.next.replica += 1;
    }
    Ok(replicas)
}

/// Vgroups that name a dnode last.
fn last_of(catalog: &Catalog, dnode: DnodeId) -> usize {
    let last = |vgroup: &&Vgroup| vgroup.replicas.last().is_some_and(|replica| replica.dnode == dnode);
    catalog.vgroups.values().filter(last).count()
}

/// Vnodes that a dnode carries.
fn carried(catalog: &Catalog, dnode: DnodeId) -> usize {
    catalog.vgroups.values().flat_map(|vgroup| &vgroup.replicas).filter(|replica| replica.dnode == dnode).count()
}
