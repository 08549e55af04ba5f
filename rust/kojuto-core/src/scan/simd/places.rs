//! Where a scan has found something, one stripe of the block at a time.

use std::mem::MaybeUninit;

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

    /// Adds `base` + `i` for each bit `i` that is set. The first `AT_ONCE` are written whether there
    /// are so many or not; more should be rare.
    #[inline(always)]
    pub(crate) fn add<const AT_ONCE: usize>(&mut self, base: usize, mut bits: u64) {
        let found = bits.count_ones() as usize;
        let Some(room) = self.at[self.count..].first_chunk_mut::<64>() else { return };
        for slot in &mut room[..AT_ONCE] {
            slot.write((base as u32).wrapping_add(bits.trailing_zeros()));
            bits &= bits.wrapping_sub(1);
        }
        if found > AT_ONCE {
            for slot in &mut room[AT_ONCE..found] {
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
        // SAFETY: `add` writes each slot before it counts it: the first few of its room at
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
