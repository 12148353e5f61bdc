//! A connection whose messages are written by hand: drivers put a Sync behind every Execute, and batches of prepared
//! statements are what we measure.

use bytes::{Buf, BytesMut};
use tests::raw;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A connection as root.
pub(crate) struct Wire {
    stream: TcpStream,
    read: BytesMut,
}

impl Wire {
    pub(crate) async fn connect(port: u16, database: &str) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.expect("the server listens");
        stream.set_nodelay(true).expect("an option can be set");
        let mut wire = Self { stream, read: BytesMut::with_capacity(64 << 10) };
        let mut body = 196_608_u32.to_be_bytes().to_vec();
        for word in ["user", "root", "database", database, ""] {
            body.extend(word.as_bytes());
            body.push(0);
        }
        let length = body.len() as u32 + 4;
        wire.ask(&[&length.to_be_bytes()[..], &body].concat()).await;
        wire
    }

    /// Parses a statement under no name.
    pub(crate) async fn prepare(&mut self, sql: &str) {
        self.ask(&[raw::parse("", sql, &[]), raw::sync()].concat()).await;
    }

    /// Sends messages that end with Sync; how many statements were completed.
    pub(crate) async fn ask(&mut self, messages: &[u8]) -> usize {
        self.stream.write_all(messages).await.expect("the server reads");
        let mut completed = 0;
        loop {
            while let Some((kind, body)) = self.message() {
                match kind {
                    b'C' => completed += 1,
                    b'E' => panic!("{}", String::from_utf8_lossy(&body)),
                    b'Z' => return completed,
                    _ => {}
                }
            }
            assert!(self.stream.read_buf(&mut self.read).await.expect("the server answers") > 0, "it hung up");
        }
    }

    fn message(&mut self) -> Option<(u8, BytesMut)> {
        let head = self.read.first_chunk::<5>()?;
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize + 1;
        if self.read.len() < length {
            return None;
        }
        let mut message = self.read.split_to(length);
        let kind = message.get_u8();
        message.advance(4);
        Some((kind, message))
    }
}
