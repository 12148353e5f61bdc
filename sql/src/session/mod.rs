//! One client's session: what it has set, the transaction that it is in, and how a statement of it runs.
//!
//! Start reading at [`Session::execute`]. The server drives it: [`Session::parse`], then for each statement
//! [`Session::prepare`] and [`Session::execute`]. Nothing here knows of sockets or protocol messages.

mod coerce;
mod compact;
mod cursor;
mod ddl;
mod delete;
mod execute;
mod insert;
mod plain;
mod plans;
mod queries;
mod query_rows;
mod read_only;
mod repeat;
mod resolve;
mod reuse;
mod serial;
mod settings;
mod show;
mod staged;
mod tags;
mod transact;
mod transaction;

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};

use datafusion::arrow::datatypes::SchemaRef;
use model::catalog::ScramVerifier;
use model::scan::RowStream;
use model::{DataPlane, Result, SqlState};
use tokio::time::Instant;

pub use cursor::Kept;
pub use repeat::Repeated;
pub use settings::{LiveSettings, SERVER_VERSION, SERVER_VERSION_NUM, SETTINGS, Setting, Settings};
pub use transaction::HELD_BYTES_MAX;

use crate::catalogs::Observer;
use crate::literal::Reading;
use crate::parser::ParserOptions;
use crate::pgtype::PgType;
use crate::pgvalue::ValueSettings;
use crate::plan::{Memory, PlanContext, Planner};
use crate::statement::Parsed;

/// All that sessions of one process share.
pub struct Engine {
    plane: Arc<dyn DataPlane>,
    planner: Planner,
    /// Makes the verifier of a password: the wire's business, so the wire brings it.
    scram: Scram,
    /// Milliseconds since the epoch of the start.
    started_ms: i64,
    /// The numbers that SERIAL columns give next.
    serials: serial::Serials,
    /// Who knows of the other sessions.
    observer: OnceLock<Arc<dyn Observer>>,
    /// Plans of texts that come again and again.
    plans: plans::Plans,
}

/// Makes the verifier that is stored of a password.
pub type Scram = fn(&str) -> Result<ScramVerifier>;

impl Engine {
    /// An engine over a cluster.
    #[must_use]
    pub fn new(plane: Arc<dyn DataPlane>, planner: Planner, scram: Scram) -> Arc<Self> {
        let (started_ms, serials) = (wall_us() / 1000, serial::Serials::default());
        let plans = plans::Plans::default();
        Arc::new(Self { plane, planner, scram, started_ms, serials, observer: OnceLock::new(), plans })
    }

    /// Says who knows of the sessions, for `pg_stat_activity` and its kin. Once, before the first session.
    pub fn observed_by(&self, observer: Arc<dyn Observer>) {
        let _ = self.observer.set(observer);
    }

    /// Queries that ran by a plan of an earlier statement since the start, and those that were planned by themselves.
    #[must_use]
    pub fn plan_counts(&self) -> (u64, u64) {
        self.plans.counts()
    }

    /// The cluster.
    #[must_use]
    pub fn plane(&self) -> &Arc<dyn DataPlane> {
        &self.plane
    }

    /// The memory of queries and of statements under way.
    #[must_use]
    pub fn memory(&self) -> &Memory {
        self.planner.memory()
    }

    /// Starts a session for a user who has been authenticated.
    ///
    /// # Errors
    ///
    /// `InvalidCatalogName` if the database is not there, and what a startup parameter refuses.
    pub async fn session(self: &Arc<Self>, login: Login) -> Result<Session> {
        let database = self.database_at_login(&login).await?;
        let settings = LiveSettings::default();
        settings.change(|settings| {
            settings.set_user(&login.user);
            login.parameters.iter().try_for_each(|(name, value)| settings.set_at_startup(name, value))
        })?;
        Ok(Session {
            told: settings.now(),
            before: settings.now(),
            engine: self.clone(),
            login,
            database,
            settings,
            transaction: transaction::Transaction::new(self.memory().stage("the writes of a transaction")),
            open: None,
            cursors: HashMap::new(),
            prepared: HashMap::new(),
            notices: Vec::new(),
            first_cursor: 0,
            cursors_declared: 0,
            statements_kept: 0,
            advised: false,
            now_us: None,
            text: Arc::from(""),
            repeating: None,
        })
    }

