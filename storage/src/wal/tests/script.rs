//! Runs the scripts under `storage/testscripts/wal/`. Below each `---` is recorded, not typed:
//! `UPDATE_GOLDENFILES=1 cargo test -p storage wal` records anew.
//!
//! ```text
//! open [segment=BYTES] [pool=N] [cache=BYTES]        the log; a group is opened by its first use
//! append N [group=1] [policy=always|never] [period=MS] [bytes=10]
//! vote TEXT | truncate INDEX|all | purge INDEX [term=1] | drop        [group=1]
//! hold | turn                                        let the writer wait | let it work once
//! wait MS                                            move the clock
//! sync | close
//! state | read A..B [bytes=N] | pinning | segments | counts | inspect
//! crash process | machine [seed=N] | hard            the log is gone; what was queued too
//! damage FILE OFFSET BYTES | fail sync|write N | heal
//! ```
//!
//! Each command lets the writer work, unless it is held, and prints what came of it: acknowledgements, and how far
//! the groups are written and synced where that changed.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt as _;
use goldenscript::{ArgumentConsumer, Command, Context};
use model::VgroupId;
use model::options::FsyncPolicy;
use parking_lot::Mutex;

use crate::files::{LogFiles as _, SimulatedFiles};
use crate::halt::Halt;
use crate::wal::{Done, GroupLog, GroupRecovery, Position, Record, Stepper, Wal, WalSettings, inspect_files};

type Answer = Result<String, Box<dyn Error>>;

#[derive(Default)]
struct Runner {
    files: SimulatedFiles,
    settings: WalSettings,
    log: Option<(Wal, Stepper)>,
    groups: BTreeMap<VgroupId, GroupLog>,
    progress: BTreeMap<VgroupId, (Option<u64>, Option<u64>)>,
    told: Arc<Mutex<Vec<String>>>,
    now_ms: u64,
    held: bool,
    counts: (u64, u64),
}

fn show(position: Option<Position>) -> String {
    position.map_or("none".to_owned(), |position| position.to_string())
}

impl Runner {
    fn wal(&self) -> Result<&Wal, Box<dyn Error>> {
        Ok(&self.log.as_ref().ok_or("the log is not open")?.0)
    }

    fn group(&mut self, id: VgroupId) -> Result<GroupLog, Box<dyn Error>> {
        if let Some(group) = self.groups.get(&id) {
            return Ok(group.clone());
        }
        let group = self.wal()?.group(id)?;
        self.progress.insert(id, Self::progress_of(&group));
        self.groups.insert(id, group.clone());
        Ok(group)
    }

    fn progress_of(group: &GroupLog) -> (Option<u64>, Option<u64>) {
        (group.written().map(|at| at.index), group.synced().map(|at| at.index))
    }

    fn tell(&self, what: String) -> Done {
        let told = Arc::clone(&self.told);
        Box::new(move |result| {
            told.lock().push(match result {
                Ok(()) => format!("ack {what}"),
                Err(halt) => format!("refuse {what}: {halt}"),
            });
        })
    }

    /// Lets the writer work once and says what came of it.
    fn turn(&mut self) -> String {
        let mut out = String::new();
        if let Some((_, stepper)) = &mut self.log {
            stepper.turn(self.now_ms);
        }
        for line in self.told.lock().drain(..) {
            writeln!(out, "{line}").unwrap();
        }
        for (id, group) in &self.groups {
            let now = Self::progress_of(group);
            let before = self.progress.insert(*id, now).unwrap_or_default();
            let bound = |index: Option<u64>| index.map_or("none".to_owned(), |index| format!("..{index}"));
            if before.0 != now.0 {
                writeln!(out, "{id} written {}", bound(now.0)).unwrap();
            }
            if before.1 != now.1 {
                writeln!(out, "{id} synced {}", bound(now.1)).unwrap();
            }
        }
        out
    }

