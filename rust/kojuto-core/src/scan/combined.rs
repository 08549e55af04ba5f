//! Lines that are no key-value format: the common and combined log formats of Apache and nginx,
//! and regular expressions with named groups.

use crate::scan::fields::{Keys, Line, Rows};

/// The names of the combined format's fields, in the labels of ltsv.org; `ptime` is an optional
/// last one, the time taken.
pub const FIELDS: [&str; 12] = [
    "host", "ident", "user", "time", "req", "method", "uri", "protocol", "status", "size",
    "referer", "ua",
];

/// Scans a block of whole lines, each ended by `\n`, of the common or combined log format
/// (<https://httpd.apache.org/docs/2.4/logs.html>), and hands every line to `rows`.
///
/// `%h %l %u [time] "request" status size "referer" "user agent" time-taken`, where all behind the
/// size may be missing. A user may hold blanks, the quoted fields escaped quotes. Key 0 takes the
/// time taken, whatever its name; the others take the field of their name.
pub fn scan<'a, R: Rows<'a>>(block: &'a [u8], keys: &Keys, rows: &mut R) {
    each_line(
        block,
        |line, state| {
            let Some(record) = Record::read(line) else { return };
            for (at, key) in keys.list().iter().enumerate() {
                let value = match &*key.name {
                    _ if at == 0 => record.time_taken,
                    b"host" => record.host,
                    b"ident" => record.ident,
                    b"user" => record.user,
                    b"time" => record.time,
                    b"req" => record.request,
                    b"method" => record.request_part(0),
                    b"uri" => record.request_part(1),
                    b"protocol" => record.request_part(2),
                    b"status" => record.status,
                    b"size" => record.size,
                    b"referer" => record.referer,
                    b"ua" => record.ua,
                    _ => b"",
                };
                state.keep(at, value);
            }
        },
        rows,
    );
}

/// Whether a line is of the common or combined log format.
pub(crate) fn is_combined(line: &[u8]) -> bool {
    Record::read(line.strip_suffix(b"\r").unwrap_or(line)).is_some()
}

/// Scans a block of whole lines with a regular expression; a key takes the group of its name.
pub fn scan_regex<'a, R: Rows<'a>>(
    block: &'a [u8],
    keys: &Keys,
    regex: &regex::bytes::Regex,
    rows: &mut R,
) {
    let groups: Vec<Option<usize>> = keys
        .list()
        .iter()
        .map(|key| {
            regex.capture_names().position(|name| name.map(str::as_bytes) == Some(&key.name))
        })
        .collect();
    let mut places = regex.capture_locations();
    each_line(
        block,
        |line, state| {
            if regex.captures_read(&mut places, line).is_none() {
                return;
            }
            for (at, group) in groups.iter().enumerate() {
                if let Some((start, end)) = group.and_then(|group| places.get(group)) {
                    state.keep(at, &line[start..end]);
                }
            }
        },
        rows,
    );
}

fn each_line<'a, R: Rows<'a>>(
    block: &'a [u8],
    mut read: impl FnMut(&'a [u8], &mut Line<'a>),
    rows: &mut R,
) {
    let mut state = Line::new(0);
    for end in memchr::memchr_iter(b'\n', block) {
        let line = &block[state.start..end];
        read(line.strip_suffix(b"\r").unwrap_or(line), &mut state);
        state.finish(block, end, rows);
    }
}

struct Record<'a> {
    host: &'a [u8],
    ident: &'a [u8],
    user: &'a [u8],
    time: &'a [u8],
    request: &'a [u8],
    status: &'a [u8],
    size: &'a [u8],
    referer: &'a [u8],
    ua: &'a [u8],
    time_taken: &'a [u8],
}

