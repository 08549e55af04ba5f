//! The system calls of the relay, each wrapped once so that the rest of it is safe code.

use std::io;
use std::mem;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use libc::{c_int, socklen_t};
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketFlags, SocketType};

use super::{address, borrowed};

/// The most that is taken out of the queue of a socket that is let go of: as many as wait there
/// where the system's limit (net.core.somaxconn) is its default.
pub(crate) const QUEUE: usize = 4096;
/// Seconds of silence before the kernel asks whether the peer is still there, seconds between
/// its questions, and how many stay unanswered before the connection counts as dead.
const KEEPALIVE: (c_int, c_int, c_int) = (60, 15, 4);

pub(super) fn check(result: isize) -> io::Result<usize> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as usize) }
}

pub(super) fn check_fd(result: c_int) -> io::Result<OwnedFd> {
    check(result as isize)?;
    // SAFETY: the call that returned this descriptor gave it to us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(result) })
}

/// Accepts one connection, non-blocking.
pub(crate) fn accept(listener: RawFd) -> io::Result<(OwnedFd, Option<SocketAddr>)> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let (socket, peer) = net::acceptfrom_with(borrowed(listener)?, flags)?;
    Ok((socket, peer.as_ref().and_then(address::of)))
}

/// Starts a non-blocking connection on a socket that `prepare` has been shown; it is made, or has
/// failed, when the socket is writable.
pub(crate) fn connect(address: &SocketAddr, prepare: impl FnOnce(RawFd)) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = net::socket_with(family, SocketType::STREAM, flags, None)?;
    no_delay(socket.as_raw_fd());
    prepare(socket.as_raw_fd());
    match net::connect(&socket, address) {
        Err(error) if error != Errno::INPROGRESS => Err(error.into()),
        _ => Ok(socket),
    }
}

/// Sets a socket option that is an int. A refusal leaves the default.
pub(crate) fn set(fd: RawFd, level: c_int, name: c_int, value: c_int) {
    // SAFETY: an int-sized option value that lives for the call.
    unsafe {
        libc::setsockopt(
            fd,
            level,
            name,
            (&raw const value).cast(),
            mem::size_of::<c_int>() as socklen_t,
        );
    }
}

/// The name of a socket's congestion control, padded with zeros (tcp(7), `TCP_CONGESTION`); only
/// zeros for a socket that has none.
pub(crate) fn congestion_control(fd: RawFd) -> [u8; 16] {
    let mut name = [0; 16];
    let mut length = name.len() as socklen_t;
    // SAFETY: `name` has `length` writable bytes.
    unsafe {
        libc::getsockopt(
            fd,
            libc::IPPROTO_TCP,
            libc::TCP_CONGESTION,
            name.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    name
}

/// Chooses a socket's congestion control. A refusal leaves the present one.
pub(crate) fn set_congestion_control(fd: RawFd, name: &[u8]) {
    // SAFETY: `name` is readable for its length.
    unsafe {
        libc::setsockopt(
            fd,
            libc::IPPROTO_TCP,
            libc::TCP_CONGESTION,
            name.as_ptr().cast(),
            name.len() as socklen_t,
        )
    };
}

/// Small messages go out at once. Sockets accepted from a listener inherit it.
pub(crate) fn no_delay(fd: RawFd) {
    set(fd, libc::IPPROTO_TCP, libc::TCP_NODELAY, 1);
}

/// The kernel asks now and then whether a silent peer is still there. Sockets accepted from a
/// listener inherit it.
pub(crate) fn keep_alive(fd: RawFd) {
    set(fd, libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1);
    set(fd, libc::IPPROTO_TCP, libc::TCP_KEEPIDLE, KEEPALIVE.0);
    set(fd, libc::IPPROTO_TCP, libc::TCP_KEEPINTVL, KEEPALIVE.1);
    set(fd, libc::IPPROTO_TCP, libc::TCP_KEEPCNT, KEEPALIVE.2);
}

/// Both.
pub(crate) fn tune_stream(fd: RawFd) {
    no_delay(fd);
    keep_alive(fd);
}

/// Makes the coming close(2) send a reset.
pub(crate) fn reset_on_close(fd: RawFd) {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    // SAFETY: a linger structure that lives for the call.
    unsafe {
        libc::setsockopt(
            fd,
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const linger).cast(),
            mem::size_of::<libc::linger>() as socklen_t,
        );
    }
}

/// The error that waits on a socket, if any (SO_ERROR).
pub(crate) fn pending_error(fd: RawFd) -> Option<io::Error> {
    let mut code: c_int = 0;
    let mut length = mem::size_of::<c_int>() as socklen_t;
    // SAFETY: an int and its length, both writable.
    unsafe {
        libc::getsockopt(
            fd,
            libc::SOL_SOCKET,
            libc::SO_ERROR,
            (&raw mut code).cast(),
            &raw mut length,
        )
    };
    (code != 0).then(|| io::Error::from_raw_os_error(code))
}

pub(crate) fn set_nonblocking(fd: RawFd) -> io::Result<()> {
    // SAFETY: no pointers.
    let flags = check(unsafe { libc::fcntl(fd, libc::F_GETFL) } as isize)? as c_int;
    // SAFETY: no pointers.
    check(unsafe { libc::fcntl(fd, libc::F_SETFL, flags | libc::O_NONBLOCK) } as isize).map(drop)
}

/// Lets others run on this core, if there are any (sched_yield(2)).
pub(crate) fn give_way() {
    // SAFETY: no pointers.
    unsafe { libc::sched_yield() };
}

/// A second descriptor of the same open file, closed on exec.
pub(crate) fn duplicate(fd: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: no pointers.
    check_fd(unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 3) })
}

