//! Where the messages of a block are whole: what is left is kept until the rest of it has come.

use super::{cri, docker};
use crate::scan::beginning::behind_nuls;

/// A line that has not ended is waited for over so many lines of other streams, then its writer is
/// gone.
pub(super) const MOST_OTHER_LINES: usize = 16;

/// How many bytes of a block of whole lines are whole messages of docker or CRI: up to the first
/// piece, at its end, of a line that goes on. Lines in no envelope are whole.
pub fn whole_bytes(block: &[u8]) -> usize {
    let mut whole = block.len();
    while let Some(start) = last_open_piece(&block[..whole]) {
        whole = start;
    }
    whole
}

/// Where the last entry of a stream begins, if it is a piece.
fn last_open_piece(block: &[u8]) -> Option<usize> {
    let mut end = block.len();
    let mut seen = [false; 2];
    for _ in 0..=MOST_OTHER_LINES {
        let text = &block[..end.checked_sub(1)?];
        let start = memchr::memrchr(b'\n', text).map_or(0, |at| at + 1);
        if let Some((stream, is_whole)) = piece(behind_nuls(&text[start..])) {
            if !is_whole && !seen[stream] {
                return Some(start);
            }
            seen[stream] = true;
        }
        if seen == [true; 2] {
            return None;
        }
        end = start;
    }
    None
}

/// The stream of an entry, and whether its line ends with it.
fn piece(line: &[u8]) -> Option<(usize, bool)> {
    match line.first()? {
        b'{' => docker::piece(line),
        b'0'..=b'9' => cri::entry(line.strip_suffix(b"\r").unwrap_or(line))
            .map(|entry| (entry.stream, entry.is_whole)),
        _ => None,
    }
}
