//! Standard input's lines into dated files, or to standard output: the engine of `relaxlogs`.
//!
//! From a pipe the bytes move into the file inside the kernel, and nothing is held here: whatever
//! happens to this process, a line is in the file or in the pipe. Lines that get a stamp are
//! looked at while they are still in the pipe, written, and only then taken out of it. While the
//! disk refuses, lines wait in a bounded buffer.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::time::{Duration, Instant, SystemTime};

use kojuto_core::log_name::{Pattern, Tail, floor, stamp};

use crate::log_dir::{Current, LogDir};
use crate::log_input::{Input, Seen, duplicate};
use crate::log_keep::{Compressor, Keep, purge};
use crate::signals::{Signals, wait};
use crate::{Error, Result};

/// The signals of this engine; SIGINT is left out on request.
pub const SIGNALS: [i32; 6] =
    [libc::SIGTERM, libc::SIGINT, libc::SIGQUIT, libc::SIGHUP, libc::SIGUSR1, libc::SIGALRM];

const CHUNK_BYTES: usize = 1 << 20;

/// A line that is longer than this is written in pieces as it comes.
const LONG_LINE_BYTES: usize = 256 << 10;

/// The length of `[02/Jan/2006:15:04:05 +0900] `.
const STAMP_BYTES: usize = 29;

/// How long an unfinished line is waited for before what is there of it is written.
const LINE_PATIENCE: Duration = Duration::from_millis(80);

/// How often a disk that refuses is tried again.
const RETRY: Duration = Duration::from_millis(200);

/// How often old files are looked for.
const PURGE_EVERY: Duration = Duration::from_secs(60);

/// What happens to lines when the disk refuses them and the buffer is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFull {
    /// The producer waits.
    Block,
    /// The oldest lines of the buffer go.
    DropOldest,
    /// The lines that come go.
    DropNew,
}

/// What the user asked for.
#[derive(Debug)]
pub struct Options {
    /// Where the files are and how they are called; None writes to standard output.
    pub directory: Option<(std::path::PathBuf, Pattern)>,
    /// Permission bits of new files.
    pub mode: u32,
    /// Minutes of a period.
    pub rotation_minutes: i64,
    /// A file that has so many bytes is closed at the end of the line.
    pub max_size: Option<u64>,
    /// Which closed files stay.
    pub keep: Keep,
    /// `gz` or `zst`.
    pub compress: Option<String>,
    /// Whether each line gets the time.
    pub with_time: bool,
    /// Bytes that wait at most while the disk refuses.
    pub buffer: usize,
    /// See [`OnFull`].
    pub on_full: OnFull,
    /// How often what was written is made durable; None leaves that to the system.
    pub fsync: Option<Duration>,
    /// How long a disk that refuses is tried after SIGTERM.
    pub stop_timeout: Duration,
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// The signal, 0 at the end of the input.
    pub signal: i32,
    /// Lines that were dropped as `on_full` says.
    pub dropped: u64,
    /// Bytes that were read and could not be written.
    pub lost: u64,
}

#[derive(Debug)]
enum Sink {
    Output(std::fs::File),
    Files(Box<Files>),
}

#[derive(Debug)]
struct Files {
    directory: LogDir,
    pattern: Pattern,
    current: Option<Current>,
    compressor: Option<Compressor>,
    period: i64,
    fresh: bool,
    reopen: bool,
}

/// Local time at a glance: the offset is asked for once a second.
#[derive(Debug, Default)]
struct Clock {
    now: i64,
    offset: i64,
    stamped: i64,
    stamp: Vec<u8>,
}

impl Clock {
    fn wall(&mut self) -> i64 {
        let age = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let now = age.as_secs() as i64;
        if now != self.now {
            self.now = now;
            // SAFETY: all-zero is a valid tm; localtime_r fills it or answers null.
            let mut local: libc::tm = unsafe { std::mem::zeroed() };
            // SAFETY: both pointers are to locals.
            if !unsafe { libc::localtime_r(&now, &mut local) }.is_null() {
                self.offset = local.tm_gmtoff;
            }
        }
        now + self.offset
    }

    fn stamp(&mut self) -> &[u8] {
        let wall = self.wall();
        if wall != self.stamped || self.stamp.is_empty() {
            self.stamped = wall;
            self.stamp = stamp(wall, self.offset).into_bytes();
        }
        &self.stamp
    }
}

