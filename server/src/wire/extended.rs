//! The extended protocol: prepared statements and portals.
//!
//! A statement runs at the first Execute of its portal; rows beyond `max_rows` wait in the portal. A pipeline is one
//! implicit transaction up to Sync, unless its only Execute is followed by Sync at once: then the statement commits
//! by itself, which costs less and tells of failure before CommandComplete.

use std::sync::Arc;

use model::{Result, error, fail};
use pgwire::messages::PgWireFrontendMessage as Message;
use pgwire::messages::data::{NoData, ParameterDescription};
use pgwire::messages::extendedquery::{
    Bind, BindComplete, Close, CloseComplete, Describe, Execute, Parse, ParseComplete, PortalSuspended,
};
use sql::session::{Outcome, Parameter};
use tokio::io::{AsyncRead, AsyncWrite};

use super::backend::{Shape, WireSession};
use super::connection::{Connection, room_for_more};
use super::guard::Stop;
use super::rows::{Cursor, Fetched, same_shape};

/// Characters of a prepared statement that are kept for others to see.
const TEXT_SHOWN_MAX: usize = 1024;

/// A prepared statement; without `prepared` its text was empty.
pub(crate) struct Statement<S: WireSession> {
    prepared: Option<S::Prepared>,
    shape: Shape,
    /// Which of the session's kept statements it was made of; 0 for the unnamed one.
    number: u64,
    /// Its text, for others to see.
    text: String,
}

/// A statement with parameters, as far as it has run.
pub(crate) struct Portal<S: WireSession> {
    statement: Arc<Statement<S>>,
    parameters: Vec<Parameter>,
    /// Format codes as they came: none, one for all, or one per column.
    formats: Vec<i16>,
    state: State,
}

enum State {
    Bound,
    Running(Box<Cursor>),
    /// It gave its rows, all of them.
    Exhausted,
    /// It gave no rows, and cannot run again.
    Done,
}

fn is_binary(formats: &[i16], at: usize) -> bool {
    match formats {
        [] => false,
        [all] => *all == 1,
        each => each.get(at) == Some(&1),
    }
}

fn checked_formats(formats: &[i16], count: usize, what: &str, of: &str) -> Result<()> {
    if formats.len() > 1 && formats.len() != count {
        fail!(ProtocolViolation, "bind message has {} {what} formats but {of}", formats.len());
    }
    match formats.iter().find(|code| !matches!(code, 0 | 1)) {
        Some(code) => fail!(InvalidParameterValue, "unsupported format code: {code}"),
        None => Ok(()),
    }
}

fn no_statement(name: &str) -> model::Error {
    match name {
        "" => error!(InvalidSqlStatementName, "unnamed prepared statement does not exist"),
        name => error!(InvalidSqlStatementName, "prepared statement \"{name}\" does not exist"),
    }
}

fn no_portal(name: &str) -> model::Error {
    error!(InvalidCursorName, "portal \"{name}\" does not exist")
}

