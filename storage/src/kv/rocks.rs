//! Blocks on RocksDB: a checksummed, cached store of files, not a sorter.
//!
//! Data files are written by `SstFileWriter`, ingested into the last level, and dropped by `delete_file_in_range`.
//! Automatic compactions are off for data, whose files never overlap. Meta is small and left to RocksDB.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};
use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamilyDescriptor, DB, DBCompressionType, Env, FlushOptions,
    IngestExternalFileOptions, Options, ReadOptions, SstFileWriter, WriteBatch, WriteBufferManager, WriteOptions,
};

use crate::halt::Halt;
use crate::kv::{BlockStore, FileWriter, Finished, MetaBatch, Visit};

const META: &str = "meta";
/// Most bytes of all memtables of the meta column families of a dnode; a quarter of the cache, where that is less.
const META_BUFFER_BYTES: usize = 64 << 20;
/// Most bytes of one memtable of meta; an eighth of all of them, where that is less.
const META_WRITE_BUFFER_BYTES: usize = 8 << 20;
/// And at least this many of both.
const META_BUFFER_BYTES_MIN: usize = 1 << 20;
/// Files that one vnode keeps open.
const OPEN_FILES_MAX: i32 = 256;

/// How long an open waits until a store that was dropped just now is really closed.
const CLOSING_WAIT: Duration = Duration::from_secs(10);

/// What the RocksDBs of a dnode share.
pub struct RocksShared {
    cache: Cache,
    buffers: WriteBufferManager,
    write_buffer: usize,
    env: Env,
    open: Arc<OpenDirs>,
}

/// Directories of open stores: a store is closed when the last scan of it ends, perhaps on another thread.
#[derive(Default)]
struct OpenDirs {
    dirs: Mutex<HashSet<PathBuf>>,
    closed: Condvar,
}

/// Holds a directory until the store in it is closed.
struct DirGuard {
    dir: PathBuf,
    open: Arc<OpenDirs>,
}

impl OpenDirs {
    /// Waits until nobody has the store of a directory open. Gives the directories, locked.
    fn wait_closed(&self, dir: &Path) -> Result<MutexGuard<'_, HashSet<PathBuf>>, Halt> {
        let mut dirs = self.dirs.lock();
        let deadline = Instant::now() + CLOSING_WAIT;
        while dirs.contains(dir) {
            if self.closed.wait_until(&mut dirs, deadline).timed_out() && dirs.contains(dir) {
                let busy = std::io::Error::new(std::io::ErrorKind::ResourceBusy, "it is open already");
                return Err(Halt::disk(format!("open {}", dir.display()), busy));
            }
        }
        Ok(dirs)
    }
}

impl Drop for DirGuard {
    fn drop(&mut self) {
        self.open.dirs.lock().remove(&self.dir);
        self.open.closed.notify_all();
    }
}

impl RocksShared {
    /// With a block cache of `cache_bytes`, which write buffers of meta, indices and filters are part of.
    ///
    /// # Errors
    ///
    /// If RocksDB cannot start its threads.
    pub fn new(cache_bytes: usize) -> Result<Self, Halt> {
        let cache = Cache::new_lru_cache(cache_bytes);
        let all = META_BUFFER_BYTES.min(cache_bytes / 4).max(META_BUFFER_BYTES_MIN);
        let write_buffer = META_WRITE_BUFFER_BYTES.min(all / 8).max(META_BUFFER_BYTES_MIN);
        let buffers = WriteBufferManager::new_write_buffer_manager_with_cache(all, false, cache.clone());
        let env = Env::new().map_err(|error| halt("RocksDB's environment", &error))?;
        Ok(Self { cache, buffers, write_buffer, env, open: Arc::default() })
    }

    /// Bytes in the block cache.
    #[must_use]
    pub fn cache_bytes(&self) -> u64 {
        self.cache.get_usage() as u64
    }

    /// Waits until nobody has the store of a directory open.
    ///
    /// # Errors
    ///
    /// If it stays open.
    pub fn wait_closed(&self, dir: &Path) -> Result<(), Halt> {
        self.open.wait_closed(dir).map(drop)
    }

    fn hold(&self, dir: &Path) -> Result<DirGuard, Halt> {
        self.open.wait_closed(dir)?.insert(dir.to_path_buf());
        Ok(DirGuard { dir: dir.to_path_buf(), open: Arc::clone(&self.open) })
    }

    fn options(&self) -> Options {
        let mut options = Options::default();
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        options.set_env(&self.env);
        options.set_write_buffer_manager(&self.buffers);
        options.set_write_buffer_size(self.write_buffer);
        options.set_max_open_files(OPEN_FILES_MAX);
        options.set_keep_log_file_num(2);
        options.set_stats_dump_period_sec(0);
        options.set_paranoid_checks(true);
        let mut blocks = BlockBasedOptions::default();
        blocks.set_block_cache(&self.cache);
        blocks.set_block_size(16 << 10);
        blocks.set_format_version(6);
        blocks.set_cache_index_and_filter_blocks(true);
        options.set_block_based_table_factory(&blocks);
        options
    }

