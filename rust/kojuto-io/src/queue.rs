//! A queue between threads that must never wait and one thread that takes all there is at a time.
//!
//! What waits is bounded by what is put in: it counts, and refuses what is too much.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What waits in a [`Queue`].
pub(crate) trait Waiting: Default {
    /// Whether there is nothing to take.
    fn is_empty(&self) -> bool;

    /// Takes it out.
    fn take(&mut self) -> Self;
}

#[derive(Default)]
struct State<W> {
    waiting: W,
    closed: bool,
}

/// See the module's description.
#[derive(Default)]
pub(crate) struct Queue<W> {
    state: Mutex<State<W>>,
    filled: Condvar,
}

impl<W: Waiting> Queue<W> {
    /// Changes what waits, and wakes the one who takes it if there was nothing before.
    pub(crate) fn put<R>(&self, change: impl FnOnce(&mut W) -> R) -> R {
        let mut state = self.lock();
        let was_empty = state.waiting.is_empty();
        let result = change(&mut state.waiting);
        let wakes = was_empty && !state.waiting.is_empty();
        drop(state);
        if wakes {
            self.filled.notify_one();
        }
        result
    }

    /// Nothing comes any more.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_one();
    }

    /// Takes all that waits, once there is something or the queue is closed; at the latest after
    /// `limit`. Answers whether the queue is closed.
    pub(crate) fn take(&self, limit: Option<Duration>) -> (W, bool) {
        let nothing = |state: &mut State<W>| state.waiting.is_empty() && !state.closed;
        let state = self.lock();
        let mut state = match limit {
            None => self.filled.wait_while(state, nothing).unwrap_or_else(PoisonError::into_inner),
            Some(limit) => {
                let waited = self.filled.wait_timeout_while(state, limit, nothing);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
        };
        (state.waiting.take(), state.closed)
    }

    /// Hands what waits to `work`, again and again until the queue is closed. What comes within
    /// `gather` of each other is handed over together.
    pub(crate) fn serve(&self, gather: Duration, mut work: impl FnMut(W)) {
        loop {
            let (waiting, closed) = self.take(None);
            if !waiting.is_empty() {
                work(waiting);
            }
            if closed {
                return;
            }
            std::thread::sleep(gather);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<W>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The most bytes of lines that may wait; a line beyond it is dropped and counted.
pub(crate) const LIMIT_BYTES: usize = 8 << 20;

/// The most room that is made before lines come.
const ROOM_BYTES: usize = 256 << 10;

/// Lines of a log.
#[derive(Default)]
pub(crate) struct Lines {
    pub(crate) bytes: Vec<u8>,
    pub(crate) dropped: u64,
}

impl Lines {
    /// Adds a line; false when it is dropped.
    pub(crate) fn push(&mut self, line: &[u8]) -> bool {
        self.push_within(line, LIMIT_BYTES)
    }

    /// The same when no more bytes than these are to wait after it.
    pub(crate) fn push_within(&mut self, line: &[u8], limit: usize) -> bool {
        let fits = self.bytes.len() + line.len() <= limit;
        if fits {
            self.bytes.extend_from_slice(line);
        } else {
            self.dropped += 1;
        }
        fits
    }
}

impl Waiting for Lines {
    fn is_empty(&self) -> bool {
        self.bytes.is_empty() && self.dropped == 0
    }

    /// As much is likely to come until the next time: whoever puts lines in need not make room in
    /// many small steps.
    fn take(&mut self) -> Self {
        let next = Vec::with_capacity(self.bytes.len().min(ROOM_BYTES));
        Lines {
            bytes: std::mem::replace(&mut self.bytes, next),
            dropped: std::mem::take(&mut self.dropped),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_fill_the_queue_to_8_mib_and_what_is_more_is_counted() {
        let queue = Queue::<Lines>::default();
        let push = |bytes: usize| queue.put(|lines| lines.push(&vec![b'x'; bytes]));
        assert!(push((8 << 20) - 1) && !push(2) && push(1) && !push(1));
        let (lines, closed) = queue.take(None);
        assert_eq!((lines.bytes.len(), lines.dropped, closed), (8 << 20, 2, false));
        assert!(push(1), "what was taken makes room");
    }

    #[test]
    fn who_takes_waits_for_a_line_for_the_end_or_for_so_long() {
        let queue = Queue::<Lines>::default();
        let (lines, closed) = queue.take(Some(Duration::ZERO));
        assert!(lines.is_empty() && !closed);
        std::thread::scope(|scope| {
            let taker = scope.spawn(|| queue.take(None));
            queue.put(|lines| lines.push(b"a line"));
            let (lines, closed) = taker.join().unwrap();
            assert_eq!((&lines.bytes[..], closed), (&b"a line"[..], false));
            let taker = scope.spawn(|| queue.take(None));
            queue.close();
            let (lines, closed) = taker.join().unwrap();
            assert!(lines.is_empty() && closed);
        });
    }

    #[test]
    fn all_that_was_put_in_before_the_end_is_served() {
        let queue = Queue::<Lines>::default();
        let mut served = Vec::new();
        std::thread::scope(|scope| {
            let server = scope.spawn(|| {
                let mut all = Vec::new();
                queue.serve(Duration::from_millis(1), |lines| all.extend(lines.bytes));
                all
            });
            for line in 0..100 {
                queue.put(|lines| lines.push(format!("{line}\n").as_bytes()));
            }
            queue.close();
            served = server.join().unwrap();
        });
        assert_eq!(served.iter().filter(|&&byte| byte == b'\n').count(), 100);
    }
}
