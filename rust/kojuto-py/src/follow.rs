//! Follows logs and scans what was added: the part that all log plugins share.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use kojuto_io::Error;
use kojuto_io::follow::{self, Followed, Follower, How, NoteKind, Options, Report, Scan, Task};
use pyo3::prelude::*;
use pyo3::types::PyMapping;

use crate::{errors, job};

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<FollowReport>()?;
    module.add_class::<PendingPosition>()
}

/// The log of a run and where its position is kept.
#[derive(FromPyObject, Debug, Clone)]
pub(crate) struct Log {
    #[pyo3(attribute)]
    log: PathBuf,
    #[pyo3(attribute)]
    position_file: PathBuf,
    #[pyo3(attribute)]
    legacy_position_file: Option<PathBuf>,
}

/// How to follow: the fields of `kojuto.common.plugin.follow.FollowOptions`.
#[derive(FromPyObject, Debug, Clone)]
pub(crate) struct FollowOptions {
    #[pyo3(attribute)]
    max_read_bytes: u64,
    #[pyo3(attribute)]
    max_line_bytes: usize,
    #[pyo3(attribute)]
    archive_dirs: Vec<PathBuf>,
    #[pyo3(attribute)]
    threads: usize,
    #[pyo3(attribute)]
    now_s: f64,
    #[pyo3(attribute)]
    verbose: bool,
}

/// What following one log gave, beside what its lines were scanned for.
#[pyclass(frozen, module = "kojuto._native", get_all)]
pub(crate) struct FollowReport {
    duration_s: Option<f64>,
    bytes: u64,
    skipped_bytes: u64,
    overlong_lines: u64,
    overlong_first: Vec<u8>,
    notes: Vec<(&'static str, String)>,
    files: usize,
    lines: Option<u64>,
    position: Py<PendingPosition>,
}

impl FollowReport {
    pub(crate) fn new(
        py: Python<'_>,
        report: Report,
        follower: Follower,
    ) -> PyResult<Py<FollowReport>> {
        let report = FollowReport {
            duration_s: report.duration_s,
            bytes: report.bytes,
            skipped_bytes: report.skipped_bytes,
            overlong_lines: report.overlong.lines,
            overlong_first: report.overlong.first,
            notes: report.notes.into_iter().map(|note| (kind(note.kind), note.text)).collect(),
            files: report.files,
            lines: report.lines,
            position: Py::new(py, PendingPosition(Mutex::new(Some(follower))))?,
        };
        Py::new(py, report)
    }
}

fn kind(kind: NoteKind) -> &'static str {
    match kind {
        NoteKind::Ordinary => "ordinary",
        NoteKind::Lost => "lost",
        NoteKind::Unproven => "unproven",
        NoteKind::Odd => "odd",
    }
}

/// Holds the lock of a position file, and the position that has been reached.
#[pyclass(frozen, module = "kojuto._native")]
pub(crate) struct PendingPosition(Mutex<Option<Follower>>);

impl PendingPosition {
    fn with<T>(&self, work: impl FnOnce(&mut Option<Follower>) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[pymethods]
impl PendingPosition {
    #[getter]
    fn carried(&self) -> PyResult<BTreeMap<String, f64>> {
        self.with(|follower| {
            let follower = follower.as_ref().ok_or_else(committed)?;
            Ok(follower.carried().map(|(name, value)| (name.to_owned(), value)).collect())
        })
    }

    fn stage(&self, py: Python<'_>, carry: &Bound<'_, PyMapping>) -> PyResult<usize> {
        let numbers = numbers(carry)?;
        job::run(py, |_| Ok(self.with(|f| f.as_mut().map(|f| f.stage(numbers)).transpose())))?
            .map_err(errors::to_py)?
            .ok_or_else(committed)
    }

    #[pyo3(signature = (carry = None))]
    fn commit(&self, py: Python<'_>, carry: Option<&Bound<'_, PyMapping>>) -> PyResult<()> {
        if let Some(carry) = carry {
            self.stage(py, carry)?;
        }
        let follower = self.with(Option::take).ok_or_else(committed)?;
        job::run(py, |_| follower.commit())
    }
}

fn numbers(carry: &Bound<'_, PyMapping>) -> PyResult<Vec<(String, f64)>> {
    carry.items()?.iter().map(|pair| pair.extract()).collect()
}

fn committed() -> PyErr {
    errors::refused("the position has been committed already")
}

/// Follows each log into the scan that stands with it; see [`follow::follow_all`], and [`Options`] for
/// `whole`.
pub(crate) fn follow_all<S: Scan>(
    py: Python<'_>,
    logs: Vec<(Log, S)>,
    options: &FollowOptions,
    side_by_side: bool,
    whole: fn(&[u8]) -> usize,
) -> PyResult<Vec<Result<Followed<S>, Error>>> {
    let task = |(log, scan): (Log, S)| Task {
        log: log.log,
        position_file: log.position_file,
        legacy_position_file: log.legacy_position_file,
        scan,
    };
    let how = How {
        options: Options {
            max_read_bytes: options.max_read_bytes,
            max_line_bytes: options.max_line_bytes,
            archive_dirs: options.archive_dirs.clone(),
            counts_lines: options.verbose,
            whole,
        },
        threads: options.threads,
        now: Duration::try_from_secs_f64(options.now_s).unwrap_or_default(),
        side_by_side,
    };
    let tasks = logs.into_iter().map(task).collect();
    job::run(py, |cancel| follow::follow_all(tasks, &how, cancel))
}
