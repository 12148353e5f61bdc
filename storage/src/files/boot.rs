//! What a dnode remembers of its last run: whether it ended cleanly, and whether the machine has gone down since.
//!
//! Under a policy that syncs late, a machine that lost its power may have lost entries that a replica had acknowledged;
//! such a replica is *suspect* and must not vote until it has caught up. A process that died alone has lost nothing.
//!
//! `boot.json` says which machine boot the last run belonged to and which was the weakest policy in use; it is written
//! before anything else happens. `clean.json` is written after the last sync of an orderly stop, and removed at the
//! start. The verdict of a start that is not trusted stays in `boot.json` until [`Boot::settle`], so that a second
//! start does not forget what the first one found before anyone has acted on it.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::VgroupId;
use model::options::FsyncPolicy;
use serde::{Deserialize, Serialize};

use super::{LogFiles, read_small, write_durably};
use crate::halt::Halt;
use crate::wal::Position;

const BOOT: &str = "boot.json";
const CLEAN: &str = "clean.json";
const FORMAT: u32 = 1;

/// The last entry of every group, as of an orderly stop.
pub type Lasts = BTreeMap<VgroupId, Option<Position>>;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct BootMark {
    format: u32,
    boot_id: String,
    /// Counts the starts.
    incarnation: u64,
    /// The weakest policy that anything was acknowledged under since the last trusted start.
    weakest: FsyncPolicy,
    /// The machine went down without an orderly stop, and that has not been acted on.
    unsettled: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct CleanMark {
    format: u32,
    boot_id: String,
    incarnation: u64,
    lasts: Vec<(VgroupId, Option<Position>)>,
}

/// One file: a line with the checksum, then the mark.
fn seal<T: Serialize>(mark: &T) -> Vec<u8> {
    let body = serde_json::to_vec_pretty(mark).expect("a mark can always be written");
    let mut bytes = format!("{:08x}\n", crc32c::crc32c(&body)).into_bytes();
    bytes.extend_from_slice(&body);
    bytes
}

/// The mark in a file, `None` if the file is not what was written.
fn unseal<T: for<'a> Deserialize<'a>>(name: &str, bytes: &[u8]) -> Result<Option<T>, Halt> {
    #[derive(Deserialize)]
    struct Format {
        format: u32,
    }
    let Some((line, body)) = bytes.split_at_checked(9) else { return Ok(None) };
    if line != format!("{:08x}\n", crc32c::crc32c(body)).as_bytes() {
        return Ok(None);
    }
    if let Ok(Format { format }) = serde_json::from_slice(body)
        && format > FORMAT
    {
        return Err(Halt::newer(name, format, FORMAT));
    }
    Ok(serde_json::from_slice(body).ok())
}

const fn strength(policy: FsyncPolicy) -> u64 {
    match policy {
        FsyncPolicy::Never => 0,
        FsyncPolicy::Every { period_ms } => u64::MAX - 1 - period_ms as u64,
        FsyncPolicy::Always => u64::MAX,
    }
}

fn weaker(a: FsyncPolicy, b: FsyncPolicy) -> FsyncPolicy {
    if strength(b) < strength(a) { b } else { a }
}

/// The marks of this run, and the verdict on the one before.
#[derive(Debug)]
pub struct Boot {
    files: Arc<dyn LogFiles>,
    mark: BootMark,
    /// The run before ended in order. True for the first run of all.
    pub clean: bool,
    /// The machine has not gone down since the run before.
    pub same_machine_boot: bool,
    /// Counts the starts on this data, from 1.
    pub incarnation: u64,
    /// Where each group's log ended at the orderly stop, if there was one. A log that ends elsewhere comes from a copy
    /// of the disk that is older or newer than the mark: that replica is suspect whatever else holds.
    pub lasts: Option<Lasts>,
}

impl Boot {
    /// Reads the marks and durably begins a new run on the machine boot `boot_id` (see [`machine_boot_id`]). To be called
    /// before the log is opened.
    ///
    /// # Errors
    ///
    /// [`Halt::Disk`]; [`Halt::Newer`]; [`Halt::Corrupt`] if `boot.json` is not what was written.
    pub fn open(files: Arc<dyn LogFiles>, boot_id: &str) -> Result<Self, Halt> {
        let read = |name: &str| read_small(&*files, name).map_err(Halt::disk_at(format!("read {name}")));
        let before: Option<BootMark> = match read(BOOT)? {
            None => None,
            Some(bytes) => Some(unseal(BOOT, &bytes)?.ok_or_else(|| Halt::corrupt(BOOT))?),
        };
        let marker: Option<CleanMark> = match read(CLEAN)? {
            None => None,
            // A marker that cannot be read is none: the stop is then not known to have been in order.
            Some(bytes) => unseal(CLEAN, &bytes)?,
        };
        let marker = marker.filter(|marker| {
            before.as_ref().is_some_and(|b| b.incarnation == marker.incarnation && b.boot_id == marker.boot_id)
        });
        let first = before.is_none();
        let clean = first || marker.is_some();
        let same_machine_boot = before.as_ref().is_none_or(|before| before.boot_id == boot_id);
        let pending = before.as_ref().is_some_and(|before| before.unsettled);
        let mark = BootMark {
            format: FORMAT,
            boot_id: boot_id.to_owned(),
            incarnation: before.as_ref().map_or(0, |before| before.incarnation) + 1,
            weakest: before.map_or(FsyncPolicy::Always, |before| before.weakest),
            unsettled: pending || !(clean || same_machine_boot),
        };
        let incarnation = mark.incarnation;
        let lasts = marker.map(|marker| marker.lasts.into_iter().collect());
        let boot = Self { files, mark, clean, same_machine_boot, incarnation, lasts };
        boot.save()?;
        let disk = || Halt::disk_at(format!("remove {CLEAN}"));
        match boot.files.remove(CLEAN) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            removed => {
                removed.map_err(disk())?;
                boot.files.sync_directory().map_err(disk())?;
            }
        }
        Ok(boot)
    }

    /// Whether a replica whose policy was `policy` may have lost what it acknowledged: the machine went down, now or
    /// before a start that was not settled, without an orderly stop, and the policy did not sync first.
    #[must_use]
    pub fn suspects(&self, policy: FsyncPolicy) -> bool {
        self.mark.unsettled && policy != FsyncPolicy::Always
    }

    /// Whether nothing at all can be suspect: either the machine or the stop was in order, or everything was synced.
    #[must_use]
    pub fn trusted(&self) -> bool {
        !self.suspects(self.mark.weakest)
    }

    /// The weakest policy that was in use since the last time that everything was settled.
    #[must_use]
    pub fn weakest(&self) -> FsyncPolicy {
        self.mark.weakest
    }

    /// Durably notes that `policy` is going to be used. To be called before the first acknowledgement under it.
    ///
    /// # Errors
    ///
    /// [`Halt::Disk`].
    pub fn note_policy(&mut self, policy: FsyncPolicy) -> Result<(), Halt> {
        let weakest = weaker(self.mark.weakest, policy);
        if weakest != self.mark.weakest {
            self.mark.weakest = weakest;
            self.save()?;
        }
        Ok(())
    }

    /// The verdict has been acted on: every suspect replica is durably marked as such. `weakest` is the weakest policy
    /// of the replicas that there are.
    ///
    /// # Errors
    ///
    /// [`Halt::Disk`].
    pub fn settle(&mut self, weakest: FsyncPolicy) -> Result<(), Halt> {
        if self.mark.unsettled || self.mark.weakest != weakest {
            self.mark.unsettled = false;
            self.mark.weakest = weakest;
            self.save()?;
        }
        Ok(())
    }

    /// Leaves the mark of an orderly stop: to be called after the log was closed without a failure.
    ///
    /// # Errors
    ///
    /// [`Halt::Disk`].
    pub fn mark_clean(&self, lasts: &Lasts) -> Result<(), Halt> {
        let mark = CleanMark {
            format: FORMAT,
            boot_id: self.mark.boot_id.clone(),
            incarnation: self.mark.incarnation,
            lasts: lasts.iter().map(|(group, last)| (*group, *last)).collect(),
        };
        write_durably(&*self.files, CLEAN, &seal(&mark)).map_err(Halt::disk_at(format!("write {CLEAN}")))
    }

    fn save(&self) -> Result<(), Halt> {
        write_durably(&*self.files, BOOT, &seal(&self.mark)).map_err(Halt::disk_at(format!("write {BOOT}")))
    }
}

