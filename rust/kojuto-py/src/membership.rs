//! Wrappers of `kojuto_io::auth::membership`.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use kojuto_core::membership::{AddressHeader, Asked, Client, Members, Refusal, read};
use kojuto_core::net::cidr::Cidr;
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

/// The addresses and the tags of an instance.
type Instance = (Vec<String>, Vec<String>);

fn ranges(texts: &[String]) -> PyResult<Vec<Cidr>> {
    let read: Result<_, kojuto_core::Error> = texts.iter().map(|range| range.parse()).collect();
    read.map_err(Error::from).map_err(to_py)
}

#[pymethods]
impl Membership {
    #[new]
    #[pyo3(signature = (*, trusted, header, allowed, stale_limit_s = 0.0))]
    fn new(
        trusted: Vec<String>,
        header: &str,
        allowed: Vec<String>,
        stale_limit_s: f64,
    ) -> PyResult<Self> {
        let known = [AddressHeader::RealIp, AddressHeader::ForwardedFor];
        let header = known
            .into_iter()
            .find(|known| known.name().eq_ignore_ascii_case(header))
            .ok_or_else(|| refused(format!("header={header}")))?;
        let client = Client { allowed: ranges(&allowed)?, trusted: ranges(&trusted)?, header };
        let table = membership::Membership::new(client, seconds(stale_limit_s));
        Ok(Membership(Arc::new(table)))
    }

    #[staticmethod]
    fn key(service: &str, query: &str) -> PyResult<String> {
        match read(&format!("/has/{service}/::"), query) {
            Asked::Question(question) if question.once => {
                Err(refused("a filter is asked of Consul each time, it cannot be watched"))
            }
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

    fn put(&self, key: &str, instances: Vec<Instance>) -> bool {
        self.0.put(key, Members::new(instances))
    }

    fn put_empty(&self, key: &str) {
        self.0.put_empty(key);
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

    fn ask(&self, request: &HttpRequest) -> (Option<String>, bool, Option<Given>) {
        match self.0.ask(&request.0.head, &request.0.remote) {
            Outcome::Ask { key, once } => (Some(key), once, None),
            Outcome::Reply(reply) => (None, false, Some(given(&reply))),
        }
    }

    fn ask_of(&self, request: &HttpRequest, instances: Vec<Instance>) -> Given {
        let members = Members::new(instances);
        given(&self.0.ask_of(&request.0.head, &request.0.remote, &members))
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
