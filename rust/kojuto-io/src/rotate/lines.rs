//! The good days: lines from the pipe into the file.

use std::borrow::Cow;
use std::io;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use kojuto_core::logs::line_end::without_cr;

use super::input::Seen;
use super::{CHUNK_BYTES, LINE_GRACE, RETRY, Rotator, Sink, Step, first_newline, last_newline};
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
        if let Sink::Files(files) = &mut self.sink {
            let Some(current) = &mut files.current else {
                // No line has come yet; with the first the file is made.
                return Ok(match self.input.look(CHUNK_BYTES)? {
                    Seen::Bytes => Step::Worked,
                    Seen::Nothing => Step::NeedInput,
                    Seen::End => Step::End,
                });
            };
            if let Err(error) = current.look_at_size() {
                return self.refused(&Error::on("log file")(error));
            }
        }
        self.step_through_memory()
    }

    /// Whether what was written of an unfinished line may stay: its rest is in the pipe.
    pub(super) fn keeps_torn(&self) -> bool {
        self.input.can_peek() && !self.options.with_time
    }

    /// Reads or looks at lines, stamps them, writes them, takes them out of the pipe.
    pub(super) fn step_through_memory(&mut self) -> Result<Step> {
        match self.input.look(CHUNK_BYTES.min(self.drain().max(1)))? {
            Seen::Nothing => return Ok(Step::NeedInput),
            Seen::End => return Ok(Step::End),
            Seen::Bytes => {}
        }
        let bytes = self.input.bytes();
        let in_line = self.mid_line == Some(true);
        let whole = last_newline(bytes).map_or(0, |at| at + 1);
        let count = match (self.input.can_peek(), self.options.with_time, whole) {
            // To the end of the line that has its stamp already.
            (true, true, _) if in_line => first_newline(bytes).map_or(bytes.len(), |at| at + 1),
            (true, true, 0) => {
                // An unfinished line: it may end any moment.
                let since = *self.waiting_since.get_or_insert_with(Instant::now);
                let long = bytes.len() >= LONG_LINE_BYTES;
                if !long && self.ending.is_none() && since.elapsed() < LINE_GRACE {
                    return Ok(Step::Pause(Duration::from_millis(5)));
                }
                return self.begin_long_line();
            }
            (false, ..) | (true, false, 0) => bytes.len(),
            (true, _, whole) => whole,
        };
        let count = self.cut_to_room(count);
        let (buffer, place) = self.input.lend();
        let step = self.write_through(&buffer[place.start..place.start + count], in_line);
        self.input.restore(buffer);
        step
    }

    /// Writes what was looked at, and takes it out of the pipe.
    fn write_through(&mut self, taken: &[u8], in_line: bool) -> Result<Step> {
        let (out, ends_mid) = self.formatted(taken, in_line);
        let noted = self.keeps_torn();
        if let (true, Sink::Files(files)) = (noted, &self.sink) {
            files.directory.set_writing(files.current.as_ref().map(|current| current.size));
        }
        let result = self.write(&out);
        self.drained(taken.len());
        let (written, failed) = match result {
            Ok(written) => (written, None),
            Err((written, error)) => (written, Some(error)),
        };
        if written < out.len() {
            if written > 0 {
                self.mid_line = Some(out[written - 1] != b'\n');
            }
            if let Some(error) = &failed {
                self.refused(error)?;
            }
            self.hold(&out[written..], ends_mid);
        }
        self.input.consume(taken.len())?;
        if let (true, Sink::Files(files)) = (noted, &self.sink) {
            files.directory.set_writing(None);
        }
        if written < out.len() {
            return Ok(Step::Worked);
        }
        self.mid_line = Some(ends_mid);
        self.written()
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

    /// The bytes as they are written, and whether they end in the middle of a line.
    pub(super) fn formatted<'b>(
        &mut self,
        bytes: &'b [u8],
        mut in_line: bool,
    ) -> (Cow<'b, [u8]>, bool) {
        let ends_mid = bytes.last().map_or(in_line, |&last| last != b'\n');
        let bytes = without_cr(bytes, &mut self.pending_cr);
        if !self.options.with_time {
            return (bytes, ends_mid);
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
        (Cow::Owned(out), ends_mid)
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
