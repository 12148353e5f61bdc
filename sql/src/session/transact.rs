//! Where transactions begin and end: BEGIN, COMMIT, savepoints, and what each end means for settings and cursors.
//!
//! Every statement is in a transaction: a block, the implicit one of a message or pipeline, or one of its own. Each
//! begins in [`Session::start_transaction`] and ends in [`Session::end_transaction`].

use std::sync::Arc;

use model::{Result, fail};

use super::{Notice, Session, TransactionStatus};
use crate::statement::{Other, Parsed, Statement, TransactionModes};

impl Session {
    /// An error was sent to the client: a block fails, any other transaction is over and nothing of it is written.
    pub fn fail(&mut self) {
        // Rows since the last savepoint, at most: one settles what came before it.
        self.open = None;
        self.transaction.fail();
        if !self.transaction.is_block() {
            self.end_transaction(false);
            return;
        }
        // What was set since the last savepoint is gone at once.
        match self.transaction.last_savepoint() {
            Some(before) => self.settings.restore(before),
            None => self.settings.restore(self.before.clone()),
        }
    }

    /// A statement follows whose outcome the client hears together with that of others: they are one transaction.
    /// After a COMMIT or ROLLBACK among them another one begins.
    pub fn begin_implicit(&mut self) {
        if !self.transaction.holds() {
            self.transaction.begin_implicit();
            self.start_transaction();
        }
    }

    /// The end of a message or pipeline. Outside a block it writes what is held.
    ///
    /// # Errors
    ///
    /// What the write gives; the transaction is over all the same.
    pub async fn end_implicit(&mut self) -> Result<()> {
        if self.transaction.is_block() {
            return Ok(());
        }
        let committed = match self.settle().await {
            Ok(()) => self.transaction.commit(&*self.engine.plane).await.map(drop),
            Err(error) => Err(error),
        };
        if committed.is_err() {
            self.transaction.clear();
        }
        self.end_transaction(committed.is_ok());
        committed
    }

    pub(super) fn begin_statement(&mut self, parsed: &Parsed) {
        // The text of an INSERT may be megabytes, and only the general grammar's way asks for it.
        if !matches!(parsed.statement, Statement::InsertUnread | Statement::InsertValues) {
            self.text = Arc::from(parsed.text.as_str());
        }
        if !self.transaction.holds() {
            self.start_transaction();
        }
    }

    fn start_transaction(&mut self) {
        self.settings.end_transaction();
        self.before = self.settings.now();
        self.first_cursor = self.cursors_declared;
        self.now_us = Some(super::wall_us());
    }

    /// What a transaction leaves behind: SET LOCAL and cursors end with it; without `kept` nothing of it remains.
    fn end_transaction(&mut self, kept: bool) {
        let first = self.first_cursor;
        self.cursors.retain(|_, cursor| cursor.hold && (kept || cursor.number < first));
        if !kept {
            self.settings.restore(self.before.clone());
        }
        self.settings.end_transaction();
        self.before = self.settings.now();
        self.first_cursor = self.cursors_declared;
        self.now_us = None;
    }

    /// The end of a statement that was a transaction of its own.
    pub(super) fn end_statement(&mut self) {
        if !self.transaction.holds() {
            self.settings.end_transaction();
            self.before = self.settings.now();
            self.first_cursor = self.cursors_declared;
        }
    }

    pub(super) async fn transact(&mut self, statement: Statement) -> Result<String> {
        match statement {
            Statement::Begin { modes, start } => {
                if !self.transaction.begin() {
                    self.warn("25001", "there is already a transaction in progress");
                }
                self.characterise(&modes)?;
                Ok(if start { "START TRANSACTION" } else { "BEGIN" }.to_owned())
            }
            Statement::Commit { chain } => self.commit(chain).await,
            Statement::Rollback { chain } => {
                self.check_end("ROLLBACK", chain)?;
                self.roll_back(chain)
            }
            Statement::SetTransaction { modes, session } => self.set_transaction(&modes, session),
            Statement::Savepoint(name) => {
                self.in_block("SAVEPOINT")?;
                self.transaction.savepoint(name, self.settings.now(), self.cursors_declared);
                self.settings.nested(true, None);
                Ok("SAVEPOINT".to_owned())
            }
            Statement::Release(name) => {
                self.in_block("RELEASE SAVEPOINT")?;
                let before = self.transaction.release(&name)?;
                self.settings.nested(self.transaction.is_nested(), Some(before.is_read_only()));
                Ok("RELEASE".to_owned())
            }
            Statement::RollbackTo(name) => {
                self.in_block("ROLLBACK TO SAVEPOINT")?;
                let (settings, first) = self.transaction.rollback_to(&name)?;
                self.settings.restore(settings);
                self.settings.nested(true, None);
                self.cursors.retain(|_, cursor| cursor.number < first);
                Ok("ROLLBACK".to_owned())
            }
            other => fail!(InternalError, "{other:?} is no transaction statement"),
        }
    }

