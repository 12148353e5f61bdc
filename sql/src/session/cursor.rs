//! DECLARE, FETCH, MOVE, CLOSE, and PREPARE, EXECUTE, DEALLOCATE.
//!
//! A cursor is a query whose rows are taken piece by piece. It reads a consistent snapshot, so WITH HOLD has nothing to
//! copy at COMMIT. Names of cursors are those of portals, and names of prepared statements those of the protocol's.

use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::execution::memory_pool::MemoryReservation;
use futures::StreamExt;
use model::scan::RowStream;
use model::{Result, error, fail};
use parking_lot::Mutex;
use sqlparser::ast;

use super::insert::Bound;
use super::{Outcome, OutputColumn, Rows, Session};
use crate::exec::held::cell_bytes;
use crate::plan::error::from_datafusion;

/// Most cursors, and most prepared statements by SQL, in one session.
const NAMES_MAX: usize = 10_000;

/// A query whose rows are taken piece by piece.
pub(super) struct Cursor {
    pub(super) columns: Arc<[OutputColumn]>,
    schema: SchemaRef,
    /// A session must be shareable, which a stream is not; there is never anyone to wait for.
    stream: Mutex<RowStream>,
    /// What is left of the batch that was read last.
    rest: Option<RecordBatch>,
    /// WITH HOLD: it outlives a transaction that commits.
    pub(super) hold: bool,
    /// BINARY: FETCH gives its rows in binary format where nothing else is asked for.
    binary: bool,
    /// In the order of their declaration.
    pub(super) number: u64,
}

/// DECLARE without its query.
pub(super) struct Declare {
    pub(super) name: String,
    pub(super) hold: bool,
    pub(super) scroll: bool,
    pub(super) binary: bool,
}

/// A statement that PREPARE or Parse keeps.
#[derive(Clone, Debug)]
pub struct Kept {
    /// Its own text.
    pub text: String,
    /// The types that were given of its parameters, 0 for none.
    pub types: Vec<u32>,
    /// No other statement of the session has it: a name may be given again.
    pub number: u64,
}

impl Cursor {
    /// The next rows, `count` at most, all if None, with their memory reserved in `keep`; without it they are passed over.
    async fn take(&mut self, count: Option<u64>, keep: Option<&MemoryReservation>) -> Result<(Vec<RecordBatch>, u64)> {
        let mut left = count.unwrap_or(u64::MAX);
        let (mut taken, mut rows) = (Vec::new(), 0);
        while left > 0 {
            let batch = match self.rest.take() {
                Some(batch) => batch,
                None => match self.stream.get_mut().next().await {
                    Some(batch) => batch?,
                    None => break,
                },
            };
            let here = (batch.num_rows() as u64).min(left) as usize;
            if here < batch.num_rows() {
                self.rest = Some(batch.slice(here, batch.num_rows() - here));
            }
            rows += here as u64;
            left -= here as u64;
            if let (Some(reserved), true) = (keep, here > 0) {
                let batch = batch.slice(0, here);
                reserved.try_grow(cell_bytes(&batch)).map_err(from_datafusion)?;
                taken.push(batch);
            }
        }
        Ok((taken, rows))
    }
}

impl Session {
    pub(super) async fn declare(&mut self, declare: Declare, query: &ast::Query, bound: &Bound<'_>) -> Result<String> {
        let Declare { name, hold, scroll, binary } = declare;
        if scroll {
            return Err(
                error!(FeatureNotSupported, "SCROLL cursors are not supported").with_hint("Cursors move forward only.")
            );
        }
        if !hold && !self.transaction.holds() {
            fail!(NoActiveSqlTransaction, "DECLARE CURSOR can only be used in transaction blocks");
        }
        if self.cursors.contains_key(&name) {
            fail!(DuplicateCursor, "cursor \"{name}\" already exists");
        }
        if self.cursors.len() >= NAMES_MAX {
            fail!(ConfigurationLimitExceeded, "more than {NAMES_MAX} cursors are open");
        }
        let rows = self.run_query_as(query, self.parameter_values(bound)?, bound.types).await?;
        let number = self.cursors_declared;
        self.cursors_declared += 1;
        let (columns, schema, stream) = (rows.columns, rows.schema, Mutex::new(rows.stream));
        self.cursors.insert(name, Cursor { columns, schema, stream, rest: None, hold, binary, number });
        Ok("DECLARE CURSOR".to_owned())
    }

