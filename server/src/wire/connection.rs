//! One client, from its first ReadyForQuery to its end: messages in, messages out.
//!
//! Start reading at [`Connection::run`]. The simple protocol is here, the extended one in [`super::extended`].

use std::collections::HashMap;
use std::sync::Arc;

use model::{Result, error, fail};
use pgwire::messages::PgWireFrontendMessage as Message;
use pgwire::messages::response::EmptyQueryResponse;
use sql::copy::CopyIn;
use sql::session::{Outcome, TransactionStatus};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::backend::WireSession;
use super::extended::{Portal, Statement};
use super::frame::{Gone, Input};
use super::guard::{Guard, Phase, Stop, shutting_down};
use super::output::Output;
use super::registry::Activity;
use super::rows::{self, Cursor, Fetched};

/// One client with its session.
pub(crate) struct Connection<S: WireSession, R, W> {
    pub(super) session: S,
    pub(super) input: Input<R>,
    pub(super) output: Output<W>,
    pub(super) guard: Guard,
    activity: Arc<Activity>,
    /// Prepared statements by name; the unnamed one is the empty name.
    pub(super) statements: HashMap<String, Arc<Statement<S>>>,
    /// Portals by name; the unnamed one is the empty name.
    pub(super) portals: HashMap<String, Portal<S>>,
    /// An implicit transaction is open, to be ended by Sync.
    pub(super) implicit: bool,
    /// An error happened: messages of the extended protocol are passed over until Sync.
    pub(super) skipping: bool,
    /// Since ReadyForQuery nothing was read: when the client has been idle for too long.
    idle_until: Option<Instant>,
}

