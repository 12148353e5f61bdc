//! Bytes from a client cut into messages. Nothing is allocated for a length that was only announced.
//!
//! The messages are pgwire's types. They are read here with every length checked, because its own decoders take
//! whatever length a message claims and replace text that is not UTF-8.

use bytes::{Buf, Bytes, BytesMut};
use model::{Result, error, fail};
use pgwire::messages::PgWireFrontendMessage as Message;
use pgwire::messages::copy::{CopyData, CopyDone, CopyFail};
use pgwire::messages::extendedquery::{Bind, Close, Describe, Execute, Flush, Parse, Sync};
use pgwire::messages::simplequery::Query;
use pgwire::messages::startup::PasswordMessageFamily;
use pgwire::messages::terminate::Terminate;
use tokio::io::{AsyncRead, AsyncReadExt};

/// Longest message of a client: a statement with its parameters, or one piece of COPY data.
pub(crate) const MESSAGE_BYTES_MAX: usize = 256 << 20;
/// Longest message of a kind that holds only names or codes.
pub(crate) const SMALL_MESSAGE_BYTES_MAX: usize = 10_000;
/// Bytes that are read ahead while a statement runs; the client waits beyond that.
pub(crate) const READ_AHEAD_BYTES_MAX: usize = 1 << 20;
/// Capacity that a drained buffer may keep.
const KEEP_BYTES_MAX: usize = 256 << 10;
const READ_BYTES: usize = 16 << 10;

/// The client is gone.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Gone;

/// What a client has sent and nobody has looked at.
pub(crate) struct Input<R> {
    reader: R,
    buffer: BytesMut,
}

impl<R: AsyncRead + Unpin> Input<R> {
    pub(crate) fn new(reader: R) -> Self {
        Self { reader, buffer: BytesMut::new() }
    }

    /// Reads more bytes. May be dropped at any await without losing any.
    pub(crate) async fn fill(&mut self) -> std::result::Result<(), Gone> {
        if self.buffer.is_empty() && self.buffer.capacity() > KEEP_BYTES_MAX {
            self.buffer = BytesMut::new();
        }
        self.buffer.reserve(READ_BYTES);
        match self.reader.read_buf(&mut self.buffer).await {
            Ok(0) | Err(_) => Err(Gone),
            Ok(_) => Ok(()),
        }
    }

    /// Reads ahead until the client is gone; waits for ever when enough is read.
    pub(crate) async fn until_gone(&mut self) -> Gone {
        loop {
            if self.buffer.len() >= READ_AHEAD_BYTES_MAX {
                std::future::pending::<()>().await;
            }
            if self.fill().await.is_err() {
                return Gone;
            }
        }
    }

    /// The packet of a starting connection, without its length: at least a code of four bytes. None until it is complete.
    pub(crate) fn startup_packet(&mut self) -> Result<Option<Bytes>> {
        let Some(length) = self.buffer.first_chunk::<4>() else { return Ok(None) };
        let length = u32::from_be_bytes(*length) as usize;
        if !(8..=SMALL_MESSAGE_BYTES_MAX).contains(&length) {
            fail!(ProtocolViolation, "invalid length of startup packet");
        }
        if self.buffer.len() < length {
            return Ok(None);
        }
        let mut packet = self.buffer.split_to(length);
        packet.advance(4);
        Ok(Some(packet.freeze()))
    }

    /// Whether the next message is a Sync that has arrived.
    pub(crate) fn sync_is_next(&self) -> bool {
        self.buffer.starts_with(b"S\0\0\0\x04")
    }

    /// Whether no bytes wait that no message has been made of.
    pub(crate) fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// The next message; None until it is complete.
    ///
    /// # Errors
    ///
    /// `ProtocolViolation`: the stream has lost its frame, the connection must end. A message that is well framed but
    /// malformed inside is `Ok(Some((its type, Err(_))))`.
    #[allow(clippy::type_complexity, reason = "two kinds of failure, one of which ends the connection")]
    pub(crate) fn message(&mut self) -> Result<Option<(u8, Result<Message>)>> {
        let Some((kind, rest)) = self.buffer.split_first() else { return Ok(None) };
        let kind = *kind;
        let limit = match kind {
            b'Q' | b'P' | b'B' | b'd' => MESSAGE_BYTES_MAX,
            b'C' | b'D' | b'E' | b'H' | b'S' | b'X' | b'c' | b'f' | b'p' | b'F' => SMALL_MESSAGE_BYTES_MAX,
            other => fail!(ProtocolViolation, "invalid frontend message type {other}"),
        };
        let Some(length) = rest.first_chunk::<4>() else { return Ok(None) };
        let length = u32::from_be_bytes(*length) as usize;
        if length < 4 || length > limit {
            return Err(error!(ProtocolViolation, "invalid message length {length}")
                .with_detail(format!("A message of type '{}' may have at most {limit} bytes.", char::from(kind))));
        }
        if self.buffer.len() <= length {
            return Ok(None);
        }
        let mut frame = self.buffer.split_to(length + 1);
        frame.advance(5);
        Ok(Some((kind, decode(kind, frame))))
    }
}