    pub(super) async fn fetch(&mut self, name: &str, count: Option<i64>, only_move: bool) -> Result<Outcome> {
        let cursor = self.cursors.get_mut(name).ok_or_else(|| undefined(name))?;
        let count = match count {
            Some(backward) if backward < 0 => {
                return Err(error!(InvalidCursorState, "cursor can only scan forward"));
            }
            Some(count) => Some(count as u64),
            None => None,
        };
        if !only_move && count.is_none() {
            // The rest may be large: it streams, and the cursor is at its end.
            let empty = futures::stream::empty().boxed();
            let stream = std::mem::replace(cursor.stream.get_mut(), empty);
            let first = cursor.rest.take().map(Ok);
            let stream = futures::stream::iter(first).chain(stream).boxed();
            return Ok(Outcome::Rows(Rows {
                columns: cursor.columns.clone(),
                schema: cursor.schema.clone(),
                stream,
                tag: "FETCH",
                binary: cursor.binary,
            }));
        }
        if only_move {
            let (_, rows) = cursor.take(count, None).await?;
            return Ok(Outcome::Command(format!("MOVE {rows}")));
        }
        let reserved = self.engine.memory().query("FETCH");
        let (taken, _) = cursor.take(count, Some(&reserved)).await?;
        let taken = taken.into_iter().map(move |batch| {
            // Given back with the last of them.
            let _ = &reserved;
            Ok(batch)
        });
        Ok(Outcome::Rows(Rows {
            columns: cursor.columns.clone(),
            schema: cursor.schema.clone(),
            stream: futures::stream::iter(taken).boxed(),
            tag: "FETCH",
            binary: cursor.binary,
        }))
    }

    pub(super) fn close(&mut self, name: Option<&str>) -> Result<String> {
        match name {
            None => {
                self.cursors.clear();
                Ok("CLOSE CURSOR ALL".to_owned())
            }
            Some(name) => {
                self.cursors.remove(name).ok_or_else(|| undefined(name))?;
                Ok("CLOSE CURSOR".to_owned())
            }
        }
    }

    /// The columns of a cursor and whether it is BINARY, for Describe of a portal of its name.
    #[must_use]
    pub fn cursor(&self, name: &str) -> Option<(Arc<[OutputColumn]>, bool)> {
        self.cursors.get(name).map(|cursor| (cursor.columns.clone(), cursor.binary))
    }

    /// The next rows of a cursor, `count` at most, for Execute of a portal of its name.
    ///
    /// # Errors
    ///
    /// `InvalidCursorName` if there is none, and what the query gives.
    pub async fn fetch_portal(&mut self, name: &str, count: Option<u64>) -> Result<Rows> {
        let count = count.map(|count| i64::try_from(count).unwrap_or(i64::MAX));
        match self.fetch(name, count, false).await? {
            Outcome::Rows(rows) => Ok(Rows { tag: "SELECT", ..rows }),
            _ => fail!(InternalError, "FETCH gave no rows"),
        }
    }

    /// Close of a portal of this name: nothing happens if there is none.
    pub fn close_portal(&mut self, name: &str) {
        self.cursors.remove(name);
    }

    /// Keeps a statement of the protocol's Parse by its name, and gives its number.
    ///
    /// # Errors
    ///
    /// `DuplicatePreparedStatement`, or `ConfigurationLimitExceeded` beyond [`NAMES_MAX`].
    pub fn keep(&mut self, name: &str, text: &str, types: &[u32]) -> Result<u64> {
        if self.prepared.contains_key(name) {
            fail!(DuplicatePreparedStatement, "prepared statement \"{name}\" already exists");
        }
        if self.prepared.len() >= NAMES_MAX {
            return Err(error!(ConfigurationLimitExceeded, "more than {NAMES_MAX} statements are prepared")
                .with_hint("DEALLOCATE those that are no longer needed."));
        }
        self.statements_kept += 1;
        let number = self.statements_kept;
        self.prepared.insert(name.to_owned(), Kept { text: text.to_owned(), types: types.to_vec(), number });
        Ok(number)
    }

    /// A prepared statement, by whichever way it was made.
    #[must_use]
    pub fn kept(&self, name: &str) -> Option<&Kept> {
        self.prepared.get(name)
    }

    /// Forgets a prepared statement, if it is there.
    pub fn forget(&mut self, name: &str) {
        self.prepared.remove(name);
    }

    pub(super) fn prepare_sql(&mut self, name: String, types: &[String], text: String) -> Result<String> {
        let types: Vec<u32> = types.iter().map(|name| type_oid(name)).collect::<Result<_>>()?;
        self.keep(&name, &text, &types)?;
        Ok("PREPARE".to_owned())
    }

    pub(super) fn deallocate(&mut self, name: Option<&str>) -> Result<String> {
        match name {
            None => {
                self.prepared.clear();
                Ok("DEALLOCATE ALL".to_owned())
            }
            Some(name) => {
                self.prepared.remove(name).ok_or_else(|| undefined_statement(name))?;
                Ok("DEALLOCATE".to_owned())
            }
        }
    }
}

fn undefined(name: &str) -> model::Error {
    error!(InvalidCursorName, "cursor \"{name}\" does not exist")
}

/// The error for a prepared statement that is not there.
pub(super) fn undefined_statement(name: &str) -> model::Error {
    error!(InvalidSqlStatementName, "prepared statement \"{name}\" does not exist")
}

/// The oid of a type by one of its usual names, 0 for `unknown`.
fn type_oid(name: &str) -> Result<u32> {
    use crate::pgtype::PgType;
    match PgType::of_name(name) {
        Some(PgType::UNKNOWN) => Ok(0),
        Some(of) => Ok(of.oid),
        None => Err(error!(UndefinedObject, "type \"{name}\" does not exist")),
    }
}
