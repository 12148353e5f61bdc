//! Statements about the session: settings, transactions, cursors, prepared statements.

use model::{Result, error};
use sqlparser::tokenizer::Token;

use super::query;
use crate::parser::cursor::Cursor;
use crate::statement::{Statement, TransactionModes};

// ---- Settings ----

pub(super) fn set(cursor: &mut Cursor<'_>) -> Result<Statement> {
    cursor.expect("SET")?;
    let session = cursor.eat_all(&["SESSION", "CHARACTERISTICS", "AS", "TRANSACTION"]);
    if session || transaction_ahead(cursor) {
        let modes = modes(cursor)?;
        return if modes.is_empty() {
            Err(cursor.unexpected())
        } else {
            Ok(Statement::SetTransaction { modes, session })
        };
    }
    if cursor.eat("CONSTRAINTS") {
        super::skip_rest(cursor);
        return Ok(Statement::Accepted("SET CONSTRAINTS"));
    }
    if cursor.is(0, "SESSION") && cursor.is(1, "AUTHORIZATION") {
        if cursor.is(2, "DEFAULT") {
            super::skip_rest(cursor);
            return Ok(Statement::Accepted("SET"));
        }
        return Err(cursor.refuse("SET SESSION AUTHORIZATION"));
    }
    let local = cursor.eat("LOCAL");
    if !local && !matches!(cursor.peek(1).token, Token::Eq) && !cursor.is(1, "TO") {
        cursor.eat("SESSION");
    }
    let set = |name: &str, values| Ok(Statement::Set { name: name.to_owned(), values, local });
    if cursor.eat_all(&["TIME", "ZONE"]) {
        return set("timezone", time_zone(cursor)?);
    }
    if cursor.eat("NAMES") {
        let value = if cursor.at_end() || cursor.eat("DEFAULT") { None } else { Some(vec![value(cursor)?]) };
        return set("client_encoding", value);
    }
    if cursor.is(0, "SCHEMA") && cursor.peek(1).token != Token::Eq && !cursor.is(1, "TO") {
        cursor.skip();
        return set("search_path", Some(vec![cursor.string()?]));
    }
    if cursor.is(0, "ROLE") && cursor.peek(1).token != Token::Eq && !cursor.is(1, "TO") {
        cursor.skip();
        return set("role", Some(vec![value(cursor)?]));
    }
    let name = setting(cursor)?;
    if !cursor.eat_token(&Token::Eq) {
        cursor.expect("TO")?;
    }
    let values = if cursor.eat("DEFAULT") { None } else { Some(cursor.list(value)?) };
    set(&name, values)
}

/// The name of a setting, which may have a prefix with a dot; lower case.
fn setting(cursor: &mut Cursor<'_>) -> Result<String> {
    let mut name = cursor.identifier()?.to_ascii_lowercase();
    while cursor.eat_token(&Token::Period) {
        name = format!("{name}.{}", cursor.identifier()?.to_ascii_lowercase());
    }
    Ok(name)
}

/// `[LOCAL] TRANSACTION` that is no setting of that name.
fn transaction_ahead(cursor: &mut Cursor<'_>) -> bool {
    let at = usize::from(cursor.is(0, "LOCAL"));
    let found = cursor.is(at, "TRANSACTION") && cursor.peek(at + 1).token != Token::Eq && !cursor.is(at + 1, "TO");
    for _ in 0..if found { at + 1 } else { 0 } {
        cursor.skip();
    }
    found
}

/// One value: a string, a number, or a word, which keeps its case if it was quoted.
fn value(cursor: &mut Cursor<'_>) -> Result<String> {
    match &cursor.peek(0).token {
        Token::SingleQuotedString(_) | Token::DoubleQuotedString(_) => cursor.string(),
        Token::Word(word) => {
            let value = if word.quote_style.is_some() { word.value.clone() } else { word.value.to_lowercase() };
            cursor.skip();
            Ok(value)
        }
        _ => number(cursor),
    }
}

/// A number with its sign, as written, and the unit that may stand right behind it.
fn number(cursor: &mut Cursor<'_>) -> Result<String> {
    let mut text = String::new();
    if cursor.eat_token(&Token::Minus) {
        text.push('-');
    } else {
        cursor.eat_token(&Token::Plus);
    }
    let Token::Number(digits, _) = &cursor.peek(0).token else { return Err(cursor.unexpected()) };
    text.push_str(digits);
    let adjacent = cursor.peek(0).span.end == cursor.peek(1).span.start;
    cursor.skip();
    if adjacent && let Token::Word(word) = &cursor.peek(0).token {
        text.push_str(&word.value);
        cursor.skip();
    }
    Ok(text)
}

fn time_zone(cursor: &mut Cursor<'_>) -> Result<Option<Vec<String>>> {
    if cursor.eat("LOCAL") || cursor.eat("DEFAULT") {
        return Ok(None);
    }
    if cursor.eat("INTERVAL") {
        let mut offset = cursor.string()?;
        if cursor.eat("HOUR") {
            if cursor.eat("TO") {
                cursor.expect("MINUTE")?;
            }
            if offset.trim().parse::<i32>().is_ok() {
                offset.push_str(" hours");
            }
        }
        return Ok(Some(vec![format!("INTERVAL '{offset}'")]));
    }
    Ok(Some(vec![value(cursor)?]))
}

