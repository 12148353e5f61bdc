//! Text to sqlparser's tokens by PostgreSQL's lexical rules, with TDengine's back-ticks and durations.
//!
//! Every kind of string literal (`'…'`, `E'…'`, `U&'…'`, `$$…$$`, continued over lines) becomes one plain string token,
//! so that nobody behind the lexer has to know them. White space, comments and hints make no tokens. Every token lies on
//! line 1, in the column of its first character. Start reading at [`lex`].

use model::{Result, error, fail};
use sqlparser::tokenizer::{Location, Span, Token, TokenWithSpan};

use super::scan;

/// Most tokens of one statement: about 100 MB of them.
pub(crate) const TOKENS_MAX: usize = 1_000_000;

/// The tokens of one statement.
///
/// # Errors
///
/// 42601 for a shape without end or a number with junk behind it, 54001 for more than [`TOKENS_MAX`] tokens.
pub(crate) fn lex(text: &str) -> Result<Vec<TokenWithSpan>> {
    let mut lexer = Lexer { text, bytes: text.as_bytes(), at: 0, counted: 0, characters: 0, tokens: Vec::new() };
    while lexer.step()? {
        if lexer.tokens.len() > TOKENS_MAX {
            return Err(error!(StatementTooComplex, "statement has more than {TOKENS_MAX} words and symbols")
                .with_hint(
                    "send rows as INSERT … VALUES with plain literals, or by COPY: both are read without this limit",
                ));
        }
    }
    Ok(lexer.tokens)
}

struct Lexer<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    counted: usize,
    characters: usize,
    tokens: Vec<TokenWithSpan>,
}

