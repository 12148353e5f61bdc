//! The protocol against a session that only pretends: what a client sends, and every message that comes back.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Int32Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use async_trait::async_trait;
use bytes::{Buf, BufMut, BytesMut};
use model::catalog::User;
use model::{Result, error, fail};
use sql::copy::{CopyFormat, CopyIn};
use sql::pgtype::PgType;
use sql::pgvalue::ValueSettings;
use sql::session::{Kept, Login, Notice, Outcome, OutputColumn, Parameter, Rows, TransactionStatus};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::watch;

use super::backend::{Backend, Shape, WireSession};
use super::{Phase, Shared, connection};

/// Statements are words: `rows n`, `forever`, `fail`, `panic`, `begin`, `commit`, `copy n`, `echo`, anything else is a command.
struct Pretender {
    status: TransactionStatus,
    implicit: bool,
    kept: HashMap<String, Kept>,
    log: Vec<&'static str>,
    timeout: Option<Duration>,
    notices: Vec<Notice>,
    changes: Vec<(String, String)>,
}

fn column(name: &str, pg_type: PgType) -> OutputColumn {
    OutputColumn { name: name.to_owned(), pg_type, typmod: -1, table_oid: 0, attnum: 0 }
}

fn rows(count: usize) -> Rows {
    let schema =
        Arc::new(Schema::new(vec![Field::new("n", DataType::Int32, true), Field::new("t", DataType::Utf8, true)]));
    let batch_of = {
        let schema = Arc::clone(&schema);
        move |from: usize, to: usize| {
            let numbers: ArrayRef = Arc::new((from..to).map(|n| Some(n as i32)).collect::<Int32Array>());
            let texts: ArrayRef = Arc::new((from..to).map(|n| Some(format!("t{n}"))).collect::<StringArray>());
            RecordBatch::try_new(Arc::clone(&schema), vec![numbers, texts]).unwrap()
        }
    };
    let starts: Vec<usize> = (0..count).step_by(2).collect();
    let batches = starts.into_iter().map(move |start| Ok(batch_of(start, (start + 2).min(count))));
    let columns = Arc::from(vec![column("n", PgType::INT4), column("t", PgType::TEXT)]);
    Rows { columns, schema, stream: Box::pin(futures::stream::iter(batches)), tag: "SELECT", binary: false }
}

#[async_trait]
impl WireSession for Pretender {
    type Parsed = String;
    type Prepared = String;

    fn parse(&mut self, text: &str) -> Result<Vec<String>> {
        if text.contains("syntax error") {
            return Err(error!(SyntaxError, "syntax error at or near \"error\"").at(8).with_hint("Write it well."));
        }
        let statements = text.split(';').map(str::trim).filter(|of| !of.is_empty() && !of.starts_with("--"));
        Ok(statements.map(str::to_owned).collect())
    }

    async fn prepare(&mut self, parsed: String, _types: &[u32]) -> Result<String> {
        Ok(parsed)
    }

    fn shape(&self, prepared: &String) -> Shape {
        let columns = prepared.starts_with("rows").then(|| rows(0).columns);
        Shape { parameters: if prepared == "echo" { vec![PgType::TEXT] } else { vec![] }, columns }
    }

