//! Wrappers of `kojuto_io::http`.

use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use kojuto_core::net::uri_path::{self, Allowed};
use kojuto_core::token::Policy;
use kojuto_io::auth::{Gate, Judged, Key, Rule, Service, Signers, Tokens, membership};
use kojuto_io::http::{self, LineFormat, LogSink, Options, Quick, Reply, Slow};
use kojuto_io::log::Log;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use crate::errors::{refused, to_py};
use crate::http_message::{Content, Headers, HttpRequest, reply};
use crate::job;
use crate::membership::Membership;
use crate::relay::LogWriter;

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<HttpRequest>()?;
    module.add_class::<TokenGate>()?;
    module.add_class::<HttpServer>()
}

/// The decisions of a token gate.
#[pyclass(module = "kojuto._native", frozen)]
struct TokenGate(Arc<Gate>);

type Rules = Vec<(String, Vec<String>)>;

/// Algorithm, kid and public key.
type SignerKey = (String, Option<String>, Option<Vec<u8>>);

/// A service as Python has it.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct Given {
    id: String,
    rules: Rules,
    keys: Vec<SignerKey>,
    freshness_s: f64,
    late_s: f64,
    early_s: f64,
    kinds: Vec<String>,
    require: Vec<(String, Vec<String>)>,
    shown: Vec<(String, String)>,
    renewed: bool,
}

impl Given {
    fn service(self) -> PyResult<Service> {
        let id = self.id;
        let rule = |(path, methods): (String, Vec<String>)| match Allowed::new(&path) {
            Ok(path) => Ok(Rule { path, methods }),
            Err(error) => Err(refused(format!("service {id}: path {error}"))),
        };
        let rules = self.rules.into_iter().map(rule).collect::<PyResult<_>>()?;
        let keys = self.keys.into_iter();
        let keys = keys.map(|(algorithm, kid, public)| Key { algorithm, kid, public }).collect();
        let policy = Policy {
            freshness_s: self.freshness_s,
            late_s: self.late_s,
            early_s: self.early_s,
            kinds: self.kinds,
            require: self.require,
        };
        let header = |name: &String| match name.parse::<HeaderName>() {
            Ok(name) => Ok(name),
            Err(_) => Err(refused(format!("service {id}: {name:?} is not the name of a header"))),
        };
        let headers = self.shown.iter().map(|(name, _)| header(name)).collect::<PyResult<_>>()?;
        let shown = self.shown.into_iter().map(|(_, claim)| claim).collect();
        let signers = Signers { keys, policy, shown, renewed: self.renewed };
        Ok(Service { id, rules, signers, headers })
    }
}

type Answered = (u16, Headers, Vec<u8>);

fn answered(reply: &Reply) -> Answered {
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    let header = |(name, value): (&HeaderName, &HeaderValue)| {
        (name.as_str().to_owned(), text(value.as_bytes()))
    };
    (reply.status().as_u16(), reply.headers().iter().map(header).collect(), reply.body().to_vec())
}

