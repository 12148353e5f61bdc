//! The log with its own thread, on real files.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use model::VgroupId;
use model::options::FsyncPolicy;
use tokio::sync::oneshot;

use crate::files::RealFiles;
use crate::halt::Halt;
use crate::wal::{GroupLog, Position, Record, Wal, WalSettings};

fn settings() -> WalSettings {
    WalSettings { segment_bytes: 64 << 10, queue_bytes_max: 8 << 10, cache_bytes_max: 16 << 10, ..Default::default() }
}

fn record(index: u64, bytes: usize) -> Record {
    let payload = Bytes::from(vec![u8::try_from(index % 251).unwrap(); bytes]);
    Record { position: Position { term: 1, node: 7, index }, kind: 3, payload }
}

async fn append(log: &GroupLog, record: Record, policy: FsyncPolicy) -> Result<(), Halt> {
    let (sender, receiver) = oneshot::channel();
    log.append(vec![record], policy, Box::new(|result| sender.send(result).unwrap())).await;
    receiver.await.unwrap()
}

/// Eight groups write and purge at the same time, with more than the queue and the cache hold; after a close and a
/// reopen each has exactly what it should, and the disk holds a few segments only.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_share_the_log_and_its_segments() {
    let directory = tempfile::tempdir().unwrap();
    let files = Arc::new(RealFiles::new(directory.path()).unwrap());
    let (wal, _) = Wal::open(files.clone(), settings()).unwrap();
    let acknowledged = Arc::new(AtomicU64::new(0));
    let tasks: Vec<_> = (0..8)
        .map(|id| {
            let (log, acknowledged) = (wal.group(VgroupId(id)).unwrap(), Arc::clone(&acknowledged));
            tokio::spawn(async move {
                for index in 1..=200_u64 {
                    let policy = [FsyncPolicy::Always, FsyncPolicy::Never, FsyncPolicy::Every { period_ms: 1 }]
                        [usize::try_from(index % 3).unwrap()];
                    append(&log, record(index, 700), policy).await.unwrap();
                    acknowledged.fetch_add(1, Ordering::Relaxed);
                    if index % 20 == 0 {
                        log.purge(Position { term: 1, node: 7, index: index - 10 }).unwrap();
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(acknowledged.load(Ordering::Relaxed), 1600);
    wal.close().await.unwrap();
    assert!(matches!(
        append(&wal.group(VgroupId(0)).unwrap(), record(201, 1), FsyncPolicy::Never).await,
        Err(Halt::Closed)
    ));
    assert!(wal.disk_bytes() <= 10 * (64 << 10), "{} bytes", wal.disk_bytes());

    let (wal, recovery) = Wal::open(files, settings()).unwrap();
    assert_eq!(recovery.groups.len(), 8);
    assert_eq!(recovery.torn, None);
    for id in wal.groups() {
        let log = wal.group(id).unwrap();
        let expected: Vec<_> = (191..=200).map(|index| record(index, 700)).collect();
        assert_eq!(log.read(0..u64::MAX, usize::MAX).unwrap(), expected);
        assert_eq!(log.synced().unwrap().index, 200);
    }
}

/// An entry that is larger than a segment gets one of its own, and it goes when it is purged.
#[tokio::test]
async fn an_entry_may_be_larger_than_a_segment() {
    let directory = tempfile::tempdir().unwrap();
    let files = Arc::new(RealFiles::new(directory.path()).unwrap());
    let (wal, _) = Wal::open(files.clone(), settings()).unwrap();
    let log = wal.group(VgroupId(1)).unwrap();
    for index in 1..=3 {
        append(&log, record(index, 200 << 10), FsyncPolicy::Always).await.unwrap();
    }
    assert_eq!(log.read(1..4, 250 << 10).unwrap(), [record(1, 200 << 10)], "as much as was asked for");
    assert_eq!(wal.pinning(), [(VgroupId(1), 2)]);
    log.purge(record(3, 0).position).unwrap();
    append(&log, record(4, 10), FsyncPolicy::Always).await.unwrap();
    wal.sync().await.unwrap();
    drop((wal, log));
    let (wal, _) = Wal::open(files, settings()).unwrap();
    assert_eq!(wal.group(VgroupId(1)).unwrap().read(0..9, 0).unwrap(), [record(4, 10)]);
}

#[tokio::test]
#[should_panic(expected = "must follow one another")]
async fn a_gap_is_the_callers_defect() {
    let directory = tempfile::tempdir().unwrap();
    let (wal, _) = Wal::open(Arc::new(RealFiles::new(directory.path()).unwrap()), settings()).unwrap();
    let log = wal.group(VgroupId(1)).unwrap();
    append(&log, record(5, 1), FsyncPolicy::Never).await.unwrap();
    append(&log, record(7, 1), FsyncPolicy::Never).await.unwrap();
}

/// Whoever waits for a writer that dies of a defect is told.
#[tokio::test]
async fn nobody_waits_for_a_dead_writer() {
    let directory = tempfile::tempdir().unwrap();
    let (wal, _) = Wal::open(Arc::new(RealFiles::new(directory.path()).unwrap()), settings()).unwrap();
    let log = wal.group(VgroupId(1)).unwrap();
    log.save_vote(Bytes::new(), Box::new(|_| panic!("a callback with a defect")));
    let refused = append(&log, record(1, 1), FsyncPolicy::Never).await;
    assert!(refused.is_err() || append(&log, record(2, 1), FsyncPolicy::Never).await.is_err());
    assert!(matches!(wal.close().await, Err(Halt::Disk { .. })));
}
