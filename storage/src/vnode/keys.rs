//! Keys of data and meta: big-endian, so that bytes sort as values do.
//!
//! ```text
//! data = bucket i32 | run u32 | kind u8 | suid u32 | sid u32 | last key i64 | chunk u16
//!   kind 0 chunk, 1 block header, 2 run header (without the rest)
//! meta = letter | rest
//!   F format   A counters   S series (sid)   D dropped relation (suid)   P row ids of a plain table (suid)
//!   G relation with dropped tables (suid)
//!   T tombstones (suid)   R outcome (writer, seq)   W floor of a writer (writer)
//! ```
//!
//! Signed numbers have their sign bit flipped. A block is keyed by its last row, so that one seek lands on the first
//! block that can hold a row.

use model::{Suid, TimeRange};

/// The bucket of plain tables' rows, below every time: KEEP never drops it.
pub(crate) const PLAIN_BUCKET: i32 = i32::MIN;

pub(crate) const KIND_CHUNK: u8 = 0;
pub(crate) const KIND_HEADER: u8 = 1;
pub(crate) const KIND_RUN: u8 = 2;

/// Bytes of bucket, run and kind.
const PREFIX: usize = 9;

/// The last row of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct BlockId {
    pub(crate) suid: Suid,
    pub(crate) sid: u32,
    pub(crate) key: i64,
}

/// The bucket of a time.
pub(crate) fn bucket_of(tick: i64, duration_ticks: i64) -> i32 {
    let bucket = tick.div_euclid(duration_ticks);
    bucket.clamp(i64::from(PLAIN_BUCKET) + 1, i64::from(i32::MAX)) as i32
}

/// The times of a bucket.
pub(crate) fn bucket_range(bucket: i32, duration_ticks: i64) -> TimeRange {
    let start = i128::from(bucket) * i128::from(duration_ticks);
    let end = start + i128::from(duration_ticks) - 1;
    let tick = |tick: i128| tick.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64;
    TimeRange {
        min: if bucket <= PLAIN_BUCKET + 1 { i64::MIN } else { tick(start) },
        max: if bucket == PLAIN_BUCKET || bucket == i32::MAX { i64::MAX } else { tick(end) },
    }
}

fn flip(bucket: i32) -> [u8; 4] {
    ((bucket as u32) ^ (1 << 31)).to_be_bytes()
}

/// All keys of a run start with it.
pub(crate) fn run_prefix(bucket: i32, run: u32) -> Vec<u8> {
    let mut key = Vec::with_capacity(32);
    key.extend_from_slice(&flip(bucket));
    key.extend_from_slice(&run.to_be_bytes());
    key
}

/// Just behind all keys of a run.
pub(crate) fn run_end(bucket: i32, run: u32) -> Vec<u8> {
    match run.checked_add(1) {
        Some(next) => run_prefix(bucket, next),
        None => bucket.checked_add(1).map_or_else(|| vec![0xff; PREFIX], |next| run_prefix(next, 0)),
    }
}

/// All keys of one kind of a run start with it.
pub(crate) fn kind_prefix(bucket: i32, run: u32, kind: u8) -> Vec<u8> {
    let mut key = run_prefix(bucket, run);
    key.push(kind);
    key
}

/// The key of a run header.
pub(crate) fn run_key(bucket: i32, run: u32) -> Vec<u8> {
    kind_prefix(bucket, run, KIND_RUN)
}

fn block_key(bucket: i32, run: u32, kind: u8, block: BlockId) -> Vec<u8> {
    let mut key = kind_prefix(bucket, run, kind);
    key.extend_from_slice(&block.suid.0.to_be_bytes());
    key.extend_from_slice(&block.sid.to_be_bytes());
    key.extend_from_slice(&((block.key as u64) ^ (1 << 63)).to_be_bytes());
    key
}

/// The key of a block header.
pub(crate) fn header_key(bucket: i32, run: u32, block: BlockId) -> Vec<u8> {
    block_key(bucket, run, KIND_HEADER, block)
}

/// The key of a chunk of a block.
pub(crate) fn chunk_key(bucket: i32, run: u32, block: BlockId, chunk: u16) -> Vec<u8> {
    let mut key = block_key(bucket, run, KIND_CHUNK, block);
    key.extend_from_slice(&chunk.to_be_bytes());
    key
}

fn be32(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(..4)?.try_into().ok()?))
}

/// Bucket and run of a data key.
pub(crate) fn parse_run(key: &[u8]) -> Option<(i32, u32)> {
    let bucket = be32(key)? ^ (1 << 31);
    Some((bucket as i32, be32(key.get(4..)?)?))
}

/// Which block the key of a block header is of.
pub(crate) fn parse_header(key: &[u8]) -> Option<BlockId> {
    let rest = key.get(PREFIX..)?;
    let last = u64::from_be_bytes(rest.get(8..16)?.try_into().ok()?) ^ (1 << 63);
    Some(BlockId { suid: Suid(be32(rest)?), sid: be32(rest.get(4..)?)?, key: last as i64 })
}

/// A meta key: a letter and numbers behind it.
pub(crate) fn meta(letter: u8, rest: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(1 + rest.len());
    key.push(letter);
    key.extend_from_slice(rest);
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_sort_as_their_parts_do() {
        let block = |sid, key| BlockId { suid: Suid(7), sid, key };
        let keys = [
            chunk_key(PLAIN_BUCKET, 1, block(0, 0), 0),
            chunk_key(-1, 9, block(0, 0), 0),
            chunk_key(0, 3, block(1, -5), 0),
            chunk_key(0, 3, block(1, -5), 1),
            chunk_key(0, 3, block(1, 5), 0),
            chunk_key(0, 3, block(2, -9), 0),
            header_key(0, 3, block(1, -5)),
            run_key(0, 3),
            run_end(0, 3),
            run_prefix(1, 0),
        ];
        assert!(keys.is_sorted());
        assert_eq!(parse_run(&keys[1]), Some((-1, 9)));
        assert_eq!(parse_header(&keys[6]), Some(block(1, -5)));
        assert_eq!(bucket_of(-1, 10), -1);
        assert_eq!(bucket_of(10, 10), 1);
    }
}
