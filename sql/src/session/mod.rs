//! One client's session: what it has set, the transaction that it is in, and how a statement of it runs.
//!
//! Start reading at [`Session::execute`]. The server drives it: [`Session::parse`], then for each statement
//! [`Session::prepare`] and [`Session::execute`]. Nothing here knows of sockets or protocol messages.

use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use model::scan::RowStream;
use model::{DataPlane, Result};

use crate::pgtype::PgType;

/// All that sessions of one process share.
pub struct Engine {
    /// The cluster.
    pub plane: Arc<dyn DataPlane>,
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
