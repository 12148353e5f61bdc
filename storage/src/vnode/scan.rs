//! Answers scan requests.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, PrimitiveArray, RecordBatch, RecordBatchOptions, StringArray, UInt32Array};
use arrow::datatypes::{Int64Type, SchemaRef};
use model::scan::{Order, Output, RowsRequest, ScanRequest, Series, StatisticsRequest, TagsRequest, statistics_schema};
use model::schema::Relation;
use model::{ColumnId, Precision, TimeRange};

use crate::halt::Halt;
use crate::vnode::assemble::per_series;
use crate::vnode::decide::Conditions;
use crate::vnode::memtable::cell_bytes;
use crate::vnode::merge::{Picks, SeriesMerge};
use crate::vnode::overlay::{self, Overlaid};
use crate::vnode::registry::{self, Known, Part, SeriesList};
use crate::vnode::segment::{SeriesFilter, Wanted, WantedColumn};
use crate::vnode::time_merge::TimeMerge;
use crate::vnode::tombstones::Tombstones;
use crate::vnode::values::array_of;
use crate::vnode::view::View;
use crate::vnode::{BATCH_ROWS_MAX, Batches, Vnode};

/// Bytes of a batch, about: wide rows come in smaller batches.
const BATCH_BYTES: usize = 32 << 20;
/// Rows of a batch, however wide they are.
const BATCH_ROWS_MIN: usize = 64;
/// Rows that are looked at for a batch of those that satisfy the conditions: between batches a scan can be stopped.
const LOOK_ROWS: usize = if cfg!(test) { 50 } else { 1 << 18 };
/// Blocks that a scan by time reads in vain before it can be stopped.
const LOOK_BLOCKS: usize = if cfg!(test) { 3 } else { 256 };
/// Rows of the first batch, before it is known how wide they are.
const FIRST_BATCH_ROWS: usize = 1024;

impl Vnode {
    pub(super) fn scan_now(&self, request: ScanRequest) -> Result<Batches, Halt> {
        let batches: Batches = match request {
            ScanRequest::Rows(request) => Box::new(self.rows(request)?.map(|rows| Ok(rows?.batch))),
            ScanRequest::Tags(request) => Box::new(self.tags(request)),
            ScanRequest::LastValues(request) => self.last_values(request)?,
            ScanRequest::Statistics(request) => Box::new(std::iter::once(Ok(self.statistics(&request)))),
            ScanRequest::Aggregate(request) => self.aggregate(request)?,
        };
        Ok(Box::new(Held { batches, _vnode: self.me.upgrade() }))
    }

    /// Starts a scan of rows.
    pub(super) fn rows(&self, request: RowsRequest) -> Result<RowsScan, Halt> {
        let prepared = self.prepare(&request);
        RowsScan::start(&prepared, request)
    }

    /// Takes a view for a request, with its overlay and the series that it asks for.
    pub(super) fn prepare(&self, request: &RowsRequest) -> Prepared {
        let suid = request.relation.suid;
        let mut names = overlay::names(&request.overlay, suid);
        let of_overlay = names.len();
        if let Series::Named(list) = &request.series {
            names.extend(list.iter().map(String::as_str));
        }
        let (view, named) = self.view_and(suid, &names);
        let is_ours = |name: &str| self.options.owns(name);
        let overlaid = overlay::build(&view, &request.overlay, &named[..of_overlay], &is_ours);
        let series = match &request.series {
            Series::All => match view.all_series() {
                SeriesFilter::Set(sids) if !overlaid.tables.is_empty() => {
                    let more = overlaid.tables.iter().map(|table| table.sid);
                    SeriesFilter::Set(sids.iter().copied().chain(more).collect())
                }
                all => all,
            },
            Series::Sids(sids) => {
                let places = view.list.places(sids);
                let known = places.flat_map(|(part, places)| places.into_iter().map(|at| part.sids()[at as usize]));
                let known: Vec<u32> = known.collect();
                let all = known.len() == view.list.len() && overlaid.tables.is_empty();
                if all { view.all_series() } else { SeriesFilter::Set(known.into()) }
            }
            Series::Named(list) => {
                let stored = named[of_overlay..].iter().flatten().filter(|series| series.suid == suid);
                let held = overlaid.tables.iter().filter(|table| list.iter().any(|name| **name == *table.name));
                let mut sids: Vec<u32> = stored.chain(held).map(|series| series.sid).collect();
                sids.sort_unstable();
                sids.dedup();
                SeriesFilter::Set(sids.into())
            }
        };
        Prepared { view, overlaid, series }
    }