    async fn execute(&mut self, prepared: &String, parameters: Vec<Parameter>) -> Result<Outcome> {
        if self.status == TransactionStatus::Failed && prepared != "commit" {
            fail!(InFailedSqlTransaction, "current transaction is aborted");
        }
        let mut words = prepared.split(' ');
        let number = |word: Option<&str>| word.and_then(|word| word.parse().ok()).unwrap_or(0);
        Ok(match words.next().unwrap_or_default() {
            "rows" => Outcome::Rows(rows(number(words.next()))),
            "copy" => {
                let format = CopyFormat::Text { delimiter: b'\t', null: "\\N".to_owned(), header: false };
                Outcome::CopyOut(rows(number(words.next())), format)
            }
            "binary" => Outcome::CopyOut(rows(number(words.next())), CopyFormat::Binary),
            "forever" => std::future::pending().await,
            "fail" => fail!(UndefinedTable, "no such table"),
            "panic" => panic!("a defect"),
            "begin" => {
                self.status = TransactionStatus::InBlock;
                Outcome::Command("BEGIN".to_owned())
            }
            "commit" => {
                self.status = TransactionStatus::Idle;
                Outcome::Command("COMMIT".to_owned())
            }
            "notice" => {
                self.notices.push(Notice { severity: "NOTICE", code: "00000", message: "hear".to_owned() });
                self.changes.push(("TimeZone".to_owned(), "UTC".to_owned()));
                Outcome::Command("SET".to_owned())
            }
            "echo" => {
                let value = parameters[0].value.clone().unwrap_or_default();
                Outcome::Command(String::from_utf8(value.to_vec()).unwrap())
            }
            other => Outcome::Command(other.to_uppercase()),
        })
    }

    async fn finish_copy(&mut self, _copy: CopyIn) -> Result<String> {
        Ok("COPY 0".to_owned())
    }

    fn begin_implicit(&mut self) {
        if !std::mem::replace(&mut self.implicit, true) {
            self.log.push("begin");
        }
    }

    async fn end_implicit(&mut self, ok: bool) -> Result<()> {
        self.implicit = false;
        self.log.push(if ok { "commit" } else { "rollback" });
        self.changes.push(("implicit".to_owned(), self.log.join(" ")));
        Ok(())
    }

    fn fail(&mut self) {
        if self.status == TransactionStatus::InBlock {
            self.status = TransactionStatus::Failed;
        }
    }

    fn status(&self) -> TransactionStatus {
        self.status
    }

    fn settings(&self) -> Arc<ValueSettings> {
        Arc::default()
    }

    fn statement_timeout(&self) -> Option<Duration> {
        self.timeout
    }

    fn reported(&self) -> Vec<(String, String)> {
        vec![("server_version".to_owned(), "15.0".to_owned())]
    }

    fn take_parameter_changes(&mut self) -> Vec<(String, String)> {
        std::mem::take(&mut self.changes)
    }

    fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    fn database(&self) -> &str {
        "postgres"
    }

    fn idle_timeout(&self) -> Option<Duration> {
        None
    }

    fn keep(&mut self, name: &str, text: &str, types: &[u32]) -> Result<u64> {
        let number = self.kept.len() as u64 + 1;
        self.kept.insert(name.to_owned(), Kept { text: text.to_owned(), types: types.to_vec(), number });
        Ok(number)
    }

    fn kept(&self, name: &str) -> Option<&Kept> {
        self.kept.get(name)
    }

    fn forget(&mut self, name: &str) {
        self.kept.remove(name);
    }

    fn cursor(&self, name: &str) -> Option<(Arc<[OutputColumn]>, bool)> {
        (name == "sqlcursor").then(|| (rows(0).columns, false))
    }

    async fn fetch_portal(&mut self, _name: &str, limit: Option<u64>) -> Result<Rows> {
        Ok(rows(limit.unwrap_or(5) as usize))
    }

    fn close_portal(&mut self, _name: &str) {}
}

struct Pretend {
    timeout: Option<Duration>,
}

fn user(name: &str, password: Option<&str>) -> User {
    User {
        name: name.to_owned(),
        password: password.map(|password| super::auth::verifier(password).unwrap()),
        superuser: true,
        enabled: true,
        sysinfo: true,
        createdb: true,
        created_ms: 0,
    }
}

#[async_trait]
impl Backend for Pretend {
    type Session = Pretender;

    fn user(&self, name: &str) -> Option<User> {
        match name {
            "root" => Some(user("root", None)),
            "secret" => Some(user("secret", Some("pw"))),
            _ => None,
        }
    }

    async fn open(&self, login: Login) -> Result<Pretender> {
        if login.database == "absent" {
            fail!(InvalidCatalogName, "database \"absent\" does not exist");
        }
        Ok(Pretender {
            status: TransactionStatus::Idle,
            implicit: false,
            kept: HashMap::new(),
            log: Vec::new(),
            timeout: self.timeout,
            notices: Vec::new(),
            changes: Vec::new(),
        })
    }
}

