//! PostgreSQL's lexical shapes on raw bytes: where a string, an identifier or a comment ends.
//!
//! Used before there are tokens: by the cut of a message into statements ([`super::split`]), by the lexer, and by the
//! fast path of INSERT. All functions take the index of the first byte of the shape and give the index after its last
//! one, or None if the shape has no end.

/// Past a `'…'` or `"…"` or `` `…` `` whose quote stands at `at`; a doubled quote is part of it.
pub(crate) fn quoted(bytes: &[u8], at: usize) -> Option<usize> {
    let quote = bytes[at];
    let mut from = at + 1;
    loop {
        let end = from + memchr::memchr(quote, &bytes[from..])?;
        if bytes.get(end + 1) != Some(&quote) {
            return Some(end + 1);
        }
        from = end + 2;
    }
}

/// Past an `E'…'` string whose quote stands at `at`: a backslash hides what follows it.
pub(crate) fn escaped(bytes: &[u8], at: usize) -> Option<usize> {
    let mut from = at + 1;
    loop {
        let end = from + memchr::memchr2(b'\'', b'\\', &bytes[from..])?;
        if bytes[end] == b'\\' || bytes.get(end + 1) == Some(&b'\'') {
            from = end + 2;
            if from > bytes.len() {
                return None;
            }
        } else {
            return Some(end + 1);
        }
    }
}

/// Past a `/* … */` that starts at `at`; comments nest.
pub(crate) fn block_comment(bytes: &[u8], at: usize) -> Option<usize> {
    let mut depth = 1_usize;
    let mut from = at + 2;
    while depth > 0 {
        let mark = from + memchr::memchr2(b'*', b'/', bytes.get(from..)?)?;
        match (bytes[mark], bytes.get(mark + 1)) {
            (b'*', Some(b'/')) => depth -= 1,
            (b'/', Some(b'*')) => depth += 1,
            _ => {
                from = mark + 1;
                continue;
            }
        }
        from = mark + 2;
    }
    Some(from)
}

/// Past a `-- …` that starts at `at`: the index of the line feed, or the end.
pub(crate) fn line_comment(bytes: &[u8], at: usize) -> usize {
    memchr::memchr2(b'\n', b'\r', &bytes[at..]).map_or(bytes.len(), |end| at + end)
}

/// The delimiter of a dollar quote that starts at `at`, such as `$$` or `$tag$`; None if no dollar quote starts there.
pub(crate) fn dollar_tag(bytes: &[u8], at: usize) -> Option<&[u8]> {
    let rest = &bytes[at + 1..];
    let length = rest.iter().position(|byte| !is_word_part(*byte) || *byte == b'$')?;
    let starts = rest[0] == b'$' || is_word_start(rest[0]);
    (rest[length] == b'$' && starts).then(|| &bytes[at..at + length + 2])
}

/// Past a dollar-quoted string that starts at `at` with the delimiter `tag`.
pub(crate) fn dollar_quoted(bytes: &[u8], at: usize, tag: &[u8]) -> Option<usize> {
    let body = at + tag.len();
    memchr::memmem::find(&bytes[body..], tag).map(|end| body + end + tag.len())
}

/// Whether an identifier may start with `byte`.
pub(crate) const fn is_word_start(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80
}

/// Whether an identifier may go on with `byte`.
pub(crate) const fn is_word_part(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || byte >= 0x80
}

/// Whether `byte` is white space.
pub(crate) const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

/// Past white space and comments; None if a comment has no end.
pub(crate) fn blank(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match bytes.get(at) {
            Some(byte) if is_space(*byte) => at += 1,
            Some(b'-') if bytes.get(at + 1) == Some(&b'-') => at = line_comment(bytes, at),
            Some(b'/') if bytes.get(at + 1) == Some(&b'*') => at = block_comment(bytes, at)?,
            _ => return Some(at),
        }
    }
}

/// How many characters start in `bytes`, which are part of valid UTF-8.
pub(crate) fn characters(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| (**byte & 0xc0) != 0x80).count()
}
