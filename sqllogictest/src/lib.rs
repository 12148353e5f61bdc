//! The SQL contract as scripts: `cases/**.slt`, run over the wire by [`Connection`].
//!
//! Values come as text, exactly as the server prints them: NULL is `NULL`, an empty string `(empty)`. Each file has a
//! database of its own. `statement error (42P01)` asserts an SQLSTATE.

use std::time::Duration;

use async_trait::async_trait;
use sqllogictest::{AsyncDB, DBOutput, DefaultColumnType};
use tokio_postgres::{Client, SimpleQueryMessage};

/// One client.
pub struct Connection {
    client: Option<Client>,
}

impl Connection {
    /// Over a connection that is there.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { client: Some(client) }
    }
}

/// What the server answered, in words that a case can match.
#[derive(Debug)]
pub struct Failure {
    state: Option<String>,
    text: String,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Failure {}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        let Some(db) = error.as_db_error() else {
            return Self { state: None, text: format!("{error:?}") };
        };
        let mut text = format!("{}: {}", db.code().code(), db.message());
        if let Some(tokio_postgres::error::ErrorPosition::Original(position)) = db.position() {
            text.push_str(&format!(" at {position}"));
        }
        for more in [db.detail(), db.hint(), db.where_()].into_iter().flatten() {
            text.push_str(&format!("; {more}"));
        }
        Self { state: Some(db.code().code().to_owned()), text }
    }
}

#[async_trait]
impl AsyncDB for Connection {
    type Error = Failure;
    type ColumnType = DefaultColumnType;

    async fn run(&mut self, sql: &str) -> Result<DBOutput<Self::ColumnType>, Failure> {
        let client = self.client.as_ref().expect("the connection is open");
        let (mut rows, mut width, mut complete) = (Vec::new(), None, 0);
        for message in client.simple_query(sql).await? {
            match message {
                SimpleQueryMessage::RowDescription(columns) => width = Some(columns.len()),
                SimpleQueryMessage::Row(row) => {
                    let shown = |i| match row.get(i) {
                        None => "NULL".to_owned(),
                        Some("") => "(empty)".to_owned(),
                        Some(text) => text.to_owned(),
                    };
                    rows.push((0..row.len()).map(shown).collect());
                }
                SimpleQueryMessage::CommandComplete(count) => complete = count,
                _ => {}
            }
        }
        Ok(match width {
            Some(width) => DBOutput::Rows { types: vec![DefaultColumnType::Any; width], rows },
            None => DBOutput::StatementComplete(complete),
        })
    }

    async fn shutdown(&mut self) {
        self.client.take();
    }

    fn engine_name(&self) -> &str {
        "marigraph"
    }

    async fn sleep(duration: Duration) {
        tokio::time::sleep(duration).await;
    }

    fn error_sql_state(error: &Failure) -> Option<String> {
        error.state.clone()
    }
}
