//! Wrapper of `kojuto_core::postfix` over a followed log.

use kojuto_core::postfix::{self, Activity, Figures, Options, Scanner};
use kojuto_io::Error;
use kojuto_io::follow::{LineSink, Scan};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::errors::to_py;
use crate::follow::{FollowOptions, FollowReport, Log, Outcome, follow_all};
use crate::group_name::{GroupOf, group_of};

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(check_syslog_name, module)?)?;
    module.add_function(wrap_pyfunction!(follow_postfix_log, module)?)?;
    module.add_class::<PostfixScan>()?;
    module.add_class::<PostfixFigures>()
}

#[derive(Clone)]
struct Sink(Scanner);

impl LineSink for Sink {
    fn block(&mut self, lines: &[u8]) {
        self.0.block(lines);
    }
}

impl Scan for Sink {
    fn merge(&mut self, other: Self) {
        self.0.merge(other.0);
    }
}

/// The fields of `kojuto.tools.postfix_log.ScanOptions`.
#[derive(FromPyObject)]
struct ScanOptions {
    #[pyo3(attribute)]
    programs: Vec<String>,
    #[pyo3(attribute)]
    syslog_name: Option<String>,
    #[pyo3(attribute)]
    by_relay: bool,
    #[pyo3(attribute)]
    by_dsn: bool,
    #[pyo3(attribute)]
    max_groups: usize,
    #[pyo3(attribute)]
    edges: Vec<f64>,
}

/// The figures of a group of deliveries.
#[pyclass(frozen, module = "kojuto._native", get_all)]
struct PostfixFigures {
    total: u64,
    classes: [u64; 3],
    delays: Option<[(f64, f64, f64, f64); 5]>,
    histograms: Option<[Vec<u64>; 5]>,
}

impl From<Figures> for PostfixFigures {
    fn from(figures: Figures) -> Self {
        let delays = figures.delays.map(|delays| delays.map(|d| (d.average, d.p99, d.p95, d.p90)));
        PostfixFigures {
            total: figures.total,
            classes: figures.classes,
            delays,
            histograms: figures.histograms,
        }
    }
}

/// What one run has found.
#[pyclass(frozen, module = "kojuto._native", get_all)]
struct PostfixScan {
    report: Py<FollowReport>,
    deliveries: Option<Py<PostfixFigures>>,
    relays: Vec<(GroupOf, Py<PostfixFigures>)>,
    dsns: Vec<(String, u64)>,
    activity: Option<Vec<(&'static str, u64)>>,
    others: Vec<(String, u64)>,
    bad_lines: Vec<(&'static str, u64)>,
    bad_example: Option<(&'static str, Py<PyBytes>)>,
}

/// Raises `ValueError` when the text is no regular expression.
#[pyfunction]
fn check_syslog_name(text: &str) -> PyResult<()> {
    postfix::syslog_name_pattern(text).map(drop).map_err(|error| to_py(Error::Core(error)))
}

/// Follows a mail log from its last position and counts its deliveries.
#[pyfunction]
fn follow_postfix_log(
    py: Python<'_>,
    log: Log,
    follow: FollowOptions,
    options: ScanOptions,
) -> PyResult<PostfixScan> {
    let scanner = Scanner::new(&Options {
        programs: options.programs,
        syslog_name: options.syslog_name,
        by_relay: options.by_relay,
        by_dsn: options.by_dsn,
        max_groups: options.max_groups,
        edges: options.edges,
    })
    .map_err(|error| to_py(Error::Core(error)))?;
    let mut outcomes = follow_all(py, vec![(log, Sink(scanner))], &follow, false, <[u8]>::len)?;
    let Outcome { scan: Sink(scanner), report, follower } = outcomes.remove(0).map_err(to_py)?;
    let summary = py.detach(|| scanner.finish());
    let figures = |figures: Figures| Py::new(py, PostfixFigures::from(figures));
    Ok(PostfixScan {
        report: FollowReport::new(py, report, follower)?,
        deliveries: summary.deliveries.map(figures).transpose()?,
        relays: summary
            .relays
            .into_iter()
            .map(|relay| Ok((group_of(&relay.host), figures(relay.figures)?)))
            .collect::<PyResult<_>>()?,
        dsns: summary.dsns,
        activity: summary.activity.map(named),
        others: summary.others,
        bad_lines: summary.bad,
        bad_example: summary
            .example
            .map(|(reason, line)| (reason, PyBytes::new(py, &line).unbind())),
    })
}

fn named(activity: Activity) -> Vec<(&'static str, u64)> {
    vec![
        ("received", activity.received),
        ("rejected", activity.rejected),
        ("queued", activity.queued),
        ("active", activity.active),
        ("removed", activity.removed),
        ("expired", activity.expired),
    ]
}
