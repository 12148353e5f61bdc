//! Rows in hand: a memtable chunk or a block, narrowed to what a reader wants, sorted by (sid, key).

use std::ops::Range;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::DataType as Arrow;
use model::{ColumnId, DataType, Precision, TimeRange};

use crate::block::{Header, KEYS_CHUNK};
use crate::halt::Halt;
use crate::vnode::memtable::{MemChunk, Versions, as_type};
use crate::vnode::tombstones::Tombstones;

/// Series up to this many are looked up one by one; for more, all rows are looked at.
const FEW_SERIES: usize = 16;

/// What a reader wants of each source.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) columns: Vec<WantedColumn>,
    pub(crate) series: SeriesFilter,
    pub(crate) range: TimeRange,
    /// Deletes that hide rows.
    pub(crate) tombstones: Vec<Arc<Tombstones>>,
}

/// A column as it shall come.
#[derive(Clone, Debug)]
pub(crate) struct WantedColumn {
    pub(crate) id: ColumnId,
    pub(crate) data_type: DataType,
    pub(crate) arrow: Arrow,
}

impl WantedColumn {
    pub(crate) fn new(id: ColumnId, data_type: DataType, precision: Precision) -> Self {
        Self { id, data_type, arrow: data_type.arrow(precision) }
    }
}

/// Which series.
#[derive(Clone, Debug)]
pub(crate) enum SeriesFilter {
    All,
    /// Ascending.
    Set(Arc<[u32]>),
}

impl SeriesFilter {
    pub(crate) fn contains(&self, sid: u32) -> bool {
        match self {
            Self::All => true,
            Self::Set(sids) => sids.binary_search(&sid).is_ok(),
        }
    }

    /// Whether some sid in `first..=last` is inside.
    pub(crate) fn overlaps(&self, first: u32, last: u32) -> bool {
        match self {
            Self::All => true,
            Self::Set(sids) => sids.get(sids.partition_point(|sid| *sid < first)).is_some_and(|sid| *sid <= last),
        }
    }

    /// The sids, if they are few.
    pub(crate) fn few(&self) -> Option<&[u32]> {
        match self {
            Self::Set(sids) if sids.len() <= FEW_SERIES => Some(sids),
            _ => None,
        }
    }

    /// The one sid, if it is one.
    pub(crate) fn single(&self) -> Option<u32> {
        match self {
            Self::Set(sids) if sids.len() == 1 => Some(sids[0]),
            _ => None,
        }
    }
}

impl Wanted {
    /// Whether a source of these bounds can hold wanted rows.
    pub(crate) fn overlaps(&self, sids: (u32, u32), keys: TimeRange) -> bool {
        self.range.overlaps(keys) && self.series.overlaps(sids.0, sids.1)
    }

    fn hides(&self, sid: u32, key: i64, version: u64) -> bool {
        self.tombstones.iter().any(|tombstones| tombstones.hides(sid, key, version))
    }

    /// Whether a delete hides every row of a source of these bounds and of versions up to `version_max`.
    pub(crate) fn erases(&self, sids: (u32, u32), keys: TimeRange, version_max: u64) -> bool {
        self.tombstones.iter().any(|tombstones| tombstones.cover(sids, keys, version_max, u64::MAX))
    }

    /// The deletes that may touch a source of these bounds.
    pub(crate) fn touched(&self, sids: (u32, u32), keys: TimeRange, version_min: u64) -> bool {
        self.tombstones.iter().any(|tombstones| tombstones.touch(sids, keys, version_min))
    }
}

/// The cells of one column.
#[derive(Clone, Debug)]
pub(crate) struct Cells {
    pub(crate) values: ArrayRef,
    pub(crate) absent: Option<BooleanBuffer>,
}

/// Rows sorted by (sid, key); of rows with the same place the oldest is first.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) sids: Vec<u32>,
    pub(crate) keys: Vec<i64>,
    pub(crate) versions: Versions,
    /// For each row its cells' place in `columns`; None: the same.
    index: Option<Vec<u32>>,
    /// In the order of [`Wanted::columns`]; None where absent in every row.
    pub(crate) columns: Vec<Option<Cells>>,
    /// Rows that have the same place as the row behind them.
    pub(crate) repeats: Vec<u32>,
    /// Whether no cell is absent.
    pub(crate) complete: bool,
    /// Whether the conditions of the scan are decided: rows that fail are not here.
    pub(crate) decided: bool,
}

impl Segment {
    pub(crate) fn rows(&self) -> usize {
        self.keys.len()
    }

