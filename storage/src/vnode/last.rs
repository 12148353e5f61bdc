//! The newest row of each table, or the newest value of each column.
//!
//! For a few series their rows are read backwards until nothing is missing. For many, all rows are read forwards once.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch};
use model::Sid;
use model::scan::{LastValuesRequest, Order, RowsRequest, Series};

use crate::halt::Halt;
use crate::vnode::scan::{Prepared, RowsScan, batch};
use crate::vnode::segment::SeriesFilter;
use crate::vnode::{Batches, Vnode};

/// Up to this many series are read backwards one by one.
const FEW_SERIES: usize = 64;
/// Rows of the first step backwards; later ones are longer.
const FIRST_STEP: usize = 64;

impl Vnode {
    pub(super) fn last_values(&self, request: LastValuesRequest) -> Result<Batches, Halt> {
        let per_column = request.per_column;
        let mut rows = request.rows;
        rows.limit = None;
        rows.filters.clear();
        let prepared = self.prepare(&rows);
        let few: Option<Vec<u32>> = match &prepared.series {
            SeriesFilter::Set(sids) if sids.len() <= FEW_SERIES => Some(sids.to_vec()),
            SeriesFilter::All if prepared.view.list.len() + prepared.overlaid.tables.len() <= FEW_SERIES => {
                let stored = prepared.view.list.iter().map(|series| series.sid);
                Some(stored.chain(prepared.overlaid.tables.iter().map(|series| series.sid)).collect())
            }
            _ => None,
        };
        if let Some(sids) = few {
            let mut sids = sids.into_iter();
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
        let scan = RowsScan::start(&prepared, rows)?;
        Ok(Box::new(Forwards { scan, carry: None, per_column, done: false }))
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
    scan.step = if per_column { FIRST_STEP } else { 1 };
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
        scan.step = (scan.step * 4).min(crate::vnode::BATCH_ROWS_MAX);
        next = scan.next().transpose()?;
    }
    Ok(Some(batch(&newest.schema(), columns, 1)))
}

/// Reads all rows once, by series, and keeps the last one of each.
struct Forwards {
    scan: RowsScan,
    /// The series of the last row and what is known of its newest row.
    carry: Option<(u32, RecordBatch)>,
    per_column: bool,
    done: bool,
}

impl Forwards {
    fn step(&mut self) -> Result<Option<RecordBatch>, Halt> {
        while !self.done {
            let Some(rows) = self.scan.next().transpose()? else {
                self.done = true;
                return Ok(self.carry.take().map(|(_, row)| row));
            };
            let mut finished: Vec<RecordBatch> = Vec::new();
            let mut start = 0;
            while start < rows.sids.len() {
                let sid = rows.sids[start];
                let end = start + rows.sids[start..].partition_point(|other| *other == sid);
                let group = rows.batch.slice(start, end - start);
                let before = self.carry.take().and_then(|(of, row)| {
                    if of == sid {
                        return Some(row);
                    }
                    finished.push(row);
                    None
                });
                self.carry = Some((sid, self.newest(&group, before)));
                start = end;
            }
            if !finished.is_empty() {
                let schema = rows.batch.schema();
                let all = arrow::compute::concat_batches(&schema, &finished).expect("all rows have one schema");
                return Ok(Some(all));
            }
        }
        Ok(None)
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

impl Iterator for Forwards {
    type Item = Result<RecordBatch, Halt>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = self.step();
        self.done |= step.is_err();
        step.transpose()
    }
}
