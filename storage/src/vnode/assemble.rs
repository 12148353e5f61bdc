//! Copies picked rows into arrays.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringArray, new_null_array};
use arrow::buffer::{BooleanBuffer, Buffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::DataType as Arrow;

use crate::vnode::memtable::some_set;
use crate::vnode::merge::{Item, Picks};
use crate::vnode::segment::{Cells, Segment, WantedColumn};

/// Shorter spans than this, on average, are copied row by row.
const SPAN_ROWS_MIN: usize = 8;

impl Picks {
    /// Visits the newest version of each row, as stretches of a segment.
    fn each_stretch(&self, mut visit: impl FnMut(&Segment, Range<usize>)) {
        for item in &self.items {
            match *item {
                Item::Span { segment, start, len } => {
                    visit(&self.segments[segment as usize], start as usize..(start + len) as usize);
                }
                Item::Merged { start, .. } => {
                    let (segment, row) = self.merged[start as usize];
                    visit(&self.segments[segment as usize], row as usize..row as usize + 1);
                }
            }
        }
    }

    pub(crate) fn sids(&self) -> Vec<u32> {
        let mut sids = Vec::with_capacity(self.rows);
        self.each_stretch(|segment, rows| sids.extend_from_slice(&segment.sids[rows]));
        sids
    }

    pub(crate) fn keys(&self) -> Vec<i64> {
        let mut keys = Vec::with_capacity(self.rows);
        self.each_stretch(|segment, rows| keys.extend_from_slice(&segment.keys[rows]));
        keys
    }

    /// The newest version of each row.
    pub(crate) fn versions(&self) -> Vec<u64> {
        let mut versions = Vec::with_capacity(self.rows);
        self.each_stretch(|segment, rows| versions.extend(rows.map(|row| segment.versions.get(row))));
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
        if self.rows == 0 || columns.iter().all(Option::is_none) {
            return all_absent(wanted, self.rows);
        }
        if let Some(parts) = self.parts(at) {
            let parts: Vec<&dyn Array> = parts.iter().map(|part| &**part).collect();
            let values = arrow::compute::concat(&parts).expect("all segments have the wanted type");
            return Cells { values, absent: None };
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

    /// The cells of a column as slices of segments, if they are few and none of them is absent.
    fn parts(&self, at: usize) -> Option<Vec<ArrayRef>> {
        if self.items.len() * SPAN_ROWS_MIN > self.rows {
            return None;
        }
        let part = |item: &Item| {
            let Item::Span { segment, start, len } = *item else { return None };
            let segment = &self.segments[segment as usize];
            let cells = segment.columns[at].as_ref().filter(|cells| cells.absent.is_none() && segment.is_direct())?;
            Some(cells.values.slice(start as usize, len as usize))
        };
        self.items.iter().map(part).collect()
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
    let runs = || sids.chunk_by(|a, b| a == b);
    let distinct: Vec<u32> = runs().map(|run| run[0]).collect();
    let values = values(&distinct);
    if distinct.len() == sids.len() {
        return values;
    }
    if *values.data_type() == Arrow::Utf8
        && let Some(repeated) = repeat(values.as_string(), runs().map(<[u32]>::len), sids.len())
    {
        return Arc::new(repeated);
    }
    let mut indices: Vec<u32> = Vec::with_capacity(sids.len());
    for (at, run) in runs().enumerate() {
        indices.extend(std::iter::repeat_n(at as u32, run.len()));
    }
    let indices = arrow::array::UInt32Array::from(indices);
    arrow::compute::take(&values, &indices, None).expect("indices count the distinct sids")
}

/// Each text as often as its count says, `rows` in all. None if some text is NULL, or they are too long for one array.
fn repeat(texts: &StringArray, counts: impl Iterator<Item = usize> + Clone, rows: usize) -> Option<StringArray> {
    if texts.null_count() > 0 {
        return None;
    }
    let length = |(text, count): (Option<&str>, usize)| text.map_or(0, str::len) * count;
    let bytes: usize = texts.iter().zip(counts.clone()).map(length).sum();
    i32::try_from(bytes).ok()?;
    let (mut all, mut offsets) = (Vec::with_capacity(bytes), Vec::with_capacity(rows + 1));
    offsets.push(0_i32);
    for (text, count) in texts.iter().zip(counts) {
        let text = text.unwrap_or("").as_bytes();
        for _ in 0..count {
            all.extend_from_slice(text);
            offsets.push(all.len() as i32);
        }
    }
    StringArray::try_new(OffsetBuffer::new(ScalarBuffer::from(offsets)), Buffer::from_vec(all), None).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_repeated() {
        let of = |texts: &[Option<&str>]| -> ArrayRef { Arc::new(StringArray::from(texts.to_vec())) };
        let sids = [4, 4, 4, 7, 9, 9];
        let repeated = per_series(&sids, |distinct| {
            assert_eq!(distinct, [4, 7, 9]);
            of(&[Some("a"), Some(""), Some("ccc")])
        });
        assert_eq!(&repeated, &of(&[Some("a"), Some("a"), Some("a"), Some(""), Some("ccc"), Some("ccc")]));
        let nulls = per_series(&sids, |_| of(&[Some("a"), None, Some("b")]));
        assert_eq!(&nulls, &of(&[Some("a"), Some("a"), Some("a"), None, Some("b"), Some("b")]));
        assert_eq!(per_series(&[], |_| of(&[])).len(), 0);
    }
}
