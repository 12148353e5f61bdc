//! PostgreSQL 15 as the oracle: a cluster of its own in a temporary folder, stopped on every way out.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tokio_postgres::{Client, NoTls};

use crate::free_port;

/// A PostgreSQL server.
pub struct Postgres {
    child: Child,
    /// Port on 127.0.0.1; user `root`, no password.
    pub port: u16,
    folder: PathBuf,
}

/// Where `initdb` and `postgres` are: Debian keeps them off the PATH.
fn program(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let debian = ["/usr/lib/postgresql/15/bin"].map(PathBuf::from);
    let found = std::env::split_paths(&path).chain(debian).map(|folder| folder.join(name)).find(|file| file.is_file());
    found.unwrap_or_else(|| panic!("{name} of PostgreSQL 15 is not installed: `make test` installs it"))
}

/// A command as the user `postgres` where we are root, whom PostgreSQL refuses.
fn as_postgres(program: &Path) -> Command {
    let root = std::env::var("USER").is_ok_and(|user| user == "root") || is_root();
    if !root {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]).arg(program);
    command
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().expect("id can be run");
    id.stdout.trim_ascii() == b"0"
}

impl Postgres {
    /// Starts one and waits until it takes connections.
    ///
    /// # Panics
    ///
    /// If PostgreSQL is not there or does not come up.
    pub async fn start() -> Self {
        let folder = std::env::temp_dir().join(format!("marigraph-oracle-{}-{}", std::process::id(), free_port()));
        std::fs::create_dir(&folder).expect("a temporary folder can be made");
        if is_root() {
            let status = Command::new("chown").arg("postgres:postgres").arg(&folder).status();
            assert!(status.expect("chown can be run").success());
        }
        let data = folder.join("data");
        let made = as_postgres(&program("initdb"))
            .args(["-A", "trust", "-U", "root", "--no-sync", "-E", "UTF8", "--locale=C", "-D"])
            .arg(&data)
            .current_dir(&folder)
            .output()
            .expect("initdb can be run");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let port = free_port();
        let child = as_postgres(&program("postgres"))
            .arg("-D")
            .arg(&data)
            .args(["-h", "127.0.0.1", "-p", &port.to_string(), "-c", "timezone=UTC", "-k"])
            .arg(&folder)
            .current_dir(&folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("postgres can be run");
        let postgres = Self { child, port, folder };
        let start = Instant::now();
        while postgres.try_connect().await.is_err() {
            assert!(start.elapsed() < Duration::from_secs(60), "PostgreSQL does not come up");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        postgres
    }

    async fn try_connect(&self) -> Result<Client, tokio_postgres::Error> {
        let config = format!("host=127.0.0.1 port={} user=root dbname=postgres", self.port);
        let (client, connection) = tokio_postgres::connect(&config, NoTls).await?;
        // It ends with the client, or with the server.
        tokio::spawn(connection);
        Ok(client)
    }

    /// The process id of the postmaster.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A connection.
    ///
    /// # Panics
    ///
    /// If the server does not take it.
    pub async fn connect(&self) -> Client {
        self.try_connect().await.expect("PostgreSQL takes connections")
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // An immediate shutdown: the postmaster ends its children, which a kill -9 would leave behind.
        let _ = Command::new("kill").args(["-QUIT", &self.child.id().to_string()]).status();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
