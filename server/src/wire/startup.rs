//! The start of a connection: encryption requests, the startup packet, authentication, the first ReadyForQuery.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use model::{Result, error, fail};
use pgwire::messages::PgWireFrontendMessage as Message;
use pgwire::messages::startup::{Authentication, BackendKeyData, NegotiateProtocolVersion, SecretKey};
use sql::session::{Login, TransactionStatus};
use tokio::io::{AsyncRead, AsyncWrite};

use super::Shared;
use super::auth::{self, Exchange};
use super::backend::{Backend, WireSession};
use super::frame::{Gone, Input};
use super::guard::Stop;
use super::output::Output;
use super::registry::Seat;

const SSL_REQUEST: u32 = 80_877_103;
const GSS_REQUEST: u32 = 80_877_104;
const CANCEL_REQUEST: u32 = 80_877_102;
/// Answer to a request for encryption that is refused.
const REFUSED: &[u8] = b"N";

/// What a new connection turned out to be.
pub(crate) enum Opened<S> {
    /// A session, ready.
    Session(Box<S>, Seat),
    /// A cancel request: done.
    Cancel,
}

/// Parameters of the startup packet.
struct Startup {
    minor: u16,
    parameters: Vec<(String, String)>,
}

/// Brings a connection to its first ReadyForQuery.
pub(crate) async fn open<B: Backend, R, W>(
    shared: &Shared<B>,
    peer: SocketAddr,
    input: &mut Input<R>,
    output: &mut Output<W>,
) -> std::result::Result<Opened<B::Session>, Stop>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let Some(startup) = startup_packet(shared, input, output).await? else { return Ok(Opened::Cancel) };
    let fatal = Stop::Fatal;
    let seat = shared.registry.enter().map_err(fatal)?;
    let unsupported: Vec<_> =
        startup.parameters.iter().map(|(name, _)| name.clone()).filter(|name| name.starts_with("_pq_.")).collect();
    if startup.minor > 0 || !unsupported.is_empty() {
        output.put(&NegotiateProtocolVersion::new(0, unsupported));
    }
    let login = login_of(startup.parameters, &seat, peer).map_err(fatal)?;
    authenticate(shared, peer, &login.user, input, output).await?;
    let activity = Arc::clone(&seat.activity);
    let session = shared.backend.open(login.clone()).await.map_err(fatal)?;
    activity.logged_in(&login);
    activity.rests(TransactionStatus::Idle, session.database());
    output.put(&Authentication::Ok);
    output.parameters(session.reported());
    output.put(&BackendKeyData::new(seat.pid, SecretKey::I32(seat.secret)));
    output.ready(TransactionStatus::Idle);
    output.flush().await?;
    Ok(Opened::Session(Box::new(session), seat))
}

/// The startup packet, after any requests for encryption; None after a cancel request.
async fn startup_packet<B: Backend, R, W>(
    shared: &Shared<B>,
    input: &mut Input<R>,
    output: &mut Output<W>,
) -> std::result::Result<Option<Startup>, Stop>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let (mut ssl, mut gss) = (false, false);
    loop {
        let mut packet = loop {
            match input.startup_packet().map_err(Stop::Fatal)? {
                Some(packet) => break packet,
                None => input.fill().await?,
            }
        };
        match packet.get_u32() {
            SSL_REQUEST if !ssl => ssl = true,
            GSS_REQUEST if !gss => gss = true,
            CANCEL_REQUEST if packet.len() == 8 => {
                shared.registry.cancel(packet.get_i32(), packet.get_i32());
                return Ok(None);
            }
            // A longer secret is of a later protocol, which was not agreed upon.
            CANCEL_REQUEST => return Ok(None),
            version => return startup_of(version, packet).map(Some).map_err(Stop::Fatal),
        }
        // Whoever sends more before the answer would have it read as if it had come encrypted.
        if !input.is_empty() {
            return Err(Stop::Fatal(error!(
                ProtocolViolation,
                "received unencrypted data after an encryption request"
            )));
        }
        output.buffer().extend_from_slice(REFUSED);
        output.flush().await?;
    }
}