/// A client that writes bytes and reads messages.
struct Client {
    stream: DuplexStream,
    shared: Arc<Shared<Pretend>>,
    phase: watch::Sender<Phase>,
    pid: i32,
    secret: i32,
}

fn packet(kind: Option<u8>, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(kind);
    bytes.put_u32(body.len() as u32 + 4);
    bytes.extend_from_slice(body);
    bytes
}

fn startup(pairs: &[&str]) -> Vec<u8> {
    let mut body = 196_608u32.to_be_bytes().to_vec();
    for text in pairs {
        body.extend_from_slice(text.as_bytes());
        body.push(0);
    }
    body.push(0);
    packet(None, &body)
}

fn strings(texts: &[&str]) -> Vec<u8> {
    texts.iter().flat_map(|text| text.bytes().chain([0])).collect()
}

fn query(text: &str) -> Vec<u8> {
    packet(Some(b'Q'), &strings(&[text]))
}

fn parse(name: &str, text: &str) -> Vec<u8> {
    packet(Some(b'P'), &[strings(&[name, text]), vec![0, 0]].concat())
}

/// Bind with text parameters and results in `formats`.
fn bind(portal: &str, statement: &str, parameters: &[&str], formats: &[i16]) -> Vec<u8> {
    let mut body = strings(&[portal, statement]);
    body.put_u16(0);
    body.put_u16(parameters.len() as u16);
    for value in parameters {
        body.put_u32(value.len() as u32);
        body.extend_from_slice(value.as_bytes());
    }
    body.put_u16(formats.len() as u16);
    for format in formats {
        body.put_i16(*format);
    }
    packet(Some(b'B'), &body)
}

fn describe(kind: u8, name: &str) -> Vec<u8> {
    packet(Some(b'D'), &[vec![kind], strings(&[name])].concat())
}

fn execute(portal: &str, max_rows: i32) -> Vec<u8> {
    packet(Some(b'E'), &[strings(&[portal]), max_rows.to_be_bytes().to_vec()].concat())
}

fn sync() -> Vec<u8> {
    packet(Some(b'S'), &[])
}

impl Client {
    async fn open(timeout: Option<Duration>, hello: &[u8], address: &str) -> (Self, Vec<String>) {
        let shared = Shared::new(Pretend { timeout }, 3);
        Self::join(shared, hello, address).await
    }

    async fn join(shared: Arc<Shared<Pretend>>, hello: &[u8], address: &str) -> (Self, Vec<String>) {
        let (stream, server) = tokio::io::duplex(1 << 20);
        let (phase, watching) = watch::channel(Phase::Serving);
        let (peer, of) = (format!("{address}:1").parse().unwrap(), Arc::clone(&shared));
        tokio::spawn(async move {
            let (reader, writer) = tokio::io::split(server);
            connection(&of, peer, reader, writer, watching).await;
        });
        let mut client = Self { stream, shared, phase, pid: 0, secret: 0 };
        let answer = client.ask(hello).await;
        (client, answer)
    }

    async fn root() -> Self {
        Self::open(None, &startup(&["user", "root"]), "127.0.0.1").await.0
    }

    /// Sends, and reads up to ReadyForQuery, a question for a password, or the end.
    async fn ask(&mut self, bytes: &[u8]) -> Vec<String> {
        let _ = self.stream.write_all(bytes).await;
        let mut told = Vec::new();
        while let Some(message) = self.message().await {
            let last = message.starts_with("Ready") || message.starts_with("Auth SASL");
            told.push(message);
            if last {
                break;
            }
        }
        told
    }

