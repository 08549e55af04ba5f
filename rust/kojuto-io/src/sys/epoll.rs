//! Waiting for many descriptors at once: epoll(7), and the eventfd(2) that ends a wait.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::Duration;

use libc::c_int;

use super::socket::{check, check_fd};

pub(crate) const READ: u32 = (libc::EPOLLIN | libc::EPOLLRDHUP) as u32;
pub(crate) const WRITE: u32 = libc::EPOLLOUT as u32;
pub(crate) const HANGUP: u32 = (libc::EPOLLHUP | libc::EPOLLERR) as u32;
pub(crate) const PEER_ENDED: u32 = libc::EPOLLRDHUP as u32;

/// An epoll instance (epoll(7)).
pub(crate) struct Epoll(OwnedFd);

impl Epoll {
    pub(crate) fn new() -> io::Result<Epoll> {
        // SAFETY: no pointers.
        Ok(Epoll(check_fd(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?))
    }

    fn add(&self, fd: RawFd, events: u32, token: u64) -> io::Result<()> {
        let mut event = libc::epoll_event { events, u64: token };
        // SAFETY: `event` lives for the call.
        let done =
            unsafe { libc::epoll_ctl(self.0.as_raw_fd(), libc::EPOLL_CTL_ADD, fd, &raw mut event) };
        check(done as isize).map(drop)
    }

    /// Watches a connection, edge-triggered in both directions: the only epoll_ctl it ever needs.
    pub(crate) fn add_stream(&self, fd: RawFd, token: u64) -> io::Result<()> {
        self.add(fd, READ | WRITE | libc::EPOLLET as u32, token)
    }

    /// Watches a listening socket that other threads and processes watch too.
    pub(crate) fn add_listener(&self, fd: RawFd, token: u64) -> io::Result<()> {
        self.add(fd, (libc::EPOLLIN | libc::EPOLLEXCLUSIVE) as u32, token)
    }

    pub(crate) fn add_wake(&self, fd: RawFd, token: u64) -> io::Result<()> {
        self.add(fd, libc::EPOLLIN as u32, token)
    }

    pub(crate) fn remove(&self, fd: RawFd) {
        // SAFETY: EPOLL_CTL_DEL reads no event.
        unsafe {
            libc::epoll_ctl(self.0.as_raw_fd(), libc::EPOLL_CTL_DEL, fd, std::ptr::null_mut());
        }
    }

    /// Waits at most `timeout_ms` (-1: for ever) and returns the number of events filled in.
    pub(crate) fn wait(&self, events: &mut [libc::epoll_event], timeout_ms: i32) -> usize {
        // SAFETY: the kernel writes at most `events.len()` entries.
        let count = unsafe {
            libc::epoll_wait(
                self.0.as_raw_fd(),
                events.as_mut_ptr(),
                events.len() as c_int,
                timeout_ms,
            )
        };
        count.max(0) as usize // EINTR: nothing happened
    }

    /// The same for a fraction of a millisecond, where the kernel can do that (Linux 5.11), else
    /// for a whole one.
    pub(crate) fn wait_briefly(&self, events: &mut [libc::epoll_event], limit: Duration) -> usize {
        let limit = libc::timespec { tv_sec: 0, tv_nsec: i64::from(limit.subsec_nanos()) as _ };
        // SAFETY: the kernel writes at most `events.len()` entries and reads one timespec; there is
        // no signal set.
        let count = unsafe {
            libc::syscall(
                libc::SYS_epoll_pwait2,
                self.0.as_raw_fd(),
                events.as_mut_ptr(),
                events.len() as c_int,
                &raw const limit,
                std::ptr::null::<libc::sigset_t>(),
                0usize,
            )
        };
        match usize::try_from(count) {
            Ok(count) => count,
            Err(_) if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => 0,
            Err(_) => self.wait(events, 1),
        }
    }
}

/// A counter that wakes an epoll instance (eventfd(2)).
pub(crate) struct Wake(OwnedFd);

impl Wake {
    pub(crate) fn new() -> io::Result<Wake> {
        // SAFETY: no pointers.
        Ok(Wake(check_fd(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })?))
    }

    pub(crate) fn fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    pub(crate) fn wake(&self) {
        let one = 1u64.to_ne_bytes();
        // SAFETY: eight readable bytes.
        unsafe { libc::write(self.fd(), one.as_ptr().cast(), one.len()) };
    }

    pub(crate) fn clear(&self) {
        let mut count = [0u8; 8];
        // SAFETY: eight writable bytes.
        unsafe { libc::read(self.fd(), count.as_mut_ptr().cast(), count.len()) };
    }
}
