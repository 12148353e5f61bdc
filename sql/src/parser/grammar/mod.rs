//! The statements: the first word decides who reads the rest.

mod alter;
mod copy;
mod database;
mod dnode;
mod insert;
mod query;
mod session;
mod show;
mod table;
mod types;
mod user;

use model::Result;

use super::cursor::Cursor;
use crate::statement::{Other, Statement};

pub(crate) use insert::insert;

/// Reads one whole statement.
///
/// # Errors
///
/// 42601, 22023, 0A000, with positions in the statement.
pub(crate) fn statement(cursor: &mut Cursor<'_>) -> Result<Statement> {
    let statement = one(cursor)?;
    cursor.expect_end()?;
    Ok(statement)
}

/// Reads one statement and stops behind it.
fn one(cursor: &mut Cursor<'_>) -> Result<Statement> {
    let Some(word) = cursor.word_ahead() else {
        return match cursor.peek(0).token {
            sqlparser::tokenizer::Token::LParen => query::query(cursor),
            _ => Err(cursor.unexpected()),
        };
    };
    match word.as_str() {
        "SELECT" | "WITH" | "VALUES" | "TABLE" => query::query(cursor),
        "EXPLAIN" => query::explain(cursor),
        "INSERT" => Ok(Statement::Insert(Box::new(insert::insert(cursor)?))),
        "DELETE" => query::delete(cursor),
        "UPDATE" => query::update(cursor),
        "COPY" => copy::copy(cursor),
        "CREATE" => create(cursor),
        "ALTER" => alter::alter(cursor),
        "DROP" => alter::drop(cursor),
        "TRUNCATE" => alter::truncate(cursor),
        "USE" => database::use_database(cursor),
        "FLUSH" | "COMPACT" | "TRIM" => database::operate(cursor),
        "KILL" if cursor.is(1, "COMPACT") => database::kill(cursor),
        "DESC" | "DESCRIBE" => show::describe(cursor),
        "SHOW" => show::show(cursor),
        "SET" => session::set(cursor),
        "RESET" => session::reset(cursor),
        "BEGIN" | "START" | "COMMIT" | "END" | "ROLLBACK" | "ABORT" | "SAVEPOINT" | "RELEASE" => {
            session::transaction(cursor)
        }
        "DECLARE" => session::declare(cursor),
        "FETCH" | "MOVE" => session::fetch(cursor),
        "CLOSE" => session::close(cursor),
        "PREPARE" => session::prepare(cursor),
        "EXECUTE" => session::execute(cursor),
        "DEALLOCATE" => session::deallocate(cursor),
        "DISCARD" => session::discard(cursor),
        other => known(cursor, other),
    }
}

fn create(cursor: &mut Cursor<'_>) -> Result<Statement> {
    cursor.expect("CREATE")?;
    match cursor.word_ahead().as_deref() {
        Some("DATABASE") => database::create(cursor),
        Some("STABLE" | "TABLE" | "TEMP" | "TEMPORARY" | "UNLOGGED" | "LOCAL" | "GLOBAL") => table::create(cursor),
        Some("USER" | "ROLE") => user::create(cursor),
        Some("VIEW") => table::create_view(cursor, false),
        Some("OR") => {
            cursor.expect("OR")?;
            cursor.expect("REPLACE")?;
            match cursor.word_ahead() {
                Some(view) if view == "VIEW" => table::create_view(cursor, true),
                Some(what) => refuse_object(cursor, "CREATE", &what),
                None => Err(cursor.unexpected()),
            }
        }
        Some("INDEX") => Ok(accept(cursor, "CREATE INDEX")),
        Some("DNODE") => dnode::create_dnode(cursor),
        Some("MNODE") => dnode::create_mnode(cursor),
        Some("QNODE" | "SNODE" | "BNODE") => cluster(cursor, "CREATE"),
        Some(what) => refuse_object(cursor, "CREATE", what),
        None => Err(cursor.unexpected()),
    }
}

