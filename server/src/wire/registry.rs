//! Who is connected: process ids and secret keys for cancel requests, and the cap on connections.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use model::{Result, error};
use parking_lot::Mutex;
use tokio::sync::Notify;

/// A statement of this connection is to stop.
#[derive(Default)]
pub(crate) struct Cancel {
    asked: AtomicBool,
    notify: Notify,
}

impl Cancel {
    fn ask(&self) {
        self.asked.store(true, Ordering::Release);
        self.notify.notify_waiters();
    }

    /// Forgets requests that came while nothing ran.
    pub(crate) fn clear(&self) {
        self.asked.store(false, Ordering::Release);
    }

    /// Waits for a request.
    pub(crate) async fn asked(&self) {
        loop {
            let notified = self.notify.notified();
            if self.asked.load(Ordering::Acquire) {
                return;
            }
            notified.await;
        }
    }
}

struct Entry {
    secret: i32,
    cancel: Arc<Cancel>,
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
        let (secret, cancel) = (rand::random(), Arc::new(Cancel::default()));
        entries.insert(pid, Entry { secret, cancel: Arc::clone(&cancel) });
        metrics::gauge!("marigraph_pg_connections").set(entries.len() as f64);
        Ok(Seat { registry: Arc::clone(self), pid, secret, cancel })
    }

    /// A cancel request. One with a wrong key is ignored, without a word to its sender.
    pub(crate) fn cancel(&self, pid: i32, secret: i32) {
        if let Some(entry) = self.entries.lock().get(&pid).filter(|entry| entry.secret == secret) {
            entry.cancel.ask();
        }
    }

    /// How many are connected.
    pub(crate) fn len(&self) -> usize {
        self.entries.lock().len()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut entries = self.registry.entries.lock();
        entries.remove(&self.pid);
        metrics::gauge!("marigraph_pg_connections").set(entries.len() as f64);
    }
}
