//! Access-log lines in LTSV or JSON, handed over in batches by a thread of their own.

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hyper::header::{HOST, HeaderMap, HeaderName, REFERER, USER_AGENT};
use hyper::{Method, Uri, Version};
use kojuto_core::logs::log_name::rfc3339;
use kojuto_core::scan::json_line::JsonLine;

use crate::queue::{Lines, Queue};
use crate::running::{self, Runs};
use crate::sys::local_time::offset_s;

/// Lines that come this close together are handed over together.
const GATHER: Duration = Duration::from_millis(20);
/// The most of a value of the client's that goes into a line.
const VALUE_BYTES: usize = 2048;

/// How a line is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LineFormat {
    /// Labels of ltsv.org.
    #[default]
    Ltsv,
    /// An object with the members that the Go programs write, status 0 for 200 among them: theirs
    /// is 0 when the program left it at that.
    Json,
}

/// Takes batches of whole lines, on a thread that does nothing else.
pub trait LogSink: Send + Sync {
    /// `lines` ends with a newline.
    fn take(&self, lines: &[u8]);
}

/// The queue of lines.
pub(super) struct AccessLog {
    queue: Queue<Lines>,
    format: LineFormat,
}

/// What a line keeps of a request.
pub(super) struct Entry {
    method: Method,
    target: Uri,
    version: Version,
    headers: HeaderMap,
}

impl Entry {
    pub(super) fn new(head: &hyper::http::request::Parts) -> Entry {
        let mut headers = HeaderMap::with_capacity(4);
        for name in wanted() {
            if let Some(value) = head.headers.get(&name.0) {
                headers.insert(name.0, value.clone());
            }
        }
        let (method, target) = (head.method.clone(), head.uri.clone());
        Entry { method, target, version: head.version, headers }
    }
}

/// Headers and their labels (ltsv.org).
fn wanted() -> [(HeaderName, &'static str); 4] {
    let forwarded = HeaderName::from_static("x-forwarded-for");
    [(forwarded, "forwardedfor"), (HOST, "vhost"), (REFERER, "referer"), (USER_AGENT, "ua")]
}

impl AccessLog {
    /// Starts the thread, which `counted` counts.
    pub(super) fn start(
        counted: Runs,
        sink: Arc<dyn LogSink>,
        format: LineFormat,
    ) -> io::Result<Arc<AccessLog>> {
        let log = Arc::new(AccessLog { queue: Queue::default(), format });
        let writer = Arc::clone(&log);
        running::start("access-log", move || {
            let _counted = counted;
            writer.queue.serve(GATHER, |lines| sink.take(&lines.bytes));
        })?;
        Ok(log)
    }

    /// Queues a line; false when it was dropped.
    pub(super) fn write(
        &self,
        entry: &Entry,
        remote: &str,
        status: u16,
        bytes: usize,
        took: Duration,
    ) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let write = match self.format {
            LineFormat::Ltsv => ltsv,
            LineFormat::Json => json,
        };
        let line = write(entry, remote, status, bytes, took, now.as_secs() as i64);
        self.queue.put(|lines| lines.push(&line))
    }

    /// Hands over what is queued and ends the thread.
    pub(super) fn close(&self) {
        self.queue.close();
    }
}

fn json(
    entry: &Entry,
    remote: &str,
    status: u16,
    bytes: usize,
    took: Duration,
    now_s: i64,
) -> Vec<u8> {
    let header = |name: HeaderName| {
        let value = entry.headers.get(name).map_or(&b""[..], |value| value.as_bytes());
        &value[..value.len().min(VALUE_BYTES)]
    };
    let path = entry.target.path().as_bytes();
    JsonLine::begin("time", &local_time(now_s))
        .text("remote_addr", remote)
        .text("method", entry.method.as_str())
        .bytes("uri", &path[..path.len().min(VALUE_BYTES)])
        .number("status", if status == 200 { 0 } else { u64::from(status) })
        .number("size", bytes as u64)
        .bytes("ua", header(USER_AGENT))
        .seconds("ptime", took.as_secs_f64())
        .bytes("host", header(HOST))
        .text("chocon_req", "")
        .end()
}

