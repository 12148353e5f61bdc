//! CREATE, ALTER and DROP USER, in TDengine's and PostgreSQL's words.

use model::{Result, error};

use crate::parser::cursor::Cursor;
use crate::statement::{Statement, UserOptions};

pub(super) fn create(cursor: &mut Cursor<'_>) -> Result<Statement> {
    let role = cursor.eat_any(&["USER", "ROLE"]) == Some("ROLE");
    let if_not_exists = cursor.if_not_exists();
    let name = cursor.identifier()?;
    cursor.eat("WITH");
    let mut options = options(cursor)?;
    if role && options.enabled.is_none() {
        // PostgreSQL: a role cannot log in unless it says so.
        options.enabled = Some(false);
    }
    Ok(Statement::CreateUser { name, options, if_not_exists })
}

pub(super) fn alter(cursor: &mut Cursor<'_>) -> Result<Statement> {
    cursor.eat_any(&["USER", "ROLE"]);
    let name = cursor.identifier()?;
    if cursor.is_any(&["RENAME", "SET", "RESET", "IN", "ADD", "DROP"]) {
        return Err(cursor.refuse("ALTER USER … RENAME, SET, RESET and HOST"));
    }
    cursor.eat("WITH");
    if cursor.at_end() {
        return Err(cursor.unexpected());
    }
    let options = options(cursor)?;
    Ok(Statement::AlterUser { name, options })
}

pub(super) fn drop(cursor: &mut Cursor<'_>) -> Result<Statement> {
    cursor.eat_any(&["USER", "ROLE"]);
    let if_exists = cursor.if_exists();
    let name = cursor.identifier()?;
    Ok(Statement::DropUser { name, if_exists })
}

fn options(cursor: &mut Cursor<'_>) -> Result<UserOptions> {
    let mut options = UserOptions::default();
    while let Some(word) = cursor.word_ahead() {
        let position = cursor.position();
        cursor.skip();
        match word.as_str() {
            "PASS" => {
                options.password = Some(Some(cursor.string()?));
                options.pass = true;
            }
            "ENCRYPTED" => {
                cursor.expect("PASSWORD")?;
                options.password = Some(Some(cursor.string()?));
            }
            "PASSWORD" => {
                options.password = Some(if cursor.eat("NULL") { None } else { Some(cursor.string()?) });
            }
            "ENABLE" => options.enabled = Some(flag(cursor, &word)?),
            "SYSINFO" => options.sysinfo = Some(flag(cursor, &word)?),
            "CREATEDB" => {
                let digit = matches!(cursor.peek(0).token, sqlparser::tokenizer::Token::Number(..));
                options.createdb = Some(if digit { flag(cursor, &word)? } else { true });
            }
            "NOCREATEDB" => options.createdb = Some(false),
            "LOGIN" => options.enabled = Some(true),
            "NOLOGIN" => options.enabled = Some(false),
            "SUPERUSER" => options.superuser = Some(true),
            "NOSUPERUSER" => options.superuser = Some(false),
            // What every user has, or lacks, anyway.
            "INHERIT" | "NOCREATEROLE" | "NOREPLICATION" | "NOBYPASSRLS" => {}
            "NOINHERIT" | "CREATEROLE" | "REPLICATION" | "BYPASSRLS" | "CONNECTION" | "VALID" | "IN" | "ROLE"
            | "ADMIN" | "HOST" | "TOTPSEED" | "SYSID" => {
                return Err(error!(FeatureNotSupported, "the user option {word} is not supported").at(position));
            }
            _ => {
                let near = cursor.slice(position, position + word.chars().count() as u32).to_owned();
                return Err(error!(SyntaxError, "syntax error at or near \"{near}\"").at(position));
            }
        }
    }
    Ok(options)
}

fn flag(cursor: &mut Cursor<'_>, name: &str) -> Result<bool> {
    let position = cursor.position();
    match cursor.integer()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(error!(InvalidParameterValue, "{name} is out of range")
            .with_hint(format!("{name} takes 0 or 1"))
            .at(position)),
    }
}
