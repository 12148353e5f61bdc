//! Where the grammar stands in the tokens: looks at words, takes names and literals, and makes syntax errors as
//! PostgreSQL words them.
//!
//! Over sqlparser's `Parser`, so that the same place can be handed to it for expressions and queries.

use model::{Error, Result, error};
use sqlparser::ast::{Expr, Query};
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Token, TokenWithSpan};

use super::dialect::Marigraph;
use super::lexer::excerpt;
use crate::statement::{ColumnName, TableName};

/// Calls inside each other that the stock grammar may make; [`super::context`] has bounded the tokens before.
const RECURSION_MAX: usize = 5_000;

/// A place in a statement.
pub(crate) struct Cursor<'a> {
    parser: Parser<'a>,
    pub(crate) text: &'a str,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(text: &'a str, dialect: &'a Marigraph, tokens: Vec<TokenWithSpan>) -> Self {
        let parser = Parser::new(dialect).with_recursion_limit(RECURSION_MAX).with_tokens_with_locations(tokens);
        Self { parser, text }
    }

    // ---- Looking ----

    pub(crate) fn peek(&self, n: usize) -> &TokenWithSpan {
        self.parser.peek_nth_token_ref(n)
    }

    /// The position of the next token.
    pub(crate) fn position(&self) -> u32 {
        position(self.text, self.peek(0))
    }

    /// Whether the n-th token from here is this word, unquoted, in any case.
    pub(crate) fn is(&self, n: usize, word: &str) -> bool {
        super::context::is_word(self.peek(n), word)
    }

    pub(crate) fn is_any(&self, words: &[&str]) -> bool {
        words.iter().any(|word| self.is(0, word))
    }

    pub(crate) fn is_token(&self, token: &Token) -> bool {
        self.peek(0).token == *token
    }

    pub(crate) fn at_end(&self) -> bool {
        self.peek(0).token == Token::EOF
    }

    /// The next token as an upper-case unquoted word.
    pub(crate) fn word_ahead(&self) -> Option<String> {
        match &self.peek(0).token {
            Token::Word(word) if word.quote_style.is_none() => Some(word.value.to_ascii_uppercase()),
            _ => None,
        }
    }

    // ---- Taking ----

    pub(crate) fn skip(&mut self) {
        self.parser.advance_token();
    }

    pub(crate) fn eat(&mut self, word: &str) -> bool {
        let there = self.is(0, word);
        if there {
            self.skip();
        }
        there
    }

    /// Takes all of `words`, or none.
    pub(crate) fn eat_all(&mut self, words: &[&str]) -> bool {
        let there = words.iter().enumerate().all(|(n, word)| self.is(n, word));
        if there {
            words.iter().for_each(|_| self.skip());
        }
        there
    }

    /// Takes one of `words`, and says which.
    pub(crate) fn eat_any<'w>(&mut self, words: &[&'w str]) -> Option<&'w str> {
        let word = words.iter().find(|word| self.is(0, word)).copied()?;
        self.skip();
        Some(word)
    }

    pub(crate) fn eat_token(&mut self, token: &Token) -> bool {
        self.parser.consume_token(token)
    }

    pub(crate) fn expect(&mut self, word: &str) -> Result<()> {
        if self.eat(word) { Ok(()) } else { Err(self.unexpected()) }
    }

    pub(crate) fn expect_token(&mut self, token: &Token) -> Result<()> {
        if self.eat_token(token) { Ok(()) } else { Err(self.unexpected()) }
    }

    pub(crate) fn expect_end(&self) -> Result<()> {
        if self.at_end() { Ok(()) } else { Err(self.unexpected()) }
    }

    pub(crate) fn if_exists(&mut self) -> bool {
        self.eat_all(&["IF", "EXISTS"])
    }

    pub(crate) fn if_not_exists(&mut self) -> bool {
        self.eat_all(&["IF", "NOT", "EXISTS"])
    }

    /// An identifier: folded to lower case unless it was quoted.
    pub(crate) fn identifier(&mut self) -> Result<String> {
        let name = match &self.peek(0).token {
            Token::Word(word) if word.quote_style.is_some() => word.value.clone(),
            Token::Word(word) => fold(&word.value),
            Token::DoubleQuotedString(name) if !name.is_empty() => name.clone(),
            _ => return Err(self.unexpected()),
        };
        self.skip();
        Ok(name)
    }

    /// Refuses a word that is no name unless it is quoted.
    fn not_reserved(&self) -> Result<()> {
        const WORDS: [&str; 8] = ["FROM", "WHERE", "SELECT", "GROUP", "ORDER", "HAVING", "LIMIT", "UNION"];
        if WORDS.iter().any(|word| self.is(0, word)) { Err(self.unexpected()) } else { Ok(()) }
    }

    /// A column's name and its place.
    pub(crate) fn column(&mut self) -> Result<ColumnName> {
        self.not_reserved()?;
        let position = self.position();
        Ok(ColumnName { name: self.identifier()?, position })
    }

    /// `t`, `a.t`, `a.b.t`.
    pub(crate) fn table(&mut self) -> Result<TableName> {
        const PARTS_MAX: usize = 3;
        self.not_reserved()?;
        let position = self.position();
        let mut parts = vec![self.identifier()?];
        while self.eat_token(&Token::Period) {
            if parts.len() == PARTS_MAX {
                return Err(error!(
                    SyntaxError,
                    "improper qualified name (too many dotted names): {}",
                    parts.join(".")
                )
                .at(position));
            }
            parts.push(self.identifier()?);
        }
        let name = parts.pop().unwrap_or_default();
        Ok(TableName { qualifier: parts, name, position })
    }

    /// A string literal.
    pub(crate) fn string(&mut self) -> Result<String> {
        let text = match &self.peek(0).token {
            Token::SingleQuotedString(text) | Token::DoubleQuotedString(text) => text.clone(),
            // Where only a string may stand, TDengine's double quotes are one.
            Token::Word(word) if word.quote_style.is_some() => word.value.clone(),
            _ => return Err(self.unexpected()),
        };
        self.skip();
        Ok(text)
    }

    pub(crate) fn is_string(&self) -> bool {
        match &self.peek(0).token {
            Token::SingleQuotedString(_) | Token::DoubleQuotedString(_) => true,
            Token::Word(word) => word.quote_style.is_some(),
            _ => false,
        }
    }

    /// A whole number, with a sign.
    pub(crate) fn integer(&mut self) -> Result<i64> {
        let minus = self.is_token(&Token::Minus);
        let sign = usize::from(minus || self.is_token(&Token::Plus));
        let Token::Number(digits, _) = &self.peek(sign).token else { return Err(self.unexpected_at(sign)) };
        let text = if minus { format!("-{digits}") } else { digits.clone() };
        let Ok(number) = text.parse() else {
            return Err(if digits.bytes().all(|byte| byte.is_ascii_digit()) {
                error!(NumericValueOutOfRange, "value \"{text}\" is out of range for type bigint").at(self.position())
            } else {
                self.unexpected_at(sign)
            });
        };
        (0..=sign).for_each(|_| self.skip());
        Ok(number)
    }

    /// Comma-separated things.
    pub(crate) fn list<T>(&mut self, mut item: impl FnMut(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        let mut items = vec![item(self)?];
        while self.eat_token(&Token::Comma) {
            items.push(item(self)?);
        }
        Ok(items)
    }

    /// Comma-separated things in parentheses.
    pub(crate) fn parenthesized<T>(&mut self, item: impl FnMut(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        self.expect_token(&Token::LParen)?;
        let items = self.list(item)?;
        self.expect_token(&Token::RParen)?;
        Ok(items)
    }

    pub(crate) fn expr(&mut self) -> Result<Expr> {
        let result = self.parser.parse_expr();
        self.translate(result)
    }

    pub(crate) fn query(&mut self) -> Result<Box<Query>> {
        if !self.is_any(&["SELECT", "WITH", "VALUES", "TABLE"]) && !self.is_token(&Token::LParen) {
            return Err(self.unexpected());
        }
        let result = self.parser.parse_query();
        self.translate(result)
    }

    /// The text from the next token to the end of the statement.
    pub(crate) fn rest(&self) -> &'a str {
        &self.text[byte_of(self.text, u64::from(self.position()))..]
    }

    /// The text between two positions.
    pub(crate) fn slice(&self, from: u32, to: u32) -> &'a str {
        self.text[byte_of(self.text, u64::from(from))..byte_of(self.text, u64::from(to))].trim_end()
    }

    // ---- Errors ----

    /// The next token is not what it should be.
    pub(crate) fn unexpected(&self) -> Error {
        self.unexpected_at(0)
    }

    pub(crate) fn unexpected_at(&self, n: usize) -> Error {
        near(self.text, Some(self.peek(n)))
    }

    /// This is known, and not done here.
    pub(crate) fn refuse(&self, what: &str) -> Error {
        error!(FeatureNotSupported, "{what} is not supported").at(self.position())
    }

    fn translate<T>(&self, result: Result<T, ParserError>) -> Result<T> {
        let message = match result {
            Ok(value) => return Ok(value),
            Err(ParserError::RecursionLimitExceeded) => {
                return Err(error!(StatementTooComplex, "statement is nested too deeply")
                    .with_hint("split the statement, or use IN (…) or a join instead of long chains"));
            }
            Err(ParserError::ParserError(message) | ParserError::TokenizerError(message)) => message,
        };
        let (what, column) = match message.rsplit_once(" at Line: 1, Column: ") {
            Some((what, column)) => (what, column.trim().parse::<u64>().ok()),
            None => (message.as_str(), None),
        };
        let error = match column {
            Some(column) => near_column(self.text, column, self.token_end(column)),
            None if what.ends_with("found: EOF") => near(self.text, None),
            None => near(self.text, Some(self.peek(0))),
        };
        match what.strip_prefix("Expected: ").and_then(|rest| rest.split_once(", found: ")) {
            Some((expected, _)) => Err(error.with_detail(format!("Expected {expected}."))),
            None => Err(error),
        }
    }

    /// The end of the token that starts at `column`.
    fn token_end(&self, column: u64) -> u64 {
        let mut at = 0;
        loop {
            let token = self.parser.token_at(at);
            if token.token == Token::EOF {
                return column + 1;
            }
            if token.span.start.column == column {
                return token.span.end.column;
            }
            at += 1;
        }
    }
}

