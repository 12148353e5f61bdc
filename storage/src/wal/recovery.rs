//! What a start makes of the segments that are there. Start reading at [`recover`].
//!
//! The segments are replayed in order. Bytes that are no record are a torn tail if they lie beyond what is known to
//! have been synced: the log ends there, even if whole records follow. Before it they are damage, and the question is
//! whose: a record whose header can be read says so itself, the others are found by the serials that each group counts
//! its records with. A group that may have lost a record, and has no later one that proves the opposite, is damaged.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use model::VgroupId;

use super::carried::Carried;
use super::format::{
    Batch, Kind, RecordHeader, SEGMENT_HEADER_BYTES, SegmentHeader, State, segment_name, segment_sequence,
};
use super::group::{Core, Place, Slot};
use super::scan::{Found, Scan, synced_mark};
use super::segment::Segment;
use super::types::{GroupRecovery, Recovery};
use crate::files::{LogFile, LogFiles};
use crate::halt::Halt;

/// Everything that a start found.
pub(crate) struct Recovered {
    pub(crate) recovery: Recovery,
    pub(crate) segments: BTreeMap<u64, Arc<Segment>>,
    pub(crate) groups: BTreeMap<VgroupId, (Core, Carried)>,
    /// Sequence and end of the last segment; zeros if there is none.
    pub(crate) last: (u64, u64),
}

/// One group while the segments are replayed.
#[derive(Default)]
struct Replayed {
    /// Of the last record seen.
    serial: u64,
    state: State,
    slots: VecDeque<Slot>,
    /// The oldest segment that says something of it.
    oldest: u64,
    /// It may have lost a record here.
    doubt: Option<String>,
    /// There was a record of it; otherwise there should have been.
    known: bool,
}

impl Replayed {
    fn damage(&mut self, place: impl FnOnce() -> String) {
        self.doubt = None;
        self.state.damaged.get_or_insert_with(place);
    }

    /// There is a whole record of this group, with the serial `found`; it should be `expected`.
    fn proves(&mut self, expected: Option<u64>, found: u64, place: impl FnOnce() -> String) {
        if expected == Some(found) {
            self.doubt = None;
        } else {
            let lost = self.doubt.take();
            self.damage(|| lost.unwrap_or_else(place));
        }
        self.serial = found;
    }

    fn apply(&mut self, header: &RecordHeader, payload: &[u8], place: Place) -> Result<(), &'static str> {
        match header.kind {
            Kind::Entry => {
                let last = self.slots.back().map(|slot| slot.position.index);
                let purged = self.state.purged.map(|purged| purged.index);
                if last.is_some_and(|last| header.position.index != last + 1)
                    || last.is_none() && purged.is_some_and(|purged| header.position.index <= purged)
                {
                    return Err("an entry does not follow the one before");
                }
                self.slots.push_back(Slot {
                    serial: header.serial,
                    position: header.position,
                    kind: header.tag,
                    length: u32::try_from(payload.len()).map_err(|_| "an entry is too large")?,
                    payload: None,
                    place: Some(place),
                });
            }
            Kind::Vote => self.state.vote = Some(payload.to_vec()),
            Kind::Purge => {
                if self.state.purged.is_none_or(|purged| purged.index < header.position.index) {
                    self.state.purged = Some(header.position);
                }
                while self.slots.front().is_some_and(|slot| slot.position.index <= header.position.index) {
                    self.slots.pop_front();
                }
            }
            Kind::Truncate => {
                let end = if header.tag == 1 { 0 } else { header.position.index + 1 };
                while self.slots.back().is_some_and(|slot| slot.position.index >= end) {
                    self.slots.pop_back();
                }
            }
            Kind::Batch | Kind::State | Kind::Drop => {}
        }
        Ok(())
    }

    /// The group as it starts, after the last segment.
    fn finish(mut self) -> (Core, Carried) {
        if let Some(place) = self.doubt.take() {
            self.damage(|| place);
        }
        if let (Some(purged), Some(first)) = (self.state.purged, self.slots.front())
            && first.position.index != purged.index + 1
        {
            let (purged, first) = (purged.index, first.position.index);
            self.damage(|| format!("entries between {purged} and {first} are missing"));
        }
        let mut carried = Carried { serial: self.serial, state: self.state, ..Carried::default() };
        for slot in &self.slots {
            carried.entry(slot.place.map_or(0, |place| place.sequence), slot.position.index);
        }
        if carried.state.damaged.is_some() {
            carried.pinned = Some(self.oldest);
        }
        let vote = carried.state.vote.clone().map(Bytes::from);
        let mut core = Core::recovered(self.serial, vote, carried.state.purged, self.slots);
        core.halted = carried.state.damaged.clone().map(Halt::corrupt);
        (core, carried)
    }
}

