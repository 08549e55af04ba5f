//! The escapes of JSON strings.

use std::borrow::Cow;

/// Resolves the escapes of a string's inside (RFC 8259, section 7); borrows when there are none.
///
/// An escape that is none stays as it stands; a surrogate without its other half becomes U+FFFD.
pub fn unescape(text: &[u8]) -> Cow<'_, [u8]> {
    let Some(first) = text.iter().position(|&b| b == b'\\') else { return Cow::Borrowed(text) };
    let mut out = text[..first].to_vec();
    let mut rest = &text[first..];
    while let Some((&byte, after)) = rest.split_first() {
        if byte != b'\\' {
            out.push(byte);
            rest = after;
            continue;
        }
        let plain = match after.first() {
            Some(b'"') => b'"',
            Some(b'\\') => b'\\',
            Some(b'/') => b'/',
            Some(b'b') => 8,
            Some(b'f') => 12,
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(b'u') => {
                let (character, used) = unicode_escape(rest);
                if used > 0 {
                    out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                    rest = &rest[used..];
                    continue;
                }
                out.push(b'\\');
                rest = after;
                continue;
            }
            _ => {
                out.push(b'\\');
                rest = after;
                continue;
            }
        };
        out.push(plain);
        rest = &after[1..];
    }
    Cow::Owned(out)
}

/// The character of a `\uXXXX` or a surrogate pair at the beginning of `text`, and its length.
fn unicode_escape(text: &[u8]) -> (char, usize) {
    let unit = |at: usize| -> Option<u32> {
        let escape = text.get(at..at + 6)?;
        let digits = escape.strip_prefix(b"\\u")?;
        digits.iter().try_fold(0, |value, &b| Some(value * 16 + (b as char).to_digit(16)?))
    };
    match (unit(0), unit(6)) {
        (Some(high @ 0xd800..=0xdbff), Some(low @ 0xdc00..=0xdfff)) => {
            let code = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
            (char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER), 12)
        }
        (Some(code), _) => (char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER), 6),
        (None, _) => ('\0', 0),
    }
}
