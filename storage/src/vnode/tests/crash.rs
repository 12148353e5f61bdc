//! Kills a process at every failpoint and starts again: `cargo test -p storage --features failpoints`.

use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use model::Suid;
use model::command::Operation;
use model::scan::Order;

use crate::vnode::tests::busy::{check, entry, history, position};
use crate::vnode::tests::options;
use crate::vnode::{EnvOptions, FAILPOINTS, StorageEnv, Vnode, VnodeOptions};

const DIRECTORY: &str = "STORAGE_CRASH_DIR";
const ENTRIES: u64 = 130;
/// The signal of an abort.
const SIGABRT: i32 = 6;

fn open(dir: &Path) -> Arc<Vnode> {
    let env = StorageEnv::new(&EnvOptions { workers: 0, ..EnvOptions::default() }).expect("environment");
    Vnode::open(dir, VnodeOptions { merge_trigger: 2, ..options() }, env).expect("open")
}

/// Applies the rest of the history, with a flush and merges now and then.
fn live(vnode: &Vnode) {
    let from = vnode.applied().map_or(0, |position| position.index);
    for number in from + 1..=ENTRIES {
        let mut operations = history(number);
        if number == 60 {
            operations.push(Operation::DropRelation { suid: Suid(99) });
        }
        vnode.apply(position(number), &entry(number, operations)).expect("apply");
        if number.is_multiple_of(10) {
            vnode.flush().expect("flush");
            vnode.merge().expect("merge");
            vnode.drop_expired(-1000).expect("drop");
        }
    }
}

/// The process that is killed; does nothing when it is run as a test of its own.
#[test]
fn child() {
    let Some(dir) = std::env::var_os(DIRECTORY) else { return };
    let scenario = fail::FailScenario::setup();
    live(&open(Path::new(&dir)));
    scenario.teardown();
}

#[test]
fn a_crash_anywhere_loses_nothing_that_the_log_has() {
    for failpoint in FAILPOINTS {
        // Not at the first time, so that there is something to lose.
        for after in [0, 2] {
            let root = tempfile::tempdir().expect("a temporary directory");
            let dir = root.path().join("vnode");
            let action = if after == 0 { "return".to_owned() } else { format!("{after}*off->return") };
            let status = Command::new(std::env::current_exe().expect("this program"))
                .args(["--exact", "vnode::tests::crash::child"])
                .env(DIRECTORY, &dir)
                .env("FAILPOINTS", format!("{failpoint}={action}"))
                .stdout(std::process::Stdio::null())
                .stderr(std::process::Stdio::null())
                .status()
                .expect("a child");
            let rare = after > 0 && *failpoint == "drop.relation";
            assert!(rare || status.signal() == Some(SIGABRT), "{failpoint} was not hit: {status}");
            let vnode = open(&dir);
            assert!(rare || vnode.applied() < Some(position(ENTRIES)), "{failpoint}");
            live(&vnode);
            check(&vnode, &AtomicU64::new(ENTRIES), Order::SeriesTime);
        }
    }
}
