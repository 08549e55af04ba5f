//! Wrappers of `kojuto_io::ping` and `kojuto_io::sys::resolve`.

use std::collections::BTreeMap;
use std::time::Duration;

use kojuto_core::stats::quantile;
use kojuto_io::ping::{self, Outcome, Plan};
use kojuto_io::sys::resolve::{self, Want};
use pyo3::prelude::*;

use crate::errors::refused;
use crate::job;

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(resolve_hosts, module)?)?;
    module.add_function(wrap_pyfunction!(ping_hosts, module)?)?;
    module.add_class::<PingOutcome>()
}

/// One (address, error) for each name, one of the two None.
#[pyfunction]
fn resolve_hosts(
    py: Python<'_>,
    names: Vec<String>,
    family: u8,
) -> PyResult<Vec<(Option<String>, Option<String>)>> {
    let want = match family {
        0 => Want::Either,
        4 => Want::V4,
        6 => Want::V6,
        other => return Err(refused(format!("family {other}: not 0, 4 or 6"))),
    };
    let found = py.detach(|| resolve::resolve_all(&names, want));
    Ok(found
        .into_iter()
        .map(|result| match result {
            Ok(address) => (Some(resolve::or_loopback(address).to_string()), None),
            Err(why) => (None, Some(why.to_string())),
        })
        .collect())
}

#[pyfunction]
fn ping_hosts(
    py: Python<'_>,
    addresses: Vec<String>,
    count: u32,
    timeout_ms: f64,
    interval_ms: f64,
    pace_ms: f64,
    payload_bytes: usize,
) -> PyResult<Vec<PingOutcome>> {
    let targets = addresses
        .iter()
        .map(|text| text.parse().map_err(|_| refused(format!("{text}: not an address"))))
        .collect::<PyResult<Vec<_>>>()?;
    let time = |name: &str, ms: f64| {
        Duration::try_from_secs_f64(ms / 1e3)
            .map_err(|_| refused(format!("{name} {ms}: not a duration")))
    };
    let plan = Plan {
        count,
        timeout: time("timeout_ms", timeout_ms)?,
        interval: time("interval_ms", interval_ms)?,
        pace: time("pace_ms", pace_ms)?,
        payload_bytes,
    };
    let outcomes = job::run(py, |cancel| ping::ping(&targets, &plan, cancel))?;
    Ok(outcomes.into_iter().map(|outcome| PingOutcome { outcome }).collect())
}

#[pyclass(module = "kojuto._native", frozen)]
struct PingOutcome {
    outcome: Outcome,
}

#[pymethods]
impl PingOutcome {
    #[getter]
    fn rtts_ms(&self) -> Vec<Option<f64>> {
        self.outcome.rtts_ms.clone()
    }

    #[getter]
    fn duplicates(&self) -> u32 {
        self.outcome.duplicates
    }

    #[getter]
    fn late(&self) -> u32 {
        self.outcome.late
    }

    #[getter]
    fn stamped(&self) -> u32 {
        self.outcome.stamped
    }

    #[getter]
    fn reasons(&self) -> BTreeMap<String, u32> {
        self.outcome.reasons.clone()
    }

    fn quantiles(&self, fractions: Vec<f64>) -> Vec<f64> {
        let mut values: Vec<f64> = self.outcome.rtts_ms.iter().flatten().copied().collect();
        quantile::select(&mut values, &fractions)
    }
}
