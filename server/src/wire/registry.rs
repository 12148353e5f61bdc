//! Who is connected and what it does: process ids and secret keys for cancel requests, and the cap on connections.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use model::{Result, error};
use parking_lot::Mutex;
use sql::catalogs::{Connection, Observer};
use sql::session::{Login, TransactionStatus};
use tokio::sync::Notify;

/// Most bytes of a statement that are shown to others, as PostgreSQL's `track_activity_query_size`.
const SHOWN_BYTES_MAX: usize = 1024;

const NOTHING: u8 = 0;
const CANCEL: u8 = 1;
const TERMINATE: u8 = 2;

/// What somebody else wants of a connection.
#[derive(Default)]
pub(crate) struct Cancel {
    asked: AtomicU8,
    notify: Notify,
}

impl Cancel {
    fn ask(&self, what: u8) {
        self.asked.fetch_max(what, Ordering::AcqRel);
        self.notify.notify_waiters();
    }

    /// Forgets requests to cancel that came while nothing ran.
    pub(crate) fn clear(&self) {
        let _ = self.asked.compare_exchange(CANCEL, NOTHING, Ordering::AcqRel, Ordering::Acquire);
    }

    /// Waits for a request to stop the statement.
    pub(crate) async fn asked(&self) {
        self.wait_for(CANCEL).await;
    }

    /// Waits for a request to end the connection.
    pub(crate) async fn terminated(&self) {
        self.wait_for(TERMINATE).await;
    }

    async fn wait_for(&self, what: u8) {
        loop {
            let notified = self.notify.notified();
            if self.asked.load(Ordering::Acquire) == what {
                return;
            }
            notified.await;
        }
    }
}

/// What a connection does, for others to see.
#[derive(Default)]
pub(crate) struct Activity(Mutex<Connection>);

impl Activity {
    /// A session has begun.
    pub(crate) fn logged_in(&self, login: &Login) {
        let mut shown = self.0.lock();
        let application = login.parameters.iter().find(|(name, _)| name == "application_name");
        *shown = Connection {
            backend: login.backend,
            user: login.user.clone(),
            database: login.database.clone(),
            application: application.map(|(_, value)| value.clone()).unwrap_or_default(),
            address: login.address.clone(),
            login_ms: now_ms(),
            query_ms: now_ms(),
            query: String::new(),
            state: "idle",
        };
    }

    /// A statement begins.
    pub(crate) fn works(&self, query: &str) {
        let end = (0..=query.len().min(SHOWN_BYTES_MAX)).rev().find(|at| query.is_char_boundary(*at));
        let mut shown = self.0.lock();
        shown.query.clear();
        shown.query.push_str(&query[..end.unwrap_or(0)]);
        shown.query_ms = now_ms();
        shown.state = "active";
    }

    /// The connection waits for its client.
    pub(crate) fn rests(&self, status: TransactionStatus, database: &str) {
        let mut shown = self.0.lock();
        if shown.database != database {
            database.clone_into(&mut shown.database);
        }
        shown.state = match status {
            TransactionStatus::Idle => "idle",
            TransactionStatus::InBlock => "idle in transaction",
            TransactionStatus::Failed => "idle in transaction (aborted)",
        };
    }

    /// The client gave itself another name.
    pub(crate) fn renamed(&self, application: &str) {
        application.clone_into(&mut self.0.lock().application);
    }
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

struct Entry {
    secret: i32,
    cancel: Arc<Cancel>,
    activity: Arc<Activity>,
}

/// All connections that have logged in.
pub(crate) struct Registry {
    entries: Mutex<HashMap<i32, Entry>>,
    connections_max: usize,
}

/// One connection's place; leaving is dropping it.
pub(crate) struct Seat {
    registry: Arc<Registry>,
    /// Its process id on the wire.
    pub(crate) pid: i32,
    /// Its secret key.
    pub(crate) secret: i32,
    /// Its cancel request.
    pub(crate) cancel: Arc<Cancel>,
    /// What others see of it.
    pub(crate) activity: Arc<Activity>,
}

impl Registry {
    pub(crate) fn new(connections_max: usize) -> Self {
        Self { entries: Mutex::default(), connections_max }
    }

    /// Takes a place.
    ///
    /// # Errors
    ///
    /// `TooManyConnections` at the cap.
    pub(crate) fn enter(self: &Arc<Self>) -> Result<Seat> {
        let mut entries = self.entries.lock();
        if entries.len() >= self.connections_max {
            return Err(error!(TooManyConnections, "sorry, too many clients already")
                .with_hint("Close connections, or raise pg_connections_max."));
        }
        let pid = loop {
            let pid = rand::random_range(1..i32::MAX);
            if !entries.contains_key(&pid) {
                break pid;
            }
        };
        let (secret, cancel, activity) = (rand::random(), Arc::<Cancel>::default(), Arc::<Activity>::default());
        entries.insert(pid, Entry { secret, cancel: Arc::clone(&cancel), activity: Arc::clone(&activity) });
        metrics::gauge!("marigraph_pg_connections").set(entries.len() as f64);
        Ok(Seat { registry: Arc::clone(self), pid, secret, cancel, activity })
    }

    /// A cancel request. One with a wrong key is ignored, without a word to its sender.
    pub(crate) fn cancel(&self, pid: i32, secret: i32) {
        if let Some(entry) = self.entries.lock().get(&pid).filter(|entry| entry.secret == secret) {
            entry.cancel.ask(CANCEL);
        }
    }

    /// How many are connected.
    pub(crate) fn len(&self) -> usize {
        self.entries.lock().len()
    }
}

impl Observer for Registry {
    fn connections(&self) -> Vec<Connection> {
        let entries = self.entries.lock();
        let mut all: Vec<Connection> = entries.values().map(|entry| entry.activity.0.lock().clone()).collect();
        // One that has not logged in yet has no user.
        all.retain(|of| !of.user.is_empty());
        all.sort_by_key(|of| (of.login_ms, of.backend));
        all
    }

    fn signal(&self, backend: i32, terminate: bool) -> bool {
        let entries = self.entries.lock();
        let Some(entry) = entries.get(&backend) else { return false };
        entry.cancel.ask(if terminate { TERMINATE } else { CANCEL });
        true
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut entries = self.registry.entries.lock();
        entries.remove(&self.pid);
        metrics::gauge!("marigraph_pg_connections").set(entries.len() as f64);
    }
}
