//! The catalogs that clients read: `pg_catalog`, `information_schema` with TDengine's `ins_*`, `performance_schema`.
//!
//! Rows are made from [`model::Catalog`] when a query runs, for the current database only, as in PostgreSQL. Children of
//! super tables are not in `pg_class`: a client that lists tables must not meet a million of them. `ins_tables` and
//! `ins_tags` have them, read from the vgroups.
//! Start reading at [`table`]. [`relations`] has the columns, [`pg`] and its neighbours the rows, [`names`] the oids.

pub mod describe;
pub mod information;
pub mod names;
pub mod pg;
mod provider;
pub mod relations;
pub mod rows;
pub mod show;
#[cfg(test)]
mod show_tests;
pub mod statics;
pub mod tdengine;
#[cfg(test)]
pub(crate) mod tests;

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::common::config::{ConfigEntry, ConfigExtension, ExtensionOptions};
use model::catalog::{Database, View};
use model::{Catalog, DataPlane};

use crate::pgtype::PgType;
use crate::session::LiveSettings;

/// `server_version`: the release of PostgreSQL whose catalogs and functions are offered.
pub const SERVER_VERSION: &str = "15.18";

/// All that catalog tables and session functions depend on. Built once per statement.
#[derive(Clone)]
pub struct CatalogContext {
    /// The metadata that the statement is planned on.
    pub catalog: Arc<Catalog>,
    /// Where child tables are read from.
    pub plane: Arc<dyn DataPlane>,
    /// `current_database()`.
    pub database: String,
    /// `current_user`.
    pub user: String,
    /// `search_path` as it stands; `pg_catalog` is meant anyway.
    pub search_path: Vec<String>,
    /// The settings of the session, which its functions read and change.
    pub settings: LiveSettings,
    /// `pg_backend_pid()`.
    pub backend: i32,
    /// The client's address, empty if unknown.
    pub address: String,
    /// Microseconds since the epoch: `now()`.
    pub now_us: i64,
    /// Milliseconds since the epoch of the server's start.
    pub started_ms: i64,
    /// What the server knows of itself beyond the catalog.
    pub observer: Option<Arc<dyn Observer>>,
}

/// What only the server knows: sessions, running queries, columns of views. Every answer may be empty.
pub trait Observer: Send + Sync {
    /// Name and type of a view's columns, in order.
    fn view_columns(&self, _database: &Database, _view: &View) -> Vec<(String, PgType)> {
        Vec::new()
    }

    /// Sessions, for `perf_connections` and `pg_stat_activity`.
    fn connections(&self) -> Vec<Connection>;

    /// Stops the statement of a session, or ends the session; false if there is none of this process id.
    fn signal(&self, _backend: i32, _terminate: bool) -> bool {
        false
    }
}

/// One session of the server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Connection {
    /// The backend's process id on the wire.
    pub backend: i32,
    /// Who.
    pub user: String,
    /// Its current database.
    pub database: String,
    /// `application_name`.
    pub application: String,
    /// The client's address.
    pub address: String,
    /// Milliseconds since the epoch of the login.
    pub login_ms: i64,
    /// Milliseconds since the epoch of the start of the last statement.
    pub query_ms: i64,
    /// The running or last statement.
    pub query: String,
    /// `active`, `idle`, `idle in transaction`, `idle in transaction (aborted)`.
    pub state: &'static str,
}

impl fmt::Debug for CatalogContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CatalogContext({} as {})", self.database, self.user)
    }
}

impl CatalogContext {
    /// A context with PostgreSQL's defaults.
    #[must_use]
    pub fn new(
        catalog: Arc<Catalog>,
        plane: Arc<dyn DataPlane>,
        database: impl Into<String>,
        user: impl Into<String>,
    ) -> Self {
        let (database, user) = (database.into(), user.into());
        Self {
            catalog,
            plane,
            database,
            user,
            search_path: vec!["public".into()],
            settings: LiveSettings::default(),
            backend: 0,
            address: String::new(),
            now_us: 0,
            started_ms: 0,
            observer: None,
        }
    }

    /// The current database, if it exists.
    #[must_use]
    pub fn current(&self) -> Option<&Arc<Database>> {
        self.catalog.database(&self.database)
    }

    /// The value of a setting in the unit that it is kept in: the session's, or the default.
    #[must_use]
    pub fn setting(&self, name: &str) -> Option<String> {
        let own = self.settings.now().get(name).map(str::to_owned);
        own.or_else(|| statics::default_setting(name).map(str::to_owned))
    }

    /// The value of a setting as SHOW prints it.
    #[must_use]
    pub fn shown_setting(&self, name: &str) -> Option<String> {
        let own = self.settings.now().shown(name);
        own.or_else(|| statics::default_setting(name).map(str::to_owned))
    }

    /// As an extension of DataFusion's `ConfigOptions`, where the functions of [`crate::functions::pg`] look for it.
    #[must_use]
    pub fn extension(self: &Arc<Self>) -> SessionExtension {
        SessionExtension(Some(Arc::clone(self)))
    }
}

/// The table provider of a system relation, or None if there is none of that name.
#[must_use]
pub fn table(schema: &str, name: &str, context: &Arc<CatalogContext>) -> Option<Arc<dyn TableProvider>> {
    let relation = relations::find(schema, name)?;
    Some(Arc::new(provider::SystemTable::new(relation, Arc::clone(context))))
}

/// Whether `schema` is one of the system schemas.
#[must_use]
pub fn is_system_schema(schema: &str) -> bool {
    matches!(schema, "pg_catalog" | "information_schema" | "performance_schema")
}

/// Carries the [`CatalogContext`] of a statement through DataFusion's configuration.
#[derive(Clone, Debug, Default)]
pub struct SessionExtension(pub Option<Arc<CatalogContext>>);

impl ConfigExtension for SessionExtension {
    const PREFIX: &'static str = "marigraph";
}

impl ExtensionOptions for SessionExtension {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }

    fn cloned(&self) -> Box<dyn ExtensionOptions> {
        Box::new(self.clone())
    }

    fn set(&mut self, key: &str, _value: &str) -> datafusion::common::Result<()> {
        datafusion::common::config_err!("{key} is not set through DataFusion's options")
    }

    fn entries(&self) -> Vec<ConfigEntry> {
        Vec::new()
    }
}