/// The system's name for the time since the machine was last started.
///
/// # Errors
///
/// [`Halt::Disk`] if the system does not tell.
pub fn machine_boot_id() -> Result<String, Halt> {
    let path = "/proc/sys/kernel/random/boot_id";
    let id = std::fs::read_to_string(path).map_err(Halt::disk_at(format!("read {path}")))?;
    Ok(id.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::SimulatedFiles;

    const PERIOD: FsyncPolicy = FsyncPolicy::Every { period_ms: 3000 };

    fn open(files: &SimulatedFiles, boot_id: &str) -> Boot {
        Boot::open(Arc::new(files.clone()), boot_id).unwrap()
    }

    fn lasts() -> Lasts {
        BTreeMap::from([(VgroupId(1), Some(Position { term: 2, node: 3, index: 4 })), (VgroupId(2), None)])
    }

    #[test]
    fn only_a_machine_that_went_down_in_disorder_makes_suspects() {
        let files = SimulatedFiles::new();
        let mut boot = open(&files, "a");
        assert!(boot.clean && boot.same_machine_boot && boot.trusted() && boot.incarnation == 1);
        boot.note_policy(PERIOD).unwrap();
        files.crash_process();

        let boot = open(&files, "a");
        assert!(!boot.clean && boot.same_machine_boot && boot.trusted() && boot.incarnation == 2);
        assert!(!boot.suspects(PERIOD), "only the process died");
        boot.mark_clean(&lasts()).unwrap();
        files.crash_machine_hard();

        let boot = open(&files, "b");
        assert!(boot.clean && !boot.same_machine_boot && boot.trusted());
        assert_eq!(boot.lasts, Some(lasts()));
        files.crash_machine_hard();

        let boot = open(&files, "c");
        assert!(!boot.clean && !boot.same_machine_boot && !boot.trusted());
        assert_eq!(boot.lasts, None, "the mark of the run before the last is gone");
        assert!(boot.suspects(PERIOD) && boot.suspects(FsyncPolicy::Never) && !boot.suspects(FsyncPolicy::Always));
    }

    /// The process dies between the start that found the disorder and the marking of the suspects.
    #[test]
    fn the_verdict_stays_until_it_is_settled() {
        let files = SimulatedFiles::new();
        open(&files, "a").note_policy(FsyncPolicy::Never).unwrap();
        files.crash_machine_hard();
        assert!(!open(&files, "b").trusted());
        files.crash_process();
        let mut boot = open(&files, "b");
        assert!(boot.same_machine_boot && !boot.trusted());
        boot.mark_clean(&lasts()).unwrap();
        files.crash_process();
        boot = open(&files, "b");
        assert!(boot.clean && !boot.trusted(), "a stop in order does not bring back what was lost before");
        boot.settle(PERIOD).unwrap();
        assert!(boot.trusted());
        files.crash_process();
        let boot = open(&files, "b");
        assert!(boot.trusted());
        assert_eq!(boot.weakest(), PERIOD);
    }

    #[test]
    fn where_everything_was_synced_first_nothing_is_suspect() {
        let files = SimulatedFiles::new();
        open(&files, "a").note_policy(FsyncPolicy::Always).unwrap();
        files.crash_machine_hard();
        assert!(open(&files, "b").trusted());
    }

    #[test]
    fn the_weakest_policy_counts() {
        let files = SimulatedFiles::new();
        let mut boot = open(&files, "a");
        for policy in [FsyncPolicy::Every { period_ms: 1 }, FsyncPolicy::Always, PERIOD] {
            boot.note_policy(policy).unwrap();
        }
        assert_eq!(boot.weakest(), PERIOD);
        boot.note_policy(FsyncPolicy::Never).unwrap();
        boot.note_policy(PERIOD).unwrap();
        assert_eq!(open(&files, "a").weakest(), FsyncPolicy::Never);
    }

    /// At whatever point a start or a stop loses its power, the next start still knows that the machine went down.
    #[test]
    fn a_power_cut_inside_a_start_or_a_stop_is_never_taken_for_order() {
        for failing in 0..8 {
            for seed in 0..16 {
                let files = SimulatedFiles::new();
                let mut boot = open(&files, "a");
                boot.note_policy(FsyncPolicy::Never).unwrap();
                files.fail_sync_after(failing);
                let stopped = boot.mark_clean(&lasts());
                files.crash_machine(seed);
                files.fail_sync_after(failing);
                let first = Boot::open(Arc::new(files.clone()), "b");
                let early = first.as_ref().ok().map(Boot::trusted);
                files.crash_machine(seed);
                let second = open(&files, "c");
                if stopped.is_ok() {
                    assert_ne!(early, Some(false), "the stop was in order, and durable");
                }
                if first.is_ok() {
                    assert!(!second.trusted(), "the second run ended in disorder");
                }
                assert!(second.clean <= (first.is_err()), "no mark outlives a start");
            }
        }
    }

    #[test]
    fn damaged_and_newer_marks_are_refused_or_ignored() {
        let files = SimulatedFiles::new();
        open(&files, "a").mark_clean(&lasts()).unwrap();
        files.damage(CLEAN, 20, 1);
        assert!(!open(&files, "a").clean);
        let newer =
            BootMark { format: 2, boot_id: "a".into(), incarnation: 7, weakest: FsyncPolicy::Always, unsettled: false };
        write_durably(&files, BOOT, &seal(&newer)).unwrap();
        let refused = Boot::open(Arc::new(files.clone()), "a").unwrap_err();
        assert_eq!(refused.to_string(), "boot.json has format 2, this program reads up to 1: use a newer marigraph");
        files.damage(BOOT, 20, 1);
        assert!(matches!(Boot::open(Arc::new(files.clone()), "a"), Err(Halt::Corrupt { .. })));
        assert!(!machine_boot_id().unwrap().is_empty());
    }
}
