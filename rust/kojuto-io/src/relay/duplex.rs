//! Both directions of a connection, each with its pump.

use super::endpoint::{Party, Side};
use super::failure::Failure;
use super::pump::{Pump, Tools, Turn};
use super::tap::{Direction, Tap};
use super::tunnel::Tunnel;

#[derive(Default)]
pub(super) struct Duplex {
    /// From the client to the upstream.
    pub(super) up: Pump,
    /// From the upstream to the client.
    pub(super) down: Pump,
}

/// How a turn of both directions ended.
pub(super) enum Progress {
    Waiting,
    Again,
    /// Both directions have ended.
    Complete,
    /// It is over.
    Broken(Failure),
}

impl Duplex {
    /// Moves what can be moved in both directions; answers how many bytes each moved.
    /// `tap`: who looks at them, and the connection's id.
    pub(super) fn turn(
        &mut self,
        (client, upstream): (&mut Side, &mut Side),
        tools: &mut Tools,
        tunnel: Option<&mut Tunnel>,
        tap: Option<(&dyn Tap, u64)>,
    ) -> (Progress, u64, u64) {
        let tunnels = tunnel.is_some();
        if tunnels {
            forsake((&mut *client, &mut self.down), (&mut *upstream, &mut self.up), tools);
        }
        let before = (self.up.moved(), self.down.moved());
        let mut see = seen(tap, Direction::ToUpstream);
        let up = self.up.turn(client, upstream, tools, see.as_mut().map(|see| see as _));
        if let Turn::SinkFailed(error) = &up {
            upstream.write_failed(error);
        }
        if tunnels {
            forsake((&mut *client, &mut self.down), (&mut *upstream, &mut self.up), tools);
        }
        let mut see = seen(tap, Direction::ToClient);
        let down = self.down.turn(upstream, client, tools, see.as_mut().map(|see| see as _));
        let moved = (self.up.moved() - before.0, self.down.moved() - before.1);
        if moved.0 > 0 {
            self.down.note_rest();
        }
        if moved.1 > 0 {
            self.up.note_rest();
        }
        let mut more = false;
        if let Some(tunnel) = tunnel {
            let ended = (self.up.source_ended(), self.down.source_ended());
            tunnel.note_end(&up, &down, ended);
            more = client.end_turn(ended.0) | upstream.end_turn(ended.1);
            more |= forsake((&mut *client, &mut self.down), (&mut *upstream, &mut self.up), tools);
        }
        let progress = match (up, down) {
            (Turn::SourceFailed(source), _) | (_, Turn::SinkFailed(source)) => {
                Progress::Broken(Failure::of_peer(Party::Client, source))
            }
            (Turn::SinkFailed(source), _) | (_, Turn::SourceFailed(source)) => {
                Progress::Broken(Failure::of_peer(Party::Upstream, source))
            }
            _ if self.up.is_done() && self.down.is_done() => Progress::Complete,
            (Turn::Again, _) | (_, Turn::Again) => Progress::Again,
            _ if more => Progress::Again,
            _ => Progress::Waiting,
        };
        (progress, moved.0, moved.1)
    }

    /// Whether there may be bytes that no event tells of.
    pub(super) fn waits_for_much(&self) -> bool {
        self.up.waits_for_much() || self.down.waits_for_much()
    }

    /// Both streams rested.
    pub(super) fn note_rest(&mut self) {
        self.up.note_rest();
        self.down.note_rest();
    }

    /// Lets the next turn read whatever there is.
    pub(super) fn stop_waiting_for_much(&mut self, client: &mut Side, upstream: &mut Side) {
        self.up.stop_waiting_for_much(client);
        self.down.stop_waiting_for_much(upstream);
    }

    pub(super) fn is_half_closed(&self) -> bool {
        self.up.source_ended() || self.down.source_ended()
    }

    /// Whether a peer has left and all that it said is passed on.
    pub(super) fn is_left_behind(&self) -> bool {
        (self.down.is_abandoned() && self.up.is_done())
            || (self.up.is_abandoned() && self.down.is_done())
    }

    /// How far it has ended; each step has its limit of silence.
    pub(super) fn ends(&self) -> (bool, bool) {
        (self.is_half_closed(), self.is_left_behind())
    }
}

