//! What merges cost, and what they give back: counters and bytes of the disk, never time.

use std::path::Path;
use std::sync::Arc;

use model::command::{Operation, Target};
use model::scan::{Order, ScanRequest};
use model::schema::{Compression, RelationKind};
use model::{ColumnId, Suid, TimeRange};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::halt::Halt;
use crate::vnode::tests::busy::{entry, position};
use crate::vnode::tests::{Cell, chunk, creation, lines, options, relation, request};
use crate::vnode::{Compaction, EnvOptions, StorageEnv, Vnode, VnodeOptions, Written, policy};

const SUID: u32 = 7;

/// A vnode that is written to, entry by entry.
struct Bench {
    vnode: Arc<Vnode>,
    number: u64,
    random: StdRng,
}

impl Bench {
    fn open(env: &Arc<StorageEnv>, dir: &Path, options: VnodeOptions) -> Self {
        let vnode = Vnode::open(dir, options, Arc::clone(env)).expect("open");
        let number = vnode.applied().map_or(0, |position| position.index);
        Self { vnode, number, random: StdRng::seed_from_u64(5) }
    }

    fn apply(&mut self, operation: Operation) {
        self.number += 1;
        self.vnode.apply(position(self.number), &entry(self.number, vec![operation])).expect("apply");
    }

    /// One row for each key in each of `tables` tables, which hardly compresses.
    fn write(&mut self, suid: u32, tables: u32, keys: &[i64]) {
        let targets: Vec<Target> =
            (0..tables).map(|table| Target::Create(creation(&format!("s{suid}t{table}"), 0))).collect();
        let ordinals = (0..tables).flat_map(|table| keys.iter().map(move |_| table)).collect();
        let mut row = || {
            let text: String = (0..20).map(|_| char::from(self.random.random_range(b' '..b'~'))).collect();
            [Cell::Int(self.random.random()), Cell::Text(text), Cell::Float(self.random.random())]
        };
        let rows: Vec<[Cell; 3]> = (0..tables as usize * keys.len()).map(|_| row()).collect();
        let keys = (0..tables).flat_map(|_| keys.iter().copied()).collect();
        self.apply(chunk(suid, targets, ordinals, keys, &rows));
    }

    fn flush(&self) {
        self.vnode.flush().expect("flush");
    }

    fn fullest(&self) -> usize {
        self.vnode.inner.read().runs.values().map(Vec::len).max().unwrap_or(0)
    }

    fn rows(&self, suid: u32) -> usize {
        let request = ScanRequest::Rows(request(&relation(suid, RelationKind::Super), Order::Any));
        self.vnode.scan(request).expect("scan").map(|batch| batch.expect("batch").num_rows()).sum()
    }
}

/// 300 flushes of 100 rows each over ten buckets; of `late` percent of the rows the key is anywhere in the past.
fn ingest(late: i64, by_hand: bool) -> Written {
    let options = VnodeOptions { duration_ticks: 1000, merge_trigger: 4, ..options() };
    let mut bench = Bench::open(&StorageEnv::in_memory(), Path::new("/memory/vnode"), options);
    for flush in 0..300_i64 {
        let now = flush * 32;
        let key = |at: i64, random: &mut StdRng| {
            if at % 100 < late { random.random_range(0..=now) } else { now + at % 32 }
        };
        let keys: Vec<i64> = (0..25).map(|at| key(at * 4, &mut bench.random)).collect();
        bench.write(SUID, 4, &keys);
        bench.flush();
        assert!(bench.fullest() <= policy::runs_max(4), "{} runs", bench.fullest());
        if by_hand {
            bench.vnode.merge().expect("merge");
        }
    }
    bench.vnode.written()
}

#[test]
fn write_amplification_is_bounded() {
    for late in [0, 30] {
        let written = ingest(late, true);
        let rewrites = written.merged_rows as f64 / written.ingested_rows as f64;
        // Tiers of a bucket's flushes: 300 / 10 of them in order, all 300 if rows are late.
        let bound = if late == 0 { 3.0 } else { 5.0 };
        assert!(rewrites <= bound, "{late} % late: rows were rewritten {rewrites:.2} times");
        assert!(written.merges > 20 && written.merging == 0);
        let bytes = (written.flushed_bytes + written.merged_bytes) as f64;
        assert!((written.rewrites() - bytes / written.flushed_bytes as f64).abs() < 1e-9);
        assert!((written.amplification() - bytes / written.ingested_bytes as f64).abs() < 1e-9);
        assert!(written.rewrites() < 1.0 + bound + 1.0, "{written:?}");
    }
}

