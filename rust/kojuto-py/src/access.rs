//! Wrappers of `kojuto_core::access` over followed logs.

use kojuto_core::access::{
    self, Access, Explained, Format, Options, REASONS, Role, Tally, TimeField, TimeList, Verdict,
};
use kojuto_core::scan::envelope::{self, Envelope};
use kojuto_core::scan::json::Prefix;
use kojuto_core::scan::log_format::LogFormat;
use kojuto_core::stats::buckets;
use kojuto_io::Error;
use kojuto_io::follow::{LineSink, Scan};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

use crate::errors::{refused, to_py};
use crate::follow::{FollowOptions, FollowReport, Log, Outcome, follow_all};
use crate::group_name::{GroupOf, group_of};

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(follow_access_logs, module)?)?;
    module.add_function(wrap_pyfunction!(explain_access_lines, module)?)?;
    module.add_class::<AccessLine>()?;
    module.add_class::<AccessScan>()?;
    module.add_class::<AccessTally>()
}

#[derive(Clone)]
struct Sink(Access);

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

/// The fields of `kojuto.tools.axslog.AccessOptions`.
#[derive(FromPyObject)]
struct AccessOptions {
    #[pyo3(attribute)]
    format: String,
    #[pyo3(attribute)]
    envelope: Option<String>,
    #[pyo3(attribute)]
    regex: Option<String>,
    #[pyo3(attribute)]
    log_format: Option<String>,
    #[pyo3(attribute)]
    time_field: Option<String>,
    #[pyo3(attribute)]
    finds_keys: bool,
    #[pyo3(attribute)]
    ptime_key: String,
    #[pyo3(attribute)]
    status_keys: Vec<String>,
    #[pyo3(attribute)]
    by: Option<String>,
    #[pyo3(attribute)]
    max_groups: usize,
    #[pyo3(attribute)]
    filter: Option<String>,
    #[pyo3(attribute)]
    invert_filter: bool,
    #[pyo3(attribute)]
    skip_until_json: bool,
    #[pyo3(attribute)]
    time_scale: f64,
    #[pyo3(attribute)]
    time_list: String,
}

impl AccessOptions {
    fn resolve(self) -> PyResult<Options> {
        let core = |error: kojuto_core::Error| to_py(error.into());
        let prefix = if self.skip_until_json { Prefix::Skip } else { Prefix::Refuse };
        let time_field = match &self.time_field {
            None => TimeField::Telling,
            Some(text) => TimeField::parse(text)
                .ok_or_else(|| refused(format!("not a field of a line: {text:?}")))?,
        };
        let format = match (self.format.as_str(), &self.regex) {
            ("ltsv", _) => Format::Ltsv(prefix),
            // The first object of each line, as in the original: what a container runtime or
            // syslog puts before it is passed over.
            ("json", _) => Format::Json(Prefix::Skip),
            ("combined", _) => Format::Combined,
            ("auto", _) => Format::Auto(prefix),
            ("regex", Some(pattern)) => Format::regex(pattern, &self.status_keys).map_err(core)?,
            ("log-format", _) => {
                let format = LogFormat::new(self.log_format.as_deref().unwrap_or_default());
                let format = format.map_err(core)?;
                format.check(&time_field).map_err(core)?;
                Format::Text(Box::new(format))
            }
            (other, _) => return Err(refused(format!("not a log format: {other}"))),
        };
        let time_list = match self.time_list.as_str() {
            "refuse" => TimeList::Refuse,
            "sum" => TimeList::Sum,
            "last" => TimeList::Last,
            "max" => TimeList::Max,
            other => return Err(refused(format!("not a way to read a list of times: {other}"))),
        };
        let envelope = match self.envelope.as_deref() {
            None => None,
            Some(name) => Some(
                Envelope::named(name)
                    .ok_or_else(|| refused(format!("not an envelope of lines: {name}")))?,
            ),
        };
        Ok(Options {
            envelope,
            format,
            finds_keys: self.finds_keys,
            ptime_key: self.ptime_key,
            status_keys: self.status_keys,
            by: self.by,
            max_groups: self.max_groups,
            filter: self.filter.map(|text| (text.into_bytes(), self.invert_filter)),
            time_field,
            time_scale: self.time_scale,
            time_list,
        })
    }
}

/// The figures of some lines; pooled with `merge`.
#[pyclass(module = "kojuto._native")]
struct AccessTally(Tally);

#[pymethods]
impl AccessTally {
    #[getter]
    fn total(&self) -> u64 {
        self.0.total()
    }

    #[getter]
    fn classes(&self) -> [u64; 7] {
        self.0.classes
    }

    #[getter]
    fn latency_count(&self) -> u64 {
        self.0.latencies.count()
    }

    #[getter]
    fn latency_mean(&self) -> f64 {
        self.0.latencies.mean()
    }

    fn quantiles(&mut self, py: Python<'_>, fractions: Vec<f64>) -> Vec<f64> {
        py.detach(|| self.0.latencies.quantiles(&fractions))
    }

