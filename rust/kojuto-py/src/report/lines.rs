//! Lines of logs as Arrow's record batches.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow_array::{RecordBatch, RecordBatchReader};
use arrow_schema::{ArrowError, SchemaRef};
use kojuto_core::report::{Collector, Columns, Options, REASONS, Totals};
use kojuto_io::report::{LineOptions, LineStream, Source};
use kojuto_io::{Error, Never, Result};
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyDict};

use super::batch::{batch_of, schema_of};
use super::{Log, bad_of, options, sources};
use crate::errors::to_py;
use crate::{arrow, job};

/// Logs whose lines can be read as columns, each time from their beginning.
#[pyclass(frozen, module = "kojuto._native")]
pub(super) struct LineScan(Arc<Scan>);

struct Scan {
    sources: Vec<Source>,
    options: Options,
    lines: LineOptions,
    schema: SchemaRef,
    /// Of the last stream that was read to its end.
    totals: Mutex<Option<Totals>>,
}

#[pymethods]
impl LineScan {
    #[new]
    #[pyo3(signature = (paths, columns, batch_rows, **options))]
    fn new(
        paths: Vec<PathBuf>,
        columns: Vec<String>,
        batch_rows: usize,
        options: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<LineScan> {
        let options::Resolved { report, jobs, .. } = options::resolve(options)?;
        // Says what cannot be before anything is read.
        Collector::of_columns(&report, &columns).map_err(|error| to_py(error.into()))?;
        let sources = sources(paths.into_iter().map(Log::Path).collect())?;
        let schema = schema_of(&columns);
        let lines = LineOptions { columns, rows: batch_rows.max(1), jobs };
        let totals = Mutex::default();
        Ok(LineScan(Arc::new(Scan { sources, options: report, lines, schema, totals })))
    }

    /// The lines as what `__arrow_c_stream__` returns; nothing is read before the first batch is asked
    /// for.
    fn stream<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
        let lines = Lines { scan: Arc::clone(&self.0), state: State::New, rest: None, rows: 0 };
        arrow::capsule(py, lines)
    }

    /// Lines of the last stream that could not be read, by reason.
    #[getter]
    fn bad<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        match &*self.0.totals() {
            Some(totals) => bad_of(py, totals),
            None => Ok(PyDict::new(py)),
        }
    }
}

impl Scan {
    fn totals(&self) -> MutexGuard<'_, Option<Totals>> {
        self.totals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum State {
    New,
    Reading(LineStream),
    Over,
}

/// The lines of logs, batch by batch.
struct Lines {
    scan: Arc<Scan>,
    state: State,
    /// What is left of a batch that was larger than was asked for.
    rest: Option<RecordBatch>,
    /// How many lines were handed out.
    rows: usize,
}

impl RecordBatchReader for Lines {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.scan.schema)
    }
}

impl Iterator for Lines {
    type Item = std::result::Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.batch();
        if !matches!(next, Ok(Some(_))) {
            self.state = State::Over;
        }
        next.transpose()
    }
}

impl Lines {
    fn batch(&mut self) -> std::result::Result<Option<RecordBatch>, ArrowError> {
        let batch = match self.rest.take() {
            Some(rest) => rest,
            None => match self.columns().map_err(told)? {
                Some(columns) => batch_of(columns, self.schema())?,
                None => return Ok(None),
            },
        };
        let most = self.scan.lines.rows;
        if batch.num_rows() > most {
            self.rest = Some(batch.slice(most, batch.num_rows() - most));
        }
        let batch = batch.slice(0, batch.num_rows().min(most));
        self.rows += batch.num_rows();
        Ok(Some(batch))
    }

    fn columns(&mut self) -> PyResult<Option<Columns>> {
        without_gil(|cancel| {
            if let State::New = self.state {
                let Scan { sources, options, lines, .. } = &*self.scan;
                self.state = State::Reading(LineStream::start(sources, options, lines)?);
            }
            let State::Reading(stream) = &mut self.state else { return Ok(None) };
            let columns = stream.next(cancel)?;
            if columns.is_none()
                && let Some(totals) = stream.totals()
            {
                let nothing = (self.rows == 0).then(|| nothing_of(&totals)).flatten();
                *self.scan.totals() = Some(totals);
                nothing.map_or(Ok(()), Err)?;
            }
            Ok(columns)
        })
    }
}

/// Why there are no lines, if they could not be read.
fn nothing_of(totals: &Totals) -> Option<Error> {
    let (_, first) = totals.bad().first().filter(|_| totals.left_out() == 0)?;
    let counted = REASONS.iter().zip(totals.bad().counts()).filter(|(_, count)| **count > 0);
    let reasons: Vec<String> = counted.map(|(why, count)| format!("{why}: {count}")).collect();
    let source = std::io::Error::other(format!(
        "none of {} lines can be read ({}); the first: '{}'",
        totals.lines(),
        reasons.join(", "),
        first.escape_ascii()
    ));
    Some(Error::Io { what: "logs".to_owned(), source })
}

/// Works without the GIL, whether who asks has it or not, and lets ^C through.
///
/// A thread that never ran Python is no matter of the interpreter's, which is not waited for then.
fn without_gil<T: Send>(
    work: impl FnOnce(&dyn kojuto_io::Cancel) -> Result<T> + Send,
) -> PyResult<T> {
    if arrow::is_python_thread() {
        Python::attach(|py| job::run(py, work))
    } else {
        work(&Never).map_err(to_py)
    }
}

fn told(error: PyErr) -> ArrowError {
    let text = error.to_string();
    ArrowError::IoError(text.clone(), std::io::Error::other(text))
}
