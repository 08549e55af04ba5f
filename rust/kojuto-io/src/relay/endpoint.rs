//! What the pump moves bytes between.

pub(super) mod lazy;

use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use kojuto_core::net::proxy_protocol::Header;
use rustix::io::Errno;

use crate::sys::epoll;
use crate::sys::socket as sys;

/// The longest PROXY header that is accepted; nginx's own limit is half of it.
pub const HEADER_BYTES: usize = 8192;

/// One end of a relayed connection: a read side and a write side, neither of which ever waits.
///
/// The pump knows nothing else about it: a TCP socket is one kind, a WebSocket or TLS stream is
/// another. `io::ErrorKind::WouldBlock` means: call again when [`Endpoint::fd`] is ready.
pub trait Endpoint: Send {
    /// The descriptor whose readiness drives this endpoint.
    fn fd(&self) -> RawFd;

    /// Takes bytes; 0 is the end of the peer's stream.
    ///
    /// # Errors
    /// What the connection failed with; `WouldBlock` when there is nothing now.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize>;

    /// Gives bytes; answers how many were taken, at least 1. What was not taken may have been
    /// changed (masked in place) and must be given first the next time, as it is now.
    ///
    /// # Errors
    /// What the connection failed with; `WouldBlock` when there is no room now.
    fn write(&mut self, bytes: &mut [u8]) -> io::Result<usize>;

    /// Ends the write side (half-close) once everything written is on its way.
    ///
    /// # Errors
    /// What the connection failed with; `WouldBlock` when it must be asked again.
    fn finish(&mut self) -> io::Result<()>;

    /// Whether a drop says to the peer what [`Endpoint::finish`] does, so that the latter may be
    /// left out when nothing is read any more either.
    fn finishes_on_drop(&self) -> bool {
        false
    }

    /// Makes the coming drop look to the peer like what it is: the end of a broken stream.
    fn reset(&mut self, cut: Cut);

    /// Whether a read that answered `got` of `asked` bytes has emptied the source, so that the
    /// next readiness event may be awaited without asking once more.
    fn drained(&self, _got: usize, _asked: usize) -> bool {
        false
    }

    /// The socket whose next bytes are payload as it is, and how many of them: splice(2) may take
    /// them. The end of the stream is for [`Endpoint::read`] to tell.
    fn splice_source(&mut self) -> Option<(RawFd, usize)> {
        None
    }

    /// So many of these bytes were taken.
    fn spliced_out(&mut self, _count: usize) {}

    /// The socket that splice(2) may give payload to, behind what [`Endpoint::announce`] sends.
    fn splice_sink(&self) -> Option<RawFd> {
        None
    }

    /// Whether the socket carries the payload and nothing else.
    fn is_plain(&self) -> bool {
        false
    }

    /// Sends what belongs before the next of `count` bytes that lie ready; answers how many of
    /// them may follow.
    ///
    /// # Errors
    /// As for [`Endpoint::write`].
    fn announce(&mut self, count: usize) -> io::Result<usize> {
        Ok(count)
    }

    /// So many of these bytes were given.
    fn spliced_in(&mut self, _count: usize) {}

    /// Sends what the endpoint owes its peer beside the payload, as far as there is room.
    ///
    /// # Errors
    /// What the connection failed with; `WouldBlock` when something is still owed.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Whether a read that answered `WouldBlock` only let others have their turn: no readiness
    /// event need come before the next.
    fn has_more(&self) -> bool {
        false
    }

    /// What has become of a PROXY header that the stream may begin with; a header is told of once.
    fn beginning(&mut self) -> Beginning {
        Beginning::Nothing
    }

    /// Lets go of what is held since it may be the beginning of a PROXY header; false when it is one.
    fn release(&mut self) -> bool {
        true
    }

    /// Whether the peer will not read what is written any more. `ending`: it has ended its socket
    /// ([`Side::ending`]), though not all that it said is read.
    fn has_left(&mut self, _ending: bool) -> bool {
        false
    }

    /// Shows the peer, and whoever counts idle seconds between here and there, a sign of life; its
    /// answer is known by the number.
    fn ping(&mut self, _number: u32) {}

    /// What was heard from a peer that is pinged since this was last asked.
    fn heard(&mut self) -> Heard {
        Heard::Nothing
    }

    /// Whether a peer that is there must have answered a ping by now: nothing that it has yet to
    /// take lies before it, and it may still speak.
    fn must_answer(&self) -> bool {
        false
    }
}

/// What has become of a PROXY header that a stream may begin with.
pub enum Beginning {
    /// Nothing has come that is not passed on.
    Nothing,
    /// So many bytes may be the beginning of one, and are held.
    Held {
        /// Their number.
        seen: usize,
    },
    /// It has come.
    Header(Box<Header>),
}

