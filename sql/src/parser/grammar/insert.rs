//! INSERT as the general grammar reads it: expressions, parameters, SELECT. Plain literals take [`crate::insert`].

use model::Result;
use sqlparser::ast::{Expr, Ident};
use sqlparser::tokenizer::Token;

use super::query;
use crate::parser::cursor::Cursor;
use crate::statement::{ColumnName, Insert, InsertRow, InsertSource, InsertTarget, Using};

/// `INSERT INTO target … [target …] [ON CONFLICT …] [RETURNING …]`.
pub(crate) fn insert(cursor: &mut Cursor<'_>) -> Result<Insert> {
    cursor.expect("INSERT")?;
    cursor.expect("INTO")?;
    let mut targets = vec![target(cursor)?];
    while matches!(targets[targets.len() - 1].source, InsertSource::Values(_) | InsertSource::File(_))
        && matches!(cursor.peek(0).token, Token::Word(_) | Token::DoubleQuotedString(_))
        && !cursor.is_any(&["ON", "RETURNING"])
    {
        targets.push(target(cursor)?);
    }
    let on_conflict = on_conflict(cursor)?;
    let returning = cursor.eat("RETURNING");
    if returning {
        super::skip_rest(cursor);
    }
    Ok(Insert { targets, returning, on_conflict })
}

fn target(cursor: &mut Cursor<'_>) -> Result<InsertTarget> {
    let table = cursor.table()?;
    if cursor.eat("AS") {
        cursor.identifier()?;
    }
    let using = if cursor.is(0, "USING") { Some(using(cursor)?) } else { None };
    let columns = columns(cursor)?;
    if cursor.is(0, "OVERRIDING") {
        return Err(cursor.refuse("OVERRIDING"));
    }
    let source = if cursor.eat("VALUES") {
        InsertSource::Values(rows(cursor)?)
    } else if cursor.eat("FILE") {
        InsertSource::File(cursor.string()?)
    } else if cursor.eat_all(&["DEFAULT", "VALUES"]) {
        InsertSource::Default
    } else {
        InsertSource::Query(query::select(cursor)?)
    };
    Ok(InsertTarget { table, using, columns, source })
}

/// A column list, unless the parenthesis opens a query.
fn columns(cursor: &mut Cursor<'_>) -> Result<Option<Vec<ColumnName>>> {
    let query = ["SELECT", "WITH", "VALUES", "TABLE"].iter().any(|word| cursor.is(1, word));
    if !cursor.is_token(&Token::LParen) || query || cursor.peek(1).token == Token::LParen {
        return Ok(None);
    }
    Ok(Some(cursor.parenthesized(Cursor::column)?))
}

/// `USING st [(tags)] TAGS (values)`.
pub(super) fn using(cursor: &mut Cursor<'_>) -> Result<Using> {
    cursor.expect("USING")?;
    let stable = cursor.table()?;
    let tags = if cursor.is_token(&Token::LParen) { Some(cursor.parenthesized(Cursor::column)?) } else { None };
    cursor.expect("TAGS")?;
    let row = row(cursor)?;
    Ok(Using { stable, tags, values: row.values, positions: row.positions, opens: row.position })
}

/// `(…)(…), (…)`: at least one.
fn rows(cursor: &mut Cursor<'_>) -> Result<Vec<InsertRow>> {
    let mut rows = vec![row(cursor)?];
    loop {
        let comma = cursor.eat_token(&Token::Comma);
        if !comma && !cursor.is_token(&Token::LParen) {
            return Ok(rows);
        }
        rows.push(row(cursor)?);
    }
}

fn row(cursor: &mut Cursor<'_>) -> Result<InsertRow> {
    let position = cursor.position();
    cursor.expect_token(&Token::LParen)?;
    let mut row = InsertRow { position, values: Vec::new(), positions: Vec::new() };
    loop {
        row.positions.push(cursor.position());
        row.values.push(value(cursor)?);
        if !cursor.eat_token(&Token::Comma) {
            cursor.expect_token(&Token::RParen)?;
            return Ok(row);
        }
    }
}

fn value(cursor: &mut Cursor<'_>) -> Result<Expr> {
    if cursor.is(0, "DEFAULT") && matches!(cursor.peek(1).token, Token::Comma | Token::RParen) {
        cursor.skip();
        return Ok(Expr::Identifier(Ident::new("DEFAULT")));
    }
    cursor.expr()
}

/// `ON CONFLICT [target] DO NOTHING | DO UPDATE …`; true for nothing.
fn on_conflict(cursor: &mut Cursor<'_>) -> Result<Option<bool>> {
    if !cursor.eat_all(&["ON", "CONFLICT"]) {
        return Ok(None);
    }
    if cursor.is_token(&Token::LParen) {
        cursor.parenthesized(Cursor::expr)?;
    } else if cursor.eat_all(&["ON", "CONSTRAINT"]) {
        cursor.identifier()?;
    }
    cursor.expect("DO")?;
    if cursor.eat("NOTHING") {
        return Ok(Some(true));
    }
    cursor.expect("UPDATE")?;
    while !cursor.at_end() && !cursor.is(0, "RETURNING") {
        cursor.skip();
    }
    Ok(Some(false))
}
