//! Prints a vnode and its runs for people: `marigraph inspect vnode PATH` and `inspect run PATH`. Changes nothing.
//!
//! Damage is printed where it is found and said at the end by the return value; what can still be read is.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use model::{Precision, TimeRange};

use crate::halt::Halt;
use crate::kv::{BlockStore, RocksShared, RocksStore};
use crate::vnode::keys::{self, PLAIN_BUCKET};
use crate::vnode::meta::{self, Identity};
use crate::vnode::options::HeaderBudget;
use crate::vnode::run::Run;
use crate::vnode::state::State;

/// Bytes of RocksDB's cache, and of block headers, while something is printed.
const CACHE_BYTES: usize = 16 << 20;

/// Prints what a vnode knows, and its runs. True if something is damaged.
///
/// # Errors
///
/// What cannot be opened or written.
pub fn inspect(path: &Path, out: &mut dyn Write) -> io::Result<bool> {
    inspect_store(&open(path)?, out)
}

/// Prints the blocks of a vnode's runs, of one bucket or of one number where these are given. True if something is damaged.
///
/// # Errors
///
/// What cannot be opened or written, and if there is no such run.
pub fn inspect_runs(path: &Path, bucket: Option<i32>, run: Option<u32>, out: &mut dyn Write) -> io::Result<bool> {
    inspect_store_runs(&open(path)?, bucket, run, out)
}

/// Opens the store in a vnode's folder, or in the `db` inside it.
fn open(path: &Path) -> io::Result<Arc<dyn BlockStore>> {
    let inside = path.file_name().is_some_and(|name| name == "db") && !path.join("db").exists();
    let folder = if inside { path.parent().unwrap_or(path) } else { path };
    if !folder.join("db").join("CURRENT").exists() {
        let what = format!("{} is no vnode: it has no RocksDB in db", folder.display());
        return Err(io::Error::new(io::ErrorKind::NotFound, what));
    }
    let shared = RocksShared::new(CACHE_BYTES).map_err(io::Error::other)?;
    Ok(Arc::new(RocksStore::open_read_only(folder, &shared).map_err(io::Error::other)?))
}

/// [`inspect`] of a store that is open.
pub(crate) fn inspect_store(store: &Arc<dyn BlockStore>, out: &mut dyn Write) -> io::Result<bool> {
    let mut damaged = false;
    let precision = match meta::read(&**store, "the vnode") {
        Ok((identity, state)) => {
            print_state(identity.as_ref(), &state, out)?;
            identity.map_or(Precision::Milli, |identity| identity.precision)
        }
        Err(halt) => {
            damaged = true;
            writeln!(out, "DAMAGED: {halt}")?;
            Precision::Milli
        }
    };
    let runs = match runs(store) {
        Ok(runs) => runs,
        Err(halt) => {
            writeln!(out, "DAMAGED: {halt}")?;
            return Ok(true);
        }
    };
    writeln!(out, "runs {}, {} bytes on disk in all", runs.len(), store.bytes())?;
    for run in &runs {
        writeln!(out, "  {}", summary(run, precision))?;
    }
    Ok(damaged)
}

fn runs(store: &Arc<dyn BlockStore>) -> Result<Vec<Arc<Run>>, Halt> {
    Run::find_all(store, &Arc::new(HeaderBudget::new(CACHE_BYTES)), "the vnode")
}

fn print_state(identity: Option<&Identity>, state: &State, out: &mut dyn Write) -> io::Result<()> {
    match identity {
        Some(of) => writeln!(
            out,
            "vnode of vgroup {} in database {}, precision {}, buckets of {} ticks",
            of.vgroup.0,
            of.database.0,
            of.precision.name(),
            of.duration_ticks
        )?,
        None => writeln!(out, "a vnode that was never opened")?,
    }
    let position = |position: Option<crate::wal::Position>| position.map_or("nothing".to_owned(), |at| at.to_string());
    writeln!(out, "watermark: applied up to {}, clock {}", position(state.applied), state.clock)?;
    let members = state.membership.as_ref().map(|(at, _)| *at);
    writeln!(
        out,
        "membership of {}, hash range epoch {}, next sid {}",
        position(members),
        state.epoch,
        state.next_sid
    )?;
    writeln!(out, "series {}", state.tables())?;
    for suid in state.relations() {
        for series in state.relation(suid).iter() {
            let tags = series.tags.iter().map(|(id, value)| format!("{id}={value:?}")).collect::<Vec<_>>().join(" ");
            let line = format!("s{} of {suid} uid {:016x} {:?} {tags}", series.sid, series.uid, series.name);
            writeln!(out, "  {}", line.trim_end())?;
        }
    }
    if !state.dropped.is_empty() {
        let dropped = state.dropped.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        writeln!(out, "dropped relations {dropped}")?;
    }
    for (suid, next) in &state.row_ids {
        writeln!(out, "plain table {suid}: next row id {next}")?;
    }
    let mut tombstones: Vec<_> = state.all_tombstones().collect();
    tombstones.sort_unstable_by_key(|(suid, _)| *suid);
    writeln!(out, "tombstones {}", tombstones.iter().map(|(_, of)| of.len()).sum::<usize>())?;
    for (suid, of) in tombstones {
        for (whose, range, version) in of.list() {
            let whose = whose.map_or("every series".to_owned(), |sid| format!("s{sid}"));
            writeln!(out, "  {suid} {whose} {}..={} before version {version}", range.min, range.max)?;
        }
    }
    Ok(())
}

