//! The process: the binary `marigraph`. It reads the configuration, starts a dnode and the language over it, and lets
//! PostgreSQL clients in.
//!
//! Start reading at [`process::run`]; [`wire`] is the protocol, the only home of pgwire.

mod cli;
mod config;
mod http;
mod process;
mod wire;

use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command, Inspect, Options};
use config::Config;

/// Statements make and drop many small things at once on every thread; glibc's allocator took a quarter of an INSERT.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Bad configuration, a port in use, a data directory that cannot be used.
const CANNOT_START: u8 = 2;
/// DataFusion plans deep expressions by recursion.
const STACK_BYTES: usize = 8 << 20;

fn main() -> ExitCode {
    #[cfg(feature = "failpoints")]
    let _failpoints = fail::FailScenario::setup();
    match Cli::parse().command {
        Command::Serve(options) => effective(options).map_or_else(|code| code, serve),
        Command::Config(options) => effective(options).map_or_else(
            |code| code,
            |config| {
                print!("{}", config.print());
                ExitCode::SUCCESS
            },
        ),
        Command::Inspect(Inspect::Wal { path }) => match storage::wal::inspect(&path, &mut std::io::stdout().lock()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(fault) if fault.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
            Err(fault) => {
                eprintln!("marigraph: {}: {fault}", path.display());
                ExitCode::from(CANNOT_START)
            }
        },
    }
}

/// The effective configuration, or an exit code after every problem was told.
fn effective(options: Options) -> Result<Config, ExitCode> {
    let loaded = options.layers().map_err(|problem| vec![problem]).and_then(|layers| config::load(&layers));
    loaded.map_err(|problems| {
        for problem in problems {
            eprintln!("marigraph: {problem}");
        }
        ExitCode::from(CANNOT_START)
    })
}

/// Threads of the runtime for each core.
const THREADS_PER_CORE: usize = 4;

fn serve(config: Config) -> ExitCode {
    let filter = config.log.parse::<tracing_subscriber::EnvFilter>().unwrap_or_default();
    let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours).init();
    std::panic::set_hook(Box::new(|panic| {
        let trace = std::backtrace::Backtrace::force_capture();
        tracing::error!("{panic}\n{trace}");
    }));
    // A join that does not yield holds a thread for each of its partitions: others must be left for the sockets.
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .worker_threads(THREADS_PER_CORE * cores)
        .thread_stack_size(STACK_BYTES)
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(fault) => {
            eprintln!("marigraph: cannot start threads: {fault}");
            return ExitCode::from(CANNOT_START);
        }
    };
    let done = runtime.block_on(process::run(config));
    // Whatever still runs has nothing left to lose: the log is synced.
    runtime.shutdown_background();
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("marigraph: {fault}");
            ExitCode::from(CANNOT_START)
        }
    }
}
