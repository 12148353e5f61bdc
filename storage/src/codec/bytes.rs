//! A cursor over untrusted bytes, and the variable-length integers that all our formats use.

use crate::codec::Corrupt;

/// Reads from the front of a slice; past its end is [`Corrupt`].
#[derive(Clone, Debug)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    place: &'static str,
}

impl<'a> Reader<'a> {
    /// A reader of `bytes` that blames `place`.
    pub(crate) const fn new(bytes: &'a [u8], place: &'static str) -> Self {
        Self { bytes, place }
    }

    /// The error that `what` does not hold here.
    pub(crate) const fn damaged(&self, what: &'static str) -> Corrupt {
        Corrupt::damaged(self.place, what)
    }

    /// What is left.
    pub(crate) const fn rest(&self) -> &'a [u8] {
        self.bytes
    }

    /// The next `count` bytes.
    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], Corrupt> {
        match self.bytes.split_at_checked(count) {
            Some((taken, rest)) => {
                self.bytes = rest;
                Ok(taken)
            }
            None => Err(self.damaged("it ends early")),
        }
    }

    /// The next `N` bytes.
    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Corrupt> {
        match self.bytes.split_first_chunk::<N>() {
            Some((taken, rest)) => {
                self.bytes = rest;
                Ok(*taken)
            }
            None => Err(self.damaged("it ends early")),
        }
    }

    /// The next byte.
    pub(crate) fn u8(&mut self) -> Result<u8, Corrupt> {
        Ok(self.array::<1>()?[0])
    }

    /// An unsigned integer of 1 to 10 bytes, low bits first, 7 to a byte.
    pub(crate) fn varint(&mut self) -> Result<u64, Corrupt> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let low = u64::from(byte & 0x7f);
            if shift == 63 && low > 1 {
                break;
            }
            value |= low << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(self.damaged("a number is longer than 64 bits"))
    }

    /// A signed integer, small in bytes if it is near zero.
    pub(crate) fn zigzag(&mut self) -> Result<i64, Corrupt> {
        self.varint().map(unzigzag)
    }

    /// A varint that is at most `max`.
    pub(crate) fn varint_up_to(&mut self, max: usize) -> Result<usize, Corrupt> {
        match usize::try_from(self.varint()?) {
            Ok(value) if value <= max => Ok(value),
            _ => Err(self.damaged("a number is out of range")),
        }
    }

    /// Fails unless everything was read.
    pub(crate) const fn end(&self) -> Result<(), Corrupt> {
        if self.bytes.is_empty() { Ok(()) } else { Err(self.damaged("it has bytes after its end")) }
    }
}

/// Writes what [`Reader::varint`] reads.
pub(crate) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Writes what [`Reader::zigzag`] reads.
pub(crate) fn put_zigzag(out: &mut Vec<u8>, value: i64) {
    put_varint(out, zigzag(value));
}

/// Interleaves negative and positive integers: 0, -1, 1, -2 become 0, 1, 2, 3.
#[inline]
pub(crate) const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// The inverse of [`zigzag`].
#[inline]
pub(crate) const fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}
