//! Logs that are followed for a report of the last so many minutes: files through every rotation, and
//! streams.

mod beginning;

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use kojuto_core::logs::lines::Cutter;
use kojuto_core::report::{Clock, Collector, Options, Part, Totals, Window};
use kojuto_core::scan::envelope;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use self::beginning::Beginning;
use super::Source;
use super::reading::MAX_LINE_BYTES;
use crate::follow::{self, LineSink, Note, NoteKind, Ongoing};
use crate::{Cancel, Error, Result};

/// A stream that has more at once has to wait after so long, so that the caller sees to other things.
const STREAM_TURN: Duration = Duration::from_millis(100);

/// Logs, and the last of what came.
pub struct Live {
    window: Window,
    logs: Vec<Log>,
    beginning: Beginning,
}

/// A log that is followed.
struct Log {
    name: String,
    input: Input,
    collector: Collector,
    clock: Clock,
    /// Why nothing can be read of it now.
    trouble: Option<String>,
    /// What was last to be told of it.
    note: Option<String>,
    /// All of it came since we look: it was not there.
    is_new: bool,
}

enum Input {
    Rotated(Box<Ongoing>),
    Stream(Box<Stream>),
}

struct Stream {
    file: File,
    cutter: Cutter,
    /// A file may grow, which a pipe that has ended does not.
    is_file: bool,
    has_ended: bool,
}

/// How a log fares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// Its name.
    pub name: String,
    /// Why nothing can be read of it now.
    pub trouble: Option<String>,
    /// What was last to be told of it: that lines were lost, say.
    pub note: Option<String>,
    /// Nothing more can come.
    pub has_ended: bool,
}

impl Live {
    /// Looks at nothing yet.
    ///
    /// # Errors
    /// [`Error::Core`] for options that cannot be; [`Error::Io`] for a pipe that cannot be opened.
    pub fn new(sources: &[Source], options: &Options, window: Duration) -> Result<Live> {
        let collector = Collector::new(&Window::options(options))?;
        let log = |source: &Source| -> Result<Log> {
            let (name, input) = match source {
                Source::Path(path) => (path.display().to_string(), Input::of_path(path)?),
                Source::Lines(_, name, ..) => {
                    let why = io::Error::new(io::ErrorKind::InvalidInput, "a part is not followed");
                    return Err(Error::on(name)(why));
                }
                Source::Open(file, name) | Source::Begun(file, name, _) => {
                    let file = file.try_clone().map_err(Error::on(name))?;
                    (name.clone(), Input::stream(file, name)?)
                }
            };
            let (mut collector, clock) = (collector.another(), Clock::default());
            collector.turn_to(&name, None);
            Ok(Log { name, input, collector, clock, trouble: None, note: None, is_new: false })
        };
        let window = Window::new(options, window)?;
        let beginning = Beginning::new(options, window.length())?;
        Ok(Live { logs: sources.iter().map(log).collect::<Result<_>>()?, window, beginning })
    }

    /// Takes in what has come by now, the time since the epoch. Answers whether anything is different.
    /// What fails is the trouble of its log.
    ///
    /// # Errors
    /// [`Error::Cancelled`], and [`Error::Core`] when more keys are asked for than a line can be
    /// searched for.
    pub fn read(&mut self, now: Duration, cancel: &dyn Cancel) -> Result<bool> {
        let nanos = i64::try_from(now.as_nanos()).unwrap_or(i64::MAX);
        let mut is_new = self.window.slide(nanos);
        for log in &mut self.logs {
            let mut sink = Sink {
                part: self.window.part(),
                collector: &mut log.collector,
                bytes: 0,
                wrong: None,
            };
            let done = match &mut log.input {
                Input::Rotated(ongoing) => {
                    let found = RefCell::new((&mut self.beginning, &mut log.clock));
                    let begin = |file: &File, size: u64| {
                        if log.is_new {
                            return Ok(0);
                        }
                        let (beginning, clock) = &mut *found.borrow_mut();
                        beginning.find(file, size, nanos, clock)
                    };
                    ongoing.run(now, &begin, &mut sink, cancel).map(|report| report.notes)
                }
                Input::Stream(stream) => {
                    stream.read(&log.name, &mut sink, cancel).map(|()| Vec::new())
                }
            };
            let Sink { part, bytes, wrong, .. } = sink;
            if let Some(error) = wrong {
                return Err(error.into());
            }
            let notes = match done {
                Ok(notes) => notes,
                Err(error @ (Error::Cancelled | Error::Core(_))) => return Err(error),
                // What was read of it comes again.
                Err(error) => {
                    log.is_new |= error.code() == Some(libc::ENOENT);
                    log.trouble = Some(error.to_string());
                    continue;
                }
            };
            log.trouble = None;
            let telling = notes.into_iter().rfind(|note| note.kind != NoteKind::Ordinary);
            log.note = telling.map(|Note { text, .. }| text).or(log.note.take());
            if bytes > 0 {
                self.window.add(part, &mut log.clock, nanos)?;
                is_new = true;
            }
        }
        Ok(is_new)
    }

