//! Merges of sorted partitions by all that they are sorted by.
//!
//! DataFusion may merge partitions that are sorted by (a, b) by a alone, where nothing asks for more at that place, and takes
//! the result for sorted by (a, b) all the same: a sort above by (a, b) is then left out, and rows come out of order. Merging
//! by the whole order makes true what was taken for granted. Start reading at [`WholeMerges`].

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::physical_expr::LexOrdering;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;

/// The rule. The last one: no other may put merges in after it.
#[derive(Debug)]
pub(super) struct WholeMerges;

impl PhysicalOptimizerRule for WholeMerges {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> Result<Arc<dyn ExecutionPlan>> {
        plan.transform_up(|node| {
            let Some(merge) = node.downcast_ref::<SortPreservingMergeExec>() else { return Ok(Transformed::no(node)) };
            let Some(whole) = whole(merge) else { return Ok(Transformed::no(node)) };
            let merge = SortPreservingMergeExec::new(whole, Arc::clone(merge.input())).with_fetch(merge.fetch());
            Ok(Transformed::yes(Arc::new(merge) as Arc<dyn ExecutionPlan>))
        })
        .data()
    }

    fn name(&self) -> &'static str {
        "whole_merges"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// The longest order of the partitions that begins with the merge's own, if it is longer. Columns that are equal in every
/// row, and constants, make no difference.
fn whole(merge: &SortPreservingMergeExec) -> Option<LexOrdering> {
    let mut input = merge.input().properties().eq_properties.clone();
    input.clear_per_partition_constants();
    let own = input.normalize_sort_exprs(merge.expr().iter().cloned());
    let own: Vec<_> = own.iter().flat_map(|order| order.iter()).collect();
    let orders = input.normalized_oeq_class();
    let begins = |order: &&LexOrdering| order.len() > own.len() && order.iter().zip(&own).all(|(a, b)| a == *b);
    orders.iter().filter(begins).max_by_key(|order| order.len()).cloned()
}
