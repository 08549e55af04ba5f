//! What the threads of one server share.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use hyper::http::request::Parts;
use tokio::sync::Notify;

use super::access_log::AccessLog;
use super::message::{Quick, Reply};
use super::options::{Options, Stats};
use super::pause::Pause;
use crate::log::Log;
use crate::running::Running;

/// How far a server has come to its end.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub(super) enum Course {
    Serve,
    Stop,
    Abort,
}

pub(super) struct Shared {
    pub(super) options: Options,
    pub(super) stats: Stats,
    pub(super) log: Arc<Log>,
    pub(super) quick: RwLock<Option<Arc<dyn Quick>>>,
    pub(super) access_log: OnceLock<Arc<AccessLog>>,
    /// Told when a connection ends, for an acceptor that waits for room.
    pub(super) freed: Notify,
    pub(super) pause: Pause,
    /// [`Server::stop`](super::Server::stop) was called; the workers and their connections learn it a little later.
    pub(super) stopping: AtomicBool,
    /// Threads that still run, those that only ask [`Slow`] left out.
    pub(super) running: Arc<Running>,
}

impl Shared {
    pub(super) fn quick(&self, head: &Parts, remote: &str) -> Option<Reply> {
        self.quick.read().unwrap_or_else(PoisonError::into_inner).as_ref()?.quick(head, remote)
    }

    pub(super) fn access_log(&self) -> Option<&AccessLog> {
        self.access_log.get().map(AsRef::as_ref)
    }
}

/// The last worker to end closes the access log.
pub(super) struct LastCloses(pub(super) Arc<Shared>);

impl Drop for LastCloses {
    fn drop(&mut self) {
        if let Some(log) = self.0.access_log() {
            log.close();
        }
    }
}

/// Notes that accepting pauses; says so in the log if it did not before.
pub(super) fn pausing(shared: &Shared, why: &str) {
    if shared.pause.begin() {
        shared.stats.pauses.fetch_add(1, Relaxed);
        shared.log.write(&Log::line("warn", "accepting is paused").text("error", why).end());
    }
}

/// Notes that the pauses are over; says so in the log.
pub(super) fn accepting_again(shared: &Shared) {
    if shared.pause.end() {
        shared.log.write(&Log::line("info", "accepting again").end());
    }
}
