//! Integers of up to 64 bits: differences of order 0, 1 or 2, then bit-packing with the few large ones patched in.
//!
//! ```text
//! mode u8, low 4 bits; bit 4: offsets are zigzag around `base` instead of above it
//!   0 CONSTANT    value zigzag
//!   1 FRAME       base zigzag | packed                      v[i] = base + offset[i]
//!   2 DELTA       base, v[0] zigzag | packed                v[i] - v[i-1] = base + offset[i]
//!   3 DELTA2      base, v[0], v[1]-v[0] zigzag | packed     the same of the differences
//!   4 RUNS        runs varint | values | lengths            both as modes 0 to 3
//!   5 DICTIONARY  entries varint | entries | codes          both as modes 0 to 3
//!   6 PCO         length varint | pco standalone file       only in columns of format 2
//! packed = width u8 | patches varint | position u16 × patches | high bits varint × patches | bit-packed offsets
//! ```
//!
//! All arithmetic wraps, so unsigned 64-bit values travel as their two's complement twins. No values are no bytes.

use pco::ChunkConfig;
use pco::standalone::{simple_compress, simple_decompress_into};

use crate::codec::bytes::{Reader, put_varint, put_zigzag, unzigzag, zigzag};
use crate::codec::coding::Light;
use crate::codec::column::Width;
use crate::codec::{Coding, Corrupt, VECTOR_ROWS, packing};

const CONSTANT: u8 = 0;
const FRAME: u8 = 1;
const DELTA: u8 = 2;
const DELTA2: u8 = 3;
const RUNS: u8 = 4;
const DICTIONARY: u8 = 5;
const PCO: u8 = 6;
const CENTRED: u8 = 0x10;

/// Most entries of an integer dictionary: beyond, the codes are hardly narrower than the offsets.
const DICTIONARY_MAX: usize = 64;
/// The price of one patch in bits: its position, and that its bytes are not full.
const PATCH_BITS: usize = 20;

/// How a vector is to be packed.
#[derive(Clone, Copy)]
struct Plan {
    mode: u8,
    centred: bool,
    base: i64,
    width: u32,
    bits: usize,
}

/// Appends at most [`VECTOR_ROWS`] values in the smallest mode.
pub(crate) fn encode(values: &[i64], out: &mut Vec<u8>) {
    let changes = values.windows(2).filter(|pair| pair[0] != pair[1]).count();
    if values.is_empty() || changes == 0 {
        return encode_plain(values, out);
    }
    let plan = plan(values);
    let start = out.len();
    // The bytes that anything else has to beat.
    let limit = start + plan.bits / 8 + 8;
    if (changes + 1) * 4 <= values.len() {
        encode_runs(values, changes + 1, out);
        if out.len() < limit {
            return;
        }
        out.truncate(start);
    }
    if plan.bits >= values.len() * 8
        && let Some(entries) = distinct(values)
    {
        encode_dictionary(values, &entries, out);
        if out.len() < limit {
            return;
        }
        out.truncate(start);
    }
    encode_plan(values, plan, out);
}

/// [`encode`] as `coding` says; whether a mode was chosen that only columns of format 2 have.
pub(super) fn encode_as(values: &[i64], width: Width, coding: Coding, out: &mut Vec<u8>) -> bool {
    let start = out.len();
    match coding.light {
        _ if values.is_empty() => {}
        Light::Any => encode(values, out),
        Light::Off => encode_as_they_are(values, width, out),
        Light::Frame => encode_plan(values, plan_mode(values, FRAME, 0), out),
        Light::Delta => encode_plan(values, plan_differences(values), out),
    }
    let light = out.len() - start;
    let Some(level) = coding.pco().filter(|_| values.len() >= 64) else { return false };
    let config = ChunkConfig::default().with_compression_level(level);
    match simple_compress(values, &config) {
        Ok(file) if file.len() + 4 < light => {
            out.truncate(start);
            out.push(PCO);
            put_varint(out, file.len() as u64);
            out.extend_from_slice(&file);
            true
        }
        _ => false,
    }
}

