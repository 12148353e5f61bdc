//! Answering other dnodes.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use tokio::net::TcpListener;
use tonic::body::Body;
use tonic::codegen::http;
use tonic::codegen::{BoxFuture, Service as HttpService};
use tonic::server::{Grpc, ServerStreamingService, UnaryService};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

use super::{CALL, Envelope, MESSAGE_BYTES_MAX, PROTOCOL, Raw, SCAN, WireNetwork, frames};
use crate::peers::Service;
use crate::raft::types::{decode, encode};

/// Between two probes of a silent connection.
const PROBE: Duration = Duration::from_secs(5);
/// Bytes that a peer may send ahead, for each request and for all of a connection.
const AHEAD_BYTES: u32 = 8 << 20;
const CONNECTION_AHEAD_BYTES: u32 = (1 << 31) - 1;

/// Answers other dnodes on `listener` until `stop` is there. What is asked before the dnode is up is refused as unavailable.
///
/// # Errors
///
/// If the listener fails.
pub async fn serve(
    network: Arc<WireNetwork>,
    listener: TcpListener,
    stop: impl Future<Output = ()>,
) -> std::io::Result<()> {
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    Server::builder()
        .initial_stream_window_size(AHEAD_BYTES)
        .initial_connection_window_size(CONNECTION_AHEAD_BYTES)
        .http2_keepalive_interval(Some(PROBE))
        .http2_keepalive_timeout(Some(PROBE))
        .serve_with_incoming_shutdown(Routes(network), incoming, stop)
        .await
        .map_err(std::io::Error::other)
}

/// Takes requests to their methods.
#[derive(Clone)]
struct Routes(Arc<WireNetwork>);

impl HttpService<http::Request<Body>> for Routes {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let network = Arc::clone(&self.0);
        Box::pin(async move {
            let mut grpc = Grpc::new(Raw)
                .max_decoding_message_size(MESSAGE_BYTES_MAX)
                .max_encoding_message_size(MESSAGE_BYTES_MAX);
            Ok(match request.uri().path() {
                CALL => grpc.unary(Calls(network), request).await,
                SCAN => grpc.server_streaming(Scans(network), request).await,
                other => Status::unimplemented(format!("no method {other}")).into_http(),
            })
        })
    }
}

/// The dnode that answers, if it is up.
fn service(network: &WireNetwork) -> Result<Arc<dyn Service>, Status> {
    // Aborted and not unavailable: the caller is to know that nothing was done.
    network.service().ok_or_else(|| Status::aborted("the dnode is not up yet"))
}

/// What came, if we understand it.
fn open<T: for<'de> serde::Deserialize<'de>>(bytes: &[u8]) -> Result<Envelope<T>, Status> {
    // The version stands first, so that a message of a newer one is named and not taken for damage.
    let protocol: (u16,) = decode(bytes).map_err(|error| Status::invalid_argument(error.to_string()))?;
    if protocol.0 > PROTOCOL {
        return Err(Status::failed_precondition(format!(
            "the message is of protocol {}, this dnode speaks up to {PROTOCOL}: upgrade it",
            protocol.0
        )));
    }
    decode(bytes).map_err(|error| Status::invalid_argument(error.to_string()))
}

/// One request, one answer.
struct Calls(Arc<WireNetwork>);

impl UnaryService<Bytes> for Calls {
    type Response = Bytes;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Bytes>, Status>> + Send>>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        let network = Arc::clone(&self.0);
        Box::pin(async move {
            let Envelope { caller, body, .. } = open::<crate::peers::Request>(request.get_ref())?;
            let answer = service(&network)?.answer(&caller, body).await;
            Ok(Response::new(encode(&answer)))
        })
    }
}

/// One request, many frames.
struct Scans(Arc<WireNetwork>);

impl ServerStreamingService<Bytes> for Scans {
    type Response = Bytes;
    type ResponseStream = BoxStream<'static, Result<Bytes, Status>>;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Self::ResponseStream>, Status>> + Send>>;

    fn call(&mut self, request: Request<Bytes>) -> Self::Future {
        let network = Arc::clone(&self.0);
        Box::pin(async move {
            let Envelope { caller, body, .. } = open::<frames::Packed>(request.get_ref())?;
            let (vgroup, request) =
                frames::unpack(body).map_err(|error| Status::invalid_argument(error.to_string()))?;
            let rows = service(&network)?.scan(&caller, vgroup, request).await;
            Ok(Response::new(frames::send(rows).map(Ok).boxed()))
        })
    }
}
