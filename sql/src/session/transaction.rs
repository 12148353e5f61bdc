//! Transactions: writes are held in the session and proposed at COMMIT; the session's own reads see them.
//!
//! One statement alone is not held. Several in one message, or a pipeline up to Sync, are one implicit transaction.
//! A COMMIT is atomic per vgroup, not across: what a client is told when vgroups differ is [`Outcome::total`]'s.
//!
//! [`Outcome::total`]: model::write::Outcome::total

use std::sync::Arc;

use datafusion::execution::memory_pool::MemoryReservation;
use model::write::{Change, Effect, Overlay, WriteBatch};
use model::{DataPlane, DatabaseId, Result, Suid, error, fail};

use super::{Settings, TransactionStatus};

/// Most bytes that one transaction holds before it is refused with 53200.
pub const HELD_BYTES_MAX: usize = 256 << 20;

/// The transaction of a session.
pub(crate) struct Transaction {
    state: State,
    held: Vec<Held>,
    bytes: usize,
    /// What of the process's memory is held, as [`Self::bytes`] says.
    reserved: MemoryReservation,
    savepoints: Vec<Savepoint>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum State {
    /// Each statement is on its own.
    #[default]
    None,
    /// Several statements of one message or pipeline.
    Implicit,
    /// After BEGIN.
    Block,
    /// After BEGIN and an error.
    Failed,
}

struct Held {
    database: DatabaseId,
    change: Arc<Change>,
}

struct Savepoint {
    name: String,
    held: usize,
    bytes: usize,
    /// The settings when it was made.
    settings: Arc<Settings>,
    /// Cursors from this number on were declared behind it.
    first_cursor: u64,
}

impl Transaction {
    /// None yet; `reserved` is for what it will hold.
    pub(crate) fn new(reserved: MemoryReservation) -> Self {
        Self { state: State::None, held: Vec::new(), bytes: 0, reserved, savepoints: Vec::new() }
    }

    pub(crate) fn status(&self) -> TransactionStatus {
        match self.state {
            State::None | State::Implicit => TransactionStatus::Idle,
            State::Block => TransactionStatus::InBlock,
            State::Failed => TransactionStatus::Failed,
        }
    }

    /// Whether writes are held rather than proposed at once.
    pub(crate) fn holds(&self) -> bool {
        self.state != State::None
    }

    /// Whether BEGIN was said.
    pub(crate) fn is_block(&self) -> bool {
        matches!(self.state, State::Block | State::Failed)
    }

    /// BEGIN. False if there was a block already.
    pub(crate) fn begin(&mut self) -> bool {
        let fresh = !self.is_block();
        if fresh {
            self.state = State::Block;
        }
        fresh
    }

    pub(crate) fn begin_implicit(&mut self) {
        if self.state == State::None {
            self.state = State::Implicit;
        }
    }

    /// An error happened: a block fails until ROLLBACK, an implicit transaction is over.
    pub(crate) fn fail(&mut self) {
        match self.state {
            State::Block => {
                self.state = State::Failed;
                if self.savepoints.is_empty() {
                    self.discard();
                }
            }
            State::Implicit => self.clear(),
            State::None | State::Failed => {}
        }
    }

    /// Forgets everything that is held and leaves the transaction.
    pub(crate) fn clear(&mut self) {
        self.discard();
        self.savepoints.clear();
        self.state = State::None;
    }

    fn discard(&mut self) {
        self.held.clear();
        self.bytes = 0;
        self.reserved.free();
    }

    /// Holds `batch` until COMMIT.
    ///
    /// # Errors
    ///
    /// `OutOfMemory` beyond [`HELD_BYTES_MAX`], or if all transactions together hold more than their share of the memory.
    pub(crate) fn hold(&mut self, batch: WriteBatch) -> Result<()> {
        let bytes = batch.bytes();
        if self.bytes + bytes > HELD_BYTES_MAX {
            fail!(OutOfMemory, "the transaction holds more than {} MiB of writes", HELD_BYTES_MAX >> 20);
        }
        self.reserved.try_grow(bytes).map_err(|fault| {
            error!(OutOfMemory, "open transactions hold more writes than there is memory for")
                .with_detail(fault.strip_backtrace())
                .with_hint("Commit smaller parts, or give the server more memory (setting memory)")
        })?;
        self.bytes += bytes;
        let database = batch.database;
        self.held.extend(batch.changes.into_iter().map(|change| Held { database, change: Arc::new(change) }));
        Ok(())
    }

