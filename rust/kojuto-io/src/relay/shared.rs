//! What the worker threads of one relay and its handle share.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex};

use super::accept::access;
use super::accept::limit::Limit;
use super::busy_poll::Polling;
use super::connection::listing::Row;
use super::failure::Shortage;
use super::listener::Listener;
use super::options::Options;
use super::pump::Pipes;
use super::stats::Stats;
use super::tap::Tap;
use super::tunnel::{Adopted, Grants};
use super::upstream::Pool;
use crate::log::Log;
use crate::running::Running;
use crate::sys::epoll::Wake;

pub(super) enum Command {
    Listen(Arc<Listener>),
    /// Accept no more for a pool.
    Unlisten(Arc<Pool>),
    /// Take over a connection.
    Adopt(Box<Adopted>),
    /// Tell somebody of all connections.
    List(Sender<Vec<Row>>),
    /// End the connections to an upstream.
    Cut(Arc<Pool>, SocketAddr),
    /// End the tunnels with these rights.
    Revoke(Arc<HashSet<u64>>),
    /// Accept nothing more and end with the last connection.
    Stop,
    /// End all connections now.
    Abort,
}

pub(super) struct Shared {
    pub(super) options: Options,
    pub(super) stats: Stats,
    pub(super) log: Arc<Log>,
    pub(super) tap: Option<Arc<dyn Tap>>,
    pub(super) next_id: AtomicU64,
    /// One for each worker, as in `commands`.
    pub(super) wakes: Vec<Arc<Wake>>,
    pub(super) commands: Mutex<Vec<Vec<Command>>>,
    /// Nothing more is taken in; changed with `commands` locked.
    pub(super) stopped: AtomicBool,
    /// The rights that may be taken away; added to with `commands` locked.
    pub(super) grants: Arc<Grants>,
    /// Counts adoptions, so that the workers take turns.
    pub(super) adoptions: AtomicUsize,
    /// Workers that still run.
    pub(super) running: Arc<Running>,
    pub(super) limit: Limit,
    /// Of clients that were refused.
    pub(super) refusal_lines: access::Lines,
    /// Connections that wait for a descriptor to reach their upstream with.
    pub(super) starving: AtomicUsize,
    pub(super) polling: Polling,
    pub(super) pipes: Arc<Pipes>,
}

/// Counts a connection among those that lack a descriptor, until it is dropped.
pub(super) struct Starving(Arc<Shared>);

impl Starving {
    pub(super) fn new(shared: &Arc<Shared>) -> Starving {
        shared.starving.fetch_add(1, Relaxed);
        Starving(Arc::clone(shared))
    }
}

impl Drop for Starving {
    fn drop(&mut self) {
        self.0.starving.fetch_sub(1, Relaxed);
    }
}

impl Shared {
    pub(super) fn wake_all(&self) {
        for wake in &self.wakes {
            wake.wake();
        }
    }

    /// Gives the place of a connection back, and wakes the workers when one of them waits for it.
    pub(super) fn give_place_back(&self) {
        if self.limit.give_back() {
            self.wake_all();
        }
    }

    /// Notes that something is short; says so in the log if it did not before.
    pub(super) fn pausing(&self, why: &Shortage) {
        if !self.limit.tell_full() {
            return;
        }
        self.stats.pauses.fetch_add(1, Relaxed);
        let line = Log::line("warn", "accepting is paused").text("error", &why.to_string());
        self.log.write(&line.end());
    }

    pub(super) fn tell_resumption(&self) {
        self.log.write(&Log::line("info", "accepting again").end());
    }
}
