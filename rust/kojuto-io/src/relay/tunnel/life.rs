//! Whether the peer of a tunnel is still there.
//!
//! A peer that says nothing for an interval is sent a ping, after another one a second, and is gone
//! when it has answered neither three quarters of an interval later: 55 s with the default of 20.
//! Any byte is an answer. Who may be alive without one is not judged by that: a peer that has yet to
//! take what it was given, or one whose bytes we have yet to read. There the kernel is asked, which
//! knows a peer that acknowledges nothing.

use std::time::Duration;

use crate::relay::endpoint::Side;
use crate::sys::socket as sys;

/// Pings without an answer that raise doubts.
const PINGS: u32 = 2;

/// What is known of a peer's life; times are the worker's, in milliseconds.
pub(super) struct Life {
    /// 0 for no pings.
    interval_ms: u64,
    heard_ms: u64,
    /// When the pings since then were sent: the first and the last.
    pinged_ms: (u64, u64),
    unanswered: u32,
    /// The pong to the last ping has not come, whatever else has.
    awaited: bool,
    round_trip_ms: Option<u64>,
}

impl Life {
    pub(super) fn new(interval: Duration) -> Life {
        let interval_ms = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX / 4);
        Life {
            interval_ms,
            heard_ms: 0,
            pinged_ms: (0, 0),
            unanswered: 0,
            awaited: false,
            round_trip_ms: None,
        }
    }

    pub(super) fn due_ms(&self) -> Option<u64> {
        let at = match self.unanswered {
            0 => self.heard_ms.saturating_add(self.interval_ms),
            1 => self.pinged_ms.1.saturating_add(self.interval_ms),
            _ => self.pinged_ms.1.saturating_add((self.interval_ms * 3 / 4).max(1)),
        };
        (self.interval_ms > 0).then_some(at)
    }

    pub(super) fn heard(&mut self, now_ms: u64, pong: bool) {
        if pong && std::mem::take(&mut self.awaited) {
            self.round_trip_ms = Some(now_ms - self.pinged_ms.1);
        }
        self.heard_ms = now_ms;
        self.unanswered = 0;
    }

    pub(super) fn pinged(&mut self, now_ms: u64) {
        if self.unanswered == 0 {
            self.pinged_ms.0 = now_ms;
        }
        self.pinged_ms.1 = now_ms;
        self.awaited = true;
        self.unanswered = PINGS.min(self.unanswered + 1);
    }

    pub(super) fn is_doubtful(&self) -> bool {
        self.unanswered >= PINGS
    }

    /// Whether a doubtful peer is gone.
    pub(super) fn is_gone(&self, now_ms: u64, side: &Side) -> bool {
        let fd = side.end.fd();
        let since_ms = now_ms.saturating_sub(self.pinged_ms.0);
        match sys::acknowledged(fd) {
            // The kernel has sent the pings again and again.
            Some(known) if known.owed => known.since_ms + self.interval_ms / 2 >= since_ms,
            _ => side.end.must_answer() && !side.readable && !sys::has_input(fd),
        }
    }

    pub(super) fn silence(&self, now_ms: u64) -> Duration {
        Duration::from_millis(now_ms.saturating_sub(self.heard_ms))
    }

    pub(super) fn round_trip(&self) -> Option<Duration> {
        self.round_trip_ms.map(Duration::from_millis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_pinged_twice_and_doubted_before_three_intervals_are_over() {
        let mut life = Life::new(Duration::from_secs(20));
        life.heard(1000, false);
        assert_eq!(life.due_ms(), Some(21_000));
        life.pinged(21_000);
        assert_eq!((life.due_ms(), life.is_doubtful()), (Some(41_000), false));
        life.pinged(41_010);
        assert_eq!((life.due_ms(), life.is_doubtful()), (Some(56_010), true));
        assert_eq!(life.silence(56_010), Duration::from_millis(55_010));
        life.heard(56_010, false);
        assert_eq!((life.due_ms(), life.is_doubtful()), (Some(76_010), false));
        assert_eq!(life.round_trip(), None, "that was no pong");
        assert_eq!(Life::new(Duration::ZERO).due_ms(), None);
        assert!(Life::new(Duration::MAX).due_ms() > Some(1 << 60));
    }

    #[test]
    fn the_round_trip_is_that_of_the_last_ping() {
        let mut life = Life::new(Duration::from_secs(1));
        life.heard(0, true);
        assert_eq!(life.round_trip(), None, "nobody had asked");
        life.pinged(1000);
        life.heard(1003, false);
        life.heard(1007, true);
        life.heard(1500, true);
        assert_eq!(life.round_trip(), Some(Duration::from_millis(7)));
    }
}
