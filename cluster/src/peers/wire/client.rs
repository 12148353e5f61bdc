//! Asking other dnodes.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use model::scan::{RowStream, ScanRequest};
use model::{Error, Result, VgroupId, error};
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, ConnectError, Status};

use super::frames::{self, Frame, Frames};
use super::{CALL, MESSAGE_BYTES_MAX, Raw, SCAN, Use, WireNetwork, unreachable};
use crate::peers::{RaftCall, Request, Response, Unreachable};
use crate::raft::types::{decode, encode};

/// Until a peer that does not take the connection is given up.
const CONNECT_MAX: Duration = Duration::from_millis(500);
/// Between two probes of a silent connection, and until an unanswered one ends it: a peer that hangs looks dead after both.
const PROBE: Duration = Duration::from_secs(2);
/// Bytes that a peer may send ahead of its reader, for each call and each scan. A connection has no bound of its own: with
/// one, a few scans that nobody reads would hold up all others.
const CALL_AHEAD_BYTES: u32 = 8 << 20;
const SCAN_AHEAD_BYTES: u32 = 1 << 20;
const CONNECTION_AHEAD_BYTES: u32 = (1 << 31) - 1;

/// How long an answer may take. What takes longer counts as lost; whoever asked may ask again.
fn patience(request: &Request) -> Duration {
    let seconds = match request {
        Request::Raft { call, .. } => match call {
            RaftCall::SnapshotPart(_) => 30,
            RaftCall::SnapshotInstall { .. } => 600,
            _ => 2,
        },
        Request::Barrier(_) | Request::Lookup { .. } | Request::Status | Request::KillCompact(_) => 2,
        // A leader whose disk is behind is slow, not gone: one that is gone is noticed in other ways.
        Request::Write { .. } => 60,
        Request::Define(_) | Request::Join { .. } => 20,
        Request::Maintain { .. } | Request::Compact { .. } => 24 * 3600,
    };
    Duration::from_secs(seconds)
}

impl WireNetwork {
    fn channel(&self, endpoint: &str, purpose: Use) -> std::result::Result<Channel, Unreachable> {
        let mut channels = self.channels.lock();
        let key = (endpoint.to_owned(), purpose);
        if let Some(channel) = channels.get(&key) {
            return Ok(channel.clone());
        }
        let to = Endpoint::from_shared(format!("http://{endpoint}"));
        let to = to.map_err(|error| unreachable(endpoint, format!("not an address: {error}"), false))?;
        let channel = to
            .connect_timeout(CONNECT_MAX)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(PROBE)
            .keep_alive_timeout(PROBE)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(match purpose {
                Use::Calls => CALL_AHEAD_BYTES,
                Use::Scans => SCAN_AHEAD_BYTES,
            })
            .initial_connection_window_size(CONNECTION_AHEAD_BYTES)
            .connect_lazy();
        channels.insert(key, channel.clone());
        Ok(channel)
    }

    async fn client(&self, endpoint: &str, purpose: Use) -> std::result::Result<Grpc<Channel>, Unreachable> {
        let grpc = Grpc::new(self.channel(endpoint, purpose)?);
        let mut grpc = grpc.max_decoding_message_size(MESSAGE_BYTES_MAX).max_encoding_message_size(MESSAGE_BYTES_MAX);
        grpc.ready().await.map_err(|error| unreachable(endpoint, error, false))?;
        Ok(grpc)
    }

    pub(super) async fn ask(&self, endpoint: &str, request: Request) -> std::result::Result<Response, Unreachable> {
        let limit = patience(&request);
        let message = encode(&self.envelope(request));
        let asked = async {
            let mut grpc = self.client(endpoint, Use::Calls).await?;
            let answer = grpc.unary(tonic::Request::new(message), PathAndQuery::from_static(CALL), Raw).await;
            answer.map(tonic::Response::into_inner).map_err(|status| lost(endpoint, &status))
        };
        let answer: Bytes = match tokio::time::timeout(limit, asked).await {
            Ok(answer) => answer?,
            Err(_) => return Err(unreachable(endpoint, format!("no answer for {} s", limit.as_secs()), true)),
        };
        decode(&answer).map_err(|error| unreachable(endpoint, error, true))
    }

    pub(super) async fn ask_rows(
        &self,
        endpoint: &str,
        vgroup: VgroupId,
        request: ScanRequest,
    ) -> std::result::Result<Result<RowStream>, Unreachable> {
        let body = frames::pack(vgroup, request).map_err(|error| unreachable(endpoint, error, false))?;
        let message = encode(&self.envelope(body));
        let mut grpc = self.client(endpoint, Use::Scans).await?;
        let path = PathAndQuery::from_static(SCAN);
        let answer = grpc.server_streaming(tonic::Request::new(message), path, Raw).await;
        let stream = answer.map_err(|status| lost(endpoint, &status))?.into_inner();
        let mut frames = Frames::new(stream.boxed());
        // The first frame says whether the scan has begun: an error before it is one of the request.
        match frames.next().await {
            Some(Ok(Frame::Begun)) => Ok(Ok(rows(frames, endpoint.to_owned()))),
            Some(Ok(Frame::Failed(error))) => Ok(Err(error)),
            Some(Ok(Frame::Rows(_))) => Err(unreachable(endpoint, "rows before the scan has begun", true)),
            Some(Err(error)) => Err(unreachable(endpoint, error, true)),
            None => Err(unreachable(endpoint, "the scan has no beginning", true)),
        }
    }
}

/// The batches of a scan that has begun. A stream that breaks off is an error, never an end.
fn rows(frames: Frames<BoxStream<'static, std::result::Result<Bytes, Status>>>, endpoint: String) -> RowStream {
    let broken = move |why: String| -> Error {
        error!(CannotConnectNow, "the rows of {endpoint} broke off").with_detail(why).with_hint("Run the query again")
    };
    Box::pin(futures::stream::unfold(Some((frames, broken)), |state| async move {
        let (mut frames, broken) = state?;
        match frames.next().await? {
            Ok(Frame::Rows(batch)) => Some((Ok(batch), Some((frames, broken)))),
            Ok(Frame::Failed(error)) => Some((Err(error), None)),
            Ok(Frame::Begun) => Some((Err(broken("a scan has begun twice".to_owned())), None)),
            Err(why) => Some((Err(broken(why)), None)),
        }
    }))
}

/// A request that was not answered. It was not carried out if there was no connection, or if our own server says so.
fn lost(endpoint: &str, status: &Status) -> Unreachable {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = std::error::Error::source(status);
    let mut connected = true;
    while let Some(error) = cause {
        connected &= !error.is::<ConnectError>();
        cause = error.source();
    }
    let refused =
        matches!(status.code(), Code::Aborted | Code::InvalidArgument | Code::FailedPrecondition | Code::Unimplemented);
    unreachable(endpoint, status.message(), connected && !refused)
}
