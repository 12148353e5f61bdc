//! The leaf: one partition per vgroup, each a stream of [`DataPlane::scan`].

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, make_array};
use datafusion::arrow::compute::SortOptions;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::Result;
use datafusion::common::scalar::copy_array_data;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::execution::TaskContext;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricBuilder, MetricsSet};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties, SendableRecordBatchStream,
};
use futures::{StreamExt, TryStreamExt};
use model::scan::{Order, Output, RowsRequest, ScanRequest, Series};
use model::{ColumnId, DataPlane, TimeRange, VgroupId};

use crate::plan::error::to_datafusion;

/// Reads one relation from the vgroups that have it.
pub struct VgroupScanExec {
    plane: Arc<dyn DataPlane>,
    table: String,
    requests: Vec<(VgroupId, ScanRequest)>,
    /// Which columns of the request's schema are the output, in order.
    keep: Vec<usize>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl VgroupScanExec {
    /// A scan with one partition per request. `schema` names and types the columns at `keep` of each request's batches.
    #[must_use]
    pub fn new(
        plane: Arc<dyn DataPlane>,
        table: String,
        requests: Vec<(VgroupId, ScanRequest)>,
        keep: Vec<usize>,
        schema: SchemaRef,
    ) -> Self {
        let equivalences = match ordering(&requests, &keep, &schema) {
            Some(ordering) => EquivalenceProperties::new_with_orderings(schema, [ordering]),
            None => EquivalenceProperties::new(schema),
        };
        let properties = PlanProperties::new(
            equivalences,
            Partitioning::UnknownPartitioning(requests.len()),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        let properties = Arc::new(properties);
        Self { plane, table, requests, keep, properties, metrics: ExecutionPlanMetricsSet::new() }
    }
}

/// The order that every request asks for, where it is one of output columns: rows of one table come by time anyway.
fn ordering(requests: &[(VgroupId, ScanRequest)], keep: &[usize], schema: &SchemaRef) -> Option<Vec<PhysicalSortExpr>> {
    let descends = |(_, request): &(VgroupId, ScanRequest)| match request {
        ScanRequest::Rows(rows) => match (rows.order, &rows.series) {
            (Order::TimeAscending, _) => Some(false),
            (Order::TimeDescending, _) => Some(true),
            (Order::SeriesTime, Series::Named(names)) if names.len() == 1 => Some(false),
            _ => None,
        },
        _ => None,
    };
    let (first, rest) = requests.split_first()?;
    let descending = descends(first)?;
    let ScanRequest::Rows(rows) = &first.1 else { return None };
    let is_key = |at: &usize| rows.output.get(*at) == Some(&Output::Column(ColumnId::KEY));
    let column = keep.iter().position(is_key)?;
    let name = schema.fields().get(column)?.name();
    rest.iter().all(|request| descends(request) == Some(descending)).then(|| {
        let options = SortOptions { descending, nulls_first: descending };
        vec![PhysicalSortExpr::new(Arc::new(Column::new(name, column)), options)]
    })
}

impl VgroupScanExec {
    /// The same rows by time, the first `limit` of each vgroup. None if it does not read rows, or has a limit already.
    pub(crate) fn by_time(&self, descending: bool, limit: Option<usize>) -> Option<Self> {
        let order = if descending { Order::TimeDescending } else { Order::TimeAscending };
        let of = |(vgroup, request): &(VgroupId, ScanRequest)| match request {
            ScanRequest::Rows(rows) if rows.limit.is_none() && rows.filters.is_empty() => {
                Some((*vgroup, ScanRequest::Rows(RowsRequest { order, limit, ..rows.clone() })))
            }
            _ => None,
        };
        let requests = self.requests.iter().map(of).collect::<Option<Vec<_>>>()?;
        Some(Self::new(Arc::clone(&self.plane), self.table.clone(), requests, self.keep.clone(), self.schema()))
    }

    /// The same scan in other places and at another time. None if its partitions, or their order, would be others.
    pub(crate) fn moved(&self, places: &[(VgroupId, Series)], range: TimeRange) -> Option<Self> {
        let of = |((_, request), (vgroup, series)): (&(VgroupId, ScanRequest), &(VgroupId, Series))| match request {
            ScanRequest::Rows(rows) => Some((*vgroup, ScanRequest::Rows(moved(rows, series, range)?))),
            _ => None,
        };
        let pairs = self.requests.iter().zip(places);
        let requests = (self.requests.len() == places.len()).then(|| pairs.map(of).collect::<Option<Vec<_>>>())??;
        Some(Self {
            plane: Arc::clone(&self.plane),
            table: self.table.clone(),
            requests,
            keep: self.keep.clone(),
            properties: Arc::clone(&self.properties),
            metrics: ExecutionPlanMetricsSet::new(),
        })
    }

    /// What an output column is.
    pub(crate) fn output(&self, column: usize) -> Option<Output> {
        match &self.requests.first()?.1 {
            ScanRequest::Rows(rows) => rows.output.get(*self.keep.get(column)?).copied(),
            _ => None,
        }
    }

    /// Where it reads.
    pub(crate) fn plane(&self) -> &Arc<dyn DataPlane> {
        &self.plane
    }

    /// What it reads.
    pub(crate) fn table(&self) -> &str {
        &self.table
    }

    /// What it asks of each vgroup.
    pub(crate) fn requests(&self) -> &[(VgroupId, ScanRequest)] {
        &self.requests
    }
}

/// The same request for other tables and another time. None if its rows would come in another order.
pub(super) fn moved(rows: &RowsRequest, series: &Series, range: TimeRange) -> Option<RowsRequest> {
    let alike = match (&rows.series, series) {
        (Series::All, Series::All) | (Series::Sids(_), Series::Sids(_)) => true,
        (Series::Named(old), Series::Named(new)) => (old.len() == 1) == (new.len() == 1),
        _ => false,
    };
    alike.then(|| RowsRequest { series: series.clone(), range, ..rows.clone() })
}

impl fmt::Debug for VgroupScanExec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VgroupScanExec").field("table", &self.table).field("requests", &self.requests).finish()
    }
}

