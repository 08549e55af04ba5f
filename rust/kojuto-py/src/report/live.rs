//! Wrapper of `kojuto_io::report::Live`.

use std::os::fd::RawFd;
use std::path::PathBuf;

use kojuto_io::report::{Live, State};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::{Log, ReportData, options, sources};
use crate::errors::to_py;
use crate::job;

/// Logs that are followed, and the last of what came.
#[pyclass(module = "kojuto._native")]
pub(super) struct ReportLive(Live);

#[pymethods]
impl ReportLive {
    #[new]
    #[pyo3(signature = (paths, window_s, **options))]
    fn new(
        paths: Vec<PathBuf>,
        window_s: f64,
        options: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<ReportLive> {
        let options = options::resolve(options)?;
        let live = Live::new(
            &sources(paths.into_iter().map(Log::Path).collect())?,
            &options.report,
            job::seconds(window_s),
        );
        Ok(ReportLive(live.map_err(to_py)?))
    }

    /// Takes in what has come by now.
    fn read(&mut self, py: Python<'_>, now_s: f64) -> PyResult<bool> {
        let live = &mut self.0;
        job::run(py, |cancel| live.read(job::seconds(now_s), cancel))
    }

    /// All that is in the window.
    fn data(&mut self, py: Python<'_>) -> PyResult<ReportData> {
        let live = &mut self.0;
        let totals = job::run(py, |_| live.totals())?;
        let files = self.0.states().map(|state| state.name).collect();
        Ok(ReportData { totals, answer: None, files, twice: Vec::new(), failed: Vec::new() })
    }

    /// Of each log its name, why it cannot be read, what was to be told, and whether it is over.
    fn states(&self) -> Vec<(String, Option<String>, Option<String>, bool)> {
        let of = |State { name, trouble, note, has_ended }| (name, trouble, note, has_ended);
        self.0.states().map(of).collect()
    }

    /// What is readable when there is something to read.
    fn descriptors(&self) -> Vec<RawFd> {
        self.0.descriptors().collect()
    }
}
