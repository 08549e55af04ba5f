//! When which connection wants to be looked at: at most one entry for each.

use std::collections::{BTreeSet, VecDeque};

use super::slab::Place;

/// How old a connection to an upstream must be for keep-alive to be worth four system calls.
const KEEP_ALIVE_AFTER_MS: u64 = 1000;

/// Connections whose keep-alive is still to be switched on, the oldest first.
#[derive(Default)]
pub(super) struct KeepAlives {
    queue: VecDeque<(u64, Place)>,
}

impl KeepAlives {
    pub(super) fn add(&mut self, place: Place, now_ms: u64) {
        self.queue.push_back((now_ms + KEEP_ALIVE_AFTER_MS, place));
    }

    /// Leaves out those at the front that have ended, so that nobody wakes for them.
    pub(super) fn forget(&mut self, ended: impl Fn(Place) -> bool) {
        while self.queue.front().is_some_and(|&(_, place)| ended(place)) {
            self.queue.pop_front();
        }
        self.shrink();
    }

    /// The next one that is old enough, which may have ended long ago.
    pub(super) fn due(&mut self, now_ms: u64) -> Option<Place> {
        let &(at, place) = self.queue.front()?;
        if at > now_ms {
            return None;
        }
        self.queue.pop_front();
        self.shrink();
        Some(place)
    }

    fn shrink(&mut self) {
        if self.queue.is_empty() && self.queue.capacity() > 1024 {
            self.queue = VecDeque::new();
        }
    }

    /// Milliseconds until the next one is.
    pub(super) fn next_ms(&self, now_ms: u64) -> Option<u64> {
        self.queue.front().map(|&(at, _)| at.saturating_sub(now_ms))
    }
}

#[derive(Default)]
pub(super) struct Timers {
    set: BTreeSet<(u64, u32)>,
}

impl Timers {
    /// Sets the timer of `slot` to `at_ms`, or clears it; `current` is the connection's own note.
    pub(super) fn set(&mut self, slot: u32, current: &mut Option<u64>, at_ms: Option<u64>) {
        if *current == at_ms {
            return;
        }
        if let Some(old) = current.take() {
            self.set.remove(&(old, slot));
        }
        if let Some(at) = at_ms {
            self.set.insert((at, slot));
            *current = Some(at);
        }
    }

    /// The slot of a timer that has run out.
    pub(super) fn due(&mut self, now_ms: u64) -> Option<u32> {
        let &(at, slot) = self.set.first()?;
        if at > now_ms {
            return None;
        }
        Some(slot)
    }

    /// Milliseconds until the next timer runs out.
    pub(super) fn next_ms(&self, now_ms: u64) -> Option<u64> {
        self.set.first().map(|&(at, _)| at.saturating_sub(now_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_has_one_timer_at_most() {
        let (mut timers, mut current) = (Timers::default(), None);
        timers.set(3, &mut current, Some(100));
        timers.set(3, &mut current, Some(200));
        assert_eq!((timers.next_ms(50), timers.due(199)), (Some(150), None));
        assert_eq!(timers.due(200), Some(3));
        timers.set(3, &mut current, None);
        assert_eq!((timers.next_ms(0), timers.due(u64::MAX), current), (None, None, None));
    }

    #[test]
    fn nobody_wakes_for_connections_that_have_ended() {
        let mut keep_alives = KeepAlives::default();
        for slot in 0..5 {
            keep_alives.add(Place { slot, generation: 7 }, u64::from(slot) * 100);
        }
        keep_alives.forget(|place| place.generation == 7 && place.slot != 2);
        assert_eq!(
            keep_alives.next_ms(200),
            Some(KEEP_ALIVE_AFTER_MS),
            "the first two have ended, and the last"
        );
        assert_eq!(keep_alives.due(199 + KEEP_ALIVE_AFTER_MS), None);
        assert_eq!(
            keep_alives.due(200 + KEEP_ALIVE_AFTER_MS),
            Some(Place { slot: 2, generation: 7 })
        );
        keep_alives.forget(|_| true);
        assert_eq!(keep_alives.next_ms(0), None);
    }
}
