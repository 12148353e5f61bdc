//! The suspect rule: a replica that may have lost acknowledged entries decides no election until it has them again.
//!
//! At WAL_LEVEL 1, or 2 with a period, a power loss may take the end of the log. Such a replica, asked for its vote,
//! would help a candidate that lacks what this one once acknowledged. So after a start that is neither clean nor in the
//! same boot of the machine it is marked, durably: it takes entries, but grants no vote and does not campaign until
//! its synced log reaches what the leader had when it was asked. A group of one has nobody to deceive.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use storage::files::{LogFiles, write_durably};

/// Whether one replica is suspect. The mark is a file, so that a second crash does not forget it.
pub(crate) struct Suspicion {
    files: Arc<dyn LogFiles>,
    name: String,
    suspect: AtomicBool,
}

impl Suspicion {
    /// The mark of replica `replica` as it was left, or set if `doubtful`.
    pub(crate) fn load(files: Arc<dyn LogFiles>, replica: u64, doubtful: bool) -> io::Result<Arc<Self>> {
        let name = format!("suspect-{replica}");
        let marked = files.list()?.contains(&name);
        if doubtful && !marked {
            write_durably(files.as_ref(), &name, b"suspect\n")?;
        }
        Ok(Arc::new(Self { files, name, suspect: AtomicBool::new(marked || doubtful) }))
    }

    /// Whether it grants no votes.
    pub(crate) fn is_suspect(&self) -> bool {
        self.suspect.load(Ordering::Acquire)
    }

    /// Forgets the mark, durably.
    pub(crate) fn clear(&self) -> io::Result<()> {
        match self.files.remove(&self.name) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => self.files.sync_directory()?,
        }
        self.suspect.store(false, Ordering::Release);
        Ok(())
    }
}
