//! Answers aggregate requests: rows are reduced here, and most are never looked at.
//!
//! Start reading at [`Aggregation::step`]. Blocks come first that are *alone*: no other run, memtable row or delete touches
//! theirs. Of these a header answers if all rows are in one group, it decides the conditions and its statistics know
//! enough; otherwise the block is decoded, and only the columns that are asked for. What is left goes through the merge that every scan uses.

mod groups;
mod states;

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array};
use arrow::compute::cast;
use model::aggregate::{Aggregate, AggregateRequest, Function, SeriesKey, Windows};
use model::scan::ColumnFilter;
use model::{ColumnId, DataType, TimeRange, Value};

use crate::halt::Halt;
use crate::vnode::aggregate::groups::{Groups, Stretch};
use crate::vnode::aggregate::states::{Rows, States, Summary};
use crate::vnode::filter::{self, Verdict};
use crate::vnode::memtable::as_type;
use crate::vnode::merge::{Picks, SeriesMerge};
use crate::vnode::run::{Block, Run};
use crate::vnode::scan::{Prepared, Tables, batch};
use crate::vnode::segment::{ChunkCache, SeriesFilter, Wanted, WantedColumn};
use crate::vnode::view::is_alone;
use crate::vnode::{BATCH_ROWS_MAX, Batches, Vnode};

/// Groups that are held before their states are handed on.
const GROUPS_MAX: usize = if cfg!(test) { 7 } else { 65_536 };
/// Rows that are looked at in one step: between steps a scan can be stopped.
const STEP_ROWS: usize = 1 << 20;
/// How much further back is looked when too few of the newest windows have rows.
const WIDEN: i64 = 8;

impl Vnode {
    pub(super) fn aggregate(&self, request: AggregateRequest) -> Result<Batches, Halt> {
        let prepared = self.prepare(&request.rows);
        if let Some(kept) = self.kept_last(&prepared, &request)? {
            return Ok(Box::new(std::iter::once(Ok(kept))));
        }
        Ok(Box::new(Aggregation::start(prepared, request)?))
    }
}

/// An aggregate request under way.
pub(super) struct Aggregation {
    request: AggregateRequest,
    prepared: Prepared,
    tables: Tables,
    wanted: Arc<Wanted>,
    groups: Groups,
    states: Vec<States>,
    /// For each aggregate its column in `wanted`; None: the key, or nothing.
    columns: Vec<Option<usize>>,
    /// For each condition its column in `wanted`.
    filters: Vec<usize>,
    alone: std::vec::IntoIter<(Arc<Run>, Arc<Block>)>,
    merge: SeriesMerge,
    /// How many of the newest windows this pass may find.
    newest: Option<Newest>,
    done: bool,
    failed: bool,
}

/// A pass over the newest windows.
#[derive(Clone, Copy)]
struct Newest {
    /// How many are needed.
    wanted: usize,
    /// Where the next pass, further back, may begin.
    oldest: i64,
    /// How many windows the pass covers.
    windows: i64,
}

/// Tables, and the states of all aggregates of each: arrays as long.
pub(super) type TableStates = (Vec<u32>, Vec<ArrayRef>);

/// How far a step came.
enum Advance {
    /// There are groups to hand on, perhaps none of them.
    Groups,
    /// Much was looked at, and there is more.
    Nothing,
    End,
}

impl Aggregation {
    pub(super) fn start(prepared: Prepared, request: AggregateRequest) -> Result<Self, Halt> {
        let mut columns: Vec<WantedColumn> = Vec::new();
        let mut place = |id: ColumnId, data_type: DataType| {
            columns.iter().position(|column| column.id == id).unwrap_or_else(|| {
                columns.push(WantedColumn::new(id, data_type, request.rows.precision));
                columns.len() - 1
            })
        };
        let mut places = Vec::new();
        for one in &request.aggregates {
            let looks = one.column != ColumnId::KEY && one.function != Function::Rows;
            places.push(looks.then(|| place(one.column, request.data_type(*one))));
        }
        let of = |filter: &ColumnFilter| Aggregate { function: Function::Count, column: filter.column };
        let conditions = &request.rows.conditions;
        let filters = conditions.iter().map(|filter| place(filter.column, request.data_type(of(filter)))).collect();
        let tombstones = prepared.tombstones();
        let range = request.rows.range;
        let wanted = Wanted { columns, series: prepared.series.clone(), range, tombstones };
        let states = request.aggregates.iter().map(|one| States::new(one.function, request.data_type(*one))).collect();
        let mut aggregation = Self {
            groups: Groups::new(!request.series.is_empty(), request.windows.clone()),
            tables: prepared.tables(),
            wanted: Arc::new(wanted),
            states,
            columns: places,
            filters,
            alone: Vec::new().into_iter(),
            merge: SeriesMerge::new(Vec::new()),
            newest: None,
            done: false,
            failed: false,
            prepared,
            request,
        };
        aggregation.begin()?;
        Ok(aggregation)
    }

