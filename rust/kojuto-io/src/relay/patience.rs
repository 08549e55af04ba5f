//! Streams that are read much at a time, and their ends.
//!
//! The reader of a long stream from this machine is woken for 128 KiB, not for each segment: half
//! the CPU. What is left when the stream rests is less than that, and no event tells of it. So a
//! worker with such a stream sleeps but for a moment, and when nothing has come it takes what there
//! is and waits for any byte again. The last bytes of a stream are late by that moment at most, and
//! only those of a stream that went one way for long ([`super::pump`]).

use super::connection::Connection;
use super::worker::Worker;

/// How long a worker that has enough else to do leaves bytes that no event tells of, in
/// milliseconds.
const MOMENT_MS: u64 = 1;
/// A silence of so many milliseconds is a rest.
const REST_MS: u64 = 10;

impl Connection {
    pub(super) fn is_patient(&self) -> bool {
        self.up.is_patient() || self.down.is_patient()
    }

    /// Before a turn: notes whether the streams have rested.
    pub(super) fn note_rest(&mut self, now_ms: u64) {
        if now_ms.saturating_sub(self.active_ms) > REST_MS {
            self.up.rest();
            self.down.rest();
        }
    }

    fn hurry(&mut self) {
        self.up.hurry(&mut self.client);
        if let Some(upstream) = &mut self.upstream {
            self.down.hurry(upstream);
        }
    }
}

impl Worker {
    /// Looks at the patient streams that have moved nothing for a moment; `idle`: the worker has
    /// slept for one and nothing came.
    pub(super) fn look_again(&mut self, idle: bool) {
        let mut at = 0;
        while let Some(&(slot, generation)) = self.patients.get(at) {
            if !self.connections.is_current(slot, generation) {
                self.patients.swap_remove(at);
                continue;
            }
            let Some(connection) = self.connections.get(slot) else { return };
            if idle || self.now_ms.saturating_sub(connection.active_ms) > MOMENT_MS {
                self.patients.swap_remove(at);
                connection.watched = false;
                connection.hurry();
                self.pump(slot);
            } else {
                at += 1;
            }
        }
    }
}
