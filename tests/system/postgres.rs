//! PostgreSQL 15 as the oracle: the tour's figures to 12 significant digits, and psql's `\d` to the letter.

use std::process::Command;

use tests::postgres::Postgres;
use tests::{Options, Server, root};
use tokio_postgres::{Client, SimpleQueryMessage};

/// Figures that both compute: what it is, our SQL, PostgreSQL's.
const FIGURES: [(&str, &str, &str); 7] = [
    (
        "totals",
        "SELECT tbname, count(*), min(ts), max(ts), avg(ot), min(ot), max(ot), sum(hufl), last(ot), first(hull)
         FROM transformers GROUP BY tbname ORDER BY tbname",
        "SELECT name, count(*), min(ts), max(ts), avg(ot), min(ot), max(ot), sum(hufl),
         (array_agg(ot ORDER BY ts DESC))[1], (array_agg(hull ORDER BY ts))[1]
         FROM etth GROUP BY name ORDER BY name",
    ),
    (
        "days of a month",
        "SELECT _wstart, tbname, avg(ot), max(hufl), last(ot) FROM transformers
         WHERE ts >= '2017-01-01' AND ts < '2017-02-01' PARTITION BY tbname INTERVAL(1d) FILL(PREV)
         ORDER BY tbname, _wstart",
        "SELECT date_trunc('day', ts), name, avg(ot), max(hufl), (array_agg(ot ORDER BY ts DESC))[1] FROM etth
         WHERE ts >= '2017-01-01' AND ts < '2017-02-01' GROUP BY 1, 2 ORDER BY 2, 1",
    ),
    (
        "weeks since the epoch's Thursday",
        "SELECT _wstart, count(*), avg(ot) FROM etth1 WHERE ts >= '2017-01-01' AND ts < '2017-02-01' INTERVAL(1w)",
        "SELECT date_bin('7 days', ts, '1970-01-01'), count(*), avg(ot) FROM etth
         WHERE name = 'etth1' AND ts >= '2017-01-01' AND ts < '2017-02-01' GROUP BY 1 ORDER BY 1",
    ),
    (
        "calendar months",
        "SELECT _wstart, avg(ot), spread(ot), stddev(ot) FROM etth1 INTERVAL(1n)",
        "SELECT date_trunc('month', ts), avg(ot), max(ot) - min(ot), stddev_pop(ot) FROM etth
         WHERE name = 'etth1' GROUP BY 1 ORDER BY 1",
    ),
    (
        "six-hour windows every two hours",
        "SELECT _wstart, count(*), sum(ot) FROM etth2 WHERE ts >= '2017-03-01' AND ts < '2017-03-03'
         INTERVAL(6h) SLIDING(2h)",
        "SELECT w, count(*), sum(ot) FROM etth,
         generate_series('2017-02-28 20:00:00+00'::timestamptz, '2017-03-02 22:00:00+00', '2 hours') w
         WHERE name = 'etth2' AND ts >= '2017-03-01' AND ts < '2017-03-03' AND ts >= w AND ts < w + '6 hours'
         GROUP BY w ORDER BY w",
    ),
    (
        "differences of neighbours",
        "SELECT ts, diff(ot) FROM etth1 WHERE ts >= '2017-01-01' AND ts < '2017-01-03' ORDER BY ts",
        "SELECT ts, ot - lag(ot) OVER (ORDER BY ts) FROM etth
         WHERE name = 'etth1' AND ts >= '2017-01-01' AND ts < '2017-01-03' ORDER BY ts",
    ),
    (
        "a join",
        "SELECT count(*), avg(a.ot - b.ot), max(a.ot * b.hufl) FROM etth1 a JOIN etth2 b ON a.ts = b.ts",
        "SELECT count(*), avg(a.ot - b.ot), max(a.ot * b.hufl) FROM etth a JOIN etth b ON a.ts = b.ts
         WHERE a.name = 'etth1' AND b.name = 'etth2'",
    ),
];

async fn texts(client: &Client, sql: &str) -> Vec<Vec<String>> {
    let messages = client.simple_query(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    let rows = messages.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some((0..row.len()).map(|i| row.get(i).unwrap_or("NULL").to_owned()).collect()),
        _ => None,
    });
    rows.collect()
}

/// Equal as text, or as numbers to 12 significant digits.
fn agree(ours: &str, theirs: &str) -> bool {
    if ours == theirs {
        return true;
    }
    let (Ok(ours), Ok(theirs)) = (ours.parse::<f64>(), theirs.parse::<f64>()) else { return false };
    (ours - theirs).abs() <= theirs.abs().max(ours.abs()) * 1e-12
}

async fn copy(client: &Client, sql: &str, file: &str) {
    use futures::SinkExt;
    let data = std::fs::read(root().join("tests/data").join(file)).expect("the data is in the project");
    let mut sink = Box::pin(client.copy_in(sql).await.expect("COPY starts"));
    sink.send(std::io::Cursor::new(data)).await.expect("data is taken");
    assert_eq!(sink.as_mut().finish().await.expect("COPY ends"), 17_420);
}

