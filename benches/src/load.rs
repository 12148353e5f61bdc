//! Loads: rows per second of wall time, and per second of the server's CPU.
//!
//! [`race`] loads several servers in turns, a step of each, so that the noise of the machine hits all alike. Making the data
//! is not counted.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::SinkExt;
use futures::future::join_all;
use tokio_postgres::Client;

use crate::cpu;
use crate::data::{Batch, Form, Rows, STEP_ROWS, Source, step_ticks};
use crate::servers::Subject;
use crate::wire::Wire;

/// Times of a load so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Load {
    pub(crate) rows: usize,
    pub(crate) seconds: f64,
    /// CPU of the server.
    pub(crate) cpu_seconds: f64,
}

impl Load {
    pub(crate) fn rate(&self) -> f64 {
        self.rows as f64 / self.seconds.max(1e-6)
    }

    /// Rows per second of CPU.
    pub(crate) fn cpu_rate(&self) -> f64 {
        self.rows as f64 / self.cpu_seconds.max(0.01)
    }
}

/// One server that is loaded, and how.
pub(crate) struct Lane<'a> {
    subject: &'a Subject,
    source: Box<dyn Source>,
    form: Form,
    /// Rows of a statement, or between two Syncs.
    batch: usize,
    ticks: usize,
    /// Times that are still to be loaded.
    left: usize,
    wires: Vec<Wire>,
    pub(crate) load: Load,
}

impl<'a> Lane<'a> {
    /// Makes the tables; loads nothing yet. `ticks` is how many times there are in all.
    pub(crate) async fn new(
        subject: &'a Subject,
        source: Box<dyn Source>,
        form: Form,
        batch: usize,
        ticks: usize,
    ) -> Self {
        subject.make_tables(&*source).await;
        let mut wires = Vec::new();
        if form == Form::Prepared {
            for _ in &subject.connections {
                wires.push(Wire::connect(subject.port, subject.database()).await);
            }
        }
        // Short turns, but a whole statement for each client.
        let rows = (batch * subject.connections.len()).clamp(STEP_ROWS / 4, STEP_ROWS);
        let step = step_ticks(&*source, rows).min(ticks.max(1));
        Self { subject, source, form, batch, ticks: step, left: ticks, wires, load: Load::default() }
    }

    /// Loads the next step; false if there was none.
    pub(crate) async fn step(&mut self) -> bool {
        let rows = if self.left > 0 {
            let ticks = self.ticks.min(self.left);
            self.left -= ticks;
            self.source.next(ticks)
        } else {
            self.source.rest()
        };
        let some = rows.iter().any(|rows| rows.len() > 0);
        for rows in rows.into_iter().filter(|rows| rows.len() > 0) {
            self.send(rows).await;
        }
        some
    }

    async fn send(&mut self, rows: Rows) {
        let table = &self.source.tables()[rows.table];
        let (subject, form, sent) = (self.subject, self.form, rows.len());
        let shares = rows.shares(subject.connections.len());
        let jobs: Vec<Vec<Batch>> =
            shares.iter().map(|rows| table.batches(rows, form, subject.dialect, self.batch)).collect();
        let statement = table.statement(form, subject.dialect);
        for wire in &mut self.wires {
            wire.prepare(&statement).await;
        }
        let (start, cpu) = (Instant::now(), cpu::seconds(subject.pid));
        if form == Form::Prepared {
            let all = self.wires.iter_mut().zip(jobs).map(|(wire, batches)| execute(wire, batches));
            join_all(all).await;
        } else {
            let all = subject.connections.iter().zip(jobs).map(|(client, batches)| async {
                for batch in batches {
                    deliver(client, form, &statement, batch).await;
                }
            });
            join_all(all).await;
        }
        self.load.rows += sent;
        self.load.seconds += start.elapsed().as_secs_f64();
        self.load.cpu_seconds += cpu::seconds(subject.pid) - cpu;
    }
}

/// Loads all lanes in turns; who begins changes from step to step. Two seconds of work in the background are counted.
pub(crate) async fn race(lanes: &mut [Lane<'_>]) {
    let mut first = 0;
    loop {
        let mut any = false;
        for turn in 0..lanes.len() {
            let at = (first + turn) % lanes.len();
            any |= lanes[at].step().await;
        }
        first += 1;
        if !any {
            break;
        }
    }
    // What is still to be done in the background belongs to the load.
    let before: Vec<f64> = lanes.iter().map(|lane| cpu::seconds(lane.subject.pid)).collect();
    tokio::time::sleep(Duration::from_secs(2)).await;
    for (lane, before) in lanes.iter_mut().zip(before) {
        lane.load.cpu_seconds += cpu::seconds(lane.subject.pid) - before;
    }
}

/// Sends one statement and waits for its answer; every row arrives.
pub(crate) async fn deliver(client: &Client, form: Form, statement: &str, batch: Batch) {
    if form == Form::Insert {
        let sql = std::str::from_utf8(&batch.pieces[0]).expect("SQL is text");
        let shown: String = sql.chars().take(200).collect();
        client.batch_execute(sql).await.unwrap_or_else(|error| panic!("{shown}: {error:?}"));
    } else {
        let taken = copy(client, statement, batch.pieces).await;
        assert_eq!(taken as usize, batch.rows, "{statement}: every row arrives");
    }
}

async fn copy(client: &Client, sql: &str, pieces: Vec<Bytes>) -> u64 {
    let sink = client.copy_in(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    let mut sink = Box::pin(sink);
    for piece in pieces {
        sink.feed(piece).await.expect("data is taken");
    }
    sink.as_mut().finish().await.unwrap_or_else(|error| panic!("{sql}: {error:?}"))
}

async fn execute(wire: &mut Wire, batches: Vec<Batch>) {
    for batch in batches {
        let completed = wire.ask(&batch.pieces[0]).await;
        assert_eq!(completed, batch.rows, "every statement of a batch is completed");
    }
}
