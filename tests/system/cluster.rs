//! Three processes that are one database: acknowledged rows survive each of them dying and hanging, and any of them
//! answers for all.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tests::{Options, Server, column, free_port, sqlstate};
use tokio::task::JoinHandle;
use tokio_postgres::{Client, NoTls};

/// Rows in one INSERT.
const BATCH: u64 = 20;
/// First timestamp, in milliseconds.
const START_MS: u64 = 1_700_000_000_000;
/// Longest time that anything here may take.
const LONGEST: Duration = Duration::from_secs(60);

/// Servers of one cluster, each on ports of its own.
struct Cluster {
    servers: Vec<Server>,
    options: Vec<Options>,
    data: tempfile::TempDir,
}

impl Cluster {
    async fn start(dnodes: usize) -> Self {
        let data = tempfile::tempdir().expect("a directory");
        let ports: Vec<u16> = (0..dnodes).map(|_| free_port()).collect();
        let first = |at: usize| (at > 0).then_some(ports[0]);
        let options: Vec<Options> = (0..dnodes).map(|at| Options::default().dnode(ports[at], first(at))).collect();
        let mut cluster = Self { servers: Vec::new(), options, data };
        for at in 0..dnodes {
            let server = cluster.run(at).await;
            cluster.servers.push(server);
        }
        let client = cluster.servers[0].connect("postgres").await;
        let mnodes = if dnodes < 3 { 1 } else { 3 };
        until(&client, "SELECT count(*) FROM information_schema.ins_dnodes WHERE status = 'ready'", dnodes).await;
        let voting = "SELECT count(*) FROM information_schema.ins_mnodes WHERE role IN ('leader', 'follower')";
        until(&client, voting, mnodes).await;
        cluster
    }

    fn directory(&self, at: usize) -> std::path::PathBuf {
        self.data.path().join(at.to_string())
    }

    async fn run(&self, at: usize) -> Server {
        Server::start(Path::new(&self.directory(at)), &self.options[at]).await
    }
}