    fn data_options(&self) -> Options {
        let mut options = self.options();
        // Blocks are compressed already; files never overlap, so there is nothing to compact.
        options.set_compression_type(DBCompressionType::None);
        options.set_disable_auto_compactions(true);
        options
    }

    fn meta_options(&self) -> Options {
        let mut options = self.options();
        options.set_compression_type(DBCompressionType::Lz4);
        options
    }
}

/// One vnode's blocks on RocksDB.
pub struct RocksStore {
    db: DB,
    dir: PathBuf,
    incoming: PathBuf,
    options: Options,
    /// Behind `db`, so that it is dropped when that is closed.
    _guard: DirGuard,
}

impl RocksStore {
    /// Opens the store in `dir`, or makes a new one.
    ///
    /// # Errors
    ///
    /// If the disk fails or the store is damaged.
    pub fn open(dir: &Path, shared: &RocksShared) -> Result<Self, Halt> {
        let place = dir.display().to_string();
        let disk = |error| Halt::disk(format!("open {place}"), error);
        let guard = shared.hold(dir)?;
        let incoming = dir.join("incoming");
        std::fs::create_dir_all(dir).map_err(disk)?;
        if incoming.exists() {
            std::fs::remove_dir_all(&incoming).map_err(disk)?;
        }
        std::fs::create_dir_all(&incoming).map_err(disk)?;
        // The log may be purged once this store has its entries, so its name must be as durable as they are.
        for path in [Some(dir), dir.parent()].into_iter().flatten().filter(|path| !path.as_os_str().is_empty()) {
            std::fs::File::open(path).and_then(|file| file.sync_all()).map_err(disk)?;
        }
        let families = [
            ColumnFamilyDescriptor::new(rocksdb::DEFAULT_COLUMN_FAMILY_NAME, shared.data_options()),
            ColumnFamilyDescriptor::new(META, shared.meta_options()),
        ];
        let db = DB::open_cf_descriptors(&shared.options(), dir.join("db"), families)
            .map_err(|error| halt(&format!("open {place}"), &error))?;
        Ok(Self { db, dir: dir.to_path_buf(), incoming, options: shared.data_options(), _guard: guard })
    }

    /// Opens the store in `dir` to look into it: nothing is changed, and nothing may be written.
    ///
    /// # Errors
    ///
    /// If the disk fails or the store is damaged.
    pub fn open_read_only(dir: &Path, shared: &RocksShared) -> Result<Self, Halt> {
        let families = [
            ColumnFamilyDescriptor::new(rocksdb::DEFAULT_COLUMN_FAMILY_NAME, shared.data_options()),
            ColumnFamilyDescriptor::new(META, shared.meta_options()),
        ];
        let mut options = shared.options();
        options.create_if_missing(false);
        options.create_missing_column_families(false);
        let db = DB::open_cf_descriptors_read_only(&options, dir.join("db"), families, false)
            .map_err(|error| halt(&format!("open {}", dir.display()), &error))?;
        let guard = shared.hold(dir)?;
        let incoming = dir.join("incoming");
        Ok(Self { db, dir: dir.to_path_buf(), incoming, options: shared.data_options(), _guard: guard })
    }

    fn meta(&self) -> &rocksdb::ColumnFamily {
        self.db.cf_handle(META).expect("opened with this family")
    }

    fn halt(&self, doing: &str, error: &rocksdb::Error) -> Halt {
        halt(&format!("{doing} {}", self.dir.display()), error)
    }
}

/// What RocksDB said, as what it means for the vnode.
fn halt(place: &str, error: &rocksdb::Error) -> Halt {
    match error.kind() {
        rocksdb::ErrorKind::Corruption => Halt::corrupt(format!("{place}: {error}")),
        // RocksDB says so in its text only.
        _ if error.as_ref().contains("No space left on device") => {
            Halt::disk(place, std::io::Error::new(std::io::ErrorKind::StorageFull, error.to_string()))
        }
        _ => Halt::disk(place, std::io::Error::other(error.to_string())),
    }
}

struct RocksWriter<'a> {
    writer: SstFileWriter<'a>,
    store: &'a RocksStore,
    name: String,
    finished: bool,
}

impl Drop for RocksWriter<'_> {
    /// A run that was broken off must not hold its place on the disk until the next start.
    fn drop(&mut self) {
        if !self.finished {
            let path = self.store.incoming.join(&self.name);
            if let Err(error) = std::fs::remove_file(&path) {
                tracing::warn!(path = %path.display(), %error, "a file that was not finished is still there");
            }
        }
    }
}