async fn load_postgres(client: &Client) {
    let columns =
        "ts timestamptz, hufl float8, hull float8, mufl float8, mull float8, lufl float8, lull float8, ot float8";
    client
        .batch_execute(&format!("CREATE TABLE raw ({columns}); CREATE TABLE etth (name text, {columns})"))
        .await
        .expect("tables");
    for (name, file) in [("etth1", "ETTh1.csv"), ("etth2", "ETTh2.csv")] {
        copy(client, "COPY raw FROM STDIN WITH (FORMAT csv, HEADER true)", file).await;
        client
            .batch_execute(&format!("INSERT INTO etth SELECT '{name}', * FROM raw; TRUNCATE raw"))
            .await
            .expect("rows");
    }
}

async fn load_ours(server: &Server) -> Client {
    let admin = server.connect("postgres").await;
    admin.batch_execute("CREATE DATABASE power KEEP 36500 DURATION 30").await.expect("a database");
    let client = server.connect("power").await;
    client
        .batch_execute(
            "CREATE STABLE transformers (ts TIMESTAMP, hufl DOUBLE, hull DOUBLE, mufl DOUBLE, mull DOUBLE, lufl DOUBLE,
             lull DOUBLE, ot DOUBLE) TAGS (station VARCHAR(16));
             CREATE TABLE etth1 USING transformers TAGS ('north') etth2 USING transformers TAGS ('south')",
        )
        .await
        .expect("tables");
    for (table, file) in [("etth1", "ETTh1.csv"), ("etth2", "ETTh2.csv")] {
        copy(&client, &format!("COPY {table} FROM STDIN WITH (FORMAT csv, HEADER true)"), file).await;
    }
    client
}

async fn compare(ours: &Client, theirs: &Client, when: &str) {
    for (what, our_sql, their_sql) in FIGURES {
        let (ours, theirs) = (texts(ours, our_sql).await, texts(theirs, their_sql).await);
        assert_eq!(ours.len(), theirs.len(), "{what} ({when}): as many rows");
        assert!(!ours.is_empty(), "{what}: some rows");
        for (ours, theirs) in ours.iter().zip(&theirs) {
            let same = ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(ours, theirs)| agree(ours, theirs));
            assert!(same, "{what} ({when}):\n ours   {ours:?}\n theirs {theirs:?}");
        }
    }
}

#[tokio::test]
async fn the_tours_figures_are_postgresqls() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let mut server = Server::start(folder.path(), &Options::default()).await;
    let postgres = Postgres::start().await;
    let theirs = postgres.connect().await;
    load_postgres(&theirs).await;
    let ours = load_ours(&server).await;
    compare(&ours, &theirs, "from the memtable").await;
    ours.batch_execute("FLUSH DATABASE power").await.expect("flushed");
    compare(&ours, &theirs, "from blocks").await;
    server.kill();
    let server = Server::start(folder.path(), &Options::default()).await;
    let ours = server.connect("power").await;
    compare(&ours, &theirs, "after kill -9 and a restart").await;
    // The tour itself runs, twice: it says IF NOT EXISTS, and loading again updates the same rows.
    drop(ours);
    server.connect("postgres").await.batch_execute("DROP DATABASE power").await.expect("dropped");
    for _ in 0..2 {
        let port = server.port.to_string();
        let output = Command::new("psql")
            .args(["-X", "-h", "127.0.0.1", "-U", "root", "-p", &port, "-f", "docs/tour.sql"])
            .current_dir(root())
            .output()
            .expect("psql can be run");
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        assert!(said.contains("COPY 17420"), "{said}");
    }
}

/// What psql prints, without the connection's noise.
fn psql(port: u16, user: &str, database: &str, text: &str) -> String {
    let output = Command::new("psql")
        .args(["-X", "-h", "127.0.0.1", "-P", "pager=off", "-v", "ON_ERROR_STOP=1"])
        .args(["-p", &port.to_string(), "-U", user, "-d", database, "-c", text])
        .output()
        .expect("psql can be run");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}\n{out}\n{err}");
    out.into_owned()
}

#[tokio::test]
async fn psqls_d_prints_the_same_for_the_same_schema() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let server = Server::start(folder.path(), &Options::default()).await;
    let postgres = Postgres::start().await;
    psql(server.port, "root", "postgres", "CREATE DATABASE shown");
    let plain = "CREATE TABLE people (id integer NOT NULL, name text, height double precision, paid numeric(10,2),
                 born date, small smallint, big bigint, ok boolean, raw bytea, code varchar(12))";
    psql(server.port, "root", "shown", plain);
    psql(postgres.port, "root", "postgres", plain);
    psql(
        server.port,
        "root",
        "shown",
        "CREATE STABLE meters (ts TIMESTAMP, current FLOAT, voltage INT, note VARCHAR(8)) TAGS (place VARCHAR(16), grp INT)",
    );
    psql(
        postgres.port,
        "root",
        "postgres",
        "CREATE TABLE meters (ts timestamptz NOT NULL, current real, voltage integer, note varchar(8), place varchar(16), grp integer)",
    );
    for table in ["people", "meters"] {
        let text = format!("\\d {table}");
        let (ours, theirs) =
            (psql(server.port, "root", "shown", &text), psql(postgres.port, "root", "postgres", &text));
        assert_eq!(ours, theirs, "{text}");
    }
    let tables = psql(server.port, "root", "shown", "\\dt");
    assert_eq!(tables, psql(postgres.port, "root", "postgres", "\\dt"));
}
