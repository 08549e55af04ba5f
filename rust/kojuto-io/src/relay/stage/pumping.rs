//! A connection whose bytes are moved, both ways, until both directions have ended.
//!
//! The reader of a long stream from this machine is woken for 128 KiB, not for each segment: half
//! the CPU. What is left when the stream rests is less than that, and no event tells of it. So a
//! worker with such a stream sleeps but for a moment, and when nothing has come it takes what there
//! is and waits for any byte again. The last bytes of a stream are late by that moment at most, and
//! only those of a stream that went one way for long ([`crate::relay::pump`]).

use std::collections::HashSet;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::opening::Opening;
use super::{Closing, Event, Stage, is_broken};
use crate::log::Log;
use crate::relay::client::Client;
use crate::relay::connection::listing::{self, State};
use crate::relay::context::{Context, ms};
use crate::relay::duplex::{Duplex, Progress};
use crate::relay::endpoint::{Party, Side};
use crate::relay::failure::{Failure, HeaderFailure};
use crate::relay::options::HeaderIn;
use crate::relay::tap::Direction;
use crate::relay::tunnel::Tunnel;
use crate::relay::upstream::{Address, Lease};
use crate::sys::socket as sys;

/// How long a worker that has enough else to do leaves bytes that no event tells of, in
/// milliseconds.
const QUIET_MS: u64 = 1;
/// A silence of so many milliseconds is a rest.
const REST_MS: u64 = 10;
/// How long a connection may go on when one peer has left and all that it said is passed on: the
/// other one, which was told of the end, may be busy with it.
const LEFT_BEHIND: Duration = Duration::from_secs(60);

pub(in crate::relay) struct Pumping {
    upstream: Side,
    /// None: it was handed over.
    target: Option<Lease>,
    bytes: Duplex,
    /// When a byte was last moved.
    active_ms: u64,
    /// What is held of the client's first bytes may be the beginning of a PROXY header until then.
    held_until_ms: Option<u64>,
    /// The tap was told that it has opened.
    tapped: bool,
    /// It is in the worker's list of those that wait for much.
    listed: bool,
    /// It was handed over and one of its sides speaks WebSocket.
    tunnel: Option<Box<Tunnel>>,
}

/// Whether it goes on, or has ended: by a failure, or as both sides wanted.
type Flow = ControlFlow<Option<Failure>>;

impl Pumping {
    fn new(
        upstream: Side,
        target: Option<Lease>,
        tunnel: Option<Box<Tunnel>>,
        now_ms: u64,
    ) -> Pumping {
        Pumping {
            upstream,
            target,
            bytes: Duplex::default(),
            active_ms: now_ms,
            held_until_ms: None,
            tapped: false,
            listed: false,
            tunnel,
        }
    }

    /// Gives the upstream its first bytes and lets the rest follow.
    pub(super) fn start(
        opening: Opening,
        mut target: Lease,
        mut upstream: Side,
        client: &mut Client,
        context: &mut Context,
    ) -> Stage {
        let header = opening.header_for_upstream(client, context);
        let payload = opening.payload;
        if client.route.pool.connected(&mut target) {
            let line = target.describe(Log::line("info", "Upstream answers again"));
            context.shared.log.write(&line.end());
        }
        upstream.writable = true;
        let address = target.address.clone();
        let mut pumping = Pumping::new(upstream, Some(target), None, context.now_ms);
        pumping.open_tap(&address, [&payload, &[]], client, context);
        if !header.is_empty() || !payload.is_empty() {
            pumping.bytes.up.preload(&header, &payload);
        }
        context.keep_alives.add(client.place, context.now_ms);
        pumping.first_turn(client, context)
    }

    /// Begins in the middle: both sides are connected and may have said something, which is passed
    /// on first.
    pub(in crate::relay) fn adopt(
        upstream: Side,
        tunnel: Box<Tunnel>,
        peer: Option<SocketAddr>,
        said: [&[u8]; 2],
        client: &mut Client,
        context: &mut Context,
    ) -> Stage {
        let mut pumping = Pumping::new(upstream, None, Some(tunnel), context.now_ms);
        if let Some(tunnel) = &mut pumping.tunnel {
            tunnel.begin(context.now_ms);
        }
        if let Some(peer) = peer {
            pumping.open_tap(&peer.into(), said, client, context);
        }
        for (data, pump) in said.into_iter().zip([&mut pumping.bytes.up, &mut pumping.bytes.down]) {
            if !data.is_empty() {
                pump.preload(&[], data);
            }
        }
        for (party, fd) in
            [(Party::Client, client.side.end.fd()), (Party::Upstream, pumping.upstream.end.fd())]
        {
            if let Err(error) = context.epoll.add_stream(fd, client.place.token(party)) {
                return pumping.close(Some(Failure::Watch(error)), context);
            }
        }
        pumping.first_turn(client, context)
    }

