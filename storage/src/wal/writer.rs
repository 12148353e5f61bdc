//! The writer: takes what is queued, writes it in batches, syncs where asked, and gives segments back to the pool.
//!
//! It is a state machine without a thread or a clock of its own: whoever owns it calls [`Writer::turn`] with the time
//! when there is work or when a sync is due. In production that is [`run`] on its own thread, in a simulation a
//! [`Stepper`]. Start reading at [`Writer::work`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use model::VgroupId;
use model::options::FsyncPolicy;

use super::carried::{Carried, opening};
use super::format::{
    BATCH_GROUPS_MAX, Batch, Kind, RecordHeader, SEGMENT_HEADER_BYTES, SegmentHeader, put_record, record_bytes,
    segment_name,
};
use super::group::{Group, Place};
use super::queue::{Op, Shared};
use super::segment::{Free, Pool, Segment};
use super::types::{Done, Record};
use crate::files::LogFiles;
use crate::halt::Halt;

/// When an acknowledgement may be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    Write,
    Sync,
}

/// One entry of the batch being put together.
struct Note {
    group: Arc<Group>,
    index: u64,
    serial: u64,
    length: usize,
    /// Where in the batch.
    at: usize,
}

/// The batch being put together.
#[derive(Default)]
struct Chunk {
    bytes: Vec<u8>,
    /// Names that its first record has room for.
    groups_room: usize,
    groups: BTreeSet<VgroupId>,
    notes: Vec<Note>,
    dones: Vec<(After, Done)>,
    permits: u32,
}

/// Bytes of zeros that a sync writes ahead of the end, once the ones before are used up.
const ZEROS_AHEAD: usize = 1 << 20;

/// The segment being written.
struct Active {
    segment: Arc<Segment>,
    /// Where the next batch goes.
    end: u64,
    /// Up to where it is synced.
    synced: u64,
    /// Up to where the file is known to have its blocks.
    allocated: u64,
}

/// A payload in memory that may be dropped when newer ones need the room.
struct Cached {
    group: Arc<Group>,
    index: u64,
    serial: u64,
    length: usize,
}

/// See the module.
pub(crate) struct Writer {
    shared: Arc<Shared>,
    files: Arc<dyn LogFiles>,
    pool: Arc<Pool>,
    /// Whether a thread may prepare files ahead of time.
    threads: bool,
    groups: BTreeMap<VgroupId, Carried>,
    active: Active,
    ops: VecDeque<Op>,
    chunk: Chunk,
    /// Whose records are written but not synced.
    unsynced: BTreeMap<VgroupId, Arc<Group>>,
    /// To be called after the next sync.
    awaiting: Vec<Done>,
    sync_wanted: bool,
    /// When the shortest period that has something unsynced ends.
    sync_due_ms: Option<u64>,
    release_wanted: bool,
    stopped: bool,
    cache: VecDeque<Cached>,
    cache_bytes: usize,
}

impl Writer {
    /// A writer that goes on after `previous`: the sequence and end of the last segment that is there, synced.
    pub(crate) fn start(
        shared: Arc<Shared>,
        files: Arc<dyn LogFiles>,
        pool: Arc<Pool>,
        groups: BTreeMap<VgroupId, Carried>,
        previous: (u64, u64),
        threads: bool,
    ) -> Result<Self, Halt> {
        let active = new_segment(&*files, &pool, &groups, previous, 0, &shared.settings)?;
        shared.segments.lock().insert(active.segment.sequence, Arc::clone(&active.segment));
        let mut writer = Self {
            shared,
            files,
            pool,
            threads,
            groups,
            active,
            ops: VecDeque::new(),
            chunk: Chunk::default(),
            unsynced: BTreeMap::new(),
            awaiting: Vec::new(),
            sync_wanted: false,
            sync_due_ms: None,
            release_wanted: false,
            stopped: false,
            cache: VecDeque::new(),
            cache_bytes: 0,
        };
        writer.release()?;
        writer.prepare_ahead();
        Ok(writer)
    }

