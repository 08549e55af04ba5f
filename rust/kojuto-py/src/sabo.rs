//! Wrappers of `kojuto_io::throttle`, its `rate` and `kojuto_io::throttle::pump`.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use kojuto_core::budget::token_bucket::Grant;
use kojuto_io::sys::signals::{Signals, wait};
use kojuto_io::throttle::pump::{End, Event, Pump, SIGNALS, Totals};
use kojuto_io::throttle::{Throttle, Wish, rate};
use kojuto_io::{Error, Refused};
use pyo3::prelude::*;

use crate::errors::to_py;
use crate::job;

/// How long `take` sleeps before it looks for a pending signal.
const SLICE: Duration = Duration::from_millis(50);

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(set_budget, module)?)?;
    module.add_class::<Budget>()
}

#[pyfunction]
fn set_budget(
    py: Python<'_>,
    work_dir: PathBuf,
    max_bandwidth: u64,
    rate: u64,
) -> PyResult<(u32, u32)> {
    let followers = job::run(py, |_| rate::set(&work_dir, max_bandwidth, rate))?;
    Ok((followers.members, followers.foreign))
}

/// (bytes, seconds, share, members)
type Numbers = (u64, f64, u64, u32);

fn numbers(totals: Totals) -> Numbers {
    (totals.bytes, totals.elapsed.as_secs_f64(), totals.share, totals.members)
}

#[pyclass(module = "kojuto._native")]
struct Budget {
    inner: Mutex<Inner>,
}

struct Inner {
    throttle: Option<Throttle>,
    warnings: Vec<String>,
    last: Option<Numbers>,
}

impl Budget {
    /// Poisoning needs a panic while the lock is held; the numbers are whole all the same.
    fn inner(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[pymethods]
impl Budget {
    #[new]
    #[pyo3(signature = (max_bandwidth, work_dir=None, *, weight=1, min_share=0, burst=0))]
    fn new(
        py: Python<'_>,
        max_bandwidth: u64,
        work_dir: Option<PathBuf>,
        weight: u32,
        min_share: u64,
        burst: u64,
    ) -> PyResult<Self> {
        let wish = Wish { budget: max_bandwidth, weight, min_share, burst };
        let (throttle, warnings) = job::run(py, |_| Throttle::join(work_dir.as_deref(), wish))?;
        Ok(Budget { inner: Mutex::new(Inner { throttle: Some(throttle), warnings, last: None }) })
    }

    #[getter]
    fn share(&self) -> u64 {
        self.inner().throttle.as_ref().map_or(0, Throttle::share)
    }

    #[getter]
    fn members(&self) -> u32 {
        self.inner().throttle.as_ref().map_or(0, Throttle::members)
    }

    #[getter]
    fn last(&self) -> Option<Numbers> {
        self.inner().last
    }

    fn warnings(&self) -> Vec<String> {
        std::mem::take(&mut self.inner().warnings)
    }

    fn close(&self) {
        self.inner().throttle = None;
    }

    fn take(&self, py: Python<'_>, want: u64) -> PyResult<u64> {
        job::run(py, |cancel| {
            loop {
                let pause = {
                    let mut inner = self.inner();
                    let Inner { throttle, warnings, .. } = &mut *inner;
                    let Some(throttle) = throttle else {
                        return Err(Error::Refused(Refused::BudgetClosed));
                    };
                    let now = Instant::now();
                    warnings.extend(throttle.refresh(now));
                    match throttle.allow(now, want) {
                        Grant::Bytes(bytes) => {
                            throttle.take(now, bytes);
                            return Ok(bytes);
                        }
                        Grant::Wait(pause) => pause,
                    }
                };
                cancel.interrupted()?;
                wait(None, [], Some(pause.min(SLICE)))?;
            }
        })
    }

    fn give_back(&self, count: u64) {
        if let Some(throttle) = &mut self.inner().throttle {
            throttle.give_back(count);
        }
    }

    #[pyo3(signature = (input_fd, output_fd, on_event, report_every_s=None))]
    fn pump(
        &self,
        py: Python<'_>,
        input_fd: i32,
        output_fd: i32,
        on_event: Py<PyAny>,
        report_every_s: Option<f64>,
    ) -> PyResult<i32> {
        let every = report_every_s.map(job::seconds);
        let signals = Signals::install(&SIGNALS).map_err(to_py)?;
        // The pump holds the throttle alone; the getters meanwhile answer 0.
        let Some(mut throttle) = self.inner().throttle.take() else {
            return Err(to_py(Error::Refused(Refused::BudgetClosed)));
        };
        let mut tell = |event: Event| {
            Python::attach(|py| {
                let told = match event {
                    Event::Warning(text) => on_event.call1(py, ("warning", text)),
                    Event::Tick(totals) => on_event.call1(py, ("tick", numbers(totals))),
                    Event::Asked(totals) => on_event.call1(py, ("asked", numbers(totals))),
                };
                if let Err(error) = told {
                    error.write_unraisable(py, None);
                }
            });
        };
        let (ended, last) = py.detach(|| {
            let ends = (input_fd, output_fd);
            let mut pump = Pump::new(&mut throttle, &signals, ends, every, &mut tell);
            (pump.run(), pump.totals())
        });
        let mut inner = self.inner();
        inner.throttle = Some(throttle);
        inner.last = Some(numbers(last));
        match ended.map_err(to_py)? {
            End::Eof => Ok(0),
            End::Signal(signal) => Ok(signal),
        }
    }
}
