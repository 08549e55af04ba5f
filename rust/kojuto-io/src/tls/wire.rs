//! What WebSocket frames travel on: a TCP socket, or TLS over one.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use crate::sys::socket as sys;

/// A byte stream that never waits.
pub(crate) trait Wire: Send {
    fn fd(&self) -> RawFd;

    /// Takes bytes; 0 is the end. `WouldBlock`: not before the descriptor is ready again.
    fn recv(&mut self, buffer: &mut [u8]) -> io::Result<usize>;

    /// Whether the last `recv` took all there was.
    fn drained(&self) -> bool;

    /// Gives `head` and then `body`; answers how many bytes of both were taken, at least 1.
    fn send(&mut self, head: &[u8], body: &[u8]) -> io::Result<usize>;

    /// Sends what was taken and still lies here. `WouldBlock`: something is left.
    fn flush(&mut self) -> io::Result<()>;

    /// Whether the bytes of the socket are those that go through here, so that they may also go
    /// to and from it directly.
    fn is_bare(&self) -> bool {
        false
    }

    /// Sends TLS's close_notify (RFC 8446, 6.1), as far as that goes without waiting.
    fn send_close_notify(&mut self);
}

/// Frames straight on TCP.
pub(crate) struct Plain {
    socket: OwnedFd,
    drained: bool,
}

impl Plain {
    pub(crate) fn new(socket: OwnedFd) -> Plain {
        Plain { socket, drained: false }
    }
}

impl Wire for Plain {
    fn fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    fn recv(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = sys::recv(self.socket.as_raw_fd(), buffer)?;
        self.drained = count < buffer.len(); // epoll(7), "Questions and answers" 9
        Ok(count)
    }

    fn drained(&self) -> bool {
        self.drained
    }

    fn send(&mut self, head: &[u8], body: &[u8]) -> io::Result<usize> {
        let fd = self.socket.as_raw_fd();
        if head.is_empty() { sys::send(fd, body) } else { sys::send_both(fd, head, body) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn is_bare(&self) -> bool {
        true
    }

    fn send_close_notify(&mut self) {}
}
