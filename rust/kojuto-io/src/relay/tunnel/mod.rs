//! Connections that somebody else has made: a WebSocket after its handshake and what it leads to.

mod adopt;
mod grants;
mod life;
mod websocket;

use std::collections::HashSet;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kojuto_core::scan::json_line::JsonLine;

use super::endpoint::{Endpoint, Heard, Party, Side, Tcp};
use super::failure::Failure;
use super::pump::Turn;
use super::remote::Remote;
use crate::sys::socket as sys;
use crate::tls::{Plain, TlsStream};
use grants::Grant;
pub(super) use grants::Grants;
use life::Life;
use websocket::WebSocket;

/// What a connection is handed over on.
pub enum Stream {
    /// A connected socket, which stays the caller's: a copy of the descriptor is used.
    Socket(RawFd),
    /// A TLS connection, which must be the side that speaks WebSocket.
    Tls(Box<TlsStream>),
}

/// A value of a log line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Field {
    /// Text.
    Text(String),
    /// A number.
    Number(u64),
}

/// A connected pair, one side of which speaks WebSocket and has shaken hands.
pub struct Adoption {
    /// The client's side.
    pub client: Stream,
    /// The upstream's side.
    pub upstream: Stream,
    /// Which side speaks WebSocket.
    pub websocket: Party,
    /// We are the WebSocket client, who masks.
    pub masked: bool,
    /// The WebSocket peer may end its stream without a Close frame, between two frames.
    pub lenient: bool,
    /// The client as logs name it.
    pub remote: Remote,
    /// The listener as logs name it.
    pub listener: String,
    /// The upstream as logs name it.
    pub upstream_name: String,
    /// What was read from the client past the handshake.
    pub client_data: Vec<u8>,
    /// The same from the upstream.
    pub upstream_data: Vec<u8>,
    /// More for the log lines: key and value.
    pub fields: Vec<(String, Field)>,
    /// Silence before the WebSocket peer is sent a ping; zero for never.
    pub ping_interval: Duration,
    /// By what right it is open, if that may be taken away: see [`super::Relay::revoke`].
    pub grant: Option<String>,
}

/// An [`Adoption`] on its way to a worker.
pub(super) struct Adopted {
    client: Box<dyn Endpoint>,
    upstream: Box<dyn Endpoint>,
    peer: Option<std::net::SocketAddr>,
    remote: Remote,
    listener: String,
    /// Payload that was read from a side without frames.
    client_data: Vec<u8>,
    upstream_data: Vec<u8>,
    tunnel: Tunnel,
    grant: Option<String>,
}

/// What a connection that was adopted has beside the others.
pub(super) struct Tunnel {
    upstream: String,
    fields: Vec<(String, Field)>,
    pub(super) websocket: Party,
    life: Life,
    /// Where it began to end.
    pub(super) ended_at: Option<&'static str>,
    grant: Option<Grant>,
}

fn own(fd: RawFd) -> io::Result<OwnedFd> {
    let socket = sys::duplicate(fd)?;
    sys::set_nonblocking(socket.as_raw_fd())?;
    sys::tune_stream(socket.as_raw_fd());
    Ok(socket)
}

