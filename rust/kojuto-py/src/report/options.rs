//! What Python calls the options of a scan.

use std::sync::Arc;
use std::thread;

use kojuto_core::access::{Format, TimeField};
use kojuto_core::report::naming::{NamingOptions, QueryRule};
use kojuto_core::report::{Condition, MOST_KEYS, MOST_SLOWEST, Options, ROLES};
use kojuto_core::scan::envelope::Envelope;
use kojuto_core::scan::instant::Zone;
use kojuto_core::scan::json::Prefix;
use kojuto_core::scan::log_format::LogFormat;
use kojuto_io::report::Progress;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::ReportProgress;
use crate::errors::{refused, to_py, unknown_option};

/// What a scan needs.
pub(super) struct Resolved {
    pub(super) report: Options,
    pub(super) jobs: usize,
    pub(super) progress: Arc<Progress>,
}

/// Options by name, each taken out once.
struct Given<'py>(Option<Bound<'py, PyDict>>);

impl<'py> Given<'py> {
    fn take<T>(&self, name: &str) -> PyResult<Option<T>>
    where
        T: for<'a> FromPyObject<'a, 'py, Error = PyErr>,
    {
        self.value(name)?.map(|value| value.extract()).transpose()
    }

    /// What was given, if it is not None.
    fn value(&self, name: &str) -> PyResult<Option<Bound<'py, PyAny>>> {
        let Some(options) = &self.0 else { return Ok(None) };
        let Some(value) = options.get_item(name)? else { return Ok(None) };
        options.del_item(name)?;
        Ok(Some(value).filter(|value| !value.is_none()))
    }

    fn end(self) -> PyResult<()> {
        match self.0.and_then(|options| options.keys().into_iter().next()) {
            Some(name) => Err(unknown_option(&name)),
            None => Ok(()),
        }
    }
}

/// Reads the options.
pub(super) fn resolve(options: Option<&Bound<'_, PyDict>>) -> PyResult<Resolved> {
    let given = Given(options.map(|options| options.copy()).transpose()?);
    let core = |error: kojuto_core::Error| to_py(error.into());
    let time_field = match given.take::<String>("time_field")? {
        None => TimeField::Telling,
        Some(text) => TimeField::parse(&text)
            .ok_or_else(|| refused(format!("not a field of a line: {text:?}")))?,
    };
    let format = format(&given, &time_field)?;
    let conditions = match given.take::<String>("where")? {
        Some(text) => Condition::parse(&text).map_err(core)?,
        None => Vec::new(),
    };
    let nanos = |name: &str| -> PyResult<Option<i64>> {
        Ok(given.take::<f64>(name)?.map(|seconds| (seconds * 1e9) as i64))
    };
    let report = Options {
        envelope: envelope(&given)?,
        format,
        time_field,
        keys: keys(&given)?,
        unasked: Vec::new(),
        time_scale: time_scale(&given)?,
        naming: naming(&given)?,
        group_by: given.take("group_by")?.unwrap_or_default(),
        conditions,
        since: nanos("since_s")?,
        until: nanos("until_s")?,
        zone: Zone::new(given.take("zone")?.unwrap_or_default()),
        slowest: slowest(&given)?,
        capacity: given.take("capacity")?.unwrap_or(MOST_KEYS),
        ..Options::default()
    };
    let jobs = match given.take::<usize>("jobs")?.unwrap_or(0) {
        0 => thread::available_parallelism().map_or(1, usize::from),
        jobs => jobs,
    };
    let progress = match given.value("progress")? {
        Some(progress) => Arc::clone(&progress.cast_into::<ReportProgress>()?.get().0),
        None => Arc::default(),
    };
    given.end()?;
    Ok(Resolved { report, jobs, progress })
}

fn slowest(given: &Given<'_>) -> PyResult<usize> {
    match given.take("slowest")?.unwrap_or(10) {
        count if count > MOST_SLOWEST => {
            Err(refused(format!("slowest: {count} is above the maximum of {MOST_SLOWEST}")))
        }
        count => Ok(count),
    }
}

fn format(given: &Given<'_>, time_field: &TimeField) -> PyResult<Format> {
    let core = |error: kojuto_core::Error| to_py(error.into());
    let regex = given.take::<String>("regex")?;
    let log_format = given.take::<String>("log_format")?;
    match (given.take::<String>("format")?.as_deref(), regex, log_format) {
        (_, Some(pattern), _) => Format::any_regex(&pattern).map_err(core),
        (_, _, Some(text)) => {
            let format = LogFormat::new(&text).map_err(core)?;
            format.check(time_field).map_err(core)?;
            Ok(Format::Text(Box::new(format)))
        }
        (None | Some("auto"), ..) => Ok(Format::Auto(Prefix::Refuse)),
        (Some("ltsv"), ..) => Ok(Format::Ltsv(Prefix::Refuse)),
        (Some("json"), ..) => Ok(Format::Json(Prefix::Skip)),
        (Some("combined"), ..) => Ok(Format::Combined),
        (Some(other), ..) => Err(refused(format!("not a log format: {other}"))),
    }
}

fn envelope(given: &Given<'_>) -> PyResult<Option<Envelope>> {
    match given.take::<String>("envelope")?.as_deref() {
        None => Ok(Some(Envelope::Auto)),
        Some("none") => Ok(None),
        Some(name) => match Envelope::named(name) {
            Some(envelope) => Ok(Some(envelope)),
            None => Err(refused(format!("not an envelope of lines: {name}"))),
        },
    }
}

fn keys(given: &Given<'_>) -> PyResult<Vec<(&'static str, String)>> {
    let keys: Vec<(String, String)> = given
        .take::<std::collections::HashMap<_, _>>("keys")?
        .unwrap_or_default()
        .into_iter()
        .collect();
    let role = |(role, key): (String, String)| match ROLES.iter().find(|name| **name == role) {
        Some(role) => Ok((*role, key)),
        None => Err(refused(format!("not what a key can be for: {role}"))),
    };
    keys.into_iter().map(role).collect()
}

fn time_scale(given: &Given<'_>) -> PyResult<Option<f64>> {
    match given.take::<String>("time_unit")?.as_deref() {
        None => Ok(None),
        Some("s") => Ok(Some(1.0)),
        Some("ms") => Ok(Some(1e-3)),
        Some("us") => Ok(Some(1e-6)),
        Some("ns") => Ok(Some(1e-9)),
        Some(other) => Err(refused(format!("not a unit of time: {other}"))),
    }
}

fn naming(given: &Given<'_>) -> PyResult<NamingOptions> {
    let rule = match given.take::<String>("query")?.as_deref() {
        None | Some("drop") => QueryRule::Drop,
        Some("keys") => QueryRule::Keys,
        Some("keep") => QueryRule::Keep,
        Some(other) => return Err(refused(format!("not what may stay of a query: {other}"))),
    };
    let values = given.take::<Vec<String>>("query_values")?.unwrap_or_default();
    let default = NamingOptions::default();
    Ok(NamingOptions {
        fold: given.take("fold")?.unwrap_or(default.fold),
        fold_above: given.take("fold_above")?.unwrap_or(default.fold_above),
        query: rule,
        query_values: values.into_iter().map(|name| name.into_bytes().into()).collect(),
        matches: given.take("matches")?.unwrap_or_default(),
        routes: given.take("routes")?.unwrap_or_default(),
    })
}