    /// Does all that is queued and due at `now_ms`, a clock that never goes back; gives the time of the next sync that
    /// will be due. After a failure everything waiting is told of it, and the log is halted.
    pub(crate) fn turn(&mut self, now_ms: u64) -> Option<u64> {
        self.ops.append(&mut self.shared.take());
        if let Err(halt) = self.work(now_ms) {
            tracing::error!(%halt, "the log has halted: every vnode of this dnode must be reopened");
            self.fail(&halt);
        }
        self.sync_due_ms
    }

    /// Whether nothing more will ever be done.
    pub(crate) fn stopped(&self) -> bool {
        self.stopped
    }

    fn work(&mut self, now_ms: u64) -> Result<(), Halt> {
        while let Some(op) = self.ops.pop_front() {
            self.encode(op, now_ms)?;
        }
        self.flush()?;
        if self.sync_wanted || self.sync_due_ms.is_some_and(|due| due <= now_ms) {
            self.sync()?;
        }
        if self.release_wanted {
            self.release()?;
        }
        Ok(())
    }

    /// Puts the records of `op` into the batch.
    fn encode(&mut self, op: Op, now_ms: u64) -> Result<(), Halt> {
        match op {
            Op::Append { group, serial, records, policy, permits, done } => {
                self.chunk.permits += permits;
                for (serial, record) in (serial..).zip(&records) {
                    if let Err(halt) = self.encode_entry(&group, serial, record) {
                        done(Err(halt.clone()));
                        return Err(halt);
                    }
                }
                let after = if policy == FsyncPolicy::Always { After::Sync } else { After::Write };
                self.sync_wanted |= policy == FsyncPolicy::Always;
                if let FsyncPolicy::Every { period_ms } = policy {
                    let due = now_ms.saturating_add(u64::from(period_ms));
                    self.sync_due_ms = Some(self.sync_due_ms.map_or(due, |earlier| earlier.min(due)));
                }
                self.chunk.dones.push((after, done));
            }
            Op::Vote { group, serial, vote, done } => {
                let header = RecordHeader::new(Kind::Vote, group.id, serial);
                self.encode_mark(&group, header, &vote, Some(done))?.state.vote = Some(vote.to_vec());
            }
            Op::Purge { group, serial, position } => {
                let header = RecordHeader::new(Kind::Purge, group.id, serial).at(position);
                self.encode_mark(&group, header, &[], None)?.purge(position);
                self.release_wanted = true;
            }
            Op::Truncate { group, serial, index } => {
                let mut header = RecordHeader::new(Kind::Truncate, group.id, serial).tagged(u8::from(index.is_none()));
                header.position.index = index.unwrap_or(0);
                self.encode_mark(&group, header, &[], None)?.truncate_after(index);
                self.release_wanted = true;
            }
            Op::Drop { group, serial, done } => {
                let header = RecordHeader::new(Kind::Drop, group.id, serial);
                self.encode_mark(&group, header, &[], Some(done))?;
                self.groups.remove(&group.id);
                self.release_wanted = true;
            }
            Op::Sync { done } => {
                self.sync_wanted = true;
                self.chunk.dones.push((After::Sync, done));
            }
            Op::Stop { done } => self.stop(done)?,
        }
        Ok(())
    }

    fn encode_entry(&mut self, group: &Arc<Group>, serial: u64, record: &Record) -> Result<(), Halt> {
        self.make_room(group.id, record_bytes(record.payload.len()))?;
        let first = !self.groups.contains_key(&group.id);
        let header = RecordHeader::new(Kind::Entry, group.id, serial).first(first);
        let header = header.at(record.position).tagged(record.kind);
        let (at, length, index) = (self.chunk.bytes.len(), record.payload.len(), record.position.index);
        put_record(&mut self.chunk.bytes, self.active.segment.seed, header, &record.payload);
        self.chunk.notes.push(Note { group: Arc::clone(group), index, serial, length, at });
        self.chunk.groups.insert(group.id);
        let carried = self.groups.entry(group.id).or_default();
        carried.serial = serial;
        carried.entry(self.active.segment.sequence, index);
        Ok(())
    }

