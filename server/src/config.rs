//! What an operator may set: each setting is said once, in [`settings`], with its default, its comment and its check.
//!
//! Values come in layers: defaults, then a TOML file, then `MARIGRAPH_*` variables, then flags. Nothing unknown is
//! passed over, and every problem is told at once, with where it came from. Start reading at [`load`].

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use cluster::Settings;

use crate::budget::Budget;
use crate::size::Size;

/// Variables of the environment that are settings begin so.
const PREFIX: &str = "MARIGRAPH_";
/// Names the configuration file; not a setting itself.
const CONFIG_VARIABLE: &str = "MARIGRAPH_CONFIG";

/// A type that settings may have.
trait Kind: Sized {
    /// Reads a value as it stands on a command line.
    fn parse(text: &str) -> Result<Self, String>;
    /// As TOML.
    fn show(&self) -> String;
}

macro_rules! numbers {
    ($($number:ty)+) => { $(
        impl Kind for $number {
            fn parse(text: &str) -> Result<Self, String> {
                let digits = text.trim().replace('_', "");
                digits.parse().map_err(|_| format!("{text:?} is not a number from {} to {}", Self::MIN, Self::MAX))
            }

            fn show(&self) -> String {
                self.to_string()
            }
        }
    )+ };
}
numbers!(u32 u64 usize);

impl Kind for String {
    fn parse(text: &str) -> Result<Self, String> {
        Ok(text.to_owned())
    }

    fn show(&self) -> String {
        toml::Value::String(self.clone()).to_string()
    }
}

impl Kind for PathBuf {
    fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() { Err("a path must not be empty".to_owned()) } else { Ok(Self::from(text)) }
    }

    fn show(&self) -> String {
        toml::Value::String(self.display().to_string()).to_string()
    }
}

impl Kind for Size {
    fn parse(text: &str) -> Result<Self, String> {
        Self::parse(text)
    }

    fn show(&self) -> String {
        Self::show(*self)
    }
}

impl Kind for SocketAddr {
    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| format!("{text:?} is not an address with a port, such as 127.0.0.1:5433"))
    }

    fn show(&self) -> String {
        format!("\"{self}\"")
    }
}

/// One setting, as [`load`] and [`Config::print`] handle it.
struct Definition {
    key: &'static str,
    comment: &'static [&'static str],
    set: fn(&mut Config, &str) -> Result<(), String>,
    show: fn(&Config) -> String,
}