/// Transaction modes, with or without commas between them.
fn modes(cursor: &mut Cursor<'_>) -> Result<TransactionModes> {
    let mut modes = Vec::new();
    while !cursor.at_end() {
        modes.push(mode(cursor)?);
        if cursor.eat_token(&Token::Comma) && cursor.at_end() {
            return Err(cursor.unexpected());
        }
    }
    Ok(modes)
}

fn mode(cursor: &mut Cursor<'_>) -> Result<(&'static str, &'static str)> {
    if cursor.eat("ISOLATION") {
        cursor.expect("LEVEL")?;
        let level = if cursor.eat("READ") {
            match cursor.eat_any(&["COMMITTED", "UNCOMMITTED"]) {
                Some("COMMITTED") => "read committed",
                Some(_) => "read uncommitted",
                None => return Err(cursor.unexpected()),
            }
        } else if cursor.eat("REPEATABLE") {
            cursor.expect("READ")?;
            "repeatable read"
        } else {
            cursor.expect("SERIALIZABLE")?;
            "serializable"
        };
        return Ok(("transaction_isolation", level));
    }
    if cursor.eat("READ") {
        return match cursor.eat_any(&["ONLY", "WRITE"]) {
            Some("ONLY") => Ok(("transaction_read_only", "on")),
            Some(_) => Ok(("transaction_read_only", "off")),
            None => Err(cursor.unexpected()),
        };
    }
    let deferrable = if cursor.eat("NOT") { "off" } else { "on" };
    cursor.expect("DEFERRABLE")?;
    Ok(("transaction_deferrable", deferrable))
}

pub(super) fn reset(cursor: &mut Cursor<'_>) -> Result<Statement> {
    cursor.expect("RESET")?;
    if cursor.eat_all(&["QUERY", "CACHE"]) {
        return Ok(Statement::Accepted("RESET"));
    }
    if cursor.eat_all(&["TIME", "ZONE"]) {
        return Ok(Statement::Reset("timezone".to_owned()));
    }
    if cursor.eat_all(&["SESSION", "AUTHORIZATION"]) {
        return Ok(Statement::Accepted("RESET"));
    }
    Ok(Statement::Reset(setting(cursor)?))
}

// ---- Transactions ----

pub(super) fn transaction(cursor: &mut Cursor<'_>) -> Result<Statement> {
    let word = cursor.word_ahead().unwrap_or_default();
    cursor.skip();
    match word.as_str() {
        "BEGIN" | "START" => {
            let start = word == "START";
            if start {
                cursor.expect("TRANSACTION")?;
            } else {
                cursor.eat_any(&["WORK", "TRANSACTION"]);
            }
            Ok(Statement::Begin { modes: modes(cursor)?, start })
        }
        "COMMIT" | "END" => Ok(Statement::Commit { chain: end(cursor, &word)? }),
        "ROLLBACK" | "ABORT" => {
            cursor.eat_any(&["WORK", "TRANSACTION"]);
            if cursor.eat("TO") {
                cursor.eat("SAVEPOINT");
                return Ok(Statement::RollbackTo(cursor.identifier()?));
            }
            Ok(Statement::Rollback { chain: end(cursor, &word)? })
        }
        "SAVEPOINT" => Ok(Statement::Savepoint(cursor.identifier()?)),
        _ => {
            cursor.eat("SAVEPOINT");
            Ok(Statement::Release(cursor.identifier()?))
        }
    }
}

/// `[WORK | TRANSACTION] [AND [NO] CHAIN]`: whether to chain.
fn end(cursor: &mut Cursor<'_>, word: &str) -> Result<bool> {
    if cursor.is(0, "PREPARED") {
        return Err(cursor.refuse(&format!("{word} PREPARED")));
    }
    cursor.eat_any(&["WORK", "TRANSACTION"]);
    cursor.eat_all(&["AND", "NO", "CHAIN"]);
    Ok(cursor.eat_all(&["AND", "CHAIN"]))
}

// ---- Cursors ----

pub(super) fn declare(cursor: &mut Cursor<'_>) -> Result<Statement> {
    cursor.expect("DECLARE")?;
    let name = cursor.identifier()?;
    let (mut binary, mut scroll) = (false, false);
    loop {
        if cursor.eat("BINARY") {
            binary = true;
        } else if cursor.eat("SCROLL") {
            scroll = true;
        } else if !cursor.eat_all(&["NO", "SCROLL"]) && cursor.eat_any(&["INSENSITIVE", "ASENSITIVE"]).is_none() {
            break;
        }
    }
    cursor.expect("CURSOR")?;
    let hold = cursor.eat_all(&["WITH", "HOLD"]);
    cursor.eat_all(&["WITHOUT", "HOLD"]);
    cursor.expect("FOR")?;
    let query = query::select(cursor)?;
    Ok(Statement::Declare { name, hold, binary, scroll, query })
}