/// Nobody merges: flushes make room for themselves.
#[test]
fn runs_never_pile_up() {
    let written = ingest(30, false);
    assert!(written.merges > 0);
    let rewrites = written.merged_rows as f64 / written.ingested_rows as f64;
    assert!(rewrites <= 6.0, "rows were rewritten {rewrites:.2} times");
}

#[test]
fn a_bucket_that_gets_no_more_rows_is_merged_for_the_last_time() {
    let root = tempfile::tempdir().expect("a temporary directory");
    let dir = root.path().join("vnode");
    let env = StorageEnv::new(&EnvOptions { workers: 0, ..EnvOptions::default() }).expect("environment");
    let options = VnodeOptions { cold_rounds: 3, merge_trigger: 4, ..options() };
    let mut bench = Bench::open(&env, &dir, options.clone());
    let runs = |bench: &Bench| -> Vec<(i32, usize, bool)> {
        let inner = bench.vnode.inner.read();
        inner.runs.iter().map(|(bucket, runs)| (*bucket, runs.len(), runs.iter().all(|run| run.header.last))).collect()
    };
    for keys in [0..50, 50..100, 100..150] {
        bench.write(SUID, 2, &keys.collect::<Vec<i64>>());
        bench.flush();
    }
    let rows = bench.rows(SUID);
    let tend = |bench: &Bench| {
        bench.vnode.tend();
        bench.vnode.merge().expect("merge")
    };
    assert_eq!((tend(&bench), tend(&bench)), (0, 0));
    bench.write(SUID, 2, &[151]);
    bench.flush();
    assert_eq!(tend(&bench), 1);
    assert_eq!(runs(&bench), [(0, 1, true), (1, 2, false)]);
    assert_eq!((tend(&bench), tend(&bench)), (0, 1));
    assert_eq!(runs(&bench), [(0, 1, true), (1, 1, true)]);
    assert_eq!(bench.rows(SUID), rows + 2);
    // A late row does not rewrite the bucket, and a start does not forget that it was written.
    bench.write(SUID, 1, &[3]);
    bench.flush();
    assert_eq!((0..9).map(|_| tend(&bench)).sum::<usize>(), 0);
    assert_eq!(runs(&bench), [(0, 2, false), (1, 1, true)]);
    drop(bench);
    let bench = Bench::open(&env, &dir, options);
    assert_eq!(runs(&bench), [(0, 2, false), (1, 1, true)]);
    assert_eq!((0..9).map(|_| tend(&bench)).sum::<usize>(), 0);
    assert_eq!(bench.rows(SUID), rows + 2);
}

/// Bytes of all files below a directory.
fn bytes(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("an entry"));
    entries
        .map(|entry| if entry.path().is_dir() { bytes(&entry.path()) } else { entry.metadata().expect("a file").len() })
        .sum()
}

fn everything(bench: &Bench) -> Vec<Vec<String>> {
    let request = ScanRequest::Rows(request(&relation(SUID, RelationKind::Super), Order::SeriesTime));
    bench.vnode.scan(request).expect("scan").flat_map(|batch| lines(&batch.expect("batch"))).collect()
}

