//! Scans, flushes and merges at the same time as writes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use model::command::{Applied, Entry, Operation, Stamp, Target};
use model::scan::{Order, ScanRequest};
use model::schema::RelationKind;
use model::{DatabaseId, Suid, TimeRange};

use crate::vnode::tests::{Cell, chunk, creation, lines, options, relation, request};
use crate::vnode::{EnvOptions, StorageEnv, Vnode, VnodeOptions};
use crate::wal::Position;

const SUID: u32 = 7;
const ENTRIES: u64 = 400;
const TABLES: u64 = 4;

pub(super) fn entry(number: u64, operations: Vec<Operation>) -> Entry {
    let stamp = Stamp { hlc: number << 16, origin: 0, writer: 1, seq: number };
    Entry { stamp, database: DatabaseId(1), epoch: 0, operations }
}

pub(super) fn position(number: u64) -> Position {
    Position { term: 1, node: 1, index: number }
}

/// Entry `number` writes one row to each table: key `number`, and again key `number - 1` with a new value. Every
/// fiftieth deletes the first ten keys instead.
pub(super) fn history(number: u64) -> Vec<Operation> {
    if number.is_multiple_of(50) {
        let range = TimeRange { min: 0, max: 9 };
        return vec![Operation::DeleteRange { suid: Suid(SUID), sids: None, range, counted: 0 }];
    }
    let targets: Vec<Target> = (0..TABLES).map(|table| Target::Create(creation(&format!("t{table}"), 0))).collect();
    let tables = 0..TABLES as u32;
    let ordinals = tables.clone().chain(tables).collect();
    let key = number as i64;
    let keys = [[key; TABLES as usize], [key - 1; TABLES as usize]].concat();
    let cell = |value: i64| [Cell::Int(value as i32), Cell::Absent, Cell::Absent];
    let rows = [vec![cell(0); TABLES as usize], vec![cell(key); TABLES as usize]].concat();
    vec![chunk(SUID, targets, ordinals, keys, &rows)]
}

/// What a table holds after `number` entries: key and value.
fn expected(number: u64) -> BTreeMap<i64, String> {
    let mut rows = BTreeMap::new();
    for entry in 1..=number {
        if entry.is_multiple_of(50) {
            rows.retain(|key, _| *key > 9);
        } else {
            rows.insert(entry as i64, "0".to_owned());
            rows.insert(entry as i64 - 1, entry.to_string());
        }
    }
    rows
}

/// A scan between the entries `before` and `after` must answer as after one of them.
pub(super) fn check(vnode: &Vnode, applied: &AtomicU64, order: Order) {
    let relation = relation(SUID, RelationKind::Super);
    let before = applied.load(Ordering::SeqCst);
    let batches = vnode.scan(ScanRequest::Rows(request(&relation, order))).expect("scan");
    let after = applied.load(Ordering::SeqCst) + 1;
    let mut tables: BTreeMap<String, BTreeMap<i64, String>> = BTreeMap::new();
    for batch in batches {
        for line in lines(&batch.expect("batch")) {
            let old = tables.entry(line[0].clone()).or_default().insert(line[1].parse().expect("key"), line[2].clone());
            assert!(old.is_none(), "a row came twice");
        }
    }
    let one = tables.values().next().cloned().unwrap_or_default();
    assert!(tables.values().all(|rows| *rows == one), "an entry is seen in part");
    assert!((before..=after).any(|number| expected(number) == one), "no state between {before} and {after}");
}

fn busy(env: &Arc<StorageEnv>, dir: &std::path::Path) {
    let options = VnodeOptions { flush_rows_max: 100, merge_trigger: 2, ..options() };
    let vnode = Vnode::open(dir, options.clone(), Arc::clone(env)).expect("open");
    let (applied, done) = (AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for order in [Order::SeriesTime, Order::TimeDescending] {
            let (vnode, applied, done) = (&vnode, &applied, &done);
            scope.spawn(move || {
                while !done.load(Ordering::SeqCst) {
                    check(vnode, applied, order);
                }
            });
        }
        for number in 1..=ENTRIES {
            let outcome = vnode.apply(position(number), &entry(number, history(number))).expect("apply");
            assert!(matches!(outcome, Applied::Done(_)));
            applied.store(number, Ordering::SeqCst);
        }
        done.store(true, Ordering::SeqCst);
    });
    assert_eq!(vnode.flush().expect("flush"), Some(position(ENTRIES)));
    assert_eq!(*vnode.watch_durable().borrow(), Some(position(ENTRIES)));
    check(&vnode, &applied, Order::TimeAscending);
    vnode.close();
    assert!(vnode.flush().is_err());
    let weak = Arc::downgrade(&vnode);
    let relation = relation(SUID, RelationKind::Super);
    assert!(vnode.scan(ScanRequest::Rows(request(&relation, Order::Any))).is_err());
    drop(vnode);
    // A worker may be looking whether there is work, and lets go of the vnode then.
    let began = std::time::Instant::now();
    while weak.strong_count() > 0 && began.elapsed() < std::time::Duration::from_secs(10) {
        std::thread::park_timeout(std::time::Duration::from_millis(1));
    }
    assert_eq!(weak.strong_count(), 0);
    let vnode = Vnode::open(dir, options, Arc::clone(env)).expect("open");
    assert_eq!(vnode.applied(), Some(position(ENTRIES)));
    check(&vnode, &applied, Order::SeriesTime);
}

