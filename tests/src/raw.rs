//! The protocol without a driver: messages as they are sent, answers as one line each, for tests of what drivers hide.
//!
//! Start reading at [`Raw::query`].

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// A connection whose messages are written by hand.
pub struct Raw {
    stream: TcpStream,
}

/// Longest wait for an answer.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// One message of the protocol.
#[must_use]
pub fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind];
    bytes.extend((body.len() as u32 + 4).to_be_bytes());
    bytes.extend(body);
    bytes
}

fn text(text: &str) -> Vec<u8> {
    [text.as_bytes(), &[0]].concat()
}

/// Query.
#[must_use]
pub fn query(sql: &str) -> Vec<u8> {
    message(b'Q', &text(sql))
}

/// Parse with the types of its parameters.
#[must_use]
pub fn parse(name: &str, sql: &str, types: &[u32]) -> Vec<u8> {
    let mut body = [text(name), text(sql)].concat();
    body.extend((types.len() as u16).to_be_bytes());
    types.iter().for_each(|oid| body.extend(oid.to_be_bytes()));
    message(b'P', &body)
}

/// Bind with parameters in text.
#[must_use]
pub fn bind(portal: &str, statement: &str, values: &[&str]) -> Vec<u8> {
    let mut body = [text(portal), text(statement), vec![0, 0]].concat();
    body.extend((values.len() as u16).to_be_bytes());
    for value in values {
        body.extend((value.len() as u32).to_be_bytes());
        body.extend(value.as_bytes());
    }
    body.extend([0, 0]);
    message(b'B', &body)
}

/// Describe of a statement (`S`) or portal (`P`).
#[must_use]
pub fn describe(kind: u8, name: &str) -> Vec<u8> {
    message(b'D', &[vec![kind], text(name)].concat())
}

/// Execute; 0 is no limit.
#[must_use]
pub fn execute(portal: &str, limit: u32) -> Vec<u8> {
    message(b'E', &[text(portal), limit.to_be_bytes().to_vec()].concat())
}

/// Close of a statement (`S`) or portal (`P`).
#[must_use]
pub fn close(kind: u8, name: &str) -> Vec<u8> {
    message(b'C', &[vec![kind], text(name)].concat())
}

/// Parse, Bind and Execute of a statement without parameters, under no name.
#[must_use]
pub fn statement(sql: &str) -> Vec<u8> {
    [parse("", sql, &[]), bind("", "", &[]), execute("", 0)].concat()
}

/// Sync.
#[must_use]
pub fn sync() -> Vec<u8> {
    message(b'S', &[])
}

impl Raw {
    /// Logs in as root without a password.
    ///
    /// # Panics
    ///
    /// If the server does not take it.
    #[must_use]
    pub fn connect(port: u16, database: &str) -> Self {
        Self::connect_as(port, "root", database)
    }

    /// Logs in without a password.
    ///
    /// # Panics
    ///
    /// If the server does not take it.
    #[must_use]
    pub fn connect_as(port: u16, user: &str, database: &str) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("the server listens");
        stream.set_read_timeout(Some(ANSWER_MAX)).expect("a time can be set");
        let mut raw = Self { stream };
        let parameters = ["user", user, "database", database].map(text).concat();
        let body = [&196_608_u32.to_be_bytes()[..], &parameters, &[0]].concat();
        raw.send(&[&(body.len() as u32 + 4).to_be_bytes()[..], &body].concat());
        raw.until_ready();
        raw
    }

    /// Sends bytes.
    ///
    /// # Panics
    ///
    /// If the server is gone.
    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the server reads");
    }

    /// Sends bytes and gives the answers up to ReadyForQuery, or to the end of the connection.
    pub fn ask(&mut self, bytes: &[u8]) -> Vec<String> {
        self.send(bytes);
        self.until_ready()
    }

    /// The simple protocol.
    pub fn query(&mut self, sql: &str) -> Vec<String> {
        self.ask(&query(sql))
    }

    /// The answers up to ReadyForQuery; `end` at the end of the connection.
    ///
    /// # Panics
    ///
    /// If nothing comes for long.
    pub fn until_ready(&mut self) -> Vec<String> {
        let mut answers = Vec::new();
        loop {
            let Some((kind, body)) = self.answer() else {
                answers.push("end".to_owned());
                return answers;
            };
            let (shown, ready) = (shown(kind, &body), kind == b'Z');
            answers.extend(shown);
            if ready {
                return answers;
            }
        }
    }

    fn answer(&mut self) -> Option<(u8, Vec<u8>)> {
        let mut head = [0; 5];
        match self.stream.read_exact(&mut head) {
            Ok(()) => {}
            Err(fault) if matches!(fault.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
                panic!("no answer after {ANSWER_MAX:?}")
            }
            Err(_) => return None,
        }
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        let mut body = vec![0; length - 4];
        self.stream.read_exact(&mut body).ok()?;
        Some((head[0], body))
    }
}

