//! 64 bytes at a time: which of them equal a given byte, as a bit mask.
//!
//! A scanner is written once, generic over [`Masks`], and `#[inline(always)]`; [`dispatch!`] wraps
//! it in one function per instruction set, and the [`Level`] that the caller hands over says which
//! of them runs. A scanner must not put its work into a closure: a closure is a function of its
//! own, without the instruction set, and every comparison in it becomes a call.
//!
//! A value of a type that implements [`Masks`] is the proof that the processor has what the type
//! stands for: only [`Level::best`] makes one, after asking the processor. It is of no size and
//! costs nothing to hand on. AVX-512BW and AVX2 are used where the processor has them, else what
//! the target always has (SSE2 on x86-64, NEON on AArch64, plain words elsewhere). A build with
//! `--cfg kojuto_portable` has plain words alone: what the others are compared with.

#[cfg(target_arch = "aarch64")]
mod neon;
mod places;
#[cfg(any(test, kojuto_portable, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
mod portable;
#[cfg(target_arch = "x86_64")]
pub(crate) mod x86;

#[cfg(target_arch = "aarch64")]
use neon::Neon;
#[cfg(all(target_arch = "aarch64", not(kojuto_portable)))]
use neon::first_of_three;
pub(crate) use places::{Places, STRIPE_BYTES, stripes};
#[cfg(any(test, kojuto_portable, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
use portable::Portable;
#[cfg(all(target_arch = "x86_64", not(kojuto_portable)))]
pub(crate) use x86::bring_near;
#[cfg(all(target_arch = "x86_64", not(kojuto_portable)))]
use x86::first_of_three;
#[cfg(target_arch = "x86_64")]
use x86::{Avx2, Avx512, Sse2, Vbmi2};

/// A way to compare 64 bytes with one byte.
pub(crate) trait Masks: Copy {
    /// The 64 bytes in registers.
    type Block: Copy;

    /// Loads 64 bytes.
    fn load(self, bytes: &[u8; 64]) -> Self::Block;

    /// Bit `i` is set when byte `i` equals `byte`.
    fn eq(self, block: Self::Block, byte: u8) -> u64;

    /// Bit `i` is set when byte `i` is one of `[]{}`, and also when it is one of `Y_y` or DEL:
    /// the bytes that are 0x7f once the bits 0x26 are set. One comparison finds them, and what
    /// JSON has outside of its strings are only the brackets.
    fn brackets(self, block: Self::Block) -> u64;

    /// Bit `i` is set when byte `i` is one of `[\]{|}`: six bytes in two rows, which one
    /// comparison finds. What is none of them in a line is plain.
    fn odd(self, block: Self::Block) -> u64;

    /// Bit `i` of the answer is the parity of bits 0 to `i`.
    #[inline(always)]
    fn prefix_xor(self, bits: u64) -> u64 {
        let mut x = bits;
        x ^= x << 1;
        x ^= x << 2;
        x ^= x << 4;
        x ^= x << 8;
        x ^= x << 16;
        x ^ (x << 32)
    }

    /// Writes the bytes whose bit is set in `keep` one behind the other, a tab and a blank in the
    /// place of others; what is behind them in `out` is worth nothing.
    #[inline(always)]
    fn squeeze(self, bytes: &[u8; 64], keep: u64, blanks: Blanks, out: &mut [u8; 64]) {
        let bytes = &blanks.put_into(bytes);
        let mut at = 0;
        let mut bits = keep;
        for &byte in bytes {
            out[at & 63] = byte;
            at += (bits & 1) as usize;
            bits >>= 1;
        }
    }
}

/// Where a tab and where a blank is put in the place of another byte.
#[derive(Clone, Copy)]
pub(crate) struct Blanks {
    pub(crate) tabs: u64,
    pub(crate) blanks: u64,
}

impl Blanks {
    #[inline(always)]
    fn put_into(self, bytes: &[u8; 64]) -> [u8; 64] {
        let mut bytes = *bytes;
        for (mut bits, byte) in [(self.tabs, b'\t'), (self.blanks, b' ')] {
            while bits != 0 {
                bytes[bits.trailing_zeros() as usize] = byte;
                bits &= bits - 1;
            }
        }
        bytes
    }
}

/// An instruction set that this processor has, with the proof of it.
#[cfg_attr(kojuto_portable, allow(dead_code))]
#[derive(Clone, Copy, Debug)]
pub(crate) enum Level {
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    #[cfg(target_arch = "x86_64")]
    Sse2(Sse2),
    #[cfg(target_arch = "aarch64")]
    Neon(Neon),
    #[cfg(any(test, kojuto_portable, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
    Portable(Portable),
}

