//! The header of a block: everything a reader needs before it touches a chunk.

use std::ops::Range;

use arrow::array::ArrayRef;
use arrow::buffer::BooleanBuffer;
use model::{ColumnId, DataType, Precision, Sid, Suid};

use crate::Corrupt;
use crate::block::Statistics;

/// The chunk that holds the keys, and the versions where they differ.
pub const KEYS_CHUNK: u16 = 0;

/// A decoded block header.
#[derive(Clone, Debug, PartialEq)]
pub struct Header {
    /// The relation.
    pub suid: Suid,
    /// Length of a tick.
    pub precision: Precision,
    /// Rows: 1 to [`crate::block::ROWS_MAX`].
    pub rows: usize,
    /// Which rows are whose: ascending, each sid once, together all rows.
    pub directory: Vec<SidRun>,
    /// Least key of the block.
    pub key_min: i64,
    /// Greatest key of the block.
    pub key_max: i64,
    /// Oldest version of a row.
    pub version_min: u64,
    /// Newest version of a row.
    pub version_max: u64,
    /// How many chunks there are.
    pub chunks: u16,
    /// Columns in the order of the input, without the key.
    pub columns: Vec<ColumnMeta>,
    keys: Place,
    versions: Option<Place>,
}

/// The rows of one series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SidRun {
    /// Whose.
    pub sid: Sid,
    /// Its first row.
    pub start: u32,
    /// The row after its last one.
    pub end: u32,
}

/// What the header says about one column.
#[derive(Clone, Debug, PartialEq)]
pub struct ColumnMeta {
    /// Which.
    pub id: ColumnId,
    /// Its type when it was written.
    pub data_type: DataType,
    /// What its cells are like.
    pub statistics: Statistics,
    place: Place,
}

/// Where an encoded column is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    chunk: u16,
    offset: u32,
    length: u32,
}

impl ColumnMeta {
    /// The chunk that the column is in.
    #[must_use]
    pub const fn chunk(&self) -> u16 {
        self.place.chunk
    }

    /// Bytes of the encoded column.
    #[must_use]
    pub const fn bytes(&self) -> u32 {
        self.place.length
    }
}

impl Header {
    /// Reads a header.
    ///
    /// # Errors
    ///
    /// If the bytes are not a header of a known format.
    pub fn decode(bytes: &[u8]) -> Result<Self, Corrupt> {
        let _ = bytes;
        todo!()
    }

    /// What is known of a column; None if it is absent in all rows.
    #[must_use]
    pub fn column(&self, id: ColumnId) -> Option<&ColumnMeta> {
        self.columns.iter().find(|column| column.id == id)
    }

    /// Whether all rows belong to one series, so that keys ascend over the whole block.
    #[must_use]
    pub fn is_single_series(&self) -> bool {
        self.directory.len() == 1
    }

    /// Sid of the first row.
    #[must_use]
    pub fn sid_min(&self) -> Sid {
        self.directory.first().map_or(Sid(0), |run| run.sid)
    }

    /// Sid of the last row.
    #[must_use]
    pub fn sid_max(&self) -> Sid {
        self.directory.last().map_or(Sid(0), |run| run.sid)
    }

    /// The rows of one series; empty if it has none.
    #[must_use]
    pub fn rows_of(&self, sid: Sid) -> Range<usize> {
        match self.directory.binary_search_by_key(&sid, |run| run.sid) {
            Ok(at) => self.directory[at].start as usize..self.directory[at].end as usize,
            Err(_) => 0..0,
        }
    }

    /// The sid of each of `rows`.
    #[must_use]
    pub fn sids(&self, rows: Range<usize>) -> Vec<u32> {
        let _ = rows;
        todo!()
    }

    /// Whether [`Header::decode_versions`] needs [`KEYS_CHUNK`]: not when all rows have one version.
    #[must_use]
    pub fn versions_are_stored(&self) -> bool {
        self.versions.is_some()
    }

    /// The keys of `rows` from the bytes of [`KEYS_CHUNK`].
    ///
    /// # Errors
    ///
    /// If the chunk is not this block's.
    ///
    /// # Panics
    ///
    /// If `rows` goes beyond the block.
    pub fn decode_keys(&self, chunk: &[u8], rows: Range<usize>) -> Result<Vec<i64>, Corrupt> {
        let _ = (chunk, rows, self.keys);
        todo!()
    }

    /// The versions of `rows` from the bytes of [`KEYS_CHUNK`], which may be empty unless
    /// [`Header::versions_are_stored`].
    ///
    /// # Errors
    ///
    /// If the chunk is not this block's.
    ///
    /// # Panics
    ///
    /// If `rows` goes beyond the block.
    pub fn decode_versions(&self, chunk: &[u8], rows: Range<usize>) -> Result<Vec<u64>, Corrupt> {
        let _ = (chunk, rows, self.versions);
        todo!()
    }

    /// The cells of `rows` of one column from the bytes of chunk [`ColumnMeta::chunk`]: values of
    /// `column.data_type.arrow(self.precision)`, null where the cell is NULL or absent, and which cells are absent
    /// (None: none of them).
    ///
    /// Costs whole vectors of [`crate::codec::VECTOR_ROWS`].
    ///
    /// # Errors
    ///
    /// If the chunk is not this block's.
    ///
    /// # Panics
    ///
    /// If `rows` goes beyond the block.
    pub fn decode_column(
        &self,
        column: &ColumnMeta,
        chunk: &[u8],
        rows: Range<usize>,
    ) -> Result<(ArrayRef, Option<BooleanBuffer>), Corrupt> {
        let _ = (column, chunk, rows);
        todo!()
    }
}
