//! What planning depends on besides the statement: one value, so that planning is a pure function of it.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::logical_expr::LogicalPlan;
use model::write::Overlay;
use model::{Catalog, Suid};
use tokio::time::Instant;

use super::pushdown::Pushdown;
use crate::catalogs::CatalogContext;
use crate::pgtype::PgType;
use crate::pgvalue::TimeZone;
use crate::session::OutputColumn;

/// The session as planning sees it.
#[derive(Clone, Debug)]
pub struct PlanContext {
    /// The metadata that the statement is planned on.
    pub catalog: Arc<Catalog>,
    /// The current database.
    pub database: String,
    /// `search_path`: `public` and `pg_catalog` are meant anyway.
    pub search_path: Vec<String>,
    /// `TimeZone`: calendar windows, times without a zone.
    pub timezone: TimeZone,
    /// Microseconds since the epoch: what `now()` is in this statement or transaction.
    pub now_us: i64,
    /// Who asks.
    pub user: String,
    /// The backend's process id on the wire.
    pub backend: i32,
    /// `division = 'double'`: `7 / 2` is 3.5.
    pub double_division: bool,
    /// What of a query vgroups may do.
    pub pushdown: Pushdown,
    /// What the transaction holds and its own reads must see.
    pub overlay: HashMap<Suid, Overlay>,
    /// What system tables and session functions see beyond this (settings, address, observer); its catalog is replaced
    /// by the one that the statement is planned on. None: made of what is here.
    pub catalogs: Option<Arc<CatalogContext>>,
    /// When the statement is to be cancelled (57014).
    pub deadline: Option<Instant>,
    /// The statement's own text, for positions in errors. Empty if unknown.
    pub text: Arc<str>,
}

impl PlanContext {
    /// A context with PostgreSQL's defaults: UTC, integer division, nothing held, no deadline.
    #[must_use]
    pub fn new(catalog: Arc<Catalog>, database: impl Into<String>, now_us: i64) -> Self {
        Self {
            catalog,
            database: database.into(),
            search_path: vec!["public".into()],
            timezone: TimeZone::UTC,
            now_us,
            user: "root".into(),
            backend: 0,
            double_division: false,
            pushdown: Pushdown::default(),
            overlay: HashMap::new(),
            catalogs: None,
            deadline: None,
            text: Arc::from(""),
        }
    }
}

/// A query that is planned and waits for its parameters.
#[derive(Clone, Debug)]
pub struct Planned {
    /// The plan, not yet optimised; parameters are placeholders.
    pub plan: LogicalPlan,
    /// The columns of the result.
    pub columns: Arc<[OutputColumn]>,
    /// The types of `$1`, `$2`, … in order.
    pub parameters: Vec<PgType>,
    /// What it was planned with.
    pub context: Arc<PlanContext>,
    /// What its system tables and session functions see.
    pub catalogs: Arc<CatalogContext>,
}