    fn open(&mut self, args: &mut ArgumentConsumer<'_>) -> Answer {
        self.settings = WalSettings {
            segment_bytes: key(args, "segment", 4096)?,
            pool_segments_max: key(args, "pool", 2)?,
            cache_bytes_max: key(args, "cache", 1 << 20)?,
            queue_bytes_max: key(args, "queue", 1 << 20)?,
            batch_bytes_max: key(args, "batch", 1 << 20)?,
        };
        self.close();
        let (wal, recovery, stepper) = Wal::open_stepped(Arc::new(self.files.clone()), self.settings.clone())?;
        self.log = Some((wal, stepper));
        let mut out = String::new();
        for (id, found) in &recovery.groups {
            match found {
                GroupRecovery::Ok { .. } => {
                    let group = self.group(*id)?;
                    writeln!(out, "{id} {}", state(&group)).unwrap();
                }
                GroupRecovery::Damaged { place } => writeln!(out, "{id} DAMAGED: {place}").unwrap(),
            }
        }
        if let Some((name, range)) = recovery.torn {
            writeln!(out, "torn {name} from {}", range.start).unwrap();
        }
        for place in recovery.elsewhere {
            writeln!(out, "damage elsewhere: {place}").unwrap();
        }
        Ok(out)
    }

    fn close(&mut self) {
        self.log = None;
        self.groups.clear();
        self.progress.clear();
        self.held = false;
    }

    fn append(&mut self, args: &mut ArgumentConsumer<'_>) -> Answer {
        let id = group_id(args)?;
        let policy = match (args.take_key("policy"), args.take_key("period")) {
            (Some("always") | None, None) => FsyncPolicy::Always,
            (Some("never"), None) => FsyncPolicy::Never,
            (None, Some(period)) => FsyncPolicy::Every { period_ms: period.parse()? },
            other => return Err(format!("no policy {other:?}").into()),
        };
        let bytes: usize = key(args, "bytes", 10)?;
        let term = key(args, "term", 1)?;
        let count: u64 = args.next_pos().unwrap_or("1").parse()?;
        let group = self.group(id)?;
        let default = group.state().last.map_or(1, |last| last.index + 1);
        let first = key(args, "at", default)?;
        let record = |index| Record {
            position: Position { term, node: 1, index },
            kind: 0,
            payload: Bytes::from(vec![b'a' + u8::try_from(index % 26).unwrap(); bytes]),
        };
        let records = (first..first + count).map(record).collect();
        let what = format!("{id} {first}..{}", first + count - 1);
        let appended = group.append(records, policy, self.tell(what)).now_or_never();
        Ok(if appended.is_none() { "no room in the queue\n".to_owned() } else { String::new() })
    }

    fn mark(&mut self, name: &str, args: &mut ArgumentConsumer<'_>) -> Answer {
        let id = group_id(args)?;
        if name == "drop" {
            self.groups.remove(&id);
            let done = self.tell(format!("drop of {id}"));
            self.wal()?.drop_group(id, done);
            return Ok(String::new());
        }
        let group = self.group(id)?;
        let term = key(args, "term", 1)?;
        let what = args.next_pos().ok_or("what?")?;
        match name {
            "vote" => group.save_vote(Bytes::from(what.to_owned()), self.tell(format!("{id} vote {what}"))),
            "truncate" if what == "all" => group.truncate_after(None)?,
            "truncate" => group.truncate_after(Some(what.parse()?))?,
            _ => group.purge(Position { term, node: 1, index: what.parse()? })?,
        }
        Ok(String::new())
    }

    fn look(&mut self, name: &str, args: &mut ArgumentConsumer<'_>) -> Answer {
        let mut out = String::new();
        match name {
            "state" => {
                for id in self.wal()?.groups() {
                    let found = self.group(id).map_or_else(|error| error.to_string(), |group| state(&group));
                    writeln!(out, "{id} {found}")?;
                }
            }
            "read" => {
                let (id, bytes) = (group_id(args)?, key(args, "bytes", usize::MAX)?);
                let (from, to) = args.next_pos().and_then(|range| range.split_once("..")).ok_or("which?")?;
                for record in self.group(id)?.read(from.parse()?..to.parse()?, bytes)? {
                    let text = String::from_utf8_lossy(&record.payload[..record.payload.len().min(3)]).into_owned();
                    writeln!(out, "{} {text}… {} bytes", record.position, record.payload.len())?;
                }
            }
            "pinning" => {
                for (id, segments) in self.wal()?.pinning() {
                    writeln!(out, "{id} pins {segments}")?;
                }
            }
            "segments" => writeln!(out, "{}", self.files.list()?.join("\n"))?,
            "counts" => {
                let now = self.files.counts();
                writeln!(out, "writes={} syncs={}", now.0 - self.counts.0, now.1 - self.counts.1)?;
                self.counts = now;
            }
            _ => {
                let mut text = Vec::new();
                let damaged = inspect_files(&self.files, &mut text)?;
                out = String::from_utf8(text)?;
                if damaged {
                    out.push_str("something is damaged\n");
                }
            }
        }
        Ok(out)
    }

