//! Wrappers of `kojuto_io::state`.

use std::path::PathBuf;

use kojuto_io::state::{self, Found, Lock};
use pyo3::prelude::*;

use crate::errors::to_py;
use crate::job;

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(read_state, module)?)?;
    module.add_function(wrap_pyfunction!(write_state, module)?)?;
    module.add_class::<StateLock>()
}

/// Returns (content, reason): (None, None) without a file, (None, why) when it can't be believed.
#[pyfunction]
fn read_state(py: Python<'_>, path: PathBuf) -> (Option<Vec<u8>>, Option<String>) {
    match py.detach(|| state::read(&path)) {
        Found::Nothing => (None, None),
        Found::Bytes(bytes) => (Some(bytes), None),
        Found::Unusable(reason) => (None, Some(reason)),
    }
}

#[pyfunction]
fn write_state(py: Python<'_>, path: PathBuf, content: Vec<u8>) -> PyResult<()> {
    job::run(py, |_| state::write_atomic(&path, &content))
}

/// Held until `release()` or the end of the process.
#[pyclass(module = "kojuto._native")]
struct StateLock {
    lock: Option<Lock>,
}

#[pymethods]
impl StateLock {
    #[new]
    fn new(path: PathBuf) -> PyResult<Self> {
        Ok(StateLock { lock: Some(Lock::try_acquire(&path).map_err(to_py)?) })
    }

    fn release(&mut self) {
        self.lock = None;
    }
}
