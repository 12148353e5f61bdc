//! COPY: its options, and the data of COPY FROM turned into typed columns, which gather in a [`Staged`].

mod binary;
mod csv;
#[cfg(test)]
mod tests;
mod text;

use model::schema::{RelationKind, Table};
use model::{Result, Value, error};

use crate::insert::Resolved;
use crate::insert::stage::{Slot, Stage, Target};
use crate::literal::{Literal, Reading};
use crate::staging::{Staged, Whole};
use crate::statement::{ColumnName, TableName};

/// Most bytes of one line: what is no line by then is hardly data.
const LINE_BYTES_MAX: usize = 64 << 20;
/// Bytes of data between two looks at the memory.
const PIECE_BYTES: usize = 1 << 20;

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
///
/// Rows gather in columns, and go to a temporary file when they are many. A bad line fails the whole COPY: drop it then,
/// and nothing is kept.
pub struct CopyIn {
    rows: CopyRows,
    staged: Staged,
    format: CopyFormat,
    /// Bytes of a record that is not whole yet.
    buffer: Vec<u8>,
    framing: Framing,
}

/// Where a COPY's rows go.
struct CopyRows {
    /// The table's name in errors.
    name: String,
    stage: Stage,
    target: Target,
    /// Columns that the data lacks and their constant defaults.
    defaults: Vec<(Slot, Value)>,
    /// Lines read so far; of binary data, rows.
    line: u64,
}

/// How far the form of the data was read.
#[derive(Default)]
struct Framing {
    /// The header line was passed over, or the binary signature was read.
    started: bool,
    /// `\.` or the binary trailer came.
    ended: bool,
}

impl CopyIn {
    /// A COPY into `table`, whose columns are `columns` in this order; None for all of them (of a super table that is
    /// `tbname`, the columns and the tags). `name` is the table's name in errors; rows gather in `staged`.
    ///
    /// # Errors
    ///
    /// 42703 for a column that is not there, 42701 for one named twice, 42809 for a super table without `tbname`,
    /// 0A000 if a column that is left out has a default that is no constant.
    pub(crate) fn new(
        name: &str,
        table: &Resolved,
        columns: Option<&[ColumnName]>,
        format: CopyFormat,
        reading: Reading,
        staged: Staged,
    ) -> Result<Self> {
        let mut stage = Stage::new(reading);
        let every = every_column(table);
        let named = TableName { qualifier: Vec::new(), name: name.to_owned(), position: 0 };
        let columns = columns.or(every.as_deref());
        let target = stage.target(&named, table, None, columns)?;
        let defaults = crate::insert::constant_defaults(&stage, &target)?;
        let rows = CopyRows { name: name.to_owned(), stage, target, defaults, line: 0 };
        Ok(Self { rows, staged, format, buffer: Vec::new(), framing: Framing::default() })
    }

    /// How many columns the data has.
    #[must_use]
    pub fn columns(&self) -> usize {
        self.rows.target.slots.len()
    }

    /// Whether the data is binary.
    #[must_use]
    pub fn is_binary(&self) -> bool {
        self.format == CopyFormat::Binary
    }

    /// Takes some more data.
    ///
    /// # Errors
    ///
    /// A bad line, with its number in the context; nothing of the COPY may be kept then. 54000 for a line without end, and
    /// what a temporary file gives.
    pub async fn feed(&mut self, data: &[u8]) -> Result<()> {
        for piece in data.chunks(PIECE_BYTES) {
            self.take(piece)?;
            if self.staged.is_enough(self.buffer.len() + self.rows.stage.bytes()) {
                self.hand_over().await?;
            }
        }
        Ok(())
    }

    fn take(&mut self, data: &[u8]) -> Result<()> {
        if self.buffer.is_empty() {
            let used = self.consume(data, false)?;
            self.buffer.extend_from_slice(&data[used..]);
        } else {
            let mut buffer = std::mem::take(&mut self.buffer);
            buffer.extend_from_slice(data);
            let used = self.consume(&buffer, false)?;
            buffer.drain(..used);
            self.buffer = buffer;
        }
        if self.buffer.len() > LINE_BYTES_MAX {
            return Err(error!(StatementTooComplex, "a line of COPY data has more than {LINE_BYTES_MAX} bytes")
                .with_hint("A quote that is not closed makes one line of all that follows")
                .with_context(format!("COPY {}, line {}", self.rows.name, self.rows.line + 1)));
        }
        Ok(())
    }

    async fn hand_over(&mut self) -> Result<()> {
        for batch in self.rows.stage.take() {
            self.staged.push(batch).await?;
        }
        Ok(())
    }

    /// All rows, after the last piece.
    ///
    /// # Errors
    ///
    /// As [`Self::feed`], for the last line.
    pub(crate) async fn finish(mut self) -> Result<Whole> {
        let buffer = std::mem::take(&mut self.buffer);
        let used = self.consume(&buffer, true)?;
        if used < buffer.len() || (self.is_binary() && !self.framing.started) {
            return Err(error!(BadCopyFileFormat, "unexpected EOF in COPY data").with_context(format!(
                "COPY {}, line {}",
                self.rows.name,
                self.rows.line + 1
            )));
        }
        self.hand_over().await?;
        self.staged.finish().await
    }

