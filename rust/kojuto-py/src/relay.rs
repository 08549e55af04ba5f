//! Wrappers of `kojuto_io::relay`.

mod arguments;
mod dump;

use std::os::fd::RawFd;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use kojuto_core::net::balance::Balance;
use kojuto_io::Error;
use kojuto_io::log::{Detail, Log};
use kojuto_io::relay::{
    self, Adoption, CONNECT_BOUNDS_US, Field, HeaderIn, HeaderOut, Limits, Options, Party, Pool,
    ROUND_TRIP_BOUNDS_US, Remote, Stream, Tap,
};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use crate::errors::{refused, to_py};
use crate::job;
use crate::tls::TlsStream;
use arguments::{address, party, ranges, seconds, upstream};
use dump::Dump;

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<LogWriter>()?;
    module.add_class::<Dump>()?;
    module.add_class::<Relay>()
}

/// Log lines on standard error by a thread of their own.
#[pyclass(module = "kojuto._native", frozen)]
pub(crate) struct LogWriter {
    pub(crate) log: Arc<Log>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[pymethods]
impl LogWriter {
    #[new]
    #[pyo3(signature = (*, verbose = false, quiet = false))]
    fn new(verbose: bool, quiet: bool) -> PyResult<Self> {
        let detail = match (verbose, quiet) {
            (true, _) => Detail::All,
            (_, true) => Detail::Failures,
            _ => Detail::Usual,
        };
        let (log, thread) =
            Log::start(2, detail).map_err(|error| to_py(Error::starting("the log")(error)))?;
        Ok(LogWriter { log, thread: Mutex::new(Some(thread)) })
    }

    fn write(&self, line: &[u8]) {
        self.log.write(line);
    }

    fn write_accesses(&self, lines: &[u8]) {
        self.log.write_floods(lines);
    }

    fn close(&self, py: Python<'_>) {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            self.log.close();
            py.detach(|| join_soon(&thread));
        }
    }
}

/// How long the end of a process waits for somebody who should read its log or its capture.
const READER_PATIENCE: Duration = Duration::from_secs(3);

/// How long a list of the connections waits for the relay's threads.
const LISTING_LIMIT: Duration = Duration::from_secs(3);

