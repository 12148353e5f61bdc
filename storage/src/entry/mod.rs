//! Log entries as bytes: columns as they are in memory, so that reading an entry copies no column.
//!
//! ```text
//! format u8 | 3 × 0 | length of the head u32 | head, padded to 8 | buffers, each padded to 8
//! ```
//!
//! The head is postcard of [`head::Head`]: everything but the columns. The buffers follow in the order of the chunks of
//! rows: ordinals u32, keys i64, then of each column its validity bits, absent bits, offsets i32 (text and bytes) and
//! values, little-endian, each only where the head says so. Lengths follow from the head.
//!
//! Start reading at [`encode`].

mod buffers;
mod head;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use model::command::{Chunk, ChunkColumn, Entry, Operation};
use model::write::Keys;

use crate::Corrupt;
use buffers::{Source, Target};
use head::{Head, HeadChunk, HeadKeys, HeadOperation};

/// The format that is written, and the newest that is read.
const FORMAT: u8 = 1;
const PLACE: &str = "log entry";
/// Format and length of the head.
const FRONT: usize = 8;

/// Encodes an entry.
///
/// # Panics
///
/// If a column's array is not of its type or lengths differ: whoever made the entry has checked.
#[must_use]
pub fn encode(entry: &Entry) -> Bytes {
    let head = Head::of(entry);
    let chunks = || {
        entry.operations.iter().filter_map(|operation| match operation {
            Operation::Write(chunk) => Some(chunk),
            _ => None,
        })
    };
    let size: usize = chunks().map(chunk_bytes).sum();
    let mut out = Vec::with_capacity(FRONT + 1024 + size);
    out.extend_from_slice(&[FORMAT, 0, 0, 0, 0, 0, 0, 0]);
    let mut out = postcard::to_extend(&head, out).expect("a head has nothing that postcard refuses");
    let length = u32::try_from(out.len() - FRONT).expect("an entry is at most 8 MiB");
    out[4..FRONT].copy_from_slice(&length.to_le_bytes());
    let mut target = Target::new(out);
    for chunk in chunks() {
        put_chunk(&mut target, chunk);
    }
    Bytes::from(target.finish())
}

/// Reads an entry. Its columns are slices of `bytes` where these are aligned to 8 bytes (16 for DECIMAL), and copies
/// where not.
///
/// # Errors
///
/// If the bytes are not an entry of a known format. A decoded entry is coherent: all columns of a chunk have its
/// number of rows, every ordinal names a target, text is UTF-8.
pub fn decode(bytes: Bytes) -> Result<Entry, Corrupt> {
    let damaged = |what| Corrupt::damaged(PLACE, what);
    let front = bytes.first_chunk::<FRONT>().ok_or_else(|| damaged("it ends early"))?;
    if front[0] != FORMAT {
        return Err(Corrupt::Format { place: PLACE, found: front[0], known: FORMAT });
    }
    let length = u32::from_le_bytes([front[4], front[5], front[6], front[7]]) as usize;
    let head = bytes.get(FRONT..).and_then(|rest| rest.get(..length)).ok_or_else(|| damaged("it ends early"))?;
    let (head, rest) = postcard::take_from_bytes::<Head>(head).map_err(|_| damaged("its head cannot be read"))?;
    if !rest.is_empty() {
        return Err(damaged("its head has bytes after its end"));
    }
    let mut source = Source::new(bytes, FRONT + length);
    let mut operations = Vec::with_capacity(head.operations.len());
    for operation in head.operations {
        operations.push(match operation {
            HeadOperation::Write(chunk) => Operation::Write(take_chunk(&mut source, chunk)?),
            other => other.into_operation().ok_or_else(|| damaged("a delete has more keys than sids or fewer"))?,
        });
    }
    source.end()?;
    Ok(Entry { stamp: head.stamp, database: head.database, epoch: head.epoch, operations })
}

/// About how many bytes a chunk takes, so that the buffer need not grow while it is filled.
fn chunk_bytes(chunk: &Chunk) -> usize {
    let columns: usize = chunk.columns.iter().map(|column| column.values.get_buffer_memory_size() + 64).sum();
    let target = |target: &model::command::Target| match target {
        model::command::Target::Existing { .. } => 20,
        model::command::Target::Create(created) => 64 + created.name.len() + created.tags.len() * 32,
    };
    let targets: usize = chunk.targets.iter().map(target).sum();
    columns + targets + chunk.keys.len() * 8 + chunk.ordinals.len() * 4 + 64
}

fn put_chunk(target: &mut Target, chunk: &Chunk) {
    let rows = chunk.keys.len();
    assert!(chunk.ordinals.is_empty() || chunk.ordinals.len() == rows, "ordinals and keys differ in length");
    target.put_numbers(&chunk.ordinals, |ordinal| ordinal.to_le_bytes());
    if let Keys::Given(keys) = &chunk.keys {
        target.put_numbers(keys, |key| key.to_le_bytes());
    }
    for column in &chunk.columns {
        assert_eq!(column.values.len(), rows, "column {} and the keys differ in length", column.id);
        target.put_column(column);
    }
}

fn take_chunk(source: &mut Source, head: HeadChunk) -> Result<Chunk, Corrupt> {
    let damaged = |what| Corrupt::damaged(PLACE, what);
    let rows = match head.keys {
        HeadKeys::Given(rows) | HeadKeys::Assigned(rows) => {
            usize::try_from(rows).map_err(|_| damaged("it has too many rows"))?
        }
    };
    // A later apply adds row numbers to ids; no entry is anywhere near this.
    if rows > u32::MAX as usize {
        return Err(damaged("it has too many rows"));
    }
    let ordinals: Vec<u32> = if head.ordinals { source.take_numbers(rows, u32::from_le_bytes)? } else { Vec::new() };
    let most = ordinals.iter().copied().max().unwrap_or(0) as usize;
    if rows > 0 && most >= head.targets.len() {
        return Err(damaged("an ordinal has no target"));
    }
    let keys = match head.keys {
        HeadKeys::Given(_) => Keys::Given(source.take_numbers(rows, i64::from_le_bytes)?),
        HeadKeys::Assigned(_) => Keys::Assigned(rows),
    };
    let mut columns = Vec::with_capacity(head.columns.len());
    for column in head.columns {
        let (values, absent) = source.take_column(&column, rows)?;
        columns.push(ChunkColumn { id: column.id, data_type: column.data_type, values, absent });
    }
    Ok(Chunk { suid: head.suid, version: head.version, targets: head.targets, ordinals, keys, columns })
}
