//! Wrapper of `kojuto_io::ping`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use kojuto_core::stats::quantile;
use kojuto_io::ping::{self, Outcome, Plan, Way};
use kojuto_io::sys::resolve::Want;
use pyo3::prelude::*;

use crate::errors::refused;
use crate::job;

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(ping_hosts, module)?)?;
    module.add_class::<PingOutcome>()
}

#[pyfunction]
#[pyo3(signature = (
    names, *, count, timeout_ms, interval_ms, pace_ms, deadline_ms, payload_bytes,
    family = 0, linger = false, source = None, interface = None, dont_fragment = false, tos = None
))]
#[expect(clippy::too_many_arguments, reason = "each is a keyword in Python")]
fn ping_hosts(
    py: Python<'_>,
    names: Vec<String>,
    count: u32,
    timeout_ms: f64,
    interval_ms: f64,
    pace_ms: f64,
    deadline_ms: f64,
    payload_bytes: usize,
    family: u8,
    linger: bool,
    source: Option<String>,
    interface: Option<String>,
    dont_fragment: bool,
    tos: Option<u8>,
) -> PyResult<Vec<PingOutcome>> {
    let time = |name: &str, ms: f64| {
        Duration::try_from_secs_f64(ms / 1e3)
            .map_err(|_| refused(format!("{name} {ms}: not a duration")))
    };
    let want = match family {
        0 => Want::Either,
        4 => Want::V4,
        6 => Want::V6,
        other => return Err(refused(format!("family {other}: not 0, 4 or 6"))),
    };
    let address = |text: String| {
        text.parse::<IpAddr>().map_err(|_| refused(format!("{text}: not an address")))
    };
    let source = source.map(address).transpose()?;
    let plan = Plan {
        want,
        count,
        timeout: time("timeout_ms", timeout_ms)?,
        interval: time("interval_ms", interval_ms)?,
        pace: time("pace_ms", pace_ms)?,
        deadline: time("deadline_ms", deadline_ms)?,
        payload_bytes,
        linger,
        way: Way { source, interface, dont_fragment, tos },
    };
    let outcomes = job::run(py, |cancel| ping::ping(&names, &plan, cancel))?;
    Ok(outcomes.into_iter().map(|outcome| PingOutcome { outcome }).collect())
}

#[pyclass(module = "kojuto._native", frozen)]
struct PingOutcome {
    outcome: Outcome,
}

#[pymethods]
impl PingOutcome {
    #[getter]
    fn address(&self) -> Option<String> {
        let address = self.outcome.address?;
        let text = address.to_string();
        // The zone of an IPv6 address is not in that of its IpAddr.
        let inner = text.strip_prefix('[').and_then(|rest| rest.rsplit_once(']'));
        Some(inner.map_or_else(|| address.ip().to_string(), |(ip, _)| ip.to_owned()))
    }

    #[getter]
    fn addresses(&self) -> u32 {
        self.outcome.addresses
    }

    #[getter]
    fn unresolved(&self) -> Option<String> {
        self.outcome.unresolved.map(|why| why.to_string())
    }

    #[getter]
    fn rtts_ms(&self) -> Vec<Option<f64>> {
        self.outcome.rtts_ms.clone()
    }

    #[getter]
    fn queues_ms(&self) -> Vec<f64> {
        self.outcome.queues_ms.clone()
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
    fn undecided(&self) -> u32 {
        self.outcome.undecided
    }

    #[getter]
    fn unsent(&self) -> u32 {
        self.outcome.unsent
    }

    #[getter]
    fn held_back(&self) -> u32 {
        self.outcome.held_back
    }

    #[getter]
    fn reasons(&self) -> BTreeMap<String, u32> {
        self.outcome.reasons.clone()
    }

    #[getter]
    fn strangers(&self) -> BTreeMap<String, u32> {
        self.outcome.strangers.clone()
    }

    fn quantiles(&self, fractions: Vec<f64>) -> Vec<f64> {
        let mut values: Vec<f64> = self.outcome.rtts_ms.iter().flatten().copied().collect();
        quantile::select(&mut values, &fractions)
    }
}
