//! All that a dnode knows of the outside: disk, network, clock and randomness. Tests give it another world.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::Settings;

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

/// The outside of one dnode.
#[derive(Clone)]
pub struct World {
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Where ids that nobody gives out come from.
    pub randomness: Arc<dyn Randomness>,
}

impl World {
    /// The machine itself.
    #[must_use]
    pub fn real(_settings: &Settings) -> Self {
        Self { clock: Arc::new(SystemClock), randomness: Arc::new(SystemRandomness) }
    }
}
