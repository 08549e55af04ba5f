//! How programs call what a report is made of: labels of ltsv.org, variables of nginx, the Elastic
//! Common Schema, OpenTelemetry, Envoy, Caddy, Traefik, Google Cloud, Cloudflare, Azure, Kong.

use crate::scan::duration;
use crate::scan::instant;
use crate::scan::number::{digits, parse_f64};

/// What a field of a line is for a report, in the order in which the keys are looked for.
pub const ROLES: [&str; 8] =
    ["request_time", "status", "request", "uri", "method", "bytes", "time", "host"];

pub(super) const TAKEN: usize = 0;
pub(super) const STATUS: usize = 1;
pub(super) const REQUEST: usize = 2;
pub(super) const URI: usize = 3;
pub(super) const METHOD: usize = 4;
pub(super) const BYTES: usize = 5;
pub(super) const WHEN: usize = 6;
pub(super) const HOST: usize = 7;

/// The names of each role, the first that a log has is taken.
pub(super) const NAMES: [&[&str]; ROLES.len()] = [
    &[
        "request_time",
        "reqtime",
        "ptime",
        "response_time",
        "duration",
        "elapsed",
        "latency",
        "apptime",
        "taken",
        "time_taken",
        "took",
        "request_time_ms",
        "duration_ms",
        "latency_ms",
        "elapsed_ms",
        "response_time_ms",
        "responseTime",
        "requestTime",
        "reqtime_microsec",
        "duration_us",
        "duration_ns",
        "elapsed_time",
        "process_time",
        "http.server.duration",
        "upstream_response_time",
    ],
    &[
        "status",
        "status_code",
        "statusCode",
        "http_status",
        "response_code",
        "responseCode",
        "http.response.status_code",
        "http.status_code",
        "response.status",
        "res.statusCode",
        "DownstreamStatus",
        "EdgeResponseStatus",
        "httpRequest.status",
        "properties.httpStatus",
        "properties.httpStatusCode",
        "sc-status",
        "sc_status",
        "elb_status_code",
        "code",
    ],
    &["req", "request", "request_line", "http_request", "requestLine"],
    &[
        "request_uri",
        "requestUri",
        "uri",
        "url",
        "path",
        "request.uri",
        "request.url",
        "req.url",
        "RequestPath",
        "ClientRequestURI",
        "ClientRequestPath",
        "httpRequest.requestUrl",
        "url.original",
        "url.path",
        "http.target",
        "http.url",
        "properties.requestUri",
        "resourcePath",
        "request_path",
        "target",
        "x-envoy-origin-path",
        ":path",
        // Of `"request":"%U","method":"%m"`, where none of its values is a request line.
        "request",
    ],
    &[
        "method",
        "request_method",
        "requestMethod",
        "request.method",
        "req.method",
        "RequestMethod",
        "ClientRequestMethod",
        "httpRequest.requestMethod",
        "http.request.method",
        "http.method",
        "http_method",
        "httpMethod",
        "properties.httpMethod",
        "verb",
        ":method",
    ],
    &[
        "size",
        "body_bytes_sent",
        "bytes_sent",
        "body_bytes",
        "bytes",
        "response_size",
        "responseSize",
        "response_bytes",
        "DownstreamContentSize",
        "EdgeResponseBytes",
        "http.response.body.bytes",
        "http.response.bytes",
        "httpRequest.responseSize",
        "response.size",
        "responseLength",
        "properties.sentBytes",
        "properties.responseBytes",
        "content_length",
        "sent",
    ],
    &[
        "time_iso8601",
        "time_local",
        "time",
        "@timestamp",
        "timestamp",
        "ts",
        "msec",
        "datetime",
        "date",
        "start_time",
        "StartUTC",
        "timeStamp",
        "started_at",
        "EdgeStartTimestamp",
        "eventTime",
        "requestTime",
        "time_unix",
        "when",
    ],
    &[
        "vhost",
        "http_host",
        "server_name",
        "virtual_host",
        "authority",
        ":authority",
        "request.host",
        "RequestHost",
        "ClientRequestHost",
        "url.domain",
        "properties.host",
        "req.headers.host",
        "host",
    ],
];

/// Fields that are no roles, which groups and conditions ask for by one name whatever a log calls
/// them: the first of the names that a log has is taken.
pub(super) const FURTHER: [(&str, &[&str]); 2] = [
    (
        "upstream",
        &[
            "upstream",
            "upstream_addr",
            "upstream_host",
            "upstream_address",
            "upstreamHost",
            "upstream.address",
            "backend",
            "backend_name",
            "backend_addr",
            "server_address",
            "ServiceURL",
            "ServiceAddr",
            "upstream_cluster",
            "proxy_upstream_name",
            "proxy_host",
            "target:port",
            "target_ip",
            "OriginIP",
            "serverIp",
            "httpRequest.serverIp",
            "properties.serverRouted",
        ],
    ),
    (
        "user-agent",
        &[
            "user-agent",
            "ua",
            "user_agent",
            "http_user_agent",
            "useragent",
            "userAgent",
            "User-Agent",
            "user_agent.original",
            "request_User-Agent",
            "request.headers.User-Agent",
            "request.headers.user-agent",
            "req.headers.user-agent",
            "http.user_agent",
            "httpRequest.userAgent",
            "ClientRequestUserAgent",
            "properties.userAgent",
            "cs(User-Agent)",
            "agent",
        ],
    ),
];

