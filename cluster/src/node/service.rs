//! What this dnode answers to others.

use std::sync::atomic::Ordering;

use async_trait::async_trait;
use model::scan::{RowStream, ScanRequest};
use model::{Error, Result, VgroupId, error};

use super::Node;
use crate::peers::{RaftCall, Request, Response, Service, Written};
use crate::plane::share::Part;
use crate::raft::group::Lost;
use crate::vgroup::replica::{NotWritten, applied};

#[async_trait]
impl Service for Node {
    async fn answer(&self, request: Request) -> Response {
        if self.stopping.load(Ordering::Acquire) {
            return Response::Failed(error!(AdminShutdown, "the dnode is shutting down").into());
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
            Request::Status => Response::Status(self.own_status().into()),
        }
    }

    async fn scan(&self, vgroup: VgroupId, request: ScanRequest) -> Result<RowStream> {
        let not_here = || error!(CannotConnectNow, "this dnode does not lead vgroup {}", vgroup.0);
        let replica = self.replica(vgroup).ok_or_else(not_here)?;
        replica.scan(request).await.map_err(|error| match error {
            NotWritten::Refused(error) => error,
            NotWritten::Lost(_) => not_here(),
        })
    }
}

impl Node {
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
