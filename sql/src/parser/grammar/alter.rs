//! ALTER, DROP and TRUNCATE.

use model::{Result, error};
use sqlparser::tokenizer::Token;

use super::types::{compression, definition};
use super::{cluster, database, refuse_object, user};
use crate::parser::cursor::Cursor;
use crate::statement::{AlterTable, ColumnName, Other, Statement};

pub(super) fn alter(cursor: &mut Cursor<'_>) -> Result<Statement> {
    cursor.expect("ALTER")?;
    match cursor.word_ahead().as_deref() {
        Some("DATABASE") => database::alter(cursor),
        Some("STABLE" | "TABLE") => table(cursor),
        Some("USER" | "ROLE") => user::alter(cursor),
        Some("DNODE" | "ALL" | "LOCAL" | "CLUSTER") => cluster(cursor, "ALTER"),
        Some(what) => refuse_object(cursor, "ALTER", what),
        None => Err(cursor.unexpected()),
    }
}

fn table(cursor: &mut Cursor<'_>) -> Result<Statement> {
    let stable = cursor.eat("STABLE");
    if !stable {
        cursor.expect("TABLE")?;
    }
    let if_exists = cursor.if_exists();
    cursor.eat("ONLY");
    let table = cursor.table()?;
    let mut changes = Vec::new();
    loop {
        change(cursor, &table.name, &mut changes)?;
        if cursor.at_end() {
            return Ok(Statement::AlterTable { table, changes, stable, if_exists });
        }
        cursor.eat_token(&Token::Comma);
    }
}

fn change(cursor: &mut Cursor<'_>, table: &str, changes: &mut Vec<AlterTable>) -> Result<()> {
    let Some(word) = cursor.word_ahead() else { return Err(cursor.unexpected()) };
    let change = match word.as_str() {
        "ADD" => add(cursor, table)?,
        "DROP" => drop_part(cursor)?,
        "MODIFY" => modify(cursor, table)?,
        "RENAME" => rename(cursor)?,
        "SET" if cursor.is(1, "TAG") => {
            cursor.skip();
            cursor.skip();
            AlterTable::SetTags(set_tags(cursor)?)
        }
        "COMMENT" => {
            cursor.skip();
            AlterTable::Comment(cursor.string()?)
        }
        "TTL" => {
            cursor.skip();
            cursor.integer()?;
            AlterTable::Ignored(word)
        }
        "KEEP" => {
            cursor.skip();
            while !cursor.at_end() {
                cursor.skip();
            }
            AlterTable::Ignored(word)
        }
        "OWNER" => {
            cursor.skip();
            cursor.expect("TO")?;
            cursor.identifier()?;
            AlterTable::Ignored(word)
        }
        "ALTER" => return Err(cursor.refuse("ALTER TABLE … ALTER COLUMN")),
        "SET" | "RESET" | "ENABLE" | "DISABLE" | "INHERIT" | "ATTACH" | "DETACH" | "VALIDATE" | "REPLICA"
        | "CLUSTER" => return Err(cursor.refuse(&format!("ALTER TABLE … {word}"))),
        _ => return Err(cursor.unexpected()),
    };
    changes.push(change);
    Ok(())
}

fn add(cursor: &mut Cursor<'_>, table: &str) -> Result<AlterTable> {
    cursor.expect("ADD")?;
    if cursor.is_any(&["CONSTRAINT", "PRIMARY", "UNIQUE", "CHECK", "FOREIGN", "EXCLUDE"]) {
        return Err(cursor.refuse("ALTER TABLE … ADD CONSTRAINT"));
    }
    let tag = is_tag(cursor);
    if !tag {
        cursor.eat("COLUMN");
    }
    if cursor.is(0, "IF") && cursor.is(1, "NOT") {
        return Err(cursor.refuse("ADD COLUMN IF NOT EXISTS"));
    }
    let position = cursor.position();
    let definition = definition(cursor, table)?;
    if definition.primary_key || definition.serial {
        return Err(error!(FeatureNotSupported, "adding a key to a table is not supported").at(position));
    }
    if tag {
        super::table::untouched(&definition.column, position)?;
    }
    Ok(if tag { AlterTable::AddTag(definition.column) } else { AlterTable::AddColumn(definition.column) })
}

/// Takes the word TAG, unless it is the column's own name.
fn is_tag(cursor: &mut Cursor<'_>) -> bool {
    let next_is_name = matches!(cursor.peek(1).token, Token::Word(_) | Token::DoubleQuotedString(_));
    next_is_name && cursor.eat("TAG")
}

fn drop_part(cursor: &mut Cursor<'_>) -> Result<AlterTable> {
    cursor.expect("DROP")?;
    if cursor.is(0, "CONSTRAINT") {
        return Err(cursor.refuse("ALTER TABLE … DROP CONSTRAINT"));
    }
    let tag = is_tag(cursor);
    if !tag {
        cursor.eat("COLUMN");
    }
    if cursor.is(0, "IF") && cursor.is(1, "EXISTS") {
        return Err(cursor.refuse("DROP COLUMN IF EXISTS"));
    }
    let name = cursor.identifier()?;
    cursor.eat_any(&["RESTRICT", "CASCADE"]);
    Ok(if tag { AlterTable::DropTag(name) } else { AlterTable::DropColumn(name) })
}