/// `FETCH [direction] [FROM | IN] cursor`; backward counts are negative, and all of them the least number.
pub(super) fn fetch(cursor: &mut Cursor<'_>) -> Result<Statement> {
    let only_move = cursor.is(0, "MOVE");
    cursor.skip();
    if cursor.is_any(&["FIRST", "LAST", "ABSOLUTE", "RELATIVE"]) && cursor.peek(1).token != Token::EOF {
        return Err(cursor.refuse("FETCH FIRST, LAST, ABSOLUTE and RELATIVE"));
    }
    let named = matches!(cursor.peek(1).token, Token::EOF);
    let count = if named || cursor.eat("NEXT") {
        Some(1)
    } else if cursor.eat("PRIOR") {
        Some(-1)
    } else if cursor.eat("ALL") {
        None
    } else if cursor.eat("FORWARD") {
        count(cursor)?
    } else if cursor.eat("BACKWARD") {
        Some(count(cursor)?.map_or(i64::MIN, i64::wrapping_neg))
    } else if !cursor.is_any(&["FROM", "IN"]) {
        Some(cursor.integer()?)
    } else {
        Some(1)
    };
    cursor.eat_any(&["FROM", "IN"]);
    let cursor = cursor.identifier()?;
    Ok(Statement::Fetch { cursor, count, only_move })
}

/// `[n | ALL]` behind FORWARD and BACKWARD; one if left out.
fn count(cursor: &mut Cursor<'_>) -> Result<Option<i64>> {
    if cursor.eat("ALL") {
        return Ok(None);
    }
    match cursor.peek(0).token {
        Token::Number(..) | Token::Minus | Token::Plus => Ok(Some(cursor.integer()?)),
        _ => Ok(Some(1)),
    }
}

pub(super) fn close(cursor: &mut Cursor<'_>) -> Result<Statement> {
    cursor.expect("CLOSE")?;
    if cursor.eat("ALL") {
        return Ok(Statement::Close(None));
    }
    Ok(Statement::Close(Some(cursor.identifier()?)))
}

// ---- Prepared statements ----

pub(super) fn prepare(cursor: &mut Cursor<'_>) -> Result<Statement> {
    cursor.expect("PREPARE")?;
    if cursor.is(0, "TRANSACTION") && cursor.peek(1).token != Token::LParen && !cursor.is(1, "AS") {
        return Err(cursor.refuse("PREPARE TRANSACTION"));
    }
    let name = cursor.identifier()?;
    let types = if cursor.is_token(&Token::LParen) { cursor.parenthesized(type_name)? } else { Vec::new() };
    cursor.expect("AS")?;
    let position = cursor.position();
    let text = cursor.rest().to_owned();
    let preparable = cursor.is_any(&["SELECT", "WITH", "VALUES", "TABLE", "INSERT", "UPDATE", "DELETE", "EXPLAIN"]);
    if !preparable && !cursor.is_token(&Token::LParen) {
        return Err(cursor.unexpected());
    }
    if cursor.is(0, "EXPLAIN") {
        return Err(error!(FeatureNotSupported, "PREPARE of EXPLAIN is not supported").at(position));
    }
    super::one(cursor)?;
    Ok(Statement::Prepare { name, types, text })
}

/// The words of a type, as written and folded, with its length and brackets.
fn type_name(cursor: &mut Cursor<'_>) -> Result<String> {
    let start = cursor.position();
    cursor.identifier()?;
    let mut depth = 0_usize;
    loop {
        match cursor.peek(0).token {
            Token::EOF => return Err(cursor.unexpected()),
            Token::LParen => depth += 1,
            Token::RParen if depth > 0 => depth -= 1,
            Token::Comma | Token::RParen if depth == 0 => break,
            _ => {}
        }
        cursor.skip();
    }
    Ok(cursor.slice(start, cursor.position()).to_ascii_lowercase())
}

pub(super) fn execute(cursor: &mut Cursor<'_>) -> Result<Statement> {
    cursor.expect("EXECUTE")?;
    let name = cursor.identifier()?;
    let arguments = if cursor.is_token(&Token::LParen) { cursor.parenthesized(Cursor::expr)? } else { Vec::new() };
    Ok(Statement::Execute { name, arguments })
}

pub(super) fn deallocate(cursor: &mut Cursor<'_>) -> Result<Statement> {
    cursor.expect("DEALLOCATE")?;
    if cursor.peek(1).token != Token::EOF {
        cursor.eat("PREPARE");
    }
    if cursor.eat("ALL") {
        return Ok(Statement::Deallocate(None));
    }
    Ok(Statement::Deallocate(Some(cursor.identifier()?)))
}

pub(super) fn discard(cursor: &mut Cursor<'_>) -> Result<Statement> {
    cursor.expect("DISCARD")?;
    match cursor.eat_any(&["ALL", "PLANS", "SEQUENCES", "TEMP", "TEMPORARY"]) {
        Some("TEMPORARY") => Ok(Statement::Discard("TEMP".to_owned())),
        Some(word) => Ok(Statement::Discard(word.to_owned())),
        None => Err(cursor.unexpected()),
    }
}
