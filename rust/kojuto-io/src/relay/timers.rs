//! When which connection wants to be looked at: at most one entry for each.

use std::collections::BTreeSet;

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
