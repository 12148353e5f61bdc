//! Merges blocks and chunks by key over all series, up or down. A block is read when its first key is due.

use std::collections::BinaryHeap;
use std::sync::Arc;

use crate::halt::Halt;
use crate::vnode::merge::{Picks, Version};
use crate::vnode::segment::Segment;

/// Reads a segment when it is due.
pub(crate) type Load = Box<dyn FnOnce() -> Result<Option<Arc<Segment>>, Halt> + Send>;

/// A segment that is not read yet.
pub(crate) struct Piece {
    /// A bound of its keys: none is before it in the order of the merge.
    pub(crate) due: i64,
    /// Among equal versions the later source is newer.
    pub(crate) source: usize,
    pub(crate) load: Load,
}

struct Cursor {
    segment: Arc<Segment>,
    /// Rows in the order of the merge; None: rows of one series, which ascend.
    order: Option<Vec<u32>>,
    at: usize,
    source: usize,
}

impl Cursor {
    /// The row at the cursor.
    fn row(&self, descending: bool) -> usize {
        match &self.order {
            Some(order) => order[self.at] as usize,
            None if descending => self.segment.rows() - 1 - self.at,
            None => self.at,
        }
    }
}

/// Merges pieces by (key, sid).
pub(crate) struct TimeMerge {
    /// The next one last.
    pieces: Vec<Piece>,
    cursors: Vec<Option<Cursor>>,
    free: Vec<usize>,
    /// Next row of each cursor: the greatest comes first.
    heads: BinaryHeap<(i64, u32, usize)>,
    descending: bool,
    /// Reads that give nothing before the merge pauses; 0: it never does.
    idle_max: usize,
    idle: usize,
}

/// A key as it sorts: the greatest comes first.
fn rank(key: i64, descending: bool) -> i64 {
    if descending { key } else { !key }
}

impl TimeMerge {
    pub(crate) fn new(mut pieces: Vec<Piece>, descending: bool) -> Self {
        pieces.sort_by_key(|piece| rank(piece.due, descending));
        let (cursors, free, heads) = (Vec::new(), Vec::new(), BinaryHeap::new());
        Self { pieces, cursors, free, heads, descending, idle_max: 0, idle: 0 }
    }

    /// The same merge with a pause after so many pieces in which nothing was found.
    pub(crate) fn pausing(self, idle_max: usize) -> Self {
        Self { idle_max, ..self }
    }

    /// The next rows: at most `rows`, none at the end or in a pause.
    pub(crate) fn next(&mut self, rows: usize) -> Result<Picks, Halt> {
        let mut picks = Picks::default();
        let mut versions = Vec::new();
        while picks.rows < rows {
            if !self.load_due()? {
                picks.paused = true;
                break;
            }
            let Some((key, sid, at)) = self.heads.pop() else { break };
            self.take(at, &mut versions);
            while let Some((other, series, next)) = self.heads.peek().copied() {
                if (other, series) != (key, sid) {
                    break;
                }
                self.heads.pop();
                self.take(next, &mut versions);
            }
            picks.row(&mut versions);
            versions.clear();
        }
        Ok(picks)
    }

    /// Reads every piece that may hold the next row; false for a pause before that is done.
    fn load_due(&mut self) -> Result<bool, Halt> {
        while let Some(piece) = self.pieces.last() {
            let due = rank(piece.due, self.descending);
            if self.heads.peek().is_some_and(|(head, ..)| *head > due) {
                return Ok(true);
            }
            let Some(piece) = self.pieces.pop() else { return Ok(true) };
            let Some(segment) = (piece.load)()? else {
                self.idle += 1;
                if self.idle == self.idle_max {
                    self.idle = 0;
                    return Ok(false);
                }
                continue;
            };
            let single = segment.sids.first() == segment.sids.last();
            let order = (!single).then(|| {
                let mut order: Vec<u32> = (0..segment.rows() as u32).collect();
                let place = |row: u32| (segment.keys[row as usize], segment.sids[row as usize]);
                order.sort_by_key(|row| (!rank(place(*row).0, self.descending), place(*row).1));
                order
            });
            let at = self.free.pop().unwrap_or_else(|| {
                self.cursors.push(None);
                self.cursors.len() - 1
            });
            self.cursors[at] = Some(Cursor { segment, order, at: 0, source: piece.source });
            self.push(at);
        }
        Ok(true)
    }

    fn push(&mut self, at: usize) {
        let Some(cursor) = &self.cursors[at] else { return };
        if cursor.at == cursor.segment.rows() {
            self.cursors[at] = None;
            self.free.push(at);
            return;
        }
        let (sid, key) = cursor.segment.place(cursor.row(self.descending));
        // Of equal keys the lower sid comes first, in both directions.
        self.heads.push((rank(key, self.descending), !sid, at));
    }

    /// Takes all rows of a cursor that have the place of its head.
    fn take(&mut self, at: usize, versions: &mut Vec<Version>) {
        let descending = self.descending;
        let Some(cursor) = &mut self.cursors[at] else { return };
        let place = cursor.segment.place(cursor.row(descending));
        while cursor.at < cursor.segment.rows() {
            let row = cursor.row(descending);
            if cursor.segment.place(row) != place {
                break;
            }
            versions.push(Version { segment: Arc::clone(&cursor.segment), row, source: cursor.source, slot: at });
            cursor.at += 1;
        }
        self.push(at);
    }
}