impl FileWriter for RocksWriter<'_> {
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), Halt> {
        self.writer.put(key, value).map_err(|error| self.store.halt("write a run of", &error))
    }

    fn finish(mut self: Box<Self>) -> Result<Finished, Halt> {
        self.writer.finish().map_err(|error| self.store.halt("finish a run of", &error))?;
        self.finished = true;
        Ok(Finished { bytes: self.writer.file_size(), name: std::mem::take(&mut self.name) })
    }
}

impl BlockStore for RocksStore {
    fn create(&self, name: &str) -> Result<Box<dyn FileWriter + '_>, Halt> {
        let path = self.incoming.join(name);
        if path.exists() {
            std::fs::remove_file(&path).map_err(|error| Halt::disk(format!("remove {}", path.display()), error))?;
        }
        let writer = SstFileWriter::create(&self.options);
        writer.open(&path).map_err(|error| self.halt("create a run in", &error))?;
        Ok(Box::new(RocksWriter { writer, store: self, name: name.to_owned(), finished: false }))
    }

    fn ingest(&self, files: &[Finished]) -> Result<(), Halt> {
        if files.is_empty() {
            return Ok(());
        }
        let mut options = IngestExternalFileOptions::default();
        options.set_move_files(true);
        let paths = files.iter().map(|file| self.incoming.join(&file.name)).collect();
        self.db.ingest_external_file_opts(&options, paths).map_err(|error| self.halt("ingest into", &error))
    }

    fn remove(&self, from: &[u8], to: &[u8]) -> Result<(), Halt> {
        // RocksDB takes `to` as inclusive here; no key is ever exactly a bound, since keys are longer than prefixes.
        self.db.delete_file_in_range(from, to).map_err(|error| self.halt("drop runs of", &error))?;
        let mut left = false;
        self.visit(from, to, &mut |_, _| {
            left = true;
            Ok(false)
        })?;
        if left {
            // Never seen: a file outside the last level. Tombstones hide it until it is compacted away.
            let mut batch = WriteBatch::default();
            batch.delete_range(from, to);
            self.db.write(batch).map_err(|error| self.halt("drop runs of", &error))?;
        }
        Ok(())
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Halt> {
        self.db.get(key).map_err(|error| self.halt("read", &error))
    }

    fn visit(&self, from: &[u8], to: &[u8], visit: &mut Visit<'_>) -> Result<(), Halt> {
        let mut options = ReadOptions::default();
        options.set_iterate_upper_bound(to);
        let mut iterator = self.db.raw_iterator_opt(options);
        iterator.seek(from);
        while let (Some(key), Some(value)) = (iterator.key(), iterator.value()) {
            if !visit(key, value)? {
                return Ok(());
            }
            iterator.next();
        }
        iterator.status().map_err(|error| self.halt("read", &error))
    }

    fn visit_meta(&self, visit: &mut Visit<'_>) -> Result<(), Halt> {
        let mut iterator = self.db.raw_iterator_cf(self.meta());
        iterator.seek_to_first();
        while let (Some(key), Some(value)) = (iterator.key(), iterator.value()) {
            if !visit(key, value)? {
                return Ok(());
            }
            iterator.next();
        }
        iterator.status().map_err(|error| self.halt("read", &error))
    }

    fn write_meta(&self, batch: MetaBatch) -> Result<(), Halt> {
        let meta = self.meta();
        let mut rocks = WriteBatch::default();
        for (key, value) in &batch.changes {
            match value {
                Some(value) => rocks.put_cf(meta, key, value),
                None => rocks.delete_cf(meta, key),
            }
        }
        // RocksDB's own log is synced, so that the batch is durable before it is flushed.
        let mut options = WriteOptions::default();
        options.set_sync(true);
        self.db.write_opt(rocks, &options).map_err(|error| self.halt("write the meta of", &error))
    }

    fn checkpoint(&self, dir: &Path) -> Result<(), Halt> {
        std::fs::create_dir_all(dir).map_err(|error| Halt::disk(format!("create {}", dir.display()), error))?;
        let mut flush = FlushOptions::default();
        flush.set_wait(true);
        self.db.flush_cf_opt(self.meta(), &flush).map_err(|error| self.halt("flush", &error))?;
        rocksdb::checkpoint::Checkpoint::new(&self.db)
            .and_then(|checkpoint| checkpoint.create_checkpoint(dir.join("db")))
            .map_err(|error| self.halt("checkpoint", &error))
    }

    fn bytes(&self) -> u64 {
        let of = |property: &str, meta: bool| {
            let value = if meta {
                self.db.property_int_value_cf(self.meta(), property)
            } else {
                self.db.property_int_value(property)
            };
            value.ok().flatten().unwrap_or(0)
        };
        let files = rocksdb::properties::TOTAL_SST_FILES_SIZE.as_str();
        let memtable = rocksdb::properties::CUR_SIZE_ALL_MEM_TABLES.as_str();
        of(files, false) + of(files, true) + of(memtable, true)
    }
}