fn modify(cursor: &mut Cursor<'_>, table: &str) -> Result<AlterTable> {
    cursor.expect("MODIFY")?;
    let tag = is_tag(cursor);
    if !tag {
        cursor.eat("COLUMN");
    }
    let compressed = ["ENCODE", "COMPRESS", "LEVEL"].iter().any(|word| cursor.is(1, word));
    if compressed && !tag {
        let mut wanted = model::schema::Compression::default();
        let name = cursor.identifier()?;
        while let Some(word) = cursor.word_ahead().filter(|w| matches!(w.as_str(), "ENCODE" | "COMPRESS" | "LEVEL")) {
            compression(cursor, &word, &mut wanted)?;
        }
        return Ok(AlterTable::ModifyCompression(name, wanted));
    }
    let position = cursor.position();
    let definition = definition(cursor, table)?;
    if tag {
        super::table::untouched(&definition.column, position)?;
    }
    Ok(if tag { AlterTable::ModifyTag(definition.column) } else { AlterTable::ModifyColumn(definition.column) })
}

fn rename(cursor: &mut Cursor<'_>) -> Result<AlterTable> {
    cursor.expect("RENAME")?;
    if cursor.eat("TO") {
        return Ok(AlterTable::Rename(cursor.identifier()?));
    }
    let tag = is_tag(cursor);
    if !tag {
        cursor.eat("COLUMN");
    }
    let from = cursor.identifier()?;
    cursor.eat("TO");
    let to = cursor.identifier()?;
    Ok(if tag { AlterTable::RenameTag(from, to) } else { AlterTable::RenameColumn(from, to) })
}

/// `a = v, b = v`, behind SET TAG; the word TAG may be repeated.
fn set_tags(cursor: &mut Cursor<'_>) -> Result<Vec<(ColumnName, sqlparser::ast::Expr)>> {
    cursor.list(|cursor| {
        let tag = cursor.column()?;
        cursor.expect_token(&Token::Eq)?;
        let value = if let Token::Word(word) = &cursor.peek(0).token
            && word.quote_style.is_some()
        {
            // TDengine's string in double quotes.
            let text = cursor.string()?;
            sqlparser::ast::Expr::Value(sqlparser::ast::Value::SingleQuotedString(text).into())
        } else {
            cursor.expr()?
        };
        Ok((tag, value))
    })
}

pub(super) fn drop(cursor: &mut Cursor<'_>) -> Result<Statement> {
    cursor.expect("DROP")?;
    let Some(word) = cursor.word_ahead() else { return Err(cursor.unexpected()) };
    match word.as_str() {
        "DATABASE" => {
            cursor.skip();
            let if_exists = cursor.if_exists();
            let name = cursor.identifier()?;
            if cursor.eat("WITH") {
                cursor.parenthesized(|cursor| cursor.expect("FORCE"))?;
            }
            cursor.eat("FORCE");
            Ok(Statement::DropDatabase { name, if_exists })
        }
        "TABLE" | "STABLE" => {
            cursor.skip();
            cursor.eat("WITH");
            let mut if_exists = cursor.if_exists();
            let tables = cursor.list(|cursor| {
                if_exists |= cursor.if_exists();
                cursor.table()
            })?;
            cursor.eat_any(&["CASCADE", "RESTRICT"]);
            Ok(Statement::DropTable { tables, if_exists, stable: word == "STABLE" })
        }
        "VIEW" => {
            cursor.skip();
            let if_exists = cursor.if_exists();
            let view = cursor.table()?;
            if cursor.is_token(&Token::Comma) {
                return Err(cursor.refuse("dropping several views at once"));
            }
            cursor.eat_any(&["CASCADE", "RESTRICT"]);
            Ok(Statement::DropView { view, if_exists })
        }
        "USER" | "ROLE" => user::drop(cursor),
        "INDEX" => {
            super::skip_rest(cursor);
            Ok(Statement::Other(Other::Accept("DROP INDEX")))
        }
        "DNODE" | "MNODE" | "QNODE" | "SNODE" | "BNODE" => cluster(cursor, "DROP"),
        other => refuse_object(cursor, "DROP", other),
    }
}

pub(super) fn truncate(cursor: &mut Cursor<'_>) -> Result<Statement> {
    cursor.expect("TRUNCATE")?;
    cursor.eat("TABLE");
    cursor.eat("ONLY");
    let tables = cursor.list(Cursor::table)?;
    cursor.eat_all(&["RESTART", "IDENTITY"]);
    cursor.eat_all(&["CONTINUE", "IDENTITY"]);
    cursor.eat_any(&["CASCADE", "RESTRICT"]);
    Ok(Statement::Truncate(tables))
}
