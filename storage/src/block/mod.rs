//! Blocks: up to 4,096 rows sorted by (sid, key), as one header and a few chunks of columns.
//!
//! Start reading at [`encode`] and [`Header`].

mod header;
mod stats;

use arrow::array::ArrayRef;
use arrow::buffer::BooleanBuffer;
use model::{ColumnId, DataType, Precision, Suid};

pub use crate::codec::ROWS_MAX;
pub use header::{ColumnMeta, Header, KEYS_CHUNK, SidRun};
pub use stats::{CompensatedSum, Statistics, Sum};

/// Most bytes of text and binary in one block of more than one row; see [`rows_that_fit`].
pub const TEXT_BYTES_MAX: usize = 16 << 20;

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
    let _ = input;
    todo!()
}

/// How many rows from row `from` may go into one block: at most [`ROWS_MAX`], and no more than [`TEXT_BYTES_MAX`] of
/// text and binary unless a single row has more. At least 1 if there is a row at `from`.
#[must_use]
pub fn rows_that_fit(columns: &[ArrayRef], rows: usize, from: usize) -> usize {
    let _ = (columns, rows, from);
    todo!()
}

/// A dump of a block for people: header, statistics, and how each column is encoded.
///
/// `chunks` may be empty; then only the header is shown.
///
/// # Errors
///
/// If the bytes are not a block.
pub fn inspect(header: &[u8], chunks: &[Vec<u8>]) -> Result<String, crate::Corrupt> {
    let _ = (header, chunks);
    todo!()
}
