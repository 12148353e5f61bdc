//! Bit-packing: integers of one width, without the zero bits above it.
//!
//! A full vector is packed as 16 lanes side by side: value i stands in lane i % 16, and each lane is a stream of 64
//! values, so that every step does the same shift to 16 neighbours and the compiler vectorises it. A shorter vector
//! is one plain stream of bits.

use crate::codec::bytes::Reader;
use crate::codec::{Corrupt, VECTOR_ROWS};

const LANES: usize = 16;
const LANE_VALUES: usize = VECTOR_ROWS / LANES;

/// Appends `values`, each less than 2^`width`, as `ceil(len * width / 8)` bytes. At most [`VECTOR_ROWS`] of them.
pub(super) fn pack(values: &[u64], width: u32, out: &mut Vec<u8>) {
    if width == 0 {
        return;
    }
    match <&[u64; VECTOR_ROWS]>::try_from(values) {
        Ok(full) => pack_lanes(full, width as usize, out),
        Err(_) => pack_stream(values, width, out),
    }
}

/// Fills `values` with what [`pack`] wrote, as the bits of integers with a sign.
pub(super) fn unpack(reader: &mut Reader<'_>, width: u32, values: &mut [i64]) -> Result<(), Corrupt> {
    if width > 64 || values.len() > VECTOR_ROWS {
        return Err(reader.damaged("a bit width is over 64"));
    }
    if width == 0 {
        values.fill(0);
        return Ok(());
    }
    let packed = reader.take((values.len() * width as usize).div_ceil(8))?;
    match <&mut [i64; VECTOR_ROWS]>::try_from(&mut *values) {
        Ok(full) => unpack_lanes(packed, width as usize, full),
        Err(_) => unpack_stream(packed, width, values),
    }
    Ok(())
}

fn pack_lanes(values: &[u64; VECTOR_ROWS], width: usize, out: &mut Vec<u8>) {
    let mut words = [0_u64; VECTOR_ROWS];
    for (step, source) in values.as_chunks::<LANES>().0.iter().enumerate() {
        let (word, shift) = (step * width / 64, step * width % 64);
        let (low, high) = words[word * LANES..].split_at_mut(LANES);
        for (target, value) in low.iter_mut().zip(source) {
            *target |= value << shift;
        }
        if shift + width > 64 {
            for (target, value) in high[..LANES].iter_mut().zip(source) {
                *target |= value >> (64 - shift);
            }
        }
    }
    out.extend(words[..LANES * width].iter().flat_map(|word| word.to_le_bytes()));
}

fn unpack_lanes(packed: &[u8], width: usize, values: &mut [i64; VECTOR_ROWS]) {
    let words = packed.as_chunks::<8>().0;
    let mask = u64::MAX >> (64 - width);
    debug_assert_eq!(LANE_VALUES * LANES, values.len());
    for (step, target) in values.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
        let (word, shift) = (step * width / 64, step * width % 64);
        let (low, high) = words[word * LANES..].split_at(LANES);
        if shift + width > 64 {
            for ((value, low), high) in target.iter_mut().zip(low).zip(&high[..LANES]) {
                let (low, high) = (u64::from_le_bytes(*low), u64::from_le_bytes(*high));
                *value = ((low >> shift | high << (64 - shift)) & mask) as i64;
            }
        } else {
            for (value, low) in target.iter_mut().zip(low) {
                *value = (u64::from_le_bytes(*low) >> shift & mask) as i64;
            }
        }
    }
}

fn pack_stream(values: &[u64], width: u32, out: &mut Vec<u8>) {
    let (mut pending, mut bits) = (0_u128, 0);
    for value in values {
        pending |= u128::from(*value) << bits;
        bits += width;
        if bits >= 64 {
            out.extend_from_slice(&(pending as u64).to_le_bytes());
            pending >>= 64;
            bits -= 64;
        }
    }
    out.extend_from_slice(&pending.to_le_bytes()[..bits.div_ceil(8) as usize]);
}

/// Wider values may not lie in one load of eight bytes.
const LOAD_WIDTH_MAX: u32 = 57;

fn unpack_stream(packed: &[u8], width: u32, values: &mut [i64]) {
    if width > LOAD_WIDTH_MAX {
        return unpack_wide(packed, width, values);
    }
    let (mask, width) = (u64::MAX >> (64 - width), width as usize);
    // The first values have at least eight bytes from where they begin.
    let whole = packed.len().checked_sub(8).map_or(0, |last| (last * 8 + 7) / width + 1).min(values.len());
    for (index, value) in values[..whole].iter_mut().enumerate() {
        let bit = index * width;
        let load = packed[bit / 8..].first_chunk::<8>().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        *value = (load >> (bit % 8) & mask) as i64;
    }
    for (index, value) in values.iter_mut().enumerate().skip(whole) {
        let bit = index * width;
        let (mut load, rest) = ([0; 8], &packed[bit / 8..]);
        load[..rest.len()].copy_from_slice(rest);
        *value = (u64::from_le_bytes(load) >> (bit % 8) & mask) as i64;
    }
}

fn unpack_wide(packed: &[u8], width: u32, values: &mut [i64]) {
    // Room for a whole load at the last bit.
    let mut padded = [0_u8; VECTOR_ROWS * 8 + 16];
    padded[..packed.len()].copy_from_slice(packed);
    let mask = u128::from(u64::MAX >> (64 - width));
    for (index, value) in values.iter_mut().enumerate() {
        let bit = index * width as usize;
        let load = padded[bit / 8..].first_chunk::<16>().map_or(0, |bytes| u128::from_le_bytes(*bytes));
        *value = (load >> (bit % 8) & mask) as i64;
    }
}