    /// Puts one record that is no entry into the batch; `done` is called after it is synced.
    fn encode_mark(
        &mut self,
        group: &Arc<Group>,
        header: RecordHeader,
        payload: &[u8],
        done: Option<Done>,
    ) -> Result<&mut Carried, Halt> {
        if let Err(halt) = self.make_room(group.id, record_bytes(payload.len())) {
            if let Some(done) = done {
                done(Err(halt.clone()));
            }
            return Err(halt);
        }
        let header = header.first(!self.groups.contains_key(&group.id));
        put_record(&mut self.chunk.bytes, self.active.segment.seed, header, payload);
        self.chunk.groups.insert(group.id);
        self.unsynced.entry(group.id).or_insert_with(|| Arc::clone(group));
        if let Some(done) = done {
            self.sync_wanted = true;
            self.chunk.dones.push((After::Sync, done));
        }
        let carried = self.groups.entry(group.id).or_default();
        carried.serial = header.serial;
        Ok(carried)
    }

    /// Makes sure that a record of `group`, `bytes` long, fits behind what is in the batch: in the segment being
    /// written, or else in a new one.
    fn make_room(&mut self, group: VgroupId, bytes: usize) -> Result<(), Halt> {
        if !self.chunk.bytes.is_empty() {
            let batch = self.chunk.bytes.len() + bytes;
            let full = self.active.end + batch as u64 > self.active.segment.length;
            if !full && batch <= self.shared.settings.batch_bytes_max {
                return Ok(());
            }
            self.flush()?;
        }
        let groups = self.groups_ahead(group);
        let needed = Batch::record_bytes(groups) + bytes;
        if self.active.end + needed as u64 > self.active.segment.length {
            self.rotate(needed)?;
        }
        self.chunk.groups_room = groups;
        self.chunk.bytes.resize(Batch::record_bytes(groups), 0);
        Ok(())
    }

    /// How many groups a batch that begins now may have to name: `group` and those of what is queued.
    fn groups_ahead(&self, group: VgroupId) -> usize {
        let mut ahead: BTreeSet<VgroupId> = self.ops.iter().filter_map(Op::group).take(BATCH_GROUPS_MAX - 1).collect();
        ahead.insert(group);
        ahead.len()
    }

    /// Writes the batch, and acknowledges what need not wait for a sync.
    fn flush(&mut self) -> Result<(), Halt> {
        if !self.chunk.bytes.is_empty() {
            self.write_chunk()?;
        }
        for (after, done) in std::mem::take(&mut self.chunk.dones) {
            match after {
                After::Write => done(Ok(())),
                After::Sync => self.awaiting.push(done),
            }
        }
        self.shared.room.add_permits(std::mem::take(&mut self.chunk.permits) as usize);
        Ok(())
    }

    fn write_chunk(&mut self) -> Result<(), Halt> {
        let segment = Arc::clone(&self.active.segment);
        let groups = std::mem::take(&mut self.chunk.groups);
        let batch = Batch {
            synced: self.active.synced,
            bytes: self.chunk.bytes.len() as u64,
            groups: Some(groups.iter().copied().collect()),
        };
        let head = batch.encode(segment.seed, self.chunk.groups_room);
        self.chunk.bytes[..head.len()].copy_from_slice(&head);
        let written = segment.file.write_at(self.active.end, &self.chunk.bytes);
        written.map_err(Halt::disk_at(format!("write {}", segment.name())))?;
        metrics::counter!("wal_written_bytes").increment(self.chunk.bytes.len() as u64);
        metrics::counter!("wal_writes").increment(1);
        let start = self.active.end;
        self.active.end += self.chunk.bytes.len() as u64;
        self.chunk.bytes.clear();
        // The buffer of one huge record is not kept for ever.
        self.chunk.bytes.shrink_to(2 * self.shared.settings.batch_bytes_max);
        self.settle(start, segment.sequence);
        Ok(())
    }

