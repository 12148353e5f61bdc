//! PostgreSQL's binary COPY format: a signature, rows of lengths and bytes, a trailer.

use model::{Result, error};

use super::{CopyRows, Framing};
use crate::literal::Literal;

const SIGNATURE: &[u8; 11] = b"PGCOPY\n\xff\r\n\0";

/// Flags that a reader must know: only the row oids of old, which are refused.
const CRITICAL_FLAGS: u32 = 0xffff_0000;

/// Longest header extension.
const EXTENSION_BYTES_MAX: usize = 1 << 20;

/// Takes the whole rows of `data`; gives how many bytes were used.
pub(super) fn consume(rows: &mut CopyRows, framing: &mut Framing, data: &[u8]) -> Result<usize> {
    let mut at = 0;
    if !framing.started {
        match header(data)? {
            Some(length) => at = length,
            None => return Ok(0),
        }
        framing.started = true;
    }
    while at < data.len() {
        if framing.ended {
            return Err(bad(rows, "received copy data after EOF marker"));
        }
        let Some(count) = word(data, at) else { break };
        let count = i16::from_be_bytes(count);
        if count == -1 {
            framing.ended = true;
            at += 2;
            continue;
        }
        let columns = rows.target.slots.len();
        if usize::try_from(count) != Ok(columns) {
            rows.line += 1;
            return Err(bad(rows, &format!("row field count is {count}, expected {columns}")));
        }
        match row_end(data, at + 2, columns) {
            Ok(Some(end)) => {
                rows.line += 1;
                row(rows, &data[at + 2..end], columns)?;
                at = end;
            }
            Ok(None) => break,
            Err(length) => {
                rows.line += 1;
                return Err(bad(rows, &format!("invalid field size {length}")));
            }
        }
    }
    Ok(at)
}

fn bad(rows: &CopyRows, message: &str) -> model::Error {
    rows.in_line(error!(BadCopyFileFormat, "{message}"), b"")
}

fn word<const N: usize>(data: &[u8], at: usize) -> Option<[u8; N]> {
    data.get(at..at + N)?.try_into().ok()
}

/// The length of the header, once it is whole.
fn header(data: &[u8]) -> Result<Option<usize>> {
    let compared = data.len().min(SIGNATURE.len());
    if data[..compared] != SIGNATURE[..compared] {
        return Err(error!(BadCopyFileFormat, "COPY file signature not recognized"));
    }
    let (Some(flags), Some(extension)) = (word(data, 11), word(data, 15)) else { return Ok(None) };
    if u32::from_be_bytes(flags) & CRITICAL_FLAGS != 0 {
        return Err(error!(BadCopyFileFormat, "unrecognized critical flags in COPY file header"));
    }
    let extension = u32::from_be_bytes(extension) as usize;
    if extension > EXTENSION_BYTES_MAX {
        return Err(error!(BadCopyFileFormat, "invalid COPY file header (wrong length)"));
    }
    Ok(Some(19 + extension).filter(|length| *length <= data.len()))
}

/// Past the values that start at `at`; None if they are not all there; the length if one is malformed.
fn row_end(data: &[u8], mut at: usize, columns: usize) -> std::result::Result<Option<usize>, i32> {
    for _ in 0..columns {
        let Some(length) = word(data, at).map(i32::from_be_bytes) else { return Ok(None) };
        at += 4;
        if length >= 0 {
            at += length as usize;
        } else if length != -1 {
            return Err(length);
        }
    }
    Ok((at <= data.len()).then_some(at))
}

fn row(rows: &mut CopyRows, data: &[u8], columns: usize) -> Result<()> {
    rows.begin();
    let mut at = 0;
    for column in 0..columns {
        let length = word(data, at).map_or(-1, i32::from_be_bytes);
        at += 4;
        let slot = rows.target.slots[column];
        let literal = if length < 0 {
            Literal::Null
        } else {
            let bytes = &data[at..at + length as usize];
            at += bytes.len();
            Literal::Binary(bytes)
        };
        rows.stage.put(&rows.target, slot, literal).map_err(|error| {
            let column = rows.column_name(column);
            error.with_context(format!("COPY {}, line {}, column {column}", rows.name, rows.line))
        })?;
    }
    rows.end(columns, b"")
}
