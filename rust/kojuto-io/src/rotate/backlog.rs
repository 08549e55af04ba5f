//! The bad days: the disk refuses, and lines wait in a bounded buffer.

use std::io;
use std::time::Instant;

use kojuto_core::logs::log_name::Tail;

use super::input::Seen;
use super::lines::LONG_LINE_BYTES;
use super::{CHUNK_BYTES, OnFull, RETRY, Rotator, Sink, Step, memchr, memrchr};
use crate::{Error, Result};

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
        if self.failing.is_none() {
            let full = match self.options.on_full {
                OnFull::Block => "then the producer waits",
                OnFull::DropOldest => "then the oldest lines are dropped",
                OnFull::DropNew => "then new lines are dropped",
            };
            let buffer = self.options.buffer;
            (self.on_event)(format!("{error}; keeping up to {buffer} bytes of lines, {full}"));
            self.mid_line = self.mid_line.or_else(|| {
                let Sink::Files(files) = &self.sink else { return None };
                files
                    .current
                    .as_ref()
                    .and_then(|current| current.ends_line().ok())
                    .map(|ends| !ends)
            });
            if self.backlog.is_empty() {
                self.backlog_mid_line = self.mid_line == Some(true);
            }
        }
        self.retreat();
        self.failing = Some(Instant::now() + RETRY);
        Ok(Step::Worked)
    }

    /// Takes the beginning of an unfinished line back from the file into the buffer, so that the
    /// file ends with a whole line if this process is killed before the disk works again.
    fn retreat(&mut self) {
        let Sink::Files(files) = &mut self.sink else { return };
        let Some(current) = &mut files.current else { return };
        if let Ok(Some(beginning)) = current.take_back(LONG_LINE_BYTES as u64) {
            files.directory.set_tail(Tail::Lost);
            for byte in beginning.into_iter().rev() {
                self.backlog.push_front(byte);
            }
            self.mid_line = Some(false);
        }
    }

    pub(super) fn step_with_backlog(&mut self, now: Instant) -> Result<Step> {
        let mut worked = false;
        if self.failing.is_none_or(|next| now >= next) {
            match self.write_backlog() {
                Ok(()) if self.backlog.is_empty() => {
                    self.recovered();
                    return Ok(Step::Worked);
                }
                Ok(()) => worked = true,
                Err(error) => {
                    self.refused(&error)?;
                }
            }
        }
        // Take more in, unless the end was asked for: what is in the pipe is safer there.
        let taken = if self.ending.is_some() { false } else { self.take_in()? };
        Ok(match (worked || taken, self.failing) {
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
            current.follow_truncation().map_err(Error::on_path(&path))?;
        }
        while !self.backlog.is_empty() {
            let due = self.is_due();
            let (front, _) = self.backlog.as_slices();
            let mut count = front.len().min(CHUNK_BYTES);
            if due {
                count = memchr(&front[..count]).map_or(count, |at| at + 1);
            }
            let piece: Vec<u8> = front[..count].to_vec();
            let (written, failed) = match self.write(&piece) {
                Ok(written) => (written, None),
                Err((written, error)) => (written, Some(error)),
            };
            if written > 0 {
                self.mid_line = Some(piece[written - 1] != b'\n');
                self.backlog.drain(..written);
                if self.backlog.is_empty() {
                    self.backlog.shrink_to(CHUNK_BYTES);
                }
                let Sink::Files(files) = &mut self.sink else { return Ok(()) };
                if let Some(current) = &mut files.current
                    && let Ok(Some(saved)) = current.rescue()
                {
                    for byte in saved.into_iter().rev() {
                        self.backlog.push_front(byte);
                    }
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
        self.mid_line = Some(self.backlog_mid_line);
        if self.failing.take().is_some() {
            let lost = self.dropped - std::mem::replace(&mut self.dropped_told, self.dropped);
            let drops =
                if lost > 0 { format!("; {lost} lines were dropped") } else { String::new() };
            (self.on_event)(format!("writing again{drops}"));
        }
        self.mark();
    }

    pub(super) fn has_room(&self) -> bool {
        self.options.on_full != OnFull::Block || self.backlog.len() < self.options.buffer
    }

    /// Takes lines out of the pipe into the buffer, as far as it reaches.
    pub(super) fn take_in(&mut self) -> Result<bool> {
        if !self.has_room() {
            return Ok(false);
        }
        let room = self.options.buffer.saturating_sub(self.backlog.len());
        let most = match self.options.on_full {
            OnFull::Block => room.min(LONG_LINE_BYTES),
            _ => LONG_LINE_BYTES,
        };
        match self.input.look(most)? {
            Seen::Bytes => {}
            Seen::Nothing => return Ok(false),
            Seen::End => {
                self.ended = true;
                return Ok(false);
            }
        }
        let mut bytes = self.input.bytes().to_vec();
        if self.input.can_peek()
            && let Some(newline) = memrchr(&bytes)
        {
            // Whoever comes after a kill finds the pipe at the beginning of a line.
            bytes.truncate(newline + 1);
        }
        // Before they leave the pipe: who is killed now has lost them.
        if let Sink::Files(files) = &mut self.sink {
            files.directory.set_tail(Tail::Lost);
        }
        self.input.consume(bytes.len())?;
        if self.options.on_full == OnFull::DropNew {
            self.take_in_or_drop(&bytes);
        } else {
            let (out, mid) = self.formatted(&bytes, self.backlog_mid_line);
            self.backlog.extend(out);
            self.backlog_mid_line = mid;
            if self.options.on_full == OnFull::DropOldest {
                self.drop_oldest();
            }
        }
        Ok(true)
    }

    /// Line by line: one that does not fit is dropped whole.
    pub(super) fn take_in_or_drop(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            let ends = piece.ends_with(b"\n");
            let begins = !self.backlog_mid_line && !self.skipping;
            let full = self.backlog.len() + piece.len() > self.options.buffer;
            if self.skipping || (begins && full) {
                self.dropped += u64::from(!self.skipping);
                self.skipping = !ends;
                continue;
            }
            let (out, mid) = self.formatted(piece, self.backlog_mid_line);
            self.backlog.extend(out);
            self.backlog_mid_line = mid;
        }
    }

    pub(super) fn drop_oldest(&mut self) {
        // The end of a line whose beginning is on disk stays.
        let mut from = match self.mid_line {
            Some(true) => {
                self.backlog.iter().position(|&byte| byte == b'\n').map_or(0, |at| at + 1)
            }
            _ => 0,
        };
        let head: Vec<u8> = self.backlog.range(..from).copied().collect();
        while self.backlog.len() - from > self.options.buffer {
            let Some(end) = self.backlog.range(from..).position(|&byte| byte == b'\n') else {
                break;
            };
            from += end + 1;
            self.dropped += 1;
        }
        if from > head.len() {
            self.backlog.drain(head.len()..from);
        }
    }
}
