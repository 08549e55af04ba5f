//! Which bytes of a chunk are escaped, in a string, or before the object of their line: as bit
//! masks, with what one chunk leaves to the next.

use crate::scan::simd::Masks;

/// What one chunk leaves to the next about strings.
#[derive(Default)]
pub(super) struct Strings {
    /// All ones while a string goes on.
    open: u64,
    /// Bit 0 when the first byte is escaped.
    escaped: u64,
    /// Bit 0 when the first byte stands behind one of the quotes that were asked for.
    behind: u64,
}

impl Strings {
    /// Which bytes are escaped by a backslash.
    #[inline(always)]
    pub(super) fn escaped(&mut self, backslashes: u64) -> u64 {
        if backslashes | self.escaped == 0 {
            return 0;
        }
        let (escaped, next) = find_escaped(backslashes, self.escaped);
        self.escaped = next;
        escaped
    }

    /// Which bytes are in a string, the opening quote included. A string ends with its line.
    #[inline(always)]
    pub(super) fn inside<M: Masks>(&mut self, masks: M, quotes: u64, newlines: u64) -> u64 {
        let mut inside = masks.prefix_xor(quotes) ^ self.open;
        let mut torn = newlines & inside;
        while torn != 0 {
            let newline = torn & torn.wrapping_neg();
            inside ^= !(newline | (newline - 1));
            torn = newlines & inside & !(newline | (newline - 1));
        }
        // The newline of a torn string is the last bit at most: it must not open the next chunk.
        self.open = (((inside & !newlines) as i64) >> 63) as u64;
        inside & !newlines
    }

    /// Which bytes are in a string, the opening quote included, where every string ends before its
    /// line does. Where one does not, the newline is in it, and what follows is worth nothing.
    #[inline(always)]
    pub(super) fn inside_whole_lines<M: Masks>(&mut self, masks: M, quotes: u64) -> u64 {
        let inside = masks.prefix_xor(quotes) ^ self.open;
        self.open = ((inside as i64) >> 63) as u64;
        inside
    }

    /// Which bytes stand behind one of these quotes.
    #[inline(always)]
    pub(super) fn behind(&mut self, quotes: u64) -> u64 {
        let behind = quotes << 1 | self.behind;
        self.behind = quotes >> 63;
        behind
    }
}

/// Finds the text before the object of each line, for [`Prefix::Skip`].
pub(super) struct Before {
    /// Whether the next byte stands before the object of its line.
    pub(super) active: bool,
}

impl Before {
    /// Which bytes stand before the object of their line.
    #[inline(always)]
    pub(super) fn text(&mut self, bytes: &[u8; 64], newlines: u64, brackets: u64) -> u64 {
        let mut opening = brackets;
        let mut text = 0u64;
        let mut left = !0u64;
        loop {
            if self.active {
                opening &= left;
                // Other brackets begin no object.
                while opening != 0 && bytes[opening.trailing_zeros() as usize] != b'{' {
                    opening &= opening - 1;
                }
                let brace = opening & opening.wrapping_neg();
                let newline = newlines & left;
                let newline = newline & newline.wrapping_neg();
                if brace == 0 || newline != 0 && newline < brace {
                    // No object up to the end of the line or of the chunk.
                    text |= left & (newline | newline.wrapping_sub(1));
                    if newline == 0 {
                        return text;
                    }
                    left &= !(newline | (newline - 1));
                    continue;
                }
                text |= left & (brace - 1);
                self.active = false;
            }
            let newline = newlines & left;
            if newline == 0 {
                return text;
            }
            let newline = newline & newline.wrapping_neg();
            left = !(newline | (newline - 1));
            self.active = true;
        }
    }
}

/// Which bytes are escaped by a backslash: (mask, bit 0 for the first byte of the next chunk).
#[inline(always)]
pub(in crate::scan) fn find_escaped(backslashes: u64, escaped_first: u64) -> (u64, u64) {
    const EVEN: u64 = 0x5555_5555_5555_5555;
    let backslashes = backslashes & !escaped_first;
    let follows = backslashes << 1 | escaped_first;
    let odd_starts = backslashes & !EVEN & !follows;
    let (sequences, overflow) = odd_starts.overflowing_add(backslashes);
    ((EVEN ^ (sequences << 1)) & follows, u64::from(overflow))
}
