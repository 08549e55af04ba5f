//! The event loop of one thread: accepts, connects, pumps, times out.

use std::collections::VecDeque;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use super::busy_poll::Waiter;
use super::connection::{Connection, Phase, Progress};
use super::endpoint::{Party, Side};
use super::failure::Failure;
use super::listener::{Listener, Route};
use super::options::HeaderIn;
use super::pump::{Pump, Tools};
use super::remote::Remote;
use super::shared::{Command, Shared};
use super::slab::Slab;
use super::timers::{KeepAlives, Timers};
use crate::sys::epoll::{Epoll, Wake};
use crate::sys::socket as sys;

const EVENTS: usize = 256;
/// How long a worker sleeps before it looks for bytes that no event tells of.
const MOMENT: Duration = Duration::from_micros(200);

const WAKE_TOKEN: u64 = u64::MAX;
pub(super) const LISTENER_TOKEN: u64 = 1 << 63;
const UPSTREAM_SIDE: u64 = 1 << 62;

pub(super) struct Worker {
    pub(super) shared: Arc<Shared>,
    pub(super) epoll: Epoll,
    wake: Arc<Wake>,
    index: usize,
    pub(super) listeners: Vec<Arc<Listener>>,
    pub(super) connections: Slab<Connection>,
    pub(super) timers: Timers,
    pub(super) keep_alives: KeepAlives,
    pub(super) tools: Tools,
    /// Connections that used up their turn; they come again before the next wait.
    run_queue: VecDeque<(u32, u32)>,
    /// Connections whose bytes no event may tell of.
    pub(super) patients: Vec<(u32, u32)>,
    epoch: Instant,
    pub(super) now_ms: u64,
    pub(super) paused_until: Option<u64>,
    pub(super) stopping: bool,
    random: u64,
    waiter: Waiter,
}

pub(super) fn token(slot: u32, generation: u32, upstream: bool) -> u64 {
    u64::from(slot) | u64::from(generation) << 32 | if upstream { UPSTREAM_SIDE } else { 0 }
}

impl Worker {
    pub(super) fn new(
        shared: Arc<Shared>,
        wake: Arc<Wake>,
        index: usize,
    ) -> std::io::Result<Worker> {
        let epoll = Epoll::new()?;
        let tools = Tools::new(Arc::clone(&shared.pipes));
        epoll.add_wake(wake.fd(), WAKE_TOKEN)?;
        Ok(Worker {
            shared,
            epoll,
            wake,
            index,
            listeners: Vec::new(),
            connections: Slab::new(),
            timers: Timers::default(),
            keep_alives: KeepAlives::default(),
            tools,
            run_queue: VecDeque::new(),
            patients: Vec::new(),
            epoch: Instant::now(),
            now_ms: 0,
            paused_until: None,
            stopping: false,
            random: 0x9e37_79b9_7f4a_7c15 ^ (index as u64) << 32 ^ u64::from(std::process::id()),
            waiter: Waiter::default(),
        })
    }

    pub(super) fn run(mut self) {
        sys::block_signals();
        let mut events = vec![libc::epoll_event { events: 0, u64: 0 }; EVENTS];
        loop {
            let timeout_ms = self.timeout_ms();
            let polling = &self.shared.polling;
            let most = (!self.patients.is_empty()).then_some(MOMENT);
            let count = self.waiter.wait(&self.epoll, polling, &mut events, timeout_ms, most);
            self.now_ms = self.epoch.elapsed().as_millis() as u64;
            for event in &events[..count] {
                let (mask, token) = (event.events, event.u64);
                if token == WAKE_TOKEN {
                    self.handle_commands();
                } else if token & LISTENER_TOKEN != 0 {
                    self.accept_some((token & !LISTENER_TOKEN) as usize);
                } else {
                    self.ready(token, mask);
                }
            }
            for _ in 0..self.run_queue.len() {
                let Some((slot, generation)) = self.run_queue.pop_front() else { break };
                if self.connections.is_current(slot, generation) {
                    self.pump(slot);
                }
            }
            self.look_again(count == 0 && timeout_ms != 0);
            while let Some(slot) = self.timers.due(self.now_ms) {
                self.timed_out(slot);
            }
            while let Some((slot, generation)) = self.keep_alives.due(self.now_ms) {
                self.keep_alive(slot, generation);
            }
            if self.paused_until.is_some_and(|until| until <= self.now_ms) {
                self.resume();
            }
            if self.stopping && self.connections.is_empty() {
                return;
            }
        }
    }

