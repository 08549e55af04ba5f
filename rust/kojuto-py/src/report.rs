//! Wrappers of `kojuto_core::report` and of the scan that feeds it.

mod batch;
mod compare;
mod lines;
mod live;
mod options;

use std::fs::File;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use kojuto_core::report::{
    Answer, CLASSES, Collector, Figures, GROUP_SEPARATOR, REASONS, Slices, Totals,
};
use kojuto_core::scan::instant;
use kojuto_io::report::{HEAD_BYTES, Progress, Scanned, Source, scan};
use kojuto_io::{Error, words};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList};

use crate::errors::to_py;
use crate::job;

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(report_scan, module)?)?;
    module.add_function(wrap_pyfunction!(report_envelope, module)?)?;
    module.add("REPORT_HEAD_BYTES", HEAD_BYTES)?;
    module.add_function(wrap_pyfunction!(compare::report_compare, module)?)?;
    module.add_class::<ReportData>()?;
    module.add_class::<lines::LineScan>()?;
    module.add_class::<live::ReportLive>()?;
    module.add_class::<ReportProgress>()
}

/// How far a scan is, for another thread to look at.
#[pyclass(frozen, module = "kojuto._native")]
struct ReportProgress(Arc<Progress>);

#[pymethods]
impl ReportProgress {
    #[new]
    fn new() -> ReportProgress {
        ReportProgress(Arc::default())
    }

    #[getter]
    fn bytes(&self) -> u64 {
        self.0.bytes.load(Ordering::Relaxed)
    }

    #[getter]
    fn total_bytes(&self) -> u64 {
        self.0.total_bytes.load(Ordering::Relaxed)
    }

    #[getter]
    fn lines(&self) -> u64 {
        self.0.lines.load(Ordering::Relaxed)
    }

    /// Adds what is read elsewhere.
    fn add(&self, read: u64, total_bytes: u64) {
        self.0.bytes.fetch_add(read, Ordering::Relaxed);
        self.0.total_bytes.fetch_add(total_bytes, Ordering::Relaxed);
    }
}

/// The name of standard input among the paths.
const STANDARD_INPUT: &str = "-";
/// Its name in messages.
const INPUT_NAME: &str = "standard input";

/// Where Python says that lines come from.
#[derive(FromPyObject)]
enum Log {
    Path(PathBuf),
    /// A file, its name in messages: the lines that begin from one byte on and before another, or
    /// before its end.
    Lines(PathBuf, String, u64, Option<u64>),
    /// A descriptor, the name of the log in messages, and how the log begins.
    Begun(i32, String, Vec<u8>),
}

impl Log {
    fn source(self) -> PyResult<Source> {
        Ok(match self {
            Log::Path(path) if path.as_os_str() == STANDARD_INPUT => {
                let input = std::io::stdin().as_fd().try_clone_to_owned();
                let input = input.map_err(Error::on(INPUT_NAME)).map_err(to_py)?;
                Source::Open(Arc::new(File::from(input)), INPUT_NAME.to_owned())
            }
            Log::Path(path) => Source::Path(path),
            Log::Lines(path, name, from, to) => {
                Source::Lines(path, name, from, to.unwrap_or(u64::MAX))
            }
            Log::Begun(fd, name, head) => Source::begun(fd, name, head).map_err(to_py)?,
        })
    }
}

/// Counts the lines of logs.
#[pyfunction]
#[pyo3(signature = (logs, **options))]
fn report_scan(
    py: Python<'_>,
    logs: Vec<Log>,
    options: Option<&Bound<'_, PyDict>>,
) -> PyResult<ReportData> {
    let options = options::resolve(options)?;
    let sources = sources(logs)?;
    let found = job::run(py, |cancel| {
        scan(&sources, &options.report, options.jobs, &options.progress, cancel)
    })?;
    Ok(ReportData::new(found))
}

fn sources(logs: Vec<Log>) -> PyResult<Vec<Source>> {
    logs.into_iter().map(Log::source).collect()
}

/// What stands around the lines of a log that begins so.
#[pyfunction]
#[pyo3(signature = (head, **options))]
fn report_envelope(
    py: Python<'_>,
    head: Vec<u8>,
    options: Option<&Bound<'_, PyDict>>,
) -> PyResult<Option<&'static str>> {
    let options = options::resolve(options)?;
    let found = job::run(py, |_| {
        let mut looked = Collector::new(&options.report)?;
        looked.look(&head)?;
        Ok(looked.envelope())
    })?;
    Ok(found.map(|envelope| envelope.name()))
}

/// Lines that could not be counted, by reason.
fn bad_of<'py>(py: Python<'py>, totals: &Totals) -> PyResult<Bound<'py, PyDict>> {
    let bad = PyDict::new(py);
    for (reason, count) in REASONS.iter().zip(totals.bad().counts()) {
        if *count > 0 {
            bad.set_item(reason, count)?;
        }
    }
    Ok(bad)
}

