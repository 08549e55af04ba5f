//! Plain words; the compiler turns the loops into the vectors that the target always has.

use super::Masks;

/// What every processor has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Portable;

impl Masks for Portable {
    type Block = [u8; 64];

    #[inline(always)]
    fn load(self, bytes: &[u8; 64]) -> [u8; 64] {
        *bytes
    }

    #[inline(always)]
    fn eq(self, block: [u8; 64], byte: u8) -> u64 {
        let mut mask = 0u64;
        for (word, bytes) in block.as_chunks::<8>().0.iter().enumerate() {
            mask |= eq_word(u64::from_le_bytes(*bytes), byte) << (word * 8);
        }
        mask
    }

    #[inline(always)]
    fn brackets(self, block: [u8; 64]) -> u64 {
        self.eq(block.map(|byte| byte | 0x26), 0x7f)
    }

    #[inline(always)]
    fn odd(self, block: [u8; 64]) -> u64 {
        self.eq(block.map(|byte| u8::from((byte | 0x20).wrapping_sub(b'{') <= 2)), 1)
    }
}

/// Bit `i` is set when byte `i` of `word` equals `byte`.
#[inline(always)]
fn eq_word(word: u64, byte: u8) -> u64 {
    const LOW7: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    let difference = word ^ (u64::from(byte) * 0x0101_0101_0101_0101);
    // The top bit of each byte that is zero, exactly (no borrow runs from byte to byte).
    let zero = !(((difference & LOW7) + LOW7) | difference | LOW7);
    // Gather the eight top bits into the low byte.
    (zero >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56
}
