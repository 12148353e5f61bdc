//! CSV as PostgreSQL reads it: quoted fields may hold delimiters and line feeds; an unquoted field equal to NULL's
//! spelling is NULL.

use model::{Result, error};

use super::{CopyRows, Framing};

/// The options of the format.
pub(super) struct Shape<'a> {
    pub(super) delimiter: u8,
    pub(super) null: &'a [u8],
    pub(super) header: bool,
    pub(super) quote: u8,
    pub(super) escape: u8,
}

/// Takes whole records; at the end the last one may lack its line feed. Gives how many bytes were used.
pub(super) fn consume(
    rows: &mut CopyRows,
    framing: &mut Framing,
    shape: &Shape<'_>,
    data: &[u8],
    last: bool,
) -> Result<usize> {
    let mut at = 0;
    let mut scratch = Vec::new();
    let numbers = rows.takes_numbers(shape.delimiter, shape.null);
    while at < data.len() {
        let (end, in_quotes) = match plain_end(&data[at..], shape) {
            Some(end) if numbers && (framing.started || !shape.header) => {
                if let Some(text) = rows.plain_line(&data[at..=at + end]) {
                    rows.line += 1;
                    plain_row(rows, shape, text)?;
                    at += end + 1;
                    continue;
                }
                (Some(end), false)
            }
            _ => record_end(&data[at..], shape),
        };
        let (record, next) = match end {
            Some(end) => (&data[at..at + end], at + end + 1),
            None if last => (&data[at..], data.len()),
            None => break,
        };
        rows.line += 1 + memchr::memchr_iter(b'\n', record).count() as u64;
        let record = record.strip_suffix(b"\r").unwrap_or(record);
        if end.is_none() && in_quotes {
            return Err(rows.in_line(error!(BadCopyFileFormat, "unterminated CSV quoted field"), record));
        }
        at = next;
        if shape.header && !framing.started {
            framing.started = true;
            continue;
        }
        if record == b"\\." {
            framing.ended = true;
            return Ok(data.len());
        }
        row(rows, shape, record, &mut scratch)?;
    }
    Ok(at)
}

/// The line feed that ends the first record, if that has no quotes.
fn plain_end(data: &[u8], shape: &Shape<'_>) -> Option<usize> {
    let end = memchr::memchr(b'\n', data)?;
    memchr::memchr2(shape.quote, shape.escape, &data[..end]).is_none().then_some(end)
}

/// A record without quotes, with its line feed: short numbers go into their columns as they are read.
fn plain_row(rows: &mut CopyRows, shape: &Shape<'_>, text: &str) -> Result<()> {
    let record = &text[..text.len() - 1];
    rows.begin();
    let (mut at, mut count) = (0, 0);
    loop {
        let rest = &text.as_bytes()[at..];
        let end = match rows.number(count, rest, shape.delimiter) {
            Some(length) => length,
            None => {
                let end = memchr::memchr(shape.delimiter, rest).unwrap_or(rest.len() - 1);
                let value = Some(&text[at..at + end]).filter(|value| value.as_bytes() != shape.null);
                rows.text(count, value, record.as_bytes())?;
                end
            }
        };
        count += 1;
        at += end + 1;
        if at >= text.len() {
            return rows.end(count, record.as_bytes());
        }
    }
}

/// The line feed that ends the first record, and whether the data ends inside quotes.
fn record_end(data: &[u8], shape: &Shape<'_>) -> (Option<usize>, bool) {
    let mut in_quotes = false;
    let mut from = 0;
    while let Some(found) = data.get(from..).and_then(|rest| memchr::memchr3(b'\n', shape.quote, shape.escape, rest)) {
        let at = from + found;
        from = at + 1;
        let byte = data[at];
        if in_quotes && byte == shape.escape && shape.escape != shape.quote {
            // It hides a quote or itself, and is nothing else in front of other bytes.
            let hides = data.get(at + 1).is_some_and(|next| *next == shape.quote || *next == shape.escape);
            from += usize::from(hides);
        } else if byte == shape.quote {
            in_quotes = !in_quotes;
        } else if byte == b'\n' && !in_quotes {
            return (Some(at), false);
        }
    }
    (None, in_quotes)
}

fn row(rows: &mut CopyRows, shape: &Shape<'_>, record: &[u8], scratch: &mut Vec<u8>) -> Result<()> {
    rows.begin();
    let (mut at, mut count) = (0, 0);
    loop {
        let end = memchr::memchr2(shape.delimiter, shape.quote, &record[at..]).map(|found| at + found);
        let plain = end.is_none_or(|end| record[end] == shape.delimiter);
        let next = if plain {
            let field = &record[at..end.unwrap_or(record.len())];
            let value = if field == shape.null { None } else { Some(field) };
            rows.field(count, value, record)?;
            end
        } else {
            scratch.clear();
            let next = quoted(shape, record, at, scratch);
            rows.field(count, Some(scratch), record)?;
            next
        };
        count += 1;
        match next {
            Some(end) => at = end + 1,
            None => return rows.end(count, record),
        }
    }
}

/// Reads a field that has quotes somewhere; gives the delimiter behind it.
fn quoted(shape: &Shape<'_>, record: &[u8], mut at: usize, out: &mut Vec<u8>) -> Option<usize> {
    let mut in_quotes = false;
    while let Some(byte) = record.get(at).copied() {
        let next = record.get(at + 1).copied();
        at += 1;
        if !in_quotes {
            if byte == shape.delimiter {
                return Some(at - 1);
            }
            if byte == shape.quote {
                in_quotes = true;
            } else {
                out.push(byte);
            }
            continue;
        }
        let hides = byte == shape.escape && next.is_some_and(|next| next == shape.quote || next == shape.escape);
        if hides {
            out.extend(next);
            at += 1;
        } else if byte == shape.quote {
            in_quotes = false;
        } else {
            out.push(byte);
        }
    }
    None
}
