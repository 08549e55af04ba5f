//! Request lines.

/// A request: its method (empty where the log has none) and its target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Request<'a> {
    pub(crate) method: &'a [u8],
    pub(crate) target: &'a [u8],
}

/// The longest method that is one.
const MAX_METHOD: usize = 32;

/// A method and target of their own fields; None for what is no request.
pub(crate) fn of_fields<'a>(method: &'a [u8], target: &'a [u8]) -> Option<Request<'a>> {
    let method = if method == b"-" { b"" } else { method };
    let known = method.is_empty() || is_method(method);
    (known && is_target(method, target)).then_some(Request { method, target })
}

/// The request of a request line, `GET /x HTTP/1.1`; None for what is none. The target goes from the
/// first blank to the last one, as servers take it that allow blanks in it.
pub(crate) fn of_line(line: &[u8]) -> Option<Request<'_>> {
    let line = line.trim_ascii();
    let first = memchr::memchr(b' ', line)?;
    let (method, rest) = (&line[..first], &line[first + 1..]);
    let target = match memchr::memrchr(b' ', rest) {
        Some(last) if is_version(&rest[last + 1..]) => &rest[..last],
        _ => rest,
    };
    let target = target.trim_ascii();
    (is_method(method) && is_target(method, target)).then_some(Request { method, target })
}

/// A token of letters, as all registered methods are (RFC 9110, 16.1.1; some have a dash).
fn is_method(text: &[u8]) -> bool {
    let is_of_method = |&byte: &u8| byte.is_ascii_alphabetic() || byte == b'-' || byte == b'_';
    text.len() <= MAX_METHOD
        && text.first().is_some_and(u8::is_ascii_alphabetic)
        && text.iter().all(is_of_method)
}

fn is_version(text: &[u8]) -> bool {
    text.len() >= 5 && text[..5].eq_ignore_ascii_case(b"HTTP/")
}

/// A path, an absolute target or `*`; behind CONNECT any (RFC 9112, 3.2).
fn is_target(method: &[u8], target: &[u8]) -> bool {
    match target {
        [] | b"-" => false,
        [b'/', ..] | b"*" => true,
        _ => method == b"CONNECT" || super::without_host(target).len() < target.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Option<(&str, &str)> {
        let request = of_line(text.as_bytes())?;
        let text = |bytes| str::from_utf8(bytes).unwrap();
        Some((text(request.method), text(request.target)))
    }

    #[test]
    fn a_request_line_is_cut_at_its_first_and_last_blank() {
        for (text, request) in [
            ("GET /x HTTP/1.1", Some(("GET", "/x"))),
            ("GET /a b c HTTP/1.1", Some(("GET", "/a b c"))),
            ("GET /a b", Some(("GET", "/a b"))),
            ("M-SEARCH * HTTP/1.1", Some(("M-SEARCH", "*"))),
            ("OPTIONS * HTTP/1.1", Some(("OPTIONS", "*"))),
            ("CONNECT example.com:443 HTTP/1.1", Some(("CONNECT", "example.com:443"))),
            ("GET http://example.com HTTP/1.1", Some(("GET", "http://example.com"))),
            ("-", None),
            ("", None),
            ("GET", None),
            ("GET - HTTP/1.1", None),
            ("\\x16\\x03\\x01 /x HTTP/1.1", None),
            ("\x16\x03\x01\x02", None),
            ("SSH-2.0-Go", None),
            ("hello there", None),
        ] {
            assert_eq!(line(text), request, "{text}");
        }
    }

    #[test]
    fn a_log_may_have_no_methods() {
        let target = &b"/x"[..];
        for method in [&b""[..], b"-"] {
            assert_eq!(of_fields(method, target), Some(Request { method: b"", target }));
        }
        assert_eq!(of_fields(b"-", b"-"), None);
        assert_eq!(of_fields(b"GET", b""), None);
        assert_eq!(of_fields(b"\x16", target), None);
    }
}
