//! FILL in a plan: the logical node, and how it becomes [`crate::exec::fill::FillExec`].

use datafusion::common::ScalarValue;

use crate::parser::markers::FillMode;

/// What lowering says of one FILL: the derived table below it has the window's start, `groups` columns of the
/// partition, and then the columns to be filled.
#[derive(Clone, Debug, PartialEq)]
pub struct FillSpec {
    /// How.
    pub mode: FillMode,
    /// The values of FILL(VALUE, …), one per filled column.
    pub values: Vec<ScalarValue>,
    /// INTERVAL's width.
    pub width: String,
    /// INTERVAL's offset, empty for none.
    pub offset: String,
    /// SLIDING, empty for none.
    pub sliding: String,
    /// The session's zone.
    pub zone: String,
    /// Columns of the partition.
    pub groups: usize,
}

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::Result;
use datafusion::execution::context::QueryPlanner;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_planner::{DefaultPhysicalPlanner, PhysicalPlanner};

/// Puts FILL above the derived tables that `fills` names.
///
/// # Errors
///
/// 22023 if the time of the query has no bounds.
pub fn insert(plan: LogicalPlan, fills: &HashMap<String, FillSpec>) -> Result<LogicalPlan> {
    if !fills.is_empty() {
        return Err(super::error::to_datafusion(model::error!(FeatureNotSupported, "FILL is not there yet")));
    }
    Ok(plan)
}

/// DataFusion's planner with our nodes.
#[derive(Debug)]
pub struct FillQueryPlanner;

#[async_trait]
impl QueryPlanner for FillQueryPlanner {
    async fn create_physical_plan(
        &self,
        logical_plan: &LogicalPlan,
        session: &dyn Session,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        DefaultPhysicalPlanner::default().create_physical_plan(logical_plan, session).await
    }
}
