//! How many connections there may be at a time, and who waits for one to end.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};

/// The places of a relay. A connection has one from before it is accepted until its sockets are
/// closed.
///
/// Who finds none leaves a mark and looks once more; who gives one back looks for the mark. Both do
/// so in one order that all threads see, so that one of the two notices the other.
pub(in crate::relay) struct Limit {
    /// 0: there is none.
    pub(in crate::relay) most: usize,
    taken: AtomicUsize,
    awaited: AtomicBool,
    /// How often there was none, or something else was short.
    failures: AtomicU64,
    /// The log was told of that, and not yet that there is one again.
    told: AtomicBool,
}

impl Limit {
    pub(in crate::relay) fn new(most: usize) -> Limit {
        Limit {
            most,
            taken: AtomicUsize::new(0),
            awaited: AtomicBool::new(false),
            failures: AtomicU64::new(0),
            told: AtomicBool::new(false),
        }
    }

    /// Takes a place for a connection that is about to be accepted; false when all are taken.
    pub(super) fn take(&self) -> bool {
        if self.most == 0 {
            return true;
        }
        let more = |taken| (taken < self.most).then_some(taken + 1);
        let take = || self.taken.fetch_update(SeqCst, SeqCst, more).is_ok();
        if take() {
            return true;
        }
        self.awaited.store(true, SeqCst);
        if take() {
            return true;
        }
        self.fail();
        false
    }

    /// Notes that there was none, or that something else that a connection needs was short.
    pub(super) fn fail(&self) {
        self.failures.fetch_add(1, SeqCst);
    }

    /// Takes a place for a connection that is there already, also when there is none.
    pub(in crate::relay) fn take_anyhow(&self) {
        if self.most > 0 {
            self.taken.fetch_add(1, SeqCst);
        }
    }

    /// Gives a place back; answers whether somebody waits for it.
    pub(in crate::relay) fn give_back(&self) -> bool {
        if self.most == 0 {
            return false;
        }
        self.taken.fetch_sub(1, SeqCst);
        self.awaited.load(SeqCst) && self.awaited.swap(false, SeqCst)
    }

    /// How often no place was found.
    pub(super) fn failures(&self) -> u64 {
        self.failures.load(SeqCst)
    }

    /// Whether the log has yet to be told that there is no place; it counts as told from now on.
    pub(in crate::relay) fn tell_full(&self) -> bool {
        !self.told.swap(true, Relaxed)
    }

    /// Whether the log was told that there is no place, and nothing since.
    pub(super) fn is_told(&self) -> bool {
        self.told.load(Relaxed)
    }

    /// Whether the log has yet to be told that there is room again; it counts as told from now on.
    pub(super) fn tell_room(&self) -> bool {
        self.told.swap(false, Relaxed)
    }
}

/// There is room for connections again.
#[derive(Clone, Copy)]
pub(in crate::relay) struct Room {
    /// When the log is told...
    pub(in crate::relay) at_ms: u64,
    /// ...unless there was none once more for somebody.
    pub(in crate::relay) failures: u64,
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn there_are_so_many_places_and_who_waits_for_one_is_told() {
        let limit = Limit::new(2);
        assert!(limit.take() && limit.take());
        assert!(!limit.give_back(), "nobody waits");
        assert!(limit.take() && !limit.take() && !limit.take());
        assert_eq!(limit.failures(), 2);
        assert!(limit.give_back());
        assert!(!limit.give_back(), "who waits has been told");
        assert!(limit.take() && limit.take() && !limit.take());
        limit.take_anyhow();
        assert!(limit.give_back() && !limit.take(), "one is there that was not asked");
    }

    #[test]
    fn without_a_limit_nothing_is_counted() {
        let limit = Limit::new(0);
        for _ in 0..1000 {
            assert!(limit.take() && !limit.give_back());
        }
        assert_eq!(limit.failures(), 0);
    }

    #[test]
    fn the_log_is_told_of_each_change_once() {
        let limit = Limit::new(1);
        assert!(!limit.tell_room() && !limit.is_told());
        assert!(limit.tell_full() && !limit.tell_full() && limit.is_told());
        assert!(limit.tell_room() && !limit.tell_room() && !limit.is_told());
    }

    #[test]
    fn nobody_waits_for_a_place_that_is_free() {
        // Two that take turns with one place: whoever finds none is told of the next one.
        let limit = Limit::new(1);
        let woken = [AtomicBool::new(false), AtomicBool::new(false)];
        let turn = |own: &AtomicBool| {
            for _ in 0..20_000 {
                while !limit.take() {
                    while !own.swap(false, SeqCst) {
                        std::hint::spin_loop();
                        thread::yield_now();
                    }
                }
                if limit.give_back() {
                    woken.iter().for_each(|flag| flag.store(true, SeqCst));
                }
            }
        };
        thread::scope(|scope| {
            for own in &woken {
                scope.spawn(|| turn(own));
            }
        });
    }
}
