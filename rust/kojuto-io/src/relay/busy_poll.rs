//! How a worker waits: asleep, or awake for a moment when the next event is due at once.
//!
//! To fall asleep and be woken costs tens of microseconds on a virtual machine, at this end and at
//! the one that wakes. Whoever plays ping-pong has an event every few of them. So when the last
//! wait was short, the next one asks again and again for as long, and gives the core to whoever
//! wants it in between. A wait that was too long is followed by sleep.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use crate::sys::epoll::Epoll;
use crate::sys::socket as sys;

/// The workers of one relay that may poll at a time: a quarter of the cores, at least one; none on
/// a machine with a single core.
pub(super) struct Polling {
    limit: Duration,
    most: usize,
    now: AtomicUsize,
}

impl Polling {
    /// For waits up to `limit`; zero: never.
    pub(super) fn new(limit: Duration) -> Polling {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let most = if cores < 2 || limit.is_zero() { 0 } else { (cores / 4).max(1) };
        Polling { limit, most, now: AtomicUsize::new(0) }
    }
}

/// What one worker has learnt from its last wait.
#[derive(Default)]
pub(super) struct Waiter {
    /// It was short.
    eager: bool,
}

impl Waiter {
    /// The next wait is for nothing that is due at once, whatever the last one was: connections
    /// come and go, each for itself, and whoever has not slept has only burnt the core that their
    /// peers need.
    pub(super) fn expect_nothing(&mut self) {
        self.eager = false;
    }

    /// Waits at most `timeout_ms` (-1: for ever), and sleeps for `most` at most; answers the number
    /// of events filled in.
    pub(super) fn wait(
        &mut self,
        epoll: &Epoll,
        polling: &Polling,
        events: &mut [libc::epoll_event],
        timeout_ms: i32,
        most: Option<Duration>,
    ) -> usize {
        let sleep = |events: &mut [libc::epoll_event]| match most {
            Some(most) if timeout_ms != 0 => epoll.wait_briefly(events, most),
            _ => epoll.wait(events, timeout_ms),
        };
        if timeout_ms == 0 || polling.most == 0 {
            return sleep(events);
        }
        let began = Instant::now();
        if self.eager {
            let mut count = 0;
            if polling.now.fetch_add(1, Relaxed) < polling.most {
                count = epoll.wait(events, 0);
                while count == 0 && began.elapsed() < polling.limit {
                    sys::give_way();
                    count = epoll.wait(events, 0);
                }
            }
            polling.now.fetch_sub(1, Relaxed);
            if count > 0 {
                return count;
            }
        }
        let count = sleep(events);
        self.eager = began.elapsed() < polling.limit;
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::epoll::Wake;

    fn wait(waiter: &mut Waiter, polling: &Polling, epoll: &Epoll, timeout_ms: i32) -> usize {
        let events = &mut [libc::epoll_event { events: 0, u64: 0 }];
        waiter.wait(epoll, polling, events, timeout_ms, None)
    }

    /// Longer than a busy machine keeps a test waiting.
    const LIMIT: Duration = Duration::from_secs(1);

    fn always(most: usize) -> Polling {
        Polling { limit: LIMIT, most, now: AtomicUsize::new(0) }
    }

    #[test]
    fn a_short_wait_is_followed_by_polling_and_a_long_one_by_sleep() {
        let (epoll, wake) = (Epoll::new().unwrap(), Wake::new().unwrap());
        epoll.add_wake(wake.fd(), 1).unwrap();
        let (polling, mut waiter) = (always(1), Waiter::default());
        wake.wake();
        assert_eq!(wait(&mut waiter, &polling, &epoll, -1), 1);
        assert!(waiter.eager);
        wake.clear();
        // Nothing comes: it polls to its limit, then sleeps to the time-out.
        let began = Instant::now();
        assert_eq!(wait(&mut waiter, &polling, &epoll, 50), 0);
        assert!(began.elapsed() >= LIMIT + Duration::from_millis(50), "{:?}", began.elapsed());
        assert!(!waiter.eager);
        let began = Instant::now();
        assert_eq!(wait(&mut waiter, &polling, &epoll, 50), 0);
        assert!(began.elapsed() < LIMIT, "{:?}", began.elapsed());
    }

    #[test]
    fn nothing_is_polled_for_where_nothing_is_expected() {
        let epoll = Epoll::new().unwrap();
        let (polling, mut waiter) = (always(1), Waiter { eager: true });
        waiter.expect_nothing();
        let began = Instant::now();
        assert_eq!(wait(&mut waiter, &polling, &epoll, 20), 0);
        assert!(began.elapsed() < LIMIT, "{:?}", began.elapsed());
        assert!(waiter.eager, "it was short enough all the same: the one after it polls");
    }

    #[test]
    fn polling_sees_what_comes_meanwhile() {
        let (epoll, wake) = (Epoll::new().unwrap(), Wake::new().unwrap());
        epoll.add_wake(wake.fd(), 1).unwrap();
        let (polling, mut waiter) = (always(1), Waiter { eager: true });
        thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(Duration::from_millis(20));
                wake.wake();
            });
            // A sleep would not end.
            assert_eq!(wait(&mut waiter, &polling, &epoll, -1), 1);
        });
        assert_eq!(polling.now.load(Relaxed), 0);
    }

    #[test]
    fn a_sleep_may_be_a_brief_one() {
        let (epoll, wake) = (Epoll::new().unwrap(), Wake::new().unwrap());
        epoll.add_wake(wake.fd(), 1).unwrap();
        let mut waiter = Waiter::default();
        let mut brief = |polling: &Polling| {
            let events = &mut [libc::epoll_event { events: 0, u64: 0 }];
            let began = Instant::now();
            let count = waiter.wait(&epoll, polling, events, -1, Some(Duration::from_micros(300)));
            (count, began.elapsed())
        };
        for polling in [always(1), always(0)] {
            let (count, took) = brief(&polling);
            assert_eq!(count, 0);
            assert!(took >= Duration::from_micros(300), "{took:?}");
            assert!(took < Duration::from_secs(5), "{took:?}");
            wake.wake();
            assert_eq!(brief(&polling).0, 1);
            wake.clear();
        }
    }

    #[test]
    fn no_more_workers_poll_than_may() {
        let epoll = Epoll::new().unwrap();
        let (polling, mut waiter) = (always(1), Waiter { eager: true });
        polling.now.store(1, Relaxed);
        let began = Instant::now();
        assert_eq!(wait(&mut waiter, &polling, &epoll, 20), 0);
        assert!(began.elapsed() < LIMIT, "{:?}", began.elapsed());
        assert_eq!(polling.now.load(Relaxed), 1);
        assert_eq!(Polling::new(Duration::ZERO).most, 0);
    }
}
