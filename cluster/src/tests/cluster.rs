//! Three dnodes in one process: every statement through every gateway, and one dnode after the other away.

use std::sync::Arc;

use model::catalog::CatalogChange;
use model::options::DatabaseOptions;
use model::plane::{Command, Reply};
use model::schema::{RelationKind, Table};
use model::write::{Change, Tables};
use model::{DataPlane, DnodeId, TimeRange};

use super::dnode::{create, create_database, read, rows, settings, stop, write};
use crate::node::start::{Identity, start};
use crate::peers::local::LocalNetwork;
use crate::raft::types::Member;
use crate::{Node, Settings, World};

/// Three dnodes that all carry an mnode.
struct Cluster {
    network: LocalNetwork,
    settings: Vec<Settings>,
    identities: Vec<Identity>,
    nodes: Vec<Arc<Node>>,
    _directory: tempfile::TempDir,
}

impl Cluster {
    async fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let network = LocalNetwork::new();
        let own = |number: u32| {
            let path = directory.path().join(number.to_string());
            Settings { endpoint: format!("d{number}:6030"), leader_wait_ms: 60_000, ..settings(&path) }
        };
        let settings: Vec<Settings> = (1..=3).map(own).collect();
        let world = World::in_process(&settings[0], &network);
        let founder = Node::start(world, settings[0].clone()).await.expect("founds");
        let mut nodes = vec![founder.clone()];
        let mut identities = vec![Identity { dnode: DnodeId(1), mnode: 1 }];
        for number in [2, 3] {
            let own = &settings[number as usize - 1];
            let (plane, dnode) = (founder.plane(), DnodeId(number));
            let authorise = CatalogChange::CreateDnode { endpoint: own.endpoint.clone(), support_vnodes: 64 };
            plane.define(authorise).await.expect("authorised");
            plane.define(CatalogChange::CreateMnode { dnode }).await.expect("authorised");
            let mnode = plane.catalog().mnodes[&dnode].replica;
            let identity = Identity { dnode, mnode };
            let member = Member { dnode, endpoint: own.endpoint.clone() };
            let world = World::in_process(own, &network);
            let joining = start(world, own.clone(), Some(identity));
            let (joined, added) = tokio::join!(joining, founder.mnode().add_voter(mnode, member));
            added.expect("the mnode group grows");
            nodes.push(joined.expect("joins"));
            identities.push(identity);
        }
        Self { network, settings, identities, nodes, _directory: directory }
    }

    fn plane(&self, at: usize) -> Arc<dyn DataPlane> {
        self.nodes[at].plane()
    }

    async fn restart(&mut self, at: usize) {
        let node = self.nodes.remove(at);
        stop(node).await;
        let world = World::in_process(&self.settings[at], &self.network);
        let node = start(world, self.settings[at].clone(), Some(self.identities[at])).await.expect("starts again");
        self.nodes.insert(at, node);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_dnodes_serve_every_statement_while_one_is_away() {
    let mut cluster = Cluster::start().await;
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
        cluster.network.cut(&cluster.settings[away].endpoint);
        let plane = cluster.plane((away + 1) % 3);
        let change = rows(&meters, &["a", "b", "c", "d"], 100 + away as i64 * 10, 10);
        write(&*plane, database, change).await.expect("two are a majority");
        let name = format!("n{away}");
        create(&*plane, database, &name, RelationKind::Normal).await;
        expected += 40;
        assert_eq!(read(&*plane, &meters).await.len(), expected);
        cluster.network.heal(&cluster.settings[away].endpoint);
        let plane = cluster.plane(away);
        assert!(plane.refresh().await.expect("back").database("d").expect("there").relations.contains_key(&name));
        assert_eq!(read(&*plane, &meters).await.len(), expected);
    }

    for at in 0..3 {
        cluster.restart(at).await;
        assert_eq!(read(&*cluster.plane(at), &meters).await.len(), expected);
    }
    let Reply::Status(status) = cluster.plane(1).admin(Command::Status).await.expect("status") else { panic!() };
    assert!(status.dnodes.len() == 3 && status.dnodes.iter().all(|dnode| dnode.status == "ready"));
    assert_eq!((status.mnodes.len(), status.vnodes.len()), (3, 7));
    for node in cluster.nodes {
        stop(node).await;
    }
}
