//! Writes one run: cuts merged rows into blocks, encodes them, and puts them into one file.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanBufferBuilder};
use arrow::buffer::BooleanBuffer;
use model::schema::Compression;
use model::{ColumnId, DataType, Suid, TimeRange};

use crate::block::{self, BlockColumn, BlockInput, Coding};
use crate::halt::Halt;
use crate::kv::{BlockStore, FileWriter, Finished};
use crate::vnode::VnodeOptions;
use crate::vnode::budget::MemtableBudget;
use crate::vnode::keys::{self, BlockId};
use crate::vnode::memtable::{cell_bytes, some_set};
use crate::vnode::merge::SeriesMerge;
use crate::vnode::policy;
use crate::vnode::run::RunHeader;
use crate::vnode::segment::{Cells, WantedColumn};

/// A series with fewer rows shares a block with others.
const OWN_BLOCK_ROWS_MIN: usize = 128;
/// Most rows that are merged before they are cut.
const STEP_ROWS: usize = 32_768;
/// Rows of the first step, before it is known how wide they are.
const FIRST_STEP_ROWS: usize = 1024;
/// Bytes of a step at most, about. A step and what it is made of are in memory a few times.
const STEP_BYTES_MAX: usize = 32 << 20;

/// Writes one run.
pub(crate) struct RunWriter<'a> {
    store: &'a dyn BlockStore,
    file: Option<Box<dyn FileWriter + 'a>>,
    bucket: i32,
    number: u32,
    options: &'a VnodeOptions,
    /// What single columns ask for.
    wishes: Arc<BTreeMap<(Suid, ColumnId), Compression>>,
    maxrows: usize,
    /// They come behind all chunks, so they wait here.
    headers: Vec<(BlockId, Vec<u8>)>,
    header: RunHeader,
    /// Whether nothing older is in the bucket, so that absent means NULL.
    settle: bool,
    step_bytes: usize,
}

/// Rows that are not written yet.
struct Pending {
    sids: Vec<u32>,
    keys: Vec<i64>,
    versions: Vec<u64>,
    columns: Vec<Cells>,
}

impl<'a> RunWriter<'a> {
    /// `header` says what is known before the rows are.
    pub(crate) fn new(
        store: &'a dyn BlockStore,
        (bucket, number): (i32, u32),
        options: &'a VnodeOptions,
        header: RunHeader,
    ) -> Self {
        let header = RunHeader {
            rows: 0,
            key_range: TimeRange { min: i64::MAX, max: i64::MIN },
            version_min: u64::MAX,
            version_max: 0,
            relations: Vec::new(),
            ..header
        };
        let maxrows = options.maxrows.clamp(OWN_BLOCK_ROWS_MIN, block::ROWS_MAX);
        let wishes = options.columns.now();
        let (file, headers, step_bytes) = (None, Vec::new(), STEP_BYTES_MAX);
        Self { store, file, bucket, number, options, wishes, maxrows, headers, header, settle: false, step_bytes }
    }

    /// Takes smaller steps under a small budget: a sixteenth of what all memtables may hold.
    pub(crate) fn within(&mut self, memtables: &MemtableBudget) {
        self.step_bytes = usize::try_from(memtables.limit() / 16).unwrap_or(usize::MAX).min(STEP_BYTES_MAX);
    }

    /// Says that nothing older is in the bucket: what is absent here is NULL.
    pub(crate) fn settle(&mut self) {
        self.settle = true;
    }

    /// Adds the rows of a relation. Relations come in ascending order.
    pub(crate) fn relation(&mut self, suid: Suid, columns: &[WantedColumn], mut rows: SeriesMerge) -> Result<(), Halt> {
        let mut pending: Option<Pending> = None;
        let mut step = FIRST_STEP_ROWS;
        loop {
            let picks = rows.next(step)?;
            let last = picks.rows == 0;
            if !last {
                let more = Pending {
                    sids: picks.sids(),
                    keys: picks.keys(),
                    versions: picks.versions(),
                    columns: columns.iter().enumerate().map(|(at, want)| picks.column(at, want)).collect(),
                };
                let bytes: usize = more.columns.iter().map(|cells| cell_bytes(&cells.values)).sum();
                step = (self.step_bytes / (bytes / picks.rows).max(1)).clamp(OWN_BLOCK_ROWS_MIN, STEP_ROWS);
                pending = Some(match pending.take() {
                    Some(before) => before.append(more),
                    None => more,
                });
            }
            let Some(rows) = pending.take() else { return Ok(()) };
            let (cuts, end) = cuts(&rows.sids, self.maxrows, last);
            for (low, high) in cuts {
                self.blocks(suid, columns, &rows, low, high)?;
            }
            if last {
                return Ok(());
            }
            pending = (end < rows.sids.len()).then(|| rows.slice(end, rows.sids.len()));
        }
    }

