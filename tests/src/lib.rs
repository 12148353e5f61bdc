//! A real server for whole-system tests: started on free ports over a data directory of its own, stopped on every way out.
//!
//! Start reading at [`Server::start`].

pub mod postgres;
pub mod raw;

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant, SystemTime};

use tokio_postgres::{Client, NoTls};

/// Longest time that a start may take before the test fails.
const START_MAX: Duration = Duration::from_secs(60);

/// A server process.
pub struct Server {
    child: Child,
    /// Port of the PostgreSQL wire on 127.0.0.1.
    pub port: u16,
    /// Port of HTTP on 127.0.0.1.
    pub http_port: u16,
    /// Its data directory.
    pub data: PathBuf,
    /// What the server wrote to stderr so far.
    log: std::sync::Arc<std::sync::Mutex<String>>,
}

/// How a server is started.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// `--set key=value`.
    pub settings: Vec<String>,
    /// Environment, such as `FAILPOINTS`.
    pub environment: Vec<(String, String)>,
    /// The port for other dnodes, which must stay the same over restarts in a cluster; None: any.
    pub rpc_port: Option<u16>,
}

impl Options {
    /// With one more `--set`.
    #[must_use]
    pub fn set(mut self, setting: &str) -> Self {
        self.settings.push(setting.to_owned());
        self
    }

    /// As a dnode with this port for others, which joins the one at `first`; none: it founds the cluster.
    #[must_use]
    pub fn dnode(mut self, rpc_port: u16, first: Option<u16>) -> Self {
        self.rpc_port = Some(rpc_port);
        match first {
            Some(first) => self.set(&format!("first_ep=127.0.0.1:{first}")),
            None => self,
        }
    }

    /// With one more environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// The folder of the project.
///
/// # Panics
///
/// Never: this crate lies in it.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests lies in the workspace").to_owned()
}

/// The server's binary, beside the test's own.
///
/// # Panics
///
/// If it was not built, or something was changed since: `make test` builds it first, `cargo test --test cases` does not.
#[must_use]
pub fn binary() -> PathBuf {
    let own = std::env::current_exe().expect("a test has a path");
    let profile = own.ancestors().find(|folder| folder.join("deps").is_dir()).expect("tests lie in the target folder");
    let binary = profile.join("marigraph");
    assert!(binary.exists(), "{} is not there: run `make test`, or build the server first", binary.display());
    let built = std::fs::metadata(&binary).and_then(|binary| binary.modified()).expect("it has a time");
    for room in ["server/src", "sql/src", "cluster/src", "storage/src", "storage/model/src"] {
        if let Some(newer) = changed_since(&root().join(room), built) {
            panic!("{} is newer than the server's binary: add `--test cli`, which builds it", newer.display());
        }
    }
    binary
}

/// A source file that was changed after `built`, if there is one. Tests are no part of the binary.
fn changed_since(folder: &Path, built: SystemTime) -> Option<PathBuf> {
    std::fs::read_dir(folder).ok()?.flatten().find_map(|entry| {
        let path = entry.path();
        let test = path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with("test"));
        if path.is_dir() {
            return if test { None } else { changed_since(&path, built) };
        }
        let source = path.extension().is_some_and(|extension| extension == "rs");
        let changed = entry.metadata().and_then(|file| file.modified()).is_ok_and(|changed| changed > built);
        (source && changed && !test).then_some(path)
    })
}

/// A port that is free now.
///
/// # Panics
///
/// If the machine has none.
#[must_use]
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    listener.local_addr().expect("a listener has an address").port()
}

