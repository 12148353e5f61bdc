//! What this dnode answers to others.

use std::sync::atomic::Ordering;

use async_trait::async_trait;
use model::catalog::{CatalogChange, Defined};
use model::scan::{RowStream, ScanRequest};
use model::{Error, Result, VgroupId, error};

use super::Node;
use crate::identity::Identity;
use crate::peers::{RaftCall, Request, Response, Service, Written};
use crate::plane::share::Part;
use crate::raft::group::Lost;
use crate::vgroup::replica::{NotWritten, applied};

#[async_trait]
impl Service for Node {
    async fn answer(&self, caller: &Identity, request: Request) -> Response {
        // Its groups go on until they have handed over what they lead.
        if self.stopping.load(Ordering::Acquire) && !matches!(request, Request::Raft { .. }) {
            return Response::Failed(error!(AdminShutdown, "the dnode is shutting down").into());
        }
        if !matches!(request, Request::Join { .. })
            && let Err(error) = self.admit(caller)
        {
            return Response::Failed(error.into());
        }
        match request {
            Request::Raft { group, replica, call } => self.raft(group, replica, call).await,
            Request::Define(change) => match self.define(change).await {
                Ok((defined, index)) => Response::Defined(defined.map(|defined| (defined, index)).map_err(Into::into)),
                Err(lost) => self.lost(lost),
            },
            Request::Barrier(group) => self.barrier(group).await,
            Request::Lookup { vgroup, names } => match self.replica(vgroup) {
                None => Response::NotLeader(None),
                Some(replica) => match replica.lookup(&names).await {
                    Ok(found) => Response::Found(found),
                    Err(NotWritten::Lost(lost)) => self.lost(lost),
                    Err(NotWritten::Refused(error)) => Response::Failed(error.into()),
                },
            },
            Request::Write { vgroup, share } => self.write_share(vgroup, &share).await,
            Request::Maintain { vgroup, work } => match self.maintain(vgroup, work).await {
                Ok(()) => Response::Maintained,
                Err(error) => Response::Failed(error.into()),
            },
            Request::Compact { id, vgroup, range } => match self.compact(id, vgroup, range).await {
                Ok(()) => Response::Maintained,
                Err(error) => Response::Failed(error.into()),
            },
            Request::KillCompact(id) => {
                self.compacts.kill(id);
                Response::Maintained
            }
            Request::Status => Response::Status(self.own_status().into()),
            Request::Join { endpoint, support_vnodes, uuid, token } => match self.may_join(&endpoint, &token) {
                Ok(()) => self.join(endpoint, support_vnodes, uuid).await,
                Err(error) => Response::Failed(error.into()),
            },
        }
    }

    async fn scan(&self, caller: &Identity, vgroup: VgroupId, request: ScanRequest) -> Result<RowStream> {
        self.admit(caller)?;
        let not_here = || error!(CannotConnectNow, "this dnode does not lead vgroup {}", vgroup.0);
        let replica = self.replica(vgroup).ok_or_else(not_here)?;
        replica.scan(request).await.map_err(|error| match error {
            NotWritten::Refused(error) => error,
            NotWritten::Lost(_) => not_here(),
        })
    }
}

impl Node {
    /// Refuses a caller of another cluster, one that was dropped, and one that has lost its data.
    fn admit(&self, caller: &Identity) -> Result<()> {
        let own = self.identity();
        let refused = |why: String| Err(error!(InsufficientPrivilege, "{why}"));
        if own.cluster_id == 0 {
            return refused("this dnode belongs to no cluster yet".to_owned());
        }
        if caller.cluster_id != own.cluster_id {
            return refused(format!("this dnode does not belong to cluster {:016x}", caller.cluster_id));
        }
        let catalog = self.catalog();
        let known = catalog.dnodes.contains_key(&caller.dnode);
        // One that this dnode has not heard of yet may be new.
        if !known && caller.dnode < catalog.next.dnode {
            return refused(format!("dnode {} was dropped", caller.dnode.0));
        }
        match catalog.joined.get(&caller.dnode) {
            Some(uuid) if *uuid != caller.uuid => {
                refused(format!("dnode {} has come back with another data directory", caller.dnode.0))
            }
            _ => Ok(()),
        }
    }

