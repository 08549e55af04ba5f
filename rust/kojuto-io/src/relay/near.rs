//! Short queues between processes of one machine.
//!
//! A socket's queue grows with what its reader leaves lying (tcp(7), `tcp_rmem`), to megabytes
//! where a sender is but a little faster. Over a long way that fills the line. Within a machine
//! it only means that bytes have left the processor's cache when the next one copies them, which
//! then takes twice as long, so that the queue stays long. A relay adds a second queue to the
//! first; with both kept short, each step finds its bytes where the last one left them.

use std::net::SocketAddr;
use std::os::fd::RawFd;

use super::sys;

/// The receive buffer for what comes from this machine, in bytes; the kernel doubles it.
const RECEIVE: i32 = 128 << 10;
/// The send buffer for what goes to this machine, in bytes; the kernel doubles it.
const SEND: i32 = 256 << 10;

/// Shortens the queue of what a process of this machine sends us.
pub(super) fn shorten_source(fd: RawFd) {
    if is_near(fd) {
        sys::set(fd, libc::SOL_SOCKET, libc::SO_RCVBUF, RECEIVE);
    }
}

/// Shortens the queue of what we send to a process of this machine.
pub(super) fn shorten_sink(fd: RawFd) {
    if is_near(fd) {
        sys::set(fd, libc::SOL_SOCKET, libc::SO_SNDBUF, SEND);
    }
}

fn is_near(fd: RawFd) -> bool {
    let ends = (sys::address_by(libc::getsockname, fd), sys::address_by(libc::getpeername, fd));
    matches!(ends, (Ok(Some(local)), Ok(Some(peer))) if are_near(local, peer))
}

/// Whether two ends are surely on one machine: they have one address, or loopback ones.
fn are_near(local: SocketAddr, peer: SocketAddr) -> bool {
    peer.ip().is_loopback() || local.ip() == peer.ip()
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    fn option(fd: RawFd, name: i32) -> i32 {
        let mut value = 0i32;
        let mut length = size_of::<i32>() as libc::socklen_t;
        // SAFETY: an int and its length, both writable.
        let done = unsafe {
            let value = (&raw mut value).cast();
            libc::getsockopt(fd, libc::SOL_SOCKET, name, value, &raw mut length)
        };
        assert_eq!(done, 0);
        value
    }

    #[test]
    fn sockets_within_the_machine_get_short_queues() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let fd = socket.as_raw_fd();
        shorten_source(fd);
        shorten_sink(fd);
        assert_eq!(option(fd, libc::SO_RCVBUF), 2 * RECEIVE);
        // As much as wmem_max allows.
        assert!((2 * 212_992..=2 * SEND).contains(&option(fd, libc::SO_SNDBUF)));
    }

    #[test]
    fn no_others_do() {
        let near =
            |local: &str, peer: &str| are_near(local.parse().unwrap(), peer.parse().unwrap());
        assert!(near("127.0.0.1:80", "127.0.0.7:5000"));
        assert!(near("[::1]:80", "[::1]:5000"));
        assert!(near("192.0.2.1:80", "192.0.2.1:5000"));
        assert!(!near("192.0.2.1:80", "192.0.2.2:5000"));
        assert!(!near("[2001:db8::1]:80", "[2001:db8::2]:5000"));
        let (socket, _peer) = UnixStream::pair().unwrap();
        assert!(!is_near(socket.as_raw_fd()));
    }
}
