//! The bad days: the disk refuses, and lines wait in a bounded buffer.

use std::collections::VecDeque;
use std::io;
use std::time::Instant;

use kojuto_core::logs::log_name::Tail;

use super::input::Seen;
use super::lines::LONG_LINE_BYTES;
use super::{CHUNK_BYTES, OnFull, RETRY, Rotator, Sink, Step, first_newline, last_newline};
use crate::{Error, Result};

/// Lines that the disk has not taken.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// As they are to be written.
    pub(super) bytes: VecDeque<u8>,
    /// Whether the last byte that was added did not end a line.
    pub(super) mid_line: bool,
    /// When the disk is tried next, while it refuses.
    pub(super) retry_at: Option<Instant>,
    /// What comes is the rest of a line that was dropped.
    skipping: bool,
    /// How much at the front is the end of a line whose beginning is on disk, once it is known.
    begun_bytes: Option<usize>,
    /// Lines.
    pub(super) dropped: u64,
    dropped_told: u64,
}

/// Whether the beginning of the first line is on disk.
#[derive(Debug, Clone, Copy)]
struct Begun(bool);

impl Held {
    pub(super) fn add(&mut self, bytes: &[u8], mid_line: bool) {
        self.bytes.extend(bytes);
        self.mid_line = mid_line;
    }

    /// Puts what was in a file already before all others.
    fn put_back(&mut self, bytes: &[u8]) {
        for &byte in bytes.iter().rev() {
            self.bytes.push_front(byte);
        }
        self.begun_bytes = None;
    }

    /// Adds a line, or a piece of one, and keeps to `most` bytes: the oldest whole lines go when
    /// `oldest` is set, else the new line does. Of a line that is longer than all of the room, or
    /// whose beginning is here already, the rest goes. With `begun`, the end of a line whose
    /// beginning is on disk stays.
    fn add_bounded(&mut self, piece: &[u8], most: usize, oldest: Option<Begun>) {
        let ends = piece.ends_with(b"\n");
        if self.skipping {
            self.skipping = !ends;
            if ends && self.mid_line {
                self.add(b"\n", false);
            }
            return;
        }
        if let Some(begun) = oldest {
            self.drop_oldest(most.saturating_sub(piece.len()), begun);
        }
        if self.bytes.len() + piece.len() <= most {
            self.add(piece, !ends);
            return;
        }
        self.dropped += 1;
        self.skipping = !ends;
        // What is here of the line is closed when its end comes.
        if self.mid_line && ends {
            self.add(b"\n", false);
        }
    }

    /// Drops the oldest whole lines that are more than `most` bytes.
    fn drop_oldest(&mut self, most: usize, Begun(begun): Begun) {
        if self.bytes.len() <= most {
            return;
        }
        let line_from = |from| self.bytes.range(from..).position(|&byte| byte == b'\n');
        let begin = match (begun, self.begun_bytes) {
            (false, _) => 0,
            (true, Some(known)) => known,
            (true, None) => match line_from(0) {
                Some(at) => at + 1,
                None => return,
            },
        };
        self.begun_bytes = begun.then_some(begin);
        let (mut end, mut lines) = (begin, 0);
        while self.bytes.len() - (end - begin) > most {
            let Some(length) = line_from(end) else { break };
            end += length + 1;
            lines += 1;
        }
        self.bytes.drain(begin..end);
        self.dropped += lines;
    }

    /// How many lines were dropped since this was asked last.
    pub(super) fn newly_dropped(&mut self) -> u64 {
        self.dropped - std::mem::replace(&mut self.dropped_told, self.dropped)
    }
}

/// Whether the file has reached a limit of the process (RLIMIT_FSIZE) or of the file system.
fn is_too_large(error: &Error) -> bool {
    matches!(error, Error::Io { source, .. } if source.raw_os_error() == Some(libc::EFBIG))
}

