//! INSERT … VALUES: from text, or from the AST, to typed rows.
//!
//! The fast way has two steps: [`scan_tables`] names the tables, which the session resolves; [`read`] makes rows. What
//! [`read`] does not recognise goes through [`crate::parser::parse_insert`] and [`from_ast`]. Both ways end in the same
//! stage, so that they agree on rows, errors and positions. [`Straight`] is the fast way in one pass, for statements in
//! which nothing is wrong.

mod fast;
mod general;
pub(crate) mod stage;
mod tags;
pub(crate) mod template;
#[cfg(test)]
pub(crate) mod tests;

use model::schema::{Column, Table};
use model::types::Value;
use model::write::RowBatch;
use model::{ColumnId, DataType, DatabaseId, Error, Precision, Result, TimeRange};
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

/// An INSERT … VALUES that is read in one pass, a part at a time because only its session can look tables up.
pub struct Straight<'a>(fast::Straight<'a>);

impl<'a> Straight<'a> {
    /// Begins to read `text`. None: go the other way, here and below. It may be right nevertheless.
    #[must_use]
    pub fn begin(text: &'a str, reading: &Reading) -> Option<Self> {
        fast::Straight::begin(text, reading).map(Self)
    }

    /// The tables that the next rows need.
    #[must_use]
    pub fn tables(&self) -> Vec<TableName> {
        self.0.tables()
    }

    /// The tables that all rows to come need: as many as the statement has parts, found by passing over the rows.
    #[must_use]
    pub fn all_tables(&self) -> Option<Vec<TableName>> {
        self.0.all_tables()
    }

    /// Takes the rows of one table; whether there are others behind them.
    #[must_use]
    pub fn rows(&mut self, resolver: &dyn Resolver) -> Option<bool> {
        self.0.rows(resolver)
    }

    /// The rows, after the last table's.
    #[must_use]
    pub fn finish(self) -> Vec<Batch> {
        self.0.finish()
    }
}

/// Whether `text` begins as an INSERT … VALUES that the fast way may take.
#[must_use]
pub(crate) fn is_insert(text: &str) -> bool {
    fast::is_insert(text)
}

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

/// What stands for the name of a child table where a column is asked for.
fn tbname() -> Column {
    Column::new(ColumnId(0), "tbname", DataType::Text)
}

fn too_many_values() -> Error {
    model::error!(SyntaxError, "INSERT has more expressions than target columns")
}

fn too_few_values() -> Error {
    model::error!(SyntaxError, "INSERT has more target columns than expressions")
        .with_hint("name the columns that the values are for: INSERT INTO t (a, b) VALUES (…)")
}