/// One segment being replayed.
struct Current<'a> {
    name: &'a str,
    header: SegmentHeader,
    /// Whether it is the oldest that is left, so that groups may have a past that is gone.
    oldest: bool,
    /// Up to here bad bytes are damage, beyond it a torn tail.
    synced: u64,
    /// How many groups the opening was seen to carry forward, or is known to.
    opened: u32,
    /// The batch being read: its bytes, and whose records they are.
    batch: Option<(Range<u64>, Vec<VgroupId>)>,
}

#[derive(Default)]
struct Replay {
    groups: BTreeMap<VgroupId, Replayed>,
    recovery: Recovery,
}

impl Replay {
    /// Replays one segment, and gives where it ends: before its torn tail, if it has one.
    fn segment(&mut self, current: &mut Current<'_>, bytes: &[u8], end: Option<u64>) -> u64 {
        let mut valid_end = SEGMENT_HEADER_BYTES as u64;
        let mut scan = Scan::new(bytes, current.header.seed(), end);
        while let Some(found) = scan.next() {
            match found {
                Found::Record { offset, header, payload } => {
                    self.recovery.records += 1;
                    valid_end = offset + header.record_bytes() as u64;
                    self.record(current, offset, &header, payload);
                }
                Found::Bad { range, header } if range.start >= current.synced => {
                    let more = header.is_some() || scan.next().is_some();
                    if end.is_none() && more {
                        self.recovery.torn = Some((current.name.to_owned(), range.start..bytes.len() as u64));
                    }
                    return range.start;
                }
                Found::Bad { range, header } => {
                    self.damaged(current, &range, header.as_ref());
                    if range.end > current.synced {
                        return current.synced;
                    }
                    valid_end = range.end;
                }
            }
        }
        valid_end
    }

    fn record(&mut self, current: &mut Current<'_>, offset: u64, header: &RecordHeader, payload: &[u8]) {
        let place = || format!("{} at {offset}", current.name);
        let sequence = current.header.sequence;
        match header.kind {
            Kind::Batch => {
                let batch = Batch::decode(header, payload);
                if offset < current.header.opening_end {
                    current.opened = current.header.groups;
                }
                current.batch =
                    batch.and_then(|batch| batch.groups.map(|groups| (offset..offset + batch.bytes, groups)));
                return;
            }
            Kind::State => {
                let Some(state) = State::decode(payload) else {
                    return self.lost(current, header, &place());
                };
                current.opened += 1;
                if let Some(group) = self.groups.get_mut(&header.group).filter(|group| group.known) {
                    group.proves(Some(group.serial), header.serial, || format!("records before {}", place()));
                    if let Some(damaged) = state.damaged {
                        group.damage(|| damaged);
                    }
                } else {
                    let serial = header.serial;
                    let group = self.groups.entry(header.group).or_default();
                    *group = Replayed { serial, state, oldest: sequence, known: true, ..Replayed::default() };
                    if !current.oldest {
                        group.damage(|| format!("records before {}", place()));
                    }
                }
                return;
            }
            _ => {}
        }
        let known = self.groups.get(&header.group).is_some_and(|group| group.known);
        let group =
            self.groups.entry(header.group).or_insert_with(|| Replayed { oldest: sequence, ..Replayed::default() });
        let expected = match (known, header.first) {
            (false, true) => Some(header.serial),
            (true, false) => Some(group.serial + 1),
            // Its beginning is missing, or the end of the one before.
            (false, false) | (true, true) => None,
        };
        group.known = true;
        group.proves(expected, header.serial, || format!("records before {}", place()));
        if header.kind == Kind::Drop {
            self.groups.remove(&header.group);
        } else if let Err(what) = group.apply(header, payload, Place { sequence, offset }) {
            group.damage(|| format!("{}: {what}", place()));
        }
    }

    /// A record whose header can be read and whose payload cannot.
    fn lost(&mut self, current: &mut Current<'_>, header: &RecordHeader, place: &str) {
        current.opened += u32::from(header.kind == Kind::State);
        match header.kind {
            Kind::Batch => self.recovery.elsewhere.push(place.to_owned()),
            // What it carries forward is known from the segments before it, if they are there.
            Kind::State if self.groups.get(&header.group).is_some_and(|group| group.serial == header.serial) => {
                self.recovery.elsewhere.push(place.to_owned());
            }
            _ => {
                let group = self.groups.entry(header.group).or_default();
                if group.oldest == 0 {
                    group.oldest = current.header.sequence;
                }
                group.known = true;
                group.serial = header.serial;
                group.damage(|| place.to_owned());
            }
        }
    }

