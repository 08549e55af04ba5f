//! Whether bytes tell a file from all others. Those of a log in which the same line comes again and
//! again do not, nor do those of one line alone, nor a few.

use std::io;

use kojuto_core::logs::position::{Known, WINDOW_BYTES};

use super::source::{STRONG_BYTES, Source};

/// So much is looked at to see whether the same comes again: lines of half of it.
const REPEAT_BYTES: usize = 16 << 10;

/// Whether the bytes that a known file and this one have in common tell them from others: those at
/// the beginning, or those before the place up to which it is known.
pub(super) fn tells(source: &Source, known: &Known) -> io::Result<bool> {
    let length = known.head.len as usize;
    let head = source.first_bytes(REPEAT_BYTES)?;
    if do_tell(&head[..length.min(head.len())]) && do_tell(&head) {
        return Ok(true);
    }
    if known.tail.is_none() || length < WINDOW_BYTES {
        return Ok(false);
    }
    let before = source.bytes_before(known.pos, REPEAT_BYTES)?.unwrap_or_default();
    Ok(do_tell(&before[before.len().saturating_sub(WINDOW_BYTES)..]) && do_tell(&before))
}

pub(super) fn do_tell(bytes: &[u8]) -> bool {
    let mut seen = [false; 256];
    bytes.iter().for_each(|&byte| seen[usize::from(byte)] = true);
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let is_one_line = !bytes.contains(&b'\n') && bytes.len() < WINDOW_BYTES - 1;
    bytes.len() >= STRONG_BYTES as usize
        && seen.iter().filter(|&&seen| seen).count() >= 8
        && !is_one_line
        && period(bytes) > bytes.len().div_ceil(2)
}

/// After how many bytes the same comes again (Knuth, Morris and Pratt, 1977); the length when it
/// does not.
fn period(bytes: &[u8]) -> usize {
    let mut borders = vec![0; bytes.len()];
    let mut border = 0;
    for at in 1..bytes.len() {
        while border > 0 && bytes[at] != bytes[border] {
            border = borders[border - 1];
        }
        border += usize::from(bytes[at] == bytes[border]);
        borders[at] = border;
    }
    bytes.len() - border
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_again_and_again_tells_nothing() {
        let line = "GET /health HTTP/1.1 200 0.001 kube-probe\n";
        let lines = |count: u32| (0..count).map(|n| format!("{n} {line}")).collect::<String>();
        for (text, told) in [
            (line.repeat(2), false),
            (line.repeat(100), false),
            (line.repeat(100)[13..1037].to_owned(), false),
            (format!("{line}another one\n").repeat(20), false),
            (format!("{}\n", line.trim().repeat(2)), false),
            ("x".repeat(1023) + "\n", false),
            ("ab\n".to_owned(), false),
            (lines(1), false),
            (lines(2), true),
            (lines(20), true),
            (lines(20)[..700].to_owned(), true),
        ] {
            assert_eq!(do_tell(text.as_bytes()), told, "{text}");
        }
    }

    #[test]
    fn a_period_is_the_shortest_one() {
        for (text, length) in
            [("", 0), ("a", 1), ("aaaa", 1), ("abab", 2), ("abaab", 3), ("abc", 3)]
        {
            assert_eq!(period(text.as_bytes()), length, "{text}");
        }
    }
}
