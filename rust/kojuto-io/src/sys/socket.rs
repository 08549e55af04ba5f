//! The system calls of the relay, each wrapped once so that the rest of it is safe code.

use std::io::{self, IoSlice};
use std::mem;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::time::Duration;

use libc::{c_int, socklen_t};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    self, AddressFamily, RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, SocketAddrUnix,
    SocketFlags, SocketType, sockopt,
};

use super::address;
use super::descriptor::borrowed;
pub(crate) use super::descriptor::{duplicate, set_nonblocking};
pub(crate) use super::pipe::{pipe, splice};

/// The most that is taken out of the queue of a socket that is let go of: as many as wait there
/// where the system's limit (net.core.somaxconn) is its default.
pub(crate) const QUEUE: usize = 4096;
/// Silence before the kernel asks whether the peer is still there, the time between its questions,
/// and how many stay unanswered before the connection counts as dead.
const KEEPALIVE: (Duration, Duration, u32) = (Duration::from_secs(60), Duration::from_secs(15), 4);

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
    keep_urgent(socket.as_raw_fd());
    prepare(socket.as_raw_fd());
    match net::connect(&socket, address) {
        Err(error) if error != Errno::INPROGRESS => Err(error.into()),
        _ => Ok(socket),
    }
}

/// Connects to the UNIX socket of a path, non-blocking; `WouldBlock`: its backlog is full (connect(2)
/// on a socket of this kind is never in progress).
pub(crate) fn connect_unix(path: &Path) -> io::Result<OwnedFd> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket)
}

/// Whether a socket has a peer.
pub(crate) fn is_connected(fd: RawFd) -> bool {
    borrowed(fd).and_then(net::getpeername).is_ok_and(|peer| peer.is_some())
}

/// Sets a socket option that is an int. A refusal leaves the default.
pub(crate) fn set(fd: RawFd, level: c_int, name: c_int, value: c_int) {
    let _ = set_option(fd, level, name, &value.to_ne_bytes());
}

/// Sets any socket option. By hand, for `rustix` has not all that are wanted: `SO_RCVLOWAT`,
/// `TCP_WINDOW_CLAMP`, time stamps and filters of ICMP.
pub(crate) fn set_option(fd: RawFd, level: c_int, name: c_int, value: &[u8]) -> io::Result<()> {
    let length = value.len() as socklen_t;
    // SAFETY: `value` is readable for its length.
    match unsafe { libc::setsockopt(fd, level, name, value.as_ptr().cast(), length) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The name of a socket's congestion control, padded with zeros (tcp(7), `TCP_CONGESTION`); only
/// zeros for a socket that has none. By hand, for `rustix` allocates a text for each answer.
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
    let _ = set_option(fd, libc::IPPROTO_TCP, libc::TCP_CONGESTION, name);
}

/// Small messages go out at once. Sockets accepted from a listener inherit it.
pub(crate) fn no_delay(fd: RawFd) {
    let _ = borrowed(fd).and_then(|fd| sockopt::set_tcp_nodelay(fd, true));
}

/// The kernel asks now and then whether a silent peer is still there. Sockets accepted from a
/// listener inherit it.
pub(crate) fn keep_alive(fd: RawFd) {
    let Ok(fd) = borrowed(fd) else { return };
    let _ = sockopt::set_socket_keepalive(fd, true);
    let _ = sockopt::set_tcp_keepidle(fd, KEEPALIVE.0);
    let _ = sockopt::set_tcp_keepintvl(fd, KEEPALIVE.1);
    let _ = sockopt::set_tcp_keepcnt(fd, KEEPALIVE.2);
}

/// Has the kernel ask sooner whether a silent peer is still there: first after `every`, and three
/// times within one and a half times as long after that.
pub(crate) fn keep_alive_every(fd: RawFd, every: Duration) {
    let Ok(fd) = borrowed(fd) else { return };
    let second = Duration::from_secs(1);
    let _ = sockopt::set_tcp_keepidle(fd, every.max(second));
    let _ = sockopt::set_tcp_keepintvl(fd, (every / 2).max(second));
    let _ = sockopt::set_tcp_keepcnt(fd, 3);
}

/// What the kernel knows of the peer of a TCP connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Acknowledged {
    /// Milliseconds since its last acknowledgement.
    pub(crate) since_ms: u64,
    /// Something that was sent again and again waits for one.
    pub(crate) owed: bool,
}

/// When the peer of a socket last acknowledged anything; `None` for a socket that is not TCP.
///
/// `TCP_USER_TIMEOUT` would be simpler, but ends a connection whose peer keeps its window shut for
/// so long, alive as it is.
pub(crate) fn acknowledged(fd: RawFd) -> Option<Acknowledged> {
    let mut info = mem::MaybeUninit::<libc::tcp_info>::zeroed();
    let mut length = mem::size_of::<libc::tcp_info>() as socklen_t;
    // SAFETY: `info` is writable for `length`, and all zeros are a value of it.
    let info = unsafe {
        let name = libc::TCP_INFO;
        if libc::getsockopt(fd, libc::IPPROTO_TCP, name, info.as_mut_ptr().cast(), &raw mut length)
            != 0
        {
            return None;
        }
        info.assume_init()
    };
    let owed = info.tcpi_unacked > 0 || info.tcpi_probes > 1;
    Some(Acknowledged { since_ms: u64::from(info.tcpi_last_ack_recv), owed })
}

