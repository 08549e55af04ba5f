//! The instruction sets of x86-64.
//!
//! What has AVX2 or AVX-512 in it is safe to call because the caller holds an [`Avx2`] or an
//! [`Avx512`], which [`Avx2::detect`] and [`Avx512::detect`] alone make.

use super::{Blanks, Masks};
use std::arch::x86_64::*;

/// SSE2, which every x86-64 processor has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sse2;

impl Masks for Sse2 {
    type Block = [__m128i; 4];

    #[inline(always)]
    fn load(self, bytes: &[u8; 64]) -> Self::Block {
        // SAFETY: SSE2 is part of x86-64; each load reads 16 of the 64 bytes.
        std::array::from_fn(|i| unsafe { _mm_loadu_si128(bytes.as_ptr().add(i * 16).cast()) })
    }

    #[inline(always)]
    fn eq(self, block: Self::Block, byte: u8) -> u64 {
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
    fn brackets(self, block: Self::Block) -> u64 {
        // SAFETY: SSE2 is part of x86-64.
        let block = block.map(|part| unsafe { _mm_or_si128(part, _mm_set1_epi8(0x26)) });
        self.eq(block, 0x7f)
    }

    #[inline(always)]
    fn odd(self, block: Self::Block) -> u64 {
        // SAFETY: SSE2 is part of x86-64.
        let block = block.map(|part| unsafe {
            let low = _mm_or_si128(part, _mm_set1_epi8(0x20));
            // What is left is 0 for the three bytes from `{` on.
            _mm_subs_epu8(_mm_sub_epi8(low, _mm_set1_epi8(b'{' as i8)), _mm_set1_epi8(2))
        });
        self.eq(block, 0)
    }
}

/// The processor has AVX2, BMI and carry-less multiplication.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Avx2(());

impl Avx2 {
    /// Asks the processor; what it said is kept by the standard library.
    #[inline]
    pub(super) fn detect() -> Option<Avx2> {
        let found = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("bmi1")
            && is_x86_feature_detected!("bmi2")
            && is_x86_feature_detected!("popcnt")
            && is_x86_feature_detected!("lzcnt")
            && is_x86_feature_detected!("pclmulqdq");
        found.then_some(Avx2(()))
    }
}

impl Masks for Avx2 {
    type Block = (__m256i, __m256i);

    #[inline(always)]
    fn load(self, bytes: &[u8; 64]) -> Self::Block {
        // SAFETY: `self` proves that the processor has AVX2; the two loads read the 64 bytes.
        unsafe {
            let low = _mm256_loadu_si256(bytes.as_ptr().cast());
            let high = _mm256_loadu_si256(bytes.as_ptr().add(32).cast());
            (low, high)
        }
    }

    #[inline(always)]
    fn eq(self, block: Self::Block, byte: u8) -> u64 {
        // SAFETY: `self` proves that the processor has AVX2.
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
    fn brackets(self, block: Self::Block) -> u64 {
        // SAFETY: `self` proves that the processor has AVX2.
        let block = unsafe {
            let bits = _mm256_set1_epi8(0x26);
            (_mm256_or_si256(block.0, bits), _mm256_or_si256(block.1, bits))
        };
        self.eq(block, 0x7f)
    }

    #[inline(always)]
    fn odd(self, block: Self::Block) -> u64 {
        // SAFETY: `self` proves that the processor has AVX2.
        let block = unsafe {
            let (bit, first) = (_mm256_set1_epi8(0x20), _mm256_set1_epi8(b'{' as i8));
            let two = _mm256_set1_epi8(2);
            let low = _mm256_sub_epi8(_mm256_or_si256(block.0, bit), first);
            let high = _mm256_sub_epi8(_mm256_or_si256(block.1, bit), first);
            (_mm256_subs_epu8(low, two), _mm256_subs_epu8(high, two))
        };
        self.eq(block, 0)
    }

    #[inline(always)]
    fn prefix_xor(self, bits: u64) -> u64 {
        carryless_prefix_xor(self, bits)
    }

    #[inline(always)]
    fn squeeze(self, bytes: &[u8; 64], keep: u64, blanks: Blanks, out: &mut [u8; 64]) {
        let bytes = &blanks.put_into(bytes);
        let mut at = 0;
        for (index, word) in bytes.as_chunks::<8>().0.iter().enumerate() {
            let bits = keep >> (index * 8) & 0xff;
            // SAFETY: an `Avx2` proves that the processor has BMI2.
            let kept = unsafe {
                let whole = _pdep_u64(bits, 0x0101_0101_0101_0101) * 0xff;
                _pext_u64(u64::from_le_bytes(*word), whole)
            };
            // Of the words before it at most eight bytes each are there, so that this one has room.
            if let Some(room) = out.get_mut(at..).and_then(<[u8]>::first_chunk_mut::<8>) {
                *room = kept.to_le_bytes();
            }
            at += bits.count_ones() as usize;
        }
    }
}

/// The processor has AVX-512BW, where a comparison is a mask at once, and all of [`Avx2`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Avx512(Avx2);

impl Avx512 {
    /// Asks the processor.
    #[inline]
    pub(super) fn detect() -> Option<Avx512> {
        let found = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw");
        if found { Avx2::detect().map(Avx512) } else { None }
    }