/// Waits until a query gives one number.
async fn until(client: &Client, sql: &str, wanted: usize) {
    let start = Instant::now();
    loop {
        let found = column(client, sql).await;
        if found == [wanted.to_string()] {
            return;
        }
        assert!(start.elapsed() < LONGEST, "{sql} gives {found:?}, not {wanted}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A writer's progress.
#[derive(Default)]
struct Written {
    /// Rows acknowledged.
    rows: AtomicU64,
    /// Longest time between two acknowledgements, in milliseconds.
    stall_ms: AtomicU64,
}

/// Writes rows 0, 1, 2, … into table `w{writer}` through the server at `port`, each batch until it is acknowledged. A batch
/// whose outcome is not known is written again: its rows have keys of their own, so nothing comes twice.
fn writer(port: Arc<AtomicU64>, writer: usize, stop: Arc<AtomicBool>) -> (Arc<Written>, JoinHandle<()>) {
    let written = Arc::new(Written::default());
    let told = written.clone();
    let task = tokio::spawn(async move {
        let mut client: Option<Client> = None;
        let mut last = Instant::now();
        while !stop.load(Ordering::Relaxed) {
            let Some(open) = &client else {
                let config = format!("host=127.0.0.1 port={} user=root dbname=demo", port.load(Ordering::Relaxed));
                match tokio_postgres::connect(&config, NoTls).await {
                    Ok((opened, connection)) => {
                        tokio::spawn(connection);
                        client = Some(opened);
                    }
                    Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                }
                continue;
            };
            let first = told.rows.load(Ordering::Relaxed);
            let rows: Vec<String> = (first..first + BATCH).map(|n| format!("({}, {n})", START_MS + n)).collect();
            let insert = format!("INSERT INTO w{writer} USING writers TAGS ({writer}) VALUES {}", rows.join(" "));
            match open.batch_execute(&insert).await {
                Ok(()) => {
                    told.rows.store(first + BATCH, Ordering::Relaxed);
                    let stall = u64::try_from(last.elapsed().as_millis()).unwrap_or(u64::MAX);
                    told.stall_ms.fetch_max(stall, Ordering::Relaxed);
                    last = Instant::now();
                }
                // The server has died, is stopping, has no majority, or does not know: the same rows again.
                Err(error) => {
                    let state = error.code().map(|code| code.code().to_owned());
                    let expected = state.as_deref().is_none_or(|code| matches!(code, "57P01" | "57P03" | "40003"));
                    assert!(expected, "writer {writer}: {error:?}");
                    if state.is_none() {
                        client = None;
                    }
                }
            }
        }
    });
    (written, task)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_rows_survive_each_dnode_dying_and_hanging() {
    let mut cluster = Cluster::start(3).await;
    let client = cluster.servers[0].connect("postgres").await;
    client.batch_execute("CREATE DATABASE demo REPLICA 3 VGROUPS 2").await.expect("created");
    let super_table = "CREATE STABLE demo.writers (ts TIMESTAMP, serial BIGINT) TAGS (writer INT)";
    client.batch_execute(super_table).await.expect("created");

    let stop = Arc::new(AtomicBool::new(false));
    let ports: Vec<Arc<AtomicU64>> =
        cluster.servers.iter().map(|server| Arc::new(AtomicU64::new(u64::from(server.port)))).collect();
    let writers: Vec<_> = (0..3).map(|at| writer(ports[at].clone(), at, stop.clone())).collect();
    let progress = |at: usize| writers[at].0.rows.load(Ordering::Relaxed);
    for (away, port) in ports.iter().enumerate() {
        let others = [(away + 1) % 3, (away + 2) % 3];
        let going_on = async |what: &str| {
            let before = others.map(progress);
            let start = Instant::now();
            while others.iter().zip(before).any(|(at, before)| progress(*at) < before + 5 * BATCH) {
                assert!(start.elapsed() < LONGEST, "the others do not go on while dnode {} is {what}", away + 1);
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        cluster.servers[away].kill();
        going_on("dead").await;
        let server = cluster.run(away).await;
        port.store(u64::from(server.port), Ordering::Relaxed);
        cluster.servers[away] = server;
        let ready = cluster.servers[others[0]].connect("postgres").await;
        until(&ready, "SELECT count(*) FROM information_schema.ins_dnodes WHERE status = 'ready'", 3).await;
        cluster.servers[away].signal("STOP");
        going_on("hanging").await;
        cluster.servers[away].signal("CONT");
        until(&ready, "SELECT count(*) FROM information_schema.ins_dnodes WHERE status = 'ready'", 3).await;
    }
    stop.store(true, Ordering::Relaxed);
    let mut acknowledged = Vec::new();
    for (written, task) in writers {
        task.await.expect("a writer ends");
        acknowledged.push((written.rows.load(Ordering::Relaxed), written.stall_ms.load(Ordering::Relaxed)));
    }
    println!("acknowledged rows and longest stall in ms of each writer: {acknowledged:?}");

    for server in &cluster.servers {
        let client = server.connect("demo").await;
        for (writer, (rows, _)) in acknowledged.iter().enumerate() {
            // What was sent last may be there without an acknowledgement.
            let found: u64 =
                column(&client, &format!("SELECT count(*) FROM w{writer}")).await[0].parse().expect("a count");
            assert!((*rows..=rows + BATCH).contains(&found), "writer {writer}: {found} rows, {rows} acknowledged");
            let holes = format!("SELECT count(*) FROM w{writer} WHERE serial <> CAST(ts AS BIGINT) - {START_MS}");
            let distinct = format!("SELECT count(DISTINCT serial) = max(serial) + 1 FROM w{writer}");
            assert_eq!(
                (column(&client, &holes).await, column(&client, &distinct).await),
                (vec!["0".into()], vec!["t".into()])
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_dnode_takes_any_statement() {
    let cluster = Cluster::start(2).await;
    let (one, other) = (cluster.servers[0].connect("postgres").await, cluster.servers[1].connect("postgres").await);
    let refused = one.batch_execute("CREATE DATABASE d REPLICA 3").await.expect_err("two dnodes");
    assert!(refused.as_db_error().expect("said").message().contains("more dnodes are needed"), "{refused:?}");
    other.batch_execute("CREATE DATABASE d VGROUPS 4").await.expect("created");
    let (one, other) = (cluster.servers[0].connect("d").await, cluster.servers[1].connect("d").await);
    other.batch_execute("CREATE STABLE s (ts TIMESTAMP, v DOUBLE) TAGS (g INT)").await.expect("created");
    for at in 0..20 {
        let client = if at % 2 == 0 { &one } else { &other };
        let insert = format!("INSERT INTO t{at} USING s TAGS ({at}) VALUES (now, {at}.5) (now + 1s, NULL)");
        client.batch_execute(&insert).await.expect("written");
    }
    let spread = "SELECT count(DISTINCT dnode_id) FROM information_schema.ins_vnodes WHERE db_name = 'd'";
    let sum = "SELECT count(*) || ' ' || sum(v) || ' ' || count(DISTINCT tbname) FROM s WHERE g >= 0";
    let top = "SELECT tbname || ' ' || last(v) FROM s GROUP BY tbname ORDER BY last(v) DESC LIMIT 1";
    for client in [&one, &other] {
        assert_eq!(column(client, spread).await, ["2"], "both carry vgroups");
        assert_eq!(column(client, sum).await, ["40 200 20"]);
        assert_eq!(column(client, top).await, ["t19 19.5"]);
        // Rows that a transaction holds travel with its scans.
        client.batch_execute("BEGIN; INSERT INTO t0 VALUES (now + 1h, 1000)").await.expect("held");
        assert_eq!(column(client, "SELECT sum(v) FROM s").await, ["1200"]);
        client.batch_execute("ROLLBACK").await.expect("undone");
    }
    assert_eq!(sqlstate(&other, "CREATE MNODE ON DNODE 9").await, "42704");
    assert_eq!(sqlstate(&other, "CREATE DNODE 'no where'").await, "22023");
    // Authorised, and never there: it is shown, and carries nothing.
    other.batch_execute("CREATE DNODE '127.0.0.1:1'").await.expect("authorised");
    let states = "SELECT status || ' ' || vnodes FROM information_schema.ins_dnodes WHERE id = 3";
    assert_eq!(column(&one, states).await, ["offline 0"]);
    assert_eq!(sqlstate(&one, "CREATE DATABASE e REPLICA 3").await, "53400");
}
