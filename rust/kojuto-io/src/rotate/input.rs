//! Where the lines of `relaxlogs` come from: a pipe that can be looked into before anything is
//! taken out of it, or whatever else standard input is.

use std::io::{self, Read};
use std::os::fd::{AsRawFd, RawFd};

use rustix::fs::{FsWord, fstat, fstatfs};

use crate::error::no_such_call;
use crate::sys::descriptor::{self, borrowed};
use crate::sys::pipe::{self, is_pipe, widen_to};
use crate::sys::signals::wait;
use crate::{Error, Result};

/// How much is looked at in one go, and what the pipe is made to hold: with less the calls cost more,
/// and more does not stay in the processor's cache between reading and writing it.
const LOOK_BYTES: usize = 512 << 10;
const PIPEFS_MAGIC: FsWord = 0x5049_5045;

/// What looking found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    /// Bytes are in [`Input::bytes`].
    Bytes,
    /// Nothing at present.
    Nothing,
    /// The end.
    End,
}

/// See the module's description.
#[derive(Debug)]
pub(super) struct Input {
    fd: RawFd,
    /// A pipe into which the input is copied (tee(2)) to look at it, and a place to throw away.
    aside: Option<(io::PipeReader, io::PipeWriter, std::fs::File)>,
    /// What was looked at is from `used` to `filled`.
    buffer: Vec<u8>,
    used: usize,
    filled: usize,
    /// Whether what was looked at is no longer in the pipe.
    taken: bool,
}

impl Input {
    /// An input on a descriptor that stays the caller's.
    pub(super) fn new(fd: RawFd) -> Input {
        widen_to(fd, LOOK_BYTES);
        let aside = is_pipe(fd).then(|| -> io::Result<_> {
            let (reader, writer) = io::pipe()?;
            widen_to(writer.as_raw_fd(), LOOK_BYTES);
            let nowhere = std::fs::File::options().write(true).open("/dev/null")?;
            Ok((reader, writer, nowhere))
        });
        let aside = aside.and_then(io::Result::ok);
        Input { fd, taken: aside.is_none(), aside, buffer: Vec::new(), used: 0, filled: 0 }
    }

    /// Whether bytes can be looked at while they stay in the pipe.
    pub(super) fn can_peek(&self) -> bool {
        self.aside.is_some()
    }

    /// From now on bytes are taken out as they are read.
    pub(super) fn stop_peeking(&mut self) {
        self.aside = None;
        if !self.taken {
            (self.used, self.filled) = (0, 0);
        }
        self.taken = true;
    }

    /// The inode of an anonymous pipe, by which a successor knows that it reads the same one.
    pub(super) fn pipe_inode(&self) -> Option<u64> {
        let fd = borrowed(self.fd).ok()?;
        let (stat, fs) = (fstat(fd).ok()?, fstatfs(fd).ok()?);
        (is_pipe(self.fd) && fs.f_type == PIPEFS_MAGIC).then_some(stat.st_ino)
    }

    /// How many bytes wait in the pipe or socket.
    pub(super) fn waiting(&self) -> usize {
        let inside = if self.taken { self.filled - self.used } else { 0 };
        inside + pipe::waiting(self.fd)
    }

    /// Whether there is anything to be had without waiting.
    pub(super) fn has_bytes(&mut self) -> bool {
        if is_pipe(self.fd) {
            return self.waiting() > 0;
        }
        // What is ready may be the end.
        matches!(self.look(LOOK_BYTES), Ok(Seen::Bytes))
    }

    /// The bytes that the last look found and nobody consumed.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.buffer[self.used..self.filled]
    }

    /// The buffer, for as long as something is done with [`Self::bytes`] that needs all of the
    /// rest; and where those bytes are in it.
    pub(super) fn lend(&mut self) -> (Vec<u8>, std::ops::Range<usize>) {
        (std::mem::take(&mut self.buffer), self.used..self.filled)
    }

    /// The buffer comes back.
    pub(super) fn restore(&mut self, buffer: Vec<u8>) {
        self.buffer = buffer;
    }

    /// Looks for bytes without waiting.
    ///
    /// # Errors
    /// [`Error::Io`] on "standard input".
    pub(super) fn look(&mut self, most: usize) -> Result<Seen> {
        let most = most.clamp(1, LOOK_BYTES);
        if self.taken && self.used < self.filled {
            return Ok(Seen::Bytes);
        }
        (self.used, self.filled) = (0, 0);
        if self.buffer.is_empty() {
            // From the system as zeros: memory that is never filled is never taken.
            self.buffer = vec![0; LOOK_BYTES];
        }
        if let Some((reader, writer, _)) = &mut self.aside {
            let copied = match pipe::tee(self.fd, writer.as_raw_fd(), most) {
                Ok(0) => return Ok(Seen::End),
                Ok(copied) => copied,
                Err(error) => {
                    let later = [io::ErrorKind::WouldBlock, io::ErrorKind::Interrupted];
                    if !later.contains(&error.kind()) {
                        self.stop_peeking();
                    }
                    return Ok(Seen::Nothing);
                }
            };
            let bytes = &mut self.buffer[..copied];
            reader.read_exact(bytes).map_err(Error::on("standard input"))?;
            self.filled = copied;
            return Ok(Seen::Bytes);
        }
        let [ready] = wait(None, [(self.fd, libc::POLLIN)], Some(std::time::Duration::ZERO))?;
        if !ready {
            return Ok(Seen::Nothing);
        }
        match descriptor::read(self.fd, &mut self.buffer[..most]) {
            Ok(0) => Ok(Seen::End),
            Ok(count) => {
                self.filled = count;
                Ok(Seen::Bytes)
            }
            Err(error) => match error.kind() {
                io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock => Ok(Seen::Nothing),
                _ => Err(Error::on("standard input")(error)),
            },
        }
    }

    /// Takes the first `count` of [`Self::bytes`] out for good.
    ///
    /// # Errors
    /// [`Error::Io`] on "standard input".
    pub(super) fn consume(&mut self, count: usize) -> Result<()> {
        self.used += count;
        let Some((_, _, nowhere)) = &self.aside else { return Ok(()) };
        let mut left = count;
        while left > 0 {
            // To /dev/null nothing is copied: the pages are let go of.
            match splice(self.fd, nowhere.as_raw_fd(), left) {
                Ok(0) => break,
                Ok(moved) => left -= moved,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if no_such_call(&error) => left -= self.read_away(left)?,
                Err(error) => return Err(Error::on("standard input")(error)),
            }
        }
        Ok(())
    }

    /// Reads what was looked at already, where it cannot be let go of.
    fn read_away(&self, most: usize) -> Result<usize> {
        let mut nowhere = [0u8; 1 << 16];
        let most = most.min(nowhere.len());
        descriptor::read(self.fd, &mut nowhere[..most]).or_else(|error| match error.kind() {
            io::ErrorKind::Interrupted => Ok(0),
            _ => Err(Error::on("standard input")(error)),
        })
    }
}

impl AsRawFd for Input {
    fn as_raw_fd(&self) -> RawFd {
        self.fd
    }
}

fn splice(from: RawFd, to: RawFd, most: usize) -> io::Result<usize> {
    pipe::splice(from, to, most.min(LOOK_BYTES))
}
