//! What DataFusion's SQL planner asks: tables by the names that lowering gave them, functions from the shared state.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, SchemaRef, TimeUnit};
use datafusion::catalog::Session;
use datafusion::catalog::cte_worktable::CteWorkTable;
use datafusion::common::{DFSchema, Result, TableReference, plan_datafusion_err};
use datafusion::config::ConfigOptions;
use datafusion::datasource::{TableProvider, provider_as_source};
use datafusion::logical_expr::planner::{ContextProvider, ExprPlanner, TypePlanner};
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{AggregateUDF, Expr, HigherOrderUDF, ScalarUDF, TableSource, WindowUDF};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use sqlparser::ast;

use super::PlanContext;
use super::coerce::EarlyCoercion;
use super::state::QueryState;

/// The names of one statement.
pub(super) struct Provider<'a> {
    /// Functions and options.
    pub state: &'a QueryState,
    /// Tables by the unique names that lowering gave them.
    pub tables: &'a HashMap<String, Arc<dyn TableProvider>>,
    /// What is asked before DataFusion's own rules, and they.
    pub expr_planners: Vec<Arc<dyn ExprPlanner>>,
}

impl<'a> Provider<'a> {
    /// What SQL may name in one statement.
    #[must_use]
    pub(super) fn new(
        state: &'a QueryState,
        tables: &'a HashMap<String, Arc<dyn TableProvider>>,
        context: &Arc<PlanContext>,
    ) -> Self {
        let early: Arc<dyn ExprPlanner> = Arc::new(EarlyCoercion(Arc::clone(context)));
        let expr_planners = std::iter::once(early).chain(state.shared().expr_planners().iter().cloned()).collect();
        Self { state, tables, expr_planners }
    }
}

impl ContextProvider for Provider<'_> {
    fn get_table_source(&self, name: TableReference) -> Result<Arc<dyn TableSource>> {
        let table = self.tables.get(name.table());
        table.cloned().map(provider_as_source).ok_or_else(|| plan_datafusion_err!("table '{}' not found", name.table()))
    }

    fn get_table_function_source(&self, name: &str, args: Vec<Expr>) -> Result<Arc<dyn TableSource>> {
        let function = self.state.shared().table_functions().get(name).cloned();
        let function = function.ok_or_else(|| plan_datafusion_err!("table function '{name}' not found"))?;
        let context = SimplifyContext::builder()
            .with_config_options(Arc::clone(self.state.config().options()))
            .with_query_execution_start_time(self.state.execution_props().query_execution_start_time)
            .build();
        let simplifier = ExprSimplifier::new(context);
        let schema = DFSchema::empty();
        let simple = |arg| simplifier.coerce(arg, &schema).and_then(|arg| simplifier.simplify(arg));
        let args = args.into_iter().map(simple).collect::<Result<Vec<_>>>()?;
        let args = datafusion::catalog::TableFunctionArgs::new(&args, self.state);
        Ok(provider_as_source(function.create_table_provider_with_args(args)?))
    }

    fn create_cte_work_table(&self, name: &str, schema: SchemaRef) -> Result<Arc<dyn TableSource>> {
        Ok(provider_as_source(Arc::new(CteWorkTable::new(name, schema))))
    }

    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        &self.expr_planners
    }

    fn get_type_planner(&self) -> Option<Arc<dyn TypePlanner>> {
        Some(Arc::new(Types))
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        self.state.scalar_functions().get(name).cloned()
    }

    fn get_higher_order_meta(&self, name: &str) -> Option<Arc<HigherOrderUDF>> {
        self.state.higher_order_functions().get(name).cloned()
    }

    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        self.state.aggregate_functions().get(name).cloned()
    }

    fn get_window_meta(&self, name: &str) -> Option<Arc<WindowUDF>> {
        self.state.window_functions().get(name).cloned()
    }

    fn get_variable_type(&self, _names: &[String]) -> Option<DataType> {
        None
    }

    fn options(&self) -> &ConfigOptions {
        self.state.config_options()
    }

    fn udf_names(&self) -> Vec<String> {
        self.state.scalar_functions().keys().cloned().collect()
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        self.state.higher_order_functions().keys().cloned().collect()
    }

    fn udaf_names(&self) -> Vec<String> {
        self.state.aggregate_functions().keys().cloned().collect()
    }

    fn udwf_names(&self) -> Vec<String> {
        self.state.window_functions().keys().cloned().collect()
    }
}

/// The types that are others here than in DataFusion.
#[derive(Debug)]
struct Types;

impl TypePlanner for Types {
    fn plan_type(&self, written: &ast::DataType) -> Result<Option<DataType>> {
        let utc = || Some(Arc::from("UTC"));
        Ok(match written {
            ast::DataType::Timestamp(_, ast::TimezoneInfo::Tz | ast::TimezoneInfo::WithTimeZone) => {
                Some(DataType::Timestamp(TimeUnit::Microsecond, utc()))
            }
            ast::DataType::Timestamp(..) => Some(DataType::Timestamp(TimeUnit::Microsecond, None)),
            ast::DataType::TinyInt(_) => Some(DataType::Int16),
            ast::DataType::JSON | ast::DataType::JSONB => Some(DataType::Utf8),
            ast::DataType::Bytea | ast::DataType::Varbinary(_) => Some(DataType::Binary),
            ast::DataType::Float(_) => Some(DataType::Float64),
            _ => None,
        })
    }
}
