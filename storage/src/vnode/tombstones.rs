//! Deletes that older rows still wait for.

use std::collections::BTreeMap;

use model::TimeRange;
use serde::{Deserialize, Serialize};

/// The deletes of one relation. A delete hides rows of an older version than its own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Tombstones {
    /// Of every series.
    all: Vec<(TimeRange, u64)>,
    /// Of one series.
    series: BTreeMap<u32, Vec<(TimeRange, u64)>>,
    /// Of single rows.
    keys: BTreeMap<(u32, i64), u64>,
}

impl Tombstones {
    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty() && self.series.is_empty() && self.keys.is_empty()
    }

    /// How many deletes there are.
    pub(crate) fn len(&self) -> usize {
        self.all.len() + self.series.values().map(Vec::len).sum::<usize>() + self.keys.len()
    }

    pub(crate) fn delete_range(&mut self, sids: Option<&[u32]>, range: TimeRange, version: u64) {
        let add = |list: &mut Vec<(TimeRange, u64)>| {
            // A newer delete of at least the same range makes the older one needless.
            list.retain(|(old, _)| old.min < range.min || old.max > range.max);
            list.push((range, version));
        };
        match sids {
            None => add(&mut self.all),
            Some(sids) => sids.iter().for_each(|sid| add(self.series.entry(*sid).or_default())),
        }
    }

    pub(crate) fn delete_key(&mut self, sid: u32, key: i64, version: u64) {
        self.keys.insert((sid, key), version);
    }

    /// Whether a row of this version is deleted.
    pub(crate) fn hides(&self, sid: u32, key: i64, version: u64) -> bool {
        let hit = |list: &[(TimeRange, u64)]| list.iter().any(|(range, at)| version < *at && range.contains(key));
        hit(&self.all)
            || self.series.get(&sid).is_some_and(|list| hit(list))
            || self.keys.get(&(sid, key)).is_some_and(|at| version < *at)
    }

    /// Whether a row in `range` of a sid in `first..=last` and of a version from `version` may be deleted.
    pub(crate) fn touch(&self, (first, last): (u32, u32), range: TimeRange, version: u64) -> bool {
        let hit = |list: &[(TimeRange, u64)]| list.iter().any(|(old, at)| version < *at && range.overlaps(*old));
        hit(&self.all)
            || self.series.range(first..=last).any(|(_, list)| hit(list))
            || self
                .keys
                .range((first, i64::MIN)..=(last, i64::MAX))
                .any(|((_, key), at)| version < *at && range.contains(*key))
    }

    /// Whether one delete of a version up to `until` hides all rows in `range` of the sids `first..=last` of versions up to
    /// `version`.
    pub(crate) fn cover(&self, (first, last): (u32, u32), range: TimeRange, version: u64, until: u64) -> bool {
        let whole = |list: &[(TimeRange, u64)]| {
            let inside = |old: &TimeRange| old.min <= range.min && range.max <= old.max;
            list.iter().any(|(old, at)| version < *at && *at <= until && inside(old))
        };
        whole(&self.all) || (first == last && self.series.get(&first).is_some_and(|list| whole(list)))
    }

    /// Keeps what `keep` says of (sids, range, version).
    pub(crate) fn retain(&mut self, mut keep: impl FnMut((u32, u32), TimeRange, u64) -> bool) {
        self.all.retain(|(range, at)| keep((0, u32::MAX), *range, *at));
        self.series.retain(|sid, list| {
            list.retain(|(range, at)| keep((*sid, *sid), *range, *at));
            !list.is_empty()
        });
        self.keys.retain(|(sid, key), at| keep((*sid, *sid), TimeRange { min: *key, max: *key }, *at));
    }

    /// Every delete: the series, all if None, the times, and the version below which rows are hidden.
    pub(crate) fn list(&self) -> Vec<(Option<u32>, TimeRange, u64)> {
        let all = self.all.iter().map(|(range, at)| (None, *range, *at));
        let series =
            self.series.iter().flat_map(|(sid, list)| list.iter().map(|(range, at)| (Some(*sid), *range, *at)));
        let keys = self.keys.iter().map(|((sid, key), at)| (Some(*sid), TimeRange { min: *key, max: *key }, *at));
        all.chain(series).chain(keys).collect()
    }

    /// Only the deletes of versions up to `clock`.
    pub(crate) fn until(&self, clock: u64) -> Self {
        let mut copy = self.clone();
        copy.retain(|_, _, at| at <= clock);
        copy
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delete_hides_older_versions_only() {
        let mut tombstones = Tombstones::default();
        tombstones.delete_range(Some(&[3]), TimeRange { min: 10, max: 20 }, 5);
        tombstones.delete_key(4, 7, 6);
        assert!(tombstones.hides(3, 10, 4) && !tombstones.hides(3, 10, 5));
        assert!(!tombstones.hides(3, 21, 4) && !tombstones.hides(2, 10, 4));
        assert!(tombstones.hides(4, 7, 5) && !tombstones.hides(4, 8, 5));
        assert!(tombstones.touch((0, 9), TimeRange { min: 20, max: 30 }, 1));
        assert!(!tombstones.touch((0, 2), TimeRange::ALL, 1));
        assert_eq!(tombstones.until(5).len(), 1);
        let inner = TimeRange { min: 11, max: 20 };
        assert!(tombstones.cover((3, 3), inner, 4, 9) && !tombstones.cover((3, 4), inner, 4, 9));
        assert!(!tombstones.cover((3, 3), inner, 5, 9) && !tombstones.cover((3, 3), inner, 4, 4));
        assert!(!tombstones.cover((3, 3), TimeRange { min: 11, max: 21 }, 4, 9));
        tombstones.delete_range(None, TimeRange::ALL, 9);
        tombstones.delete_range(None, TimeRange::ALL, 10);
        assert_eq!(tombstones.len(), 3);
        assert!(tombstones.hides(99, i64::MAX, 9));
    }
}