/// Every value in the bits of its type.
fn encode_as_they_are(values: &[i64], width: Width, out: &mut Vec<u8>) {
    let base = if width.signed && width.bits < 64 { -(1 << (width.bits - 1)) } else { 0 };
    encode_plan(values, Plan { mode: FRAME, centred: false, base, width: width.bits, bits: 0 }, out);
}

/// The cheaper of the modes 2 and 3.
fn plan_differences(values: &[i64]) -> Plan {
    let count = values.len();
    if count < 3 {
        return plan_mode(values, FRAME, 0);
    }
    let (mut first, mut second) = ([0; VECTOR_ROWS], [0; VECTOR_ROWS]);
    differences(values, &mut first[..count]);
    differences(&first[..count], &mut second[..count]);
    let delta = plan_mode(&first[1..count], DELTA, 32);
    let delta2 = plan_mode(&second[2..count], DELTA2, 48);
    if delta2.bits < delta.bits { delta2 } else { delta }
}

fn decode_pco(reader: &mut Reader<'_>, values: &mut [i64]) -> Result<(), Corrupt> {
    reader.u8()?;
    let length = reader.varint_up_to(reader.rest().len())?;
    let file = reader.take(length)?;
    let progress = simple_decompress_into(file, values).map_err(|_| reader.damaged("pco refuses it"))?;
    if progress.n_processed == values.len() && progress.finished {
        return Ok(());
    }
    Err(reader.damaged("pco has another number of values"))
}

/// Appends at most [`VECTOR_ROWS`] values in one of the modes 0 to 3.
pub(crate) fn encode_plain(values: &[i64], out: &mut Vec<u8>) {
    let Some(first) = values.first() else { return };
    if values.iter().all(|value| value == first) {
        out.push(CONSTANT);
        put_zigzag(out, *first);
    } else {
        encode_plan(values, plan(values), out);
    }
}

/// Fills `values` with what [`encode`] wrote.
pub(crate) fn decode(reader: &mut Reader<'_>, values: &mut [i64]) -> Result<(), Corrupt> {
    if values.is_empty() {
        return Ok(());
    }
    match reader.rest().first() {
        Some(&RUNS) => decode_runs(reader, values),
        Some(&DICTIONARY) => decode_dictionary(reader, values),
        Some(&PCO) => decode_pco(reader, values),
        _ => decode_plain(reader, values),
    }
}

/// What the mode of encoded integers is called.
pub(super) fn describe(mode: u8) -> &'static str {
    match (mode & !CENTRED, mode & CENTRED != 0) {
        (CONSTANT, _) => "constant",
        (FRAME, false) => "frame",
        (FRAME, true) => "frame±",
        (DELTA, false) => "delta",
        (DELTA, true) => "delta±",
        (DELTA2, false) => "delta2",
        (DELTA2, true) => "delta2±",
        (RUNS, _) => "runs",
        (DICTIONARY, _) => "dictionary",
        (PCO, _) => "pco",
        _ => "unknown",
    }
}

fn bits_of(value: u64) -> u32 {
    64 - value.leading_zeros()
}

/// Differences to the value before; the first is 0.
fn differences(values: &[i64], out: &mut [i64]) {
    out[0] = 0;
    for (target, pair) in out[1..].iter_mut().zip(values.windows(2)) {
        *target = pair[1].wrapping_sub(pair[0]);
    }
}

/// The cheapest of the modes 1 to 3. Second differences are looked at only where first ones help.
fn plan(values: &[i64]) -> Plan {
    let mut best = plan_mode(values, FRAME, 0);
    let count = values.len();
    if count > 2 && best.width > 0 {
        let (mut first, mut second) = ([0; VECTOR_ROWS], [0; VECTOR_ROWS]);
        differences(values, &mut first[..count]);
        let delta = plan_mode(&first[1..count], DELTA, 32);
        if delta.bits < best.bits {
            best = delta;
            if delta.width > 0 {
                differences(&first[..count], &mut second[..count]);
                let delta2 = plan_mode(&second[2..count], DELTA2, 48);
                if delta2.bits < best.bits {
                    best = delta2;
                }
            }
        }
    }
    best
}