#[pymethods]
impl TokenGate {
    #[new]
    #[pyo3(signature = (
        log, endpoint, services, *, cache_size = 10000, prune_size = 100, log_allowed = true,
        after = None
    ))]
    fn new(
        log: &LogWriter,
        endpoint: &str,
        services: Vec<Given>,
        cache_size: usize,
        prune_size: usize,
        log_allowed: bool,
        after: Option<&TokenGate>,
    ) -> PyResult<Self> {
        let services = services.into_iter().map(Given::service).collect::<PyResult<_>>()?;
        let stats = after.map_or_else(Arc::default, |old| Arc::clone(&old.0.stats));
        let tokens = Tokens::new(cache_size, prune_size);
        let log = Arc::clone(&log.log);
        let gate = Gate::new(endpoint, services, tokens, stats, log, log_allowed);
        Ok(TokenGate(Arc::new(gate.map_err(to_py)?)))
    }

    #[staticmethod]
    fn readings(uri: &str) -> PyResult<Vec<String>> {
        uri_path::readings(uri.as_bytes()).map_err(|why| refused(why.to_string()))
    }

    fn judge(&self, token: &str, now_s: f64) -> (&'static str, String, Option<(usize, f64, f64)>) {
        match self.0.judge(token.as_bytes(), now_s) {
            Judged::Good { service, life, .. } => {
                ("good", String::new(), Some((service, life.begins_s, life.ends_s)))
            }
            Judged::Bad(why) => ("bad", why, None),
            Judged::Refused(why) => ("refused", why, None),
            Judged::Unsure => ("unsure", String::new(), None),
        }
    }

    fn admit(
        &self,
        token: &str,
        service: usize,
        life: (f64, f64),
        now_s: f64,
        shown: Vec<Option<String>>,
    ) {
        let shown = self.0.show(service, &shown);
        self.0.tokens.admit(token.as_bytes(), service, life, now_s, shown);
    }

    fn remember_bad(&self, token: &str) {
        self.0.tokens.refuse(token.as_bytes());
    }

    fn answer(
        &self,
        service: usize,
        shown: Vec<Option<String>>,
        request: &HttpRequest,
    ) -> Answered {
        let shown = self.0.show(service, &shown);
        answered(&self.0.answer(service, &shown, &request.0.head.headers))
    }

    fn refuse(&self, why: &str, request: &HttpRequest) -> Answered {
        answered(&self.0.refuse(why, &request.0.head.headers))
    }

    #[pyo3(signature = (service, uri, method))]
    fn decide(&self, service: usize, uri: &str, method: &str) -> Option<String> {
        let mut headers = HeaderMap::new();
        for (name, text) in [("x-original-uri", uri), ("x-original-method", method)] {
            match HeaderValue::from_bytes(text.as_bytes()) {
                Ok(value) => drop(headers.insert(name, value)),
                Err(_) => return Some(format!("{text:?} cannot be the value of a header")),
            }
        }
        self.0.decide(service, &headers).err().map(|why| why.to_string())
    }

    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let (stats, found) = (&self.0.stats, PyDict::new(py));
        for (name, counter) in [
            ("allowed", &stats.allowed),
            ("forbidden", &stats.forbidden),
            ("unauthorized", &stats.unauthorized),
            ("hits", &stats.hits),
            ("unlogged", &stats.unlogged),
        ] {
            found.set_item(name, counter.load(Relaxed))?;
        }
        let (good, bad) = self.0.tokens.counts();
        found.set_item("good", good)?;
        found.set_item("bad", bad)?;
        Ok(found)
    }
}

/// Asks a Python function.
struct Ask {
    answer: Py<PyAny>,
    log: Arc<Log>,
}

impl Slow for Ask {
    fn answer(&self, request: http::Request) -> Reply {
        let answered = Python::try_attach(|py| {
            let answer = self.answer.call1(py, (HttpRequest(request),))?;
            let (status, headers, body): (u16, Headers, Content) = answer.extract(py)?;
            reply(status, &headers, body)
        });
        match answered {
            Some(Ok(reply)) => reply,
            Some(Err(error)) => {
                self.log.failure("Failed to answer a request", &error.to_string());
                internal_error()
            }
            None => internal_error(), // the interpreter has ended
        }
    }
}

fn internal_error() -> Reply {
    let made = Reply::new(500, &[], "internal error\n");
    made.unwrap_or_else(|_| unreachable!("500 without headers is an answer"))
}

/// Gives access-log lines to a Python function.
struct Lines {
    take: Py<PyAny>,
    log: Arc<Log>,
}

impl LogSink for Lines {
    fn take(&self, lines: &[u8]) {
        let done = Python::try_attach(|py| self.take.call1(py, (PyBytes::new(py, lines),)).err());
        if let Some(Some(error)) = done {
            self.log.failure("Failed to write the access log", &error.to_string());
        }
    }
}

