//! Random histories with crashes, against a model that knows what was queued and what was acknowledged.
//!
//! The model of a group is the list of all states that it has been in. After a crash the group must be in one of them, not
//! older than what was acknowledged to survive that kind of crash. Since there is one order of all records, all groups
//! must also fit together: if a group has kept a change, every group has kept all changes queued before it.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt as _;
use model::VgroupId;
use model::options::FsyncPolicy;
use parking_lot::Mutex;
use proptest::prelude::*;

use crate::files::{LogFiles as _, SimulatedFiles};
use crate::halt::Halt;
use crate::wal::format::SEGMENT_HEADER_BYTES;
use crate::wal::{Done, GroupRecovery, GroupState, Position, Record, Stepper, Wal, WalSettings};

#[derive(Clone, Debug)]
enum Step {
    Append { group: u32, sizes: Vec<usize>, policy: FsyncPolicy, term: u64 },
    Vote { group: u32, vote: u8 },
    Truncate { group: u32, back: u64 },
    Purge { group: u32, ahead: u64 },
    Drop { group: u32 },
    Turn { wait_ms: u64 },
    CrashProcess,
    CrashMachine { seed: u64 },
    FailSync { after: u64 },
    Close,
}

fn step() -> impl Strategy<Value = Step> {
    let policy = prop_oneof![
        Just(FsyncPolicy::Always),
        Just(FsyncPolicy::Never),
        (1..50_u32).prop_map(|period_ms| FsyncPolicy::Every { period_ms }),
    ];
    let group = 0..4_u32;
    prop_oneof![
        12 => (group.clone(), prop::collection::vec(0..700_usize, 1..4), policy, 0..2_u64)
            .prop_map(|(group, sizes, policy, term)| Step::Append { group, sizes, policy, term }),
        2 => (group.clone(), any::<u8>()).prop_map(|(group, vote)| Step::Vote { group, vote }),
        2 => (group.clone(), 0..4_u64).prop_map(|(group, back)| Step::Truncate { group, back }),
        3 => (group.clone(), 0..6_u64).prop_map(|(group, ahead)| Step::Purge { group, ahead }),
        1 => group.prop_map(|group| Step::Drop { group }),
        8 => (0..30_u64).prop_map(|wait_ms| Step::Turn { wait_ms }),
        1 => Just(Step::CrashProcess),
        2 => any::<u64>().prop_map(|seed| Step::CrashMachine { seed }),
        1 => (0..4_u64).prop_map(|after| Step::FailSync { after }),
        1 => Just(Step::Close),
    ]
}

/// A group's log as a reader sees it.
#[derive(Clone, Debug, Default, PartialEq)]
struct Model {
    vote: Option<Bytes>,
    purged: Option<Position>,
    entries: Vec<Record>,
}

impl Model {
    fn last(&self) -> Option<Position> {
        self.entries.last().map(|record| record.position).or(self.purged)
    }
}

/// How far the history is known to survive: the number of changes.
#[derive(Debug, Default)]
struct Promise {
    written: usize,
    synced: usize,
}

struct World {
    files: SimulatedFiles,
    settings: WalSettings,
    log: Option<(Wal, Stepper)>,
    /// All groups after each change, of any group, in the order of queueing.
    history: Vec<BTreeMap<u32, Model>>,
    promise: Arc<Mutex<Promise>>,
    now_ms: u64,
    term: u64,
}

impl World {
    fn new() -> Self {
        let settings =
            WalSettings { segment_bytes: 4096, pool_segments_max: 2, cache_bytes_max: 1000, ..Default::default() };
        let mut world = Self {
            files: SimulatedFiles::new(),
            settings,
            log: None,
            history: vec![BTreeMap::new()],
            promise: Arc::default(),
            now_ms: 0,
            term: 1,
        };
        world.open();
        world
    }

    fn open(&mut self) {
        let (wal, recovery, stepper) =
            Wal::open_stepped(Arc::new(self.files.clone()), self.settings.clone()).expect("nothing is damaged");
        assert!(recovery.elsewhere.is_empty(), "nothing is damaged: {recovery:?}");
        self.log = Some((wal, stepper));
    }

    fn wal(&self) -> &Wal {
        &self.log.as_ref().expect("the log is open").0
    }

    /// What the log holds now.
    fn seen(&self) -> BTreeMap<u32, Model> {
        let wal = self.wal();
        let of = |id: VgroupId| {
            let log = wal.group(id).expect("no group is damaged");
            let GroupState { vote, purged, last } = log.state();
            let entries = log.read(0..u64::MAX, usize::MAX).expect("everything can be read");
            let model = Model { vote, purged, entries };
            assert_eq!(model.last(), last);
            (id.0, model)
        };
        wal.groups().into_iter().map(of).collect()
    }

