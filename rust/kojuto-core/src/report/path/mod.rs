//! The one form of a path, so that what a server takes for one path is counted as one.

pub(super) mod query;
pub(super) mod request;

use std::borrow::Cow;

/// The path of an absolute target (`https://host/path`), or the target itself.
pub(super) fn without_host(target: &[u8]) -> &[u8] {
    if let [b'/' | b'*', ..] | [] = target {
        return target;
    }
    let Some(at) = memchr::memmem::find(target, b"://") else { return target };
    let scheme = &target[..at];
    let is_scheme = |&byte: &u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    if !scheme.first().is_some_and(u8::is_ascii_alphabetic) || !scheme.iter().all(is_scheme) {
        return target;
    }
    let behind = &target[at + 3..];
    let end = behind.iter().position(|byte| b"/?#".contains(byte)).unwrap_or(behind.len());
    &behind[end..]
}

/// A path in its one form: it begins with a slash and ends with none (but for `/`); no segment is empty,
/// `.`, `..` or has parameters (`;…`); escapes of unreserved characters (RFC 3986, 2.3) are decoded and
/// others are in capitals, a percent sign that begins none is one. It has no NUL, which marks variables
/// behind this.
pub(super) fn one_form(path: &[u8]) -> Cow<'_, [u8]> {
    if is_in_one_form(path) { Cow::Borrowed(path) } else { Cow::Owned(rewritten(path)) }
}

/// Without a branch for each byte, many at once, since nearly all paths are.
fn is_in_one_form(path: &[u8]) -> bool {
    let Some((_, rest)) = path.split_first() else { return false };
    let mut odd = 0u8;
    for (byte, next) in path.iter().zip(rest) {
        let dot_or_slash = u8::from(*next == b'/') | u8::from(*next == b'.');
        odd |= u8::from(*byte == b'/') & dot_or_slash;
        odd |= u8::from(*next == b'%') | u8::from(*next == b';') | u8::from(*next == 0);
    }
    path[0] == b'/' && (rest.is_empty() || path.last() != Some(&b'/')) && odd == 0
}

fn rewritten(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len() + 1);
    for segment in path.split(|&byte| byte == b'/') {
        let start = out.len();
        out.push(b'/');
        let end = segment.iter().position(|&byte| byte == b';').unwrap_or(segment.len());
        push_unescaped(&segment[..end], &mut out);
        match &out[start + 1..] {
            b"" | b"." => out.truncate(start),
            b".." => {
                out.truncate(start);
                let parent = out.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
                out.truncate(parent);
            }
            _ => {}
        }
    }
    if out.is_empty() {
        out.push(b'/');
    }
    out
}

/// Adds text with its escapes in their one form, and a NUL as an escape.
pub(super) fn push_unescaped(text: &[u8], out: &mut Vec<u8>) {
    let mut rest = text;
    while let Some(at) = memchr::memchr2(b'%', 0, rest) {
        out.extend_from_slice(&rest[..at]);
        rest = &rest[at..];
        if rest[0] == 0 {
            out.extend_from_slice(b"%00");
            rest = &rest[1..];
            continue;
        }
        match escaped(rest) {
            Some(byte) if is_unreserved(byte) => out.push(byte),
            Some(_) => {
                out.extend([b'%', rest[1].to_ascii_uppercase(), rest[2].to_ascii_uppercase()])
            }
            // It would become an escape where one behind it is decoded: `%4%41`.
            None => {
                out.extend_from_slice(b"%25");
                rest = &rest[1..];
                continue;
            }
        }
        rest = &rest[3..];
    }
    out.extend_from_slice(rest);
}

/// The byte for which an escape at the beginning of the text stands.
pub(super) fn escaped(text: &[u8]) -> Option<u8> {
    let [b'%', high, low, ..] = text else { return None };
    let digit = |byte: u8| char::from(byte).to_digit(16);
    Some((digit(*high)? * 16 + digit(*low)?) as u8)
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(path: &str) -> String {
        String::from_utf8(one_form(path.as_bytes()).into_owned()).unwrap()
    }

    #[test]
    fn a_path_has_one_form() {
        for (path, form) in [
            ("/", "/"),
            ("", "/"),
            ("/a/b", "/a/b"),
            ("a/b", "/a/b"),
            ("/a/", "/a"),
            ("//a///b//", "/a/b"),
            ("/a/./b/.", "/a/b"),
            ("/a/../b", "/b"),
            ("/../../b", "/b"),
            ("/a/..", "/"),
            ("/a/%2e%2E/b", "/b"),
            ("/a;v=1/b;c=2", "/a/b"),
            ("/a/..;/b", "/b"),
            ("/;x/b", "/b"),
            ("/%7euser/%41", "/~user/A"),
            ("/100%/%4%41/%%341", "/100%25/%254A/%2541"),
            ("/a%2fb/%e3%81%82", "/a%2Fb/%E3%81%82"),
            ("/a%/b%4/%zz", "/a%25/b%254/%25zz"),
            ("/a%3Bb", "/a%3Bb"),
            ("/.well-known/x", "/.well-known/x"),
            ("/...", "/..."),
            ("/A b", "/A b"),
            ("/a\0b", "/a%00b"),
        ] {
            assert_eq!(text(path), form, "{path}");
            assert_eq!(text(form), form, "{path}");
        }
    }

    #[test]
    fn scheme_and_host_of_an_absolute_target_go() {
        for (target, path) in [
            ("http://example.com/a?b", "/a?b"),
            ("https://example.com", ""),
            ("https://example.com?b", "?b"),
            ("/a?u=http://example.com/", "/a?u=http://example.com/"),
            ("://x/y", "://x/y"),
        ] {
            assert_eq!(without_host(target.as_bytes()), path.as_bytes(), "{target}");
        }
    }
}
