//! What planning depends on besides the statement: one value, so that planning is a pure function of it.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use datafusion::catalog::default_table_source::source_as_provider;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::logical_expr::LogicalPlan;
use model::write::Overlay;
use model::{Catalog, DataPlane, Result, Suid};
use tokio::time::Instant;

use super::names::Lookup;
use super::pushdown::Pushdown;
use super::table::RelationTable;
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
    /// Microseconds since the epoch: what `now()` is in this statement or transaction. What goes into the plan is taken
    /// from [`PlanContext::now`].
    pub now_us: i64,
    /// Whether the plan has this time in it.
    pub(super) dated: Arc<AtomicBool>,
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
            dated: Arc::default(),
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

    /// The same without what the session may still change.
    pub(super) fn detached(&self) -> Self {
        let catalogs = self.catalogs.as_ref().map(|own| {
            let settings = own.settings.detached();
            Arc::new(CatalogContext { settings, observer: None, ..own.as_ref().clone() })
        });
        Self { catalogs, deadline: None, text: Arc::from(""), dated: Arc::default(), ..self.clone() }
    }

    /// What `now()` is, for a plan that is then of this statement only.
    pub(crate) fn now(&self) -> i64 {
        self.dated.store(true, Ordering::Relaxed);
        self.now_us
    }

    /// Whether a plan that was made in this context has its time in it.
    pub(super) fn is_dated(&self) -> bool {
        self.dated.load(Ordering::Relaxed)
    }

    /// Whether a plan that was made in the one context is what the other would give, if it asks for no time and no system
    /// table. Metadata is compared by its identity: whatever changes in it makes another one.
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        // Every field is named, so that a new one is thought of.
        let Self {
            catalog,
            database,
            search_path,
            timezone,
            now_us: _,
            dated: _,
            user,
            backend: _,
            double_division,
            pushdown,
            overlay,
            catalogs: _,
            deadline: _,
            text: _,
        } = self;
        Arc::ptr_eq(catalog, &other.catalog)
            && *database == other.database
            && *search_path == other.search_path
            && *timezone == other.timezone
            && *user == other.user
            && *double_division == other.double_division
            && *pushdown == other.pushdown
            && overlay.is_empty()
            && other.overlay.is_empty()
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
    /// The names that vgroups were asked for, and what they said.
    pub(super) lookups: Arc<[Lookup]>,
}

impl Planned {
    /// Whether other statements may use the plan: it knows of nothing but the tables that it reads and what
    /// [`PlanContext::is_like`] compares.
    #[must_use]
    pub fn is_lasting(&self) -> bool {
        let known = Arc::ptr_eq(&self.catalogs.catalog, &self.context.catalog);
        known && !self.context.is_dated() && self.context.overlay.is_empty() && reads_relations(&self.plan)
    }

    /// The same plan for another statement; None if that would be planned otherwise.
    ///
    /// # Errors
    ///
    /// As [`DataPlane::lookup`].
    pub async fn again(&self, plane: &Arc<dyn DataPlane>, context: Arc<PlanContext>) -> Result<Option<Self>> {
        if !self.context.is_like(&context) || !self.is_lasting() || !self.still_means(plane.as_ref()).await? {
            return Ok(None);
        }
        let catalogs = super::system::context(plane, &context.catalog, &context);
        Ok(Some(Self { context, catalogs, ..self.clone() }))
    }

    /// Whether the names that vgroups know still mean the same.
    pub(super) async fn still_means(&self, plane: &dyn DataPlane) -> Result<bool> {
        for lookup in self.lookups.iter() {
            if !lookup.holds(plane).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Whether all that a plan reads are tables of ours.
fn reads_relations(plan: &LogicalPlan) -> bool {
    let mut only = true;
    let visited = plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            let provider = source_as_provider(&scan.source).ok();
            only &= provider.is_some_and(|provider| provider.is::<RelationTable>());
        }
        Ok(if only { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
    });
    visited.is_ok() && only
}
