//! The bytes of a segment file.
//!
//! ```text
//! | segment header, one sector | opening | batch | batch | … | what was there before |
//! opening = | Batch record that names all groups | a State record per group |
//! batch   = | Batch record | records of any groups |           written with one write
//! record  = | header, 56 bytes | payload | zeros to a multiple of 8 |
//! ```
//!
//! All numbers are little-endian. Both checksums of a record are seeded with the segment's sequence and a random
//! salt, so that neither what a reused file held before nor a copy of a log inside a payload passes for a record.
//!
//! A segment is only made when everything before it is synced, and its header says where its predecessor ended. So
//! only the last segment can have an unsynced tail, and a `Batch` record says up to where that was synced when it was written.

use crc32c::{crc32c, crc32c_append};
use model::VgroupId;

use super::types::{Position, RECORD_PAYLOAD_BYTES_MAX};
use crate::files::SECTOR_BYTES;
use crate::halt::Halt;

/// The format written here; older ones can be read, newer ones are refused.
pub(crate) const FORMAT: u32 = 1;
/// Bytes of a segment's header.
pub(crate) const SEGMENT_HEADER_BYTES: usize = SECTOR_BYTES;
/// Bytes of a record's header.
pub(crate) const RECORD_HEADER_BYTES: usize = 56;
/// Where in a record's header its kind is; never 0.
pub(crate) const KIND_AT: usize = 12;
/// The most groups that the `Batch` record of a batch names; beyond it names none, which is always allowed.
pub(crate) const BATCH_GROUPS_MAX: usize = 1024;

const MAGIC: [u8; 8] = *b"marilog\n";
/// In place of a group that a `Batch` record had room for.
const NO_GROUP: u32 = u32::MAX;

/// What a segment says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) sequence: u64,
    pub(crate) salt: u32,
    /// Where the segment before this one ended; 0 for the first.
    pub(crate) previous_end: u64,
    /// Where the opening ends and batches begin.
    pub(crate) opening_end: u64,
    /// How many groups the opening carries forward.
    pub(crate) groups: u32,
}

impl SegmentHeader {
    pub(crate) fn seed(&self) -> u32 {
        crc32c_append(self.salt, &self.sequence.to_le_bytes())
    }

    pub(crate) fn encode(&self) -> [u8; SEGMENT_HEADER_BYTES] {
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.salt.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.previous_end.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.opening_end.to_le_bytes());
        bytes[40..44].copy_from_slice(&self.groups.to_le_bytes());
        let crc = crc32c(&bytes[..44]);
        bytes[44..48].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// The header of the segment file `name`, from its first sector.
    pub(crate) fn decode(name: &str, bytes: &[u8]) -> Result<Self, Halt> {
        let damaged = || Halt::corrupt(format!("header of segment {name}"));
        if bytes.len() < SEGMENT_HEADER_BYTES || bytes[..8] != MAGIC {
            return Err(damaged());
        }
        let format = u32_at(bytes, 8);
        if format > FORMAT {
            return Err(Halt::newer(format!("log segment {name}"), format, FORMAT));
        }
        let header = Self {
            salt: u32_at(bytes, 12),
            sequence: u64_at(bytes, 16),
            previous_end: u64_at(bytes, 24),
            opening_end: u64_at(bytes, 32),
            groups: u32_at(bytes, 40),
        };
        if u32_at(bytes, 44) != crc32c(&bytes[..44]) || segment_name(header.sequence) != name {
            return Err(damaged());
        }
        Ok(header)
    }
}

/// The file that holds a segment.
pub(crate) fn segment_name(sequence: u64) -> String {
    format!("{sequence:016x}.wal")
}

/// The sequence of a segment file, if `name` is one.
pub(crate) fn segment_sequence(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".wal").filter(|digits| digits.len() == 16)?;
    u64::from_str_radix(digits, 16).ok()
}

