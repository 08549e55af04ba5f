//! A line as figures keep it.

use super::classes::CLASSES;
use crate::access::class_of;

/// What a time weighs beside a line in the choice of the keys that stay: one for 2^27 nanoseconds.
#[inline]
pub(super) fn weight_of(nanos: u64) -> u64 {
    nanos >> 27
}

/// What a line has for the figures, in 16 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Line {
    /// The second in which it was written; 0 for none.
    pub(super) second: u32,
    /// The class in the upper bits, below them the bytes that were sent.
    packed: u32,
    /// The time taken in nanoseconds; [`NO_TIME`] for none.
    pub(super) nanos: u64,
}

/// The time of a line without one.
pub(super) const NO_TIME: u64 = u64::MAX;

const BYTES_BITS: u32 = 29;
/// What a line has more is counted beside it.
pub(super) const MOST_BYTES: u64 = (1 << BYTES_BITS) - 1;
const _: () = assert!(CLASSES.len() <= 1 << (32 - BYTES_BITS));

impl Line {
    #[inline(always)]
    pub(super) fn new(second: u32, status: i64, nanos: u64) -> Line {
        Line::of_class(second, class_of(status) as u8, nanos)
    }

    #[inline(always)]
    pub(super) fn of_class(second: u32, class: u8, nanos: u64) -> Line {
        Line { second, packed: u32::from(class) << BYTES_BITS, nanos }
    }

    /// The same line, which has no bytes yet, with so many.
    #[inline(always)]
    pub(super) fn with_bytes(self, bytes: u64) -> Line {
        Line { packed: self.packed | bytes.min(MOST_BYTES) as u32, ..self }
    }

    /// Of [`CLASSES`].
    #[inline(always)]
    pub(super) fn class(self) -> usize {
        (self.packed >> BYTES_BITS) as usize
    }

    #[inline(always)]
    pub(super) fn bytes(self) -> u64 {
        u64::from(self.packed) & MOST_BYTES
    }

    #[inline(always)]
    pub(super) fn is_timed(self) -> bool {
        self.nanos != NO_TIME
    }

    /// Has its bytes, once they are counted, make no difference.
    pub(super) fn forget_bytes(&mut self) {
        self.packed &= !(MOST_BYTES as u32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_its_class_and_its_bytes_in_one_word() {
        for (class, bytes) in [(0, 0), (6, MOST_BYTES), (3, 12_345)] {
            let mut line = Line::of_class(7, class, 5).with_bytes(bytes);
            assert_eq!((line.class(), line.bytes()), (usize::from(class), bytes));
            line.forget_bytes();
            assert_eq!(line, Line::of_class(7, class, 5));
        }
        assert_eq!(Line::of_class(7, 1, NO_TIME).with_bytes(u64::MAX).bytes(), MOST_BYTES);
        assert!(!Line::new(7, 200, NO_TIME).is_timed() && Line::new(7, 200, 0).is_timed());
    }
}
