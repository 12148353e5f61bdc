//! What every [`BlockStore`] promises, run on each of them.

use std::path::Path;
use std::sync::Arc;

use crate::kv::{BlockStore, MemoryStores, MetaBatch, RocksShared, RocksStore};

type Open<'a> = dyn Fn(&Path) -> Arc<dyn BlockStore> + 'a;

fn data(store: &dyn BlockStore) -> Vec<String> {
    let mut all = Vec::new();
    store
        .visit(b"", &[0xff; 8], &mut |key, value| {
            all.push(format!("{}={}", String::from_utf8_lossy(key), String::from_utf8_lossy(value)));
            Ok(true)
        })
        .expect("visit");
    all
}

fn meta(store: &dyn BlockStore) -> Vec<String> {
    let mut all = Vec::new();
    store
        .visit_meta(&mut |key, value| {
            all.push(format!("{}={}", String::from_utf8_lossy(key), String::from_utf8_lossy(value)));
            Ok(true)
        })
        .expect("visit");
    all
}

fn write(store: &dyn BlockStore, name: &str, keys: &[&str]) -> crate::kv::Finished {
    let mut writer = store.create(name).expect("create");
    for key in keys {
        writer.put(key.as_bytes(), name.as_bytes()).expect("put");
    }
    writer.finish().expect("finish")
}

fn contract(open: &Open<'_>, root: &Path) {
    let dir = root.join("a");
    let store = open(&dir);
    assert!(data(&*store).is_empty() && meta(&*store).is_empty());

    let one = write(&*store, "1", &["a1", "a2"]);
    let two = write(&*store, "2", &["b1", "b2"]);
    assert!(data(&*store).is_empty(), "files are no part of data before they are ingested");
    store.ingest(&[one, two]).expect("ingest");
    assert_eq!(data(&*store), ["a1=1", "a2=1", "b1=2", "b2=2"]);
    assert_eq!(store.get(b"b1").expect("get"), Some(b"2".to_vec()));
    assert_eq!(store.get(b"b").expect("get"), None);

    let mut seen = 0;
    store
        .visit(b"a2", b"b2", &mut |_, _| {
            seen += 1;
            Ok(true)
        })
        .expect("visit");
    assert_eq!(seen, 2, "from is inside, to is outside");

    let mut batch = MetaBatch::default();
    batch.put(b"x".to_vec(), b"1".to_vec());
    batch.put(b"y".to_vec(), b"2".to_vec());
    store.write_meta(batch).expect("meta");
    let copy = root.join("copy");
    store.checkpoint(&copy).expect("checkpoint");

    let mut batch = MetaBatch::default();
    batch.delete(b"x".to_vec());
    batch.put(b"z".to_vec(), b"3".to_vec());
    store.write_meta(batch).expect("meta");
    store.remove(b"a", b"b").expect("remove");
    assert_eq!(data(&*store), ["b1=2", "b2=2"]);
    let never = write(&*store, "3", &["c1"]);
    drop(store);

    let store = open(&dir);
    assert_eq!(data(&*store), ["b1=2", "b2=2"]);
    assert_eq!(meta(&*store), ["y=2", "z=3"]);
    assert!(store.ingest(&[never]).is_err(), "an unfinished flush leaves nothing behind");
    assert!(store.bytes() > 0);

    let copy = open(&copy);
    assert_eq!(data(&*copy), ["a1=1", "a2=1", "b1=2", "b2=2"]);
    assert_eq!(meta(&*copy), ["x=1", "y=2"]);
}

#[test]
fn in_memory() {
    let stores = MemoryStores::default();
    contract(&|dir| stores.open(dir).expect("open"), Path::new("memory"));
}

#[test]
fn on_rocksdb() {
    let root = tempfile::tempdir().expect("a temporary directory");
    let shared = RocksShared::new(8 << 20).expect("shared");
    contract(&|dir| Arc::new(RocksStore::open(dir, &shared).expect("open")), root.path());
}
