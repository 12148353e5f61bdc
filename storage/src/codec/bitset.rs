//! Truth values, and which cells are NULL or absent.
//!
//! ```text
//! encoding u8
//!   0 NONE    all false
//!   1 ALL     all true
//!   2 BITMAP  bit × values, low bit first
//!   3 RUNS    runs varint | lengths as integers: false, true, false, … (the first may be 0)
//! ```

use arrow::buffer::{BooleanBuffer, Buffer, MutableBuffer};

use crate::codec::bytes::{Reader, put_varint};
use crate::codec::{Corrupt, VECTOR_ROWS, int};

const NONE: u8 = 0;
const ALL: u8 = 1;
const BITMAP: u8 = 2;
const RUNS: u8 = 3;

/// Appends at most [`VECTOR_ROWS`] bits.
pub(super) fn encode(bits: &BooleanBuffer, out: &mut Vec<u8>) {
    let set = bits.count_set_bits();
    if set == 0 {
        out.push(NONE);
        return;
    }
    if set == bits.len() {
        out.push(ALL);
        return;
    }
    let runs = bits.set_slices().count();
    if runs * 32 <= bits.len() {
        let mut lengths = Vec::with_capacity(runs * 2 + 1);
        let mut at = 0;
        for (start, end) in bits.set_slices() {
            lengths.extend([(start - at) as i64, (end - start) as i64]);
            at = end;
        }
        if at < bits.len() {
            lengths.push((bits.len() - at) as i64);
        }
        out.push(RUNS);
        put_varint(out, lengths.len() as u64);
        int::encode_plain(&lengths, out);
        return;
    }
    encode_plain(bits, out);
}

/// [`encode`], a bit to each value whatever they are.
pub(super) fn encode_plain(bits: &BooleanBuffer, out: &mut Vec<u8>) {
    out.push(BITMAP);
    let bytes = bits.sliced();
    let whole = bits.len() / 8;
    out.extend_from_slice(&bytes[..whole]);
    if !bits.len().is_multiple_of(8) {
        // What Arrow has after the last bit is anything.
        out.push(bytes[whole] & (0xff >> (8 - bits.len() % 8)));
    }
}

/// The next `count` bits that [`encode`] wrote.
pub(super) fn decode(reader: &mut Reader<'_>, count: usize) -> Result<BooleanBuffer, Corrupt> {
    match reader.u8()? {
        NONE => Ok(BooleanBuffer::new_unset(count)),
        ALL => Ok(BooleanBuffer::new_set(count)),
        BITMAP => {
            let bytes = reader.take(count.div_ceil(8))?;
            Ok(BooleanBuffer::new(Buffer::from(bytes), 0, count))
        }
        RUNS => decode_runs(reader, count),
        found => Err(Corrupt::Encoding { place: "bitset", found }),
    }
}

/// What an encoding is called.
pub(super) fn describe(bytes: &[u8]) -> String {
    let name = match bytes.first() {
        Some(&NONE) => "all false",
        Some(&ALL) => "all true",
        Some(&BITMAP) => "bitmap",
        Some(&RUNS) => "runs",
        _ => "unknown",
    };
    name.to_owned()
}

fn decode_runs(reader: &mut Reader<'_>, count: usize) -> Result<BooleanBuffer, Corrupt> {
    let runs = reader.varint_up_to(count.min(VECTOR_ROWS))?;
    let mut lengths = [0; VECTOR_ROWS];
    int::decode(reader, &mut lengths[..runs])?;
    let mut bits = MutableBuffer::from_len_zeroed(count.div_ceil(8));
    let (mut at, mut value) = (0_usize, false);
    for length in &lengths[..runs] {
        let end = usize::try_from(*length).ok().and_then(|length| at.checked_add(length)).filter(|end| *end <= count);
        let Some(end) = end else { return Err(reader.damaged("runs are longer than the vector")) };
        if value {
            for bit in at..end {
                bits[bit / 8] |= 1 << (bit % 8);
            }
        }
        (at, value) = (end, !value);
    }
    if at != count {
        return Err(reader.damaged("runs are shorter than the vector"));
    }
    Ok(BooleanBuffer::new(bits.into(), 0, count))
}
