//! A log that was changed in place: what was read last is found again by the bytes before the mark.

use std::io;

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
