//! Where a vnode keeps its blocks: the only code that knows RocksDB.
//!
//! Start reading at [`BlockStore`]. It has two spaces: *data*, which is only ever written as whole files of ascending
//! keys and only ever removed file by file, and *meta*, which is written in atomic, durable batches. There are two
//! implementations, on RocksDB and in memory, and one contract test for both.

#[cfg(test)]
mod contract;
mod memory;
mod rocks;

use std::path::Path;

use crate::halt::Halt;
pub use memory::{MemoryStore, MemoryStores};
pub use rocks::{RocksShared, RocksStore};

/// Given a key and its value, says whether to go on.
pub type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> Result<bool, Halt> + 'a;

/// Blocks and metadata of one vnode.
pub trait BlockStore: Send + Sync {
    /// Starts a file. `name` is unique in the vnode; what a crash left of a file of that name is replaced.
    ///
    /// # Errors
    ///
    /// If the disk fails.
    fn create(&self, name: &str) -> Result<Box<dyn FileWriter + '_>, Halt>;

    /// Makes finished files part of data, all or none, durably. Their key ranges overlap nothing that is there.
    ///
    /// # Errors
    ///
    /// If the disk fails; then it is unknown whether the files are part of data.
    fn ingest(&self, files: &[Finished]) -> Result<(), Halt>;

    /// Removes the files whose keys all lie in `from..to`. No file may lie there only partly.
    ///
    /// # Errors
    ///
    /// If the disk fails; then some of them may be left.
    fn remove(&self, from: &[u8], to: &[u8]) -> Result<(), Halt>;

    /// The value of a key in data.
    ///
    /// # Errors
    ///
    /// If the disk fails or the file is damaged.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Halt>;

    /// Visits keys of data in `from..to`, ascending, until told to stop.
    ///
    /// # Errors
    ///
    /// If the disk fails or a file is damaged, and what `visit` fails with.
    fn visit(&self, from: &[u8], to: &[u8], visit: &mut Visit<'_>) -> Result<(), Halt>;

    /// Visits all of meta, ascending.
    ///
    /// # Errors
    ///
    /// As [`BlockStore::visit`].
    fn visit_meta(&self, visit: &mut Visit<'_>) -> Result<(), Halt>;

    /// Changes meta: atomic, and durable when it returns.
    ///
    /// # Errors
    ///
    /// If the disk fails; then it is unknown whether the changes were made.
    fn write_meta(&self, batch: MetaBatch) -> Result<(), Halt>;

    /// Writes all of data and meta into the new directory `dir`.
    ///
    /// # Errors
    ///
    /// If the disk fails.
    fn checkpoint(&self, dir: &Path) -> Result<(), Halt>;

    /// Bytes on disk.
    fn bytes(&self) -> u64;
}

/// Writes one file of data.
pub trait FileWriter {
    /// Adds a key, greater than all before.
    ///
    /// # Errors
    ///
    /// If the disk fails.
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), Halt>;

    /// Ends the file, which has at least one key.
    ///
    /// # Errors
    ///
    /// If the disk fails.
    fn finish(self: Box<Self>) -> Result<Finished, Halt>;
}

/// A finished file that is not part of data yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    /// Its name.
    pub name: String,
    /// Its size.
    pub bytes: u64,
}

/// Changes of meta.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetaBatch {
    /// Keys with their new values; None removes.
    pub changes: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl MetaBatch {
    /// Sets a key.
    pub fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.changes.push((key, Some(value)));
    }

    /// Removes a key.
    pub fn delete(&mut self, key: Vec<u8>) {
        self.changes.push((key, None));
    }
}
