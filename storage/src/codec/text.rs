//! Text and bytes: few distinct values become codes, long text is compressed.
//!
//! ```text
//! encoding u8
//!   0 CONSTANT    length varint | bytes
//!   1 DICTIONARY  entries varint | lengths as integers | blob | codes as integers
//!   2 PLAIN       lengths as integers | blob
//! blob = kind u8 (0 as it is, 1 zstd) | stored length varint | bytes
//! ```

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use zstd::bulk::{Compressor, Decompressor};

use crate::codec::bytes::{Reader, put_varint};
use crate::codec::coding::Light;
use crate::codec::{Coding, Corrupt, VECTOR_BYTES_MAX, VECTOR_ROWS, int};

const CONSTANT: u8 = 0;
const DICTIONARY: u8 = 1;
const PLAIN: u8 = 2;

const STORED: u8 = 0;
const ZSTD: u8 = 1;
/// Shorter blobs do not pay for a zstd frame.
const ZSTD_BYTES_MIN: usize = 256;
/// Most entries of a dictionary.
const DICTIONARY_MAX: usize = 256;

thread_local! {
    // A context is some hundred kilobytes: made once per thread, not once per vector.
    static COMPRESSOR: RefCell<Option<(i32, Compressor<'static>)>> = const { RefCell::new(None) };
    static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

/// Values one after another, as Arrow keeps them: value i is `bytes[offsets[i]..offsets[i + 1]]`.
#[derive(Debug)]
pub(super) struct Values {
    /// One more than there are values.
    pub(super) offsets: Vec<i32>,
    /// All bytes.
    pub(super) bytes: Vec<u8>,
}

impl Values {
    /// No values, with room for `count`.
    pub(super) fn with_capacity(count: usize) -> Self {
        let mut offsets = Vec::with_capacity(count + 1);
        offsets.push(0);
        Self { offsets, bytes: Vec::new() }
    }

    /// Appends one value.
    pub(super) fn push(&mut self, value: &[u8]) {
        self.bytes.extend_from_slice(value);
        self.offsets.push(self.bytes.len() as i32);
    }
}

/// Appends at most [`VECTOR_ROWS`] values.
pub(super) fn encode(values: &[&[u8]], coding: Coding, out: &mut Vec<u8>) {
    let total: usize = values.iter().map(|value| value.len()).sum();
    assert!(total <= VECTOR_BYTES_MAX, "a vector of {total} bytes of text: blocks are cut before");
    let level = coding.text();
    if coding.light == Light::Off {
        out.push(PLAIN);
        return encode_list(values, level, out);
    }
    if let Some(first) = values.first()
        && values.iter().all(|value| value == first)
    {
        out.push(CONSTANT);
        put_varint(out, first.len() as u64);
        out.extend_from_slice(first);
        return;
    }
    if let Some((entries, codes)) = dictionary(values) {
        let bytes: usize = entries.iter().map(|entry| entry.len() + 1).sum();
        if bytes + values.len() < total + values.len() / 2 {
            out.push(DICTIONARY);
            put_varint(out, entries.len() as u64);
            encode_list(&entries, level, out);
            int::encode(&codes, out);
            return;
        }
    }
    out.push(PLAIN);
    encode_list(values, level, out);
}

/// Appends `count` values that [`encode`] wrote to `values`.
pub(super) fn decode(reader: &mut Reader<'_>, count: usize, values: &mut Values) -> Result<(), Corrupt> {
    match reader.u8()? {
        CONSTANT => {
            let length = reader.varint_up_to(VECTOR_BYTES_MAX)?;
            let value = reader.take(length)?;
            if value.len().saturating_mul(count) > VECTOR_BYTES_MAX {
                return Err(reader.damaged("a vector of text is too large"));
            }
            (0..count).for_each(|_| values.push(value));
        }
        DICTIONARY => {
            let entries = reader.varint_up_to(DICTIONARY_MAX)?;
            let mut list = Values::with_capacity(entries);
            decode_list(reader, entries, &mut list)?;
            let mut codes = [0; VECTOR_ROWS];
            let codes = codes.get_mut(..count).ok_or_else(|| reader.damaged("a vector is too long"))?;
            int::decode(reader, codes)?;
            let limit = values.bytes.len() + VECTOR_BYTES_MAX;
            for code in codes {
                let range = usize::try_from(*code).ok().and_then(|code| list.offsets.get(code..=code.checked_add(1)?));
                let Some(&[start, end]) = range else {
                    return Err(reader.damaged("a code is beyond the dictionary"));
                };
                values.push(&list.bytes[start as usize..end as usize]);
                if values.bytes.len() > limit {
                    return Err(reader.damaged("a vector of text is too large"));
                }
            }
        }
        PLAIN => decode_list(reader, count, values)?,
        found => return Err(Corrupt::Encoding { place: "text vector", found }),
    }
    Ok(())
}

/// What an encoding is called.
pub(super) fn describe(bytes: &[u8]) -> String {
    match bytes {
        [CONSTANT, ..] => "constant".to_owned(),
        [DICTIONARY, ..] => "dictionary".to_owned(),
        [PLAIN, ..] => "plain".to_owned(),
        _ => "unknown".to_owned(),
    }
}

/// A cheap hash. Whoever picks values that collide makes at most [`DICTIONARY_MAX`] of them slow.
#[derive(Default)]
struct Fold(u64);

impl Hasher for Fold {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        for word in words.iter().chain([&last]) {
            let product = u128::from(self.0 ^ u64::from_le_bytes(*word)) * 0x9e37_79b9_7f4a_7c15;
            self.0 = product as u64 ^ (product >> 64) as u64;
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Distinct values in order of appearance and the code of each value, if they are few.
fn dictionary<'a>(values: &[&'a [u8]]) -> Option<(Vec<&'a [u8]>, Vec<i64>)> {
    let most = DICTIONARY_MAX.min(values.len() / 2);
    let mut index: HashMap<&[u8], i64, BuildHasherDefault<Fold>> = HashMap::default();
    let (mut entries, mut codes) = (Vec::new(), Vec::with_capacity(values.len()));
    for value in values {
        let next = entries.len() as i64;
        let code = *index.entry(value).or_insert(next);
        if code == next {
            if entries.len() == most {
                return None;
            }
            entries.push(*value);
        }
        codes.push(code);
    }
    Some((entries, codes))
}

fn encode_list(values: &[&[u8]], level: Option<i32>, out: &mut Vec<u8>) {
    let lengths: Vec<i64> = values.iter().map(|value| value.len() as i64).collect();
    int::encode(&lengths, out);
    let blob = values.concat();
    if blob.len() >= ZSTD_BYTES_MIN
        && let Some(packed) = level.and_then(|level| smallest(&blob, level))
        && packed.len() < blob.len() - blob.len() / 8
    {
        out.push(ZSTD);
        put_varint(out, packed.len() as u64);
        out.extend_from_slice(&packed);
    } else {
        out.push(STORED);
        put_varint(out, blob.len() as u64);
        out.extend_from_slice(&blob);
    }
}

fn decode_list(reader: &mut Reader<'_>, count: usize, values: &mut Values) -> Result<(), Corrupt> {
    let mut lengths = [0; VECTOR_ROWS];
    let lengths = lengths.get_mut(..count).ok_or_else(|| reader.damaged("a vector is too long"))?;
    int::decode(reader, lengths)?;
    let base = values.bytes.len();
    let mut total = 0;
    for length in lengths {
        let length = usize::try_from(*length).ok().filter(|length| *length <= VECTOR_BYTES_MAX);
        total += length.ok_or_else(|| reader.damaged("a length is out of range"))?;
        if total > VECTOR_BYTES_MAX {
            return Err(reader.damaged("a vector of text is too large"));
        }
        values.offsets.push((base + total) as i32);
    }
    let kind = reader.u8()?;
    let stored = reader.varint_up_to(VECTOR_BYTES_MAX)?;
    let stored = reader.take(stored)?;
    match kind {
        STORED => values.bytes.extend_from_slice(stored),
        ZSTD => {
            let plain = decompress(stored, total).ok_or_else(|| reader.damaged("zstd refuses it"))?;
            values.bytes.extend_from_slice(&plain);
        }
        found => return Err(Corrupt::Encoding { place: "text blob", found }),
    }
    if values.bytes.len() == base + total { Ok(()) } else { Err(reader.damaged("text has another length")) }
}

/// What level 1 makes, or `level` if that is smaller: of text that hardly repeats itself, more effort makes more.
fn smallest(blob: &[u8], level: i32) -> Option<Vec<u8>> {
    let wanted = compress(blob, level)?;
    if level <= 1 {
        return Some(wanted);
    }
    let quick = compress(blob, 1).filter(|quick| quick.len() < wanted.len());
    Some(quick.unwrap_or(wanted))
}

/// None if zstd fails, which costs space only.
pub(super) fn compress(bytes: &[u8], level: i32) -> Option<Vec<u8>> {
    COMPRESSOR.with_borrow_mut(|compressor| {
        match compressor {
            Some((of, compressor)) if *of != level => {
                compressor.set_compression_level(level).ok()?;
                *of = level;
            }
            Some(_) => {}
            None => *compressor = Some((level, Compressor::new(level).ok()?)),
        }
        compressor.as_mut()?.1.compress(bytes).ok()
    })
}

/// At most `length` bytes; None if zstd refuses them.
pub(super) fn decompress(bytes: &[u8], length: usize) -> Option<Vec<u8>> {
    DECOMPRESSOR.with_borrow_mut(|decompressor| {
        if decompressor.is_none() {
            *decompressor = Decompressor::new().ok();
        }
        decompressor.as_mut()?.decompress(bytes, length).ok()
    })
}
