//! The masking of RFC 6455, section 5.3.

use super::Key;
use crate::scan::simd::{Level, Masks, dispatch};

/// XORs `bytes` with `key`, over and over; the first byte is number `offset` of the frame's
/// payload. Masking twice gives the bytes back.
pub fn mask(bytes: &mut [u8], key: Key, offset: u64) {
    let mut key = key;
    key.rotate_left((offset % 4) as usize);
    if key == [0; 4] {
        return;
    }
    if bytes.len() < WIDE_BYTES {
        xor(bytes, key);
    } else {
        xor_at(Level::best(), bytes, key);
    }
}

/// From here on wider registers are worth a question to the processor.
const WIDE_BYTES: usize = 256;

dispatch! {
    /// The same loop with the registers of a level.
    pub(super) fn xor_at[](bytes: &mut [u8], key: Key) = xor_with
}

#[inline(always)]
fn xor_with<M: Masks>(_: M, bytes: &mut [u8], key: Key) {
    xor(bytes, key);
}

/// Plain code that the compiler turns into the vectors of the function it ends up in.
#[inline(always)]
fn xor(bytes: &mut [u8], key: Key) {
    let word = u32::from_ne_bytes(key);
    let wide = u64::from(word) << 32 | u64::from(word);
    let (blocks, rest) = bytes.as_chunks_mut::<128>();
    for block in blocks {
        for part in block.as_chunks_mut::<8>().0 {
            *part = (u64::from_ne_bytes(*part) ^ wide).to_ne_bytes();
        }
    }
    let (words, rest) = rest.as_chunks_mut::<4>();
    for part in words {
        *part = (u32::from_ne_bytes(*part) ^ word).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(key) {
        *byte ^= key;
    }
}
