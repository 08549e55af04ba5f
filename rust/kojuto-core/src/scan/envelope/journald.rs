//! Entries of `journalctl -o json` (systemd.io/JOURNAL_EXPORT_FORMATS): the line is the member
//! `MESSAGE`, a string, or an array of its bytes where it is not UTF-8.

use super::Output;
use crate::scan::json::unescape;

const MESSAGE: &[u8] = b"\"MESSAGE\"";

/// Whether a line is such an entry; every one has a time.
pub(super) fn holds(line: &[u8]) -> bool {
    line.first() == Some(&b'{')
        && memchr::memmem::find(line, b"\"__REALTIME_TIMESTAMP\"").is_some()
        && value(line).is_some()
}

/// Writes the message of an entry; false where there is none.
pub(super) fn message(line: &[u8], out: &mut Output) -> bool {
    let Some(value) = value(line) else { return false };
    match value.first() {
        Some(b'"') => string(&value[1..], out),
        // A field that comes more than once is an array of strings: the first counts.
        Some(b'[') if value.get(1) == Some(&b'"') => string(&value[2..], out),
        Some(b'[') => bytes(&value[1..], out),
        _ => false,
    }
}

/// The text from the value of `MESSAGE` on. In a string its name would stand behind a backslash, or
/// without a colon.
fn value(line: &[u8]) -> Option<&[u8]> {
    if line.first() != Some(&b'{') {
        return None;
    }
    memchr::memmem::find_iter(line, MESSAGE).find_map(|at| {
        let rest = line[at + MESSAGE.len()..].trim_ascii_start();
        Some(rest.strip_prefix(b":")?.trim_ascii_start())
    })
}

fn string(text: &[u8], out: &mut Output) -> bool {
    let mut at = 0;
    loop {
        match memchr::memchr2(b'"', b'\\', &text[at.min(text.len())..]) {
            Some(found) if text[at + found] == b'"' => {
                out.push(&unescape(&text[..at + found]));
                return true;
            }
            Some(found) => at += found + 2,
            None => return false,
        }
    }
}

fn bytes(text: &[u8], out: &mut Output) -> bool {
    let Some(end) = memchr::memchr(b']', text) else { return false };
    let numbers = text[..end].split(|&b| b == b',');
    let bytes: Option<Vec<u8>> =
        numbers.map(|number| std::str::from_utf8(number).ok()?.trim().parse().ok()).collect();
    bytes.is_some_and(|bytes| {
        out.push(&bytes);
        true
    })
}
