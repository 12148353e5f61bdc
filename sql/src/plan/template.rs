//! Plans that serve many statements: queries of one table that differ in values only.
//!
//! A [`Template`] is an optimised plan whose values are parameters in conditions. Once it has run, what is left to do is
//! even less: where all parameters are in conditions that the scan itself decides, the physical plan is the same but for
//! its leaf, which reads other tables or another time ([`Frame`]). Start reading at [`Planner::template`].
//!
//! That a template says the same as the query it was made of is not concluded but checked: the plan that it gives with the
//! query's own values must be the plan of the query. Its functions see a copy of the session's settings, and only those
//! functions are let in that depend on no more of a session than [`PlanContext::is_like`] compares.

use std::sync::Arc;

use datafusion::arrow::datatypes::{FieldRef, SchemaRef};
use datafusion::catalog::default_table_source::source_as_provider;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{Result as DataFusionResult, ScalarValue};
use datafusion::execution::TaskContext;
use datafusion::logical_expr::{Expr, LogicalPlan, Volatility};
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::limit::{GlobalLimitExec, LocalLimitExec};
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::{ExecutionPlan, replace_children_if_necessary};
use model::scan::{RowStream, Series};
use model::{Result, TimeRange, VgroupId};
use parking_lot::Mutex;
use sqlparser::ast;

use super::filter::has_parameter;
use super::state::QueryState;
use super::states::{Shape, is_narrow};
use super::table::RelationTable;
use super::{PlanContext, Planned, Planner, timed_out, unplannable};
use crate::exec::aggregate::VgroupAggregateExec;
use crate::exec::scan::VgroupScanExec;
use crate::session::OutputColumn;

/// Functions that are called stable because they go by the session's time zone, and depend on nothing else of it.
const OF_THE_ZONE: [&str; 2] = ["date_trunc", "date_bin"];

/// The plan of queries that differ in values only.
pub struct Template {
    planned: Planned,
    /// Optimised; parameters stand in conditions only.
    plan: LogicalPlan,
    /// The same as a physical plan, once it has run.
    frame: Mutex<Framed>,
}

enum Framed {
    Untried,
    /// It has operators or parameters that are not to be used twice.
    Never,
    Made(Arc<Frame>),
}

/// A physical plan to be used again with another leaf.
struct Frame {
    root: Arc<dyn ExecutionPlan>,
    /// Made for few tables.
    narrow: bool,
    table: Arc<dyn TableProvider>,
    /// The conditions of the scan.
    filters: Vec<Expr>,
    state: QueryState,
    tasks: Arc<TaskContext>,
}

impl std::fmt::Debug for Template {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Template({})", self.plan.display())
    }
}

impl Template {
    /// The columns of the result.
    #[must_use]
    pub fn columns(&self) -> Arc<[OutputColumn]> {
        Arc::clone(&self.planned.columns)
    }

    /// Whether it was made of the metadata that are in force in this context.
    #[must_use]
    pub fn is_of(&self, context: &PlanContext) -> bool {
        Arc::ptr_eq(&self.planned.context.catalog, &context.catalog)
    }

    /// Whether the plan is right with these values: a scan was taken to decide conditions that it decides with most.
    fn holds_for(&self, values: &[ScalarValue]) -> bool {
        let Some((table, filters)) = only_scan(&self.plan) else { return false };
        let Some(table) = table.downcast_ref::<RelationTable>() else { return false };
        let holds = |filter: &&Expr| {
            let bound = with_values((*filter).clone(), values);
            bound.is_ok_and(|bound| table.is_as_planned(filter, &bound.data))
        };
        values.iter().all(|value| !value.is_null())
            && filters.iter().filter(|of| has_parameter(of)).all(|of| holds(&of))
    }

    /// Whether a statement in this context would be planned in the same way.
    #[must_use]
    pub fn is_for(&self, context: &PlanContext) -> bool {
        self.planned.context.is_like(context)
    }
}