    /// libpq's default database is the user's name: where no such database is, `postgres` is meant.
    async fn database_at_login(&self, login: &Login) -> Result<String> {
        let asked = if login.database.is_empty() { &login.user } else { &login.database };
        match resolve::database(&*self.plane, asked).await {
            Ok(database) => Ok(database.name.clone()),
            Err(error) if error.state() == SqlState::InvalidCatalogName && *asked == login.user => {
                Ok("postgres".to_owned())
            }
            Err(error) => Err(error),
        }
    }
}

/// One client's session.
pub struct Session {
    engine: Arc<Engine>,
    login: Login,
    /// The current database.
    database: String,
    settings: LiveSettings,
    /// The settings that the client was told of.
    told: Arc<Settings>,
    /// The settings at the start of the transaction: ROLLBACK comes back to them.
    before: Arc<Settings>,
    transaction: transaction::Transaction,
    /// Rows of the transaction that came by prepared INSERTs and are not held yet.
    open: Option<crate::insert::template::Open>,
    cursors: HashMap<String, cursor::Cursor>,
    prepared: HashMap<String, Kept>,
    notices: Vec<Notice>,
    /// Cursors from this number on were declared by the transaction in progress.
    first_cursor: u64,
    /// The number of the next cursor.
    cursors_declared: u64,
    /// The number of the last prepared statement.
    statements_kept: u64,
    /// The NOTICE about time series was given.
    advised: bool,
    /// `now()` of the transaction in progress.
    now_us: Option<i64>,
    /// The statement that runs, for positions.
    text: Arc<str>,
    /// The text of the statement that runs, if a plan is to be kept of it for others.
    repeating: Option<repeat::Skeleton>,
}

/// A statement that is ready to run, any number of times.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// What it says.
    pub parsed: Parsed,
    /// The types of `$1`, `$2`, … in order.
    pub parameters: Vec<PgType>,
    /// The columns of its result, None if it gives no rows.
    pub columns: Option<Arc<[OutputColumn]>>,
    /// An INSERT taken apart, so that it runs without its AST.
    pub(crate) insert: Option<Arc<crate::insert::template::Template>>,
    /// The plan that told these, if it is a query.
    plan: reuse::PlanCell,
}

impl Session {
    /// Takes a message apart.
    ///
    /// # Errors
    ///
    /// `SyntaxError` and its like, with the position in the message.
    pub fn parse(&self, sql: &str) -> Result<Vec<Parsed>> {
        crate::parser::parse(sql, &self.parser_options())
    }

    /// Takes a message apart whose statements are to run now, without parameters: the simple protocol's. As
    /// [`Session::parse`], but an INSERT alone in its message is not looked through before it runs; its text may be taken.
    ///
    /// # Errors
    ///
    /// As [`Session::parse`].
    pub fn parse_to_run(&self, sql: &mut String) -> Result<Vec<Parsed>> {
        // Where it would be refused before it is read, nobody would find its errors.
        if self.status() == TransactionStatus::Failed || self.settings.now().is_read_only() {
            return self.parse(sql);
        }
        crate::parser::parse_to_run(sql, &self.parser_options())
    }

    /// Where the session stands.
    #[must_use]
    pub fn status(&self) -> TransactionStatus {
        self.transaction.status()
    }

    /// The settings, for formats and timeouts.
    #[must_use]
    pub fn settings(&self) -> Arc<Settings> {
        self.settings.now()
    }

    /// The current database.
    #[must_use]
    pub fn database(&self) -> &str {
        &self.database
    }

    /// Who connected.
    #[must_use]
    pub fn login(&self) -> &Login {
        &self.login
    }

