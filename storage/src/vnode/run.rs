//! A run: the immutable rows of one bucket that one flush or merge wrote.

use std::sync::Arc;

use model::{Suid, TimeRange};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::block::Header;
use crate::halt::Halt;
use crate::kv::BlockStore;
use crate::vnode::keys::{self, BlockId};
use crate::vnode::options::HeaderBudget;
use crate::vnode::segment::{Segment, Wanted};
use crate::wal::Position;

/// Bytes that a decoded block header takes, beside its columns and series.
const HEADER_BYTES: usize = 256;

/// What a run header says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct RunHeader {
    /// The last entry whose rows may be in it.
    pub(crate) position: Option<Position>,
    /// Deletes up to this version were carried out in it.
    pub(crate) folded: u64,
    /// Its tier: see `policy.rs`.
    pub(crate) level: u8,
    pub(crate) rows: u64,
    pub(crate) key_range: TimeRange,
    pub(crate) version_min: u64,
    pub(crate) version_max: u64,
    /// Rows and bytes of each relation, ascending.
    pub(crate) relations: Vec<(Suid, u64, u64)>,
    /// Runs of the same bucket that it takes the place of.
    pub(crate) replaces: Vec<u32>,
    /// Whether a last merge made it, when its bucket got no more rows. Since format 2, behind the others.
    #[serde(skip)]
    pub(crate) last: bool,
}

/// The newest format of run headers.
const FORMAT: u32 = 2;

impl RunHeader {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = FORMAT.to_le_bytes().to_vec();
        bytes.extend(postcard::to_stdvec(self).expect("plain data can always be encoded"));
        bytes.push(u8::from(self.last));
        bytes
    }

    fn decode(bytes: &[u8], place: &str) -> Result<Self, Halt> {
        let Some((format, rest)) = bytes.split_first_chunk::<4>() else {
            return Err(Halt::corrupt(place));
        };
        let format = u32::from_le_bytes(*format);
        if format > FORMAT {
            return Err(Halt::newer(place, format, FORMAT));
        }
        let (header, rest): (Self, &[u8]) =
            postcard::take_from_bytes(rest).map_err(|error| Halt::corrupt(format!("{place}: {error}")))?;
        match (format, rest) {
            (1, []) => Ok(header),
            (2, [last @ 0..=1]) => Ok(Self { last: *last == 1, ..header }),
            _ => Err(Halt::corrupt(format!("{place}: {} bytes after its end", rest.len()))),
        }
    }
}

/// A block of a run.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) id: BlockId,
    pub(crate) header: Header,
}

impl Block {
    pub(crate) fn sids(&self) -> (u32, u32) {
        (self.header.sid_min().0, self.header.sid_max().0)
    }

    pub(crate) fn keys(&self) -> TimeRange {
        TimeRange { min: self.header.key_min, max: self.header.key_max }
    }

    /// A bound of the place of the first row.
    pub(crate) fn first(&self) -> (u32, i64) {
        let single = self.header.is_single_series();
        (self.header.sid_min().0, if single { self.header.key_min } else { i64::MIN })
    }

    /// The place of the last row.
    pub(crate) fn last(&self) -> (u32, i64) {
        (self.id.sid, self.id.key)
    }
}

/// An open run.
pub(crate) struct Run {
    pub(crate) bucket: i32,
    pub(crate) number: u32,
    pub(crate) header: RunHeader,
    store: Arc<dyn BlockStore>,
    budget: Arc<HeaderBudget>,
    place: String,
    /// Ascending; read at the first use.
    blocks: Mutex<Option<Arc<Vec<Arc<Block>>>>>,
}

impl Run {
    pub(crate) fn new(
        (bucket, number): (i32, u32),
        header: RunHeader,
        store: &Arc<dyn BlockStore>,
        budget: &Arc<HeaderBudget>,
        place: &str,
    ) -> Arc<Self> {
        let place = format!("{place}: run {number} of bucket {bucket}");
        let (store, budget) = (Arc::clone(store), Arc::clone(budget));
        Arc::new(Self { bucket, number, header, store, budget, place, blocks: Mutex::new(None) })
    }

