//! COPY: its options, and the data of COPY FROM turned into typed columns.

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