impl DisplayAs for VgroupScanExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let vgroups = self.requests.iter().map(|(vgroup, _)| vgroup.to_string()).collect::<Vec<_>>().join(", ");
        write!(f, "VgroupScanExec: {}, vgroups=[{vgroups}]", self.table)?;
        match self.requests.first() {
            Some((_, ScanRequest::Rows(rows))) => {
                let names: Vec<_> = self.schema().fields().iter().map(|field| field.name().clone()).collect();
                write!(f, ", columns=[{}]", names.join(", "))?;
                let requests = self.requests.iter().filter_map(|(_, request)| match request {
                    ScanRequest::Rows(rows) => Some(rows),
                    _ => None,
                });
                describe(f, requests)?;
                for filter in &rows.filters {
                    write!(f, ", {} in [{:?}, {:?}]", filter.column, filter.min, filter.max)?;
                }
                for condition in &rows.conditions {
                    let column = rows.relation.columns.iter().find(|column| column.id == condition.column);
                    let name = column.map_or("", |column| &column.name);
                    write!(f, ", where {name} in [{:?}, {:?}]", condition.min, condition.max)?;
                }
                match rows.order {
                    Order::TimeAscending => write!(f, ", by time")?,
                    Order::TimeDescending => write!(f, ", by time descending")?,
                    Order::Any | Order::SeriesTime => {}
                }
                if let Some(limit) = rows.limit {
                    write!(f, ", limit={limit}")?;
                }
                Ok(())
            }
            Some((_, ScanRequest::Tags(_))) => write!(f, ", tags only"),
            _ => Ok(()),
        }
    }
}

/// Bytes of others that a column may keep in memory.
const SHARED_BYTES_MAX: usize = 64 << 10;

/// A column that keeps little but its own cells in memory: a few rows of a memtable would else count, and be held, as all
/// of it.
fn own(values: &ArrayRef) -> ArrayRef {
    let held = values.get_array_memory_size();
    if held <= SHARED_BYTES_MAX {
        return Arc::clone(values);
    }
    let data = values.to_data();
    match data.get_slice_memory_size() {
        Ok(cells) if held > 2 * cells + SHARED_BYTES_MAX => make_array(copy_array_data(&data)),
        _ => Arc::clone(values),
    }
}

fn bound(tick: i64) -> String {
    match tick {
        i64::MIN => "-∞".into(),
        i64::MAX => "∞".into(),
        tick => tick.to_string(),
    }
}

/// Which tables and which times the requests of one leaf ask for.
pub(super) fn describe<'a>(
    f: &mut fmt::Formatter<'_>,
    requests: impl Iterator<Item = &'a RowsRequest> + Clone,
) -> fmt::Result {
    let count = |rows: &RowsRequest| match &rows.series {
        Series::All => None,
        Series::Sids(sids) => Some(sids.len()),
        Series::Named(names) => Some(names.len()),
    };
    if let Some(series) = requests.clone().map(count).sum::<Option<usize>>() {
        write!(f, ", series={series}")?;
    }
    match requests.map(|rows| rows.range).next() {
        Some(range) if range != TimeRange::ALL => write!(f, ", range=[{}, {}]", bound(range.min), bound(range.max)),
        _ => Ok(()),
    }
}

impl ExecutionPlan for VgroupScanExec {
    fn name(&self) -> &'static str {
        "VgroupScanExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(self: Arc<Self>, _: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(&self, partition: usize, _: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let (vgroup, request) = self.requests[partition].clone();
        let plane = Arc::clone(&self.plane);
        let baseline = BaselineMetrics::new(&self.metrics, partition);
        let bytes = MetricBuilder::new(&self.metrics).counter("bytes_read", partition);
        let (schema, keep) = (self.schema(), self.keep.clone());
        let rows = async move { plane.scan(vgroup, request).await };
        let rows = futures::stream::once(rows).try_flatten();
        let output = Arc::clone(&schema);
        let batches = rows.map(move |batch| {
            let batch = batch.map_err(to_datafusion)?;
            bytes.add(batch.get_array_memory_size());
            baseline.record_output(batch.num_rows());
            let columns = keep.iter().map(|at| own(batch.column(*at))).collect();
            let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
            Ok(RecordBatch::try_new_with_options(Arc::clone(&schema), columns, &options)?)
        });
        // A vgroup that has looked at much and found nothing yet says so with an empty batch.
        let batches = batches.try_filter(|batch| futures::future::ready(batch.num_rows() > 0));
        Ok(Box::pin(RecordBatchStreamAdapter::new(output, batches)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}
