//! Long streams between processes of one machine.
//!
//! There the kernel's care for the network only costs. A send queue that grows to megabytes lets
//! bytes leave the processor's cache before the next one copies them, which then takes twice as
//! long. Pacing (BBR's, which many servers have as their default) sets a timer for each segment,
//! and on a virtual machine a timer costs more than the segment. And a reader that is woken for
//! each segment of 64 KiB goes to sleep after each of them; [`await_much`] lets it sleep until
//! there is something to do.

use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::sync::OnceLock;

use crate::sys::socket as sys;

/// The send buffer for what goes to this machine, in bytes; the kernel doubles it.
const SEND: i32 = 256 << 10;
/// How far a sender that we copy from may be ahead of what we have acknowledged, in bytes.
const AHEAD: i32 = 256 << 10;
/// What a reader of a long stream is woken for, in bytes.
const MUCH: i32 = 128 << 10;

/// Shortens the queue of what we send to a process of this machine.
pub(super) fn shorten_sink(fd: RawFd) {
    sys::set(fd, libc::SOL_SOCKET, libc::SO_SNDBUF, SEND);
}

/// Lets a process of this machine send only so much at a time. Then the acknowledgements set the
/// pace of a sender with BBR, not its timers; they fire while we run, and cost us a fifth of our
/// time when we copy.
pub(super) fn shorten_window(fd: RawFd) {
    sys::set(fd, libc::IPPROTO_TCP, libc::TCP_WINDOW_CLAMP, AHEAD);
}

fn is_paced(fd: RawFd) -> bool {
    sys::congestion_control(fd).starts_with(b"bbr")
}

/// Lets what we shall send to a process of this machine go out at once. For a socket that is not
/// connected yet: once it has been under BBR the kernel goes on pacing it, if less.
pub(super) fn never_pace(fd: RawFd) {
    static BY_DEFAULT: OnceLock<bool> = OnceLock::new();
    if *BY_DEFAULT.get_or_init(|| is_paced(fd)) {
        sys::set_congestion_control(fd, b"reno"); // always there, and allowed to everybody
    }
}

/// Spares a socket that is connected already most of BBR's timers.
pub(super) fn unpace(fd: RawFd) {
    if is_paced(fd) {
        sys::set_congestion_control(fd, b"reno");
    }
}

/// From now on the socket is readable only with so much in its queue, with a full one, or at the
/// end of its stream (socket(7), `SO_RCVLOWAT`). Less than that must be asked for.
pub(super) fn await_much(fd: RawFd) {
    sys::set(fd, libc::SOL_SOCKET, libc::SO_RCVLOWAT, MUCH);
}

/// From now on the socket is readable with any byte, as it was at first.
pub(super) fn await_any(fd: RawFd) {
    sys::set(fd, libc::SOL_SOCKET, libc::SO_RCVLOWAT, 1);
}

/// Whether both ends of a connection are surely on this machine.
pub(super) fn is_near(fd: RawFd) -> bool {
    let ends = (sys::local_address(fd), sys::peer_address(fd));
    matches!(ends, (Ok(local), Some(peer)) if are_near(local, peer))
}

/// They have one address, or the peer has a loopback one.
fn are_near(local: SocketAddr, peer: SocketAddr) -> bool {
    peer.ip().is_loopback() || local.ip() == peer.ip()
}

#[cfg(test)]
pub(super) mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    pub(in crate::relay) fn option(fd: RawFd, name: i32) -> i32 {
        option_of(fd, libc::SOL_SOCKET, name)
    }

    fn option_of(fd: RawFd, level: i32, name: i32) -> i32 {
        let mut value = 0i32;
        let mut length = size_of::<i32>() as libc::socklen_t;
        // SAFETY: an int and its length, both writable.
        let done = unsafe {
            let value = (&raw mut value).cast();
            libc::getsockopt(fd, level, name, value, &raw mut length)
        };
        assert_eq!(done, 0);
        value
    }

    fn connected() -> (TcpStream, TcpListener) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        (TcpStream::connect(listener.local_addr().unwrap()).unwrap(), listener)
    }

    #[test]
    fn a_send_queue_is_shortened() {
        let (socket, _listener) = connected();
        shorten_sink(socket.as_raw_fd());
        // As much as wmem_max allows.
        let size = option(socket.as_raw_fd(), libc::SO_SNDBUF);
        assert!((2 * 212_992..=2 * SEND).contains(&size), "{size}");
    }

    #[test]
    fn only_a_pacing_congestion_control_is_replaced() {
        let (socket, _listener) = connected();
        let fd = socket.as_raw_fd();
        sys::set_congestion_control(fd, b"reno");
        unpace(fd);
        assert!(sys::congestion_control(fd).starts_with(b"reno\0"));
        // Where the kernel has BBR and lets us take it.
        sys::set_congestion_control(fd, b"bbr");
        unpace(fd);
        assert!(sys::congestion_control(fd).starts_with(b"reno\0"));
        assert_eq!(sys::congestion_control(-1), [0; 16]);
    }

    #[test]
    fn a_socket_that_is_new_is_never_paced() {
        let (_socket, listener) = connected();
        let to = listener.local_addr().unwrap();
        let socket = sys::connect(&to, never_pace).unwrap();
        let name = sys::congestion_control(socket.as_raw_fd());
        assert!(name[0] != 0 && !name.starts_with(b"bbr"), "{name:?}");
    }

    #[test]
    fn a_window_is_shortened() {
        let (socket, _listener) = connected();
        shorten_window(socket.as_raw_fd());
        let (level, name) = (libc::IPPROTO_TCP, libc::TCP_WINDOW_CLAMP);
        assert_eq!(option_of(socket.as_raw_fd(), level, name), AHEAD);
    }

    #[test]
    fn a_reader_may_wait_for_much() {
        let (socket, _listener) = connected();
        await_much(socket.as_raw_fd());
        assert_eq!(option(socket.as_raw_fd(), libc::SO_RCVLOWAT), MUCH);
        await_any(socket.as_raw_fd());
        assert_eq!(option(socket.as_raw_fd(), libc::SO_RCVLOWAT), 1);
    }

    #[test]
    fn ends_with_one_address_or_loopback_ones_are_near() {
        let near =
            |local: &str, peer: &str| are_near(local.parse().unwrap(), peer.parse().unwrap());
        assert!(near("127.0.0.1:80", "127.0.0.7:5000"));
        assert!(near("[::1]:80", "[::1]:5000"));
        assert!(near("192.0.2.1:80", "192.0.2.1:5000"));
        assert!(!near("192.0.2.1:80", "192.0.2.2:5000"));
        assert!(!near("[2001:db8::1]:80", "[2001:db8::2]:5000"));
        let (socket, _listener) = connected();
        assert!(is_near(socket.as_raw_fd()));
        let (socket, _peer) = UnixStream::pair().unwrap();
        assert!(!is_near(socket.as_raw_fd()));
    }
}
