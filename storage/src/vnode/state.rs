//! What a vnode knows beside rows: tables, deletes, outcomes, and where it stands in its log.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use model::quick::QuickMap;
use model::{Suid, TimeRange};

use crate::vnode::registry::{Series, SeriesList};
use crate::vnode::retry::Retries;
use crate::vnode::tombstones::Tombstones;
use crate::wal::Position;

/// The row id of a plain table's first row.
pub(crate) const FIRST_ROW_ID: i64 = 1;

/// Everything but rows.
#[derive(Default)]
pub(crate) struct State {
    /// The last entry that was applied.
    pub(crate) applied: Option<Position>,
    /// The last membership, and where it was applied.
    pub(crate) membership: Option<(Position, Bytes)>,
    /// The newest hash range epoch seen.
    pub(crate) epoch: u64,
    /// Version of the last entry that was applied: grows with each.
    pub(crate) clock: u64,
    /// The sid of the next table.
    pub(crate) next_sid: u32,
    /// Relations that were dropped: late writes are refused.
    pub(crate) dropped: BTreeSet<Suid>,
    /// Plain tables, with their next row id.
    pub(crate) row_ids: BTreeMap<Suid, i64>,
    pub(crate) retries: Retries,
    /// What changed since the last freeze.
    pub(crate) dirty: Dirty,
    series: QuickMap<u32, Arc<Series>>,
    names: QuickMap<Arc<str>, u32>,
    relations: HashMap<Suid, SeriesList>,
    tombstones: HashMap<Suid, Arc<Tombstones>>,
    /// Relations of which some table was dropped.
    gaps: BTreeSet<Suid>,
    /// How often rows expired since the vnode was opened.
    pub(crate) expiries: u64,
    /// How often rows of a relation were deleted since then.
    deletes: HashMap<Suid, u64>,
}

/// Parts of the state that changed. The retry table keeps its own changes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Dirty {
    pub(crate) sids: BTreeSet<u32>,
    /// Sids of `sids` that are gone, with their relation.
    pub(crate) gone: BTreeMap<u32, Suid>,
    pub(crate) dropped: BTreeSet<Suid>,
    pub(crate) tombstones: BTreeSet<Suid>,
    pub(crate) row_ids: BTreeSet<Suid>,
    pub(crate) gaps: BTreeSet<Suid>,
}

impl State {
    pub(crate) fn by_name(&self, name: &str) -> Option<&Arc<Series>> {
        self.series.get(self.names.get(name)?)
    }

    pub(crate) fn by_sid(&self, sid: u32) -> Option<&Arc<Series>> {
        self.series.get(&sid)
    }

    /// The tables of a relation.
    pub(crate) fn relation(&self, suid: Suid) -> SeriesList {
        self.relations.get(&suid).cloned().unwrap_or_default()
    }

    /// Relations that have tables, in ascending order.
    pub(crate) fn relations(&self) -> Vec<Suid> {
        let mut suids: Vec<Suid> =
            self.relations.iter().filter(|(_, list)| list.iter().next().is_some()).map(|(suid, _)| *suid).collect();
        suids.sort_unstable();
        suids
    }

    /// How many tables there are.
    pub(crate) fn tables(&self) -> usize {
        self.series.len()
    }

    /// Whether some table of the relation was ever dropped, so that stored rows may be nobody's.
    pub(crate) fn has_gaps(&self, suid: Suid) -> bool {
        self.gaps.contains(&suid)
    }

    /// How often rows of any relation expired, and rows of this one were deleted, since the vnode was opened.
    pub(crate) fn removals(&self, suid: Suid) -> (u64, u64) {
        (self.expiries, self.deletes.get(&suid).copied().unwrap_or(0))
    }

    /// Counts a delete of rows of a relation.
    pub(crate) fn count_delete(&mut self, suid: Suid) {
        *self.deletes.entry(suid).or_default() += 1;
    }

    /// Takes up that some table of the relation was dropped.
    pub(crate) fn load_gap(&mut self, suid: Suid) {
        self.gaps.insert(suid);
    }

    /// Adds a table or replaces the one of its sid.
    pub(crate) fn put_series(&mut self, series: Series) {
        self.dirty.sids.insert(series.sid);
        self.load_series(series);
    }

    /// Takes up a stored table.
    pub(crate) fn load_series(&mut self, series: Series) {
        let series = Arc::new(series);
        self.next_sid = self.next_sid.max(series.sid + 1);
        self.names.insert(Arc::clone(&series.name), series.sid);
        self.relations.entry(series.suid).or_default().put(Arc::clone(&series));
        self.series.insert(series.sid, series);
    }

    pub(crate) fn remove_series(&mut self, sid: u32) {
        let Some(series) = self.series.remove(&sid) else { return };
        self.names.remove(&series.name);
        if let Some(list) = self.relations.get_mut(&series.suid) {
            list.remove(sid);
        }
        self.dirty.sids.insert(sid);
        self.dirty.gone.insert(sid, series.suid);
        self.note_gap(series.suid);
    }

    fn note_gap(&mut self, suid: Suid) {
        if self.gaps.insert(suid) {
            self.dirty.gaps.insert(suid);
        }
    }

    /// Drops all tables of a relation and refuses it from now on. Gives how many there were.
    pub(crate) fn drop_relation(&mut self, suid: Suid) -> u64 {
        let sids: Vec<u32> = self.relation(suid).iter().map(|series| series.sid).collect();
        sids.iter().for_each(|sid| self.remove_series(*sid));
        self.relations.remove(&suid);
        self.note_gap(suid);
        if self.dropped.insert(suid) {
            self.dirty.dropped.insert(suid);
        }
        self.deletes.remove(&suid);
        if self.row_ids.remove(&suid).is_some() {
            self.dirty.row_ids.insert(suid);
        }
        if self.tombstones.remove(&suid).is_some() {
            self.dirty.tombstones.insert(suid);
        }
        sids.len() as u64
    }

    /// The deletes of a relation, if there are any.
    pub(crate) fn tombstones(&self, suid: Suid) -> Option<Arc<Tombstones>> {
        self.tombstones.get(&suid).cloned()
    }

    pub(crate) fn all_tombstones(&self) -> impl Iterator<Item = (Suid, &Arc<Tombstones>)> {
        self.tombstones.iter().map(|(suid, tombstones)| (*suid, tombstones))
    }

    /// Changes the deletes of a relation.
    pub(crate) fn change_tombstones(&mut self, suid: Suid, change: impl FnOnce(&mut Tombstones)) {
        let tombstones = Arc::make_mut(self.tombstones.entry(suid).or_default());
        change(tombstones);
        if tombstones.is_empty() {
            self.tombstones.remove(&suid);
        }
        self.dirty.tombstones.insert(suid);
    }

    pub(crate) fn load_tombstones(&mut self, suid: Suid, tombstones: Tombstones) {
        self.tombstones.insert(suid, Arc::new(tombstones));
    }

    pub(crate) fn delete_range(&mut self, suid: Suid, sids: Option<&[u32]>, range: TimeRange, version: u64) {
        self.change_tombstones(suid, |tombstones| tombstones.delete_range(sids, range, version));
    }

    /// Gives out `rows` row ids of a plain table; the first one.
    pub(crate) fn assign_row_ids(&mut self, suid: Suid, rows: usize) -> i64 {
        let next = self.row_ids.entry(suid).or_insert(FIRST_ROW_ID);
        let first = *next;
        *next += rows as i64;
        self.dirty.row_ids.insert(suid);
        first
    }
}
