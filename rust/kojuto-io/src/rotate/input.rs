//! Where the lines of `relaxlogs` come from: a pipe that can be looked into before anything is
//! taken out of it, or whatever else standard input is.

use std::io::{self, Read};
use std::os::fd::{AsRawFd, RawFd};

use rustix::fs::{FsWord, fstat, fstatfs};

use crate::error::no_such_call;
use crate::sys::descriptor::{self, borrowed};
use crate::sys::pipe::{self, is_pipe, widen};
use crate::sys::signals::wait;
use crate::{Error, Result};

const CHUNK_BYTES: usize = 1 << 20;
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
    bytes: Vec<u8>,
    used: usize,
    /// Whether `bytes` is no longer in the pipe.
    taken: bool,
}

impl Input {
    /// An input on a descriptor that stays the caller's.
    pub(super) fn new(fd: RawFd) -> Input {
        widen(fd);
        let aside = is_pipe(fd).then(|| -> io::Result<_> {
            let (reader, writer) = io::pipe()?;
            widen(writer.as_raw_fd());
            let nowhere = std::fs::File::options().write(true).open("/dev/null")?;
            Ok((reader, writer, nowhere))
        });
        let aside = aside.and_then(io::Result::ok);
        Input { fd, taken: aside.is_none(), aside, bytes: Vec::new(), used: 0 }
    }

    /// Whether bytes can be looked at while they stay in the pipe.
    pub(super) fn can_peek(&self) -> bool {
        self.aside.is_some()
    }

    /// From now on bytes are taken out as they are read.
    pub(super) fn stop_peeking(&mut self) {
        self.aside = None;
        if !self.taken {
            self.bytes.clear();
            self.used = 0;
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
        let inside = if self.taken { self.bytes.len() - self.used } else { 0 };
        inside + pipe::waiting(self.fd)
    }

    /// Whether there is anything to be had without waiting.
    pub(super) fn has_bytes(&self) -> bool {
        let inside = self.taken && self.used < self.bytes.len();
        let ready = || {
            let now = Some(std::time::Duration::ZERO);
            wait(None, [(self.fd, libc::POLLIN)], now).is_ok_and(|[ready]| ready)
        };
        inside || if is_pipe(self.fd) { self.waiting() > 0 } else { ready() }
    }

    /// The bytes that the last look found and nobody consumed.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[self.used..]
    }

    /// Looks for bytes without waiting.
    ///
    /// # Errors
    /// [`Error::Io`] on "standard input".
    pub(super) fn look(&mut self, most: usize) -> Result<Seen> {
        let most = most.clamp(1, CHUNK_BYTES);
        if self.taken && self.used < self.bytes.len() {
            return Ok(Seen::Bytes);
        }
        self.used = 0;
        self.bytes.clear();
        if let Some((reader, writer, _)) = &mut self.aside {
            match pipe::tee(self.fd, writer.as_raw_fd(), most) {
                Ok(0) => return Ok(Seen::End),
                Ok(copied) => self.bytes.resize(copied, 0),
                Err(error) => {
                    let later = [io::ErrorKind::WouldBlock, io::ErrorKind::Interrupted];
                    if !later.contains(&error.kind()) {
                        self.stop_peeking();
                    }
                    return Ok(Seen::Nothing);
                }
            }
            reader.read_exact(&mut self.bytes).map_err(Error::on("standard input"))?;
            return Ok(Seen::Bytes);
        }
        let [ready] = wait(None, [(self.fd, libc::POLLIN)], Some(std::time::Duration::ZERO))?;
        if !ready {
            return Ok(Seen::Nothing);
        }
        self.bytes.resize(most, 0);
        let read = descriptor::read(self.fd, &mut self.bytes);
        self.bytes.truncate(*read.as_ref().unwrap_or(&0));
        match read {
            Ok(0) => Ok(Seen::End),
            Ok(_) => Ok(Seen::Bytes),
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

    /// Moves up to `most` bytes from the pipe into a file inside the kernel.
    ///
    /// # Errors
    /// What splice(2) says; EAGAIN when there is nothing at present.
    pub(super) fn splice_into(&mut self, file: RawFd, most: usize) -> io::Result<usize> {
        self.bytes.clear();
        self.used = 0;
        splice(self.fd, file, most)
    }
}

impl AsRawFd for Input {
    fn as_raw_fd(&self) -> RawFd {
        self.fd
    }
}

fn splice(from: RawFd, to: RawFd, most: usize) -> io::Result<usize> {
    pipe::splice(from, to, most.min(CHUNK_BYTES))
}
