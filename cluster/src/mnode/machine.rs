//! openraft's state machine over the catalog: applied in memory, written to a file as a whole for each snapshot, and
//! brought up to date from the log after a start.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures::{Stream, TryStreamExt};
use model::Catalog;
use model::catalog::CatalogChange;
use openraft::storage::{EntryResponder, RaftStateMachine, Snapshot as RaftSnapshot};
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use storage::Halt;
use storage::files::{LogFiles, read_small, write_durably};
use tokio::sync::watch;

use super::CatalogFile;
use crate::raft::network::Snapshot;
use crate::raft::types::{
    Answer, LogId, Payload, SnapshotMeta, StoredMembership, Types, decode, encode, log_id, position,
};

type CatalogSnapshot = openraft::type_config::alias::SnapshotOf<Types, Snapshot>;

/// One entry of the mnode group's log.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Proposal {
    /// What to change.
    pub(crate) change: CatalogChange,
    /// The leader's time, in milliseconds since the epoch.
    pub(crate) stamp_ms: i64,
}

/// The catalog of one replica. Clones are the same.
#[derive(Clone)]
pub(crate) struct Machine(Arc<Shared>);

struct Shared {
    files: Arc<dyn LogFiles>,
    state: Mutex<State>,
    catalog: watch::Sender<Arc<Catalog>>,
}

struct State {
    applied: Option<LogId>,
    membership: StoredMembership,
    /// What the file holds.
    stored: Option<(SnapshotMeta, Bytes)>,
}

impl Machine {
    /// Reads the file in `files`, if there is one.
    pub(crate) fn open(files: Arc<dyn LogFiles>) -> Result<Self, Halt> {
        let bytes = read_small(files.as_ref(), CatalogFile::NAME).map_err(|error| Halt::disk("read catalog", error))?;
        let (state, catalog) = match bytes {
            None => {
                (State { applied: None, membership: StoredMembership::default(), stored: None }, Catalog::default())
            }
            Some(bytes) => opened(Bytes::from(bytes))?,
        };
        let (catalog, _) = watch::channel(Arc::new(catalog));
        Ok(Self(Arc::new(Shared { files, state: Mutex::new(state), catalog })))
    }

    /// The catalog as it is applied, and each next one.
    pub(crate) fn watch(&self) -> watch::Receiver<Arc<Catalog>> {
        self.0.catalog.subscribe()
    }

    /// The catalog as it is applied.
    pub(crate) fn catalog(&self) -> Arc<Catalog> {
        self.0.catalog.borrow().clone()
    }

    fn apply_one(&self, id: LogId, payload: Payload) -> io::Result<Answer> {
        let answer = match payload {
            EntryPayload::Blank => Answer::Nothing,
            EntryPayload::Membership(membership) => {
                self.0.state.lock().membership = StoredMembership::new(Some(id), membership);
                Answer::Nothing
            }
            EntryPayload::Normal(command) => {
                let proposal: Proposal = decode(&command.0)?;
                let old = self.catalog();
                match crate::catalog::apply(&old, &proposal.change, proposal.stamp_ms) {
                    Ok((catalog, defined)) => {
                        self.publish(catalog, id.index);
                        Answer::Defined(Ok(defined))
                    }
                    Err(refusal) => {
                        self.publish(Catalog::clone(&old), id.index);
                        Answer::Defined(Err(refusal.into()))
                    }
                }
            }
        };
        self.0.state.lock().applied = Some(id);
        Ok(answer)
    }

    /// Whoever waits for an index must see it pass, also where the entry was refused.
    fn publish(&self, mut catalog: Catalog, index: u64) {
        catalog.index = index;
        self.0.catalog.send_replace(Arc::new(catalog));
    }

    /// Writes the catalog into its file.
    fn store(&self) -> io::Result<CatalogSnapshot> {
        let (meta, file) = {
            let state = self.0.state.lock();
            let membership = state
                .membership
                .log_id()
                .as_ref()
                .map(|at| (position(at), encode(state.membership.membership()).to_vec()));
            let applied = state.applied;
            let meta = SnapshotMeta { last_log_id: applied, last_membership: state.membership.clone() };
            let catalog = Catalog::clone(&self.catalog());
            (meta, CatalogFile { applied: applied.as_ref().map(position), membership, catalog })
        };
        let bytes = file.encode();
        write_durably(self.0.files.as_ref(), CatalogFile::NAME, &bytes)?;
        self.0.state.lock().stored = Some((meta.clone(), bytes.clone()));
        Ok(RaftSnapshot { meta, snapshot: Snapshot::Catalog(bytes) })
    }

    fn install(&self, bytes: Bytes) -> io::Result<()> {
        let (state, mut catalog) = opened(bytes.clone())?;
        write_durably(self.0.files.as_ref(), CatalogFile::NAME, &bytes)?;
        catalog.index = state.applied.as_ref().map_or(0, |id| id.index);
        *self.0.state.lock() = state;
        self.0.catalog.send_replace(Arc::new(catalog));
        Ok(())
    }
}

fn opened(bytes: Bytes) -> Result<(State, Catalog), Halt> {
    let file = CatalogFile::decode("mnode/catalog", &bytes)?;
    let applied = file.applied.map(log_id);
    let membership = match file.membership {
        None => StoredMembership::default(),
        Some((at, encoded)) => {
            let membership = decode(&encoded).map_err(|_| Halt::corrupt("mnode/catalog"))?;
            StoredMembership::new(Some(log_id(at)), membership)
        }
    };
    let meta = SnapshotMeta { last_log_id: applied, last_membership: membership.clone() };
    Ok((State { applied, membership, stored: Some((meta, bytes)) }, file.catalog))
}

impl RaftSnapshotBuilder<Types> for Machine {
    type SnapshotData = Snapshot;

    async fn build_snapshot(&mut self) -> io::Result<CatalogSnapshot> {
        let machine = self.clone();
        tokio::task::spawn_blocking(move || machine.store()).await.map_err(io::Error::other)?
    }
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotData = Snapshot;
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        let state = self.0.state.lock();
        Ok((state.applied, state.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<Types>>> + Unpin + OptionalSend,
    {
        while let Some((entry, responder)) = entries.try_next().await? {
            let answer = self.apply_one(entry.log_id, entry.payload)?;
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
        let bytes = match snapshot {
            Snapshot::Catalog(bytes) => bytes,
            Snapshot::Received(directory) => {
                let bytes = std::fs::read(directory.join(CatalogFile::NAME))?;
                std::fs::remove_dir_all(directory)?;
                Bytes::from(bytes)
            }
            Snapshot::Vnode(_) => return Err(io::Error::other("a vnode is no catalog")),
        };
        self.install(bytes)
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<CatalogSnapshot>> {
        let stored = self.0.state.lock().stored.clone();
        Ok(stored.map(|(meta, bytes)| RaftSnapshot { meta, snapshot: Snapshot::Catalog(bytes) }))
    }
}