    fn histogram(&self, py: Python<'_>, edges: Vec<f64>) -> Vec<u64> {
        py.detach(|| buckets::count(&edges, self.0.latencies.iter()))
    }

    fn merge(&mut self, other: &mut AccessTally) {
        self.0.merge(std::mem::take(&mut other.0));
    }
}

/// What one log has given.
#[pyclass(frozen, module = "kojuto._native", get_all)]
struct AccessScan {
    report: Py<FollowReport>,
    lines: u64,
    refused_lists: u64,
    format: String,
    found: Option<(Option<&'static str>, &'static str, &'static str, &'static str)>,
    bad_lines: Vec<(&'static str, u64)>,
    bad_example: Option<(&'static str, Py<PyBytes>)>,
    tally: Py<AccessTally>,
    groups: Vec<(GroupOf, Py<AccessTally>)>,
}

impl AccessScan {
    fn new(py: Python<'_>, access: Access, report: Py<FollowReport>) -> PyResult<AccessScan> {
        let bad = access.bad();
        let bad_lines =
            REASONS.into_iter().zip(*bad.counts()).filter(|(_, count)| *count > 0).collect();
        let bad_example =
            bad.first().map(|(reason, line)| (REASONS[reason], PyBytes::new(py, line).unbind()));
        let (lines, format) = (access.lines(), access.format_name().to_owned());
        let refused_lists = access.refused_lists();
        let found = access.found().profile.map(|profile| {
            let envelope = access.found().envelope.map(Envelope::name);
            (envelope, profile.status, profile.time, profile.unit)
        });
        let (tally, groups) = access.finish();
        Ok(AccessScan {
            report,
            lines,
            refused_lists,
            format,
            found,
            bad_lines,
            bad_example,
            tally: Py::new(py, AccessTally(tally))?,
            groups: groups
                .into_iter()
                .map(|(name, tally)| Ok((group_of(&name), Py::new(py, AccessTally(tally))?)))
                .collect::<PyResult<_>>()?,
        })
    }
}

/// Follows access logs; gives for each an `AccessScan` or the exception that stopped it.
#[pyfunction]
fn follow_access_logs<'py>(
    py: Python<'py>,
    logs: Vec<Log>,
    follow: FollowOptions,
    options: AccessOptions,
) -> PyResult<Bound<'py, PyList>> {
    let options = options.resolve()?;
    let whole = match options.envelope {
        Some(_) => envelope::whole_bytes,
        None => <[u8]>::len,
    };
    let sink = Sink(Access::new(&options).map_err(|error| to_py(Error::Core(error)))?);
    let logs = logs.into_iter().map(|log| (log, sink.clone())).collect();
    let results = PyList::empty(py);
    for outcome in follow_all(py, logs, &follow, false, whole)? {
        match outcome {
            Ok(Outcome { scan: Sink(access), report, follower }) => {
                let report = FollowReport::new(py, report, follower)?;
                results.append(AccessScan::new(py, access, report)?)?;
            }
            Err(error) => results.append(to_py(error).into_value(py))?,
        }
    }
    Ok(results)
}

/// What was made of one line.
#[pyclass(frozen, module = "kojuto._native", get_all)]
struct AccessLine {
    envelope: Option<&'static str>,
    line: Py<PyBytes>,
    format: &'static str,
    keys: Vec<Py<PyBytes>>,
    fields: Vec<(Py<PyBytes>, Py<PyBytes>, Option<&'static str>)>,
    unit: &'static str,
    status: Option<i64>,
    seconds: Option<f64>,
    reason: Option<&'static str>,
}

impl AccessLine {
    fn new(py: Python<'_>, of: Explained) -> AccessLine {
        let bytes = |text: &[u8]| PyBytes::new(py, text).unbind();
        let role = |role| match role {
            Role::Time => "time",
            Role::Status => "status",
            Role::Group => "group",
        };
        let (status, seconds, reason) = match of.verdict {
            Verdict::Counted { status, seconds } => (Some(status), seconds, None),
            Verdict::Filtered => (None, None, None),
            Verdict::Bad(reason) => (None, None, Some(reason)),
        };
        AccessLine {
            envelope: of.envelope.map(Envelope::name),
            line: bytes(&of.line),
            format: of.format,
            keys: of.keys.iter().map(|key| bytes(key)).collect(),
            fields: of
                .fields
                .iter()
                .map(|field| (bytes(&field.name), bytes(&field.text), field.role.map(role)))
                .collect(),
            unit: of.unit,
            status,
            seconds,
            reason,
        }
    }
}

/// Explains each of some lines as they would be read.
#[pyfunction]
fn explain_access_lines(
    py: Python<'_>,
    lines: &[u8],
    options: AccessOptions,
) -> PyResult<Vec<AccessLine>> {
    let options = options.resolve()?;
    let found = py.detach(|| access::explain(&options, lines));
    let found = found.map_err(|error| to_py(Error::Core(error)))?;
    Ok(found.into_iter().map(|line| AccessLine::new(py, line)).collect())
}