/// Objects that PostgreSQL or TDengine have and this server does not.
const OBJECTS: &[&str] = &[
    "ACCESS",
    "AGGREGATE",
    "ANODE",
    "CAST",
    "COLLATION",
    "CONSUMER",
    "CONVERSION",
    "DOMAIN",
    "ENCRYPT_KEY",
    "EVENT",
    "EXTENSION",
    "FOREIGN",
    "FUNCTION",
    "GROUP",
    "LANGUAGE",
    "MATERIALIZED",
    "MOUNT",
    "OPERATOR",
    "POLICY",
    "PROCEDURE",
    "PUBLICATION",
    "RECURSIVE",
    "RULE",
    "SCHEMA",
    "SEQUENCE",
    "SERVER",
    "SMA",
    "STATISTICS",
    "STREAM",
    "SUBSCRIPTION",
    "SYSTEM",
    "TABLESPACE",
    "TEXT",
    "TOPIC",
    "TRANSFORM",
    "TRIGGER",
    "TSMA",
    "TYPE",
    "UNIQUE",
    "VTABLE",
    "RSMA",
    "DEFAULT",
    "LARGE",
    "OWNED",
    "ROUTINE",
    "INDEX",
    "VIEW",
    "ROLE",
];

fn refuse_object(cursor: &mut Cursor<'_>, verb: &str, what: &str) -> Result<Statement> {
    if !OBJECTS.contains(&what) {
        return Err(cursor.unexpected());
    }
    skip_rest(cursor);
    Ok(Statement::Other(Other::Refuse(format!("{verb} {what} is not supported"))))
}

/// Cluster DDL, which is known and not there yet.
fn cluster(cursor: &mut Cursor<'_>, verb: &str) -> Result<Statement> {
    let what = cursor.word_ahead().unwrap_or_default();
    skip_rest(cursor);
    Ok(Statement::Other(Other::Refuse(format!("{verb} {what} is not supported yet: it arrives with clustering"))))
}

/// First words of statements that have no meaning of their own here.
fn known(cursor: &mut Cursor<'_>, word: &str) -> Result<Statement> {
    let statement = match word {
        "LISTEN" => Statement::Accepted("LISTEN"),
        "UNLISTEN" => Statement::Accepted("UNLISTEN"),
        "NOTIFY" => Statement::Accepted("NOTIFY"),
        "LOCK" => Statement::Accepted("LOCK TABLE"),
        "CHECKPOINT" => Statement::Accepted("CHECKPOINT"),
        "VACUUM" => Statement::Other(Other::Accept("VACUUM")),
        "ANALYZE" | "ANALYSE" => Statement::Other(Other::Accept("ANALYZE")),
        "REINDEX" => Statement::Other(Other::Accept("REINDEX")),
        "CLUSTER" => Statement::Other(Other::Accept("CLUSTER")),
        "COMMENT" => Statement::Other(Other::Accept("COMMENT")),
        "BALANCE" | "REDISTRIBUTE" | "SPLIT" | "MERGE" | "RESTORE" | "ASSIGN" | "OPEN" => {
            cursor.skip();
            let what = cursor.word_ahead().unwrap_or_default();
            let known =
                matches!(what.as_str(), "VGROUP" | "VGROUPS" | "LEADER" | "DNODE" | "MNODE" | "VNODE" | "QNODE");
            let reason = if known { "yet: it arrives with clustering" } else { "" };
            Statement::Other(Other::Refuse(format!("{word} {what} is not supported {reason}").trim_end().to_owned()))
        }
        "GRANT" | "REVOKE" | "KILL" | "DO" | "CALL" | "IMPORT" | "LOAD" | "REFRESH" | "REASSIGN" | "SECURITY"
        | "PAUSE" | "RESUME" | "RELOAD" | "RECOVER" => {
            Statement::Other(Other::Refuse(format!("{word} is not supported")))
        }
        _ => return Err(cursor.unexpected()),
    };
    skip_rest(cursor);
    Ok(statement)
}

fn accept(cursor: &mut Cursor<'_>, tag: &'static str) -> Statement {
    skip_rest(cursor);
    Statement::Other(Other::Accept(tag))
}

/// Passes over what is left of a statement that is accepted or refused as a whole.
fn skip_rest(cursor: &mut Cursor<'_>) {
    while !cursor.at_end() {
        cursor.skip();
    }
}
