//! The way of a connection to its upstream, and its timers.

use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use kojuto_core::net::proxy_protocol;

use super::connection::Phase;
use super::endpoint::{Side, Tcp};
use super::failure::{AttemptFailure, Failure, HeaderFailure, Shortage};
use super::header::HEADER_BYTES;
use super::near;
use super::options::{HeaderIn, HeaderOut};
use super::tap::Direction;
use super::worker::{Worker, token};
use crate::sys::epoll;
use crate::sys::socket as sys;

/// How long to wait before asking for a descriptor once more.
const RETRY_MS: u64 = 20;
/// How long a connection may go on when one peer has left and all that it said is passed on: the
/// other one, which was told of the end, may be busy with it.
const LEFT_BEHIND: Duration = Duration::from_secs(60);

impl Worker {
    pub(super) fn ms(duration: Duration) -> u64 {
        u64::try_from(duration.as_millis()).unwrap_or(u64::MAX / 4).min(u64::MAX / 4)
    }

    pub(super) fn set_timer(&mut self, slot: u32, at_ms: Option<u64>) {
        if let Some(connection) = self.connections.get(slot) {
            self.timers.set(slot, &mut connection.timer_ms, at_ms);
        }
    }

    // -- the way to an upstream -------------------------------------------------------------

    /// What a client that talks first has said by the time it is accepted. An upstream of this
    /// machine gets it together with the connection, and both peers are woken less often.
    pub(super) fn first_bytes(&mut self, slot: u32) -> io::Result<Vec<u8>> {
        let Some(connection) = self.connections.get(slot) else { return Ok(Vec::new()) };
        let client = &mut connection.client;
        let buffer = &mut self.tools.buffer[..HEADER_BYTES];
        match client.end.read(buffer) {
            Ok(count) => {
                client.readable = !client.end.drained(count, buffer.len()) || count == 0;
                Ok(buffer[..count].to_vec())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// Starts an attempt to reach the next upstream.
    pub(super) fn connect(&mut self, slot: u32, payload: Vec<u8>) {
        let random = self.random();
        let timeout = Self::ms(self.shared.options.connect_timeout);
        let attempts = self.shared.options.max_attempts.max(1);
        let Some(connection) = self.connections.get(slot) else { return };
        let fresh = connection.tried.len() < attempts;
        let pool = &connection.route.pool;
        let target =
            fresh.then(|| pool.pick(&connection.remote, &connection.tried, random)).flatten();
        let Some(target) = target else {
            if self.wait_for_upstream(slot, &payload) {
                return;
            }
            let Some(connection) = self.connections.get(slot) else { return };
            let none = connection.tried.is_empty();
            let why = if none { Failure::NoUpstream } else { Failure::NoneReached };
            let line = connection.line("error", "Giveup to connect upstreams");
            self.shared.log.write(&line.text("error", &why.to_string()).end());
            return self.fail(slot, why);
        };
        let address = target.address;
        connection.target = Some(target);
        let deadline_ms = if timeout > 0 { self.now_ms + timeout } else { u64::MAX };
        connection.phase = Phase::Connect { payload, deadline_ms, began: Instant::now() };
        self.dial(slot, &address, deadline_ms);
    }

    fn dial(&mut self, slot: u32, address: &std::net::SocketAddr, deadline_ms: u64) {
        let generation = self.connections.generation(slot);
        let near = address.ip().is_loopback();
        let prepare = |fd| {
            if near {
                near::never_pace(fd);
            }
        };
        let made = sys::connect(address, prepare).and_then(|socket| {
            self.epoll.add_stream(socket.as_raw_fd(), token(slot, generation, true))?;
            Ok(socket)
        });
        match made {
            Ok(socket) => {
                if let Some(connection) = self.connections.get(slot) {
                    if std::mem::take(&mut connection.starving) {
                        self.shared.starving.fetch_sub(1, Relaxed);
                    }
                    let mut side = Side::new(Box::new(Tcp::new(socket)));
                    side.writable = false;
                    connection.upstream = Some(side);
                }
                self.set_timer(slot, (deadline_ms < u64::MAX).then_some(deadline_ms));
                if near && self.talks_first(slot) {
                    self.connected_at_once(slot);
                }
            }
            Err(error) => match Shortage::of(error) {
                // Our own shortage is not the upstream's fault: wait for a descriptor.
                Ok(shortage) => {
                    if let Some(connection) = self.connections.get(slot)
                        && !std::mem::replace(&mut connection.starving, true)
                    {
                        self.shared.starving.fetch_add(1, Relaxed);
                    }
                    self.pause(&shortage);
                    self.set_timer(slot, Some(deadline_ms.min(self.now_ms + RETRY_MS)));
                }
                Err(error) => self.attempt_failed(slot, AttemptFailure::Refused(error)),
            },
        }
    }

    /// Whether the upstream is given bytes as soon as the connection is made.
    fn talks_first(&mut self, slot: u32) -> bool {
        let header = self.shared.options.header_out != HeaderOut::Off;
        self.connections.get(slot).is_some_and(|connection| {
            let Phase::Connect { payload, .. } = &connection.phase else { return false };
            (header || !payload.is_empty()) && connection.route.pool.settle_ms() == 0
        })
    }

    /// Within one machine a handshake ends before connect(2) returns: no event need be awaited.
    fn connected_at_once(&mut self, slot: u32) {
        let Some(connection) = self.connections.get(slot) else { return };
        let Some(side) = &connection.upstream else { return };
        if sys::peer_address(side.end.fd()).is_some() {
            self.established(slot);
        }
    }

    pub(super) fn connect_answered(&mut self, slot: u32, mask: u32) {
        let Some(connection) = self.connections.get(slot) else { return };
        let Some(side) = &connection.upstream else { return };
        if mask & epoll::HANGUP != 0
            && let Some(error) = sys::pending_error(side.end.fd())
        {
            return self.attempt_failed(slot, AttemptFailure::Refused(error));
        }
        if mask & epoll::WRITE != 0 {
            self.established(slot);
        }
    }

    /// Counts the failure against the upstream and goes on to the next one.
    pub(super) fn attempt_failed(&mut self, slot: u32, why: AttemptFailure) {
        self.shared.stats.connect_failures.fetch_add(1, Relaxed);
        let Some(connection) = self.connections.get(slot) else { return };
        if connection.patience_ms.is_none() {
            let line = connection.line("warn", "Failed to connect upstream");
            self.shared.log.write(&line.text("error", &why.to_string()).end());
        }
        connection.upstream = None;
        if let Some(target) = connection.target.take() {
            target.open.fetch_sub(1, Relaxed);
            connection.route.pool.failed(&target);
            connection.tried.push(target.address);
        }
        let payload = match &mut connection.phase {
            Phase::Connect { payload, .. } | Phase::Settle { payload, .. } => {
                std::mem::take(payload)
            }
            _ => Vec::new(),
        };
        self.connect(slot, payload);
    }

    fn established(&mut self, slot: u32) {
        let Some(connection) = self.connections.get(slot) else { return };
        let Phase::Connect { payload, began, .. } =
            std::mem::replace(&mut connection.phase, Phase::Pump)
        else {
            return;
        };
        self.shared.stats.connected_after(began.elapsed());
        match connection.route.pool.settle_ms() {
            0 => self.start(slot, &payload),
            settle_ms => self.settle(slot, payload, settle_ms),
        }
    }

    /// Gives the upstream its first bytes and lets the rest follow.
    pub(super) fn start(&mut self, slot: u32, payload: &[u8]) {
        let shared = Arc::clone(&self.shared);
        let Some(connection) = self.connections.get(slot) else { return };
        connection.active_ms = self.now_ms;
        let local = || sys::local_address(connection.client.end.fd());
        let header = match shared.options.header_out {
            HeaderOut::Off => Vec::new(),
            HeaderOut::V1 => proxy_protocol::write_v1(&connection.addresses(local())),
            HeaderOut::V2 => proxy_protocol::write_v2(&connection.addresses(local())),
        };
        connection.tried = Vec::new();
        connection.header = None;
        if let Some(target) = &connection.target {
            target.connected.fetch_add(1, Relaxed);
            if let Some(tap) = &shared.tap {
                connection.tapped = true;
                let (id, name) = (connection.id, &connection.route.name);
                tap.opened(id, name, &connection.remote, target.address);
                if !payload.is_empty() && tap.wants(Direction::ToUpstream) {
                    tap.bytes(id, Direction::ToUpstream, payload);
                }
            }
        }
        if !header.is_empty() || !payload.is_empty() {
            connection.up.preload(&header, payload);
        }
        if let Some(side) = &mut connection.upstream {
            side.writable = true;
        }
        let generation = self.connections.generation(slot);
        self.keep_alives.add(slot, generation, self.now_ms);
        self.watch_silence(slot);
        self.pump(slot);
    }

    /// A connection has lived long enough for keep-alive to matter.
    pub(super) fn keep_alive(&mut self, slot: u32, generation: u32) {
        if self.connections.is_current(slot, generation)
            && let Some(connection) = self.connections.get(slot)
            && let Some(upstream) = &connection.upstream
        {
            sys::keep_alive(upstream.end.fd());
        }
    }

    // -- time -------------------------------------------------------------------------------

    /// The limit of silence that holds for a connection now, 0 for none.
    fn silence_ms(&mut self, slot: u32) -> u64 {
        let options = &self.shared.options;
        let mut limits = [options.idle_timeout, Duration::ZERO, Duration::ZERO, Duration::ZERO];
        let Some(connection) = self.connections.get(slot) else { return Self::ms(limits[0]) };
        if connection.half_closed() {
            limits[1] = options.half_close_timeout;
            if self.stopping {
                limits[2] = options.leaving_timeout;
            }
        }
        if connection.is_left_behind() {
            limits[3] = LEFT_BEHIND;
        }
        limits.into_iter().filter(|limit| !limit.is_zero()).min().map_or(0, Self::ms)
    }

    /// The relay was told to stop: a connection one half of which is gone ends in a while, unless
    /// its other half still moves.
    pub(super) fn leave_soon(&mut self, slot: u32) {
        let now_ms = self.now_ms;
        let Some(connection) = self.connections.get(slot) else { return };
        if connection.half_closed() {
            connection.active_ms = now_ms;
            self.watch_silence(slot);
        }
    }

    /// Sets the timer for the connection's silence. Traffic does not touch it: when it runs out,
    /// the time of the last byte decides.
    pub(super) fn watch_silence(&mut self, slot: u32) {
        let limit = self.silence_ms(slot);
        let Some(connection) = self.connections.get(slot) else { return };
        let silent = (limit > 0).then(|| connection.active_ms + limit);
        let at = [silent, connection.ping_at_ms()].into_iter().flatten().min();
        self.set_timer(slot, at);
    }

    pub(super) fn timed_out(&mut self, slot: u32) {
        let limit = self.silence_ms(slot);
        let Some(connection) = self.connections.get(slot) else { return };
        let optional = connection.route.header_in == HeaderIn::Optional;
        match &mut connection.phase {
            Phase::Header(seen) if seen.is_empty() && optional => {
                // A client that waits for the server to speak first.
                self.without_header(slot, Vec::new());
            }
            Phase::Header(seen) => {
                let (seen, limit) = (seen.len(), self.shared.options.header_timeout);
                self.refuse(slot, HeaderFailure::Late { seen, limit });
            }
            Phase::Connect { deadline_ms, .. } => {
                let deadline_ms = *deadline_ms;
                if self.now_ms >= deadline_ms {
                    return self.attempt_failed(slot, AttemptFailure::TimedOut);
                }
                match (&connection.upstream, &connection.target) {
                    (None, None) => self.try_all_again(slot),
                    (None, Some(target)) => {
                        let address = target.address;
                        self.set_timer(slot, None);
                        self.dial(slot, &address, deadline_ms);
                    }
                    _ => self.set_timer(slot, Some(deadline_ms)),
                }
            }
            Phase::Settle { .. } => self.settled(slot),
            Phase::Pump => {
                if limit > 0 && self.now_ms >= connection.active_ms + limit {
                    if connection.is_left_behind() {
                        return self.finish(slot, None);
                    }
                    let half_closed = connection.half_closed();
                    let limit = Duration::from_millis(limit);
                    return self.fail(slot, Failure::Idle { limit, half_closed });
                }
                if connection.ping_at_ms().is_some_and(|at| at <= self.now_ms)
                    && let Err(error) = connection.ping(self.now_ms)
                {
                    return self.fail(slot, Failure::Ping(error));
                }
                self.watch_silence(slot);
            }
        }
    }
}
