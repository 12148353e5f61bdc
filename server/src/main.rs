//! The process: the binary `marigraph`. It reads the configuration, starts a dnode and the language over it, and lets
//! PostgreSQL clients in.
//!
//! Start reading at [`process::run`]; [`wire`] is the protocol, the only home of pgwire.

mod budget;
mod cli;
mod config;
mod http;
mod inspect;
mod process;
mod size;
mod wire;

use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command, Options};
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
        Command::Inspect(what) => inspect::run(&what),
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

/// Every connection and every run of a vnode is an open file: as many as the operator allows, not as many as a shell
/// begins with.
fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        Ok(()) => tracing::info!(from = ?current, to = ?maximum, "raised the limit of open files"),
        Err(fault) => tracing::warn!(limit = ?current, %fault, "the limit of open files stays low"),
    }
}

/// Threads that serve sockets, agree on writes and plan queries, for each core.
const THREADS_PER_CORE: usize = 4;
/// Threads that run queries, for each core, and at least. A join that does not yield holds one for each of its partitions:
/// there must be some left for other queries. Those that have nothing to do cost nothing.
const QUERY_THREADS_PER_CORE: usize = 16;
const QUERY_THREADS_MIN: usize = 64;
/// Memory for each of them: a thread's heap keeps some MiB of what it once used.
const QUERY_THREAD_BYTES: u64 = 16 << 20;
/// How much queries that hold processors stand back behind writes, votes and the planning of other queries.
const QUERY_NICE: i32 = 10;

fn threads(name: &str, count: usize, nice: i32) -> std::io::Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.enable_all().thread_name(name).worker_threads(count).thread_stack_size(STACK_BYTES);
    if nice > 0 {
        // Of Linux's threads each has its own, and "none" is the one that asks.
        builder.on_thread_start(move || {
            if let Err(fault) = rustix::process::setpriority_process(None, nice) {
                tracing::debug!(%fault, "a thread keeps its priority");
            }
        });
    }
    builder.build()
}

fn serve(config: Config) -> ExitCode {
    let filter = config.log.parse::<tracing_subscriber::EnvFilter>().unwrap_or_default();
    let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours).init();
    std::panic::set_hook(Box::new(|panic| {
        let trace = std::backtrace::Backtrace::force_capture();
        tracing::error!("{panic}\n{trace}");
    }));
    raise_open_files();
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    let usual = (QUERY_THREADS_PER_CORE * cores).max(QUERY_THREADS_MIN);
    let affordable = budget::Budget::here(&config).map_or(usual, |budget| (budget.total / QUERY_THREAD_BYTES) as usize);
    let queries = threads("query", usual.min(affordable.max(8 * cores)), QUERY_NICE);
    let (runtime, queries) = match (threads("serve", THREADS_PER_CORE * cores, 0), queries) {
        (Ok(runtime), Ok(queries)) => (runtime, queries),
        (Err(fault), _) | (_, Err(fault)) => {
            eprintln!("marigraph: cannot start threads: {fault}");
            return ExitCode::from(CANNOT_START);
        }
    };
    let done = runtime.block_on(process::run(config, queries.handle().clone()));
    // Whatever still runs has nothing left to lose: the log is synced.
    queries.shutdown_background();
    runtime.shutdown_background();
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("marigraph: {fault}");
            ExitCode::from(CANNOT_START)
        }
    }
}
