//! The log of a dnode: one [`Wal`] for all vgroups and the mnode group.
//!
//! One writer takes what all groups have queued, writes it with one write, and syncs once where anything of it asks
//! for that. A group sees its own log only, through a [`GroupLog`].
//!
//! The life of an append: [`GroupLog::append`] waits for room in the queue (`queue`), puts the entries into the
//! group's memory (`group`) and queues them; the writer (`writer`) puts everything queued into one batch (`format`),
//! writes it to the last segment (`segment`), syncs it if asked, and calls what waits. A start reads all segments
//! (`recovery`, `scan`), and always begins a new one. [`inspect`] prints a log for people.
//!
//! What holds:
//! - An append under [`FsyncPolicy::Always`], and every vote, survives the machine once acknowledged; under the other
//!   policies it survives the process, and the machine from the next sync on, whoever asked for that.
//! - After a failed write or sync nothing works any more until the log is opened anew; nothing is retried.
//! - A group never sees entries that it did not append, nor a gap.
//! - Segments are reused oldest first, when no group has an entry in them; everything else of a group is carried
//!   forward by the opening of each new segment.

mod carried;
mod format;
mod group;
mod inspect;
mod queue;
mod recovery;
mod scan;
mod segment;
#[cfg(test)]
mod tests;
mod types;
mod writer;

use std::ops::Range;
use std::sync::Arc;
use std::thread::JoinHandle;

use bytes::Bytes;
use model::VgroupId;
use model::options::FsyncPolicy;
use parking_lot::Mutex;
use tokio::sync::oneshot;

pub use inspect::{inspect, inspect_files};
pub use types::{Done, GroupRecovery, GroupState, Position, RECORD_PAYLOAD_BYTES_MAX, Record, Recovery, WalSettings};
pub use writer::Stepper;

use crate::files::LogFiles;
use crate::halt::Halt;
use group::{Core, Group, Slot};
use queue::{Op, Shared};
use segment::Pool;
use writer::Writer;

/// The log of a dnode. Cheap to clone. When the last clone goes, what is queued is still written, but not synced, and
/// the thread is waited for; see [`Wal::close`] for an orderly end.
#[derive(Clone, Debug)]
pub struct Wal(Arc<Owner>);

#[derive(Debug)]
struct Owner {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Drop for Owner {
    fn drop(&mut self) {
        // Refused if the log has halted, which is as good.
        let _ = self.shared.push(Op::Stop { done: None });
        self.join();
    }
}

impl Owner {
    fn join(&self) {
        if let Some(thread) = self.thread.lock().take()
            && thread.thread().id() != std::thread::current().id()
            && thread.join().is_err()
        {
            tracing::error!("the writer of the log has panicked");
        }
    }
}

/// The log of one group. Cheap to clone.
#[derive(Clone, Debug)]
pub struct GroupLog {
    group: Arc<Group>,
    shared: Arc<Shared>,
}

impl Wal {
    /// Reads what is there, starts a new segment and starts the writer thread.
    ///
    /// # Errors
    ///
    /// [`Halt::Corrupt`] if the damage cannot be confined to groups (a segment is missing, its header is damaged, or so
    /// much of the oldest one's opening that nothing says which groups there are),
    /// [`Halt::Newer`] if a newer program wrote it, [`Halt::Disk`].
    pub fn open(files: Arc<dyn LogFiles>, settings: WalSettings) -> Result<(Self, Recovery), Halt> {
        let (shared, writer, recovery) = start(files, settings, true)?;
        let thread = std::thread::Builder::new()
            .name("wal-writer".into())
            .spawn(move || writer::run(writer))
            .map_err(Halt::disk_at("start the log's writer thread"))?;
        Ok((Self(Arc::new(Owner { shared, thread: Mutex::new(Some(thread)) })), recovery))
    }

    /// The same without a thread: nothing is written unless the [`Stepper`] is turned. For simulations and tests.
    ///
    /// # Errors
    ///
    /// As [`Wal::open`].
    pub fn open_stepped(files: Arc<dyn LogFiles>, settings: WalSettings) -> Result<(Self, Recovery, Stepper), Halt> {
        let (shared, writer, recovery) = start(files, settings, false)?;
        Ok((Self(Arc::new(Owner { shared, thread: Mutex::default() })), recovery, Stepper(writer)))
    }

