//! Floats: most measurements are decimals of a few digits, so `d = round(v · 10^k)` packs as an integer and `d / 10^k`
//! gives back the same bits, because one division is correctly rounded. Every value is checked bit by bit; the ones
//! that do not come back (NaN, infinity, -0.0, more digits) are patched in raw.
//!
//! ```text
//! encoding u8
//!   0 CONSTANT  bits
//!   1 DECIMAL   k u8 | patches varint | position u16 × patches | bits × patches | integers
//!   2 PCO       length varint | pco standalone file
//!   3 RAW       bits × values
//! ```

use pco::ChunkConfig;
use pco::standalone::{simple_compress, simple_decompress_into};

use crate::codec::bytes::{Reader, put_varint};
use crate::codec::coding::{General, Light};
use crate::codec::{Coding, Corrupt, VECTOR_ROWS, int};

const CONSTANT: u8 = 0;
const DECIMAL: u8 = 1;
const PCO: u8 = 2;
const RAW: u8 = 3;

const POWERS: [f64; 15] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14];
/// pco's effort: beyond 4 it costs much and gains little on 1,024 values.
const PCO_LEVEL: usize = 4;

/// FLOAT or DOUBLE.
pub(super) trait Float: Copy + pco::data_types::Number {
    /// Bytes of one value.
    const BYTES: usize;
    /// As a double; exact but for the payload of NaN.
    fn widen(self) -> f64;
    /// Rounds a double.
    fn narrow(value: f64) -> Self;
    /// IEEE 754 bits, zero-extended.
    fn bits(self) -> u64;
    /// The inverse of [`Float::bits`].
    fn from_bits(bits: u64) -> Self;
}

impl Float for f64 {
    const BYTES: usize = 8;
    fn widen(self) -> f64 {
        self
    }
    fn narrow(value: f64) -> Self {
        value
    }
    fn bits(self) -> u64 {
        self.to_bits()
    }
    fn from_bits(bits: u64) -> Self {
        Self::from_bits(bits)
    }
}

impl Float for f32 {
    const BYTES: usize = 4;
    fn widen(self) -> f64 {
        f64::from(self)
    }
    fn narrow(value: f64) -> Self {
        value as Self
    }
    fn bits(self) -> u64 {
        u64::from(self.to_bits())
    }
    fn from_bits(bits: u64) -> Self {
        Self::from_bits(bits as u32)
    }
}

/// Appends at most [`VECTOR_ROWS`] values.
pub(super) fn encode<T: Float>(values: &[T], coding: Coding, out: &mut Vec<u8>) {
    let start = out.len();
    let raw = values.len() * T::BYTES;
    let light = coding.light != Light::Off;
    if light
        && let Some(first) = values.first()
        && values.iter().all(|value| value.bits() == first.bits())
    {
        out.push(CONSTANT);
        put_bits(*first, out);
        return;
    }
    let decimal = light && power(values).is_some_and(|power| encode_decimal(values, power, out));
    // Digits that hardly shrink are noise, and pco may do better on their bits.
    let level = coding.pco();
    if decimal && level.is_none() && out.len() - start <= raw / 2 {
        return;
    }
    let best = if decimal { out.len() - start } else { raw };
    let config = ChunkConfig::default().with_compression_level(level.unwrap_or(PCO_LEVEL));
    if values.len() >= 64
        && coding.general != General::Off
        && (light || level.is_some())
        && let Ok(file) = simple_compress(values, &config)
        && file.len() + 4 < best
    {
        out.truncate(start);
        out.push(PCO);
        put_varint(out, file.len() as u64);
        out.extend_from_slice(&file);
    } else if !decimal || best > raw {
        out.truncate(start);
        out.push(RAW);
        values.iter().for_each(|value| put_bits(*value, out));
    }
}

/// Fills `values` with what [`encode`] wrote.
pub(super) fn decode<T: Float>(reader: &mut Reader<'_>, values: &mut [T]) -> Result<(), Corrupt> {
    match reader.u8()? {
        CONSTANT => {
            let bits = take_bits::<T>(reader)?;
            values.fill(T::from_bits(bits));
        }
        DECIMAL => decode_decimal(reader, values)?,
        PCO => {
            let length = reader.varint_up_to(reader.rest().len())?;
            let file = reader.take(length)?;
            let progress = simple_decompress_into(file, values).map_err(|_| reader.damaged("pco refuses it"))?;
            if progress.n_processed != values.len() || !progress.finished {
                return Err(reader.damaged("pco has another number of values"));
            }
        }
        RAW => {
            for value in values {
                *value = T::from_bits(take_bits::<T>(reader)?);
            }
        }
        found => return Err(Corrupt::Encoding { place: "float vector", found }),
    }
    Ok(())
}