/// A running HTTP server. All methods may be called from any thread.
#[pyclass(module = "kojuto._native", frozen)]
struct HttpServer(http::Server);

/// What can answer without Python.
#[derive(FromPyObject)]
enum AtHand<'py> {
    Gate(PyRef<'py, TokenGate>),
    Membership(PyRef<'py, Membership>),
}

impl AtHand<'_> {
    fn quick(&self) -> Arc<dyn Quick> {
        match self {
            AtHand::Gate(gate) => Arc::<Gate>::clone(&gate.0),
            AtHand::Membership(table) => Arc::<membership::Membership>::clone(&table.0),
        }
    }
}

#[pymethods]
impl HttpServer {
    #[new]
    #[pyo3(signature = (
        log, sockets, answer, *, at_hand = None, header_timeout_s = 10.0, idle_timeout_s = 75.0,
        write_timeout_s = 30.0, max_header_bytes = 32768, max_body_bytes = 0,
        pass_over_bodies = false, max_connections = 0, workers = 0, threads = 2, queue = 1024, access_log = None,
        access_log_json = false
    ))]
    #[expect(clippy::too_many_arguments, reason = "one for each option, all by name")]
    fn new(
        py: Python<'_>,
        log: &LogWriter,
        sockets: Vec<RawFd>,
        answer: Py<PyAny>,
        at_hand: Option<AtHand<'_>>,
        header_timeout_s: f64,
        idle_timeout_s: f64,
        write_timeout_s: f64,
        max_header_bytes: usize,
        max_body_bytes: usize,
        pass_over_bodies: bool,
        max_connections: usize,
        workers: usize,
        threads: usize,
        queue: usize,
        access_log: Option<Py<PyAny>>,
        access_log_json: bool,
    ) -> PyResult<Self> {
        let options = Options {
            header_timeout: job::seconds(header_timeout_s),
            idle_timeout: job::seconds(idle_timeout_s),
            write_timeout: job::seconds(write_timeout_s),
            max_header_bytes,
            max_body_bytes: (!pass_over_bodies).then_some(max_body_bytes),
            max_connections,
            workers,
            threads,
            queue,
            access_log: if access_log_json { LineFormat::Json } else { LineFormat::Ltsv },
        };
        let slow: Arc<dyn Slow> = Arc::new(Ask { answer, log: Arc::clone(&log.log) });
        let quick = at_hand.map(|at_hand| at_hand.quick());
        let lines = access_log.map(|take| -> Arc<dyn LogSink> {
            Arc::new(Lines { take, log: Arc::clone(&log.log) })
        });
        let log = Arc::clone(&log.log);
        let started =
            py.detach(|| http::Server::start(options, &sockets, log, quick, &slow, lines));
        started.map(HttpServer).map_err(to_py)
    }

    #[pyo3(signature = (at_hand))]
    fn set_at_hand(&self, at_hand: Option<AtHand<'_>>) {
        self.0.set_quick(at_hand.map(|at_hand| at_hand.quick()));
    }

    fn stop(&self) {
        self.0.stop();
    }

    fn abort(&self) {
        self.0.abort();
    }

    fn wait(&self, py: Python<'_>, timeout_s: f64) -> PyResult<bool> {
        job::run(py, |cancel| self.0.wait(job::seconds(timeout_s), cancel))
    }

    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let stats = self.0.stats();
        let found = PyDict::new(py);
        found.set_item("open", stats.open.load(Relaxed))?;
        for (name, counter) in [
            ("accepted", &stats.accepted),
            ("quick", &stats.quick),
            ("refused", &stats.refused),
            ("timeouts", &stats.timeouts),
            ("errors", &stats.errors),
            ("pauses", &stats.pauses),
            ("log_dropped", &stats.log_dropped),
        ] {
            found.set_item(name, counter.load(Relaxed))?;
        }
        for (class, counter) in stats.answered.iter().enumerate() {
            found.set_item(format!("{}xx", class + 2), counter.load(Relaxed))?;
        }
        Ok(found)
    }
}
