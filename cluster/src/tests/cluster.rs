//! Three dnodes in one process: every statement through every gateway, and one dnode after the other away. Over a network
//! whose links can be cut, and over TCP.

use std::sync::Arc;
use std::time::Duration;

use model::options::DatabaseOptions;
use model::plane::{Command, Reply, Status};
use model::schema::{RelationKind, Table};
use model::write::{Change, Tables};
use model::{DataPlane, TimeRange};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::dnode::{create, create_database, read, rows, settings, stop, write};
use crate::node::StartError;
use crate::peers::local::LocalNetwork;
use crate::peers::wire::{self, WireNetwork};
use crate::{Node, Settings, World};

/// A dnode that answers on a port of its own.
struct Served {
    stop: oneshot::Sender<()>,
    task: JoinHandle<std::io::Result<()>>,
}

/// Three dnodes of one cluster.
struct Cluster {
    /// Links that can be cut; None: TCP.
    network: Option<LocalNetwork>,
    settings: Vec<Settings>,
    nodes: Vec<Option<Arc<Node>>>,
    served: Vec<Option<Served>>,
    _directory: tempfile::TempDir,
}

impl Cluster {
    async fn start(network: Option<LocalNetwork>) -> Self {
        Self::start_with(network, |_| {}).await
    }

