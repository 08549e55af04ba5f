//! Wrapper of `kojuto_io::tls::TlsStream`.

use std::os::fd::RawFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use kojuto_io::tls::{Identity, TlsOptions, TlsStream as Stream};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::errors::refused;
use crate::job;

/// The most that one `recv` answers.
const LIMIT_BYTES: usize = 16 << 20;

pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<TlsStream>()
}

/// The client's side of a TLS connection.
#[pyclass(module = "kojuto._native", frozen)]
pub(crate) struct TlsStream {
    stream: Mutex<Option<Box<Stream>>>,
}

#[pymethods]
impl TlsStream {
    #[new]
    #[pyo3(signature = (
        fd, server_name, *, ca_pem = None, insecure = false, identity = None, timeout_s = 60.0
    ))]
    fn new(
        py: Python<'_>,
        fd: RawFd,
        server_name: &str,
        ca_pem: Option<Vec<u8>>,
        insecure: bool,
        identity: Option<(Vec<u8>, Vec<u8>)>,
        timeout_s: f64,
    ) -> PyResult<Self> {
        let identity = identity.map(|(certificates, key)| Identity { certificates, key });
        let options = TlsOptions { ca_pem, insecure, identity };
        let timeout = job::seconds(timeout_s);
        let stream =
            job::run(py, |cancel| Stream::connect(fd, server_name, &options, timeout, cancel))?;
        Ok(TlsStream { stream: Mutex::new(Some(Box::new(stream))) })
    }

    fn recv<'py>(&self, py: Python<'py>, limit: usize) -> PyResult<Bound<'py, PyBytes>> {
        let bytes = job::run(py, |cancel| {
            let mut buffer = vec![0; limit.min(LIMIT_BYTES)];
            let mut held = self.lock();
            let count = match held.as_mut() {
                Some(stream) => stream.recv(&mut buffer, cancel)?,
                None => return Ok(None),
            };
            buffer.truncate(count);
            Ok(Some(buffer))
        })?;
        Ok(PyBytes::new(py, &bytes.ok_or_else(gone)?))
    }

    fn sendall(&self, py: Python<'_>, data: &[u8]) -> PyResult<()> {
        job::run(py, |cancel| match self.lock().as_mut() {
            Some(stream) => stream.sendall(data, cancel).map(Some),
            None => Ok(None),
        })?
        .ok_or_else(gone)
    }
}

fn gone() -> PyErr {
    refused("the TLS connection was handed over")
}

impl TlsStream {
    fn lock(&self) -> MutexGuard<'_, Option<Box<Stream>>> {
        self.stream.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands the connection over.
    pub(crate) fn take(&self, py: Python<'_>) -> PyResult<Box<Stream>> {
        py.detach(|| self.lock().take()).ok_or_else(gone)
    }
}
