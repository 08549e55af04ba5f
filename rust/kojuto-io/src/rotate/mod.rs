//! Standard input's lines into dated files, or to standard output: the engine of `relaxlogs`.
//!
//! Lines are looked at while they are still in the pipe, written at the end of the file, and only
//! then taken out of the pipe: whatever happens to this process, a line is in the file or in the
//! pipe. splice(2) would copy once less, but it writes to no file that is open for appending, where
//! the kernel finds the end, and it shows no CR. While the disk refuses, lines wait in a bounded
//! buffer.

mod backlog;
mod child;
mod compress;
mod current;
mod directory;
mod files;
mod hook;
mod housekeeping;
mod input;
mod keep;
mod lines;
mod link;
mod listing;

use std::os::fd::RawFd;
use std::time::{Duration, Instant};

use kojuto_core::logs::log_name::{Pattern, floor};

use crate::sys::descriptor::duplicate;
use crate::sys::signals::{Signals, wait};
use crate::{Error, Result};
use backlog::Held;
use files::{Clock, Files};
use input::Input;

pub use hook::Hook;
pub use keep::Keep;

/// The signals of this engine; SIGINT and SIGTERM are left out on request.
pub const SIGNALS: [i32; 6] =
    [libc::SIGTERM, libc::SIGINT, libc::SIGQUIT, libc::SIGHUP, libc::SIGUSR1, libc::SIGALRM];

const CHUNK_BYTES: usize = 1 << 20;

/// How long an unfinished line is waited for before what is there of it is written.
const LINE_GRACE: Duration = Duration::from_millis(80);

/// How often a disk that refuses is tried again.
const RETRY: Duration = Duration::from_millis(200);

/// How often it is looked whether the lock and the link are still ours.
const LOOK_EVERY: Duration = Duration::from_secs(1);

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
    /// The name of the symbolic link to the newest file.
    pub link: Option<String>,
    /// Whether names and stamps are of UTC and not of local time.
    pub utc: bool,
    /// Minutes of a period.
    pub rotation_minutes: i64,
    /// A file that has so many bytes is closed at the end of the line.
    pub max_size: Option<u64>,
    /// Which closed files stay.
    pub keep: Keep,
    /// `gz` or `zst`.
    pub compress: Option<String>,
    /// What is run for each file that was closed.
    pub on_rotate: Option<Hook>,
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
    /// SIGTERM is no end: the directory is left to a successor, and the pipe read to its end.
    pub hand_over: bool,
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// The signal, 0 at the end of the input.
    pub signal: i32,
    /// Lines that were dropped as `on_full` says, without those that an event told of.
    pub dropped: u64,
    /// Bytes that were read and could not be written.
    pub lost: u64,
}

#[derive(Debug)]
enum Sink {
    Output(std::fs::File),
    Files(Box<Files>),
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
    held: Held,
    /// Whether what was written last did not end a line; None when nobody looked yet.
    mid_line: Option<bool>,
    ended: bool,
    ending: Option<Ending>,
    /// A signal asked to leave the directory to a successor, which waits for the end of a line.
    handing_over: bool,
    /// A CR that came last: dropped when a newline follows.
    pending_cr: bool,
    waiting_since: Option<Instant>,
    unsynced: bool,
    next_sync: Instant,
    next_purge: Instant,
    next_look: Instant,
}

/// What is known of the end since a signal asked for it.
#[derive(Debug)]
struct Ending {
    signal: i32,
    since: Instant,
    /// How many signals asked.
    signals: u32,
    /// What was in the pipe then and is still to be taken out of it, in bytes.
    drain: usize,
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
        let mut clock = Clock::new(options.utc);
        let period = floor(clock.wall(), options.rotation_minutes);
        let sink = if let Some(place) = &options.directory {
            let (files, resumed) = Files::open(place, &options, &mut input)?;
            mid_line = Some(resumed);
            Sink::Files(Box::new(files))
        } else {
            input.stop_peeking();
            Sink::Output(duplicate(output).map_err(Error::on("standard output"))?.into())
        };
        let now = Instant::now();
        Ok(Rotator {
            options,
            input,
            sink,
            signals,
            on_event,
            clock,
            period,
            held: Held::default(),
            mid_line,
            ended: false,
            ending: None,
            handing_over: false,
            pending_cr: false,
            waiting_since: None,
            unsynced: false,
            next_sync: now,
            next_purge: now,
            next_look: now + LOOK_EVERY,
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
            self.do_housekeeping(now);
            if self.is_over(now)? {
                break;
            }
            let step = if self.held.retry_at.is_some() || !self.held.bytes.is_empty() {
                self.step_with_backlog(now)?
            } else {
                self.step()?
            };
            match step {
                Step::Worked => self.waiting_since = None,
                Step::NeedInput if self.ending.is_some() => break,
                Step::NeedInput => self.wait_for_input(self.pause(now))?,
                Step::Pause(pause) => {
                    wait(Some(self.signals), [], Some(pause.min(self.pause(now)))).map(|_| ())?;
                }
                Step::End => break,
            }
        }
        self.finish()
    }
}

fn first_newline(bytes: &[u8]) -> Option<usize> {
    memchr::memchr(b'\n', bytes)
}

fn last_newline(bytes: &[u8]) -> Option<usize> {
    memchr::memrchr(b'\n', bytes)
}