    /// What this transaction's reads of `suid` must see beside what is stored.
    pub(crate) fn overlay(&self, suid: Suid) -> Overlay {
        let of = |held: &&Held| match held.change.as_ref() {
            Change::Rows(rows) => rows.suid == suid,
            Change::DeleteRange { suid: of, .. } | Change::DeleteKeys { suid: of, .. } => *of == suid,
            _ => false,
        };
        self.held.iter().filter(of).map(|held| held.change.clone()).collect()
    }

    /// Whether any write is held.
    pub(crate) fn is_dirty(&self) -> bool {
        !self.held.is_empty()
    }

    /// Proposes everything that is held and leaves the transaction.
    ///
    /// # Errors
    ///
    /// The first refused or unknown share's. The transaction is over all the same.
    pub(crate) async fn commit(&mut self, plane: &dyn DataPlane) -> Result<Effect> {
        let held = std::mem::take(&mut self.held);
        // Given back when all of it is written.
        let _reserved = self.reserved.take();
        self.clear();
        let mut batches: Vec<WriteBatch> = Vec::new();
        for Held { database, change } in held {
            let change = Arc::unwrap_or_clone(change);
            match batches.iter_mut().find(|batch| batch.database == database) {
                Some(batch) => batch.changes.push(change),
                None => batches.push(WriteBatch { database, changes: vec![change] }),
            }
        }
        let mut total = Effect::default();
        for batch in batches {
            let effect = plane.write(batch).await?.total()?;
            total.written += effect.written;
            total.deleted += effect.deleted;
        }
        Ok(total)
    }

    pub(crate) fn savepoint(&mut self, name: String, settings: Arc<Settings>, first_cursor: u64) {
        let (held, bytes) = (self.held.len(), self.bytes);
        self.savepoints.push(Savepoint { name, held, bytes, settings, first_cursor });
    }

    /// The settings at the last savepoint.
    pub(crate) fn last_savepoint(&self) -> Option<Arc<Settings>> {
        self.savepoints.last().map(|savepoint| savepoint.settings.clone())
    }

    /// Whether a savepoint stands.
    pub(crate) fn is_nested(&self) -> bool {
        !self.savepoints.is_empty()
    }

    /// ROLLBACK TO: forgets what was held since, and a failed block goes on. Gives the settings of then and the number of
    /// the first cursor that goes.
    ///
    /// # Errors
    ///
    /// `InvalidSavepoint` for an unknown name.
    pub(crate) fn rollback_to(&mut self, name: &str) -> Result<(Arc<Settings>, u64)> {
        let at = self.find_savepoint(name)?;
        self.savepoints.truncate(at + 1);
        let savepoint = &self.savepoints[at];
        self.held.truncate(savepoint.held);
        self.bytes = savepoint.bytes;
        self.reserved.resize(self.bytes);
        self.state = State::Block;
        Ok((savepoint.settings.clone(), savepoint.first_cursor))
    }

    /// RELEASE: keeps what was held since. Gives the settings of then.
    ///
    /// # Errors
    ///
    /// `InvalidSavepoint` for an unknown name.
    pub(crate) fn release(&mut self, name: &str) -> Result<Arc<Settings>> {
        let at = self.find_savepoint(name)?;
        let settings = self.savepoints[at].settings.clone();
        self.savepoints.truncate(at);
        Ok(settings)
    }

    fn find_savepoint(&self, name: &str) -> Result<usize> {
        let at = self.savepoints.iter().rposition(|savepoint| savepoint.name == name);
        at.ok_or_else(|| error!(InvalidSavepoint, "savepoint \"{name}\" does not exist"))
    }
}
