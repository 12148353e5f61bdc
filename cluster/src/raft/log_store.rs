//! openraft's log storage over one [`GroupLog`] of the shared log.
//!
//! What openraft calls persisted is what the database's policy calls acknowledged: at level 1 after the write, at
//! level 2 with period 0 after the sync. Votes are always synced. What a power loss may then take is what the suspect
//! rule (`suspect`) is for.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use futures::{Stream, StreamExt};
use model::VgroupId;
use model::options::FsyncPolicy;
use openraft::entry::RaftEntry;
use openraft::storage::{IOFlushed, LogState, RaftLogStorage};
use openraft::{EntryPayload, OptionalSend, RaftLogReader};
use parking_lot::RwLock;
use storage::Halt;
use storage::wal::{GroupLog, Position, Record, Wal};

use super::types::{Command, Entry, LogId, Types, Vote, decode, encode, log_id, position};

/// Bytes of payload that one read of the log takes into memory.
const READ_BYTES_MAX: usize = 8 << 20;

/// [`Record::kind`] of each payload.
const BLANK: u8 = 0;
const NORMAL: u8 = 1;
const MEMBERSHIP: u8 = 2;

/// The log of one group. Clones see the same log.
#[derive(Clone, Debug)]
pub(crate) struct LogStore {
    wal: Wal,
    log: GroupLog,
    policy: Arc<RwLock<FsyncPolicy>>,
}

impl LogStore {
    /// The log of group `id`; `policy` says when its entries count as persisted.
    pub(crate) fn open(wal: &Wal, id: VgroupId, policy: FsyncPolicy) -> Result<Self, Halt> {
        Ok(Self { wal: wal.clone(), log: wal.group(id)?, policy: Arc::new(RwLock::new(policy)) })
    }

    /// Syncs; fails if `position` is not in the log then.
    pub(crate) async fn sync_until(&self, position: Position) -> io::Result<()> {
        self.wal.sync().await?;
        if self.log.synced() < Some(position) {
            return Err(io::Error::other(format!("{position} is not in the log")));
        }
        Ok(())
    }

    /// ALTER DATABASE changed WAL_LEVEL or WAL_FSYNC_PERIOD: from the next append on.
    pub(crate) fn set_policy(&self, policy: FsyncPolicy) {
        *self.policy.write() = policy;
    }

    /// The group's log itself.
    pub(crate) fn log(&self) -> &GroupLog {
        &self.log
    }

    fn vote(&self) -> io::Result<Option<Vote>> {
        self.log.state().vote.map(|bytes| decode(&bytes)).transpose()
    }

    fn read(&self, from: u64, to: u64, bytes_max: usize) -> io::Result<Vec<Entry>> {
        let records = self.log.read(from..to, bytes_max).map_err(io::Error::from)?;
        records.into_iter().map(entry).collect()
    }
}

fn record(entry: Entry) -> Record {
    let (kind, payload) = match entry.payload {
        EntryPayload::Blank => (BLANK, bytes::Bytes::new()),
        EntryPayload::Normal(Command(payload)) => (NORMAL, payload),
        EntryPayload::Membership(membership) => (MEMBERSHIP, encode(&membership)),
    };
    Record { position: position(&entry.log_id), kind, payload }
}

fn entry(record: Record) -> io::Result<Entry> {
    let payload = match record.kind {
        BLANK => EntryPayload::Blank,
        NORMAL => EntryPayload::Normal(Command(record.payload)),
        MEMBERSHIP => EntryPayload::Membership(decode(&record.payload)?),
        kind => {
            let message = format!("log entry {} has kind {kind}, which this program does not know", record.position);
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
    };
    Ok(Entry { log_id: log_id(record.position), payload })
}

/// First and last + 1 of a range.
fn ends<RB: RangeBounds<u64>>(range: &RB) -> (u64, u64) {
    let from = match range.start_bound() {
        Bound::Included(index) => *index,
        Bound::Excluded(index) => index + 1,
        Bound::Unbounded => 0,
    };
    let to = match range.end_bound() {
        Bound::Included(index) => index + 1,
        Bound::Excluded(index) => *index,
        Bound::Unbounded => u64::MAX,
    };
    (from, to)
}

impl RaftLogReader<Types> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> io::Result<Vec<Entry>> {
        let (from, to) = ends(&range);
        self.read(from, to, usize::MAX)
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        self.vote()
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        self.read(start, end, READ_BYTES_MAX)
    }

    /// Reads as it goes, so that a replay of the whole log needs the memory of one read.
    async fn entries_stream<RB>(&mut self, range: RB) -> impl Stream<Item = io::Result<Entry>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let (from, to) = ends(&range);
        let store = self.clone();
        futures::stream::unfold((from, false), move |(next, failed)| {
            let chunk = if failed || next >= to { Ok(Vec::new()) } else { store.read(next, to, READ_BYTES_MAX) };
            std::future::ready(match chunk {
                Err(error) => Some((vec![Err(error)], (next, true))),
                Ok(entries) => entries.last().map(Entry::index).map(|last| {
                    let items = entries.into_iter().map(Ok).collect::<Vec<_>>();
                    (items, (last + 1, false))
                }),
            })
        })
        .flat_map(futures::stream::iter)
        .boxed()
    }
}

impl RaftLogStorage<Types> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<Types>> {
        let state = self.log.state();
        Ok(LogState {
            last_purged_log_id: state.purged.map(log_id),
            last_log_id: state.last.or(state.purged).map(log_id),
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        let (done, saved) = tokio::sync::oneshot::channel();
        self.log.save_vote(encode(vote), Box::new(move |result| drop(done.send(result))));
        saved.await.unwrap_or(Err(Halt::Closed)).map_err(io::Error::from)
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let records: Vec<Record> = entries.into_iter().map(record).collect();
        if records.is_empty() {
            callback.io_completed(Ok(()));
            return Ok(());
        }
        let policy = *self.policy.read();
        let done = Box::new(move |result: Result<(), Halt>| callback.io_completed(result.map_err(io::Error::from)));
        self.log.append(records, policy, done).await;
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        self.log.truncate_after(last.map(|id| id.index)).map_err(io::Error::from)
    }

    async fn purge(&mut self, upto: LogId) -> io::Result<()> {
        self.log.purge(position(&upto)).map_err(io::Error::from)
    }
}
