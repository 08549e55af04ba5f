//! Numbers out of a block of whole lines, the common short ones by vector instructions.
//!
//! What the fast way handles is a line of an optional minus sign and at most 16 digits and one
//! point (and a carriage return); everything else goes to the caller, line by line. On machines
//! without AVX2 every line goes the caller's way, with the same result.

use crate::scan::simd::Level;

/// Reads `block`, which must end in a newline. `slowly` gets the index of the line in the block
/// and the line without its newline, and answers its number or nothing. The numbers are appended
/// in the order of the lines; the answer is how many lines there were.
pub(crate) fn parse(
    block: &[u8],
    numbers: &mut Vec<f64>,
    slowly: impl FnMut(u64, &[u8]) -> Option<f64>,
) -> u64 {
    parse_at(Level::best(), block, numbers, slowly)
}

fn parse_at(
    #[cfg_attr(not(target_arch = "x86_64"), allow(unused_variables))] level: Level,
    block: &[u8],
    numbers: &mut Vec<f64>,
    slowly: impl FnMut(u64, &[u8]) -> Option<f64>,
) -> u64 {
    debug_assert!(block.last().is_none_or(|&byte| byte == b'\n'));
    #[cfg(target_arch = "x86_64")]
    if level.avx2().is_some() {
        // SAFETY: the level proves that the processor has AVX2 and BMI.
        return unsafe { avx2::parse(block, numbers, slowly) };
    }
    parse_one_by_one(block, numbers, slowly)
}