/// Reads the fields of one message.
struct Fields {
    bytes: Bytes,
}

impl Fields {
    fn malformed(&self) -> model::Error {
        error!(ProtocolViolation, "insufficient data left in message")
    }

    fn cstring(&mut self) -> Result<String> {
        let end =
            memchr::memchr(0, &self.bytes).ok_or_else(|| error!(ProtocolViolation, "invalid string in message"))?;
        let text = self.bytes.split_to(end);
        self.bytes.advance(1);
        match std::str::from_utf8(&text) {
            Ok(text) => Ok(text.to_owned()),
            Err(fault) => {
                let bad = text[fault.valid_up_to()];
                fail!(CharacterNotInRepertoire, "invalid byte sequence for encoding \"UTF8\": 0x{bad:02x}")
            }
        }
    }

    /// A name; empty is None.
    fn name(&mut self) -> Result<Option<String>> {
        Ok(Some(self.cstring()?).filter(|name| !name.is_empty()))
    }

    fn u8(&mut self) -> Result<u8> {
        self.bytes.try_get_u8().map_err(|_| self.malformed())
    }

    fn u16(&mut self) -> Result<u16> {
        self.bytes.try_get_u16().map_err(|_| self.malformed())
    }

    fn i32(&mut self) -> Result<i32> {
        self.bytes.try_get_i32().map_err(|_| self.malformed())
    }

    fn formats(&mut self) -> Result<Vec<i16>> {
        let count = self.u16()?;
        (0..count).map(|_| Ok(self.u16()?.cast_signed())).collect()
    }

    fn value(&mut self) -> Result<Option<Bytes>> {
        match self.i32()? {
            -1 => Ok(None),
            length => {
                let length = usize::try_from(length).ok().filter(|length| *length <= self.bytes.len());
                let length = length.ok_or_else(|| self.malformed())?;
                Ok(Some(self.bytes.split_to(length)))
            }
        }
    }

    fn end(&self) -> Result<()> {
        if self.bytes.is_empty() {
            return Ok(());
        }
        fail!(ProtocolViolation, "invalid message format")
    }
}

fn decode(kind: u8, frame: BytesMut) -> Result<Message> {
    if kind == b'p' {
        return Ok(Message::PasswordMessageFamily(PasswordMessageFamily::Raw(frame)));
    }
    let mut fields = Fields { bytes: frame.freeze() };
    let message = match kind {
        b'Q' => Message::Query(Query::new(fields.cstring()?)),
        b'P' => {
            let (name, query) = (fields.name()?, fields.cstring()?);
            let count = fields.u16()?;
            let types = (0..count).map(|_| Ok(fields.i32()?.cast_unsigned())).collect::<Result<_>>()?;
            Message::Parse(Parse::new(name, query, types))
        }
        b'B' => {
            let (portal, statement) = (fields.name()?, fields.name()?);
            let formats = fields.formats()?;
            let count = fields.u16()?;
            let values = (0..count).map(|_| fields.value()).collect::<Result<_>>()?;
            Message::Bind(Bind::new(portal, statement, formats, values, fields.formats()?))
        }
        b'C' => Message::Close(Close::new(fields.u8()?, fields.name()?)),
        b'D' => Message::Describe(Describe::new(fields.u8()?, fields.name()?)),
        b'E' => Message::Execute(Execute::new(fields.name()?, fields.i32()?)),
        b'H' => Message::Flush(Flush::new()),
        b'S' => Message::Sync(Sync::new()),
        b'X' => Message::Terminate(Terminate::new()),
        b'd' => return Ok(Message::CopyData(CopyData::new(fields.bytes))),
        b'c' => Message::CopyDone(CopyDone::new()),
        b'f' => Message::CopyFail(CopyFail::new(fields.cstring()?)),
        _ => fail!(FeatureNotSupported, "function call messages are not supported"),
    };
    fields.end()?;
    Ok(message)
}
