//! What the log is told of a server that lacks descriptors or places: once that it does, and once
//! that it has not for a while. Under load it may lack one for every connection.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// So long nothing must have been short.
const ROOM: Duration = Duration::from_secs(1);

pub(super) struct Pause {
    start: Instant,
    /// When something was short the last time, in milliseconds since then.
    last_ms: AtomicU64,
    /// The log was told so, and not yet that it is over.
    told: AtomicBool,
}

impl Pause {
    pub(super) fn new() -> Pause {
        Pause { start: Instant::now(), last_ms: AtomicU64::new(0), told: AtomicBool::new(false) }
    }

    /// Notes that something is short; whether the log has yet to be told.
    pub(super) fn begin(&self) -> bool {
        self.last_ms.store(self.now_ms(), Relaxed);
        !self.told.swap(true, Relaxed)
    }

    /// How long nothing must be short from now on until it is over; None where nothing was.
    pub(super) fn rest(&self) -> Option<Duration> {
        self.told.load(Relaxed).then(|| {
            let since_ms = self.now_ms().saturating_sub(self.last_ms.load(Relaxed));
            ROOM.saturating_sub(Duration::from_millis(since_ms))
        })
    }

    /// Notes that it is over; whether the log has yet to be told.
    pub(super) fn end(&self) -> bool {
        self.told.swap(false, Relaxed)
    }

    fn now_ms(&self) -> u64 {
        self.start.elapsed().as_millis() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_once_and_is_over_when_nothing_was_short_for_a_while() {
        let pause = Pause::new();
        assert!(pause.rest().is_none() && !pause.end());
        assert!(pause.begin() && !pause.begin());
        let rest = pause.rest().unwrap();
        assert!(rest <= ROOM);
        std::thread::sleep(rest + Duration::from_millis(1));
        assert_eq!(pause.rest(), Some(Duration::ZERO));
        pause.begin();
        assert!(pause.rest().unwrap() > Duration::ZERO, "it was short again");
        assert!(pause.end() && !pause.end() && pause.rest().is_none());
    }
}
