//! What a transaction holds and its own scans must see: newer than anything stored.

use std::collections::HashMap;
use std::sync::Arc;

use model::TimeRange;
use model::command::ChunkColumn;
use model::types::Value;
use model::write::{Change, Keys, Overlay, RowBatch, Tables};

use crate::vnode::memtable::MemChunk;
use crate::vnode::registry::Series;
use crate::vnode::tombstones::Tombstones;
use crate::vnode::view::View;

/// An overlay as a view's next writes.
#[derive(Default)]
pub(super) struct Overlaid {
    /// Oldest first.
    pub(super) chunks: Vec<Arc<MemChunk>>,
    pub(super) tombstones: Tombstones,
    /// Tables that do not exist yet; their sids are borrowed from the future.
    pub(super) tables: Vec<Arc<Series>>,
}

/// The names that an overlay speaks of.
pub(super) fn names(overlay: &Overlay, suid: model::Suid) -> Vec<&str> {
    let mut names = Vec::new();
    for change in overlay {
        match &**change {
            Change::Rows(rows) if rows.suid == suid => {
                names.extend(rows.tables.iter().map(|table| table.name.as_str()))
            }
            Change::DeleteRange { suid: of, tables: Tables::Named(list), .. } if *of == suid => {
                names.extend(list.iter().map(String::as_str));
            }
            Change::DeleteKeys { suid: of, names: list, .. } if *of == suid => {
                names.extend(list.iter().map(String::as_str));
            }
            _ => {}
        }
    }
    names
}

struct Builder<'a> {
    view: &'a View,
    /// Whether a table of this name would live here: an overlay goes to every vgroup of the relation.
    is_ours: &'a dyn Fn(&str) -> bool,
    sids: HashMap<&'a str, u32>,
    next_row_id: i64,
    out: Overlaid,
}

/// Turns an overlay into chunks and deletes. `named` is what its [`names`] mean; tables that do not exist yet count
/// where `is_ours` says that they will live.
pub(super) fn build(
    view: &View,
    overlay: &Overlay,
    named: &[Option<Arc<Series>>],
    is_ours: &dyn Fn(&str) -> bool,
) -> Overlaid {
    let known = names(overlay, view.suid).into_iter().zip(named).filter_map(|(name, series)| {
        let series = series.as_ref().filter(|series| series.suid == view.suid)?;
        Some((name, series.sid))
    });
    let mut builder =
        Builder { view, is_ours, sids: known.collect(), next_row_id: view.next_row_id, out: Overlaid::default() };
    let first = u64::MAX - overlay.len() as u64;
    for (change, version) in overlay.iter().zip(first..) {
        builder.change(change, version);
    }
    builder.out
}

impl<'a> Builder<'a> {
    fn change(&mut self, change: &'a Change, version: u64) {
        let suid = self.view.suid;
        match change {
            Change::Rows(rows) if rows.suid == suid => self.rows(rows, version),
            Change::DeleteRange { suid: of, tables, range, .. } if *of == suid => {
                let sids: Option<Vec<u32>> = match tables {
                    Tables::All => None,
                    Tables::Named(names) => {
                        Some(names.iter().filter_map(|name| self.sids.get(name.as_str()).copied()).collect())
                    }
                };
                self.out.tombstones.delete_range(sids.as_deref(), *range, version);
            }
            Change::DeleteKeys { suid: of, ordinals, names, keys } if *of == suid => {
                for (row, key) in keys.iter().enumerate() {
                    let name = names.get(ordinals.get(row).map_or(0, |ordinal| *ordinal as usize));
                    if let Some(sid) = name.and_then(|name| self.sids.get(name.as_str())) {
                        self.out.tombstones.delete_range(Some(&[*sid]), TimeRange { min: *key, max: *key }, version);
                    }
                }
            }
            _ => {}
        }
    }

    fn rows(&mut self, rows: &'a RowBatch, version: u64) {
        let mut sids = Vec::with_capacity(rows.tables.len());
        for table in &rows.tables {
            let sid = match (self.sids.get(table.name.as_str()), &table.create) {
                (Some(sid), _) => Some(*sid),
                (None, Some(tags)) if (self.is_ours)(&table.name) => Some(self.create(&table.name, tags)),
                (None, _) => None,
            };
            sids.push(sid);
        }
        let count = rows.rows();
        let keys: Vec<i64> = match &rows.keys {
            Keys::Given(keys) => keys.clone(),
            Keys::Assigned(_) => {
                let first = self.next_row_id;
                self.next_row_id += count as i64;
                (first..self.next_row_id).collect()
            }
        };
        let nobody = u32::MAX;
        let sids: Vec<u32> =
            (0..count).map(|row| sids.get(rows.table_of(row)).copied().flatten().unwrap_or(nobody)).collect();
        if sids.is_empty() {
            return;
        }
        let columns = rows.columns.iter().map(|column| ChunkColumn {
            id: column.id,
            data_type: column.data_type,
            values: Arc::clone(&column.values),
            absent: column.absent.clone(),
        });
        let strangers = sids.contains(&nobody);
        let chunk = MemChunk::new(sids, keys, version, columns.collect());
        let chunk = if strangers { chunk.retain(|sid, _| sid != nobody) } else { Some(chunk) };
        self.out.chunks.extend(chunk.map(Arc::new));
    }

    fn create(&mut self, name: &'a str, tags: &[(model::ColumnId, Value)]) -> u32 {
        let sid = self.view.next_sid + self.out.tables.len() as u32;
        let mut series =
            Series { sid, suid: self.view.suid, uid: 0, name: Arc::from(name), tags: Vec::new(), created_ms: 0 };
        for (id, value) in tags {
            series.set_tag(*id, value.clone());
        }
        self.sids.insert(name, sid);
        self.out.tables.push(Arc::new(series));
        sid
    }
}
