//! The system calls of the relay, each wrapped once so that the rest of it is safe code.

use std::io;
use std::mem;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use libc::{c_int, socklen_t};

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
    // SAFETY: an all-zero sockaddr_storage is valid.
    let mut storage: libc::sockaddr_storage = unsafe { mem::zeroed() };
    let mut length = mem::size_of::<libc::sockaddr_storage>() as socklen_t;
    // SAFETY: `storage` has `length` writable bytes.
    let fd = unsafe {
        libc::accept4(
            listener,
            (&raw mut storage).cast(),
            &raw mut length,
            libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC,
        )
    };
    Ok((check_fd(fd)?, address_of(&storage)))
}

fn address_of(storage: &libc::sockaddr_storage) -> Option<SocketAddr> {
    match c_int::from(storage.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says that this is a sockaddr_in, which is smaller.
            let v4: &libc::sockaddr_in = unsafe { &*(&raw const *storage).cast() };
            let ip = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
            Some(SocketAddrV4::new(ip, u16::from_be(v4.sin_port)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: the family says that this is a sockaddr_in6, which is smaller.
            let v6: &libc::sockaddr_in6 = unsafe { &*(&raw const *storage).cast() };
            let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
            let port = u16::from_be(v6.sin6_port);
            // A client on a dual-stack socket is shown as what it is, an IPv4 address.
            Some(match ip.to_ipv4_mapped() {
                Some(ip) => SocketAddrV4::new(ip, port).into(),
                None => SocketAddrV6::new(ip, port, 0, v6.sin6_scope_id).into(),
            })
        }
        _ => None,
    }
}

fn raw_address(address: &SocketAddr) -> (libc::sockaddr_storage, socklen_t) {
    // SAFETY: an all-zero sockaddr_storage is valid.
    let mut storage: libc::sockaddr_storage = unsafe { mem::zeroed() };
    let length = match address {
        SocketAddr::V4(v4) => {
            // SAFETY: sockaddr_storage is large enough and aligned for each family.
            let raw: &mut libc::sockaddr_in = unsafe { &mut *(&raw mut storage).cast() };
            raw.sin_family = libc::AF_INET as libc::sa_family_t;
            raw.sin_port = v4.port().to_be();
            raw.sin_addr.s_addr = u32::from(*v4.ip()).to_be();
            mem::size_of::<libc::sockaddr_in>()
        }
        SocketAddr::V6(v6) => {
            // SAFETY: as above.
            let raw: &mut libc::sockaddr_in6 = unsafe { &mut *(&raw mut storage).cast() };
            raw.sin6_family = libc::AF_INET6 as libc::sa_family_t;
            raw.sin6_port = v6.port().to_be();
            raw.sin6_addr.s6_addr = v6.ip().octets();
            raw.sin6_scope_id = v6.scope_id();
            mem::size_of::<libc::sockaddr_in6>()
        }
    };
    (storage, length as socklen_t)
}

/// Starts a non-blocking connection on a socket that `prepare` has been shown; it is made, or has
/// failed, when the socket is writable.
pub(crate) fn connect(address: &SocketAddr, prepare: impl FnOnce(RawFd)) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: no pointers.
    let socket = check_fd(unsafe { libc::socket(family, kind, 0) })?;
    no_delay(socket.as_raw_fd());
    prepare(socket.as_raw_fd());
    let (storage, length) = raw_address(address);
    // SAFETY: `storage` holds an address of `length` bytes.
    let done = unsafe { libc::connect(socket.as_raw_fd(), (&raw const storage).cast(), length) };
    match check(done as isize) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
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

/// The local address of a socket, or the path of a UNIX socket, as text.
pub(crate) fn local_address(fd: RawFd) -> io::Result<SocketAddr> {
    let address = address_by(libc::getsockname, fd)?;
    Ok(address.unwrap_or_else(|| SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0).into()))
}

/// What `getsockname` or `getpeername` says of a socket; None for one that is not of the internet.
pub(crate) fn address_by(
    ask: unsafe extern "C" fn(c_int, *mut libc::sockaddr, *mut socklen_t) -> c_int,
    fd: RawFd,
) -> io::Result<Option<SocketAddr>> {
    // SAFETY: an all-zero sockaddr_storage is valid.
    let mut storage: libc::sockaddr_storage = unsafe { mem::zeroed() };
    let mut length = mem::size_of::<libc::sockaddr_storage>() as socklen_t;
    // SAFETY: `storage` has `length` writable bytes, as both calls want it.
    check(unsafe { ask(fd, (&raw mut storage).cast(), &raw mut length) } as isize)?;
    Ok(address_of(&storage))
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

/// The address of a socket's peer.
pub(crate) fn peer_address(fd: RawFd) -> Option<SocketAddr> {
    // SAFETY: an all-zero sockaddr_storage is valid.
    let mut storage: libc::sockaddr_storage = unsafe { mem::zeroed() };
    let mut length = mem::size_of::<libc::sockaddr_storage>() as socklen_t;
    // SAFETY: `storage` has `length` writable bytes.
    let done = unsafe { libc::getpeername(fd, (&raw mut storage).cast(), &raw mut length) };
    check(done as isize).ok().and_then(|_| address_of(&storage))
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
