//! Line ends: the CR of a CRLF is no part of a line.

use std::borrow::Cow;

use memchr::memchr;

/// Takes the CR out of each CRLF. A stream may be cut between the two: `pending` carries a CR that
/// was the last byte of one piece to the next, where it is dropped or comes back.
pub fn without_cr<'a>(bytes: &'a [u8], pending: &mut bool) -> Cow<'a, [u8]> {
    if bytes.is_empty() {
        return Cow::Borrowed(bytes);
    }
    let was_pending = std::mem::take(pending);
    let first = memchr(b'\r', bytes);
    if !was_pending && first.is_none() {
        return Cow::Borrowed(bytes);
    }
    let mut out = Vec::with_capacity(bytes.len() + 1);
    if was_pending && bytes[0] != b'\n' {
        out.push(b'\r');
    }
    let mut rest = bytes;
    while let Some(at) = memchr(b'\r', rest) {
        out.extend_from_slice(&rest[..at]);
        rest = &rest[at + 1..];
        match rest.first() {
            None => *pending = true,
            Some(b'\n') => {}
            Some(_) => out.push(b'\r'),
        }
    }
    out.extend_from_slice(rest);
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn whole(pieces: &[&[u8]]) -> (Vec<u8>, bool) {
        let (mut out, mut pending) = (Vec::new(), false);
        for piece in pieces {
            out.extend_from_slice(&without_cr(piece, &mut pending));
        }
        (out, pending)
    }

    #[test]
    fn only_the_cr_before_a_newline_goes() {
        for (text, expected) in [
            (&b"a\r\nb\r\n"[..], &b"a\nb\n"[..]),
            (b"\r\n", b"\n"),
            (b"a\rb\n", b"a\rb\n"),
            (b"a\r\r\n", b"a\r\n"),
            (b"", b""),
        ] {
            assert_eq!(whole(&[text]), (expected.to_vec(), false));
        }
        assert_eq!(whole(&[b"a\r"]), (b"a".to_vec(), true));
    }

    proptest! {
        #[test]
        fn wherever_it_is_cut_the_same_comes_out(
            text in proptest::collection::vec(proptest::sample::select(b"a\r\n".to_vec()), 0..20),
            cuts in proptest::collection::vec(0usize..20, 0..4),
        ) {
            let mut cuts: Vec<usize> = cuts.into_iter().filter(|&at| at <= text.len()).collect();
            cuts.sort_unstable();
            let mut pieces = Vec::new();
            let mut from = 0;
            for cut in cuts {
                pieces.push(&text[from..cut]);
                from = cut;
            }
            pieces.push(&text[from..]);
            let plain = String::from_utf8(text.clone()).unwrap().replace("\r\n", "\n");
            let (mut out, pending) = whole(&pieces);
            if pending {
                out.push(b'\r');
            }
            prop_assert_eq!(String::from_utf8(out).unwrap(), plain);
        }
    }
}