/// Texts that end in NUL.
fn texts(body: &[u8]) -> Vec<String> {
    body.split(|byte| *byte == 0).map(|text| String::from_utf8_lossy(text).into_owned()).collect()
}

fn number(bytes: &[u8]) -> usize {
    bytes.iter().fold(0, |number, byte| number << 8 | usize::from(*byte))
}

/// An answer as one line. What differs between any two servers is left out.
fn shown(kind: u8, body: &[u8]) -> Option<String> {
    Some(match kind {
        b'T' => format!("columns {}", columns(body)),
        b'D' => format!("row {}", values(body)),
        b'C' => format!("complete {}", texts(body)[0]),
        b'E' | b'N' => {
            let texts = texts(body);
            let field = |wanted: char| texts.iter().find_map(|text| text.strip_prefix(wanted)).unwrap_or_default();
            format!("{} {} {}", field('S').to_lowercase(), field('C'), field('M'))
        }
        b'S' => format!("status {}={}", texts(body)[0], texts(body)[1]),
        b'Z' => format!("ready {}", char::from(body[0])),
        b't' => {
            let oids = body[2..].chunks(4).map(|oid| number(oid).to_string());
            format!("parameters {}", oids.collect::<Vec<_>>().join(" "))
        }
        b'1' => "parsed".to_owned(),
        b'2' => "bound".to_owned(),
        b'3' => "closed".to_owned(),
        b'n' => "no data".to_owned(),
        b's' => "suspended".to_owned(),
        b'I' => "empty".to_owned(),
        b'G' => "copy in".to_owned(),
        b'H' => "copy out".to_owned(),
        b'd' => format!("data {}", String::from_utf8_lossy(body).trim_end()),
        b'c' => "copy done".to_owned(),
        // Authentication and the secret key.
        b'R' | b'K' => return None,
        other => format!("{}", char::from(other)),
    })
}

fn columns(body: &[u8]) -> String {
    let mut rest = &body[2..];
    let mut columns = Vec::new();
    while let Some(end) = rest.iter().position(|byte| *byte == 0) {
        let (name, fixed) = (String::from_utf8_lossy(&rest[..end]).into_owned(), &rest[end + 1..]);
        columns.push(format!("{name}:{}:{}", number(&fixed[6..10]), number(&fixed[16..18])));
        rest = &fixed[18..];
    }
    columns.join(" ")
}

fn values(body: &[u8]) -> String {
    let mut rest = &body[2..];
    let mut values = Vec::new();
    while let Some(length) = rest.first_chunk::<4>() {
        rest = &rest[4..];
        let length = i32::from_be_bytes(*length);
        let Ok(length) = usize::try_from(length) else {
            values.push("NULL".to_owned());
            continue;
        };
        values.push(String::from_utf8_lossy(&rest[..length]).into_owned());
        rest = &rest[length..];
    }
    values.join("|")
}
