//! The good days: lines from the pipe into the file.

use std::io;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use super::input::Seen;
use super::{CHUNK_BYTES, LINE_GRACE, RETRY, Rotator, Sink, Step, memchr, memrchr};
use crate::error::no_such_call;
use crate::sys::signals::wait;
use crate::{Error, Result};

/// A line that is longer than this is written in pieces as it comes.
pub(super) const LONG_LINE_BYTES: usize = 256 << 10;

/// The length of `[02/Jan/2006:15:04:05 +0900] `.
const STAMP_BYTES: usize = 29;

impl Rotator<'_> {
    pub(super) fn step(&mut self) -> Result<Step> {
        match self.prepare() {
            Ok(()) => {}
            Err(error) => return self.refused(&error),
        }
        let due = self.is_due();
        let Sink::Files(files) = &mut self.sink else { return self.step_through_memory() };
        let Some(current) = &mut files.current else { return self.step_through_memory() };
        if !self.input.can_peek() {
            return self.step_through_memory();
        }
        if let Err(error) = current.follow_truncation() {
            return self.refused(&Error::on("log file")(error));
        }
        let in_line = self.mid_line == Some(true);
        if self.splices && !due {
            let room =
                self.options.max_size.map_or(u64::MAX, |most| most.saturating_sub(current.size));
            let most = (CHUNK_BYTES as u64).min(room.max(1)) as usize;
            return self.splice(most.min(self.drain()), None);
        }
        if in_line || self.splices {
            // To the end of the line and no further.
            return match self.input.look(CHUNK_BYTES)? {
                Seen::Nothing => Ok(Step::NeedInput),
                Seen::End => Ok(Step::End),
                Seen::Bytes => {
                    let bytes = self.input.bytes();
                    let newline = memchr(bytes);
                    let count = newline.map_or(bytes.len(), |at| at + 1);
                    self.splice(count, Some(newline.is_none()))
                }
            };
        }
        self.step_through_memory()
    }

    /// Moves up to `most` bytes into the file; `mid_line` is what is known when all of them moved.
    pub(super) fn splice(&mut self, most: usize, mid_line: Option<bool>) -> Result<Step> {
        let Sink::Files(files) = &mut self.sink else { return Ok(Step::End) };
        let Some(current) = &mut files.current else { return Ok(Step::Worked) };
        let moved = match self.input.splice_into(current.file.as_raw_fd(), most) {
            Ok(0) => return Ok(Step::End),
            Ok(moved) => moved,
            Err(error) => match error.raw_os_error() {
                Some(libc::EAGAIN) => return Ok(Step::NeedInput),
                Some(libc::EINTR) => return Ok(Step::Worked),
                _ if no_such_call(&error) => {
                    self.splices = false;
                    self.input.stop_peeking();
                    self.mark();
                    return Ok(Step::Worked);
                }
                _ => {
                    let path = files.directory.path.join(&current.name);
                    return self.refused(&Error::on_path(&path)(error));
                }
            },
        };
        current.size += moved as u64;
        self.mid_line = if moved == most { mid_line } else { mid_line.and(Some(true)) };
        self.drained(moved);
        self.written()
    }

    /// Reads or looks at lines, stamps them, writes them, takes them out of the pipe.
    pub(super) fn step_through_memory(&mut self) -> Result<Step> {
        match self.input.look(CHUNK_BYTES.min(self.drain().max(1)))? {
            Seen::Nothing => return Ok(Step::NeedInput),
            Seen::End => return Ok(Step::End),
            Seen::Bytes => {}
        }
        let peeks = self.input.can_peek();
        let bytes = self.input.bytes();
        let whole = memrchr(bytes).map_or(0, |at| at + 1);
        let count = match (peeks, whole) {
            (false, _) => bytes.len(),
            (true, 0) => {
                // An unfinished line: it may end any moment.
                let since = *self.waiting_since.get_or_insert_with(Instant::now);
                let long = bytes.len() >= LONG_LINE_BYTES;
                if !long && self.ending.is_none() && since.elapsed() < LINE_GRACE {
                    return Ok(Step::Pause(Duration::from_millis(5)));
                }
                return self.begin_long_line();
            }
            (true, whole) => whole,
        };
        let count = self.cut_to_room(count);
        let taken: Vec<u8> = self.input.bytes()[..count].to_vec();
        let (out, ends_mid) = self.formatted(&taken, self.mid_line == Some(true));
        let result = self.write(&out);
        self.drained(count);
        match result {
            Ok(written) if written == out.len() => {
                self.input.consume(count)?;
                self.mid_line = Some(ends_mid);
                self.written()
            }
            Ok(written) | Err((written, _)) => {
                self.held.add(&out[written..], ends_mid);
                if written > 0 {
                    self.mid_line = Some(out[written - 1] != b'\n');
                }
                let step = match result {
                    Err((_, error)) => self.refused(&error)?,
                    Ok(_) => Step::Worked,
                };
                self.input.consume(count)?;
                Ok(step)
            }
        }
    }

    /// How many of the first `count` bytes fit before the file is full, up to the end of a line.
    pub(super) fn cut_to_room(&self, count: usize) -> usize {
        let Sink::Files(files) = &self.sink else { return count };
        let due = self.is_due();
        let room = match (&files.current, self.options.max_size) {
            (Some(_), _) if due => 0,
            (Some(current), Some(most)) => most.saturating_sub(current.size) as usize,
            _ => return count,
        };
        let stamp = if self.options.with_time { STAMP_BYTES } else { 0 };
        let (mut taken, mut written) = (0, 0);
        for line in self.input.bytes()[..count].split_inclusive(|&byte| byte == b'\n') {
            taken += line.len();
            written += line.len() + stamp;
            if written >= room {
                break;
            }
        }
        taken
    }

    /// Writes the stamp of a line whose rest is then moved without looking at it.
    pub(super) fn begin_long_line(&mut self) -> Result<Step> {
        let stamp = self.clock.stamp().to_vec();
        match self.write(&stamp) {
            Ok(written) if written == stamp.len() => {}
            Ok(_) => return Ok(Step::Worked),
            Err((written, error)) => {
                self.held.add(&stamp[written..], true);
                self.mid_line = Some(true);
                return self.refused(&error);
            }
        }
        self.mid_line = Some(true);
        self.mark();
        self.written()
    }

    pub(super) fn formatted(&mut self, bytes: &[u8], mut in_line: bool) -> (Vec<u8>, bool) {
        let ends_mid = bytes.last().map_or(in_line, |&last| last != b'\n');
        if !self.options.with_time {
            return (bytes.to_vec(), ends_mid);
        }
        let stamp = self.clock.stamp();
        let mut out = Vec::with_capacity(bytes.len() * 2);
        for line in bytes.split_inclusive(|&byte| byte == b'\n') {
            if !in_line {
                out.extend_from_slice(stamp);
            }
            out.extend_from_slice(line);
            in_line = false;
        }
        (out, ends_mid)
    }

    /// Writes all it can; the error says how far it came.
    pub(super) fn write(&mut self, bytes: &[u8]) -> std::result::Result<usize, (usize, Error)> {
        match &mut self.sink {
            Sink::Files(files) => {
                let Some(current) = &mut files.current else { return Ok(0) };
                let before = current.size;
                let result = current.write_all(bytes);
                let written = (current.size - before) as usize;
                let path = files.directory.path.join(&current.name);
                result.map(|()| written).map_err(|e| (written, Error::on_path(&path)(e)))
            }
            Sink::Output(_) => self.write_out(bytes),
        }
    }

    pub(super) fn write_out(&mut self, bytes: &[u8]) -> std::result::Result<usize, (usize, Error)> {
        let mut written = 0;
        while written < bytes.len() && !self.is_cut_short() {
            let Sink::Output(file) = &mut self.sink else { break };
            match io::Write::write(file, &bytes[written..]) {
                Ok(count) => written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => self.look_at_signals(),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let fd = file.as_raw_fd();
                    let _ = wait(Some(self.signals), [(fd, libc::POLLOUT)], Some(RETRY));
                    self.look_at_signals();
                }
                Err(error) => return Err((written, Error::on("standard output")(error))),
            }
        }
        Ok(written)
    }

    /// After a write: is the file still where it should be? Lines in a removed file go again.
    pub(super) fn written(&mut self) -> Result<Step> {
        self.unsynced = true;
        let mark = self.mid_line == Some(false);
        if let Sink::Files(files) = &mut self.sink
            && let Some(current) = &mut files.current
            && let Ok(Some(saved)) = current.rescue()
        {
            let name = files.directory.path.join(&current.name);
            let mid = saved.last().is_some_and(|&byte| byte != b'\n');
            self.held.add(&saved, mid);
            self.mid_line = Some(false);
            files.current = None;
            files.reopen = true;
            (self.on_event)(format!("{} was removed; making it again", name.display()));
            self.mark();
            return Ok(Step::Worked);
        }
        if mark {
            self.mark();
        }
        Ok(Step::Worked)
    }
}