fn parse_one_by_one(
    block: &[u8],
    numbers: &mut Vec<f64>,
    mut slowly: impl FnMut(u64, &[u8]) -> Option<f64>,
) -> u64 {
    let mut count = 0;
    for line in block.split_inclusive(|&byte| byte == b'\n') {
        numbers.extend(slowly(count, line.strip_suffix(b"\n").unwrap_or(line)));
        count += 1;
    }
    count
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::*;

    /// How much is searched for newlines before their lines are read.
    const WINDOW: usize = 8192;

    /// 16 zeros, then 16 bytes of ones: from offset n on, the last n of 16 bytes are ones.
    static LAST: [u8; 32] = {
        let mut table = [0; 32];
        let mut at = 16;
        while at < 32 {
            table[at] = 0xff;
            at += 1;
        }
        table
    };

    /// For each place of the point: moves the bytes before it up by one, over it.
    static CLOSE: [[u8; 16]; 16] = {
        let mut table = [[0x80; 16]; 16];
        let mut point = 0;
        while point < 16 {
            let mut at = 1;
            while at < 16 {
                table[point][at] = if at <= point { at - 1 } else { at } as u8;
                at += 1;
            }
            point += 1;
        }
        table
    };

    const POWERS: [f64; 16] =
        [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];

    #[target_feature(enable = "avx2,bmi1")]
    pub(super) fn parse(
        block: &[u8],
        numbers: &mut Vec<f64>,
        mut slowly: impl FnMut(u64, &[u8]) -> Option<f64>,
    ) -> u64 {
        let mut ends = [0u32; WINDOW + 16];
        let mut lines = 0;
        let mut start = 0;
        for base in (0..block.len()).step_by(WINDOW) {
            let window = &block[base..block.len().min(base + WINDOW)];
            let found = newlines(window, &mut ends);
            numbers.reserve(found);
            for &end in &ends[..found] {
                let end = base + end as usize;
                if let Some(number) = short_number(block, start, end) {
                    numbers.push(number);
                } else {
                    numbers.extend(slowly(lines, &block[start..end]));
                }
                lines += 1;
                start = end + 1;
            }
        }
        lines
    }

    /// Writes the places of the newlines of `window` and answers how many there are.
    #[inline]
    #[target_feature(enable = "avx2,bmi1")]
    fn newlines(window: &[u8], ends: &mut [u32; WINDOW + 16]) -> usize {
        let mut found = 0;
        let newline = _mm256_set1_epi8(b'\n' as i8);
        let (pieces, rest) = window.as_chunks::<64>();
        for (index, piece) in pieces.iter().enumerate() {
            let (low, high) = piece.split_at(32);
            // SAFETY: both halves are 32 bytes.
            let (low, high) = unsafe {
                (_mm256_loadu_si256(low.as_ptr().cast()), _mm256_loadu_si256(high.as_ptr().cast()))
            };
            let low = _mm256_movemask_epi8(_mm256_cmpeq_epi8(low, newline)) as u32;
            let high = _mm256_movemask_epi8(_mm256_cmpeq_epi8(high, newline)) as u32;
            let mut mask = u64::from(low) | u64::from(high) << 32;
            let base = (index * 64) as u32;
            let next = found + mask.count_ones() as usize;
            // Always 12 at once: how many there are is hard to foretell, and a wrong guess costs
            // more than some writes that the next piece overwrites.
            for place in &mut ends[found..found + 12] {
                *place = base + mask.trailing_zeros();
                mask &= mask.wrapping_sub(1);
            }
            found += 12;
            while mask != 0 {
                ends[found] = base + mask.trailing_zeros();
                mask &= mask - 1;
                found += 1;
            }
            found = next;
        }
        let base = pieces.len() * 64;
        for (at, &byte) in rest.iter().enumerate() {
            if byte == b'\n' {
                ends[found] = (base + at) as u32;
                found += 1;
            }
        }
        found
    }

    /// The number of the line from `start` to `end`, when it is of the common kind.
    #[inline]
    #[target_feature(enable = "avx2,bmi1")]
    fn short_number(block: &[u8], start: usize, end: usize) -> Option<f64> {
        if end < 17 {
            return None; // the load below reaches back 16 bytes
        }
        let end = end - usize::from(block[end - 1] == b'\r');
        let negative = block[start] == b'-';
        let start = start + usize::from(negative);
        let length = end.wrapping_sub(start);
        if length.wrapping_sub(1) >= 16 {
            return None;
        }
        let text = &block[end - 16..end];
        let keep = &LAST[length..length + 16];
        // SAFETY: `text` and `keep` are 16 bytes.
        let (text, keep) = unsafe {
            (_mm_loadu_si128(text.as_ptr().cast()), _mm_loadu_si128(keep.as_ptr().cast()))
        };
        // What stands before the line counts as leading zeros.
        let mut digits = _mm_and_si128(_mm_sub_epi8(text, _mm_set1_epi8(b'0' as i8)), keep);
        let small = _mm_cmpeq_epi8(_mm_min_epu8(digits, _mm_set1_epi8(9)), digits);
        let others = !_mm_movemask_epi8(small) as u32 & 0xffff;
        let mut fraction = 0;
        if others != 0 {
            let point = others.trailing_zeros() as usize;
            if others & (others - 1) != 0 || block[end - 16 + point] != b'.' || length == 1 {
                return None;
            }
            fraction = 15 - point;
            // SAFETY: each row is 16 bytes.
            let close = unsafe { _mm_loadu_si128(CLOSE[point].as_ptr().cast()) };
            digits = _mm_shuffle_epi8(digits, close);
        }
        // Pairs, fours and eights of digits, the most significant first.
        let ten = _mm_set1_epi16(1 << 8 | 10);
        let hundred = _mm_set1_epi32(1 << 16 | 100);
        let ten_thousand = _mm_set1_epi32(1 << 16 | 10_000);
        let pairs = _mm_maddubs_epi16(digits, ten);
        let fours = _mm_madd_epi16(pairs, hundred);
        let eights = _mm_madd_epi16(_mm_packus_epi32(fours, fours), ten_thousand);
        let both = _mm_cvtsi128_si64(eights) as u64;
        let mantissa = (both & 0xffff_ffff) * 100_000_000 + (both >> 32);
        if mantissa > 1 << 53 {
            return None; // not exact in a double
        }
        let value = mantissa as i64 as f64 / POWERS[fraction];
        Some(if negative { -value } else { value })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::number::parse_f64;
    use proptest::prelude::*;

    /// What [`parse`] finds, the same at every level, and what the plain way does.
    fn both(block: &[u8]) -> [(Vec<u64>, u64); 2] {
        let slowly = |_: u64, line: &[u8]| parse_f64(line.strip_suffix(b"\r").unwrap_or(line));
        let bits = |numbers: Vec<f64>| numbers.into_iter().map(f64::to_bits).collect();
        let at = |level: Level| {
            let mut numbers = Vec::new();
            let lines = parse_at(level, block, &mut numbers, slowly);
            (bits(numbers), lines)
        };
        let fast = at(Level::best());
        for level in Level::all() {
            assert_eq!(at(level), fast, "{level:?}");
        }
        let mut slow = Vec::new();
        let lines = parse_one_by_one(block, &mut slow, slowly);
        [fast, (bits(slow), lines)]
    }

    #[test]
    fn the_corners_of_the_fast_way() {
        let texts = [
            "0",
            "-0",
            "9007199254740992",
            "9007199254740993",
            "9999999999999999",
            "-1",
            "--1",
            ".",
            "-.",
            "-",
            ".5",
            "5.",
            "-5.",
            "1.2.3",
            "123456789012.456",
            "1234567890123.456",
            "1,5",
            "0.00000000000001",
            "/",
            ":",
            "1\r",
            "\r",
            "-\r",
            "1\r\r",
            "",
            "1 ",
            "\u{ff10}",
            "1e5",
        ];
        for text in texts {
            let [fast, slow] = both(format!("0123456789012345678\n{text}\n{text}\n7\n").as_bytes());
            assert_eq!(fast, slow, "{text:?}");
        }
    }

    #[test]
    fn lines_across_windows_and_newlines_without_end() {
        let mut block = b"0.25\n-3\n".repeat(5000);
        block.extend([b'\n'; 20_000]);
        block.extend(b"123456.789\n".repeat(3000));
        let [fast, slow] = both(&block);
        assert_eq!(fast, slow);
        assert_eq!((fast.0.len(), fast.1), (13_000, 33_000));
    }

    proptest! {
        #[test]
        fn both_ways_agree(
            lines in proptest::collection::vec("-?[0-9]{0,17}\\.?[0-9]{0,9}\r?|[-0-9.]{0,18}", 1..100),
        ) {
            let [fast, slow] = both((lines.join("\n") + "\n").as_bytes());
            prop_assert_eq!(fast, slow);
        }
    }
}