impl Lexer<'_> {
    /// The position of byte `at`, which never lies before one asked for earlier.
    fn position(&mut self, at: usize) -> u64 {
        self.characters += scan::characters(&self.bytes[self.counted..at]);
        self.counted = at;
        self.characters as u64 + 1
    }

    fn push(&mut self, start: usize, end: usize, token: Token) {
        let first = self.position(start);
        let last = self.position(end);
        let place = |column| Location { line: 1, column };
        self.tokens.push(TokenWithSpan { token, span: Span::new(place(first), place(last)) });
        self.at = end;
    }

    fn unterminated<T>(&mut self, what: &str, start: usize) -> Result<T> {
        let near = excerpt(&self.text[start..]);
        let position = self.position(start) as u32;
        Err(error!(SyntaxError, "unterminated {what} at or near \"{near}\"").at(position))
    }

    /// Reads one token; false at the end.
    fn step(&mut self) -> Result<bool> {
        match scan::blank(self.bytes, self.at) {
            Some(at) => self.at = at,
            None => {
                while scan::is_space(self.bytes[self.at]) {
                    self.at += 1;
                }
                return self.unterminated("/* comment", self.at);
            }
        }
        let at = self.at;
        let Some(byte) = self.bytes.get(at).copied() else { return Ok(false) };
        match byte {
            b'\'' => self.string(at, at, false)?,
            b'"' | b'`' => self.quoted_identifier(at)?,
            b'$' => self.dollar(at)?,
            b'0'..=b'9' => self.number(at)?,
            b'.' if self.bytes.get(at + 1).is_some_and(u8::is_ascii_digit) => self.number(at)?,
            _ if scan::is_word_start(byte) => self.word(at)?,
            _ => self.symbol(at)?,
        }
        Ok(true)
    }

    /// A string whose quote stands at `quote` and whose token starts at `start`, with its continuations.
    fn string(&mut self, start: usize, quote: usize, escapes: bool) -> Result<()> {
        let mut value = String::new();
        let mut quote = quote;
        loop {
            let end = if escapes { scan::escaped(self.bytes, quote) } else { scan::quoted(self.bytes, quote) };
            let Some(end) = end else { return self.unterminated("quoted string", start) };
            let body = &self.text[quote + 1..end - 1];
            if escapes {
                let position = self.position(start) as u32;
                unescape(body, &mut value).map_err(|e| e.at(position))?;
            } else {
                value.push_str(&body.replace("''", "'"));
            }
            match self.continuation(end) {
                Some(next) => quote = next,
                None => {
                    self.push(start, end, Token::SingleQuotedString(value));
                    return Ok(());
                }
            }
        }
    }

    /// The quote that continues a string that ended at `end`: one on a later line, after white space only.
    fn continuation(&self, end: usize) -> Option<usize> {
        let gap = self.bytes[end..].iter().position(|byte| !scan::is_space(*byte))?;
        let lines = self.bytes[end..end + gap].iter().any(|byte| matches!(byte, b'\n' | b'\r'));
        (lines && self.bytes[end + gap] == b'\'').then_some(end + gap)
    }

    fn quoted_identifier(&mut self, at: usize) -> Result<()> {
        let quote = self.bytes[at] as char;
        let Some(end) = scan::quoted(self.bytes, at) else { return self.unterminated("quoted identifier", at) };
        let doubled: String = [quote, quote].iter().collect();
        let name = self.text[at + 1..end - 1].replace(&doubled, &quote.to_string());
        // A zero-length name is refused where it is used as one: `""` may turn out to be a string.
        let style = if quote == '`' { Token::make_word(&name, Some('`')) } else { Token::make_word(&name, Some('"')) };
        self.push(at, end, style);
        Ok(())
    }

    fn dollar(&mut self, at: usize) -> Result<()> {
        if let Some(tag) = scan::dollar_tag(self.bytes, at) {
            let Some(end) = scan::dollar_quoted(self.bytes, at, tag) else {
                return self.unterminated("dollar-quoted string", at);
            };
            let body = self.text[at + tag.len()..end - tag.len()].to_owned();
            self.push(at, end, Token::SingleQuotedString(body));
            return Ok(());
        }
        let digits = self.bytes[at + 1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        if digits == 0 {
            return self.junk("syntax error", at, at + 1);
        }
        let end = at + 1 + digits;
        if self.bytes.get(end).is_some_and(|byte| scan::is_word_start(*byte)) {
            return self.junk("trailing junk after parameter", at, end + 1);
        }
        self.push(at, end, Token::Placeholder(self.text[at..end].to_owned()));
        Ok(())
    }

    fn junk(&mut self, what: &str, start: usize, end: usize) -> Result<()> {
        let end = (end..=self.text.len()).find(|at| self.text.is_char_boundary(*at)).unwrap_or(start);
        let near = excerpt(&self.text[start..end]);
        let position = self.position(start) as u32;
        Err(error!(SyntaxError, "{what} at or near \"{near}\"").at(position))
    }

    /// A number, and the unit of a duration right behind it.
    fn number(&mut self, at: usize) -> Result<()> {
        let mut end = number_end(self.bytes, at);
        let hex = &self.bytes[at..end] == b"0" && matches!(self.bytes.get(end), Some(b'x' | b'X'));
        if hex {
            let digits = self.bytes[end + 1..].iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
            let Ok(value) = u64::from_str_radix(&self.text[end + 1..end + 1 + digits], 16) else {
                return self.junk("invalid hexadecimal integer", at, end + 1 + digits);
            };
            end += 1 + digits;
            if !self.bytes.get(end).is_some_and(|byte| scan::is_word_part(*byte)) {
                self.push(at, end, Token::Number(value.to_string(), false));
                return Ok(());
            }
        }
        let tail = self.bytes[end..].iter().take_while(|byte| scan::is_word_part(**byte)).count();
        let unit = &self.text[end..end + tail];
        let whole = self.bytes[at..end].iter().all(u8::is_ascii_digit);
        if tail > 0 && (hex || !whole || super::markers::Unit::of(unit).is_none()) {
            return self.junk("trailing junk after numeric literal", at, end + 1);
        }
        self.push(at, end, Token::Number(self.text[at..end].to_owned(), false));
        if tail > 0 {
            self.push(end, end + tail, Token::make_word(unit, None));
        }
        Ok(())
    }

    /// A word, or the string or identifier that its first letter introduces.
    fn word(&mut self, at: usize) -> Result<()> {
        let length = self.bytes[at..].iter().take_while(|byte| scan::is_word_part(**byte)).count();
        let end = at + length;
        let word = &self.text[at..end];
        if self.bytes.get(end) == Some(&b'\'') && length == 1 {
            match word {
                "e" | "E" => return self.string(at, end, true),
                "n" | "N" => return self.string(at, end, false),
                "x" | "X" | "b" | "B" => return self.bits(at, end),
                _ => {}
            }
        }
        let unicode = length == 1 && matches!(word, "u" | "U") && self.bytes.get(end) == Some(&b'&');
        if unicode && matches!(self.bytes.get(end + 1), Some(b'\'' | b'"')) {
            return self.unicode(at, end + 1);
        }
        self.push(at, end, Token::make_word(word, None));
        Ok(())
    }

    fn bits(&mut self, at: usize, quote: usize) -> Result<()> {
        let Some(end) = scan::quoted(self.bytes, quote) else { return self.unterminated("bit string literal", at) };
        let body = self.text[quote + 1..end - 1].to_owned();
        let hex = matches!(self.bytes[at], b'x' | b'X');
        let token = if hex { Token::HexStringLiteral(body) } else { Token::SingleQuotedByteStringLiteral(body) };
        self.push(at, end, token);
        Ok(())
    }

    /// `U&'…'` and `U&"…"`, with the UESCAPE that may follow.
    fn unicode(&mut self, at: usize, quote: usize) -> Result<()> {
        let identifier = self.bytes[quote] == b'"';
        let Some(mut end) = scan::quoted(self.bytes, quote) else {
            return self.unterminated(if identifier { "quoted identifier" } else { "quoted string" }, at);
        };
        let doubled = if identifier { "\"\"" } else { "''" };
        let body = self.text[quote + 1..end - 1].replace(doubled, &doubled[..1]);
        let mut escape = '\\';
        let next = scan::blank(self.bytes, end).unwrap_or(end);
        if self.bytes[next..].get(..7).is_some_and(|word| word.eq_ignore_ascii_case(b"UESCAPE")) {
            let open = scan::blank(self.bytes, next + 7).unwrap_or(next);
            let close = if self.bytes.get(open) == Some(&b'\'') { scan::quoted(self.bytes, open) } else { None };
            let given = close.map(|close| &self.text[open + 1..close - 1]);
            let mut letters = given.unwrap_or_default().chars();
            match (letters.next(), letters.next()) {
                (Some(letter), None) if !letter.is_ascii_hexdigit() && !"+'\" ".contains(letter) => escape = letter,
                _ => return self.junk("invalid Unicode escape character", next, next + 7),
            }
            end = close.unwrap_or(end);
        }
        let Some(value) = unicode_escapes(&body, escape) else {
            return self.junk("invalid Unicode escape", at, quote + 1);
        };
        let token = if identifier { Token::make_word(&value, Some('"')) } else { Token::SingleQuotedString(value) };
        self.push(at, end, token);
        Ok(())
    }

    fn symbol(&mut self, at: usize) -> Result<()> {
        let next = self.bytes.get(at + 1).copied();
        let (token, length) = match self.bytes[at] {
            b'(' => (Token::LParen, 1),
            b')' => (Token::RParen, 1),
            b'[' => (Token::LBracket, 1),
            b']' => (Token::RBracket, 1),
            b',' => (Token::Comma, 1),
            b';' => (Token::SemiColon, 1),
            b'.' => (Token::Period, 1),
            b':' if next == Some(b':') => (Token::DoubleColon, 2),
            b':' if next == Some(b'=') => (Token::Assignment, 2),
            b':' => (Token::Colon, 1),
            byte if is_operator(byte) => {
                let length = operator_length(&self.bytes[at..]);
                (operator(&self.text[at..at + length]), length)
            }
            _ => return self.junk("syntax error", at, at + 1),
        };
        self.push(at, at + length, token);
        Ok(())
    }
}