impl Planner {
    /// Plans a query whose parameters are of these types, to make a template of it.
    ///
    /// # Errors
    ///
    /// Whatever is wrong with the query.
    pub(crate) async fn plan_with(
        &self,
        query: &ast::Query,
        context: Arc<PlanContext>,
        fields: Vec<FieldRef>,
    ) -> Result<Planned> {
        let names = super::names::resolve(self.plane.as_ref(), query, &context).await?;
        let catalogs = super::system::context(&self.plane, &names.catalog, &context);
        let lowered = crate::lower::lower(query, &names, &context, &catalogs)?;
        let state = self.states.for_planning(&context, &catalogs);
        let fields = fields.into_iter().map(Some).collect();
        let plan = self.logical(&state, &lowered, &context, fields, query)?;
        let (columns, lookups) = (super::output::columns(&plan), names.lookups.into());
        Ok(Planned { plan, columns, parameters: Vec::new(), context, catalogs, lookups })
    }

    /// A template of `planned`, if it can be one. `original` is the plan of the query with `values` in their places.
    pub(crate) fn template(
        &self,
        planned: &Planned,
        values: &[ScalarValue],
        original: &LogicalPlan,
    ) -> Option<Template> {
        let lasting = planned.is_lasting() && Shape::of(&planned.plan).simple && has_lasting_functions(&planned.plan);
        if !lasting || values.iter().any(ScalarValue::is_null) {
            return None;
        }
        let context = Arc::new(planned.context.detached());
        let catalogs = super::system::context(&self.plane, &context.catalog, &context);
        let state = self.states.for_running(&planned.plan, &context, &catalogs);
        let plan = Session::optimize(&state, &planned.plan).ok()?;
        let (table, _) = only_scan(&plan)?;
        let of_rows = table.downcast_ref::<RelationTable>()?.is_of_rows();
        if !of_rows || !has_parameters_in_conditions_only(&plan) {
            return None;
        }
        let bound = bound(&plan, values).ok()?;
        let wanted = Session::optimize(&state, original).ok()?;
        let planned = Planned { context, catalogs, ..planned.clone() };
        is_same(&bound, &wanted).then(|| Template { planned, plan, frame: Mutex::new(Framed::Untried) })
    }

    /// Runs a template with these values, none of them NULL. None if the statement must be planned by itself.
    ///
    /// # Errors
    ///
    /// As [`Planner::execute`].
    pub(crate) async fn run_template(
        &self,
        template: &Template,
        values: &[ScalarValue],
        context: &PlanContext,
    ) -> Result<Option<(SchemaRef, RowStream)>> {
        if !template.is_for(context) || !template.holds_for(values) {
            return Ok(None);
        }
        let making = async {
            if !template.planned.still_means(self.plane.as_ref()).await? {
                return Ok(None);
            }
            self.made(template, values, context.now_us).await.map(Some).map_err(unplannable)
        };
        let made = match context.deadline {
            None => making.await?,
            Some(deadline) => tokio::time::timeout_at(deadline, making).await.map_err(|_| timed_out())??,
        };
        let Some((plan, tasks)) = made else { return Ok(None) };
        let schema = plan.schema();
        Ok(Some((schema, self.run(plan, tasks, context.deadline)?)))
    }

    /// The physical plan of a template with these values.
    async fn made(
        &self,
        template: &Template,
        values: &[ScalarValue],
        now_us: i64,
    ) -> DataFusionResult<(Arc<dyn ExecutionPlan>, Arc<TaskContext>)> {
        let (framed, untried) = match &*template.frame.lock() {
            Framed::Made(frame) => (Some(Arc::clone(frame)), false),
            Framed::Untried => (None, true),
            Framed::Never => (None, false),
        };
        if let Some(frame) = framed
            && let Some(plan) = frame.with(values, now_us).await?
        {
            return Ok((plan, Arc::clone(&frame.tasks)));
        }
        let plan = bound(&template.plan, values)?;
        let context = PlanContext { now_us, ..template.planned.context.as_ref().clone() };
        let mut state = self.states.for_running(&plan, &context, &template.planned.catalogs);
        let narrow = is_narrow(&plan);
        if narrow {
            state.one_partition();
        }
        let root = state.query_planner().create_physical_plan(&plan, &state).await?;
        let tasks = state.task_ctx();
        // A scan of nothing says nothing about others.
        if !untried || leaf(&root).is_some_and(|leaf| leaf.name() == "EmptyExec") {
            return Ok((root, tasks));
        }
        let frame = Frame::new(&template.plan, Arc::clone(&root), narrow, state).map(Arc::new);
        let again = match &frame {
            Some(frame) => frame.with(values, now_us).await?,
            None => None,
        };
        *template.frame.lock() = match frame.filter(|_| again.is_some()) {
            Some(frame) => Framed::Made(frame),
            None => Framed::Never,
        };
        Ok((again.unwrap_or(root), tasks))
    }
}