#[test]
fn deletes_drops_and_expiry_free_the_disk() {
    let root = tempfile::tempdir().expect("a temporary directory");
    let dir = root.path().join("vnode");
    let env = StorageEnv::new(&EnvOptions { workers: 0, ..EnvOptions::default() }).expect("environment");
    let options = VnodeOptions { duration_ticks: 1000, merge_trigger: 4, maxrows: 4096, ..options() };
    let mut bench = Bench::open(&env, &dir, options.clone());
    for bucket in 0..4 {
        let keys: Vec<i64> = (bucket * 1000..bucket * 1000 + 1000).step_by(2).collect();
        bench.write(SUID, 8, &keys);
        bench.write(8, 8, &keys);
        bench.flush();
    }
    // About 32 bytes a row: 16,000 rows of each of two super tables.
    let full = bytes(&dir);
    assert!(full > 900_000, "{full} bytes");

    // A delete of half of one super table, which COMPACT carries out; a reader holds on to what it reads.
    let range = TimeRange { min: 0, max: 1999 };
    bench.apply(Operation::DeleteRange { suid: Suid(SUID), sids: None, range, counted: 8000 });
    let rest = everything(&bench);
    let all = ScanRequest::Rows(request(&relation(8, RelationKind::Super), Order::SeriesTime));
    let mut reader = bench.vnode.scan(all).expect("scan");
    let mut read = reader.next().expect("rows").expect("a batch").num_rows();
    bench.vnode.compact().expect("compact");
    assert_eq!(everything(&bench), rest);
    read += reader.map(|batch| batch.expect("a batch").num_rows()).sum::<usize>();
    assert_eq!(read, 16_000, "the reader has lost rows");
    bench.vnode.merge().expect("what nobody reads goes");
    let deleted = bytes(&dir);
    assert!(deleted < full * 8 / 10, "{deleted} of {full} bytes");

    // A super table that was dropped goes without being asked.
    bench.apply(Operation::DropRelation { suid: Suid(8) });
    bench.vnode.merge().expect("not yet: the drop is not on disk");
    assert!(bytes(&dir) > deleted * 9 / 10 && bench.vnode.holds_deletes());
    bench.flush();
    assert!(!bench.vnode.holds_deletes());
    assert!(bench.vnode.merge().expect("merge") > 0);
    let dropped = bytes(&dir);
    assert!(dropped < full * 4 / 10, "{dropped} of {full} bytes");
    assert_eq!(everything(&bench), rest);

    // A bucket that KEEP has left behind, and a start that finds nothing else.
    assert_eq!(bench.vnode.drop_expired(3000).expect("expired"), 1);
    let expired = bytes(&dir);
    assert!(expired < full * 3 / 10, "{expired} of {full} bytes");
    let rest = everything(&bench);
    drop(bench);
    let mut bench = Bench::open(&env, &dir, options);
    assert_eq!(everything(&bench), rest);
    assert!(bytes(&dir) < full * 3 / 10, "{} of {full} bytes after a start", bytes(&dir));

    // A delete of everything needs no COMPACT either.
    bench.apply(Operation::DeleteRange { suid: Suid(SUID), sids: None, range: TimeRange::ALL, counted: 4000 });
    bench.flush();
    assert!(bench.vnode.merge().expect("merge") > 0);
    assert_eq!(bench.vnode.store.bytes() / 100_000, 0, "{} bytes", bench.vnode.store.bytes());
    assert!(bench.vnode.inner.read().runs.is_empty() && everything(&bench).is_empty());
}

#[test]
fn a_compaction_can_be_watched_and_stopped() {
    let root = tempfile::tempdir().expect("a temporary directory");
    let dir = root.path().join("vnode");
    let env = StorageEnv::new(&EnvOptions { workers: 0, ..EnvOptions::default() }).expect("environment");
    let mut bench = Bench::open(&env, &dir, VnodeOptions { merge_trigger: 4, ..options() });
    for _ in 0..2 {
        bench.write(SUID, 2, &(0..500).collect::<Vec<i64>>());
        bench.flush();
    }
    let rest = everything(&bench);
    let stopped = Arc::new(Compaction::new(TimeRange::ALL));
    stopped.stop();
    assert!(matches!(bench.vnode.compact_watched(&stopped), Err(Halt::Closed)));
    bench.vnode.check().expect("the vnode goes on");
    assert_eq!((stopped.progress().buckets, stopped.progress().finished), (5, 0));

    let some = Arc::new(Compaction::new(TimeRange { min: 250, max: 320 }));
    bench.vnode.compact_watched(&some).expect("compact");
    let progress = some.progress();
    assert_eq!((progress.buckets, progress.finished, progress.percent()), (2, 2, 100));
    assert_eq!(progress.bytes, progress.done);
    let runs = |bench: &Bench| bench.vnode.inner.read().runs.values().map(Vec::len).collect::<Vec<usize>>();
    assert_eq!(runs(&bench), [2, 2, 1, 1, 2]);

    let all = Arc::new(Compaction::new(TimeRange::ALL));
    bench.vnode.compact_watched(&all).expect("compact");
    assert_eq!((all.progress().buckets, all.progress().percent()), (3, 100));
    assert_eq!(runs(&bench), [1; 5]);
    assert_eq!(everything(&bench), rest);
    assert_eq!(std::fs::read_dir(dir.join("incoming")).expect("a directory").count(), 0);
    let again = Arc::new(Compaction::new(TimeRange::ALL));
    bench.vnode.compact_watched(&again).expect("compact");
    assert_eq!((again.progress().buckets, again.progress().percent()), (0, 100));
}