    /// Records a change, and gives what to call when it is acknowledged.
    fn change(&mut self, synced: bool, change: impl FnOnce(&mut BTreeMap<u32, Model>)) -> Done {
        let mut now = self.history.last().expect("there is a beginning").clone();
        change(&mut now);
        self.history.push(now);
        let (upto, promise) = (self.history.len() - 1, Arc::clone(&self.promise));
        Box::new(move |result| {
            if result.is_ok() {
                let mut promise = promise.lock();
                promise.written = promise.written.max(upto);
                if synced {
                    promise.synced = promise.synced.max(upto);
                }
            }
        })
    }

    fn append(&mut self, id: u32, sizes: &[usize], policy: FsyncPolicy, term: u64) {
        self.term += term;
        let model = self.history.last().and_then(|now| now.get(&id)).cloned().unwrap_or_default();
        let first = model.last().map_or(1, |last| last.index + 1);
        let record = |(index, bytes): (u64, &usize)| Record {
            position: Position { term: self.term, node: 1, index },
            kind: u8::try_from(index % 256).expect("a byte"),
            payload: Bytes::from(vec![u8::try_from(self.history.len() % 256).expect("a byte"); *bytes]),
        };
        let records: Vec<_> = (first..).zip(sizes).map(record).collect();
        let log = self.wal().group(VgroupId(id)).expect("no group is damaged");
        // A crash may leave the first ones of them, so each is a change of its own; the last one is acknowledged.
        let mut done: Done = Box::new(|_| ());
        for record in records.clone() {
            done = self.change(policy == FsyncPolicy::Always, |now| now.entry(id).or_default().entries.push(record));
        }
        assert!(log.append(records, policy, done).now_or_never().is_some(), "there is room in the queue");
    }

    /// After a crash: what is there now is one of the states the history went through, and no promise is broken.
    fn check(&mut self, kept: usize) {
        self.open();
        let seen = self.seen();
        let found = self.history.iter().skip(kept).any(|state| {
            let mut state = state.clone();
            // A group that never wrote anything is not seen.
            state.retain(|_, model| *model != Model::default());
            let mut seen = seen.clone();
            seen.retain(|_, model| *model != Model::default());
            state == seen
        });
        let wanted = &self.history[kept];
        assert!(found, "after a crash: {seen:#?}\nis older than, or never was: {wanted:#?}");
        self.history = vec![seen];
        *self.promise.lock() = Promise::default();
    }

    fn crash(&mut self, seed: Option<u64>) {
        self.log = None;
        let kept = match seed {
            None => self.promise.lock().written,
            Some(_) => self.promise.lock().synced,
        };
        match seed {
            None => self.files.crash_process(),
            Some(seed) => self.files.crash_machine(seed),
        }
        self.check(kept);
    }

    fn turn(&mut self) {
        let now_ms = self.now_ms;
        let (wal, stepper) = self.log.as_mut().expect("the log is open");
        stepper.turn(now_ms);
        if wal.halted().is_some() {
            // A failed sync: the process reopens its log. What was acknowledged as written may be gone from the
            // machine, but not from the process.
            self.files.heal();
            self.crash(None);
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Append { group, sizes, policy, term } => self.append(group, &sizes, policy, term),
            Step::Vote { group, vote } => {
                let vote = Bytes::from(vec![vote; 20]);
                let log = self.wal().group(VgroupId(group)).expect("no group is damaged");
                let saved = vote.clone();
                let done = self.change(true, |now| now.entry(group).or_default().vote = Some(saved));
                log.save_vote(vote, done);
            }
            Step::Truncate { group, back } => {
                let Some(last) = self.history.last().and_then(|now| now.get(&group)?.last()) else { return };
                let Some(index) = last.index.checked_sub(back) else { return };
                drop(self.change(false, |now| {
                    now.entry(group).or_default().entries.retain(|record| record.position.index <= index);
                }));
                self.wal().group(VgroupId(group)).expect("not damaged").truncate_after(Some(index)).expect("open");
            }
            Step::Purge { group, ahead } => self.purge(group, ahead),
            Step::Drop { group } => {
                let done = self.change(true, |now| drop(now.remove(&group)));
                self.wal().drop_group(VgroupId(group), done);
            }
            Step::Turn { wait_ms } => {
                self.now_ms += wait_ms;
                self.turn();
            }
            Step::CrashProcess => self.crash(None),
            Step::CrashMachine { seed } => self.crash(Some(seed)),
            Step::FailSync { after } => self.files.fail_sync_after(after),
            Step::Close => {
                self.files.heal();
                let wal = self.wal().clone();
                let mut closing = Box::pin(async move { wal.close().await });
                assert!((&mut closing).now_or_never().is_none());
                let (_, stepper) = self.log.as_mut().expect("the log is open");
                stepper.turn(self.now_ms);
                closing.now_or_never().expect("closed").expect("without failure");
                self.log = None;
                self.files.crash_machine_hard();
                self.check(self.history.len() - 1);
            }
        }
    }