impl Adoption {
    /// Takes over the sockets and puts the frames on the side that has them.
    pub(super) fn prepare(mut self) -> io::Result<Adopted> {
        let mut ends = Vec::with_capacity(2);
        let sides = [(Party::Client, self.client), (Party::Upstream, self.upstream)];
        for (party, stream) in sides {
            let framed = party == self.websocket;
            let data = match party {
                Party::Client => &mut self.client_data,
                Party::Upstream => &mut self.upstream_data,
            };
            let end: Box<dyn Endpoint> = match stream {
                Stream::Socket(fd) if framed => {
                    let wire = Plain::new(own(fd)?);
                    Box::new(WebSocket::new(wire, self.masked, self.lenient, std::mem::take(data)))
                }
                Stream::Socket(fd) => Box::new(Tcp::new(own(fd)?)),
                Stream::Tls(stream) if framed => {
                    let data = std::mem::take(data);
                    Box::new(WebSocket::new(stream.session, self.masked, self.lenient, data))
                }
                Stream::Tls(_) => {
                    let text = "TLS on the side that does not speak WebSocket";
                    return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
                }
            };
            if framed && !self.ping_interval.is_zero() {
                sys::keep_alive_every(end.fd(), self.ping_interval);
            }
            ends.push(end);
        }
        let (Some(upstream), Some(client)) = (ends.pop(), ends.pop()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        Ok(Adopted {
            peer: sys::peer_address(upstream.fd()),
            client,
            upstream,
            remote: self.remote,
            listener: self.listener,
            client_data: self.client_data,
            upstream_data: self.upstream_data,
            tunnel: Tunnel {
                upstream: self.upstream_name,
                fields: self.fields,
                websocket: self.websocket,
                life: Life::new(self.ping_interval),
                ended_at: None,
                grant: None,
            },
            grant: self.grant,
        })
    }
}

impl Adopted {
    /// Has its right known from now on, so that it may be taken away.
    pub(super) fn register(&mut self, known: &Arc<Grants>) {
        self.tunnel.grant = self.grant.take().map(|text| Grant::new(known, text));
    }
}

impl Tunnel {
    /// Adds what it was handed over with to a log line.
    pub(super) fn describe(&self, line: JsonLine) -> JsonLine {
        let line = line.text("upstream", &self.upstream);
        self.fields.iter().fold(line, |line, (key, value)| match value {
            Field::Text(text) => line.text(key, text),
            Field::Number(number) => line.number(key, *number),
        })
    }

    /// Where it leads to, as logs name it.
    pub(super) fn upstream(&self) -> &str {
        &self.upstream
    }

    /// Whether its right is one of these.
    pub(super) fn is_by(&self, grants: &HashSet<u64>) -> bool {
        self.grant.as_ref().is_some_and(|grant| grants.contains(&grant.number))
    }

    /// When the WebSocket peer is to be looked at next: it is due for a ping, or has answered none.
    pub(super) fn due_ms(&self) -> Option<u64> {
        self.life.due_ms()
    }

    /// Begins to wait for signs of life.
    pub(super) fn begin(&mut self, now_ms: u64) {
        self.life.begin(now_ms);
    }

    /// Notes what has come from the peer; answers the round trip that a pong has ended.
    pub(super) fn listen(
        &mut self,
        now_ms: u64,
        sides: (&mut Side, &mut Side),
    ) -> Option<Duration> {
        match self.framed(sides).end.heard() {
            Heard::Nothing => None,
            Heard::Bytes => self.life.heard(now_ms, None),
            Heard::Pong(number) => self.life.heard(now_ms, Some((number, Instant::now()))),
        }
    }

    /// Sends the peer a ping, or as much of it as there is room for, unless it has answered none
    /// for so long that it is gone.
    pub(super) fn look_after(
        &mut self,
        now_ms: u64,
        sides: (&mut Side, &mut Side),
    ) -> Result<(), Failure> {
        let side = self.framed(sides);
        if self.life.is_doubtful() && self.life.is_gone(now_ms, side) {
            return Err(Failure::Vanished { silent: self.life.silence(now_ms) });
        }
        let number = self.life.pinged(now_ms, Instant::now());
        if !side.ending {
            side.end.ping(number);
        }
        side.flush().map_err(Failure::Ping)
    }

    /// The round trip of the last ping that was answered.
    pub(super) fn round_trip(&self) -> Option<Duration> {
        self.life.round_trip()
    }

    fn framed<'a>(&self, (client, upstream): (&'a mut Side, &'a mut Side)) -> &'a mut Side {
        match self.websocket {
            Party::Client => client,
            Party::Upstream => upstream,
        }
    }

    /// Notes what ended first, in the words of the original's logs.
    pub(super) fn note_end(&mut self, up: &Turn, down: &Turn, ended: (bool, bool)) {
        if self.ended_at.is_some() {
            return;
        }
        self.ended_at = match (up, down) {
            (Turn::SourceFailed(_), _) => Some("client_nextreader"),
            (_, Turn::SinkFailed(_)) => Some("client_write"),
            (Turn::SinkFailed(_), _) => Some("client_upstream_copy"),
            (_, Turn::SourceFailed(_)) => Some("upstream_read"),
            _ if ended.0 => Some("client_nextreader"),
            _ if ended.1 => Some("upstream_read"),
            _ => None,
        };
    }
}
