//! Pipes for splice(2), kept for the next user: making one costs more than moving a message.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::sys::socket as sys;

/// What a pipe should hold; the usual limit of an unprivileged process (pipe(7)).
pub(in crate::relay) const PIPE_BYTES: usize = 1 << 20;
/// The most idle pipes a relay keeps.
const KEEP: usize = 64;

pub(in crate::relay) struct Pipe {
    pub(in crate::relay) read: OwnedFd,
    pub(in crate::relay) write: OwnedFd,
}

impl Pipe {
    pub(in crate::relay) fn fill(&self, from: i32, limit: usize) -> io::Result<usize> {
        sys::splice(from, self.write.as_raw_fd(), limit)
    }

    pub(in crate::relay) fn drain(&self, to: i32, limit: usize) -> io::Result<usize> {
        sys::splice(self.read.as_raw_fd(), to, limit)
    }
}

/// The idle pipes of all workers of a relay, so that one which lacks descriptors gets them all back.
#[derive(Default)]
pub(in crate::relay) struct Pipes {
    free: Mutex<Vec<Pipe>>,
}

impl Pipes {
    /// An empty pipe; None when the system has no descriptor left, so that the caller copies.
    pub(in crate::relay) fn take(&self) -> Option<Pipe> {
        let kept = self.free().pop();
        kept.or_else(|| {
            let (read, write) = sys::pipe(PIPE_BYTES).ok()?;
            Some(Pipe { read, write })
        })
    }

    /// Takes back a pipe that is empty.
    pub(in crate::relay) fn give(&self, pipe: Pipe) {
        let mut free = self.free();
        if free.len() < KEEP {
            free.push(pipe);
        }
    }

    /// Lets go of the idle ones: somebody needs descriptors more than we need speed.
    pub(in crate::relay) fn clear(&self) {
        self.free().clear();
    }

    fn free(&self) -> MutexGuard<'_, Vec<Pipe>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
