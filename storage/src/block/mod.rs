//! Blocks: up to 4,096 rows sorted by (sid, key), as one header and a few chunks of columns.
//!
//! Start reading at [`encode`] and [`Header`].

mod header;
mod inspect;
mod stats;
#[cfg(test)]
mod tests;

use arrow::array::{ArrayRef, AsArray};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::DataType as Arrow;
use model::{ColumnId, DataType, Precision, Sid, Suid};

use crate::codec;
pub use crate::codec::{Coding, ROWS_MAX};
use header::Place;
pub use header::{ColumnMeta, Header, KEYS_CHUNK, SidRun};
pub use inspect::inspect;
pub use stats::{CompensatedSum, Statistics, Sum};

/// Most bytes of text and binary in one block of more than one row; see [`rows_that_fit`].
pub const TEXT_BYTES_MAX: usize = 16 << 20;

/// A chunk with this many bytes gets no more columns.
const CHUNK_BYTES_MIN: usize = 16 << 10;
/// Only a single column makes a chunk larger than this.
const CHUNK_BYTES_MAX: usize = 32 << 10;

/// Rows to be encoded as one block. All slices and arrays have the same length, 1 to [`ROWS_MAX`].
#[derive(Clone, Debug)]
pub struct BlockInput<'a> {
    /// The relation.
    pub suid: Suid,
    /// Length of a tick, for columns of type TIMESTAMP.
    pub precision: Precision,
    /// Series of each row, never descending.
    pub sids: &'a [u32],
    /// Key of each row, never descending inside a series.
    pub keys: &'a [i64],
    /// The clock (`Stamp::hlc`) of the newest write to each row.
    pub versions: &'a [u64],
    /// How the keys are encoded.
    pub coding: Coding,
    /// Columns without the key. A column that is not here is absent in every row.
    pub columns: Vec<BlockColumn>,
}

/// One column of a [`BlockInput`].
#[derive(Clone, Debug)]
pub struct BlockColumn {
    /// Which.
    pub id: ColumnId,
    /// Its type; `values` has `data_type.arrow(precision)`.
    pub data_type: DataType,
    /// Values; a null is an explicit NULL.
    pub values: ArrayRef,
    /// Set where the row says nothing about this column. None: nowhere.
    pub absent: Option<BooleanBuffer>,
    /// How it is encoded.
    pub coding: Coding,
}

/// A block as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// Read it with [`Header::decode`].
    pub header: Vec<u8>,
    /// Columns, several to a chunk; chunk [`KEYS_CHUNK`] starts with the keys.
    pub chunks: Vec<Vec<u8>>,
}

/// Encodes one block.
///
/// # Panics
///
/// If lengths differ, there are no rows or more than [`ROWS_MAX`], sids or keys descend, an array is not of its
/// column's type, or a vector holds more than [`crate::codec::VECTOR_BYTES_MAX`] of text: cut with [`rows_that_fit`].
#[must_use]
pub fn encode(input: &BlockInput<'_>) -> Encoded {
    check(input);
    let mut chunks = Chunks::default();
    let mut bytes = Vec::new();
    codec::encode_longs_as(input.keys, input.coding, &mut bytes);
    let keys = chunks.add(&bytes);
    let (version_min, version_max) = range(input.versions.iter().copied());
    let versions = (version_min != version_max).then(|| {
        let versions: Vec<i64> = input.versions.iter().map(|version| *version as i64).collect();
        bytes.clear();
        codec::encode_longs(&versions, &mut bytes);
        chunks.add(&bytes)
    });
    let directory = directory(input.sids);
    let single = directory.len() == 1;
    let mut columns = Vec::with_capacity(input.columns.len());
    for column in &input.columns {
        bytes.clear();
        let absent = column.absent.as_ref();
        codec::encode_column_as(&column.values, column.data_type, absent, column.coding, &mut bytes);
        let statistics = stats::of(&column.values, column.data_type, absent, single);
        let place = chunks.add(&bytes);
        columns.push(ColumnMeta { id: column.id, data_type: column.data_type, statistics, place });
    }
    let (key_min, key_max) = range(input.keys.iter().copied());
    let chunks = chunks.finish();
    let header = Header {
        suid: input.suid,
        precision: input.precision,
        rows: input.keys.len(),
        directory,
        key_min,
        key_max,
        version_min,
        version_max,
        chunks: chunks.len() as u16,
        columns,
        keys,
        versions,
    };
    Encoded { header: header.encode(), chunks }
}

