//! A vgroup's replica on this dnode: proposing writes and reading, both as its leader.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::RecordBatch;
use futures::stream;
use model::VgroupId;
use model::command::{Applied, Entry};
use model::scan::{RowStream, ScanRequest};
use storage::Halt;
use storage::vnode::{Batches, Compaction, SeriesInfo};
use tokio::sync::Mutex;

use super::{Machine, Shard, resolve};
use crate::hlc::{Hlc, Uids};
use crate::peers::{FoundTable, Maintenance};
use crate::plane::share::Part;
use crate::raft::group::{Group, Lost, Pending};
use crate::raft::types::Answer;
use crate::world::Clock;

/// Rows that are worth a visit to a thread that may block.
const VISIT_ROWS: usize = 4096;

/// The replica of one vgroup on this dnode.
pub(crate) struct Replica {
    pub(crate) group: Arc<Group<Machine>>,
    pub(crate) shard: Arc<Shard>,
    pub(crate) start_ms: i64,
    /// Entries of the log when it was opened; it is restored when they are applied.
    pub(crate) start_index: u64,
    clock: Arc<dyn Clock>,
    uids: Arc<Uids>,
    /// Held while an entry is stamped and proposed, so that stamps and log have one order.
    order: Mutex<Hlc>,
    /// The term in which everything older is known to be applied: before, names cannot be resolved.
    ready_term: AtomicU64,
}

/// Why a part of a write was not applied.
#[derive(Debug)]
pub(crate) enum NotWritten {
    /// Not proposed: this replica does not lead.
    Lost(Lost),
    /// Not proposed: it can never be applied.
    Refused(model::Error),
}

impl Replica {
    pub(crate) fn new(
        group: Arc<Group<Machine>>,
        shard: Arc<Shard>,
        clock: Arc<dyn Clock>,
        uids: Arc<Uids>,
    ) -> Arc<Self> {
        let start_ms = clock.now_ms();
        group.role_changed(start_ms);
        let start_index = group.last().map_or(0, |last| last.index);
        let order = Mutex::new(Hlc::default());
        Arc::new(Self { group, shard, start_ms, start_index, clock, uids, order, ready_term: AtomicU64::new(0) })
    }

    pub(crate) fn id(&self) -> VgroupId {
        self.group.id
    }

    /// Waits, once for each term, until all that earlier leaders committed is applied here.
    pub(crate) async fn ready(&self) -> Result<(), Lost> {
        let Some(term) = self.group.leading_term() else {
            return Err(Lost::NotLeader(self.group.leader()));
        };
        if self.ready_term.load(Ordering::Acquire) != term {
            self.group.barrier().await?;
            self.ready_term.store(term, Ordering::Release);
        }
        Ok(())
    }

    /// Waits until all that was acknowledged before the call is applied here. Nobody but a sole voter acknowledges
    /// anything, and it has applied it by then: it need not ask itself.
    async fn current(&self) -> Result<(), NotWritten> {
        let current = if self.group.alone() { self.ready().await } else { self.group.barrier().await.map(drop) };
        current.map_err(NotWritten::Lost)
    }

    /// Why this replica cannot serve, if nobody else can either: a sole voter whose vnode has stopped.
    pub(crate) fn broken(&self) -> Option<model::Error> {
        if !self.group.alone() {
            return None;
        }
        let sound = self.shard.vnode().and_then(|vnode| vnode.check());
        sound.err().filter(|halt| !matches!(halt, Halt::Closed)).map(failed)
    }

    /// Turns names into sids, stamps and proposes. Parts that one caller proposes one after the other stand in the
    /// log in that order.
    pub(crate) async fn propose(&self, part: &Part) -> Result<Pending, NotWritten> {
        self.ready().await.map_err(NotWritten::Lost)?;
        let operations = self.resolve(part).await?;
        let mut hlc = self.order.lock().await;
        let stamp = model::command::Stamp { hlc: hlc.next(self.clock.now_ms(), self.shard.hlc()), ..part.stamp };
        let entry = Entry { stamp, database: part.database, epoch: part.epoch, operations };
        let bytes = storage::entry::encode(&entry);
        if bytes.len() > storage::wal::RECORD_PAYLOAD_BYTES_MAX {
            return Err(NotWritten::Refused(model::error!(
                StatementTooComplex,
                "one row or definition makes a log entry of {} bytes, at most {} are possible",
                bytes.len(),
                storage::wal::RECORD_PAYLOAD_BYTES_MAX
            )));
        }
        self.group.propose(bytes).await.map_err(NotWritten::Lost)
    }

    async fn resolve(&self, part: &Part) -> Result<Vec<model::command::Operation>, NotWritten> {
        let vnode = self.shard.vnode().map_err(|halt| NotWritten::Refused(failed(halt)))?;
        if !resolve::reads_rows(part) {
            return resolve::resolve(&vnode, part, &self.uids).map_err(NotWritten::Refused);
        }
        let (part, uids) = (part.clone(), self.uids.clone());
        let resolved = tokio::task::spawn_blocking(move || resolve::resolve(&vnode, &part, &uids)).await;
        resolved.map_err(|error| NotWritten::Refused(model::Error::internal(error)))?.map_err(NotWritten::Refused)
    }

