//! Conditions of a scan of rows, decided before rows are put together.
//!
//! A block that is *alone* (no other run, memtable row or delete touches its rows) is decided while it is read: by its
//! header if that says enough, else by the columns of the conditions, and of the others only those vectors are decoded in
//! which some row is left. Start reading at [`read`]. Rows that have to be merged first are decided behind the merge.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, BooleanBufferBuilder};
use arrow::buffer::BooleanBuffer;
use arrow::compute::{FilterBuilder, FilterPredicate, concat};
use model::scan::{ColumnFilter, RowsRequest};

use crate::block::{Header, KEYS_CHUNK};
use crate::codec::VECTOR_ROWS;
use crate::halt::Halt;
use crate::vnode::filter::{self, Verdict};
use crate::vnode::memtable::{Versions, as_type};
use crate::vnode::merge::Source;
use crate::vnode::run::{Block, Run};
use crate::vnode::segment::{Cells, ChunkCache, Segment, Wanted, WantedColumn, wanted_ranges};

/// Blocks that a source looks at before it says that it found nothing so far.
const BLOCKS_AT_ONCE: usize = if cfg!(test) { 2 } else { 16 };

/// Conditions, all of which a row must satisfy.
#[derive(Clone, Debug, Default)]
pub(super) struct Conditions {
    /// Each with its column's place among the wanted ones.
    list: Vec<(usize, ColumnFilter)>,
}

impl Conditions {
    /// Those of a request. Columns that they need are added to `columns`; one that the relation lacks is NULL everywhere.
    pub(super) fn new(request: &RowsRequest, columns: &mut Vec<WantedColumn>) -> Self {
        let mut place = |filter: &ColumnFilter| {
            columns.iter().position(|column| column.id == filter.column).unwrap_or_else(|| {
                let column = request.relation.columns.iter().find(|column| column.id == filter.column);
                let data_type = column.map_or(model::DataType::BigInt, |column| column.data_type);
                columns.push(WantedColumn::new(filter.column, data_type, request.precision));
                columns.len() - 1
            })
        };
        Self { list: request.conditions.iter().map(|filter| (place(filter), filter.clone())).collect() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Whether the header of a block that is alone says that none of its rows is left.
    pub(super) fn exclude(&self, header: &Header) -> bool {
        self.list.iter().any(|(_, filter)| verdict(header, filter) == Verdict::None)
    }

    /// Which of `rows` rows satisfy them; `cells` gives the cells of a wanted column.
    pub(super) fn mask(&self, wanted: &Wanted, rows: usize, cells: impl Fn(usize) -> ArrayRef) -> BooleanBuffer {
        let mut mask = BooleanBuffer::new_set(rows);
        for (at, filter) in &self.list {
            mask = &mask & &filter::mask(filter, &cells(*at), wanted.columns[*at].data_type);
        }
        mask
    }
}

fn verdict(header: &Header, filter: &ColumnFilter) -> Verdict {
    filter::verdict(filter, header.column(filter.column).map(|column| &column.statistics), header.rows)
}

/// The blocks of one run that a reader wants, one after the other, and whether each is alone.
pub(super) struct DecidingSource {
    pub(super) run: Arc<Run>,
    pub(super) blocks: std::vec::IntoIter<(Arc<Block>, bool)>,
    pub(super) wanted: Arc<Wanted>,
    pub(super) conditions: Arc<Conditions>,
}

impl Source for DecidingSource {
    fn bound(&self) -> Option<(u32, i64)> {
        let (sid, key) = self.blocks.as_slice().first()?.0.first();
        Some((sid, key.max(self.wanted.range.min)))
    }

    fn next(&mut self) -> Result<Option<Arc<Segment>>, Halt> {
        for (block, alone) in self.blocks.by_ref().take(BLOCKS_AT_ONCE) {
            if let Some(segment) = read(&self.run, &block, alone, &self.wanted, &self.conditions)? {
                return Ok(Some(segment));
            }
        }
        Ok(None)
    }
}

/// The wanted rows of a block; of one that is alone those that satisfy the conditions.
pub(super) fn read(
    run: &Run,
    block: &Block,
    alone: bool,
    wanted: &Wanted,
    conditions: &Conditions,
) -> Result<Option<Arc<Segment>>, Halt> {
    if !alone {
        return run.read(block, wanted);
    }
    let mut reading = Reading { run, block, wanted, chunks: ChunkCache::default() };
    Ok(reading.decided(conditions)?.map(Arc::new))
}

/// A block that is being read.
struct Reading<'a> {
    run: &'a Run,
    block: &'a Block,
    wanted: &'a Wanted,
    chunks: ChunkCache,
}

/// Rows of neighbouring vectors of which some are left.
struct Part {
    rows: Range<usize>,
    /// Which are left.
    bits: BooleanBuffer,
    /// The same for arrays; None: all.
    keep: Option<FilterPredicate>,
    count: usize,
}

impl Reading<'_> {
    fn decided(&mut self, conditions: &Conditions) -> Result<Option<Segment>, Halt> {
        let header = &self.block.header;
        let verdicts: Vec<Verdict> = conditions.list.iter().map(|(_, filter)| verdict(header, filter)).collect();
        if verdicts.contains(&Verdict::None) {
            return Ok(None);
        }
        let whole = self.wanted.range.min <= header.key_min && header.key_max <= self.wanted.range.max;
        let keys = if whole { None } else { Some(self.keys(0..header.rows)?) };
        let ranges = wanted_ranges(header, keys.as_deref().unwrap_or(&[]), self.wanted);
        let (Some(first), Some(last)) = (ranges.first(), ranges.last()) else { return Ok(None) };
        let span = first.start..last.end;
        let mut mask = bits_of(&ranges, &span);
        let mut decoded: Vec<Option<ArrayRef>> = vec![None; self.wanted.columns.len()];
        for ((at, filter), verdict) in conditions.list.iter().zip(verdicts) {
            if verdict == Verdict::All {
                continue;
            }
            let cells = match decoded[*at].take() {
                Some(cells) => cells,
                // A column that the block lacks is NULL everywhere.
                None => match self.column(*at, span.clone())? {
                    Some(cells) => cells,
                    None => return Ok(None),
                },
            };
            mask = &mask & &filter::mask(filter, &cells, self.wanted.columns[*at].data_type);
            decoded[*at] = Some(cells);
            if mask.count_set_bits() == 0 {
                return Ok(None);
            }
        }
        self.gathered(&parts_of(&mask, &span), &decoded, span.start, keys).map(Some)
    }

