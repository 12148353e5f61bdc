//! A server's life: ports, dnode, engine, wire; then a signal, and everything back in order.
//!
//! Start reading at [`run`].

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cluster::peers::wire::WireNetwork;
use cluster::{Node, World};
use metrics_exporter_prometheus::PrometheusBuilder;
use sql::plan::{Planner, PlannerSettings, ProcessMemory, TempFiles};
use sql::session::Engine;
use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::budget::{Budget, Resident};
use crate::config::Config;
use crate::http;
use crate::size::share;
use crate::wire::{self, EngineBackend, Phase, Shared};

/// From the signal to the end of the process.
const SHUTDOWN_MAX: Duration = Duration::from_secs(9);
/// Left to the dnode of that, at least.
const FLUSH_MIN: Duration = Duration::from_secs(2);
/// Connections that wait to be accepted.
const BACKLOG: u32 = 1024;
/// Rows in a batch of a query, at least and at most.
const BATCH_ROWS: (usize, usize) = (512, 8192);
/// Until connections whose statements were stopped have said so.
const STOPPING: Duration = Duration::from_secs(1);

/// Why a server did not start: for the operator, exit code 2.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    /// A port cannot be bound.
    #[error("cannot listen on {address} for {what}: {source}{hint}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What it is for.
        what: &'static str,
        /// Why not.
        source: std::io::Error,
        /// The way out.
        hint: String,
    },
    /// The dnode did not start.
    #[error(transparent)]
    Node(#[from] cluster::StartError),
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

/// The ports of a server.
struct Ports {
    pg: TcpListener,
    http: TcpListener,
    /// Other dnodes.
    rpc: TcpListener,
}

/// Connections of the listener have keep-alive probes: one whose peer has vanished ends some day, and gives its place back.
fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.set_keepalive(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

fn listen(address: SocketAddr, what: &'static str, setting: &str) -> Result<TcpListener, StartError> {
    bind(address).map_err(|source| {
        let hint = match source.kind() {
            std::io::ErrorKind::AddrInUse => format!("; another process has it: stop that one, or set {setting}"),
            _ => format!("; set {setting}"),
        };
        StartError::Listen { address, what, source, hint }
    })
}

impl Ports {
    fn bind(config: &Config) -> Result<Self, StartError> {
        Ok(Self {
            pg: listen(config.pg_listen, "the PostgreSQL wire", "pg_listen")?,
            rpc: listen(config.rpc_listen, "other dnodes", "rpc_listen")?,
            http: listen(config.http_listen, "HTTP", "http_listen")?,
        })
    }
}

/// Runs a server until SIGINT or SIGTERM has been obeyed. The work of queries holds the threads of `queries`.
///
/// # Errors
///
/// What keeps it from starting.
pub(crate) async fn run(config: Config, queries: Handle) -> Result<(), StartError> {
    let began = Instant::now();
    let other = |fault: String| StartError::Other(fault);
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|fault| other(fault.to_string()))?;
    let mut terminate = signal(SignalKind::terminate()).map_err(|fault| other(fault.to_string()))?;
    writable(&config.data_dir)?;
    let ports = Ports::bind(&config)?;
    let metrics = PrometheusBuilder::new().install_recorder().map_err(|fault| other(fault.to_string()))?;
    let budget = Budget::here(&config).map_err(other)?;
    let mut settings = config.dnode(&budget);
    if config.endpoint.is_empty()
        && let Ok(bound) = ports.rpc.local_addr()
    {
        settings.endpoint = bound.to_string();
    }
    // Other dnodes may speak before this one is up: a new one hears of its cluster that way.
    let network = WireNetwork::new(&settings.endpoint);
    let peers = tokio::spawn(peers(Arc::clone(&network), ports.rpc));
    let node = tokio::select! {
        node = Node::start(World::real(network), settings) => node?,
        _ = interrupt.recv() => return Ok(()),
        _ = terminate.recv() => return Ok(()),
    };
    let plane = node.plane();
    let planning = planning(&config, &budget, queries)?;
    let planner = Planner::new(Arc::clone(&plane), &planning).map_err(|error| other(error.to_string()))?;
    let engine = Engine::new(plane, planner, wire::verifier);
    let (phase, watching) = watch::channel(Phase::Serving);
    let bound = (ports.pg.local_addr(), ports.http.local_addr());
    let shared = Shared::new(EngineBackend { engine: Arc::clone(&engine) }, config.pg_connections_max);
    engine.observed_by(Arc::clone(&shared.registry) as Arc<dyn sql::catalogs::Observer>);
    let serving = tokio::spawn(wire::serve(ports.pg, shared, watching.clone()));
    let pages = http::Pages {
        node: Arc::clone(&node),
        engine: Arc::clone(&engine),
        budget: Arc::new(budget),
        metrics,
        phase: watching,
    };
    let answering = tokio::spawn(http::serve(ports.http, pages));
    announce(&config, bound.0.unwrap_or(config.pg_listen), bound.1.unwrap_or(config.http_listen), began.elapsed());
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    let told = Instant::now();
    // Who asks twice does not want to wait: nothing acknowledged is lost, the log is replayed at the next start.
    let stopped = tokio::select! {
        stopped = stop(&config, &node, &phase, serving, told) => stopped,
        _ = interrupt.recv() => Err(other("stopped at once by a second signal".to_owned())),
        _ = terminate.recv() => Err(other("stopped at once by a second signal".to_owned())),
    };
    answering.abort();
    peers.abort();
    stopped
}

/// How queries run, with their shares of the memory. The data directory must be this process's.
fn planning(config: &Config, budget: &Budget, queries: Handle) -> Result<PlannerSettings, StartError> {
    let bytes = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
    let resident = Resident::new();
    Ok(PlannerSettings {
        target_partitions: config.query_partitions,
        // A sort or a join holds some batches of each partition whatever happens: under a small budget they are small.
        batch_rows: bytes(budget.queries >> 17).clamp(BATCH_ROWS.0, BATCH_ROWS.1),
        memory_bytes: bytes(budget.queries),
        staging_bytes: bytes(budget.staging),
        temp: Some(temp_files(config)?),
        process: Some(ProcessMemory {
            allocated: Arc::new(move || resident.allocated()),
            bytes_max: share(budget.total, 110),
        }),
        threads: Some(queries),
    })
}

/// The folder of temporary files, without what a process that was killed has left there.
fn temp_files(config: &Config) -> Result<TempFiles, StartError> {
    let folder = config.data_dir.join("temp");
    let failed = |fault: std::io::Error| StartError::Other(format!("{} cannot be cleared: {fault}", folder.display()));
    match std::fs::remove_dir_all(&folder) {
        Err(fault) if fault.kind() != std::io::ErrorKind::NotFound => return Err(failed(fault)),
        _ => std::fs::create_dir_all(&folder).map_err(failed)?,
    }
    let disk = rustix::fs::statvfs(&folder).map_err(|fault| failed(fault.into()))?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    Ok(TempFiles { bytes_max: config.temp_bytes.bytes(free, share(free, 50)), folder })
}

/// Answers other dnodes until it is aborted.
async fn peers(network: Arc<WireNetwork>, listener: TcpListener) {
    if let Err(fault) = cluster::peers::wire::serve(network, listener, std::future::pending()).await {
        tracing::error!(%fault, "other dnodes cannot reach this one any more");
    }
}

/// Ends what runs, then the dnode.
async fn stop(
    config: &Config,
    node: &Node,
    phase: &watch::Sender<Phase>,
    mut serving: JoinHandle<()>,
    told: Instant,
) -> Result<(), StartError> {
    tracing::info!("stopping");
    phase.send_replace(Phase::Draining);
    let drain = Duration::from_millis(config.drain_ms).min(SHUTDOWN_MAX - FLUSH_MIN - STOPPING);
    if tokio::time::timeout(drain, &mut serving).await.is_err() {
        phase.send_replace(Phase::Stopping);
        if tokio::time::timeout(STOPPING, &mut serving).await.is_err() {
            tracing::warn!("connections that did not end are dropped");
            serving.abort();
        }
    }
    let left = SHUTDOWN_MAX.saturating_sub(told.elapsed());
    node.shutdown(left).await.map_err(|fault| StartError::Other(format!("the log could not be synced: {fault}")))
}

/// Makes the data directory and tries to write in it, so that the operator hears of it in plain words.
fn writable(directory: &Path) -> Result<(), StartError> {
    let refuse = |fault: std::io::Error| {
        let name = directory.display();
        StartError::Other(format!("the data directory {name} is not writable: {fault}; set data_dir"))
    };
    std::fs::create_dir_all(directory).map_err(refuse)?;
    let probe = directory.join(format!(".writable-{}", std::process::id()));
    std::fs::write(&probe, b"").and_then(|()| std::fs::remove_file(&probe)).map_err(refuse)
}

/// The line that says how to connect.
fn announce(config: &Config, pg: SocketAddr, http: SocketAddr, took: Duration) {
    let host = if pg.ip().is_unspecified() { "127.0.0.1".to_owned() } else { pg.ip().to_string() };
    println!(
        "marigraph {} is ready ({:.1} s): psql -h {host} -p {} -U root   [http://{http}/health, data in {}]",
        env!("CARGO_PKG_VERSION"),
        took.as_secs_f64(),
        pg.port(),
        config.data_dir.display(),
    );
}
