//! A directory in memory that forgets like a disk.
//!
//! Every file has the bytes that the process sees, and the bytes that are durable, sector by sector. The directory has
//! the names that the process sees, and those that are durable. [`SimulatedFiles::crash_machine`] keeps what is
//! durable, plus whatever it pleases of the rest.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::{LogFile, LogFiles, SECTOR_BYTES};

/// A directory in memory. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct SimulatedFiles(Arc<Mutex<Disk>>);

type Inode = u64;

#[derive(Debug, Default)]
struct Disk {
    /// Handles of an earlier life of the process are dead.
    life: u64,
    next: Inode,
    contents: BTreeMap<Inode, Content>,
    names: BTreeMap<String, Inode>,
    names_durable: BTreeMap<String, Inode>,
    /// Changes of names since the directory was last synced, in order.
    names_pending: Vec<Change>,
    fail_sync_after: Option<u64>,
    fail_write_after: Option<u64>,
    syncs: u64,
    writes: u64,
}

#[derive(Clone, Debug)]
enum Change {
    Link(String, Inode),
    Unlink(String),
    Rename(String, String),
}

#[derive(Debug, Default)]
struct Content {
    bytes: Vec<u8>,
    durable: Vec<u8>,
    /// Sectors whose bytes differ from the durable ones and would be written by a sync.
    dirty: BTreeSet<usize>,
}

fn apply(names: &mut BTreeMap<String, Inode>, change: &Change) {
    match change {
        Change::Link(name, inode) => {
            names.insert(name.clone(), *inode);
        }
        Change::Unlink(name) => {
            names.remove(name);
        }
        Change::Rename(from, to) => {
            if let Some(inode) = names.remove(from) {
                names.insert(to.clone(), inode);
            }
        }
    }
}

impl Content {
    fn write(&mut self, offset: usize, bytes: &[u8]) {
        let end = offset + bytes.len();
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        self.bytes[offset..end].copy_from_slice(bytes);
        self.dirty.extend(offset / SECTOR_BYTES..end.div_ceil(SECTOR_BYTES));
    }

    /// Copies one sector to the durable side, as far as the file has it.
    fn settle(&mut self, sector: usize) {
        let start = sector * SECTOR_BYTES;
        let end = (start + SECTOR_BYTES).min(self.bytes.len());
        if self.durable.len() < end {
            self.durable.resize(end, 0);
        }
        self.durable[start..end].copy_from_slice(&self.bytes[start..end]);
    }
}

impl Disk {
    fn inode(&self, name: &str) -> io::Result<Inode> {
        self.names.get(name).copied().ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, name.to_owned()))
    }

    fn change(&mut self, change: Change) {
        apply(&mut self.names, &change);
        self.names_pending.push(change);
    }

    /// Whether the countdown has reached its end; it then stays there, as broken disks do.
    fn fails(countdown: &mut Option<u64>) -> bool {
        match countdown {
            Some(0) => true,
            Some(left) => {
                *left -= 1;
                false
            }
            None => false,
        }
    }

    /// Forgets contents that no name leads to. Only after a crash, when there are no handles.
    fn collect(&mut self) {
        let used: BTreeSet<Inode> = self.names.values().copied().collect();
        self.contents.retain(|inode, _| used.contains(inode));
    }
}

impl SimulatedFiles {
    /// An empty directory.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The process dies: what it had written stays, its handles are dead, and the disk is whole again.
    pub fn crash_process(&self) {
        let disk = &mut *self.0.lock();
        disk.life += 1;
        disk.fail_sync_after = None;
        disk.fail_write_after = None;
        disk.collect();
    }

    /// The machine dies: of what was not synced any sectors may survive, and any first part of the changes of names.
    /// `seed` decides which.
    pub fn crash_machine(&self, seed: u64) {
        {
            let disk = &mut *self.0.lock();
            let mut rng = StdRng::seed_from_u64(seed);
            for content in disk.contents.values_mut() {
                for sector in std::mem::take(&mut content.dirty) {
                    if rng.random_bool(0.5) {
                        content.settle(sector);
                    }
                }
                content.bytes.clone_from(&content.durable);
            }
            let pending = std::mem::take(&mut disk.names_pending);
            let kept = rng.random_range(0..=pending.len());
            for change in &pending[..kept] {
                apply(&mut disk.names_durable, change);
            }
            disk.names = disk.names_durable.clone();
        }
        self.crash_process();
    }

    /// The machine dies and nothing at all survives that was not synced.
    pub fn crash_machine_hard(&self) {
        {
            let disk = &mut *self.0.lock();
            for content in disk.contents.values_mut() {
                content.dirty.clear();
                content.bytes.clone_from(&content.durable);
            }
            disk.names_pending.clear();
            disk.names = disk.names_durable.clone();
        }
        self.crash_process();
    }

