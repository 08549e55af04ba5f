//! Follows logs and scans what was added: the part that all log plugins share.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use kojuto_core::logs::position::Set;
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
    #[pyo3(attribute)]
    once: bool,
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
        follower: Option<Follower>,
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
            position: Py::new(py, PendingPosition(Mutex::new(follower.into())))?,
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

/// Holds the lock of a position file, and the position that has been reached; nothing for a log that
/// was read once.
#[pyclass(frozen, module = "kojuto._native")]
pub(crate) struct PendingPosition(Mutex<Pending>);

enum Pending {
    Held(Box<Follower>),
    Committed,
    /// No position is kept.
    Once,
}

impl From<Option<Follower>> for Pending {
    fn from(follower: Option<Follower>) -> Pending {
        follower.map_or(Pending::Once, |follower| Pending::Held(Box::new(follower)))
    }
}

impl PendingPosition {
    /// What `work` makes of the follower; `none` without a position.
    fn with<T>(&self, none: T, work: impl FnOnce(&mut Follower) -> T) -> PyResult<T> {
        match &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Pending::Held(follower) => Ok(work(follower)),
            Pending::Once => Ok(none),
            Pending::Committed => Err(errors::refused("the position has been committed already")),
        }
    }
}

#[pymethods]
impl PendingPosition {
    #[getter]
    fn carried(&self) -> PyResult<BTreeMap<String, f64>> {
        self.with(BTreeMap::new(), |follower| {
            follower.carried().map(|(name, value)| (name.to_owned(), value)).collect()
        })
    }

    /// (name, when it was last seen, numbers) of each set.
    #[getter]
    fn sets(&self) -> PyResult<Vec<GroupSet>> {
        let of = |set: &Set| (set.name.to_vec(), set.seen, set.numbers.clone());
        self.with(Vec::new(), |follower| follower.sets().map(of).collect())
    }

    #[pyo3(signature = (carry, sets = None))]
    fn stage(
        &self,
        py: Python<'_>,
        carry: &Bound<'_, PyMapping>,
        sets: Option<Vec<GroupSet>>,
    ) -> PyResult<usize> {
        let numbers = numbers(carry)?;
        let of = |(name, seen, numbers): GroupSet| Set { name: name.into(), seen, numbers };
        let stage = |follower: &mut Follower| {
            let left_out = sets.map_or(0, |sets| follower.renew_sets(sets.into_iter().map(of)));
            follower.stage(numbers).map(|more| left_out + more)
        };
        job::run(py, |_| Ok(self.with(Ok(0), stage)))??.map_err(errors::to_py)
    }

    #[pyo3(signature = (carry = None))]
    fn commit(&self, py: Python<'_>, carry: Option<&Bound<'_, PyMapping>>) -> PyResult<()> {
        if let Some(carry) = carry {
            self.stage(py, carry, None)?;
        }
        self.with((), |_| ())?;
        let mut pending = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*pending, Pending::Once) {
            return Ok(());
        }
        let held = std::mem::replace(&mut *pending, Pending::Committed);
        drop(pending);
        match held {
            Pending::Held(follower) => job::run(py, |_| follower.commit()),
            Pending::Committed | Pending::Once => Ok(()),
        }
    }
}

/// The name of a set, when it was last seen, and its numbers.
type GroupSet = (Vec<u8>, f64, Vec<f64>);

fn numbers(carry: &Bound<'_, PyMapping>) -> PyResult<Vec<(String, f64)>> {
    carry.items()?.iter().map(|pair| pair.extract()).collect()
}

/// What one log gave.
pub(crate) struct Outcome<S> {
    pub(crate) scan: S,
    pub(crate) report: Report,
    /// Holds the position, when one is kept.
    pub(crate) follower: Option<Follower>,
}

/// Follows each log into the scan that stands with it; see [`follow::follow_all`], and [`Options`] for
/// `whole`. Or reads each once, without a position.
pub(crate) fn follow_all<S: Scan>(
    py: Python<'_>,
    logs: Vec<(Log, S)>,
    options: &FollowOptions,
    side_by_side: bool,
    whole: fn(&[u8]) -> usize,
) -> PyResult<Vec<Result<Outcome<S>, Error>>> {
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
    let followed = |followed| {
        let Followed { scan, report, follower } = followed;
        Outcome { scan, report, follower: Some(follower) }
    };
    job::run(py, |cancel| {
        if options.once {
            let read = |(log, scan): (Log, S)| {
                let (scan, report) = follow::read_once(&log.log, scan, &how, cancel)?;
                Ok(Outcome { scan, report, follower: None })
            };
            let read = logs.into_iter().map(read).collect::<Vec<_>>();
            return match read.iter().any(|read| matches!(read, Err(Error::Cancelled))) {
                true => Err(Error::Cancelled),
                false => Ok(read),
            };
        }
        let outcomes = follow::follow_all(logs.into_iter().map(task).collect(), &how, cancel)?;
        Ok(outcomes.into_iter().map(|outcome| outcome.map(followed)).collect())
    })
}
