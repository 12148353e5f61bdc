//! COPY with every spelling of its options.

use model::{Result, error};
use sqlparser::tokenizer::Token;

use super::query;
use crate::copy::{CopyFormat, ForceQuote};
use crate::parser::cursor::Cursor;
use crate::statement::{Copy, Statement};

/// What was asked for, before it is known whether it fits the format.
#[derive(Default)]
struct Options {
    format: Option<String>,
    delimiter: Option<(String, u32)>,
    null: Option<String>,
    header: bool,
    quote: Option<(String, u32)>,
    escape: Option<(String, u32)>,
    force_quote: Option<ForceQuote>,
}

pub(super) fn copy(cursor: &mut Cursor<'_>) -> Result<Statement> {
    cursor.expect("COPY")?;
    let mut options = Options::default();
    let (mut table, mut columns, mut query) = (None, None, None);
    if cursor.eat_token(&Token::LParen) {
        query = Some(query::select(cursor)?);
        cursor.expect_token(&Token::RParen)?;
    } else {
        if cursor.is(0, "BINARY") && matches!(cursor.peek(1).token, Token::Word(_)) && !cursor.is(1, "FROM") {
            cursor.skip();
            options.format = Some("binary".to_owned());
        }
        table = Some(cursor.table()?);
        if cursor.is_token(&Token::LParen) {
            columns = Some(cursor.parenthesized(Cursor::column)?);
        }
    }
    let from = cursor.is(0, "FROM");
    if from && query.is_some() {
        return Err(cursor.unexpected());
    }
    if !from && !cursor.is(0, "TO") {
        return Err(cursor.unexpected());
    }
    cursor.skip();
    let stream = if from { "STDIN" } else { "STDOUT" };
    if cursor.is_string() || cursor.is(0, "PROGRAM") {
        return Err(cursor
            .refuse("COPY of a file or program on the server")
            .with_hint(format!("use COPY … {stream}; psql's \\copy reads and writes files of the client")));
    }
    if cursor.eat_any(&["STDIN", "STDOUT"]).is_none() {
        return Err(cursor.unexpected());
    }
    read_options(cursor, &mut options)?;
    if cursor.is(0, "WHERE") {
        return Err(cursor.refuse("COPY … WHERE"));
    }
    let format = options.format(from)?;
    Ok(Statement::Copy(Box::new(Copy { table, columns, query, from, format })))
}

fn read_options(cursor: &mut Cursor<'_>, options: &mut Options) -> Result<()> {
    if cursor.is(0, "DELIMITERS") || cursor.is(0, "USING") {
        cursor.eat("USING");
        cursor.expect("DELIMITERS")?;
        let position = cursor.position();
        options.delimiter = Some((cursor.string()?, position));
    }
    cursor.eat("WITH");
    if cursor.is_token(&Token::LParen) {
        cursor.parenthesized(|cursor| new_option(cursor, options))?;
        return Ok(());
    }
    while !cursor.at_end() && !cursor.is(0, "WHERE") {
        old_option(cursor, options)?;
    }
    Ok(())
}

/// `NAME [value]` inside the parentheses.
fn new_option(cursor: &mut Cursor<'_>, options: &mut Options) -> Result<()> {
    let position = cursor.position();
    let name = cursor.identifier()?.to_ascii_lowercase();
    let place = cursor.position();
    match name.as_str() {
        "format" => {
            let format = if cursor.is_string() { cursor.string()? } else { cursor.identifier()? };
            if !matches!(format.to_ascii_lowercase().as_str(), "text" | "csv" | "binary") {
                return Err(error!(InvalidParameterValue, "COPY format \"{format}\" not recognized").at(place));
            }
            once(options.format.replace(format.to_ascii_lowercase()).is_some(), position)
        }
        "delimiter" => once(options.delimiter.replace((cursor.string()?, place)).is_some(), position),
        "null" => once(options.null.replace(cursor.string()?).is_some(), position),
        "quote" => once(options.quote.replace((cursor.string()?, place)).is_some(), position),
        "escape" => once(options.escape.replace((cursor.string()?, place)).is_some(), position),
        "header" => {
            options.header = flag(cursor, "header")?;
            Ok(())
        }
        "freeze" => flag(cursor, "freeze").map(|_| ()),
        "encoding" => encoding(cursor),
        "force_quote" => {
            options.force_quote = Some(if cursor.eat_token(&Token::Mul) {
                ForceQuote::All
            } else {
                ForceQuote::Columns(cursor.parenthesized(Cursor::identifier)?)
            });
            Ok(())
        }
        "force_null" | "force_not_null" | "on_error" | "log_verbosity" | "default" | "reject_limit" => {
            Err(error!(FeatureNotSupported, "COPY option \"{name}\" is not supported").at(position))
        }
        _ => Err(error!(SyntaxError, "option \"{name}\" not recognized").at(position)),
    }
}

fn once(again: bool, position: u32) -> Result<()> {
    if again { Err(error!(SyntaxError, "conflicting or redundant options").at(position)) } else { Ok(()) }
}

