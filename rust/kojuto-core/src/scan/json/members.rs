//! One member of an object: its name and its value.

use crate::scan::fields::Names;
use crate::scan::simd::find_any;

/// The wanted key whose name begins at `at` (behind its quote), and where its value begins.
#[inline(always)]
pub(super) fn wanted(block: &[u8], names: &Names<'_>, at: usize) -> Option<(usize, usize)> {
    let (index, end) = names.at(block, at)?;
    Some((index, behind_colon(block, end)?))
}

/// Where the value begins, when a colon comes next.
#[inline(always)]
pub(super) fn behind_colon(block: &[u8], from: usize) -> Option<usize> {
    if let Some(&[b':', next]) = block.get(from..).and_then(<[u8]>::first_chunk::<2>)
        && next > b' '
    {
        return Some(from + 1);
    }
    let colon = skip_blanks(block, from);
    let value = skip_blanks(block, colon + 1);
    (block.get(colon) == Some(&b':') && value < block.len()).then_some(value)
}

#[inline(always)]
pub(super) fn skip_blanks(block: &[u8], mut at: usize) -> usize {
    while matches!(block.get(at), Some(b' ' | b'\t' | b'\r')) {
        at += 1;
    }
    at
}

/// The text of the value that begins at `at`: a string's inside, or a number or word; empty for
/// `null`, an object, an array, or a string that does not end on its line.
#[inline(always)]
pub(super) fn value_at(block: &[u8], at: usize) -> &[u8] {
    if block.get(at) == Some(&b'"') {
        return match string_end(block, at + 1) {
            Some(end) => &block[at + 1..end],
            None => &[],
        };
    }
    let rest = block.get(at..).unwrap_or_default();
    if matches!(rest.first(), Some(b'{' | b'[') | None) {
        return &[];
    }
    let end = find_any::<b',', b'}', b'\n'>(block, at);
    let mut text = &block[at..end];
    while let Some((b' ' | b'\t' | b'\r', before)) = text.split_last() {
        text = before;
    }
    if text == b"null" { &[] } else { text }
}

/// The closing quote of the string whose inside begins at `from`.
#[inline(always)]
pub(super) fn string_end(block: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    loop {
        at = find_any::<b'"', b'\\', b'\n'>(block, at);
        match block.get(at)? {
            b'"' => return Some(at),
            b'\\' if block.get(at + 1) != Some(&b'\n') => at += 2,
            _ => return None,
        }
    }
}

/// Of the string with a backslash at `at`: where it ends, and whether it is the name of a member.
#[cold]
pub(super) fn slashed_string(block: &[u8], at: usize) -> (usize, bool) {
    match string_end(block, at) {
        Some(end) => (end, behind_colon(block, end + 1).is_some()),
        None => (at + block[at..].iter().position(|&b| b == b'\n').unwrap_or(0), false),
    }
}