    fn purge(&mut self, group: u32, ahead: u64) {
        let Some(model) = self.history.last().and_then(|now| now.get(&group)).cloned() else { return };
        let base = model.entries.first().map(|record| record.position).or(model.purged);
        let Some(base) = base else { return };
        let index = base.index + ahead;
        let found = model.entries.iter().find(|record| record.position.index == index).map(|record| record.position);
        let position = found.unwrap_or(Position { term: self.term, node: 1, index });
        if model.purged.is_some_and(|purged| purged.index >= index) {
            return;
        }
        drop(self.change(false, |now| {
            let model = now.entry(group).or_default();
            model.entries.retain(|record| record.position.index > index);
            model.purged = Some(position);
        }));
        self.wal().group(VgroupId(group)).expect("not damaged").purge(position).expect("open");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// See the module.
    #[test]
    fn a_recovered_log_is_one_that_was(steps in prop::collection::vec(step(), 1..60)) {
        let mut world = World::new();
        for step in steps {
            world.step(step);
            prop_assert_eq!(&world.seen(), &{
                let mut now = world.history.last().expect("there is a beginning").clone();
                // A group that has only been looked at has no record.
                now.retain(|id, model| *model != Model::default() || world.seen().contains_key(id));
                now
            });
        }
        world.crash(Some(0));
    }
}

/// A range of bytes that rots: which segment, where in it, how much.
fn rot() -> impl Strategy<Value = (prop::sample::Index, prop::sample::Index, usize)> {
    (any::<prop::sample::Index>(), any::<prop::sample::Index>(), prop_oneof![Just(1), 1..64_usize, 64..1500_usize])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever rots behind the segments' headers: every group is as it was, or said to be damaged; or the log cannot be
    /// opened at all. Damage that was found is found again by the next start.
    #[test]
    fn damage_is_never_silent(steps in prop::collection::vec(step(), 20..60), rot in rot()) {
        let mut world = World::new();
        for step in steps {
            if !matches!(step, Step::CrashMachine { .. } | Step::FailSync { .. }) {
                world.step(step);
            }
        }
        world.turn();
        world.step(Step::Close);
        let expected = world.seen();
        world.log = None;

        let names: Vec<_> = world.files.list().unwrap().into_iter().filter(|name| name.ends_with(".wal")).collect();
        let name = rot.0.get(&names);
        let header = SEGMENT_HEADER_BYTES;
        let length = usize::try_from(world.files.open(name).unwrap().length().unwrap()).unwrap();
        let start = header + rot.1.index(length - header);
        let bytes = rot.2.min(length - start);
        world.files.damage(name, start, bytes);
        world.files.crash_process();

        let mut verdicts = Vec::new();
        for _ in 0..2 {
            let opened = Wal::open_stepped(Arc::new(world.files.clone()), world.settings.clone());
            if let Err(Halt::Corrupt { place }) = &opened {
                // So much is gone that not even the names of all groups are left.
                prop_assert!(place.starts_with("opening of segment") && bytes > 8, "{}", place);
                return Ok(());
            }
            let (wal, recovery, _stepper) = opened.expect("no header is damaged");
            let mut damaged = Vec::new();
            for (id, found) in &recovery.groups {
                match found {
                    GroupRecovery::Damaged { .. } => damaged.push(*id),
                    GroupRecovery::Ok { .. } => {
                        let log = wal.group(*id).unwrap();
                        let GroupState { vote, purged, .. } = log.state();
                        let model = Model { vote, purged, entries: log.read(0..u64::MAX, usize::MAX).unwrap() };
                        prop_assert_eq!(Some(&model), expected.get(&id.0), "{} after {:?} in {}", id, start..start + bytes, name);
                    }
                }
            }
            for id in expected.keys() {
                prop_assert!(recovery.groups.contains_key(&VgroupId(*id)), "vg{} vanished: {:?} in {}", id, start..start + bytes, name);
            }
            verdicts.push(damaged);
            drop(wal);
            world.files.crash_machine_hard();
        }
        prop_assert_eq!(&verdicts[0], &verdicts[1]);
    }
}
