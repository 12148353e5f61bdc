//! The newest rows and values of all tables of a relation, kept in memory for a database with CACHEMODEL.
//!
//! Writes know nothing of it: what a query asks for is kept as of the view that it was made on, and the next query looks
//! only at rows that are newer than that view. A table whose newer rows are all behind its newest one is brought up to
//! date from these rows; one that was written further back is looked at as a whole; after a delete everything is. So it
//! is exact, and it is empty after a restart. Start reading at [`Vnode::kept_last`].

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, new_null_array};
use arrow::compute::interleave;
use arrow::datatypes::Int64Type;
use model::aggregate::{Aggregate, AggregateRequest, Function, SeriesKey};
use model::options::CacheModel;
use model::scan::{RowsRequest, Series};
use model::{ColumnId, Suid, TimeRange};
use parking_lot::Mutex;

use crate::halt::Halt;
use crate::vnode::Vnode;
use crate::vnode::aggregate::Aggregation;
use crate::vnode::memtable::as_type;
use crate::vnode::overlay::Overlaid;
use crate::vnode::scan::{Prepared, batch};
use crate::vnode::segment::SeriesFilter;
use crate::vnode::view::View;

/// Whether a table has rows in a range, and where its newest one is.
const NEWEST: Aggregate = Aggregate { function: Function::LastRow, column: ColumnId::KEY };
/// No cell.
const NOWHERE: u32 = u32::MAX;
/// Arrays of one column that are held before their cells are copied into one.
const ARRAYS_MAX: usize = if cfg!(test) { 3 } else { 256 };

/// Cells of these arrays beside two for each table.
const LOOSE_ROWS_MAX: usize = 65_536;

/// What is kept of each relation.
#[derive(Default)]
pub(super) struct LastCache {
    relations: Mutex<HashMap<Suid, Arc<Mutex<Option<Kept>>>>>,
}

impl LastCache {
    fn of(&self, suid: Suid) -> Arc<Mutex<Option<Kept>>> {
        Arc::clone(self.relations.lock().entry(suid).or_default())
    }

    /// Forgets a relation.
    fn forget(&self, suid: Suid) {
        self.relations.lock().remove(&suid);
    }

    /// Forgets relations that are gone.
    fn retain(&self, keep: impl Fn(Suid) -> bool) {
        self.relations.lock().retain(|suid, _| keep(*suid));
    }
}

/// Newest rows and values of one relation, as of one view.
struct Kept {
    clock: u64,
    removals: (u64, u64),
    /// The first is [`NEWEST`].
    columns: Vec<Column>,
}

/// One aggregate by sid.
struct Column {
    of: Aggregate,
    /// The key of the row; means nothing where there is no cell.
    keys: Vec<i64>,
    /// Array and row of the cell.
    places: Vec<(u32, u32)>,
    arrays: Vec<ArrayRef>,
}

impl Column {
    fn new(of: Aggregate) -> Self {
        Self { of, keys: Vec::new(), places: Vec::new(), arrays: Vec::new() }
    }

    /// Whether the relation still has the column, with the type that it had.
    fn is_current(&self, rows: &RowsRequest) -> bool {
        let column = rows.relation.columns.iter().find(|column| column.id == self.of.column);
        let same = |column: &model::schema::Column| {
            let wanted = column.data_type.arrow(rows.precision);
            self.arrays.first().is_none_or(|array| *array.data_type() == wanted)
        };
        column.map_or(self.of.column == ColumnId::KEY, same)
    }

    /// The key of a table's row.
    fn key(&self, sid: u32) -> Option<i64> {
        let place = self.places.get(sid as usize)?;
        (place.0 != NOWHERE).then(|| self.keys[sid as usize])
    }

    /// Takes a newer row of each table, if it has one.
    fn take(&mut self, sids: &[u32], keys: &Int64Array, cells: &ArrayRef) {
        let array = self.arrays.len() as u32;
        for (row, sid) in sids.iter().enumerate().filter(|(row, _)| keys.is_valid(*row)) {
            let key = keys.value(row);
            if self.key(*sid).is_some_and(|known| known >= key) {
                continue;
            }
            let at = *sid as usize;
            if at >= self.places.len() {
                self.places.resize(at + 1, (NOWHERE, 0));
                self.keys.resize(at + 1, 0);
            }
            (self.keys[at], self.places[at]) = (key, (array, row as u32));
        }
        self.arrays.push(Arc::clone(cells));
        let held: usize = self.arrays.iter().map(|array| array.len()).sum();
        if self.arrays.len() > ARRAYS_MAX || held > 2 * self.places.len() + LOOSE_ROWS_MAX {
            let all: Vec<u32> = (0..self.places.len() as u32).collect();
            self.arrays = vec![self.cells(&all, i64::MIN)];
            for (at, place) in self.places.iter_mut().enumerate().filter(|(_, place)| place.0 != NOWHERE) {
                *place = (0, at as u32);
            }
        }
    }

