//! The PostgreSQL wire: connections, the protocol, who may log in. The only place that knows pgwire.
//!
//! A connection's life: [`startup`] brings it to a session, [`connection`] carries out its messages ([`extended`] those
//! of the extended protocol), [`guard`] stops what runs when it must. [`frame`] cuts bytes into messages, [`output`]
//! collects the answers. The session is whatever implements [`backend::WireSession`]; [`engine`] does it with `sql`.
//! Start reading at [`serve`].

mod auth;
pub(crate) mod backend;
mod connection;
mod engine;
mod extended;
mod frame;
mod guard;
mod output;
mod registry;
mod rows;
mod startup;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use model::error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use backend::Backend;
use connection::Connection;
use frame::Input;
use guard::{Guard, Stop};
use output::Output;
use registry::Registry;
use startup::Opened;

pub(crate) use auth::verifier;
pub(crate) use engine::EngineBackend;
pub(crate) use guard::Phase;

/// A connection that has not logged in by then is closed.
const STARTUP_TIMEOUT: Duration = Duration::from_secs(60);
/// Connections that may be logging in, or sending a cancel request, beyond the cap on sessions.
const STARTING_MAX: usize = 100;
/// How long a closing connection tries to send its last message.
const FAREWELL: Duration = Duration::from_millis(500);
/// Pause after a failure to accept, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What all connections share.
pub(crate) struct Shared<B> {
    pub(crate) backend: B,
    pub(crate) registry: Arc<Registry>,
    sockets: Arc<Semaphore>,
}

impl<B: Backend> Shared<B> {
    /// At most `connections_max` sessions at a time.
    pub(crate) fn new(backend: B, connections_max: usize) -> Arc<Self> {
        Arc::new(Self {
            backend,
            registry: Arc::new(Registry::new(connections_max)),
            sockets: Arc::new(Semaphore::new(connections_max.saturating_add(STARTING_MAX).min(Semaphore::MAX_PERMITS))),
        })
    }
}

/// Accepts connections until the process leaves [`Phase::Serving`], then waits until every one has ended.
pub(crate) async fn serve<B: Backend>(
    listener: TcpListener,
    shared: Arc<Shared<B>>,
    mut phase: watch::Receiver<Phase>,
) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            _ = phase.wait_for(|now| *now > Phase::Serving) => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(fault) => {
                tracing::warn!(%fault, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // Beyond this not even a refusal is sent.
        let Ok(permit) = Arc::clone(&shared.sockets).try_acquire_owned() else { continue };
        let _ = stream.set_nodelay(true);
        let (shared, phase) = (Arc::clone(&shared), phase.clone());
        connections.spawn(async move {
            let (reader, writer) = stream.into_split();
            connection(&shared, peer, reader, writer, phase).await;
            drop(permit);
        });
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
    tracing::info!(connections = shared.registry.len(), "the PostgreSQL port is closed");
}

/// One connection from its first byte to its last.
async fn connection<B: Backend, R, W>(
    shared: &Shared<B>,
    peer: SocketAddr,
    reader: R,
    writer: W,
    phase: watch::Receiver<Phase>,
) where
    R: AsyncRead + Unpin + Send,
    W: AsyncWrite + Unpin + Send,
{
    let (mut input, mut output) = (Input::new(reader), Output::new(writer));
    let mut waiting = phase.clone();
    let opened = tokio::select! {
        opened = startup::open(shared, peer, &mut input, &mut output) => opened,
        () = tokio::time::sleep(STARTUP_TIMEOUT) => {
            Err(Stop::Fatal(error!(QueryCanceled, "canceling authentication due to timeout")))
        }
        _ = waiting.wait_for(|now| *now > Phase::Serving) => Err(Stop::Fatal(guard::shutting_down())),
    };
    match opened {
        Ok(Opened::Session(session, seat)) => {
            tracing::debug!(%peer, pid = seat.pid, "connected");
            let guard = Guard { cancel: Arc::clone(&seat.cancel), phase, deadline: None };
            Connection::new(*session, input, output, guard, Arc::clone(&seat.activity)).run().await;
            tracing::debug!(%peer, pid = seat.pid, "disconnected");
        }
        Ok(Opened::Cancel) | Err(Stop::Gone) => {}
        Err(Stop::Error(error) | Stop::Fatal(error)) => {
            tracing::info!(%peer, sqlstate = error.state().code(), %error, "connection refused");
            output.fatal(&error);
            let _ = tokio::time::timeout(FAREWELL, output.flush()).await;
            output.close().await;
        }
    }
}
