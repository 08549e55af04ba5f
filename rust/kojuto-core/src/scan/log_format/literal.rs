//! The text between two fields of a log format, and how it is found in a line.

use crate::scan::simd::Masks;

/// A text of the format. A blank in it stands for blanks and tabs, as many as there are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Literal {
    pub(super) text: Box<[u8]>,
    /// The first eight bytes, or all of it, as a little-endian word, and ones where it has bytes.
    word: u64,
    mask: u64,
    ends_blank: bool,
}

impl Literal {
    pub(super) fn new(text: String) -> Literal {
        let text = text.into_bytes().into_boxed_slice();
        let length = text.len().min(8);
        let mut word = [0; 8];
        word[..length].copy_from_slice(&text[..length]);
        let mask = if length == 0 { 0 } else { !0 >> ((8 - length) * 8) };
        let ends_blank = text.last() == Some(&b' ');
        Literal { text, word: u64::from_le_bytes(word), mask, ends_blank }
    }

    /// Where it ends when it begins at `at` of a line of `length` bytes, behind which `ahead` goes on.
    #[inline(always)]
    pub(super) fn matches(&self, ahead: &[u8], length: usize, at: usize) -> Option<usize> {
        // As it is written, with something else than a blank behind it.
        let end = at + self.text.len();
        if self.text.len() <= 8
            && end < length
            && let Some(word) = ahead.get(at..).and_then(<[u8]>::first_chunk::<8>)
            && (u64::from_le_bytes(*word) ^ self.word) & self.mask == 0
            && !(self.ends_blank && is_blank(ahead.get(end)))
        {
            return Some(end);
        }
        self.matches_blanks(ahead.get(..length)?, at)
    }

    #[inline(never)]
    fn matches_blanks(&self, line: &[u8], mut at: usize) -> Option<usize> {
        for &byte in &self.text {
            if line.get(at) != Some(&byte) && !(byte == b' ' && is_blank(line.get(at))) {
                return None;
            }
            at += 1;
            while byte == b' ' && is_blank(line.get(at)) {
                at += 1;
            }
        }
        Some(at)
    }
}

fn is_blank(byte: Option<&u8>) -> bool {
    matches!(byte, Some(b' ' | b'\t'))
}

/// The first place from `from` on with one of two bytes, in a line of `length` bytes, behind which
/// `ahead` goes on.
#[inline(always)]
pub(super) fn find_either<M: Masks>(
    masks: M,
    ahead: &[u8],
    length: usize,
    from: usize,
    [a, b]: [u8; 2],
) -> Option<usize> {
    let mut at = from;
    while at < length {
        let Some(bytes) = ahead.get(at..).and_then(<[u8]>::first_chunk::<64>) else {
            let rest = ahead.get(at..length)?;
            return rest.iter().position(|&byte| byte == a || byte == b).map(|found| at + found);
        };
        let chunk = masks.load(bytes);
        let found = masks.eq(chunk, a) | masks.eq(chunk, b);
        if found != 0 {
            let place = at + found.trailing_zeros() as usize;
            return (place < length).then_some(place);
        }
        at += 64;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::simd::{Level, dispatch};
    use proptest::prelude::*;

    dispatch! {
        fn find_at[](
            ahead: &[u8], length: usize, from: usize, bytes: [u8; 2]
        ) -> Option<usize> = find_either
    }

    #[test]
    fn a_blank_stands_for_many() {
        let literal = Literal::new(" - \"".to_owned());
        for (line, end) in [
            ("x - \"y", Some(5)),
            ("x - \"y, and more", Some(5)),
            ("x  -\t \"y, and more", Some(7)),
            ("x -\"y, and more", None),
            ("x - ", None),
            ("x", None),
        ] {
            assert_eq!(literal.matches(line.as_bytes(), line.len(), 1), end, "{line}");
        }
        let blank = Literal::new(" ".to_owned());
        assert_eq!(blank.matches(b"a   bcdefghij", 13, 1), Some(4));
        assert_eq!(blank.matches(b"a\tbcdefghij", 11, 1), Some(2));
        assert_eq!(blank.matches(b"a   bcdefghij", 2, 1), Some(2));
        assert_eq!(Literal::new(String::new()).matches(b"", 0, 0), Some(0));
    }

    proptest! {
        #[test]
        fn a_match_is_the_same_as_byte_by_byte(
            text in "[ab]{0,3}( [ab]{1,3}){0,3} ?", line in "[ab \t]{0,24}", at in 0usize..26,
        ) {
            let literal = Literal::new(text);
            let line = line.as_bytes();
            for length in 0..=line.len() {
                let plainly = literal.matches_blanks(&line[..length], at);
                prop_assert_eq!(literal.matches(line, length, at), plainly);
            }
            let whole = [&literal.text[..], b"bcdefghijk"].concat();
            prop_assert_eq!(literal.matches(&whole, whole.len(), 0), Some(literal.text.len()));
        }

        #[test]
        fn the_first_of_two_bytes_is_found(
            line in proptest::collection::vec(
                prop_oneof![30 => Just(b'x'), 1 => any::<u8>(), 1 => Just(b'"')], 0..300),
            length in any::<proptest::sample::Index>(), from in 0usize..310,
        ) {
            let length = length.index(line.len() + 1);
            let mut rest = line[..length].iter().skip(from);
            let model = rest.position(|&byte| byte == b'"' || byte == b'\\').map(|at| at + from);
            for level in Level::all() {
                let bytes = [b'"', b'\\'];
                prop_assert_eq!(find_at(level, &line, length, from, bytes), model, "{:?}", level);
            }
        }
    }
}
