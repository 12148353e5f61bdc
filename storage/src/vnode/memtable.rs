//! Rows that are not on disk yet: the chunks of log entries as they came, sorted when somebody asks.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use arrow::array::{Array, ArrayRef, BooleanBufferBuilder, new_null_array};
use arrow::buffer::BooleanBuffer;
use model::command::ChunkColumn;
use model::{ColumnId, Precision, Suid, TimeRange};

/// Chunks of one level that are put together into one of the next: single-row inserts would make millions of chunks.
const FAN_IN: usize = 32;
/// Chunks of at least this many rows stay as they are.
const CHUNK_ROWS_MAX: usize = 16_384;

/// And chunks of at least this many bytes: what is put together is there twice for a moment.
const CHUNK_BYTES_MAX: usize = 512 << 10;

/// Rows of one relation in the order of their arrival.
#[derive(Debug)]
pub(crate) struct MemChunk {
    /// Series of each row.
    pub(crate) sids: Vec<u32>,
    /// Key of each row.
    pub(crate) keys: Vec<i64>,
    /// Version of each row, or of all of them.
    pub(crate) versions: Versions,
    /// Columns without the key. One that is not here is absent in every row.
    pub(crate) columns: Vec<ChunkColumn>,
    /// Least and greatest sid.
    pub(crate) sid_range: (u32, u32),
    /// Least and greatest key.
    pub(crate) key_range: TimeRange,
    bytes: usize,
    level: u8,
    order: OnceLock<Option<Vec<u32>>>,
}

/// Versions of rows.
#[derive(Clone, Debug)]
pub(crate) enum Versions {
    /// One for all.
    One(u64),
    /// One each.
    Each(Vec<u64>),
}

impl Versions {
    pub(crate) fn get(&self, row: usize) -> u64 {
        match self {
            Self::One(version) => *version,
            Self::Each(versions) => versions[row],
        }
    }
}

impl MemChunk {
    /// Rows that all have one version. At least one row.
    pub(crate) fn new(sids: Vec<u32>, keys: Vec<i64>, version: u64, columns: Vec<ChunkColumn>) -> Self {
        Self::with(sids, keys, Versions::One(version), columns, 0)
    }

    fn with(sids: Vec<u32>, keys: Vec<i64>, versions: Versions, columns: Vec<ChunkColumn>, level: u8) -> Self {
        let sid_range = sids.iter().fold((u32::MAX, 0), |(low, high), sid| (low.min(*sid), high.max(*sid)));
        let empty = TimeRange { min: i64::MAX, max: i64::MIN };
        let key_range =
            keys.iter().fold(empty, |range, key| TimeRange { min: range.min.min(*key), max: range.max.max(*key) });
        let cells: usize = columns.iter().map(|column| cell_bytes(&column.values)).sum();
        let bytes = cells + keys.len() * 20 + 256;
        Self { sids, keys, versions, columns, sid_range, key_range, bytes, level, order: OnceLock::new() }
    }

    pub(crate) fn rows(&self) -> usize {
        self.keys.len()
    }