impl Frame {
    /// A frame of a physical plan, if nothing in it but its leaf depends on parameters, and all of it can run twice.
    fn new(plan: &LogicalPlan, root: Arc<dyn ExecutionPlan>, narrow: bool, state: QueryState) -> Option<Self> {
        let (table, filters) = only_scan(plan)?;
        let relation = table.downcast_ref::<RelationTable>()?;
        let decided = filters.iter().filter(|filter| has_parameter(filter)).all(|filter| relation.is_of_places(filter));
        if !decided || !decided_below(plan) || !is_reusable(&root) {
            return None;
        }
        let tasks = state.task_ctx();
        Some(Self { root, narrow, table, filters, state, tasks })
    }

    /// The plan that reads what these values say. None if it would be another one.
    async fn with(&self, values: &[ScalarValue], now_us: i64) -> DataFusionResult<Option<Arc<dyn ExecutionPlan>>> {
        let Some(table) = self.table.downcast_ref::<RelationTable>() else { return Ok(None) };
        let filters = self.filters.iter().map(|filter| with_values(filter.clone(), values));
        let filters = filters.map(TransformedResult::data).collect::<DataFusionResult<Vec<Expr>>>()?;
        if table.is_narrow(&filters) != self.narrow {
            return Ok(None);
        }
        match table.places(&self.state, &filters, now_us).await? {
            Some((places, range)) => Ok(rebuilt(&self.root, &places, range)?),
            None => Ok(None),
        }
    }
}

/// The plan with another leaf, and nothing left of an earlier run.
fn rebuilt(
    plan: &Arc<dyn ExecutionPlan>,
    places: &[(VgroupId, Series)],
    range: TimeRange,
) -> DataFusionResult<Option<Arc<dyn ExecutionPlan>>> {
    if let Some(leaf) = plan.downcast_ref::<VgroupAggregateExec>() {
        return Ok(leaf.moved(places, range).map(|leaf| Arc::new(leaf) as _));
    }
    if let Some(leaf) = plan.downcast_ref::<VgroupScanExec>() {
        return Ok(leaf.moved(places, range).map(|leaf| Arc::new(leaf) as _));
    }
    let children = plan.children();
    let [child] = children.as_slice() else { return Ok(None) };
    let Some(child) = rebuilt(child, places, range)? else { return Ok(None) };
    let plan = replace_children_if_necessary(Arc::clone(plan), vec![child])?;
    // The greatest rows so far are kept beside the plan.
    let plan = if plan.is::<SortExec>() { plan.reset_state()? } else { plan };
    Ok(Some(plan))
}

/// Whether it is one row of operators that keep nothing of a run, or nothing that [`rebuilt`] does not take away.
fn is_reusable(plan: &Arc<dyn ExecutionPlan>) -> bool {
    if plan.is::<VgroupAggregateExec>() || plan.is::<VgroupScanExec>() {
        return true;
    }
    let known = plan.is::<ProjectionExec>()
        || plan.is::<SortExec>()
        || plan.is::<SortPreservingMergeExec>()
        || plan.is::<CoalescePartitionsExec>()
        || plan.is::<CooperativeExec>()
        || plan.is::<FilterExec>()
        || plan.is::<GlobalLimitExec>()
        || plan.is::<LocalLimitExec>()
        || (plan.is::<AggregateExec>() && plan.dynamic_expressions_produced().is_empty());
    let children = plan.children();
    known && matches!(children.as_slice(), [child] if is_reusable(child))
}

