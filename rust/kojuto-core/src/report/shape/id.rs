//! Ids that programs make.

use super::{BASE64, COLON, Classes, DASH, DIGIT, LETTER, LOWER, UNDERSCORE, UPPER};

/// RFC 9562, 4: 8-4-4-4-12 hexadecimal digits.
pub(super) fn is_uuid(text: &[u8]) -> bool {
    text.len() == 36
        && text.iter().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// 26 digits of Crockford's base 32 of one case, 128 bits of them (github.com/ulid/spec).
pub(super) fn is_ulid(text: &[u8]) -> bool {
    let is_digit = |&byte: &u8| {
        byte.is_ascii_digit()
            || byte.is_ascii_alphabetic() && !b"ilou".contains(&byte.to_ascii_lowercase())
    };
    text.len() == 26
        && matches!(text[0], b'0'..=b'7')
        && text.iter().all(is_digit)
        && !(text.iter().any(u8::is_ascii_uppercase) && text.iter().any(u8::is_ascii_lowercase))
}

/// The least length of a token.
const LEAST: usize = 20;

/// The least length of a text of base 64 that says by its end that it is one.
const LEAST_PADDED: usize = 8;

/// 20 or more letters and digits of base 64 that are mixed as in no words, or a JSON Web Token.
pub(super) fn is_token(text: &[u8], classes: Classes) -> bool {
    if text.starts_with(b"eyJ") && text.contains(&b'.') {
        return text.len() >= LEAST && text.split(|&byte| byte == b'.').all(is_base64_url);
    }
    if !classes.only(DIGIT | LETTER | LOWER | UPPER | DASH | UNDERSCORE | BASE64 | COLON) {
        return false;
    }
    let body = text.trim_suffix_of(b'=');
    if body.contains(&b'=') || text.len() - body.len() > 2 {
        return false;
    }
    let padded = body.len() < text.len() && text.len().is_multiple_of(4);
    if text.len() < if padded { LEAST_PADDED } else { LEAST } {
        return false;
    }
    (padded || classes.has(DIGIT) && classes.has(LETTER)) && is_mixed(body)
}

fn is_base64_url(text: &[u8]) -> bool {
    text.iter().all(|&byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

/// Whether at least half of a text is in runs that no words are: what is between dashes and the like
/// mixes letters with digits, or cases as no word does.
fn is_mixed(text: &[u8]) -> bool {
    let mixed: usize = text
        .split(|byte| !byte.is_ascii_alphanumeric())
        .filter(|run| is_mixed_run(run))
        .map(<[u8]>::len)
        .sum();
    mixed * 2 >= text.len()
}

fn is_mixed_run(run: &[u8]) -> bool {
    let classes = Classes::of(run);
    if classes.has(DIGIT) {
        return classes.has(LETTER);
    }
    // `word`, `Word`, `WORD`, `twoWords`: a capital begins a word of at least two letters.
    let capitals = run.iter().filter(|byte| byte.is_ascii_uppercase()).count();
    capitals < run.len() && capitals * 4 > run.len() && capitals > 1
}

/// What slices have no method for.
trait TrimSuffix {
    fn trim_suffix_of(&self, byte: u8) -> &Self;
}

impl TrimSuffix for [u8] {
    fn trim_suffix_of(&self, byte: u8) -> &[u8] {
        let end = self.iter().rposition(|&found| found != byte).map_or(0, |last| last + 1);
        &self[..end]
    }
}
