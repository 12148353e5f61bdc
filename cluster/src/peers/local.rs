//! Dnodes of one process: what tests run on, with links that can be cut.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};

use async_trait::async_trait;
use model::scan::{RowStream, ScanRequest};
use model::{Result, VgroupId};
use parking_lot::RwLock;

use super::{Network, Request, Response, Service, Unreachable};
use crate::identity::Identity;
use crate::raft::types::{decode, encode};

/// Connects the dnodes of one process. Clones are the same network.
#[derive(Clone, Default)]
pub struct LocalNetwork(Arc<RwLock<Links>>);

#[derive(Default)]
struct Links {
    services: BTreeMap<String, Weak<dyn Service>>,
    /// Endpoints that nobody reaches and that reach nobody.
    cut: BTreeSet<String>,
}

impl LocalNetwork {
    /// A network without dnodes.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The network as the dnode at `endpoint` sees it.
    #[must_use]
    pub fn at(&self, endpoint: &str) -> Arc<dyn Network> {
        Arc::new(View { network: self.clone(), own: endpoint.to_owned(), identity: RwLock::new(Identity::default()) })
    }

    /// Cuts a dnode off from all others.
    pub fn cut(&self, endpoint: &str) {
        self.0.write().cut.insert(endpoint.to_owned());
    }

    /// Undoes [`LocalNetwork::cut`].
    pub fn heal(&self, endpoint: &str) {
        self.0.write().cut.remove(endpoint);
    }
}

/// The network from one dnode.
struct View {
    network: LocalNetwork,
    own: String,
    identity: RwLock<Identity>,
}

impl View {
    fn reach(&self, endpoint: &str) -> std::result::Result<Arc<dyn Service>, Unreachable> {
        let unreachable = |why: &str| Unreachable { endpoint: endpoint.to_owned(), why: why.to_owned(), sent: false };
        let links = self.network.0.read();
        if endpoint != self.own && (links.cut.contains(endpoint) || links.cut.contains(&self.own)) {
            return Err(unreachable("the link is cut"));
        }
        let service = links.services.get(endpoint).ok_or_else(|| unreachable("no such dnode"))?;
        service.upgrade().ok_or_else(|| unreachable("the dnode is down"))
    }
}

#[async_trait]
impl Network for View {
    async fn call(&self, endpoint: &str, request: Request) -> std::result::Result<Response, Unreachable> {
        let failed =
            |why: std::io::Error| Unreachable { endpoint: endpoint.to_owned(), why: why.to_string(), sent: true };
        let service = self.reach(endpoint)?;
        let request: Request = decode(&encode(&request)).map_err(failed)?;
        let caller = *self.identity.read();
        let response = service.answer(&caller, request).await;
        // The link may have been cut while the other side was at work.
        self.reach(endpoint).map_err(|lost| Unreachable { sent: true, ..lost })?;
        decode(&encode(&response)).map_err(failed)
    }

    async fn scan(
        &self,
        endpoint: &str,
        vgroup: VgroupId,
        request: ScanRequest,
    ) -> std::result::Result<Result<RowStream>, Unreachable> {
        let caller = *self.identity.read();
        Ok(self.reach(endpoint)?.scan(&caller, vgroup, request).await)
    }

    fn serve(&self, endpoint: &str, service: Weak<dyn Service>) {
        self.network.0.write().services.insert(endpoint.to_owned(), service);
    }

    fn introduce(&self, identity: Identity) {
        *self.identity.write() = identity;
    }
}