fn startup_of(version: u32, packet: Bytes) -> Result<Startup> {
    let (major, minor) = (version >> 16, version as u16);
    if major != 3 {
        fail!(FeatureNotSupported, "unsupported frontend protocol {major}.{minor}: server supports 3.0 to 3.0");
    }
    let bad = || error!(ProtocolViolation, "invalid startup packet layout: expected terminator as last byte");
    let body = packet.strip_suffix(&[0]).ok_or_else(bad)?;
    let mut texts = Vec::new();
    for text in body.split(|byte| *byte == 0) {
        let text = std::str::from_utf8(text).map_err(|_| {
            error!(CharacterNotInRepertoire, "invalid byte sequence for encoding \"UTF8\" in startup packet")
        })?;
        texts.push(text.to_owned());
    }
    // Each text ends in a NUL, so that the split leaves an empty one at the end.
    if texts.last().is_some_and(String::is_empty) {
        texts.pop();
    }
    if texts.len() % 2 != 0 {
        return Err(bad());
    }
    let mut parameters = Vec::with_capacity(texts.len() / 2);
    let mut texts = texts.into_iter();
    while let (Some(name), Some(value)) = (texts.next(), texts.next()) {
        parameters.push((name, value));
    }
    Ok(Startup { minor, parameters })
}

/// Splits what is a setting from what is not.
fn login_of(parameters: Vec<(String, String)>, seat: &Seat, peer: SocketAddr) -> Result<Login> {
    let mut login = Login { backend: seat.pid, address: peer.to_string(), ..Login::default() };
    for (name, value) in parameters {
        match name.as_str() {
            "user" => login.user = value,
            "database" => login.database = value,
            "options" => login.parameters.extend(options(&value)?),
            "replication" if matches!(value.as_str(), "false" | "off" | "no" | "0") => {}
            "replication" => fail!(FeatureNotSupported, "the replication protocol is not supported"),
            protocol if protocol.starts_with("_pq_.") => {}
            _ => login.parameters.push((name, value)),
        }
    }
    if login.user.is_empty() {
        fail!(InvalidAuthorizationSpecification, "no PostgreSQL user name specified in startup packet");
    }
    if login.database.is_empty() {
        login.database.clone_from(&login.user);
    }
    Ok(login)
}

/// `-c name=value --name=value`, with backslashes before spaces.
fn options(text: &str) -> Result<Vec<(String, String)>> {
    let mut words = vec![String::new()];
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        let last = words.len() - 1;
        match character {
            '\\' => words[last].extend(characters.next()),
            space if space.is_ascii_whitespace() => words.push(String::new()),
            other => words[last].push(other),
        }
    }
    let mut settings = Vec::new();
    let mut words = words.into_iter().filter(|word| !word.is_empty());
    while let Some(word) = words.next() {
        let setting = match word.strip_prefix("-c") {
            Some("") => words.next().unwrap_or_default(),
            Some(rest) => rest.to_owned(),
            None => word.strip_prefix("--").unwrap_or_default().to_owned(),
        };
        let Some((name, value)) = setting.split_once('=').filter(|(name, _)| !name.is_empty()) else {
            fail!(SyntaxError, "invalid command-line argument for server process: {word}");
        };
        settings.push((name.replace('-', "_"), value.to_owned()));
    }
    Ok(settings)
}

async fn authenticate<B: Backend, R, W>(
    shared: &Shared<B>,
    peer: SocketAddr,
    name: &str,
    input: &mut Input<R>,
    output: &mut Output<W>,
) -> std::result::Result<(), Stop>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let user = shared.backend.user(name);
    let login = auth::Login::begin(name, user.as_ref(), peer.ip().to_canonical().is_loopback()).map_err(Stop::Fatal)?;
    if let auth::Login::Scram(mut exchange) = login {
        output.put(&Exchange::offer());
        output.flush().await?;
        loop {
            let message = next_message(input).await?;
            let Message::PasswordMessageFamily(message) = message else {
                return Err(Stop::Fatal(error!(ProtocolViolation, "expected SASL response")));
            };
            let (answer, done) = exchange.step(message).map_err(Stop::Fatal)?;
            output.put(&answer);
            if done {
                break;
            }
            output.flush().await?;
        }
    }
    if user.is_some_and(|user| !user.enabled) {
        let error = error!(InvalidAuthorizationSpecification, "role \"{name}\" is not permitted to log in");
        return Err(Stop::Fatal(error));
    }
    Ok(())
}

async fn next_message<R: AsyncRead + Unpin>(input: &mut Input<R>) -> std::result::Result<Message, Stop> {
    loop {
        match input.message().map_err(Stop::Fatal)? {
            Some((_, Ok(Message::Terminate(_)))) => return Err(Gone.into()),
            Some((_, message)) => return message.map_err(Stop::Fatal),
            None => input.fill().await?,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_settings() {
        let parsed = options(r"-c statement_timeout=5s --search-path=a\ b -cTimeZone=UTC").unwrap();
        let pairs: Vec<_> = parsed.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(pairs, [("statement_timeout", "5s"), ("search_path", "a b"), ("TimeZone", "UTC")]);
        assert!(options("-x").is_err());
    }
}