    /// Bytes in memory.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    fn is_small(&self) -> bool {
        self.rows() < CHUNK_ROWS_MAX && self.bytes() < CHUNK_BYTES_MAX
    }

    /// The rows by (sid, key, age), oldest first; None if that is how they came.
    pub(crate) fn order(&self) -> Option<&[u32]> {
        let sorted = self.order.get_or_init(|| {
            let place = |row: u32| (self.sids[row as usize], self.keys[row as usize]);
            let rows = self.rows() as u32;
            if (1..rows).all(|row| place(row - 1) <= place(row)) {
                return None;
            }
            Some(sorted_rows(&self.sids, &self.keys, self.sid_range))
        });
        sorted.as_deref()
    }

    /// Whether some row lies in `first..=last`.
    pub(crate) fn has_between(&self, first: (u32, i64), last: (u32, i64)) -> bool {
        let order = self.order();
        let place = |at: usize| {
            let row = order.map_or(at, |order| order[at] as usize);
            (self.sids[row], self.keys[row])
        };
        let (mut low, mut high) = (0, self.rows());
        while low < high {
            let middle = low + (high - low) / 2;
            if place(middle) < first { low = middle + 1 } else { high = middle }
        }
        low < self.rows() && place(low) <= last
    }

    /// The rows for which `keep` says so; None if none is left.
    pub(crate) fn retain(&self, keep: impl Fn(u32, i64) -> bool) -> Option<Self> {
        let rows: Vec<u32> =
            (0..self.rows() as u32).filter(|row| keep(self.sids[*row as usize], self.keys[*row as usize])).collect();
        if rows.is_empty() {
            return None;
        }
        let pick = |column: &ChunkColumn| {
            let indices = arrow::array::UInt32Array::from(rows.clone());
            let values = arrow::compute::take(&column.values, &indices, None).expect("rows are inside the chunk");
            let absent =
                column.absent.as_ref().map(|absent| rows.iter().map(|row| absent.value(*row as usize)).collect());
            ChunkColumn { id: column.id, data_type: column.data_type, values, absent }
        };
        let columns = self.columns.iter().map(pick).collect();
        let sids = rows.iter().map(|row| self.sids[*row as usize]).collect();
        let keys = rows.iter().map(|row| self.keys[*row as usize]).collect();
        let versions = Versions::Each(rows.iter().map(|row| self.versions.get(*row as usize)).collect());
        Some(Self::with(sids, keys, versions, columns, self.level))
    }

    /// Several chunks as one, oldest first.
    fn concat(chunks: &[Arc<Self>], precision: Precision) -> Self {
        let mut ids: BTreeMap<ColumnId, model::DataType> = BTreeMap::new();
        for column in chunks.iter().flat_map(|chunk| &chunk.columns) {
            ids.insert(column.id, column.data_type);
        }
        let rows = chunks.iter().map(|chunk| chunk.rows()).sum();
        let mut sids = Vec::with_capacity(rows);
        let mut keys = Vec::with_capacity(rows);
        let mut versions = Vec::with_capacity(rows);
        for chunk in chunks {
            sids.extend_from_slice(&chunk.sids);
            keys.extend_from_slice(&chunk.keys);
            versions.extend((0..chunk.rows()).map(|row| chunk.versions.get(row)));
        }
        let columns = ids.into_iter().map(|(id, data_type)| concat_column(chunks, id, data_type, precision)).collect();
        let level = chunks.iter().map(|chunk| chunk.level).max().unwrap_or(0) + 1;
        Self::with(sids, keys, Versions::Each(versions), columns, level)
    }
}

/// Rows by (sid, key, age). Sids are dense, so that counting them sorts by them; of one series rows mostly come by time.
fn sorted_rows(sids: &[u32], keys: &[i64], (least, greatest): (u32, u32)) -> Vec<u32> {
    let rows = sids.len() as u32;
    let span = (greatest - least) as usize + 1;
    if span / 4 > sids.len() {
        let mut order: Vec<u32> = (0..rows).collect();
        order.sort_by_key(|row| (sids[*row as usize], keys[*row as usize]));
        return order;
    }
    // Where the next row of each series goes.
    let mut next = vec![0_u32; span + 1];
    for sid in sids {
        next[(sid - least) as usize + 1] += 1;
    }
    for at in 1..next.len() {
        next[at] += next[at - 1];
    }
    let mut order = vec![0; sids.len()];
    for (row, sid) in (0..rows).zip(sids) {
        let at = &mut next[(sid - least) as usize];
        order[*at as usize] = row;
        *at += 1;
    }
    let mut start = 0;
    for end in &next[..span] {
        let series = &mut order[start..*end as usize];
        if !series.is_sorted_by_key(|row| keys[*row as usize]) {
            series.sort_by_key(|row| keys[*row as usize]);
        }
        start = *end as usize;
    }
    order
}

