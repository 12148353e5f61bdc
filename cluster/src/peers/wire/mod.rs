//! The way between dnodes of different processes: gRPC, whose messages are our own bytes.
//!
//! [`client`] asks and [`server`] answers; both speak of [`Envelope`]s, and scans travel as [`frames`]. Two HTTP/2
//! connections go to each peer, one of them for scans, and are made again when they break: flow control, keep-alive and many requests at a time
//! are its business. Start reading at [`WireNetwork`].

mod client;
mod frames;
mod server;

use std::collections::HashMap;
use std::sync::Weak;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::{Buf, BufMut, Bytes};
use model::VgroupId;
use model::scan::{RowStream, ScanRequest};
use parking_lot::{Mutex, RwLock};
use serde::{Deserialize, Serialize};
use tonic::Status;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::Channel;

use super::{Network, Request, Response, Service, Unreachable};
use crate::identity::Identity;

pub use server::serve;

/// The version of what dnodes say to each other. A dnode answers its own and all older ones.
const PROTOCOL: u16 = 1;

/// Most bytes of one message: a batch of log entries, each of at most 8 MiB.
const MESSAGE_BYTES_MAX: usize = 1 << 30;

/// Where a request goes.
const CALL: &str = "/marigraph.Peer/Call";
/// Where a scan goes.
const SCAN: &str = "/marigraph.Peer/Scan";

/// A request or a scan, and who asks.
#[derive(Serialize, Deserialize)]
struct Envelope<T> {
    protocol: u16,
    caller: Identity,
    body: T,
}

/// What a connection is for. Rows that nobody reads must not stand in the way of votes and log entries.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Use {
    Calls,
    Scans,
}

/// What is known of a peer.
struct Heard {
    last: Instant,
    silent: bool,
}

/// Without an answer for so long a peer is called silent: one slow answer is none.
const SILENCE: Duration = Duration::from_secs(3);

/// The network of one dnode.
pub struct WireNetwork {
    /// Its own endpoint: what goes there needs no wire.
    own: String,
    identity: RwLock<Identity>,
    service: RwLock<Option<Weak<dyn Service>>>,
    channels: Mutex<HashMap<(String, Use), Channel>>,
    /// When each peer last answered, and whether the operator was told that it does not.
    heard: Mutex<HashMap<String, Heard>>,
}

impl WireNetwork {
    /// The network of the dnode that others reach at `own`.
    #[must_use]
    pub fn new(own: &str) -> std::sync::Arc<Self> {
        std::sync::Arc::new(Self {
            own: own.to_owned(),
            identity: RwLock::new(Identity::default()),
            service: RwLock::new(None),
            channels: Mutex::new(HashMap::new()),
            heard: Mutex::new(HashMap::new()),
        })
    }

    /// Tells the operator when a peer falls silent and when it is back: once each, and not of every message.
    fn heard(&self, endpoint: &str, answer: Result<(), &Unreachable>) {
        let mut heard = self.heard.lock();
        let Some(peer) = heard.get_mut(endpoint) else {
            heard.insert(endpoint.to_owned(), Heard { last: Instant::now(), silent: false });
            return;
        };
        match answer {
            Ok(()) => {
                peer.last = Instant::now();
                if std::mem::take(&mut peer.silent) {
                    tracing::warn!(endpoint, "a dnode answers again");
                }
            }
            Err(unreachable) => {
                if !peer.silent && peer.last.elapsed() > SILENCE {
                    peer.silent = true;
                    tracing::warn!(endpoint, why = unreachable.why, "a dnode does not answer");
                }
            }
        }
    }

    fn service(&self) -> Option<std::sync::Arc<dyn Service>> {
        self.service.read().as_ref().and_then(Weak::upgrade)
    }

    fn envelope<T>(&self, body: T) -> Envelope<T> {
        Envelope { protocol: PROTOCOL, caller: *self.identity.read(), body }
    }
}

#[async_trait]
impl Network for WireNetwork {
    async fn call(&self, endpoint: &str, request: Request) -> Result<Response, Unreachable> {
        if endpoint == self.own {
            let caller = *self.identity.read();
            return match self.service() {
                Some(service) => Ok(service.answer(&caller, request).await),
                None => Err(unreachable(endpoint, "this dnode is not up", false)),
            };
        }
        let answer = self.ask(endpoint, request).await;
        self.heard(endpoint, answer.as_ref().map(|_| ()));
        answer
    }

    async fn scan(
        &self,
        endpoint: &str,
        vgroup: VgroupId,
        request: ScanRequest,
    ) -> Result<model::Result<RowStream>, Unreachable> {
        if endpoint == self.own {
            let caller = *self.identity.read();
            return match self.service() {
                Some(service) => Ok(service.scan(&caller, vgroup, request).await),
                None => Err(unreachable(endpoint, "this dnode is not up", false)),
            };
        }
        self.ask_rows(endpoint, vgroup, request).await
    }

    fn serve(&self, _endpoint: &str, service: Weak<dyn Service>) {
        *self.service.write() = Some(service);
    }

    fn introduce(&self, identity: Identity) {
        *self.identity.write() = identity;
    }
}

fn unreachable(endpoint: &str, why: impl std::fmt::Display, sent: bool) -> Unreachable {
    Unreachable { endpoint: endpoint.to_owned(), why: why.to_string(), sent }
}

/// Messages as they are: tonic's framing around our bytes.
#[derive(Clone, Copy, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.reserve(item.len());
        to.put(item);
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(512, 64 << 10)
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(512, 64 << 10)
    }
}