/// Hands the bytes of a direction to the tap, if it wants them.
fn seen(tap: Option<(&dyn Tap, u64)>, direction: Direction) -> Option<impl FnMut(&[u8])> {
    let (tap, id) = tap.filter(|(tap, _)| tap.wants(direction))?;
    Some(move |bytes: &[u8]| tap.bytes(id, direction, bytes))
}

/// Gives nothing more to a peer that has left; each comes with the direction that leads to it.
/// Answers whether that is news.
fn forsake(
    client: (&mut Side, &mut Pump),
    upstream: (&mut Side, &mut Pump),
    tools: &mut Tools,
) -> bool {
    let mut news = false;
    for (side, pump) in [client, upstream] {
        if side.end.has_left(side.ending) && !pump.is_abandoned() {
            pump.abandon(tools);
            news = true;
        }
    }
    news
}

#[cfg(test)]
mod tests {
    use std::io::{self, Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::{OwnedFd, RawFd};
    use std::sync::Arc;
    use std::time::Duration;

    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::net::sockopt::set_socket_linger;

    use super::*;
    use crate::relay::endpoint::{Cut, Endpoint, Tcp};
    use crate::sys::descriptor::borrowed;
    use crate::sys::epoll;

    /// A connection over loopback: our side of it, which has heard that there is something, and the
    /// peer.
    fn connection() -> (Side, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let theirs = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let ours = listener.accept().unwrap().0;
        ours.set_nonblocking(true).unwrap();
        let mut side = Side::new(Box::new(Tcp::new(OwnedFd::from(ours))));
        side.readable = true;
        (side, theirs)
    }

    fn wait_for(side: &Side, flags: PollFlags) {
        let fd = borrowed(side.end.fd()).unwrap();
        let limit = Timespec { tv_sec: 10, tv_nsec: 0 };
        assert_eq!(poll(&mut [PollFd::new(&fd, flags)], Some(&limit)).unwrap(), 1);
    }

    #[test]
    fn a_reset_that_a_write_meets_first_is_no_end_of_the_stream() {
        let (mut client, mut browser) = connection();
        let (mut upstream, mut server) = connection();
        server.write_all(b"half of an answ").unwrap();
        set_socket_linger(&server, Some(Duration::ZERO)).unwrap();
        drop(server);
        wait_for(&upstream, PollFlags::empty()); // until POLLERR
        upstream.saw(epoll::READ | epoll::HANGUP);
        browser.write_all(b"more of the question").unwrap();
        wait_for(&client, PollFlags::IN);
        let mut tools = Tools::new(Arc::default());
        let turn = Duplex::default().turn((&mut client, &mut upstream), &mut tools, None, None);
        assert!(matches!(turn.0, Progress::Broken(Failure::Peer { party: Party::Upstream, .. })));
        let mut got = [0; 64];
        let count = browser.read(&mut got).unwrap();
        assert_eq!(&got[..count], b"half of an answ");
        browser.set_nonblocking(true).unwrap();
        let next = browser.read(&mut got).unwrap_err();
        assert_eq!(next.kind(), io::ErrorKind::WouldBlock, "and no end of it");
    }

    /// A peer that fails what is owed to it, and then looks as if it had ended.
    struct Owing(io::ErrorKind);

    impl Endpoint for Owing {
        fn fd(&self) -> RawFd {
            -1
        }

        fn read(&mut self, _buffer: &mut [u8]) -> io::Result<usize> {
            Ok(0)
        }

        fn write(&mut self, _bytes: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::WouldBlock.into())
        }

        fn finish(&mut self) -> io::Result<()> {
            Ok(())
        }

        fn reset(&mut self, _cut: Cut) {}

        fn flush(&mut self) -> io::Result<()> {
            Err(self.0.into())
        }
    }

    #[test]
    fn nor_is_one_that_an_answer_to_a_ping_meets() {
        let after = |kind| {
            let mut side = Side::new(Box::new(Owing(kind)));
            side.end_turn(false);
            side.read(&mut [0; 8]).map_err(|error| error.kind())
        };
        assert_eq!(after(io::ErrorKind::ConnectionReset), Err(io::ErrorKind::ConnectionReset));
        assert_eq!(after(io::ErrorKind::TimedOut), Err(io::ErrorKind::ConnectionReset));
        assert_eq!(after(io::ErrorKind::BrokenPipe), Ok(0), "its end came first");
        assert_eq!(after(io::ErrorKind::WouldBlock), Ok(0));
    }
}
