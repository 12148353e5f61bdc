//! openraft's network over the seam of [`crate::peers`].

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures::future::{Either, select};
use model::VgroupId;
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetworkFactory};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest, TransferLeaderResponse,
    VoteRequest, VoteResponse,
};
use openraft::{OptionalSend, RaftNetworkV2};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::types::{Member, SnapshotMeta, Types, Vote, decode, encode};
use crate::peers::{Network, PART_BYTES, RaftCall, Request, Response, SnapshotPart};

/// A snapshot of any group.
#[derive(Clone)]
pub(crate) enum Snapshot {
    /// The whole catalog.
    Catalog(Bytes),
    /// A vnode that makes a checkpoint of itself when one is to be sent.
    Vnode(Arc<dyn Checkpoint>),
    /// Files that came from the leader.
    Received(PathBuf),
}

/// Something that can write its state into a directory.
pub(crate) trait Checkpoint: Send + Sync {
    /// Writes files into a new directory; says what they contain.
    fn make(&self, transfer: u64) -> std::io::Result<(PathBuf, SnapshotMeta)>;
}

/// Makes connections for one group.
#[derive(Clone)]
pub(crate) struct Links {
    pub(crate) group: VgroupId,
    pub(crate) network: Arc<dyn Network>,
}

/// One connection: from a replica to another of its group.
pub(crate) struct Link {
    group: VgroupId,
    replica: u64,
    endpoint: String,
    network: Arc<dyn Network>,
}

impl RaftNetworkFactory<Types> for Links {
    type Network = Link;

    async fn new_client(&mut self, target: u64, node: &Member) -> Link {
        let (group, network) = (self.group, self.network.clone());
        Link { group, replica: target, endpoint: node.endpoint.clone(), network }
    }
}

impl Link {
    async fn call<Answer: DeserializeOwned>(&self, call: RaftCall) -> Result<Answer, Unreachable<Types>> {
        let request = Request::Raft { group: self.group, replica: self.replica, call };
        match self.network.call(&self.endpoint, request).await {
            Ok(Response::Raft(bytes)) => decode(&bytes).map_err(|error| Unreachable::new(&error)),
            Ok(other) => Err(Unreachable::from_string(format!("{} answered {other:?}", self.endpoint))),
            Err(error) => Err(Unreachable::new(&error)),
        }
    }

    /// Sends all files of a snapshot and has them installed.
    async fn send(&self, vote: Vote, meta: SnapshotMeta, snapshot: Snapshot) -> Result<Vote, Unreachable<Types>> {
        let transfer = rand::random::<u64>();
        let failed = |error: std::io::Error| Unreachable::new(&error);
        let meta = match snapshot {
            Snapshot::Catalog(bytes) => {
                self.send_bytes(transfer, "catalog", &bytes).await?;
                meta
            }
            Snapshot::Vnode(source) => {
                let made = tokio::task::spawn_blocking(move || source.make(transfer)).await;
                let (directory, meta) = made.map_err(|error| failed(std::io::Error::other(error)))?.map_err(failed)?;
                let sent = self.send_directory(transfer, &directory).await;
                let _ = std::fs::remove_dir_all(&directory);
                sent?;
                meta
            }
            Snapshot::Received(_) => return Err(Unreachable::from_string("a received snapshot is not sent on")),
        };
        let (vote, meta) = (encode(&vote).to_vec(), encode(&meta).to_vec());
        self.call(RaftCall::SnapshotInstall { transfer, vote, meta }).await
    }

    async fn send_directory(&self, transfer: u64, directory: &Path) -> Result<(), Unreachable<Types>> {
        let failed = |error: std::io::Error| Unreachable::new(&error);
        for path in files_below(directory).map_err(failed)? {
            let name = path.strip_prefix(directory).map_err(|error| failed(std::io::Error::other(error)))?;
            let file = std::fs::File::open(&path).map_err(failed)?;
            self.send_file(transfer, &name.to_string_lossy(), &file).await?;
        }
        Ok(())
    }

    async fn send_file(&self, transfer: u64, name: &str, file: &std::fs::File) -> Result<(), Unreachable<Types>> {
        use std::os::unix::fs::FileExt;
        let failed = |error: std::io::Error| Unreachable::new(&error);
        let length = file.metadata().map_err(failed)?.len();
        let mut offset = 0;
        loop {
            let size = usize::try_from(length - offset).unwrap_or(PART_BYTES).min(PART_BYTES);
            let mut bytes = vec![0; size];
            file.read_exact_at(&mut bytes, offset).map_err(failed)?;
            self.send_part(transfer, name, offset, bytes).await?;
            offset += size as u64;
            if offset >= length {
                return Ok(());
            }
        }
    }

    async fn send_bytes(&self, transfer: u64, name: &str, bytes: &[u8]) -> Result<(), Unreachable<Types>> {
        let mut offset = 0;
        for chunk in bytes.chunks(PART_BYTES) {
            self.send_part(transfer, name, offset, chunk.to_vec()).await?;
            offset += chunk.len() as u64;
        }
        Ok(())
    }

    async fn send_part(
        &self,
        transfer: u64,
        file: &str,
        offset: u64,
        bytes: Vec<u8>,
    ) -> Result<(), Unreachable<Types>> {
        let checksum = crc32c::crc32c(&bytes);
        let part = SnapshotPart { transfer, file: file.to_owned(), offset, bytes, checksum };
        self.call(RaftCall::SnapshotPart(part)).await
    }
}

/// All files below a directory, sorted, so that every transfer sends them in one order.
fn files_below(directory: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut open = vec![directory.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(directory)? {
            let path = entry?.path();
            if path.is_dir() {
                open.push(path);
            } else {
                files.push(path);
            }
        }
    }
    files.sort_unstable();
    Ok(files)
}

fn bytes_of<T: Serialize>(value: &T) -> Vec<u8> {
    encode(value).to_vec()
}

impl RaftNetworkV2<Types> for Link {
    type SnapshotData = Snapshot;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<Types>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        Ok(self.call(RaftCall::Append(bytes_of(&rpc))).await?)
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<Types>,
        _option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        Ok(self.call(RaftCall::Vote(bytes_of(&rpc))).await?)
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<Types>,
        _option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        Ok(self.call(RaftCall::PreVote(bytes_of(&rpc))).await?)
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: openraft::type_config::alias::SnapshotOf<Types, Snapshot>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let sending = Box::pin(self.send(vote, snapshot.meta, snapshot.snapshot));
        match select(sending, Box::pin(cancel)).await {
            Either::Left((vote, _)) => Ok(SnapshotResponse::new(vote?)),
            Either::Right((closed, _)) => Err(closed.into()),
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<Types>,
        _option: RPCOption,
    ) -> Result<TransferLeaderResponse<Types>, RPCError<Types>> {
        Ok(self.call(RaftCall::Transfer(bytes_of(&request))).await?)
    }
}
