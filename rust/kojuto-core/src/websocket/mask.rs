//! The masking of RFC 6455, section 5.3.

use super::Key;

/// XORs `bytes` with `key`, over and over; the first byte is number `offset` of the frame's
/// payload. Masking twice gives the bytes back.
pub fn mask(bytes: &mut [u8], key: Key, offset: u64) {
    let mut key = key;
    key.rotate_left((offset % 4) as usize);
    if key == [0; 4] {
        return;
    }
    #[cfg(target_arch = "x86_64")]
    if bytes.len() >= 256 && is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2, as was just asked.
        return unsafe { avx2(bytes, key) };
    }
    xor(bytes, key);
}

/// The same loop with twice as wide registers.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn avx2(bytes: &mut [u8], key: Key) {
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