fn concat_column(
    chunks: &[Arc<MemChunk>],
    id: ColumnId,
    data_type: model::DataType,
    precision: Precision,
) -> ChunkColumn {
    let wanted = data_type.arrow(precision);
    let mut parts: Vec<ArrayRef> = Vec::with_capacity(chunks.len());
    let mut absent = BooleanBufferBuilder::new(0);
    for chunk in chunks {
        let rows = chunk.rows();
        match chunk.columns.iter().find(|column| column.id == id) {
            Some(column) => {
                parts.push(as_type(&column.values, &wanted));
                match &column.absent {
                    Some(bits) => absent.append_buffer(bits),
                    None => absent.append_n(rows, false),
                }
            }
            None => {
                parts.push(new_null_array(&wanted, rows));
                absent.append_n(rows, true);
            }
        }
    }
    let parts: Vec<&dyn Array> = parts.iter().map(|part| &**part).collect();
    let values = arrow::compute::concat(&parts).expect("all parts have one type");
    ChunkColumn { id, data_type, values, absent: some_set(absent.finish()) }
}

/// The bits, unless none is set.
pub(crate) fn some_set(bits: BooleanBuffer) -> Option<BooleanBuffer> {
    (bits.count_set_bits() > 0).then_some(bits)
}

/// Bytes of the cells of an array, without what else lies in the buffers that it is a part of.
pub(crate) fn cell_bytes(values: &ArrayRef) -> usize {
    let data = values.to_data();
    data.get_slice_memory_size().unwrap_or_else(|_| values.get_array_memory_size())
}

/// An array of a column whose type was changed since. Types only ever become wider, so that nothing is lost.
pub(crate) fn as_type(values: &ArrayRef, wanted: &arrow::datatypes::DataType) -> ArrayRef {
    if values.data_type() == wanted {
        return Arc::clone(values);
    }
    let options = arrow::compute::CastOptions { safe: false, ..Default::default() };
    arrow::compute::cast_with_options(values, wanted, &options).unwrap_or_else(|error| {
        tracing::error!(%error, from = %values.data_type(), to = %wanted, "a column changed to a type that its values do not fit");
        new_null_array(wanted, values.len())
    })
}

/// Chunks by relation, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Memtable {
    pub(crate) relations: BTreeMap<Suid, Vec<Arc<MemChunk>>>,
    pub(crate) rows: usize,
    pub(crate) bytes: usize,
}

impl Memtable {
    pub(crate) fn push(&mut self, suid: Suid, chunk: MemChunk, precision: Precision) {
        self.rows += chunk.rows();
        self.bytes += chunk.bytes();
        let chunks = self.relations.entry(suid).or_default();
        chunks.push(Arc::new(chunk));
        loop {
            let level = chunks.last().map_or(0, |chunk| chunk.level);
            let same =
                chunks.iter().rev().take(FAN_IN).take_while(|chunk| chunk.level == level && chunk.is_small()).count();
            if same < FAN_IN {
                break;
            }
            let at = chunks.len() - FAN_IN;
            let before: usize = chunks[at..].iter().map(|chunk| chunk.bytes()).sum();
            let merged = MemChunk::concat(&chunks[at..], precision);
            self.bytes = self.bytes + merged.bytes() - before;
            chunks.truncate(at);
            chunks.push(Arc::new(merged));
        }
    }

    pub(crate) fn chunks(&self, suid: Suid) -> &[Arc<MemChunk>] {
        self.relations.get(&suid).map_or(&[], Vec::as_slice)
    }

    /// Forgets the rows of a relation.
    pub(crate) fn drop_relation(&mut self, suid: Suid) {
        for chunk in self.relations.remove(&suid).unwrap_or_default() {
            self.rows -= chunk.rows();
            self.bytes -= chunk.bytes();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counting_sorts_as_comparing_does() {
        let mut seed = 7_u64;
        let mut random = move |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % below
        };
        for (rows, series, times) in [(1, 1, 1), (100, 3, 1000), (1000, 50, 20), (500, 400, 5), (300, 1, 10)] {
            let sids: Vec<u32> = (0..rows).map(|_| 40 + random(series) as u32).collect();
            let keys: Vec<i64> = (0..rows).map(|_| random(times) as i64 - 5).collect();
            let mut expected: Vec<u32> = (0..rows as u32).collect();
            expected.sort_by_key(|row| (sids[*row as usize], keys[*row as usize]));
            let range = (*sids.iter().min().expect("a row"), *sids.iter().max().expect("a row"));
            assert_eq!(sorted_rows(&sids, &keys, range), expected, "{rows} rows of {series} series");
        }
        assert_eq!(sorted_rows(&[900_000, 1], &[1, 2], (1, 900_000)), [1, 0]);
    }
}