impl Server {
    /// Starts a server over `data` and waits until it takes connections.
    ///
    /// # Panics
    ///
    /// If it does not come up: the message holds its log.
    pub async fn start(data: &Path, options: &Options) -> Self {
        let mut server = Self::spawn(data, options);
        let start = Instant::now();
        loop {
            if let Some(status) = server.child.try_wait().expect("a child can be waited for") {
                panic!("the server ended with {status}:\n{}", server.log());
            }
            if server.try_connect("postgres").await.is_ok() {
                return server;
            }
            assert!(start.elapsed() < START_MAX, "the server is not ready after {START_MAX:?}:\n{}", server.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Starts a server over `data` without waiting.
    ///
    /// # Panics
    ///
    /// If the process cannot be made.
    #[must_use]
    pub fn spawn(data: &Path, options: &Options) -> Self {
        let (port, http_port) = (free_port(), free_port());
        let rpc = options.rpc_port.unwrap_or_else(free_port);
        let mut command = Command::new(binary());
        command
            .args(["serve", "--data-dir"])
            .arg(data)
            .args(["--pg-listen", &format!("127.0.0.1:{port}")])
            .args(["--rpc-listen", &format!("127.0.0.1:{rpc}")])
            .args(["--http-listen", &format!("127.0.0.1:{http_port}")])
            .args(options.settings.iter().flat_map(|setting| ["--set", setting]))
            .envs(options.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("the server's binary can be run");
        let log = std::sync::Arc::new(std::sync::Mutex::new(String::new()));
        let (stderr, kept) = (child.stderr.take().expect("stderr is piped"), log.clone());
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let mut log = kept.lock().expect("nobody panics with the log");
                log.push_str(&line);
                log.push('\n');
            }
        });
        Self { child, port, http_port, data: data.to_owned(), log }
    }

    /// What the server wrote to stderr so far.
    ///
    /// # Panics
    ///
    /// Never.
    #[must_use]
    pub fn log(&self) -> String {
        self.log.lock().expect("nobody panics with the log").clone()
    }

    /// A connection as root.
    ///
    /// # Errors
    ///
    /// What the server or the socket says.
    pub async fn try_connect(&self, database: &str) -> Result<Client, tokio_postgres::Error> {
        let config = format!("host=127.0.0.1 port={} user=root dbname={database}", self.port);
        let (client, connection) = tokio_postgres::connect(&config, NoTls).await?;
        // It ends with the client, or with the server.
        tokio::spawn(connection);
        Ok(client)
    }

    /// A connection as root.
    ///
    /// # Panics
    ///
    /// If the server does not take it.
    pub async fn connect(&self, database: &str) -> Client {
        self.try_connect(database).await.unwrap_or_else(|error| panic!("{error:?}\n{}", self.log()))
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// kill -9.
    ///
    /// # Panics
    ///
    /// If the process cannot be waited for.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        self.child.wait().expect("a child can be waited for");
    }

    /// Sends a signal, such as `STOP`.
    ///
    /// # Panics
    ///
    /// If the process is gone.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args([&format!("-{name}"), &self.pid().to_string()]).status();
        assert!(status.expect("kill can be run").success());
    }

    /// Waits for the process to end by itself.
    ///
    /// # Panics
    ///
    /// If it does not within `longest`.
    pub async fn wait(&mut self, longest: Duration) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                return status;
            }
            assert!(start.elapsed() < longest, "the server still runs after {longest:?}:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// SIGTERM, and the exit status.
    ///
    /// # Panics
    ///
    /// If the process does not end within 15 s.
    pub async fn stop(&mut self) -> ExitStatus {
        self.signal("TERM");
        self.wait(Duration::from_secs(15)).await
    }

    /// Resident memory in bytes.
    ///
    /// # Panics
    ///
    /// If the process is gone.
    #[must_use]
    pub fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("the server runs");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("the kernel tells");
        let kib: u64 = line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number");
        kib * 1024
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The first column of every row of a query, as text.
///
/// # Panics
///
/// If the query fails.
pub async fn column(client: &Client, sql: &str) -> Vec<String> {
    let messages = client.simple_query(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    messages
        .iter()
        .filter_map(|message| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or("NULL").to_owned()),
            _ => None,
        })
        .collect()
}

/// The SQLSTATE that a statement fails with.
///
/// # Panics
///
/// If it does not fail, or not by the server's word.
pub async fn sqlstate(client: &Client, sql: &str) -> String {
    let error = client.simple_query(sql).await.map(|_| ()).expect_err(sql);
    error.code().unwrap_or_else(|| panic!("{sql}: {error:?}")).code().to_owned()
}
