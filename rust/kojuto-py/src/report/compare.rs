//! What has changed between two sides.

use kojuto_core::report::compare::{Finding, Moved, Verdict};
use kojuto_core::report::{Figures, Totals, beside};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList};

use super::{ReportData, figures};
use crate::errors::to_py;

/// Compares two sides, each of one or more runs.
#[pyfunction]
#[pyo3(signature = (old, new, percentiles, fail_above = None))]
pub(super) fn report_compare<'py>(
    py: Python<'py>,
    old: Vec<PyRef<'py, ReportData>>,
    new: Vec<PyRef<'py, ReportData>>,
    percentiles: Vec<f64>,
    fail_above: Option<f64>,
) -> PyResult<Bound<'py, PyDict>> {
    let runs = [&old, &new].map(|runs| runs.iter().map(|run| &run.totals).collect::<Vec<_>>());
    let compared = py.detach(|| beside([&runs[0], &runs[1]], fail_above));
    let compared = compared.map_err(|error| to_py(error.into()))?;
    let found = PyDict::new(py);
    for (name, runs, data) in [("old", &runs[0], &old), ("new", &runs[1], &new)] {
        found.set_item(name, about(py, runs, data)?)?;
    }
    let [old, new] = &compared.all;
    let sides = [Some(old), Some(new)];
    found.set_item("all", row(py, sides, compared.comparison.all, &percentiles)?)?;
    let rows = PyList::empty(py);
    for (of, finding) in compared.rows.iter().zip(&compared.comparison.endpoints) {
        let sides = [of.sides[0].as_ref(), of.sides[1].as_ref()];
        let told = row(py, sides, *finding, &percentiles)?;
        told.set_item("endpoint", PyBytes::new(py, &of.name))?;
        rows.append(told)?;
    }
    found.set_item("endpoints", rows)?;
    found.set_item("unknown_share", compared.comparison.unknown_share)?;
    Ok(found)
}

/// Of a side when it was, its runs without the time between them, and the files.
fn about<'py>(
    py: Python<'py>,
    runs: &[&Totals],
    data: &[PyRef<'_, ReportData>],
) -> PyResult<Bound<'py, PyDict>> {
    let spans = || runs.iter().filter_map(|run| run.span());
    let seconds = |nanos: i64| nanos as f64 / 1e9;
    let about = PyDict::new(py);
    about.set_item("from_s", spans().map(|(first, ..)| first).min().map(seconds))?;
    about.set_item("to_s", spans().map(|(.., last)| last).max().map(seconds))?;
    let length_s: f64 = spans().map(|(first, _, last)| seconds(last) - seconds(first)).sum();
    about.set_item("length_s", length_s)?;
    let files: Vec<&String> = data.iter().flat_map(|run| &run.files).collect();
    about.set_item("files", files)?;
    Ok(about)
}

fn row<'py>(
    py: Python<'py>,
    sides: [Option<&Figures>; 2],
    finding: Finding,
    percentiles: &[f64],
) -> PyResult<Bound<'py, PyDict>> {
    let row = PyDict::new(py);
    for (name, side) in ["old", "new"].into_iter().zip(sides) {
        let columns = side.map(|side| figures(py, side, percentiles)).transpose()?;
        row.set_item(name, columns)?;
    }
    row.set_item("verdict", verdict(finding.verdict))?;
    let moved = finding.moved.map(|moved| match moved {
        Moved::Median => "median",
        Moved::Tail => "tail",
    });
    row.set_item("moved", moved)?;
    row.set_item("above", finding.above)?;
    Ok(row)
}

fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Failing => "failing",
        Verdict::Slower => "slower",
        Verdict::Faster => "faster",
        Verdict::Same => "same",
        Verdict::Unknown => "unknown",
        Verdict::New => "new",
        Verdict::Gone => "gone",
    }
}