impl Level {
    /// The fastest that the processor has.
    #[inline]
    pub(crate) fn best() -> Level {
        #[cfg(all(target_arch = "x86_64", not(kojuto_portable)))]
        return match (Avx512::detect(), Avx2::detect()) {
            (Some(avx512), _) => Level::Avx512(avx512),
            (None, Some(avx2)) => Level::Avx2(avx2),
            (None, None) => Level::Sse2(Sse2),
        };
        #[cfg(all(target_arch = "aarch64", not(kojuto_portable)))]
        return Level::Neon(Neon);
        #[cfg(any(kojuto_portable, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
        Level::Portable(Portable)
    }

    /// Every one that the processor has, the fastest first: what a test of a scanner goes through.
    #[cfg(test)]
    pub(crate) fn all() -> Vec<Level> {
        let mut levels = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            levels.extend(Avx512::detect().map(Level::Avx512));
            levels.extend(Avx2::detect().map(Level::Avx2));
            levels.push(Level::Sse2(Sse2));
        }
        #[cfg(target_arch = "aarch64")]
        levels.extend([Level::Neon(Neon)]);
        levels.push(Level::Portable(Portable));
        levels
    }

    /// The proof that the processor has VBMI2, which squeezes 64 bytes at once.
    #[cfg(target_arch = "x86_64")]
    #[inline]
    pub(crate) fn vbmi2(self) -> Option<Vbmi2> {
        match self {
            Level::Avx512(avx512) => Vbmi2::detect(avx512),
            _ => None,
        }
    }

    /// The proof that the processor has AVX2, for what is written for that alone.
    #[cfg(target_arch = "x86_64")]
    #[inline]
    pub(crate) fn avx2(self) -> Option<Avx2> {
        match self {
            Level::Avx512(avx512) => Some(avx512.avx2()),
            Level::Avx2(avx2) => Some(avx2),
            _ => None,
        }
    }
}