    fn timeout_ms(&mut self) -> i32 {
        if !self.run_queue.is_empty() {
            return 0;
        }
        let connections = &self.connections;
        self.keep_alives.forget(|slot, generation| !connections.is_current(slot, generation));
        let pause = self.paused_until.map(|until| until.saturating_sub(self.now_ms));
        let now_ms = self.now_ms;
        let next = [pause, self.timers.next_ms(now_ms), self.keep_alives.next_ms(now_ms)];
        let next = next.into_iter().flatten().min();
        next.map_or(-1, |ms| ms.min(60_000) as i32 + 1)
    }

    pub(super) fn random(&mut self) -> u64 {
        // xorshift64 (Marsaglia, 2003)
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    // -- commands ---------------------------------------------------------------------------

    fn handle_commands(&mut self) {
        self.wake.clear();
        let commands = {
            let mut queues = self.shared.commands.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut queues[self.index])
        };
        for command in commands {
            self.handle_command(command);
        }
    }

    fn handle_command(&mut self, command: Command) {
        match command {
            Command::Listen(listener) => {
                let at = self.listeners.len();
                if self.paused_until.is_none() {
                    self.watch(at, &listener);
                }
                self.listeners.push(listener);
            }
            Command::Adopt(adopted) => self.adopt(*adopted),
            Command::Stop => {
                self.unlisten();
                self.paused_until = None;
                self.stopping = true;
                for slot in self.connections.slots() {
                    self.leave_soon(slot);
                }
            }
            Command::Cut(pool, address) => {
                for slot in self.connections.slots() {
                    self.cut_off(slot, &pool, address);
                }
            }
            Command::Abort => {
                for slot in self.connections.slots() {
                    self.fail(slot, Failure::Stopped);
                }
            }
        }
    }

    // -- accepting --------------------------------------------------------------------------

    pub(super) fn begin(&mut self, route: Arc<Route>, client: Side, remote: Remote) {
        self.waiter.expect_nothing();
        self.shared.stats.accepted.fetch_add(1, Relaxed);
        let (slot, generation) = self.connections.reserve();
        let fd = client.end.fd();
        let expects = route.header_in != HeaderIn::Off;
        let connection = Connection {
            id: self.shared.next_id.fetch_add(1, Relaxed),
            route,
            remote,
            probe: false,
            header: None,
            client,
            upstream: None,
            target: None,
            tried: Vec::new(),
            phase: Phase::Header(Vec::new()),
            up: Pump::default(),
            down: Pump::default(),
            began: Instant::now(),
            active_ms: self.now_ms,
            timer_ms: None,
            tapped: false,
            watched: false,
            starving: false,
            tunnel: None,
            patience_ms: None,
        };
        self.connections.fill(slot, Box::new(connection));
        // What has come with the connection is read before the socket is watched: no event then.
        let first = if expects { Ok(Vec::new()) } else { self.first_bytes(slot) };
        if let Err(error) = self.epoll.add_stream(fd, token(slot, generation, false)) {
            self.fail(slot, Failure::Watch(error));
        } else if expects {
            self.await_header(slot);
        } else {
            self.announce(slot);
            match first {
                Ok(payload) => self.connect(slot, payload),
                Err(source) => self.fail(slot, Failure::Peer { party: Party::Client, source }),
            }
        }
    }

    pub(super) fn announce(&mut self, slot: u32) {
        let Some(connection) = self.connections.get(slot) else { return };
        if !connection.probe || self.shared.log.is_verbose() {
            let line = connection.line("info", "log").text("status", "Connected");
            self.shared.log.write(&line.end());
        }
    }

    // -- events -----------------------------------------------------------------------------

    fn ready(&mut self, token: u64, mask: u32) {
        let (slot, generation) = (token as u32, (token >> 32) as u32 & super::slab::GENERATIONS);
        if !self.connections.is_current(slot, generation) {
            return;
        }
        let Some(connection) = self.connections.get(slot) else { return };
        let party = if token & UPSTREAM_SIDE != 0 { Party::Upstream } else { Party::Client };
        let from_upstream = party == Party::Upstream;
        let side =
            if from_upstream { connection.upstream.as_mut() } else { Some(&mut connection.client) };
        let Some(side) = side else { return };
        side.saw(mask);
        let broken = mask & libc::EPOLLERR as u32 != 0;
        match connection.phase {
            Phase::Header(_) => self.read_header(slot),
            Phase::Connect { .. } if from_upstream => self.connect_answered(slot, mask),
            Phase::Settle { .. } if from_upstream => self.settling(slot),
            Phase::Connect { .. } | Phase::Settle { .. } if broken => {
                self.fail(slot, Failure::GoneEarly)
            }
            Phase::Connect { .. } | Phase::Settle { .. } => {}
            Phase::Pump => {
                self.pump(slot);
                if broken && self.connections.is_current(slot, generation) {
                    self.broken(slot, party);
                }
            }
        }
    }

