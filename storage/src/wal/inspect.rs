//! Prints a log for people: `marigraph inspect wal PATH`. Changes nothing.

use std::io::{self, Write};
use std::path::Path;

use super::format::{
    Batch, Kind, RecordHeader, SEGMENT_HEADER_BYTES, SegmentHeader, State, segment_name, segment_sequence,
};
use super::queue::RUN_SHIFT;
use super::scan::{Found, Scan, synced_mark};
use crate::files::{LogFiles, RealFiles};
use crate::halt::Halt;

/// Prints every record of the log in the directory `path`, or of the one segment file `path`. True if something is
/// damaged: a torn tail and files that wait to be used again are not.
///
/// # Errors
///
/// What could not be read or written; damage is printed, not an error.
pub fn inspect(path: &Path, out: &mut dyn Write) -> io::Result<bool> {
    if path.is_dir() {
        return inspect_files(&RealFiles::existing(path), out);
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let files = RealFiles::existing(parent);
    if name.ends_with(".free") {
        free(&files, name, out)?;
        return Ok(false);
    }
    // Where it ends stands in the next one.
    let next = segment_sequence(name).and_then(|sequence| header(&files, &segment_name(sequence + 1)).ok());
    segment(&files, name, next.map(|next| next.previous_end), out)
}

/// Prints every record of the log in `files`.
///
/// # Errors
///
/// As [`inspect`].
pub fn inspect_files(files: &dyn LogFiles, out: &mut dyn Write) -> io::Result<bool> {
    let all = files.list()?;
    let names: Vec<&String> = all.iter().filter(|name| segment_sequence(name).is_some()).collect();
    let mut damaged = false;
    for (place, name) in names.iter().enumerate() {
        let end = names.get(place + 1).and_then(|next| header(files, next).ok()).map(|next| next.previous_end);
        damaged |= segment(files, name, end, out)?;
    }
    for name in all.iter().filter(|name| name.ends_with(".free")) {
        free(files, name, out)?;
    }
    Ok(damaged)
}

/// A file that holds nothing, whatever it held before.
fn free(files: &dyn LogFiles, name: &str, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "free {name}: {} bytes wait to be used again", files.open(name)?.length()?)
}

fn header(files: &dyn LogFiles, name: &str) -> Result<SegmentHeader, Halt> {
    let disk = || Halt::disk_at(format!("read {name}"));
    let file = files.open(name).map_err(disk())?;
    let length = usize::try_from(file.length().map_err(disk())?).unwrap_or(usize::MAX);
    let mut bytes = vec![0; SEGMENT_HEADER_BYTES.min(length)];
    file.read_at(0, &mut bytes).map_err(disk())?;
    SegmentHeader::decode(name, &bytes)
}

/// Prints a segment; true if something is damaged.
fn segment(files: &dyn LogFiles, name: &str, end: Option<u64>, out: &mut dyn Write) -> io::Result<bool> {
    let header = match header(files, name) {
        Ok(header) => header,
        Err(halt @ Halt::Corrupt { .. }) => {
            writeln!(out, "segment {name}: {halt}")?;
            return Ok(true);
        }
        Err(Halt::Disk { error, .. }) => return Err(io::Error::new(error.kind(), error.to_string())),
        Err(halt) => return Err(io::Error::other(halt)),
    };
    let mut damaged = false;
    let file = files.open(name)?;
    let mut bytes = vec![0; usize::try_from(file.length()?).map_err(io::Error::other)?];
    file.read_at(0, &mut bytes)?;
    let synced = end.unwrap_or_else(|| synced_mark(&bytes, header.seed(), header.opening_end));
    writeln!(
        out,
        "segment {name}: {} bytes, {} synced up to {synced}, the one before ends at {}",
        bytes.len(),
        end.map_or("open,".to_owned(), |end| format!("ends at {end},")),
        header.previous_end
    )?;
    for found in Scan::new(&bytes, header.seed(), end) {
        match found {
            Found::Record { offset, header, payload } => {
                let lost = || State::decode(payload).is_none_or(|state| state.damaged.is_some());
                damaged |= header.kind == Kind::State && lost();
                writeln!(out, "  {offset:>8} {}", record(&header, payload))?;
            }
            Found::Bad { range, header: Some(header) } => {
                damaged |= range.start < synced;
                let verdict = verdict(range.start, synced);
                writeln!(out, "  {:>8} {verdict}, was {}", range.start, record(&header, &[]))?;
            }
            Found::Bad { range, header: None } if range.start >= synced && range.end == bytes.len() as u64 => {
                writeln!(out, "  {:>8} free", range.start)?;
            }
            Found::Bad { range, header: None } => {
                damaged |= range.start < synced;
                writeln!(out, "  {:>8} {}, up to {}", range.start, verdict(range.start, synced), range.end)?;
            }
        }
    }
    Ok(damaged)
}

fn verdict(offset: u64, synced: u64) -> &'static str {
    if offset < synced { "DAMAGED" } else { "torn" }
}

/// One record in one line.
fn record(header: &RecordHeader, payload: &[u8]) -> String {
    let first = if header.first { "first " } else { "" };
    let serial = header.serial & ((1 << RUN_SHIFT) - 1);
    let start = format!("{first}{} {} #{serial}", header.kind.name(), header.group);
    match header.kind {
        Kind::Batch => match Batch::decode(header, payload) {
            Some(batch) => format!("batch of {} bytes, synced up to {} before it", batch.bytes, batch.synced),
            None => "batch".to_owned(),
        },
        Kind::State => {
            let state = State::decode(payload).unwrap_or_default();
            let vote = state.vote.map_or("no vote".to_owned(), |vote| format!("vote of {} bytes", vote.len()));
            let purged = state.purged.map_or(String::new(), |purged| format!(", purged {purged}"));
            let damaged = state.damaged.map_or(String::new(), |place| format!(", DAMAGED: {place}"));
            format!("{start} {vote}{purged}{damaged}")
        }
        Kind::Entry => format!("{start} {} kind {} of {} bytes", header.position, header.tag, header.length),
        Kind::Vote => format!("{start} of {} bytes", header.length),
        Kind::Purge => format!("{start} up to {}", header.position),
        Kind::Truncate if header.tag == 1 => format!("{start} everything"),
        Kind::Truncate => format!("{start} after {}", header.position.index),
        Kind::Drop => start,
    }
}
