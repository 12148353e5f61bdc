//! A vnode that can be replaced by a snapshot while others hold on to it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::RwLock;
use storage::Halt;
use storage::vnode::{ColumnOptions, StorageEnv, Vnode, VnodeOptions};

use crate::raft::network::Checkpoint;
use crate::raft::types::{Membership, SnapshotMeta, StoredMembership, decode, log_id};

/// How long a snapshot waits for scans of the state that it replaces.
const SCANS_WAIT: Duration = Duration::from_secs(60);

/// The vnode of one replica.
pub(crate) struct Shard {
    directory: PathBuf,
    options: VnodeOptions,
    env: Arc<StorageEnv>,
    vnode: RwLock<Option<Arc<Vnode>>>,
    /// The greatest stamp that was applied here since the start.
    hlc: AtomicU64,
}

impl Shard {
    /// Opens the vnode in `directory`, or makes one.
    pub(crate) fn open(directory: PathBuf, options: VnodeOptions, env: Arc<StorageEnv>) -> Result<Arc<Self>, Halt> {
        let vnode = Vnode::open(&directory, options.clone(), env.clone())?;
        Ok(Arc::new(Self { directory, options, env, vnode: RwLock::new(Some(vnode)), hlc: AtomicU64::new(0) }))
    }

    /// The vnode as it is now.
    pub(crate) fn vnode(&self) -> Result<Arc<Vnode>, Halt> {
        self.vnode.read().clone().ok_or(Halt::Closed)
    }

    /// The greatest stamp that was applied here since the start.
    pub(crate) fn hlc(&self) -> u64 {
        self.hlc.load(Ordering::Acquire)
    }

    /// An entry with this stamp was applied.
    pub(crate) fn stamped(&self, hlc: u64) {
        self.hlc.fetch_max(hlc, Ordering::AcqRel);
    }

    /// Closes the vnode: it does not flush, whoever wants that does it before. A merge under way is broken off.
    pub(crate) fn close(&self) {
        if let Some(vnode) = self.vnode.write().take() {
            vnode.leave();
        }
    }

    /// What single columns ask for, to be changed while the vnode is open.
    pub(crate) fn columns(&self) -> &ColumnOptions {
        &self.options.columns
    }

    /// Membership as openraft wants it.
    pub(crate) fn membership(vnode: &Vnode) -> io::Result<StoredMembership> {
        stored(vnode.membership())
    }

    /// Puts the snapshot in `from` in place of the vnode, which is closed meanwhile: readers are told so. Blocks.
    pub(crate) fn install(&self, from: &Path) -> Result<(), Halt> {
        let old = self.vnode.write().take();
        if let Some(vnode) = old {
            let closed = Arc::downgrade(&vnode);
            drop(vnode);
            let deadline = Instant::now() + SCANS_WAIT;
            while closed.strong_count() > 0 {
                if Instant::now() > deadline {
                    *self.vnode.write() = closed.upgrade();
                    let busy = io::Error::new(io::ErrorKind::TimedOut, "scans of the old state do not end");
                    return Err(Halt::disk(format!("replace {}", self.directory.display()), busy));
                }
                std::thread::park_timeout(Duration::from_millis(5));
            }
        }
        let installed = Vnode::install(from, &self.directory, &self.env);
        let vnode = Vnode::open(&self.directory, self.options.clone(), self.env.clone())?;
        *self.vnode.write() = Some(vnode);
        installed
    }
}

/// What a vnode keeps as openraft wants it.
fn stored(kept: Option<(storage::wal::Position, bytes::Bytes)>) -> io::Result<StoredMembership> {
    let Some((position, bytes)) = kept else { return Ok(StoredMembership::default()) };
    let membership: Membership = decode(&bytes)?;
    Ok(StoredMembership::new(Some(log_id(position)), membership))
}

impl Checkpoint for Shard {
    fn make(&self, transfer: u64) -> io::Result<(PathBuf, SnapshotMeta)> {
        let directory = self.directory.with_extension(format!("outgoing-{transfer:016x}"));
        let vnode = self.vnode()?;
        let made = vnode.checkpoint(&directory)?;
        let meta = SnapshotMeta { last_log_id: made.position.map(log_id), last_membership: stored(made.membership)? };
        Ok((directory, meta))
    }
}
