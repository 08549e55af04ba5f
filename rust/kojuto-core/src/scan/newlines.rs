//! Counting line ends at the speed of memory.

use crate::scan::simd::{Level, Masks, dispatch};

/// The number of line feeds in `bytes`.
#[inline]
pub fn count(bytes: &[u8]) -> u64 {
    count_at(Level::best(), bytes)
}

dispatch! {
    fn count_at[](bytes: &[u8]) -> u64 = count_with
}

#[inline(always)]
fn count_with<M: Masks>(masks: M, bytes: &[u8]) -> u64 {
    let (blocks, rest) = bytes.as_chunks::<64>();
    let mut total = 0;
    // Four at a time spare a tenth of the time where the bytes are in a cache.
    let (fours, blocks) = blocks.as_chunks::<4>();
    for four in fours {
        for block in four {
            total += u64::from(masks.eq(masks.load(block), b'\n').count_ones());
        }
    }
    for block in blocks {
        total += u64::from(masks.eq(masks.load(block), b'\n').count_ones());
    }
    for &byte in rest {
        total += u64::from(byte == b'\n');
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nothing_but_newlines_is_counted_at_every_length() {
        for length in (0..=257).chain([100_000]) {
            for level in Level::all() {
                assert_eq!(count_at(level, &vec![b'\n'; length]), length as u64, "{level:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn every_level_counts_what_a_loop_counts(
            bytes in proptest::collection::vec(prop_oneof![Just(b'\n'), any::<u8>()], 0..2000),
            start in 0usize..64,
        ) {
            let bytes = &bytes[start.min(bytes.len())..];
            let expected = bytes.iter().filter(|&&b| b == b'\n').count() as u64;
            for level in Level::all() {
                prop_assert_eq!(count_at(level, bytes), expected);
            }
        }
    }
}
