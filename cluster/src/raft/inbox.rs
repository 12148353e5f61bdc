//! Where the parts of a snapshot wait until all are there.

use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Component, Path, PathBuf};

use parking_lot::Mutex;

use crate::peers::SnapshotPart;

/// The incoming snapshot of one replica: at most one transfer at a time, a newer one replaces it.
pub(crate) struct Inbox {
    directory: PathBuf,
    transfer: Mutex<Option<u64>>,
}

impl Inbox {
    /// Parts go below `directory`, which is emptied.
    pub(crate) fn new(directory: PathBuf) -> io::Result<Self> {
        remove(&directory)?;
        Ok(Self { directory, transfer: Mutex::new(None) })
    }

    /// Keeps a part.
    pub(crate) fn take(&self, part: &SnapshotPart) -> io::Result<()> {
        if crc32c::crc32c(&part.bytes) != part.checksum {
            let message = format!("a part of {} was damaged on its way", part.file);
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        let name = Path::new(&part.file);
        if !name.components().all(|component| matches!(component, Component::Normal(_))) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{} is no file name", part.file)));
        }
        let mut transfer = self.transfer.lock();
        if *transfer != Some(part.transfer) {
            remove(&self.directory)?;
            *transfer = Some(part.transfer);
        }
        let path = self.directory.join(name);
        fs::create_dir_all(path.parent().unwrap_or(&self.directory))?;
        let file = fs::OpenOptions::new().create(true).write(true).truncate(false).open(&path)?;
        file.write_all_at(&part.bytes, part.offset)
    }

    /// The directory with all files, which is the caller's from now on.
    pub(crate) fn complete(&self, transfer: u64) -> io::Result<PathBuf> {
        let mut own = self.transfer.lock();
        if *own != Some(transfer) {
            return Err(io::Error::other("another snapshot came in between"));
        }
        *own = None;
        let complete = self.directory.with_extension("complete");
        remove(&complete)?;
        fs::rename(&self.directory, &complete)?;
        Ok(complete)
    }
}

fn remove(directory: &Path) -> io::Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
