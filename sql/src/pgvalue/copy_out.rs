//! COPY TO: rows as text, CSV or binary data, as PostgreSQL writes them.

use std::sync::Arc;

use bytes::{BufMut, BytesMut};
use datafusion::arrow::array::RecordBatch;
use model::Result;

use super::{BatchEncoder, RowEncoder, ValueSettings};
use crate::copy::{CopyFormat, ForceQuote};
use crate::pgtype::PgType;

/// The first bytes of binary COPY data, with no flags and no header extension.
const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// Writes rows as the data of COPY TO, each row ready to be the body of a CopyData message.
pub struct CopyEncoder {
    names: Vec<String>,
    format: CopyFormat,
    rows: RowEncoder,
    /// Columns that CSV always quotes.
    quoted: Vec<bool>,
    /// The value being written, before it is escaped.
    value: BytesMut,
}

impl CopyEncoder {
    /// For rows of these columns: name and type.
    #[must_use]
    pub fn new(columns: &[(String, PgType)], format: CopyFormat, settings: Arc<ValueSettings>) -> Self {
        let binary = format == CopyFormat::Binary;
        let forced = |name: &String| match &format {
            CopyFormat::Csv { force_quote: Some(ForceQuote::All), .. } => true,
            CopyFormat::Csv { force_quote: Some(ForceQuote::Columns(names)), .. } => names.contains(name),
            _ => false,
        };
        Self {
            names: columns.iter().map(|(name, _)| name.clone()).collect(),
            quoted: columns.iter().map(|(name, _)| forced(name)).collect(),
            rows: RowEncoder::new(columns.iter().map(|(_, pg_type)| (*pg_type, binary)).collect(), settings),
            format,
            value: BytesMut::new(),
        }
    }

    /// Whether the data is binary: the format that CopyOutResponse announces.
    #[must_use]
    pub fn is_binary(&self) -> bool {
        self.format == CopyFormat::Binary
    }

    /// Appends what comes before the first row: the binary signature, or the line of names if HEADER was given.
    /// Nothing is appended if there is none.
    pub fn header(&self, out: &mut BytesMut) {
        match &self.format {
            CopyFormat::Binary => out.put_slice(SIGNATURE),
            CopyFormat::Text { header: true, delimiter, .. } => {
                for (nth, name) in self.names.iter().enumerate() {
                    if nth > 0 {
                        out.put_u8(*delimiter);
                    }
                    put_escaped(out, name.as_bytes(), *delimiter);
                }
                out.put_u8(b'\n');
            }
            CopyFormat::Csv { header: true, delimiter, quote, escape, null, .. } => {
                for (nth, name) in self.names.iter().enumerate() {
                    if nth > 0 {
                        out.put_u8(*delimiter);
                    }
                    let alone = self.names.len() == 1;
                    put_csv(out, name.as_bytes(), *delimiter, *quote, *escape, null, false, alone);
                }
                out.put_u8(b'\n');
            }
            _ => {}
        }
    }

    /// Appends what comes after the last row.
    pub fn trailer(&self, out: &mut BytesMut) {
        if self.is_binary() {
            out.put_i16(-1);
        }
    }

    /// Prepares one batch for [`CopyEncoder::row`].
    ///
    /// # Errors
    ///
    /// As [`RowEncoder::batch`].
    pub fn batch(&self, batch: &RecordBatch) -> Result<BatchEncoder> {
        self.rows.batch(batch)
    }

    /// Appends the data of one row.
    ///
    /// # Errors
    ///
    /// As [`BatchEncoder::data_row`].
    pub fn row(&mut self, batch: &BatchEncoder, row: usize, out: &mut BytesMut) -> Result<()> {
        let (delimiter, null) = match &self.format {
            CopyFormat::Binary => return batch.data_row(row, out),
            CopyFormat::Text { delimiter, null, .. } | CopyFormat::Csv { delimiter, null, .. } => (*delimiter, null),
        };
        for (nth, column) in batch.columns().iter().enumerate() {
            if nth > 0 {
                out.put_u8(delimiter);
            }
            if column.is_null(row) {
                out.put_slice(null.as_bytes());
                continue;
            }
            self.value.clear();
            column.put(row, &mut self.value)?;
            match &self.format {
                CopyFormat::Csv { quote, escape, .. } => {
                    let alone = self.names.len() == 1;
                    put_csv(out, &self.value, delimiter, *quote, *escape, null, self.quoted[nth], alone);
                }
                _ => put_escaped(out, &self.value, delimiter),
            }
        }
        out.put_u8(b'\n');
        Ok(())
    }
}

/// A value of text format: control characters, backslash and the delimiter are escaped.
fn put_escaped(out: &mut BytesMut, text: &[u8], delimiter: u8) {
    let mut start = 0;
    for (at, &byte) in text.iter().enumerate() {
        let escaped = match byte {
            8 => b'b',
            12 => b'f',
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            11 => b'v',
            b'\\' => b'\\',
            other if other == delimiter => other,
            _ => continue,
        };
        out.put_slice(&text[start..at]);
        out.put_slice(&[b'\\', escaped]);
        start = at + 1;
    }
    out.put_slice(&text[start..]);
}

/// A value of CSV: quoted if it could be read otherwise without. `alone`: the only column of its line, where `\.` would
/// end the data.
#[allow(clippy::too_many_arguments, reason = "each is an option of the format")]
fn put_csv(
    out: &mut BytesMut,
    text: &[u8],
    delimiter: u8,
    quote: u8,
    escape: u8,
    null: &str,
    force: bool,
    alone: bool,
) {
    let special = |byte: &u8| *byte == delimiter || *byte == quote || matches!(byte, b'\n' | b'\r');
    let must = force || text == null.as_bytes() || text.iter().any(special) || (alone && text == b"\\.");
    if !must {
        return out.put_slice(text);
    }
    out.put_u8(quote);
    for &byte in text {
        if byte == quote || byte == escape {
            out.put_u8(escape);
        }
        out.put_u8(byte);
    }
    out.put_u8(quote);
}
