//! Memtables of several vnodes under one budget.

use std::sync::Arc;

use model::command::{Operation, Target};

use crate::vnode::tests::busy::{entry, position};
use crate::vnode::tests::{Cell, chunk, creation, options};
use crate::vnode::{EnvOptions, StorageEnv, Vnode, VnodeOptions};

const LIMIT: u64 = 400_000;

/// A thousand rows of one table.
fn rows(number: u64) -> Vec<Operation> {
    let keys: Vec<i64> = (0..1000).map(|row| (number * 1000 + row) as i64).collect();
    let cells: Vec<[Cell; 3]> = keys.iter().map(|key| [Cell::Int(*key as i32), Cell::Absent, Cell::Absent]).collect();
    vec![chunk(7, vec![Target::Create(creation("t", 0))], vec![0; keys.len()], keys, &cells)]
}

#[test]
fn what_is_agreed_waits_for_a_flush_when_all_memtables_are_overfull() {
    let root = tempfile::tempdir().expect("a temporary directory");
    let options_of_env = EnvOptions { workers: 2, memtable_bytes_max: LIMIT, ..EnvOptions::default() };
    let env = StorageEnv::new(&options_of_env).expect("environment");
    // No vnode is full by itself: only all of them are.
    let open = |name: &str| {
        Vnode::open(&root.path().join(name), VnodeOptions { duration_ticks: 1_000_000, ..options() }, Arc::clone(&env))
    };
    let vnodes = [open("a").expect("open"), open("b").expect("open"), open("c").expect("open")];
    let before = env.memtables().held();
    vnodes[0].apply(position(1), &entry(1, rows(1))).expect("apply");
    let one = env.memtables().held() - before;
    assert!(one > 10_000, "{one}");
    let mut most = 0;
    for number in 2..=150 {
        for vnode in &vnodes {
            vnode.apply(position(number), &entry(number, rows(number))).expect("apply");
            most = most.max(env.memtables().held());
        }
    }
    assert!(most > LIMIT, "{most}: nothing was held back");
    assert!(most <= LIMIT + LIMIT / 4 + 3 * one, "{most}");
    let held = |vnode: &Arc<Vnode>| vnode.memtable_bytes();
    assert_eq!(env.memtables().held(), vnodes.iter().map(held).sum::<u64>());
    for vnode in &vnodes {
        vnode.flush().expect("flush");
    }
    assert_eq!(env.memtables().held(), 0);
    vnodes[1].apply(position(151), &entry(151, rows(151))).expect("apply");
    assert_eq!(env.memtables().held(), held(&vnodes[1]));
    env.stop();
    drop(vnodes);
    assert_eq!(env.memtables().held(), 0, "a vnode that goes gives its share back");
}
