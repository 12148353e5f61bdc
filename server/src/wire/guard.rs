//! What can stop a running statement: a cancel request, `statement_timeout`, the client's leaving, the end of the
//! process, a panic. Stopping is dropping the statement's future.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt;
use model::{Error, error};
use tokio::io::AsyncRead;
use tokio::sync::watch;
use tokio::time::Instant;

use super::frame::{Gone, Input};
use super::registry::Cancel;

/// How far the end of the process has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Serving.
    Serving,
    /// Statements that run may end, new ones are not begun.
    Draining,
    /// Statements that run are stopped.
    Stopping,
}

/// Why a message was not carried out.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The statement failed; the session goes on.
    Error(Error),
    /// The connection ends with this message.
    Fatal(Error),
    /// The client is gone.
    Gone,
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl From<Gone> for Stop {
    fn from(_: Gone) -> Self {
        Self::Gone
    }
}

/// What watches over one connection's statements.
pub(crate) struct Guard {
    pub(crate) cancel: Arc<Cancel>,
    pub(crate) phase: watch::Receiver<Phase>,
    /// When the statement that runs has used up its time.
    pub(crate) deadline: Option<Instant>,
}

/// The end of the process, as a client is told of it.
pub(crate) fn shutting_down() -> Error {
    error!(AdminShutdown, "terminating connection due to administrator command")
}

impl Guard {
    /// Waits until the process has come to `phase`.
    pub(crate) async fn reached(&mut self, phase: Phase) {
        // An error says that the sender is gone, and then the process ends too.
        let _ = self.phase.wait_for(|now| *now >= phase).await;
    }

    /// Waits until the process has come to `phase`, or somebody ends this connection.
    pub(crate) async fn ended(&mut self, phase: Phase) {
        let cancel = Arc::clone(&self.cancel);
        tokio::select! {
            () = cancel.terminated() => {}
            () = self.reached(phase) => {}
        }
    }

    /// Runs `work` until it is done or something stops it. While it runs, what the client sends is read ahead, and its
    /// leaving is seen.
    pub(crate) async fn run<T, E: Into<Stop>, R: AsyncRead + Unpin>(
        &mut self,
        input: &mut Input<R>,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Stop> {
        let work = async {
            tokio::select! {
                biased;
                done = work => done.map_err(Into::into),
                _ = input.until_gone() => Err(Stop::Gone),
            }
        };
        self.watch(work).await
    }

    /// Runs `work`, which itself reads or writes to the client, until it is done or something stops it.
    pub(crate) async fn watch<T>(&mut self, work: impl Future<Output = Result<T, Stop>>) -> Result<T, Stop> {
        let deadline = self.deadline;
        let timeout = async move {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        let cancel = Arc::clone(&self.cancel);
        tokio::select! {
            biased;
            () = cancel.asked() => {
                cancel.clear();
                Err(Stop::Error(error!(QueryCanceled, "canceling statement due to user request")))
            }
            () = timeout => Err(Stop::Error(error!(QueryCanceled, "canceling statement due to statement timeout"))),
            () = self.ended(Phase::Stopping) => Err(Stop::Fatal(shutting_down())),
            done = AssertUnwindSafe(work).catch_unwind() => {
                done.unwrap_or_else(|panic| Err(Stop::Error(of_panic(&*panic))))
            }
        }
    }
}

/// A panic is a defect: the client is told, the session goes on.
pub(crate) fn of_panic(panic: &(dyn std::any::Any + Send)) -> Error {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
    tracing::error!(panic = %text, "a statement panicked");
    error!(InternalError, "internal error: {text}").with_hint("This is a defect of the server; its log says where.")
}