/// The best width for offsets of `values`, from their minimum or, where a few values are far out, from their middle.
fn plan_mode(values: &[i64], mode: u8, extra: usize) -> Plan {
    let (mut min, mut max) = (i64::MAX, i64::MIN);
    for value in values {
        min = min.min(*value);
        max = max.max(*value);
    }
    let spread = bits_of(max.wrapping_sub(min) as u64);
    let (width, bits) = match whole_width(values, min, spread) {
        Some(bits) => (spread, bits),
        None => best_width(values.iter().map(|value| value.wrapping_sub(min) as u64), spread, values.len()),
    };
    let mut plan = Plan { mode, centred: false, base: min, width, bits: bits + extra };
    if width <= 3 {
        return plan;
    }
    let (middle, usual) = sample(values);
    if usual + 3 < width {
        let offsets = values.iter().map(|value| zigzag(value.wrapping_sub(middle)));
        let (width, bits) = best_width(offsets, 64, values.len());
        if bits + extra < plan.bits {
            plan = Plan { mode, centred: true, base: middle, width, bits: bits + extra };
        }
    }
    plan
}

/// The bits of all offsets from `min` at their full width, if it takes no histogram to see that patches would not pay:
/// so many offsets have the highest bit that patching them alone costs more than any width saves. Mostly they have.
fn whole_width(values: &[i64], min: i64, spread: u32) -> Option<usize> {
    let Some(highest) = spread.checked_sub(1) else { return Some(0) };
    let high: usize = values.iter().map(|value| (value.wrapping_sub(min) as u64 >> highest) as usize).sum();
    let width = spread as usize;
    (high * (PATCH_BITS + width) >= values.len() * width).then_some(values.len() * width)
}

/// The median of a few values, and the bits that the middle half of them needs.
fn sample(values: &[i64]) -> (i64, u32) {
    let mut some = [0; 32];
    let step = (values.len() / some.len()).max(1);
    let mut count = 0;
    for (target, value) in some.iter_mut().zip(values.iter().step_by(step)) {
        *target = *value;
        count += 1;
    }
    let some = &mut some[..count];
    some.sort_unstable();
    match some.len() {
        0 => (0, 64),
        n => (some[n / 2], bits_of(some[n * 3 / 4].wrapping_sub(some[n / 4]) as u64)),
    }
}

/// The width, at most `max`, that makes packed offsets and patches smallest, and their bits.
fn best_width(offsets: impl Iterator<Item = u64>, max: u32, count: usize) -> (u32, usize) {
    // Four counters of each width, because neighbours are often alike, and counting on one would wait for itself.
    let mut counters = [[0_u16; 4]; 65];
    for (index, offset) in offsets.enumerate() {
        counters[bits_of(offset) as usize][index % 4] += 1;
    }
    let histogram = counters.map(|counters| counters.iter().map(|count| usize::from(*count)).sum::<usize>());
    let (mut best, mut best_bits) = (64, usize::MAX);
    // Patches at the width looked at, and the sum of their bits.
    let (mut patches, mut high) = (0, 0);
    for width in (0..=max as usize).rev() {
        let bits = count * width + patches * PATCH_BITS + high - patches * width;
        if bits < best_bits {
            (best, best_bits) = (width as u32, bits);
        }
        patches += histogram[width];
        high += histogram[width] * width;
    }
    (best, best_bits)
}

