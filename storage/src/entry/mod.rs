//! Log entries as bytes: columns as they are in memory, so that reading an entry copies no column.
//!
//! Start reading at [`encode`].

use bytes::Bytes;
use model::command::Entry;

use crate::Corrupt;

/// Encodes an entry.
///
/// # Panics
///
/// If a column's array is not of its type or lengths differ: whoever made the entry has checked.
#[must_use]
pub fn encode(entry: &Entry) -> Bytes {
    let _ = entry;
    todo!()
}

/// Reads an entry. Its columns are slices of `bytes` where these are aligned to 8 bytes (16 for DECIMAL), and copies
/// where not.
///
/// # Errors
///
/// If the bytes are not an entry of a known format. A decoded entry is coherent: all columns of a chunk have its
/// number of rows, every ordinal names a target, text is UTF-8.
pub fn decode(bytes: Bytes) -> Result<Entry, Corrupt> {
    let _ = bytes;
    todo!()
}