    fn forget(&mut self, sid: u32) {
        if let Some(place) = self.places.get_mut(sid as usize) {
            *place = (NOWHERE, 0);
        }
    }

    /// The table whose row is the newest.
    fn newest(&self, sids: &[u32]) -> Option<u32> {
        sids.iter().copied().filter(|sid| self.key(*sid).is_some()).max_by_key(|sid| self.key(*sid))
    }

    /// The cells of some tables; NULL where there is none, or where it is older than `min`. At least one array is known.
    fn cells(&self, sids: &[u32], min: i64) -> ArrayRef {
        let null = new_null_array(self.arrays[0].data_type(), 1);
        let mut arrays: Vec<&dyn Array> = self.arrays.iter().map(|array| &**array).collect();
        arrays.push(&*null);
        let nowhere = (self.arrays.len(), 0);
        let of = |sid: &u32| match self.key(*sid) {
            Some(key) if key >= min => {
                let (array, row) = self.places[*sid as usize];
                (array as usize, row as usize)
            }
            _ => nowhere,
        };
        interleave(&arrays, &sids.iter().map(of).collect::<Vec<_>>()).expect("arrays of one column have one type")
    }
}

/// Whether the answer is made of newest rows and values only, of the kind that is kept.
fn qualifies(request: &AggregateRequest) -> bool {
    let rows = &request.rows;
    let known = |one: &Aggregate| match (one.function, rows.cachemodel) {
        (Function::LastRow, model) => matches!(model, CacheModel::LastRow | CacheModel::Both),
        (Function::Last, model) => matches!(model, CacheModel::LastValue | CacheModel::Both),
        _ => false,
    };
    request.last_cache
        && request.windows.is_none()
        && rows.conditions.is_empty()
        && rows.overlay.is_empty()
        && !request.aggregates.is_empty()
        && request.aggregates.iter().all(known)
}

impl Vnode {
    /// The answer from what is kept, brought up to date; None if that cannot answer.
    pub(super) fn kept_last(
        &self,
        prepared: &Prepared,
        request: &AggregateRequest,
    ) -> Result<Option<RecordBatch>, Halt> {
        let view = &prepared.view;
        if request.rows.cachemodel == CacheModel::None {
            self.last_cache.forget(view.suid);
        }
        // Of a few tables the rows are found sooner than all others are brought up to date.
        let few = prepared.series.few().is_some() && !cfg!(test);
        if few || !qualifies(request) {
            return Ok(None);
        }
        let slot = self.last_cache.of(view.suid);
        let mut slot = slot.lock();
        let kept = match slot.take() {
            Some(mut kept) if kept.removals == view.removals && kept.knows(request) => {
                if kept.clock < view.clock {
                    kept.catch_up(view, request)?;
                }
                kept
            }
            outdated => {
                let live = self.inner.read().state.relations();
                self.last_cache.retain(|suid| suid == view.suid || live.contains(&suid));
                Kept::build(view, request, outdated)?
            }
        };
        let answer = kept.answer(prepared, request);
        *slot = Some(kept);
        Ok(answer)
    }
}

impl Kept {
    /// Whether it has all that is asked for, and every column is still there with its type.
    fn knows(&self, request: &AggregateRequest) -> bool {
        let has = |one: &Aggregate| self.columns.iter().any(|column| column.of == *one);
        self.columns.iter().all(|column| column.is_current(&request.rows)) && request.aggregates.iter().all(has)
    }

    /// Reads everything: what is asked for, and what was kept so far.
    fn build(view: &View, request: &AggregateRequest, outdated: Option<Self>) -> Result<Self, Halt> {
        let before = outdated.into_iter().flat_map(|kept| kept.columns);
        let before = before.filter(|column| column.is_current(&request.rows)).map(|column| column.of);
        let mut columns = vec![Column::new(NEWEST)];
        for one in before.chain(request.aggregates.iter().copied()) {
            if columns.iter().all(|column| column.of != one) {
                columns.push(Column::new(one));
            }
        }
        let mut kept = Self { clock: view.clock, removals: view.removals, columns };
        kept.read(view, request, view.all_series(), TimeRange::ALL)?;
        Ok(kept)
    }

