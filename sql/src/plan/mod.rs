//! From a SELECT to rows: names are looked up, [`crate::lower`] makes plain SQL of TDengine's, DataFusion plans it,
//! and the leaves scan vgroups.
//!
//! Start reading at [`Planner::plan_query`]. Only the lookup of names is asynchronous; what follows is a pure function of
//! the statement, the resolved names and the [`PlanContext`].

mod context;

use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::scalar::ScalarValue;
use model::scan::RowStream;
use model::{DataPlane, Result};
use sqlparser::ast;

pub use context::{PlanContext, Planned};

use crate::pgtype::PgType;

/// Settings of query execution.
#[derive(Clone, Debug)]
pub struct PlannerSettings {
    /// Parallelism of one query: partitions of repartitioned data.
    pub target_partitions: usize,
    /// Rows in a batch.
    pub batch_rows: usize,
    /// Bytes that all running queries may hold together; sorts and aggregates spill beyond it, others fail with 53200.
    pub memory_bytes: usize,
}

impl Default for PlannerSettings {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self { target_partitions: cores, batch_rows: 8192, memory_bytes: 1 << 30 }
    }
}

/// Plans and runs queries of one process.
pub struct Planner {
    plane: Arc<dyn DataPlane>,
}

impl Planner {
    /// A planner over this cluster.
    ///
    /// # Errors
    ///
    /// If the settings make no sense to DataFusion.
    pub fn new(plane: Arc<dyn DataPlane>, settings: &PlannerSettings) -> Result<Self> {
        let _ = settings;
        Ok(Self { plane })
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
        let _ = (query, context, parameter_types, &self.plane);
        model::fail!(FeatureNotSupported, "queries are not planned yet")
    }

    /// Runs a planned query. `values` has one value of `PgType::arrow` per parameter.
    ///
    /// # Errors
    ///
    /// What can be refused before the first row; the rest comes in the stream.
    pub async fn execute(&self, planned: &Planned, values: Vec<ScalarValue>) -> Result<(SchemaRef, RowStream)> {
        let _ = (planned, values);
        model::fail!(FeatureNotSupported, "queries are not run yet")
    }

    /// Explains a planned query: one text column `QUERY PLAN`, one row per line (one row in all with `json`).
    ///
    /// # Errors
    ///
    /// As [`Planner::execute`].
    pub async fn explain(
        &self,
        planned: &Planned,
        values: Vec<ScalarValue>,
        options: ExplainOptions,
    ) -> Result<(SchemaRef, RowStream)> {
        let _ = (planned, values, options);
        model::fail!(FeatureNotSupported, "EXPLAIN is not there yet")
    }
}

/// What EXPLAIN was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExplainOptions {
    /// Run it, and show rows, time and bytes per operator.
    pub analyze: bool,
    /// The logical plan too.
    pub verbose: bool,
    /// One JSON document.
    pub json: bool,
}
