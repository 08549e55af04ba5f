//! NEON, the vector instructions that every AArch64 processor has.
//!
//! What is here pays: of the instructions that plain words need for a byte, counting newlines keeps
//! 0.38 of 1.20, LTSV 2.95 of 5.90, plain JSON 3.74 of 7.59 and any JSON 4.67 of 11.76 (`make
//! cross-bench`). The compiler makes NEON of the masking of WebSocket frames by itself (0.15), and
//! [`Masks::prefix_xor`] as it stands is six instructions, one for each shift.

use super::Masks;
use std::arch::aarch64::*;

/// NEON (Advanced SIMD); being part of AArch64, it needs no question to the processor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Neon;

impl Masks for Neon {
    type Block = [uint8x16_t; 4];

    #[inline(always)]
    fn load(self, bytes: &[u8; 64]) -> Self::Block {
        // SAFETY: NEON is part of AArch64; each load reads 16 of the 64 bytes.
        std::array::from_fn(|i| unsafe { vld1q_u8(bytes.as_ptr().add(i * 16)) })
    }

    #[inline(always)]
    fn eq(self, block: Self::Block, byte: u8) -> u64 {
        // SAFETY: NEON is part of AArch64.
        gather(block.map(|part| unsafe { vceqq_u8(part, vdupq_n_u8(byte)) }))
    }

    #[inline(always)]
    fn brackets(self, block: Self::Block) -> u64 {
        // SAFETY: NEON is part of AArch64.
        let block = block.map(|part| unsafe { vorrq_u8(part, vdupq_n_u8(0x26)) });
        self.eq(block, 0x7f)
    }

    #[inline(always)]
    fn odd(self, block: Self::Block) -> u64 {
        // SAFETY: NEON is part of AArch64.
        gather(block.map(|part| unsafe {
            let low = vorrq_u8(part, vdupq_n_u8(0x20));
            vcleq_u8(vsubq_u8(low, vdupq_n_u8(b'{')), vdupq_n_u8(2))
        }))
    }
}

/// Bit `i` of the answer is a bit of byte `i`, each of which is all ones or all zeros.
///
/// NEON has no instruction for that. Of each byte the bit that is its own among eight is kept;
/// adding up neighbours three times then gathers eight bytes into one.
#[inline(always)]
fn gather(block: [uint8x16_t; 4]) -> u64 {
    const OWN: [u8; 16] = [1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128];
    // SAFETY: NEON is part of AArch64; the load reads the 16 bytes of `OWN`.
    unsafe {
        let own = vld1q_u8(OWN.as_ptr());
        let [a, b, c, d] = block.map(|part| vandq_u8(part, own));
        let halves = vpaddq_u8(vpaddq_u8(a, b), vpaddq_u8(c, d));
        vgetq_lane_u64::<0>(vreinterpretq_u64_u8(vpaddq_u8(halves, halves)))
    }
}

/// The first place with byte `A` or `B` or `C`.
#[cfg(not(kojuto_portable))]
#[inline(always)]
pub(super) fn first_of_three<const A: u8, const B: u8, const C: u8>(
    bytes: &[u8; 16],
) -> Option<usize> {
    // SAFETY: NEON is part of AArch64; the load reads the 16 bytes.
    let hits = unsafe {
        let bytes = vld1q_u8(bytes.as_ptr());
        let mut hits = vceqq_u8(bytes, vdupq_n_u8(A));
        hits = vorrq_u8(hits, vceqq_u8(bytes, vdupq_n_u8(B)));
        hits = vorrq_u8(hits, vceqq_u8(bytes, vdupq_n_u8(C)));
        // Half of each byte is kept: 16 bytes become 64 bits in one instruction.
        vget_lane_u64::<0>(vreinterpret_u64_u8(vshrn_n_u16::<4>(vreinterpretq_u16_u8(hits))))
    };
    (hits != 0).then_some(hits.trailing_zeros() as usize / 4)
}
