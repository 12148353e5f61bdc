//! The command line of `marigraph`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::config::Layers;

/// A time-series database that any PostgreSQL client can use.
#[derive(Debug, Parser)]
#[command(name = "marigraph", version, about, disable_help_subcommand = true, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a server until it is told to stop (SIGINT, SIGTERM).
    Serve(Options),
    /// Print the effective configuration, with its comments.
    Config(Options),
    /// Look into files of a stopped server. Changes nothing.
    #[command(subcommand)]
    Inspect(Inspect),
}

#[derive(Debug, Subcommand)]
pub(crate) enum Inspect {
    /// Print every record of a log.
    Wal {
        /// The log's directory, or one segment of it.
        path: PathBuf,
    },
    /// Print what a vnode knows beside rows, and its runs.
    Vnode {
        /// The vnode's folder, such as DATA/vnode/2.
        path: PathBuf,
    },
    /// Print the blocks of a vnode's runs with the statistics of each column.
    Run {
        /// The vnode's folder, such as DATA/vnode/2.
        path: PathBuf,
        /// Only runs of this bucket.
        #[arg(long, allow_hyphen_values = true)]
        bucket: Option<i32>,
        /// Only the run of this number.
        #[arg(long)]
        run: Option<u32>,
    },
}

/// Settings on the command line; they win over the environment and the file.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// A TOML file of settings; MARIGRAPH_CONFIG names one too.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where everything is kept.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// Address of the PostgreSQL wire.
    #[arg(long, value_name = "ADDR:PORT")]
    pg_listen: Option<String>,
    /// Address for other dnodes.
    #[arg(long, value_name = "ADDR:PORT")]
    rpc_listen: Option<String>,
    /// A dnode of the cluster to join; without one a new cluster is founded.
    #[arg(long, value_name = "HOST:PORT")]
    first_ep: Option<String>,
    /// Address of /health and /metrics.
    #[arg(long, value_name = "ADDR:PORT")]
    http_listen: Option<String>,
    /// Which log lines go to stderr, as in RUST_LOG.
    #[arg(long, value_name = "FILTER")]
    log: Option<String>,
    /// Any setting; `marigraph config` lists them.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

impl Options {
    /// These flags over the environment of the process.
    ///
    /// # Errors
    ///
    /// A `--set` without `=`.
    pub(crate) fn layers(self) -> Result<Layers, String> {
        let named = [
            ("data_dir", "--data-dir", self.data_dir),
            ("pg_listen", "--pg-listen", self.pg_listen),
            ("rpc_listen", "--rpc-listen", self.rpc_listen),
            ("first_ep", "--first-ep", self.first_ep),
            ("http_listen", "--http-listen", self.http_listen),
            ("log", "--log", self.log),
        ];
        let mut flags = Vec::new();
        for word in self.set {
            let Some((key, value)) = word.split_once('=') else {
                return Err(format!("--set {word}: expected KEY=VALUE"));
            };
            flags.push((format!("--set {word}"), key.trim().to_owned(), value.trim().to_owned()));
        }
        for (key, flag, value) in named {
            flags.extend(value.map(|value| (flag.to_owned(), key.to_owned(), value)));
        }
        let environment = std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
        let environment = environment.map(|(name, value)| (name, value.to_string_lossy().into_owned())).collect();
        Ok(Layers { file: self.config, environment, flags })
    }
}
