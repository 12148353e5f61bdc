//! Segment files, and the pool of free ones.
//!
//! A sync is much cheaper where the file system has nothing to allocate. So files are used again and again, and where a
//! log syncs, the writer keeps some zeros ahead of its end; a log that hardly syncs is spared writing everything twice,
//! and a new file is nothing but its length. A free file is called `*.free`; it becomes a segment by a rename, after its
//! header and opening are synced, so that a `*.wal` always begins with a whole header.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

use super::format::segment_name;
use crate::files::{LogFile, LogFiles};
use crate::halt::Halt;

/// An open segment.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) sequence: u64,
    pub(crate) seed: u32,
    pub(crate) file: Box<dyn LogFile>,
    /// Bytes of the file.
    pub(crate) length: u64,
}

impl Segment {
    pub(crate) fn name(&self) -> String {
        segment_name(self.sequence)
    }
}

/// A file that waits to become a segment.
#[derive(Debug)]
pub(crate) struct Free {
    pub(crate) name: String,
    pub(crate) file: Box<dyn LogFile>,
    pub(crate) length: u64,
    /// Up to where it is known to have its blocks.
    pub(crate) allocated: u64,
}

/// Free segment files.
#[derive(Debug)]
pub(crate) struct Pool {
    files: Arc<dyn LogFiles>,
    segment_bytes: u64,
    free_max: usize,
    free: Mutex<Vec<Free>>,
    next: AtomicU64,
    preparing: AtomicBool,
}

impl Pool {
    /// Takes over the free files that an earlier run left; removes those of another size and those beyond the maximum.
    pub(crate) fn open(files: Arc<dyn LogFiles>, segment_bytes: u64, free_max: usize) -> Result<Self, Halt> {
        let pool = Self {
            files,
            segment_bytes,
            free_max,
            free: Mutex::default(),
            next: AtomicU64::new(0),
            preparing: AtomicBool::new(false),
        };
        let disk = |name: &str| Halt::disk_at(format!("open {name}"));
        for name in pool.files.list().map_err(Halt::disk_at("list the log's files"))? {
            let Some(stem) = name.strip_suffix(".free") else { continue };
            if let Some(number) = stem.strip_prefix('p').and_then(|digits| u64::from_str_radix(digits, 16).ok()) {
                pool.next.fetch_max(number + 1, Ordering::Relaxed);
            }
            let file = pool.files.open(&name).map_err(disk(&name))?;
            let length = file.length().map_err(disk(&name))?;
            pool.give_back(Free { name, file, length, allocated: 0 })?;
        }
        Ok(pool)
    }

    /// A file of the usual size that was there already.
    pub(crate) fn take(&self) -> Option<Free> {
        self.free.lock().pop()
    }

    /// Keeps a free file for reuse, or removes it.
    pub(crate) fn give_back(&self, file: Free) -> Result<(), Halt> {
        {
            let mut free = self.free.lock();
            if file.length == self.segment_bytes && free.len() < self.free_max {
                free.push(file);
                return Ok(());
            }
        }
        self.files.remove(&file.name).map_err(Halt::disk_at(format!("remove {}", file.name)))
    }

    /// Files that are free now.
    pub(crate) fn len(&self) -> usize {
        self.free.lock().len()
    }

    /// A new file of `length` bytes, all zero, synced.
    pub(crate) fn create(&self, length: u64) -> Result<Free, Halt> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let name = format!("p{number:016x}.free");
        let disk = || Halt::disk_at(format!("prepare {name}"));
        let file = self.files.create(&name).map_err(disk())?;
        if let Some(last) = length.checked_sub(1) {
            file.write_at(last, &[0]).map_err(disk())?;
        }
        file.sync().map_err(disk())?;
        Ok(Free { name, file, length, allocated: 0 })
    }

    /// Has a thread prepare a file if none is free, so that the writer need not wait for it when its segment is full.
    /// A failure is only logged: the writer will meet it itself.
    pub(crate) fn prepare_ahead(self: &Arc<Self>) {
        if self.len() > 0 || self.free_max == 0 || self.preparing.swap(true, Ordering::AcqRel) {
            return;
        }
        let pool = Arc::clone(self);
        let prepare = move || {
            if let Err(halt) = pool.create(pool.segment_bytes).and_then(|file| pool.give_back(file)) {
                tracing::warn!(%halt, "could not prepare a segment of the log ahead of time");
            }
            pool.preparing.store(false, Ordering::Release);
        };
        if let Err(error) = std::thread::Builder::new().name("wal-prepare".into()).spawn(prepare) {
            tracing::warn!(%error, "could not start the thread that prepares segments of the log");
            self.preparing.store(false, Ordering::Release);
        }
    }
}
