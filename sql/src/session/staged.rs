//! Statements that write many rows: they gather in a [`Staged`], are checked as a whole, then written.
//!
//! What fits in memory is one write. More than that is written in groups, read again from a temporary file, and each
//! group is atomic for itself. In a transaction all of it is held until COMMIT.

use datafusion::common::ScalarValue;
use futures::TryStreamExt;
use model::Result;
use model::write::{Change, WriteBatch};
use sqlparser::ast;

use super::Session;
use super::insert::Tables;
use crate::insert::Batch;
use crate::pgtype::PgType;
use crate::staging::{Staged, Whole};
use crate::statement::InsertTarget;

impl Session {
    /// Where the rows of the statement `what` gather.
    pub(super) fn stage(&self, what: &'static str) -> Staged {
        Staged::new(self.engine.memory(), what)
    }

    /// The rows of a query for the table of `target`.
    pub(super) async fn stage_query(
        &self,
        target: &InsertTarget,
        tables: &Tables,
        query: &ast::Query,
        values: Vec<ScalarValue>,
        types: &[PgType],
    ) -> Result<Whole> {
        // What is wrong with the target shows without a row.
        self.rows_of_query(target, tables, Vec::new())?;
        let mut stream = self.run_query_as(query, values, types).await?.stream;
        let mut staged = self.stage("INSERT … SELECT");
        while let Some(batch) = stream.try_next().await? {
            for rows in self.rows_of_query(target, tables, vec![batch])? {
                staged.push(rows).await?;
            }
        }
        staged.finish().await
    }

    /// Checks rows and writes them, or holds them. `replaced`: they take the place of rows that exist.
    pub(super) async fn write_whole(&mut self, mut whole: Whole, replaced: bool) -> Result<()> {
        self.check_whole(&whole, replaced).await?;
        if whole.is_held() {
            return self.write_checked(whole.take_held()).await;
        }
        let mut reader = whole.read();
        let mut group = reader.next().await?;
        let mut written = 0;
        while let Some(batches) = group {
            let rows: u64 = batches.iter().map(|batch| batch.rows.rows() as u64).sum();
            let (done, next) = futures::join!(self.write_checked(batches), reader.next());
            let partly = |error| self.partly(error, written, whole.rows());
            done.map_err(partly)?;
            written += rows;
            group = next.map_err(|error| self.partly(error, written, whole.rows()))?;
        }
        Ok(())
    }

    /// Says how many rows were written before an error.
    fn partly(&self, error: model::Error, written: u64, rows: u64) -> model::Error {
        if self.transaction.holds() {
            return error;
        }
        let before = error.fields().detail.clone().map_or_else(String::new, |detail| format!("{detail}. "));
        error.with_detail(format!(
            "{before}A statement of so many rows is written in groups: {written} of {rows} rows were written before this"
        ))
    }

    /// Writes rows that were checked, as one write for each database.
    pub(super) async fn write_checked(&mut self, batches: Vec<Batch>) -> Result<()> {
        for write in by_database(batches) {
            self.write(write).await?;
        }
        Ok(())
    }
}

/// One write for each database, in the order of the rows.
pub(super) fn by_database(batches: Vec<Batch>) -> Vec<WriteBatch> {
    let mut writes: Vec<WriteBatch> = Vec::new();
    for Batch { database, rows } in batches {
        let change = Change::Rows(rows);
        match writes.iter_mut().find(|write| write.database == database) {
            Some(write) => write.changes.push(change),
            None => writes.push(WriteBatch { database, changes: vec![change] }),
        }
    }
    writes
}