/// What a record does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// Begins a batch: see [`Batch`].
    Batch = 1,
    /// In an opening: everything of a group but its entries. See [`State`].
    State = 2,
    /// An entry at `position`; `tag` and payload are the caller's.
    Entry = 3,
    /// The payload is the vote.
    Vote = 4,
    /// Entries up to `position` are gone.
    Purge = 5,
    /// Entries after `position.index` are gone; all of them where `tag` is 1.
    Truncate = 6,
    /// The group is gone.
    Drop = 7,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Batch,
            2 => Self::State,
            3 => Self::Entry,
            4 => Self::Vote,
            5 => Self::Purge,
            6 => Self::Truncate,
            7 => Self::Drop,
            _ => return None,
        })
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Batch => "batch",
            Self::State => "state",
            Self::Entry => "entry",
            Self::Vote => "vote",
            Self::Purge => "purge",
            Self::Truncate => "truncate",
            Self::Drop => "drop",
        }
    }
}

/// What a record says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecordHeader {
    pub(crate) kind: Kind,
    pub(crate) tag: u8,
    pub(crate) group: VgroupId,
    /// Counts the records of a group, so that a missing one is noticed; not reused where a group is dropped and comes
    /// back. Of a `State`: that of the last record before.
    pub(crate) serial: u64,
    /// The first record of the group, or after it was dropped.
    pub(crate) first: bool,
    pub(crate) position: Position,
    /// Bytes of payload.
    pub(crate) length: usize,
    payload_crc: u32,
}

const NOWHERE: Position = Position { term: 0, node: 0, index: 0 };

impl RecordHeader {
    pub(crate) fn new(kind: Kind, group: VgroupId, serial: u64) -> Self {
        Self { kind, tag: 0, group, serial, first: false, position: NOWHERE, length: 0, payload_crc: 0 }
    }

    pub(crate) fn at(mut self, position: Position) -> Self {
        self.position = position;
        self
    }

    pub(crate) fn tagged(mut self, tag: u8) -> Self {
        self.tag = tag;
        self
    }

    pub(crate) fn first(mut self, first: bool) -> Self {
        self.first = first;
        self
    }

    /// The header in the first bytes of `bytes`, if there is a whole one.
    pub(crate) fn decode(seed: u32, bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..RECORD_HEADER_BYTES)?;
        // Cheap tests first: a search for the next record comes here for every eighth byte.
        let kind = Kind::from_byte(bytes[KIND_AT])?;
        let length = u32_at(bytes, 8) as usize;
        if bytes[14] > 1 || bytes[15] != 0 || bytes[20..24] != [0; 4] || length > payload_bytes_max() {
            return None;
        }
        if u32_at(bytes, 0) != crc32c_append(seed, &bytes[4..]) {
            return None;
        }
        let position = Position { index: u64_at(bytes, 32), term: u64_at(bytes, 40), node: u64_at(bytes, 48) };
        Some(Self {
            kind,
            tag: bytes[13],
            group: VgroupId(u32_at(bytes, 16)),
            serial: u64_at(bytes, 24),
            first: bytes[14] == 1,
            position,
            length,
            payload_crc: u32_at(bytes, 4),
        })
    }

    /// Whether `payload` is what was written with this header.
    pub(crate) fn matches(&self, seed: u32, payload: &[u8]) -> bool {
        payload.len() == self.length && crc32c_append(seed, payload) == self.payload_crc
    }

    /// Bytes of the whole record.
    pub(crate) fn record_bytes(&self) -> usize {
        record_bytes(self.length)
    }
}

/// The largest payload on disk: an entry's, or a state's, which wraps a vote.
const fn payload_bytes_max() -> usize {
    RECORD_PAYLOAD_BYTES_MAX + 4096
}

/// Bytes of a record with a payload of `length` bytes.
pub(crate) const fn record_bytes(length: usize) -> usize {
    (RECORD_HEADER_BYTES + length).next_multiple_of(8)
}