    /// Tells the groups where their entries are now, and lets the cache drop what is too much.
    fn settle(&mut self, start: u64, sequence: u64) {
        let notes = std::mem::take(&mut self.chunk.notes);
        for same in notes.chunk_by(|a, b| Arc::ptr_eq(&a.group, &b.group)) {
            let group = &same[0].group;
            let mut core = group.core.lock();
            for note in same {
                let place = Place { sequence, offset: start + note.at as u64 };
                if core.written_at(note.index, note.serial, place) {
                    let (index, serial, length) = (note.index, note.serial, record_bytes(note.length));
                    self.cache_bytes += length;
                    self.cache.push_back(Cached { group: Arc::clone(group), index, serial, length });
                }
            }
            drop(core);
            self.unsynced.insert(group.id, Arc::clone(group));
        }
        while self.cache_bytes > self.shared.settings.cache_bytes_max {
            let Some(oldest) = self.cache.pop_front() else { break };
            self.cache_bytes -= oldest.length;
            oldest.group.core.lock().forget_payload(oldest.index, oldest.serial);
        }
        self.shared.cached.store(self.cache_bytes, Ordering::Relaxed);
    }

    /// Makes everything written durable, and acknowledges what waited for it.
    fn sync(&mut self) -> Result<(), Halt> {
        if self.active.synced < self.active.end {
            self.allocate_ahead()?;
            let started = Instant::now();
            let segment = &self.active.segment;
            segment.file.sync().map_err(Halt::disk_at(format!("sync {}", segment.name())))?;
            metrics::histogram!("wal_sync_seconds").record(started.elapsed().as_secs_f64());
            self.active.synced = self.active.end;
        }
        for group in std::mem::take(&mut self.unsynced).into_values() {
            group.core.lock().all_written_is_synced();
        }
        self.sync_wanted = false;
        self.sync_due_ms = None;
        for done in std::mem::take(&mut self.awaiting) {
            done(Ok(()));
        }
        Ok(())
    }

    /// Writes zeros ahead of the end if this sync has blocks to allocate anyway: so that the next ones have none.
    fn allocate_ahead(&mut self) -> Result<(), Halt> {
        let Active { segment, end, allocated, .. } = &mut self.active;
        let ahead = ZEROS_AHEAD.min(usize::try_from(segment.length.saturating_sub(*end)).unwrap_or(ZEROS_AHEAD));
        if *allocated < *end && ahead > 0 {
            let written = segment.file.write_at(*end, &vec![0; ahead]);
            written.map_err(Halt::disk_at(format!("write {}", segment.name())))?;
            *allocated = *end + ahead as u64;
        }
        Ok(())
    }

    /// Starts a new segment with room for `bytes` after its opening. What was written before is synced first, whatever
    /// the policies say, so that only the last segment can be torn.
    fn rotate(&mut self, bytes: usize) -> Result<(), Halt> {
        self.sync()?;
        fail::fail_point!("wal_rotate");
        let previous = (self.active.segment.sequence, self.active.end);
        self.active = new_segment(&*self.files, &self.pool, &self.groups, previous, bytes, &self.shared.settings)?;
        let segment = &self.active.segment;
        self.shared.segments.lock().insert(segment.sequence, Arc::clone(segment));
        self.release_wanted = true;
        self.prepare_ahead();
        Ok(())
    }

    fn prepare_ahead(&self) {
        if self.threads {
            self.pool.prepare_ahead();
        }
    }

    /// Gives the oldest segments back to the pool, as far as no group needs them.
    fn release(&mut self) -> Result<(), Halt> {
        self.release_wanted = false;
        let active = self.active.segment.sequence;
        let needed = self.groups.values().filter_map(Carried::needs).fold(active, u64::min);
        let old: Vec<u64> = self.shared.segments.lock().range(..needed).map(|(sequence, _)| *sequence).collect();
        if !old.is_empty() {
            // The marks that made them useless must not be lost after them.
            self.sync()?;
        }
        for sequence in old {
            fail::fail_point!("wal_release");
            let segment = self.shared.segments.lock().remove(&sequence).expect("it was listed");
            let name = segment.name();
            let disk = || Halt::disk_at(format!("release {name}"));
            match Arc::try_unwrap(segment) {
                Ok(segment) => {
                    let free = format!("{sequence:016x}.free");
                    self.files.rename(&name, &free).map_err(disk())?;
                    let Segment { file, length, .. } = segment;
                    self.pool.give_back(Free { name: free, file, length, allocated: length })?;
                }
                // Someone is reading it: the handle stays good, the file is not used again.
                Err(_) => self.files.remove(&name).map_err(disk())?,
            }
            // One after the other, so that no gap can ever be seen among those that are left.
            self.files.sync_directory().map_err(disk())?;
            metrics::counter!("wal_segments_released").increment(1);
        }
        metrics::gauge!("wal_segments").set(self.shared.segments.lock().len() as f64);
        Ok(())
    }

