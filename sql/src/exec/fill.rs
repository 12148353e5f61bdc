//! FILL: the windows that a range of time has and the data lacks.
//!
//! The input is sorted by partition and window start; one partition is held at a time. Start reading at
//! [`Filling::fill`].

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, RecordBatch, UInt64Array,
};
use datafusion::arrow::compute::kernels::zip::zip;
use datafusion::arrow::compute::{cast, concat, concat_batches, partition, take};
use datafusion::arrow::datatypes::{DataType, Float64Type, Int64Type, SchemaRef};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, ScalarValue};
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{
    Distribution, EquivalenceProperties, LexOrdering, OrderingRequirements, PhysicalExpr, PhysicalSortExpr,
};
use datafusion::physical_plan::distribution_requirements::InputDistributionRequirements;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties, SendableRecordBatchStream,
};
use futures::StreamExt;
use model::{TimeRange, error};

use crate::exec::held::cell_bytes;
use crate::functions::grid::Windows;
use crate::parser::markers::FillMode;
use crate::plan::error::to_datafusion;

/// Windows that one partition may have with FILL, at most.
pub const FILLED_ROWS_MAX: usize = 10_000_000;

/// How windows are filled.
#[derive(Clone, Debug)]
pub struct Filling {
    /// The grid.
    pub windows: Windows,
    /// With what.
    pub mode: FillMode,
    /// One value per filled column, of its type: VALUE only, NULL otherwise.
    pub values: Vec<ScalarValue>,
    /// The time of the query, both ends inside.
    pub range: TimeRange,
    /// Columns of the partition, after the start.
    pub groups: usize,
}

impl Filling {
    /// The starts of all windows of the range.
    fn grid(&self) -> Result<Vec<i64>> {
        let outside = || to_datafusion(error!(DatetimeFieldOverflow, "the time of FILL is outside the calendar"));
        let mut grid = Vec::new();
        if self.range.is_empty() {
            return Ok(grid);
        }
        let too_many = || {
            let error = error!(ConfigurationLimitExceeded, "FILL would give more than {FILLED_ROWS_MAX} rows");
            to_datafusion(error.with_hint("narrow the range of time or widen the INTERVAL"))
        };
        let mut start = self.windows.first(self.range.min).ok_or_else(outside)?;
        let span = i128::from(self.range.max) - i128::from(start);
        if self.windows.fixed_step().is_some_and(|step| span / i128::from(step) >= FILLED_ROWS_MAX as i128) {
            return Err(too_many());
        }
        while start <= self.range.max {
            if grid.len() == FILLED_ROWS_MAX {
                return Err(too_many());
            }
            grid.push(start);
            start = self.windows.next(start).ok_or_else(outside)?;
        }
        Ok(grid)
    }

    fn is_forced(&self) -> bool {
        matches!(self.mode, FillMode::NullForced | FillMode::ValueForced)
    }

    /// One partition with every window of the grid; `rows` has the ones with data, ascending.
    fn fill(&self, rows: &RecordBatch, grid: &[i64], schema: &SchemaRef) -> Result<RecordBatch> {
        let starts = cast(rows.column(0), &DataType::Int64)?;
        let starts = starts.as_primitive::<Int64Type>().values();
        let (ticks, source) = merge(grid, starts);
        let mut columns: Vec<ArrayRef> = vec![cast(&Int64Array::from(ticks.clone()), schema.field(0).data_type())?];
        let first = UInt64Array::from(vec![0; ticks.len()]);
        for at in 1..=self.groups {
            columns.push(take(rows.column(at), &first, None)?);
        }
        for (column, value) in rows.columns()[1 + self.groups..].iter().zip(&self.values) {
            columns.push(self.column(column, value, &source, &ticks)?);
        }
        Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
    }

    /// Every window of the grid without any data.
    fn empty(&self, grid: &[i64], schema: &SchemaRef) -> Result<RecordBatch> {
        let mut columns: Vec<ArrayRef> = vec![cast(&Int64Array::from(grid.to_vec()), schema.field(0).data_type())?];
        for value in &self.values {
            columns.push(value.to_array_of_size(grid.len())?);
        }
        Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
    }

    /// One filled column. `source` says for each window its row, if it has data.
    fn column(
        &self,
        column: &ArrayRef,
        value: &ScalarValue,
        source: &[Option<u64>],
        ticks: &[i64],
    ) -> Result<ArrayRef> {
        match self.mode {
            FillMode::Prev => Ok(take(column, &neighbours(column, source.iter().copied()), None)?),
            FillMode::Next => {
                let mut back: Vec<Option<u64>> = neighbours(column, source.iter().rev().copied()).iter().collect();
                back.reverse();
                Ok(take(column, &UInt64Array::from(back), None)?)
            }
            FillMode::Value | FillMode::ValueForced => {
                let with_value = concat(&[column.as_ref(), value.to_array_of_size(1)?.as_ref()])?;
                let last = column.len() as u64;
                let indices: UInt64Array = source.iter().map(|row| Some(row.unwrap_or(last))).collect();
                Ok(take(&with_value, &indices, None)?)
            }
            FillMode::Linear if column.data_type().is_numeric() => linear(column, source, ticks),
            _ => Ok(take(column, &UInt64Array::from(source.to_vec()), None)?),
        }
    }
}

