//! The fields of a delivery line: `QID: to=<…>, relay=…, delay=D, delays=A/B/C/D, dsn=N.x.y, …`.

use super::Bad;
use super::lanes::{self, MARKER};
use super::samples::Number;
use crate::scan::simd::Level;

/// What one delivery line says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Delivery {
    /// Total, then a (before the queue manager), b (in it), c (connection), d (transmission).
    pub(super) delays: [Number; 5],
    /// The first digit of the DSN.
    pub(super) class: u8,
    /// The whole DSN, `N.x.y` as N * 1,000,000 + x * 1000 + y; None when it is not of that form.
    pub(super) dsn: Option<u32>,
}

/// Which bytes a queue id has, short or long.
const IN_QUEUE_ID: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    table
};

/// What stands in the place of a queue id when a message is no event of one mail.
const SEVERITIES: [&[u8]; 4] = [b"warning", b"error", b"fatal", b"panic"];

/// Where `to=…` begins in a message that reports a delivery: after `QID: `. None for other
/// messages, such as `QID: host … said: …`, whose text anybody may have written.
///
/// The address may stand without `to=`, then as one word.
#[inline]
pub(super) fn delivery_start(lines: &[u8], message: usize, hit: usize) -> Option<usize> {
    let text = &lines[message..hit + 1];
    let id = text.iter().take_while(|&&b| IN_QUEUE_ID[usize::from(b)]).count();
    let rest = text[id..].strip_prefix(b": ")?;
    let reports = id > 0
        && !SEVERITIES.contains(&&text[..id])
        && (rest.starts_with(b"to=")
            || rest
                .iter()
                .position(|&b| b == b' ' || b == b',')
                .is_some_and(|at| at > 0 && rest[at] == b','));
    reports.then_some(message + id + 2)
}

/// The first marker that is no part of a quoted address. `fields` is where the fields begin,
/// `hit` the first marker of the line; that one is the answer when the quotes do not pair up.
pub(super) fn unquoted_marker(level: Level, lines: &[u8], fields: usize, hit: usize) -> usize {
    if lanes::find(level, lines, fields, hit, b'"').is_none() {
        return hit;
    }
    let (mut quoted, mut at) = (false, fields);
    while let Some(&byte) = lines.get(at) {
        match byte {
            b'\n' => break,
            b'\\' if quoted => at += usize::from(lines.get(at + 1).is_some_and(|&b| b != b'\n')),
            b'"' => quoted = !quoted,
            b',' if !quoted && lines[at..].starts_with(MARKER) => return at,
            _ => {}
        }
        at += 1;
    }
    hit
}

/// Reads the fields that begin with the marker at `hit`. Returns them and where they ended.
#[inline(always)]
pub(super) fn read(lines: &[u8], hit: usize) -> Result<(Delivery, usize), Bad> {
    let (total, mut at) = Number::read(lines, hit + MARKER.len()).ok_or(Bad::Number)?;
    let mut delays = [total; 5];
    at = after(lines, at, b", delays=").ok_or(Bad::NoDelays)?;
    for (index, delay) in delays[1..].iter_mut().enumerate() {
        if index > 0 {
            at = after(lines, at, b"/").ok_or(Bad::NoDelays)?;
        }
        (*delay, at) = Number::read(lines, at).ok_or(Bad::Number)?;
    }
    at = match after(lines, at, b", dsn=") {
        Some(at) => at,
        None => dsn_further_on(lines, at).ok_or(Bad::NoDsn)?,
    };
    let (class, dsn, at) = read_dsn(lines, at).ok_or(Bad::NoDsn)?;
    Ok((Delivery { delays, class, dsn }, at))
}

#[inline(always)]
fn after(lines: &[u8], at: usize, text: &[u8]) -> Option<usize> {
    lines[at..].starts_with(text).then_some(at + text.len())
}

/// Passes other fields (newer releases may have `tls=` there), but never `status=`, behind which
/// comes text of the other side.
#[cold]
fn dsn_further_on(lines: &[u8], start: usize) -> Option<usize> {
    let mut at = start;
    loop {
        at = after(lines, at, b", ")?;
        if let Some(at) = after(lines, at, b"dsn=") {
            return Some(at);
        }
        let key = lines[at..].iter().take_while(|b| b.is_ascii_lowercase() || **b == b'_').count();
        if key == 0 || lines.get(at + key) != Some(&b'=') || lines[at..].starts_with(b"status=") {
            return None;
        }
        at += lines[at..].iter().position(|&b| b == b',' || b == b'\n')?;
    }
}

/// `N.x.y`: its class, the whole packed, and its end. Only the class must be there.
#[inline(always)]
fn read_dsn(lines: &[u8], start: usize) -> Option<(u8, Option<u32>, usize)> {
    let class = lines.get(start)?.wrapping_sub(b'0');
    if class > 9 || lines.get(start + 1) != Some(&b'.') {
        return None;
    }
    let at = start + 2;
    let Some((subject, end)) = up_to_999(lines, at) else { return Some((class, None, at)) };
    if lines.get(end) != Some(&b'.') {
        return Some((class, None, end));
    }
    Some(match up_to_999(lines, end + 1) {
        Some((detail, end)) => {
            (class, Some(u32::from(class) * 1_000_000 + subject * 1000 + detail), end)
        }
        None => (class, None, end),
    })
}

#[inline(always)]
fn up_to_999(lines: &[u8], start: usize) -> Option<(u32, usize)> {
    let mut value = 0;
    let mut at = start;
    while let Some(digit) = lines.get(at).map(|b| b.wrapping_sub(b'0')).filter(|&d| d < 10) {
        value = value * 10 + u32::from(digit);
        at += 1;
        if at > start + 3 {
            return None;
        }
    }
    (at > start).then_some((value, at))
}

/// The host of the `relay=` field before `hit`: without address, port and brackets. `none`,
/// `local` and the like are names as well. None when there is no such field.
pub(super) fn relay_host(lines: &[u8], fields: usize, hit: usize) -> Option<&[u8]> {
    const RELAY: &[u8] = b", relay=";
    let before = &lines[fields..hit];
    let at = before.windows(RELAY.len()).rposition(|window| window == RELAY)? + RELAY.len();
    let value = before[at..].split(|&b| b == b',').next()?;
    let host = match value.iter().position(|&b| b == b'[') {
        // `[192.0.2.1]:25`, `[inet:…]`: nothing before the bracket.
        Some(0) => value[1..].split(|&b| b == b']').next()?,
        Some(bracket) => &value[..bracket],
        // `host:25`; a bare IPv6 address has more than one colon.
        None if value.iter().filter(|&&b| b == b':').count() == 1 => {
            value.split(|&b| b == b':').next()?
        }
        None => value,
    };
    (!host.is_empty()).then_some(host)
}