/// Defines `fn $name(level: Level, …)`, which runs the generic `$work(masks, …)` compiled for that
/// level. This, and [`dispatch_squeezing!`], is the only place where an instruction set is switched on.
macro_rules! dispatch {
    ($(#[$meta:meta])* $vis:vis fn $name:ident [$($generics:tt)*] ($($arg:ident: $type:ty),* $(,)?) $(-> $answer:ty)? = $work:ident) => {
        $(#[$meta])*
        #[inline]
        $vis fn $name<$($generics)*>(level: $crate::scan::simd::Level, $($arg: $type),*) $(-> $answer)? {
            use $crate::scan::simd::Level;
            #[cfg(target_arch = "x86_64")]
            use $crate::scan::simd::x86::{Avx2, Avx512};

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,bmi1,bmi2,popcnt,lzcnt,pclmulqdq")]
            fn avx2<$($generics)*>(masks: Avx2, $($arg: $type),*) $(-> $answer)? {
                $work(masks, $($arg),*)
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx2,bmi1,bmi2,popcnt,lzcnt,pclmulqdq")]
            fn avx512<$($generics)*>(masks: Avx512, $($arg: $type),*) $(-> $answer)? {
                $work(masks, $($arg),*)
            }
            match level {
                // SAFETY: an `Avx512` proves that the processor has every feature enabled.
                #[cfg(target_arch = "x86_64")]
                Level::Avx512(masks) => unsafe { avx512(masks, $($arg),*) },
                // SAFETY: an `Avx2` proves that the processor has every feature enabled.
                #[cfg(target_arch = "x86_64")]
                Level::Avx2(masks) => unsafe { avx2(masks, $($arg),*) },
                #[cfg(target_arch = "x86_64")]
                Level::Sse2(masks) => $work(masks, $($arg),*),
                #[cfg(target_arch = "aarch64")]
                Level::Neon(masks) => $work(masks, $($arg),*),
                #[cfg(any(test, kojuto_portable, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
                Level::Portable(masks) => $work(masks, $($arg),*),
            }
        }
    };
}
pub(crate) use dispatch;

/// The same for a scanner that squeezes, for which there is one level more.
macro_rules! dispatch_squeezing {
    ($(#[$meta:meta])* $vis:vis fn $name:ident ($($arg:ident: $type:ty),* $(,)?) = $work:ident) => {
        $(#[$meta])*
        $vis fn $name(level: $crate::scan::simd::Level, $($arg: $type),*) {
            $crate::scan::simd::dispatch! {
                fn without_vbmi2[]($($arg: $type),*) = $work
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512vbmi2,avx512f,avx512bw,avx2,bmi1,bmi2,popcnt,lzcnt,pclmulqdq")]
            fn vbmi2(masks: $crate::scan::simd::x86::Vbmi2, $($arg: $type),*) {
                $work(masks, $($arg),*)
            }
            #[cfg(target_arch = "x86_64")]
            if let Some(masks) = level.vbmi2() {
                // SAFETY: a `Vbmi2` proves that the processor has every feature enabled.
                return unsafe { vbmi2(masks, $($arg),*) };
            }
            without_vbmi2(level, $($arg),*)
        }
    };
}
pub(crate) use dispatch_squeezing;

/// Where the language has no instruction for it, what is looked at is waited for.
#[cfg(not(all(target_arch = "x86_64", not(kojuto_portable))))]
#[inline(always)]
pub(crate) fn bring_near<T>(_: *const T) {}

/// The first place from `from` on with byte `A` or `B` or `C`; the end of the block without one.
#[inline(always)]
pub(crate) fn find_any<const A: u8, const B: u8, const C: u8>(block: &[u8], from: usize) -> usize {
    let mut at = from;
    while let Some(bytes) = block.get(at..).and_then(<[u8]>::first_chunk::<16>) {
        if let Some(place) = first_of_three::<A, B, C>(bytes) {
            return at + place;
        }
        at += 16;
    }
    while at < block.len() && block[at] != A && block[at] != B && block[at] != C {
        at += 1;
    }
    at
}

/// The first place with byte `A` or `B` or `C`.
#[cfg(any(kojuto_portable, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
#[inline(always)]
fn first_of_three<const A: u8, const B: u8, const C: u8>(bytes: &[u8; 16]) -> Option<usize> {
    bytes.iter().position(|byte| [A, B, C].contains(byte))
}

/// Bit `i` is set when byte `i` is one of `bytes`; all bits when `bytes` is empty.
#[inline(always)]
pub(crate) fn any_of<M: Masks, const N: usize>(masks: M, block: M::Block, bytes: [u8; N]) -> u64 {
    if N == 0 {
        return !0;
    }
    let mut mask = 0;
    let mut at = 0;
    while at < N {
        mask |= masks.eq(block, bytes[at]);
        at += 1;
    }
    mask
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    dispatch! {
        fn answers[](bytes: &[u8; 64], byte: u8) -> [u64; 4] = answers_with
    }

    #[inline(always)]
    fn answers_with<M: Masks>(masks: M, bytes: &[u8; 64], byte: u8) -> [u64; 4] {
        let block = masks.load(bytes);
        let bits = u64::from_le_bytes(*bytes.first_chunk().unwrap());
        [masks.eq(block, byte), masks.brackets(block), masks.odd(block), masks.prefix_xor(bits)]
    }

    /// The same, byte by byte and bit by bit.
    fn model(bytes: &[u8; 64], byte: u8) -> [u64; 4] {
        let places = |hit: &dyn Fn(u8) -> bool| {
            bytes.iter().enumerate().fold(0u64, |m, (i, &b)| m | u64::from(hit(b)) << i)
        };
        let bits = u64::from_le_bytes(*bytes.first_chunk().unwrap());
        let mut parity = 0;
        let parities = (0..64).fold(0u64, |m, i| {
            parity ^= bits >> i & 1;
            m | parity << i
        });
        [
            places(&|b| b == byte),
            places(&|b| b"[]{}Y_y\x7f".contains(&b)),
            places(&|b| b"[\\]{|}".contains(&b)),
            parities,
        ]
    }

    #[test]
    fn every_level_finds_every_byte_at_every_place() {
        for first in 0..=255u8 {
            let bytes = std::array::from_fn(|at| first.wrapping_add(at as u8));
            let expected = model(&bytes, first);
            for level in Level::all() {
                assert_eq!(answers(level, &bytes, first), expected, "{level:?} from {first}");
            }
        }
    }

    #[test]
    fn the_best_level_is_the_first_of_all() {
        let name = |level: &Level| format!("{level:?}");
        assert_eq!(name(&Level::best()), name(&Level::all()[0]));
        #[cfg(target_arch = "x86_64")]
        assert_eq!(
            Level::all().iter().filter(|level| level.avx2().is_some()).count(),
            Level::all().len() - 2,
            "all but SSE2 and plain words have AVX2"
        );
        #[cfg(target_arch = "aarch64")]
        assert_eq!(name(&Level::best()), "Neon(Neon)");
    }

    #[test]
    fn the_first_of_three_bytes_is_found_at_every_place_of_every_length() {
        for length in 0..50 {
            for from in 0..=length {
                for place in from..length {
                    for byte in *b"\t\n\"" {
                        let mut bytes = vec![byte; length];
                        bytes[from..place].fill(b'x');
                        assert_eq!(find_any::<b'\t', b'\n', b'"'>(&bytes, from), place);
                    }
                }
                let none = vec![b'!'; length];
                assert_eq!(find_any::<b'\t', b'\n', b'"'>(&none, from), length);
            }
        }
    }

    proptest! {
        #[test]
        fn every_level_agrees_with_a_loop(
            bytes in proptest::collection::vec(
                prop_oneof![any::<u8>(), proptest::sample::select(b"[\\]{|}Y_yXxz~".to_vec())], 64),
            pick in 0usize..64,
        ) {
            let bytes: [u8; 64] = bytes.try_into().unwrap();
            for level in Level::all() {
                prop_assert_eq!(answers(level, &bytes, bytes[pick]), model(&bytes, bytes[pick]));
            }
        }
    }
}
