//! What a connection waits for. Each stage owns what only it needs, and answers an event with the
//! stage that follows.

mod closing;
mod connecting;
mod header;
mod opening;
mod pumping;
mod race;
mod settling;

use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::sync::Arc;

use kojuto_core::net::proxy_protocol;

use super::accept::access::refusal;
use super::client::Client;
use super::connection::listing::{Progress, State};
use super::context::Context;
use super::endpoint::{HEADER_BYTES, Party};
use super::failure::Failure;
use super::options::HeaderIn;
use super::upstream::{Lease, Pool};
use closing::Closing;
use connecting::Connecting;
use header::Header;
pub(super) use header::is_trusted;
use opening::Opening;
pub(super) use pumping::Pumping;
use settling::Settling;

/// What may happen to a connection.
#[derive(Clone, Copy)]
pub(super) enum Event<'a> {
    /// epoll(7) tells of the socket of a party.
    Ready { party: Party, mask: u32 },
    /// The same of one of several sockets of which the first to be connected becomes the upstream's.
    Rival,
    /// It used up its turn before, and here is the next one.
    Turn,
    /// What it waits for much of has not moved for a moment.
    Quiet,
    /// Its timer has run out, and is cleared.
    TimedOut,
    /// It is old enough for TCP keep-alive.
    Aged,
    /// The relay accepts nothing more and ends with its last connection.
    Stop,
    /// This upstream of the pool was replaced, and the time that it was given is over.
    Cut(&'a Arc<Pool>, SocketAddr),
    /// The rights of these tunnels are taken away.
    Revoke(&'a HashSet<u64>),
    /// The relay ends now.
    Abort,
}

pub(super) enum Stage {
    /// The client's PROXY header is read.
    Header(Header),
    /// There is no connection to an upstream yet.
    Connecting(Connecting),
    /// The upstream has yet to prove that it is there.
    Settling(Settling),
    /// Bytes are moved.
    Pumping(Pumping),
    /// It is over.
    Closing(Closing),
}

/// The first stage of a connection that was just accepted, or the one that it has got to at once.
pub(super) fn begin(client: &mut Client, context: &mut Context) -> Stage {
    let expects = match client.route.header_in {
        HeaderIn::Off | HeaderIn::Lazy => false,
        HeaderIn::Optional => is_trusted(&client.remote, context),
        HeaderIn::Require => true,
    };
    if !expects && let Some(why) = refusal(&client.remote, &context.shared.options) {
        return failed(Failure::Refused(why));
    }
    // What has come with the connection is read before the socket is watched: no event then.
    let first = if expects { Ok(Vec::new()) } else { first_bytes(client, context) };
    let (fd, token) = (client.side.end.fd(), client.place.token(Party::Client));
    if let Err(error) = context.epoll.add_stream(fd, token) {
        return failed(Failure::Watch(error));
    }
    if expects {
        return Header::begin(client, context);
    }
    client.look_at_beginning(context);
    client.announce(context);
    match first {
        Ok(payload) => connect(Opening::new(payload, None), client, context),
        Err(source) => failed(Failure::of_peer(Party::Client, source)),
    }
}

/// What a client that talks first has said by the time it is accepted. An upstream of this machine
/// gets it together with the connection, and both peers are woken less often.
fn first_bytes(client: &mut Client, context: &mut Context) -> io::Result<Vec<u8>> {
    let side = &mut client.side;
    let buffer = &mut context.tools.buffer[..HEADER_BYTES];
    match side.end.read(buffer) {
        Ok(count) => {
            side.readable = !side.end.drained(count, buffer.len()) || count == 0;
            Ok(buffer[..count].to_vec())
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Tells the log of the client, and takes it to an upstream, if it may connect.
fn announce_and_connect(
    payload: Vec<u8>,
    header: Option<proxy_protocol::Header>,
    client: &mut Client,
    context: &mut Context,
) -> Stage {
    if let Some(why) = refusal(&client.remote, &context.shared.options) {
        return failed(Failure::Refused(why));
    }
    client.announce(context);
    connect(Opening::new(payload, header), client, context)
}

/// Looks for an upstream that takes the connection.
fn connect(opening: Opening, client: &mut Client, context: &mut Context) -> Stage {
    connecting::connect(opening, client, context)
}

/// The end of a connection that has no upstream.
fn failed(why: Failure) -> Stage {
    Stage::Closing(Closing { why: Some(why), ..Closing::default() })
}

/// Whether an event says that the socket has failed.
fn is_broken(mask: u32) -> bool {
    mask & libc::EPOLLERR as u32 != 0
}

impl Default for Stage {
    fn default() -> Stage {
        Stage::Closing(Closing::default())
    }
}

impl Stage {
    pub(super) fn on_event(
        &mut self,
        event: Event<'_>,
        client: &mut Client,
        context: &mut Context,
    ) {
        match event {
            Event::Abort => return self.close(Some(Failure::Stopped), context),
            Event::Cut(pool, address) => {
                if Arc::ptr_eq(pool, &client.route.pool) && self.goes_to(address) {
                    self.close(Some(Failure::Replaced), context);
                }
                return;
            }
            Event::Revoke(grants) => {
                if matches!(self, Stage::Pumping(stage) if stage.is_by(grants)) {
                    self.close(Some(Failure::Revoked), context);
                }
                return;
            }
            _ => {}
        }
        if let Stage::Pumping(stage) = self {
            if let ControlFlow::Break(why) = stage.on_event(event, client, context) {
                self.close(why, context);
            }
            return;
        }
        *self = match std::mem::take(self) {
            Stage::Header(stage) => stage.on_event(event, client, context),
            Stage::Connecting(stage) => stage.on_event(event, client, context),
            Stage::Settling(stage) => stage.on_event(event, client, context),
            other => other,
        };
    }

    /// Whether it is connected to this upstream, or about to be.
    fn goes_to(&self, address: SocketAddr) -> bool {
        let target = match self {
            Stage::Header(_) | Stage::Closing(_) => None,
            Stage::Connecting(stage) => return stage.goes_to(address),
            Stage::Settling(stage) => Some(stage.target()),
            Stage::Pumping(stage) => stage.target(),
        };
        target.is_some_and(|target| target.address.inet() == Some(address))
    }

    /// How far it has come, for a list of the connections.
    pub(super) fn progress(&self) -> Progress {
        let early = |state, target: Option<&Lease>| Progress {
            state,
            upstream: target.map(|target| target.name.clone()),
            moved: (0, 0),
            active_ms: None,
        };
        match self {
            Stage::Header(_) => early(State::Header, None),
            Stage::Connecting(stage) => early(State::Connecting, stage.target()),
            Stage::Settling(stage) => early(State::Settling, Some(stage.target())),
            Stage::Pumping(stage) => stage.progress(),
            Stage::Closing(_) => early(State::Closing, None),
        }
    }

    /// Ends it where it is: why, or as both sides wanted.
    fn close(&mut self, why: Option<Failure>, context: &mut Context) {
        *self = match std::mem::take(self) {
            Stage::Header(_) => Stage::Closing(Closing { why, ..Closing::default() }),
            Stage::Connecting(stage) => stage.close(why),
            Stage::Settling(stage) => stage.close(why),
            Stage::Pumping(stage) => stage.close(why, context),
            closing @ Stage::Closing(_) => closing,
        };
    }

    /// Whether it has moved nothing for longer than a worker with enough to do leaves bytes lying
    /// that no event tells of.
    pub(super) fn is_quiet(&self, now_ms: u64) -> bool {
        matches!(self, Stage::Pumping(stage) if stage.is_quiet(now_ms))
    }

    /// What is left at the end.
    pub(super) fn into_closing(self) -> Closing {
        match self {
            Stage::Closing(closing) => closing,
            _ => Closing::default(),
        }
    }
}
