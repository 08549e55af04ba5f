//! One relayed connection: what it waits for and what has passed.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use kojuto_core::net::proxy_protocol::{Addresses, Header};
use kojuto_core::scan::json_line::JsonLine;

use super::endpoint::{Party, Side};
use super::failure::Failure;
use super::listener::Route;
use super::pump::{Pump, Tools, Turn};
use super::remote::Remote;
use super::tap::{Direction, Tap};
use super::tunnel::{Field, Tunnel};
use super::upstream::Upstream;
use crate::log::Log;

/// What a connection waits for.
pub(super) enum Phase {
    /// The client's PROXY header; what has come of it.
    Header(Vec<u8>),
    /// An upstream; the payload that came with the header, and when to give up this attempt.
    Connect { payload: Vec<u8>, deadline_ms: u64, began: Instant },
    /// A sign that the upstream is really there; see [`super::Pool::set_care`].
    Settle { payload: Vec<u8>, until_ms: u64 },
    /// Bytes.
    Pump,
}

pub(super) struct Connection {
    pub(super) id: u64,
    pub(super) route: Arc<Route>,
    pub(super) remote: Remote,
    /// The header said LOCAL: a health check, which is not worth a line in the log.
    pub(super) probe: bool,
    /// What the PROXY header said, for the one that is sent on.
    pub(super) header: Option<Box<Header>>,
    pub(super) client: Side,
    pub(super) upstream: Option<Side>,
    pub(super) target: Option<Arc<Upstream>>,
    pub(super) tried: Vec<SocketAddr>,
    pub(super) phase: Phase,
    pub(super) up: Pump,
    pub(super) down: Pump,
    pub(super) began: Instant,
    pub(super) active_ms: u64,
    pub(super) timer_ms: Option<u64>,
    pub(super) tapped: bool,
    /// It is in the worker's list of patient ones.
    pub(super) watched: bool,
    /// It is counted in `Shared::starving`.
    pub(super) starving: bool,
    /// It was handed over and one of its sides speaks WebSocket.
    pub(super) tunnel: Option<Box<Tunnel>>,
    /// Until when to try all upstreams again and again.
    pub(super) patience_ms: Option<u64>,
}

/// How a connection's turn ended.
pub(super) enum Progress {
    Waiting,
    Again,
    /// Both directions have ended.
    Complete,
    /// It is over.
    Broken(Failure),
}

impl Connection {
    /// Moves what can be moved in both directions; answers how many bytes each moved.
    pub(super) fn pump(
        &mut self,
        tools: &mut Tools,
        tap: Option<&dyn Tap>,
    ) -> (Progress, u64, u64) {
        let Some(upstream) = &mut self.upstream else { return (Progress::Waiting, 0, 0) };
        let tunnels = self.tunnel.is_some();
        if tunnels {
            forsake((&mut self.client, &mut self.down), (upstream, &mut self.up), tools);
        }
        let before = (self.up.moved(), self.down.moved());
        let id = self.id;
        let tap = tap.filter(|_| self.tapped);
        let mut see = seen(tap, id, Direction::ToUpstream);
        let up = self.up.turn(&mut self.client, upstream, tools, see.as_mut().map(|see| see as _));
        if tunnels {
            forsake((&mut self.client, &mut self.down), (upstream, &mut self.up), tools);
        }
        let mut see = seen(tap, id, Direction::ToClient);
        let down =
            self.down.turn(upstream, &mut self.client, tools, see.as_mut().map(|see| see as _));
        let moved = (self.up.moved() - before.0, self.down.moved() - before.1);
        if moved.0 > 0 {
            self.down.rest();
        }
        if moved.1 > 0 {
            self.up.rest();
        }
        let mut more = false;
        if let Some(tunnel) = &mut self.tunnel {
            let ended = (self.up.source_ended(), self.down.source_ended());
            tunnel.note_end(&up, &down, ended);
            more = self.client.settle(ended.0) | upstream.settle(ended.1);
            more |= forsake((&mut self.client, &mut self.down), (upstream, &mut self.up), tools);
        }
        let progress = match (up, down) {
            (Turn::SourceFailed(source), _) | (_, Turn::SinkFailed(source)) => {
                Progress::Broken(Failure::Peer { party: Party::Client, source })
            }
            (Turn::SinkFailed(source), _) | (_, Turn::SourceFailed(source)) => {
                Progress::Broken(Failure::Peer { party: Party::Upstream, source })
            }
            _ if self.up.is_done() && self.down.is_done() => Progress::Complete,
            (Turn::Again, _) | (_, Turn::Again) => Progress::Again,
            _ if more => Progress::Again,
            _ => Progress::Waiting,
        };
        (progress, moved.0, moved.1)
    }

    pub(super) fn half_closed(&self) -> bool {
        self.up.source_ended() || self.down.source_ended()
    }

    /// Whether a peer has left and all that it said is passed on.
    pub(super) fn is_left_behind(&self) -> bool {
        (self.down.is_abandoned() && self.up.is_done())
            || (self.up.is_abandoned() && self.down.is_done())
    }

    /// How far it has ended; each step has its limit of silence.
    pub(super) fn ends(&self) -> (bool, bool) {
        (self.half_closed(), self.is_left_behind())
    }

    /// The addresses that a PROXY header to the upstream names.
    pub(super) fn addresses(&self, local: io::Result<SocketAddr>) -> Addresses {
        if let Some(header) = &self.header {
            if self.probe {
                return Addresses::Unknown;
            }
            if header.addresses != Addresses::Unknown {
                return header.addresses.clone();
            }
        }
        match (&self.remote, local) {
            (Remote::Socket(source), Ok(destination)) => {
                Addresses::Inet { source: *source, destination, datagram: false }
            }
            _ => Addresses::Unknown,
        }
    }

    /// A log line with what identifies the connection.
    pub(super) fn line(&self, level: &str, message: &str) -> JsonLine {
        let line = Log::line(level, message)
            .text("listener", &self.route.name)
            .text("remote-addr", &self.remote.to_string());
        if let Some(tunnel) = &self.tunnel {
            let line = line.text("upstream", &tunnel.upstream);
            return tunnel.fields.iter().fold(line, |line, (key, value)| match value {
                Field::Text(text) => line.text(key, text),
                Field::Number(number) => line.number(key, *number),
            });
        }
        match &self.target {
            Some(target) => line.text("upstream", &target.name),
            None => line,
        }
    }
}

/// Hands the bytes of a direction to the tap, if it wants them.
fn seen(tap: Option<&dyn Tap>, id: u64, direction: Direction) -> Option<impl FnMut(&[u8])> {
    let tap = tap.filter(|tap| tap.wants(direction))?;
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
