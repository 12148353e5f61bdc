//! From a SELECT to rows: names are looked up, [`crate::lower`] makes plain SQL of TDengine's, DataFusion plans it,
//! and the leaves scan vgroups.
//!
//! Start reading at [`Planner::plan_query`]. Only the lookup of names is asynchronous; what follows is a pure function of
//! the statement, the resolved names and the [`PlanContext`].

pub mod coerce;
mod context;
pub mod error;
mod explain;
pub mod fill;
pub mod filter;
mod lateral;
mod memory;
mod merges;
pub mod names;
mod output;
mod parameters;
mod places;
mod provider;
pub mod pushdown;
mod state;
mod states;
pub mod system;
pub mod table;
pub mod template;
#[cfg(test)]
mod tests;
pub mod types;

use std::sync::Arc;

use datafusion::arrow::datatypes::{Field, FieldRef, SchemaRef};
use datafusion::catalog::Session;
use datafusion::common::ScalarValue;
use datafusion::execution::TaskContext;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use datafusion::sql::planner::{NullOrdering, ParserOptions, PlannerContext, SqlToRel};
use futures::StreamExt;
use model::scan::RowStream;
use model::{DataPlane, Result, fail};
use sqlparser::ast;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

pub use context::{PlanContext, Planned};
pub use explain::ExplainOptions;
pub use memory::{Memory, ProcessMemory, QueryMemory, TempFiles};

use crate::lower::{Lowered, lower};
use crate::pgtype::PgType;
use error::from_datafusion;
use state::QueryState;
use states::States;

/// Settings of query execution.
#[derive(Clone, Debug)]
pub struct PlannerSettings {
    /// Parallelism of one query: partitions of repartitioned data.
    pub target_partitions: usize,
    /// Rows in a batch.
    pub batch_rows: usize,
    /// Bytes that all running queries may hold together; sorts and aggregates spill beyond it, others fail with 53200.
    pub memory_bytes: usize,
    /// Bytes that rows of statements under way and open transactions may take together.
    pub staging_bytes: usize,
    /// Where what does not fit goes; None: the system's temporary folder.
    pub temp: Option<TempFiles>,
    /// What the process holds; None: nobody looks.
    pub process: Option<ProcessMemory>,
    /// Whose threads the work of queries holds, which may not yield for long; None: those of the caller.
    pub threads: Option<Handle>,
}

impl Default for PlannerSettings {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            target_partitions: cores,
            batch_rows: 8192,
            memory_bytes: 1 << 30,
            staging_bytes: 256 << 20,
            temp: None,
            process: None,
            threads: None,
        }
    }
}

/// Parameters that a statement may have, as many as the wire protocol can say.
pub const PARAMETERS_MAX: usize = 65_535;

/// Plans and runs queries of one process.
pub struct Planner {
    plane: Arc<dyn DataPlane>,
    memory: Memory,
    states: States,
    threads: Option<Handle>,
}

impl Planner {
    /// A planner over this cluster.
    ///
    /// # Errors
    ///
    /// If the settings make no sense to DataFusion.
    pub fn new(plane: Arc<dyn DataPlane>, settings: &PlannerSettings) -> Result<Self> {
        let memory = Memory::new(settings).map_err(from_datafusion)?;
        Ok(Self { plane, states: States::new(settings, &memory)?, memory, threads: settings.threads.clone() })
    }

    /// The memory of queries and of statements under way.
    #[must_use]
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Plans a query. `parameter_types[n]` is what the client said of `$n+1`; None and missing ones are inferred.
    ///
    /// # Errors
    ///
    /// Whatever is wrong with the query, with its SQLSTATE and place.
    pub async fn plan_query(
        &self,
        query: &ast::Query,
        context: Arc<PlanContext>,
        parameter_types: &[Option<PgType>],
    ) -> Result<Planned> {
        let names = names::resolve(self.plane.as_ref(), query, &context).await?;
        let catalogs = system::context(&self.plane, &names.catalog, &context);
        let mut types = parameter_types_of(query, parameter_types)?;
        let lowered = lower(query, &names, &context, &catalogs)?;
        let state = self.states.for_planning(&context, &catalogs);
        let place = |error: model::Error| places::placed(error, query);
        self.infer(&state, &lowered, &context, &mut types, query).map_err(place)?;
        let parameters = types.decided();
        let fields = parameters.iter().enumerate().map(|(n, pg)| Some(parameter_field(n, *pg))).collect();
        let plan = self.logical(&state, &lowered, &context, fields, query).map_err(place)?;
        let columns = output::columns(&plan);
        let lookups = names.lookups.into();
        Ok(Planned { plan, columns, parameters, context, catalogs, lookups })
    }

