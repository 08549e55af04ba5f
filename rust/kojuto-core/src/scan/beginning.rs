//! What may stand before a line, or a file, and is no part of it.

/// U+FEFF in UTF-8, with which some editors begin a file.
pub const MARK: &[u8] = b"\xef\xbb\xbf";

/// A line without the NULs that it begins with.
///
/// A log that was truncated while its writer goes on where it was (without `O_APPEND`) has a hole
/// before the first line written after that, which is read as NULs.
#[inline]
pub fn behind_nuls(line: &[u8]) -> &[u8] {
    &line[line.iter().take_while(|byte| **byte == 0).count()..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nuls_that_a_line_begins_with_are_passed_and_nothing_else() {
        for (line, rest) in
            [(&b"a"[..], &b"a"[..]), (b"\0\0a\0b", b"a\0b"), (b"\0", b""), (b"", b"")]
        {
            assert_eq!(behind_nuls(line), rest);
        }
    }
}