    fn tags(&self, request: TagsRequest) -> impl Iterator<Item = Result<RecordBatch, Halt>> + Send + use<> {
        let suid = request.relation.suid;
        let names: Vec<&str> = match &request.series {
            Series::Named(names) => names.iter().map(String::as_str).collect(),
            _ => Vec::new(),
        };
        let (view, named) = self.view_and(suid, &names);
        let mut pieces: Vec<TagsPiece> = match &request.series {
            Series::All => view.list.parts().iter().cloned().map(TagsPiece::Whole).collect(),
            Series::Sids(sids) => view.list.places(sids).map(|(part, places)| TagsPiece::some(part, places)).collect(),
            Series::Named(_) => {
                let mut tables: Vec<_> = named.into_iter().flatten().filter(|series| series.suid == suid).collect();
                tables.sort_by_key(|series| series.sid);
                tables.dedup_by_key(|series| series.sid);
                tables.chunks(BATCH_ROWS_MAX).map(|some| TagsPiece::Few(some.to_vec())).collect()
            }
        };
        let schema = request.schema();
        let mut columns = vec![Known::Sid];
        if !request.bare {
            columns.extend([Known::Name, Known::Uid, Known::Created]);
        }
        let tags = request.tags.iter().filter_map(|id| request.relation.tags.iter().find(|tag| tag.id == *id));
        columns.extend(tags.map(|tag| Known::Tag(tag.id, tag.data_type, request.precision)));
        pieces.reverse();
        std::iter::from_fn(move || {
            let piece = pieces.pop()?;
            let arrays: Vec<ArrayRef> = columns.iter().map(|known| piece.column(known)).collect();
            Some(Ok(batch(&schema, arrays, piece.len())))
        })
    }

    /// Counts what is stored.
    fn statistics(&self, request: &StatisticsRequest) -> RecordBatch {
        let view = self.view(request.relation.suid);
        let stored = view.runs.iter().flat_map(|run| &run.header.relations).filter(|(suid, ..)| *suid == view.suid);
        let (rows, bytes) = stored.fold((0, 0), |(rows, bytes), (_, r, b)| (rows + r, bytes + b));
        let rows = rows + view.chunks.iter().map(|chunk| chunk.rows() as u64).sum::<u64>();
        let one = |number: u64| Arc::new(Int64Array::from(vec![number as i64])) as ArrayRef;
        batch(&statistics_schema(), vec![one(view.list.len() as u64), one(rows), one(bytes)], 1)
    }
}

/// A scan keeps its vnode, so that whoever waits for the last reference to it waits for the scan too.
struct Held {
    batches: Batches,
    /// Behind the batches, so that it is dropped after them.
    _vnode: Option<Arc<Vnode>>,
}

impl Iterator for Held {
    type Item = Result<RecordBatch, Halt>;

    fn next(&mut self) -> Option<Self::Item> {
        self.batches.next()
    }
}

/// A request with its view.
pub(super) struct Prepared {
    pub(super) view: View,
    pub(super) overlaid: Overlaid,
    pub(super) series: SeriesFilter,
}

impl Prepared {
    /// How many series are asked for.
    pub(super) fn count(&self) -> usize {
        match &self.series {
            SeriesFilter::All => self.view.list.len() + self.overlaid.tables.len(),
            SeriesFilter::Set(sids) => sids.len(),
        }
    }

    /// All deletes that hide rows: those that are stored and those that a transaction holds.
    pub(super) fn tombstones(&self) -> Vec<Arc<Tombstones>> {
        let mut tombstones = self.view.tombstones.clone();
        if !self.overlaid.tombstones.is_empty() {
            tombstones.push(Arc::new(self.overlaid.tombstones.clone()));
        }
        tombstones
    }

    /// All tables that rows may belong to.
    pub(super) fn tables(&self) -> Tables {
        Tables { stored: self.view.list.clone(), held: self.overlaid.tables.clone() }
    }

    /// The series that are asked for, ascending.
    pub(super) fn sids(&self) -> Vec<u32> {
        match &self.series {
            SeriesFilter::All => {
                let mut sids = self.view.list.sids();
                sids.extend(self.overlaid.tables.iter().map(|series| series.sid));
                sids
            }
            SeriesFilter::Set(sids) => sids.to_vec(),
        }
    }
}

