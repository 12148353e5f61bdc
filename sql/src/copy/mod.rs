//! COPY: its options, and the data of COPY FROM turned into typed columns.

use model::Result;

use crate::insert::{Batch, Resolved};
use crate::literal::Reading;
use crate::statement::ColumnName;

/// Most bytes that one COPY may hold in memory before its end.
pub const STAGED_BYTES_MAX: usize = 1 << 30;

/// How COPY data looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CopyFormat {
    /// PostgreSQL's text format.
    Text {
        /// One byte, tab by default.
        delimiter: u8,
        /// `\N` by default.
        null: String,
        /// A first line of column names.
        header: bool,
    },
    /// CSV.
    Csv {
        /// One byte, comma by default.
        delimiter: u8,
        /// Empty by default.
        null: String,
        /// A first line of column names.
        header: bool,
        /// `"` by default.
        quote: u8,
        /// The quote by default.
        escape: u8,
        /// Columns that are always quoted on output; None for none.
        force_quote: Option<ForceQuote>,
    },
    /// PostgreSQL's binary format.
    Binary,
}

/// `FORCE_QUOTE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ForceQuote {
    /// `*`.
    All,
    /// These columns.
    Columns(Vec<String>),
}

/// A COPY FROM that takes data: feed it bytes, in pieces of any size, then finish.
pub struct CopyIn {}

impl CopyIn {
    /// A COPY into `table`, whose columns are `columns` in this order; None for all of them (of a super table that is
    /// `tbname`, the columns and the tags). `name` is the table's name in errors.
    ///
    /// # Errors
    ///
    /// 42703 for a column that is not there, 42701 for one named twice, 42601 for a super table without `tbname`.
    pub fn new(
        _name: &str,
        _table: &Resolved,
        _columns: Option<&[ColumnName]>,
        _format: CopyFormat,
        _reading: Reading,
    ) -> Result<Self> {
        model::fail!(FeatureNotSupported, "not there yet")
    }

    /// How many columns the data has.
    #[must_use]
    pub fn columns(&self) -> usize {
        0
    }

    /// Whether the data is binary.
    #[must_use]
    pub fn is_binary(&self) -> bool {
        false
    }

    /// Takes some more data.
    ///
    /// # Errors
    ///
    /// A bad line, with its number in the context; nothing of the COPY may be kept then. 53200 over [`STAGED_BYTES_MAX`].
    pub fn feed(&mut self, _data: &[u8]) -> Result<()> {
        Ok(())
    }

    /// All rows, after the last piece; and how many.
    ///
    /// # Errors
    ///
    /// As [`Self::feed`], for the last line.
    pub fn finish(self) -> Result<(Vec<Batch>, u64)> {
        Ok((Vec::new(), 0))
    }
}
