//! Messages to a client: collected, and sent at 64 KiB, when the client waits, or when a message says so.

use bytes::{BufMut, BytesMut};
use model::Error;
use pgwire::messages::Message;
use pgwire::messages::copy::{CopyInResponse, CopyOutResponse};
use pgwire::messages::data::{FieldDescription, RowDescription};
use pgwire::messages::response::{
    CommandComplete, ErrorResponse, NoticeResponse, ReadyForQuery, TransactionStatus as WireStatus,
};
use pgwire::messages::startup::ParameterStatus;
use sql::session::{Notice, OutputColumn, TransactionStatus};
use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::frame::Gone;

/// Bytes that are collected before they are sent.
pub(crate) const FLUSH_BYTES: usize = 64 << 10;
/// Capacity that a sent buffer may keep.
const KEEP_BYTES_MAX: usize = 1 << 20;
/// Longest text of one field of an error; libpq takes 30,000 bytes for the whole message.
const FIELD_BYTES_MAX: usize = 6_000;

/// What is on its way to the client.
pub(crate) struct Output<W> {
    writer: W,
    buffer: BytesMut,
}

impl<W: AsyncWrite + Unpin> Output<W> {
    pub(crate) fn new(writer: W) -> Self {
        Self { writer, buffer: BytesMut::new() }
    }

    /// The collected bytes, to append a message to.
    pub(crate) fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// Appends a message of pgwire. One that is longer than its kind may be is left out, which is a bug of its maker.
    pub(crate) fn put(&mut self, message: &impl Message) {
        let at = self.buffer.len();
        if let Err(fault) = message.encode(&mut self.buffer) {
            self.buffer.truncate(at);
            tracing::error!(%fault, "a message was not sent");
        }
    }

    /// Sends what was collected. May be dropped at any await: what was sent is not sent again.
    pub(crate) async fn flush(&mut self) -> Result<(), Gone> {
        while !self.buffer.is_empty() {
            match self.writer.write_buf(&mut self.buffer).await {
                Ok(0) | Err(_) => return Err(Gone),
                Ok(_) => {}
            }
        }
        if self.buffer.capacity() > KEEP_BYTES_MAX {
            self.buffer = BytesMut::new();
        }
        self.writer.flush().await.map_err(|_| Gone)
    }

    /// Sends if enough was collected.
    pub(crate) async fn flush_if_full(&mut self) -> Result<(), Gone> {
        if self.buffer.len() >= FLUSH_BYTES { self.flush().await } else { Ok(()) }
    }

    /// Ends the stream.
    pub(crate) async fn close(&mut self) {
        let _ = self.writer.shutdown().await;
    }

    pub(crate) fn error(&mut self, error: &Error) {
        self.put(&ErrorResponse::new(error_fields("ERROR", error)));
    }

    pub(crate) fn fatal(&mut self, error: &Error) {
        self.put(&ErrorResponse::new(error_fields("FATAL", error)));
    }

    pub(crate) fn notices(&mut self, notices: Vec<Notice>) {
        for notice in notices {
            self.put(&NoticeResponse::new(vec![
                (b'S', notice.severity.to_owned()),
                (b'V', notice.severity.to_owned()),
                (b'C', notice.code.to_owned()),
                (b'M', shortened(&notice.message)),
            ]));
        }
    }

    pub(crate) fn parameters(&mut self, parameters: Vec<(String, String)>) {
        for (name, value) in parameters {
            self.put(&ParameterStatus::new(name, value));
        }
    }

    pub(crate) fn complete(&mut self, tag: &str) {
        self.put(&CommandComplete::new(tag.to_owned()));
    }

    pub(crate) fn ready(&mut self, status: TransactionStatus) {
        self.put(&ReadyForQuery::new(match status {
            TransactionStatus::Idle => WireStatus::Idle,
            TransactionStatus::InBlock => WireStatus::Transaction,
            TransactionStatus::Failed => WireStatus::Error,
        }));
    }

    /// RowDescription; `binary` says the format of each column.
    pub(crate) fn row_description(&mut self, columns: &[OutputColumn], binary: impl Fn(usize) -> bool) {
        let field = |(at, column): (usize, &OutputColumn)| {
            FieldDescription::new(
                column.name.clone(),
                column.table_oid.cast_signed(),
                column.attnum,
                column.pg_type.oid,
                column.pg_type.len,
                column.typmod,
                i16::from(binary(at)),
            )
        };
        self.put(&RowDescription::new(columns.iter().enumerate().map(field).collect()));
    }

    pub(crate) fn copy_in(&mut self, columns: usize, binary: bool) {
        self.put(&CopyInResponse::new(i8::from(binary), columns as i16, vec![i16::from(binary); columns]));
    }

    pub(crate) fn copy_out(&mut self, columns: usize, binary: bool) {
        self.put(&CopyOutResponse::new(i8::from(binary), columns as i16, vec![i16::from(binary); columns]));
    }

    /// Appends a message of type `kind` whose body `body` writes. If it fails, nothing is appended.
    pub(crate) fn framed<E>(&mut self, kind: u8, body: impl FnOnce(&mut BytesMut) -> Result<(), E>) -> Result<(), E> {
        let at = self.buffer.len();
        self.buffer.put_u8(kind);
        self.buffer.put_i32(0);
        if let Err(error) = body(&mut self.buffer) {
            self.buffer.truncate(at);
            return Err(error);
        }
        let length = (self.buffer.len() - at - 1) as u32;
        self.buffer[at + 1..at + 5].copy_from_slice(&length.to_be_bytes());
        Ok(())
    }
}

/// The fields of ErrorResponse, in PostgreSQL's order.
fn error_fields(severity: &str, error: &Error) -> Vec<(u8, String)> {
    let parts = error.fields();
    let mut fields = vec![
        (b'S', severity.to_owned()),
        (b'V', severity.to_owned()),
        (b'C', parts.state.code().to_owned()),
        (b'M', shortened(&parts.message)),
    ];
    let mut optional = |kind, text: Option<String>| fields.extend(text.map(|text| (kind, shortened(&text))));
    optional(b'D', parts.detail.clone());
    optional(b'H', parts.hint.clone());
    optional(b'P', parts.position.map(|position| position.to_string()));
    optional(b'W', parts.context.clone());
    fields
}

/// Without NUL, which would end the field, and cut at a character.
fn shortened(text: &str) -> String {
    let text = text.replace('\0', "\u{fffd}");
    if text.len() <= FIELD_BYTES_MAX {
        return text;
    }
    let end = (0..=FIELD_BYTES_MAX).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    format!("{}…", &text[..end])
}