    /// What comes with it.
    #[inline(always)]
    pub(super) fn avx2(self) -> Avx2 {
        self.0
    }
}

impl Masks for Avx512 {
    type Block = __m512i;

    #[inline(always)]
    fn load(self, bytes: &[u8; 64]) -> Self::Block {
        // SAFETY: `self` proves that the processor has AVX-512BW; the load reads the 64 bytes.
        unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
    }

    #[inline(always)]
    fn eq(self, block: Self::Block, byte: u8) -> u64 {
        // SAFETY: `self` proves that the processor has AVX-512BW.
        unsafe { _mm512_cmpeq_epi8_mask(block, _mm512_set1_epi8(byte as i8)) }
    }

    #[inline(always)]
    fn brackets(self, block: Self::Block) -> u64 {
        // SAFETY: `self` proves that the processor has AVX-512BW.
        let block = unsafe { _mm512_or_si512(block, _mm512_set1_epi8(0x26)) };
        self.eq(block, 0x7f)
    }

    #[inline(always)]
    fn odd(self, block: Self::Block) -> u64 {
        // SAFETY: `self` proves that the processor has AVX-512BW.
        unsafe {
            let low = _mm512_or_si512(block, _mm512_set1_epi8(0x20));
            let low = _mm512_sub_epi8(low, _mm512_set1_epi8(b'{' as i8));
            _mm512_cmple_epu8_mask(low, _mm512_set1_epi8(2))
        }
    }

    #[inline(always)]
    fn prefix_xor(self, bits: u64) -> u64 {
        carryless_prefix_xor(self.avx2(), bits)
    }

    #[inline(always)]
    fn squeeze(self, bytes: &[u8; 64], keep: u64, blanks: Blanks, out: &mut [u8; 64]) {
        self.avx2().squeeze(bytes, keep, blanks, out);
    }
}

/// The processor has AVX-512 VBMI2, which moves single bytes, and all of [`Avx512`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Vbmi2(Avx512);

impl Vbmi2 {
    /// Asks the processor.
    #[inline]
    pub(super) fn detect(avx512: Avx512) -> Option<Vbmi2> {
        is_x86_feature_detected!("avx512vbmi2").then_some(Vbmi2(avx512))
    }
}

impl Masks for Vbmi2 {
    type Block = __m512i;

    #[inline(always)]
    fn load(self, bytes: &[u8; 64]) -> Self::Block {
        self.0.load(bytes)
    }

    #[inline(always)]
    fn eq(self, block: Self::Block, byte: u8) -> u64 {
        self.0.eq(block, byte)
    }

    #[inline(always)]
    fn brackets(self, block: Self::Block) -> u64 {
        self.0.brackets(block)
    }

    #[inline(always)]
    fn odd(self, block: Self::Block) -> u64 {
        self.0.odd(block)
    }

    #[inline(always)]
    fn prefix_xor(self, bits: u64) -> u64 {
        self.0.prefix_xor(bits)
    }

    #[inline(always)]
    fn squeeze(self, bytes: &[u8; 64], keep: u64, blanks: Blanks, out: &mut [u8; 64]) {
        // SAFETY: `self` proves that the processor has VBMI2; the store writes the 64 bytes.
        unsafe {
            let bytes = self.load(bytes);
            let bytes = _mm512_mask_mov_epi8(bytes, blanks.tabs, _mm512_set1_epi8(b'\t' as i8));
            let bytes = _mm512_mask_mov_epi8(bytes, blanks.blanks, _mm512_set1_epi8(b' ' as i8));
            let kept = _mm512_maskz_compress_epi8(keep, bytes);
            _mm512_storeu_si512(out.as_mut_ptr().cast(), kept);
        }
    }
}

/// Has what is at an address be brought near, for whoever looks at it soon: any address will do.
#[cfg(not(kojuto_portable))]
#[inline(always)]
pub(crate) fn bring_near<T>(at: *const T) {
    // SAFETY: SSE is part of x86-64; nothing is read that anybody sees, and nothing faults.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
}

/// The first place with byte `A` or `B` or `C`.
#[cfg(not(kojuto_portable))]
#[inline(always)]
pub(super) fn first_of_three<const A: u8, const B: u8, const C: u8>(
    bytes: &[u8; 16],
) -> Option<usize> {
    // SAFETY: SSE2 is part of x86-64; the load reads the 16 bytes.
    let hits = unsafe {
        let bytes = _mm_loadu_si128(bytes.as_ptr().cast());
        let mut hits = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(A as i8));
        hits = _mm_or_si128(hits, _mm_cmpeq_epi8(bytes, _mm_set1_epi8(B as i8)));
        hits = _mm_or_si128(hits, _mm_cmpeq_epi8(bytes, _mm_set1_epi8(C as i8)));
        _mm_movemask_epi8(hits) as u32
    };
    (hits != 0).then_some(hits.trailing_zeros() as usize)
}

#[inline(always)]
fn carryless_prefix_xor(_: Avx2, bits: u64) -> u64 {
    // SAFETY: an `Avx2` proves that the processor has PCLMULQDQ.
    unsafe {
        let all = _mm_set1_epi8(-1);
        _mm_cvtsi128_si64(_mm_clmulepi64_si128::<0>(_mm_cvtsi64_si128(bits as i64), all)) as u64
    }
}