    async fn message(&mut self) -> Option<String> {
        let kind = self.stream.read_u8().await.ok()?;
        let length = self.stream.read_u32().await.ok()?;
        let mut body = vec![0; length as usize - 4];
        self.stream.read_exact(&mut body).await.ok()?;
        let text = |body: &[u8]| String::from_utf8_lossy(body).replace('\0', "|");
        Some(match kind {
            b'K' => {
                let mut body = &body[..];
                (self.pid, self.secret) = (body.get_i32(), body.get_i32());
                "Key".to_owned()
            }
            b'Z' => format!("Ready {}", text(&body)),
            b'R' if body[..4] == [0, 0, 0, 0] => "Auth Ok".to_owned(),
            b'R' => format!("Auth SASL {} {}", body[3], text(&body[4..])),
            b'E' | b'N' => {
                let name = if kind == b'E' { "Error" } else { "Notice" };
                let fields = body.split(|byte| *byte == 0).filter(|field| !field.is_empty());
                let fields: Vec<_> = fields.filter(|field| !b"V".contains(&field[0])).map(text).collect();
                format!("{name} {}", fields.join(" "))
            }
            b'T' => {
                let mut body = &body[2..];
                let mut names = Vec::new();
                while let Some(end) = body.iter().position(|byte| *byte == 0) {
                    names.push(format!("{}:{}", text(&body[..end]), body[end + 18]));
                    body = &body[end + 19..];
                }
                format!("Columns {}", names.join(" "))
            }
            b'D' => {
                let mut body = &body[2..];
                let mut values = Vec::new();
                while !body.is_empty() {
                    let length = body.get_i32() as usize;
                    values.push(String::from_utf8_lossy(&body[..length]).replace('\0', "."));
                    body.advance(length);
                }
                format!("Row {}", values.join(" "))
            }
            b'C' => format!("Complete {}", text(&body)),
            b'S' => format!("Status {}", text(&body)),
            b'I' => "Empty".to_owned(),
            b'1' => "Parsed".to_owned(),
            b'2' => "Bound".to_owned(),
            b'3' => "Closed".to_owned(),
            b'n' => "NoData".to_owned(),
            b's' => "Suspended".to_owned(),
            b't' => format!("Parameters {}", body[1]),
            b'H' => format!("CopyOut {}", body[0]),
            b'd' => format!("Copy {}", text(&body)),
            b'c' => "CopyDone".to_owned(),
            b'v' => format!("Negotiate 3.{} {}", body[3], text(&body[8..])),
            other => format!("? {}", char::from(other)),
        })
    }
}

#[tokio::test]
async fn startup_and_refusals() {
    let (_, told) = Client::open(None, &startup(&["user", "root", "database", "d"]), "127.0.0.1").await;
    assert_eq!(told, ["Auth Ok", "Status server_version|15.0|", "Key", "Ready I"]);
    let (_, told) = Client::open(None, &startup(&["user", "root", "_pq_.x", "1"]), "127.0.0.1").await;
    assert_eq!(told[..2], ["Negotiate 3.0 _pq_.x|", "Auth Ok"]);
    for (hello, address, state) in [
        (startup(&["user", "root"]), "10.1.2.3", "C28000"),
        (startup(&["user", "root", "database", "absent"]), "127.0.0.1", "C3D000"),
        (startup(&[]), "127.0.0.1", "C28000"),
        (startup(&["user"]), "127.0.0.1", "C08P01"),
        (startup(&["user", "root", "replication", "database"]), "127.0.0.1", "C0A000"),
        (packet(None, &[0, 2, 0, 0, 0]), "127.0.0.1", "C0A000"),
        (vec![0x7f, 0xff, 0xff, 0xff, 0, 3, 0, 0], "127.0.0.1", "C08P01"),
    ] {
        let (_, told) = Client::open(None, &hello, address).await;
        assert!(told.len() == 1 && told[0].starts_with(&format!("Error SFATAL {state}")), "{told:?}");
    }
}

