//! The end of what was read, in a log that was changed in place: found again by the bytes before the
//! mark; and the end of the last whole line of a log.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use kojuto_core::logs::position::{Mark, Print};

use super::source::{STRONG_BYTES, Source, read_at_most};

impl Source {
    /// Moves to the mark if this same file has the bytes before it still, whatever its beginning
    /// has become: a hole, say.
    pub(super) fn seek_tail(&mut self, mark: &Mark) -> io::Result<bool> {
        let Some(tail) = mark.tail.filter(|tail| tail.len >= STRONG_BYTES) else {
            return Ok(false);
        };
        let is_same = self.identity.fits(mark) && self.identity.born.is_some();
        if !is_same || self.size()? < mark.pos || !self.move_to(mark.pos)? {
            return Ok(false);
        }
        let before = self.before();
        let near = &before[before.len().saturating_sub(tail.len as usize)..];
        Ok(Print::of(near) == tail && near.iter().any(|&byte| byte != 0))
    }

    /// The place where the bytes before the mark stand in a plain file, when they stand at one
    /// place only and are a whole line at least: what comes before was read, wherever it stood.
    pub(super) fn find_tail(&self, mark: &Mark) -> io::Result<Option<u64>> {
        let Some(tail) = mark.tail.filter(|tail| tail.len >= STRONG_BYTES && !mark.skip) else {
            return Ok(None);
        };
        let Some(file) = self.plain_file() else { return Ok(None) };
        let length = tail.len as usize;
        let mut found = None;
        let mut buffer = vec![0u8; 1 << 18];
        let mut start = 0;
        loop {
            let count = read_at_most(file, &mut buffer, start)?;
            let ends = (length..=count).filter(|&end| buffer[end - 1] == b'\n');
            for end in ends.filter(|&end| Print::of(&buffer[end - length..end]) == tail) {
                // Of a line that is not whole, the rest may be like that of many.
                if !buffer[end - length..end - 1].contains(&b'\n') {
                    continue;
                }
                let place = start + end as u64;
                if found.is_some_and(|found| found != place) {
                    return Ok(None);
                }
                found = Some(place);
            }
            if count < buffer.len() {
                return Ok(found);
            }
            start += (count - length) as u64;
        }
    }
}

/// The place after the last line feed before `size`, or `None` when the last line is longer than
/// `max_line_bytes`.
pub(super) fn last_line_end(
    file: &File,
    size: u64,
    max_line_bytes: usize,
) -> io::Result<Option<u64>> {
    let mut buffer = vec![0u8; 64 * 1024];
    let mut end = size;
    while end > 0 && size - end <= max_line_bytes as u64 {
        let start = end.saturating_sub(buffer.len() as u64);
        let part = &mut buffer[..(end - start) as usize];
        file.read_exact_at(part, start)?;
        if let Some(at) = part.iter().rposition(|&byte| byte == b'\n') {
            return Ok(Some(start + at as u64 + 1));
        }
        end = start;
    }
    Ok((end == 0).then_some(0))
}