#[test]
fn scans_see_whole_entries_while_runs_come_and_go() {
    let root = tempfile::tempdir().expect("a temporary directory");
    let env = StorageEnv::new(&EnvOptions { workers: 2, ..EnvOptions::default() }).expect("environment");
    busy(&env, &root.path().join("vnode"));
    env.stop();
}

#[test]
fn entries_of_others_are_refused() {
    let env = StorageEnv::in_memory();
    let half = VnodeOptions { hash_end: u32::MAX / 2, ..options() };
    let vnode = Vnode::open(std::path::Path::new("/memory/vnode"), half, env).expect("open");
    let create = |name: &str| Operation::CreateTables {
        suid: Suid(SUID),
        tables: vec![creation(name, 0)],
        if_not_exists: false,
    };
    let mut number = 0;
    let mut apply = |database: u32, epoch: u64, name: &str| {
        number += 1;
        let entry = Entry { database: DatabaseId(database), epoch, ..entry(number, vec![create(name)]) };
        vnode.apply(position(number), &entry).expect("apply")
    };
    let mine = |name: &&str| model::hash::table_hash(name) <= u32::MAX / 2;
    let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let (inside, outside): (Vec<&str>, Vec<&str>) = names.iter().partition(|name| mine(name));
    let wrong = Applied::Rejected(model::command::Rejection::WrongVgroup);
    assert_eq!(apply(1, 0, outside[0]), wrong);
    assert_eq!(apply(2, 0, inside[0]), wrong);
    assert!(matches!(apply(1, 5, inside[0]), Applied::Done(_)));
    assert_eq!(apply(1, 4, inside[1]), wrong);
    assert_eq!(vnode.tables(), 1);
    assert_eq!(vnode.applied(), Some(position(4)));
}

#[test]
fn a_scan_outlives_its_vnode_and_a_snapshot_waits_for_it() {
    let root = tempfile::tempdir().expect("a temporary directory");
    let env = StorageEnv::new(&EnvOptions { workers: 0, ..EnvOptions::default() }).expect("environment");
    let (dir, copy) = (root.path().join("vnode"), root.path().join("copy"));
    let vnode = Vnode::open(&dir, options(), Arc::clone(&env)).expect("open");
    for number in 1..=40 {
        vnode.apply(position(number), &entry(number, history(number))).expect("apply");
    }
    vnode.flush().expect("flush");
    assert_eq!(vnode.checkpoint(&copy).expect("checkpoint").position, Some(position(40)));
    let relation = relation(SUID, RelationKind::Super);
    let mut scan = vnode.scan(ScanRequest::Rows(request(&relation, Order::TimeAscending))).expect("scan");
    let weak = Arc::downgrade(&vnode);
    drop(vnode);
    assert_eq!(weak.strong_count(), 1, "the scan keeps it");
    let reader = std::thread::spawn(move || scan.by_ref().map(|batch| batch.expect("batch").num_rows()).sum::<usize>());
    Vnode::install(&copy, &dir, &env).expect("install");
    assert_eq!(reader.join().expect("the reader ends"), 41 * TABLES as usize);
    let vnode = Vnode::open(&dir, options(), Arc::clone(&env)).expect("open");
    assert_eq!(vnode.applied(), Some(position(40)));
    check(&vnode, &AtomicU64::new(40), Order::SeriesTime);
}

#[test]
fn what_belongs_to_another_vnode_or_a_newer_version_is_not_opened() {
    let env = StorageEnv::in_memory();
    let dir = std::path::Path::new("/memory/vnode");
    drop(Vnode::open(dir, options(), Arc::clone(&env)).expect("open"));
    let other = VnodeOptions { database: DatabaseId(2), ..options() };
    assert!(Vnode::open(dir, other, Arc::clone(&env)).is_err());
    let store = env.open_store(dir).expect("store");
    let mut batch = crate::kv::MetaBatch::default();
    batch.put(b"F".to_vec(), 99_u32.to_le_bytes().to_vec());
    store.write_meta(batch).expect("write");
    let newer = Vnode::open(dir, options(), Arc::clone(&env)).map(drop);
    assert!(matches!(newer, Err(crate::Halt::Newer { found: 99, .. })));
}

/// Once a flush that had waited for a failed one went on: it froze newer rows and moved the watermark past those of the
/// failed one, which were lost at the next start.
#[test]
fn a_flush_does_not_follow_one_that_failed() {
    let vnode = Vnode::open(std::path::Path::new("/memory/vnode"), options(), StorageEnv::in_memory()).expect("open");
    vnode.apply(position(1), &entry(1, history(1))).expect("apply");
    let held = vnode.flushing.lock();
    let waiting = std::thread::scope(|scope| {
        let follower = scope.spawn(|| vnode.flush());
        // Long enough for the follower to be at the lock; if it is not there yet, it must fail all the same.
        std::thread::park_timeout(std::time::Duration::from_millis(100));
        vnode.halt(&crate::halt::Halt::disk("write a run", std::io::Error::from(std::io::ErrorKind::StorageFull)));
        drop(held);
        follower.join().expect("no panic")
    });
    assert!(waiting.is_err(), "the watermark is {:?}", vnode.durable());
    assert_eq!(vnode.durable(), None);
}