#[tokio::test]
async fn encryption_is_refused_then_the_session_starts() {
    let shared = Shared::new(Pretend { timeout: None }, 3);
    let (mut client, _) = Client::join(Arc::clone(&shared), &startup(&["user", "root"]), "127.0.0.1").await;
    let (mut stream, server) = tokio::io::duplex(1 << 10);
    let (phase, watching) = watch::channel(Phase::Serving);
    tokio::spawn(async move {
        let (reader, writer) = tokio::io::split(server);
        connection(&shared, "127.0.0.1:1".parse().unwrap(), reader, writer, watching).await;
    });
    for code in [80_877_103u32, 80_877_104] {
        stream.write_all(&packet(None, &code.to_be_bytes())).await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap(), b'N');
    }
    std::mem::swap(&mut client.stream, &mut stream);
    assert_eq!(client.ask(&startup(&["user", "root"])).await.last().unwrap(), "Ready I");
    drop(phase);
}

#[tokio::test]
async fn wrong_passwords_and_unknown_users_fail_alike() {
    let mut answers = Vec::new();
    for name in ["secret", "nobody"] {
        let (mut client, told) = Client::open(None, &startup(&["user", name]), "127.0.0.1").await;
        assert_eq!(told, ["Auth SASL 10 SCRAM-SHA-256||"]);
        let first = b"n,,n=,r=abcdefghijklmnop";
        let mut body = strings(&["SCRAM-SHA-256"]);
        body.put_u32(first.len() as u32);
        body.extend_from_slice(first);
        let told = client.ask(&packet(Some(b'p'), &body)).await;
        assert!(told[0].starts_with("Auth SASL 11 r=abcdefghijklmnop") && told[0].ends_with(",i=4096"), "{told:?}");
        let nonce = told[0]["Auth SASL 11 ".len()..].split(',').next().unwrap().to_owned();
        let proof = "A".repeat(43) + "=";
        let told = client.ask(&packet(Some(b'p'), format!("c=biws,{nonce},p={proof}").as_bytes())).await;
        answers.push(told[0].replace(name, "X"));
    }
    assert_eq!(answers[0], "Error SFATAL C28P01 Mpassword authentication failed for user \"X\"");
    assert_eq!(answers[0], answers[1]);
}

#[tokio::test]
async fn simple_protocol() {
    let mut client = Client::root().await;
    let columns = "Columns n:0 t:0";
    assert_eq!(
        client.ask(&query("rows 3")).await,
        [columns, "Row 0 t0", "Row 1 t1", "Row 2 t2", "Complete SELECT 3|", "Ready I"]
    );
    assert_eq!(client.ask(&query("")).await, ["Empty", "Ready I"]);
    assert_eq!(client.ask(&query("-- ping")).await, ["Empty", "Ready I"]);
    assert_eq!(
        client.ask(&query("rows 1; fail; rows 2")).await,
        [
            columns,
            "Row 0 t0",
            "Complete SELECT 1|",
            "Error SERROR C42P01 Mno such table",
            "Status implicit|begin rollback|",
            "Ready I"
        ]
    );
    assert_eq!(
        client.ask(&query("a; b")).await,
        ["Complete A|", "Complete B|", "Status implicit|begin rollback begin commit|", "Ready I"]
    );
    assert_eq!(
        client.ask(&query("syntax error")).await,
        ["Error SERROR C42601 Msyntax error at or near \"error\" HWrite it well. P8", "Ready I"]
    );
    assert_eq!(
        client.ask(&query("notice")).await,
        ["Notice SNOTICE C00000 Mhear", "Complete SET|", "Status TimeZone|UTC|", "Ready I"]
    );
    let told = client.ask(&query("panic")).await;
    assert!(told[0].starts_with("Error SERROR CXX000 Minternal error: a defect"), "{told:?}");
    assert_eq!(client.ask(&query("begin")).await, ["Complete BEGIN|", "Ready T"]);
    assert_eq!(client.ask(&query("fail")).await, ["Error SERROR C42P01 Mno such table", "Ready E"]);
    assert_eq!(client.ask(&query("x")).await, ["Error SERROR C25P02 Mcurrent transaction is aborted", "Ready E"]);
    assert_eq!(client.ask(&query("commit")).await, ["Complete COMMIT|", "Ready I"]);
}

