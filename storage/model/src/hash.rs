//! Which vgroup a table belongs to.

/// The hash of a bare table name: MurmurHash3-32 with seed 0.
///
/// The database's name is no part of it, so that a restore under another name does not shard anew.
///
/// # Panics
///
/// Never: reading from a slice does not fail.
#[must_use]
pub fn table_hash(name: &str) -> u32 {
    let mut bytes = name.as_bytes();
    murmur3::murmur3_32(&mut bytes, 0).expect("a slice can always be read")
}

/// Cuts the hash space into `shards` contiguous ranges of nearly equal size, as (first, last).
#[must_use]
pub fn hash_ranges(shards: u32) -> Vec<(u32, u32)> {
    let shards = u64::from(shards);
    let space = 1_u64 << 32;
    (0..shards).map(|i| ((space * i / shards) as u32, (space * (i + 1) / shards - 1) as u32)).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn ranges_cover_the_space_without_gaps() {
        for shards in [1, 2, 3, 7, 1024] {
            let ranges = super::hash_ranges(shards);
            assert_eq!(ranges[0].0, 0);
            assert_eq!(ranges.last().expect("at least one").1, u32::MAX);
            assert!(ranges.windows(2).all(|pair| pair[0].1 + 1 == pair[1].0));
        }
    }

    #[test]
    fn the_hash_never_changes() {
        assert_eq!(super::table_hash(""), 0);
        assert_eq!(super::table_hash("etth1"), 3_873_162_757);
    }
}
