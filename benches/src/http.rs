//! As much of HTTP/1.1 as VictoriaMetrics and InfluxDB need: requests over one connection, answers with a length or in
//! chunks.

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A connection to a server of this machine.
pub(crate) struct Http {
    stream: TcpStream,
    read: BytesMut,
}

impl Http {
    /// Tries once.
    pub(crate) async fn connect(port: u16) -> std::io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, read: BytesMut::with_capacity(64 << 10) })
    }

    /// Sends a request and gives the body of the answer, or the status and the body if it is no success.
    pub(crate) async fn ask(&mut self, method: &str, target: &str, body: &[u8]) -> Result<Vec<u8>, String> {
        self.exchange(method, target, body).await.map_err(|fault| format!("{target}: {fault}"))?
    }

    async fn exchange(&mut self, method: &str, target: &str, body: &[u8]) -> std::io::Result<Result<Vec<u8>, String>> {
        let head = format!(
            "{method} {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: application/csv\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        self.stream.write_all(head.as_bytes()).await?;
        self.stream.write_all(body).await?;
        let head = self.head().await?;
        let status: u16 = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        let field = |wanted: &str| {
            head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case(wanted).then(|| value.trim().to_ascii_lowercase())
            })
        };
        let answer = if status == 204 {
            Vec::new()
        } else if field("transfer-encoding").is_some_and(|value| value == "chunked") {
            self.chunks().await?
        } else {
            let length = field("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
            self.take(length).await?
        };
        if (200..300).contains(&status) {
            return Ok(Ok(answer));
        }
        Ok(Err(format!("{status} {}", String::from_utf8_lossy(&answer))))
    }

    /// Status and fields.
    async fn head(&mut self) -> std::io::Result<String> {
        loop {
            if let Some(end) = self.read.windows(4).position(|four| four == b"\r\n\r\n") {
                let head = self.read.split_to(end);
                self.read.advance(4);
                return Ok(String::from_utf8_lossy(&head).into_owned());
            }
            self.more().await?;
        }
    }

    async fn chunks(&mut self) -> std::io::Result<Vec<u8>> {
        let mut all = Vec::new();
        loop {
            let Some(end) = self.read.windows(2).position(|two| two == b"\r\n") else {
                self.more().await?;
                continue;
            };
            let line = self.read.split_to(end);
            self.read.advance(2);
            let digits = String::from_utf8_lossy(&line);
            let length = usize::from_str_radix(digits.split(';').next().unwrap_or_default().trim(), 16)
                .map_err(|_| std::io::Error::other("a chunk without a length"))?;
            all.extend(self.take(length).await?);
            self.take(2).await?;
            if length == 0 {
                return Ok(all);
            }
        }
    }

    async fn take(&mut self, length: usize) -> std::io::Result<Vec<u8>> {
        while self.read.len() < length {
            self.more().await?;
        }
        Ok(self.read.split_to(length).to_vec())
    }

    async fn more(&mut self) -> std::io::Result<()> {
        match self.stream.read_buf(&mut self.read).await? {
            0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

/// Text as it stands in the query of an address.
pub(crate) fn escape(text: &str) -> String {
    let of = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(of).collect()
}