impl<S, R, W> Connection<S, R, W>
where
    S: WireSession,
    R: AsyncRead + Unpin + Send,
    W: AsyncWrite + Unpin + Send,
{
    /// Any message of the extended protocol but Sync.
    pub(super) async fn extended(&mut self, message: Message) -> Result<(), Stop> {
        match message {
            Message::Parse(parse) => self.parse(parse).await,
            Message::Bind(bind) => self.bind(bind).await,
            Message::Describe(describe) => self.describe(&describe).await,
            Message::Execute(execute) => self.execute(&execute).await,
            Message::Close(close) => Ok(self.close(&close)?),
            Message::Flush(_) => self.flush().await,
            _ => Err(Stop::Fatal(error!(ProtocolViolation, "unexpected message"))),
        }
    }

    async fn parse(&mut self, parse: Parse) -> Result<(), Stop> {
        let name = parse.name.unwrap_or_default();
        if name.is_empty() {
            self.statements.remove("");
        } else if self.session.kept(&name).is_some() {
            return Err(error!(DuplicatePreparedStatement, "prepared statement \"{name}\" already exists").into());
        }
        self.guard.deadline = self.session.statement_timeout().map(|timeout| tokio::time::Instant::now() + timeout);
        let mut statement = self.prepare(&parse.query, &parse.type_oids).await?;
        if !name.is_empty() {
            statement.number = self.session.keep(&name, &parse.query, &parse.type_oids)?;
        }
        self.statements.insert(name, Arc::new(statement));
        self.output.put(&ParseComplete::new());
        Ok(())
    }

    async fn prepare(&mut self, text: &str, types: &[u32]) -> Result<Statement<S>, Stop> {
        let session = &mut self.session;
        let work = async {
            let mut parsed = session.parse(text)?;
            if parsed.len() > 1 {
                fail!(SyntaxError, "cannot insert multiple commands into a prepared statement");
            }
            match parsed.pop() {
                Some(parsed) => session.prepare(parsed, types).await.map(Some),
                None => Ok(None),
            }
        };
        let prepared = self.guard.run(&mut self.input, work).await?;
        let nothing = || Shape { parameters: Vec::new(), columns: None };
        let shape = prepared.as_ref().map_or_else(nothing, |prepared| self.session.shape(prepared));
        Ok(Statement { prepared, shape, number: 0, text: text.chars().take(TEXT_SHOWN_MAX).collect() })
    }

    /// The statement of this name: of Parse, or of PREPARE. The session knows which names there are.
    async fn statement(&mut self, name: &str) -> Result<Arc<Statement<S>>, Stop> {
        let known = self.statements.get(name).cloned();
        if name.is_empty() {
            return Ok(known.ok_or_else(|| no_statement(name))?);
        }
        let Some(kept) = self.session.kept(name) else {
            self.statements.remove(name);
            return Err(no_statement(name).into());
        };
        if let Some(known) = known.filter(|known| known.number == kept.number) {
            return Ok(known);
        }
        let (text, types, number) = (kept.text.clone(), kept.types.clone(), kept.number);
        let statement = Arc::new(Statement { number, ..self.prepare(&text, &types).await? });
        self.statements.insert(name.to_owned(), Arc::clone(&statement));
        Ok(statement)
    }

    async fn bind(&mut self, bind: Bind) -> Result<(), Stop> {
        let name = bind.statement_name.clone().unwrap_or_default();
        let statement = self.statement(&name).await?;
        Ok(self.bind_to(statement, &name, bind)?)
    }

    fn bind_to(&mut self, statement: Arc<Statement<S>>, statement_name: &str, bind: Bind) -> Result<()> {
        let (given, wanted) = (bind.parameters.len(), statement.shape.parameters.len());
        let formats = &bind.parameter_format_codes;
        checked_formats(formats, given, "parameter", &format!("{given} parameters"))?;
        if given != wanted {
            fail!(
                ProtocolViolation,
                "bind message supplies {given} parameters, but prepared statement \"{statement_name}\" requires {wanted}"
            );
        }
        if let Some(columns) = &statement.shape.columns {
            let of = format!("query has {} columns", columns.len());
            checked_formats(&bind.result_column_format_codes, columns.len(), "result", &of)?;
        }
        let value = |(at, value)| Parameter { value, binary: is_binary(formats, at) };
        let portal = Portal {
            statement,
            parameters: bind.parameters.into_iter().enumerate().map(value).collect(),
            formats: bind.result_column_format_codes,
            state: State::Bound,
        };
        let name = bind.portal_name.unwrap_or_default();
        if !name.is_empty() && (self.portals.contains_key(&name) || self.session.cursor(&name).is_some()) {
            fail!(DuplicateCursor, "cursor \"{name}\" already exists");
        }
        room_for_more(self.portals.len(), "portals")?;
        self.portals.insert(name, portal);
        self.output.put(&BindComplete::new());
        Ok(())
    }

    async fn describe(&mut self, describe: &Describe) -> Result<(), Stop> {
        let name = describe.name.as_deref().unwrap_or_default();
        if describe.target_type == b'S' {
            let statement = self.statement(name).await?;
            let types = statement.shape.parameters.iter().map(|pg_type| pg_type.oid).collect();
            self.output.put(&ParameterDescription::new(types));
            match &statement.shape.columns {
                Some(columns) => self.output.row_description(columns, |_| false),
                None => self.output.put(&NoData::new()),
            }
            return Ok(());
        }
        if describe.target_type != b'P' {
            let kind = describe.target_type;
            return Err(error!(ProtocolViolation, "invalid DESCRIBE message subtype {kind}").into());
        }
        match self.portals.get(name) {
            Some(portal) => match &portal.statement.shape.columns {
                Some(columns) => self.output.row_description(columns, |at| is_binary(&portal.formats, at)),
                None => self.output.put(&NoData::new()),
            },
            // Cursors of DECLARE are portals too.
            None => {
                let (columns, binary) = self.session.cursor(name).ok_or_else(|| no_portal(name))?;
                self.output.row_description(&columns, |_| binary);
            }
        }
        Ok(())
    }

    fn close(&mut self, close: &Close) -> Result<()> {
        let name = close.name.as_deref().unwrap_or_default();
        match close.target_type {
            b'S' => {
                self.statements.remove(name);
                self.session.forget(name);
            }
            b'P' => {
                self.portals.remove(name);
                self.session.close_portal(name);
            }
            other => fail!(ProtocolViolation, "invalid CLOSE message subtype {other}"),
        }
        self.output.put(&CloseComplete::new());
        Ok(())
    }

    /// Runs a portal, or goes on with it. It is taken out while it runs: after a failure it is gone.
    async fn execute(&mut self, execute: &Execute) -> Result<(), Stop> {
        let name = execute.name.clone().unwrap_or_default();
        // Anything but a positive number is no limit.
        let limit = u64::try_from(execute.max_rows).ok().filter(|limit| *limit > 0);
        let Some(mut portal) = self.portals.remove(&name) else { return self.execute_cursor(&name, limit).await };
        self.begin_statement(&portal.statement.text);
        if matches!(portal.state, State::Bound) {
            self.start(&mut portal).await?;
        } else if matches!(portal.state, State::Done) {
            return Err(error!(InvalidCursorState, "portal \"{name}\" cannot be run").into());
        }
        match &mut portal.state {
            State::Running(cursor) => {
                match self.guard.run(&mut self.input, cursor.fetch(&mut self.output, limit)).await? {
                    Fetched::Suspended => {
                        self.side_messages();
                        self.output.put(&PortalSuspended::new());
                    }
                    Fetched::End(tag) => {
                        portal.state = State::Exhausted;
                        self.completed(Some(tag));
                    }
                }
            }
            State::Exhausted => self.completed(Some("SELECT 0".to_owned())),
            State::Bound | State::Done => {}
        }
        self.portals.insert(name, portal);
        self.output.flush_if_full().await?;
        Ok(())
    }

    /// Execute of a cursor of DECLARE.
    async fn execute_cursor(&mut self, name: &str, limit: Option<u64>) -> Result<(), Stop> {
        let (_, binary) = self.session.cursor(name).ok_or_else(|| no_portal(name))?;
        self.begin_statement(&format!("FETCH FROM {name}"));
        let rows = self.guard.run(&mut self.input, self.session.fetch_portal(name, limit)).await?;
        let mut cursor = Cursor::new(rows, |_| binary, self.session.settings());
        match self.guard.run(&mut self.input, cursor.fetch(&mut self.output, limit)).await? {
            Fetched::Suspended => {
                self.side_messages();
                self.output.put(&PortalSuspended::new());
            }
            Fetched::End(tag) => self.completed(Some(tag)),
        }
        Ok(self.output.flush_if_full().await?)
    }

    /// Runs the statement of a portal: to its end if it gives no rows.
    async fn start(&mut self, portal: &mut Portal<S>) -> Result<(), Stop> {
        let statement = Arc::clone(&portal.statement);
        let Some(prepared) = &statement.prepared else {
            portal.state = State::Done;
            self.completed(None);
            return Ok(());
        };
        if self.implicit || !self.input.sync_is_next() {
            self.session.begin_implicit();
            self.implicit = true;
        }
        // It runs once.
        let parameters = std::mem::take(&mut portal.parameters);
        let outcome = self.guard.run(&mut self.input, self.session.execute(prepared, parameters)).await?;
        match outcome {
            Outcome::Rows(rows) => {
                if let Some(told) = &statement.shape.columns {
                    same_shape(told, &rows.columns)?;
                }
                let formats = &portal.formats;
                checked_formats(formats, rows.columns.len(), "result", "query has others")?;
                let cursor = Cursor::new(rows, |at| is_binary(formats, at), self.session.settings());
                portal.state = State::Running(Box::new(cursor));
            }
            other => {
                let tag = self.without_rows(other).await?;
                portal.state = State::Done;
                self.completed(tag);
            }
        }
        Ok(())
    }
}
