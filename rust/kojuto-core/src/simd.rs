//! 64 bytes at a time: which of them equal a given byte, as a bit mask.
//!
//! A scanner is written once, generic over [`Masks`], and `#[inline(always)]`; [`dispatch!`] wraps
//! it in one function per instruction set and picks at run time. A scanner must not put its work
//! into a closure: a closure is a function of its own, without the instruction set, and every
//! comparison in it becomes a call. AVX-512BW and AVX2 are used where
//! the processor has them, else what the target always has (SSE2 on x86-64, plain words elsewhere).

use std::mem::MaybeUninit;

/// A way to compare 64 bytes with one byte.
pub(crate) trait Masks {
    /// The 64 bytes in registers.
    type Block: Copy;

    /// Loads 64 bytes.
    fn load(bytes: &[u8; 64]) -> Self::Block;

    /// Bit `i` is set when byte `i` equals `byte`.
    fn eq(block: Self::Block, byte: u8) -> u64;

    /// Bit `i` is set when byte `i` is one of `[]{}`, and also when it is one of `Y_y` or DEL:
    /// the bytes that are 0x7f once the bits 0x26 are set. One comparison finds them, and what
    /// JSON has outside of its strings are only the brackets.
    fn brackets(block: Self::Block) -> u64;

    /// Bit `i` is set when byte `i` is one of `[\]{|}`: six bytes in two rows, which one
    /// comparison finds. What is none of them in a line is plain.
    fn odd(block: Self::Block) -> u64;

    /// Bit `i` of the answer is the parity of bits 0 to `i`.
    #[inline(always)]
    fn prefix_xor(bits: u64) -> u64 {
        let mut x = bits;
        x ^= x << 1;
        x ^= x << 2;
        x ^= x << 4;
        x ^= x << 8;
        x ^= x << 16;
        x ^ (x << 32)
    }
}

/// Plain words; the compiler turns the loops into the vectors that the target always has.
#[cfg(any(test, not(target_arch = "x86_64")))]
#[derive(Clone, Copy)]
pub(crate) struct Portable;

#[cfg(any(test, not(target_arch = "x86_64")))]
impl Masks for Portable {
    type Block = [u8; 64];

    #[inline(always)]
    fn load(bytes: &[u8; 64]) -> [u8; 64] {
        *bytes
    }

    #[inline(always)]
    fn eq(block: [u8; 64], byte: u8) -> u64 {
        let mut mask = 0u64;
        for (word, bytes) in block.as_chunks::<8>().0.iter().enumerate() {
            mask |= eq_word(u64::from_le_bytes(*bytes), byte) << (word * 8);
        }
        mask
    }

    #[inline(always)]
    fn brackets(block: [u8; 64]) -> u64 {
        Self::eq(block.map(|byte| byte | 0x26), 0x7f)
    }

    #[inline(always)]
    fn odd(block: [u8; 64]) -> u64 {
        Self::eq(block.map(|byte| u8::from((byte | 0x20).wrapping_sub(b'{') <= 2)), 1)
    }
}

