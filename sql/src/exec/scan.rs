//! The leaf: one partition per vgroup, each a stream of [`DataPlane::scan`].

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::{RecordBatch, RecordBatchOptions};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::Result;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::execution::TaskContext;
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricBuilder, MetricsSet};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties, SendableRecordBatchStream,
};
use futures::{StreamExt, TryStreamExt};
use model::scan::{ScanRequest, Series};
use model::{DataPlane, TimeRange, VgroupId};

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
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(requests.len()),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        let properties = Arc::new(properties);
        Self { plane, table, requests, keep, properties, metrics: ExecutionPlanMetricsSet::new() }
    }
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
                let all = |series: &Series| matches!(series, Series::All);
                if !self.requests.iter().any(|(_, r)| matches!(r, ScanRequest::Rows(r) if all(&r.series))) {
                    write!(f, ", series={}", self.requests.iter().map(|(_, r)| series_of(r)).sum::<usize>())?;
                }
                if rows.range != TimeRange::ALL {
                    write!(f, ", range=[{}, {}]", bound(rows.range.min), bound(rows.range.max))?;
                }
                for filter in &rows.filters {
                    write!(f, ", {} in [{:?}, {:?}]", filter.column, filter.min, filter.max)?;
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

fn bound(tick: i64) -> String {
    match tick {
        i64::MIN => "-∞".into(),
        i64::MAX => "∞".into(),
        tick => tick.to_string(),
    }
}

fn series_of(request: &ScanRequest) -> usize {
    let series = match request {
        ScanRequest::Rows(rows) => &rows.series,
        ScanRequest::Tags(tags) => &tags.series,
        _ => return 0,
    };
    match series {
        Series::All => 0,
        Series::Sids(sids) => sids.len(),
        Series::Named(names) => names.len(),
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
            let columns = keep.iter().map(|at| Arc::clone(batch.column(*at))).collect();
            let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
            Ok(RecordBatch::try_new_with_options(Arc::clone(&schema), columns, &options)?)
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(output, batches)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}