    /// The logical plan of a lowered query.
    fn logical(
        &self,
        state: &QueryState,
        lowered: &Lowered,
        context: &Arc<PlanContext>,
        parameters: Vec<Option<FieldRef>>,
        query: &ast::Query,
    ) -> Result<LogicalPlan> {
        let provider = provider::Provider::new(state, &lowered.tables, context);
        let options = ParserOptions {
            parse_float_as_decimal: true,
            enable_ident_normalization: true,
            support_varchar_with_length: true,
            enable_options_value_normalization: false,
            collect_spans: false,
            map_string_types_to_utf8view: false,
            default_null_ordering: NullOrdering::NullsMax,
        };
        let planner = SqlToRel::new_with_options(&provider, options);
        let mut planning = PlannerContext::new().with_prepare_param_data_types(parameters);
        let statement = ast::Statement::Query(Box::new(lowered.query.clone()));
        let plan = planner.sql_statement_to_plan_with_context(statement, &mut planning);
        let place = |fault| places::placed_fault(fault, query);
        let plan = lateral::flatten(plan.map_err(place)?).map_err(place)?;
        let plan = coerce::coerce(plan, context).map_err(place)?;
        fill::insert(plan, &lowered.fills).map_err(from_datafusion)
    }

    /// Finds the types of parameters that nobody said by planning without them.
    fn infer(
        &self,
        state: &QueryState,
        lowered: &Lowered,
        context: &Arc<PlanContext>,
        types: &mut parameters::Types,
        query: &ast::Query,
    ) -> Result<()> {
        if types.known().iter().all(Option::is_some) {
            return Ok(());
        }
        let field = |(n, of): (usize, &Option<PgType>)| of.map(|of| parameter_field(n, of));
        let known = types.known().iter().enumerate().map(field).collect();
        // What cannot be planned without all types is planned with text for those that are not known.
        if let Ok(plan) = self.logical(state, lowered, context, known, query) {
            parameters::implied(&plan, types).map_err(from_datafusion)?;
        }
        Ok(())
    }

    /// Runs a planned query. `values` has one value of `PgType::arrow` per parameter.
    ///
    /// # Errors
    ///
    /// What can be refused before the first row; the rest comes in the stream.
    pub async fn execute(&self, planned: &Planned, values: Vec<ScalarValue>) -> Result<(SchemaRef, RowStream)> {
        let (state, plan) = self.physical(planned, values).await?;
        let schema = plan.schema();
        Ok((schema, self.run(plan, state.task_ctx(), planned.context.deadline)?))
    }

    /// Runs a physical plan on the threads of queries.
    fn run(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        tasks: Arc<TaskContext>,
        deadline: Option<Instant>,
    ) -> Result<RowStream> {
        let threads = self.threads.clone().unwrap_or_else(Handle::current);
        // Operators spawn tasks of their own, already here.
        let entered = threads.enter();
        let stream = execute_stream(plan, tasks).map_err(from_datafusion)?;
        drop(entered);
        let stream = apart(Box::pin(stream.map(|batch| batch.map_err(from_datafusion))), &threads);
        // Whoever fetches behind the end finds it again.
        Ok(within(stream, deadline).fuse().boxed())
    }

    /// The physical plan with its parameters filled in.
    async fn physical(
        &self,
        planned: &Planned,
        values: Vec<ScalarValue>,
    ) -> Result<(QueryState, Arc<dyn ExecutionPlan>)> {
        let plan = self.bound(planned, values)?;
        let mut state = self.states.for_running(&plan, &planned.context, &planned.catalogs);
        let making = async {
            let plan = Session::optimize(&state, &plan).map_err(unplannable)?;
            states::narrow(&mut state, &plan);
            state.query_planner().create_physical_plan(&plan, &state).await.map_err(unplannable)
        };
        let plan = match planned.context.deadline {
            None => making.await?,
            Some(deadline) => tokio::time::timeout_at(deadline, making).await.map_err(|_| timed_out())??,
        };
        Ok((state, plan))
    }

