//! Whether the peer of a tunnel is still there.
//!
//! A peer that says nothing for an interval is sent a ping (and once, after the first interval, one
//! that does say something, for the round trip), after another one a second, and is gone
//! when it has answered neither three quarters of an interval later: 55 s with the default of 20.
//! Any byte is an answer. Who may be alive without one is not judged by that: a peer that has yet to
//! take what it was given, or one whose bytes we have yet to read. There the kernel is asked, which
//! knows a peer that acknowledges nothing.

use std::time::{Duration, Instant};

use crate::relay::endpoint::Side;
use crate::sys::socket as sys;

/// Pings without an answer that raise doubts.
const PINGS: u32 = 2;

/// What is known of a peer's life; times are the worker's, in milliseconds.
pub(super) struct Life {
    /// 0 for no pings.
    interval_ms: u64,
    /// The first ping is due an interval later.
    began_ms: Option<u64>,
    heard_ms: u64,
    /// When the pings since then were sent: the first and the last.
    pinged_ms: (u64, u64),
    unanswered: u32,
    /// The number of the last ping.
    number: u32,
    /// When it was sent, as long as its pong has not come, whatever else has.
    awaited: Option<Instant>,
    round_trip: Option<Duration>,
}

impl Life {
    pub(super) fn new(interval: Duration) -> Life {
        let interval_ms = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX / 4);
        Life {
            interval_ms,
            began_ms: None,
            heard_ms: 0,
            pinged_ms: (0, 0),
            unanswered: 0,
            number: 0,
            awaited: None,
            round_trip: None,
        }
    }

    pub(super) fn begin(&mut self, now_ms: u64) {
        self.began_ms = Some(now_ms);
        self.heard_ms = now_ms;
    }

    pub(super) fn due_ms(&self) -> Option<u64> {
        let at = match self.unanswered {
            0 => self.began_ms.unwrap_or(self.heard_ms).saturating_add(self.interval_ms),
            1 => self.pinged_ms.1.saturating_add(self.interval_ms),
            _ => self.pinged_ms.1.saturating_add((self.interval_ms * 3 / 4).max(1)),
        };
        (self.interval_ms > 0).then_some(at)
    }

    /// Something has come; of a pong, which ping it answers and when. Answers the round trip that it
    /// ends: a late pong to an earlier ping than the last ends none.
    pub(super) fn heard(&mut self, now_ms: u64, pong: Option<(u32, Instant)>) -> Option<Duration> {
        self.heard_ms = now_ms;
        self.unanswered = 0;
        let (_, at) = pong.filter(|(number, _)| *number == self.number)?;
        let took = at.saturating_duration_since(self.awaited.take()?);
        self.round_trip = Some(took);
        Some(took)
    }

    /// A ping is sent; answers its number.
    pub(super) fn pinged(&mut self, now_ms: u64, now: Instant) -> u32 {
        self.began_ms = None;
        if self.unanswered == 0 {
            self.pinged_ms.0 = now_ms;
        }
        self.pinged_ms.1 = now_ms;
        self.awaited = Some(now);
        self.unanswered = PINGS.min(self.unanswered + 1);
        self.number = self.number.wrapping_add(1);
        self.number
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
        self.round_trip
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_pinged_twice_and_doubted_before_three_intervals_are_over() {
        let mut life = Life::new(Duration::from_secs(20));
        life.begin(1000);
        assert_eq!(life.due_ms(), Some(21_000));
        life.pinged(21_000, Instant::now());
        assert_eq!((life.due_ms(), life.is_doubtful()), (Some(41_000), false));
        life.pinged(41_010, Instant::now());
        assert_eq!((life.due_ms(), life.is_doubtful()), (Some(56_010), true));
        assert_eq!(life.silence(56_010), Duration::from_millis(55_010));
        life.heard(56_010, None);
        assert_eq!((life.due_ms(), life.is_doubtful()), (Some(76_010), false));
        assert_eq!(life.round_trip(), None, "that was no pong");
        assert_eq!(Life::new(Duration::ZERO).due_ms(), None);
        assert!(Life::new(Duration::MAX).due_ms() > Some(1 << 60));
    }

    #[test]
    fn one_that_never_rests_is_pinged_once() {
        let mut life = Life::new(Duration::from_secs(20));
        life.begin(1000);
        for now_ms in [5000, 20_999] {
            life.heard(now_ms, None);
            assert_eq!(life.due_ms(), Some(21_000));
        }
        life.pinged(21_000, Instant::now());
        life.heard(21_100, None);
        assert_eq!(life.due_ms(), Some(41_100));
    }

    #[test]
    fn the_round_trip_is_that_of_the_last_ping() {
        let mut life = Life::new(Duration::from_secs(1));
        let began = Instant::now();
        let after = |us| began + Duration::from_micros(us);
        assert_eq!(life.heard(0, Some((0, began))), None, "nobody had asked");
        let first = life.pinged(1000, began);
        assert_eq!(life.heard(1003, None), None);
        let took = Some(Duration::from_micros(7250));
        assert_eq!(life.heard(1007, Some((first, after(7250)))), took);
        assert_eq!(life.heard(1500, Some((first, after(500_000)))), None);
        assert_eq!(life.round_trip(), took);
    }

    #[test]
    fn a_late_pong_does_not_count_for_the_last_ping() {
        let mut life = Life::new(Duration::from_secs(1));
        let began = Instant::now();
        let after = |ms| began + Duration::from_millis(ms);
        let pings = [life.pinged(1000, began), life.pinged(2000, after(1000))];
        assert!(life.is_doubtful());
        assert_eq!(life.heard(2001, Some((pings[0], after(1001)))), None);
        assert!(!life.is_doubtful(), "it is a sign of life");
        assert_eq!(life.round_trip(), None);
        let took = Some(Duration::from_millis(1500));
        assert_eq!(life.heard(3500, Some((pings[1], after(2500)))), took);
    }
}
