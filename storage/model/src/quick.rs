//! A hasher for the maps that every row passes: names to series, sids to series, names inside a batch.
//!
//! The standard library's SipHash takes some twenty nanoseconds for a name of ten bytes; this one takes two. Clients
//! choose names, so it is keyed: each process draws a seed that nobody can see from outside. Nothing may depend on the
//! order of a map's entries, as with the standard hasher.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::OnceLock;

/// A map for hot ways.
pub type QuickMap<K, V> = HashMap<K, V, QuickState>;

/// Makes [`QuickHasher`]s; all of one process have one seed.
#[derive(Clone, Copy, Debug)]
pub struct QuickState {
    seed: u64,
}

impl Default for QuickState {
    fn default() -> Self {
        static SEED: OnceLock<u64> = OnceLock::new();
        Self { seed: *SEED.get_or_init(|| RandomState::new().hash_one(0_u8)) }
    }
}

impl BuildHasher for QuickState {
    type Hasher = QuickHasher;

    fn build_hasher(&self) -> QuickHasher {
        QuickHasher { state: self.seed, seed: self.seed }
    }
}

/// Folds 16 bytes at a time by one wide multiplication, as wyhash and foldhash do.
#[derive(Clone, Copy, Debug)]
pub struct QuickHasher {
    state: u64,
    seed: u64,
}

/// Odd, with no pattern: the golden ratio's and pi's first bits.
const LENGTH_KEY: u64 = 0x9e37_79b9_7f4a_7c15;
const NUMBER_KEY: u64 = 0x243f_6a88_85a3_08d3;

/// Both halves of the product, so that every bit of either factor reaches every bit of the result.
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

fn word(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

fn half(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |bytes| u32::from_le_bytes(*bytes).into())
}

impl Hasher for QuickHasher {
    fn finish(&self) -> u64 {
        self.state
    }

    fn write(&mut self, bytes: &[u8]) {
        let length = bytes.len();
        let mut state = self.state ^ (length as u64).wrapping_mul(LENGTH_KEY);
        let mut at = 0;
        while length - at > 16 {
            state = fold(word(bytes, at) ^ state, word(bytes, at + 8) ^ self.seed);
            at += 16;
        }
        // The last 16 bytes, or what there is: long ones overlap what was taken already.
        let (low, high) = match length - at {
            0 => (0, 0),
            1..=3 => {
                let (first, middle, last) = (bytes[at], bytes[at + (length - at) / 2], bytes[length - 1]);
                (u64::from(first) | u64::from(middle) << 8, u64::from(last))
            }
            4..=7 => (half(bytes, at), half(bytes, length - 4)),
            _ => (word(bytes, at), word(bytes, length - 8)),
        };
        self.state = fold(low ^ state, high ^ self.seed ^ LENGTH_KEY);
    }

    fn write_u8(&mut self, number: u8) {
        self.write_u64(number.into());
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(number.into());
    }

    fn write_u64(&mut self, number: u64) {
        self.state = fold(self.state ^ number, self.seed ^ NUMBER_KEY);
    }

    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_byte_of_a_name_counts() {
        let state = QuickState::default();
        let mut hashes = HashSet::new();
        let mut names = 0;
        for length in 0..40 {
            let name = vec![b'a'; length];
            assert!(hashes.insert(state.hash_one(&name)));
            names += 1;
            for at in 0..length {
                for byte in [b'b', b'A', 0, 0xff] {
                    let mut other = name.clone();
                    other[at] = byte;
                    assert!(hashes.insert(state.hash_one(&other)), "{length} {at} {byte}");
                    names += 1;
                }
            }
        }
        assert_eq!(hashes.len(), names);
    }

    #[test]
    fn names_in_a_row_spread_over_all_bits() {
        let state = QuickState::default();
        let mut low = vec![0_u32; 1024];
        let mut high = vec![0_u32; 128];
        for number in 0..100_000 {
            let hash = state.hash_one(format!("host_{number}").as_str());
            low[hash as usize % 1024] += 1;
            high[(hash >> 57) as usize] += 1;
        }
        assert!(low.iter().all(|count| (40..200).contains(count)), "{low:?}");
        assert!(high.iter().all(|count| (600..1000).contains(count)), "{high:?}");
        let sids: HashSet<u64> = (0..100_000_u32).map(|sid| state.hash_one(sid) >> 32).collect();
        assert!(sids.len() > 99_000, "{}", sids.len());
    }
}
