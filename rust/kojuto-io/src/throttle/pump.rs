//! Standard input to standard output at the rate of a [`Throttle`].
//!
//! From a pipe the bytes move by splice(2) inside the kernel: nothing is ever held here, so
//! nothing can be lost here. Where splice is refused (a file opened for appending, a terminal,
//! a sandbox) they are read and written, and what was read is written before the job ends. A reader
//! who stands still holds up the end that a signal asks for: then for [`LAST_BYTES`], else not at all.

use std::io;
use std::os::fd::{IntoRawFd, RawFd};
use std::time::{Duration, Instant};

use kojuto_core::budget::token_bucket::Grant;

use crate::error::no_such_call;
use crate::sys::descriptor;
use crate::sys::pipe::{self, is_pipe, widen};
use crate::sys::signals::{Signals, wait};
use crate::throttle::{REFRESH, Throttle};
use crate::{Error, Result};

/// The most that one system call moves.
const CHUNK_BYTES: usize = 1 << 20;

/// The size of the buffer where splice is refused.
const BUFFER_BYTES: usize = 256 << 10;

/// The most that is in one packet of a pipe (pipe(2), O_DIRECT; PIPE_BUF): what is not read of one
/// at once is gone, and the reader's end does not tell that there are packets.
const PACKET_BYTES: usize = 4096;

/// How long after a signal what was read may wait for a reader who does not take it.
pub const LAST_BYTES: Duration = Duration::from_secs(5);

/// A reader who takes bytes later than this was waited for.
const AT_ONCE: Duration = Duration::from_millis(1);

/// From this rate on pipes are made larger, which halves the wake-ups.
const LARGE_PIPE_RATE: u64 = 8_000_000;

/// The signals of a pump: two that end it, one that asks for a report.
pub const SIGNALS: [i32; 3] = [libc::SIGTERM, libc::SIGINT, libc::SIGUSR1];

/// What the user should see while the pump works.
#[derive(Debug)]
pub enum Event {
    /// Something to tell once.
    Warning(String),
    /// It is time for a report (the interval is over).
    Tick(Totals),
    /// SIGUSR1 asked for a report.
    Asked(Totals),
}

/// How far the pump is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Totals {
    /// Bytes that were written.
    pub bytes: u64,
    /// Since the pump was made.
    pub elapsed: Duration,
    /// Bytes a second that may pass now.
    pub share: u64,
    /// Live members of the budget.
    pub members: u32,
}

/// How a pump ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// At the end of the input.
    Eof,
    /// By this signal; everything that was read is written, or a warning says how much is not.
    Signal(i32),
}

enum Moved {
    Bytes(usize),
    Eof,
    NeedInput,
    NeedOutput,
    Refused,
    /// What was read could not be written until [`LAST_BYTES`] were over or a second signal came.
    Abandoned,
}

/// See the module's description.
pub struct Pump<'a> {
    throttle: &'a mut Throttle,
    signals: &'a Signals,
    input: RawFd,
    output: RawFd,
    report_every: Option<Duration>,
    next_report: Option<Instant>,
    start: Instant,
    bytes: u64,
    stop: Option<i32>,
    stops: u32,
    give_up: Option<Instant>,
    /// Whether somebody else was waited for since the budget was asked last.
    idle: bool,
    /// Since when nothing has passed because somebody else was waited for.
    idle_since: Option<Instant>,
    splices: bool,
    buffer: Vec<u8>,
    /// What was read and is not written yet is in the buffer from here to there.
    held: std::ops::Range<usize>,
    on_event: &'a mut dyn FnMut(Event),
}