    fn disk(&mut self, name: &str, args: &mut ArgumentConsumer<'_>) -> Answer {
        let seed = key(args, "seed", 1)?;
        let what = args.next_pos().unwrap_or_default().to_owned();
        match (name, what.as_str()) {
            ("crash", "process") => self.files.crash_process(),
            ("crash", "machine") => self.files.crash_machine(seed),
            ("crash", "hard") => self.files.crash_machine_hard(),
            ("fail", "sync") => self.files.fail_sync_after(args.next_pos().unwrap_or("0").parse()?),
            ("fail", "write") => self.files.fail_write_after(args.next_pos().unwrap_or("0").parse()?),
            ("heal", "") => self.files.heal(),
            ("damage", file) => {
                let offset = args.next_pos().ok_or("where?")?.parse()?;
                self.files.damage(file, offset, args.next_pos().unwrap_or("1").parse()?);
            }
            other => return Err(format!("no command {other:?}").into()),
        }
        if name == "crash" {
            self.close();
        }
        Ok(String::new())
    }
}

fn key<T: std::str::FromStr>(args: &mut ArgumentConsumer<'_>, name: &str, default: T) -> Result<T, Box<dyn Error>>
where
    T::Err: Error + 'static,
{
    Ok(args.take_key(name).map_or(Ok(default), str::parse)?)
}

fn group_id(args: &mut ArgumentConsumer<'_>) -> Result<VgroupId, Box<dyn Error>> {
    Ok(VgroupId(key(args, "group", 1)?))
}

fn state(group: &GroupLog) -> String {
    let state = group.state();
    let first = group.read(0..u64::MAX, 0).ok().and_then(|records| Some(records.first()?.position.index));
    let mut out = format!("last={} synced={}", show(state.last), show(group.synced()));
    if let Some(first) = first {
        write!(out, " first={first}").unwrap();
    }
    if let Some(purged) = state.purged {
        write!(out, " purged={purged}").unwrap();
    }
    if let Some(vote) = state.vote {
        write!(out, " vote={}", String::from_utf8_lossy(&vote)).unwrap();
    }
    out
}

impl goldenscript::Runner for Runner {
    type Command = Command;

    fn run(&mut self, command: &Command, _: &Context) -> Answer {
        let mut args = command.consume_args();
        let mut waiting = None;
        let mut out = match command.name.as_str() {
            "open" => self.open(&mut args)?,
            "append" => self.append(&mut args)?,
            name @ ("vote" | "truncate" | "purge" | "drop") => self.mark(name, &mut args)?,
            name @ ("state" | "read" | "pinning" | "segments" | "counts" | "inspect") => self.look(name, &mut args)?,
            name @ ("crash" | "damage" | "fail" | "heal") => self.disk(name, &mut args)?,
            "hold" => {
                self.held = true;
                String::new()
            }
            "turn" => {
                self.held = false;
                String::new()
            }
            "wait" => {
                self.now_ms += args.next_pos().ok_or("how long?")?.parse::<u64>()?;
                String::new()
            }
            name @ ("sync" | "close") => {
                let (wal, what) = (self.wal()?.clone(), name == "close");
                let asked = async move { if what { wal.close().await } else { wal.sync().await } };
                let mut asked: std::pin::Pin<Box<dyn Future<Output = Result<(), Halt>>>> = Box::pin(asked);
                assert!((&mut asked).now_or_never().is_none_or(|result| result.is_err()), "nothing is synced yet");
                waiting = Some(asked);
                String::new()
            }
            other => return Err(format!("no command {other}").into()),
        };
        args.reject_next()?;
        if !self.held {
            out.push_str(&self.turn());
        }
        if let Some(asked) = waiting
            && command.name == "close"
        {
            asked.now_or_never().ok_or("not closed")??;
            self.close();
        }
        Ok(out)
    }
}

#[test]
fn scripts() {
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("testscripts/wal");
    let mut paths: Vec<_> = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty());
    for path in paths {
        println!("{}", path.display());
        goldenscript::run(&mut Runner::default(), &path).unwrap();
    }
}