/// A scan of rows under way.
pub(super) struct RowsScan {
    merge: Merge,
    output: Vec<Output>,
    wanted: Arc<Wanted>,
    conditions: Arc<Conditions>,
    schema: SchemaRef,
    tables: Tables,
    relation: Arc<model::schema::Relation>,
    precision: Precision,
    left: usize,
    /// Most rows of the next batch.
    step: usize,
    /// Most rows of a batch, if they are narrow.
    pub(super) step_max: usize,
    failed: bool,
}

/// Rows of a scan: none where much was looked at in vain.
pub(super) struct Rows {
    pub(super) batch: RecordBatch,
    pub(super) sids: Vec<u32>,
}

enum Merge {
    Series(SeriesMerge),
    Time(TimeMerge),
}

/// Whose rows they are.
pub(super) struct Tables {
    stored: SeriesList,
    held: Vec<Arc<registry::Series>>,
}

impl Tables {
    fn get(&self, sid: u32) -> Option<&Arc<registry::Series>> {
        self.stored.get(sid).or_else(|| self.held.iter().find(|series| series.sid == sid))
    }

    /// A tag of the table of each row.
    pub(super) fn tags(&self, sids: &[u32], id: ColumnId, relation: &Relation, precision: Precision) -> ArrayRef {
        per_series(sids, |distinct| {
            let tag = relation.tags.iter().find(|tag| tag.id == id).expect("the schema has checked it");
            let null = model::Value::Null;
            let value = |sid: &u32| self.get(*sid).map_or(&null, |series| series.tag(id));
            array_of(tag.data_type, precision, distinct.iter().map(value))
        })
    }

    /// The name of the table of each row.
    pub(super) fn names(&self, sids: &[u32]) -> ArrayRef {
        per_series(sids, |distinct| {
            let name = |sid: &u32| self.get(*sid).map_or("", |series| &*series.name);
            Arc::new(StringArray::from_iter_values(distinct.iter().map(name)))
        })
    }
}

impl RowsScan {
    pub(super) fn start(prepared: &Prepared, request: RowsRequest) -> Result<Self, Halt> {
        let mut columns: Vec<WantedColumn> = Vec::new();
        for output in &request.output {
            if let Output::Column(id) = output
                && *id != ColumnId::KEY
                && let Some(column) = request.relation.columns.iter().find(|column| column.id == *id)
                && !columns.iter().any(|want| want.id == *id)
            {
                columns.push(WantedColumn::new(*id, column.data_type, request.precision));
            }
        }
        let conditions = Arc::new(Conditions::new(&request, &mut columns));
        let (series, tombstones) = (prepared.series.clone(), prepared.tombstones());
        let wanted = Arc::new(Wanted { columns, series, range: request.range, tombstones });
        // A limit counts rows before filters, so blocks may not be left out by them.
        let filters = if request.limit.is_some() { &[][..] } else { &request.filters[..] };
        let merge = start_merge(prepared, &wanted, filters, &conditions, request.order)?;
        Ok(Self {
            merge,
            schema: request.schema(),
            output: request.output,
            wanted,
            conditions,
            tables: prepared.tables(),
            relation: request.relation,
            precision: request.precision,
            left: request.limit.unwrap_or(usize::MAX),
            step: FIRST_BATCH_ROWS,
            step_max: BATCH_ROWS_MAX,
            failed: false,
        })
    }

    fn next_rows(&mut self) -> Result<Option<Rows>, Halt> {
        let most = self.left.min(self.step).min(self.step_max);
        if most == 0 {
            return Ok(None);
        }
        let mut looked = 0;
        let picks = loop {
            let mut picks = match &mut self.merge {
                Merge::Series(merge) => merge.next(most)?,
                Merge::Time(merge) => merge.next(most)?,
            };
            if picks.rows == 0 && !picks.paused {
                return Ok(None);
            }
            looked += picks.rows;
            self.decide(&mut picks);
            if picks.rows > 0 || picks.paused || looked >= LOOK_ROWS {
                break picks;
            }
        };
        self.left -= picks.rows;
        let rows = self.assemble(&picks);
        let bytes: usize = rows.batch.columns().iter().map(cell_bytes).sum();
        if let Some(width) = bytes.checked_div(picks.rows) {
            self.step = self.step_max.min(BATCH_BYTES / width.max(1)).max(BATCH_ROWS_MIN);
        }
        Ok(Some(rows))
    }

    /// Leaves out the rows that fail a condition, unless that was done where they were read.
    fn decide(&self, picks: &mut Picks) {
        if self.conditions.is_empty() || picks.segments.iter().all(|segment| segment.decided) {
            return;
        }
        let cells = |at: usize| picks.column(at, &self.wanted.columns[at]).values;
        let mask = self.conditions.mask(&self.wanted, picks.rows, cells);
        picks.retain(&mask);
    }

