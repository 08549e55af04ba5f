//! Counting line ends at the speed of memory.
//!
//! The instruction set is chosen when the program runs, so that one build serves every machine.

/// The number of line feeds in `bytes`.
#[inline]
pub fn count(bytes: &[u8]) -> u64 {
    #[cfg(target_arch = "x86_64")]
    {
        if std::arch::is_x86_feature_detected!("avx512bw") {
            // SAFETY: the processor has AVX-512 BW.
            return unsafe { x86::count_avx512(bytes) };
        }
        if std::arch::is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has AVX2.
            return unsafe { x86::count_avx2(bytes) };
        }
    }
    count_portably(bytes)
}

/// The same without special instructions: 255 bytes at a time fit a byte-wide sum, which the
/// compiler turns into whatever vectors the target has.
fn count_portably(bytes: &[u8]) -> u64 {
    bytes
        .chunks(192)
        .map(|chunk| u64::from(chunk.iter().fold(0u8, |sum, &byte| sum + u8::from(byte == b'\n'))))
        .sum()
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    /// SAFETY: the caller has made sure that the processor has AVX2.
    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn count_avx2(bytes: &[u8]) -> u64 {
        let newline = _mm256_set1_epi8(b'\n' as i8);
        let zero = _mm256_setzero_si256();
        let mut total = zero;
        let mut blocks = bytes.chunks_exact(32 * 4);
        // Each lane of `lanes` grows by at most 4 a round, so 60 rounds cannot overflow a byte.
        let mut lanes = zero;
        let mut rounds = 0;
        for block in &mut blocks {
            let at = block.as_ptr().cast::<__m256i>();
            // SAFETY: the block has 128 bytes; the loads need no alignment.
            let hits = unsafe {
                let a = _mm256_cmpeq_epi8(_mm256_loadu_si256(at), newline);
                let b = _mm256_cmpeq_epi8(_mm256_loadu_si256(at.add(1)), newline);
                let c = _mm256_cmpeq_epi8(_mm256_loadu_si256(at.add(2)), newline);
                let d = _mm256_cmpeq_epi8(_mm256_loadu_si256(at.add(3)), newline);
                _mm256_add_epi8(_mm256_add_epi8(a, b), _mm256_add_epi8(c, d))
            };
            lanes = _mm256_sub_epi8(lanes, hits);
            rounds += 1;
            if rounds == 60 {
                total = _mm256_add_epi64(total, _mm256_sad_epu8(lanes, zero));
                lanes = zero;
                rounds = 0;
            }
        }
        total = _mm256_add_epi64(total, _mm256_sad_epu8(lanes, zero));
        let mut parts = [0u64; 4];
        // SAFETY: `parts` has the 32 bytes that are written.
        unsafe { _mm256_storeu_si256(parts.as_mut_ptr().cast(), total) };
        parts.iter().sum::<u64>() + super::count_portably(blocks.remainder())
    }

    /// SAFETY: the caller has made sure that the processor has AVX-512 BW.
    #[target_feature(enable = "avx512bw,avx512f,popcnt")]
    pub(super) unsafe fn count_avx512(bytes: &[u8]) -> u64 {
        let newline = _mm512_set1_epi8(b'\n' as i8);
        let mut total = 0u64;
        let mut blocks = bytes.chunks_exact(64 * 4);
        for block in &mut blocks {
            let at = block.as_ptr().cast::<__m512i>();
            // SAFETY: the block has 256 bytes; the loads need no alignment.
            let (a, b, c, d) = unsafe {
                (
                    _mm512_cmpeq_epi8_mask(_mm512_loadu_si512(at), newline),
                    _mm512_cmpeq_epi8_mask(_mm512_loadu_si512(at.add(1)), newline),
                    _mm512_cmpeq_epi8_mask(_mm512_loadu_si512(at.add(2)), newline),
                    _mm512_cmpeq_epi8_mask(_mm512_loadu_si512(at.add(3)), newline),
                )
            };
            total += u64::from(a.count_ones() + b.count_ones());
            total += u64::from(c.count_ones() + d.count_ones());
        }
        total + super::count_portably(blocks.remainder())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_long_run_of_newlines_does_not_overflow_a_lane() {
        for length in [0, 1, 31, 32, 127, 128, 255, 256, 257, 32 * 4 * 60, 32 * 4 * 61 + 5, 100_000]
        {
            assert_eq!(count(&vec![b'\n'; length]), length as u64);
            assert_eq!(count_portably(&vec![b'\n'; length]), length as u64);
            #[cfg(target_arch = "x86_64")]
            if std::arch::is_x86_feature_detected!("avx2") {
                // SAFETY: just asked.
                assert_eq!(unsafe { x86::count_avx2(&vec![b'\n'; length]) }, length as u64);
            }
        }
    }

    proptest! {
        #[test]
        fn every_way_counts_what_a_loop_counts(
            bytes in proptest::collection::vec(prop_oneof![Just(b'\n'), any::<u8>()], 0..2000),
            start in 0usize..64,
        ) {
            let bytes = &bytes[start.min(bytes.len())..];
            let expected = bytes.iter().filter(|&&b| b == b'\n').count() as u64;
            prop_assert_eq!(count(bytes), expected);
            prop_assert_eq!(count_portably(bytes), expected);
            #[cfg(target_arch = "x86_64")]
            if std::arch::is_x86_feature_detected!("avx2") {
                // SAFETY: just asked.
                prop_assert_eq!(unsafe { x86::count_avx2(bytes) }, expected);
            }
        }
    }
}
