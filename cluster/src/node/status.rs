//! What SHOW VNODES, SHOW MNODES and SHOW DNODES show.

use futures::future::join_all;
use model::plane::{DnodeStatus, MnodeStatus, Status, VnodeStatus};

use super::Node;
use crate::peers::{Request, Response};
use crate::vgroup::Replica;

impl Node {
    /// What this dnode knows of itself.
    pub(crate) fn own_status(&self) -> Status {
        let dnode = self.dnode();
        let mut vnodes: Vec<VnodeStatus> = self.replicas.read().values().map(|own| self.vnode_status(own)).collect();
        for vgroup in self.broken.lock().keys() {
            vnodes.push(VnodeStatus {
                dnode,
                vgroup: *vgroup,
                role: "offline".to_owned(),
                role_ms: self.start_ms,
                start_ms: self.start_ms,
                restored: false,
                tables: 0,
                memtable_rows: 0,
                disk_bytes: 0,
                applied: 0,
            });
        }
        let role = self.mnode.role().to_owned();
        let status = if role == "unsynced" { "unsynced" } else { "ready" };
        let role_ms = self.mnode.role_ms().max(self.start_ms);
        Status {
            dnode,
            vnodes,
            mnodes: vec![MnodeStatus { dnode, role, status: status.to_owned(), role_ms }],
            dnodes: vec![DnodeStatus {
                dnode,
                status: "ready".to_owned(),
                reboot_ms: self.start_ms,
                note: String::new(),
            }],
            compacts: self.compacts.status(dnode),
        }
    }

    fn vnode_status(&self, replica: &Replica) -> VnodeStatus {
        let vnode = replica.shard.vnode().ok();
        let count = |of: fn(&storage::vnode::Vnode) -> u64| vnode.as_deref().map_or(0, of);
        let applied = replica.group.applied_index();
        VnodeStatus {
            dnode: self.dnode(),
            vgroup: replica.id(),
            role: if vnode.is_some() { replica.group.role().to_owned() } else { "offline".to_owned() },
            role_ms: replica.group.role_ms(),
            start_ms: replica.start_ms,
            restored: applied >= replica.start_index,
            tables: count(storage::vnode::Vnode::tables),
            memtable_rows: count(storage::vnode::Vnode::memtable_rows),
            disk_bytes: count(storage::vnode::Vnode::disk_bytes),
            applied,
        }
    }

    /// What all dnodes say of themselves; one that does not answer is offline.
    pub(crate) async fn cluster_status(&self) -> Status {
        let mut status = self.own_status();
        let catalog = self.catalog();
        let others = catalog.dnodes.values().filter(|peer| peer.id != self.dnode());
        let asked =
            others.map(|peer| async move { (peer, self.world.network.call(&peer.endpoint, Request::Status).await) });
        for (peer, answer) in join_all(asked.collect::<Vec<_>>()).await {
            let Ok(Response::Status(said)) = answer else {
                let note = "status not received".to_owned();
                status.dnodes.push(DnodeStatus { dnode: peer.id, status: "offline".to_owned(), reboot_ms: 0, note });
                continue;
            };
            status.dnodes.push(DnodeStatus {
                dnode: peer.id,
                status: "ready".to_owned(),
                reboot_ms: said.reboot_ms,
                note: String::new(),
            });
            if let Some((role, state, role_ms)) = said.mnode {
                status.mnodes.push(MnodeStatus { dnode: peer.id, role, status: state, role_ms });
            }
            status.compacts.extend(said.compacts);
            status.vnodes.extend(said.vnodes.into_iter().map(|vnode| VnodeStatus { dnode: peer.id, ..vnode.into() }));
        }
        status
    }
}