/// A peer's signs of life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// None.
    Nothing,
    /// Bytes.
    Bytes,
    /// The answer to the ping of this number was among them.
    Pong(u32),
}

/// One of the two peers of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Party {
    /// Who came to us.
    Client,
    /// Where the client is taken.
    Upstream,
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Party::Client => "client",
            Party::Upstream => "upstream",
        })
    }
}

/// Why a connection ends before its streams do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Something failed.
    Broken,
    /// The relay is stopped.
    Leaving,
    /// It may not be open any more.
    Refused,
}

/// A connected, non-blocking stream socket.
pub struct Tcp(OwnedFd);

impl Tcp {
    /// Takes over a connected, non-blocking socket.
    pub fn new(socket: OwnedFd) -> Tcp {
        Tcp(socket)
    }
}

impl Endpoint for Tcp {
    fn fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        sys::recv(self.0.as_raw_fd(), buffer)
    }

    fn write(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        sys::send(self.0.as_raw_fd(), bytes)
    }

    fn finish(&mut self) -> io::Result<()> {
        sys::shutdown_write(self.0.as_raw_fd())
    }

    fn finishes_on_drop(&self) -> bool {
        true
    }

    fn reset(&mut self, _cut: Cut) {
        sys::reset_on_close(self.0.as_raw_fd());
    }

    fn drained(&self, got: usize, asked: usize) -> bool {
        got < asked // epoll(7), "Questions and answers" 9
    }

    fn splice_source(&mut self) -> Option<(RawFd, usize)> {
        Some((self.0.as_raw_fd(), usize::MAX))
    }

    fn splice_sink(&self) -> Option<RawFd> {
        Some(self.0.as_raw_fd())
    }

    fn is_plain(&self) -> bool {
        true
    }
}

/// An endpoint with what epoll has said about it.
pub(super) struct Side {
    pub(super) end: Box<dyn Endpoint>,
    /// There may be bytes to read; false after the source said `WouldBlock`.
    pub(super) readable: bool,
    /// There may be room to write; false after the sink said `WouldBlock`.
    pub(super) writable: bool,
    /// The peer has ended its stream (EPOLLRDHUP): reads go on to the very end.
    pub(super) ending: bool,
    /// The peer's stream was read to its end.
    pub(super) ended: bool,
    /// The peer has called a byte urgent: reads end in front of it, whatever lies behind, and splice(2)
    /// stays there for ever.
    pub(super) urgent: bool,
    /// A write met the error by which the connection ended, and took it from the socket.
    cut: bool,
}

impl Side {
    pub(super) fn new(end: Box<dyn Endpoint>) -> Side {
        let (ending, ended, urgent, cut) = (false, false, false, false);
        Side { end, readable: false, writable: true, ending, ended, urgent, cut }
    }

    /// Takes bytes; 0 is the end of the peer's stream.
    ///
    /// The system tells of an error once: what is read behind it looks like the end of a stream.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.end.read(buffer) {
            Ok(0) if self.cut => Err(Errno::CONNRESET.into()),
            result => result,
        }
    }

    /// A read of `asked` bytes was given `got`.
    pub(super) fn was_read(&mut self, got: usize, asked: usize) {
        if self.end.drained(got, asked) && !self.ending && !self.urgent {
            self.readable = false;
        }
    }

    /// A write to it has failed.
    pub(super) fn write_failed(&mut self, error: &io::Error) {
        // EPIPE: the peer's stream had ended before (CLOSE_WAIT of RFC 9293).
        self.cut |= error.kind() != io::ErrorKind::BrokenPipe;
    }

    /// Sends what is owed, or what there is room for.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        match self.end.flush() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.writable = false;
                Ok(())
            }
            result => result.inspect_err(|error| self.write_failed(error)),
        }
    }

    /// After the turns of both directions: sends what came up to be sent meanwhile, and answers
    /// whether there is more to read without an event. A failure shows in what comes next.
    pub(super) fn end_turn(&mut self, ended: bool) -> bool {
        let _ = self.flush();
        let more = !ended && self.end.has_more();
        self.readable |= more;
        more
    }

    pub(super) fn saw(&mut self, events: u32) {
        self.readable |= events & (epoll::READ | epoll::HANGUP) != 0;
        self.writable |= events & (epoll::WRITE | epoll::HANGUP) != 0;
        self.urgent |= events & epoll::URGENT != 0;
        self.ending |= events & (epoll::PEER_ENDED | epoll::HANGUP) != 0;
    }
}