    /// Writes rows as one block, or as more if their text is too long for one.
    fn blocks(
        &mut self,
        suid: Suid,
        columns: &[WantedColumn],
        rows: &Pending,
        low: usize,
        high: usize,
    ) -> Result<(), Halt> {
        let arrays: Vec<ArrayRef> = rows.columns.iter().map(|cells| Arc::clone(&cells.values)).collect();
        let mut from = low;
        while from < high {
            let len = block::rows_that_fit(&arrays, high, from).clamp(1, high - from);
            self.block(suid, columns, rows, from, from + len)?;
            from += len;
        }
        Ok(())
    }

    fn block(
        &mut self,
        suid: Suid,
        columns: &[WantedColumn],
        rows: &Pending,
        low: usize,
        high: usize,
    ) -> Result<(), Halt> {
        let present = columns.iter().zip(&rows.columns).filter_map(|(want, cells)| {
            let absent = cells.absent.as_ref().and_then(|absent| some_set(absent.slice(low, high - low)));
            if absent.as_ref().is_some_and(|absent| absent.count_set_bits() == high - low) {
                return None;
            }
            let values = cells.values.slice(low, high - low);
            let absent = absent.filter(|_| !self.settle);
            let coding = self.coding(suid, want.id, want.data_type);
            Some(BlockColumn { id: want.id, data_type: want.data_type, values, absent, coding })
        });
        let input = BlockInput {
            suid,
            precision: self.options.precision,
            coding: self.coding(suid, ColumnId::KEY, DataType::Timestamp),
            sids: &rows.sids[low..high],
            keys: &rows.keys[low..high],
            versions: &rows.versions[low..high],
            columns: present.collect(),
        };
        let encoded = block::encode(&input);
        let id = BlockId { suid, sid: rows.sids[high - 1], key: rows.keys[high - 1] };
        let mut bytes = encoded.header.len();
        for (chunk, value) in encoded.chunks.iter().enumerate() {
            bytes += value.len();
            let key = keys::chunk_key(self.bucket, self.number, id, chunk as u16);
            self.put(&key, value)?;
        }
        self.headers.push((id, encoded.header));
        self.count(suid, &input, bytes as u64);
        Ok(())
    }

    fn coding(&self, suid: Suid, id: ColumnId, data_type: DataType) -> Coding {
        Coding::of(self.wishes.get(&(suid, id)), data_type, self.options.comp, self.header.last)
    }

    fn count(&mut self, suid: Suid, input: &BlockInput<'_>, bytes: u64) {
        let rows = input.keys.len() as u64;
        let header = &mut self.header;
        header.rows += rows;
        for key in input.keys {
            header.key_range.min = header.key_range.min.min(*key);
            header.key_range.max = header.key_range.max.max(*key);
        }
        for version in input.versions {
            header.version_min = header.version_min.min(*version);
            header.version_max = header.version_max.max(*version);
        }
        match header.relations.last_mut() {
            Some((last, all, size)) if *last == suid => {
                *all += rows;
                *size += bytes;
            }
            _ => header.relations.push((suid, rows, bytes)),
        }
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), Halt> {
        let file = match &mut self.file {
            Some(file) => file,
            None => {
                let name = format!("{}-{}.sst", self.bucket, self.number);
                self.file.insert(self.store.create(&name)?)
            }
        };
        file.put(key, value)
    }