    /// The log of one group, empty if nothing was ever written to it.
    ///
    /// # Errors
    ///
    /// [`Halt::Corrupt`] if the start found it damaged; [`Wal::drop_group`] makes room for a new one.
    pub fn group(&self, id: VgroupId) -> Result<GroupLog, Halt> {
        let mut groups = self.0.shared.groups.lock();
        let group = groups
            .entry(id)
            .or_insert_with(|| Arc::new(Group { id, core: Mutex::new(Core::new(self.0.shared.serial_before(id))) }));
        if let Some(halt) = &group.core.lock().halted {
            return Err(halt.clone());
        }
        Ok(GroupLog { group: Arc::clone(group), shared: Arc::clone(&self.0.shared) })
    }

    /// Forgets everything of one group; `done` when that is durable. Its [`GroupLog`]s are closed.
    pub fn drop_group(&self, id: VgroupId, done: Done) {
        let shared = &self.0.shared;
        let mut groups = shared.groups.lock();
        let Some(group) = groups.remove(&id) else {
            drop(groups);
            return self.queue(Op::Sync { done });
        };
        let pushed = {
            let mut core = group.core.lock();
            core.halted = Some(Halt::Closed);
            core.slots.clear();
            let serial = core.next_serial();
            shared.dropped.lock().insert(id, serial);
            shared.push(Op::Drop { group: Arc::clone(&group), serial, done })
        };
        drop(groups);
        refuse(pushed);
    }

    /// Groups of which the log holds something, also damaged ones.
    #[must_use]
    pub fn groups(&self) -> Vec<VgroupId> {
        let groups = self.0.shared.groups.lock();
        groups.iter().filter(|(_, group)| group.core.lock().used).map(|(id, _)| *id).collect()
    }

    /// Which groups keep old segments from being reused, and how many; the worst first. Flush and purge these. A
    /// damaged group counts too, until it is dropped.
    #[must_use]
    pub fn pinning(&self) -> Vec<(VgroupId, u64)> {
        let (oldest, active) = {
            let segments = self.0.shared.segments.lock();
            let ends = (segments.keys().next().copied(), segments.keys().next_back().copied());
            let (Some(oldest), Some(active)) = ends else { return Vec::new() };
            (oldest, active)
        };
        let groups: Vec<_> = self.0.shared.groups.lock().values().cloned().collect();
        let mut pinning: Vec<(VgroupId, u64)> = Vec::new();
        for group in groups {
            let core = group.core.lock();
            let first = core.slots.front().and_then(|slot| slot.place).map(|place| place.sequence);
            let needs = if core.halted.is_some() { Some(oldest) } else { first };
            pinning.extend(needs.filter(|needs| *needs < active).map(|needs| (group.id, active - needs)));
        }
        pinning.sort_by_key(|(id, segments)| (std::cmp::Reverse(*segments), *id));
        pinning
    }

    /// Bytes of payload in memory: what waits for the writer, and the newest of what it has written.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        self.0.shared.memory() as u64
    }

    /// Bytes of all segment files in use.
    #[must_use]
    pub fn disk_bytes(&self) -> u64 {
        self.0.shared.segments.lock().values().map(|segment| segment.length).sum()
    }

    /// Why the log has halted, if it has.
    #[must_use]
    pub fn halted(&self) -> Option<Halt> {
        self.0.shared.halted()
    }

    /// Returns when everything that was queued before is synced.
    ///
    /// # Errors
    ///
    /// Why the log has halted.
    pub async fn sync(&self) -> Result<(), Halt> {
        self.ask(|done| Op::Sync { done }).await
    }

    /// Writes and syncs what is queued, then stops. Later calls fail with [`Halt::Closed`].
    ///
    /// # Errors
    ///
    /// Why the log has halted: then nothing may be assumed to be synced, and no clean-shutdown mark may be left.
    pub async fn close(&self) -> Result<(), Halt> {
        let closed = self.ask(|done| Op::Stop { done: Some(done) }).await;
        self.0.join();
        closed
    }

