//! A request and an answer, as those who answer see them.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION};
use hyper::http::request::Parts;
use hyper::{Response, StatusCode};
use kojuto_core::net::clean_path::cleaned;

use crate::{Error, Refused, Result};

/// A whole request.
#[derive(Debug)]
pub struct Request {
    /// Method, target, version and headers.
    pub head: Parts,
    /// Where it comes from: an IP address, or `unix:`.
    pub remote: String,
    /// The body, within the server's limit.
    pub body: Bytes,
}

/// An answer that may be given many times.
#[derive(Clone, Debug)]
pub struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Reply {
    /// A plain text.
    pub fn text(status: StatusCode, body: &'static str) -> Reply {
        Reply { status, headers: HeaderMap::new(), body: Bytes::from_static(body.as_bytes()) }
            .with(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"))
    }

    /// An answer from parts.
    ///
    /// # Errors
    /// [`Error::Refused`] with what is wrong with them.
    pub fn new(status: u16, headers: &[(String, String)], body: impl Into<Bytes>) -> Result<Reply> {
        let code = StatusCode::from_u16(status)
            .ok()
            .filter(|code| !code.is_informational())
            .ok_or(Error::Refused(Refused::Status(status)))?;
        let mut found = HeaderMap::with_capacity(headers.len());
        for (name, value) in headers {
            let key: HeaderName =
                name.parse().map_err(|_| Error::Refused(Refused::HeaderName(name.clone())))?;
            let value = HeaderValue::from_bytes(value.as_bytes())
                .map_err(|_| Error::Refused(Refused::HeaderValue(name.clone())))?;
            found.append(key, value);
        }
        Ok(Reply { status: code, headers: found, body: body.into() })
    }

    /// The same with a header more.
    #[must_use]
    pub fn with(mut self, name: HeaderName, value: HeaderValue) -> Reply {
        self.headers.insert(name, value);
        self
    }

    /// Its status.
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// Its headers.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// Its body.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    pub(super) fn body_bytes(&self) -> usize {
        self.body.len()
    }

    pub(super) fn into_response(self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(self.body));
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response
    }
}

/// The redirect to the clean form of a request's path, as Go's servers have it; none when the path
/// is clean.
pub fn moved(head: &Parts) -> Option<Reply> {
    let mut location = cleaned(head.uri.path())?;
    if let Some(query) = head.uri.query() {
        location.push('?');
        location.push_str(query);
    }
    let status = StatusCode::MOVED_PERMANENTLY;
    let reply = Reply { status, headers: HeaderMap::new(), body: Bytes::new() };
    Some(reply.with(LOCATION, HeaderValue::try_from(location).ok()?))
}

/// Answers that are at hand: asked first, on the thread of the connection, so it must not wait.
pub trait Quick: Send + Sync {
    /// The answer, or `None` when somebody else must be asked. `remote` is that of [`Request`].
    fn quick(&self, head: &Parts, remote: &str) -> Option<Reply>;
}

/// Answers that take time, on threads of their own.
pub trait Slow: Send + Sync {
    /// The answer.
    fn answer(&self, request: Request) -> Reply;
}