    fn assemble(&self, picks: &Picks) -> Rows {
        let sids = picks.sids();
        let columns = self.output.iter().map(|output| self.column(*output, picks, &sids)).collect();
        Rows { batch: batch(&self.schema, columns, picks.rows), sids }
    }

    fn column(&self, output: Output, picks: &Picks, sids: &[u32]) -> ArrayRef {
        match output {
            Output::Column(ColumnId::KEY) => key_array(picks.keys(), &self.relation, self.precision),
            Output::Column(id) => match self.wanted.columns.iter().position(|want| want.id == id) {
                Some(at) => picks.column(at, &self.wanted.columns[at]).values,
                None => panic!("{} has no column {id}", self.relation.name),
            },
            Output::Tag(id) => self.tables.tags(sids, id, &self.relation, self.precision),
            Output::TableName => self.tables.names(sids),
            Output::Sid => Arc::new(UInt32Array::from(sids.to_vec())),
        }
    }
}

impl Iterator for RowsScan {
    type Item = Result<Rows, Halt>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let next = self.next_rows();
        self.failed = next.is_err();
        next.transpose()
    }
}

fn start_merge(
    prepared: &Prepared,
    wanted: &Arc<Wanted>,
    filters: &[model::scan::ColumnFilter],
    conditions: &Arc<Conditions>,
    order: Order,
) -> Result<Merge, Halt> {
    let more = &prepared.overlaid.chunks;
    let empty =
        TimeRange::is_empty(wanted.range) || matches!(&wanted.series, SeriesFilter::Set(sids) if sids.is_empty());
    if empty {
        return Ok(Merge::Series(SeriesMerge::new(Vec::new())));
    }
    let by_series = match order {
        Order::Any | Order::SeriesTime => true,
        // Of one series both orders are the same.
        Order::TimeAscending => wanted.series.single().is_some(),
        Order::TimeDescending => false,
    };
    if by_series {
        let sources = prepared.view.deciding_sources(wanted, filters, conditions, more)?;
        return Ok(Merge::Series(SeriesMerge::new(sources)));
    }
    let descending = order == Order::TimeDescending;
    let pieces = prepared.view.pieces(wanted, filters, conditions, more, descending)?;
    let pause = if conditions.is_empty() { 0 } else { LOOK_BLOCKS };
    Ok(Merge::Time(TimeMerge::new(pieces, descending).pausing(pause)))
}

/// Keys as the relation's first column has them, or as row ids.
fn key_array(keys: Vec<i64>, relation: &model::schema::Relation, precision: Precision) -> ArrayRef {
    let keys = PrimitiveArray::<Int64Type>::from(keys);
    match relation.columns.iter().find(|column| column.id == ColumnId::KEY) {
        Some(column) => arrow::compute::cast(&keys, &column.data_type.arrow(precision))
            .expect("a key is a timestamp, which is an integer"),
        None => Arc::new(keys),
    }
}

/// A batch that may have no columns.
pub(super) fn batch(schema: &SchemaRef, columns: Vec<ArrayRef>, rows: usize) -> RecordBatch {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options).expect("columns are made for the schema")
}

/// Tables that make one batch of a read of tags.
enum TagsPiece {
    Whole(Arc<Part>),
    /// Those at some places.
    Some(Arc<Part>, UInt32Array),
    Few(Vec<Arc<registry::Series>>),
}

impl TagsPiece {
    /// The tables at some places of a part, by its columns unless they are few: these may have to be made first.
    fn some(part: &Arc<Part>, places: Vec<u32>) -> Self {
        if places.len() == part.sids().len() {
            Self::Whole(Arc::clone(part))
        } else if places.len() * 16 < part.sids().len() {
            Self::Few(places.iter().map(|place| Arc::clone(&part.series()[*place as usize])).collect())
        } else {
            Self::Some(Arc::clone(part), places.into())
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Whole(part) => part.sids().len(),
            Self::Some(_, places) => places.len(),
            Self::Few(tables) => tables.len(),
        }
    }

    fn column(&self, known: &Known) -> ArrayRef {
        match self {
            Self::Whole(part) => part.column(known),
            Self::Some(part, places) => {
                arrow::compute::take(&part.column(known), places, None).expect("places are inside the part")
            }
            Self::Few(tables) => known.column(tables),
        }
    }
}