    /// What these names are, after everything that was acknowledged before the call.
    pub(crate) async fn lookup(&self, names: &[String]) -> Result<Vec<Option<FoundTable>>, NotWritten> {
        self.current().await?;
        let vnode = self.shard.vnode().map_err(|halt| NotWritten::Refused(failed(halt)))?;
        Ok(vnode.lookup(names).into_iter().map(|found| found.map(table)).collect())
    }

    /// Reads, after everything that was acknowledged before the call. Batches are made one visit ahead of the reader, on
    /// a thread that may block; no thread is held while nobody reads.
    pub(crate) async fn scan(&self, request: ScanRequest) -> Result<RowStream, NotWritten> {
        self.current().await?;
        let vnode = self.shard.vnode().map_err(|halt| NotWritten::Refused(failed(halt)))?;
        let opened = tokio::task::spawn_blocking(move || vnode.scan(request).map(make)).await;
        let opened = opened.map_err(|error| NotWritten::Refused(model::Error::internal(error)))?;
        let made = opened.map_err(|halt| NotWritten::Refused(failed(halt)))?;
        Ok(Box::pin(stream::unfold(Reading::new(made), Reading::next)))
    }

    /// FLUSH or TRIM; `floor` is the oldest tick that KEEP leaves.
    pub(crate) async fn maintain(&self, work: Maintenance, floor: i64) -> Result<(), model::Error> {
        let vnode = self.shard.vnode().map_err(failed)?;
        let done = tokio::task::spawn_blocking(move || match work {
            Maintenance::Flush => vnode.flush().map(|_| ()),
            Maintenance::Trim => vnode.drop_expired(floor).map(|_| ()),
        });
        done.await.map_err(model::Error::internal)?.map_err(failed)
    }

    /// COMPACT, which somebody else may watch and stop.
    pub(crate) async fn compact(&self, compaction: Arc<Compaction>) -> Result<(), model::Error> {
        let vnode = self.shard.vnode().map_err(failed)?;
        let done = tokio::task::spawn_blocking(move || vnode.compact_watched(&compaction));
        done.await.map_err(model::Error::internal)?.map_err(failed)
    }

    /// Stops the replica and closes its vnode.
    pub(crate) async fn stop(&self) {
        self.group.stop().await;
        self.shard.close();
    }
}

/// What one visit to a thread that may block has made.
struct Made {
    batches: VecDeque<Result<RecordBatch, Halt>>,
    /// None at the end.
    rest: Option<Batches>,
}

/// Makes some batches: one, or as many small ones as are worth a visit. A small answer is whole after the first.
fn make(mut rest: Batches) -> Made {
    let mut batches = VecDeque::new();
    let mut rows = 0;
    loop {
        match rest.next() {
            None => return Made { batches, rest: None },
            Some(batch) => {
                // An empty batch stands for much work: the reader may have gone meanwhile.
                let enough = batch.as_ref().map_or(true, |batch| batch.num_rows() == 0);
                rows += batch.as_ref().map_or(0, RecordBatch::num_rows);
                batches.push_back(batch);
                if enough || rows >= VISIT_ROWS {
                    return Made { batches, rest: Some(rest) };
                }
            }
        }
    }
}

/// A scan on its way to the reader, with a visit ahead.
struct Reading {
    made: VecDeque<Result<RecordBatch, Halt>>,
    ahead: Option<tokio::task::JoinHandle<Made>>,
}

impl Reading {
    fn new(made: Made) -> Self {
        let ahead = made.rest.map(|rest| tokio::task::spawn_blocking(move || make(rest)));
        Self { made: made.batches, ahead }
    }

    async fn next(mut self) -> Option<(model::Result<RecordBatch>, Self)> {
        loop {
            if let Some(batch) = self.made.pop_front() {
                if batch.is_err() {
                    self = Self { made: VecDeque::new(), ahead: None };
                }
                return Some((batch.map_err(failed), self));
            }
            match self.ahead.take()?.await {
                Ok(made) => self = Self::new(made),
                Err(error) => return Some((Err(model::Error::internal(error)), self)),
            }
        }
    }
}

fn table(found: SeriesInfo) -> FoundTable {
    FoundTable { suid: found.suid, uid: found.uid, tags: found.tags, created_ms: found.created_ms }
}

/// The answer to an entry of a vgroup.
pub(crate) fn applied(answer: Answer) -> model::Result<Applied> {
    match answer {
        Answer::Applied(applied) => Ok(applied),
        other => Err(model::Error::internal(format!("a vgroup answered {other:?}"))),
    }
}

/// A failure of this dnode's disk as a client sees it.
pub(crate) fn failed(halt: Halt) -> model::Error {
    match &halt {
        Halt::Disk { error, .. } if error.kind() == std::io::ErrorKind::StorageFull => {
            model::error!(DiskFull, "{halt}").with_hint("Free space on the data directory's disk")
        }
        Halt::Disk { .. } => {
            model::error!(IoError, "{halt}").with_hint("See the server's log; restart it when the disk is sound")
        }
        Halt::Corrupt { .. } | Halt::Newer { .. } => model::error!(DataCorrupted, "{halt}"),
        Halt::Closed => model::error!(CannotConnectNow, "the vnode is closed"),
    }
}
