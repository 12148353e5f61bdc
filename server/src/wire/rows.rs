//! Rows to the client: from a stream of batches into the output, with at most [`super::output::FLUSH_BYTES`] and one
//! batch in memory. A client that stops reading stops the stream.

use std::sync::Arc;

use futures::StreamExt;
use model::{Error, Result, error};
use sql::copy::CopyFormat;
use sql::pgvalue::{BatchEncoder, CopyEncoder, RowEncoder, ValueSettings};
use sql::session::{OutputColumn, Rows};
use tokio::io::AsyncWrite;

use super::guard::Stop;
use super::output::{FLUSH_BYTES, Output};

/// A result that is being sent, and may be left in the middle.
pub(crate) struct Cursor {
    rows: Rows,
    encoder: RowEncoder,
    batch: Option<Batch>,
    done: bool,
}

struct Batch {
    encoder: BatchEncoder,
    next: usize,
    rows: usize,
}

/// How far a fetch came.
pub(crate) enum Fetched {
    /// To the end; the command tag.
    End(String),
    /// To the limit.
    Suspended,
}

impl Cursor {
    /// `binary` says the format of each column.
    pub(crate) fn new(rows: Rows, binary: impl Fn(usize) -> bool, settings: Arc<ValueSettings>) -> Self {
        let columns = rows.columns.iter().enumerate().map(|(at, column)| (column.pg_type, binary(at))).collect();
        let encoder = RowEncoder::new(columns, settings);
        Self { rows, encoder, batch: None, done: false }
    }

    /// Sends at most `limit` rows. May be dropped at any await; then the cursor is of no more use.
    pub(crate) async fn fetch<W: AsyncWrite + Unpin>(
        &mut self,
        output: &mut Output<W>,
        limit: Option<u64>,
    ) -> Result<Fetched, Stop> {
        let mut sent = 0;
        while limit != Some(sent) {
            let Some(batch) = &mut self.batch else {
                if self.done || !self.next_batch().await? {
                    self.done = true;
                    return Ok(Fetched::End(tag(self.rows.tag, sent)));
                }
                continue;
            };
            while batch.next < batch.rows && limit != Some(sent) {
                output.framed(b'D', |body| batch.encoder.data_row(batch.next, body))?;
                batch.next += 1;
                sent += 1;
                if output.buffer().len() >= FLUSH_BYTES {
                    output.flush().await?;
                }
            }
            if batch.next == batch.rows {
                self.batch = None;
            }
        }
        Ok(Fetched::Suspended)
    }

    /// False at the end.
    async fn next_batch(&mut self) -> Result<bool, Stop> {
        tokio::task::consume_budget().await;
        let Some(batch) = self.rows.stream.next().await.transpose()? else { return Ok(false) };
        if batch.num_rows() > 0 {
            let encoder = self.encoder.batch(&batch)?;
            self.batch = Some(Batch { encoder, next: 0, rows: batch.num_rows() });
        }
        Ok(true)
    }
}

/// The command tag of so many rows: SHOW and EXPLAIN do not count theirs.
fn tag(word: &str, rows: u64) -> String {
    match word {
        "SHOW" | "EXPLAIN" => word.to_owned(),
        counted => format!("{counted} {rows}"),
    }
}

/// The columns that a client was told of must still be those that come.
pub(crate) fn same_shape(told: &[OutputColumn], now: &[OutputColumn]) -> Result<()> {
    let types = |columns: &[OutputColumn]| columns.iter().map(|column| column.pg_type.oid).collect::<Vec<_>>();
    if types(told) == types(now) {
        return Ok(());
    }
    Err(error!(FeatureNotSupported, "cached plan must not change result type")
        .with_hint("A table was altered after the statement was prepared: prepare it again."))
}

/// Sends rows as COPY data; gives the command tag.
pub(crate) async fn copy_out<W: AsyncWrite + Unpin>(
    mut rows: Rows,
    format: CopyFormat,
    settings: Arc<ValueSettings>,
    output: &mut Output<W>,
) -> Result<String, Stop> {
    let columns: Vec<_> = rows.columns.iter().map(|column| (column.name.clone(), column.pg_type)).collect();
    let mut encoder = CopyEncoder::new(&columns, format, settings);
    output.copy_out(columns.len(), encoder.is_binary());
    let nothing = |result: Result<(), Error>| result.map_err(Stop::from);
    // As PostgreSQL frames it: the line of names is a message of its own, the binary signature shares one with what follows.
    let mut pending = bytes::BytesMut::new();
    encoder.header(&mut pending);
    if !encoder.is_binary() && !pending.is_empty() {
        let header = pending.split();
        nothing(output.framed(b'd', |body| {
            body.extend_from_slice(&header);
            Ok(())
        }))?;
    }
    let mut sent = 0u64;
    while let Some(batch) = rows.stream.next().await.transpose()? {
        tokio::task::consume_budget().await;
        let prepared = encoder.batch(&batch)?;
        for row in 0..batch.num_rows() {
            nothing(output.framed(b'd', |body| {
                body.extend_from_slice(&pending);
                encoder.row(&prepared, row, body)
            }))?;
            pending.clear();
            sent += 1;
            output.flush_if_full().await?;
        }
    }
    encoder.trailer(&mut pending);
    if !pending.is_empty() {
        nothing(output.framed(b'd', |body| {
            body.extend_from_slice(&pending);
            Ok(())
        }))?;
    }
    output.put(&pgwire::messages::copy::CopyDone::new());
    Ok(format!("COPY {sent}"))
}