/// What an encoding is called.
pub(super) fn describe(bytes: &[u8]) -> String {
    match bytes {
        [CONSTANT, ..] => "constant".to_owned(),
        [DECIMAL, power, ..] => format!("decimal {power}"),
        [PCO, ..] => "pco".to_owned(),
        [RAW, ..] => "raw".to_owned(),
        _ => "unknown".to_owned(),
    }
}

fn put_bits<T: Float>(value: T, out: &mut Vec<u8>) {
    out.extend_from_slice(&value.bits().to_le_bytes()[..T::BYTES]);
}

fn take_bits<T: Float>(reader: &mut Reader<'_>) -> Result<u64, Corrupt> {
    let mut bits = [0; 8];
    bits[..T::BYTES].copy_from_slice(reader.take(T::BYTES)?);
    Ok(u64::from_le_bytes(bits))
}

/// 1.5 · 2^52. Of a float of this size the lowest bit counts ones, so that adding it to a number below 2^51 rounds that
/// to an integer, and puts the integer into the low bits: a conversion that every processor does to several at a time.
const ROUND: f64 = 6_755_399_441_055_744.0;
/// Larger products are not exact.
const PRODUCT_MAX: f64 = 2.2e15;

/// `value · scale` rounded to an integer; 0 where it is too large to be exact.
#[inline]
fn scaled(value: f64, scale: f64) -> i64 {
    let product = value * scale;
    let digits = (product + ROUND).to_bits().wrapping_sub(ROUND.to_bits()) as i64;
    if product.abs() < PRODUCT_MAX { digits } else { 0 }
}

/// `digits / scale`, for digits that [`scaled`] gives.
#[inline]
fn unscaled<T: Float>(digits: i64, scale: f64) -> T {
    let digits = f64::from_bits(ROUND.to_bits().wrapping_add_signed(digits)) - ROUND;
    T::narrow(digits / scale)
}

/// The power of ten that brings back most of a sample, if that is most of it.
fn power<T: Float>(values: &[T]) -> Option<usize> {
    let step = (values.len() / 32).max(1);
    let (mut best, mut fewest) = (0, usize::MAX);
    let sampled = values.len().div_ceil(step);
    for (power, scale) in POWERS.iter().enumerate() {
        let lost = |value: &&T| unscaled::<T>(scaled(value.widen(), *scale), *scale).bits() != value.bits();
        let lost = values.iter().step_by(step).filter(lost).count();
        if lost < fewest {
            (best, fewest) = (power, lost);
        }
        if lost == 0 {
            break;
        }
    }
    (fewest * 4 <= sampled).then_some(best)
}

/// False, and nothing is appended, if too many values do not come back.
fn encode_decimal<T: Float>(values: &[T], power: usize, out: &mut Vec<u8>) -> bool {
    let scale = POWERS[power];
    let mut digits = [0_i64; VECTOR_ROWS];
    let digits = &mut digits[..values.len()];
    let mut lost = 0;
    for (digits, value) in digits.iter_mut().zip(values) {
        *digits = scaled(value.widen(), scale);
        lost += usize::from(unscaled::<T>(*digits, scale).bits() != value.bits());
    }
    if lost * 8 > values.len() + 8 {
        return false;
    }
    out.push(DECIMAL);
    out.push(power as u8);
    put_varint(out, lost as u64);
    if lost > 0 {
        let mut patches = Vec::with_capacity(lost);
        let mut last = 0;
        for (position, (digits, value)) in digits.iter_mut().zip(values).enumerate() {
            if unscaled::<T>(*digits, scale).bits() == value.bits() {
                last = *digits;
            } else {
                patches.push((position as u16, *value));
                // What costs nothing among its neighbours.
                *digits = last;
            }
        }
        patches.iter().for_each(|(position, _)| out.extend_from_slice(&position.to_le_bytes()));
        patches.iter().for_each(|(_, value)| put_bits(*value, out));
    }
    int::encode(digits, out);
    true
}

fn decode_decimal<T: Float>(reader: &mut Reader<'_>, values: &mut [T]) -> Result<(), Corrupt> {
    let power = usize::from(reader.u8()?);
    let scale = *POWERS.get(power).ok_or_else(|| reader.damaged("a power of ten is out of range"))?;
    let patches = reader.varint_up_to(values.len())?;
    let positions = reader.take(patches * 2)?;
    let mut raw = Reader::new(reader.take(patches * T::BYTES)?, "float patches");
    let mut digits = [0_i64; VECTOR_ROWS];
    let digits = digits.get_mut(..values.len()).ok_or_else(|| reader.damaged("a vector is too long"))?;
    int::decode(reader, digits)?;
    for (value, digits) in values.iter_mut().zip(digits) {
        *value = unscaled(*digits, scale);
    }
    for position in positions.as_chunks::<2>().0 {
        let bits = take_bits::<T>(&mut raw)?;
        match values.get_mut(usize::from(u16::from_le_bytes(*position))) {
            Some(value) => *value = T::from_bits(bits),
            None => return Err(reader.damaged("a patch is beyond the vector")),
        }
    }
    Ok(())
}