    pub(crate) fn bound(&self, planned: &Planned, values: Vec<ScalarValue>) -> Result<LogicalPlan> {
        let (given, wanted) = (values.len(), planned.parameters.len());
        if given != wanted {
            fail!(ProtocolViolation, "bind message supplies {given} parameters, but the statement requires {wanted}");
        }
        if values.is_empty() {
            return Ok(planned.plan.clone());
        }
        let plan = planned.plan.clone().with_param_values(values).map_err(from_datafusion)?;
        // A parameter beside a timestamp is only now a literal.
        coerce::coerce(plan, &planned.context).map_err(from_datafusion)
    }
}

/// Names were found when the query was planned: if one is missing later, a subquery was not taken apart.
fn unplannable(fault: datafusion::error::DataFusionError) -> model::Error {
    let error = from_datafusion(fault);
    match error.state() {
        model::SqlState::UndefinedColumn | model::SqlState::UndefinedTable => error::unsupported_subquery(),
        _ => error,
    }
}

/// What the client and the text say of the parameters of a query.
fn parameter_types_of(query: &ast::Query, given: &[Option<PgType>]) -> Result<parameters::Types> {
    let count = output::highest_parameter(query)?.max(given.len());
    if count > PARAMETERS_MAX {
        fail!(StatementTooComplex, "a statement has at most {PARAMETERS_MAX} parameters");
    }
    let mut types = parameters::Types::given(given, count);
    if count > 0 {
        parameters::stated(query, &mut types);
    }
    Ok(types)
}

fn parameter_field(n: usize, pg: PgType) -> FieldRef {
    let field = Field::new(format!("${}", n + 1), pg.arrow(), true);
    if PgType::of(&field) == pg {
        return Arc::new(field);
    }
    // It shares its Arrow type with another.
    let oid = (crate::pgtype::PG_OID.to_owned(), pg.oid.to_string());
    Arc::new(field.with_metadata([oid].into()))
}

fn register(state: &mut datafusion::execution::context::SessionState) -> datafusion::common::Result<()> {
    use datafusion::execution::FunctionRegistry;
    for function in crate::functions::window::all().into_iter().chain(crate::functions::timeseries::scalars()) {
        state.register_udf(Arc::new(function))?;
    }
    for function in crate::functions::aggregate::all() {
        state.register_udaf(Arc::new(function))?;
    }
    for function in crate::functions::timeseries::windows() {
        state.register_udwf(Arc::new(function))?;
    }
    crate::functions::pg::register(state)
}

fn timed_out() -> model::Error {
    model::error!(QueryCanceled, "canceling statement due to statement timeout")
}

/// The rows, until the statement's time is up.
fn within(stream: RowStream, deadline: Option<Instant>) -> RowStream {
    let Some(deadline) = deadline else { return stream };
    Box::pin(futures::stream::unfold(Some(stream), move |stream| async move {
        let mut stream = stream?;
        if Instant::now() >= deadline {
            return Some((Err(timed_out()), None));
        }
        match tokio::time::timeout_at(deadline, stream.next()).await {
            Ok(Some(batch)) => Some((batch, Some(stream))),
            Ok(None) => None,
            Err(_) => Some((Err(timed_out()), None)),
        }
    }))
}

/// Batches that a running query may be ahead of its reader.
const BATCHES_AHEAD: usize = 2;

/// Runs a stream in a task of its own, so that a reader is never held up by work that does not yield: it can stop waiting
/// at once. Dropping the result ends the task at its next yield.
fn apart(mut stream: RowStream, threads: &Handle) -> RowStream {
    struct Running(Option<JoinHandle<()>>);
    impl Drop for Running {
        fn drop(&mut self) {
            if let Some(task) = &self.0 {
                task.abort();
            }
        }
    }
    let (sender, receiver) = mpsc::channel(BATCHES_AHEAD);
    let task = threads.spawn(async move {
        while let Some(batch) = stream.next().await {
            if sender.send(batch).await.is_err() {
                break;
            }
        }
    });
    Box::pin(futures::stream::unfold((receiver, Running(Some(task))), |(mut receiver, mut running)| async move {
        if let Some(batch) = receiver.recv().await {
            return Some((batch, (receiver, running)));
        }
        // A task that panicked has not come to the end of the rows.
        match running.0.take()?.await {
            Ok(()) => None,
            Err(failure) => {
                Some((Err(model::Error::internal(format!("the query broke: {failure}"))), (receiver, running)))
            }
        }
    }))
}