    async fn ask(&self, op: impl FnOnce(Done) -> Op) -> Result<(), Halt> {
        let (sender, receiver) = oneshot::channel();
        self.queue(op(Box::new(move |result| {
            // Whoever asked may have gone.
            let _ = sender.send(result);
        })));
        receiver.await.unwrap_or(Err(Halt::Closed))
    }

    fn queue(&self, op: Op) {
        refuse(self.0.shared.push(op));
    }
}

/// Tells whoever waits that the log did not take the operation. Never called with a lock held.
fn refuse(pushed: Result<(), (Op, Halt)>) {
    if let Err((op, halt)) = pushed {
        op.fail(&halt);
    }
}

fn start(
    files: Arc<dyn LogFiles>,
    settings: WalSettings,
    threads: bool,
) -> Result<(Arc<Shared>, Writer, Recovery), Halt> {
    let found = recovery::recover(&*files)?;
    let pool = Arc::new(Pool::open(Arc::clone(&files), settings.segment_bytes, settings.pool_segments_max)?);
    let shared = Arc::new(Shared::new(settings, found.last.0 + 1));
    *shared.segments.lock() = found.segments;
    let mut carried = std::collections::BTreeMap::new();
    for (id, (core, written)) in found.groups {
        shared.groups.lock().insert(id, Arc::new(Group { id, core: Mutex::new(core) }));
        carried.insert(id, written);
    }
    let writer = Writer::start(Arc::clone(&shared), files, pool, carried, found.last, threads)?;
    Ok((shared, writer, found.recovery))
}

impl GroupLog {
    /// Whose log it is.
    #[must_use]
    pub fn id(&self) -> VgroupId {
        self.group.id
    }

    /// What the log holds, including what is queued.
    #[must_use]
    pub fn state(&self) -> GroupState {
        self.group.core.lock().state()
    }

    /// Saves the vote; `done` when it is synced, whatever the policy of the group.
    pub fn save_vote(&self, vote: Bytes, done: Done) {
        let group = Arc::clone(&self.group);
        let pushed = {
            let mut core = self.group.core.lock();
            if let Some(halt) = core.halted.clone() {
                drop(core);
                return done(Err(halt));
            }
            core.vote = Some(vote.clone());
            let serial = core.next_serial();
            self.shared.push(Op::Vote { group, serial, vote, done })
        };
        refuse(pushed);
    }

    /// Appends `records`. They can be read when this returns; `done` is called when `policy` lets them be acknowledged.
    ///
    /// Waits, without blocking the thread, while [`WalSettings::queue_bytes_max`] is used up. A call that is dropped
    /// while it waits appends nothing and drops `done`.
    ///
    /// # Panics
    ///
    /// If the first record does not follow the last one stored: the caller has lost the log. If a payload is larger
    /// than [`RECORD_PAYLOAD_BYTES_MAX`]: the caller should have refused it.
    pub async fn append(&self, records: Vec<Record>, policy: FsyncPolicy, done: Done) {
        let mut bytes = 0_usize;
        for record in &records {
            let length = record.payload.len();
            assert!(length <= RECORD_PAYLOAD_BYTES_MAX, "a log entry of {length} bytes");
            bytes += format::record_bytes(length);
        }
        let permits = self.shared.permits(bytes);
        match self.shared.room.acquire_many(permits).await {
            Ok(acquired) => acquired.forget(),
            Err(_) => return done(Err(self.shared.halted().unwrap_or(Halt::Closed))),
        }
        let refused = {
            let mut core = self.group.core.lock();
            match core.halted.clone() {
                Some(halt) => Some((done, halt)),
                None if records.is_empty() => {
                    drop(core);
                    self.shared.room.add_permits(permits as usize);
                    return done(self.shared.halted().map_or(Ok(()), Err));
                }
                None => {
                    let serial = core.append(&records);
                    let group = Arc::clone(&self.group);
                    let pushed = self.shared.push(Op::Append { group, serial, records, policy, permits, done });
                    drop(core);
                    refuse(pushed);
                    None
                }
            }
        };
        if let Some((done, halt)) = refused {
            self.shared.room.add_permits(permits as usize);
            done(Err(halt));
        }
    }