fn ltsv(
    entry: &Entry,
    remote: &str,
    status: u16,
    bytes: usize,
    took: Duration,
    now_s: i64,
) -> Vec<u8> {
    let mut line = Vec::with_capacity(256);
    line.extend_from_slice(b"time:");
    line.extend_from_slice(local_time(now_s).as_bytes());
    put(&mut line, "host", remote.as_bytes());
    put(&mut line, "method", entry.method.as_str().as_bytes());
    put(&mut line, "uri", entry.target.path().as_bytes()); // a query may hold secrets
    put(&mut line, "protocol", format!("{:?}", entry.version).as_bytes());
    put(&mut line, "status", status.to_string().as_bytes());
    put(&mut line, "size", bytes.to_string().as_bytes());
    put(&mut line, "reqtime", format!("{:.6}", took.as_secs_f64()).as_bytes());
    for (name, label) in wanted() {
        let value = entry.headers.get(name).map_or(&b"-"[..], |value| value.as_bytes());
        put(&mut line, label, value);
    }
    line.push(b'\n');
    line
}

/// A label with its value; control characters and backslashes are written as `\xHH`, and what is
/// too long is cut.
fn put(line: &mut Vec<u8>, label: &str, value: &[u8]) {
    line.push(b'\t');
    line.extend_from_slice(label.as_bytes());
    line.push(b':');
    for &byte in value.iter().take(VALUE_BYTES) {
        if byte < 0x20 || byte == 0x7f || byte == b'\\' {
            line.extend_from_slice(format!("\\x{byte:02x}").as_bytes());
        } else {
            line.push(byte);
        }
    }
}

fn local_time(now_s: i64) -> String {
    let offset = offset_s(now_s).unwrap_or(0);
    rfc3339(now_s + offset, offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put_one(value: &[u8]) -> String {
        let mut line = Vec::new();
        put(&mut line, "ua", value);
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn what_a_terminal_or_a_reader_of_ltsv_would_obey_is_escaped() {
        for byte in 0..=0x7f_u8 {
            let plain = format!("\tua:<{}>", char::from(byte));
            let expected = match byte {
                0..0x20 | 0x7f | b'\\' => format!("\tua:<\\x{byte:02x}>"),
                _ => plain,
            };
            assert_eq!(put_one(&[b'<', byte, b'>']), expected);
        }
        assert_eq!(put_one("\u{3042}".as_bytes()), "\tua:\u{3042}");
    }

    #[test]
    fn a_json_line_has_the_members_of_the_originals_and_no_query() {
        let request = hyper::Request::get("/has/web/1?token=secret").header(USER_AGENT, "u\"a/1");
        let (head, ()) = request.header(HOST, "h.example").body(()).unwrap().into_parts();
        let entry = Entry::new(&head);
        let line = json(&entry, "192.0.2.1", 404, 59, Duration::from_millis(2), 0);
        let text = String::from_utf8(line).unwrap();
        let (time, rest) = text.split_once(",\"remote").unwrap();
        assert!(time.starts_with("{\"time\":\"19"), "{time}");
        let expected = "_addr\":\"192.0.2.1\",\"method\":\"GET\",\"uri\":\"/has/web/1\",\
            \"status\":404,\"size\":59,\"ua\":\"u\\\"a/1\",\"ptime\":0.002000,\
            \"host\":\"h.example\",\"chocon_req\":\"\"}\n";
        assert_eq!(rest, expected);
        let line = json(&entry, "192.0.2.1", 200, 12, Duration::ZERO, 0);
        assert!(String::from_utf8(line).unwrap().contains("\"status\":0,"));
    }

    #[test]
    fn a_value_is_cut_at_2048_bytes() {
        let text = |length: usize| "x".repeat(length);
        assert_eq!(put_one(text(VALUE_BYTES).as_bytes()), "\tua:".to_owned() + &text(2048));
        assert_eq!(put_one(text(VALUE_BYTES + 1).as_bytes()), "\tua:".to_owned() + &text(2048));
    }
}