/// Appends a record to `buffer`.
pub(crate) fn put_record(buffer: &mut Vec<u8>, seed: u32, header: RecordHeader, payload: &[u8]) {
    let start = buffer.len();
    let length = u32::try_from(payload.len()).expect("payloads are bounded");
    buffer.extend_from_slice(&[0; RECORD_HEADER_BYTES]);
    let bytes = &mut buffer[start..];
    bytes[4..8].copy_from_slice(&crc32c_append(seed, payload).to_le_bytes());
    bytes[8..12].copy_from_slice(&length.to_le_bytes());
    bytes[KIND_AT] = header.kind as u8;
    bytes[13] = header.tag;
    bytes[14] = u8::from(header.first);
    bytes[16..20].copy_from_slice(&header.group.0.to_le_bytes());
    bytes[24..32].copy_from_slice(&header.serial.to_le_bytes());
    bytes[32..40].copy_from_slice(&header.position.index.to_le_bytes());
    bytes[40..48].copy_from_slice(&header.position.term.to_le_bytes());
    bytes[48..56].copy_from_slice(&header.position.node.to_le_bytes());
    let crc = crc32c_append(seed, &bytes[4..]);
    bytes[..4].copy_from_slice(&crc.to_le_bytes());
    buffer.extend_from_slice(payload);
    buffer.resize(start + record_bytes(payload.len()), 0);
}

/// The first record of every batch, and of the opening.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Batch {
    /// The segment was synced up to here before this was written.
    pub(crate) synced: u64,
    /// Bytes of the batch, this record included.
    pub(crate) bytes: u64,
    /// Whose records follow; `None` if there are too many to name.
    pub(crate) groups: Option<Vec<VgroupId>>,
}

impl Batch {
    /// Bytes of the record that names up to `groups` groups.
    pub(crate) fn record_bytes(groups: usize) -> usize {
        record_bytes(16 + 4 * groups)
    }

    /// The record as bytes, padded to name `room` groups.
    pub(crate) fn encode(&self, seed: u32, room: usize) -> Vec<u8> {
        let mut payload = Vec::with_capacity(16 + 4 * room);
        payload.extend_from_slice(&self.synced.to_le_bytes());
        payload.extend_from_slice(&self.bytes.to_le_bytes());
        let named = self.groups.as_ref().filter(|groups| groups.len() <= room);
        for slot in 0..room {
            let group = named.and_then(|groups| groups.get(slot)).map_or(NO_GROUP, |group| group.0);
            payload.extend_from_slice(&group.to_le_bytes());
        }
        let mut buffer = Vec::new();
        let header = RecordHeader::new(Kind::Batch, VgroupId(NO_GROUP), 0).tagged(u8::from(named.is_none()));
        put_record(&mut buffer, seed, header, &payload);
        buffer
    }

    pub(crate) fn decode(header: &RecordHeader, payload: &[u8]) -> Option<Self> {
        if payload.len() < 16 {
            return None;
        }
        let groups = payload[16..].chunks_exact(4).map(|group| u32_at(group, 0)).filter(|group| *group != NO_GROUP);
        let groups = (header.tag == 0).then(|| groups.map(VgroupId).collect());
        Some(Self { synced: u64_at(payload, 0), bytes: u64_at(payload, 8), groups })
    }
}

/// Everything of a group but its entries, as an opening carries it forward.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct State {
    pub(crate) vote: Option<Vec<u8>>,
    pub(crate) purged: Option<Position>,
    /// Where the group was found damaged.
    pub(crate) damaged: Option<String>,
}

impl State {
    pub(crate) fn encode(&self) -> Vec<u8> {
        postcard::to_stdvec(self).expect("a state can always be written")
    }

    pub(crate) fn decode(payload: &[u8]) -> Option<Self> {
        postcard::from_bytes(payload).ok()
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}
