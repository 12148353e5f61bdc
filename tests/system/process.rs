//! Starting and stopping: one process per data directory, clear errors with exit code 2, a clean end on SIGTERM.

use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::Duration;

use tests::{Options, Server, binary, free_port, sqlstate};

/// Exit code and stderr of a server that is expected to refuse to start.
fn refused(arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(binary())
        .arg("serve")
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("the server's binary can be run");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn listens() -> [String; 6] {
    let listen = |_| format!("127.0.0.1:{}", free_port());
    let [pg, rpc, http] = [0, 1, 2].map(listen);
    ["--pg-listen".into(), pg, "--rpc-listen".into(), rpc, "--http-listen".into(), http]
}

#[tokio::test]
async fn one_process_per_data_directory() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let _server = Server::start(folder.path(), &Options::default()).await;
    let listens = listens();
    let mut arguments = vec!["--data-dir", folder.path().to_str().expect("a temporary path is UTF-8")];
    arguments.extend(listens.iter().map(String::as_str));
    let (code, said) = refused(&arguments);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("in use"), "{said}");
}

#[test]
fn a_port_in_use_is_a_clear_error() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let taken = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let address = taken.local_addr().expect("a listener has an address").to_string();
    let mut listens = listens();
    listens[1].clone_from(&address);
    let mut arguments = vec!["--data-dir", folder.path().to_str().expect("a temporary path is UTF-8")];
    arguments.extend(listens.iter().map(String::as_str));
    let (code, said) = refused(&arguments);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains(&address), "{said}");
}

#[test]
fn unknown_settings_are_refused_all_at_once() {
    let (code, said) = refused(&["--set", "nosuch=1", "--set", "flush_rows=many"]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("nosuch") && said.contains("flush_rows"), "{said}");
}

#[tokio::test]
async fn health_and_metrics_answer() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let server = Server::start(folder.path(), &Options::default()).await;
    let get = |path: &str| {
        let address = format!("http://127.0.0.1:{}{path}", server.http_port);
        let output = Command::new("curl").args(["-sS", "--max-time", "10", "-w", "\n%{http_code}", &address]).output();
        String::from_utf8_lossy(&output.expect("curl can be run").stdout).into_owned()
    };
    assert!(get("/health").ends_with("200"), "{}", get("/health"));
    let metrics = get("/metrics");
    assert!(metrics.contains("# TYPE"), "{metrics}");
}

#[tokio::test]
async fn sigterm_ends_running_statements_and_leaves_in_time() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let mut server = Server::start(folder.path(), &Options::default()).await;
    let client = server.connect("postgres").await;
    let long = tokio::spawn(async move {
        sqlstate(&client, "SELECT count(*) FROM generate_series(1, 1000000000) a, generate_series(1, 1000000) b").await
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    let status = server.stop().await;
    assert_eq!(status.code(), Some(0), "{}", server.log());
    let state = long.await.expect("the statement ends");
    assert!(["57P01", "57014"].contains(&state.as_str()), "{state}");
}