/// The local address of a socket; `0.0.0.0:0` for one that is not of the internet.
pub(crate) fn local_address(fd: RawFd) -> io::Result<SocketAddr> {
    let address = address::of(&net::getsockname(borrowed(fd)?)?);
    Ok(address.unwrap_or_else(|| SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0).into()))
}

pub(crate) fn recv(fd: RawFd, buffer: &mut [u8]) -> io::Result<usize> {
    // SAFETY: `buffer` is writable for its length.
    check(unsafe { libc::recv(fd, buffer.as_mut_ptr().cast(), buffer.len(), 0) })
}

/// Looks at what is to be read without taking it.
pub(crate) fn peek(fd: RawFd, buffer: &mut [u8]) -> io::Result<usize> {
    // SAFETY: `buffer` is writable for its length.
    check(unsafe { libc::recv(fd, buffer.as_mut_ptr().cast(), buffer.len(), libc::MSG_PEEK) })
}

/// Sends bytes that more will follow at once.
pub(crate) fn send_ahead(fd: RawFd, bytes: &[u8]) -> io::Result<usize> {
    let flags = libc::MSG_NOSIGNAL | libc::MSG_MORE;
    // SAFETY: `bytes` is readable for its length.
    check(unsafe { libc::send(fd, bytes.as_ptr().cast(), bytes.len(), flags) })
}

/// Whether a read would find something at once: bytes, or the end of the stream.
pub(crate) fn has_input(fd: RawFd) -> bool {
    let mut poll = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    // SAFETY: one pollfd.
    unsafe { libc::poll(&raw mut poll, 1, 0) > 0 }
}

pub(crate) fn send(fd: RawFd, bytes: &[u8]) -> io::Result<usize> {
    // SAFETY: `bytes` is readable for its length.
    check(unsafe { libc::send(fd, bytes.as_ptr().cast(), bytes.len(), libc::MSG_NOSIGNAL) })
}

/// Sends two pieces as one (sendmsg(2)).
pub(crate) fn send_both(fd: RawFd, first: &[u8], second: &[u8]) -> io::Result<usize> {
    let mut pieces = [first, second].map(|piece| libc::iovec {
        iov_base: piece.as_ptr().cast_mut().cast(),
        iov_len: piece.len(),
    });
    // SAFETY: an all-zero msghdr is valid.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_iov = pieces.as_mut_ptr();
    message.msg_iovlen = pieces.len() as _;
    // SAFETY: the pieces are readable for their lengths and live for the call.
    check(unsafe { libc::sendmsg(fd, &raw const message, libc::MSG_NOSIGNAL) })
}

/// The address of a socket's peer; None for one that is not of the internet, or not connected.
pub(crate) fn peer_address(fd: RawFd) -> Option<SocketAddr> {
    let peer = borrowed(fd).and_then(net::getpeername).ok()??;
    address::of(&peer)
}

/// Waits at most `timeout_ms` for bytes to read, or for room to write.
pub(crate) fn wait_for(fd: RawFd, writing: bool, timeout_ms: i32) {
    let events = if writing { libc::POLLOUT } else { libc::POLLIN };
    let mut poll = libc::pollfd { fd, events, revents: 0 };
    // SAFETY: one pollfd.
    unsafe { libc::poll(&raw mut poll, 1, timeout_ms) };
}

pub(crate) fn shutdown_write(fd: RawFd) -> io::Result<()> {
    // SAFETY: no pointers.
    check(unsafe { libc::shutdown(fd, libc::SHUT_WR) } as isize).map(drop)
}

/// A pipe for splice(2): (read end, write end), as large as the system allows up to `bytes`.
pub(crate) fn pipe(bytes: c_int) -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends = [0; 2];
    // SAFETY: room for two descriptors.
    let done = unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_NONBLOCK | libc::O_CLOEXEC) };
    check(done as isize)?;
    // SAFETY: pipe2 gave both to us alone.
    let (read, write) = unsafe { (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])) };
    let mut size = bytes;
    // SAFETY: no pointers. A refusal (pipe-max-size, pipe-user-pages-soft) leaves the default.
    while size > 65536 && unsafe { libc::fcntl(write.as_raw_fd(), libc::F_SETPIPE_SZ, size) } < 0 {
        size /= 2;
    }
    Ok((read, write))
}

/// Moves up to `limit` bytes between a socket and a pipe without copying (splice(2)).
pub(crate) fn splice(from: RawFd, to: RawFd, limit: usize) -> io::Result<usize> {
    let flags = libc::SPLICE_F_NONBLOCK | libc::SPLICE_F_MOVE;
    let null = std::ptr::null_mut;
    // SAFETY: null offsets are what sockets and pipes need.
    check(unsafe { libc::splice(from, null(), to, null(), limit, flags) })
}

/// Keeps signals away from a worker thread: they are the main thread's affair, and a splice into
/// a closed socket must answer EPIPE.
pub(crate) fn block_signals() {
    // SAFETY: a zeroed set is filled before it is used; the calls touch this thread only.
    unsafe {
        let mut set: libc::sigset_t = mem::zeroed();
        libc::sigfillset(&raw mut set);
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
    }
}
