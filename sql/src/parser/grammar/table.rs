//! CREATE STABLE, CREATE TABLE in all its forms, CREATE VIEW.

use model::schema::{Column, Compression};
use model::{Result, error};
use sqlparser::tokenizer::Token;

use super::types::{Definition, definition};
use super::{insert, query};
use crate::parser::cursor::Cursor;
use crate::statement::{CreateChild, CreateTable, Statement, TableName};

pub(super) fn create(cursor: &mut Cursor<'_>) -> Result<Statement> {
    let mut temporary = cursor.eat_any(&["LOCAL", "GLOBAL"]).is_some();
    temporary |= cursor.eat_any(&["TEMP", "TEMPORARY"]).is_some();
    cursor.eat("UNLOGGED");
    let stable = cursor.eat("STABLE");
    if !stable {
        cursor.expect("TABLE")?;
    }
    if cursor.is(0, "USING") {
        return Err(cursor.refuse("CREATE TABLE USING … FILE"));
    }
    let if_not_exists = cursor.if_not_exists();
    let table = cursor.table()?;
    if cursor.is(0, "USING") && !stable {
        return children(cursor, table, if_not_exists);
    }
    if cursor.is_any(&["PARTITION", "OF"]) {
        return Err(cursor.refuse("a table of that kind"));
    }
    if cursor.is(0, "AS") {
        return create_as(cursor, table, if_not_exists);
    }
    let mut create = CreateTable {
        table,
        columns: Vec::new(),
        tags: None,
        primary_key: Vec::new(),
        serial: false,
        kind: None,
        temporary,
        comment: None,
        if_not_exists,
        stable,
        ignored: Vec::new(),
    };
    elements(cursor, &mut create)?;
    if cursor.eat("TAGS") {
        create.tags = Some(tags(cursor, &create)?);
    } else if stable {
        return Err(cursor.unexpected());
    }
    while option(cursor, &mut create)? {}
    if cursor.is(0, "AS") {
        return Err(cursor.refuse("CREATE TABLE with columns AS SELECT"));
    }
    Ok(Statement::CreateTable(Box::new(create)))
}

/// `(column, …, PRIMARY KEY (…))`.
fn elements(cursor: &mut Cursor<'_>, create: &mut CreateTable) -> Result<()> {
    cursor.expect_token(&Token::LParen)?;
    let mut key: Vec<(String, u32)> = Vec::new();
    loop {
        let position = cursor.position();
        if !constraint(cursor, &mut key)? {
            let Definition { column, primary_key, serial } = definition(cursor, &create.table.name)?;
            once(&create.columns, &column, position)?;
            if primary_key {
                create.primary_key.push(create.columns.len() as u16);
            }
            create.serial |= serial;
            create.columns.push(column);
        }
        if !cursor.eat_token(&Token::Comma) {
            cursor.expect_token(&Token::RParen)?;
            break;
        }
    }
    for (name, position) in key {
        let Some(at) = create.columns.iter().position(|column| column.name == name) else {
            return Err(error!(UndefinedColumn, "column \"{name}\" named in key does not exist").at(position));
        };
        create.columns[at].nullable = false;
        create.primary_key.push(at as u16);
    }
    Ok(())
}

fn once(columns: &[Column], column: &Column, position: u32) -> Result<()> {
    if columns.iter().any(|other| other.name == column.name) {
        return Err(error!(DuplicateColumn, "column \"{}\" specified more than once", column.name).at(position));
    }
    Ok(())
}

/// A constraint of the table, if one stands here.
fn constraint(cursor: &mut Cursor<'_>, key: &mut Vec<(String, u32)>) -> Result<bool> {
    if cursor.is(0, "CONSTRAINT") {
        cursor.skip();
        cursor.identifier()?;
    }
    let opens = |n| cursor.peek(n).token == Token::LParen;
    if cursor.is(0, "PRIMARY") && cursor.is(1, "KEY") && opens(2) {
        cursor.skip();
        cursor.skip();
        let columns = cursor.parenthesized(Cursor::column)?;
        key.extend(columns.into_iter().map(|column| (column.name, column.position)));
        return Ok(true);
    }
    let refused = (cursor.is_any(&["UNIQUE", "CHECK"]) && opens(1))
        || (cursor.is(0, "FOREIGN") && cursor.is(1, "KEY"))
        || (cursor.is(0, "EXCLUDE") && (opens(1) || cursor.is(1, "USING")));
    if refused {
        let word = cursor.word_ahead().unwrap_or_default();
        return Err(cursor.refuse(&format!("the constraint {word}")));
    }
    if cursor.is(0, "LIKE") && matches!(cursor.peek(1).token, Token::Word(_)) && !opens(2) {
        return Err(cursor.refuse("CREATE TABLE … (LIKE …)"));
    }
    Ok(false)
}

fn tags(cursor: &mut Cursor<'_>, create: &CreateTable) -> Result<Vec<Column>> {
    cursor.expect_token(&Token::LParen)?;
    let mut tags: Vec<Column> = Vec::new();
    loop {
        let position = cursor.position();
        let definition = definition(cursor, &create.table.name)?;
        if definition.primary_key || definition.serial || definition.column.default.is_some() {
            return Err(error!(InvalidTableDefinition, "a tag cannot be a key or have a default").at(position));
        }
        untouched(&definition.column, position)?;
        once(&tags, &definition.column, position)?;
        once(&create.columns, &definition.column, position)?;
        tags.push(definition.column);
        if !cursor.eat_token(&Token::Comma) {
            cursor.expect_token(&Token::RParen)?;
            return Ok(tags);
        }
    }
}