/// The only leaf of a plan.
fn leaf(plan: &Arc<dyn ExecutionPlan>) -> Option<&Arc<dyn ExecutionPlan>> {
    match plan.children().as_slice() {
        [] => Some(plan),
        [child] => leaf(child),
        _ => None,
    }
}

/// The only table of a plan with the conditions of its scan.
pub(crate) fn only_scan(plan: &LogicalPlan) -> Option<(Arc<dyn TableProvider>, Vec<Expr>)> {
    let mut found = None;
    let mut scans = 0;
    plan.apply(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            scans += 1;
            found = source_as_provider(&scan.source).ok().map(|table| (table, scan.filters.clone()));
        }
        Ok(TreeNodeRecursion::Continue)
    })
    .ok()?;
    found.filter(|(table, _)| scans == 1 && table.is::<RelationTable>())
}

/// Whether parameters stand in the conditions of scans and of filters only.
fn has_parameters_in_conditions_only(plan: &LogicalPlan) -> bool {
    all_nodes(plan, |node| match node {
        LogicalPlan::TableScan(_) | LogicalPlan::Filter(_) => true,
        other => !other.expressions().iter().any(has_parameter),
    })
}

/// Whether no parameter is left for the operators above the scan.
fn decided_below(plan: &LogicalPlan) -> bool {
    all_nodes(plan, |node| match node {
        LogicalPlan::TableScan(_) => true,
        other => !other.expressions().iter().any(has_parameter),
    })
}

fn has_lasting_functions(plan: &LogicalPlan) -> bool {
    let lasting = |expr: &Expr| match expr {
        Expr::ScalarFunction(call) => match call.func.signature().volatility {
            Volatility::Immutable => true,
            Volatility::Stable => OF_THE_ZONE.contains(&call.name()),
            Volatility::Volatile => false,
        },
        Expr::HigherOrderFunction(_) | Expr::ScalarVariable(..) => false,
        _ => true,
    };
    let only = |expr: &Expr| !expr.exists(|expr| Ok(!lasting(expr))).unwrap_or(true);
    all_nodes(plan, |node| node.expressions().iter().all(only))
}

fn all_nodes(plan: &LogicalPlan, holds: impl Fn(&LogicalPlan) -> bool) -> bool {
    !plan.exists(|node| Ok(!holds(node))).unwrap_or(true)
}

/// The plan with values in the place of its parameters.
fn bound(plan: &LogicalPlan, values: &[ScalarValue]) -> DataFusionResult<LogicalPlan> {
    if values.is_empty() {
        return Ok(plan.clone());
    }
    plan.clone()
        .transform_up(|node| match node {
            LogicalPlan::TableScan(_) | LogicalPlan::Filter(_) => {
                node.map_expressions(|expr| with_values(expr, values))
            }
            other => Ok(Transformed::no(other)),
        })
        .data()
}

fn with_values(expr: Expr, values: &[ScalarValue]) -> DataFusionResult<Transformed<Expr>> {
    expr.transform(|expr| {
        let Expr::Placeholder(parameter) = &expr else { return Ok(Transformed::no(expr)) };
        let number = parameter.id.strip_prefix('$').and_then(|digits| digits.parse::<usize>().ok());
        match number.and_then(|n| values.get(n.checked_sub(1)?)) {
            Some(value) => Ok(Transformed::yes(Expr::Literal(value.clone(), None))),
            None => datafusion::common::plan_err!("no value for {}", parameter.id),
        }
    })
}

/// Whether two optimised plans are the same, as far as scans are concerned in what they read.
fn is_same(one: &LogicalPlan, other: &LogicalPlan) -> bool {
    let (Some((table, filters)), Some((_, others))) = (only_scan(one), only_scan(other)) else { return false };
    let alike = table.downcast_ref::<RelationTable>().is_some_and(|table| table.reads_alike(&filters, &others));
    let outline = |plan: &LogicalPlan| {
        let bare = plan.clone().transform_up(|node| match node {
            LogicalPlan::TableScan(mut scan) => {
                scan.filters.clear();
                Ok(Transformed::yes(LogicalPlan::TableScan(scan)))
            }
            other => Ok(Transformed::no(other)),
        });
        bare.data().ok()
    };
    alike && outline(one).is_some_and(|one| Some(one) == outline(other))
}