/// A merge that is broken off in the middle leaves its runs as they were, and no file behind.
#[test]
fn a_merge_that_is_broken_off_leaves_nothing() {
    let root = tempfile::tempdir().expect("a temporary directory");
    let dir = root.path().join("vnode");
    let env = StorageEnv::new(&EnvOptions { workers: 0, ..EnvOptions::default() }).expect("environment");
    let mut bench = Bench::open(&env, &dir, VnodeOptions { duration_ticks: 1 << 20, ..options() });
    for _ in 0..2 {
        bench.write(SUID, 40, &(0..100).collect::<Vec<i64>>());
        bench.flush();
    }
    let rest = everything(&bench);
    // Blocks that were read make it stop, as somebody who looks at its progress would.
    let compaction = Arc::new(Compaction::new(TimeRange::ALL));
    let result = std::thread::scope(|scope| {
        scope.spawn(|| {
            while compaction.progress().done == 0 {
                std::thread::yield_now();
            }
            compaction.stop();
        });
        bench.vnode.compact_watched(&compaction)
    });
    // It may have been quicker than the thread that stops it.
    if result.is_err() {
        assert_eq!(compaction.progress().finished, 0);
    }
    assert_eq!(std::fs::read_dir(dir.join("incoming")).expect("a directory").count(), 0);
    bench.vnode.check().expect("the vnode goes on");
    assert_eq!(everything(&bench), rest);
    bench.vnode.compact().expect("compact");
    assert_eq!(everything(&bench), rest);
}

#[test]
fn small_series_share_blocks() {
    const SERIES: u32 = 100_000;
    let options = VnodeOptions { duration_ticks: 1 << 40, maxrows: 4096, ..options() };
    let mut bench = Bench::open(&StorageEnv::in_memory(), Path::new("/memory/vnode"), options);
    let targets: Vec<Target> = (0..SERIES).map(|at| Target::Create(creation(&format!("t{at}"), 0))).collect();
    for flush in 0..3_i64 {
        let ordinals: Vec<u32> = (0..SERIES).collect();
        let keys: Vec<i64> = (0..SERIES).map(|at| flush * 60_000 + i64::from(at % 1000)).collect();
        let row = |at: u32| [Cell::Int((at % 7) as i32), Cell::Absent, Cell::Float(f64::from(at % 1000) / 10.0)];
        let rows: Vec<[Cell; 3]> = (0..SERIES).map(row).collect();
        bench.apply(chunk(SUID, targets.clone(), ordinals, keys, &rows));
        bench.flush();
        let inner = bench.vnode.inner.read();
        let run = inner.runs.values().flatten().last().expect("a run");
        let blocks = run.blocks(Suid(SUID)).expect("blocks").len();
        assert!(blocks <= SERIES as usize / 4096 + 1, "{blocks} blocks");
        let per_row = run.bytes() as f64 / run.header.rows as f64;
        assert!(per_row < 6.5, "{per_row:.2} bytes a row");
    }
    bench.vnode.compact().expect("compact");
    let inner = bench.vnode.inner.read();
    let run = inner.runs.values().flatten().next().expect("a run");
    assert_eq!(run.header.rows, u64::from(SERIES) * 3);
    let blocks = run.blocks(Suid(SUID)).expect("blocks").len();
    // Whole series only: a block may lack what the next one would have filled.
    assert!(blocks <= SERIES as usize * 3 / 4093 + 1, "{blocks} blocks");
    let per_row = run.bytes() as f64 / run.header.rows as f64;
    assert!(per_row < 6.0, "{per_row:.2} bytes a row");
}

#[test]
fn columns_are_written_as_they_ask() {
    let sizes: Vec<u64> = [(0, None), (1, None), (1, Some("disabled"))]
        .into_iter()
        .map(|(comp, encode): (u8, Option<&str>)| {
            let options = VnodeOptions { duration_ticks: 1 << 40, maxrows: 4096, comp, ..options() };
            if let Some(encode) = encode {
                let wish = Compression { encode: Some(encode.to_owned()), ..Compression::default() };
                options.columns.set([((Suid(SUID), ColumnId(1)), wish)].into());
            }
            let mut bench = Bench::open(&StorageEnv::in_memory(), Path::new("/memory/vnode"), options);
            let rows = vec![[Cell::Int(7), Cell::Absent, Cell::Float(0.5)]; 4096];
            let targets = vec![Target::Create(creation("t", 0))];
            bench.apply(chunk(SUID, targets, Vec::new(), (0..4096).collect(), &rows));
            bench.flush();
            let inner = bench.vnode.inner.read();
            inner.runs.values().flatten().map(|run| run.bytes()).sum()
        })
        .collect();
    // 8 + 4 + 8 bytes a row; a few hundred in all; 4 bytes a row.
    assert!((81_920..83_000).contains(&sizes[0]), "{sizes:?}");
    assert!(sizes[1] < 600, "{sizes:?}");
    assert!((16_384..17_500).contains(&sizes[2]), "{sizes:?}");
}