impl<'a> Pump<'a> {
    /// A pump between two descriptors, which stay the caller's.
    pub fn new(
        throttle: &'a mut Throttle,
        signals: &'a Signals,
        (input, output): (RawFd, RawFd),
        report_every: Option<Duration>,
        on_event: &'a mut dyn FnMut(Event),
    ) -> Pump<'a> {
        let start = Instant::now();
        Pump {
            throttle,
            signals,
            input,
            output,
            report_every,
            next_report: report_every.map(|every| start + every),
            start,
            bytes: 0,
            stop: None,
            stops: 0,
            give_up: None,
            // Before it began nothing was missed.
            idle: true,
            idle_since: None,
            splices: is_pipe(input),
            buffer: Vec::new(),
            held: 0..0,
            on_event,
        }
    }

    /// How far it is; also after an error.
    pub fn totals(&self) -> Totals {
        Totals {
            bytes: self.bytes,
            elapsed: self.start.elapsed(),
            share: self.throttle.share(),
            members: self.throttle.members(),
        }
    }

    /// Works until the input ends, a signal comes or something fails.
    ///
    /// # Errors
    /// [`Error::Io`] on "standard input" or "standard output".
    pub fn run(&mut self) -> Result<End> {
        if self.throttle.share() >= LARGE_PIPE_RATE {
            widen(self.input);
            widen(self.output);
        }
        loop {
            self.look_at_signals();
            if let Some(signal) = self.stop {
                if let Moved::Bytes(bytes) = self.write_held(usize::MAX)? {
                    self.bytes += bytes as u64;
                }
                return Ok(End::Signal(signal));
            }
            let now = Instant::now();
            self.keep_up(now);
            if !std::mem::take(&mut self.idle) {
                self.throttle.make_up(now);
            }
            let granted = match self.throttle.allow(now, CHUNK_BYTES as u64) {
                Grant::Bytes(bytes) => bytes as usize,
                Grant::Wait(pause) => {
                    wait(Some(self.signals), [], Some(self.no_longer_than(now, pause)))?;
                    continue;
                }
            };
            let moved = if self.splices { self.splice(granted)? } else { self.copy(granted)? };
            match moved {
                Moved::Bytes(bytes) => {
                    self.bytes += bytes as u64;
                    self.throttle.take(Instant::now(), bytes as u64);
                    if bytes > 0 && self.idle_since.take().is_some() {
                        let told = self.throttle.reclaim(now);
                        told.into_iter().for_each(|text| (self.on_event)(Event::Warning(text)));
                    }
                }
                Moved::Eof => {
                    flush(self.output)?;
                    return Ok(End::Eof);
                }
                Moved::NeedInput => self.wait_for(self.input, libc::POLLIN)?,
                Moved::NeedOutput => self.wait_for(self.output, libc::POLLOUT)?,
                Moved::Refused => self.splices = false,
                Moved::Abandoned => return Ok(End::Signal(self.stop.unwrap_or(libc::SIGTERM))),
            }
        }
    }

    fn wait_for(&mut self, fd: RawFd, events: i16) -> Result<()> {
        // The time goes by without us: it is not made up.
        self.idle = true;
        let now = Instant::now();
        let since = *self.idle_since.get_or_insert(now);
        if now.duration_since(since) >= REFRESH {
            self.throttle.lend();
        }
        let pause = self.no_longer_than(now, Duration::from_secs(3600));
        wait(Some(self.signals), [(fd, events)], Some(pause)).map(|_| ())
    }

    /// `pause`, cut so that the next count of the members, the next report and the end of
    /// the grace after SIGTERM are not missed.
    fn no_longer_than(&self, now: Instant, pause: Duration) -> Duration {
        let dues = [self.throttle.next_count(), self.next_report, self.give_up];
        dues.into_iter().flatten().map(|due| due - now).fold(pause, Duration::min)
    }

    fn keep_up(&mut self, now: Instant) {
        if self.throttle.next_count().is_some_and(|due| now >= due)
            && let Some(warning) = self.throttle.refresh(now)
        {
            (self.on_event)(Event::Warning(warning));
        }
        if let (Some(due), Some(every)) = (self.next_report, self.report_every)
            && now >= due
        {
            self.next_report = Some((due + every).max(now + every / 2));
            let totals = self.totals();
            (self.on_event)(Event::Tick(totals));
        }
    }

    fn look_at_signals(&mut self) {
        if !self.signals.any() {
            return;
        }
        self.signals.clear();
        if self.signals.take(libc::SIGUSR1) > 0 {
            let totals = self.totals();
            (self.on_event)(Event::Asked(totals));
        }
        for signal in [libc::SIGTERM, libc::SIGINT] {
            let times = self.signals.take(signal);
            if times > 0 {
                self.stops += times;
                self.stop = self.stop.or(Some(signal));
                self.give_up = self.give_up.or(Some(Instant::now() + LAST_BYTES));
            }
        }
    }

    fn splice(&mut self, most: usize) -> Result<Moved> {
        let error = match pipe::splice(self.input, self.output, most) {
            Ok(0) => return Ok(Moved::Eof),
            Ok(moved) => return Ok(Moved::Bytes(moved)),
            Err(error) => error,
        };
        match error.raw_os_error() {
            Some(libc::EINTR) => Ok(Moved::Bytes(0)),
            Some(libc::EAGAIN) => {
                let [input] = wait(None, [(self.input, libc::POLLIN)], Some(Duration::ZERO))?;
                Ok(if input { Moved::NeedOutput } else { Moved::NeedInput })
            }
            _ if no_such_call(&error) => Ok(Moved::Refused),
            // A pipe that is open for reading is not at fault.
            _ => Err(Error::on("standard output")(error)),
        }
    }

    /// Reads if nothing is held, and writes at most `most` bytes of what is.
    fn copy(&mut self, most: usize) -> Result<Moved> {
        if !self.held.is_empty() {
            return self.write_held(most);
        }
        let [ready] = wait(None, [(self.input, libc::POLLIN)], Some(Duration::ZERO))?;
        if !ready {
            return Ok(Moved::NeedInput);
        }
        self.buffer.resize(BUFFER_BYTES, 0);
        let room = most.clamp(PACKET_BYTES, BUFFER_BYTES);
        match descriptor::read(self.input, &mut self.buffer[..room]) {
            Ok(0) => Ok(Moved::Eof),
            Ok(read) => {
                self.held = 0..read;
                self.write_held(most)
            }
            Err(error) => match error.kind() {
                io::ErrorKind::Interrupted => Ok(Moved::Bytes(0)),
                io::ErrorKind::WouldBlock => Ok(Moved::NeedInput),
                _ => Err(Error::on("standard input")(error)),
            },
        }
    }

    fn write_held(&mut self, most: usize) -> Result<Moved> {
        let held = self.held.clone();
        let count = most.min(held.len());
        let buffer = std::mem::take(&mut self.buffer);
        let result = self.write_all(&buffer[held.start..held.start + count]);
        self.buffer = buffer;
        self.held.start += count;
        result
    }

    fn write_all(&mut self, bytes: &[u8]) -> Result<Moved> {
        let mut rest = bytes;
        while !rest.is_empty() {
            self.look_at_signals();
            let late = self.give_up.is_some_and(|at| Instant::now() >= at);
            if late || self.stops >= 2 {
                let why = if late {
                    format!("the reader did not take them within {} s", LAST_BYTES.as_secs())
                } else {
                    "a second signal came".to_owned()
                };
                (self.on_event)(Event::Warning(format!(
                    "{} bytes that were read are not written: {why}",
                    rest.len()
                )));
                self.bytes += (bytes.len() - rest.len()) as u64;
                return Ok(Moved::Abandoned);
            }
            let before = Instant::now();
            self.keep_up(before);
            let pause = self.no_longer_than(before, Duration::from_secs(3600));
            let [ready] = wait(Some(self.signals), [(self.output, libc::POLLOUT)], Some(pause))?;
            self.idle |= before.elapsed() > AT_ONCE;
            if !ready {
                continue;
            }
            let error = match descriptor::write(self.output, rest) {
                Ok(written) => {
                    rest = &rest[written..];
                    continue;
                }
                Err(error) => error,
            };
            if !matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock) {
                self.bytes += (bytes.len() - rest.len()) as u64;
                return Err(Error::on("standard output")(error));
            }
        }
        Ok(Moved::Bytes(bytes.len()))
    }
}

/// Closes a copy of the descriptor: network filesystems and quotas tell only then that what was
/// written did not reach the disk.
fn flush(fd: RawFd) -> Result<()> {
    let Ok(copy) = descriptor::duplicate(fd) else { return Ok(()) };
    // SAFETY: the copy is ours and closed once. By hand, for an owner that is dropped tells nothing.
    if unsafe { libc::close(copy.into_raw_fd()) } != 0 {
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(Error::on("standard output")(error));
        }
    }
    Ok(())
}
