//! Reads a descriptor to its end, block by block, wherever it leads: file, pipe, terminal.

use std::cell::Cell;
use std::io::{self, Read};
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::holes;
use crate::{Cancel, Error, Result};

/// The size of a block: a part of the second-level cache, and two full pipes.
pub const BLOCK_BYTES: usize = 128 << 10;

/// How long a wait for more input lasts before a signal is looked for.
const WAIT: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };

/// Why [`read`] returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// The end of the input.
    End,
    /// The time is over; there may be more.
    Time,
    /// The receiver wants no more.
    Enough,
}

/// Reads blocks and hands them to `on`, which answers whether it wants more, until the end of the
/// input or for `within`; of a hole in a file only the first block. `block` is the buffer. Signals are
/// looked for between blocks and, five times a second, while the other side of a pipe is silent.
///
/// # Errors
/// [`Error::Io`] with the name `what`, [`Error::Cancelled`].
pub fn read(
    fd: BorrowedFd<'_>,
    what: &str,
    block: &mut Vec<u8>,
    within: Option<Duration>,
    cancel: &dyn Cancel,
    mut on: impl FnMut(&[u8]) -> bool,
) -> Result<Stop> {
    let deadline = within.and_then(|within| Instant::now().checked_add(within));
    block.resize(BLOCK_BYTES, 0);
    loop {
        cancel.check()?;
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Ok(Stop::Time);
        }
        match read_some(fd, what, block, cancel)? {
            Some(0) => return Ok(Stop::End),
            Some(got) if !on(&block[..got]) => return Ok(Stop::Enough),
            Some(got) if holes::are_nuls(&block[..got]) => holes::pass(fd),
            _ => {}
        }
    }
}

/// One read(2), once there is something to read; `None` when there was nothing for a while.
fn read_some(
    fd: BorrowedFd<'_>,
    what: &str,
    buffer: &mut [u8],
    cancel: &dyn Cancel,
) -> Result<Option<usize>> {
    let ready = poll(&mut [PollFd::from_borrowed_fd(fd, PollFlags::IN)], Some(&WAIT));
    match ready.and_then(|count| match count {
        0 => Ok(None),
        _ => rustix::io::read(fd, buffer).map(Some),
    }) {
        Ok(got) => Ok(got),
        Err(error) => retry(error, cancel, what).map(|()| None),
    }
}

/// Waits until a descriptor that does not wait by itself can be read, but no longer than until a
/// signal is to be looked for.
pub(crate) fn wait(fd: BorrowedFd<'_>) {
    let _ = poll(&mut [PollFd::from_borrowed_fd(fd, PollFlags::IN)], Some(&WAIT));
}

/// A descriptor as a reader, for what takes one: what [`read`] would have failed with is put down, and
/// the reader only says that it failed.
pub(crate) struct Input<'a> {
    pub(crate) fd: BorrowedFd<'a>,
    pub(crate) what: &'a str,
    pub(crate) cancel: &'a dyn Cancel,
    pub(crate) failed: &'a Cell<Option<Error>>,
}

impl Read for Input<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let got = self
                .cancel
                .check()
                .and_then(|()| read_some(self.fd, self.what, buffer, self.cancel));
            match got {
                Ok(Some(got)) => return Ok(got),
                Ok(None) => {}
                Err(error) => {
                    self.failed.set(Some(error));
                    return Err(io::ErrorKind::Other.into());
                }
            }
        }
    }
}

/// Passes over an interrupted call and one that found nothing to read; fails for anything else.
fn retry(error: Errno, cancel: &dyn Cancel, what: &str) -> Result<()> {
    match error {
        Errno::INTR => cancel.interrupted(),
        Errno::AGAIN => Ok(()),
        _ => Err(Error::on(what)(error.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Never;
    use std::fs::File;
    use std::io::{self, Write};
    use std::os::fd::AsFd;

    fn collect(file: impl AsFd, within: Option<Duration>) -> (Result<Stop>, Vec<u8>) {
        let mut all = Vec::new();
        let stop = read(file.as_fd(), "it", &mut Vec::new(), within, &Never, |block| {
            all.extend_from_slice(block);
            true
        });
        (stop, all)
    }

    #[test]
    fn a_file_is_read_whole() {
        let mut file = tempfile::tempfile().unwrap();
        let content: Vec<u8> = (0..3 * BLOCK_BYTES + 17).map(|i| i as u8).collect();
        file.write_all(&content).unwrap();
        std::io::Seek::rewind(&mut file).unwrap();
        let (stop, all) = collect(&file, None);
        assert_eq!(stop.unwrap(), Stop::End);
        assert!(all == content);
    }

    #[test]
    fn a_silent_pipe_gives_the_time_back() {
        let (reader, mut writer) = io::pipe().unwrap();
        writer.write_all(b"12").unwrap();
        let (stop, all) = collect(&reader, Some(Duration::from_millis(50)));
        assert_eq!((stop.unwrap(), &all[..]), (Stop::Time, &b"12"[..]));
        drop(writer);
        assert_eq!(collect(&reader, None).0.unwrap(), Stop::End);
    }

    #[test]
    fn a_receiver_that_has_enough_stops_the_reading_and_a_folder_is_an_error() {
        let file = File::open("/dev/zero").unwrap();
        let stop = read(file.as_fd(), "it", &mut Vec::new(), None, &Never, |_| false);
        assert_eq!(stop.unwrap(), Stop::Enough);
        let error = collect(File::open("/").unwrap(), None).0.unwrap_err().to_string();
        assert!(error.starts_with("it: Is a directory"), "{error}");
    }
}