/// What a scan has counted.
#[pyclass(module = "kojuto._native")]
struct ReportData {
    totals: Totals,
    answer: Option<Answer>,
    files: Vec<String>,
    twice: Vec<String>,
    failed: Vec<(String, String)>,
}

impl ReportData {
    fn new(found: Scanned) -> ReportData {
        let why = |(name, error): (String, Error)| match &error {
            // Of a stream that is damaged it does not say which.
            Error::Io { what, source } if !what.contains(&name) => {
                (format!("{name}: {what}"), words(source))
            }
            Error::Io { what, source } | Error::NoThread { what, source } => {
                (what.clone(), words(source))
            }
            error => (name, error.to_string()),
        };
        ReportData {
            totals: found.totals,
            answer: None,
            files: found.read,
            twice: found.twice,
            failed: found.failed.into_iter().map(why).collect(),
        }
    }

    /// What the report says, decided when it is asked for first.
    fn answer(&mut self, py: Python<'_>) -> PyResult<&Answer> {
        if self.answer.is_none() {
            let totals = &self.totals;
            let answer = py.detach(|| totals.answer());
            self.answer = Some(answer.map_err(|error| to_py(error.into()))?);
        }
        self.answer.as_ref().ok_or_else(|| crate::errors::refused("there is no answer"))
    }
}

#[pymethods]
impl ReportData {
    /// What the logs were, and what was read of them.
    fn facts<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let totals = &self.totals;
        let facts = PyDict::new(py);
        facts.set_item("lines", totals.lines())?;
        facts.set_item("left_out", totals.left_out())?;
        facts.set_item("bad", bad_of(py, totals)?)?;
        let first = totals.bad().first().map(|(_, line)| PyBytes::new(py, line));
        facts.set_item("first_bad", first)?;
        let span = totals.span();
        facts.set_item("from_s", span.map(|(first, ..)| instant::seconds(first)))?;
        facts.set_item("to_s", span.map(|(.., last)| instant::seconds(last)))?;
        facts.set_item("zone_s", span.and_then(|(_, zone_s, _)| zone_s))?;
        let found = totals.found();
        facts.set_item("format", found.map(|found| &found.format))?;
        facts.set_item("envelope", found.and_then(|found| found.envelope.as_ref()))?;
        let keys = PyDict::new(py);
        for (role, key, unit) in found.iter().flat_map(|found| &found.keys) {
            keys.set_item(role, (key, unit))?;
        }
        facts.set_item("keys", keys)?;
        facts.set_item("files", &self.files)?;
        facts.set_item("twice", &self.twice)?;
        facts.set_item("failed", &self.failed)?;
        let hosts: Vec<_> = totals.hosts().map(|host| PyBytes::new(py, host)).collect();
        facts.set_item("hosts", hosts)?;
        let other = PyDict::new(py);
        let (count, sum, off_by) = totals.other();
        other.set_item("count", count)?;
        other.set_item("sum", sum)?;
        other.set_item("off_by", off_by)?;
        facts.set_item("other", other)?;
        facts.set_item("resolution_s", totals.resolution_s())?;
        facts.set_item("group_by", &totals.settings().group_by)?;
        Ok(facts)
    }

    /// A list for each column, with an entry for each endpoint.
    fn columns<'py>(
        &mut self,
        py: Python<'py>,
        percentiles: Vec<f64>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let groups = self.totals.settings().group_by.clone();
        let endpoints = &self.answer(py)?.endpoints;
        let columns = PyDict::new(py);
        let names = endpoints.iter().map(|endpoint| PyBytes::new(py, &endpoint.name));
        columns.set_item("endpoint", PyList::new(py, names)?)?;
        for (at, group) in groups.iter().enumerate() {
            let value = |name: &[u8]| {
                let value = name.split(|byte| *byte == GROUP_SEPARATOR).nth(at);
                PyBytes::new(py, value.unwrap_or_default())
            };
            let values = endpoints.iter().map(|endpoint| value(&endpoint.name));
            if groups.iter().any(|name| name != "path" && name != "method") {
                columns.set_item(group, PyList::new(py, values)?)?;
            }
        }
        let rows: Vec<_> = endpoints
            .iter()
            .map(|endpoint| figures(py, &endpoint.figures, &percentiles))
            .collect::<PyResult<_>>()?;
        let blank = figures(py, &Figures::default(), &percentiles)?;
        for (name, _) in rows.first().unwrap_or(&blank) {
            let values = rows.iter().map(|row| row.get_item(&name));
            columns.set_item(&name, values.collect::<PyResult<Vec<_>>>()?)?;
        }
        let examples = endpoints.iter().map(|row| PyBytes::new(py, row.figures.example()));
        columns.set_item("example", PyList::new(py, examples)?)?;
        Ok(columns)
    }

    /// The columns of all lines.
    fn total<'py>(&self, py: Python<'py>, percentiles: Vec<f64>) -> PyResult<Bound<'py, PyDict>> {
        figures(py, self.totals.all(), &percentiles)
    }

    /// What came when, of all lines.
    fn timeline<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        slices(py, self.totals.all().slices())?.map_or_else(|| Ok(PyList::empty(py)), Ok)
    }

    /// What came when, of one of the costliest endpoints.
    fn map<'py>(
        &mut self,
        py: Python<'py>,
        endpoint: &Bound<'py, PyAny>,
    ) -> PyResult<Option<Bound<'py, PyList>>> {
        let name = match endpoint.extract::<&str>() {
            Ok(text) => text.as_bytes().to_vec(),
            Err(_) => endpoint.extract::<Vec<u8>>()?,
        };
        match self.answer(py)?.costly(&name) {
            Some(endpoint) => slices(py, endpoint.figures.slices()),
            None => Ok(None),
        }
    }

    /// The slowest lines, the slowest first.
    fn slowest<'py>(&mut self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyDict>>> {
        let lines = &self.answer(py)?.slowest;
        let line = |(line, endpoint): &(kojuto_core::report::Slow, Box<[u8]>)| {
            let found = PyDict::new(py);
            found.set_item("time_s", line.time_s())?;
            found.set_item("at_s", line.at.map(instant::seconds))?;
            found.set_item("method", PyBytes::new(py, &line.method))?;
            found.set_item("target", PyBytes::new(py, &line.target))?;
            found.set_item("status", line.status)?;
            found.set_item("endpoint", PyBytes::new(py, endpoint))?;
            Ok(found)
        };
        lines.iter().map(line).collect()
    }

    /// The report as a file.
    fn to_bytes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let totals = &self.totals;
        let bytes = py.detach(|| totals.to_bytes()).map_err(|error| to_py(error.into()))?;
        Ok(PyBytes::new(py, &bytes))
    }

    /// Reads a file, or several behind each other; `files` are the names of the logs.
    #[staticmethod]
    #[pyo3(signature = (data, files = Vec::new()))]
    fn from_bytes(py: Python<'_>, data: &[u8], files: Vec<String>) -> PyResult<ReportData> {
        let totals = py.detach(|| Totals::from_bytes(data)).map_err(|error| to_py(error.into()))?;
        let (twice, failed) = (Vec::new(), Vec::new());
        Ok(ReportData { totals, answer: None, files, twice, failed })
    }

    /// Takes note of a log that could not be read.
    fn fail(&mut self, name: String, why: String) {
        self.failed.push((name, why));
    }

    /// Adds what another has counted.
    fn merge(&mut self, py: Python<'_>, other: &ReportData) -> PyResult<()> {
        let (totals, theirs) = (&mut self.totals, other.totals.clone());
        py.detach(|| totals.merge(theirs)).map_err(|error| to_py(error.into()))?;
        self.answer = None;
        // Parts of one log follow each other.
        let is_same = self.files.last().is_some_and(|last| other.files.first() == Some(last));
        self.files.extend(other.files.iter().skip(usize::from(is_same)).cloned());
        self.twice.extend(other.twice.iter().cloned());
        self.failed.extend(other.failed.iter().cloned());
        Ok(())
    }
}

