//! The contract of [`LogFiles`], checked on the real and on the simulated ones; and what only the simulated ones can show.

use std::io;

use super::*;

fn read(file: &dyn LogFile, offset: u64, bytes: usize) -> Vec<u8> {
    let mut buffer = vec![0; bytes];
    file.read_at(offset, &mut buffer).unwrap();
    buffer
}

fn contract(files: &dyn LogFiles) {
    assert!(files.list().unwrap().is_empty());
    assert_eq!(files.open("a").unwrap_err().kind(), io::ErrorKind::NotFound);
    assert_eq!(files.remove("a").unwrap_err().kind(), io::ErrorKind::NotFound);
    assert_eq!(files.rename("a", "b").unwrap_err().kind(), io::ErrorKind::NotFound);

    let a = files.create("a").unwrap();
    assert_eq!(files.create("a").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    assert_eq!(a.length().unwrap(), 0);
    a.write_at(3, b"lo").unwrap();
    a.write_at(0, b"hel").unwrap();
    assert_eq!(read(&*a, 0, 5), b"hello");
    assert_eq!(a.length().unwrap(), 5);
    a.write_at(1000, b"far").unwrap();
    assert_eq!(read(&*a, 998, 5), b"\0\0far", "what was never written reads as zeros");
    assert_eq!(a.read_at(1002, &mut [0; 2]).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    a.sync().unwrap();

    // A second handle sees the same bytes; handles follow a rename and outlive a removal.
    let again = files.open("a").unwrap();
    assert_eq!(read(&*again, 0, 5), b"hello");
    let b = files.create("b").unwrap();
    b.write_at(0, b"old").unwrap();
    files.rename("a", "b").unwrap();
    files.sync_directory().unwrap();
    assert_eq!(files.list().unwrap(), ["b"]);
    assert_eq!(read(&*b, 0, 3), b"old");
    a.write_at(0, b"j").unwrap();
    assert_eq!(read(&*files.open("b").unwrap(), 0, 5), b"jello");
    files.remove("b").unwrap();
    files.sync_directory().unwrap();
    assert!(files.list().unwrap().is_empty());
    assert_eq!(read(&*a, 0, 5), b"jello");

    write_durably(files, "small", b"one").unwrap();
    files.create("small.tmp").unwrap().write_at(0, b"left by a crash").unwrap();
    write_durably(files, "small", b"second").unwrap();
    assert_eq!(files.list().unwrap(), ["small"]);
    assert_eq!(read_small(files, "small").unwrap().unwrap(), b"second");
    assert_eq!(read_small(files, "none").unwrap(), None);
}

#[test]
fn real_files_keep_the_contract() {
    let directory = tempfile::tempdir().unwrap();
    let nested = directory.path().join("one/two");
    contract(&RealFiles::new(&nested).unwrap());
    std::fs::create_dir(nested.join("directory")).unwrap();
    assert_eq!(RealFiles::existing(&nested).list().unwrap(), ["small"], "only files are listed");
}

#[test]
fn simulated_files_keep_the_contract() {
    contract(&SimulatedFiles::new());
}

#[test]
fn a_process_keeps_what_it_wrote_and_a_machine_what_it_synced() {
    let files = SimulatedFiles::new();
    let file = files.create("a").unwrap();
    files.sync_directory().unwrap();
    file.write_at(0, &[1; 4 * SECTOR_BYTES]).unwrap();
    file.sync().unwrap();
    file.write_at(0, &[2; 4 * SECTOR_BYTES]).unwrap();
    files.crash_process();
    assert_eq!(file.read_at(0, &mut [0]).unwrap_err().kind(), io::ErrorKind::BrokenPipe, "the handle died");
    assert_eq!(read(&*files.open("a").unwrap(), 0, 4 * SECTOR_BYTES), [2; 4 * SECTOR_BYTES]);

    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..64 {
        let file = files.open("a").unwrap();
        file.write_at(0, &[1; 4 * SECTOR_BYTES]).unwrap();
        file.sync().unwrap();
        file.write_at(0, &[2; 4 * SECTOR_BYTES]).unwrap();
        files.crash_machine(seed);
        let bytes = read(&*files.open("a").unwrap(), 0, 4 * SECTOR_BYTES);
        seen.insert(bytes.chunks(SECTOR_BYTES).map(|sector| sector[0]).collect::<Vec<_>>());
        assert!(bytes.chunks(SECTOR_BYTES).all(|sector| sector.iter().all(|b| *b == sector[0])), "no sector is torn");
    }
    assert!(seen.contains(&vec![2, 1, 2, 1]) || seen.contains(&vec![1, 2, 1, 2]), "there are holes: {seen:?}");

    files.open("a").unwrap().write_at(0, &[7; SECTOR_BYTES]).unwrap();
    files.crash_machine_hard();
    assert_ne!(read(&*files.open("a").unwrap(), 0, 1), [7]);
}

#[test]
fn names_are_durable_after_a_sync_of_the_directory_only() {
    let files = SimulatedFiles::new();
    files.create("a").unwrap().sync().unwrap();
    files.crash_machine_hard();
    assert!(files.list().unwrap().is_empty());
    files.create("a").unwrap();
    files.sync_directory().unwrap();
    files.rename("a", "b").unwrap();
    files.crash_machine_hard();
    assert_eq!(files.list().unwrap(), ["a"]);
}

#[test]
fn a_failed_sync_forgets_what_it_should_have_written() {
    let files = SimulatedFiles::new();
    let file = files.create("a").unwrap();
    files.sync_directory().unwrap();
    file.write_at(0, b"x").unwrap();
    files.fail_sync_after(0);
    file.sync().unwrap_err();
    files.heal();
    file.sync().unwrap();
    assert_eq!(read(&*file, 0, 1), b"x", "still readable");
    files.crash_machine_hard();
    assert_eq!(files.open("a").unwrap().length().unwrap(), 0, "and still lost");

    files.fail_write_after(1);
    let file = files.open("a").unwrap();
    file.write_at(0, b"1234").unwrap();
    file.write_at(0, b"abcd").unwrap_err();
    assert_eq!(read(&*file, 0, 4), b"ab34");
}
