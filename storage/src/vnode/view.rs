//! A consistent view of one relation: what a scan reads while writes go on.

use std::sync::Arc;

use model::scan::ColumnFilter;
use model::types::Value;
use model::{Suid, TimeRange};

use crate::halt::Halt;
use crate::vnode::Vnode;
use crate::vnode::decide::{self, Conditions, DecidingSource};
use crate::vnode::flush::chunk_sources;
use crate::vnode::memtable::MemChunk;
use crate::vnode::merge::Source;
use crate::vnode::registry::{Series, SeriesList};
use crate::vnode::run::{Block, Run, RunSource};
use crate::vnode::segment::{Segment, SeriesFilter, Wanted};
use crate::vnode::state::FIRST_ROW_ID;
use crate::vnode::time_merge::Piece;
use crate::vnode::tombstones::Tombstones;

/// One relation at one moment.
#[derive(Clone)]
pub(super) struct View {
    pub(super) suid: Suid,
    pub(super) list: SeriesList,
    pub(super) tombstones: Vec<Arc<Tombstones>>,
    /// Oldest first.
    pub(super) chunks: Vec<Arc<MemChunk>>,
    /// Oldest first.
    pub(super) runs: Vec<Arc<Run>>,
    /// Sids from here on belong to no table yet.
    pub(super) next_sid: u32,
    /// Row ids from here on belong to no row yet.
    pub(super) next_row_id: i64,
    /// Version of the last entry that was applied.
    pub(super) clock: u64,
    /// How often rows of any relation expired, and rows of this one were deleted.
    pub(super) removals: (u64, u64),
    /// Whether stored rows may belong to dropped tables.
    gaps: bool,
}

impl Vnode {
    /// The relation as it is now.
    pub(super) fn view(&self, suid: Suid) -> View {
        self.view_and(suid, &[]).0
    }

    /// The relation as it is now, and what some names mean at the same moment.
    pub(super) fn view_and(&self, suid: Suid, names: &[&str]) -> (View, Vec<Option<Arc<Series>>>) {
        let inner = self.inner.read();
        let frozen = inner.frozen.iter().flat_map(|frozen| frozen.chunks(suid));
        let chunks = frozen.chain(inner.active.chunks(suid)).cloned().collect();
        let mut runs: Vec<Arc<Run>> =
            inner.runs.values().flatten().filter(|run| run.has(suid)).map(Arc::clone).collect();
        runs.sort_by_key(|run| run.header.version_max);
        let view = View {
            suid,
            list: inner.state.relation(suid),
            tombstones: inner.state.tombstones(suid).into_iter().collect(),
            chunks,
            runs,
            next_sid: inner.state.next_sid,
            next_row_id: inner.state.row_ids.get(&suid).copied().unwrap_or(FIRST_ROW_ID),
            clock: inner.state.clock,
            removals: inner.state.removals(suid),
            gaps: inner.state.has_gaps(suid),
        };
        let named = names.iter().map(|name| inner.state.by_name(name).cloned()).collect();
        (view, named)
    }
}

/// The blocks of a run that a reader wants, and whether conditions may be decided on each by itself.
type MarkedBlocks = (Arc<Run>, Vec<(Arc<Block>, bool)>);

/// The blocks of a run that a reader wants.
pub(super) type RunBlocks = (Arc<Run>, Vec<Arc<Block>>);

impl View {
    /// Every table of the relation.
    pub(super) fn all_series(&self) -> SeriesFilter {
        if self.gaps { SeriesFilter::Set(self.list.sids().into()) } else { SeriesFilter::All }
    }

    /// What the view gives by (sid, key), oldest first, and then some more chunks.
    pub(super) fn sources(
        &self,
        wanted: &Arc<Wanted>,
        filters: &[ColumnFilter],
        more: &[Arc<MemChunk>],
    ) -> Result<Vec<Box<dyn Source>>, Halt> {
        Ok(self.sources_of(self.blocks(wanted, filters, more)?, wanted, more))
    }

