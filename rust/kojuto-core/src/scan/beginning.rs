//! What may stand before the first line of a file and is no part of it.

/// A block without the NULs and the byte order mark that it begins with.
///
/// A log that was truncated while its writer goes on where it was (without `O_APPEND`) begins with
/// a hole, which is read as NULs; some editors begin a file with U+FEFF.
#[inline]
pub fn passed(block: &[u8]) -> &[u8] {
    if !matches!(block.first(), Some(0 | 0xef)) {
        return block;
    }
    let block = behind_nuls(block);
    block.strip_prefix(b"\xef\xbb\xbf").unwrap_or(block)
}

/// What follows the NULs that bytes begin with.
pub fn behind_nuls(bytes: &[u8]) -> &[u8] {
    &bytes[bytes.iter().take_while(|byte| **byte == 0).count()..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nuls_and_the_mark_at_the_beginning_are_passed_and_nothing_else() {
        for (block, rest) in [
            (&b"a\n"[..], &b"a\n"[..]),
            (b"\0\0\0a\0\n", b"a\0\n"),
            (b"\xef\xbb\xbfa\n", b"a\n"),
            (b"\0\xef\xbb\xbfa\n", b"a\n"),
            (b"\xef\xbba\n", b"\xef\xbba\n"),
            (b"\0\0", b""),
            (b"", b""),
        ] {
            assert_eq!(passed(block), rest);
        }
    }
}