    fn may_join(&self, endpoint: &str, token: &str) -> Result<()> {
        if !same(token.as_bytes(), self.settings.join_token.as_bytes()) {
            return Err(error!(InvalidAuthorizationSpecification, "the join token is not the one of this cluster")
                .with_hint("Start the new dnode with the join_token that the others have"));
        }
        if self.identity().cluster_id == 0 {
            return Err(error!(CannotConnectNow, "this dnode belongs to no cluster yet"));
        }
        let catalog = self.catalog();
        if let Some(known) = catalog.dnodes.get(&self.dnode()).filter(|known| known.endpoint != self.settings.endpoint)
        {
            return Err(error!(
                ObjectNotInPrerequisiteState,
                "the cluster knows its first dnode as {}", known.endpoint
            )
            .with_hint(format!("Start that dnode with rpc_listen or endpoint {} again", known.endpoint)));
        }
        let authorised = catalog.dnodes.values().any(|dnode| dnode.endpoint == endpoint);
        let open = self.settings.self_join || !self.settings.join_token.is_empty();
        if !authorised && !open {
            return Err(error!(InsufficientPrivilege, "dnode \"{endpoint}\" is not authorised")
                .with_hint(format!("Run CREATE DNODE '{endpoint}', or give all dnodes one join_token")));
        }
        Ok(())
    }

    /// Takes a new dnode into the cluster, if this one leads the mnode group. Asked again, it gives the same answer.
    async fn join(&self, endpoint: String, support_vnodes: u32, uuid: u128) -> Response {
        let cluster_id = self.identity().cluster_id;
        match self.define(CatalogChange::Join { endpoint, support_vnodes, uuid }).await {
            Ok((Ok(Defined::Dnode(dnode)), _)) => Response::Joined(Identity { cluster_id, dnode, uuid }),
            Ok((Ok(other), _)) => Response::Failed(Error::internal(format!("joining gave {other:?}")).into()),
            Ok((Err(error), _)) => Response::Failed(error.into()),
            Err(lost) => self.lost(lost),
        }
    }

    async fn raft(&self, group: VgroupId, replica: u64, call: RaftCall) -> Response {
        let refused = |why: String| Response::Failed(Error::internal(why).into());
        let answered = if group == VgroupId::MNODE {
            if self.mnode.replica != replica {
                return refused(format!("the mnode here is replica {}, not {replica}", self.mnode.replica));
            }
            self.mnode.answer(call).await
        } else {
            match self.replica(group) {
                Some(own) if own.group.replica == replica => own.group.answer(call).await,
                _ => return refused(format!("replica {replica} of {group} is not here")),
            }
        };
        match answered {
            Ok(bytes) => Response::Raft(bytes),
            Err(error) => refused(error.to_string()),
        }
    }

    async fn barrier(&self, group: VgroupId) -> Response {
        let barrier = match (group, self.replica(group)) {
            (VgroupId::MNODE, _) => self.mnode.barrier().await,
            (_, Some(replica)) => replica.group.barrier().await,
            (_, None) => return Response::NotLeader(None),
        };
        barrier.map_or_else(|lost| self.lost(lost), Response::Index)
    }

    async fn write_share(&self, vgroup: VgroupId, share: &[u8]) -> Response {
        let Some(replica) = self.replica(vgroup) else { return Response::NotLeader(None) };
        let wait = std::time::Duration::from_millis(self.settings.leader_wait_ms);
        let _room = match self.room(share.len() as u64, tokio::time::Instant::now() + wait).await {
            Ok(room) => room,
            Err(error) => return Response::Written(Written::Refused(error.into())),
        };
        let part = match Part::decode(share) {
            Ok(part) => part,
            Err(error) => return Response::Failed(Error::internal(error).into()),
        };
        let proposed = match replica.propose(&part).await {
            Ok(proposed) => proposed,
            Err(NotWritten::Refused(error)) => return Response::Written(Written::Refused(error.into())),
            Err(NotWritten::Lost(Lost::Unknown(why))) => return Response::Written(Written::Unknown(why)),
            Err(NotWritten::Lost(lost)) => return self.lost(lost),
        };
        match proposed.answer().await {
            Ok((_, answer)) => match applied(answer) {
                Ok(applied) => Response::Written(Written::Applied(applied)),
                Err(error) => Response::Written(Written::Refused(error.into())),
            },
            Err(Lost::Unknown(why) | Lost::Stopped(why)) => Response::Written(Written::Unknown(why)),
            Err(Lost::NotLeader(leader)) => Response::NotLeader(leader.map(|leader| leader.endpoint)),
        }
    }

    fn lost(&self, lost: Lost) -> Response {
        match lost {
            Lost::NotLeader(leader) => Response::NotLeader(leader.map(|leader| leader.endpoint)),
            Lost::Unknown(why) => {
                Response::Failed(error!(StatementCompletionUnknown, "the outcome is not known: {why}").into())
            }
            Lost::Stopped(why) => Response::Failed(error!(CannotConnectNow, "the replica has stopped: {why}").into()),
        }
    }
}

/// Whether two secrets are equal, in a time that does not tell where they differ.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}
