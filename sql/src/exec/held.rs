//! Counts rows for an operator that holds all of its input and reserves nothing for it: window functions over whole
//! partitions.
//!
//! What passes is reserved until the reader is done, so that a query that cannot have the memory fails with 53200.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::{Array, RecordBatch};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, internal_err};
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::execution_plan::replace_children_if_necessary;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::windows::WindowAggExec;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, SendableRecordBatchStream,
};
use futures::StreamExt;

/// What the reader makes of each byte: it puts all batches together in one before it begins.
const COPIES: usize = 2;

/// The operator.
#[derive(Debug)]
pub struct HeldExec {
    input: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
}

impl HeldExec {
    fn new(input: Arc<dyn ExecutionPlan>) -> Self {
        let properties = Arc::clone(input.properties());
        Self { input, properties }
    }
}

/// Bytes of the cells of a batch, without what else lies in the buffers that it is a part of.
pub(crate) fn cell_bytes(batch: &RecordBatch) -> usize {
    let of = |array: &Arc<dyn Array>| array.to_data().get_slice_memory_size();
    batch.columns().iter().map(|array| of(array).unwrap_or_else(|_| array.get_array_memory_size())).sum()
}

impl DisplayAs for HeldExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HeldExec")
    }
}

impl ExecutionPlan for HeldExec {
    fn name(&self) -> &'static str {
        "HeldExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
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
        match children.pop() {
            Some(input) => Ok(Arc::new(Self::new(input))),
            None => internal_err!("held rows without an input"),
        }
    }

    fn execute(&self, at: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let reserved = MemoryConsumer::new("a window function").register(context.memory_pool());
        let input = self.input.execute(at, context)?;
        let rows = input.map(move |batch| {
            let batch = batch?;
            reserved.try_grow(COPIES * cell_bytes(&batch))?;
            Ok(batch)
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), rows)))
    }
}

/// Puts the operator below window functions that hold their input. Behind all rules that look for what stands where.
#[derive(Debug)]
pub(crate) struct Holders;

impl PhysicalOptimizerRule for Holders {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|node| {
            if node.downcast_ref::<WindowAggExec>().is_none() {
                return Ok(Transformed::no(node));
            }
            let held = node.children().into_iter().map(|child| Arc::new(HeldExec::new(Arc::clone(child))) as Arc<_>);
            let children = held.collect();
            replace_children_if_necessary(node, children).map(Transformed::yes)
        })
        .data()
    }

    fn name(&self) -> &'static str {
        "holders"
    }

    fn schema_check(&self) -> bool {
        true
    }
}