    /// Finds the sources, of the newest windows only if that is enough.
    fn begin(&mut self) -> Result<(), Halt> {
        let nothing = matches!(&self.wanted.series, SeriesFilter::Set(sids) if sids.is_empty());
        if self.request.rows.range.is_empty() || nothing {
            self.done = true;
            return Ok(());
        }
        let windows = self.request.windows.clone();
        if let (Some(wanted), Some(Windows::Fixed { step, .. })) = (self.request.newest, &windows) {
            self.newest = self.look_back(wanted, *step)?;
        }
        self.open()
    }

    /// The pass over the newest windows, if there are more.
    fn look_back(&mut self, wanted: usize, step: i64) -> Result<Option<Newest>, Halt> {
        let view = &self.prepared.view;
        let mut stored: Option<TimeRange> = None;
        let mut note = |range: TimeRange| {
            let range = range.intersect(self.request.rows.range);
            if !range.is_empty() {
                let known = stored.unwrap_or(range);
                stored = Some(TimeRange { min: known.min.min(range.min), max: known.max.max(range.max) });
            }
        };
        match &self.wanted.series {
            // Where it is too late the pass finds too little, and the next one begins earlier.
            SeriesFilter::All => view.runs.iter().for_each(|run| note(run.header.key_range)),
            SeriesFilter::Set(_) => {
                for (_, blocks) in view.blocks(&self.wanted, &[], &self.prepared.overlaid.chunks)? {
                    blocks.iter().for_each(|block| note(block.keys()));
                }
            }
        }
        let chunks = view.chunks.iter().chain(&self.prepared.overlaid.chunks);
        chunks.filter(|chunk| self.wanted.overlaps(chunk.sid_range, chunk.key_range)).for_each(|c| note(c.key_range));
        let (Some(stored), Some(windows)) = (stored, &self.request.windows) else { return Ok(None) };
        let count = i64::try_from(wanted).unwrap_or(i64::MAX).max(1);
        let start = windows.around(stored.max).0.saturating_sub(step.saturating_mul(count - 1));
        if start <= stored.min {
            return Ok(None);
        }
        let wanted_now = Wanted { range: TimeRange { min: start, ..self.wanted.range }, ..(*self.wanted).clone() };
        self.wanted = Arc::new(wanted_now);
        Ok(Some(Newest { wanted, oldest: stored.min, windows: count }))
    }

    /// Looks further back if the pass that has ended found too little. Whether it does.
    fn widen(&mut self) -> Result<bool, Halt> {
        let Some(newest) = self.newest else { return Ok(false) };
        let Some(Windows::Fixed { step, .. }) = self.request.windows else { return Ok(false) };
        if self.groups.count_windows() >= newest.wanted {
            return Ok(false);
        }
        let windows = newest.windows.saturating_mul(WIDEN);
        let start = self.wanted.range.min.saturating_sub(step.saturating_mul(windows - newest.windows));
        let all = start <= newest.oldest;
        let min = if all { self.request.rows.range.min } else { start };
        self.wanted = Arc::new(Wanted { range: TimeRange { min, ..self.wanted.range }, ..(*self.wanted).clone() });
        self.newest = (!all).then_some(Newest { windows, ..newest });
        self.groups.clear();
        for state in &mut self.states {
            state.emit(self.request.rows.precision);
        }
        self.open()?;
        Ok(true)
    }

