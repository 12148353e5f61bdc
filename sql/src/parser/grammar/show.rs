//! SHOW and DESCRIBE.

use model::Result;
use sqlparser::tokenizer::Token;

use crate::parser::cursor::Cursor;
use crate::statement::{Show, Statement, TableName};

/// Words of TDengine that SHOW takes alone.
const THINGS: &[&str] = &[
    "DNODES",
    "MNODES",
    "QNODES",
    "SNODES",
    "BNODES",
    "ANODES",
    "VNODES",
    "USERS",
    "CLUSTER",
    "VARIABLES",
    "QUERIES",
    "CONNECTIONS",
    "VIEWS",
    "TRANSACTIONS",
    "COMPACTS",
    "APPS",
    "GRANTS",
    "LICENCES",
    "FUNCTIONS",
    "TOPICS",
    "STREAMS",
    "SUBSCRIPTIONS",
    "CONSUMERS",
    "ARBGROUPS",
    "INDEXES",
    "SCORES",
    "TSMAS",
];

pub(super) fn describe(cursor: &mut Cursor<'_>) -> Result<Statement> {
    cursor.skip();
    if matches!(cursor.peek(1).token, Token::Word(_)) {
        cursor.eat_any(&["TABLE", "STABLE"]);
    }
    Ok(Statement::Describe(cursor.table()?))
}

pub(super) fn show(cursor: &mut Cursor<'_>) -> Result<Statement> {
    cursor.expect("SHOW")?;
    if let Some(show) = special(cursor)? {
        return Ok(Statement::Show(show));
    }
    for (words, name) in [
        (&["TIME", "ZONE"][..], "timezone"),
        (&["TRANSACTION", "ISOLATION", "LEVEL"], "transaction_isolation"),
        (&["SESSION", "AUTHORIZATION"], "session_authorization"),
    ] {
        if cursor.eat_all(words) {
            return Ok(Statement::ShowSetting(name.to_owned()));
        }
    }
    if let Some(show) = of_database(cursor)? {
        return Ok(Statement::Show(show));
    }
    let things = cursor.word_ahead().filter(|word| THINGS.contains(&word.as_str()));
    if let Some(thing) = things {
        cursor.skip();
        if thing == "CLUSTER" {
            if cursor.eat("ALIVE") {
                return Ok(Statement::Show(Show::Alive(None)));
            }
            if cursor.eat("VARIABLES") {
                return Ok(Statement::Show(Show::Thing("variables".to_owned())));
            }
        }
        return Ok(Statement::Show(Show::Thing(thing.to_lowercase())));
    }
    let mut name = cursor.identifier()?.to_ascii_lowercase();
    while cursor.eat_token(&Token::Period) {
        name = format!("{name}.{}", cursor.identifier()?.to_ascii_lowercase());
    }
    Ok(Statement::ShowSetting(name))
}

/// Forms that start with words of their own.
fn special(cursor: &mut Cursor<'_>) -> Result<Option<Show>> {
    if cursor.is_any(&["USER", "SYSTEM"]) && cursor.is(1, "DATABASES") {
        cursor.skip();
    }
    if cursor.eat("DATABASES") {
        return Ok(Some(Show::Databases));
    }
    if cursor.is_any(&["NORMAL", "CHILD"]) {
        let kind = cursor.word_ahead().unwrap_or_default().to_lowercase();
        cursor.skip();
        let database = prefix(cursor)?;
        cursor.expect("TABLES")?;
        return tables(cursor, kind, database).map(Some);
    }
    if cursor.eat("CREATE") {
        let what = cursor.eat_any(&["TABLE", "STABLE", "DATABASE", "VIEW"]);
        return match what {
            Some("DATABASE") => Ok(Some(Show::CreateDatabase(cursor.identifier()?))),
            Some("VIEW") => Ok(Some(Show::CreateView(cursor.table()?))),
            Some(_) => Ok(Some(Show::CreateTable(cursor.table()?))),
            None => Err(cursor.unexpected()),
        };
    }
    if cursor.eat_all(&["TABLE", "TAGS"]) {
        let tags = if cursor.is(0, "FROM") { Vec::new() } else { cursor.list(Cursor::identifier)? };
        cursor.expect("FROM")?;
        return Ok(Some(Show::TableTags(tags, from_table(cursor)?)));
    }
    if cursor.eat_all(&["TABLE", "DISTRIBUTED"]) {
        return Err(cursor.refuse("SHOW TABLE DISTRIBUTED"));
    }
    if cursor.eat_all(&["TAGS", "FROM"]) {
        return Ok(Some(Show::Tags(from_table(cursor)?)));
    }
    if cursor.eat_all(&["LOCAL", "VARIABLES"]) {
        return Ok(Some(Show::Thing("variables".to_owned())));
    }
    if cursor.is(0, "COMPACT") && matches!(cursor.peek(1).token, Token::Number(..)) {
        cursor.skip();
        return Ok(Some(Show::Compact(cursor.integer()?)));
    }
    if cursor.is(0, "DNODE") && matches!(cursor.peek(1).token, Token::Number(..)) {
        return Err(cursor.refuse("SHOW DNODE … VARIABLES"));
    }
    Ok(None)
}

/// `table [FROM db]`.
fn from_table(cursor: &mut Cursor<'_>) -> Result<TableName> {
    let mut table = cursor.table()?;
    if cursor.eat("FROM") {
        table.qualifier = vec![cursor.identifier()?];
    }
    Ok(table)
}

/// `db.` in front of a word.
fn prefix(cursor: &mut Cursor<'_>) -> Result<Option<String>> {
    if cursor.peek(1).token != Token::Period {
        return Ok(None);
    }
    let database = cursor.identifier()?;
    cursor.expect_token(&Token::Period)?;
    Ok(Some(database))
}

/// `[db.]TABLES`, `[db.]STABLES`, `[db.]VGROUPS`, `db.ALIVE`, `[db.]VIEWS`; takes nothing if it is none of these.
fn of_database(cursor: &mut Cursor<'_>) -> Result<Option<Show>> {
    let at = if cursor.peek(1).token == Token::Period { 2 } else { 0 };
    let known = ["TABLES", "STABLES", "VGROUPS", "ALIVE", "VIEWS"].into_iter().find(|word| cursor.is(at, word));
    let Some(word) = known else { return Ok(None) };
    if word == "VIEWS" && at == 0 {
        return Ok(None);
    }
    let database = prefix(cursor)?;
    cursor.skip();
    Ok(Some(match word {
        "TABLES" => tables(cursor, String::new(), database)?,
        "STABLES" => Show::Stables(or_from(cursor, database)?, like(cursor)?),
        "VGROUPS" => Show::Vgroups(or_from(cursor, database)?),
        "ALIVE" => Show::Alive(database),
        _ => return Err(cursor.refuse("SHOW db.VIEWS")),
    }))
}

fn tables(cursor: &mut Cursor<'_>, kind: String, database: Option<String>) -> Result<Show> {
    Ok(Show::Tables(kind, or_from(cursor, database)?, like(cursor)?))
}

/// `FROM db` behind the word, where no `db.` stood before it.
fn or_from(cursor: &mut Cursor<'_>, database: Option<String>) -> Result<Option<String>> {
    if database.is_none() && cursor.eat_any(&["FROM", "IN"]).is_some() {
        return Ok(Some(cursor.identifier()?));
    }
    Ok(database)
}

fn like(cursor: &mut Cursor<'_>) -> Result<Option<String>> {
    if cursor.eat("LIKE") { Ok(Some(cursor.string()?)) } else { Ok(None) }
}
