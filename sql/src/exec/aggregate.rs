//! A leaf that reads groups: the first half of an aggregation, done by the vgroups that have the rows.
//!
//! `plan/pushdown.rs` puts it where a partial aggregation stood over [`super::scan::VgroupScanExec`]. Its output is what
//! that aggregation would have given: group columns, then the states of each function as DataFusion merges them.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, UInt64Array};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Decimal128Type, Float64Type, SchemaRef};
use datafusion::common::Result;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::execution::TaskContext;
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties, SendableRecordBatchStream,
};
use futures::{StreamExt, TryStreamExt};
use model::aggregate::{Aggregate, AggregateRequest, SUM_DIGITS, Windows};
use model::scan::{ScanRequest, Series};
use model::{ColumnId, DataPlane, TimeRange, VgroupId, error};

use crate::plan::error::to_datafusion;

/// One output column, made of columns of the vgroups' answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// As it comes.
    Column(usize),
    /// A sum of whole numbers that must fit into the output's type: 22003 if it does not.
    Checked(usize),
    /// A sum of whole numbers as a float.
    Rounded(usize),
    /// What [`Part::Rounded`] of the same column rounds away.
    RoundedOff(usize),
    /// A float; zero where there is none.
    OrZero(usize),
}

/// Reads groups of one relation from the vgroups that have its rows.
pub struct VgroupAggregateExec {
    plane: Arc<dyn DataPlane>,
    table: String,
    requests: Vec<(VgroupId, AggregateRequest)>,
    parts: Arc<[Part]>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl VgroupAggregateExec {
    /// One partition per request; `parts` make the columns of `schema`.
    #[must_use]
    pub fn new(
        plane: Arc<dyn DataPlane>,
        table: String,
        requests: Vec<(VgroupId, AggregateRequest)>,
        parts: Vec<Part>,
        schema: SchemaRef,
    ) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(requests.len()),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        let (parts, properties) = (parts.into(), Arc::new(properties));
        Self { plane, table, requests, parts, properties, metrics: ExecutionPlanMetricsSet::new() }
    }
}

impl VgroupAggregateExec {
    /// The same groups of other tables and another time. None if its partitions would be others, or the windows depend on
    /// the time.
    pub(crate) fn moved(&self, places: &[(VgroupId, Series)], range: TimeRange) -> Option<Self> {
        let of = |((_, request), (vgroup, series)): (&(VgroupId, AggregateRequest), &(VgroupId, Series))| {
            if matches!(request.windows, Some(Windows::Starts(_))) {
                return None;
            }
            let rows = super::scan::moved(&request.rows, series, range)?;
            Some((*vgroup, AggregateRequest { rows, ..request.clone() }))
        };
        let pairs = self.requests.iter().zip(places);
        let requests = (self.requests.len() == places.len()).then(|| pairs.map(of).collect::<Option<Vec<_>>>())??;
        Some(Self {
            plane: Arc::clone(&self.plane),
            table: self.table.clone(),
            requests,
            parts: Arc::clone(&self.parts),
            properties: Arc::clone(&self.properties),
            metrics: ExecutionPlanMetricsSet::new(),
        })
    }
}

impl fmt::Debug for VgroupAggregateExec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VgroupAggregateExec").field("table", &self.table).field("requests", &self.requests).finish()
    }
}

impl DisplayAs for VgroupAggregateExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let vgroups = self.requests.iter().map(|(vgroup, _)| vgroup.to_string()).collect::<Vec<_>>().join(", ");
        write!(f, "VgroupAggregateExec: {}, vgroups=[{vgroups}]", self.table)?;
        let Some((_, request)) = self.requests.first() else { return Ok(()) };
        let name = |id: ColumnId| {
            let column = request.rows.relation.columns.iter().find(|column| column.id == id);
            column.map_or("", |column| &column.name)
        };
        let of = |one: &Aggregate| format!("{}({})", format!("{:?}", one.function).to_lowercase(), name(one.column));
        write!(f, ", states=[{}]", request.aggregates.iter().map(of).collect::<Vec<_>>().join(", "))?;
        match &request.windows {
            Some(Windows::Fixed { step, offset: 0 }) => write!(f, ", windows={step}")?,
            Some(Windows::Fixed { step, offset }) => write!(f, ", windows={step}+{offset}")?,
            Some(Windows::Starts(starts)) => write!(f, ", windows={} of the calendar", starts.len())?,
            None => {}
        }
        for filter in &request.rows.conditions {
            write!(f, ", {} in [{:?}, {:?}]", name(filter.column), filter.min, filter.max)?;
        }
        if let Some(newest) = request.newest {
            write!(f, ", newest={newest}")?;
        }
        let requests = self.requests.iter().map(|(_, request)| &request.rows);
        super::scan::describe(f, requests)
    }
}