    fn open(&mut self) -> Result<(), Halt> {
        let more = &self.prepared.overlaid.chunks;
        let view = &self.prepared.view;
        let all = view.blocks(&self.wanted, &[], more)?;
        let chunks: Vec<_> = view.chunks.iter().chain(more).collect();
        let mut alone = Vec::new();
        let mut together = Vec::new();
        for (at, (run, blocks)) in all.iter().enumerate() {
            let mut rest = Vec::new();
            for block in blocks {
                let touched = self.wanted.touched(block.sids(), block.keys(), block.header.version_min);
                if !touched && is_alone(&all, at, &chunks, block) {
                    alone.push((Arc::clone(run), Arc::clone(block)));
                } else {
                    rest.push(Arc::clone(block));
                }
            }
            if !rest.is_empty() {
                together.push((Arc::clone(run), rest));
            }
        }
        // By series, so that groups of one come one after another.
        alone.sort_by_key(|(_, block)| block.first());
        self.alone = alone.into_iter();
        self.merge = SeriesMerge::new(view.sources_of(together, &self.wanted, more));
        Ok(())
    }

    /// Some groups, or none yet, or None at the end.
    fn step(&mut self) -> Result<Option<arrow::array::RecordBatch>, Halt> {
        Ok(match self.advance()? {
            Advance::End => None,
            Advance::Nothing => Some(arrow::array::RecordBatch::new_empty(self.request.schema())),
            Advance::Groups => Some(self.emit()),
        })
    }

    /// For each of some groups its table, and the states of all aggregates; None at the end. Groups are by table here.
    pub(super) fn next_states(&mut self) -> Result<Option<TableStates>, Halt> {
        loop {
            match self.advance()? {
                Advance::End => return Ok(None),
                Advance::Nothing => {}
                Advance::Groups => {
                    let states = self.emit_states();
                    let sids = std::mem::take(&mut self.groups.sids);
                    self.groups.clear();
                    return Ok(Some((sids, states)));
                }
            }
        }
    }

    /// Takes rows in, until there are groups to hand on or much was looked at.
    fn advance(&mut self) -> Result<Advance, Halt> {
        if self.done {
            return Ok(Advance::End);
        }
        let mut rows = 0;
        // A pass that may have to be repeated hands on nothing.
        while rows < STEP_ROWS && (self.groups.len() < GROUPS_MAX || self.newest.is_some()) {
            if let Some((run, block)) = self.alone.next() {
                rows += self.take_block(&run, &block)?;
                continue;
            }
            let picks = self.merge.next(BATCH_ROWS_MAX)?;
            if picks.rows > 0 {
                rows += picks.rows;
                self.take_picks(&picks);
            } else if !self.widen()? {
                self.done = true;
                return Ok(Advance::Groups);
            }
        }
        let many = self.groups.len() >= GROUPS_MAX && self.newest.is_none();
        Ok(if many { Advance::Groups } else { Advance::Nothing })
    }