    /// Removes all entries after `index`; all there are with `None`. At once for readers; on disk in order with all
    /// other changes of the group.
    ///
    /// # Errors
    ///
    /// Why the log has halted.
    pub fn truncate_after(&self, index: Option<u64>) -> Result<(), Halt> {
        self.mark(|core| core.truncate_after(index), |group, serial| Op::Truncate { group, serial, index })
    }

    /// Removes all entries up to and including `position`, which may lie beyond the last one. At once for readers; on
    /// disk in order with all other changes of the group.
    ///
    /// # Errors
    ///
    /// Why the log has halted.
    pub fn purge(&self, position: Position) -> Result<(), Halt> {
        fail::fail_point!("purge", |_| std::process::abort());
        self.mark(|core| core.purge(position), |group, serial| Op::Purge { group, serial, position })
    }

    fn mark(&self, change: impl FnOnce(&mut Core), op: impl FnOnce(Arc<Group>, u64) -> Op) -> Result<(), Halt> {
        let mut core = self.group.core.lock();
        if let Some(halt) = core.halted.clone().or_else(|| self.shared.halted()) {
            return Err(halt);
        }
        change(&mut core);
        let serial = core.next_serial();
        self.shared.push(op(Arc::clone(&self.group), serial)).map_err(|(_, halt)| halt)
    }

    /// The entries of `range` that there are, in order; stops early when `bytes_max` of payload is reached, but gives at
    /// least one. Reads the disk, blocking, where the payload is no longer in memory.
    ///
    /// # Errors
    ///
    /// Why the log has halted, [`Halt::Corrupt`] if what was written cannot be read back, [`Halt::Disk`].
    pub fn read(&self, range: Range<u64>, bytes_max: usize) -> Result<Vec<Record>, Halt> {
        'again: loop {
            if let Some(halt) = self.shared.halted() {
                return Err(halt);
            }
            let slots = {
                let core = self.group.core.lock();
                if let Some(halt) = &core.halted {
                    return Err(halt.clone());
                }
                core.slots_in(&range, bytes_max)
            };
            let mut records = Vec::with_capacity(slots.len());
            for slot in slots {
                let payload = match &slot.payload {
                    Some(payload) => payload.clone(),
                    None => match self.read_stored(&slot)? {
                        Some(payload) => payload,
                        // Purged in the meantime.
                        None => continue 'again,
                    },
                };
                records.push(Record { position: slot.position, kind: slot.kind, payload });
            }
            return Ok(records);
        }
    }

    /// The payload of an entry that is no longer in memory; `None` if its segment is no longer there, which means that
    /// the entry is not either.
    fn read_stored(&self, slot: &Slot) -> Result<Option<Bytes>, Halt> {
        let place = slot.place.expect("a payload is only dropped after it was written");
        let Some(segment) = self.shared.segments.lock().get(&place.sequence).cloned() else { return Ok(None) };
        let at = || format!("{} at {}, entry {} of {}", segment.name(), place.offset, slot.position, self.group.id);
        let mut bytes = vec![0; format::RECORD_HEADER_BYTES + slot.length as usize];
        segment.file.read_at(place.offset, &mut bytes).map_err(|error| Halt::disk(format!("read {}", at()), error))?;
        let header = format::RecordHeader::decode(segment.seed, &bytes).ok_or_else(|| Halt::corrupt(at()))?;
        let payload = Bytes::from(bytes).slice(format::RECORD_HEADER_BYTES..);
        if header.group != self.group.id || header.serial != slot.serial || !header.matches(segment.seed, &payload) {
            return Err(Halt::corrupt(at()));
        }
        Ok(Some(payload))
    }

    /// The last entry that is synced (or purged).
    #[must_use]
    pub fn synced(&self) -> Option<Position> {
        self.group.core.lock().synced()
    }

    /// The last entry that is written (or purged), synced or not.
    #[must_use]
    pub fn written(&self) -> Option<Position> {
        self.group.core.lock().written()
    }
}