    /// Messages for the client since the last call.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        if self.notices.is_empty() {
            return Vec::new();
        }
        let settings = self.settings.now();
        std::mem::take(&mut self.notices).into_iter().filter(|notice| settings.passes(notice.severity)).collect()
    }

    /// Settings that clients are told of and that changed since the last call.
    pub fn take_parameter_changes(&mut self) -> Vec<(String, String)> {
        self.end_statement();
        let now = self.settings.now();
        if Arc::ptr_eq(&now, &self.told) {
            return Vec::new();
        }
        let before = std::mem::replace(&mut self.told, now.clone()).reported();
        now.reported().into_iter().filter(|setting| !before.contains(setting)).collect()
    }

    fn plane(&self) -> &dyn DataPlane {
        &*self.engine.plane
    }

    fn parser_options(&self) -> ParserOptions {
        ParserOptions { double_quotes_are_strings: self.settings.now().double_quotes_are_strings() }
    }

    /// Microseconds since the epoch: the start of the transaction, or of the statement.
    fn now_us(&self) -> i64 {
        self.now_us.unwrap_or_else(wall_us)
    }

    fn reading(&self) -> Reading {
        Reading { timezone: self.settings.now().zone(), now_nanos: self.now_us().saturating_mul(1000) }
    }

    /// How values of this session are printed and read.
    #[must_use]
    pub fn value_settings(&self) -> ValueSettings {
        let mut of = self.settings.now().values();
        of.oid_names = Some(Arc::new(self.catalog_context()));
        of
    }

    fn plan_context(&self) -> Arc<PlanContext> {
        let catalog = self.engine.plane.catalog();
        let settings = self.settings.now();
        let mut context = PlanContext::new(catalog.clone(), &self.database, self.now_us());
        context.timezone = settings.zone();
        context.user = self.login.user.clone();
        context.backend = self.login.backend;
        context.double_division = settings.double_division();
        context.pushdown = settings.pushdown();
        context.deadline = settings.statement_timeout().map(|timeout| Instant::now() + timeout);
        context.text = self.text.clone();
        context.catalogs = Some(Arc::new(self.catalog_context()));
        if self.transaction.is_dirty() {
            let relations = catalog.databases.values().flat_map(|database| database.relations.values());
            for relation in relations {
                let overlay = self.transaction.overlay(relation.suid);
                if !overlay.is_empty() {
                    context.overlay.insert(relation.suid, overlay);
                }
            }
        }
        Arc::new(context)
    }

    /// Writes a batch, or holds it in a transaction. What is held has no effect to tell of yet.
    async fn write(&mut self, mut batch: model::write::WriteBatch) -> Result<model::write::Effect> {
        if self.transaction.holds() {
            self.create_held_children(&mut batch).await?;
            self.transaction.hold(batch)?;
            return Ok(model::write::Effect::default());
        }
        self.engine.plane.write(batch).await?.total()
    }
}

/// Microseconds since the epoch.
fn wall_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// Who connects, and with what.
#[derive(Clone, Debug, Default)]
pub struct Login {
    /// The user, already authenticated.
    pub user: String,
    /// The database asked for.
    pub database: String,
    /// Startup parameters that are settings: `application_name`, `TimeZone`, `DateStyle`, `client_encoding`, …
    pub parameters: Vec<(String, String)>,
    /// The backend's process id on the wire.
    pub backend: i32,
    /// The client's address.
    pub address: String,
}

/// Where a session stands (the status byte of ReadyForQuery).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionStatus {
    /// `I`.
    Idle,
    /// `T`.
    InBlock,
    /// `E`.
    Failed,
}

/// One column of a result.
#[derive(Clone, Debug, PartialEq)]
pub struct OutputColumn {
    /// As PostgreSQL names it: `count`, `?column?`.
    pub name: String,
    /// Its type on the wire.
    pub pg_type: PgType,
    /// Type modifier, -1 for none.
    pub typmod: i32,
    /// Oid of the table that it comes from, 0 for an expression.
    pub table_oid: u32,
    /// Its number in that table, 0 for an expression.
    pub attnum: i16,
}

/// A parameter of Bind.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// NULL, or the bytes as they came.
    pub value: Option<bytes::Bytes>,
    /// Binary format; otherwise text.
    pub binary: bool,
}

/// Rows on their way to the client.
pub struct Rows {
    /// What they are made of.
    pub columns: Arc<[OutputColumn]>,
    /// The Arrow schema of the batches: as many fields as `columns`.
    pub schema: SchemaRef,
    /// The batches. Dropping it cancels the work.
    pub stream: RowStream,
    /// The first word of the command tag: `SELECT`, `FETCH`, `SHOW`, `EXPLAIN`.
    pub tag: &'static str,
    /// Rows of a BINARY cursor: the simple protocol sends them in binary format.
    pub binary: bool,
}

/// What a statement gave.
pub enum Outcome {
    /// The query text held no statement.
    Empty,
    /// The command tag, such as `INSERT 0 3`.
    Command(String),
    /// Rows; the tag is sent after the last one.
    Rows(Rows),
    /// The client is to send data; feed it to [`crate::copy::CopyIn`].
    CopyIn(Box<crate::copy::CopyIn>),
    /// Rows to be sent as COPY data in this format.
    CopyOut(Rows, crate::copy::CopyFormat),
}

/// A message beside the result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// `NOTICE` or `WARNING`.
    pub severity: &'static str,
    /// Five characters.
    pub code: &'static str,
    /// One line.
    pub message: String,
}