/// Whether a value can be that of a role.
pub(super) fn fits(role: usize, value: &[u8]) -> bool {
    let value = bare(value);
    match role {
        TAKEN => duration::taken(value, 1.0, duration::TimeList::Sum).is_some(),
        STATUS => digits::<u16>(value).is_some_and(|status| status < 1000),
        REQUEST => value.contains(&b' ') && !value.starts_with(b"/"),
        URI => value.starts_with(b"/") || value.starts_with(b"http") || value == b"*",
        METHOD => !value.is_empty() && value.iter().all(|b| b.is_ascii_alphabetic() || *b == b'-'),
        BYTES => parse_f64(value).is_some(),
        WHEN => instant::parse(value).is_some(),
        _ => is_host(value),
    }
}

/// Whether a value is a name of a host and no client's address.
pub(super) fn is_host(value: &[u8]) -> bool {
    let text = std::str::from_utf8(value).unwrap_or_default();
    !text.is_empty() && !text.contains([' ', '/', '"']) && text.parse::<std::net::IpAddr>().is_err()
}

/// Whether a value can be that of a role and, whatever its key is called, hardly anything else.
pub(super) fn tells(role: usize, name: &[u8], value: &[u8]) -> bool {
    let value = bare(value);
    match role {
        TAKEN => {
            let name = name.to_ascii_lowercase();
            let is_time = ["time", "dur", "latency", "elapsed", "taken", "took"]
                .iter()
                .any(|part| memchr::memmem::find(&name, part.as_bytes()).is_some());
            is_time && fits(TAKEN, value) && instant::parse(value).is_none()
        }
        STATUS => digits::<u16>(value).is_some_and(|s| (100..600).contains(&s)) && value.len() == 3,
        REQUEST => fits(REQUEST, value) && memchr::memmem::find(value, b" HTTP/").is_some(),
        URI => value.starts_with(b"/"),
        METHOD => {
            matches!(value, b"GET" | b"HEAD" | b"POST" | b"PUT" | b"DELETE" | b"PATCH" | b"OPTIONS")
        }
        WHEN => parse_f64(value).is_none() && fits(WHEN, value),
        _ => false,
    }
}

/// A value without the quotes and blanks around it.
#[inline]
pub(super) fn bare(value: &[u8]) -> &[u8] {
    match value {
        [b'"' | b' ', ..] | [.., b'"' | b' '] => {
            let value = value.trim_ascii();
            let inside = value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
            inside.unwrap_or(value).trim_ascii()
        }
        _ => value,
    }
}

/// The unit that the name of a time tells, as on the command line; else that of a log whose times are
/// all whole numbers, and not all of them 0 or 1, is the millisecond.
pub(super) fn unit(name: &[u8], values: &[&[u8]]) -> &'static str {
    let lower = name.to_ascii_lowercase();
    let ends = |ends: &[&str]| ends.iter().any(|end| lower.ends_with(end.as_bytes()));
    if ends(&["_ms", "millis", "milliseconds", "msec", "msecs"]) || name.ends_with(b"Ms") {
        return "ms";
    }
    if ends(&["_us", "micros", "microsec", "microseconds", "usec"]) {
        return "us";
    }
    if ends(&["_ns", "nanos", "nanoseconds", "nsec"]) {
        return "ns";
    }
    let mut whole = values.iter().map(|value| digits::<u64>(bare(value)));
    let most = whole.try_fold(0, |most: u64, value| value.map(|value| value.max(most)));
    if most.is_some_and(|most| most > 1) { "ms" } else { "s" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_tells_what_it_can_be() {
        for (role, yes, no) in [
            (TAKEN, "0.1, 0.2", "x"),
            (STATUS, "\"200\"", "OK"),
            (REQUEST, "GET / HTTP/1.1", "GET"),
            (REQUEST, "GET /a b", "/a b"),
            (URI, "/a", "a"),
            (METHOD, "M-SEARCH", "/"),
            (BYTES, "12", "k"),
            (WHEN, "29/Nov/2026:14:06:41 +0000", "12"),
            (HOST, "www.example.com:80", "10.0.0.1"),
        ] {
            assert!(fits(role, yes.as_bytes()), "{yes}");
            assert!(!fits(role, no.as_bytes()), "{no}");
        }
        assert!(tells(TAKEN, b"cpuTime", b"0.5") && !tells(TAKEN, b"bytes", b"0.5"));
        assert!(tells(STATUS, b"x", b"200") && !tells(STATUS, b"x", b"700"));
    }

    #[test]
    fn the_unit_is_that_of_the_name_or_of_whole_numbers() {
        for (name, values, wanted) in [
            ("reqtime_microsec", &[&b"5"[..]][..], "us"),
            ("EdgeTimeToFirstByteMs", &[b"5"], "ms"),
            ("duration_ns", &[b"5"], "ns"),
            ("duration", &[b"5", b"17"], "ms"),
            ("duration", &[b"0", b"1"], "s"),
            ("duration", &[b"5", b"1.5"], "s"),
            ("duration", &[], "s"),
        ] {
            assert_eq!(unit(name.as_bytes(), values), wanted, "{name}");
        }
    }
}
