//! Waiting for many descriptors at once: epoll(7), and the eventfd(2) that ends a wait.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::Duration;

use libc::c_int;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{EventfdFlags, eventfd};

use super::descriptor::borrowed;

pub(crate) const READ: u32 = (libc::EPOLLIN | libc::EPOLLRDHUP) as u32;
pub(crate) const URGENT: u32 = libc::EPOLLPRI as u32;
pub(crate) const WRITE: u32 = libc::EPOLLOUT as u32;
pub(crate) const HANGUP: u32 = (libc::EPOLLHUP | libc::EPOLLERR) as u32;
pub(crate) const PEER_ENDED: u32 = libc::EPOLLRDHUP as u32;

/// All that a connection is watched for, each change once.
const STREAM: u32 = READ | URGENT | WRITE | libc::EPOLLET as u32;

/// An epoll instance (epoll(7)).
///
/// The waits are made by hand: `rustix` can wait for whole milliseconds alone, or by epoll_pwait2
/// alone, which old kernels and some sandboxes do not have.
pub(crate) struct Epoll(OwnedFd);

impl Epoll {
    pub(crate) fn new() -> io::Result<Epoll> {
        Ok(Epoll(epoll::create(CreateFlags::CLOEXEC)?))
    }

    fn add(&self, fd: RawFd, events: u32, token: u64) -> io::Result<()> {
        let events = EventFlags::from_bits_retain(events);
        Ok(epoll::add(&self.0, borrowed(fd)?, EventData::new_u64(token), events)?)
    }

    /// Watches a connection, edge-triggered in both directions: the only epoll_ctl it ever needs.
    pub(crate) fn add_stream(&self, fd: RawFd, token: u64) -> io::Result<()> {
        self.add(fd, STREAM, token)
    }

    /// Tells of a connection under another token from now on, at once of what it is ready for.
    pub(crate) fn rename_stream(&self, fd: RawFd, token: u64) -> io::Result<()> {
        let events = EventFlags::from_bits_retain(STREAM);
        Ok(epoll::modify(&self.0, borrowed(fd)?, EventData::new_u64(token), events)?)
    }

    /// Watches a listening socket that other threads and processes watch too.
    pub(crate) fn add_listener(&self, fd: RawFd, token: u64) -> io::Result<()> {
        self.add(fd, (libc::EPOLLIN | libc::EPOLLEXCLUSIVE) as u32, token)
    }

    pub(crate) fn add_wake(&self, fd: RawFd, token: u64) -> io::Result<()> {
        self.add(fd, libc::EPOLLIN as u32, token)
    }

    pub(crate) fn remove(&self, fd: RawFd) {
        let _ = borrowed(fd).and_then(|fd| epoll::delete(&self.0, fd));
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
        Ok(Wake(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?))
    }

    pub(crate) fn fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    pub(crate) fn wake(&self) {
        let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
    }

    pub(crate) fn clear(&self) {
        let _ = rustix::io::read(&self.0, &mut [0; 8]);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    /// Refuses epoll_pwait2 to this thread, as old kernels and sandboxes do (seccomp(2)).
    fn without_epoll_pwait2() {
        let step = |code: u32, jt, jf, k: u32| libc::sock_filter { code: code as u16, jt, jf, k };
        let mut steps = [
            step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0), // the number of the call
            step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, libc::SYS_epoll_pwait2 as u32),
            step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32),
            step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
        ];
        let program = libc::sock_fprog { len: steps.len() as u16, filter: steps.as_mut_ptr() };
        // SAFETY: the kernel copies the program, which outlives the call.
        unsafe {
            assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
            let mode = libc::SECCOMP_MODE_FILTER;
            assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const program), 0);
        }
    }

    #[test]
    fn a_brief_wait_is_one_of_a_millisecond_where_the_kernel_knows_none_briefer() {
        std::thread::spawn(|| {
            without_epoll_pwait2();
            let (epoll, wake) = (Epoll::new().unwrap(), Wake::new().unwrap());
            epoll.add_wake(wake.fd(), 1).unwrap();
            let events = &mut [libc::epoll_event { events: 0, u64: 0 }];
            let began = Instant::now();
            assert_eq!(epoll.wait_briefly(events, Duration::from_micros(10)), 0);
            assert!(began.elapsed() >= Duration::from_millis(1), "{:?}", began.elapsed());
            wake.wake();
            assert_eq!(epoll.wait_briefly(events, Duration::from_micros(10)), 1);
        })
        .join()
        .unwrap();
    }
}