    /// Takes the newest rows of some tables in a range.
    fn read(
        &mut self,
        view: &View,
        request: &AggregateRequest,
        series: SeriesFilter,
        range: TimeRange,
    ) -> Result<(), Halt> {
        let prepared = Prepared { view: view.clone(), overlaid: Overlaid::default(), series };
        let rows = RowsRequest { series: Series::All, range, ..request.rows.clone() };
        let request = AggregateRequest {
            rows,
            series: vec![SeriesKey::TableName],
            aggregates: self.columns.iter().map(|column| column.of).collect(),
            ..request.clone()
        };
        let mut aggregation = Aggregation::start(prepared, request)?;
        while let Some((sids, states)) = aggregation.next_states()? {
            for (column, state) in self.columns.iter_mut().zip(states.chunks(2)) {
                column.take(&sids, state[0].as_primitive::<Int64Type>(), &state[1]);
            }
        }
        Ok(())
    }

    /// Takes in what was written between the view that was known and this one. Nothing was deleted in between.
    fn catch_up(&mut self, view: &View, request: &AggregateRequest) -> Result<(), Halt> {
        let mut changed = Changed::default();
        for chunk in &view.chunks {
            for row in (0..chunk.rows()).filter(|row| chunk.versions.get(*row) > self.clock) {
                let sid = chunk.sids[row];
                changed.note(sid, self.columns[0].key(sid), chunk.keys[row]);
            }
        }
        for run in view.runs.iter().filter(|run| run.header.version_max > self.clock) {
            for block in run.blocks(view.suid)?.iter().filter(|block| block.header.version_max > self.clock) {
                let header = &block.header;
                let first = if header.is_single_series() { header.key_min } else { i64::MIN };
                for series in &header.directory {
                    changed.note(series.sid.0, self.columns[0].key(series.sid.0), first);
                }
            }
        }
        let (mut whole, mut behind, mut from) = (Vec::new(), Vec::new(), i64::MAX);
        for (sid, append) in changed.tables {
            match append {
                Some(newest) => {
                    behind.push(sid);
                    from = from.min(newest.saturating_add(1));
                }
                None => {
                    self.columns.iter_mut().for_each(|column| column.forget(sid));
                    whole.push(sid);
                }
            }
        }
        for (sids, range) in [(whole, TimeRange::ALL), (behind, TimeRange { min: from, max: i64::MAX })] {
            if !sids.is_empty() {
                self.read(view, request, SeriesFilter::Set(sids.into()), range)?;
            }
        }
        self.clock = view.clock;
        Ok(())
    }

    /// One row per table; None if some newest row lies behind the range, so that older ones count.
    fn answer(&self, prepared: &Prepared, request: &AggregateRequest) -> Option<RecordBatch> {
        let TimeRange { min, max } = request.rows.range;
        let newest = &self.columns[0];
        let sids: Vec<u32> =
            prepared.sids().into_iter().filter(|sid| newest.key(*sid).is_some_and(|key| key >= min)).collect();
        if sids.iter().any(|sid| newest.key(*sid) > Some(max)) {
            return None;
        }
        let schema = request.schema();
        if sids.is_empty() {
            return Some(RecordBatch::new_empty(schema));
        }
        let (relation, tables) = (&request.rows.relation, prepared.tables());
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(schema.fields().len());
        for key in &request.series {
            columns.push(match key {
                SeriesKey::Tag(id) => tables.tags(&sids, *id, relation, request.rows.precision),
                SeriesKey::TableName => tables.names(&sids),
            });
        }
        let mut rows = sids.len();
        for one in &request.aggregates {
            let column = self.columns.iter().find(|column| column.of == *one)?;
            let mut sids = &sids[..];
            let newest;
            if request.series.is_empty() {
                // All tables are one group.
                newest = [column.newest(sids).unwrap_or(sids[0])];
                (sids, rows) = (&newest, 1);
            }
            let key = |sid: &u32| column.key(*sid).filter(|key| *key >= min);
            columns.push(Arc::new(sids.iter().map(key).collect::<Int64Array>()));
            let wanted = schema.field(columns.len()).data_type();
            // Its type may have become wider since.
            columns.push(as_type(&column.cells(sids, min), wanted));
        }
        Some(batch(&schema, columns, rows))
    }
}

/// Tables that were written to, each with its newest key that is known if all that is new lies behind it.
#[derive(Default)]
struct Changed {
    tables: BTreeMap<u32, Option<i64>>,
}

impl Changed {
    /// A row with this key, or none before it.
    fn note(&mut self, sid: u32, newest: Option<i64>, key: i64) {
        let append = newest.filter(|newest| key > *newest);
        let known = self.tables.entry(sid).or_insert(append);
        if append.is_none() {
            *known = None;
        }
    }
}