    /// All that is in the window.
    ///
    /// # Errors
    /// None that [`Live::read`] has not had.
    pub fn totals(&mut self) -> Result<Totals> {
        Ok(self.window.totals()?)
    }

    /// How each log fares.
    pub fn states(&self) -> impl Iterator<Item = State> {
        self.logs.iter().map(|log| State {
            name: log.name.clone(),
            trouble: log.trouble.clone(),
            note: log.note.clone(),
            has_ended: matches!(&log.input, Input::Stream(stream) if stream.has_ended),
        })
    }

    /// What is readable when there is something to read, as far as the system tells.
    pub fn descriptors(&self) -> impl Iterator<Item = RawFd> {
        self.logs.iter().filter_map(|log| match &log.input {
            Input::Stream(stream) if !stream.has_ended && !stream.is_file => {
                Some(stream.file.as_raw_fd())
            }
            _ => None,
        })
    }
}

impl Input {
    /// A pipe is read as it is; anything else is followed by its name.
    fn of_path(path: &Path) -> Result<Input> {
        let is_pipe = std::fs::metadata(path).is_ok_and(|about| about.file_type().is_fifo());
        if is_pipe {
            let mut options = File::options();
            // One that nobody writes to yet would have us wait.
            let options = options.read(true).custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC);
            let file = options.open(path).map_err(Error::on_path(path))?;
            return Input::stream(file, &path.display().to_string());
        }
        let options = follow::Options {
            max_read_bytes: u64::MAX,
            max_line_bytes: MAX_LINE_BYTES,
            whole: envelope::whole_bytes,
            ..follow::Options::default()
        };
        Ok(Input::Rotated(Box::new(Ongoing::new(path, options))))
    }

    fn stream(file: File, name: &str) -> Result<Input> {
        let is_file = file.metadata().map_err(Error::on(name))?.is_file();
        let cutter = Cutter::new(MAX_LINE_BYTES).keeping(envelope::whole_bytes);
        Ok(Input::Stream(Box::new(Stream { file, cutter, is_file, has_ended: false })))
    }
}

impl Stream {
    /// Reads what is there, without waiting for more.
    fn read(&mut self, name: &str, sink: &mut Sink<'_>, cancel: &dyn Cancel) -> Result<()> {
        const NOW: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };
        let began = Instant::now();
        while !self.has_ended && began.elapsed() < STREAM_TURN {
            cancel.check()?;
            let mut polled = [PollFd::new(&self.file, PollFlags::IN)];
            match poll(&mut polled, Some(&NOW)) {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(rustix::io::Errno::INTR) => {
                    cancel.interrupted()?;
                    continue;
                }
                Err(error) => return Err(Error::on(name)(error.into())),
            }
            match rustix::io::read(self.file.as_fd(), self.cutter.space()) {
                Ok(0) if self.is_file => return Ok(()),
                Ok(0) => {
                    self.has_ended = true;
                    self.cutter.finish_line(|block| sink.block(block));
                }
                Ok(count) => self.cutter.filled(count, |block| sink.block(block)),
                Err(error) => match std::io::Error::from(error).kind() {
                    ErrorKind::Interrupted => cancel.interrupted()?,
                    ErrorKind::WouldBlock => return Ok(()),
                    _ => return Err(Error::on(name)(error.into())),
                },
            }
        }
        Ok(())
    }
}

/// Lines on their way to the window.
struct Sink<'c> {
    part: Part,
    collector: &'c mut Collector,
    bytes: u64,
    wrong: Option<kojuto_core::Error>,
}

impl LineSink for Sink<'_> {
    fn block(&mut self, lines: &[u8]) {
        self.bytes += lines.len() as u64;
        if self.wrong.is_none() {
            self.wrong = self.part.block(self.collector, lines).err();
        }
    }
}

#[cfg(test)]
mod tests;