    /// The rows that are left. `decoded` columns begin at row `offset`; `keys` are those of the block, if they are known.
    fn gathered(
        &mut self,
        parts: &[Part],
        decoded: &[Option<ArrayRef>],
        offset: usize,
        keys: Option<Vec<i64>>,
    ) -> Result<Segment, Halt> {
        let header = &self.block.header;
        let rows = parts.iter().map(|part| part.count).sum();
        let (mut sids, mut left) = (Vec::with_capacity(rows), Vec::with_capacity(rows));
        for part in parts {
            let keys = match &keys {
                Some(keys) => keys[part.rows.clone()].to_vec(),
                None => self.keys(part.rows.clone())?,
            };
            left.extend(part.bits.set_indices().map(|row| keys[row]));
            match &header.directory[..] {
                [one] => sids.extend(std::iter::repeat_n(one.sid.0, part.count)),
                _ => {
                    let all = header.sids(part.rows.clone());
                    sids.extend(part.bits.set_indices().map(|row| all[row]));
                }
            }
        }
        let mut columns = Vec::with_capacity(self.wanted.columns.len());
        for (at, known) in decoded.iter().enumerate() {
            let mut arrays: Vec<ArrayRef> = Vec::with_capacity(parts.len());
            for part in parts {
                let cells = match known {
                    Some(cells) => Some(cells.slice(part.rows.start - offset, part.rows.len())),
                    None => self.column(at, part.rows.clone())?,
                };
                let Some(cells) = cells else { break };
                arrays.push(match &part.keep {
                    None => cells,
                    Some(keep) => keep.filter(&cells).expect("a mask is as long as its rows"),
                });
            }
            let refs: Vec<&dyn Array> = arrays.iter().map(|array| &**array).collect();
            let values = match &arrays[..] {
                [] => None,
                [one] => Some(Arc::clone(one)),
                _ => Some(concat(&refs).expect("parts of one column have one type")),
            };
            // Nothing older is below: what is absent is NULL, and is so in the values.
            columns.push(values.map(|values| Cells { values, absent: None }));
        }
        let segment = Segment::of(sids, left, Versions::One(header.version_min), None, columns);
        Ok(segment.expect("some row is left").decided())
    }