    /// Synced bytes that are no record.
    fn damaged(&mut self, current: &mut Current<'_>, range: &Range<u64>, header: Option<&RecordHeader>) {
        let place = format!("{} at {}..{}", current.name, range.start, range.end);
        if let Some(header) = header {
            if header.kind == Kind::Batch {
                current.batch = None;
            }
            return self.lost(current, header, &place);
        }
        let batch = current.batch.take();
        let named = batch.as_ref().is_some_and(|(bytes, _)| bytes.start <= range.start && range.end <= bytes.end);
        let mut doubted = batch.as_ref().map_or_else(Vec::new, |(_, groups)| groups.clone());
        if named {
            current.batch = batch;
        } else {
            // It reaches beyond the batch, or the batch does not say: it may have been anybody's.
            doubted.extend(self.groups.keys());
            self.recovery.elsewhere.push(place.clone());
        }
        for id in doubted {
            let group = self.groups.entry(id).or_default();
            if group.oldest == 0 {
                group.oldest = current.header.sequence;
            }
            group.doubt.get_or_insert_with(|| place.clone());
        }
    }
}

/// Reads every segment there is. The tail of the last one, as far as it is whole, is synced when this returns.
pub(crate) fn recover(files: &dyn LogFiles) -> Result<Recovered, Halt> {
    let mut open = open_segments(files)?;
    let mut replay = Replay::default();
    let mut segments = BTreeMap::new();
    let mut last = (0, 0);
    let ends: Vec<Option<u64>> =
        open.iter().skip(1).map(|(header, ..)| Some(header.previous_end)).chain([None]).collect();
    for (place, ((header, file, length), end)) in open.drain(..).zip(ends).enumerate() {
        let name = segment_name(header.sequence);
        let mut bytes = vec![0; usize::try_from(length).map_err(|_| Halt::corrupt(format!("length of {name}")))?];
        file.read_at(0, &mut bytes).map_err(Halt::disk_at(format!("read {name}")))?;
        let seed = header.seed();
        let synced = end.unwrap_or_else(|| synced_mark(&bytes, seed, header.opening_end));
        let mut current = Current { name: &name, header, oldest: place == 0, synced, opened: 0, batch: None };
        let valid_end = replay.segment(&mut current, &bytes, end);
        if place == 0 && current.opened < header.groups {
            return Err(Halt::corrupt(format!("opening of segment {name}")));
        }
        if end.is_none() {
            settle_tail(&*file, &name, &bytes, synced, valid_end)?;
        }
        replay.recovery.bytes += valid_end;
        last = (header.sequence, end.unwrap_or(valid_end));
        segments.insert(header.sequence, Arc::new(Segment { sequence: header.sequence, seed, file, length }));
    }
    let mut recovery = replay.recovery;
    let groups: BTreeMap<_, _> = replay.groups.into_iter().map(|(id, group)| (id, group.finish())).collect();
    for (id, (core, carried)) in &groups {
        let found = match &carried.state.damaged {
            None => GroupRecovery::Ok { last: core.last() },
            Some(place) => GroupRecovery::Damaged { place: place.clone() },
        };
        recovery.groups.insert(*id, found);
    }
    Ok(Recovered { recovery, segments, groups, last })
}

type Opened = (SegmentHeader, Box<dyn LogFile>, u64);

/// All segments, oldest first; their headers are whole and none is missing between them.
fn open_segments(files: &dyn LogFiles) -> Result<Vec<Opened>, Halt> {
    let mut open: Vec<Opened> = Vec::new();
    for name in files.list().map_err(Halt::disk_at("list the log's files"))? {
        let Some(sequence) = segment_sequence(&name) else { continue };
        let disk = || Halt::disk_at(format!("open {name}"));
        let file = files.open(&name).map_err(disk())?;
        let length = file.length().map_err(disk())?;
        let mut first = vec![0; SEGMENT_HEADER_BYTES.min(usize::try_from(length).unwrap_or(usize::MAX))];
        file.read_at(0, &mut first).map_err(disk())?;
        let header = SegmentHeader::decode(&name, &first)?;
        if let Some((before, ..)) = open.last()
            && before.sequence + 1 != sequence
        {
            return Err(Halt::corrupt(format!("segment {} is missing", segment_name(before.sequence + 1))));
        }
        open.push((header, file, length));
    }
    Ok(open)
}

/// Makes the tail that is about to be trusted durable. It is written again first: after a sync that failed the system
/// may still show bytes that it no longer intends to write.
fn settle_tail(file: &dyn LogFile, name: &str, bytes: &[u8], synced: u64, end: u64) -> Result<(), Halt> {
    let disk = || Halt::disk_at(format!("settle the tail of {name}"));
    if synced < end {
        let range = usize::try_from(synced).unwrap_or(0)..usize::try_from(end).unwrap_or(bytes.len());
        file.write_at(synced, &bytes[range]).map_err(disk())?;
    }
    file.sync().map_err(disk())
}
