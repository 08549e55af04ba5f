//! The text between two fields of a log format, and how it is found in a line.

/// A text of the format. A blank in it stands for blanks and tabs, as many as there are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Literal {
    pub(super) text: Box<[u8]>,
    /// The first eight bytes, or all of it, as a little-endian word, and ones where it has bytes.
    word: u64,
    mask: u64,
}

impl Literal {
    pub(super) fn new(text: String) -> Literal {
        let text = text.into_bytes().into_boxed_slice();
        let length = text.len().min(8);
        let mut word = [0; 8];
        word[..length].copy_from_slice(&text[..length]);
        let mask = if length == 0 { 0 } else { !0 >> ((8 - length) * 8) };
        Literal { text, word: u64::from_le_bytes(word), mask }
    }

    /// Where it ends in a line when it begins at `at`.
    #[inline]
    pub(super) fn matches(&self, line: &[u8], at: usize) -> Option<usize> {
        // As it is written, with something else than a blank behind it.
        if self.text.len() <= 8
            && let Some(word) = line.get(at..).and_then(<[u8]>::first_chunk::<8>)
            && (u64::from_le_bytes(*word) ^ self.word) & self.mask == 0
            && !(self.text.last() == Some(&b' ') && is_blank(line.get(at + self.text.len())))
        {
            return Some(at + self.text.len());
        }
        self.matches_blanks(line, at)
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

/// The first place from `from` on with one of two bytes. Fields are short: a call costs more than
/// looking at eight bytes at a time.
#[inline]
pub(super) fn find_either(line: &[u8], from: usize, a: u8, b: u8) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const LONG: usize = 64;
    let zeros = |word: u64| word.wrapping_sub(ONES) & !word & (ONES << 7);
    let (a_word, b_word) = (u64::from(a) * ONES, u64::from(b) * ONES);
    let mut at = from;
    while let Some(word) = line.get(at..).and_then(<[u8]>::first_chunk::<8>) {
        let word = u64::from_le_bytes(*word);
        // The lowest bit of each is right, and so is the lower of the two.
        let found = zeros(word ^ a_word) | zeros(word ^ b_word);
        if found != 0 {
            return Some(at + found.trailing_zeros() as usize / 8);
        }
        at += 8;
        if at - from >= LONG {
            return memchr::memchr2(a, b, line.get(at..)?).map(|found| at + found);
        }
    }
    line.get(at..)?.iter().position(|&byte| byte == a || byte == b).map(|found| at + found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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
            assert_eq!(literal.matches(line.as_bytes(), 1), end, "{line}");
        }
        let blank = Literal::new(" ".to_owned());
        assert_eq!(blank.matches(b"a   bcdefghij", 1), Some(4));
        assert_eq!(blank.matches(b"a\tbcdefghij", 1), Some(2));
        assert_eq!(Literal::new(String::new()).matches(b"", 0), Some(0));
    }

    proptest! {
        #[test]
        fn a_match_is_the_same_as_byte_by_byte(
            text in "[ab]{0,3}( [ab]{1,3}){0,3} ?", line in "[ab \t]{0,24}", at in 0usize..26,
        ) {
            let literal = Literal::new(text);
            let line = line.as_bytes();
            prop_assert_eq!(literal.matches(line, at), literal.matches_blanks(line, at));
            let whole = [&literal.text[..], b"bcdefghijk"].concat();
            prop_assert_eq!(literal.matches(&whole, 0), Some(literal.text.len()));
        }

        #[test]
        fn the_first_of_two_bytes_is_found(
            line in proptest::collection::vec(
                prop_oneof![8 => Just(b'x'), 1 => any::<u8>(), 1 => Just(b'"'), 1 => Just(b'#')], 0..200),
            sparse in any::<bool>(), from in 0usize..210,
        ) {
            let mut line = line;
            if sparse {
                let kept = line.len() - line.len() / 8;
                line[..kept].iter_mut().for_each(|byte| *byte |= 0x40);
            }
            let model = line.iter().skip(from).position(|&byte| byte == b'"' || byte == b'\\');
            prop_assert_eq!(find_either(&line, from, b'"', b'\\'), model.map(|at| at + from));
        }
    }
}
