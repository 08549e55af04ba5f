//! Follows logs and scans what was added: the part that all log plugins share.

use std::path::PathBuf;
use std::time::Duration;

use kojuto_io::follow::{Follower, LineSink, Options, Report};
use kojuto_io::{Cancel, Error, parallel};
use pyo3::prelude::*;

use crate::{errors, job};

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

/// How to follow: the fields of `kojuto.common.follow.FollowOptions`.
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
}

/// What following one log gave, beside what its lines were scanned for.
#[pyclass(frozen, module = "kojuto._native", get_all)]
pub(crate) struct FollowReport {
    duration_s: Option<f64>,
    bytes: u64,
    skipped_bytes: u64,
    overlong_lines: u64,
    overlong_first: Vec<u8>,
    notes: Vec<String>,
}

impl From<Report> for FollowReport {
    fn from(report: Report) -> Self {
        FollowReport {
            duration_s: report.duration_s,
            bytes: report.bytes,
            skipped_bytes: report.skipped_bytes,
            overlong_lines: report.overlong.lines,
            overlong_first: report.overlong.first,
            notes: report.notes,
        }
    }
}

/// A scan that can be spread over threads.
pub(crate) trait Scan: LineSink + Clone + Send {
    fn merge(&mut self, other: Self);
}

type Outcome<S> = Result<(S, Report), Error>;

/// Follows each log into the scan that stands with it: locks all, reads all, then commits all. A log that
/// cannot be read or committed is an error of its own, and its lines do not count.
///
/// With `side_by_side` the logs are read at the same time, each in a thread of its own.
///
/// # Errors
/// `BlockingIOError` when another run has one of the locks (nothing was read then), and what a
/// signal handler raised.
pub(crate) fn follow_all<S: Scan>(
    py: Python<'_>,
    logs: Vec<(Log, S)>,
    options: &FollowOptions,
    side_by_side: bool,
) -> PyResult<Vec<PyResult<(S, Report)>>> {
    let outcomes = job::run(py, |cancel| {
        let mut opened = Vec::new();
        for (log, scan) in logs {
            match open(&log, options) {
                Err(busy @ Error::Busy(_)) => return Err(busy),
                other => opened.push((other, scan)),
            }
        }
        let mut read = if side_by_side {
            parallel::each(opened, cancel, |(follower, scan), cancel| {
                read(follower?, options, scan, cancel)
            })
        } else {
            let read_one = |(follower, scan)| read(follower?, options, scan, cancel);
            opened.into_iter().map(read_one).collect()
        };
        if let Some(at) = read.iter().position(|r| matches!(r, Err(Error::Cancelled))) {
            return Err(read.swap_remove(at).err().unwrap_or(Error::Cancelled));
        }
        Ok(read
            .into_iter()
            .map(|read| {
                let (follower, scan, report) = read?;
                follower.commit()?;
                Ok((scan, report))
            })
            .collect::<Vec<Outcome<S>>>())
    })?;
    Ok(outcomes.into_iter().map(|outcome| outcome.map_err(errors::to_py)).collect())
}

fn open(log: &Log, options: &FollowOptions) -> Result<Follower, Error> {
    Follower::open(
        &log.log,
        &log.position_file,
        log.legacy_position_file.as_deref(),
        Options {
            max_read_bytes: options.max_read_bytes,
            max_line_bytes: options.max_line_bytes,
            archive_dirs: options.archive_dirs.clone(),
        },
    )
}

type Read<S> = Result<(Follower, S, Report), Error>;

fn read<S: Scan>(
    mut follower: Follower,
    options: &FollowOptions,
    scan: S,
    cancel: &dyn Cancel,
) -> Read<S> {
    let now = Duration::try_from_secs_f64(options.now_s).unwrap_or_default();
    let (report, scans) =
        parallel::spread(options.threads, scan, |sink| follower.run(now, sink, cancel));
    let merged = scans.into_iter().reduce(|mut scan, other| {
        scan.merge(other);
        scan
    });
    Ok((follower, merged.expect("spread returns at least one sink"), report?))
}
