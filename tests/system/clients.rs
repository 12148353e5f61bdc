//! Real drivers: tokio-postgres with typed parameters and portals, psql, and psycopg where a Python with it is there.

use std::process::Command;

use futures::TryStreamExt;
use tests::{Options, Server, root};

async fn started() -> (tempfile::TempDir, Server) {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let server = Server::start(folder.path(), &Options::default()).await;
    let admin = server.connect("postgres").await;
    admin.batch_execute("CREATE DATABASE driven").await.expect("a database");
    (folder, server)
}

#[tokio::test]
async fn tokio_postgres_binds_and_reads_typed_values() {
    let (_folder, server) = started().await;
    let mut client = server.connect("driven").await;
    client
        .batch_execute(
            "CREATE TABLE t (ts TIMESTAMP, b BOOL, i INT, l BIGINT, f FLOAT, d DOUBLE, s VARCHAR(20), x VARBINARY(8))",
        )
        .await
        .expect("a table");
    let insert = client.prepare("INSERT INTO t VALUES ($1, $2, $3, $4, $5, $6, $7, $8)").await.expect("prepared");
    let when = std::time::UNIX_EPOCH + std::time::Duration::from_millis(1_735_689_600_123);
    let written = client
        .execute(&insert, &[&when, &true, &-7_i32, &(1_i64 << 40), &1.5_f32, &2.25_f64, &"héllo", &&b"\x00\xff"[..]])
        .await
        .expect("inserted");
    assert_eq!(written, 1);
    let none: Option<i32> = None;
    client
        .execute("INSERT INTO t (ts, i) VALUES ($1, $2)", &[&(when + std::time::Duration::from_secs(1)), &none])
        .await
        .expect("a null");
    let rows = client.query("SELECT * FROM t WHERE ts <= $1 ORDER BY ts", &[&when]).await.expect("rows");
    assert_eq!(rows.len(), 1);
    let row = &rows[0];
    assert_eq!(row.get::<_, std::time::SystemTime>(0), when);
    assert!(row.get::<_, bool>(1));
    assert_eq!(row.get::<_, i32>(2), -7);
    assert_eq!(row.get::<_, i64>(3), 1 << 40);
    assert_eq!(row.get::<_, f32>(4), 1.5);
    assert_eq!(row.get::<_, f64>(5), 2.25);
    assert_eq!(row.get::<_, &str>(6), "héllo");
    assert_eq!(row.get::<_, &[u8]>(7), b"\x00\xff");
    let transaction = client.transaction().await.expect("a transaction");
    let portal = transaction.bind("SELECT generate_series FROM generate_series(1, 10)", &[]).await.expect("a portal");
    let mut taken = Vec::new();
    for rows_max in [3, 3, 0] {
        let rows: Vec<_> =
            transaction.query_portal_raw(&portal, rows_max).await.expect("rows").try_collect().await.expect("rows");
        taken.push(rows.len());
    }
    assert_eq!(taken, [3, 3, 4], "a portal goes on where it was");
    transaction.commit().await.expect("committed");
}

/// What psql prints for these commands.
fn psql(server: &Server, database: &str, commands: &[&str]) -> String {
    let mut command = Command::new("psql");
    command.args(["-X", "-h", "127.0.0.1", "-U", "root", "-d", database, "-p", &server.port.to_string()]);
    command.args(["-v", "ON_ERROR_STOP=1", "-P", "pager=off"]);
    for text in commands {
        command.args(["-c", text]);
    }
    let output = command.current_dir(root()).output().expect("psql can be run");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{commands:?}\n{out}\n{err}");
    out.into_owned()
}

#[tokio::test]
async fn psql_describes_fetches_and_copies() {
    let (_folder, server) = started().await;
    psql(&server, "driven", &["CREATE STABLE meters (ts TIMESTAMP, voltage INT) TAGS (place VARCHAR(16))"]);
    psql(
        &server,
        "driven",
        &["INSERT INTO d1 USING meters TAGS ('here') VALUES ('2025-01-01', 220) ('2025-01-02', 221)"],
    );
    assert!(psql(&server, "driven", &["\\l"]).contains("driven"));
    assert!(psql(&server, "driven", &["\\dt"]).contains("meters"));
    let described = psql(&server, "driven", &["\\d meters"]);
    assert!(
        described.contains("timestamp with time zone") && described.contains("character varying(16)"),
        "{described}"
    );
    assert!(psql(&server, "driven", &["\\conninfo"]).contains("database \"driven\""));
    let fetched = psql(&server, "driven", &["\\set FETCH_COUNT 1", "SELECT voltage FROM meters ORDER BY ts"]);
    assert!(fetched.contains("220") && fetched.contains("221"), "{fetched}");
    let copied = psql(&server, "driven", &["\\copy (SELECT voltage FROM meters ORDER BY ts) TO STDOUT"]);
    assert_eq!(copied, "220\n221\n");
}

#[tokio::test]
async fn psycopg_works_with_its_usual_habits() {
    let (_folder, server) = started().await;
    let script = root().join("tests/system/psycopg_client.py");
    let python = root().join("target/venv/bin/python3");
    assert!(python.exists(), "{} is not there: `make test` makes it", python.display());
    let output = Command::new(python).arg(script).arg(server.port.to_string()).output().expect("Python can be run");
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{}", server.log());
}
