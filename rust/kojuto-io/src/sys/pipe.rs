//! Pipes: those that were given to us, and those that bytes pass through inside the kernel.

use std::io;
use std::os::fd::{OwnedFd, RawFd};

use rustix::fs::{FileType, fstat};
use rustix::pipe::{self, PipeFlags, SpliceFlags, fcntl_getpipe_size, fcntl_setpipe_size};

use super::descriptor::borrowed;

/// What an unprivileged process may ask for (pipe(7), `/proc/sys/fs/pipe-max-size`).
const PIPE_BYTES: usize = 1 << 20;

/// Whether the descriptor is a pipe or FIFO.
pub fn is_pipe(fd: RawFd) -> bool {
    let stat = borrowed(fd).and_then(fstat);
    stat.is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Fifo)
}

/// Makes a pipe as large as an unprivileged process may; nothing happens where that is refused.
pub fn widen(fd: RawFd) {
    widen_to(fd, PIPE_BYTES);
}

/// One that is larger stays as it is.
pub(crate) fn widen_to(fd: RawFd, bytes: usize) {
    let Ok(fd) = borrowed(fd) else { return };
    if fcntl_getpipe_size(fd).is_ok_and(|size| size < bytes) {
        let _ = fcntl_setpipe_size(fd, bytes);
    }
}

/// A pipe for [`splice`]: (read end, write end), as large as the system allows up to `bytes`.
pub(crate) fn pipe(bytes: usize) -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = pipe::pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC)?;
    let mut size = bytes;
    // A refusal (pipe-max-size, pipe-user-pages-soft) leaves the default.
    while size > 65536 && fcntl_setpipe_size(&write, size).is_err() {
        size /= 2;
    }
    Ok((read, write))
}

/// Moves up to `limit` bytes into or out of a pipe without copying, and without waiting for the
/// pipe (splice(2)).
pub(crate) fn splice(from: RawFd, to: RawFd, limit: usize) -> io::Result<usize> {
    let flags = SpliceFlags::NONBLOCK | SpliceFlags::MOVE;
    Ok(pipe::splice(borrowed(from)?, None, borrowed(to)?, None, limit, flags)?)
}

/// Copies up to `limit` bytes of a pipe into another one, and leaves them where they are (tee(2)).
pub(crate) fn tee(from: RawFd, to: RawFd, limit: usize) -> io::Result<usize> {
    Ok(pipe::tee(borrowed(from)?, borrowed(to)?, limit, SpliceFlags::NONBLOCK)?)
}

/// How many bytes wait in a pipe or socket; 0 where that cannot be told.
pub(crate) fn waiting(fd: RawFd) -> usize {
    borrowed(fd).and_then(rustix::io::ioctl_fionread).map_or(0, |count| count as usize)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn a_pipe_is_widened_and_a_larger_one_stays_as_it_is() {
        let (_read, write) = pipe::pipe().unwrap();
        widen(write.as_raw_fd());
        assert_eq!(fcntl_getpipe_size(&write).unwrap(), PIPE_BYTES);
        widen_to(write.as_raw_fd(), PIPE_BYTES / 2);
        assert_eq!(fcntl_getpipe_size(&write).unwrap(), PIPE_BYTES);
    }
}
