//! What the leader asks before it writes a delete into the log.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::write::Tables;
use model::{Sid, Suid, TimeRange};

use crate::halt::Halt;
use crate::vnode::merge::SeriesMerge;
use crate::vnode::segment::{SeriesFilter, Wanted};
use crate::vnode::{BATCH_ROWS_MAX, ResolvedKeys, ResolvedRange, Vnode};

impl Vnode {
    /// The sids of the named tables of a relation, ascending; names that are none are left out.
    fn sids_of(&self, suid: Suid, names: &[String]) -> Vec<u32> {
        let inner = self.inner.read();
        let find = |name: &String| inner.state.by_name(name).filter(|series| series.suid == suid);
        let sids: BTreeSet<u32> = names.iter().filter_map(find).map(|series| series.sid).collect();
        sids.into_iter().collect()
    }

    pub(super) fn resolve_range_now(
        &self,
        suid: Suid,
        tables: &Tables,
        range: TimeRange,
    ) -> Result<ResolvedRange, Halt> {
        let sids = match tables {
            Tables::All => None,
            Tables::Named(names) => Some(self.sids_of(suid, names)),
        };
        let filter = sids.as_ref().map(|sids| SeriesFilter::Set(Arc::from(sids.as_slice())));
        let counted = self.count_rows(suid, filter, range, |_, _| true)?;
        Ok(ResolvedRange { sids: sids.map(|sids| sids.into_iter().map(Sid).collect()), counted })
    }

    pub(super) fn resolve_keys_now(
        &self,
        suid: Suid,
        names: &[String],
        ordinals: &[u32],
        keys: &[i64],
    ) -> Result<ResolvedKeys, Halt> {
        let known: Vec<Option<u32>> = {
            let inner = self.inner.read();
            let find = |name: &String| inner.state.by_name(name).filter(|series| series.suid == suid);
            names.iter().map(|name| find(name).map(|series| series.sid)).collect()
        };
        let sid_of = |row: usize| {
            let ordinal = ordinals.get(row).map_or(0, |ordinal| *ordinal as usize);
            known.get(ordinal).copied().flatten()
        };
        let rows: BTreeSet<(u32, i64)> =
            keys.iter().enumerate().filter_map(|(row, key)| Some((sid_of(row)?, *key))).collect();
        let mut bounds: BTreeMap<u32, TimeRange> = BTreeMap::new();
        for (sid, key) in &rows {
            let range = bounds.entry(*sid).or_insert(TimeRange { min: *key, max: *key });
            range.max = range.max.max(*key);
        }
        let whole = bounds.values().fold(TimeRange { min: i64::MAX, max: i64::MIN }, |all, range| TimeRange {
            min: all.min.min(range.min),
            max: all.max.max(range.max),
        });
        let filter = SeriesFilter::Set(bounds.keys().copied().collect());
        let counted = self.count_rows(suid, Some(filter), whole, |sid, key| rows.contains(&(sid, key)))?;
        let (sids, keys) = rows.into_iter().map(|(sid, key)| (Sid(sid), key)).unzip();
        Ok(ResolvedKeys { sids, keys, counted })
    }

    fn count_rows(
        &self,
        suid: Suid,
        series: Option<SeriesFilter>,
        range: TimeRange,
        hit: impl Fn(u32, i64) -> bool,
    ) -> Result<u64, Halt> {
        if range.is_empty() {
            return Ok(0);
        }
        let view = self.view(suid);
        let series = series.unwrap_or_else(|| view.all_series());
        let wanted = Wanted { columns: Vec::new(), series, range, tombstones: view.tombstones.clone() };
        let mut merge = SeriesMerge::new(view.sources(&Arc::new(wanted), &[], &[])?);
        let mut counted = 0;
        loop {
            let picks = merge.next(BATCH_ROWS_MAX)?;
            if picks.rows == 0 {
                return Ok(counted);
            }
            let rows = picks.sids().into_iter().zip(picks.keys());
            counted += rows.filter(|(sid, key)| hit(*sid, *key)).count() as u64;
        }
    }
}
