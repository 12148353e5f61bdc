//! openraft's state machine over a [`Shard`].

use std::io;
use std::sync::Arc;

use futures::{Stream, TryStreamExt};
use openraft::storage::{EntryResponder, RaftStateMachine, Snapshot as RaftSnapshot};
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder};
use storage::wal::Position;

use super::Shard;
use crate::raft::network::Snapshot;
use crate::raft::types::{Answer, LogId, Payload, SnapshotMeta, StoredMembership, Types, encode, log_id, position};

type VnodeSnapshot = openraft::type_config::alias::SnapshotOf<Types, Snapshot>;

/// Applies the log of one vgroup to one vnode.
#[derive(Clone)]
pub(crate) struct Machine {
    shard: Arc<Shard>,
}

impl Machine {
    pub(crate) fn new(shard: Arc<Shard>) -> Self {
        Self { shard }
    }

    /// What is on disk, described: the files are made when they are to be sent.
    fn describe(&self) -> io::Result<Option<VnodeSnapshot>> {
        let vnode = self.shard.vnode()?;
        let Some(durable) = vnode.durable() else { return Ok(None) };
        let meta = SnapshotMeta { last_log_id: Some(log_id(durable)), last_membership: Shard::membership(&vnode)? };
        Ok(Some(RaftSnapshot { meta, snapshot: Snapshot::Vnode(self.shard.clone()) }))
    }

    fn apply_one(&self, at: Position, payload: Payload) -> io::Result<Answer> {
        let vnode = self.shard.vnode()?;
        match payload {
            EntryPayload::Blank => {
                vnode.apply_blank(at)?;
                Ok(Answer::Nothing)
            }
            EntryPayload::Membership(membership) => {
                vnode.apply_membership(at, encode(&membership))?;
                Ok(Answer::Nothing)
            }
            EntryPayload::Normal(command) => {
                let entry = storage::entry::decode(command.0).map_err(io::Error::other)?;
                let applied = vnode.apply(at, &entry)?;
                self.shard.stamped(entry.stamp.hlc);
                Ok(Answer::Applied(applied))
            }
        }
    }
}

impl RaftSnapshotBuilder<Types> for Machine {
    type SnapshotData = Snapshot;

    async fn build_snapshot(&mut self) -> io::Result<VnodeSnapshot> {
        let machine = self.clone();
        if let Some(snapshot) = machine.describe()? {
            return Ok(snapshot);
        }
        // openraft wants one although nothing was flushed yet.
        let flushing = machine.clone();
        tokio::task::spawn_blocking(move || flushing.shard.vnode()?.flush()).await.map_err(io::Error::other)??;
        machine.describe()?.ok_or_else(|| io::Error::other("there is nothing to make a snapshot of"))
    }
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotData = Snapshot;
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        let vnode = self.shard.vnode()?;
        Ok((vnode.applied().map(log_id), Shard::membership(&vnode)?))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<Types>>> + Unpin + OptionalSend,
    {
        while let Some((entry, responder)) = entries.try_next().await? {
            let answer = self.apply_one(position(&entry.log_id), entry.payload)?;
            if let Some(responder) = responder {
                responder.send(answer);
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn install_snapshot(&mut self, _meta: &SnapshotMeta, snapshot: Snapshot) -> io::Result<()> {
        let Snapshot::Received(directory) = snapshot else {
            return Err(io::Error::other("a vnode is replaced by files only"));
        };
        let shard = self.shard.clone();
        let installed = tokio::task::spawn_blocking(move || shard.install(&directory)).await;
        Ok(installed.map_err(io::Error::other)??)
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<VnodeSnapshot>> {
        self.describe()
    }
}