/// See the module's description.
pub struct Rotator<'a> {
    options: Options,
    input: Input,
    sink: Sink,
    signals: &'a Signals,
    on_event: &'a mut dyn FnMut(String),
    clock: Clock,
    /// The period of this turn of the loop.
    period: i64,
    /// Formatted bytes that the disk refused.
    backlog: VecDeque<u8>,
    /// Whether what was written last did not end a line; None when nobody looked yet.
    mid_line: Option<bool>,
    /// Whether the last byte put into the backlog did not end a line.
    backlog_mid_line: bool,
    failing: Option<Instant>,
    skipping: bool,
    ended: bool,
    dropped: u64,
    dropped_told: u64,
    stop: Option<(i32, Instant)>,
    stops: u32,
    drain: usize,
    splices: bool,
    waiting_since: Option<Instant>,
    unsynced: bool,
    next_sync: Instant,
    next_purge: Instant,
}

enum Step {
    Worked,
    NeedInput,
    Pause(Duration),
    End,
}

impl<'a> Rotator<'a> {
    /// Opens and locks the directory and mends what a killed predecessor left.
    ///
    /// # Errors
    /// [`Error::Busy`] and [`Error::Io`] of the directory.
    pub fn new(
        options: Options,
        (input, output): (RawFd, RawFd),
        signals: &'a Signals,
        on_event: &'a mut dyn FnMut(String),
    ) -> Result<Rotator<'a>> {
        let mut input = Input::new(input);
        let mut mid_line = Some(false);
        let mut clock = Clock::default();
        let period = floor(clock.wall(), options.rotation_minutes);
        let sink = if let Some((path, pattern)) = &options.directory {
            let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok();
            let inode = if input.can_peek() { input.pipe_inode() } else { None };
            let pipe = match (inode, boot) {
                (Some(inode), Some(boot)) => format!("{inode}:{}", boot.trim()),
                _ => String::new(),
            };
            let mut directory = LogDir::open(path, pattern.clone(), options.mode, pipe)?;
            let current = directory.resume()?;
            mid_line = Some(current.is_some());
            if let Some(current) = &current {
                directory.remember(current)?;
            }
            let compressor = options.compress.as_deref().and_then(Compressor::new);
            let mut files = Files {
                directory,
                pattern: pattern.clone(),
                period: i64::MIN,
                current,
                compressor,
                fresh: false,
                reopen: false,
            };
            if files.current.is_none() {
                files.renew(&options, period)?;
            }
            Sink::Files(Box::new(files))
        } else {
            input.stop_peeking();
            Sink::Output(duplicate(output).map_err(Error::on("standard output"))?)
        };
        let now = Instant::now();
        let splices = input.can_peek() && !options.with_time;
        Ok(Rotator {
            options,
            input,
            sink,
            signals,
            on_event,
            clock,
            period,
            backlog: VecDeque::new(),
            mid_line,
            backlog_mid_line: false,
            failing: None,
            skipping: false,
            ended: false,
            dropped: 0,
            dropped_told: 0,
            stop: None,
            stops: 0,
            drain: usize::MAX,
            splices,
            waiting_since: None,
            unsynced: false,
            next_sync: now,
            next_purge: now,
        })
    }

    /// Works until the input ends or a signal asks for the end.
    ///
    /// # Errors
    /// [`Error::Io`] on "standard input", or on "standard output" when the lines go there.
    pub fn run(&mut self) -> Result<Ended> {
        self.mark();
        loop {
            self.look_at_signals();
            let now = Instant::now();
            self.keep_house(now);
            if self.is_over(now)? {
                break;
            }
            let step = if self.failing.is_some() || !self.backlog.is_empty() {
                self.step_with_backlog(now)?
            } else {
                self.step()?
            };
            match step {
                Step::Worked => self.waiting_since = None,
                Step::NeedInput if self.stop.is_some() => break,
                Step::NeedInput => self.wait_for_input(self.pause(now))?,
                Step::Pause(pause) => {
                    wait(Some(self.signals), [], Some(pause.min(self.pause(now)))).map(|_| ())?;
                }
                Step::End => break,
            }
        }
        self.finish()
    }

    // -- the good days ------------------------------------------------------------------------

    fn step(&mut self) -> Result<Step> {
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
            return self.splice(most.min(self.drain), None);
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
    fn splice(&mut self, most: usize, mid_line: Option<bool>) -> Result<Step> {
        let Sink::Files(files) = &mut self.sink else { return Ok(Step::End) };
        let Some(current) = &mut files.current else { return Ok(Step::Worked) };
        let moved = match self.input.splice_into(current.file.as_raw_fd(), most) {
            Ok(0) => return Ok(Step::End),
            Ok(moved) => moved,
            Err(error) => match error.raw_os_error() {
                Some(libc::EAGAIN) => return Ok(Step::NeedInput),
                Some(libc::EINTR) => return Ok(Step::Worked),
                Some(libc::EINVAL | libc::ENOSYS | libc::EOPNOTSUPP) => {
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
        self.drain = self.drain.saturating_sub(moved);
        self.written()
    }

    /// Reads or looks at lines, stamps them, writes them, takes them out of the pipe.
    fn step_through_memory(&mut self) -> Result<Step> {
        match self.input.look(CHUNK_BYTES.min(self.drain.max(1)))? {
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
                if !long && self.stop.is_none() && since.elapsed() < LINE_PATIENCE {
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
        self.drain = self.drain.saturating_sub(count);
        match result {
            Ok(written) if written == out.len() => {
                self.input.consume(count)?;
                self.mid_line = Some(ends_mid);
                self.written()
            }
            Ok(written) | Err((written, _)) => {
                self.backlog.extend(&out[written..]);
                self.backlog_mid_line = ends_mid;
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
    fn cut_to_room(&self, count: usize) -> usize {
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
    fn begin_long_line(&mut self) -> Result<Step> {
        let stamp = self.clock.stamp().to_vec();
        match self.write(&stamp) {
            Ok(written) if written == stamp.len() => {}
            Ok(_) => return Ok(Step::Worked),
            Err((written, error)) => {
                self.backlog.extend(&stamp[written..]);
                self.mid_line = Some(true);
                self.backlog_mid_line = true;
                return self.refused(&error);
            }
        }
        self.mid_line = Some(true);
        self.mark();
        self.written()
    }

    fn formatted(&mut self, bytes: &[u8], mut in_line: bool) -> (Vec<u8>, bool) {
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
    fn write(&mut self, bytes: &[u8]) -> std::result::Result<usize, (usize, Error)> {
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

    fn write_out(&mut self, bytes: &[u8]) -> std::result::Result<usize, (usize, Error)> {
        let mut written = 0;
        while written < bytes.len() && self.stops < 2 {
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
    fn written(&mut self) -> Result<Step> {
        self.unsynced = true;
        let mark = self.mid_line == Some(false);
        if let Sink::Files(files) = &mut self.sink
            && let Some(current) = &mut files.current
            && let Ok(Some(saved)) = current.rescue()
        {
            let name = files.directory.path.join(&current.name);
            let mid = saved.last().is_some_and(|&byte| byte != b'\n');
            self.backlog.extend(saved);
            self.backlog_mid_line = mid;
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

    // -- files --------------------------------------------------------------------------------

    /// Whether another file should be begun at the end of the line.
    fn is_due(&self) -> bool {
        let Sink::Files(files) = &self.sink else { return false };
        let Some(current) = &files.current else { return true };
        files.fresh
            || files.reopen
            || self.period != files.period
            || self.options.max_size.is_some_and(|most| current.size >= most)
    }

    /// Begins another file if that is due and no line is unfinished.
    fn prepare(&mut self) -> Result<()> {
        if !self.is_due() {
            return Ok(());
        }
        let has_line = !self.backlog.is_empty() || self.input.has_bytes();
        let Sink::Files(files) = &mut self.sink else { return Ok(()) };
        // The turn of a period makes no empty file: the next line does.
        if files.current.is_some() && !files.fresh && !files.reopen && !has_line {
            return Ok(());
        }
        if let Some(current) = &files.current {
            let mid = match self.mid_line {
                Some(known) => known,
                None => !current.ends_line().map_err(Error::on("log file"))?,
            };
            self.mid_line = Some(mid);
            if mid {
                return Ok(());
            }
        }
        files.renew(&self.options, self.period)?;
        self.next_purge = Instant::now();
        self.mid_line = Some(false);
        self.mark();
        Ok(())
    }

    /// Tells the lock file what a torn end would mean from now on.
    fn mark(&mut self) {
        let in_memory = !self.backlog.is_empty() || !self.input.can_peek();
        let in_line = self.mid_line == Some(true);
        let tail = match (in_memory, self.splices || in_line) {
            (true, _) => Tail::Lost,
            (false, true) => Tail::InPipe,
            (false, false) => Tail::Again,
        };
        if let Sink::Files(files) = &mut self.sink {
            files.directory.set_tail(tail);
        }
    }

    // -- the bad days -------------------------------------------------------------------------

    /// The disk said no: lines wait from now on.
    fn refused(&mut self, error: &Error) -> Result<Step> {
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
        self.failing = Some(Instant::now() + RETRY);
        Ok(Step::Worked)
    }

    fn step_with_backlog(&mut self, now: Instant) -> Result<Step> {
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
        let taken = if self.stop.is_some() { false } else { self.take_in()? };
        Ok(match (worked || taken, self.failing) {
            (true, _) | (_, None) => Step::Worked,
            (false, Some(next)) if self.has_room() && self.stop.is_none() && !self.ended => {
                let pause = next.saturating_duration_since(now);
                self.wait_for_input(pause)?;
                Step::Worked
            }
            (false, Some(next)) => Step::Pause(next.saturating_duration_since(now)),
        })
    }

    fn write_backlog(&mut self) -> Result<()> {
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

    fn recovered(&mut self) {
        self.mid_line = Some(self.backlog_mid_line);
        if self.failing.take().is_some() {
            let lost = self.dropped - std::mem::replace(&mut self.dropped_told, self.dropped);
            let drops =
                if lost > 0 { format!("; {lost} lines were dropped") } else { String::new() };
            (self.on_event)(format!("writing again{drops}"));
        }
        self.mark();
    }

    fn has_room(&self) -> bool {
        self.options.on_full != OnFull::Block || self.backlog.len() < self.options.buffer
    }

    /// Takes lines out of the pipe into the buffer, as far as it reaches.
    fn take_in(&mut self) -> Result<bool> {
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
        let bytes = self.input.bytes().to_vec();
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
    fn take_in_or_drop(&mut self, bytes: &[u8]) {
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

    fn drop_oldest(&mut self) {
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

    // -- signals, time, the end ---------------------------------------------------------------

    fn look_at_signals(&mut self) {
        if !self.signals.any() {
            return;
        }
        self.signals.clear();
        let hang_up = self.signals.take(libc::SIGHUP) > 0;
        let rotate = self.signals.take(libc::SIGUSR1) + self.signals.take(libc::SIGALRM) > 0;
        if let Sink::Files(files) = &mut self.sink {
            files.reopen |= hang_up;
            files.fresh |= rotate;
        }
        for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGQUIT] {
            let times = self.signals.take(signal);
            if times > 0 {
                self.stops += times;
                if self.stop.is_none() {
                    self.stop = Some((signal, Instant::now()));
                    self.drain = self.input.waiting();
                }
            }
        }
    }

    fn is_over(&mut self, now: Instant) -> Result<bool> {
        let Some((_, since)) = self.stop else { return Ok(false) };
        if self.failing.is_some() || !self.backlog.is_empty() {
            let late = now.duration_since(since) >= self.options.stop_timeout;
            return Ok(self.stops >= 2 || late);
        }
        if self.drain > 0 {
            return Ok(false);
        }
        // The pipe held so much; a line that was cut there still ends.
        if self.mid_line.is_none()
            && let Sink::Files(files) = &self.sink
            && let Some(current) = &files.current
        {
            self.mid_line = Some(!current.ends_line().unwrap_or(true));
        }
        if self.mid_line != Some(true) || now.duration_since(since) > self.options.stop_timeout {
            return Ok(true);
        }
        match self.input.look(CHUNK_BYTES)? {
            Seen::Bytes => {
                let bytes = self.input.bytes();
                self.drain = memchr(bytes).map_or(bytes.len(), |at| at + 1);
                Ok(false)
            }
            Seen::End => Ok(true),
            Seen::Nothing => {
                if now.duration_since(since) > LINE_PATIENCE {
                    return Ok(true);
                }
                wait(
                    Some(self.signals),
                    [(self.input.as_raw_fd(), libc::POLLIN)],
                    Some(LINE_PATIENCE),
                )?;
                self.is_over(Instant::now())
            }
        }
    }

    fn wait_for_input(&self, pause: Duration) -> Result<()> {
        wait(Some(self.signals), [(self.input.as_raw_fd(), libc::POLLIN)], Some(pause)).map(|_| ())
    }

    /// How long nothing has to be done.
    fn pause(&self, now: Instant) -> Duration {
        let mut pause = PURGE_EVERY.min(self.next_purge.saturating_duration_since(now));
        if self.unsynced && self.options.fsync.is_some() {
            pause = pause.min(self.next_sync.saturating_duration_since(now));
        }
        if let Sink::Files(files) = &self.sink {
            if files.compressor.as_ref().is_some_and(Compressor::is_busy) {
                pause = pause.min(Duration::from_millis(100));
            }
            if files.fresh || files.reopen {
                pause = pause.min(LINE_PATIENCE);
            }
        }
        pause
    }

    fn keep_house(&mut self, now: Instant) {
        self.period = floor(self.clock.wall(), self.options.rotation_minutes);
        if let (Some(every), true) = (self.options.fsync, self.unsynced)
            && now >= self.next_sync
        {
            self.next_sync = now + every;
            self.unsynced = false;
            self.sync();
        }
        let Sink::Files(files) = &mut self.sink else { return };
        let forced = files.fresh || files.reopen;
        let current = files.current.as_ref().map_or("", |current| &current.name);
        if let Some(compressor) = &mut files.compressor
            && (compressor.is_busy() || now >= self.next_purge)
            && let Some(text) = compressor.step(&files.directory, current)
        {
            (self.on_event)(text);
        }
        if now >= self.next_purge {
            self.next_purge = now + PURGE_EVERY;
            let _ = purge(&files.directory, current, self.options.keep, SystemTime::now());
        }
        // Asked for by a signal: at once, even if no line comes.
        if forced
            && self.failing.is_none()
            && self.backlog.is_empty()
            && let Err(error) = self.prepare()
        {
            let _ = self.refused(&error);
        }
    }

    fn sync(&mut self) {
        if let Sink::Files(files) = &mut self.sink
            && let Some(current) = &files.current
            && let Err(error) = current.file.sync_data()
        {
            let path = files.directory.path.join(&current.name);
            (self.on_event)(format!("{}: fsync: {error}", path.display()));
        }
    }

    fn finish(&mut self) -> Result<Ended> {
        let (dropped, lost) = (self.dropped, self.backlog.len() as u64);
        let signal = self.stop.map_or(0, |(signal, _)| signal);
        if lost == 0 {
            let mid = match (self.mid_line, &self.sink) {
                (None, Sink::Files(files)) => files
                    .current
                    .as_ref()
                    .is_some_and(|current| !current.ends_line().unwrap_or(true)),
                (known, _) => known == Some(true),
            };
            if mid {
                self.write(b"\n").map_err(|(_, error)| error)?;
                // A successor on the same pipe goes on with the line.
                let whole = signal == 0 || !self.input.can_peek();
                if let Sink::Files(files) = &mut self.sink {
                    files.directory.set_tail(if whole { Tail::Lost } else { Tail::Closed });
                }
            }
        }
        if let Sink::Files(files) = &mut self.sink {
            if let Some(current) = &files.current {
                let path = files.directory.path.join(&current.name);
                current.file.sync_all().map_err(Error::on_path(&path))?;
            }
            files.directory.sync();
        }
        Ok(Ended { signal, dropped, lost })
    }
}

impl Files {
    fn renew(&mut self, options: &Options, period: i64) -> Result<()> {
        let base = self.pattern.format(period);
        let full = |size: u64| options.max_size.is_some_and(|most| size >= most);
        let next = self.directory.open_period(base, self.fresh, full)?;
        if let Some(old) = self.current.take()
            && options.fsync.is_some()
        {
            let _ = old.file.sync_data();
        }
        self.current = Some(next);
        self.period = period;
        (self.fresh, self.reopen) = (false, false);
        if let Some(compressor) = &mut self.compressor {
            compressor.rotated();
        }
        Ok(())
    }
}

fn memchr(bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(|&byte| byte == b'\n')
}

fn memrchr(bytes: &[u8]) -> Option<usize> {
    bytes.iter().rposition(|&byte| byte == b'\n')
}