/// Grid and data in one ascending row, with the row of the data.
fn merge(grid: &[i64], starts: &[i64]) -> (Vec<i64>, Vec<Option<u64>>) {
    let mut ticks = Vec::with_capacity(grid.len());
    let mut source = Vec::with_capacity(grid.len());
    let mut row = 0;
    for point in grid {
        while row < starts.len() && starts[row] < *point {
            ticks.push(starts[row]);
            source.push(Some(row as u64));
            row += 1;
        }
        ticks.push(*point);
        if row < starts.len() && starts[row] == *point {
            source.push(Some(row as u64));
            row += 1;
        } else {
            source.push(None);
        }
    }
    for (row, start) in starts.iter().enumerate().skip(row) {
        ticks.push(*start);
        source.push(Some(row as u64));
    }
    (ticks, source)
}

/// For each window its own row, or the last one before it (in the order given) whose value is not null.
fn neighbours(column: &ArrayRef, source: impl Iterator<Item = Option<u64>>) -> UInt64Array {
    let mut known = None;
    let pick = |row: Option<u64>| match row {
        Some(row) => {
            if column.is_valid(usize::try_from(row).unwrap_or(usize::MAX)) {
                known = Some(row);
            }
            Some(row)
        }
        None => known,
    };
    source.map(pick).collect()
}

/// Straight lines between the nearest values that are not null; NULL where one side has none.
fn linear(column: &ArrayRef, source: &[Option<u64>], ticks: &[i64]) -> Result<ArrayRef> {
    let values = cast(column, &DataType::Float64)?;
    let values = values.as_primitive::<Float64Type>();
    let at = |row: Option<u64>| {
        let row = usize::try_from(row?).ok()?;
        values.is_valid(row).then(|| values.value(row))
    };
    let mut lines: Vec<Option<f64>> = vec![None; source.len()];
    let mut left: Option<(usize, f64)> = None;
    for (point, row) in source.iter().enumerate() {
        let Some(value) = at(*row) else { continue };
        if let Some((from, before)) = left {
            let span = (ticks[point] - ticks[from]) as f64;
            for (line, tick) in lines[from + 1..point].iter_mut().zip(&ticks[from + 1..point]) {
                *line = Some(before + (value - before) * ((tick - ticks[from]) as f64 / span));
            }
        }
        left = Some((point, value));
    }
    let lines = cast(&Float64Array::from(lines), column.data_type())?;
    let own = take(column, &UInt64Array::from(source.to_vec()), None)?;
    let has_row: BooleanArray = source.iter().map(|row| Some(row.is_some())).collect();
    Ok(zip(&has_row, &own, &lines)?)
}

/// The operator.
#[derive(Debug)]
pub struct FillExec {
    input: Arc<dyn ExecutionPlan>,
    filling: Filling,
    order: LexOrdering,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl FillExec {
    /// FILL over `input`: the window's start, the partition, the filled columns. `schema` is the same with nullable ones.
    ///
    /// # Errors
    ///
    /// If the input has no columns.
    pub fn try_new(input: Arc<dyn ExecutionPlan>, schema: SchemaRef, filling: Filling) -> Result<Self> {
        let column = |at: usize| {
            let expr: Arc<dyn PhysicalExpr> = Arc::new(Column::new(schema.field(at).name(), at));
            PhysicalSortExpr::new_default(expr)
        };
        let sort: Vec<PhysicalSortExpr> = (1..=filling.groups).chain([0]).map(column).collect();
        let order = LexOrdering::new(sort.clone());
        let order = order.ok_or_else(|| to_datafusion(model::Error::internal("FILL without a start")))?;
        let properties = PlanProperties::new(
            EquivalenceProperties::new_with_orderings(schema, [sort]),
            input.output_partitioning().clone(),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        let properties = Arc::new(properties);
        Ok(Self { input, filling, order, properties, metrics: ExecutionPlanMetricsSet::new() })
    }

    fn keys(&self) -> Vec<Arc<dyn PhysicalExpr>> {
        self.order.iter().take(self.filling.groups).map(|sort| Arc::clone(&sort.expr)).collect()
    }
}

impl DisplayAs for FillExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TimeRange { min, max } = self.filling.range;
        write!(f, "FillExec: mode={:?}, range=[{min}, {max}]", self.filling.mode)
    }
}