    /// Ends the file; None if there was no row.
    pub(crate) fn finish(mut self) -> Result<Option<(Finished, RunHeader)>, Halt> {
        if self.file.is_none() {
            return Ok(None);
        }
        for (id, header) in std::mem::take(&mut self.headers) {
            let key = keys::header_key(self.bucket, self.number, id);
            self.put(&key, &header)?;
        }
        if self.header.replaces.is_empty() {
            let bytes = self.header.relations.iter().map(|(.., bytes)| bytes).sum();
            self.header.level = policy::tier_of(bytes, self.options.merge_trigger);
        }
        let bytes = self.header.encode();
        self.put(&keys::run_key(self.bucket, self.number), &bytes)?;
        match self.file.take() {
            Some(file) => Ok(Some((file.finish()?, self.header))),
            None => Ok(None),
        }
    }
}

impl Pending {
    fn append(mut self, more: Self) -> Self {
        let (before, after) = (self.sids.len(), more.sids.len());
        self.sids.extend(more.sids);
        self.keys.extend(more.keys);
        self.versions.extend(more.versions);
        let pair = |(old, new): (Cells, Cells)| {
            let parts: [&dyn Array; 2] = [&*old.values, &*new.values];
            let values = arrow::compute::concat(&parts).expect("both have the wanted type");
            let absent = (old.absent.is_some() || new.absent.is_some()).then(|| {
                let mut bits = BooleanBufferBuilder::new(before + after);
                append(&mut bits, old.absent.as_ref(), before);
                append(&mut bits, new.absent.as_ref(), after);
                bits.finish()
            });
            Cells { values, absent }
        };
        self.columns = self.columns.into_iter().zip(more.columns).map(pair).collect();
        self
    }

    fn slice(&self, low: usize, high: usize) -> Self {
        let cut = |cells: &Cells| Cells {
            values: cells.values.slice(low, high - low),
            absent: cells.absent.as_ref().map(|absent| absent.slice(low, high - low)),
        };
        Self {
            sids: self.sids[low..high].to_vec(),
            keys: self.keys[low..high].to_vec(),
            versions: self.versions[low..high].to_vec(),
            columns: self.columns.iter().map(cut).collect(),
        }
    }
}

fn append(bits: &mut BooleanBufferBuilder, absent: Option<&BooleanBuffer>, rows: usize) {
    match absent {
        Some(absent) => bits.append_buffer(absent),
        None => bits.append_n(rows, false),
    }
}

/// Where to cut sorted rows into blocks: a series with enough rows gets blocks of its own, others share. Unless these
/// are the `last` rows, what may still grow is left: the rows from the returned place on.
fn cuts(sids: &[u32], maxrows: usize, last: bool) -> (Vec<(usize, usize)>, usize) {
    let mut cuts = Vec::new();
    // Rows of small series from `shared` to `row` wait for a block.
    let (mut shared, mut row) = (0, 0);
    while row < sids.len() {
        let end = row + sids[row..].partition_point(|sid| *sid == sids[row]);
        let open = end == sids.len() && !last;
        if end - row >= OWN_BLOCK_ROWS_MIN {
            if shared < row {
                cuts.push((shared, row));
            }
            while row < end {
                let next = (row + maxrows).min(end);
                if open && next == end {
                    return (cuts, row);
                }
                cuts.push((row, next));
                row = next;
            }
            shared = end;
        } else {
            if open {
                return (cuts, shared);
            }
            if end - shared > maxrows {
                cuts.push((shared, row));
                shared = row;
            }
            row = end;
        }
    }
    if shared < row && last {
        cuts.push((shared, row));
        shared = row;
    }
    (cuts, shared)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_hold_one_large_or_many_small_series() {
        let mut sids = vec![1; 100];
        sids.extend(vec![2; 100]);
        sids.extend(vec![3; 1000]);
        sids.extend(vec![4; 10]);
        let (all, end) = cuts(&sids, 512, true);
        assert_eq!(all, [(0, 200), (200, 712), (712, 1200), (1200, 1210)]);
        assert_eq!(end, 1210);
        let (some, end) = cuts(&sids, 512, false);
        assert_eq!(some, [(0, 200), (200, 712), (712, 1200)]);
        assert_eq!(end, 1200);
        let (none, end) = cuts(&sids[..150], 512, false);
        assert!(none.is_empty());
        assert_eq!(end, 0);
        let small: Vec<u32> = (0..1000).collect();
        let (all, _) = cuts(&small, 300, true);
        assert!(all.iter().all(|(low, high)| high - low <= 300));
        assert_eq!(all.iter().map(|(low, high)| high - low).sum::<usize>(), 1000);
    }
}