    async fn start_with(network: Option<LocalNetwork>, change: impl Fn(&mut Settings)) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let mut all = Vec::new();
        for number in 1..=3 {
            let endpoint = match &network {
                Some(_) => format!("d{number}:6030"),
                None => {
                    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
                    listener.local_addr().expect("bound").to_string()
                }
            };
            let first_ep = all.first().map_or(String::new(), |first: &Settings| first.endpoint.clone());
            let path = directory.path().join(number.to_string());
            let mut own = Settings { endpoint, first_ep, leader_wait_ms: 60_000, ..settings(&path) };
            change(&mut own);
            all.push(own);
        }
        let (nodes, served) = ((0..3).map(|_| None).collect(), (0..3).map(|_| None).collect());
        let mut cluster = Self { network, settings: all, nodes, served, _directory: directory };
        for at in 0..3 {
            cluster.run(at).await.expect("starts");
        }
        cluster.settled().await;
        cluster
    }

    async fn run(&mut self, at: usize) -> Result<(), StartError> {
        let settings = self.settings[at].clone();
        let world = match &self.network {
            Some(network) => World::in_process(&settings, network),
            None => {
                let network = WireNetwork::new(&settings.endpoint);
                let socket = TcpSocket::new_v4().expect("a socket");
                socket.set_reuseaddr(true).expect("set");
                socket.bind(settings.endpoint.parse().expect("an address")).expect("the port is free");
                let listener = socket.listen(64).expect("listens");
                let (stop, stopped) = oneshot::channel();
                let serving = wire::serve(network.clone(), listener, async { drop(stopped.await) });
                self.served[at] = Some(Served { stop, task: tokio::spawn(serving) });
                World::real(network)
            }
        };
        self.nodes[at] = Some(Node::start(world, settings).await?);
        Ok(())
    }

    async fn halt(&mut self, at: usize) {
        stop(self.nodes[at].take().expect("runs")).await;
        if let Some(served) = self.served[at].take() {
            let _ = served.stop.send(());
            served.task.abort();
            let _ = served.task.await;
        }
    }

    async fn restart(&mut self, at: usize) {
        self.halt(at).await;
        self.run(at).await.expect("starts again");
    }

    fn plane(&self, at: usize) -> Arc<dyn DataPlane> {
        self.nodes[at].as_ref().expect("runs").plane()
    }

    async fn status(&self, at: usize) -> Status {
        match self.plane(at).admin(Command::Status).await.expect("status") {
            Reply::Status(status) => status,
            Reply::Done => panic!("no status"),
        }
    }

    /// Waits until the mnode group has grown to three voters.
    async fn settled(&self) {
        let grown = async {
            loop {
                let status = self.status(0).await;
                let voting = |role: &str| matches!(role, "leader" | "follower");
                if status.mnodes.iter().filter(|mnode| voting(&mnode.role)).count() == 3 {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), grown).await.expect("three dnodes carry three mnodes");
    }

    async fn end(mut self) {
        for at in 0..3 {
            if self.nodes[at].is_some() {
                self.halt(at).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_dnodes_serve_every_statement_while_one_is_away() {
    let network = LocalNetwork::new();
    let mut cluster = Cluster::start(Some(network.clone())).await;
    let options = DatabaseOptions { vgroups: 2, replica: 3, ..DatabaseOptions::default() };
    let database = create_database(&*cluster.plane(1), "d", options).await;
    let meters = create(&*cluster.plane(2), database, "s", RelationKind::Super).await;
    for at in 0..3 {
        let plane = cluster.plane(at);
        plane.refresh().await.expect("the mnode group has a leader");
        let effect = write(&*plane, database, rows(&meters, &["a", "b", "c", "d"], at as i64 * 10, 10)).await;
        assert_eq!(effect.expect("written").written, 40);
    }
    for at in 0..3 {
        let plane = cluster.plane(at);
        assert_eq!(read(&*plane, &meters).await.len(), 120, "through gateway {at}");
        let found = plane.lookup(database, &["a".to_owned(), "z".to_owned()]).await.expect("looked up");
        assert!(matches!(found.as_slice(), [Some(Table::Child(_)), None]));
        let range = TimeRange { min: 0, max: 0 };
        let delete = Change::DeleteRange { suid: meters.suid, tables: Tables::All, range };
        assert_eq!(write(&*plane, database, delete).await.expect("deleted").deleted, 0);
    }

    // Each in turn cannot be reached: the two others go on, and it catches up.
    let mut expected = 120;
    for away in 0..3 {
        network.cut(&cluster.settings[away].endpoint);
        let plane = cluster.plane((away + 1) % 3);
        let change = rows(&meters, &["a", "b", "c", "d"], 100 + away as i64 * 10, 10);
        write(&*plane, database, change).await.expect("two are a majority");
        let name = format!("n{away}");
        create(&*plane, database, &name, RelationKind::Normal).await;
        expected += 40;
        assert_eq!(read(&*plane, &meters).await.len(), expected);
        network.heal(&cluster.settings[away].endpoint);
        let plane = cluster.plane(away);
        assert!(plane.refresh().await.expect("back").database("d").expect("there").relations.contains_key(&name));
        assert_eq!(read(&*plane, &meters).await.len(), expected);
    }

    for at in 0..3 {
        cluster.restart(at).await;
        assert_eq!(read(&*cluster.plane(at), &meters).await.len(), expected);
    }
    let status = cluster.status(1).await;
    assert!(status.dnodes.len() == 3 && status.dnodes.iter().all(|dnode| dnode.status == "ready"));
    assert_eq!((status.mnodes.len(), status.vnodes.len()), (3, 7));
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_dnodes_talk_over_tcp() {
    let mut cluster = Cluster::start(None).await;
    let options = DatabaseOptions { vgroups: 3, replica: 3, ..DatabaseOptions::default() };
    let database = create_database(&*cluster.plane(2), "d", options).await;
    let meters = create(&*cluster.plane(1), database, "s", RelationKind::Super).await;
    let mut expected = 0;
    for at in 0..3 {
        let plane = cluster.plane(at);
        plane.refresh().await.expect("the mnode group has a leader");
        let change = rows(&meters, &["a", "b", "c", "d", "e", "f"], at as i64 * 10, 10);
        assert_eq!(write(&*plane, database, change).await.expect("written").written, 60);
        expected += 60;
    }
    // Each in turn is down: the others go on, and it comes back as who it was.
    for away in 0..3 {
        cluster.halt(away).await;
        let plane = cluster.plane((away + 1) % 3);
        let change = rows(&meters, &["a", "b", "c", "d", "e", "f"], 100 + away as i64 * 10, 10);
        write(&*plane, database, change).await.expect("two are a majority");
        expected += 60;
        assert_eq!(read(&*plane, &meters).await.len(), expected, "without {away}");
        let status = cluster.status((away + 1) % 3).await;
        assert_eq!(status.dnodes.iter().filter(|dnode| dnode.status == "offline").count(), 1);
        cluster.run(away).await.expect("starts again");
        assert_eq!(read(&*cluster.plane(away), &meters).await.len(), expected, "through {away}");
    }
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dnode_that_stops_hands_over_what_it_leads() {
    // Nobody is elected for want of a heartbeat in the time that this takes.
    let patient = |settings: &mut Settings| (settings.election_min_ms, settings.election_max_ms) = (120_000, 121_000);
    let mut cluster = Cluster::start_with(Some(LocalNetwork::new()), patient).await;
    let options = DatabaseOptions { vgroups: 2, replica: 3, ..DatabaseOptions::default() };
    let database = create_database(&*cluster.plane(0), "d", options).await;
    let meters = create(&*cluster.plane(0), database, "s", RelationKind::Super).await;
    write(&*cluster.plane(0), database, rows(&meters, &["a", "b", "c", "d"], 0, 10)).await.expect("written");
    let leads = |status: &Status, dnode: u32| {
        status.vnodes.iter().filter(|vnode| vnode.dnode.0 == dnode && vnode.role == "leader").count()
    };
    let status = cluster.status(1).await;
    let away = (1..=3).max_by_key(|dnode| leads(&status, *dnode)).expect("three");
    assert!(leads(&status, away) > 0, "{status:?}");
    let others: Vec<usize> = (0..3).filter(|at| *at != away as usize - 1).collect();
    cluster.halt(away as usize - 1).await;
    let change = rows(&meters, &["a", "b", "c", "d"], 100, 10);
    write(&*cluster.plane(others[0]), database, change).await.expect("the two others lead");
    assert_eq!(read(&*cluster.plane(others[1]), &meters).await.len(), 80);
    create(&*cluster.plane(others[1]), database, "n", RelationKind::Normal).await;
    cluster.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_belong_is_refused() {
    let network = LocalNetwork::new();
    let mut cluster = Cluster::start(Some(network.clone())).await;
    // Its data directory is gone: it must not come back as a dnode that has forgotten its votes.
    cluster.halt(2).await;
    let lost = cluster.settings[2].data_dir.clone();
    std::fs::remove_dir_all(&lost).expect("removed");
    let Err(StartError::NotJoined(why)) = cluster.run(2).await else { panic!("it was taken") };
    assert!(why.contains("has joined from \"d3:6030\" before, with other data"), "{why}");
    // Nor does one with another token join.
    let stranger = cluster.settings[2].data_dir.with_file_name("stranger");
    let settings = Settings {
        endpoint: "d9:6030".to_owned(),
        join_token: "guess".to_owned(),
        data_dir: stranger,
        ..cluster.settings[2].clone()
    };
    let world = World::in_process(&settings, &network);
    let Err(StartError::NotJoined(why)) = Node::start(world, settings).await else { panic!("it was taken") };
    assert!(why.contains("token"), "{why}");
    cluster.end().await;
}