impl ExecutionPlan for FillExec {
    fn name(&self) -> &'static str {
        "FillExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn input_distribution_requirements(&self) -> InputDistributionRequirements {
        InputDistributionRequirements::new(vec![match self.filling.groups {
            0 => Distribution::SinglePartition,
            _ => Distribution::KeyPartitioned(self.keys()),
        }])
    }

    fn required_input_ordering(&self) -> Vec<Option<OrderingRequirements>> {
        vec![Some(OrderingRequirements::from(self.order.clone()))]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, mut children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        let input = children.pop().ok_or_else(|| to_datafusion(model::Error::internal("FILL without an input")))?;
        Ok(Arc::new(Self::try_new(input, self.schema(), self.filling.clone())?))
    }

    fn execute(&self, at: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let schema = self.schema();
        let baseline = BaselineMetrics::new(&self.metrics, at);
        let rows = context.session_config().batch_size();
        let reserved = MemoryConsumer::new("FILL").register(context.memory_pool());
        let work = Work {
            reserved,
            input: self.input.execute(at, context)?,
            filling: self.filling.clone(),
            grid: None,
            held: Vec::new(),
            ready: Vec::new(),
            schema: Arc::clone(&schema),
            any: false,
            done: false,
            rows,
        };
        let batches = futures::stream::unfold(work, |mut work| async move {
            let batch = work.next().await.transpose()?;
            Some((batch, work))
        });
        let batches = batches.inspect(move |batch| {
            if let Ok(batch) = batch {
                baseline.record_output(batch.num_rows());
            }
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, batches)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}

/// One partition of the operator at work.
struct Work {
    /// For the partition that is held, the grid, and the partition that was filled last.
    reserved: MemoryReservation,
    input: SendableRecordBatchStream,
    filling: Filling,
    grid: Option<Vec<i64>>,
    /// Rows of the partition that may go on.
    held: Vec<RecordBatch>,
    /// Filled batches that wait to be taken, the last one first.
    ready: Vec<RecordBatch>,
    schema: SchemaRef,
    any: bool,
    done: bool,
    /// Rows in a batch.
    rows: usize,
}

impl Work {
    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(batch) = self.ready.pop() {
                return Ok(Some(batch));
            }
            if self.done {
                return Ok(None);
            }
            match self.input.next().await {
                Some(batch) => self.take(&batch?)?,
                None => {
                    self.done = true;
                    self.flush()?;
                    if !self.any && self.filling.groups == 0 && self.filling.is_forced() {
                        let batch = self.filling.empty(&self.filling.grid()?, &self.schema)?;
                        self.give(&batch);
                    }
                }
            }
        }
    }

    /// Takes sorted rows in; every partition that ends in them is filled.
    fn take(&mut self, batch: &RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        self.any = true;
        if self.filling.groups == 0 {
            self.reserved.try_grow(cell_bytes(batch))?;
            self.held.push(batch.clone());
            return Ok(());
        }
        let keys = batch.columns()[1..=self.filling.groups].to_vec();
        for (nth, range) in partition(&keys)?.ranges().into_iter().enumerate() {
            let rows = batch.slice(range.start, range.len());
            if nth > 0 || !self.goes_on(&rows)? {
                self.flush()?;
            }
            self.reserved.try_grow(cell_bytes(&rows))?;
            self.held.push(rows);
        }
        Ok(())
    }

    /// Whether `rows` belong to the partition that is held.
    fn goes_on(&self, rows: &RecordBatch) -> Result<bool> {
        let Some(held) = self.held.last() else { return Ok(true) };
        for at in 1..=self.filling.groups {
            let (old, new) = (held.column(at), rows.column(at));
            if ScalarValue::try_from_array(old, 0)? != ScalarValue::try_from_array(new, 0)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn flush(&mut self) -> Result<()> {
        let held = std::mem::take(&mut self.held);
        let Some(first) = held.first() else { return Ok(()) };
        let rows = concat_batches(&first.schema(), &held)?;
        if self.grid.is_none() {
            self.grid = Some(self.filling.grid()?);
        }
        let grid = self.grid.as_deref().unwrap_or_default();
        // Where each window is and comes from, and about as much again for each column.
        let width = size_of::<(i64, Option<u64>)>() + size_of::<Option<f64>>() * self.schema.fields().len();
        let held: usize = held.iter().map(cell_bytes).sum();
        self.reserved.try_grow(held + (grid.len() + rows.num_rows()) * width)?;
        let filled = self.filling.fill(&rows, grid, &self.schema)?;
        // What waits to be taken stays; it is nearly always empty by now.
        let waits: usize = self.ready.iter().map(cell_bytes).sum();
        self.reserved.resize(size_of_val(grid) + waits + cell_bytes(&filled));
        self.give(&filled);
        Ok(())
    }

    fn give(&mut self, batch: &RecordBatch) {
        let starts: Vec<usize> = (0..batch.num_rows()).step_by(self.rows.max(1)).collect();
        let pieces = starts.into_iter().map(|at| batch.slice(at, self.rows.min(batch.num_rows() - at)));
        let mut pieces: Vec<RecordBatch> = pieces.collect();
        pieces.reverse();
        // What was ready before comes first.
        pieces.append(&mut self.ready);
        self.ready = pieces;
    }
}