fn bucket_name(bucket: i32) -> String {
    if bucket == PLAIN_BUCKET { "of plain tables".to_owned() } else { bucket.to_string() }
}

fn summary(run: &Run, precision: Precision) -> String {
    let of = &run.header;
    let bytes: u64 = of.relations.iter().map(|(.., bytes)| bytes).sum();
    let times = if run.bucket == PLAIN_BUCKET { "rows".to_owned() } else { format!("times in {}", precision.name()) };
    let TimeRange { min, max } = of.key_range;
    let up_to = of.position.map_or("nothing".to_owned(), |at| at.to_string());
    let mut text = format!(
        "bucket {} run {}: {} rows, {times} {min}..={max}, level {}, {bytes} bytes, versions {}..={}, entries up to {up_to}",
        bucket_name(run.bucket),
        run.number,
        of.rows,
        of.level,
        of.version_min,
        of.version_max,
    );
    if of.folded > 0 {
        text.push_str(&format!(", deletes up to {} carried out", of.folded));
    }
    if !of.replaces.is_empty() {
        let replaced = of.replaces.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        text.push_str(&format!(", in place of {replaced}"));
    }
    text
}

/// [`inspect_runs`] of a store that is open.
pub(crate) fn inspect_store_runs(
    store: &Arc<dyn BlockStore>,
    bucket: Option<i32>,
    number: Option<u32>,
    out: &mut dyn Write,
) -> io::Result<bool> {
    let identity = meta::read(&**store, "the vnode").ok().and_then(|(identity, _)| identity);
    let precision = identity.map_or(Precision::Milli, |identity| identity.precision);
    let mut found = runs(store).map_err(io::Error::other)?;
    found.retain(|run| bucket.is_none_or(|of| of == run.bucket) && number.is_none_or(|of| of == run.number));
    if found.is_empty() && (bucket.is_some() || number.is_some()) {
        return Err(io::Error::new(io::ErrorKind::NotFound, "there is no such run: `inspect vnode` lists them"));
    }
    let mut damaged = false;
    for run in &found {
        writeln!(out, "{}", summary(run, precision))?;
        let mut blocks: Vec<(keys::BlockId, Vec<u8>)> = Vec::new();
        let from = keys::kind_prefix(run.bucket, run.number, keys::KIND_HEADER);
        let to = keys::kind_prefix(run.bucket, run.number, keys::KIND_RUN);
        let read = store.visit(&from, &to, &mut |key, value| {
            let id = keys::parse_header(key).ok_or_else(|| Halt::corrupt("the key of a block"))?;
            blocks.push((id, value.to_vec()));
            Ok(true)
        });
        for (id, header) in blocks {
            match block(&**store, run, id, &header) {
                Ok(text) => text.lines().try_for_each(|line| writeln!(out, "  {line}"))?,
                Err(fault) => {
                    damaged = true;
                    writeln!(out, "  DAMAGED: the block of {} up to s{} at {}: {fault}", id.suid, id.sid, id.key)?;
                }
            }
        }
        if let Err(halt) = read {
            damaged = true;
            writeln!(out, "  DAMAGED: {halt}")?;
        }
    }
    Ok(damaged)
}

/// A block for people, each chunk of it read.
fn block(store: &dyn BlockStore, run: &Run, id: keys::BlockId, header: &[u8]) -> Result<String, String> {
    let chunks = crate::block::Header::decode(header).map_err(|corrupt| corrupt.to_string())?.chunks;
    let chunk = |number| {
        let read = store.get(&keys::chunk_key(run.bucket, run.number, id, number)).map_err(|halt| halt.to_string())?;
        read.ok_or_else(|| format!("chunk {number} is missing"))
    };
    let chunks: Vec<Vec<u8>> = (0..chunks).map(chunk).collect::<Result<_, String>>()?;
    crate::block::inspect(header, &chunks).map_err(|corrupt| corrupt.to_string())
}
