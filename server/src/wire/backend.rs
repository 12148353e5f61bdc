//! What the wire asks of the rest of the process: who may log in, and a session that runs statements.
//!
//! The protocol is written against these two traits so that its tests need no cluster. [`super::engine`] implements
//! them with `sql` and the catalog.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use model::Result;
use model::catalog::User;
use sql::copy::CopyIn;
use sql::pgtype::PgType;
use sql::pgvalue::ValueSettings;
use sql::session::{Kept, Login, Notice, Outcome, OutputColumn, Parameter, Rows, TransactionStatus};

/// Where sessions come from.
#[async_trait]
pub(crate) trait Backend: Send + Sync + 'static {
    /// What a connection talks to.
    type Session: WireSession;

    /// The user of this name.
    fn user(&self, name: &str) -> Option<User>;

    /// A session for an authenticated user.
    async fn open(&self, login: Login) -> Result<Self::Session>;
}

/// What a prepared statement takes and gives.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    /// Types of its parameters.
    pub(crate) parameters: Vec<PgType>,
    /// Columns of its result; None if it gives none.
    pub(crate) columns: Option<Arc<[OutputColumn]>>,
}

/// One client's session. Every future may be dropped at any await: the statement is then cancelled.
#[async_trait]
pub(crate) trait WireSession: Send {
    /// One statement of a query text.
    type Parsed: Send;
    /// A statement with its parameters' types settled.
    type Prepared: Send + Sync + 'static;

    /// The statements of a query text; none if it holds only spaces and comments.
    fn parse(&mut self, text: &str) -> Result<Vec<Self::Parsed>>;
    /// The statements of a query text that run now, without parameters. The text may be taken if it is one statement.
    fn parse_to_run(&mut self, text: &mut String) -> Result<Vec<Self::Parsed>> {
        self.parse(text)
    }
    /// The only statement of a query text that was planned before with other literals; None if it is to be parsed.
    fn recall(&mut self, _text: &str) -> Option<Self::Parsed> {
        None
    }
    /// Settles types; `types` are the oids that the client gave, 0 for unknown.
    async fn prepare(&mut self, parsed: Self::Parsed, types: &[u32]) -> Result<Self::Prepared>;
    /// What a prepared statement takes and gives.
    fn shape(&self, prepared: &Self::Prepared) -> Shape;
    /// Runs it.
    async fn execute(&mut self, prepared: &Self::Prepared, parameters: Vec<Parameter>) -> Result<Outcome>;
    /// Prepares a statement without parameters and runs it.
    async fn run_once(&mut self, parsed: Self::Parsed) -> Result<Outcome> {
        let prepared = self.prepare(parsed, &[]).await?;
        self.execute(&prepared, Vec::new()).await
    }
    /// Ends a COPY FROM whose data is complete; gives its command tag.
    async fn finish_copy(&mut self, copy: CopyIn) -> Result<String>;

    /// The next statement is in one transaction with those around it, unless they say otherwise: told before each.
    fn begin_implicit(&mut self);
    /// Ends what [`WireSession::begin_implicit`] began: commits if `ok`.
    async fn end_implicit(&mut self, ok: bool) -> Result<()>;
    /// A statement failed or was cancelled: an open transaction block has failed.
    fn fail(&mut self);

    /// Where the session stands.
    fn status(&self) -> TransactionStatus;
    /// The current database.
    fn database(&self) -> &str;
    /// How values are printed.
    fn settings(&self) -> Arc<ValueSettings>;
    /// `statement_timeout`; none if zero.
    fn statement_timeout(&self) -> Option<Duration>;
    /// How long the client may now be idle.
    fn idle_timeout(&self) -> Option<Duration>;
    /// All parameters that are reported to the client, after the start of the session.
    fn reported(&self) -> Vec<(String, String)>;
    /// The reported parameters that changed since the last call.
    fn take_parameter_changes(&mut self) -> Vec<(String, String)>;
    /// Messages beside the result since the last call.
    fn take_notices(&mut self) -> Vec<Notice>;

    /// Keeps a named statement, in one space of names with those of PREPARE; gives its number.
    fn keep(&mut self, name: &str, text: &str, types: &[u32]) -> Result<u64>;
    /// A named statement, if DEALLOCATE or [`WireSession::forget`] did not take it away.
    fn kept(&self, name: &str) -> Option<&Kept>;
    /// Forgets a named statement.
    fn forget(&mut self, name: &str);

    /// Columns of the SQL cursor of this name, which is a portal too, and whether it is BINARY.
    fn cursor(&self, name: &str) -> Option<(Arc<[OutputColumn]>, bool)>;
    /// Its next rows, `limit` at most.
    async fn fetch_portal(&mut self, name: &str, limit: Option<u64>) -> Result<Rows>;
    /// Closes it, if it is there.
    fn close_portal(&mut self, name: &str);
}