macro_rules! settings {
    ($($(#[doc = $comment:literal])+ $key:ident: $kind:ty = $default:expr;)+) => {
        /// Every setting of a process.
        #[derive(Clone, Debug, PartialEq)]
        pub(crate) struct Config {
            $($(#[doc = $comment])+ pub(crate) $key: $kind,)+
        }

        impl Default for Config {
            fn default() -> Self {
                Self { $($key: $default,)+ }
            }
        }

        const DEFINITIONS: &[Definition] = &[$(Definition {
            key: stringify!($key),
            comment: &[$($comment),+],
            set: |config, text| {
                config.$key = <$kind as Kind>::parse(text)?;
                Ok(())
            },
            show: |config| config.$key.show(),
        },)+];
    };
}

fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

settings! {
    /// Where everything is kept. One process at a time.
    data_dir: PathBuf = Settings::default().data_dir;
    /// Address of the PostgreSQL wire. Users without a password connect from loopback only.
    pg_listen: SocketAddr = address(5433);
    /// Address for other dnodes. Loopback only: what dnodes say to each other is not encrypted yet.
    rpc_listen: SocketAddr = address(6030);
    /// Address of /health and /metrics.
    http_listen: SocketAddr = address(6041);
    /// Which log lines go to stderr: a level, or target=level, … as in RUST_LOG.
    /// openraft tells of every message that a dead peer does not answer; this server tells of the peer, once.
    log: String = "warn,openraft=error,h2=error".to_owned();
    /// Most sessions at a time; the next client is refused with 53300.
    pg_connections_max: usize = 1000;
    /// Milliseconds that running statements have to end when the process is told to stop.
    drain_ms: u64 = 3_000;
    /// Memory of the process, as bytes (4GiB, 512MiB) or a share of the machine's or container's (50%). Memtables,
    /// caches, queries and statements under way have shares of it.
    memory: Size = Size::Percent(50);
    /// Memory of all running queries; sorts and aggregates spill to disk beyond it, others fail with 53200. auto: 30 %.
    query_memory_bytes: Size = Size::Auto;
    /// Disk that temporary files in data_dir/temp may take: bytes, or a share of what is free at the start. auto: half.
    temp_bytes: Size = Size::Auto;
    /// Parallelism of one query.
    query_partitions: usize = std::thread::available_parallelism().map_or(2, usize::from);
    /// host:port under which other dnodes reach this one, rpc_listen if empty; kept in the catalog from the founding on.
    endpoint: String = String::new();
    /// host:port of a dnode of the cluster to join, looked at with an empty data directory only. Empty: a new cluster.
    first_ep: String = Settings::default().first_ep;
    /// A secret that dnodes must share to join; empty: none.
    join_token: String = Settings::default().join_token;
    /// Replicas of the metadata that the cluster grows to as dnodes join: 1 or 3.
    num_of_mnodes: u32 = Settings::default().num_of_mnodes;
    /// Most vnodes that this dnode may carry.
    support_vnodes: u32 = Settings::default().support_vnodes;
    /// Milliseconds between two heartbeats of a leader.
    heartbeat_ms: u64 = Settings::default().heartbeat_ms;
    /// Least milliseconds without a heartbeat before an election.
    election_min_ms: u64 = Settings::default().election_min_ms;
    /// Most milliseconds without a heartbeat before an election.
    election_max_ms: u64 = Settings::default().election_max_ms;
    /// Rows in a vnode's memtable that make it flush.
    flush_rows: u64 = Settings::default().flush_rows;
    /// Milliseconds after which a memtable that holds rows is flushed.
    flush_interval_ms: u64 = Settings::default().flush_interval_ms;
    /// Memory of all memtables; beyond it the largest is flushed, and writers wait. auto: 25 % of memory.
    memtable_bytes: Size = Size::Auto;
    /// Memory of the block cache that all vnodes share. auto: 15 % of memory.
    cache_bytes: Size = Size::Auto;
    /// Threads that flush memtables.
    worker_threads: usize = Settings::default().worker_threads;
    /// Threads that merge runs, with low priority; the most merges at a time, COMPACT DATABASE included.
    merge_threads: usize = Settings::default().merge_threads;
    /// Bytes that merges read in a second while rows come in; less during flushes, more when idle or behind. 0: no limit.
    merge_bytes_per_second: u64 = Settings::default().merge_bytes_per_second;
    /// Milliseconds that a statement waits for a leader before it fails with 57P03.
    leader_wait_ms: u64 = Settings::default().leader_wait_ms;
    /// Milliseconds between two rounds of background work.
    background_ms: u64 = Settings::default().background_ms;
}

impl Config {
    /// The dnode's part, with its shares of the memory.
    pub(crate) fn dnode(&self, budget: &Budget) -> Settings {
        Settings {
            data_dir: self.data_dir.clone(),
            endpoint: if self.endpoint.is_empty() { self.rpc_listen.to_string() } else { self.endpoint.clone() },
            first_ep: self.first_ep.clone(),
            join_token: self.join_token.clone(),
            self_join: true,
            num_of_mnodes: self.num_of_mnodes,
            support_vnodes: self.support_vnodes,
            heartbeat_ms: self.heartbeat_ms,
            election_min_ms: self.election_min_ms,
            election_max_ms: self.election_max_ms,
            flush_rows: self.flush_rows,
            flush_interval_ms: self.flush_interval_ms,
            memtable_bytes: budget.memtables,
            cache_bytes: budget.block_cache,
            header_bytes: budget.headers,
            log_bytes: budget.log,
            worker_threads: self.worker_threads,
            merge_threads: self.merge_threads,
            merge_bytes_per_second: self.merge_bytes_per_second,
            leader_wait_ms: self.leader_wait_ms,
            background_ms: self.background_ms,
        }
    }

    /// A file that [`load`] reads back, with the comments.
    pub(crate) fn print(&self) -> String {
        let mut text =
            String::from("# The effective configuration of marigraph: defaults < file < MARIGRAPH_* < flags.\n");
        for definition in DEFINITIONS {
            text.push('\n');
            for line in definition.comment {
                let _ = writeln!(text, "#{line}");
            }
            let _ = writeln!(text, "{} = {}", definition.key, (definition.show)(self));
        }
        text
    }

    /// What no single setting can tell.
    fn check(&self, problems: &mut Vec<String>) {
        let mut wrong = |holds: bool, text: &str| {
            if !holds {
                problems.push(text.to_owned());
            }
        };
        wrong(
            self.rpc_listen.ip().is_loopback(),
            "rpc_listen must be a loopback address: what dnodes say to each other is not encrypted yet",
        );
        wrong(matches!(self.num_of_mnodes, 1 | 3), "num_of_mnodes must be 1 or 3");
        wrong(self.heartbeat_ms > 0, "heartbeat_ms must be at least 1");
        wrong(self.election_min_ms > self.heartbeat_ms, "election_min_ms must be greater than heartbeat_ms");
        wrong(self.election_max_ms > self.election_min_ms, "election_max_ms must be greater than election_min_ms");
        wrong(self.pg_connections_max > 0, "pg_connections_max must be at least 1");
        wrong(self.worker_threads > 0, "worker_threads must be at least 1");
        wrong(self.merge_threads > 0, "merge_threads must be at least 1");
        wrong(self.query_partitions > 0, "query_partitions must be at least 1");
        wrong(self.flush_rows > 0, "flush_rows must be at least 1");
        if let Err(fault) = Budget::here(self) {
            problems.push(fault);
        }
        if let Err(fault) = self.log.parse::<tracing_subscriber::EnvFilter>() {
            problems.push(format!("log: {fault}"));
        }
    }
}

/// The layers above the defaults.
#[derive(Debug, Default)]
pub(crate) struct Layers {
    /// The configuration file, if one was named.
    pub(crate) file: Option<PathBuf>,
    /// The environment: every variable.
    pub(crate) environment: BTreeMap<String, String>,
    /// Flags: where each came from (`--data-dir`, `--set x=y`), key, value.
    pub(crate) flags: Vec<(String, String, String)>,
}

/// The effective configuration.
///
/// # Errors
///
/// Every problem of every layer, each with where it came from.
pub(crate) fn load(layers: &Layers) -> Result<Config, Vec<String>> {
    let mut config = Config::default();
    let mut problems = Vec::new();
    let mut set = |from: &str, key: &str, text: &str, problems: &mut Vec<String>| {
        let key = spelled(key);
        match DEFINITIONS.iter().find(|definition| definition.key == key) {
            Some(definition) => {
                if let Err(fault) = (definition.set)(&mut config, text) {
                    problems.push(format!("{from}: {key}: {fault}"));
                }
            }
            None => problems.push(format!("{from}: unknown setting {key:?}{}", meant(&key))),
        }
    };
    let named = layers.file.clone().or_else(|| layers.environment.get(CONFIG_VARIABLE).map(PathBuf::from));
    if let Some(path) = named {
        for (key, text) in file(&path, &mut problems) {
            set(&path.display().to_string(), &key, &text, &mut problems);
        }
    }
    for (name, text) in &layers.environment {
        if let Some(key) = name.strip_prefix(PREFIX).filter(|_| name != CONFIG_VARIABLE) {
            set(&format!("environment variable {name}"), &key.to_ascii_lowercase(), text, &mut problems);
        }
    }
    for (from, key, text) in &layers.flags {
        set(from, key, text, &mut problems);
    }
    config.check(&mut problems);
    if problems.is_empty() { Ok(config) } else { Err(problems) }
}

/// TDengine's spelling of a setting is taken for ours.
fn spelled(key: &str) -> String {
    match key {
        "supportVnodes" => "support_vnodes".to_owned(),
        "dataDir" => "data_dir".to_owned(),
        "firstEp" => "first_ep".to_owned(),
        "numOfMnodes" => "num_of_mnodes".to_owned(),
        "fqdn" => "endpoint".to_owned(),
        other => other.replace('-', "_"),
    }
}

/// The keys and values of a TOML file; what is wrong with it goes to `problems`.
fn file(path: &Path, problems: &mut Vec<String>) -> Vec<(String, String)> {
    let name = path.display();
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(fault) => {
            problems.push(format!("{name}: cannot be read: {fault}"));
            return Vec::new();
        }
    };
    let table = match text.parse::<toml::Table>() {
        Ok(table) => table,
        Err(fault) => {
            problems.push(format!("{name}: {}", fault.to_string().trim_end()));
            return Vec::new();
        }
    };
    let mut values = Vec::new();
    for (key, value) in table {
        match value {
            toml::Value::String(text) => values.push((key, text)),
            toml::Value::Integer(number) => values.push((key, number.to_string())),
            toml::Value::Boolean(truth) => values.push((key, truth.to_string())),
            _ => problems.push(format!("{name}: {key} must be a string or an integer")),
        }
    }
    values
}

/// The setting whose name is nearest, if one is near.
fn meant(key: &str) -> String {
    let near = DEFINITIONS.iter().map(|definition| (distance(key, definition.key), definition.key)).min();
    match near {
        Some((distance, name)) if distance <= 3 => format!(", did you mean {name}?"),
        _ => ": `marigraph config` lists all".to_owned(),
    }
}

/// Edits from one word to another.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (at, a) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = at + 1;
        for (b, other) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(a != *other);
            diagonal = row[b + 1];
            row[b + 1] = replaced.min(row[b] + 1).min(diagonal + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(pairs: &[(&str, &str)]) -> Vec<(String, String, String)> {
        pairs.iter().map(|(key, text)| (format!("--set {key}"), (*key).to_owned(), (*text).to_owned())).collect()
    }

    #[test]
    fn a_later_layer_wins() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("m.toml");
        std::fs::write(&file, "flush_rows = 1\ncache_bytes = 1_000\nlog = 'info'\n").unwrap();
        let environment = BTreeMap::from([
            ("MARIGRAPH_FLUSH_ROWS".to_owned(), "2".to_owned()),
            ("MARIGRAPH_LOG".to_owned(), "debug".to_owned()),
            ("HOME".to_owned(), "/".to_owned()),
        ]);
        let layers = Layers { file: Some(file), environment, flags: flags(&[("flush_rows", "3")]) };
        let config = load(&layers).unwrap();
        assert_eq!((config.flush_rows, config.cache_bytes, config.log.as_str()), (3, Size::Bytes(1000), "debug"));
        assert_eq!(config.pg_listen, Config::default().pg_listen);
    }

    #[test]
    fn every_problem_is_told_at_once_with_its_place() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("m.toml");
        std::fs::write(&file, "flush_row = 1\n[pg]\nx = 1\n").unwrap();
        let environment = BTreeMap::from([("MARIGRAPH_NOSUCH_THING".to_owned(), "2".to_owned())]);
        let layers = Layers {
            file: Some(file.clone()),
            environment,
            flags: flags(&[("pg_listen", "nowhere"), ("election_max_ms", "1")]),
        };
        let problems = load(&layers).unwrap_err();
        assert_eq!(
            problems,
            [
                format!("{}: pg must be a string or an integer", file.display()),
                format!("{}: unknown setting \"flush_row\", did you mean flush_rows?", file.display()),
                "environment variable MARIGRAPH_NOSUCH_THING: unknown setting \"nosuch_thing\": `marigraph config` lists all"
                    .to_owned(),
                "--set pg_listen: pg_listen: \"nowhere\" is not an address with a port, such as 127.0.0.1:5433".to_owned(),
                "election_max_ms must be greater than election_min_ms".to_owned(),
            ]
        );
    }

    #[test]
    fn what_is_printed_is_read_back() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("m.toml");
        let config = Config { flush_rows: 77, data_dir: PathBuf::from("/a \"b\""), ..Config::default() };
        std::fs::write(&file, config.print()).unwrap();
        assert_eq!(load(&Layers { file: Some(file), ..Layers::default() }).unwrap(), config);
    }
}
