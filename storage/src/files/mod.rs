//! The seam to the disk: [`LogFiles`] is one directory of flat files.
//!
//! [`RealFiles`] is a directory of the file system. [`SimulatedFiles`] is memory that can lose what was not synced,
//! as a machine does that loses its power. One contract test runs on both.
//!
//! What may be assumed of either: a completed [`LogFile::sync`] makes the bytes and the length of that file durable; a
//! 512-byte sector is written whole or not at all; a rename is atomic, and like a creation and a removal durable after
//! [`LogFiles::sync_directory`]. Nothing else is durable, in whatever order it was written.

mod real;
mod simulated;

pub mod boot;

use std::fmt::Debug;
use std::io;

pub use real::RealFiles;
pub use simulated::SimulatedFiles;

/// Bytes that the disk writes whole or not at all.
pub const SECTOR_BYTES: usize = 512;

/// One directory of flat files.
pub trait LogFiles: Send + Sync + Debug {
    /// Names of all files, sorted.
    fn list(&self) -> io::Result<Vec<String>>;

    /// A new, empty file for reading and writing. [`io::ErrorKind::AlreadyExists`] if there is one of that name.
    fn create(&self, name: &str) -> io::Result<Box<dyn LogFile>>;

    /// A file that exists, for reading and writing.
    fn open(&self, name: &str) -> io::Result<Box<dyn LogFile>>;

    /// Gives a file another name, replacing any file that has it. Open handles follow.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file. Open handles keep working.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes creations, renames and removals durable.
    fn sync_directory(&self) -> io::Result<()>;
}

/// One open file. Positions are bytes from its start; concurrent calls are allowed.
pub trait LogFile: Send + Sync + Debug {
    /// Writes all of `bytes` at `offset`, growing the file where needed.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Fills `buffer` from `offset`. [`io::ErrorKind::UnexpectedEof`] if the file ends before.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;

    /// Makes the bytes and the length durable (`fdatasync`).
    fn sync(&self) -> io::Result<()>;

    /// Bytes in the file.
    fn length(&self) -> io::Result<u64>;
}

/// Replaces the file `name` so that after a crash either the old or the new content is there, and after a return the
/// new one: temporary file, sync, rename, sync of the directory.
pub fn write_durably(files: &dyn LogFiles, name: &str, bytes: &[u8]) -> io::Result<()> {
    let temporary = format!("{name}.tmp");
    match files.remove(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = files.create(&temporary)?;
    file.write_at(0, bytes)?;
    file.sync()?;
    files.rename(&temporary, name)?;
    files.sync_directory()
}

/// The whole content of a small file, or `None` if there is none.
pub fn read_small(files: &dyn LogFiles, name: &str) -> io::Result<Option<Vec<u8>>> {
    let file = match files.open(name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let mut bytes = vec![0; usize::try_from(file.length()?).map_err(io::Error::other)?];
    file.read_at(0, &mut bytes)?;
    Ok(Some(bytes))
}

#[cfg(test)]
mod contract;
