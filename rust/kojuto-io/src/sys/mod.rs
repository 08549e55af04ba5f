//! The system's calls: sockets, pipes, signals, names, random bytes; each wrapped once.
//!
//! They are made through `rustix`, whose calls take borrowed descriptors and return the kernel's
//! error as it is, EINTR too. What it has no call for is made by hand here.

use std::os::fd::{BorrowedFd, RawFd};

use rustix::io::Errno;

pub(crate) mod address;
pub mod blocks;
pub(crate) mod epoll;
pub mod pipe;
pub(crate) mod random;
pub mod resolve;
pub mod signals;
pub(crate) mod socket;

/// A descriptor that somebody else owns, for one call; EBADF for a number that can be none.
pub(crate) fn borrowed<'a>(fd: RawFd) -> rustix::io::Result<BorrowedFd<'a>> {
    if fd < 0 {
        return Err(Errno::BADF);
    }
    // SAFETY: the number is handed to a system call at once, which refuses one that is not open.
    Ok(unsafe { BorrowedFd::borrow_raw(fd) })
}
