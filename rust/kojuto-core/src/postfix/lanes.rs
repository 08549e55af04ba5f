//! Looking for bytes 64 at a time, with the instruction set that [`crate::simd`] finds here.

use crate::simd::Masks;
#[cfg(any(test, not(target_arch = "x86_64")))]
use crate::simd::Portable;
#[cfg(target_arch = "x86_64")]
use crate::simd::x86;

/// What every delivery line carries just before its numbers.
pub(super) const MARKER: &[u8; 8] = b", delay=";

/// Bytes that are compared in one step.
const WIDTH: usize = 64;

/// How a step is done; made once, so that a search does not ask again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Sse2,
    #[cfg(any(test, not(target_arch = "x86_64")))]
    Portable,
}

/// Bit `i` says whether `bytes[at + i]` is `byte`.
#[inline(always)]
fn equal<M: Masks>(bytes: &[u8], at: usize, byte: u8) -> u64 {
    let chunk = bytes[at..at + WIDTH].first_chunk().expect("the slice is of that length");
    M::eq(M::load(chunk), byte)
}

#[inline(always)]
fn marker<M: Masks>(bytes: &[u8], from: usize) -> Option<usize> {
    // "y=", the end of the marker, is rare in mail logs, so hardly a step stops for nothing.
    const Y: usize = 6;
    let mut at = from;
    while at + Y + 1 + WIDTH <= bytes.len() {
        let mut hits = equal::<M>(bytes, at + Y, b'y') & equal::<M>(bytes, at + Y + 1, b'=');
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
fn find<M: Masks>(bytes: &[u8], from: usize, end: usize, byte: u8) -> Option<usize> {
    let mut at = from;
    while at < end && at + WIDTH <= bytes.len() {
        let hits = equal::<M>(bytes, at, byte);
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
fn find_pair<M: Masks>(bytes: &[u8], from: usize, end: usize, pair: [u8; 2]) -> Option<usize> {
    let mut at = from;
    while at + 1 < end && at + 1 + WIDTH <= bytes.len() {
        let hits = equal::<M>(bytes, at, pair[0]) & equal::<M>(bytes, at + 1, pair[1]);
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
fn rfind<M: Masks>(bytes: &[u8], low: usize, high: usize, byte: u8) -> Option<usize> {
    let mut end = high;
    while end > low && end >= WIDTH {
        let hits = equal::<M>(bytes, end - WIDTH, byte);
        if hits != 0 {
            let found = end - 1 - hits.leading_zeros() as usize;
            return (found >= low).then_some(found);
        }
        end -= WIDTH;
    }
    let found = bytes.get(low..end)?.iter().rposition(|&b| b == byte)?;
    Some(low + found)
}

/// The beginning `… NAME[PID]: ` of a line at `start`, when it is no longer than one step and ends
/// before `end`: where the name starts and ends, and where the colon is.
#[inline(always)]
fn head<M: Masks>(bytes: &[u8], start: usize, end: usize) -> Option<(usize, usize, usize)> {
    if start + WIDTH >= bytes.len() {
        return None;
    }
    let spaces = equal::<M>(bytes, start, b' ');
    let next_is_space = equal::<M>(bytes, start + 1, b' ');
    let colons = equal::<M>(bytes, start, b':') & next_is_space;
    let colon = colons.trailing_zeros();
    let before = |at: u32| !(!0u64 << at);
    let brackets = if colons == 0 { 0 } else { equal::<M>(bytes, start, b'[') & before(colon) };
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

#[cfg(target_arch = "x86_64")]
macro_rules! compiled_for {
    ($module:ident, $features:literal, $masks:ty) => {
        mod $module {
            #[target_feature(enable = $features)]
            pub(super) fn marker(bytes: &[u8], from: usize) -> Option<usize> {
                super::marker::<$masks>(bytes, from)
            }
            #[target_feature(enable = $features)]
            pub(super) fn find(bytes: &[u8], from: usize, end: usize, byte: u8) -> Option<usize> {
                super::find::<$masks>(bytes, from, end, byte)
            }
            #[target_feature(enable = $features)]
            pub(super) fn find_pair(
                bytes: &[u8],
                from: usize,
                end: usize,
                pair: [u8; 2],
            ) -> Option<usize> {
                super::find_pair::<$masks>(bytes, from, end, pair)
            }
            #[target_feature(enable = $features)]
            pub(super) fn head(
                bytes: &[u8],
                start: usize,
                end: usize,
            ) -> Option<(usize, usize, usize)> {
                super::head::<$masks>(bytes, start, end)
            }
            #[target_feature(enable = $features)]
            pub(super) fn rfind(bytes: &[u8], low: usize, high: usize, byte: u8) -> Option<usize> {
                super::rfind::<$masks>(bytes, low, high, byte)
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
compiled_for!(
    avx512,
    "avx512f,avx512bw,avx2,bmi1,bmi2,popcnt,lzcnt,pclmulqdq",
    crate::simd::x86::Avx512
);
#[cfg(target_arch = "x86_64")]
compiled_for!(avx2, "avx2,bmi1,bmi2,popcnt,lzcnt,pclmulqdq", crate::simd::x86::Avx2);

macro_rules! on {
    ($level:expr, $name:ident, $($argument:expr),*) => {
        match $level {
            // SAFETY: `available` makes a level only when the processor has its features.
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => unsafe { avx512::$name($($argument),*) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => unsafe { avx2::$name($($argument),*) },
            #[cfg(target_arch = "x86_64")]
            Level::Sse2 => $name::<x86::Sse2>($($argument),*),
            #[cfg(any(test, not(target_arch = "x86_64")))]
            Level::Portable => $name::<Portable>($($argument),*),
        }
    };
}

impl Level {
    /// The levels that this machine can do, the fastest first.
    pub(super) fn available() -> Vec<Level> {
        let mut levels = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            let best = x86::level();
            if best == x86::Level::Avx512 {
                levels.push(Level::Avx512);
            }
            if best != x86::Level::Sse2 {
                levels.push(Level::Avx2);
            }
            levels.push(Level::Sse2);
        }
        #[cfg(any(test, not(target_arch = "x86_64")))]
        levels.push(Level::Portable);
        levels
    }

    /// Where the first [`MARKER`] at or after `from` starts.
    #[inline]
    pub(super) fn marker(self, bytes: &[u8], from: usize) -> Option<usize> {
        on!(self, marker, bytes, from)
    }

    /// The first `byte` in `from..end`.
    #[inline]
    pub(super) fn find(self, bytes: &[u8], from: usize, end: usize, byte: u8) -> Option<usize> {
        on!(self, find, bytes, from, end, byte)
    }

    /// The first place in `from..end` where both bytes of `pair` stand.
    #[inline]
    pub(super) fn find_pair(
        self,
        bytes: &[u8],
        from: usize,
        end: usize,
        pair: [u8; 2],
    ) -> Option<usize> {
        on!(self, find_pair, bytes, from, end, pair)
    }

    /// The beginning `… NAME[PID]: ` of a line at `start`, if it is short and ends before `end`:
    /// where the name starts and ends, and where the colon is.
    #[inline]
    pub(super) fn head(
        self,
        bytes: &[u8],
        start: usize,
        end: usize,
    ) -> Option<(usize, usize, usize)> {
        on!(self, head, bytes, start, end)
    }

    /// The last `byte` in `low..high`.
    #[inline]
    pub(super) fn rfind(self, bytes: &[u8], low: usize, high: usize, byte: u8) -> Option<usize> {
        on!(self, rfind, bytes, low, high, byte)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
            for level in Level::available() {
                let found = bytes[low..].windows(8).position(|w| w == MARKER).map(|p| low + p);
                prop_assert_eq!(level.marker(&bytes, low), found);
                for wanted in [byte, b'y', b' '] {
                    let found = part.iter().position(|&b| b == wanted).map(|p| low + p);
                    prop_assert_eq!(level.find(&bytes, low, high, wanted), found);
                    let found = part.iter().rposition(|&b| b == wanted).map(|p| low + p);
                    prop_assert_eq!(level.rfind(&bytes, low, high, wanted), found);
                }
                let found = part.windows(2).position(|w| w == b"y=").map(|p| low + p);
                prop_assert_eq!(level.find_pair(&bytes, low, high, *b"y="), found);
            }
        }
    }
}
