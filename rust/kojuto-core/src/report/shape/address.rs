//! Addresses of machines and of people.

use std::net::{Ipv4Addr, Ipv6Addr};

/// An IP address, as it is or in brackets.
pub(super) fn is_ip(text: &[u8]) -> bool {
    let bare = text.strip_prefix(b"[").and_then(|text| text.strip_suffix(b"]")).unwrap_or(text);
    let Ok(bare) = str::from_utf8(bare) else { return false };
    // `::` and `::1` are addresses, too, but no client asks for them.
    bare.parse::<Ipv4Addr>().is_ok() || bare.len() > 3 && bare.parse::<Ipv6Addr>().is_ok()
}

/// A local part, an `@`, and a domain of at least two labels whose last one has no digits.
pub(super) fn is_email(text: &[u8]) -> bool {
    let Some(at) = memchr::memchr(b'@', text) else { return false };
    let (local, domain) = (&text[..at], &text[at + 1..]);
    // `logo@2x.png` is a picture for a screen of twice as many points.
    if matches!(domain, [b'0'..=b'9', b'x', b'.', ..]) {
        return false;
    }
    let is_of_local = |&byte: &u8| {
        byte.is_ascii_alphanumeric() || byte >= 0x80 || b"!#$%&'*+-/=?^_`{|}~.".contains(&byte)
    };
    if local.is_empty() || !local.iter().all(is_of_local) {
        return false;
    }
    let mut last = None;
    for label in domain.split(|&byte| byte == b'.') {
        let is_of_label = |&byte: &u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte >= 0x80;
        if label.is_empty() || !label.iter().all(is_of_label) {
            return false;
        }
        last = Some(label);
    }
    let is_top = |label: &[u8]| label.len() >= 2 && !label.iter().any(u8::is_ascii_digit);
    domain.contains(&b'.') && last.is_some_and(is_top)
}