    /// A socket has failed while the other direction holds its bytes back, so that no read or
    /// write has met the error yet.
    fn broken(&mut self, slot: u32, party: Party) {
        let Some(connection) = self.connections.get(slot) else { return };
        let side = match party {
            Party::Client => Some(&connection.client),
            Party::Upstream => connection.upstream.as_ref(),
        };
        let error = side.and_then(|side| sys::pending_error(side.end.fd()));
        let why = error.map_or(Failure::Lost(party), |source| Failure::Peer { party, source });
        self.fail(slot, why);
    }

    pub(super) fn pump(&mut self, slot: u32) {
        let generation = self.connections.generation(slot);
        let Some(connection) = self.connections.get(slot) else { return };
        connection.note_rest(self.now_ms);
        let before = connection.ends();
        let (progress, read, written) =
            connection.pump(&mut self.tools, self.shared.tap.as_deref());
        if read > 0 {
            self.shared.stats.read_bytes.fetch_add(read, Relaxed);
        }
        if written > 0 {
            self.shared.stats.write_bytes.fetch_add(written, Relaxed);
        }
        if read + written > 0 {
            connection.active_ms = self.now_ms;
        }
        if connection.is_patient() && !std::mem::replace(&mut connection.watched, true) {
            self.patients.push((slot, generation));
        }
        match progress {
            Progress::Waiting => {
                if connection.ends() != before {
                    connection.active_ms = self.now_ms;
                    self.watch_silence(slot);
                }
            }
            Progress::Again => {
                self.run_queue.push_back((slot, generation));
            }
            Progress::Complete => self.finish(slot, None),
            Progress::Broken(why) => self.fail(slot, why),
        }
    }

    // -- ends -------------------------------------------------------------------------------

    /// Ends a connection that failed: both peers see that their stream was cut.
    pub(super) fn fail(&mut self, slot: u32, why: Failure) {
        let cut = why.cut();
        if let Some(connection) = self.connections.get(slot) {
            connection.client.end.reset(cut);
            if let Some(upstream) = &mut connection.upstream {
                upstream.end.reset(cut);
            }
        }
        self.finish(slot, Some(why));
    }

    pub(super) fn finish(&mut self, slot: u32, error: Option<Failure>) {
        let Some(mut connection) = self.connections.release(slot) else { return };
        self.waiter.expect_nothing();
        self.timers.set(slot, &mut connection.timer_ms, None);
        connection.up.clear(&mut self.tools);
        connection.down.clear(&mut self.tools);
        if let Some(target) = &connection.target {
            target.open.fetch_sub(1, Relaxed);
        }
        if connection.starving {
            self.shared.starving.fetch_sub(1, Relaxed);
        }
        if connection.tapped
            && let Some(tap) = &self.shared.tap
        {
            tap.closed(connection.id);
        }
        let stats = &self.shared.stats;
        stats.open.fetch_sub(1, Relaxed);
        let ended = if error.is_none() { &stats.succeeded } else { &stats.failed };
        ended.fetch_add(1, Relaxed);
        if connection.probe && error.is_none() && !self.shared.log.is_verbose() {
            return;
        }
        let mut line = connection
            .line(if error.is_none() { "info" } else { "warn" }, "log")
            .text("status", if error.is_none() { "Suceeded" } else { "Failed" })
            .number("read", connection.up.moved())
            .number("write", connection.down.moved())
            .seconds("duration", connection.began.elapsed().as_secs_f64());
        if let Some(tunnel) = &connection.tunnel
            && tunnel.websocket == Party::Client
        {
            line = line.text("disconnect_at", tunnel.ended_at.unwrap_or("server"));
        }
        let dropped = connection.up.dropped() + connection.down.dropped();
        if dropped > 0 {
            line = line.number("dropped", dropped); // for a peer that had left
        }
        if let Some(error) = error {
            line = line.text("error", &error.to_string());
        }
        self.shared.log.write(&line.end());
    }
}
