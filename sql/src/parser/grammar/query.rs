//! SELECT and its like, EXPLAIN, DELETE and UPDATE.

use model::{Result, error};
use sqlparser::ast::{self, Expr, Query, SetExpr};
use sqlparser::tokenizer::Token;

use crate::parser::cursor::Cursor;
use crate::statement::Statement;

pub(super) fn query(cursor: &mut Cursor<'_>) -> Result<Statement> {
    let query = select(cursor)?;
    if let Some(text) = crate::compat::asyncpg::instead(&query)
        && let Some(parsed) = crate::parser::parse(text, &Default::default())?.pop()
    {
        return Ok(parsed.statement);
    }
    Ok(Statement::Query(query))
}

/// A query that only reads.
pub(super) fn select(cursor: &mut Cursor<'_>) -> Result<Box<Query>> {
    let position = cursor.position();
    let mut query = cursor.query()?;
    fetch_is_limit(&mut query);
    let refused = match &*query.body {
        SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_) => {
            Some("WITH before a statement that writes")
        }
        SetExpr::Select(select) if select.into.is_some() => Some("SELECT INTO"),
        _ => None,
    };
    match refused {
        Some(what) => Err(error!(FeatureNotSupported, "{what} is not supported").at(position)),
        None => Ok(query),
    }
}

/// `EXPLAIN [ANALYZE] [VERBOSE [TRUE|FALSE]] [RATIO f] statement`, `EXPLAIN (option, …) statement`.
pub(super) fn explain(cursor: &mut Cursor<'_>) -> Result<Statement> {
    cursor.expect("EXPLAIN")?;
    let (mut analyze, mut verbose, mut json) = (false, false, false);
    let options =
        ["ANALYZE", "ANALYSE", "VERBOSE", "FORMAT", "COSTS", "BUFFERS", "TIMING", "SUMMARY", "SETTINGS", "WAL"];
    if cursor.is_token(&Token::LParen) && options.iter().any(|option| cursor.is(1, option)) {
        for (name, value, position) in cursor.parenthesized(explain_option)? {
            let on = || boolean(&value).ok_or_else(|| bad_option(&name, &value, position));
            match name.as_str() {
                "ANALYZE" | "ANALYSE" => analyze = on()?,
                "VERBOSE" => verbose = on()?,
                "FORMAT" => {
                    json = match value.to_ascii_lowercase().as_str() {
                        "json" => true,
                        "text" => false,
                        _ => return Err(bad_option(&name, &value, position)),
                    }
                }
                _ => {
                    on()?;
                }
            }
        }
    } else {
        analyze = cursor.eat("ANALYZE") || cursor.eat("ANALYSE");
        if cursor.eat("VERBOSE") {
            verbose = cursor.eat_any(&["TRUE", "FALSE"]) != Some("FALSE");
        }
        if cursor.eat("RATIO") {
            cursor.expr()?;
        }
    }
    let statement = Box::new(super::one(cursor)?);
    Ok(Statement::Explain { analyze, verbose, json, statement })
}

/// `NAME [value]` inside EXPLAIN's parentheses; the value is `on` if left out.
fn explain_option(cursor: &mut Cursor<'_>) -> Result<(String, String, u32)> {
    let position = cursor.position();
    let name = cursor.identifier()?.to_ascii_uppercase();
    let value = match &cursor.peek(0).token {
        Token::Comma | Token::RParen => "on".to_owned(),
        Token::Number(digits, _) => {
            let digits = digits.clone();
            cursor.skip();
            digits
        }
        Token::SingleQuotedString(_) => cursor.string()?,
        _ => cursor.identifier()?,
    };
    Ok((name, value, position))
}

fn bad_option(name: &str, value: &str, position: u32) -> model::Error {
    error!(InvalidParameterValue, "unrecognized value for EXPLAIN option \"{}\": \"{value}\"", name.to_lowercase())
        .at(position)
}

/// A truth value as PostgreSQL's options take it.
pub(super) fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "on" | "1" | "yes" => Some(true),
        "false" | "off" | "0" | "no" => Some(false),
        _ => None,
    }
}

/// `DELETE FROM t [WHERE …]`.
pub(super) fn delete(cursor: &mut Cursor<'_>) -> Result<Statement> {
    cursor.expect("DELETE")?;
    cursor.expect("FROM")?;
    cursor.eat("ONLY");
    let table = cursor.table()?;
    if cursor.is(0, "USING") {
        return Err(cursor.refuse("DELETE … USING"));
    }
    let condition = condition(cursor)?;
    Ok(Statement::Delete { table, condition })
}

/// `UPDATE t SET a = e, … [WHERE …]`.
pub(super) fn update(cursor: &mut Cursor<'_>) -> Result<Statement> {
    cursor.expect("UPDATE")?;
    cursor.eat("ONLY");
    let table = cursor.table()?;
    if !cursor.is(0, "SET") {
        return Err(if cursor.is(0, "AS") { cursor.refuse("an alias in UPDATE") } else { cursor.unexpected() });
    }
    cursor.expect("SET")?;
    let assignments = cursor.list(|cursor| {
        if cursor.is_token(&Token::LParen) {
            return Err(cursor.refuse("UPDATE … SET (columns) = (values)"));
        }
        let column = cursor.identifier()?;
        cursor.expect_token(&Token::Eq)?;
        Ok((column, cursor.expr()?))
    })?;
    if cursor.is(0, "FROM") {
        return Err(cursor.refuse("UPDATE … FROM"));
    }
    let condition = condition(cursor)?;
    Ok(Statement::Update { table, assignments, condition })
}

fn condition(cursor: &mut Cursor<'_>) -> Result<Option<Expr>> {
    let condition = if cursor.eat("WHERE") { Some(cursor.expr()?) } else { None };
    if cursor.is(0, "RETURNING") {
        return Err(cursor.refuse("RETURNING"));
    }
    Ok(condition)
}

/// `FETCH FIRST n ROWS ONLY` is LIMIT n.
fn fetch_is_limit(query: &mut Query) {
    let plain = |fetch: &ast::Fetch| !fetch.percent && !fetch.with_ties;
    let Some(fetch) = query.fetch.take_if(|fetch| plain(fetch)) else { return };
    let one = || ast::Expr::Value(ast::Value::Number("1".to_owned(), false).with_empty_span());
    let rows = fetch.quantity.unwrap_or_else(one);
    match &mut query.limit_clause {
        Some(ast::LimitClause::LimitOffset { limit, .. }) => *limit = Some(rows),
        _ => {
            query.limit_clause =
                Some(ast::LimitClause::LimitOffset { limit: Some(rows), offset: None, limit_by: Vec::new() });
        }
    }
}
