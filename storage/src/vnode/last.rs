//! The newest row of each table, or the newest value of each column.
//!
//! For a few series their rows are read backwards until nothing is missing. For many, the rows of the newest bucket are
//! read forwards, and the older ones only for the series that it leaves open.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch};
use model::scan::{LastValuesRequest, Order, RowsRequest, Series};
use model::{Sid, TimeRange};

use crate::halt::Halt;
use crate::vnode::keys;
use crate::vnode::scan::{Prepared, Rows, RowsScan, batch};
use crate::vnode::segment::SeriesFilter;
use crate::vnode::{Batches, Vnode};

/// Up to this many series are read backwards one by one.
const FEW_SERIES: usize = if cfg!(test) { 2 } else { 64 };
/// Rows of the first step backwards; later ones are longer.
const FIRST_STEP: usize = 64;

impl Vnode {
    pub(super) fn last_values(&self, request: LastValuesRequest) -> Result<Batches, Halt> {
        let per_column = request.per_column;
        let mut rows = request.rows;
        rows.limit = None;
        rows.filters.clear();
        rows.conditions.clear();
        let prepared = self.prepare(&rows);
        if prepared.count() <= FEW_SERIES {
            let mut sids = prepared.sids().into_iter();
            let mut prepared = prepared;
            return Ok(Box::new(std::iter::from_fn(move || {
                loop {
                    let sid = sids.next()?;
                    match backwards(&mut prepared, &rows, sid, per_column) {
                        Ok(None) => {}
                        Ok(Some(row)) => return Some(Ok(row)),
                        Err(halt) => return Some(Err(halt)),
                    }
                }
            })));
        }
        rows.order = Order::SeriesTime;
        let split = self.newest_bucket(&prepared, rows.range);
        let newest = RowsRequest { range: TimeRange { min: split, ..rows.range }, ..rows.clone() };
        let whole = split == rows.range.min;
        let scan = RowsScan::start(&prepared, newest)?;
        let first = Forwards { scan, carry: None, per_column, settled_only: !whole, found: Vec::new(), done: false };
        let rest = (!whole).then_some((prepared, rows, split));
        Ok(Box::new(Many { pass: first, rest, failed: false }))
    }

    /// Where the newest bucket with rows in `range` starts, or the range itself.
    fn newest_bucket(&self, prepared: &Prepared, range: TimeRange) -> i64 {
        let view = &prepared.view;
        let runs = view.runs.iter().map(|run| run.header.key_range.max);
        let chunks = view.chunks.iter().chain(&prepared.overlaid.chunks).map(|chunk| chunk.key_range.max);
        let newest = runs.chain(chunks).max().unwrap_or(range.max).min(range.max);
        let bucket = keys::bucket_of(newest, self.options.duration_ticks);
        keys::bucket_range(bucket, self.options.duration_ticks).min.clamp(range.min, range.max)
    }
}

/// Two passes over many series: the newest bucket, then what it left open.
struct Many {
    pass: Forwards,
    /// What the second pass needs: the view, the request, and where the first pass began.
    rest: Option<(Prepared, RowsRequest, i64)>,
    failed: bool,
}

impl Many {
    fn step(&mut self) -> Result<Option<RecordBatch>, Halt> {
        if let Some(batch) = self.pass.step()? {
            return Ok(Some(batch));
        }
        let Some((mut prepared, mut rows, split)) = self.rest.take() else { return Ok(None) };
        let found: BTreeSet<u32> = std::mem::take(&mut self.pass.found).into_iter().collect();
        let open: Vec<u32> = prepared.sids().into_iter().filter(|sid| !found.contains(sid)).collect();
        prepared.series = SeriesFilter::Set(open.into());
        if !self.pass.per_column {
            rows.range.max = split.saturating_sub(1);
        }
        let per_column = self.pass.per_column;
        let scan = RowsScan::start(&prepared, rows)?;
        self.pass = Forwards { scan, carry: None, per_column, settled_only: false, found: Vec::new(), done: false };
        self.pass.step()
    }
}

impl Iterator for Many {
    type Item = Result<RecordBatch, Halt>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let step = self.step();
        self.failed = step.is_err();
        step.transpose()
    }
}

