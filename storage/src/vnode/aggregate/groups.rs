//! Which group a row belongs to.

use std::collections::HashMap;
use std::ops::Range;

use model::aggregate::Windows;

/// Consecutive rows of one group, and of one series where that matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stretch {
    pub(super) group: u32,
    pub(super) start: u32,
    pub(super) end: u32,
}

impl Stretch {
    pub(super) fn rows(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// The groups so far. By series a group may come more than once: rows come in the order of their series, so that looking
/// at the last group is enough to find most of them.
pub(super) struct Groups {
    by_series: bool,
    windows: Option<Windows>,
    /// Whose rows each group has, if groups are of one series.
    pub(super) sids: Vec<u32>,
    /// Where the window of each group starts, if there are windows.
    pub(super) starts: Vec<i64>,
    /// Across series: the group of each window.
    by_window: HashMap<i64, u32>,
    /// The group found last.
    last: usize,
}

impl Groups {
    pub(super) fn new(by_series: bool, windows: Option<Windows>) -> Self {
        Self { by_series, windows, sids: Vec::new(), starts: Vec::new(), by_window: HashMap::new(), last: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.sids.len()
    }

    pub(super) fn has_windows(&self) -> bool {
        self.windows.is_some()
    }

    /// How many windows there are.
    pub(super) fn count_windows(&self) -> usize {
        if !self.by_series {
            return self.starts.len();
        }
        let mut starts = self.starts.clone();
        starts.sort_unstable();
        starts.dedup();
        starts.len()
    }

    pub(super) fn clear(&mut self) {
        self.sids.clear();
        self.starts.clear();
        self.by_window.clear();
        self.last = 0;
    }

    /// The group of all rows of a series whose keys lie in `first..=last`; None if they are in several.
    pub(super) fn of_range(&mut self, sid: u32, first: i64, last: i64) -> Option<u32> {
        let Some(windows) = &self.windows else { return Some(self.group(sid, 0)) };
        let (start, end) = windows.around(first);
        (last <= end).then(|| self.group(sid, start))
    }

    /// Cuts `rows` of one series, whose keys ascend, into stretches.
    pub(super) fn cut(&mut self, sid: u32, rows: Range<usize>, keys: &[i64], stretches: &mut Vec<Stretch>) {
        let mut at = rows.start;
        // The last tick of the window before.
        let mut before: Option<i64> = None;
        while at < rows.end {
            let (start, end) = match &self.windows {
                None => (0, rows.end),
                Some(windows) => {
                    let (start, last) = match (windows, before) {
                        // The next row is in the next window as a rule, which is found without a division.
                        (Windows::Fixed { step, .. }, Some(before)) if keys[at] <= before.saturating_add(*step) => {
                            (before + 1, before.saturating_add(*step))
                        }
                        _ => windows.around(keys[at]),
                    };
                    before = Some(last);
                    (start, at + 1 + run_length(&keys[at + 1..rows.end], last))
                }
            };
            let group = self.group(sid, start);
            stretches.push(Stretch { group, start: at as u32, end: end as u32 });
            at = end;
        }
    }

    fn group(&mut self, sid: u32, start: i64) -> u32 {
        let next = self.sids.len() as u32;
        if self.by_series {
            if self.sids.last() == Some(&sid) && self.starts.last() == Some(&start) {
                return next - 1;
            }
        } else {
            // Every series goes through the same windows in the same order.
            for guess in [self.last, self.last + 1] {
                if self.starts.get(guess) == Some(&start) {
                    self.last = guess;
                    return guess as u32;
                }
            }
            let known = *self.by_window.entry(start).or_insert(next);
            self.last = known as usize;
            if known != next {
                return known;
            }
        }
        self.sids.push(sid);
        self.starts.push(start);
        next
    }
}

/// How many of these ascending keys are not after `last`. Windows are short as a rule: looks near the start first.
fn run_length(keys: &[i64], last: i64) -> usize {
    let mut step = 8;
    let mut low = 0;
    loop {
        let high = (low + step).min(keys.len());
        if high == keys.len() || keys[high - 1] > last {
            return low + keys[low..high].partition_point(|key| *key <= last);
        }
        low = high;
        step *= 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretches_end_with_windows() {
        let mut groups = Groups::new(false, Some(Windows::Fixed { step: 10, offset: 3 }));
        let keys: Vec<i64> = (-20..30).collect();
        let mut stretches = Vec::new();
        groups.cut(1, 0..keys.len(), &keys, &mut stretches);
        groups.cut(2, 0..3, &keys, &mut stretches);
        let shown: Vec<(i64, Range<usize>)> =
            stretches.iter().map(|s| (groups.starts[s.group as usize], s.rows())).collect();
        let expected = [(-27, 0..3), (-17, 3..13), (-7, 13..23), (3, 23..33), (13, 33..43), (23, 43..50), (-27, 0..3)];
        assert_eq!(shown, expected);
        assert_eq!(groups.count_windows(), 6);
    }

    #[test]
    fn long_runs_are_found() {
        let keys: Vec<i64> = (0..1000).collect();
        for last in [-1, 0, 6, 7, 8, 9, 100, 998, 999, 5000] {
            assert_eq!(run_length(&keys, last) as i64, (last + 1).clamp(0, 1000), "up to {last}");
        }
    }
}
