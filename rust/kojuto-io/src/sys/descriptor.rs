//! What any descriptor can do: be borrowed, copied, read and written.
//!
//! None of these repeats a call that a signal ended; the caller knows whether it may.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// A descriptor that somebody else owns, for one call; EBADF for a number that can be none.
pub(crate) fn borrowed<'a>(fd: RawFd) -> rustix::io::Result<BorrowedFd<'a>> {
    if fd < 0 {
        return Err(Errno::BADF);
    }
    // SAFETY: the number is handed to a system call at once, which refuses one that is not open.
    Ok(unsafe { BorrowedFd::borrow_raw(fd) })
}

/// A second descriptor of the same open file, closed on exec, above the standard streams.
pub(crate) fn duplicate(fd: RawFd) -> io::Result<OwnedFd> {
    Ok(rustix::io::fcntl_dupfd_cloexec(borrowed(fd)?, 3)?)
}

pub(crate) fn set_nonblocking(fd: RawFd) -> io::Result<()> {
    let fd = borrowed(fd)?;
    Ok(fcntl_setfl(fd, fcntl_getfl(fd)? | OFlags::NONBLOCK)?)
}

/// How many descriptors this process may have now.
pub(crate) fn limit() -> usize {
    let limit = getrlimit(Resource::Nofile).current;
    limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX))
}

/// Allows this process as many descriptors as its hard limit does; a shell, cron and systemd give 1024.
pub(crate) fn raise_limit() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        // Without it the soft limit may do.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    }
}

/// Reads once; 0 at the end.
pub(crate) fn read(fd: RawFd, buffer: &mut [u8]) -> io::Result<usize> {
    Ok(rustix::io::read(borrowed(fd)?, buffer)?)
}

/// Writes once, perhaps less than all.
pub(crate) fn write(fd: RawFd, bytes: &[u8]) -> io::Result<usize> {
    Ok(rustix::io::write(borrowed(fd)?, bytes)?)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn a_copy_is_none_of_the_standard_streams() {
        let file = File::open("/dev/null").unwrap();
        let copy = duplicate(file.as_raw_fd()).unwrap();
        assert!(copy.as_raw_fd() > 2 && copy.as_raw_fd() != file.as_raw_fd());
    }

    #[test]
    fn what_is_no_descriptor_is_refused() {
        let refused = |done: io::Result<usize>| done.unwrap_err().raw_os_error();
        for fd in [-1, -2, i32::MAX] {
            assert_eq!(refused(read(fd, &mut [0])), Some(libc::EBADF));
            assert_eq!(refused(write(fd, b"x")), Some(libc::EBADF));
            assert_eq!(duplicate(fd).unwrap_err().raw_os_error(), Some(libc::EBADF));
        }
    }

    #[test]
    fn a_descriptor_without_waiting_says_that_nothing_is_there() {
        let (reader, _writer) = io::pipe().unwrap();
        set_nonblocking(reader.as_raw_fd()).unwrap();
        let error = read(reader.as_raw_fd(), &mut [0]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }
}