/// Tags are no columns of blocks: there is nothing to encode.
pub(super) fn untouched(tag: &Column, position: u32) -> Result<()> {
    if tag.compression == Compression::default() {
        return Ok(());
    }
    Err(error!(InvalidTableDefinition, "tag \"{}\" cannot have ENCODE, COMPRESS or LEVEL", tag.name).at(position))
}

/// An option behind the columns.
fn option(cursor: &mut Cursor<'_>, create: &mut CreateTable) -> Result<bool> {
    let Some(word) = cursor.word_ahead() else { return Ok(false) };
    match word.as_str() {
        "COMMENT" => {
            cursor.skip();
            create.comment = Some(cursor.string()?);
        }
        "TTL" => {
            cursor.skip();
            cursor.integer()?;
            create.ignored.push(word);
        }
        "KEEP" => {
            cursor.skip();
            while !cursor.at_end()
                && matches!(cursor.peek(0).token, Token::Number(..) | Token::Word(_) | Token::Comma)
                && !cursor.is_any(&["COMMENT", "TTL", "SMA", "WITH"])
            {
                cursor.skip();
            }
            create.ignored.push(word);
        }
        "SMA" => {
            cursor.skip();
            for column in cursor.parenthesized(Cursor::column)? {
                if !create.columns.iter().any(|known| known.name == column.name) {
                    return Err(
                        error!(UndefinedColumn, "column \"{}\" does not exist", column.name).at(column.position)
                    );
                }
            }
            create.ignored.push(word);
        }
        "WITH" => with(cursor, create)?,
        "WITHOUT" => {
            cursor.skip();
            cursor.expect("OIDS")?;
        }
        "TABLESPACE" => {
            cursor.skip();
            cursor.identifier()?;
            create.ignored.push(word);
        }
        "ROLLUP" | "MAX_DELAY" | "WATERMARK" | "DELETE_MARK" | "VIRTUAL" | "INHERITS" | "PARTITION" | "ON" => {
            return Err(cursor.refuse(&format!("the table option {word}")));
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// `WITH (kind = 'plain', …)`; PostgreSQL's storage parameters have no effect.
fn with(cursor: &mut Cursor<'_>, create: &mut CreateTable) -> Result<()> {
    cursor.expect("WITH")?;
    let parameters = cursor.parenthesized(|cursor| {
        let name = cursor.column()?;
        let mut value = None;
        if cursor.eat_token(&Token::Eq) {
            value = Some(match &cursor.peek(0).token {
                Token::Number(digits, _) => {
                    let digits = digits.clone();
                    cursor.skip();
                    digits
                }
                _ if cursor.is_string() => cursor.string()?,
                _ => cursor.identifier()?,
            });
        }
        Ok((name, value))
    })?;
    for (name, value) in parameters {
        if name.name != "kind" {
            create.ignored.push(name.name.to_ascii_uppercase());
            continue;
        }
        match value.as_deref() {
            Some("plain" | "series") => create.kind = value,
            _ => {
                return Err(error!(InvalidParameterValue, "invalid value for kind")
                    .with_hint("kind takes 'plain' or 'series'")
                    .at(name.position));
            }
        }
    }
    Ok(())
}

/// `t USING st [(tags)] TAGS (values) [[IF NOT EXISTS] t2 USING …] …`.
fn children(cursor: &mut Cursor<'_>, table: TableName, if_not_exists: bool) -> Result<Statement> {
    let mut children = Vec::new();
    let (mut table, mut if_not_exists) = (table, if_not_exists);
    loop {
        let using = insert::using(cursor)?;
        while let Some(word) = cursor.eat_any(&["TTL", "COMMENT"]) {
            if word == "TTL" {
                cursor.integer()?;
            } else {
                cursor.string()?;
            }
        }
        children.push(CreateChild { table, using, if_not_exists });
        cursor.eat_token(&Token::Comma);
        if cursor.at_end() {
            return Ok(Statement::CreateChildren(children));
        }
        if_not_exists = cursor.if_not_exists();
        table = cursor.table()?;
    }
}

fn create_as(cursor: &mut Cursor<'_>, table: TableName, if_not_exists: bool) -> Result<Statement> {
    cursor.expect("AS")?;
    let query = query::select(cursor)?;
    if cursor.is(0, "WITH") && cursor.is(1, "NO") {
        return Err(cursor.refuse("CREATE TABLE AS … WITH NO DATA"));
    }
    cursor.eat_all(&["WITH", "DATA"]);
    Ok(Statement::CreateTableAs { table, query, if_not_exists })
}

/// `VIEW v AS query`, from the word VIEW on.
pub(super) fn create_view(cursor: &mut Cursor<'_>, or_replace: bool) -> Result<Statement> {
    cursor.expect("VIEW")?;
    if cursor.is(0, "IF") {
        return Err(cursor.refuse("CREATE VIEW IF NOT EXISTS"));
    }
    let view = cursor.table()?;
    if cursor.is_token(&Token::LParen) {
        return Err(cursor.refuse("a column list of a view"));
    }
    cursor.expect("AS")?;
    let text = cursor.rest().to_owned();
    query::select(cursor)?;
    Ok(Statement::CreateView { view, query: text, or_replace })
}
