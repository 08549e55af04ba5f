//! When which connection wants to be looked at: at most one entry for each.

use std::collections::{BTreeSet, VecDeque};

/// How old a connection to an upstream must be for keep-alive to be worth four system calls.
const YOUNG_MS: u64 = 1000;

/// Connections too young yet to have keep-alive on, in the order of their age.
#[derive(Default)]
pub(super) struct Young {
    queue: VecDeque<(u64, u32, u32)>,
}

impl Young {
    pub(super) fn add(&mut self, slot: u32, generation: u32, now_ms: u64) {
        self.queue.push_back((now_ms + YOUNG_MS, slot, generation));
    }

    /// The next one that is old enough: (slot, generation), which may have ended long ago.
    pub(super) fn due(&mut self, now_ms: u64) -> Option<(u32, u32)> {
        let &(at, slot, generation) = self.queue.front()?;
        if at > now_ms {
            return None;
        }
        self.queue.pop_front();
        if self.queue.is_empty() && self.queue.capacity() > 1024 {
            self.queue = VecDeque::new();
        }
        Some((slot, generation))
    }

    /// Milliseconds until the next one is.
    pub(super) fn next_ms(&self, now_ms: u64) -> Option<u64> {
        self.queue.front().map(|&(at, _, _)| at.saturating_sub(now_ms))
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
