//! Wrappers of `kojuto_io::auth::membership`.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use kojuto_core::membership::{AddressHeader, Asked, Client, Members, Refusal, read};
use kojuto_io::Error;
use kojuto_io::auth::membership::{self, Outcome, problem};
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::errors::{refused, to_py};
use crate::http_message::{Given, HttpRequest, given};
use crate::job::seconds;

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Membership>()
}

/// The addresses of watched Consul services.
#[pyclass(module = "kojuto._native", frozen)]
pub(crate) struct Membership(pub(crate) Arc<membership::Membership>);

fn members(addresses: &[String]) -> Members {
    Members::new(addresses.iter().map(String::as_str))
}

#[pymethods]
impl Membership {
    #[new]
    #[pyo3(signature = (*, trusted, header, stale_limit_s = 0.0))]
    fn new(trusted: Vec<String>, header: &str, stale_limit_s: f64) -> PyResult<Self> {
        let trusted: Result<_, kojuto_core::Error> =
            trusted.iter().map(|range| range.parse()).collect();
        let known = [AddressHeader::RealIp, AddressHeader::ForwardedFor];
        let header = known
            .into_iter()
            .find(|known| known.name().eq_ignore_ascii_case(header))
            .ok_or_else(|| refused(format!("header={header}")))?;
        let client = Client { trusted: trusted.map_err(Error::from).map_err(to_py)?, header };
        let table = membership::Membership::new(client, seconds(stale_limit_s));
        Ok(Membership(Arc::new(table)))
    }

    #[staticmethod]
    fn key(service: &str, query: &str) -> PyResult<String> {
        match read(&format!("/has/{service}/::"), query) {
            Asked::Question(question) => Ok(question.key),
            Asked::Wrong(why) => Err(refused(why.to_string())),
            _ => Err(refused(Refusal::Service.to_string())),
        }
    }

    #[staticmethod]
    fn problem(status: u16, message: &str) -> Given {
        given(&problem(status, message))
    }

    fn watch(&self, key: &str) {
        self.0.watch(key);
    }

    fn unwatch(&self, key: &str) {
        self.0.unwatch(key);
    }

    fn put(&self, key: &str, addresses: Vec<String>) -> bool {
        self.0.put(key, members(&addresses))
    }

    fn away(&self, key: &str) {
        self.0.away(key);
    }

    fn refuse(&self, key: &str) {
        self.0.refuse(key);
    }

    fn idle_s(&self, key: &str) -> Option<f64> {
        self.0.idle(key).map(|idle| idle.as_secs_f64())
    }

    fn state(&self, key: &str) -> Option<(Option<usize>, Option<f64>)> {
        let (count, away) = self.0.state(key)?;
        Some((count, away.map(|away| away.as_secs_f64())))
    }

    fn ask(&self, request: &HttpRequest) -> (Option<String>, Option<Given>) {
        match self.0.ask(&request.0.head, &request.0.remote) {
            Outcome::Ask(key) => (Some(key), None),
            Outcome::Reply(reply) => (None, Some(given(&reply))),
        }
    }

    fn ask_of(&self, request: &HttpRequest, addresses: Vec<String>) -> Given {
        given(&self.0.ask_of(&request.0.head, &request.0.remote, &members(&addresses)))
    }

    fn counts<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let counts = &self.0.counts;
        let found = PyDict::new(py);
        for (name, counter) in [
            ("yes", &counts.yes),
            ("no", &counts.no),
            ("stale", &counts.stale),
            ("refused", &counts.refused),
        ] {
            found.set_item(name, counter.load(Relaxed))?;
        }
        Ok(found)
    }
}