#[tokio::test]
async fn copy_out_as_postgresql_frames_it() {
    let mut client = Client::root().await;
    assert_eq!(
        client.ask(&query("copy 2")).await,
        ["CopyOut 0", "Copy 0\tt0\n", "Copy 1\tt1\n", "CopyDone", "Complete COPY 2|", "Ready I"]
    );
    let told = client.ask(&query("binary 1")).await;
    assert_eq!(told.len(), 6, "{told:?}");
    assert!(told[1].starts_with("Copy PGCOPY\n") && told[1].ends_with("t0"));
    // The signature comes even without rows.
    let told = client.ask(&query("binary 0")).await;
    assert!(told.len() == 5 && told[1].starts_with("Copy PGCOPY\n"), "{told:?}");
}

#[tokio::test]
async fn extended_protocol() {
    let mut client = Client::root().await;
    let all = [
        parse("", "rows 2"),
        describe(b'S', ""),
        bind("", "", &[], &[1, 0]),
        describe(b'P', ""),
        execute("", 0),
        sync(),
    ];
    assert_eq!(
        client.ask(&all.concat()).await,
        [
            "Parsed",
            "Parameters 0",
            "Columns n:0 t:0",
            "Bound",
            "Columns n:1 t:0",
            "Row .... t0",
            "Row ...\u{1} t1",
            "Complete SELECT 2|",
            "Ready I"
        ]
    );
    let echo = [parse("e", "echo"), bind("", "e", &["hi"], &[]), execute("", -5), sync()];
    assert_eq!(client.ask(&echo.concat()).await, ["Parsed", "Bound", "Complete hi|", "Ready I"]);
    let empty = [parse("", ""), bind("", "", &[], &[]), describe(b'P', ""), execute("", i32::MAX), sync()];
    assert_eq!(client.ask(&empty.concat()).await, ["Parsed", "Bound", "NoData", "Empty", "Ready I"]);
    assert_eq!(client.ask(&[describe(b'P', "sqlcursor"), sync()].concat()).await, ["Columns n:0 t:0", "Ready I"]);
    for (wrong, state) in [
        (bind("", "nosuch", &[], &[]), "C26000"),
        (bind("", "e", &[], &[]), "C08P01"),
        (parse("e", "echo"), "C42P05"),
        (parse("", "a; b"), "C42601"),
        (execute("nosuch", 0), "C34000"),
        (describe(b'S', "nosuch"), "C26000"),
        (packet(Some(b'B'), &[0, 0, 0xff, 0xff]), "C08P01"),
        (packet(Some(b'P'), b"\0\xff\0\0\0"), "C22021"),
    ] {
        // What follows the error is passed over up to Sync.
        let told = client.ask(&[wrong, execute("also-nosuch", 0), sync()].concat()).await;
        assert!(told.len() == 2 && told[0].starts_with(&format!("Error SERROR {state}")), "{state} {told:?}");
    }
}

#[tokio::test]
async fn a_pipeline_is_one_transaction() {
    let mut client = Client::root().await;
    let run = |word: &str| [parse("", word), bind("", "", &[], &[]), execute("", 0)].concat();
    let told = client.ask(&[run("a"), run("b"), sync()].concat()).await;
    assert_eq!(
        told[2..],
        ["Complete A|", "Parsed", "Bound", "Complete B|", "Status implicit|begin commit|", "Ready I"]
    );
    let told = client.ask(&[run("a"), run("fail"), run("b"), sync()].concat()).await;
    assert_eq!(
        told[2..],
        [
            "Complete A|",
            "Parsed",
            "Bound",
            "Error SERROR C42P01 Mno such table",
            "Status implicit|begin commit begin rollback|",
            "Ready I"
        ]
    );
}