/// How many rows from row `from` may go into one block: at most [`ROWS_MAX`], and no more than [`TEXT_BYTES_MAX`] of
/// text and binary unless a single row has more. At least 1 if there is a row at `from`.
#[must_use]
pub fn rows_that_fit(columns: &[ArrayRef], rows: usize, from: usize) -> usize {
    let most = rows.saturating_sub(from).min(ROWS_MAX);
    let texts: Vec<&[i32]> = columns.iter().filter_map(offsets).collect();
    let bytes =
        |count: usize| -> usize { texts.iter().map(|offsets| (offsets[from + count] - offsets[from]) as usize).sum() };
    if bytes(most) <= TEXT_BYTES_MAX {
        return most;
    }
    // The most rows that fit lie in fits..too_many.
    let (mut fits, mut too_many) = (0, most);
    while fits + 1 < too_many {
        let middle = usize::midpoint(fits, too_many);
        if bytes(middle) <= TEXT_BYTES_MAX {
            fits = middle;
        } else {
            too_many = middle;
        }
    }
    fits.max(1)
}

fn offsets(values: &ArrayRef) -> Option<&[i32]> {
    match values.data_type() {
        Arrow::Utf8 => Some(values.as_string::<i32>().value_offsets()),
        Arrow::Binary => Some(values.as_binary::<i32>().value_offsets()),
        _ => None,
    }
}

fn check(input: &BlockInput<'_>) {
    let rows = input.keys.len();
    assert!((1..=ROWS_MAX).contains(&rows), "a block of {rows} rows");
    assert!(input.sids.len() == rows && input.versions.len() == rows, "sids, keys and versions differ in length");
    let ascend = (1..rows).all(|row| (input.sids[row - 1], input.keys[row - 1]) <= (input.sids[row], input.keys[row]));
    assert!(ascend, "rows of a block descend");
    for column in &input.columns {
        assert_eq!(column.values.len(), rows, "column {} differs in length", column.id);
        assert_eq!(*column.values.data_type(), column.data_type.arrow(input.precision), "column {}", column.id);
    }
}

fn range<T: Copy + Ord + Default>(values: impl Iterator<Item = T> + Clone) -> (T, T) {
    (values.clone().min().unwrap_or_default(), values.max().unwrap_or_default())
}

fn directory(sids: &[u32]) -> Vec<SidRun> {
    let mut start = 0;
    let runs = sids.chunk_by(|a, b| a == b);
    runs.map(|run| {
        let end = start + run.len() as u32;
        let run = SidRun { sid: Sid(run[0]), start, end };
        start = end;
        run
    })
    .collect()
}

/// Chunks being filled: a chunk ends when it has [`CHUNK_BYTES_MIN`], or before it gets more than [`CHUNK_BYTES_MAX`].
#[derive(Default)]
struct Chunks {
    done: Vec<Vec<u8>>,
    open: Vec<u8>,
}

impl Chunks {
    fn add(&mut self, column: &[u8]) -> Place {
        if !self.open.is_empty() && self.open.len() + column.len() > CHUNK_BYTES_MAX {
            self.done.push(std::mem::take(&mut self.open));
        }
        let chunk = self.done.len() as u16;
        let place = Place { chunk, offset: self.open.len() as u32, length: column.len() as u32 };
        self.open.extend_from_slice(column);
        if self.open.len() >= CHUNK_BYTES_MIN {
            self.done.push(std::mem::take(&mut self.open));
        }
        place
    }

    fn finish(mut self) -> Vec<Vec<u8>> {
        if !self.open.is_empty() {
            self.done.push(self.open);
        }
        self.done
    }
}
