//! Cuts a message into statements at its semicolons, without making tokens: an INSERT of megabytes passes here quickly.

use super::scan;

/// One statement of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece<'a> {
    /// Its text, without the semicolon and the white space around it.
    pub(crate) text: &'a str,
    /// Characters of the message before it.
    pub(crate) offset: usize,
}

/// The statements of a message. Pieces of white space and comments only are left out.
pub(crate) fn split(sql: &str) -> Vec<Piece<'_>> {
    let bytes = sql.as_bytes();
    let mut pieces = Vec::new();
    let (mut counted, mut characters) = (0, 0);
    let mut start = 0;
    while start < bytes.len() {
        let end = statement_end(bytes, start);
        let begin = scan::blank(bytes, start).map_or(start, |at| at.min(end));
        let text = sql[begin..end].trim_end();
        if !text.is_empty() {
            characters += scan::characters(&bytes[counted..begin]);
            counted = begin;
            pieces.push(Piece { text, offset: characters });
        }
        start = end + 1;
    }
    pieces
}

/// The index of the semicolon that ends the statement at `at`, or the end. A shape without end runs to the end.
fn statement_end(bytes: &[u8], mut at: usize) -> usize {
    let whole = bytes.len();
    if memchr::memchr(b';', &bytes[at..]).is_none() {
        return whole;
    }
    while at < whole {
        at = match bytes[at] {
            b';' => return at,
            b'\'' => scan::quoted(bytes, at).unwrap_or(whole),
            b'"' | b'`' => scan::quoted(bytes, at).unwrap_or(whole),
            b'-' if bytes.get(at + 1) == Some(&b'-') => scan::line_comment(bytes, at),
            b'/' if bytes.get(at + 1) == Some(&b'*') => scan::block_comment(bytes, at).unwrap_or(whole),
            b'$' => match scan::dollar_tag(bytes, at) {
                Some(tag) => scan::dollar_quoted(bytes, at, tag).unwrap_or(whole),
                None => at + 1,
            },
            byte if scan::is_word_start(byte) => word_end(bytes, at),
            byte if byte.is_ascii_digit() => number_end(bytes, at),
            _ => at + 1,
        };
    }
    whole
}

/// Past a word, and past the string that belongs to it if the word is `E`.
fn word_end(bytes: &[u8], at: usize) -> usize {
    let length = bytes[at..].iter().position(|byte| !scan::is_word_part(*byte)).unwrap_or(bytes.len() - at);
    let end = at + length;
    if length == 1 && matches!(bytes[at], b'e' | b'E') && bytes.get(end) == Some(&b'\'') {
        return scan::escaped(bytes, end).unwrap_or(bytes.len());
    }
    end
}

/// Past digits, so that `1$` starts no dollar quote.
fn number_end(bytes: &[u8], at: usize) -> usize {
    at + bytes[at..].iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(bytes.len() - at)
}
