//! openraft's own conformance suite on our log store and the catalog's state machine.

use std::sync::Arc;

use model::VgroupId;
use model::options::FsyncPolicy;
use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};
use storage::files::SimulatedFiles;
use storage::wal::{Wal, WalSettings};

use super::log_store::LogStore;
use super::types::Types;
use crate::mnode::Machine;

/// Makes stores whose entries count as persisted as the policy says.
struct Builder(FsyncPolicy);

impl StoreBuilder<Types, LogStore, Machine, Wal> for Builder {
    async fn build(&self) -> Result<(Wal, LogStore, Machine), StorageError<Types>> {
        let settings = WalSettings { segment_bytes: 1 << 16, ..WalSettings::default() };
        let (wal, _) = Wal::open(Arc::new(SimulatedFiles::new()), settings).expect("an empty log opens");
        let store = LogStore::open(&wal, VgroupId(2), self.0).expect("an empty group opens");
        let machine = Machine::open(Arc::new(SimulatedFiles::new())).expect("an empty catalog opens");
        Ok((wal, store, machine))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_store_passes_the_suite_of_openraft() {
    for policy in [FsyncPolicy::Always, FsyncPolicy::Never] {
        Suite::test_all(Builder(policy)).await.unwrap_or_else(|error| panic!("{policy:?}: {error}"));
    }
}
