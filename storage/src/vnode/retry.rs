//! Outcomes of the last requests, so that a retry is answered and not applied again.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use model::command::{Applied, Stamp};
use serde::{Deserialize, Serialize};

/// Writers whose floor is remembered; the ones that were quiet for longest are forgotten first.
const WRITERS_MAX: usize = 4096;

/// A request: writer and its number.
pub(crate) type Request = (u128, u64);

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Outcome {
    /// When it was applied.
    pub(crate) hlc: u64,
    /// What it gave.
    pub(crate) applied: Applied,
}

/// The highest number of a writer whose outcome was forgotten, and when that request was applied.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Floor {
    pub(crate) seq: u64,
    pub(crate) hlc: u64,
}

/// What is known of a request.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Known {
    /// Never seen.
    New,
    /// Applied before.
    Outcome(Applied),
    /// Perhaps applied before.
    Forgotten,
}

/// The retry table: part of the state that is replicated.
#[derive(Clone, Debug, Default)]
pub(crate) struct Retries {
    outcomes: HashMap<Request, Outcome>,
    by_time: BTreeSet<(u64, Request)>,
    floors: BTreeMap<u128, Floor>,
    /// What came since the last flush.
    dirty: BTreeSet<Request>,
    /// What was forgotten since the last flush, of what is stored.
    gone: BTreeSet<Request>,
    dirty_floors: BTreeSet<u128>,
}

/// The rows of the retry table that changed: None is gone.
#[derive(Clone, Debug, Default)]
pub(crate) struct RetryChanges {
    pub(crate) outcomes: Vec<(Request, Option<Outcome>)>,
    pub(crate) floors: Vec<(u128, Option<Floor>)>,
}

impl Retries {
    pub(crate) fn find(&self, request: Request) -> Known {
        match self.outcomes.get(&request) {
            Some(outcome) => Known::Outcome(outcome.applied.clone()),
            None if self.floors.get(&request.0).is_some_and(|floor| request.1 <= floor.seq) => Known::Forgotten,
            None => Known::New,
        }
    }

    /// Remembers an outcome, and forgets those that are older than `window_ms` by the stamps or beyond `outcomes_max`.
    pub(crate) fn put(&mut self, stamp: Stamp, hlc: u64, applied: Applied, outcomes_max: usize, window_ms: i64) {
        let request = (stamp.writer, stamp.seq);
        self.load(request, Outcome { hlc, applied });
        self.dirty.insert(request);
        let horizon = (hlc >> 16).saturating_sub(window_ms.max(0) as u64) << 16;
        while let Some((old, request)) = self.by_time.first().copied() {
            if old >= horizon && self.by_time.len() <= outcomes_max.max(1) {
                break;
            }
            self.by_time.pop_first();
            self.outcomes.remove(&request);
            if !self.dirty.remove(&request) {
                self.gone.insert(request);
            }
            let floor = self.floors.entry(request.0).or_insert(Floor { seq: request.1, hlc: old });
            *floor = Floor { seq: floor.seq.max(request.1), hlc: old };
            self.dirty_floors.insert(request.0);
        }
        while self.floors.len() > WRITERS_MAX {
            let quiet =
                self.floors.iter().min_by_key(|(writer, floor)| (floor.hlc, **writer)).map(|(writer, _)| *writer);
            let Some(writer) = quiet else { break };
            self.floors.remove(&writer);
            self.dirty_floors.insert(writer);
        }
    }

    /// Takes up a stored outcome.
    pub(crate) fn load(&mut self, request: Request, outcome: Outcome) {
        self.by_time.insert((outcome.hlc, request));
        self.outcomes.insert(request, outcome);
    }

    /// Takes up a stored floor.
    pub(crate) fn load_floor(&mut self, writer: u128, floor: Floor) {
        self.floors.insert(writer, floor);
    }

    /// What changed since the last call.
    pub(crate) fn take_changes(&mut self) -> RetryChanges {
        let gone = std::mem::take(&mut self.gone).into_iter().map(|request| (request, None));
        let outcome = |request: Request| (request, self.outcomes.get(&request).cloned());
        let floor = |writer: u128| (writer, self.floors.get(&writer).copied());
        RetryChanges {
            outcomes: gone.chain(std::mem::take(&mut self.dirty).into_iter().map(outcome)).collect(),
            floors: std::mem::take(&mut self.dirty_floors).into_iter().map(floor).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::write::Effect;

    fn stamp(millis: u64, seq: u64) -> Stamp {
        Stamp { hlc: millis << 16, origin: 0, writer: 1, seq }
    }

    #[test]
    fn outcomes_are_bounded_and_old_requests_are_never_new_again() {
        let mut retries = Retries::default();
        let done = Applied::Done(Effect { written: 1, ..Effect::default() });
        for seq in 1..=10 {
            let stamp = stamp(seq, seq);
            retries.put(stamp, stamp.hlc, done.clone(), 4, 1000);
        }
        assert_eq!(retries.find((1, 6)), Known::Forgotten);
        assert_eq!(retries.find((1, 7)), Known::Outcome(done.clone()));
        assert_eq!(retries.find((1, 11)), Known::New);
        assert_eq!(retries.find((2, 1)), Known::New);
        let late = stamp(5000, 11);
        retries.put(late, late.hlc, done.clone(), 4, 1000);
        assert_eq!(retries.find((1, 10)), Known::Forgotten);
        let changes = retries.take_changes();
        assert_eq!(changes.outcomes.len(), 1, "what was never stored needs no removal");
        assert_eq!(changes.floors.len(), 1);
        let later = stamp(99_000, 12);
        retries.put(later, later.hlc, done, 4, 1000);
        let changes = retries.take_changes();
        assert_eq!(changes.outcomes.iter().map(|(_, outcome)| outcome.is_some()).collect::<Vec<_>>(), [false, true]);
    }
}