#[tokio::test]
async fn portals_wait_and_outlive_sync_inside_a_transaction() {
    let mut client = Client::root().await;
    client.ask(&query("begin")).await;
    let first = [parse("", "rows 5"), bind("c", "", &[], &[]), execute("c", 3), sync()];
    assert_eq!(
        client.ask(&first.concat()).await,
        ["Parsed", "Bound", "Row 0 t0", "Row 1 t1", "Row 2 t2", "Suspended", "Ready T"]
    );
    assert_eq!(client.ask(&[execute("c", 2), sync()].concat()).await, ["Row 3 t3", "Row 4 t4", "Suspended", "Ready T"]);
    assert_eq!(client.ask(&[execute("c", 2), sync()].concat()).await, ["Complete SELECT 0|", "Ready T"]);
    client.ask(&query("commit")).await;
    let told = client.ask(&[execute("c", 2), sync()].concat()).await;
    assert!(told[0].starts_with("Error SERROR C34000"), "{told:?}");
}

#[tokio::test]
async fn cancel_timeout_and_the_end_of_the_process() {
    let (mut client, _) = Client::open(None, &startup(&["user", "root"]), "127.0.0.1").await;
    let (pid, secret, shared) = (client.pid, client.secret, Arc::clone(&client.shared));
    // Nothing runs: the request is forgotten.
    shared.registry.cancel(pid, secret);
    assert_eq!(client.ask(&query("rows 0")).await.last().unwrap(), "Ready I");
    client.stream.write_all(&query("forever")).await.unwrap();
    let told = tokio::join!(client.ask(&[]), async {
        shared.registry.cancel(pid, secret.wrapping_add(1));
        tokio::task::yield_now().await;
        let mut body = 80_877_102u32.to_be_bytes().to_vec();
        body.put_i32(pid);
        body.put_i32(secret);
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        Client::join(Arc::clone(&shared), &packet(None, &body), "127.0.0.1").await
    });
    assert_eq!(told.0, ["Error SERROR C57014 Mcanceling statement due to user request", "Ready I"]);
    assert!(told.1.1.is_empty());
    client.phase.send_replace(Phase::Draining);
    let told = client.ask(&[]).await;
    assert_eq!(told, ["Error SFATAL C57P01 Mterminating connection due to administrator command"]);

    let (mut client, _) = Client::open(Some(Duration::from_millis(5)), &startup(&["user", "root"]), "127.0.0.1").await;
    let told = client.ask(&query("forever")).await;
    assert_eq!(told, ["Error SERROR C57014 Mcanceling statement due to statement timeout", "Ready I"]);

    let mut client = Client::root().await;
    client.stream.write_all(&query("forever")).await.unwrap();
    client.phase.send_replace(Phase::Draining);
    client.phase.send_replace(Phase::Stopping);
    let told = client.ask(&[]).await;
    assert_eq!(told, ["Error SFATAL C57P01 Mterminating connection due to administrator command"]);
}

#[tokio::test]
async fn a_client_that_leaves_frees_its_seat() {
    let mut client = Client::root().await;
    client.stream.write_all(&query("forever")).await.unwrap();
    let shared = Arc::clone(&client.shared);
    assert_eq!(shared.registry.len(), 1);
    drop(client);
    while shared.registry.len() > 0 {
        tokio::task::yield_now().await;
    }
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(Client::join(Arc::clone(&shared), &startup(&["user", "root"]), "127.0.0.1").await);
    }
    let (_, told) = Client::join(shared, &startup(&["user", "root"]), "127.0.0.1").await;
    assert!(told[0].starts_with("Error SFATAL C53300 Msorry, too many clients already"), "{told:?}");
}

#[tokio::test]
async fn impossible_lengths_end_the_connection() {
    for (kind, length) in [(b'Q', 0x7fff_ffffu32), (b'Q', 3), (b'S', 100_000), (b'!', 4)] {
        let mut client = Client::root().await;
        let mut bytes = BytesMut::new();
        bytes.put_u8(kind);
        bytes.put_u32(length);
        let told = client.ask(&bytes).await;
        assert!(told.len() == 1 && told[0].starts_with("Error SFATAL C08P01"), "{kind} {length} {told:?}");
    }
}

#[tokio::test]
async fn a_long_result_arrives_whole_through_a_narrow_pipe() {
    let mut client = Client::root().await;
    let told = client.ask(&query("rows 100000")).await;
    assert_eq!(told.len(), 100_003);
    assert_eq!(told[100_000], "Row 99999 t99999");
}
