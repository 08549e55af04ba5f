//! The threads of an engine: how many still run, and waiting until none does.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use crate::sys::socket::{block_signals, restore_signals};
use crate::{Cancel, Result};

/// Starts a thread with a name, to which no signal comes: they are the main thread's affair.
///
/// # Errors
/// The system has no thread to give.
pub(crate) fn start<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    // A thread begins with the mask of its maker, and a signal may meet it before its first line.
    let former = block_signals();
    let started = Builder::new().name(name.to_owned()).spawn(work);
    restore_signals(&former);
    started
}

/// How often one who waits asks whether to stop.
const SLICE: Duration = Duration::from_millis(50);

/// Counts the threads that run.
#[derive(Default)]
pub(crate) struct Running {
    count: Mutex<usize>,
    ended: Condvar,
}

/// One of them, counted as ended when it is dropped: even a thread that panics does that.
pub(crate) struct Runs(Arc<Running>);

impl Running {
    /// Counts one more; to be called before its thread is started, so that nobody finds none.
    pub(crate) fn begin(self: &Arc<Running>) -> Runs {
        *self.lock() += 1;
        Runs(Arc::clone(self))
    }

    /// Waits until all have ended, or for `limit`; answers whether they have.
    ///
    /// # Errors
    /// [`crate::Error::Cancelled`].
    pub(crate) fn wait(&self, limit: Duration, cancel: &dyn Cancel) -> Result<bool> {
        let deadline = Instant::now().checked_add(limit);
        let mut count = self.lock();
        while *count > 0 {
            let left = deadline.map_or(SLICE, |at| at.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return Ok(false);
            }
            count = self
                .ended
                .wait_timeout(count, left.min(SLICE))
                .unwrap_or_else(PoisonError::into_inner)
                .0;
            cancel.check()?;
        }
        Ok(true)
    }

    fn lock(&self) -> MutexGuard<'_, usize> {
        self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Runs {
    fn drop(&mut self) {
        *self.0.lock() -= 1;
        self.0.ended.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Error, Never};

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn a_thread_that_panics_has_ended_too() {
        let running = Arc::new(Running::default());
        let threads = [false, true].map(|panics| {
            let runs = running.begin();
            std::thread::spawn(move || {
                let _runs = runs;
                assert!(!panics, "on purpose");
            })
        });
        assert!(running.wait(LONG, &Never).unwrap());
        let failed = threads.map(|thread| thread.join().is_err());
        assert_eq!(failed, [false, true]);
    }

    #[test]
    fn a_thread_begins_without_signals_and_its_maker_keeps_them() {
        let blocked = || {
            let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
            let mask = status.lines().find_map(|line| line.strip_prefix("SigBlk:")).unwrap();
            u64::from_str_radix(mask.trim(), 16).unwrap() & 1 << (libc::SIGTERM - 1) != 0
        };
        assert!(!blocked());
        assert!(start("test", blocked).unwrap().join().unwrap());
        assert!(!blocked());
    }

    #[test]
    fn who_waits_for_a_thread_that_goes_on_is_told_so() {
        let running = Arc::new(Running::default());
        assert!(running.wait(Duration::ZERO, &Never).unwrap());
        let _runs = running.begin();
        assert!(!running.wait(Duration::ZERO, &Never).unwrap());
    }

    #[test]
    fn who_waits_may_be_called_away() {
        struct Away;
        impl Cancel for Away {
            fn check(&self) -> Result<()> {
                Err(Error::Cancelled)
            }
        }
        let running = Arc::new(Running::default());
        let _runs = running.begin();
        assert!(matches!(running.wait(LONG, &Away), Err(Error::Cancelled)));
    }
}