    /// Takes a block in that is alone. How many of its rows were looked at.
    fn take_block(&mut self, run: &Run, block: &Block) -> Result<usize, Halt> {
        let header = &block.header;
        let verdicts: Vec<Verdict> = if self.request.statistics {
            self.filters
                .iter()
                .zip(&self.request.rows.conditions)
                .map(|(at, filter)| self.verdict(block, *at, filter))
                .collect()
        } else {
            vec![Verdict::Some; self.filters.len()]
        };
        if verdicts.contains(&Verdict::None) {
            return Ok(1);
        }
        let whole_block = verdicts.iter().all(|verdict| *verdict == Verdict::All);
        if self.request.statistics && whole_block && self.summarize(block) {
            return Ok(1);
        }
        let corrupt = |corrupt: crate::Corrupt| run.corrupt(block.id, &corrupt);
        let mut read = |chunk: u16| run.chunk(block, chunk);
        let mut chunks = ChunkCache::default();
        let whole = self.wanted.range.min <= header.key_min && header.key_max <= self.wanted.range.max;
        let wants_keys = self.groups.has_windows()
            || self.states.iter().any(States::needs_keys)
            || self.request.aggregates.iter().any(|one| one.column == ColumnId::KEY);
        let keys = if whole && !wants_keys {
            Vec::new()
        } else {
            let chunk = chunks.get(crate::block::KEYS_CHUNK, &mut read)?;
            header.decode_keys(chunk, 0..header.rows).map_err(corrupt)?
        };
        let rows = self.rows_of(block, whole, &keys);
        let (Some((_, first)), Some((_, last))) = (rows.first(), rows.last()) else { return Ok(1) };
        let span = first.start..last.end;
        let mut cells: Vec<Option<ArrayRef>> = Vec::with_capacity(self.wanted.columns.len());
        for want in &self.wanted.columns {
            let Some(column) = header.column(want.id) else {
                cells.push(None);
                continue;
            };
            let chunk = chunks.get(column.chunk(), &mut read)?;
            let (values, _) = header.decode_column(column, chunk, span.clone()).map_err(corrupt)?;
            cells.push(Some(as_type(&values, &want.arrow)));
        }
        let rows = if whole_block { rows } else { self.filtered(rows, &cells, span.start) };
        let mut stretches = Vec::new();
        rows.into_iter().for_each(|(sid, rows)| self.groups.cut(sid, rows, &keys, &mut stretches));
        for stretch in &mut stretches {
            stretch.start -= span.start as u32;
            stretch.end -= span.start as u32;
        }
        let all = keys.is_empty() || span == (0..keys.len());
        let keys = if all { keys } else { keys[span.clone()].to_vec() };
        self.take(&stretches, keys, &cells);
        Ok(span.len())
    }

    /// What a header says of a condition on the wanted column `at`.
    fn verdict(&self, block: &Block, at: usize, filter: &ColumnFilter) -> Verdict {
        let column = block.header.column(self.wanted.columns[at].id);
        filter::verdict(filter, column.map(|column| &column.statistics), block.header.rows)
    }

    /// The rows that satisfy every condition; `cells` begin at row `offset`.
    fn filtered(
        &self,
        mut rows: Vec<(u32, Range<usize>)>,
        cells: &[Option<ArrayRef>],
        offset: usize,
    ) -> Vec<(u32, Range<usize>)> {
        for (at, filter) in self.filters.iter().zip(&self.request.rows.conditions) {
            let Some(cells) = &cells[*at] else { return Vec::new() };
            let mask = filter::mask(filter, cells, self.wanted.columns[*at].data_type);
            rows = filter::keep(rows, &mask, offset);
        }
        rows
    }

    /// Takes a block in by what its header says, if that is enough.
    fn summarize(&mut self, block: &Block) -> bool {
        let header = &block.header;
        let keys = block.keys();
        let range = self.wanted.range;
        let single = header.is_single_series();
        let whole = range.min <= keys.min && keys.max <= range.max;
        let mut sids = header.directory.iter().map(|run| run.sid.0);
        if !whole || (!self.request.series.is_empty() && !single) || !sids.all(|sid| self.wanted.series.contains(sid)) {
            return false;
        }
        let ends = single.then_some((keys.min, keys.max));
        let key = single.then(|| key_statistics(header.rows, keys));
        let summary = |at: usize| {
            let of_key = self.request.aggregates[at].column == ColumnId::KEY;
            let statistics = match self.columns[at] {
                Some(column) => header.column(self.wanted.columns[column].id).map(|column| &column.statistics),
                None => key.as_ref(),
            };
            // Whose first or last key it is, is not known of several series.
            (!of_key || single || self.request.aggregates[at].function == Function::Rows).then_some(Summary {
                rows: header.rows,
                ends,
                statistics,
            })
        };
        let summaries: Option<Vec<Summary<'_>>> = (0..self.states.len()).map(summary).collect();
        let Some(summaries) = summaries else { return false };
        if !self.states.iter().zip(&summaries).all(|(states, summary)| states.can_summarize(summary)) {
            return false;
        }
        let Some(group) = self.groups.of_range(header.sid_min().0, keys.min, keys.max) else { return false };
        for (states, summary) in self.states.iter_mut().zip(&summaries) {
            states.resize(self.groups.len());
            states.summarize(group, summary);
        }
        true
    }

