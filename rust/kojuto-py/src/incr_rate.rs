//! Counts the lines that were added to logs.

use kojuto_core::scan::select::Select;
use kojuto_io::Error;
use kojuto_io::follow::{LineSink, Scan};
use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::errors::to_py;
use crate::follow::{FollowOptions, FollowReport, Log, Outcome, follow_all};

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(follow_line_counts, module)?)
}

#[derive(Clone)]
struct Sink(Select);

impl LineSink for Sink {
    fn block(&mut self, lines: &[u8]) {
        self.0.block(lines);
    }
}

impl Scan for Sink {
    fn merge(&mut self, other: Self) {
        self.0.merge(&other.0);
    }
}

/// Follows logs side by side; gives for each (lines, report) or the exception that stopped it.
///
/// `patterns` holds for each log the expression that a line must match and the one it must not.
#[pyfunction]
fn follow_line_counts<'py>(
    py: Python<'py>,
    logs: Vec<Log>,
    patterns: Vec<(Option<String>, Option<String>)>,
    follow: FollowOptions,
) -> PyResult<Bound<'py, PyList>> {
    let mut sinks = Vec::new();
    for (log, (pattern, exclude)) in logs.into_iter().zip(patterns) {
        let select = Select::new(pattern.as_deref(), exclude.as_deref())
            .map_err(|error| to_py(Error::Core(error)))?;
        sinks.push((log, Sink(select)));
    }
    let results = PyList::empty(py);
    for outcome in follow_all(py, sinks, &follow, true, <[u8]>::len)? {
        match outcome {
            Ok(Outcome { scan: Sink(select), report, follower }) => {
                let report = FollowReport::new(py, report, follower)?;
                results.append((select.lines(), report))?;
            }
            Err(error) => results.append(to_py(error).into_value(py))?,
        }
    }
    Ok(results)
}