    pub(crate) fn place(&self, row: usize) -> (u32, i64) {
        (self.sids[row], self.keys[row])
    }

    /// Where the cells of a row are.
    pub(crate) fn cell(&self, row: usize) -> usize {
        self.index.as_ref().map_or(row, |index| index[row] as usize)
    }

    /// Whether cells are in the order of rows.
    pub(crate) fn is_direct(&self) -> bool {
        self.index.is_none()
    }

    /// The wanted rows of a chunk.
    pub(crate) fn of_chunk(chunk: &MemChunk, wanted: &Wanted) -> Option<Self> {
        if !wanted.overlaps(chunk.sid_range, chunk.key_range) {
            return None;
        }
        let columns: Vec<Option<Cells>> = wanted
            .columns
            .iter()
            .map(|want| {
                let column = chunk.columns.iter().find(|column| column.id == want.id)?;
                Some(Cells { values: as_type(&column.values, &want.arrow), absent: column.absent.clone() })
            })
            .collect();
        let rows = chunk_rows(chunk, wanted);
        let direct = rows.len() == chunk.rows() && chunk.order().is_none();
        let sids: Vec<u32> = rows.iter().map(|row| chunk.sids[*row as usize]).collect();
        let keys: Vec<i64> = rows.iter().map(|row| chunk.keys[*row as usize]).collect();
        let versions = match &chunk.versions {
            Versions::One(version) => Versions::One(*version),
            Versions::Each(each) => Versions::Each(rows.iter().map(|row| each[*row as usize]).collect()),
        };
        Self::of(sids, keys, versions, (!direct).then_some(rows), columns)
    }

    /// Rows in their order; None if there are none.
    pub(crate) fn of(
        sids: Vec<u32>,
        keys: Vec<i64>,
        versions: Versions,
        index: Option<Vec<u32>>,
        columns: Vec<Option<Cells>>,
    ) -> Option<Self> {
        if keys.is_empty() {
            return None;
        }
        let same = |row: &u32| {
            let row = *row as usize;
            keys[row] == keys[row + 1] && sids[row] == sids[row + 1]
        };
        let repeats = (0..keys.len() as u32 - 1).filter(same).collect();
        let complete = columns.iter().all(|column| column.as_ref().is_some_and(|cells| cells.absent.is_none()));
        Some(Self { sids, keys, versions, index, columns, repeats, complete, decided: false })
    }

    /// The same, of rows that are what a scan's conditions leave.
    pub(crate) fn decided(self) -> Self {
        Self { decided: true, ..self }
    }

    /// The wanted rows of a block, whose chunks `read` gives.
    pub(crate) fn of_block(
        header: &Header,
        wanted: &Wanted,
        mut read: impl FnMut(u16) -> Result<Vec<u8>, Halt>,
        corrupt: impl Fn(crate::Corrupt) -> Halt,
    ) -> Result<Option<Self>, Halt> {
        let mut chunks = ChunkCache::default();
        let keys_chunk = chunks.get(KEYS_CHUNK, &mut read)?;
        let keys = header.decode_keys(keys_chunk, 0..header.rows).map_err(&corrupt)?;
        let mut ranges = wanted_ranges(header, &keys, wanted);
        let bounds = (header.sid_min().0, header.sid_max().0);
        let key_range = TimeRange { min: header.key_min, max: header.key_max };
        let (Some(first), Some(last)) = (ranges.first(), ranges.last()) else { return Ok(None) };
        let mut span = first.start..last.end;
        let versions_chunk = chunks.get(header.versions_chunk().unwrap_or(KEYS_CHUNK), &mut read)?;
        let mut versions = header.decode_versions(versions_chunk, span.clone()).map_err(&corrupt)?;
        if wanted.touched(bounds, key_range, header.version_min) {
            let sids = header.sids(span.clone());
            let alive = |row: &usize| {
                let at = row - span.start;
                !wanted.hides(sids[at], keys[*row], versions[at])
            };
            ranges = runs_of(ranges.into_iter().flatten().filter(alive));
            let (Some(first), Some(last)) = (ranges.first(), ranges.last()) else { return Ok(None) };
            let narrow = first.start..last.end;
            versions = versions[narrow.start - span.start..narrow.end - span.start].to_vec();
            span = narrow;
        }
        let mut columns = Vec::with_capacity(wanted.columns.len());
        for want in &wanted.columns {
            let Some(column) = header.column(want.id) else {
                columns.push(None);
                continue;
            };
            let chunk = chunks.get(column.chunk(), &mut read)?;
            let (values, absent) = header.decode_column(column, chunk, span.clone()).map_err(&corrupt)?;
            columns.push(Some(Cells { values: as_type(&values, &want.arrow), absent }));
        }
        let sids = header.sids(span.clone());
        let keys = keys[span.clone()].to_vec();
        if ranges.len() == 1 {
            return Ok(Self::of(sids, keys, Versions::Each(versions), None, columns));
        }
        let index: Vec<u32> = ranges.into_iter().flatten().map(|row| (row - span.start) as u32).collect();
        let pick = |row: &u32| *row as usize;
        Ok(Self::of(
            index.iter().map(|row| sids[pick(row)]).collect(),
            index.iter().map(|row| keys[pick(row)]).collect(),
            Versions::Each(index.iter().map(|row| versions[pick(row)]).collect()),
            Some(index),
            columns,
        ))
    }
}

