//! Looking for bytes 64 at a time, at the level that the caller found once.

use crate::scan::simd::{Masks, dispatch};

/// What every delivery line carries just before its numbers.
pub(super) const MARKER: &[u8; 8] = b", delay=";

/// Bytes that are compared in one step.
const WIDTH: usize = 64;

dispatch! {
    /// Where the first [`MARKER`] at or after `from` starts.
    pub(super) fn marker[](bytes: &[u8], from: usize) -> Option<usize> = marker_with
}

dispatch! {
    /// The first `byte` in `from..end`.
    pub(super) fn find[](bytes: &[u8], from: usize, end: usize, byte: u8) -> Option<usize>
        = find_with
}

dispatch! {
    /// The first place in `from..end` where both bytes of `pair` stand.
    pub(super) fn find_pair[](bytes: &[u8], from: usize, end: usize, pair: [u8; 2]) -> Option<usize>
        = find_pair_with
}

dispatch! {
    /// The last `byte` in `low..high`.
    pub(super) fn rfind[](bytes: &[u8], low: usize, high: usize, byte: u8) -> Option<usize>
        = rfind_with
}

dispatch! {
    /// The beginning `… NAME[PID]: ` of a line at `start`, when it is no longer than one step and
    /// ends before `end`: where the name starts and ends, and where the colon is.
    pub(super) fn head[](bytes: &[u8], start: usize, end: usize) -> Option<(usize, usize, usize)>
        = head_with
}

/// Bit `i` says whether `bytes[at + i]` is `byte`.
#[inline(always)]
fn equal<M: Masks>(masks: M, bytes: &[u8], at: usize, byte: u8) -> u64 {
    let chunk = bytes[at..at + WIDTH].first_chunk().expect("the slice is of that length");
    masks.eq(masks.load(chunk), byte)
}

#[inline(always)]
fn marker_with<M: Masks>(masks: M, bytes: &[u8], from: usize) -> Option<usize> {
    // "y=", the end of the marker, is rare in mail logs, so hardly a step stops for nothing.
    const Y: usize = 6;
    let mut at = from;
    while at + Y + 1 + WIDTH <= bytes.len() {
        let mut hits = equal(masks, bytes, at + Y, b'y') & equal(masks, bytes, at + Y + 1, b'=');
        while hits != 0 {
            let start = at + hits.trailing_zeros() as usize;
            if bytes[start..start + MARKER.len()] == *MARKER {
                return Some(start);
            }
            hits &= hits - 1;
        }
        at += WIDTH;
    }
    let tail = bytes.get(at..)?;
    tail.windows(MARKER.len()).position(|window| window == MARKER).map(|found| at + found)
}

#[inline(always)]
fn find_with<M: Masks>(masks: M, bytes: &[u8], from: usize, end: usize, byte: u8) -> Option<usize> {
    let mut at = from;
    while at < end && at + WIDTH <= bytes.len() {
        let hits = equal(masks, bytes, at, byte);
        if hits != 0 {
            let found = at + hits.trailing_zeros() as usize;
            return (found < end).then_some(found);
        }
        at += WIDTH;
    }
    let found = bytes.get(at..end)?.iter().position(|&b| b == byte)?;
    Some(at + found)
}

#[inline(always)]
fn find_pair_with<M: Masks>(
    masks: M,
    bytes: &[u8],
    from: usize,
    end: usize,
    pair: [u8; 2],
) -> Option<usize> {
    let mut at = from;
    while at + 1 < end && at + 1 + WIDTH <= bytes.len() {
        let hits = equal(masks, bytes, at, pair[0]) & equal(masks, bytes, at + 1, pair[1]);
        if hits != 0 {
            let found = at + hits.trailing_zeros() as usize;
            return (found + 1 < end).then_some(found);
        }
        at += WIDTH;
    }
    let found = bytes.get(at..end)?.windows(2).position(|window| window == pair)?;
    Some(at + found)
}

#[inline(always)]
fn rfind_with<M: Masks>(
    masks: M,
    bytes: &[u8],
    low: usize,
    high: usize,
    byte: u8,
) -> Option<usize> {
    let mut end = high;
    while end > low && end >= WIDTH {
        let hits = equal(masks, bytes, end - WIDTH, byte);
        if hits != 0 {
            let found = end - 1 - hits.leading_zeros() as usize;
            return (found >= low).then_some(found);
        }
        end -= WIDTH;
    }
    let found = bytes.get(low..end)?.iter().rposition(|&b| b == byte)?;
    Some(low + found)
}

#[inline(always)]
fn head_with<M: Masks>(
    masks: M,
    bytes: &[u8],
    start: usize,
    end: usize,
) -> Option<(usize, usize, usize)> {
    if start + WIDTH >= bytes.len() {
        return None;
    }
    let spaces = equal(masks, bytes, start, b' ');
    let next_is_space = equal(masks, bytes, start + 1, b' ');
    let colons = equal(masks, bytes, start, b':') & next_is_space;
    let colon = colons.trailing_zeros();
    let before = |at: u32| !(!0u64 << at);
    let brackets = if colons == 0 { 0 } else { equal(masks, bytes, start, b'[') & before(colon) };
    if brackets == 0 {
        return None;
    }
    let name_end = 63 - brackets.leading_zeros();
    let spaces = spaces & before(name_end);
    let name = 64 - spaces.leading_zeros();
    let (name, name_end) = (start + name as usize, start + name_end as usize);
    let colon = start + colon as usize;
    let pid = bytes[name_end + 1..colon].strip_suffix(b"]")?;
    let fits = spaces != 0 && name < name_end && colon + 1 < end && !pid.is_empty();
    (fits && pid.iter().all(u8::is_ascii_digit)).then_some((name, name_end, colon))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::simd::Level;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_level_finds_what_a_plain_search_finds(
            parts in proptest::collection::vec(
                prop_oneof![
                    Just(b", delay=".to_vec()),
                    Just(b"y=".to_vec()),
                    Just(b", delay".to_vec()),
                    proptest::collection::vec(prop_oneof![Just(b'y'), Just(b' '), any::<u8>()], 0..90),
                ],
                0..12,
            ),
            a in any::<u16>(), b in any::<u16>(), byte in any::<u8>(),
        ) {
            let bytes = parts.concat();
            let (low, high) = (usize::from(a.min(b)), usize::from(a.max(b)));
            let (low, high) = (low % (bytes.len() + 1), high % (bytes.len() + 1));
            let (low, high) = (low.min(high), low.max(high));
            let part = &bytes[low..high];
            for level in Level::all() {
                let found = bytes[low..].windows(8).position(|w| w == MARKER).map(|p| low + p);
                prop_assert_eq!(marker(level, &bytes, low), found);
                for wanted in [byte, b'y', b' '] {
                    let found = part.iter().position(|&b| b == wanted).map(|p| low + p);
                    prop_assert_eq!(find(level, &bytes, low, high, wanted), found);
                    let found = part.iter().rposition(|&b| b == wanted).map(|p| low + p);
                    prop_assert_eq!(rfind(level, &bytes, low, high, wanted), found);
                }
                let found = part.windows(2).position(|w| w == b"y=").map(|p| low + p);
                prop_assert_eq!(find_pair(level, &bytes, low, high, *b"y="), found);
            }
        }
    }
}
