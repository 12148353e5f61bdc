//! Which vgroup a table belongs to.

/// The hash of a bare table name: MurmurHash3-32 with seed 0.
///
/// The database's name is no part of it, so that a restore under another name does not shard anew.
///
/// Written out, because every table of every batch passes here and the library's reads from a stream.
#[must_use]
pub fn table_hash(name: &str) -> u32 {
    let (blocks, rest) = name.as_bytes().as_chunks::<4>();
    let mix = |block: u32| block.wrapping_mul(0xcc9e_2d51).rotate_left(15).wrapping_mul(0x1b87_3593);
    let mut hash = 0_u32;
    for block in blocks {
        hash = (hash ^ mix(u32::from_le_bytes(*block))).rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64);
    }
    if !rest.is_empty() {
        hash ^= mix(rest.iter().rev().fold(0, |block, byte| block << 8 | u32::from(*byte)));
    }
    hash ^= name.len() as u32;
    hash = (hash ^ hash >> 16).wrapping_mul(0x85eb_ca6b);
    hash = (hash ^ hash >> 13).wrapping_mul(0xc2b2_ae35);
    hash ^ hash >> 16
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

    #[test]
    fn the_hash_is_the_one_of_the_library() {
        let text = "Übergröße_of_a_name.with/all kinds of bytes €";
        for end in (0..=text.len()).filter(|end| text.is_char_boundary(*end)) {
            for start in (0..=end).filter(|start| text.is_char_boundary(*start)) {
                let name = &text[start..end];
                let theirs = murmur3::murmur3_32(&mut name.as_bytes(), 0).expect("a slice can always be read");
                assert_eq!(super::table_hash(name), theirs, "{name}");
            }
        }
    }
}