fn encode_plan(values: &[i64], plan: Plan, out: &mut Vec<u8>) {
    let count = values.len();
    let (mut first, mut second) = ([0; VECTOR_ROWS], [0; VECTOR_ROWS]);
    out.push(if plan.centred { plan.mode | CENTRED } else { plan.mode });
    put_zigzag(out, plan.base);
    let skip = usize::from(plan.mode - FRAME);
    let source = match plan.mode {
        FRAME => values,
        DELTA => {
            differences(values, &mut first[..count]);
            put_zigzag(out, values[0]);
            &first[..count]
        }
        _ => {
            differences(values, &mut first[..count]);
            differences(&first[..count], &mut second[..count]);
            put_zigzag(out, values[0]);
            put_zigzag(out, first[1]);
            &second[..count]
        }
    };
    let mut offsets = [0_u64; VECTOR_ROWS];
    for (offset, value) in offsets[skip..count].iter_mut().zip(&source[skip..]) {
        let distance = value.wrapping_sub(plan.base);
        *offset = if plan.centred { zigzag(distance) } else { distance as u64 };
    }
    encode_packed(&mut offsets[..count], plan.width, out);
}

fn encode_packed(offsets: &mut [u64], width: u32, out: &mut Vec<u8>) {
    out.push(width as u8);
    let mask = u64::MAX.checked_shr(64 - width).unwrap_or(0);
    let mut patches = Vec::new();
    for (position, offset) in offsets.iter_mut().enumerate() {
        if *offset > mask {
            patches.push((position as u16, *offset >> width));
            *offset &= mask;
        }
    }
    put_varint(out, patches.len() as u64);
    for (position, _) in &patches {
        out.extend_from_slice(&position.to_le_bytes());
    }
    for (_, high) in &patches {
        put_varint(out, *high);
    }
    packing::pack(offsets, width, out);
}

fn decode_plain(reader: &mut Reader<'_>, values: &mut [i64]) -> Result<(), Corrupt> {
    let mode = reader.u8()?;
    let centred = mode & CENTRED != 0;
    match mode & !CENTRED {
        CONSTANT if !centred => values.fill(reader.zigzag()?),
        FRAME => {
            let base = reader.zigzag()?;
            decode_packed(reader, centred, base, values)?;
        }
        DELTA => {
            let (base, first) = (reader.zigzag()?, reader.zigzag()?);
            decode_packed(reader, centred, base, values)?;
            values[0] = first;
            accumulate(values);
        }
        DELTA2 => {
            let (base, first, step) = (reader.zigzag()?, reader.zigzag()?, reader.zigzag()?);
            decode_packed(reader, centred, base, values)?;
            if values.len() > 1 {
                values[1] = step;
                accumulate(&mut values[1..]);
            }
            values[0] = first;
            accumulate(values);
        }
        _ => return Err(Corrupt::Encoding { place: "integer vector", found: mode }),
    }
    Ok(())
}

/// Each value becomes the sum of all up to it.
fn accumulate(values: &mut [i64]) {
    let mut sum = 0_i64;
    for value in values {
        sum = sum.wrapping_add(*value);
        *value = sum;
    }
}

fn decode_packed(reader: &mut Reader<'_>, centred: bool, base: i64, values: &mut [i64]) -> Result<(), Corrupt> {
    let width = u32::from(reader.u8()?);
    let patches = reader.varint_up_to(values.len())?;
    let positions = reader.take(patches * 2)?;
    let mut highs = reader.clone();
    for _ in 0..patches {
        reader.varint()?;
    }
    packing::unpack(reader, width, values)?;
    for position in positions.as_chunks::<2>().0 {
        let high = highs.varint()?.checked_shl(width).ok_or_else(|| highs.damaged("a patch has no bits"))?;
        match values.get_mut(usize::from(u16::from_le_bytes(*position))) {
            Some(offset) => *offset |= high as i64,
            None => return Err(highs.damaged("a patch is beyond the vector")),
        }
    }
    if centred {
        values.iter_mut().for_each(|value| *value = base.wrapping_add(unzigzag(*value as u64)));
    } else {
        values.iter_mut().for_each(|value| *value = base.wrapping_add(*value));
    }
    Ok(())
}