    /// The same of some blocks.
    pub(super) fn sources_of(
        &self,
        blocks: Vec<RunBlocks>,
        wanted: &Arc<Wanted>,
        more: &[Arc<MemChunk>],
    ) -> Vec<Box<dyn Source>> {
        let mut sources: Vec<Box<dyn Source>> = Vec::new();
        for (run, blocks) in blocks {
            let blocks = blocks.into_iter();
            sources.push(Box::new(RunSource { run, blocks, wanted: Arc::clone(wanted) }));
        }
        sources.extend(chunk_sources(&self.chunks, wanted));
        sources.extend(chunk_sources(more, wanted));
        sources
    }

    /// What [`View::sources`] gives, with conditions decided where that needs no merge.
    pub(super) fn deciding_sources(
        &self,
        wanted: &Arc<Wanted>,
        filters: &[ColumnFilter],
        conditions: &Arc<Conditions>,
        more: &[Arc<MemChunk>],
    ) -> Result<Vec<Box<dyn Source>>, Halt> {
        let mut sources: Vec<Box<dyn Source>> = Vec::new();
        for (run, blocks) in self.marked(wanted, filters, conditions, more)? {
            let (wanted, conditions) = (Arc::clone(wanted), Arc::clone(conditions));
            sources.push(Box::new(DecidingSource { run, blocks: blocks.into_iter(), wanted, conditions }));
        }
        sources.extend(chunk_sources(&self.chunks, wanted));
        sources.extend(chunk_sources(more, wanted));
        Ok(sources)
    }

    /// The blocks that can hold wanted rows. One that is alone is left out if its header says that no row satisfies the
    /// conditions.
    fn marked(
        &self,
        wanted: &Wanted,
        filters: &[ColumnFilter],
        conditions: &Conditions,
        more: &[Arc<MemChunk>],
    ) -> Result<Vec<MarkedBlocks>, Halt> {
        let all = self.blocks(wanted, filters, more)?;
        let chunks: Vec<&Arc<MemChunk>> = self.chunks.iter().chain(more).collect();
        let mark = |(at, (run, blocks)): (usize, &RunBlocks)| {
            let mark = |block: &Arc<Block>| {
                let decided = !conditions.is_empty()
                    && !wanted.touched(block.sids(), block.keys(), block.header.version_min)
                    && is_alone(&all, at, &chunks, block);
                (!decided || !conditions.exclude(&block.header)).then(|| (Arc::clone(block), decided))
            };
            (Arc::clone(run), blocks.iter().filter_map(mark).collect())
        };
        Ok(all.iter().enumerate().map(mark).collect())
    }

    /// What the view gives by key, and some more chunks; conditions are decided where that needs no merge.
    pub(super) fn pieces(
        &self,
        wanted: &Arc<Wanted>,
        filters: &[ColumnFilter],
        conditions: &Arc<Conditions>,
        more: &[Arc<MemChunk>],
        descending: bool,
    ) -> Result<Vec<Piece>, Halt> {
        let due = |keys: TimeRange| {
            let keys = keys.intersect(wanted.range);
            if descending { keys.max } else { keys.min }
        };
        let mut pieces = Vec::new();
        let mut source = 0;
        for (run, blocks) in self.marked(wanted, filters, conditions, more)? {
            source += 1;
            for (block, alone) in blocks {
                let (run, wanted, conditions) = (Arc::clone(&run), Arc::clone(wanted), Arc::clone(conditions));
                let due = due(block.keys());
                let load = Box::new(move || decide::read(&run, &block, alone, &wanted, &conditions));
                pieces.push(Piece { due, source, load });
            }
        }
        for chunk in self.chunks.iter().chain(more).filter(|chunk| wanted.overlaps(chunk.sid_range, chunk.key_range)) {
            source += 1;
            let (chunk, wanted) = (Arc::clone(chunk), Arc::clone(wanted));
            let due = due(chunk.key_range);
            let load = Box::new(move || Ok(Segment::of_chunk(&chunk, &wanted).map(Arc::new)));
            pieces.push(Piece { due, source, load });
        }
        Ok(pieces)
    }

