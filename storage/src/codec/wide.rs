//! Integers of 128 bits: the unscaled digits of DECIMAL.
//!
//! ```text
//! encoding u8
//!   0 NARROW  as 64-bit integers
//!   1 FRAME   base i128 | offsets above it as 64-bit integers
//!   2 RAW     i128 × values
//! ```

use crate::codec::bytes::Reader;
use crate::codec::{Corrupt, VECTOR_ROWS, int};

const NARROW: u8 = 0;
const FRAME: u8 = 1;
const RAW: u8 = 2;

/// Appends at most [`VECTOR_ROWS`] values, as they are if `raw`.
pub(super) fn encode(values: &[i128], raw: bool, out: &mut Vec<u8>) {
    let min = values.iter().copied().min().unwrap_or(0);
    let max = values.iter().copied().max().unwrap_or(0);
    let mut narrow = [0_i64; VECTOR_ROWS];
    let narrow = &mut narrow[..values.len()];
    if !raw && i64::try_from(min).is_ok() && i64::try_from(max).is_ok() {
        out.push(NARROW);
        narrow.iter_mut().zip(values).for_each(|(target, value)| *target = *value as i64);
        int::encode(narrow, out);
    } else if !raw && max.checked_sub(min).is_some_and(|spread| u64::try_from(spread).is_ok()) {
        out.push(FRAME);
        out.extend_from_slice(&min.to_le_bytes());
        narrow.iter_mut().zip(values).for_each(|(target, value)| *target = (*value - min) as u64 as i64);
        int::encode(narrow, out);
    } else {
        out.push(RAW);
        out.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    }
}

/// Fills `values` with what [`encode`] wrote.
pub(super) fn decode(reader: &mut Reader<'_>, values: &mut [i128]) -> Result<(), Corrupt> {
    let encoding = reader.u8()?;
    let mut narrow = [0_i64; VECTOR_ROWS];
    let narrow = narrow.get_mut(..values.len()).ok_or_else(|| reader.damaged("a vector is too long"))?;
    match encoding {
        NARROW => {
            int::decode(reader, narrow)?;
            values.iter_mut().zip(narrow).for_each(|(value, narrow)| *value = i128::from(*narrow));
        }
        FRAME => {
            let base = i128::from_le_bytes(reader.array()?);
            int::decode(reader, narrow)?;
            let offset = |narrow: i64| i128::from(narrow as u64);
            values.iter_mut().zip(narrow).for_each(|(value, narrow)| *value = base.wrapping_add(offset(*narrow)));
        }
        RAW => {
            let raw = reader.take(values.len() * 16)?;
            for (value, bytes) in values.iter_mut().zip(raw.as_chunks::<16>().0) {
                *value = i128::from_le_bytes(*bytes);
            }
        }
        found => return Err(Corrupt::Encoding { place: "decimal vector", found }),
    }
    Ok(())
}

/// What an encoding is called.
pub(super) fn describe(bytes: &[u8]) -> String {
    match bytes {
        [NARROW, mode, ..] => int::describe(*mode).to_owned(),
        [FRAME, ..] => "frame128".to_owned(),
        [RAW, ..] => "raw".to_owned(),
        _ => "unknown".to_owned(),
    }
}