    fn keys(&mut self, rows: Range<usize>) -> Result<Vec<i64>, Halt> {
        let (run, block) = (self.run, self.block);
        let chunk = self.chunks.get(KEYS_CHUNK, &mut |chunk| run.chunk(block, chunk))?;
        block.header.decode_keys(chunk, rows).map_err(|corrupt| run.corrupt(block.id, &corrupt))
    }

    /// The cells of a wanted column; None where the block lacks it.
    fn column(&mut self, at: usize, rows: Range<usize>) -> Result<Option<ArrayRef>, Halt> {
        let (run, block, want) = (self.run, self.block, &self.wanted.columns[at]);
        let Some(column) = block.header.column(want.id) else { return Ok(None) };
        let chunk = self.chunks.get(column.chunk(), &mut |chunk| run.chunk(block, chunk))?;
        let decoded = block.header.decode_column(column, chunk, rows);
        let (values, _) = decoded.map_err(|corrupt| run.corrupt(block.id, &corrupt))?;
        Ok(Some(as_type(&values, &want.arrow)))
    }
}

/// Which rows of `span` lie in one of `ranges`, which ascend from its start to its end.
fn bits_of(ranges: &[Range<usize>], span: &Range<usize>) -> BooleanBuffer {
    if ranges.len() == 1 {
        return BooleanBuffer::new_set(span.len());
    }
    let mut bits = BooleanBufferBuilder::new(span.len());
    for range in ranges {
        bits.append_n(range.start - span.start - bits.len(), false);
        bits.append_n(range.len(), true);
    }
    bits.finish()
}

/// The vectors of `span` in which `mask` leaves a row; neighbours are one part.
fn parts_of(mask: &BooleanBuffer, span: &Range<usize>) -> Vec<Part> {
    let bits = |rows: &Range<usize>| mask.slice(rows.start - span.start, rows.len());
    let mut parts: Vec<Range<usize>> = Vec::new();
    let mut start = span.start;
    while start < span.end {
        let end = span.end.min((start / VECTOR_ROWS + 1) * VECTOR_ROWS);
        if bits(&(start..end)).count_set_bits() > 0 {
            match parts.last_mut() {
                Some(last) if last.end == start => last.end = end,
                _ => parts.push(start..end),
            }
        }
        start = end;
    }
    let part = |rows: Range<usize>| {
        let bits = bits(&rows);
        let count = bits.count_set_bits();
        let keep =
            (count < rows.len()).then(|| FilterBuilder::new(&BooleanArray::new(bits.clone(), None)).optimize().build());
        Part { rows, bits, keep, count }
    };
    parts.into_iter().map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_without_a_row_are_left_out() {
        let span = 1000..4000;
        let left = |row: usize| (1500..1510).contains(&row) || row == 3999;
        let mask: BooleanBuffer = span.clone().map(left).collect();
        let parts = parts_of(&mask, &span);
        let shown: Vec<(Range<usize>, usize)> = parts.iter().map(|part| (part.rows.clone(), part.count)).collect();
        assert_eq!(shown, [(1024..2048, 10), (3072..4000, 1)]);
        let all = parts_of(&BooleanBuffer::new_set(3000), &span);
        assert_eq!((all.len(), all[0].rows.clone(), all[0].keep.is_none()), (1, 1000..4000, true));
    }

    #[test]
    fn rows_between_ranges_are_out() {
        let bits = bits_of(&[3..5, 6..7, 9..10], &(3..10));
        assert_eq!(bits.iter().collect::<Vec<_>>(), [true, true, false, true, false, false, true]);
        assert!(bits_of(std::slice::from_ref(&(3..10)), &(3..10)).iter().all(|bit| bit));
    }
}