/// Chunks of one block that were read.
#[derive(Default)]
pub(crate) struct ChunkCache(Vec<(u16, Vec<u8>)>);

impl ChunkCache {
    pub(crate) fn get(
        &mut self,
        chunk: u16,
        read: &mut impl FnMut(u16) -> Result<Vec<u8>, Halt>,
    ) -> Result<&[u8], Halt> {
        let at = match self.0.iter().position(|(number, _)| *number == chunk) {
            Some(at) => at,
            None => {
                let bytes = read(chunk)?;
                self.0.push((chunk, bytes));
                self.0.len() - 1
            }
        };
        Ok(&self.0[at].1)
    }
}

/// The wanted rows of a chunk in order.
fn chunk_rows(chunk: &MemChunk, wanted: &Wanted) -> Vec<u32> {
    let order = chunk.order();
    let row_at = |at: usize| order.map_or(at as u32, |order| order[at]);
    let place = |at: usize| {
        let row = row_at(at) as usize;
        (chunk.sids[row], chunk.keys[row])
    };
    let touched = wanted.touched(chunk.sid_range, chunk.key_range, 0);
    let alive = |row: &u32| {
        let at = *row as usize;
        !touched || !wanted.hides(chunk.sids[at], chunk.keys[at], chunk.versions.get(at))
    };
    if let Some(sids) = wanted.series.few() {
        let find = |wanted: (u32, i64), after: bool| {
            partition(chunk.rows(), |at| if after { place(at) <= wanted } else { place(at) < wanted })
        };
        let ranges = sids.iter().map(|sid| find((*sid, wanted.range.min), false)..find((*sid, wanted.range.max), true));
        return ranges.flatten().map(row_at).filter(alive).collect();
    }
    let inside = |row: &u32| {
        let at = *row as usize;
        wanted.range.contains(chunk.keys[at]) && wanted.series.contains(chunk.sids[at])
    };
    (0..chunk.rows()).map(row_at).filter(|row| inside(row) && alive(row)).collect()
}

/// The first of `0..len` for which `before` does not hold.
fn partition(len: usize, before: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, len);
    while low < high {
        let middle = low + (high - low) / 2;
        if before(middle) { low = middle + 1 } else { high = middle }
    }
    low
}

/// Rows of a block that belong to wanted series and lie in the wanted range. `keys` may be empty if all keys lie there.
pub(crate) fn wanted_ranges(header: &Header, keys: &[i64], wanted: &Wanted) -> Vec<Range<usize>> {
    let whole = wanted.range.min <= header.key_min && header.key_max <= wanted.range.max;
    let mut ranges: Vec<Range<usize>> = Vec::new();
    for run in &header.directory {
        if !wanted.series.contains(run.sid.0) {
            continue;
        }
        let mut range = run.start as usize..run.end as usize;
        if !whole {
            let rows = &keys[range.clone()];
            let start = rows.partition_point(|key| *key < wanted.range.min);
            let end = rows.partition_point(|key| *key <= wanted.range.max);
            range = range.start + start..range.start + end.max(start);
        }
        if range.is_empty() {
            continue;
        }
        match ranges.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => ranges.push(range),
        }
    }
    ranges
}

/// Ascending rows as ranges.
fn runs_of(rows: impl Iterator<Item = usize>) -> Vec<Range<usize>> {
    let mut ranges: Vec<Range<usize>> = Vec::new();
    for row in rows {
        match ranges.last_mut() {
            Some(last) if last.end == row => last.end += 1,
            _ => ranges.push(row..row + 1),
        }
    }
    ranges
}