/// The newest row of one series, read from its end.
fn backwards(
    prepared: &mut Prepared,
    request: &RowsRequest,
    sid: u32,
    per_column: bool,
) -> Result<Option<RecordBatch>, Halt> {
    prepared.series = SeriesFilter::Set(Arc::from([sid]));
    let series = Series::Sids(Arc::from([Sid(sid)]));
    let mut scan = RowsScan::start(prepared, RowsRequest { order: Order::TimeDescending, series, ..request.clone() })?;
    scan.step_max = if per_column { FIRST_STEP } else { 1 };
    let Some(first) = scan.next().transpose()? else { return Ok(None) };
    let newest = first.batch.slice(0, 1);
    if !per_column {
        return Ok(Some(newest));
    }
    let mut columns: Vec<ArrayRef> = newest.columns().to_vec();
    let mut next = Some(first);
    while let Some(rows) = next {
        let mut missing = false;
        for (column, more) in columns.iter_mut().zip(rows.batch.columns()) {
            if column.is_null(0) {
                match (0..more.len()).find(|row| more.is_valid(*row)) {
                    Some(row) => *column = more.slice(row, 1),
                    None => missing = true,
                }
            }
        }
        if !missing {
            break;
        }
        scan.step_max = (scan.step_max * 4).min(crate::vnode::BATCH_ROWS_MAX);
        next = scan.next().transpose()?;
    }
    Ok(Some(batch(&newest.schema(), columns, 1)))
}

/// Reads rows once, by series, and keeps the last one of each.
struct Forwards {
    scan: RowsScan,
    /// The series of the last row and what is known of its newest row.
    carry: Option<(u32, RecordBatch)>,
    per_column: bool,
    /// Leave out series of which older rows might say more.
    settled_only: bool,
    /// The series that were answered.
    found: Vec<u32>,
    done: bool,
}

impl Forwards {
    fn step(&mut self) -> Result<Option<RecordBatch>, Halt> {
        while !self.done {
            let mut finished: Vec<RecordBatch> = Vec::new();
            match self.scan.next().transpose()? {
                Some(rows) => self.take_in(&rows, &mut finished),
                None => {
                    self.done = true;
                    if let Some((sid, row)) = self.carry.take() {
                        self.finish(sid, row, &mut finished);
                    }
                }
            }
            if let Some(first) = finished.first() {
                let all = arrow::compute::concat_batches(&first.schema(), &finished).expect("all rows have one schema");
                return Ok(Some(all));
            }
        }
        Ok(None)
    }

    fn take_in(&mut self, rows: &Rows, finished: &mut Vec<RecordBatch>) {
        let mut start = 0;
        while start < rows.sids.len() {
            let sid = rows.sids[start];
            let end = start + rows.sids[start..].partition_point(|other| *other == sid);
            let group = rows.batch.slice(start, end - start);
            let before = match self.carry.take() {
                Some((of, row)) if of == sid => Some(row),
                Some((of, row)) => {
                    self.finish(of, row, finished);
                    None
                }
                None => None,
            };
            self.carry = Some((sid, self.newest(&group, before)));
            start = end;
        }
    }

    fn finish(&mut self, sid: u32, row: RecordBatch, finished: &mut Vec<RecordBatch>) {
        let open = self.per_column && row.columns().iter().any(|column| column.is_null(0));
        if !(self.settled_only && open) {
            self.found.push(sid);
            finished.push(row);
        }
    }

    /// The newest row of a series, given more rows behind what is known.
    fn newest(&self, group: &RecordBatch, before: Option<RecordBatch>) -> RecordBatch {
        let last = group.num_rows() - 1;
        if !self.per_column {
            return group.slice(last, 1);
        }
        let columns = group.columns().iter().enumerate().map(|(at, column)| {
            match (0..=last).rev().find(|row| column.is_valid(*row)) {
                Some(row) => column.slice(row, 1),
                None => before.as_ref().map_or_else(|| column.slice(last, 1), |before| Arc::clone(before.column(at))),
            }
        });
        batch(&group.schema(), columns.collect(), 1)
    }
}
