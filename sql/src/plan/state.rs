//! What one query works with: the functions and rules of a shared state, and options of its own.
//!
//! A `SessionState` has several hundred functions in maps, and copying these for each query would take longer than many
//! a query runs. So a [`QueryState`] borrows them, and the tasks of a query get none: whatever calls a function has it
//! in its plan.

use std::any::Any;
use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use datafusion::catalog::{CatalogProviderList, Session};
use datafusion::common::alias::AliasGenerator;
use datafusion::common::config::{ConfigOptions, TableOptions};
use datafusion::common::tree_node::TreeNode;
use datafusion::common::{DFSchema, Result};
use datafusion::execution::context::{QueryPlanner, SessionState};
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::{FunctionRegistry, TaskContext};
use datafusion::logical_expr::execution_props::ExecutionProps;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::registry::ExtensionTypeRegistryRef;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{AggregateUDF, Expr, HigherOrderUDF, LogicalPlan, ScalarUDF, WindowUDF};
use datafusion::optimizer::OptimizerConfig;
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::operator_statistics::StatisticsRegistry;
use datafusion::prelude::SessionConfig;

use super::PlanContext;
use crate::catalogs::CatalogContext;

/// The state of one query.
pub(super) struct QueryState {
    shared: Arc<SessionState>,
    config: SessionConfig,
    props: ExecutionProps,
}

impl QueryState {
    /// A state with what the session sets, and at most so many passes of the logical rules. Functions find these options
    /// when they run.
    pub(super) fn new(
        shared: &Arc<SessionState>,
        context: &PlanContext,
        catalogs: &Arc<CatalogContext>,
        passes: Option<usize>,
    ) -> Self {
        let mut config = shared.config().clone();
        let options = config.options_mut();
        options.execution.time_zone = Some(context.timezone.arrow_name());
        options.extensions.insert(catalogs.extension());
        options.extensions.insert(context.pushdown);
        if let Some(passes) = passes {
            options.optimizer.max_passes = passes;
        }
        let now = DateTime::from_timestamp_micros(context.now_us).unwrap_or_default();
        let mut props = ExecutionProps::new().with_query_execution_start_time(now);
        props.config_options = Some(Arc::clone(config.options()));
        Self { shared: Arc::clone(shared), config, props }
    }

    /// Runs the query on one thread.
    pub(super) fn one_partition(&mut self) {
        // The only other holder of the options would have them copied.
        self.props.config_options = None;
        self.config.options_mut().execution.target_partitions = 1;
        self.props.config_options = Some(Arc::clone(self.config.options()));
    }

    /// The state whose functions and rules it uses.
    pub(super) fn shared(&self) -> &SessionState {
        &self.shared
    }
}

impl OptimizerConfig for QueryState {
    fn query_execution_start_time(&self) -> Option<DateTime<Utc>> {
        self.props.query_execution_start_time
    }

    fn alias_generator(&self) -> &Arc<AliasGenerator> {
        &self.props.alias_generator
    }

    fn options(&self) -> Arc<ConfigOptions> {
        Arc::clone(self.config.options())
    }

    fn function_registry(&self) -> Option<&dyn FunctionRegistry> {
        Some(self.shared.as_ref())
    }
}

#[async_trait]
impl Session for QueryState {
    fn session_id(&self) -> &str {
        self.shared.session_id()
    }

    fn config(&self) -> &SessionConfig {
        &self.config
    }

    fn catalog_list(&self) -> Arc<dyn CatalogProviderList> {
        Arc::clone(self.shared.catalog_list())
    }

    fn query_planner(&self) -> Arc<dyn QueryPlanner + Send + Sync> {
        Arc::clone(self.shared.query_planner())
    }

    fn optimize(&self, plan: &LogicalPlan) -> Result<LogicalPlan> {
        let analyzed = self.shared.analyzer().execute_and_check(plan.clone(), self.config.options(), |_, _| {})?;
        self.shared.optimizer().optimize(analyzed, self, |_, _| {})
    }

    fn physical_optimizers(&self) -> &[Arc<dyn PhysicalOptimizerRule + Send + Sync>] {
        self.shared.physical_optimizers()
    }

    fn statistics_registry(&self) -> Option<&StatisticsRegistry> {
        self.shared.statistics_registry()
    }

    async fn create_physical_plan(&self, plan: &LogicalPlan) -> Result<Arc<dyn ExecutionPlan>> {
        let plan = Session::optimize(self, plan)?;
        self.shared.query_planner().create_physical_plan(&plan, self).await
    }

    fn create_physical_expr(&self, expr: Expr, schema: &DFSchema) -> Result<Arc<dyn PhysicalExpr>> {
        let options = self.config.options();
        let context = SimplifyContext::builder()
            .with_schema(Arc::new(schema.clone()))
            .with_config_options(Arc::clone(options))
            .with_query_execution_start_time(self.props.query_execution_start_time)
            .build();
        let mut expr = ExprSimplifier::new(context).coerce(expr, schema)?;
        for rewrite in self.shared.analyzer().function_rewrites() {
            expr = expr.transform_up(|expr| rewrite.rewrite(expr, schema, options))?.data;
        }
        create_physical_expr(&expr, schema, &self.props, &PhysicalPlanningContext::default())
    }

    fn scalar_functions(&self) -> &HashMap<String, Arc<ScalarUDF>> {
        self.shared.scalar_functions()
    }

    fn higher_order_functions(&self) -> &HashMap<String, Arc<HigherOrderUDF>> {
        self.shared.higher_order_functions()
    }

    fn aggregate_functions(&self) -> &HashMap<String, Arc<AggregateUDF>> {
        self.shared.aggregate_functions()
    }

    fn window_functions(&self) -> &HashMap<String, Arc<WindowUDF>> {
        self.shared.window_functions()
    }

    fn extension_type_registry(&self) -> &ExtensionTypeRegistryRef {
        Session::extension_type_registry(self.shared.as_ref())
    }

    fn runtime_env(&self) -> &Arc<RuntimeEnv> {
        self.shared.runtime_env()
    }

    fn execution_props(&self) -> &ExecutionProps {
        &self.props
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn table_options(&self) -> &TableOptions {
        self.shared.table_options()
    }

    fn table_options_mut(&mut self) -> &mut TableOptions {
        Arc::make_mut(&mut self.shared).table_options_mut()
    }

    fn task_ctx(&self) -> Arc<TaskContext> {
        Arc::new(TaskContext::new(
            None,
            self.shared.session_id().to_owned(),
            self.config.clone(),
            HashMap::new(),
            HashMap::new(),
            HashMap::new(),
            HashMap::new(),
            Arc::clone(self.shared.runtime_env()),
        ))
    }
}
