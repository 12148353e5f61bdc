//! DECLARE, FETCH, MOVE, CLOSE, and PREPARE, EXECUTE, DEALLOCATE.
//!
//! A cursor is a query whose rows are taken piece by piece. It reads a consistent snapshot, so WITH HOLD has nothing to
//! copy at COMMIT.

use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use futures::StreamExt;
use model::scan::RowStream;
use model::{Result, error, fail};
use parking_lot::Mutex;
use sqlparser::ast;

use super::{Outcome, OutputColumn, Rows, Session};

/// Most cursors, and most prepared statements by SQL, in one session.
const NAMES_MAX: usize = 1000;

/// A query whose rows are taken piece by piece.
pub(super) struct Cursor {
    pub(super) columns: Arc<[OutputColumn]>,
    schema: SchemaRef,
    /// A session must be shareable, which a stream is not; there is never anyone to wait for.
    stream: Mutex<RowStream>,
    /// What is left of the batch that was read last.
    rest: Option<RecordBatch>,
    hold: bool,
}

/// A statement that PREPARE keeps.
#[derive(Clone)]
pub(super) struct SqlPrepared {
    pub(super) text: String,
    pub(super) types: Vec<u32>,
}

impl Cursor {
    /// The next rows, `count` at most, all if None.
    async fn take(&mut self, count: Option<u64>) -> Result<(Vec<RecordBatch>, u64)> {
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
            if here > 0 {
                taken.push(batch.slice(0, here));
            }
        }
        Ok((taken, rows))
    }
}

impl Session {
    pub(super) async fn declare(
        &mut self,
        name: String,
        hold: bool,
        scroll: bool,
        query: &ast::Query,
    ) -> Result<String> {
        if scroll {
            return Err(
                error!(FeatureNotSupported, "SCROLL cursors are not supported").with_hint("Cursors move forward only.")
            );
        }
        if !hold && !self.transaction.is_block() {
            fail!(NoActiveSqlTransaction, "DECLARE CURSOR can only be used in transaction blocks");
        }
        if self.cursors.contains_key(&name) {
            fail!(DuplicateCursor, "cursor \"{name}\" already exists");
        }
        if self.cursors.len() >= NAMES_MAX {
            fail!(ConfigurationLimitExceeded, "more than {NAMES_MAX} cursors are open");
        }
        let rows = self.run_query(query, Vec::new()).await?;
        let cursor =
            Cursor { columns: rows.columns, schema: rows.schema, stream: Mutex::new(rows.stream), rest: None, hold };
        self.cursors.insert(name, cursor);
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
            }));
        }
        let (taken, rows) = cursor.take(count).await?;
        if only_move {
            return Ok(Outcome::Command(format!("MOVE {rows}")));
        }
        Ok(Outcome::Rows(Rows {
            columns: cursor.columns.clone(),
            schema: cursor.schema.clone(),
            stream: futures::stream::iter(taken.into_iter().map(Ok)).boxed(),
            tag: "FETCH",
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

    /// The end of a transaction closes cursors that are not WITH HOLD; after a failure all that it declared.
    pub(super) fn close_cursors_at_end(&mut self) {
        self.cursors.retain(|_, cursor| cursor.hold);
    }

    /// The columns of an SQL cursor, for Describe of a portal of its name.
    #[must_use]
    pub fn cursor_columns(&self, name: &str) -> Option<Arc<[OutputColumn]>> {
        self.cursors.get(name).map(|cursor| cursor.columns.clone())
    }

    pub(super) fn prepare_sql(&mut self, name: String, types: &[String], text: String) -> Result<String> {
        if self.prepared.contains_key(&name) {
            fail!(DuplicatePreparedStatement, "prepared statement \"{name}\" already exists");
        }
        if self.prepared.len() >= NAMES_MAX {
            fail!(ConfigurationLimitExceeded, "more than {NAMES_MAX} statements are prepared");
        }
        let types = types.iter().map(|name| type_oid(name)).collect::<Result<_>>()?;
        self.prepared.insert(name, SqlPrepared { text, types });
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

/// The oid of a type by one of its usual names.
fn type_oid(name: &str) -> Result<u32> {
    use crate::pgtype::PgType;
    let bare = name.trim().to_ascii_lowercase();
    let bare = bare.split('(').next().unwrap_or_default().trim();
    let pg_type = match bare {
        "int" | "integer" => PgType::INT4,
        "bigint" => PgType::INT8,
        "smallint" | "tinyint" => PgType::INT2,
        "real" | "float" => PgType::FLOAT4,
        "double" | "double precision" => PgType::FLOAT8,
        "boolean" => PgType::BOOL,
        "decimal" => PgType::NUMERIC,
        "character varying" | "nchar" | "string" => PgType::VARCHAR,
        "character" => PgType::BPCHAR,
        "timestamp with time zone" => PgType::TIMESTAMPTZ,
        "timestamp without time zone" => PgType::TIMESTAMP,
        "varbinary" | "binary" => PgType::BYTEA,
        "unknown" => return Ok(0),
        other => match PgType::SCALARS.iter().find(|known| known.name == other) {
            Some(known) => *known,
            None => return Err(error!(UndefinedObject, "type \"{name}\" does not exist")),
        },
    };
    Ok(pg_type.oid)
}
