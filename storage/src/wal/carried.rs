//! What the writer knows of each group as of the last record that it has put into a batch.
//!
//! This lags behind [`super::group::Core`] by what is queued. It is what a new segment's opening carries forward, and
//! it decides which segments are still needed: a queued purge that was never written must not cost a segment.

use std::collections::{BTreeMap, VecDeque};

use model::VgroupId;

use super::format::{Batch, Kind, RecordHeader, SEGMENT_HEADER_BYTES, State, put_record};
use super::types::Position;

/// One group, as written.
#[derive(Debug, Default)]
pub(crate) struct Carried {
    /// Of the last record written.
    pub(crate) serial: u64,
    pub(crate) state: State,
    /// Where the group's live entries are: one span per segment, oldest first.
    pub(crate) spans: VecDeque<Span>,
    /// The oldest segment that the group needs whatever its entries say, because it is damaged.
    pub(crate) pinned: Option<u64>,
}

/// Entries of one group in one segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) sequence: u64,
    pub(crate) first: u64,
    pub(crate) last: u64,
}

impl Carried {
    pub(crate) fn entry(&mut self, sequence: u64, index: u64) {
        match self.spans.back_mut() {
            Some(span) if span.sequence == sequence => span.last = index,
            _ => self.spans.push_back(Span { sequence, first: index, last: index }),
        }
    }

    pub(crate) fn truncate_after(&mut self, index: Option<u64>) {
        let end = index.map_or(0, |index| index + 1);
        while self.spans.back().is_some_and(|span| span.first >= end) {
            self.spans.pop_back();
        }
        if let Some(span) = self.spans.back_mut() {
            span.last = span.last.min(end - 1);
        }
    }

    pub(crate) fn purge(&mut self, position: Position) {
        if self.state.purged.is_some_and(|purged| purged.index >= position.index) {
            return;
        }
        self.state.purged = Some(position);
        while self.spans.front().is_some_and(|span| span.last <= position.index) {
            self.spans.pop_front();
        }
    }

    /// The oldest segment that the group still needs.
    pub(crate) fn needs(&self) -> Option<u64> {
        let entries = self.spans.front().map(|span| span.sequence);
        [entries, self.pinned].into_iter().flatten().min()
    }
}

/// The records of an opening. They name all groups twice, so that none can vanish where one of them is damaged.
pub(crate) fn opening(groups: &BTreeMap<VgroupId, Carried>, seed: u32) -> Vec<u8> {
    let mut states = Vec::new();
    for (id, carried) in groups {
        let header = RecordHeader::new(Kind::State, *id, carried.serial);
        put_record(&mut states, seed, header, &carried.state.encode());
    }
    let bytes = (Batch::record_bytes(groups.len()) + states.len()) as u64;
    let synced = SEGMENT_HEADER_BYTES as u64 + bytes;
    let names = Batch { synced, bytes, groups: Some(groups.keys().copied().collect()) };
    let mut opening = names.encode(seed, groups.len());
    opening.append(&mut states);
    opening
}
