//! All that a dnode knows of the outside: disk, network, clock and randomness. Tests give it another world.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use storage::Halt;
use storage::files::{LogFiles, RealFiles};
use storage::vnode::{EnvOptions, StorageEnv};

use crate::Settings;
use crate::peers::Network;
use crate::peers::local::LocalNetwork;

/// What time it is.
pub trait Clock: Send + Sync {
    /// Milliseconds since the epoch. May jump back; whoever needs more keeps its own maximum.
    fn now_ms(&self) -> i64;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now_ms(&self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        since.map_or(0, |elapsed| i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX))
    }
}

/// Where random numbers come from.
pub trait Randomness: Send + Sync {
    /// Any number but zero.
    fn id(&self) -> u64;
}

/// The operating system's randomness.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemRandomness;

impl Randomness for SystemRandomness {
    fn id(&self) -> u64 {
        rand::random::<u64>().max(1)
    }
}

/// Where a dnode keeps its data.
pub trait Disk: Send + Sync {
    /// The flat files of a directory, which is made if it is not there.
    ///
    /// # Errors
    ///
    /// If the directory cannot be made.
    fn files(&self, directory: &Path) -> io::Result<Arc<dyn LogFiles>>;

    /// What the vnodes of a dnode share.
    ///
    /// # Errors
    ///
    /// If the block store cannot start.
    fn vnodes(&self, settings: &Settings) -> Result<Arc<StorageEnv>, Halt>;

    /// The system's name for the time since the machine was last started: another one after a power loss.
    ///
    /// # Errors
    ///
    /// If the system does not tell.
    fn boot_id(&self) -> Result<String, Halt>;
}

/// The file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn files(&self, directory: &Path) -> io::Result<Arc<dyn LogFiles>> {
        Ok(Arc::new(RealFiles::new(directory)?))
    }

    fn vnodes(&self, settings: &Settings) -> Result<Arc<StorageEnv>, Halt> {
        let bytes = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
        StorageEnv::new(&EnvOptions {
            block_cache_bytes: bytes(settings.cache_bytes),
            header_bytes_max: bytes(settings.header_bytes),
            memtable_bytes_max: settings.memtable_bytes,
            workers: settings.worker_threads,
            merge_workers: settings.merge_threads,
            merge_bytes_per_second: settings.merge_bytes_per_second,
        })
    }

    fn boot_id(&self) -> Result<String, Halt> {
        storage::files::boot::machine_boot_id()
    }
}

/// The outside of one dnode.
#[derive(Clone)]
pub struct World {
    /// Where it keeps its data.
    pub disk: Arc<dyn Disk>,
    /// How it reaches other dnodes.
    pub network: Arc<dyn Network>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Where ids that nobody gives out come from.
    pub randomness: Arc<dyn Randomness>,
}

impl World {
    /// The machine itself, and this way to other dnodes.
    #[must_use]
    pub fn real(network: Arc<dyn Network>) -> Self {
        Self { disk: Arc::new(RealDisk), network, clock: Arc::new(SystemClock), randomness: Arc::new(SystemRandomness) }
    }

    /// The machine's disk, clock and randomness, with a network inside this process.
    #[must_use]
    pub fn in_process(settings: &Settings, network: &LocalNetwork) -> Self {
        Self::real(network.at(&settings.endpoint))
    }
}