fn encode_runs(values: &[i64], runs: usize, out: &mut Vec<u8>) {
    let (mut heads, mut lengths) = (Vec::with_capacity(runs), Vec::with_capacity(runs));
    for run in values.chunk_by(|a, b| a == b) {
        heads.push(run[0]);
        lengths.push(run.len() as i64);
    }
    out.push(RUNS);
    put_varint(out, heads.len() as u64);
    encode_plain(&heads, out);
    encode_plain(&lengths, out);
}

fn decode_runs(reader: &mut Reader<'_>, values: &mut [i64]) -> Result<(), Corrupt> {
    reader.u8()?;
    let runs = reader.varint_up_to(values.len())?;
    if runs == 0 {
        return Err(reader.damaged("there are no runs"));
    }
    let (mut heads, mut lengths) = ([0; VECTOR_ROWS], [0; VECTOR_ROWS]);
    if runs > VECTOR_ROWS {
        return Err(reader.damaged("a vector is too long"));
    }
    decode_plain(reader, &mut heads[..runs])?;
    decode_plain(reader, &mut lengths[..runs])?;
    let mut rest = values;
    for (head, length) in heads.iter().zip(&lengths[..runs]) {
        let taken = std::mem::take(&mut rest);
        let length = usize::try_from(*length).ok().filter(|length| *length <= taken.len());
        let Some(length) = length else { return Err(reader.damaged("runs are longer than the vector")) };
        let (run, after) = taken.split_at_mut(length);
        run.fill(*head);
        rest = after;
    }
    if rest.is_empty() { Ok(()) } else { Err(reader.damaged("runs are shorter than the vector")) }
}

/// The distinct values in ascending order, if they are few.
fn distinct(values: &[i64]) -> Option<Vec<i64>> {
    let mut entries: Vec<i64> = Vec::with_capacity(DICTIONARY_MAX);
    for value in values {
        if let Err(at) = entries.binary_search(value) {
            if entries.len() == DICTIONARY_MAX {
                return None;
            }
            entries.insert(at, *value);
        }
    }
    Some(entries)
}

fn encode_dictionary(values: &[i64], entries: &[i64], out: &mut Vec<u8>) {
    out.push(DICTIONARY);
    put_varint(out, entries.len() as u64);
    encode_plain(entries, out);
    let code = |value: &i64| entries.binary_search(value).unwrap_or_default() as i64;
    let codes: Vec<i64> = values.iter().map(code).collect();
    encode_plain(&codes, out);
}

fn decode_dictionary(reader: &mut Reader<'_>, values: &mut [i64]) -> Result<(), Corrupt> {
    reader.u8()?;
    let count = reader.varint_up_to(DICTIONARY_MAX)?;
    if count == 0 {
        return Err(reader.damaged("a dictionary is empty"));
    }
    let mut entries = [0; DICTIONARY_MAX];
    decode_plain(reader, &mut entries[..count])?;
    decode_plain(reader, values)?;
    let entries = &entries[..count];
    for value in values {
        let entry = usize::try_from(*value).ok().and_then(|code| entries.get(code));
        *value = *entry.ok_or_else(|| reader.damaged("a code is beyond the dictionary"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// What is decided without a histogram is what the histogram says.
        #[test]
        fn the_whole_width_is_the_best_one(
            values in prop::collection::vec(prop_oneof![0..200_i64, Just(0_i64), Just(1000), any::<i64>(), -3..3_i64], 1..300),
            shift in 0..60_u32,
        ) {
            let values: Vec<i64> = values.into_iter().map(|value| value >> shift).collect();
            let (min, max) = (values.iter().min().copied().unwrap_or(0), values.iter().max().copied().unwrap_or(0));
            let spread = bits_of(max.wrapping_sub(min) as u64);
            if let Some(bits) = whole_width(&values, min, spread) {
                let offsets = values.iter().map(|value| value.wrapping_sub(min) as u64);
                prop_assert_eq!((spread, bits), best_width(offsets, spread, values.len()));
            }
        }
    }
}
