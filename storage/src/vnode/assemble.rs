//! Copies picked rows into arrays.

use arrow::array::{Array, ArrayRef, new_null_array};
use arrow::buffer::BooleanBuffer;

use crate::vnode::memtable::some_set;
use crate::vnode::merge::{Item, Picks};
use crate::vnode::segment::{Cells, WantedColumn};

impl Picks {
    /// Visits the newest version of each row, as segment and row.
    fn each_row(&self, mut visit: impl FnMut(usize, usize)) {
        for item in &self.items {
            match *item {
                Item::Span { segment, start, len } => {
                    (start..start + len).for_each(|row| visit(segment as usize, row as usize));
                }
                Item::Merged { start, .. } => {
                    let (segment, row) = self.merged[start as usize];
                    visit(segment as usize, row as usize);
                }
            }
        }
    }

    pub(crate) fn sids(&self) -> Vec<u32> {
        let mut sids = Vec::with_capacity(self.rows);
        self.each_row(|segment, row| sids.push(self.segments[segment].sids[row]));
        sids
    }

    pub(crate) fn keys(&self) -> Vec<i64> {
        let mut keys = Vec::with_capacity(self.rows);
        self.each_row(|segment, row| keys.push(self.segments[segment].keys[row]));
        keys
    }

    /// The newest version of each row.
    pub(crate) fn versions(&self) -> Vec<u64> {
        let mut versions = Vec::with_capacity(self.rows);
        self.each_row(|segment, row| versions.push(self.segments[segment].versions.get(row)));
        versions
    }

    /// The cells of column `at` of the wanted ones: null where absent, and where they are absent.
    pub(crate) fn column(&self, at: usize, wanted: &WantedColumn) -> Cells {
        if let [Item::Span { segment, start, len }] = self.items[..] {
            let segment = &self.segments[segment as usize];
            let (start, len) = (start as usize, len as usize);
            match &segment.columns[at] {
                None => return all_absent(wanted, len),
                Some(cells) if segment.is_direct() => {
                    let absent = cells.absent.as_ref().and_then(|absent| some_set(absent.slice(start, len)));
                    return Cells { values: cells.values.slice(start, len), absent };
                }
                Some(_) => {}
            }
        }
        let columns: Vec<Option<&Cells>> = self.segments.iter().map(|segment| segment.columns[at].as_ref()).collect();
        if columns.iter().all(Option::is_none) {
            return all_absent(wanted, self.rows);
        }
        let nowhere = new_null_array(&wanted.arrow, 1);
        let mut arrays: Vec<&dyn Array> =
            columns.iter().map(|cells| cells.map_or(&*nowhere, |cells| &*cells.values)).collect();
        arrays.push(&*nowhere);
        let indices = self.cells(&columns);
        let values = arrow::compute::interleave(&arrays, &indices).expect("all segments have the wanted type");
        let absent: BooleanBuffer = indices.iter().map(|(array, _)| *array == self.segments.len()).collect();
        Cells { values, absent: some_set(absent) }
    }

    /// Where the cell of each row is: a segment and a place in its column, or behind the segments where it is absent.
    fn cells(&self, columns: &[Option<&Cells>]) -> Vec<(usize, usize)> {
        let find = |segment: u32, row: usize| {
            let cells = columns[segment as usize]?;
            let cell = self.segments[segment as usize].cell(row);
            let absent = cells.absent.as_ref().is_some_and(|absent| absent.value(cell));
            (!absent).then_some((segment as usize, cell))
        };
        let nowhere = (self.segments.len(), 0);
        let mut indices = Vec::with_capacity(self.rows);
        for item in &self.items {
            match *item {
                Item::Span { segment, start, len } => {
                    let rows = start as usize..(start + len) as usize;
                    indices.extend(rows.map(|row| find(segment, row).unwrap_or(nowhere)));
                }
                Item::Merged { start, len } => {
                    let versions = &self.merged[start as usize..(start + len) as usize];
                    let cell = versions.iter().find_map(|(segment, row)| find(*segment, *row as usize));
                    indices.push(cell.unwrap_or(nowhere));
                }
            }
        }
        indices
    }
}

fn all_absent(wanted: &WantedColumn, rows: usize) -> Cells {
    Cells { values: new_null_array(&wanted.arrow, rows), absent: Some(BooleanBuffer::new_set(rows)) }
}

/// One value per run of equal sids, repeated for each row of it.
pub(crate) fn per_series(sids: &[u32], values: impl FnOnce(&[u32]) -> ArrayRef) -> ArrayRef {
    let mut distinct: Vec<u32> = Vec::new();
    let mut indices: Vec<u32> = Vec::with_capacity(sids.len());
    for sid in sids {
        if distinct.last() != Some(sid) {
            distinct.push(*sid);
        }
        indices.push(distinct.len() as u32 - 1);
    }
    let values = values(&distinct);
    let indices = arrow::array::UInt32Array::from(indices);
    arrow::compute::take(&values, &indices, None).expect("indices count the distinct sids")
}
