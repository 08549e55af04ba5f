//! What a server is told at its start, and what it counts.

use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::time::Duration;

use super::access_log::LineFormat;

/// The limits of one server. A time-out of zero means none.
#[derive(Clone, Debug)]
pub struct Options {
    /// From a connection's opening, or the first byte of a later request, to the end of its
    /// headers; once more for the body.
    pub header_timeout: Duration,
    /// Silence between two requests of a connection.
    pub idle_timeout: Duration,
    /// How long an answer may wait for the client to take more of it.
    pub write_timeout: Duration,
    /// Request line and headers together; beyond it 431. At least 8192; what comes in one read
    /// with the last byte allowed, at most as much again, is let pass.
    pub max_header_bytes: usize,
    /// A request's body; beyond it 413. None: a body is neither judged nor waited for, and where
    /// one is announced the connection ends with the answer, since what follows may be that body.
    pub max_body_bytes: Option<usize>,
    /// Connections at a time, the rest wait in the queue of the socket; 0 for no limit.
    pub max_connections: usize,
    /// Threads that serve connections; 0 for one for each core, at most 4.
    pub workers: usize,
    /// Threads that ask [`super::Slow`].
    pub threads: usize,
    /// Requests that may wait for such a thread; beyond it 503.
    pub queue: usize,
    /// How the lines of the access log are written.
    pub access_log: LineFormat,
}

/// Counters of one server, all since its start except `open`.
#[derive(Debug, Default)]
pub struct Stats {
    /// Connections accepted.
    pub accepted: AtomicU64,
    /// Connections open now.
    pub open: AtomicUsize,
    /// Requests answered, by the first digit of the status, from 2 on; refusals of what is no
    /// request are not among them.
    pub answered: [AtomicU64; 4],
    /// Requests that [`super::Quick`] answered.
    pub quick: AtomicU64,
    /// Requests that were refused because too many waited for an answer.
    pub refused: AtomicU64,
    /// Connections that were cut for being slow or idle.
    pub timeouts: AtomicU64,
    /// Connections that ended with an error, bad requests among them.
    pub errors: AtomicU64,
    /// How often accepting was paused for want of descriptors or by the connection limit.
    pub pauses: AtomicU64,
    /// Access-log lines that were dropped because their reader was too slow.
    pub log_dropped: AtomicU64,
}