/// Bit `i` is set when byte `i` of `word` equals `byte`.
#[cfg(any(test, not(target_arch = "x86_64")))]
#[inline(always)]
fn eq_word(word: u64, byte: u8) -> u64 {
    const LOW7: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    let difference = word ^ (u64::from(byte) * 0x0101_0101_0101_0101);
    // The top bit of each byte that is zero, exactly (no borrow runs from byte to byte).
    let zero = !(((difference & LOW7) + LOW7) | difference | LOW7);
    // Gather the eight top bits into the low byte.
    (zero >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56
}

#[cfg(target_arch = "x86_64")]
pub(crate) mod x86 {
    use super::Masks;
    use std::arch::x86_64::*;

    /// SSE2, which every x86-64 processor has.
    #[derive(Clone, Copy)]
    pub(crate) struct Sse2;

    impl Masks for Sse2 {
        type Block = [__m128i; 4];

        #[inline(always)]
        fn load(bytes: &[u8; 64]) -> Self::Block {
            // SAFETY: SSE2 is part of x86-64; each load reads 16 of the 64 bytes.
            std::array::from_fn(|i| unsafe { _mm_loadu_si128(bytes.as_ptr().add(i * 16).cast()) })
        }

        #[inline(always)]
        fn eq(block: Self::Block, byte: u8) -> u64 {
            let mut mask = 0u64;
            for (i, part) in block.into_iter().enumerate() {
                // SAFETY: SSE2 is part of x86-64.
                let bits =
                    unsafe { _mm_movemask_epi8(_mm_cmpeq_epi8(part, _mm_set1_epi8(byte as i8))) };
                mask |= u64::from(bits as u32) << (i * 16);
            }
            mask
        }

        #[inline(always)]
        fn brackets(block: Self::Block) -> u64 {
            // SAFETY: SSE2 is part of x86-64.
            let block = block.map(|part| unsafe { _mm_or_si128(part, _mm_set1_epi8(0x26)) });
            Self::eq(block, 0x7f)
        }

        #[inline(always)]
        fn odd(block: Self::Block) -> u64 {
            // SAFETY: SSE2 is part of x86-64.
            let block = block.map(|part| unsafe {
                let low = _mm_or_si128(part, _mm_set1_epi8(0x20));
                // What is left is 0 for the three bytes from `{` on.
                _mm_subs_epu8(_mm_sub_epi8(low, _mm_set1_epi8(b'{' as i8)), _mm_set1_epi8(2))
            });
            Self::eq(block, 0)
        }
    }

    /// AVX2 with BMI and carry-less multiplication; only used inside functions that enable them.
    #[derive(Clone, Copy)]
    pub(crate) struct Avx2;

    impl Masks for Avx2 {
        type Block = (__m256i, __m256i);

        #[inline(always)]
        fn load(bytes: &[u8; 64]) -> Self::Block {
            // SAFETY: `dispatch!` checked for AVX2; the two loads read the 64 bytes.
            unsafe {
                let low = _mm256_loadu_si256(bytes.as_ptr().cast());
                let high = _mm256_loadu_si256(bytes.as_ptr().add(32).cast());
                (low, high)
            }
        }

        #[inline(always)]
        fn eq(block: Self::Block, byte: u8) -> u64 {
            // SAFETY: `dispatch!` checked for AVX2.
            let (low, high) = unsafe {
                let wanted = _mm256_set1_epi8(byte as i8);
                (
                    _mm256_movemask_epi8(_mm256_cmpeq_epi8(block.0, wanted)),
                    _mm256_movemask_epi8(_mm256_cmpeq_epi8(block.1, wanted)),
                )
            };
            u64::from(low as u32) | u64::from(high as u32) << 32
        }

        #[inline(always)]
        fn brackets(block: Self::Block) -> u64 {
            // SAFETY: `dispatch!` checked for AVX2.
            let block = unsafe {
                let bits = _mm256_set1_epi8(0x26);
                (_mm256_or_si256(block.0, bits), _mm256_or_si256(block.1, bits))
            };
            Self::eq(block, 0x7f)
        }

        #[inline(always)]
        fn odd(block: Self::Block) -> u64 {
            // SAFETY: `dispatch!` checked for AVX2.
            let block = unsafe {
                let (bit, first) = (_mm256_set1_epi8(0x20), _mm256_set1_epi8(b'{' as i8));
                let two = _mm256_set1_epi8(2);
                let low = _mm256_sub_epi8(_mm256_or_si256(block.0, bit), first);
                let high = _mm256_sub_epi8(_mm256_or_si256(block.1, bit), first);
                (_mm256_subs_epu8(low, two), _mm256_subs_epu8(high, two))
            };
            Self::eq(block, 0)
        }

        #[inline(always)]
        fn prefix_xor(bits: u64) -> u64 {
            carryless_prefix_xor(bits)
        }
    }

    /// AVX-512BW: a comparison is a mask at once. Only used inside functions that enable it.
    #[derive(Clone, Copy)]
    pub(crate) struct Avx512;

    impl Masks for Avx512 {
        type Block = __m512i;

        #[inline(always)]
        fn load(bytes: &[u8; 64]) -> Self::Block {
            // SAFETY: `dispatch!` checked for AVX-512BW; the load reads the 64 bytes.
            unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
        }

        #[inline(always)]
        fn eq(block: Self::Block, byte: u8) -> u64 {
            // SAFETY: `dispatch!` checked for AVX-512BW.
            unsafe { _mm512_cmpeq_epi8_mask(block, _mm512_set1_epi8(byte as i8)) }
        }

        #[inline(always)]
        fn brackets(block: Self::Block) -> u64 {
            // SAFETY: `dispatch!` checked for AVX-512BW.
            let block = unsafe { _mm512_or_si512(block, _mm512_set1_epi8(0x26)) };
            Self::eq(block, 0x7f)
        }

        #[inline(always)]
        fn odd(block: Self::Block) -> u64 {
            // SAFETY: `dispatch!` checked for AVX-512BW.
            unsafe {
                let low = _mm512_or_si512(block, _mm512_set1_epi8(0x20));
                let low = _mm512_sub_epi8(low, _mm512_set1_epi8(b'{' as i8));
                _mm512_cmple_epu8_mask(low, _mm512_set1_epi8(2))
            }
        }

        #[inline(always)]
        fn prefix_xor(bits: u64) -> u64 {
            carryless_prefix_xor(bits)
        }
    }

    /// Bit `i` is set when byte `i` is `A` or `B` or `C`.
    #[inline(always)]
    pub(crate) fn any_of_three<const A: u8, const B: u8, const C: u8>(bytes: &[u8; 16]) -> u32 {
        // SAFETY: SSE2 is part of x86-64; the load reads the 16 bytes.
        unsafe {
            let bytes = _mm_loadu_si128(bytes.as_ptr().cast());
            let mut hits = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(A as i8));
            hits = _mm_or_si128(hits, _mm_cmpeq_epi8(bytes, _mm_set1_epi8(B as i8)));
            hits = _mm_or_si128(hits, _mm_cmpeq_epi8(bytes, _mm_set1_epi8(C as i8)));
            _mm_movemask_epi8(hits) as u32
        }
    }

    #[inline(always)]
    fn carryless_prefix_xor(bits: u64) -> u64 {
        // SAFETY: `dispatch!` checked for PCLMULQDQ.
        unsafe {
            let all = _mm_set1_epi8(-1);
            _mm_cvtsi128_si64(_mm_clmulepi64_si128::<0>(_mm_cvtsi64_si128(bits as i64), all)) as u64
        }
    }

    /// What the processor has, asked once.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub(crate) enum Level {
        Sse2,
        Avx2,
        Avx512,
    }

    pub(crate) fn level() -> Level {
        let avx2 = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("bmi1")
            && is_x86_feature_detected!("bmi2")
            && is_x86_feature_detected!("popcnt")
            && is_x86_feature_detected!("lzcnt")
            && is_x86_feature_detected!("pclmulqdq");
        if avx2 && is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw") {
            Level::Avx512
        } else if avx2 {
            Level::Avx2
        } else {
            Level::Sse2
        }
    }
}