/// An option of the syntax before PostgreSQL 9: words without parentheses.
fn old_option(cursor: &mut Cursor<'_>, options: &mut Options) -> Result<()> {
    let Some(word) = cursor.word_ahead() else { return Err(cursor.unexpected()) };
    let position = cursor.position();
    match word.as_str() {
        "BINARY" | "CSV" => {
            cursor.skip();
            once(options.format.replace(word.to_lowercase()).is_some(), position)
        }
        "HEADER" => {
            cursor.skip();
            options.header = true;
            Ok(())
        }
        "FREEZE" => {
            cursor.skip();
            Ok(())
        }
        "DELIMITER" | "NULL" | "QUOTE" | "ESCAPE" => {
            cursor.skip();
            cursor.eat("AS");
            let place = cursor.position();
            let text = cursor.string()?;
            match word.as_str() {
                "DELIMITER" => options.delimiter = Some((text, place)),
                "NULL" => options.null = Some(text),
                "QUOTE" => options.quote = Some((text, place)),
                _ => options.escape = Some((text, place)),
            }
            Ok(())
        }
        "ENCODING" => {
            cursor.skip();
            encoding(cursor)
        }
        "FORCE" if cursor.is(1, "QUOTE") => {
            cursor.skip();
            cursor.skip();
            options.force_quote = Some(if cursor.eat_token(&Token::Mul) {
                ForceQuote::All
            } else {
                ForceQuote::Columns(cursor.list(Cursor::identifier)?)
            });
            Ok(())
        }
        "FORCE" => Err(cursor.refuse("COPY … FORCE NULL and FORCE NOT NULL")),
        _ => Err(cursor.unexpected()),
    }
}

fn encoding(cursor: &mut Cursor<'_>) -> Result<()> {
    let position = cursor.position();
    let name = cursor.string()?;
    if matches!(name.to_ascii_lowercase().as_str(), "utf8" | "utf-8" | "unicode") {
        return Ok(());
    }
    Err(error!(FeatureNotSupported, "encoding \"{name}\" is not supported").with_hint("send UTF-8").at(position))
}

fn flag(cursor: &mut Cursor<'_>, name: &str) -> Result<bool> {
    let position = cursor.position();
    let text = match &cursor.peek(0).token {
        Token::Comma | Token::RParen => return Ok(true),
        Token::Number(digits, _) => {
            let digits = digits.clone();
            cursor.skip();
            digits
        }
        _ if cursor.is_string() => cursor.string()?,
        _ => cursor.identifier()?,
    };
    if name == "header" && text.eq_ignore_ascii_case("match") {
        return Err(error!(FeatureNotSupported, "COPY option HEADER MATCH is not supported").at(position));
    }
    query::boolean(&text).ok_or_else(|| error!(SyntaxError, "{name} requires a Boolean value").at(position))
}

impl Options {
    /// The format with PostgreSQL's defaults and checks.
    fn format(self, from: bool) -> Result<CopyFormat> {
        let format = self.format.as_deref().unwrap_or("text");
        let refuse = |what: &str| Err(error!(FeatureNotSupported, "COPY {what}"));
        if format == "binary" {
            if self.delimiter.is_some() {
                return Err(error!(SyntaxError, "cannot specify DELIMITER in BINARY mode"));
            }
            if self.null.is_some() {
                return Err(error!(SyntaxError, "cannot specify NULL in BINARY mode"));
            }
            if self.header {
                return refuse("HEADER available only in CSV and text mode");
            }
        }
        let csv = format == "csv";
        if !csv && self.quote.is_some() {
            return refuse("quote available only in CSV mode");
        }
        if !csv && self.escape.is_some() {
            return refuse("escape available only in CSV mode");
        }
        if self.force_quote.is_some() && (!csv || from) {
            return refuse("force quote only available in CSV mode and using COPY TO");
        }
        if format == "binary" {
            return Ok(CopyFormat::Binary);
        }
        let null = self.null.unwrap_or_else(|| if csv { String::new() } else { "\\N".to_owned() });
        if null.contains(['\r', '\n']) {
            return Err(error!(
                InvalidParameterValue,
                "COPY null representation cannot use newline or carriage return"
            ));
        }
        let delimiter = one_byte(self.delimiter, if csv { b',' } else { b'\t' }, "delimiter")?;
        if matches!(delimiter, b'\r' | b'\n') {
            return Err(error!(InvalidParameterValue, "COPY delimiter cannot be newline or carriage return"));
        }
        if null.as_bytes().contains(&delimiter) {
            return Err(error!(
                InvalidParameterValue,
                "COPY delimiter character must not appear in the NULL specification"
            ));
        }
        if !csv {
            if b"\\.abcdefghijklmnopqrstuvwxyz0123456789".contains(&delimiter) {
                return Err(error!(InvalidParameterValue, "COPY delimiter cannot be \"{}\"", delimiter as char));
            }
            return Ok(CopyFormat::Text { delimiter, null, header: self.header });
        }
        let quote = one_byte(self.quote, b'"', "quote")?;
        let escape = one_byte(self.escape, quote, "escape")?;
        if delimiter == quote {
            return Err(error!(InvalidParameterValue, "COPY delimiter and quote must be different"));
        }
        if null.as_bytes().contains(&quote) {
            return Err(error!(InvalidParameterValue, "CSV quote character must not appear in the NULL specification"));
        }
        let force_quote = self.force_quote;
        Ok(CopyFormat::Csv { delimiter, null, header: self.header, quote, escape, force_quote })
    }
}

fn one_byte(given: Option<(String, u32)>, default: u8, name: &str) -> Result<u8> {
    match given {
        None => Ok(default),
        Some((text, _)) if text.len() == 1 => Ok(text.as_bytes()[0]),
        Some((_, position)) => {
            Err(error!(FeatureNotSupported, "COPY {name} must be a single one-byte character").at(position))
        }
    }
}
