//! One group's log in memory: where every entry is, and how far it is written and synced.
//!
//! Callers change it first and queue the change for the writer while they hold its lock, so that the writer sees the
//! changes of a group in the order in which they were made. The writer comes back with places and progress.

use std::collections::VecDeque;
use std::ops::Range;

use bytes::Bytes;
use model::VgroupId;
use parking_lot::Mutex;

use super::types::{GroupState, Position, Record};
use crate::halt::Halt;

/// One group: shared by its handles and the writer.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) id: VgroupId,
    pub(crate) core: Mutex<Core>,
}

/// What is known of a group's log, including what is queued.
#[derive(Debug, Default)]
pub(crate) struct Core {
    /// Of the last record, queued or written; of a new group, what its first one comes after.
    serial: u64,
    /// There has been a record.
    pub(crate) used: bool,
    pub(crate) vote: Option<Bytes>,
    pub(crate) purged: Option<Position>,
    /// Entries by index, without gaps.
    pub(crate) slots: VecDeque<Slot>,
    /// The index after the last one that is written.
    written_end: u64,
    /// The index after the last one that is synced.
    synced_end: u64,
    /// Why the group cannot be used.
    pub(crate) halted: Option<Halt>,
}

/// One entry.
#[derive(Clone, Debug)]
pub(crate) struct Slot {
    pub(crate) serial: u64,
    pub(crate) position: Position,
    pub(crate) kind: u8,
    pub(crate) length: u32,
    /// In memory until the writer's cache drops it; always while `place` is unknown.
    pub(crate) payload: Option<Bytes>,
    /// Where it was written.
    pub(crate) place: Option<Place>,
}

/// Where a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) sequence: u64,
    pub(crate) offset: u64,
}

impl Core {
    /// A group without a record yet.
    pub(crate) fn new(serial: u64) -> Self {
        Self { serial, ..Self::default() }
    }

    /// As recovery found it: everything in `slots` is written and synced.
    pub(crate) fn recovered(serial: u64, vote: Option<Bytes>, purged: Option<Position>, slots: VecDeque<Slot>) -> Self {
        let end = slots.back().map_or(0, |slot| slot.position.index + 1);
        Self { serial, used: true, vote, purged, slots, written_end: end, synced_end: end, halted: None }
    }

    pub(crate) fn next_serial(&mut self) -> u64 {
        self.used = true;
        self.serial += 1;
        self.serial
    }

    pub(crate) fn state(&self) -> GroupState {
        GroupState { vote: self.vote.clone(), last: self.last(), purged: self.purged }
    }

    /// The last entry, or the purged one.
    pub(crate) fn last(&self) -> Option<Position> {
        self.slots.back().map(|slot| slot.position).or(self.purged)
    }

    /// Takes `records` and gives the serial of the first; the others follow.
    ///
    /// # Panics
    ///
    /// If they do not follow what is there.
    pub(crate) fn append(&mut self, records: &[Record]) -> u64 {
        let mut expected = self.last().map(|last| last.index + 1);
        for record in records {
            let index = record.position.index;
            assert_eq!(index, expected.unwrap_or(index), "log entries must follow one another");
            expected = Some(index + 1);
        }
        let first = self.serial + 1;
        for record in records {
            let serial = self.next_serial();
            self.slots.push_back(Slot {
                serial,
                position: record.position,
                kind: record.kind,
                length: u32::try_from(record.payload.len()).expect("the caller has checked the payload"),
                payload: Some(record.payload.clone()),
                place: None,
            });
        }
        first
    }

    pub(crate) fn truncate_after(&mut self, index: Option<u64>) {
        let end = index.map_or(0, |index| index + 1);
        while self.slots.back().is_some_and(|slot| slot.position.index >= end) {
            self.slots.pop_back();
        }
        self.written_end = self.written_end.min(end);
        self.synced_end = self.synced_end.min(end);
    }

    pub(crate) fn purge(&mut self, position: Position) {
        if self.purged.is_some_and(|purged| purged.index >= position.index) {
            return;
        }
        while self.slots.front().is_some_and(|slot| slot.position.index <= position.index) {
            self.slots.pop_front();
        }
        self.purged = Some(position);
    }

    /// The slot at `index`, if it is still the one that was written with `serial`.
    fn slot_mut(&mut self, index: u64, serial: u64) -> Option<&mut Slot> {
        let first = self.slots.front()?.position.index;
        let at = usize::try_from(index.checked_sub(first)?).ok()?;
        self.slots.get_mut(at).filter(|slot| slot.serial == serial)
    }

    /// The writer has written an entry. `false` if it is gone by now.
    pub(crate) fn written_at(&mut self, index: u64, serial: u64, place: Place) -> bool {
        let Some(slot) = self.slot_mut(index, serial) else { return false };
        slot.place = Some(place);
        self.written_end = index + 1;
        true
    }

    /// The writer has synced everything that it has written.
    pub(crate) fn all_written_is_synced(&mut self) {
        self.synced_end = self.written_end;
    }

    /// The writer's cache has no room for this payload any more.
    pub(crate) fn forget_payload(&mut self, index: u64, serial: u64) {
        if let Some(slot) = self.slot_mut(index, serial)
            && slot.place.is_some()
        {
            slot.payload = None;
        }
    }

    pub(crate) fn written(&self) -> Option<Position> {
        self.before(self.written_end)
    }

    pub(crate) fn synced(&self) -> Option<Position> {
        self.before(self.synced_end)
    }

    /// The last entry below index `end`, or the purged one.
    fn before(&self, end: u64) -> Option<Position> {
        let index = end.checked_sub(1);
        let found = index.and_then(|index| {
            let first = self.slots.front()?.position.index;
            self.slots.get(usize::try_from(index.checked_sub(first)?).ok()?)
        });
        found.map(|slot| slot.position).or(self.purged)
    }

    /// The entries of `range` that there are, up to `bytes_max` of payload but at least one.
    pub(crate) fn slots_in(&self, range: &Range<u64>, bytes_max: usize) -> Vec<Slot> {
        let Some(first) = self.slots.front().map(|slot| slot.position.index) else { return Vec::new() };
        let start = usize::try_from(range.start.saturating_sub(first)).unwrap_or(usize::MAX).min(self.slots.len());
        let end = usize::try_from(range.end.saturating_sub(first)).unwrap_or(usize::MAX).min(self.slots.len());
        let mut bytes = 0_usize;
        let mut found = Vec::new();
        for slot in self.slots.range(start..end.max(start)) {
            bytes = bytes.saturating_add(slot.length as usize);
            if !found.is_empty() && bytes > bytes_max {
                break;
            }
            found.push(slot.clone());
        }
        found
    }
}