    /// Tells the tap of a connection that begins, and of what its peers have said already.
    fn open_tap(
        &mut self,
        address: &Address,
        said: [&[u8]; 2],
        client: &Client,
        context: &Context,
    ) {
        let Some(tap) = &context.shared.tap else { return };
        self.tapped = true;
        tap.opened(client.id, &client.route.name, &client.remote, address);
        for (data, direction) in said.into_iter().zip([Direction::ToUpstream, Direction::ToClient])
        {
            if !data.is_empty() && tap.wants(direction) {
                tap.bytes(client.id, direction, data);
            }
        }
    }

    fn first_turn(mut self, client: &mut Client, context: &mut Context) -> Stage {
        self.watch_silence(client, context);
        match self.turn(client, context) {
            ControlFlow::Continue(()) => Stage::Pumping(self),
            ControlFlow::Break(why) => self.close(why, context),
        }
    }

    pub(super) fn on_event(
        &mut self,
        event: Event<'_>,
        client: &mut Client,
        context: &mut Context,
    ) -> Flow {
        match event {
            Event::Ready { party, mask } => {
                let side = match party {
                    Party::Client => &mut client.side,
                    Party::Upstream => &mut self.upstream,
                };
                side.saw(mask);
                self.turn(client, context)?;
                if is_broken(mask) {
                    return Flow::Break(Some(self.lost(party, client)));
                }
            }
            Event::Turn => self.turn(client, context)?,
            Event::Quiet => {
                self.listed = false;
                self.bytes.stop_waiting_for_much(&mut client.side, &mut self.upstream);
                self.turn(client, context)?;
            }
            Event::TimedOut => self.timed_out(client, context)?,
            Event::Aged => sys::keep_alive(self.upstream.end.fd()),
            // One half of which is gone: it ends in a while, unless its other half still moves.
            Event::Stop if self.bytes.is_half_closed() => {
                self.active_ms = context.now_ms;
                self.watch_silence(client, context);
            }
            // What is left of a race that is over.
            Event::Rival | Event::Stop | Event::Cut(..) | Event::Revoke(_) | Event::Abort => {}
        }
        Flow::Continue(())
    }

    /// A socket has failed while the other direction holds its bytes back, so that no read or
    /// write has met the error yet.
    fn lost(&self, party: Party, client: &Client) -> Failure {
        let side = match party {
            Party::Client => &client.side,
            Party::Upstream => &self.upstream,
        };
        let error = sys::pending_error(side.end.fd());
        error.map_or(Failure::Lost(party), |source| Failure::Peer { party, source })
    }

    // -- bytes ------------------------------------------------------------------------------

    fn turn(&mut self, client: &mut Client, context: &mut Context) -> Flow {
        if context.now_ms.saturating_sub(self.active_ms) > REST_MS {
            self.bytes.note_rest();
        }
        let before = self.bytes.ends();
        let tap = context.shared.tap.as_deref().filter(|_| self.tapped);
        let (progress, read, written) = self.bytes.turn(
            (&mut client.side, &mut self.upstream),
            &mut context.tools,
            self.tunnel.as_deref_mut(),
            tap.map(|tap| (tap, client.id)),
        );
        if client.route.header_in == HeaderIn::Lazy {
            self.look_at_beginning(client, context);
        }
        if let Some(tunnel) = &mut self.tunnel
            && let Some(took) =
                tunnel.listen(context.now_ms, (&mut client.side, &mut self.upstream))
        {
            context.shared.stats.answered_after(took);
        }
        if read > 0 {
            context.shared.stats.read_bytes.fetch_add(read, Relaxed);
        }
        if written > 0 {
            context.shared.stats.write_bytes.fetch_add(written, Relaxed);
        }
        if read + written > 0 {
            self.active_ms = context.now_ms;
        }
        if self.bytes.waits_for_much() && !std::mem::replace(&mut self.listed, true) {
            context.waiting_for_much.push(client.place);
        }
        match progress {
            Progress::Waiting => {
                if self.bytes.ends() != before {
                    self.active_ms = context.now_ms;
                    self.watch_silence(client, context);
                }
            }
            Progress::Again => context.run_queue.push_back(client.place),
            Progress::Complete => return Flow::Break(None),
            Progress::Broken(why) => return Flow::Break(Some(why)),
        }
        Flow::Continue(())
    }

    /// Notes who the client is once its PROXY header has come, and since when what may be the beginning
    /// of one is held.
    fn look_at_beginning(&mut self, client: &mut Client, context: &mut Context) {
        let held = client.look_at_beginning(context) > 0;
        if held != self.held_until_ms.is_some() {
            let limit = context.shared.options.header_timeout;
            self.held_until_ms = if held { context.after(limit) } else { None };
            self.watch_silence(client, context);
        }
    }