    /// Finds all runs of a store, without their blocks.
    pub(crate) fn find_all(
        store: &Arc<dyn BlockStore>,
        budget: &Arc<HeaderBudget>,
        place: &str,
    ) -> Result<Vec<Arc<Self>>, Halt> {
        let mut runs = Vec::new();
        let mut from = Vec::new();
        loop {
            let mut found = None;
            store.visit(&from, &[0xff; 9], &mut |key, _| {
                found = Some(keys::parse_run(key).ok_or_else(|| Halt::corrupt(format!("{place}: a data key")))?);
                Ok(false)
            })?;
            let Some((bucket, number)) = found else { return Ok(runs) };
            let what = format!("{place}: the header of run {number} of bucket {bucket}");
            let bytes = store.get(&keys::run_key(bucket, number))?.ok_or_else(|| Halt::corrupt(&what))?;
            let header = RunHeader::decode(&bytes, &what)?;
            runs.push(Self::new((bucket, number), header, store, budget, place));
            from = keys::run_end(bucket, number);
        }
    }

    /// Whether it may hold rows in `range` that a delete of version `at` hides.
    pub(crate) fn awaits(&self, range: TimeRange, at: u64) -> bool {
        self.header.version_min < at && self.header.folded < at && self.header.key_range.overlaps(range)
    }

    /// Bytes of its blocks.
    pub(crate) fn bytes(&self) -> u64 {
        self.header.relations.iter().map(|(.., bytes)| bytes).sum()
    }

    /// Bytes of one of its blocks, about: all blocks of a run together have [`Run::bytes`].
    pub(crate) fn bytes_of(&self, block: &Block) -> u64 {
        (self.bytes() as u128 * block.header.rows as u128 / u128::from(self.header.rows.max(1))) as u64
    }

    /// Removes its file.
    pub(crate) fn remove(&self) -> Result<(), Halt> {
        self.store.remove(&keys::run_prefix(self.bucket, self.number), &keys::run_end(self.bucket, self.number))
    }

    /// Whether the run has rows of a relation.
    pub(crate) fn has(&self, suid: Suid) -> bool {
        self.header.relations.binary_search_by_key(&suid, |(suid, ..)| *suid).is_ok()
    }

    /// Its blocks of one relation, ascending.
    pub(crate) fn blocks(self: &Arc<Self>, suid: Suid) -> Result<Vec<Arc<Block>>, Halt> {
        let all = self.all_blocks()?;
        let start = all.partition_point(|block| block.id.suid < suid);
        let end = all.partition_point(|block| block.id.suid <= suid);
        Ok(all[start..end].to_vec())
    }

    /// Its blocks of one relation that can hold wanted rows, ascending.
    pub(crate) fn wanted_blocks(self: &Arc<Self>, suid: Suid, wanted: &Wanted) -> Result<Vec<Arc<Block>>, Halt> {
        let all = self.all_blocks()?;
        let start = all.partition_point(|block| block.id.suid < suid);
        let end = all.partition_point(|block| block.id.suid <= suid);
        let blocks = &all[start..end];
        let hits = |block: &&Arc<Block>| wanted.overlaps(block.sids(), block.keys());
        let Some(sids) = wanted.series.few() else { return Ok(blocks.iter().filter(hits).cloned().collect()) };
        let mut found: Vec<Arc<Block>> = Vec::new();
        for sid in sids {
            let first = blocks.partition_point(|block| block.last() < (*sid, wanted.range.min));
            let last = (*sid, wanted.range.max);
            for block in blocks[first..].iter().take_while(|block| block.first() <= last).filter(hits) {
                // Neighbouring series may share a block.
                if found.last().is_none_or(|found| found.id < block.id) {
                    found.push(Arc::clone(block));
                }
            }
        }
        Ok(found)
    }