/// The text of the token that an error names: PostgreSQL prints it whole; a long one is cut here.
pub(crate) fn excerpt(text: &str) -> String {
    const CHARACTERS_MAX: usize = 80;
    match text.char_indices().nth(CHARACTERS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn number_end(bytes: &[u8], at: usize) -> usize {
    let digits = |from: usize| from + bytes[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let mut end = digits(at);
    if bytes.get(end) == Some(&b'.') && bytes.get(end + 1) != Some(&b'.') {
        end = digits(end + 1);
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        if bytes.get(end + 1 + sign).is_some_and(u8::is_ascii_digit) {
            end = digits(end + 1 + sign);
        }
    }
    end
}

const fn is_operator(byte: u8) -> bool {
    matches!(
        byte,
        b'+' | b'-' | b'*' | b'/' | b'<' | b'>' | b'=' | b'~' | b'!' | b'@' | b'#' | b'%' | b'^' | b'&' | b'|' | b'?'
    )
}

/// PostgreSQL's rule: as long as possible, stopping before a comment; a longer one ends in `+` or `-` only if it has one
/// of the characters that no SQL operator has.
fn operator_length(bytes: &[u8]) -> usize {
    let mut length = bytes.iter().take_while(|byte| is_operator(**byte)).count();
    let comment = (1..length).find(|at| matches!(bytes.get(*at..at + 2), Some(b"--" | b"/*")));
    length = comment.unwrap_or(length);
    let special = |byte: &u8| matches!(byte, b'~' | b'!' | b'@' | b'#' | b'%' | b'^' | b'&' | b'|' | b'?');
    while length > 1 && matches!(bytes[length - 1], b'+' | b'-') && !bytes[..length].iter().any(special) {
        length -= 1;
    }
    length
}

fn operator(text: &str) -> Token {
    match text {
        "+" => Token::Plus,
        "-" => Token::Minus,
        "*" => Token::Mul,
        "/" => Token::Div,
        "%" => Token::Mod,
        "=" => Token::Eq,
        "<>" | "!=" => Token::Neq,
        "<" => Token::Lt,
        "<=" => Token::LtEq,
        ">" => Token::Gt,
        ">=" => Token::GtEq,
        "=>" => Token::RArrow,
        "||" => Token::StringConcat,
        "&" => Token::Ampersand,
        "|" => Token::Pipe,
        "^" => Token::Caret,
        "#" => Token::Sharp,
        "~" => Token::Tilde,
        "~*" => Token::TildeAsterisk,
        "!~" => Token::ExclamationMarkTilde,
        "!~*" => Token::ExclamationMarkTildeAsterisk,
        "~~" => Token::DoubleTilde,
        "~~*" => Token::DoubleTildeAsterisk,
        "!~~" => Token::ExclamationMarkDoubleTilde,
        "!~~*" => Token::ExclamationMarkDoubleTildeAsterisk,
        "<<" => Token::ShiftLeft,
        ">>" => Token::ShiftRight,
        "&&" => Token::Overlap,
        "!" => Token::ExclamationMark,
        "!!" => Token::DoubleExclamationMark,
        "@" => Token::AtSign,
        "^@" => Token::CaretAt,
        "|/" => Token::PGSquareRoot,
        "||/" => Token::PGCubeRoot,
        "->" => Token::Arrow,
        "->>" => Token::LongArrow,
        "#>" => Token::HashArrow,
        "#>>" => Token::HashLongArrow,
        "@>" => Token::AtArrow,
        "<@" => Token::ArrowAt,
        "#-" => Token::HashMinus,
        "@?" => Token::AtQuestion,
        "@@" => Token::AtAt,
        "?" => Token::Question,
        "?&" => Token::QuestionAnd,
        "?|" => Token::QuestionPipe,
        other => Token::CustomBinaryOperator(other.to_owned()),
    }
}

/// The escapes of `E'…'`.
fn unescape(body: &str, value: &mut String) -> Result<()> {
    let mut rest = body;
    while let Some(at) = rest.find(['\\', '\'']) {
        value.push_str(&rest[..at]);
        if rest.as_bytes()[at] == b'\'' {
            value.push('\'');
            rest = &rest[at + 2..];
            continue;
        }
        let mut letters = rest[at + 1..].chars();
        let letter = letters.next().unwrap_or('\\');
        let after = letters.as_str();
        rest = after;
        let (digits, radix, least) = match letter {
            'x' => (2, 16, 1),
            'u' => (4, 16, 4),
            'U' => (8, 16, 8),
            '0'..='7' => (3, 8, 1),
            _ => {
                value.push(match letter {
                    'b' => '\u{8}',
                    'f' => '\u{c}',
                    'n' => '\n',
                    'r' => '\r',
                    't' => '\t',
                    other => other,
                });
                continue;
            }
        };
        let from = if radix == 8 { &body[body.len() - after.len() - 1..] } else { after };
        let count = from.chars().take(digits).take_while(|c| c.is_digit(radix)).count();
        if count < least {
            if letter == 'x' {
                value.push('x');
                continue;
            }
            fail!(SyntaxError, "invalid Unicode escape");
        }
        let code = u32::from_str_radix(&from[..count], radix).unwrap_or(0);
        // One byte above 0x7f would not be UTF-8 by itself; PostgreSQL refuses the whole string then.
        let one_byte = letter != 'u' && letter != 'U';
        match char::from_u32(code) {
            Some(c) if c != '\0' && !(one_byte && code > 0x7f) => value.push(c),
            _ => fail!(CharacterNotInRepertoire, "invalid byte sequence for encoding \"UTF8\""),
        }
        rest = &from[count..];
    }
    value.push_str(rest);
    Ok(())
}

/// The escapes of `U&'…'`; None if one is malformed.
fn unicode_escapes(body: &str, escape: char) -> Option<String> {
    let mut value = String::with_capacity(body.len());
    let mut rest = body;
    let mut high: Option<u32> = None;
    while let Some(letter) = rest.chars().next() {
        rest = &rest[letter.len_utf8()..];
        if letter != escape || rest.starts_with(escape) {
            if letter == escape {
                rest = &rest[escape.len_utf8()..];
            }
            if high.is_some() {
                return None;
            }
            value.push(letter);
            continue;
        }
        let (from, digits) = rest.strip_prefix('+').map_or((rest, 4), |after| (after, 6));
        let hex = from.get(..digits).filter(|hex| hex.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
        let code = u32::from_str_radix(hex, 16).ok()?;
        rest = &from[digits..];
        match (high.take(), code) {
            (None, 0xd800..=0xdbff) => high = Some(code),
            (Some(first), 0xdc00..=0xdfff) => {
                value.push(char::from_u32(0x10000 + ((first - 0xd800) << 10) + (code - 0xdc00))?);
            }
            (None, code) if code != 0 => value.push(char::from_u32(code)?),
            _ => return None,
        }
    }
    high.is_none().then_some(value)
}
