//! Text to [`Statement`]s: PostgreSQL's lexical rules and grammar with TDengine's additions.
//!
//! A statement's way: [`split`] cuts the message, [`lexer`] makes tokens that know their place, [`tail`] moves TDengine's
//! SELECT clauses into [`markers`], and [`grammar`] reads what stands there, asking sqlparser for queries and expressions.
//!
//! Positions: the lexer puts every token on line 1, in the column of its character in the statement, starting at 1. So
//! any span in an AST is a position ([`markers::position_of`]); add [`Parsed::offset`] for one in the message.

mod context;
mod cursor;
mod dialect;
mod grammar;
mod lexer;
pub mod markers;
pub(crate) mod scan;
mod split;
mod tail;
#[cfg(test)]
mod tests;

use model::{Error, Result, error};
use sqlparser::tokenizer::TokenWithSpan;

use crate::statement::{Insert, Parsed, Statement};
use cursor::Cursor;
use dialect::Marigraph;
pub(crate) use lexer::excerpt;

/// Most bytes of one message: as PostgreSQL's limit of one gigabyte, but for a server with less memory.
pub const MESSAGE_BYTES_MAX: usize = 256 << 20;

/// What a session has set that changes the grammar.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ParserOptions {
    /// `SET double_quotes = 'string'`: `"x"` is a string everywhere.
    pub double_quotes_are_strings: bool,
}

/// Parses a message of any number of statements. At least one [`Parsed`] comes back, `Empty` if there is nothing.
///
/// # Errors
///
/// 42601 for a syntax error, 54001 for a statement that is too large or nested too deeply, 22023 for an option out of
/// its range, 0A000 for what is not supported. Positions count characters of the whole message.
pub fn parse(sql: &str, options: &ParserOptions) -> Result<Vec<Parsed>> {
    if sql.len() > MESSAGE_BYTES_MAX {
        return Err(error!(StatementTooComplex, "message is larger than {MESSAGE_BYTES_MAX} bytes")
            .with_hint("send it in parts, or use COPY"));
    }
    let mut parsed = Vec::new();
    for piece in split::split(sql) {
        let offset = piece.offset as u32;
        let statement = parse_one(piece.text, options).map_err(|error| shift(error, offset))?;
        parsed.push(Parsed { statement, text: piece.text.to_owned(), offset });
    }
    if parsed.is_empty() {
        parsed.push(Parsed { statement: Statement::Empty, text: String::new(), offset: 0 });
    }
    Ok(parsed)
}

/// As [`parse`], for a message that runs at once and without parameters: one INSERT … VALUES is not looked through, but
/// comes back as [`Statement::InsertUnread`] with the whole message, which is moved out of `sql`.
///
/// # Errors
///
/// As [`parse`]; those of an unread INSERT show when it runs.
pub fn parse_to_run(sql: &mut String, options: &ParserOptions) -> Result<Vec<Parsed>> {
    // A semicolon may end the statement, a dollar may be a parameter or a quote.
    let alone = || memchr::memchr2(b';', b'$', without_end(sql).as_bytes()).is_none();
    if sql.len() <= MESSAGE_BYTES_MAX && crate::insert::is_insert(sql) && alone() {
        return Ok(vec![Parsed { statement: Statement::InsertUnread, text: std::mem::take(sql), offset: 0 }]);
    }
    parse(sql, options)
}

/// A message without the semicolon at its end and white space around that.
pub(crate) fn without_end(sql: &str) -> &str {
    let text = sql.trim_end();
    text.strip_suffix(';').map_or(text, str::trim_end)
}

/// Parses one INSERT by the general grammar: what [`crate::insert::read`] did not recognise.
///
/// # Errors
///
/// As [`parse`]; positions count characters of `text`.
pub fn parse_insert(text: &str, options: &ParserOptions) -> Result<Insert> {
    with_cursor(text, options, |cursor| {
        let insert = grammar::insert(cursor)?;
        cursor.expect_end()?;
        Ok(insert)
    })
}

fn parse_one(text: &str, options: &ParserOptions) -> Result<Statement> {
    if crate::insert::scan_tables(text).is_some() {
        return Ok(Statement::InsertValues);
    }
    with_cursor(text, options, grammar::statement)
}

/// Reads one expression, such as a column's DEFAULT.
///
/// # Errors
///
/// As [`parse`].
pub fn expression(text: &str) -> Result<sqlparser::ast::Expr> {
    with_cursor(text, &ParserOptions::default(), |cursor| {
        let expr = cursor.expr()?;
        cursor.expect_end()?;
        Ok(expr)
    })
}

fn with_cursor<T>(text: &str, options: &ParserOptions, read: impl FnOnce(&mut Cursor<'_>) -> Result<T>) -> Result<T> {
    let tokens = tokens(text, options)?;
    let dialect = Marigraph::new(tokens.len());
    read(&mut Cursor::new(text, &dialect, tokens))
}

fn tokens(text: &str, options: &ParserOptions) -> Result<Vec<TokenWithSpan>> {
    let mut tokens = lexer::lex(text)?;
    context::check_depth(&tokens)?;
    context::resolve_quotes(&mut tokens, options.double_quotes_are_strings)?;
    tail::rewrite(text, tokens)
}

/// The same error, its position in the message instead of in the statement.
fn shift(error: Error, offset: u32) -> Error {
    match error.fields().position {
        Some(position) => error.at(position + offset),
        None => error,
    }
}