    async fn commit(&mut self, chain: bool) -> Result<String> {
        if self.status() == TransactionStatus::Failed {
            return self.roll_back(chain);
        }
        self.check_end("COMMIT", chain)?;
        let modes = self.characteristics();
        let committed = self.transaction.commit(&*self.engine.plane).await;
        self.end_transaction(committed.is_ok());
        committed?;
        self.chain(chain, modes)?;
        Ok("COMMIT".to_owned())
    }

    fn roll_back(&mut self, chain: bool) -> Result<String> {
        let modes = self.characteristics();
        self.transaction.clear();
        self.end_transaction(false);
        self.chain(chain, modes)?;
        Ok("ROLLBACK".to_owned())
    }

    /// A transaction that nobody began can be ended, with a warning, but not be followed by another like it.
    fn check_end(&mut self, what: &str, chain: bool) -> Result<()> {
        if self.transaction.is_block() {
            return Ok(());
        }
        if chain {
            fail!(NoActiveSqlTransaction, "{what} AND CHAIN can only be used in transaction blocks");
        }
        self.warn("25P01", "there is no transaction in progress");
        Ok(())
    }

    /// What AND CHAIN hands on.
    fn characteristics(&self) -> Vec<(&'static str, String)> {
        let settings = self.settings.now();
        let of = |name| (name, settings.get(name).unwrap_or_default().to_owned());
        vec![of("transaction_isolation"), of("transaction_read_only"), of("transaction_deferrable")]
    }

    fn chain(&mut self, chain: bool, modes: Vec<(&'static str, String)>) -> Result<()> {
        if !chain {
            return Ok(());
        }
        self.start_transaction();
        self.transaction.begin();
        self.settings.change(|settings| modes.iter().try_for_each(|(name, value)| settings.set(name, value, true)))?;
        // What was inherited is what an error comes back to.
        self.before = self.settings.now();
        Ok(())
    }

    fn characterise(&mut self, modes: &TransactionModes) -> Result<()> {
        if modes.is_empty() {
            return Ok(());
        }
        self.settings.change(|settings| modes.iter().try_for_each(|(name, value)| settings.set(name, value, true)))
    }

    fn set_transaction(&mut self, modes: &TransactionModes, session: bool) -> Result<String> {
        if session {
            self.settings.change(|settings| {
                modes.iter().try_for_each(|(name, value)| settings.set(&format!("default_{name}"), value, false))
            })?;
        } else if self.transaction.holds() {
            self.characterise(modes)?;
        } else {
            self.warn("25P01", "SET TRANSACTION can only be used in transaction blocks");
        }
        Ok("SET".to_owned())
    }

    fn in_block(&self, what: &str) -> Result<()> {
        if !self.transaction.is_block() {
            fail!(NoActiveSqlTransaction, "{what} can only be used in transaction blocks");
        }
        Ok(())
    }

    pub(super) fn warn(&mut self, code: &'static str, message: &str) {
        self.notices.push(Notice { severity: "WARNING", code, message: message.to_owned() });
    }

    pub(super) fn refuse_in_failed(&self, statement: &Statement) -> Result<()> {
        let allowed = matches!(
            statement,
            Statement::Commit { .. } | Statement::Rollback { .. } | Statement::RollbackTo(_) | Statement::Empty
        );
        if self.status() == TransactionStatus::Failed && !allowed {
            fail!(
                InFailedSqlTransaction,
                "current transaction is aborted, commands ignored until end of transaction block"
            );
        }
        Ok(())
    }

    /// Refuses to write in a transaction that only reads, and notes that the transaction has begun to work.
    pub(super) fn enter(&self, statement: &Statement) -> Result<()> {
        if let Some(command) = super::read_only::writes(statement)
            && self.settings.now().is_read_only()
        {
            fail!(ReadOnlySqlTransaction, "cannot execute {command} in a read-only transaction");
        }
        if self.transaction.holds() && works(statement) {
            self.settings.queried();
        }
        Ok(())
    }
}

/// Whether a statement looks at data: from then on the transaction's isolation is decided.
fn works(statement: &Statement) -> bool {
    !matches!(
        statement,
        Statement::Empty
            | Statement::Set { .. }
            | Statement::Reset(_)
            | Statement::ShowSetting(_)
            | Statement::SetTransaction { .. }
            | Statement::Begin { .. }
            | Statement::Commit { .. }
            | Statement::Rollback { .. }
            | Statement::Savepoint(_)
            | Statement::Release(_)
            | Statement::RollbackTo(_)
            | Statement::Fetch { .. }
            | Statement::Close(_)
            | Statement::Deallocate(_)
            | Statement::Discard(_)
            | Statement::Accepted(_)
            | Statement::Other(Other::Refuse(_))
    )
}