impl Rotator<'_> {
    /// The disk said no: lines wait from now on.
    pub(super) fn refused(&mut self, error: &Error) -> Result<Step> {
        if let Sink::Output(_) = self.sink {
            // Nobody can be waited for: a closed pipe stays closed.
            let Error::Io { what, source } = error else { return Err(Error::Cancelled) };
            let source = source
                .raw_os_error()
                .map_or(io::ErrorKind::Other.into(), io::Error::from_raw_os_error);
            return Err(Error::Io { what: what.clone(), source });
        }
        let is_first = self.held.retry_at.is_none();
        if is_first {
            self.look_for_a_torn_line();
        }
        let too_large = is_too_large(error);
        self.retreat(if too_large { self.options.buffer } else { LONG_LINE_BYTES });
        if too_large && self.leave_full_file(error) {
            return Ok(Step::Worked);
        }
        if is_first {
            let full = match self.options.on_full {
                OnFull::Block => "then the producer waits",
                OnFull::DropOldest => "then the oldest lines are dropped",
                OnFull::DropNew => "then new lines are dropped",
            };
            let buffer = self.options.buffer;
            (self.on_event)(format!("{error}; keeping up to {buffer} bytes of lines, {full}"));
        }
        if let Sink::Files(files) = &mut self.sink {
            files.doubt(error, self.mid_line == Some(true));
        }
        self.held.retry_at = Some(Instant::now() + RETRY);
        Ok(Step::Worked)
    }

    /// Before lines wait: whether they begin in the middle of one.
    fn look_for_a_torn_line(&mut self) {
        self.mid_line = self.mid_line.or_else(|| {
            let Sink::Files(files) = &self.sink else { return None };
            files.current.as_ref().and_then(|current| current.ends_line().ok()).map(|ends| !ends)
        });
        if self.held.bytes.is_empty() {
            self.held.mid_line = self.mid_line == Some(true);
        }
    }

    /// Has the next file begun where this one has reached the limit of its process or file system;
    /// not if that would be the same: the line alone is longer.
    fn leave_full_file(&mut self, error: &Error) -> bool {
        let Sink::Files(files) = &mut self.sink else { return false };
        let leaves = self.mid_line == Some(false)
            && files.current.as_ref().is_some_and(|current| current.size > 0);
        if leaves {
            files.fresh = true;
            if !std::mem::replace(&mut files.limit_told, true) {
                (self.on_event)(format!("{error}; going on in the next file"));
            }
        }
        leaves
    }

    /// Takes the beginning of an unfinished line, of at most so many bytes, back from the file into
    /// the buffer, so that the file ends with a whole line if this process is killed before the disk
    /// works again.
    fn retreat(&mut self, most: usize) {
        let Sink::Files(files) = &mut self.sink else { return };
        let Some(current) = &mut files.current else { return };
        if let Ok(Some(beginning)) = current.take_back(most as u64) {
            files.directory.set_tail(Tail::Lost);
            self.held.put_back(&beginning);
            self.mid_line = Some(false);
        }
    }

    pub(super) fn step_with_backlog(&mut self, now: Instant) -> Result<Step> {
        let mut worked = false;
        if self.held.retry_at.is_none_or(|next| now >= next) {
            match self.write_backlog() {
                Ok(()) if self.held.bytes.is_empty() && !self.held.skipping => {
                    self.recovered();
                    return Ok(Step::Worked);
                }
                // First comes the end of a line that was dropped.
                Ok(()) if self.held.bytes.is_empty() => self.held.retry_at = Some(now + RETRY),
                Ok(()) => worked = true,
                Err(error) => {
                    self.refused(&error)?;
                }
            }
        }
        // Take more in, unless the end was asked for: what is in the pipe is safer there.
        let is_safer_there = self.ending.is_some() && !self.held.bytes.is_empty();
        let taken = if is_safer_there { false } else { self.take_in()? };
        if self.ending.is_some() && !taken && self.held.bytes.is_empty() {
            (self.held.skipping, self.held.retry_at) = (false, Some(now));
        }
        Ok(match (worked || taken, self.held.retry_at) {
            (true, _) | (_, None) => Step::Worked,
            (false, Some(next)) if self.has_room() && self.ending.is_none() && !self.ended => {
                let pause = next.saturating_duration_since(now);
                self.wait_for_input(pause)?;
                Step::Worked
            }
            (false, Some(next)) => Step::Pause(next.saturating_duration_since(now)),
        })
    }

    pub(super) fn write_backlog(&mut self) -> Result<()> {
        self.prepare()?;
        if let Sink::Files(files) = &mut self.sink
            && let Some(current) = &mut files.current
        {
            let path = files.directory.path.join(&current.name);
            current.look_at_size().map_err(Error::on_path(&path))?;
        }
        while !self.held.bytes.is_empty() {
            let due = self.is_due();
            let (front, _) = self.held.bytes.as_slices();
            let mut count = front.len().min(CHUNK_BYTES);
            if due {
                count = first_newline(&front[..count]).map_or(count, |at| at + 1);
            }
            let piece: Vec<u8> = front[..count].to_vec();
            let (written, failed) = match self.write(&piece) {
                Ok(written) => (written, None),
                Err((written, error)) => (written, Some(error)),
            };
            if written > 0 {
                self.mid_line = Some(piece[written - 1] != b'\n');
                self.held.bytes.drain(..written);
                self.held.begun_bytes = None;
                if self.held.bytes.is_empty() {
                    self.held.bytes.shrink_to(CHUNK_BYTES);
                }
                let Sink::Files(files) = &mut self.sink else { return Ok(()) };
                if let Some(current) = &mut files.current
                    && let Ok(Some(saved)) = current.rescue()
                {
                    self.held.put_back(&saved);
                    self.mid_line = Some(false);
                    files.current = None;
                    return Ok(());
                }
            }
            if let Some(error) = failed {
                return Err(error);
            }
            self.prepare()?;
        }
        self.unsynced = true;
        Ok(())
    }

    pub(super) fn recovered(&mut self) {
        self.mid_line = Some(self.held.mid_line);
        if self.held.retry_at.take().is_some() {
            let lost = self.held.newly_dropped();
            let drops =
                if lost > 0 { format!("; {lost} lines were dropped") } else { String::new() };
            (self.on_event)(format!("writing again{drops}"));
        }
        self.mark();
    }

    pub(super) fn has_room(&self) -> bool {
        self.options.on_full != OnFull::Block || self.held.bytes.len() < self.options.buffer
    }

    /// Takes lines out of the pipe into the buffer, as far as it reaches.
    pub(super) fn take_in(&mut self) -> Result<bool> {
        if !self.has_room() {
            return Ok(false);
        }
        let room = self.options.buffer.saturating_sub(self.held.bytes.len());
        let most = match self.options.on_full {
            OnFull::Block => room.min(LONG_LINE_BYTES),
            _ => LONG_LINE_BYTES,
        };
        match self.input.look(most)? {
            Seen::Bytes => {}
            Seen::Nothing => return Ok(false),
            Seen::End => {
                self.ended = true;
                self.held.skipping = false;
                return Ok(false);
            }
        }
        let mut bytes = self.input.bytes().to_vec();
        if self.input.can_peek()
            && let Some(newline) = last_newline(&bytes)
        {
            // Whoever comes after a kill finds the pipe at the beginning of a line.
            bytes.truncate(newline + 1);
        }
        // Before they leave the pipe: who is killed now has lost them.
        if let Sink::Files(files) = &mut self.sink {
            files.directory.set_tail(Tail::Lost);
        }
        self.input.consume(bytes.len())?;
        self.drained(bytes.len());
        let in_line = self.held.mid_line || self.held.skipping;
        let (out, mid) = self.formatted(&bytes, in_line);
        self.hold(&out, mid);
        Ok(true)
    }

    /// Keeps lines that are as they are to be written: all of them where the producer waits, else
    /// one by one as far as there is room.
    pub(super) fn hold(&mut self, out: &[u8], ends_mid: bool) {
        if self.options.on_full == OnFull::Block {
            self.held.add(out, ends_mid);
            return;
        }
        let begun = Begun(self.mid_line == Some(true));
        let oldest = (self.options.on_full == OnFull::DropOldest).then_some(begun);
        for piece in out.split_inclusive(|&byte| byte == b'\n') {
            self.held.add_bounded(piece, self.options.buffer, oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holding(bytes: &[u8]) -> Held {
        let mut held = Held::default();
        held.add(bytes, !bytes.ends_with(b"\n"));
        held
    }

    fn text(held: &Held) -> String {
        String::from_utf8(held.bytes.iter().copied().collect()).unwrap()
    }

    #[test]
    fn the_oldest_lines_go_and_the_end_of_one_that_was_begun_stays() {
        for (most, begun, left, dropped) in [
            (10, false, "a\nbb\nccc\nd", 0),
            (9, false, "bb\nccc\nd", 1),
            (8, false, "bb\nccc\nd", 1),
            (7, false, "ccc\nd", 2),
            (8, true, "a\nccc\nd", 1),
            (5, true, "a\nd", 2),
            (0, false, "d", 3), // one that has no end yet cannot be dropped
        ] {
            let mut held = holding(b"a\nbb\nccc\nd");
            held.drop_oldest(most, Begun(begun));
            assert_eq!((text(&held).as_str(), held.dropped), (left, dropped), "{most} {begun}");
        }
    }

    #[test]
    fn a_new_line_that_does_not_fit_is_dropped_to_its_end_and_counted_once() {
        let mut held = holding(b"1234\n");
        for piece in [&b"6789"[..], b"0", b"\n", b"67\n"] {
            held.add_bounded(piece, 8, None);
        }
        assert_eq!(text(&held), "1234\n67\n");
        assert_eq!((held.newly_dropped(), held.newly_dropped()), (1, 0));
    }

    #[test]
    fn the_rest_of_a_line_without_an_end_goes_and_what_is_here_of_it_is_closed() {
        for oldest in [None, Some(Begun(false)), Some(Begun(true))] {
            let mut held = holding(b"456");
            for piece in [&b"78"[..], b"xxxx", b"yyyy", b"zz\n", b"9\n"] {
                held.add_bounded(piece, 8, oldest);
            }
            assert_eq!(text(&held).split('\n').next(), Some("45678"), "{oldest:?}");
            assert_eq!(held.dropped, 1);
            assert!(held.bytes.len() <= 9);
        }
    }

    #[test]
    fn what_is_put_back_comes_first() {
        let mut held = holding(b"4567");
        held.add(b"89\n", false);
        held.put_back(b"123");
        assert_eq!(text(&held), "123456789\n");
        assert_eq!(held.dropped, 0);
    }
}
