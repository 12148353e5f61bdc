//! Cluster DDL behind CREATE: DNODE and MNODE.

use model::{Result, error};
use sqlparser::tokenizer::Token;

use crate::parser::cursor::Cursor;
use crate::statement::Statement;

/// The internal port of a dnode whose port is not said.
const PORT: u16 = 6030;

/// `CREATE DNODE 'host:port'`, `CREATE DNODE 'host' PORT n`, `CREATE DNODE host PORT n`.
pub(super) fn create_dnode(cursor: &mut Cursor<'_>) -> Result<Statement> {
    cursor.expect("DNODE")?;
    let position = cursor.position();
    let host = if cursor.is_string() { cursor.string()? } else { host(cursor)? };
    let endpoint = if cursor.eat("PORT") {
        let at = cursor.position();
        let port = u16::try_from(cursor.integer()?).ok().filter(|port| *port > 0);
        let port = port.ok_or_else(|| error!(InvalidParameterValue, "a port is a number from 1 to 65535").at(at))?;
        format!("{host}:{port}")
    } else if host.contains(':') {
        host
    } else {
        format!("{host}:{PORT}")
    };
    check(&endpoint).map_err(|error| error.at(position))?;
    cursor.expect_end()?;
    Ok(Statement::CreateDnode { endpoint })
}

/// `CREATE MNODE ON DNODE n`.
pub(super) fn create_mnode(cursor: &mut Cursor<'_>) -> Result<Statement> {
    for word in ["MNODE", "ON", "DNODE"] {
        cursor.expect(word)?;
    }
    let position = cursor.position();
    let dnode = cursor.integer()?;
    let dnode = u32::try_from(dnode).map_err(|_| error!(InvalidParameterValue, "{dnode} is no dnode").at(position))?;
    cursor.expect_end()?;
    Ok(Statement::CreateMnode { dnode })
}

/// A host without quotes: names between dots.
fn host(cursor: &mut Cursor<'_>) -> Result<String> {
    let mut host = cursor.identifier()?;
    while cursor.eat_token(&Token::Period) {
        host.push('.');
        host.push_str(&cursor.identifier()?);
    }
    Ok(host)
}

fn check(endpoint: &str) -> Result<()> {
    let parts = endpoint.rsplit_once(':');
    let sound = parts.is_some_and(|(host, port)| {
        let named =
            !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._[]:".contains(&byte));
        named && port.parse::<u16>().is_ok_and(|port| port > 0)
    });
    if sound {
        return Ok(());
    }
    Err(error!(InvalidParameterValue, "\"{endpoint}\" is not an endpoint")
        .with_hint("Say host:port, such as CREATE DNODE '10.0.0.2:6030'"))
}
