//! The servers under test that speak PostgreSQL's protocol: ours and PostgreSQL 15, each over a folder of its own.

use tempfile::TempDir;
use tests::postgres::Postgres;
use tests::{Options, Server};
use tokio_postgres::Client;

use crate::arguments::Arguments;
use crate::cpu;
use crate::data::{Dialect, Source};

/// Our database.
pub(crate) const DATABASE: &str = "bench";

/// A server of ours and its data directory.
pub(crate) struct Ours {
    pub(crate) server: Server,
    folder: TempDir,
    options: Options,
}

impl Ours {
    /// Starts a server with the settings that were asked for, and makes the database; data of 2016 needs its KEEP.
    pub(crate) async fn start(arguments: &Arguments, database_options: &str) -> Self {
        Self::start_with(arguments, database_options, &[]).await
    }

    /// The same with more `--set`; what the command line says comes last.
    pub(crate) async fn start_with(arguments: &Arguments, database_options: &str, settings: &[String]) -> Self {
        let mut options = Options::default();
        for setting in settings.iter().chain(&arguments.settings) {
            options = options.set(setting);
        }
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let server = Server::start(folder.path(), &options).await;
        let ours = Self { server, folder, options };
        ours.create(arguments, database_options).await;
        ours
    }

    async fn create(&self, arguments: &Arguments, database_options: &str) {
        let vgroups = arguments.vgroups;
        let create = format!("CREATE DATABASE {DATABASE} KEEP 36500 VGROUPS {vgroups} {database_options}");
        let admin = self.server.connect("postgres").await;
        admin.batch_execute(&create).await.unwrap_or_else(|error| panic!("{create}: {error:?}"));
    }

    /// Throws the database away and makes an empty one.
    pub(crate) async fn anew(&self, arguments: &Arguments, database_options: &str) {
        let admin = self.server.connect("postgres").await;
        admin.batch_execute(&format!("DROP DATABASE {DATABASE}")).await.expect("it is there");
        self.create(arguments, database_options).await;
    }

    pub(crate) async fn subject(&self, name: &str, clients: usize) -> Subject {
        let mut connections = Vec::new();
        for _ in 0..clients {
            connections.push(self.server.connect(DATABASE).await);
        }
        let (port, pid) = (self.server.port, self.server.pid());
        Subject { name: name.to_owned(), dialect: Dialect::Ours, connections, port, pid }
    }

    /// Bytes of runs and what belongs to them, without the log.
    pub(crate) fn data_bytes(&self) -> u64 {
        cpu::folder_bytes(&self.folder.path().join("vnode"))
    }

    /// Starts it again over the same folder, after [`Server::stop`] or [`Server::kill`].
    pub(crate) async fn restart(&mut self) {
        self.server = Server::start(self.folder.path(), &self.options).await;
    }
}

/// PostgreSQL as it is installed, with a connection for each client.
pub(crate) async fn postgres_subject(postgres: &Postgres, name: &str, clients: usize) -> Subject {
    let mut connections = Vec::new();
    for _ in 0..clients {
        connections.push(postgres.connect().await);
    }
    let (port, pid) = (postgres.port, postgres.pid());
    Subject { name: name.to_owned(), dialect: Dialect::Postgres, connections, port, pid }
}

/// A server as a load or a query sees it.
pub(crate) struct Subject {
    pub(crate) name: String,
    pub(crate) dialect: Dialect,
    /// One for each client; queries take the first.
    pub(crate) connections: Vec<Client>,
    pub(crate) port: u16,
    pub(crate) pid: u32,
}

impl Subject {
    pub(crate) fn client(&self) -> &Client {
        &self.connections[0]
    }

    pub(crate) const fn database(&self) -> &'static str {
        if matches!(self.dialect, Dialect::Ours) { DATABASE } else { "postgres" }
    }

    pub(crate) async fn run(&self, sql: &str) {
        let shown: String = sql.chars().take(300).collect();
        self.client().batch_execute(sql).await.unwrap_or_else(|error| panic!("{}: {shown}: {error:?}", self.name));
    }

    /// Makes the tables of a source, in place of those of the same name.
    pub(crate) async fn make_tables(&self, source: &dyn Source) {
        for table in source.tables() {
            if self.dialect == Dialect::Postgres {
                self.run(&format!(
                    "DROP TABLE IF EXISTS {}{}",
                    table.name,
                    if table.tags_apart { ", tags" } else { "" }
                ))
                .await;
            }
            for sql in table.schema(self.dialect) {
                self.run(&sql).await;
            }
            if self.dialect == Dialect::Ours {
                for sql in table.children() {
                    self.run(&sql).await;
                }
            }
        }
    }

    /// Everything to disk, and merged, before queries are timed.
    pub(crate) async fn settle(&self) {
        if self.dialect == Dialect::Ours {
            self.run(&format!("FLUSH DATABASE {DATABASE}")).await;
            self.run(&format!("COMPACT DATABASE {DATABASE}")).await;
        } else {
            self.run("VACUUM ANALYZE").await;
        }
    }

    /// A single number that a query gives.
    pub(crate) async fn number(&self, sql: &str) -> f64 {
        let values = tests::column(self.client(), sql).await;
        values
            .first()
            .and_then(|value| value.parse().ok())
            .unwrap_or_else(|| panic!("{}: {sql} gives no number", self.name))
    }
}
