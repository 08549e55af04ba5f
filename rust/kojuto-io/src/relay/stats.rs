//! What the relay counts.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

/// Upper bounds of the connect-time histogram, in microseconds.
pub const CONNECT_BOUNDS_US: [u64; 12] =
    [100, 250, 500, 1_000, 2_500, 5_000, 10_000, 50_000, 100_000, 500_000, 1_000_000, 10_000_000];

/// Upper bounds of the histogram of tunnels' round trips, in microseconds.
pub const ROUND_TRIP_BOUNDS_US: [u64; 12] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    10_000_000,
];

/// Counters of one relay, all since its start except `open`.
#[derive(Debug, Default)]
pub struct Stats {
    /// Connections accepted.
    pub accepted: AtomicU64,
    /// Connections open now.
    pub open: AtomicUsize,
    /// Connections that ended as both sides wanted.
    pub succeeded: AtomicU64,
    /// Connections that ended otherwise.
    pub failed: AtomicU64,
    /// Payload bytes from clients to upstreams.
    pub read_bytes: AtomicU64,
    /// Payload bytes from upstreams to clients.
    pub write_bytes: AtomicU64,
    /// Attempts to reach an upstream that failed.
    pub connect_failures: AtomicU64,
    /// Connections closed for their PROXY header, or for want of it.
    pub header_failures: AtomicU64,
    /// Connections closed for their client's address.
    pub refused: AtomicU64,
    /// Connections whose PROXY header said LOCAL.
    pub probes: AtomicU64,
    /// How often accepting was paused for want of descriptors or by the connection limit.
    pub pauses: AtomicU64,
    /// Attempts that took at most the bound of the same position; the last one: longer.
    pub connect_times: [AtomicU64; CONNECT_BOUNDS_US.len() + 1],
    /// The sum of the connect times.
    pub connect_us: AtomicU64,
    /// Pings of tunnels whose pong came within the bound of the same position; the last one: later.
    pub round_trips: [AtomicU64; ROUND_TRIP_BOUNDS_US.len() + 1],
    /// The sum of the round trips.
    pub round_trip_us: AtomicU64,
}

impl Stats {
    pub(super) fn connected_after(&self, took: Duration) {
        count(took, &CONNECT_BOUNDS_US, &self.connect_times, &self.connect_us);
    }

    pub(super) fn answered_after(&self, took: Duration) {
        count(took, &ROUND_TRIP_BOUNDS_US, &self.round_trips, &self.round_trip_us);
    }
}

fn count(took: Duration, bounds_us: &[u64], counts: &[AtomicU64], sum_us: &AtomicU64) {
    let us = took.as_micros() as u64;
    counts[bounds_us.partition_point(|&bound| bound < us)].fetch_add(1, Relaxed);
    sum_us.fetch_add(us, Relaxed);
}