    /// After `count` more syncs (of files or of the directory) every sync fails, until the process dies. As on Linux, the
    /// failed one forgets what was to be written: later syncs would not write it either, though it can still be read.
    pub fn fail_sync_after(&self, count: u64) {
        self.0.lock().fail_sync_after = Some(count);
    }

    /// After `count` more writes every write fails, until the process dies. The failed one leaves its first half.
    pub fn fail_write_after(&self, count: u64) {
        self.0.lock().fail_write_after = Some(count);
    }

    /// Ends what [`Self::fail_sync_after`] and [`Self::fail_write_after`] began, without a crash.
    pub fn heal(&self) {
        let disk = &mut *self.0.lock();
        disk.fail_sync_after = None;
        disk.fail_write_after = None;
    }

    /// Inverts stored bytes, as a disk does that rots.
    ///
    /// # Panics
    ///
    /// If the file has no such bytes.
    pub fn damage(&self, name: &str, offset: usize, bytes: usize) {
        let disk = &mut *self.0.lock();
        let inode = disk.inode(name).expect("the file to damage exists");
        let content = disk.contents.get_mut(&inode).expect("every name has a content");
        for side in [&mut content.bytes, &mut content.durable] {
            for byte in &mut side[offset..offset + bytes] {
                *byte = !*byte;
            }
        }
    }

    /// How many writes and syncs there have been.
    #[must_use]
    pub fn counts(&self) -> (u64, u64) {
        let disk = self.0.lock();
        (disk.writes, disk.syncs)
    }

    fn handle(&self, life: u64, inode: Inode) -> Box<dyn LogFile> {
        Box::new(SimulatedFile { files: self.clone(), life, inode })
    }
}

impl LogFiles for SimulatedFiles {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.0.lock().names.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn LogFile>> {
        let disk = &mut *self.0.lock();
        if disk.names.contains_key(name) {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, name.to_owned()));
        }
        let inode = disk.next;
        disk.next += 1;
        disk.contents.insert(inode, Content::default());
        disk.change(Change::Link(name.to_owned(), inode));
        Ok(self.handle(disk.life, inode))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn LogFile>> {
        let disk = self.0.lock();
        let inode = disk.inode(name)?;
        Ok(self.handle(disk.life, inode))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let disk = &mut *self.0.lock();
        disk.inode(from)?;
        disk.change(Change::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let disk = &mut *self.0.lock();
        disk.inode(name)?;
        disk.change(Change::Unlink(name.to_owned()));
        Ok(())
    }

    fn sync_directory(&self) -> io::Result<()> {
        let disk = &mut *self.0.lock();
        disk.syncs += 1;
        if Disk::fails(&mut disk.fail_sync_after) {
            return Err(io::Error::other("simulated failure of a sync"));
        }
        for change in std::mem::take(&mut disk.names_pending) {
            apply(&mut disk.names_durable, &change);
        }
        Ok(())
    }
}

#[derive(Debug)]
struct SimulatedFile {
    files: SimulatedFiles,
    life: u64,
    inode: Inode,
}

impl SimulatedFile {
    /// Runs `action` on the disk and this file's content, unless the process that opened it has died.
    fn with<T>(&self, action: impl FnOnce(&mut Disk, &mut Content) -> io::Result<T>) -> io::Result<T> {
        let disk = &mut *self.files.0.lock();
        if disk.life != self.life {
            return Err(io::Error::new(io::ErrorKind::BrokenPipe, "this handle belongs to a process that has died"));
        }
        let mut content = disk.contents.remove(&self.inode).expect("contents outlive their handles");
        let result = action(disk, &mut content);
        disk.contents.insert(self.inode, content);
        result
    }
}

impl LogFile for SimulatedFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        self.with(|disk, content| {
            disk.writes += 1;
            if Disk::fails(&mut disk.fail_write_after) {
                content.write(offset, &bytes[..bytes.len() / 2]);
                return Err(io::Error::other("simulated failure of a write"));
            }
            content.write(offset, bytes);
            Ok(())
        })
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        self.with(|_, content| {
            let stored = content
                .bytes
                .get(offset..offset + buffer.len())
                .ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?;
            buffer.copy_from_slice(stored);
            Ok(())
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.with(|disk, content| {
            disk.syncs += 1;
            let dirty = std::mem::take(&mut content.dirty);
            if Disk::fails(&mut disk.fail_sync_after) {
                return Err(io::Error::other("simulated failure of a sync"));
            }
            for sector in dirty {
                content.settle(sector);
            }
            Ok(())
        })
    }

    fn length(&self) -> io::Result<u64> {
        self.with(|_, content| Ok(content.bytes.len() as u64))
    }
}
