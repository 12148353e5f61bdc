//! PostgreSQL's text format: one line per row, a delimiter between values, escapes with a backslash.

use model::{Result, error};

use super::{CopyRows, Framing};

/// The options of the format.
pub(super) struct Shape<'a> {
    pub(super) delimiter: u8,
    pub(super) null: &'a [u8],
    pub(super) header: bool,
}

/// Takes whole lines; at the end the last one may lack its line feed. Gives how many bytes were used.
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
        let (line, next) = match line_end(&data[at..]) {
            Some(end) => (&data[at..at + end], at + end + 1),
            None if last => (&data[at..], data.len()),
            None => break,
        };
        at = next;
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        rows.line += 1;
        if shape.header && !framing.started {
            framing.started = true;
            continue;
        }
        if line == b"\\." {
            framing.ended = true;
            return Ok(data.len());
        }
        row(rows, shape, line, numbers, &mut scratch)?;
    }
    Ok(at)
}

/// The line feed that ends the first line: one that no backslash hides.
fn line_end(data: &[u8]) -> Option<usize> {
    let mut from = 0;
    loop {
        let at = from + memchr::memchr2(b'\n', b'\\', data.get(from..)?)?;
        if data[at] == b'\n' {
            return Some(at);
        }
        from = at + 2;
    }
}

/// Reads one line, without what ends it; `numbers` as in [`CopyRows::takes_numbers`].
fn row(rows: &mut CopyRows, shape: &Shape<'_>, line: &[u8], numbers: bool, scratch: &mut Vec<u8>) -> Result<()> {
    rows.begin();
    let plain = memchr::memchr(b'\\', line).is_none();
    let (mut from, mut count) = (0, 0);
    loop {
        if let Some(length) = numbers.then(|| rows.number(count, &line[from..], shape.delimiter)).flatten() {
            count += 1;
            // A delimiter follows: behind the last number of a line nothing does that could be seen here.
            from += length + 1;
            continue;
        }
        let end = if plain {
            memchr::memchr(shape.delimiter, &line[from..]).map(|at| from + at)
        } else {
            field_end(line, from, shape.delimiter)
        };
        let field = &line[from..end.unwrap_or(line.len())];
        if field == shape.null {
            rows.field(count, None, line)?;
        } else if plain || memchr::memchr(b'\\', field).is_none() {
            rows.field(count, Some(field), line)?;
        } else {
            scratch.clear();
            unescape(field, scratch).map_err(|error| rows.in_line(error, line))?;
            rows.field(count, Some(scratch), line)?;
        }
        count += 1;
        match end {
            Some(end) => from = end + 1,
            None => return rows.end(count, line),
        }
    }
}

fn field_end(line: &[u8], mut from: usize, delimiter: u8) -> Option<usize> {
    loop {
        let at = from + memchr::memchr2(delimiter, b'\\', line.get(from..)?)?;
        if line[at] == delimiter {
            return Some(at);
        }
        from = at + 2;
    }
}

/// The bytes that a field's escapes stand for.
fn unescape(field: &[u8], out: &mut Vec<u8>) -> Result<()> {
    let mut at = 0;
    while at < field.len() {
        if field[at] != b'\\' {
            out.push(field[at]);
            at += 1;
            continue;
        }
        let Some(letter) = field.get(at + 1) else {
            // A backslash at the end of the data stands for itself.
            out.push(b'\\');
            break;
        };
        at += 2;
        let digits = |from: usize, most: usize, radix: u32| {
            field[from..].iter().take(most).take_while(|byte| (**byte as char).is_digit(radix)).count()
        };
        let number = |from: usize, count: usize, radix: u32| {
            field[from..from + count].iter().fold(0, |n, byte| n * radix + (*byte as char).to_digit(radix).unwrap_or(0))
        };
        let byte = match letter {
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'v' => 11,
            b'0'..=b'7' => {
                let count = digits(at - 1, 3, 8);
                let byte = number(at - 1, count, 8) as u8;
                at += count - 1;
                byte
            }
            b'x' if digits(at, 2, 16) > 0 => {
                let count = digits(at, 2, 16);
                let byte = number(at, count, 16) as u8;
                at += count;
                byte
            }
            other => *other,
        };
        if byte == 0 {
            return Err(error!(CharacterNotInRepertoire, "invalid byte sequence for encoding \"UTF8\": 0x00"));
        }
        out.push(byte);
    }
    Ok(())
}
