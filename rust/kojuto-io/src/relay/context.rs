//! What a worker lends to its connections: the clock, the queues, the counters and the log.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::accept::limit::Room;
use super::listener::Listener;
use super::pump::Tools;
use super::shared::Shared;
use super::slab::Place;
use super::timers::{KeepAlives, Timers};
use crate::sys::epoll::Epoll;

pub(super) struct Context {
    pub(super) shared: Arc<Shared>,
    pub(super) epoll: Epoll,
    pub(super) tools: Tools,
    pub(super) timers: Timers,
    pub(super) keep_alives: KeepAlives,
    /// Connections that used up their turn; they come again before the next wait.
    pub(super) run_queue: VecDeque<Place>,
    /// Connections whose bytes no event may tell of.
    pub(super) waiting_for_much: Vec<Place>,
    /// Those that are accepted on, each at the place that its events name.
    pub(super) listeners: Vec<Option<Arc<Listener>>>,
    /// The listeners are watched.
    pub(super) watching: bool,
    /// Nothing is accepted until then.
    pub(super) paused_until: Option<u64>,
    /// Nothing is accepted until a connection has ended: there are as many as may be.
    pub(super) full: bool,
    /// There is room again, of which the log is told in a while.
    pub(super) room: Option<Room>,
    /// The listener whose turn it is when there is room for one connection.
    pub(super) next_listener: usize,
    pub(super) now_ms: u64,
    /// Nothing more is accepted.
    pub(super) stopping: bool,
    random: u64,
}

impl Context {
    pub(super) fn new(shared: Arc<Shared>, index: usize) -> io::Result<Context> {
        Ok(Context {
            epoll: Epoll::new()?,
            tools: Tools::new(Arc::clone(&shared.pipes)),
            shared,
            timers: Timers::default(),
            keep_alives: KeepAlives::default(),
            run_queue: VecDeque::new(),
            waiting_for_much: Vec::new(),
            listeners: Vec::new(),
            watching: true,
            paused_until: None,
            full: false,
            room: None,
            next_listener: 0,
            now_ms: 0,
            stopping: false,
            random: 0x9e37_79b9_7f4a_7c15 ^ (index as u64) << 32 ^ u64::from(std::process::id()),
        })
    }

    pub(super) fn random(&mut self) -> u64 {
        // xorshift64 (Marsaglia, 2003)
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    /// The instant so far from now; None for a limit of zero, which is none.
    pub(super) fn after(&self, limit: Duration) -> Option<u64> {
        let limit = ms(limit);
        (limit > 0).then_some(self.now_ms + limit)
    }
}

/// Whole milliseconds, few enough to be added to any instant.
pub(super) fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX / 4).min(u64::MAX / 4)
}