    /// The wanted rows of a block, by series.
    fn rows_of(&self, block: &Block, whole: bool, keys: &[i64]) -> Vec<(u32, Range<usize>)> {
        let mut wanted = Vec::new();
        for run in &block.header.directory {
            if !self.wanted.series.contains(run.sid.0) {
                continue;
            }
            let mut rows = run.start as usize..run.end as usize;
            if !whole {
                let of = &keys[rows.clone()];
                let start = of.partition_point(|key| *key < self.wanted.range.min);
                let end = of.partition_point(|key| *key <= self.wanted.range.max);
                rows = rows.start + start..rows.start + end.max(start);
            }
            if !rows.is_empty() {
                wanted.push((run.sid.0, rows));
            }
        }
        wanted
    }

    /// Takes merged rows in.
    fn take_picks(&mut self, picks: &Picks) {
        let cells: Vec<Option<ArrayRef>> =
            self.wanted.columns.iter().enumerate().map(|(at, want)| Some(picks.column(at, want).values)).collect();
        let (sids, keys) = (picks.sids(), picks.keys());
        let mut rows = Vec::new();
        let mut start = 0;
        while start < sids.len() {
            let rest = &sids[start..];
            let end = start + rest.iter().position(|sid| *sid != rest[0]).unwrap_or(rest.len());
            rows.push((sids[start], start..end));
            start = end;
        }
        let mut stretches = Vec::new();
        for (sid, rows) in self.filtered(rows, &cells, 0) {
            self.groups.cut(sid, rows, &keys, &mut stretches);
        }
        self.take(&stretches, keys, &cells);
    }

    fn take(&mut self, stretches: &[Stretch], keys: Vec<i64>, cells: &[Option<ArrayRef>]) {
        let key_cells: ArrayRef = Arc::new(Int64Array::from(keys));
        let keys = crate::codec::natives::<i64>(&key_cells);
        for (at, states) in self.states.iter_mut().enumerate() {
            states.resize(self.groups.len());
            let of_key = self.request.aggregates[at].column == ColumnId::KEY;
            let cells = match self.columns[at] {
                Some(column) => cells[column].as_ref(),
                None => of_key.then_some(&key_cells),
            };
            states.take(&Rows { stretches, keys: &keys, cells });
        }
    }

    /// The states of all groups, which are forgotten.
    fn emit(&mut self) -> arrow::array::RecordBatch {
        let precision = self.request.rows.precision;
        let relation = &self.request.rows.relation;
        let rows = self.groups.len();
        let sids = &self.groups.sids;
        let mut columns: Vec<ArrayRef> = Vec::new();
        for key in &self.request.series {
            columns.push(match key {
                SeriesKey::Tag(id) => self.tables.tags(sids, *id, relation, precision),
                SeriesKey::TableName => self.tables.names(sids),
            });
        }
        if self.groups.has_windows() {
            let starts: ArrayRef = Arc::new(Int64Array::from(self.groups.starts.clone()));
            let wanted = DataType::Timestamp.arrow(precision);
            columns.push(cast(&starts, &wanted).expect("a timestamp is an integer"));
        }
        columns.extend(self.emit_states());
        self.groups.clear();
        batch(&self.request.schema(), columns, rows)
    }
}

impl Aggregation {
    fn emit_states(&mut self) -> Vec<ArrayRef> {
        let (rows, precision) = (self.groups.len(), self.request.rows.precision);
        let mut columns = Vec::new();
        for states in &mut self.states {
            states.resize(rows);
            columns.extend(states.emit(precision));
        }
        columns
    }
}

impl Iterator for Aggregation {
    type Item = Result<arrow::array::RecordBatch, Halt>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let next = self.step();
        self.failed = next.is_err();
        next.transpose()
    }
}

/// What the keys of one series would say as a column.
fn key_statistics(rows: usize, keys: TimeRange) -> crate::block::Statistics {
    let (min, max) = (Some(Value::Int(keys.min)), Some(Value::Int(keys.max)));
    crate::block::Statistics {
        count: rows as u32,
        min: min.clone(),
        max: max.clone(),
        first: min,
        last: max,
        ..crate::block::Statistics::default()
    }
}
