//! Text to [`Statement`]s: PostgreSQL's lexical rules and grammar with TDengine's additions.
//!
//! A statement's way: [`split`] cuts the message, [`lexer`] makes tokens that know their place, [`tail`] moves TDengine's
//! SELECT clauses into [`markers`], and [`grammar`] reads what stands there, asking sqlparser for queries and expressions.
//!
//! Positions: the lexer puts every token on line 1, in the column of its character in the statement, starting at 1. So
//! any span in an AST is a position ([`markers::position_of`]); add [`Parsed::offset`] for one in the message.

pub mod markers;

use model::Result;

use crate::statement::{Insert, Parsed};

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
pub fn parse(_sql: &str, _options: &ParserOptions) -> Result<Vec<Parsed>> {
    model::fail!(FeatureNotSupported, "the parser is not there yet")
}

/// Parses one INSERT by the general grammar: what [`crate::insert::read`] did not recognise.
///
/// # Errors
///
/// As [`parse`]; positions count characters of `text`.
pub fn parse_insert(_text: &str, _options: &ParserOptions) -> Result<Insert> {
    model::fail!(FeatureNotSupported, "the parser is not there yet")
}