/// Lower case of an unquoted identifier, as PostgreSQL folds it: letters of ASCII only.
pub(crate) fn fold(name: &str) -> String {
    name.to_ascii_lowercase()
}

fn position(text: &str, token: &TokenWithSpan) -> u32 {
    match token.span.start.column {
        0 => text.chars().count() as u32 + 1,
        column => column as u32,
    }
}

/// `syntax error at or near "x"` for this token; `at end of input` for none.
pub(crate) fn near(text: &str, token: Option<&TokenWithSpan>) -> Error {
    match token {
        Some(TokenWithSpan { token, span }) if *token != Token::EOF && span.start.column > 0 => {
            near_column(text, span.start.column, span.end.column)
        }
        _ => error!(SyntaxError, "syntax error at end of input").at(text.chars().count() as u32 + 1),
    }
}

fn near_column(text: &str, from: u64, to: u64) -> Error {
    let found = &text[byte_of(text, from)..byte_of(text, to)];
    if found.is_empty() {
        return near(text, None);
    }
    error!(SyntaxError, "syntax error at or near \"{}\"", excerpt(found)).at(from as u32)
}

/// The byte where the character at this position starts.
fn byte_of(text: &str, position: u64) -> usize {
    if text.is_ascii() {
        return text.len().min((position as usize).saturating_sub(1));
    }
    text.char_indices().nth((position as usize).saturating_sub(1)).map_or(text.len(), |(at, _)| at)
}
