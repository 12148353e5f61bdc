//! What ends a statement or a session from outside: idling for too long, another session, a cancel request while a join
//! holds the processors. Whoever is not meant goes on.

use std::time::{Duration, Instant};

use tests::postgres::Postgres;
use tests::raw::Raw;
use tests::{Options, Server, column};
use tokio_postgres::{Client, NoTls};

/// A join that no index helps and that gives a row at its end only: it does not yield for a long time.
const JOIN: &str = "SELECT count(*) FROM generate_series(1, 300000) a (x) JOIN generate_series(1, 300000) b (y)
                    ON a.x * b.y % 1000003 = 7 AND a.x + b.y < 0";
/// Between a cancel request and the answer.
const CANCEL_MAX: Duration = Duration::from_secs(1);

/// Lets time pass that a test is about.
#[expect(clippy::disallowed_methods, reason = "the raw clients run on threads that may block")]
fn pause(length: Duration) {
    std::thread::sleep(length);
}

#[tokio::test]
async fn clients_that_idle_for_too_long_are_sent_away() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let server = Server::start(folder.path(), &Options::default()).await;
    let postgres = Postgres::start().await;
    let done = tokio::task::spawn_blocking(move || {
        for texts in [
            &["SET idle_session_timeout = '300ms'"][..],
            &["SET idle_in_transaction_session_timeout = '300ms'", "SELECT 1", "BEGIN"],
            &["SET idle_in_transaction_session_timeout = 300", "BEGIN", "SELECT nosuch"],
        ] {
            let heard = [server.port, postgres.port].map(|port| {
                let mut raw = Raw::connect(port, "postgres");
                let answers: Vec<_> = texts.iter().flat_map(|text| raw.query(text)).collect();
                (answers, raw.until_ready())
            });
            assert_eq!(heard[0], heard[1], "{texts:?}");
            assert_eq!(heard[0].1.last().map(String::as_str), Some("end"), "{texts:?}");
        }
        // Not while a statement runs, and not outside of what it is for.
        let mut raw = Raw::connect(server.port, "postgres");
        raw.query("SET idle_session_timeout = '300ms'; SET idle_in_transaction_session_timeout = 0");
        let slept = raw.query("SELECT pg_sleep(0.6)");
        assert!(slept.contains(&"complete SELECT 1".to_owned()), "{slept:?}");
        raw.query("BEGIN");
        pause(Duration::from_millis(600));
        assert!(raw.query("SELECT 1").contains(&"row 1".to_owned()));
    });
    done.await.expect("as PostgreSQL does");
}

#[tokio::test]
async fn a_session_cancels_and_ends_another() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let server = Server::start(folder.path(), &Options::default()).await;
    let done = tokio::task::spawn_blocking(move || {
        let mut one = Raw::connect(server.port, "postgres");
        let mut other = Raw::connect(server.port, "postgres");
        let answers = one.query("SET application_name = 'victim'; SELECT pg_backend_pid()");
        let pid = answers.iter().find_map(|answer| answer.strip_prefix("row ")).expect("a process id").to_owned();
        let seen =
            other.query(&format!("SELECT application_name, state, datname FROM pg_stat_activity WHERE pid = {pid}"));
        assert!(seen.contains(&"row victim|idle|postgres".to_owned()), "{seen:?}");
        one.send(&tests::raw::query("SELECT pg_sleep(60)"));
        pause(Duration::from_millis(300));
        let seen = other.query(&format!("SELECT state, query FROM pg_stat_activity WHERE pid = {pid}"));
        assert!(seen.contains(&"row active|SELECT pg_sleep(60)".to_owned()), "{seen:?}");
        assert!(other.query(&format!("SELECT pg_cancel_backend({pid})")).contains(&"row t".to_owned()));
        let heard = one.until_ready();
        assert!(heard.contains(&"error 57014 canceling statement due to user request".to_owned()), "{heard:?}");
        // A request that comes while nothing runs does nothing.
        assert!(other.query(&format!("SELECT pg_cancel_backend({pid})")).contains(&"row t".to_owned()));
        pause(Duration::from_millis(100));
        assert!(one.query("SELECT 1").contains(&"row 1".to_owned()));
        assert!(other.query(&format!("SELECT pg_terminate_backend({pid})")).contains(&"row t".to_owned()));
        let heard = one.until_ready();
        assert_eq!(heard, ["fatal 57P01 terminating connection due to administrator command", "end"]);
        assert!(other.query(&format!("SELECT pg_terminate_backend({pid})")).contains(&"row f".to_owned()));
        // Users may do so to their own sessions only.
        other.query("CREATE USER guest");
        let own = other.query("SELECT pg_backend_pid()");
        let own = own.iter().find_map(|answer| answer.strip_prefix("row ")).expect("a process id").to_owned();
        let mut guest = Raw::connect_as(server.port, "guest", "postgres");
        let refused = guest.query(&format!("SELECT pg_terminate_backend({own})"));
        assert!(refused.iter().any(|answer| answer.starts_with("error 42501")), "{refused:?}");
    });
    done.await.expect("both are stopped");
}

/// A client and what cancels its statement.
async fn client(server: &Server) -> Client {
    server.connect("postgres").await
}

/// How long `SELECT 1` takes.
async fn answer_time(client: &Client) -> Duration {
    let began = Instant::now();
    assert_eq!(column(client, "SELECT 1").await, ["1"]);
    began.elapsed()
}

#[tokio::test]
async fn joins_that_hold_the_processors_are_cancelled_and_starve_nobody() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let server = Server::start(folder.path(), &Options::default()).await;
    let bystander = client(&server).await;
    let mut joins = Vec::new();
    for _ in 0..16 {
        let client = client(&server).await;
        let cancel = client.cancel_token();
        let running = tokio::spawn(async move { client.simple_query(JOIN).await.map(|_| ()) });
        joins.push((cancel, running));
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let mut times = Vec::new();
    for _ in 0..20 {
        times.push(answer_time(&bystander).await);
    }
    times.sort_unstable();
    // The machine is shared with other tests: the usual time counts.
    assert!(times[times.len() / 2] < CANCEL_MAX, "SELECT 1 beside 16 joins takes {times:?}");
    println!("SELECT 1 beside 16 joins: least {:?}, median {:?}, most {:?}", times[0], times[10], times[19]);
    for (cancel, running) in joins {
        assert!(!running.is_finished(), "the join is too short for this test");
        let began = Instant::now();
        cancel.cancel_query(NoTls).await.expect("the request is taken");
        let error = running.await.expect("the client ends").expect_err("it was cancelled");
        assert_eq!(error.code().map(|code| code.code()), Some("57014"), "{error:?}");
        assert!(began.elapsed() < CANCEL_MAX, "cancelled after {:?}", began.elapsed());
    }
    assert!(answer_time(&bystander).await < CANCEL_MAX);
}