    fn all_blocks(self: &Arc<Self>) -> Result<Arc<Vec<Arc<Block>>>, Halt> {
        let mut slot = self.blocks.lock();
        if let Some(blocks) = &*slot {
            return Ok(Arc::clone(blocks));
        }
        let mut blocks = Vec::new();
        let mut bytes = 0;
        let from = keys::kind_prefix(self.bucket, self.number, keys::KIND_HEADER);
        let to = keys::kind_prefix(self.bucket, self.number, keys::KIND_RUN);
        self.store.visit(&from, &to, &mut |key, value| {
            let id = keys::parse_header(key).ok_or_else(|| Halt::corrupt(format!("{}: a block's key", self.place)))?;
            let header = Header::decode(value).map_err(|corrupt| self.corrupt(id, &corrupt))?;
            bytes += HEADER_BYTES + 2 * value.len();
            blocks.push(Arc::new(Block { id, header }));
            Ok(true)
        })?;
        let blocks = Arc::new(blocks);
        *slot = Some(Arc::clone(&blocks));
        drop(slot);
        let this = Arc::downgrade(self);
        let forget = move || {
            if let Some(run) = this.upgrade() {
                *run.blocks.lock() = None;
            }
        };
        self.budget.loaded(bytes, Box::new(forget));
        Ok(blocks)
    }

    pub(crate) fn corrupt(&self, id: BlockId, corrupt: &crate::Corrupt) -> Halt {
        Halt::corrupt(format!("{}: the block of {} up to s{} at {}: {corrupt}", self.place, id.suid, id.sid, id.key))
    }

    /// Reads a chunk of a block.
    pub(crate) fn chunk(&self, block: &Block, chunk: u16) -> Result<Vec<u8>, Halt> {
        let key = keys::chunk_key(self.bucket, self.number, block.id, chunk);
        let missing =
            || Halt::corrupt(format!("{}: chunk {chunk} of s{} at {}", self.place, block.id.sid, block.id.key));
        self.store.get(&key)?.ok_or_else(missing)
    }

    /// Reads the wanted rows of a block.
    pub(crate) fn read(&self, block: &Block, wanted: &Wanted) -> Result<Option<Arc<Segment>>, Halt> {
        let read = |chunk: u16| self.chunk(block, chunk);
        let segment = Segment::of_block(&block.header, wanted, read, |corrupt| self.corrupt(block.id, &corrupt))?;
        Ok(segment.map(Arc::new))
    }
}

/// The blocks of one run that a reader wants, one after the other.
pub(crate) struct RunSource {
    pub(crate) run: Arc<Run>,
    pub(crate) blocks: std::vec::IntoIter<Arc<Block>>,
    pub(crate) wanted: Arc<Wanted>,
}

impl crate::vnode::merge::Source for RunSource {
    fn bound(&self) -> Option<(u32, i64)> {
        let (sid, key) = self.blocks.as_slice().first()?.first();
        Some((sid, key.max(self.wanted.range.min)))
    }

    fn next(&mut self) -> Result<Option<Arc<Segment>>, Halt> {
        for block in self.blocks.by_ref() {
            if let Some(segment) = self.run.read(&block, &self.wanted)? {
                return Ok(Some(segment));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_both_formats_are_read_and_newer_ones_refused() {
        let header = RunHeader {
            rows: 3,
            relations: vec![(Suid(7), 3, 99)],
            last: true,
            ..RunHeader::start(None, 5, 2, vec![4])
        };
        let bytes = header.encode();
        assert_eq!(RunHeader::decode(&bytes, "x").expect("format 2"), header);
        let mut old = bytes[..bytes.len() - 1].to_vec();
        old[0] = 1;
        assert_eq!(RunHeader::decode(&old, "x").expect("format 1"), RunHeader { last: false, ..header });
        let mut newer = bytes.clone();
        newer[0] = 3;
        assert!(matches!(RunHeader::decode(&newer, "x"), Err(Halt::Newer { found: 3, known: 2, .. })));
        for damaged in [&bytes[..bytes.len() - 1], &[&bytes[..], &[0]].concat()] {
            assert!(matches!(RunHeader::decode(damaged, "x"), Err(Halt::Corrupt { .. })));
        }
    }
}