/// What a peer calls urgent (tcp(7)) stays in its place in the stream; the system would drop it.
/// Sockets accepted from a listener inherit it.
fn keep_urgent(fd: RawFd) {
    let _ = borrowed(fd).and_then(|fd| sockopt::set_socket_oobinline(fd, true));
}

/// All three.
pub(crate) fn tune_stream(fd: RawFd) {
    no_delay(fd);
    keep_alive(fd);
    keep_urgent(fd);
}

/// Makes the coming close(2) send a reset.
pub(crate) fn reset_on_close(fd: RawFd) {
    let _ = borrowed(fd).and_then(|fd| sockopt::set_socket_linger(fd, Some(Duration::ZERO)));
}

/// The error that waits on a socket, if any (SO_ERROR).
pub(crate) fn pending_error(fd: RawFd) -> Option<io::Error> {
    let answer = borrowed(fd).and_then(sockopt::socket_error).ok()?;
    answer.err().map(io::Error::from)
}

/// Lets others run on this core, if there are any (sched_yield(2)).
pub(crate) fn give_way() {
    rustix::thread::sched_yield();
}

/// The local address of a socket; `0.0.0.0:0` for one that is not of the internet.
pub(crate) fn local_address(fd: RawFd) -> io::Result<SocketAddr> {
    let address = address::of(&net::getsockname(borrowed(fd)?)?);
    Ok(address.unwrap_or_else(|| SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0).into()))
}

pub(crate) fn recv(fd: RawFd, buffer: &mut [u8]) -> io::Result<usize> {
    Ok(net::recv(borrowed(fd)?, buffer, RecvFlags::empty())?.0)
}

/// Looks at what is to be read without taking it.
pub(crate) fn peek(fd: RawFd, buffer: &mut [u8]) -> io::Result<usize> {
    Ok(net::recv(borrowed(fd)?, buffer, RecvFlags::PEEK)?.0)
}

/// Sends bytes that more will follow at once.
pub(crate) fn send_ahead(fd: RawFd, bytes: &[u8]) -> io::Result<usize> {
    Ok(net::send(borrowed(fd)?, bytes, SendFlags::NOSIGNAL | SendFlags::MORE)?)
}

/// Whether a read would find something at once: bytes, or the end of the stream.
pub(crate) fn has_input(fd: RawFd) -> bool {
    poll_one(fd, PollFlags::IN, Duration::ZERO)
}

pub(crate) fn send(fd: RawFd, bytes: &[u8]) -> io::Result<usize> {
    Ok(net::send(borrowed(fd)?, bytes, SendFlags::NOSIGNAL)?)
}

/// Sends two pieces as one (sendmsg(2)).
pub(crate) fn send_both(fd: RawFd, first: &[u8], second: &[u8]) -> io::Result<usize> {
    let pieces = [IoSlice::new(first), IoSlice::new(second)];
    let mut nothing = SendAncillaryBuffer::default();
    Ok(net::sendmsg(borrowed(fd)?, &pieces, &mut nothing, SendFlags::NOSIGNAL)?)
}

/// The address of a socket's peer; None for one that is not of the internet, or not connected.
pub(crate) fn peer_address(fd: RawFd) -> Option<SocketAddr> {
    let peer = borrowed(fd).and_then(net::getpeername).ok()??;
    address::of(&peer)
}

/// Waits at most so long for bytes to read, or for room to write.
pub(crate) fn wait_for(fd: RawFd, writing: bool, limit: Duration) {
    poll_one(fd, if writing { PollFlags::OUT } else { PollFlags::IN }, limit);
}

fn poll_one(fd: RawFd, events: PollFlags, limit: Duration) -> bool {
    let Ok(fd) = borrowed(fd) else { return false };
    let limit = Timespec::try_from(limit).ok();
    poll(&mut [PollFd::from_borrowed_fd(fd, events)], limit.as_ref()).is_ok_and(|count| count > 0)
}

pub(crate) fn shutdown_write(fd: RawFd) -> io::Result<()> {
    Ok(net::shutdown(borrowed(fd)?, Shutdown::Write)?)
}

/// Keeps signals away from a worker thread: they are the main thread's affair, and a splice into
/// a closed socket must answer EPIPE. By hand, for `rustix` leaves signals to the C library.
pub(crate) fn block_signals() -> libc::sigset_t {
    // SAFETY: zeroed sets are filled before they are used; the calls touch this thread only.
    unsafe {
        let (mut set, mut former): (libc::sigset_t, libc::sigset_t) = mem::zeroed();
        libc::sigfillset(&raw mut set);
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, &raw mut former);
        former
    }
}

/// Has this thread block again what it did before.
pub(crate) fn restore_signals(former: &libc::sigset_t) {
    // SAFETY: the set is one that the kernel filled; the call touches this thread only.
    unsafe {
        libc::pthread_sigmask(libc::SIG_SETMASK, std::ptr::from_ref(former), std::ptr::null_mut());
    }
}