/// Defines `fn $name(…)` that runs the generic `$work::<M>(…)` with the best [`Masks`] at hand.
macro_rules! dispatch {
    ($(#[$meta:meta])* $vis:vis fn $name:ident [$($generics:tt)*] ($($arg:ident: $type:ty),* $(,)?) $(-> $answer:ty)? = $work:ident) => {
        $(#[$meta])*
        $vis fn $name<$($generics)*>($($arg: $type),*) $(-> $answer)? {
            #[cfg(target_arch = "x86_64")]
            {
                use $crate::simd::x86::{Avx2, Avx512, Level, Sse2, level};

                #[target_feature(enable = "avx2,bmi1,bmi2,popcnt,lzcnt,pclmulqdq")]
                fn avx2<$($generics)*>($($arg: $type),*) $(-> $answer)? {
                    $work::<Avx2, _>($($arg),*)
                }
                #[target_feature(
                    enable = "avx512f,avx512bw,avx2,bmi1,bmi2,popcnt,lzcnt,pclmulqdq"
                )]
                fn avx512<$($generics)*>($($arg: $type),*) $(-> $answer)? {
                    $work::<Avx512, _>($($arg),*)
                }
                match level() {
                    // SAFETY: `level` has just checked for every feature that is enabled.
                    Level::Avx512 => unsafe { avx512($($arg),*) },
                    // SAFETY: as above.
                    Level::Avx2 => unsafe { avx2($($arg),*) },
                    Level::Sse2 => $work::<Sse2, _>($($arg),*),
                }
            }
            #[cfg(not(target_arch = "x86_64"))]
            $work::<$crate::simd::Portable, _>($($arg),*)
        }
    };
}
pub(crate) use dispatch;

/// How many bytes are searched before the places found in them are looked at.
pub(crate) const STRIPE_BYTES: usize = 4096;

/// The places that were found in a stripe. Writing them down first and looking at them afterwards
/// spares a processor the guess, 64 bytes for 64 bytes, how many there are.
pub(crate) struct Places {
    /// The first `count` of them are written; to clear all for each block would cost more than
    /// many a search.
    at: [MaybeUninit<u32>; STRIPE_BYTES + 64],
    count: usize,
}

impl Places {
    #[inline(always)]
    pub(crate) fn new() -> Places {
        Places { at: [const { MaybeUninit::uninit() }; STRIPE_BYTES + 64], count: 0 }
    }

    /// Begins the next stripe.
    #[inline(always)]
    pub(crate) fn clear(&mut self) {
        self.count = 0;
    }

    /// Adds `base` + `i` for each bit `i` that is set.
    #[inline(always)]
    pub(crate) fn add(&mut self, base: usize, mut bits: u64) {
        let found = bits.count_ones() as usize;
        let Some(room) = self.at[self.count..].first_chunk_mut::<64>() else { return };
        // Two at once, whether there are so many or not; more are rare.
        for slot in &mut room[..2] {
            slot.write((base as u32).wrapping_add(bits.trailing_zeros()));
            bits &= bits.wrapping_sub(1);
        }
        if found > 2 {
            for slot in &mut room[2..found] {
                slot.write((base as u32).wrapping_add(bits.trailing_zeros()));
                bits &= bits.wrapping_sub(1);
            }
        }
        self.count += found;
    }

