//! Blocks in memory, for tests and the simulator. Survives as long as its [`MemoryStores`].

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::halt::Halt;
use crate::kv::{BlockStore, FileWriter, Finished, MetaBatch, Visit};

type Map = BTreeMap<Vec<u8>, Arc<[u8]>>;

/// The stores of many vnodes, by directory: what a disk would be.
#[derive(Clone, Default)]
pub struct MemoryStores {
    stores: Arc<Mutex<HashMap<PathBuf, Arc<Mutex<Content>>>>>,
    /// Changes until the disk fails, if it shall; then all changes fail until it is healed.
    fuse: Arc<Mutex<Option<u32>>>,
}

#[derive(Clone, Default)]
struct Content {
    /// Files that are part of data: name and keys.
    files: BTreeMap<String, Arc<Map>>,
    /// Files that are finished but not part of data.
    pending: BTreeMap<String, Arc<Map>>,
    /// All keys of all files.
    data: Map,
    meta: Map,
}

/// One vnode's blocks in memory.
pub struct MemoryStore {
    content: Arc<Mutex<Content>>,
    stores: MemoryStores,
}

impl MemoryStores {
    /// The store of a directory, empty if it is new.
    ///
    /// # Errors
    ///
    /// Never.
    pub fn open(&self, dir: &Path) -> Result<Arc<dyn BlockStore>, Halt> {
        let content = Arc::clone(self.stores.lock().entry(dir.to_path_buf()).or_default());
        content.lock().pending.clear();
        Ok(Arc::new(MemoryStore { content, stores: self.clone() }))
    }

    /// After `changes` more changes every change fails, as after the death of the process.
    pub fn fail_after(&self, changes: u32) {
        *self.fuse.lock() = Some(changes);
    }

    /// Changes succeed again.
    pub fn heal(&self) {
        *self.fuse.lock() = None;
    }

    /// Counts a change.
    fn change(&self) -> Result<(), Halt> {
        match &mut *self.fuse.lock() {
            None => Ok(()),
            Some(0) => Err(Halt::disk("change a store in memory", std::io::Error::other("the disk is gone"))),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
        }
    }

    /// Puts the store of `from` in the place of the store of `to`.
    ///
    /// # Errors
    ///
    /// If there is none in `from`.
    pub fn install(&self, from: &Path, to: &Path) -> Result<(), Halt> {
        let mut stores = self.stores.lock();
        let content = stores.remove(from).ok_or_else(|| Halt::corrupt(format!("no store in {}", from.display())))?;
        stores.insert(to.to_path_buf(), content);
        Ok(())
    }
}

struct MemoryWriter<'a> {
    store: &'a MemoryStore,
    name: String,
    keys: Map,
}

impl FileWriter for MemoryWriter<'_> {
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), Halt> {
        if self.keys.last_key_value().is_some_and(|(last, _)| last.as_slice() >= key) {
            return Err(Halt::corrupt(format!("keys of {} do not ascend", self.name)));
        }
        self.keys.insert(key.to_vec(), Arc::from(value));
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Finished, Halt> {
        self.store.stores.change()?;
        let bytes = self.keys.iter().map(|(key, value)| (key.len() + value.len()) as u64).sum();
        self.store.content.lock().pending.insert(self.name.clone(), Arc::new(self.keys));
        Ok(Finished { name: self.name, bytes })
    }
}

impl BlockStore for MemoryStore {
    fn create(&self, name: &str) -> Result<Box<dyn FileWriter + '_>, Halt> {
        Ok(Box::new(MemoryWriter { store: self, name: name.to_owned(), keys: Map::new() }))
    }

    fn ingest(&self, files: &[Finished]) -> Result<(), Halt> {
        self.stores.change()?;
        let mut content = self.content.lock();
        for file in files {
            let keys = content
                .pending
                .remove(&file.name)
                .ok_or_else(|| Halt::corrupt(format!("{} was not finished", file.name)))?;
            let entries: Vec<_> = keys.iter().map(|(key, value)| (key.clone(), Arc::clone(value))).collect();
            content.data.extend(entries);
            content.files.insert(file.name.clone(), keys);
        }
        Ok(())
    }

    fn remove(&self, from: &[u8], to: &[u8]) -> Result<(), Halt> {
        self.stores.change()?;
        let mut content = self.content.lock();
        let inside = |keys: &Map| {
            let first = keys.first_key_value().is_some_and(|(key, _)| key.as_slice() >= from);
            first && keys.last_key_value().is_some_and(|(key, _)| key.as_slice() < to)
        };
        let gone: Vec<_> =
            content.files.iter().filter(|(_, keys)| inside(keys)).map(|(name, _)| name.clone()).collect();
        for name in gone {
            if let Some(keys) = content.files.remove(&name) {
                for key in keys.keys() {
                    content.data.remove(key);
                }
            }
        }
        Ok(())
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Halt> {
        Ok(self.content.lock().data.get(key).map(|value| value.to_vec()))
    }

    fn visit(&self, from: &[u8], to: &[u8], visit: &mut Visit<'_>) -> Result<(), Halt> {
        if from >= to {
            return Ok(());
        }
        // One key at a time, so that `visit` may come back to this store.
        let mut bound = Bound::Included(from.to_vec());
        loop {
            let next = {
                let content = self.content.lock();
                let range = (bound.as_ref().map(Vec::as_slice), Bound::Excluded(to));
                content.data.range::<[u8], _>(range).next().map(|(key, value)| (key.clone(), Arc::clone(value)))
            };
            let Some((key, value)) = next else { return Ok(()) };
            if !visit(&key, &value)? {
                return Ok(());
            }
            bound = Bound::Excluded(key);
        }
    }

    fn visit_meta(&self, visit: &mut Visit<'_>) -> Result<(), Halt> {
        let meta = self.content.lock().meta.clone();
        for (key, value) in &meta {
            if !visit(key, value)? {
                break;
            }
        }
        Ok(())
    }

    fn write_meta(&self, batch: MetaBatch) -> Result<(), Halt> {
        self.stores.change()?;
        let mut content = self.content.lock();
        for (key, value) in batch.changes {
            match value {
                Some(value) => content.meta.insert(key, Arc::from(value)),
                None => content.meta.remove(&key),
            };
        }
        Ok(())
    }

    fn checkpoint(&self, dir: &Path) -> Result<(), Halt> {
        let mut copy = self.content.lock().clone();
        copy.pending.clear();
        self.stores.stores.lock().insert(dir.to_path_buf(), Arc::new(Mutex::new(copy)));
        Ok(())
    }

    fn bytes(&self) -> u64 {
        let content = self.content.lock();
        let of = |map: &Map| map.iter().map(|(key, value)| (key.len() + value.len()) as u64).sum::<u64>();
        of(&content.data) + of(&content.meta)
    }
}
