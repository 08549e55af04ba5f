//! Runs a whole job without the GIL and still lets ^C through.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use kojuto_io::{Cancel, Error};
use pyo3::prelude::*;

use crate::errors::to_py;

/// How often a busy job looks for a pending signal.
const SIGNAL_INTERVAL: Duration = Duration::from_millis(50);

/// Runs `work` detached from the interpreter. `work` asks the [`Cancel`] it is given now and
/// then; a Python signal handler that raises ends the job with that exception.
pub(crate) fn run<T: Send>(
    py: Python<'_>,
    work: impl FnOnce(&dyn Cancel) -> kojuto_io::Result<T> + Send,
) -> PyResult<T> {
    py.detach(|| {
        let signals =
            PendingSignals { asked: Cell::new(Instant::now()), raised: RefCell::new(None) };
        let result = work(&signals);
        match (result, signals.raised.into_inner()) {
            (Ok(value), None) => Ok(value),
            (_, Some(exception)) => Err(exception),
            (Err(error), None) => Err(to_py(error)),
        }
    })
}

/// Seconds as Python gives them; what is no sensible time becomes the nearest that is.
pub(crate) fn seconds(value: f64) -> Duration {
    const CENTURY: f64 = 3_200_000_000.0;
    Duration::from_secs_f64(if value > 0.0 { value.min(CENTURY) } else { 0.0 })
}

struct PendingSignals {
    asked: Cell<Instant>,
    raised: RefCell<Option<PyErr>>,
}

impl Cancel for PendingSignals {
    fn check(&self) -> kojuto_io::Result<()> {
        let now = Instant::now();
        if now.duration_since(self.asked.get()) < SIGNAL_INTERVAL {
            return Ok(());
        }
        self.asked.set(now);
        self.interrupted()
    }

    fn interrupted(&self) -> kojuto_io::Result<()> {
        Python::attach(|py| py.check_signals()).map_err(|exception| {
            *self.raised.borrow_mut() = Some(exception);
            Error::Cancelled
        })
    }
}
