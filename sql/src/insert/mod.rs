//! INSERT … VALUES: from text, or from the AST, to typed rows.
//!
//! The fast way has two steps: [`scan_tables`] names the tables, which the session resolves; [`read`] makes rows. What
//! [`read`] does not recognise goes through [`crate::parser::parse_insert`] and [`from_ast`]. Both ways end in the same
//! stage, so that they agree on rows, errors and positions.

mod fast;
mod general;
pub(crate) mod stage;
mod tags;
#[cfg(test)]
pub(crate) mod tests;

use model::schema::{Column, Table};
use model::types::Value;
use model::write::RowBatch;
use model::{DatabaseId, Error, Precision, Result, TimeRange};
use sqlparser::ast;

use crate::literal::Reading;
use crate::statement::{Insert, TableName};

/// What a table's name stands for, and what its database asks of rows.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// Its database.
    pub database: DatabaseId,
    /// Length of a tick there.
    pub precision: Precision,
    /// Keys that are kept: KEEP's floor to the precision's maximum.
    pub keep: TimeRange,
    /// The table.
    pub table: Table,
}

/// Gives what [`scan_tables`] named.
pub trait Resolver {
    /// The table, or None if there is none.
    fn resolve(&self, name: &TableName) -> Option<&Resolved>;
}

/// Rows for one relation of one database.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The database.
    pub database: DatabaseId,
    /// The rows.
    pub rows: RowBatch,
}

/// One value that the session evaluated for [`from_ast`].
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// NULL.
    Null,
    /// DEFAULT of a column without one: the column is left out.
    Absent,
    /// Text of a value whose type the column decides (a parameter in text format).
    Text(Vec<u8>),
    /// PostgreSQL's binary format of the column's type (a parameter in binary format).
    Binary(Vec<u8>),
    /// A value of the column's type; times are ticks in the database's precision.
    Value(Value),
}

/// Evaluates an expression that is no literal, for this column or tag.
pub type Evaluate<'a> = dyn FnMut(&ast::Expr, &Column) -> Result<Cell> + 'a;

/// The tables that an INSERT … VALUES names, super tables of USING too; None if the fast path does not take it.
#[must_use]
pub fn scan_tables(text: &str) -> Option<Vec<TableName>> {
    fast::scan_tables(text)
}

/// Reads an INSERT … VALUES. None: not recognised, take the general path.
///
/// # Errors
///
/// As PostgreSQL and TDengine refuse the row, with the position in `text`.
pub fn read(text: &str, resolver: &dyn Resolver, reading: &Reading) -> Result<Option<Vec<Batch>>> {
    fast::read(text, resolver, reading)
}

/// Rows of an INSERT that the general parser read. Its sources must all be VALUES or DEFAULT VALUES.
///
/// # Errors
///
/// As [`read`], and whatever `evaluate` refuses.
pub fn from_ast(
    insert: &Insert,
    resolver: &dyn Resolver,
    reading: &Reading,
    evaluate: &mut Evaluate<'_>,
) -> Result<Vec<Batch>> {
    general::from_ast(insert, resolver, reading, evaluate)
}

/// The constant defaults of a plain table's columns that are not among a target's slots.
///
/// # Errors
///
/// 0A000 for a default that has to be evaluated for each row.
pub(crate) fn constant_defaults(
    stage: &stage::Stage,
    target: &stage::Target,
) -> Result<Vec<(stage::Slot, model::Value)>> {
    general::constant_defaults(stage, target)
}

fn too_many_values() -> Error {
    model::error!(SyntaxError, "INSERT has more expressions than target columns")
}

fn too_few_values() -> Error {
    model::error!(SyntaxError, "INSERT has more target columns than expressions")
        .with_hint("name the columns that the values are for: INSERT INTO t (a, b) VALUES (…)")
}