/// Waits for a thread that writes its last; one that stands still ends with the process.
fn join_soon(thread: &JoinHandle<()>) {
    let deadline = Instant::now() + READER_PATIENCE;
    while !thread.is_finished() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A value of a log line as Python has it.
#[derive(FromPyObject)]
enum FieldArgument {
    Number(u64),
    Text(String),
}

impl From<FieldArgument> for Field {
    fn from(value: FieldArgument) -> Field {
        match value {
            FieldArgument::Number(number) => Field::Number(number),
            FieldArgument::Text(text) => Field::Text(text),
        }
    }
}

/// A running relay. All methods may be called from any thread.
#[pyclass(module = "kojuto._native", frozen)]
struct Relay {
    engine: relay::Relay,
    pools: Mutex<Vec<Arc<Pool>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[pymethods]
impl Relay {
    #[new]
    #[pyo3(signature = (
        log, *, connect_timeout_s = 60.0, idle_timeout_s = 0.0, half_close_timeout_s = 3600.0,
        header_timeout_s = 5.0, trusted = Vec::new(), allow = Vec::new(), deny = Vec::new(),
        probe_upstream = false, header_out = "off", max_connections = 0, max_attempts = 3, threads = 0, busy_poll_s = 0.00008,
        leaving_timeout_s = 60.0, dump = None
    ))]
    #[expect(clippy::too_many_arguments, reason = "one for each option, all by name")]
    fn new(
        log: &LogWriter,
        connect_timeout_s: f64,
        idle_timeout_s: f64,
        half_close_timeout_s: f64,
        header_timeout_s: f64,
        trusted: Vec<String>,
        allow: Vec<String>,
        deny: Vec<String>,
        probe_upstream: bool,
        header_out: &str,
        max_connections: usize,
        max_attempts: usize,
        threads: usize,
        busy_poll_s: f64,
        leaving_timeout_s: f64,
        dump: Option<&Dump>,
    ) -> PyResult<Self> {
        let options = Options {
            connect_timeout: seconds(connect_timeout_s)?,
            idle_timeout: seconds(idle_timeout_s)?,
            half_close_timeout: seconds(half_close_timeout_s)?,
            leaving_timeout: seconds(leaving_timeout_s)?,
            header_timeout: seconds(header_timeout_s)?,
            trusted: ranges(&trusted)?,
            allow: ranges(&allow)?,
            deny: ranges(&deny)?,
            probe_upstream,
            header_out: match header_out {
                "off" => HeaderOut::Off,
                "v1" => HeaderOut::V1,
                "v2" => HeaderOut::V2,
                other => return Err(refused(format!("header_out={other}"))),
            },
            max_connections,
            max_attempts,
            threads,
            busy_poll: seconds(busy_poll_s)?,
        };
        let tap = dump.map(|dump| -> Arc<dyn Tap> { Arc::<relay::Dump>::clone(&dump.dump) });
        let engine = relay::Relay::start(options, Arc::clone(&log.log), tap).map_err(to_py)?;
        Ok(Relay { engine, pools: Mutex::default() })
    }

    #[pyo3(signature = (balancing, *, max_fails = 1, fail_timeout_s = 10.0, host = ""))]
    fn add_pool(
        &self,
        balancing: &str,
        max_fails: u32,
        fail_timeout_s: f64,
        host: &str,
    ) -> PyResult<usize> {
        let rule = Balance::from_name(balancing)
            .ok_or_else(|| refused(format!("balancing={balancing}")))?;
        let mut pools = lock(&self.pools);
        let limits = Limits { max_fails, rest: seconds(fail_timeout_s)? };
        pools.push(Arc::new(Pool::new(rule, limits, host.to_owned())));
        Ok(pools.len() - 1)
    }

    #[pyo3(signature = (pool, addresses, containers = Vec::new()))]
    fn set_upstreams(
        &self,
        pool: usize,
        addresses: Vec<(String, u16)>,
        containers: Vec<String>,
    ) -> PyResult<()> {
        let addresses: PyResult<Vec<_>> = addresses.into_iter().map(upstream).collect();
        let names = containers.iter().map(String::as_str).chain(std::iter::repeat(""));
        self.pool(pool)?.replace_containers(addresses?.into_iter().zip(names));
        Ok(())
    }

    fn cut(&self, pool: usize, upstream: (String, u16)) -> PyResult<()> {
        self.engine.cut(&self.pool(pool)?, address(upstream)?);
        Ok(())
    }

    #[pyo3(signature = (pool, *, settle_s, wait_for_upstream))]
    fn set_settling(&self, pool: usize, settle_s: f64, wait_for_upstream: bool) -> PyResult<()> {
        let settle_ms = seconds(settle_s)?.as_millis() as u64;
        self.pool(pool)?.set_settling(settle_ms, wait_for_upstream);
        Ok(())
    }

    #[pyo3(signature = (fd, name, pool, *, header_in = "off"))]
    fn listen(&self, fd: RawFd, name: &str, pool: usize, header_in: &str) -> PyResult<()> {
        let header_in = match header_in {
            "off" => HeaderIn::Off,
            "optional" => HeaderIn::Optional,
            "lazy" => HeaderIn::Lazy,
            "require" => HeaderIn::Require,
            other => return Err(refused(format!("header_in={other}"))),
        };
        let pool = self.pool(pool)?;
        self.engine.listen(fd, name, &pool, header_in).map_err(to_py)
    }

    fn unlisten(&self, pool: usize) -> PyResult<()> {
        self.pool(pool).map(|pool| self.engine.unlisten(&pool))
    }

    #[pyo3(signature = (
        client, upstream, *, websocket, masked, remote, listener, upstream_name,
        client_data = Vec::new(), upstream_data = Vec::new(), fields = Vec::new(),
        ping_interval_s = 30.0, lenient = false, grant = None
    ))]
    #[expect(clippy::too_many_arguments, reason = "one for each field of a connection")]
    fn adopt(
        &self,
        client: RawFd,
        upstream: &Bound<'_, PyAny>,
        websocket: &str,
        masked: bool,
        remote: &str,
        listener: String,
        upstream_name: String,
        client_data: Vec<u8>,
        upstream_data: Vec<u8>,
        fields: Vec<(String, FieldArgument)>,
        ping_interval_s: f64,
        lenient: bool,
        grant: Option<String>,
    ) -> PyResult<()> {
        let websocket = party(websocket)?;
        let ping_interval = seconds(ping_interval_s)?;
        let upstream = match upstream.cast::<TlsStream>() {
            Ok(_) if websocket == Party::Client => {
                return Err(refused("only a WebSocket upstream can speak TLS"));
            }
            Ok(stream) => Stream::Tls(stream.get().take(upstream.py())?),
            Err(_) => Stream::Socket(upstream.extract()?),
        };
        let adoption = Adoption {
            client: Stream::Socket(client),
            upstream,
            websocket,
            masked,
            lenient,
            remote: Remote::from_text(remote),
            listener,
            upstream_name,
            client_data,
            upstream_data,
            fields: fields.into_iter().map(|(key, value)| (key, value.into())).collect(),
            ping_interval,
            grant,
        };
        self.engine.adopt(adoption).map_err(to_py)
    }

    fn grants(&self) -> Vec<(u64, String)> {
        let all = self.engine.grants();
        all.into_iter().map(|(number, text)| (number, text.as_ref().to_owned())).collect()
    }

    fn revoke(&self, numbers: Vec<u64>) {
        self.engine.revoke(numbers);
    }

    fn stop(&self) {
        self.engine.stop();
    }

    fn abort(&self) {
        self.engine.abort();
    }

    fn wait(&self, py: Python<'_>, timeout_s: f64) -> PyResult<bool> {
        let limit = seconds(timeout_s)?;
        job::run(py, |cancel| self.engine.wait(limit, cancel))
    }

    fn connections<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        let found = py.detach(|| self.engine.connections(LISTING_LIMIT));
        PyBytes::new(py, &found)
    }

    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let stats = self.engine.stats();
        let found = PyDict::new(py);
        found.set_item("open", stats.open.load(Relaxed))?;
        for (name, counter) in [
            ("accepted", &stats.accepted),
            ("succeeded", &stats.succeeded),
            ("failed", &stats.failed),
            ("read_bytes", &stats.read_bytes),
            ("write_bytes", &stats.write_bytes),
            ("connect_failures", &stats.connect_failures),
            ("header_failures", &stats.header_failures),
            ("refused", &stats.refused),
            ("probes", &stats.probes),
            ("pauses", &stats.pauses),
            ("connect_us", &stats.connect_us),
            ("round_trip_us", &stats.round_trip_us),
        ] {
            found.set_item(name, counter.load(Relaxed))?;
        }
        for (name, counts) in
            [("connect_times", &stats.connect_times[..]), ("round_trips", &stats.round_trips)]
        {
            let counts: Vec<u64> = counts.iter().map(|count| count.load(Relaxed)).collect();
            found.set_item(name, counts)?;
        }
        found.set_item("connect_bounds_us", CONNECT_BOUNDS_US.to_vec())?;
        found.set_item("round_trip_bounds_us", ROUND_TRIP_BOUNDS_US.to_vec())?;
        let mut upstreams = Vec::new();
        for (at, pool) in lock(&self.pools).iter().enumerate() {
            for member in pool.members().iter() {
                let row = PyDict::new(py);
                row.set_item("pool", at)?;
                row.set_item("name", &member.name)?;
                row.set_item("container", &member.container)?;
                row.set_item("open", member.open.load(Relaxed))?;
                row.set_item("connected", member.connected.load(Relaxed))?;
                row.set_item("failed", member.failed.load(Relaxed))?;
                row.set_item("up", !pool.is_left_out(member))?;
                upstreams.push(row);
            }
        }
        found.set_item("upstreams", upstreams)?;
        Ok(found)
    }
}

impl Relay {
    fn pool(&self, at: usize) -> PyResult<Arc<Pool>> {
        let found = lock(&self.pools).get(at).map(Arc::clone);
        found.ok_or_else(|| refused(format!("there is no pool {at}")))
    }
}