/// The columns of some lines.
fn figures<'py>(
    py: Python<'py>,
    of: &Figures,
    percentiles: &[f64],
) -> PyResult<Bound<'py, PyDict>> {
    let row = PyDict::new(py);
    row.set_item("count", of.count())?;
    row.set_item("timed", of.timed)?;
    for (name, count) in CLASSES.iter().zip(of.classes) {
        row.set_item(name, count)?;
    }
    let ends = of.ends_s();
    row.set_item("sum", ends.map(|_| of.sum_s()))?;
    row.set_item("min", ends.map(|(min, _)| min))?;
    row.set_item("max", ends.map(|(_, max)| max))?;
    row.set_item("avg", ends.map(|_| of.mean_s()))?;
    row.set_item("stddev", of.stddev_s())?;
    row.set_item("bytes", of.bytes)?;
    let fractions: Vec<f64> = percentiles.iter().map(|percent| percent / 100.0).collect();
    let found = of.quantiles_s(&fractions);
    for (at, percent) in percentiles.iter().enumerate() {
        row.set_item(format!("p{percent}"), found.as_ref().map(|found| found[at]))?;
    }
    Ok(row)
}

fn slices<'py>(py: Python<'py>, of: Option<Slices>) -> PyResult<Option<Bound<'py, PyList>>> {
    let Some(of) = of else { return Ok(None) };
    let list = PyList::empty(py);
    for (start_s, slice) in of.each() {
        let found = PyDict::new(py);
        found.set_item("start_s", start_s)?;
        found.set_item("width_s", of.width_s())?;
        found.set_item("count", slice.lines())?;
        for (name, count) in CLASSES.iter().zip(slice.classes) {
            found.set_item(name, count)?;
        }
        let steps = PyDict::new(py);
        for (step, count) in slice.steps() {
            steps.set_item(step, count)?;
        }
        found.set_item("steps", steps)?;
        list.append(found)?;
    }
    Ok(Some(list))
}
