//! Hashes: with the name of their algorithm, and in the middle of a name.

use std::ops::Range;

/// Algorithms whose names stand before their digests (OCI image specification, Nix, git).
static ALGORITHMS: [&[u8]; 9] =
    [b"blake2b", b"blake3", b"md5", b"sha1", b"sha224", b"sha256", b"sha384", b"sha512", b"xxh3"];

/// `sha256:` and the like before at least 8 hexadecimal digits.
pub(super) fn is_digest(text: &[u8]) -> bool {
    let Some(at) = memchr::memchr(b':', text) else { return false };
    let (algorithm, digits) = (&text[..at], &text[at + 1..]);
    ALGORITHMS.contains(&algorithm)
        && digits.len() >= super::LEAST_HEX
        && digits.iter().all(u8::is_ascii_hexdigit)
}

/// The least length of a hash in a name.
const LEAST: usize = 6;

/// The parts in the middle of a name (something is before them and behind them) that are hashes.
pub(in crate::report) fn parts(name: &[u8]) -> impl Iterator<Item = Range<usize>> {
    let mut at = 0;
    let is_separator = |byte: &u8| matches!(byte, b'.' | b'-' | b'_');
    std::iter::from_fn(move || {
        loop {
            let start = at + name[at..].iter().position(is_separator)? + 1;
            let end = start + name[start..].iter().position(is_separator)?;
            at = end;
            if is_hash(&name[start..end]) {
                return Some(start..end);
            }
        }
    })
}

/// Whether a text of letters, digits and dashes is a word and what may be a hash behind it.
pub(super) fn begins_with_word(text: &[u8]) -> bool {
    let text = text.strip_prefix(b"_").unwrap_or(text);
    let end = text.iter().position(|byte| !byte.is_ascii_alphabetic()).unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    let is_word = !word.is_empty() && !word[1..].iter().any(u8::is_ascii_uppercase);
    let mixes_cases =
        rest.iter().any(u8::is_ascii_uppercase) && rest.iter().any(u8::is_ascii_lowercase);
    is_word && matches!(rest, [b'-' | b'_', ..]) && (word.len() >= LEAST_WORD || !mixes_cases)
}

/// The least length of what is a word before anything; a shorter one is before what has one case.
const LEAST_WORD: usize = 4;

fn is_hash(part: &[u8]) -> bool {
    part.len() >= LEAST
        && part.iter().all(u8::is_ascii_alphanumeric)
        && part.iter().any(u8::is_ascii_digit)
        && part.iter().any(u8::is_ascii_alphabetic)
        && !is_size(part)
        && !is_numbered_word(part)
}

/// `dashboard3`, `es2015`
fn is_numbered_word(part: &[u8]) -> bool {
    let end = part.iter().position(|byte| !byte.is_ascii_alphabetic()).unwrap_or(part.len());
    let (word, number) = part.split_at(end);
    number.iter().all(u8::is_ascii_digit)
        && !word.iter().skip(1).any(u8::is_ascii_uppercase)
        && word.iter().any(|byte| matches!(byte, b'g'..=b'z'))
}

/// `1920x1080`
fn is_size(part: &[u8]) -> bool {
    let mut sides = part.split(|&byte| byte == b'x');
    let mut is_side =
        || sides.next().is_some_and(|side| !side.is_empty() && side.iter().all(u8::is_ascii_digit));
    is_side() && is_side() && sides.next().is_none()
}