    /// Takes the whole records of `data`, and at the end what is left too; gives how many bytes were used.
    fn consume(&mut self, data: &[u8], last: bool) -> Result<usize> {
        if self.framing.ended && self.format != CopyFormat::Binary {
            // PostgreSQL passes over what follows `\.`.
            return Ok(data.len());
        }
        match &self.format {
            CopyFormat::Binary => binary::consume(&mut self.rows, &mut self.framing, data),
            CopyFormat::Text { delimiter, null, header } => {
                let shape = text::Shape { delimiter: *delimiter, null: null.as_bytes(), header: *header };
                text::consume(&mut self.rows, &mut self.framing, &shape, data, last)
            }
            CopyFormat::Csv { delimiter, null, header, quote, escape, .. } => {
                let shape = csv::Shape {
                    delimiter: *delimiter,
                    null: null.as_bytes(),
                    header: *header,
                    quote: *quote,
                    escape: *escape,
                };
                csv::consume(&mut self.rows, &mut self.framing, &shape, data, last)
            }
        }
    }
}

/// The columns of a super table as COPY has them without a list; None for other tables.
fn every_column(table: &Resolved) -> Option<Vec<ColumnName>> {
    let Table::Relation(relation) = &table.table else { return None };
    if relation.kind != RelationKind::Super {
        return None;
    }
    let names = std::iter::once("tbname")
        .chain(relation.columns.iter().chain(&relation.tags).map(|column| column.name.as_str()));
    Some(names.map(|name| ColumnName { name: name.to_owned(), position: 0 }).collect())
}

impl CopyRows {
    fn begin(&mut self) {
        self.stage.begin_row(&self.target);
    }

    /// Whether numbers may be taken by [`Self::number`]: not where one could be a delimiter or NULL.
    fn takes_numbers(&self, delimiter: u8, null: &[u8]) -> bool {
        let numeric = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E');
        !numeric(&delimiter) && !null.first().is_some_and(numeric)
    }

    /// A line with its line feed as text, if it is that, no end mark, and without a carriage return.
    fn plain_line<'a>(&self, line: &'a [u8]) -> Option<&'a str> {
        let plain = line != b"\\.\n" && !line.ends_with(b"\r\n");
        std::str::from_utf8(line).ok().filter(|_| plain)
    }

    /// Takes a short number for the column at this place of the line, if one stands at the start of `rest` up to the
    /// delimiter or the line feed. Gives its length.
    fn number(&mut self, at: usize, rest: &[u8], delimiter: u8) -> Option<usize> {
        let slot = self.target.slots.get(at).copied().filter(|slot| *slot != Slot::Key)?;
        match rest.first() {
            Some(b'0'..=b'9' | b'-') => self.stage.put_number(&self.target, slot, rest, [delimiter, b'\n']),
            _ => None,
        }
    }

    /// Takes the value of the column at this place of the line; None is NULL. `line` is shown where there is no column.
    fn field(&mut self, at: usize, value: Option<&[u8]>, line: &[u8]) -> Result<()> {
        match value.map(std::str::from_utf8).transpose() {
            Ok(value) => self.text(at, value, line),
            Err(_) if at >= self.target.slots.len() => self.text(at, None, line),
            Err(_) => {
                let error = error!(CharacterNotInRepertoire, "invalid byte sequence for encoding \"UTF8\"");
                Err(self.in_line(error, b""))
            }
        }
    }

    /// As [`Self::field`], for a value that is text.
    fn text(&mut self, at: usize, value: Option<&str>, line: &[u8]) -> Result<()> {
        let Some(slot) = self.target.slots.get(at).copied() else {
            return Err(self.in_line(error!(BadCopyFileFormat, "extra data after last expected column"), line));
        };
        self.put(at, slot, value.map_or(Literal::Null, Literal::Text), value)
    }

    fn put(&mut self, at: usize, slot: Slot, literal: Literal<'_>, shown: Option<&str>) -> Result<()> {
        self.stage.put(&self.target, slot, literal).map_err(|error| {
            let column = self.column_name(at);
            let value = match shown {
                Some(text) => format!("\"{}\"", crate::parser::excerpt(text)),
                None => "null input".to_owned(),
            };
            error.with_context(format!("COPY {}, line {}, column {column}: {value}", self.name, self.line))
        })
    }

    /// Ends a row that had `fields` values.
    fn end(&mut self, fields: usize, line: &[u8]) -> Result<()> {
        if fields < self.target.slots.len() {
            let column = self.column_name(fields);
            return Err(self.in_line(error!(BadCopyFileFormat, "missing data for column \"{column}\""), line));
        }
        for (slot, value) in &self.defaults {
            self.stage.put(&self.target, *slot, Literal::Value(value))?;
        }
        self.stage.end_row(&self.target).map_err(|error| self.in_line(error, line))
    }

    fn column_name(&self, at: usize) -> String {
        let slot = self.target.slots.get(at).copied();
        slot.and_then(|slot| self.stage.column(&self.target, slot)).map_or("tbname", |column| &column.name).to_owned()
    }

    fn in_line(&self, error: model::Error, line: &[u8]) -> model::Error {
        let shown = crate::parser::excerpt(&String::from_utf8_lossy(line));
        let text = if line.is_empty() { String::new() } else { format!(": \"{shown}\"") };
        error.with_context(format!("COPY {}, line {}{text}", self.name, self.line))
    }
}
