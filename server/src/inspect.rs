//! `marigraph inspect`: files of a stopped server printed for people.
//!
//! The exit code is 0, 1 if something is damaged, 2 if it cannot be read or a server is running on it.

use std::fs::{File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::cli::Inspect;

const DAMAGED: u8 = 1;
const CANNOT_READ: u8 = 2;

/// Prints what was asked for.
pub(crate) fn run(what: &Inspect) -> ExitCode {
    let (Inspect::Wal { path } | Inspect::Vnode { path } | Inspect::Run { path, .. }) = what;
    let out = &mut io::BufWriter::new(io::stdout().lock());
    let printed = not_running(path).and_then(|()| match what {
        Inspect::Wal { path } => storage::wal::inspect(path, out),
        Inspect::Vnode { path } => storage::vnode::inspect(path, out),
        Inspect::Run { path, bucket, run } => storage::vnode::inspect_runs(path, *bucket, *run, out),
    });
    match printed.and_then(|damaged| out.flush().map(|()| damaged)) {
        Ok(false) => ExitCode::SUCCESS,
        Ok(true) => ExitCode::from(DAMAGED),
        // Whoever reads has seen enough.
        Err(fault) if fault.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("marigraph: {}: {fault}", path.display());
            ExitCode::from(CANNOT_READ)
        }
    }
}

/// Refuses files of a data directory that a server has: they change while they are read.
fn not_running(path: &Path) -> io::Result<()> {
    let path = path.canonicalize()?;
    let Some(lock) = path.ancestors().map(|folder| folder.join("lock")).find(|lock| is_lock(lock)) else {
        return Ok(());
    };
    match File::open(&lock)?.try_lock_shared() {
        Err(TryLockError::WouldBlock) => {
            let directory = lock.parent().map(PathBuf::from).unwrap_or_default();
            let what = format!("a server is running on {}: stop it first, or look at a copy", directory.display());
            Err(io::Error::new(io::ErrorKind::ResourceBusy, what))
        }
        Err(TryLockError::Error(fault)) => Err(fault),
        Ok(()) => Ok(()),
    }
}

/// Whether this is the lock of a data directory, which has a log beside it.
fn is_lock(path: &Path) -> bool {
    path.is_file() && path.with_file_name("wal").is_dir()
}
