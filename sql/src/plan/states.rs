//! DataFusion's states: functions, rules and options. Made once; each query shares one of them and has options of its own
//! ([`QueryState`]).
//!
//! Most queries are about one table, and most rules are about several: planning a query of one table without them takes
//! half as long.

use std::sync::Arc;

use datafusion::catalog::default_table_source::source_as_provider;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::execution::context::SessionState;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::optimizer::Optimizer;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::prelude::SessionConfig;
use model::Result;

use super::error::from_datafusion;
use super::state::QueryState;
use super::table::RelationTable;
use super::{Memory, PlanContext, PlannerSettings, fill, merges, pushdown};
use crate::catalogs::CatalogContext;

/// Logical rules that change nothing in a query of one table without subqueries.
const FOR_SEVERAL_TABLES: [&str; 13] = [
    "rewrite_set_comparison",
    "optimize_unions",
    "unions_to_filter",
    "eliminate_join",
    "decorrelate_predicate_subquery",
    "scalar_subquery_to_join",
    "decorrelate_lateral_join",
    "extract_equijoin_predicate",
    "eliminate_cross_join",
    "filter_null_join_keys",
    "eliminate_outer_join",
    "extract_leaf_expressions",
    "push_down_leaf_projections",
];

/// The same of physical rules: joins, window functions, files, and checks of other rules.
const PHYSICAL_FOR_SEVERAL_TABLES: [&str; 7] = [
    "aggregate_statistics",
    "join_selection",
    "FilterPushdown",
    "WindowTopN",
    "LimitPushPastWindows",
    "HashJoinBuffering",
    "SanityCheckPlan",
];

/// The states that queries start from.
pub(super) struct States {
    full: Arc<SessionState>,
    /// For [`is_simple`] plans.
    simple: Arc<SessionState>,
}

impl States {
    pub(super) fn new(settings: &PlannerSettings, memory: &Memory) -> Result<Self> {
        let make = |simple: bool| -> Result<Arc<SessionState>> {
            let mut config = SessionConfig::new()
                .with_target_partitions(settings.target_partitions.max(1))
                .with_batch_size(settings.batch_rows.max(1))
                .with_information_schema(false)
                .with_create_default_catalog_and_schema(false);
            let options = config.options_mut();
            options.sql_parser.map_string_types_to_utf8view = false;
            options.optimizer.max_passes = 4;
            options.explain.show_statistics = false;
            // Each sort of each partition sets so much aside for its merge.
            let merge = &mut options.execution.sort_spill_reservation_bytes;
            *merge = (*merge).min(settings.memory_bytes / (8 * settings.target_partitions.max(1)));
            let mut logical = Optimizer::new().rules;
            let mut physical = PhysicalOptimizer::default().rules;
            if simple {
                logical.retain(|rule| !FOR_SEVERAL_TABLES.contains(&rule.name()));
                physical.retain(|rule| !PHYSICAL_FOR_SEVERAL_TABLES.contains(&rule.name()));
            }
            physical.insert(0, Arc::new(pushdown::Pushdowns));
            physical.push(Arc::new(merges::WholeMerges));
            if !simple {
                physical.push(Arc::new(crate::exec::held::Holders));
            }
            let mut state = SessionStateBuilder::new()
                .with_config(config)
                .with_runtime_env(Arc::clone(memory.runtime()))
                .with_default_features()
                .with_query_planner(Arc::new(fill::FillQueryPlanner))
                .with_optimizer_rules(logical)
                .with_physical_optimizer_rules(physical)
                .build();
            super::register(&mut state).map_err(from_datafusion)?;
            Ok(Arc::new(state))
        };
        Ok(Self { full: make(false)?, simple: make(true)? })
    }

    /// For making a logical plan.
    pub(super) fn for_planning(&self, context: &PlanContext, catalogs: &Arc<CatalogContext>) -> QueryState {
        QueryState::new(&self.simple, context, catalogs, None)
    }

    /// For optimising a plan and running it.
    pub(super) fn for_running(
        &self,
        plan: &LogicalPlan,
        context: &PlanContext,
        catalogs: &Arc<CatalogContext>,
    ) -> QueryState {
        let shape = Shape::of(plan);
        let shared = if shape.simple { &self.simple } else { &self.full };
        // A second pass can only move a LIMIT past a WHERE that the first has taken to the scan.
        let passes = (shape.simple && !shape.limited).then_some(1);
        QueryState::new(shared, context, catalogs, passes)
    }
}

/// One partition for a plan, as it is after the logical rules, that reads a few tables of one relation: handing rows from
/// thread to thread would take longer than reading them.
pub(super) fn narrow(state: &mut QueryState, plan: &LogicalPlan) {
    if is_narrow(plan) {
        state.one_partition();
    }
}

/// Whether a plan, as it is after the logical rules, reads a few tables of one relation.
pub(super) fn is_narrow(plan: &LogicalPlan) -> bool {
    let (mut scans, mut wide) = (0, false);
    let visited = plan.apply(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            scans += 1;
            let provider = source_as_provider(&scan.source).ok();
            let table = provider.as_ref().and_then(|provider| provider.downcast_ref::<RelationTable>());
            wide |= !table.is_some_and(|table| table.is_narrow(&scan.filters));
        }
        Ok(if wide { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    });
    visited.is_ok() && scans == 1 && !wide
}

/// What of a plan decides which rules it needs.
pub(super) struct Shape {
    /// One table at most, no subquery, no window function, nothing of ours.
    pub(super) simple: bool,
    limited: bool,
}

impl Shape {
    pub(super) fn of(plan: &LogicalPlan) -> Self {
        let mut shape = Self { simple: true, limited: false };
        let mut tables = 0;
        let visited = plan.apply(|node| {
            match node {
                LogicalPlan::TableScan(_) => tables += 1,
                LogicalPlan::Limit(_) => shape.limited = true,
                LogicalPlan::Projection(_)
                | LogicalPlan::Filter(_)
                | LogicalPlan::Aggregate(_)
                | LogicalPlan::Sort(_)
                | LogicalPlan::SubqueryAlias(_) => {}
                _ => shape.simple = false,
            }
            let subquery = node.expressions().iter().any(has_subquery);
            shape.simple &= tables <= 1 && !subquery;
            Ok(if shape.simple { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
        });
        shape.simple &= visited.is_ok();
        shape
    }
}

fn has_subquery(expr: &Expr) -> bool {
    let is = |expr: &Expr| {
        matches!(expr, Expr::ScalarSubquery(_) | Expr::InSubquery(_) | Expr::Exists(_) | Expr::SetComparison(_))
    };
    expr.exists(|expr| Ok(is(expr))).unwrap_or(true)
}