impl<'a> Record<'a> {
    fn read(line: &'a [u8]) -> Option<Record<'a>> {
        let (host, rest) = word(line)?;
        let (ident, rest) = word(rest)?;
        let bracket = memchr::memmem::find(rest, b" [").or(rest.starts_with(b"[").then_some(0))?;
        let user = &rest[..bracket];
        let rest = rest[bracket..].trim_ascii_start().strip_prefix(b"[")?;
        let close = memchr::memchr(b']', rest)?;
        let time = &rest[..close];
        let (request, rest) = quoted(rest[close + 1..].trim_ascii_start())?;
        let (status, rest) = word(rest.trim_ascii_start())?;
        let (size, rest) = word(rest).unwrap_or((rest, b""));
        let (referer, rest) = quoted(rest.trim_ascii_start()).unwrap_or((b"", rest));
        let (ua, rest) = quoted(rest.trim_ascii_start()).unwrap_or((b"", rest));
        // Other fields may stand between; the time taken is the last one.
        let rest = rest.trim_ascii();
        let time_taken = rest.rsplit(|&b| b == b' ').next().unwrap_or_default();
        let time_taken = if time_taken.ends_with(b"\"") { b"" } else { time_taken };
        Some(Record { host, ident, user, time, request, status, size, referer, ua, time_taken })
    }

    fn request_part(&self, index: usize) -> &'a [u8] {
        self.request.split(|&b| b == b' ').nth(index).unwrap_or_default()
    }
}

/// The text up to the next blank, and what follows the blank; the whole rest without one.
fn word(text: &[u8]) -> Option<(&[u8], &[u8])> {
    if text.is_empty() {
        return None;
    }
    match memchr::memchr(b' ', text) {
        Some(0) => None,
        Some(end) => Some((&text[..end], &text[end + 1..])),
        None => Some((text, b"")),
    }
}

/// The inside of a quoted text at the beginning, and what follows the closing quote.
fn quoted(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let inside = text.strip_prefix(b"\"")?;
    let mut at = 0;
    loop {
        match inside.get(at)? {
            b'"' => return Some((&inside[..at], &inside[at + 1..])),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::fields::Values;

    fn read(line: &str, names: &[&str]) -> Vec<String> {
        let names: Vec<_> = names.iter().map(|n| (n.as_bytes(), true)).collect();
        let keys = Keys::new(&names).unwrap();
        let block = format!("{line}\n");
        let mut found = Vec::new();
        scan(block.as_bytes(), &keys, &mut |_: &[u8], values: &Values<'_>| {
            found = values[..keys.count()]
                .iter()
                .map(|v| String::from_utf8_lossy(v).into_owned())
                .collect();
        });
        found
    }

    #[test]
    fn the_fields_of_a_combined_line() {
        let names =
            ["t", "host", "user", "time", "method", "uri", "status", "size", "referer", "ua"];
        let line = r#"10.0.0.1 - John Doe [10/Oct/2000:13:55:36 -0700] "GET /a?b HTTP/1.0" 200 2326 "http://x/" "a \"b\" c" 0.012"#;
        let expected = [
            "0.012",
            "10.0.0.1",
            "John Doe",
            "10/Oct/2000:13:55:36 -0700",
            "GET",
            "/a?b",
            "200",
            "2326",
            "http://x/",
            r#"a \"b\" c"#,
        ];
        assert_eq!(read(line, &names), expected);
        assert_eq!(
            read(r#"::1 - - [x] "GET / HTTP/1.1" 304 -"#, &["t", "status", "size"]),
            ["", "304", ""]
        );
        assert_eq!(
            read(r#"h - - [x] "" 400 0 "-" "-" 1 0.5"#, &["t", "status", "uri"]),
            ["0.5", "400", ""]
        );
        assert_eq!(
            read(r#"h - - [x] "GET / HTTP/1.1" 200 1 "-" "ua" "fwd""#, &["t", "status"]),
            ["", "200"]
        );
    }

    #[test]
    fn a_line_without_a_user_and_one_that_ends_in_a_carriage_return() {
        let names = ["t", "user", "status", "size"];
        assert_eq!(read("h - [x] \"GET /\" 200 17", &names), ["", "", "200", "17"]);
        assert_eq!(read("h - u [x] \"GET /\" 200 17\r", &names), ["", "u", "200", "17"]);
        assert_eq!(read("h - u [x] \"GET /\" 200 -\r", &names), ["", "u", "200", ""]);
    }

    #[test]
    fn what_is_no_such_line_has_no_values() {
        for line in [
            "",
            " ",
            "a",
            "a b",
            "a b c",
            "a b [",
            "a - - [t] \"x",
            "a - - [t] x 200",
            r#"a - - [t] "\"#,
        ] {
            assert_eq!(read(line, &["t", "status"]), ["", ""], "{line}");
        }
    }
}