    /// The places found since the beginning of the stripe, ascending.
    #[inline(always)]
    pub(crate) fn list(&self) -> &[u32] {
        let written = &self.at[..self.count];
        // SAFETY: `add` writes each slot before it counts it: the first two of its room at
        // once, and those behind them up to the number of bits.
        unsafe { &*(std::ptr::from_ref(written) as *const [u32]) }
    }
}

/// The stripes of a block: where each begins, and its bytes, 64 by 64. The last bytes are padded
/// with zeros into `tail`.
#[inline(always)]
pub(crate) fn stripes<'b>(
    block: &'b [u8],
    tail: &'b mut [u8; 64],
) -> impl Iterator<Item = (usize, &'b [[u8; 64]])> {
    let (whole, rest) = block.as_chunks::<64>();
    tail[..rest.len()].copy_from_slice(rest);
    let last = if rest.is_empty() { &[][..] } else { std::slice::from_ref(&*tail) };
    whole
        .chunks(STRIPE_BYTES / 64)
        .enumerate()
        .map(|(index, stripe)| (index * STRIPE_BYTES, stripe))
        .chain(std::iter::once((whole.len() * 64, last)))
}

/// The first place from `from` on with byte `A` or `B` or `C`; the end of the block without one.
#[inline(always)]
pub(crate) fn find_any<const A: u8, const B: u8, const C: u8>(block: &[u8], from: usize) -> usize {
    let mut at = from;
    while let Some(bytes) = block.get(at..).and_then(<[u8]>::first_chunk::<16>) {
        let hits = any_of_three::<A, B, C>(bytes);
        if hits != 0 {
            return at + hits.trailing_zeros() as usize;
        }
        at += 16;
    }
    while at < block.len() && block[at] != A && block[at] != B && block[at] != C {
        at += 1;
    }
    at
}

/// Bit `i` is set when byte `i` is `A` or `B` or `C`.
#[inline(always)]
fn any_of_three<const A: u8, const B: u8, const C: u8>(bytes: &[u8; 16]) -> u32 {
    #[cfg(target_arch = "x86_64")]
    return x86::any_of_three::<A, B, C>(bytes);
    #[cfg(not(target_arch = "x86_64"))]
    return bytes
        .iter()
        .rev()
        .fold(0, |bits, byte| bits << 1 | u32::from([A, B, C].contains(byte)));
}

/// Bit `i` is set when byte `i` is one of `bytes`; all bits when `bytes` is empty.
#[inline(always)]
pub(crate) fn any_of<M: Masks, const N: usize>(block: M::Block, bytes: [u8; N]) -> u64 {
    if N == 0 {
        return !0;
    }
    let mut mask = 0;
    let mut at = 0;
    while at < N {
        mask |= M::eq(block, bytes[at]);
        at += 1;
    }
    mask
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check<M: Masks>(bytes: &[u8; 64], byte: u8) {
        let model = |hit: &dyn Fn(u8) -> bool| {
            bytes.iter().enumerate().fold(0u64, |m, (i, &b)| m | u64::from(hit(b)) << i)
        };
        assert_eq!(M::eq(M::load(bytes), byte), model(&|b| b == byte));
        assert_eq!(M::brackets(M::load(bytes)), model(&|b| b"[]{}Y_y\x7f".contains(&b)));
        let bits = u64::from_le_bytes(bytes[..8].try_into().unwrap());
        let mut parity = 0;
        let expected = (0..64).fold(0u64, |m, i| {
            parity ^= bits >> i & 1;
            m | parity << i
        });
        assert_eq!(M::prefix_xor(bits), expected);
    }

    proptest! {
        #[test]
        fn all_instruction_sets_agree_with_a_loop(
            bytes in proptest::collection::vec(
                prop_oneof![any::<u8>(), proptest::sample::select(b"[]{}Y_yXxz~".to_vec())], 64),
            pick in 0usize..64,
        ) {
            let bytes: [u8; 64] = bytes.try_into().unwrap();
            check::<Portable>(&bytes, bytes[pick]);
            #[cfg(target_arch = "x86_64")]
            {
                check::<x86::Sse2>(&bytes, bytes[pick]);
                if x86::level() != x86::Level::Sse2 {
                    check::<x86::Avx2>(&bytes, bytes[pick]);
                }
                if x86::level() == x86::Level::Avx512 {
                    check::<x86::Avx512>(&bytes, bytes[pick]);
                }
            }
        }
    }
}