impl ExecutionPlan for VgroupAggregateExec {
    fn name(&self) -> &'static str {
        "VgroupAggregateExec"
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
        let (schema, parts) = (self.schema(), Arc::clone(&self.parts));
        let groups = async move { plane.scan(vgroup, ScanRequest::Aggregate(request)).await };
        let groups = futures::stream::once(groups).try_flatten();
        let output = Arc::clone(&schema);
        let batches = groups.map(move |batch| {
            let batch = batch.map_err(to_datafusion)?;
            baseline.record_output(batch.num_rows());
            let column = |(at, part): (usize, &Part)| part.of(&batch, schema.field(at).data_type());
            let columns = parts.iter().enumerate().map(column).collect::<Result<Vec<_>>>()?;
            Ok(RecordBatch::try_new(Arc::clone(&schema), columns)?)
        });
        // A step that has found no group yet says so with an empty batch.
        let batches = batches.try_filter(|batch| futures::future::ready(batch.num_rows() > 0));
        Ok(Box::pin(RecordBatchStreamAdapter::new(output, batches)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}

impl Part {
    fn of(self, batch: &RecordBatch, wanted: &DataType) -> Result<ArrayRef> {
        let array = match self {
            Self::Column(at) => Arc::clone(batch.column(at)),
            Self::Checked(at) => return checked(batch.column(at), wanted),
            Self::Rounded(at) => {
                let sums = batch.column(at).as_primitive::<Decimal128Type>();
                Arc::new(sums.iter().map(|sum| Some(sum.unwrap_or(0) as f64)).collect::<Float64Array>())
            }
            Self::RoundedOff(at) => {
                let sums = batch.column(at).as_primitive::<Decimal128Type>();
                let off = |sum: i128| sum.checked_sub(sum as f64 as i128).unwrap_or(0) as f64;
                Arc::new(sums.iter().map(|sum| Some(sum.map_or(0.0, off))).collect::<Float64Array>())
            }
            Self::OrZero(at) => {
                let values = batch.column(at).as_primitive::<Float64Type>();
                Arc::new(values.iter().map(|value| Some(value.unwrap_or(0.0))).collect::<Float64Array>())
            }
        };
        if array.data_type() == wanted { Ok(array) } else { Ok(cast(&array, wanted)?) }
    }
}

/// Sums of up to [`SUM_DIGITS`] digits in the type that `sum` has.
fn checked(sums: &ArrayRef, wanted: &DataType) -> Result<ArrayRef> {
    debug_assert!(matches!(sums.data_type(), DataType::Decimal128(SUM_DIGITS, 0)));
    let sums = sums.as_primitive::<Decimal128Type>();
    let outside = |name: &str| to_datafusion(error!(NumericValueOutOfRange, "{name} out of range"));
    Ok(match wanted {
        DataType::UInt64 => {
            let narrow = |sum: Option<i128>| sum.map(u64::try_from).transpose();
            let sums: std::result::Result<UInt64Array, _> = sums.iter().map(narrow).collect();
            Arc::new(sums.map_err(|_| outside("bigint unsigned"))?)
        }
        _ => {
            let narrow = |sum: Option<i128>| sum.map(i64::try_from).transpose();
            let sums: std::result::Result<Int64Array, _> = sums.iter().map(narrow).collect();
            Arc::new(sums.map_err(|_| outside("bigint"))?)
        }
    })
}