impl<S, R, W> Connection<S, R, W>
where
    S: WireSession,
    R: AsyncRead + Unpin + Send,
    W: AsyncWrite + Unpin + Send,
{
    pub(crate) fn new(session: S, input: Input<R>, output: Output<W>, guard: Guard, activity: Arc<Activity>) -> Self {
        Self {
            activity,
            session,
            input,
            output,
            guard,
            statements: HashMap::new(),
            portals: HashMap::new(),
            implicit: false,
            skipping: false,
            idle_until: None,
        }
    }

    /// Serves the client until it leaves or the process ends.
    pub(crate) async fn run(mut self) {
        self.begin_idling();
        loop {
            match self.turn().await {
                Ok(true) => {}
                Ok(false) | Err(Stop::Gone) => break,
                Err(Stop::Error(error) | Stop::Fatal(error)) => {
                    self.output.fatal(&error);
                    // The client may never read it.
                    let _ = tokio::time::timeout(super::FAREWELL, self.output.flush()).await;
                    self.output.close().await;
                    break;
                }
            }
        }
    }

    /// One message; false when the client says goodbye.
    async fn turn(&mut self) -> Result<bool, Stop> {
        let (kind, message) = self.next_message().await?;
        let simple = matches!(kind, b'Q' | b'F');
        let done = match message {
            Err(error) => Err(Stop::Error(error)),
            Ok(Message::Terminate(_)) => return Ok(false),
            Ok(Message::Query(query)) => self.simple(query.query).await,
            Ok(Message::Sync(_)) => return self.sync().await.map(|()| true),
            Ok(Message::PasswordMessageFamily(_)) => {
                return Err(Stop::Fatal(error!(ProtocolViolation, "unexpected password message")));
            }
            // What is left of a COPY that failed.
            Ok(Message::CopyData(_) | Message::CopyDone(_) | Message::CopyFail(_)) => return Ok(true),
            Ok(_) if self.skipping => return Ok(true),
            Ok(message) => self.extended(message).await,
        };
        match done {
            Ok(()) => {}
            Err(Stop::Error(error)) => {
                self.failed(&error);
                self.skipping = !simple;
            }
            Err(stop) => return Err(stop),
        }
        if simple {
            self.skipping = false;
            self.ready().await?;
        }
        Ok(true)
    }

    /// Waits for the next message. What was collected is sent before.
    async fn next_message(&mut self) -> Result<(u8, Result<Message>), Stop> {
        loop {
            if let Some(message) = self.input.message().map_err(Stop::Fatal)? {
                self.idle_until = None;
                return Ok(message);
            }
            self.flush().await?;
            let idle_until = self.idle_until;
            let too_long = async move {
                match idle_until {
                    Some(until) => tokio::time::sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                // A cancel that came while nothing ran has nothing to cancel.
                read = self.input.fill() => { read?; self.idle_until = None; self.guard.cancel.clear(); },
                () = self.guard.ended(Phase::Draining) => return Err(Stop::Fatal(shutting_down())),
                () = too_long => return Err(Stop::Fatal(self.idle_too_long())),
            }
        }
    }

    /// From now on the client is expected to send something.
    fn begin_idling(&mut self) {
        self.idle_until = self.session.idle_timeout().map(|timeout| Instant::now() + timeout);
    }

    fn idle_too_long(&self) -> model::Error {
        match self.session.status() {
            TransactionStatus::Idle => {
                error!(IdleSessionTimeout, "terminating connection due to idle-session timeout")
            }
            _ => error!(IdleInTransactionSessionTimeout, "terminating connection due to idle-in-transaction timeout"),
        }
    }

    /// Sends what was collected, unless the process ends first.
    pub(super) async fn flush(&mut self) -> Result<(), Stop> {
        tokio::select! {
            biased;
            sent = self.output.flush() => Ok(sent?),
            () = self.guard.ended(Phase::Stopping) => Err(Stop::Gone),
        }
    }

    /// Tells the client of an error. The transaction, if one is open, has failed.
    pub(super) fn failed(&mut self, error: &model::Error) {
        metrics::counter!("marigraph_pg_errors_total", "sqlstate" => error.state().code()).increment(1);
        tracing::debug!(sqlstate = error.state().code(), %error, "statement failed");
        self.session.fail();
        self.side_messages();
        self.output.error(error);
    }

    /// Notices.
    pub(super) fn side_messages(&mut self) {
        self.output.notices(self.session.take_notices());
    }

    /// Settings that changed: once for a message or pipeline, as PostgreSQL does.
    fn report_settings(&mut self) {
        let changes = self.session.take_parameter_changes();
        if let Some((_, name)) = changes.iter().find(|(name, _)| name == "application_name") {
            self.activity.renamed(name);
        }
        self.output.parameters(changes);
    }

    /// ReadyForQuery, sent at once.
    pub(super) async fn ready(&mut self) -> Result<(), Stop> {
        self.side_messages();
        self.report_settings();
        let status = self.session.status();
        if status == TransactionStatus::Idle {
            self.portals.clear();
        }
        self.output.ready(status);
        self.activity.rests(status, self.session.database());
        self.flush().await?;
        // A cancel request that comes from here on is for what the client sends next, or for nothing.
        self.guard.cancel.clear();
        self.guard.deadline = None;
        self.begin_idling();
        Ok(())
    }

    /// A statement begins: its time runs from now.
    pub(super) fn begin_statement(&mut self, text: &str) {
        self.activity.works(text);
        metrics::counter!("marigraph_pg_statements_total").increment(1);
        self.guard.deadline = self.session.statement_timeout().map(|timeout| Instant::now() + timeout);
    }

    /// Query: every statement of the text in turn, the rows of one sent before the next one runs.
    async fn simple(&mut self, mut text: String) -> Result<(), Stop> {
        self.portals.remove("");
        self.statements.remove("");
        if std::mem::take(&mut self.implicit) {
            self.guard.run(&mut self.input, self.session.end_implicit(!self.skipping)).await?;
        }
        self.begin_statement(&text);
        let session = &mut self.session;
        let read = async {
            match session.recall(&text) {
                Some(known) => Ok(vec![known]),
                None => session.parse_to_run(&mut text),
            }
        };
        let parsed = self.guard.run(&mut self.input, read).await?;
        if parsed.is_empty() {
            self.output.put(&EmptyQueryResponse::new());
            return Ok(());
        }
        if parsed.len() == 1 {
            for statement in parsed {
                let tag = self.simple_statement(statement).await?;
                self.completed(tag);
            }
            return Ok(());
        }
        match self.simple_statements(&text, parsed).await {
            // Another error is the one to tell.
            Err(Stop::Error(error)) => {
                self.session.fail();
                self.guard.deadline = None;
                let _ = self.guard.run(&mut self.input, self.session.end_implicit(false)).await;
                Err(Stop::Error(error))
            }
            done => done,
        }
    }

    /// Several statements in one implicit transaction, which is committed before the last one is said to be complete.
    /// Behind a COMMIT or ROLLBACK among them the others are a transaction of their own.
    async fn simple_statements(&mut self, text: &str, parsed: Vec<S::Parsed>) -> Result<(), Stop> {
        let mut tag = None;
        for statement in parsed {
            if let Some(tag) = tag {
                self.completed(tag);
            }
            self.begin_statement(text);
            self.session.begin_implicit();
            tag = Some(self.simple_statement(statement).await?);
        }
        self.guard.run(&mut self.input, self.session.end_implicit(true)).await?;
        if let Some(tag) = tag {
            self.completed(tag);
        }
        Ok(())
    }

    /// CommandComplete after notices; EmptyQueryResponse for no tag.
    pub(super) fn completed(&mut self, tag: Option<String>) {
        self.side_messages();
        match tag {
            Some(tag) => self.output.complete(&tag),
            None => self.output.put(&EmptyQueryResponse::new()),
        }
    }

    /// One statement of the simple protocol; its command tag.
    async fn simple_statement(&mut self, statement: S::Parsed) -> Result<Option<String>, Stop> {
        let outcome = self.guard.run(&mut self.input, self.session.run_once(statement)).await?;
        let rows = match outcome {
            Outcome::Rows(rows) => rows,
            other => return self.without_rows(other).await,
        };
        let binary = rows.binary;
        self.output.row_description(&rows.columns, |_| binary);
        let mut cursor = Cursor::new(rows, |_| binary, self.session.settings());
        match self.guard.run(&mut self.input, cursor.fetch(&mut self.output, None)).await? {
            Fetched::End(tag) => Ok(Some(tag)),
            Fetched::Suspended => Err(Stop::Error(model::Error::internal("a fetch without limit was suspended"))),
        }
    }

    /// Carries out every outcome but rows; the command tag, None for an empty statement.
    pub(super) async fn without_rows(&mut self, outcome: Outcome) -> Result<Option<String>, Stop> {
        match outcome {
            Outcome::Empty => Ok(None),
            Outcome::Command(tag) => Ok(Some(tag)),
            Outcome::CopyIn(copy) => self.copy_in(*copy).await.map(Some),
            Outcome::CopyOut(rows, format) => {
                let copy = rows::copy_out(rows, format, self.session.settings(), &mut self.output);
                self.guard.run(&mut self.input, copy).await.map(Some)
            }
            Outcome::Rows(_) => Err(Stop::Error(model::Error::internal("rows where none were expected"))),
        }
    }

    /// COPY FROM STDIN: data until CopyDone.
    async fn copy_in(&mut self, mut copy: CopyIn) -> Result<String, Stop> {
        self.output.copy_in(copy.columns(), copy.is_binary());
        self.flush().await?;
        loop {
            let message = self.copy_message().await?;
            match message {
                Message::CopyData(data) => {
                    let copy = &mut copy;
                    self.guard.watch(async move { copy.feed(&data.data).await.map_err(Stop::from) }).await?;
                }
                Message::CopyDone(_) => break,
                Message::CopyFail(why) => {
                    return Err(error!(QueryCanceled, "COPY from stdin failed: {}", why.message).into());
                }
                // A pipelining client sends these before it knows that data is wanted.
                Message::Flush(_) | Message::Sync(_) => {}
                Message::Terminate(_) => return Err(Gone.into()),
                _ => return Err(unexpected().into()),
            }
        }
        self.guard.run(&mut self.input, self.session.finish_copy(copy)).await
    }

    async fn copy_message(&mut self) -> Result<Message, Stop> {
        loop {
            if let Some((_, message)) = self.input.message().map_err(Stop::Fatal)? {
                return Ok(message?);
            }
            let input = &mut self.input;
            self.guard.watch(async { Ok(input.fill().await?) }).await?;
        }
    }

    /// Sync: the pipeline ends, its implicit transaction with it.
    async fn sync(&mut self) -> Result<(), Stop> {
        let ok = !std::mem::take(&mut self.skipping);
        if std::mem::take(&mut self.implicit) {
            match self.guard.run(&mut self.input, self.session.end_implicit(ok)).await {
                Err(Stop::Error(error)) => self.failed(&error),
                done => done?,
            }
        }
        self.ready().await
    }
}

fn unexpected() -> model::Error {
    error!(ProtocolViolation, "unexpected message type during COPY from stdin")
}

/// The most prepared statements, and the most portals, of one connection.
pub(super) const NAMES_MAX: usize = 10_000;

/// Refuses another named thing beyond [`NAMES_MAX`].
pub(super) fn room_for_more(count: usize, what: &str) -> Result<()> {
    if count >= NAMES_MAX {
        fail!(ConfigurationLimitExceeded, "this connection has {NAMES_MAX} {what} already");
    }
    Ok(())
}