    /// Passes on what was held for long enough, unless it is the beginning of a PROXY header.
    fn release(&mut self, client: &mut Client, context: &mut Context) -> Flow {
        self.held_until_ms = None;
        let seen = client.look_at_beginning(context);
        if !client.side.end.release() {
            let limit = context.shared.options.header_timeout;
            let why = HeaderFailure::Late { seen, limit };
            return Flow::Break(Some(Failure::Header(why)));
        }
        client.side.readable = true;
        self.turn(client, context)
    }

    // -- ends -------------------------------------------------------------------------------

    /// Whether it is a tunnel with one of these rights.
    pub(super) fn is_by(&self, grants: &HashSet<u64>) -> bool {
        self.tunnel.as_ref().is_some_and(|tunnel| tunnel.is_by(grants))
    }

    pub(super) fn target(&self) -> Option<&Lease> {
        self.target.as_ref()
    }

    /// How far it has come, for a list of the connections.
    pub(super) fn progress(&self) -> listing::Progress {
        let tunnel = || self.tunnel.as_ref().map(|tunnel| tunnel.upstream().to_owned());
        let half_closed = self.bytes.is_half_closed();
        listing::Progress {
            state: if half_closed { State::HalfClosed } else { State::Open },
            upstream: self.target.as_ref().map(|target| target.name.clone()).or_else(tunnel),
            moved: (self.bytes.up.moved(), self.bytes.down.moved()),
            active_ms: Some(self.active_ms),
        }
    }

    pub(super) fn close(mut self, why: Option<Failure>, context: &mut Context) -> Stage {
        let Duplex { up, down } = &mut self.bytes;
        let parted = up.is_done() && why.as_ref().is_some_and(Failure::is_clients_reset);
        if parted {
            down.abandon(&mut context.tools);
        }
        up.clear(&mut context.tools);
        down.clear(&mut context.tools);
        Stage::Closing(Closing {
            why,
            parted,
            moved: (up.moved(), down.moved()),
            dropped: up.dropped() + down.dropped(),
            upstream: Some(self.upstream),
            target: self.target,
            tunnel: self.tunnel,
            tapped: self.tapped,
        })
    }

    // -- time -------------------------------------------------------------------------------

    /// The limit of silence that holds now, 0 for none.
    fn silence_ms(&self, context: &Context) -> u64 {
        let options = &context.shared.options;
        let mut limits = [options.idle_timeout, Duration::ZERO, Duration::ZERO, Duration::ZERO];
        if self.bytes.is_half_closed() {
            limits[1] = options.half_close_timeout;
            if context.stopping {
                limits[2] = options.leaving_timeout;
            }
        }
        if self.bytes.is_left_behind() {
            limits[3] = LEFT_BEHIND;
        }
        limits.into_iter().filter(|limit| !limit.is_zero()).min().map_or(0, ms)
    }

    /// Sets the timer for the silence. Traffic does not touch it: when it runs out, the time of
    /// the last byte decides.
    fn watch_silence(&self, client: &mut Client, context: &mut Context) {
        let limit_ms = self.silence_ms(context);
        let silent = (limit_ms > 0).then(|| self.active_ms + limit_ms);
        let at = [silent, self.due_ms()].into_iter().flatten().min();
        client.set_timer(at, context);
    }

    /// When the WebSocket peer is to be looked at, or what is held of the client's bytes.
    fn due_ms(&self) -> Option<u64> {
        let tunnel = self.tunnel.as_ref().and_then(|tunnel| tunnel.due_ms());
        [tunnel, self.held_until_ms].into_iter().flatten().min()
    }

    fn timed_out(&mut self, client: &mut Client, context: &mut Context) -> Flow {
        let limit_ms = self.silence_ms(context);
        if limit_ms > 0 && context.now_ms >= self.active_ms + limit_ms {
            if self.bytes.is_left_behind() {
                return Flow::Break(None);
            }
            let (limit, half_closed) =
                (Duration::from_millis(limit_ms), self.bytes.is_half_closed());
            return Flow::Break(Some(Failure::Idle { limit, half_closed }));
        }
        if self.held_until_ms.is_some_and(|at| at <= context.now_ms) {
            self.release(client, context)?;
        }
        if self.due_ms().is_some_and(|at| at <= context.now_ms)
            && let Some(tunnel) = &mut self.tunnel
        {
            let sides = (&mut client.side, &mut self.upstream);
            if let Err(why) = tunnel.look_after(context.now_ms, sides) {
                return Flow::Break(Some(why));
            }
        }
        self.watch_silence(client, context);
        Flow::Continue(())
    }

    pub(super) fn is_quiet(&self, now_ms: u64) -> bool {
        now_ms.saturating_sub(self.active_ms) > QUIET_MS
    }
}
