//! Reads the records of one segment's bytes, and finds its way past bad ones.

use std::ops::Range;

use super::format::{Batch, KIND_AT, Kind, RECORD_HEADER_BYTES, RecordHeader, SEGMENT_HEADER_BYTES};

/// What stands at one place of a segment.
#[derive(Debug)]
pub(crate) enum Found<'a> {
    /// A whole record.
    Record {
        /// Where it starts.
        offset: u64,
        header: RecordHeader,
        payload: &'a [u8],
    },
    /// Bytes that are no record, up to the next one or the end.
    Bad {
        range: Range<u64>,
        /// What they should have been, where that can still be read.
        header: Option<RecordHeader>,
    },
}

/// Iterates over everything between the segment's header and `end`.
#[derive(Debug)]
pub(crate) struct Scan<'a> {
    bytes: &'a [u8],
    seed: u32,
    at: usize,
}

impl<'a> Scan<'a> {
    /// Over the segment whose whole content is `bytes`, cut at `end` where its end is known.
    pub(crate) fn new(bytes: &'a [u8], seed: u32, end: Option<u64>) -> Self {
        let end = end.and_then(|end| usize::try_from(end).ok()).map_or(bytes.len(), |end| end.min(bytes.len()));
        Self { bytes: &bytes[..end], seed, at: SEGMENT_HEADER_BYTES }
    }

    fn header(&self, at: usize) -> Option<RecordHeader> {
        let header = RecordHeader::decode(self.seed, &self.bytes[at..])?;
        (header.record_bytes() <= self.bytes.len() - at).then_some(header)
    }

    /// The next place at which a record's header can be read.
    fn resynchronise(&self) -> usize {
        let mut at = self.at + 8;
        while at + RECORD_HEADER_BYTES <= self.bytes.len() {
            // Most of what is searched is zeros: the kind alone tells that they are no header.
            if self.bytes[at + KIND_AT] != 0 && self.header(at).is_some() {
                return at;
            }
            at += 8;
        }
        self.bytes.len()
    }
}

impl<'a> Iterator for Scan<'a> {
    type Item = Found<'a>;

    fn next(&mut self) -> Option<Found<'a>> {
        if self.at >= self.bytes.len() {
            return None;
        }
        let start = self.at;
        let offset = start as u64;
        let Some(header) = self.header(start) else {
            self.at = self.resynchronise();
            return Some(Found::Bad { range: offset..self.at as u64, header: None });
        };
        self.at += header.record_bytes();
        let payload = &self.bytes[start + RECORD_HEADER_BYTES..][..header.length];
        if header.matches(self.seed, payload) {
            Some(Found::Record { offset, header, payload })
        } else {
            Some(Found::Bad { range: offset..self.at as u64, header: Some(header) })
        }
    }
}

/// How far the last segment is known to have been synced: what its opening and any `Batch` record in it say.
pub(crate) fn synced_mark(bytes: &[u8], seed: u32, opening_end: u64) -> u64 {
    Scan::new(bytes, seed, None)
        .filter_map(|found| match found {
            Found::Record { header, payload, .. } if header.kind == Kind::Batch => Batch::decode(&header, payload),
            _ => None,
        })
        .map(|batch| batch.synced)
        .fold(opening_end, u64::max)
}
