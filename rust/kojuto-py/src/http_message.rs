//! A request and an answer as Python has them.

use kojuto_io::http::{self, Reply};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::errors::to_py;

/// A whole request.
#[pyclass(module = "kojuto._native", frozen)]
pub(crate) struct HttpRequest(pub(crate) http::Request);

#[pymethods]
impl HttpRequest {
    #[getter]
    fn method(&self) -> &str {
        self.0.head.method.as_str()
    }

    #[getter]
    fn target(&self) -> String {
        self.0.head.uri.to_string()
    }

    #[getter]
    fn remote(&self) -> &str {
        &self.0.remote
    }

    #[getter]
    fn body<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0.body)
    }

    fn header(&self, name: &str) -> Vec<String> {
        self.0.head.headers.get_all(name).iter().map(|value| latin1(value.as_bytes())).collect()
    }
}

fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|&byte| char::from(byte)).collect()
}

/// A body as text or bytes.
#[derive(FromPyObject)]
pub(crate) enum Content {
    Text(String),
    Bytes(Vec<u8>),
}

impl From<Content> for Vec<u8> {
    fn from(content: Content) -> Vec<u8> {
        match content {
            Content::Text(text) => text.into_bytes(),
            Content::Bytes(bytes) => bytes,
        }
    }
}

pub(crate) type Headers = Vec<(String, String)>;

/// An answer as Python has it.
pub(crate) type Given = (u16, Headers, Vec<u8>);

/// The opposite of [`reply`].
pub(crate) fn given(reply: &Reply) -> Given {
    let headers = reply.headers().iter();
    let headers = headers.map(|(name, value)| (name.to_string(), latin1(value.as_bytes())));
    (reply.status().as_u16(), headers.collect(), reply.body().to_vec())
}

pub(crate) fn reply(status: u16, headers: &Headers, body: Content) -> PyResult<Reply> {
    Reply::new(status, headers, Vec::from(body)).map_err(to_py)
}
