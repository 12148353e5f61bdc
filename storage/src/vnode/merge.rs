//! Merges sources of rows into one order: newest version wins, cell by cell.
//!
//! A [`Source`] gives [`Segment`]s that ascend by (sid, key). [`SeriesMerge`] keeps that order; `time_merge.rs` orders
//! by key over all series. Both give [`Picks`]: which rows of which segments, not yet copied.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use arrow::buffer::BooleanBuffer;

use crate::halt::Halt;
use crate::vnode::segment::Segment;

/// A span of at least this many rows makes a batch of its own.
const SLICE_ROWS_MIN: usize = 1024;
/// Reads that give nothing before a merge pauses, so that whoever waits can give up.
const IDLE_MAX: usize = if cfg!(test) { 3 } else { 16 };

/// Gives segments that ascend by (sid, key), each behind the one before.
pub(crate) trait Source: Send {
    /// A place at or before the first row of the next segment; None at the end. Costs nothing.
    fn bound(&self) -> Option<(u32, i64)>;

    /// The next segment. None: nothing in what was looked at; [`Source::bound`] says whether there is more.
    fn next(&mut self) -> Result<Option<Arc<Segment>>, Halt>;
}

/// A source of one segment.
pub(crate) struct Once(pub(crate) Option<Arc<Segment>>);

impl Source for Once {
    fn bound(&self) -> Option<(u32, i64)> {
        self.0.as_ref().map(|segment| segment.place(0))
    }

    fn next(&mut self) -> Result<Option<Arc<Segment>>, Halt> {
        Ok(self.0.take())
    }
}

/// Rows in their order, as places in segments.
#[derive(Default)]
pub(crate) struct Picks {
    pub(crate) segments: Vec<Arc<Segment>>,
    pub(crate) items: Vec<Item>,
    /// Rows of merged items, newest first.
    pub(crate) merged: Vec<(u32, u32)>,
    pub(crate) rows: usize,
    /// Much was looked at and little found: these are not the last rows, even if there are none.
    pub(crate) paused: bool,
    /// For each cursor the address and number of the segment that it gave last.
    slots: Vec<(usize, u32)>,
}

/// One or more rows.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Item {
    /// Consecutive rows of a segment.
    Span {
        /// Which segment.
        segment: u32,
        /// Its first row.
        start: u32,
        /// How many.
        len: u32,
    },
    /// One row made of several versions: each cell is the newest one that is not absent.
    Merged {
        /// The first of its versions in [`Picks::merged`].
        start: u32,
        /// How many.
        len: u32,
    },
}

impl Picks {
    /// The number in this batch of the segment that is under cursor `slot` now.
    fn number(&mut self, slot: usize, segment: &Arc<Segment>) -> u32 {
        let address = Arc::as_ptr(segment) as usize;
        if slot >= self.slots.len() {
            self.slots.resize(slot + 1, (0, 0));
        }
        let (known, number) = &mut self.slots[slot];
        if *known != address {
            // The batch keeps its segments, so that no address comes twice.
            (*known, *number) = (address, self.segments.len() as u32);
            self.segments.push(Arc::clone(segment));
        }
        *number
    }

    fn span(&mut self, slot: usize, segment: &Arc<Segment>, start: usize, len: usize) {
        let number = self.number(slot, segment);
        self.rows += len;
        let (start, len) = (start as u32, len as u32);
        if let Some(Item::Span { segment, start: from, len: before }) = self.items.last_mut()
            && *segment == number
            && *from + *before == start
        {
            *before += len;
            return;
        }
        self.items.push(Item::Span { segment: number, start, len });
    }

    /// Leaves out the rows that are not set in `mask`.
    pub(crate) fn retain(&mut self, mask: &BooleanBuffer) {
        let mut at = 0;
        let mut items = Vec::with_capacity(self.items.len());
        for item in &self.items {
            match *item {
                Item::Span { segment, start, len } => {
                    let kept = mask.slice(at, len as usize);
                    let part = |(low, high): (usize, usize)| Item::Span {
                        segment,
                        start: start + low as u32,
                        len: (high - low) as u32,
                    };
                    items.extend(kept.set_slices().map(part));
                    at += len as usize;
                }
                Item::Merged { .. } => {
                    items.extend(mask.value(at).then_some(*item));
                    at += 1;
                }
            }
        }
        self.items = items;
        self.rows = mask.count_set_bits();
    }

    /// Adds one row, given all its versions.
    pub(crate) fn row(&mut self, versions: &mut [Version]) {
        versions.sort_unstable_by_key(|version| Reverse(version.age()));
        let Some(newest) = versions.first() else { return };
        if versions.len() == 1 || newest.segment.complete {
            self.span(newest.slot, &newest.segment, newest.row, 1);
            return;
        }
        let start = self.merged.len() as u32;
        for version in versions.iter() {
            let number = self.number(version.slot, &version.segment);
            self.merged.push((number, version.row as u32));
        }
        self.rows += 1;
        self.items.push(Item::Merged { start, len: versions.len() as u32 });
    }
}

/// One version of a row.
pub(crate) struct Version {
    pub(crate) segment: Arc<Segment>,
    pub(crate) row: usize,
    /// Among equal versions the later source is newer.
    pub(crate) source: usize,
    /// The cursor that stands on it.
    pub(crate) slot: usize,
}

impl Version {
    fn age(&self) -> (u64, usize, usize) {
        (self.segment.versions.get(self.row), self.source, self.row)
    }
}

struct Cursor {
    source: Box<dyn Source>,
    /// Read when its bound is due, so that few are in memory at a time.
    segment: Option<Arc<Segment>>,
    row: usize,
}