    /// Stops for good: synced if there is someone to tell, else as a process does that dies.
    fn stop(&mut self, done: Option<Done>) -> Result<(), Halt> {
        let synced = self.flush().and_then(|()| if done.is_some() { self.sync() } else { Ok(()) });
        if synced.is_ok() {
            self.fail(&Halt::Closed);
        }
        if let Some(done) = done {
            done(synced.clone());
        }
        synced
    }

    /// Tells everything that waits that it failed, and does nothing more.
    fn fail(&mut self, halt: &Halt) {
        let queued = self.shared.halt(halt.clone());
        for (_, done) in std::mem::take(&mut self.chunk).dones {
            done(Err(halt.clone()));
        }
        for done in std::mem::take(&mut self.awaiting) {
            done(Err(halt.clone()));
        }
        for op in std::mem::take(&mut self.ops).into_iter().chain(queued) {
            op.fail(halt);
        }
        self.sync_due_ms = None;
        self.sync_wanted = false;
        self.release_wanted = false;
        self.stopped = true;
    }
}

impl Drop for Writer {
    /// A defect that ends the writer must not leave anyone waiting for it.
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.fail(&Halt::disk("the log's writer", std::io::Error::other("it has panicked")));
        }
    }
}

/// Makes the segment after `previous` (sequence and end of the one before), durably, with its opening and room for
/// `bytes` more.
fn new_segment(
    files: &dyn LogFiles,
    pool: &Pool,
    groups: &BTreeMap<VgroupId, Carried>,
    previous: (u64, u64),
    bytes: usize,
    settings: &super::WalSettings,
) -> Result<Active, Halt> {
    let sequence = previous.0 + 1;
    let mut header = SegmentHeader {
        sequence,
        salt: rand::random(),
        previous_end: previous.1,
        opening_end: SEGMENT_HEADER_BYTES as u64,
        groups: u32::try_from(groups.len()).expect("group ids have 32 bits"),
    };
    let seed = header.seed();
    let opening = opening(groups, seed);
    header.opening_end += opening.len() as u64;
    let mut start = header.encode().to_vec();
    start.extend_from_slice(&opening);
    let needed = (start.len() + bytes) as u64;
    let free = match pool.take() {
        Some(free) if needed <= free.length => free,
        other => {
            other.map_or(Ok(()), |unfit| pool.give_back(unfit))?;
            pool.create(needed.max(settings.segment_bytes))?
        }
    };
    let name = segment_name(sequence);
    let disk = || Halt::disk_at(format!("start {name}"));
    free.file.write_at(0, &start).map_err(disk())?;
    free.file.sync().map_err(disk())?;
    files.rename(&free.name, &name).map_err(disk())?;
    files.sync_directory().map_err(disk())?;
    let segment = Segment { sequence, seed, file: free.file, length: free.length };
    let end = header.opening_end;
    Ok(Active { segment: Arc::new(segment), end, synced: end, allocated: free.allocated })
}

/// Turns `writer` until it has stopped: the body of the writer's thread.
pub(crate) fn run(mut writer: Writer) {
    let started = Instant::now();
    let now_ms = || u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    loop {
        let due = writer.turn(now_ms());
        if writer.stopped() {
            return;
        }
        let shared = Arc::clone(&writer.shared);
        shared.wait(due.map(|due| started + Duration::from_millis(due)));
    }
}

/// Turns the writer by hand, for simulations and tests: nothing is written unless [`Stepper::turn`] is called.
pub struct Stepper(pub(crate) Writer);

impl std::fmt::Debug for Stepper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stepper").finish_non_exhaustive()
    }
}

impl Stepper {
    /// Does all that is queued, and the syncs that are due at `now_ms` (any clock that never goes back). Gives the time
    /// at which the next sync is due.
    pub fn turn(&mut self, now_ms: u64) -> Option<u64> {
        self.0.turn(now_ms)
    }

    /// Returns when something may have been queued since the last turn.
    pub async fn filled(&self) {
        self.0.shared.filled_async.notified().await;
    }
}