    /// The blocks that can hold wanted rows.
    pub(super) fn blocks(
        &self,
        wanted: &Wanted,
        filters: &[ColumnFilter],
        more: &[Arc<MemChunk>],
    ) -> Result<Vec<RunBlocks>, Halt> {
        let mut all: Vec<RunBlocks> = Vec::new();
        for run in self.runs.iter().filter(|run| run.header.key_range.overlaps(wanted.range)) {
            let blocks = run.wanted_blocks(self.suid, wanted)?;
            if !blocks.is_empty() {
                all.push((Arc::clone(run), blocks));
            }
        }
        if !filters.is_empty() {
            let chunks: Vec<&Arc<MemChunk>> = self.chunks.iter().chain(more).collect();
            let excluded: Vec<Vec<bool>> =
                (0..all.len()).map(|at| excluded(&all, at, &chunks, wanted, filters)).collect();
            for ((_, blocks), excluded) in all.iter_mut().zip(excluded) {
                let mut excluded = excluded.into_iter();
                blocks.retain(|_| !excluded.next().unwrap_or(false));
            }
        }
        Ok(all)
    }
}

/// Which blocks of run `at` hold no row that satisfies the filters.
fn excluded(
    all: &[RunBlocks],
    at: usize,
    chunks: &[&Arc<MemChunk>],
    wanted: &Wanted,
    filters: &[ColumnFilter],
) -> Vec<bool> {
    let fails = |block: &Block| filters.iter().any(|filter| fails(block, wanted, filter));
    all[at].1.iter().map(|block| fails(block) && is_alone(all, at, chunks, block)).collect()
}

/// Whether no other source has rows among those of a block of run `at`: only then its statistics speak for its rows, and
/// nothing needs to be merged with them.
pub(super) fn is_alone(all: &[RunBlocks], at: usize, chunks: &[&Arc<MemChunk>], block: &Block) -> bool {
    let (first, last, keys) = (block.first(), block.last(), block.keys());
    let mut others = all.iter().enumerate().filter(|(other, _)| *other != at).map(|(_, (_, blocks))| blocks);
    let in_run = others.any(|blocks| {
        let next = blocks.partition_point(|other| other.last() < first);
        blocks[next..].iter().take_while(|other| other.first() <= last).any(|other| other.keys().overlaps(keys))
    });
    let in_chunk = |chunk: &Arc<MemChunk>| chunk.key_range.overlaps(keys) && chunk.has_between(first, last);
    !in_run && !chunks.iter().any(|chunk| in_chunk(chunk))
}

/// Whether no value of the block can satisfy the filter.
fn fails(block: &Block, wanted: &Wanted, filter: &ColumnFilter) -> bool {
    let Some(column) = block.header.column(filter.column) else {
        // Absent everywhere: NULL satisfies nothing. Of the key the range speaks.
        return filter.column != model::ColumnId::KEY;
    };
    let now = wanted.columns.iter().find(|want| want.id == filter.column);
    let same = now
        .is_none_or(|now| now.data_type == column.data_type || (now.data_type.is_text() && column.data_type.is_text()));
    let statistics = &column.statistics;
    if !same || !statistics.usable() || statistics.nan {
        return false;
    }
    if statistics.count == 0 {
        return true;
    }
    let below = |least: &Option<Value>, most: &Option<Value>| match (least, most) {
        (Some(least), Some(most)) => less(most, least),
        _ => false,
    };
    below(&filter.min, &statistics.max) || below(&statistics.min, &filter.max)
}

/// Whether `a < b` for certain.
pub(super) fn less(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Bool(a), Value::Bool(b)) => a < b,
        (Value::Int(a), Value::Int(b)) => a < b,
        (Value::UInt(a), Value::UInt(b)) => a < b,
        (Value::Float(a), Value::Float(b)) => a < b,
        (Value::Decimal(a), Value::Decimal(b)) => a < b,
        (Value::Text(a), Value::Text(b)) => a < b,
        (Value::Bytes(a), Value::Bytes(b)) => a < b,
        _ => false,
    }
}