/// Merges sources by (sid, key).
pub(crate) struct SeriesMerge {
    cursors: Vec<Cursor>,
    /// The next row of each cursor, or the bound of a segment that is not read yet.
    heads: BinaryHeap<Reverse<((u32, i64), usize)>>,
    /// Reads since the last pause that gave nothing, of sources that have more.
    idle: usize,
}

impl SeriesMerge {
    /// Of sources from oldest to newest.
    pub(crate) fn new(sources: Vec<Box<dyn Source>>) -> Self {
        let mut merge = Self { cursors: Vec::with_capacity(sources.len()), heads: BinaryHeap::new(), idle: 0 };
        for (at, source) in sources.into_iter().enumerate() {
            merge.heads.extend(source.bound().map(|bound| Reverse((bound, at))));
            merge.cursors.push(Cursor { source, segment: None, row: 0 });
        }
        merge
    }

    /// The next rows: at most `rows`, none at the end or in a pause.
    pub(crate) fn next(&mut self, rows: usize) -> Result<Picks, Halt> {
        let mut picks = Picks::default();
        let mut versions = Vec::new();
        while picks.rows < rows {
            if self.idle >= IDLE_MAX {
                self.idle = 0;
                picks.paused = true;
                break;
            }
            let Some(Reverse((place, at))) = self.heads.peek().copied() else { break };
            if self.cursors[at].segment.is_none() {
                self.load_until(place)?;
                continue;
            }
            self.heads.pop();
            self.load_until(place)?;
            let next = self.heads.peek().map(|Reverse((place, _))| *place);
            if next == Some(place) || self.repeats(at) {
                self.take_row(place, at, &mut versions)?;
                picks.row(&mut versions);
                versions.clear();
            } else {
                self.take_span(at, next, rows - picks.rows, &mut picks);
                // One long span is handed on as a slice, without a copy.
                if picks.items.len() == 1 && picks.rows >= SLICE_ROWS_MIN {
                    break;
                }
            }
        }
        Ok(picks)
    }

    /// Reads every segment that may have a row at or before `place`.
    fn load_until(&mut self, place: (u32, i64)) -> Result<(), Halt> {
        while let Some(Reverse((bound, at))) = self.heads.peek().copied() {
            if bound > place || self.cursors[at].segment.is_some() {
                break;
            }
            self.heads.pop();
            let cursor = &mut self.cursors[at];
            match cursor.source.next()? {
                Some(segment) => {
                    self.heads.push(Reverse((segment.place(0), at)));
                    cursor.segment = Some(segment);
                    cursor.row = 0;
                }
                None => {
                    if let Some(bound) = cursor.source.bound() {
                        self.heads.push(Reverse((bound, at)));
                        self.idle += 1;
                    }
                }
            }
        }
        Ok(())
    }

    /// The segment and row of a cursor.
    fn here(&self, at: usize) -> (Arc<Segment>, usize) {
        let cursor = &self.cursors[at];
        let segment = cursor.segment.as_ref().expect("a cursor that gives rows has a segment");
        (Arc::clone(segment), cursor.row)
    }

    /// Whether the head of a cursor has the same place as the row behind it.
    fn repeats(&self, at: usize) -> bool {
        let cursor = &self.cursors[at];
        let repeats = cursor.segment.as_ref().map_or(&[][..], |segment| &segment.repeats);
        !repeats.is_empty() && repeats.binary_search(&(cursor.row as u32)).is_ok()
    }

    /// All versions of the row at `place`, which is at the head of cursor `at` and perhaps of others.
    fn take_row(&mut self, place: (u32, i64), at: usize, versions: &mut Vec<Version>) -> Result<(), Halt> {
        let mut at = at;
        loop {
            let (segment, mut row) = self.here(at);
            while row < segment.rows() && segment.place(row) == place {
                versions.push(Version { segment: Arc::clone(&segment), row, source: at, slot: at });
                row += 1;
            }
            self.advance(at, row);
            self.load_until(place)?;
            match self.heads.peek() {
                Some(Reverse((other, next))) if *other == place => at = *next,
                _ => return Ok(()),
            }
            self.heads.pop();
        }
    }

    /// Rows of one cursor up to the next head of another one.
    fn take_span(&mut self, at: usize, next: Option<(u32, i64)>, rows: usize, picks: &mut Picks) {
        let (segment, start) = self.here(at);
        let repeat = segment.repeats.partition_point(|row| (*row as usize) < start);
        let stop = segment.repeats.get(repeat).map_or(segment.rows(), |row| *row as usize);
        let stop = stop.min(start + rows).max(start + 1);
        let end = match next {
            None => stop,
            Some(next) => gallop(start + 1, stop, |row| segment.place(row) < next),
        };
        picks.span(at, &segment, start, end - start);
        self.advance(at, end);
    }

    /// Moves a cursor to `row`, and to the bound of the next segment when this one is used up.
    fn advance(&mut self, at: usize, row: usize) {
        let cursor = &mut self.cursors[at];
        cursor.row = row;
        let place = match &cursor.segment {
            Some(segment) if row < segment.rows() => Some(segment.place(row)),
            _ => {
                cursor.segment = None;
                cursor.source.bound()
            }
        };
        self.heads.extend(place.map(|place| Reverse((place, at))));
    }
}

/// The first of `low..high` for which `before` does not hold, near `low` as a rule.
fn gallop(low: usize, high: usize, before: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut step) = (low, 1);
    let mut end = high;
    while low < high {
        let probe = (low + step - 1).min(high - 1);
        if before(probe) {
            low = probe + 1;
            step *= 2;
        } else {
            end = probe;
            break;
        }
    }
    while low < end {
        let middle = low + (end - low) / 2;
        if before(middle) { low = middle + 1 } else { end = middle }
    }
    low
}
