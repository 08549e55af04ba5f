//! Lines that are no key-value format: the common and combined log formats of Apache and nginx,
//! and regular expressions with named groups.

mod record;
mod shape;
mod words;

pub(super) use self::record::request_part;
use self::record::{Record, Wanted};
use self::words::{Words, quoted};
use crate::scan::duration::is_telling;
use crate::scan::fields::{Keys, Line, Rows};
use crate::scan::simd::Level;

/// The names of the combined format's fields, in the labels of ltsv.org.
pub const FIELDS: [&str; 13] = [
    "vhost", "host", "ident", "user", "time", "req", "method", "uri", "protocol", "status", "size",
    "referer", "ua",
];

/// Which field of a line is the time taken.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum TimeField {
    /// The last one behind the user agent, if it has a fraction or a unit.
    #[default]
    Telling,
    /// The last one behind the size, whatever it is.
    Last,
    /// None.
    Absent,
    /// This one, from 1 on; from the end on, -1 on, when it is negative.
    Number(i32),
    /// The value of `NAME=value`.
    Name(Box<[u8]>),
}

impl TimeField {
    /// As the command line has it: `last`, `none`, a number or a name.
    pub fn parse(text: &str) -> Option<TimeField> {
        Some(match (text, text.parse()) {
            ("", _) | (_, Ok(0)) => return None,
            ("last", _) => TimeField::Last,
            ("none", _) => TimeField::Absent,
            (_, Ok(number)) => TimeField::Number(number),
            (name, Err(_)) => TimeField::Name(name.as_bytes().into()),
        })
    }

    fn of<'a>(&self, line: &'a [u8], extra: &'a [u8]) -> &'a [u8] {
        let words = Words { rest: line };
        let last = |words: Words<'a>| words.last().unwrap_or_default();
        match self {
            TimeField::Absent => b"",
            TimeField::Telling => Some(last(Words { rest: extra }))
                .filter(|text| is_telling(text))
                .unwrap_or_default(),
            TimeField::Last => last(Words { rest: extra }),
            TimeField::Number(number @ 1..) => {
                words.clone().nth(*number as usize - 1).unwrap_or_default()
            }
            TimeField::Number(number) => {
                let count = words.clone().count();
                let at = count.checked_sub(number.unsigned_abs() as usize);
                at.and_then(|at| words.clone().nth(at)).unwrap_or_default()
            }
            TimeField::Name(name) => words
                .filter_map(|word| word.strip_prefix(&**name)?.strip_prefix(b"="))
                .next()
                .map(|value| quoted(value).map_or(value, |(inside, _)| inside))
                .unwrap_or_default(),
        }
    }
}

/// Scans a block of whole lines, each ended by `\n`, of the common or combined log format
/// (<https://httpd.apache.org/docs/2.4/logs.html>), and hands every line to `rows`.
///
/// `%h %l %u [time] "request" status size "referer" "user agent" …`, where all behind the status
/// may be missing or cut short, other fields may follow, each field may be quoted, and a virtual
/// host may stand first. A user may hold blanks, the quoted fields escaped quotes. Key 0 takes the
/// time taken, whatever its name; the others take the field of their name.
pub fn scan<'a, R: Rows<'a>>(block: &'a [u8], keys: &Keys, time: &TimeField, rows: &mut R) {
    shape::scan_at(Level::best(), block, &Wanted::new(keys, time), rows);
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

pub(super) fn each_line<'a, R: Rows<'a>>(
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::fields::RowFn;

    fn read(line: &str, names: &[&str]) -> Vec<String> {
        read_with(&TimeField::Telling, line, names)
    }

    fn read_with(time: &TimeField, line: &str, names: &[&str]) -> Vec<String> {
        let names: Vec<_> = names.iter().map(|n| (n.as_bytes(), true)).collect();
        let keys = Keys::new(&names).unwrap();
        let block = format!("{line}\n");
        let mut found = Vec::new();
        let mut row: RowFn<'_> = &mut |_, values| {
            found = values[..keys.count()]
                .iter()
                .map(|v| String::from_utf8_lossy(v).into_owned())
                .collect();
        };
        scan(block.as_bytes(), &keys, time, &mut row);
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

    /// The status, the time taken and the client of a line.
    fn short(line: &str) -> [String; 3] {
        read(line, &["t", "status", "host"]).try_into().unwrap()
    }

    #[test]
    fn the_last_field_is_a_time_when_it_has_a_fraction_or_a_unit() {
        const HEAD: &str =
            r#"10.0.0.1 - - [10/Oct/2000:13:55:36 -0700] "GET / HTTP/1.1" 200 12 "-" "ua""#;
        for (end, time) in [
            ("", ""),
            (" 0.012", "0.012"),
            (" \"0.012\"", "0.012"),
            // Traefik
            (r#" 1 "web@docker" "http://10.0.0.2:80" 12ms"#, "12ms"),
            // Apache: %D, %T/%D
            (" 123us", "123us"),
            (" 0/12345", "0/12345"),
            (" 12345", ""),
            // combinedio: %I %O
            (" 410 4096", ""),
            (" TLSv1.3", ""),
            (" www.example.com", ""),
            (" \"www.example.com\"", ""),
            (" 10.0.0.1:80", ""),
            (" 0.1, 0.2 : 0.3", "0.1, 0.2 : 0.3"),
            (" \"0.1, 0.2\"", "0.1, 0.2"),
            (" rt=0.1", ""),
            // ingress-nginx
            (" 412 0.003 [default-web-80] [] 10.0.0.2:80 12 0.004 200 8a1f", ""),
        ] {
            assert_eq!(short(&format!("{HEAD}{end}")), [time, "200", "10.0.0.1"], "{end}");
        }
    }

    #[test]
    fn the_time_is_where_it_is_asked_for() {
        let ingress = r#"10.0.0.1 - - [10/Oct/2000:13:55:36 -0700] "GET / HTTP/1.1" 200 12 "-" "ua" 412 0.003 [default-web-80] [] 10.0.0.2:80, 10.0.0.3:80 0, 12 0.001, 0.004 502, 200 8a1f"#;
        let nginx = r#"h - - [x] "GET /" 200 12 "-" "u a" rt=0.120 uct="0.1, 0.2" cs=-"#;
        let io = r#"h - - [x] "GET /" 200 12 "-" "-" 410 4096"#;
        for (field, line, time) in [
            ("11", ingress, "0.003"),
            ("-3", ingress, "0.001, 0.004"),
            ("99", ingress, ""),
            ("-99", ingress, ""),
            ("1", ingress, "10.0.0.1"),
            ("rt", nginx, "0.120"),
            ("uct", nginx, "0.1, 0.2"),
            ("cs", nginx, ""),
            ("r", nginx, ""),
            ("last", io, "4096"),
            ("last", r#"h - - [x] "GET /" 200 12"#, ""),
            ("none", r#"h - - [x] "GET /" 200 12 "-" "-" 0.5"#, ""),
        ] {
            let field = TimeField::parse(field).unwrap();
            let found = read_with(&field, line, &["t", "status"]);
            assert_eq!(found, [time, "200"], "{field:?} of {line}");
        }
        assert_eq!([TimeField::parse(""), TimeField::parse("0")], [None, None]);
    }

    #[test]
    fn a_line_that_breaks_off_keeps_its_status() {
        let line = r#"83.149.9.216 - - [17/May/2015:10:05:03 +0000] "GET /a HTTP/1.1" 200 203023 "http://semicomplete.com/" "Mozilla/5.0 (Macintosh; Intel Mac OS X 10.9"#;
        for cut in 80..line.len() {
            assert_eq!(short(&line[..cut]), ["", "200", "83.149.9.216"], "{cut}");
        }
        assert_eq!(read(line, &["t", "ua"])[1], "Mozilla/5.0 (Macintosh; Intel Mac OS X 10.9");
    }

    #[test]
    fn a_virtual_host_may_stand_at_either_end() {
        let names = ["t", "vhost", "host", "ident", "user", "status"];
        let common = r#"[x] "GET / HTTP/1.1" 404 5"#;
        for (line, expected) in [
            (
                format!("www.example.com:443 10.0.0.1 - - {common}"),
                ["www.example.com:443", "10.0.0.1", "", ""],
            ),
            (
                format!("www.example.com client.example - joe {common}"),
                ["www.example.com", "client.example", "", "joe"],
            ),
            (format!("10.0.0.9 10.0.0.1 - - {common}"), ["10.0.0.9", "10.0.0.1", "", ""]),
            (
                format!("10.0.0.1 - joe {common} \"-\" \"-\" www.example.com"),
                ["", "10.0.0.1", "", "joe"],
            ),
            (format!("10.0.0.1 - John Doe {common}"), ["", "10.0.0.1", "", "John Doe"]),
            (format!("[::1] - - {common}"), ["", "::1", "", ""]),
        ] {
            let found = read(&line, &names);
            assert_eq!(found[1..5], expected, "{line}");
            assert_eq!((&*found[0], &*found[5]), ("", "404"), "{line}");
        }
    }

    #[test]
    fn blanks_may_be_many_and_every_field_in_quotes() {
        let names = ["t", "host", "time", "method", "uri", "status", "size", "referer", "ua"];
        let expected = [
            "0.012",
            "10.0.0.1",
            "10/Oct/2000:13:55:36 -0700",
            "GET",
            "/a",
            "200",
            "2326",
            "http://x/",
            "a b",
        ];
        for line in [
            r#"10.0.0.1  -   -  [10/Oct/2000:13:55:36 -0700]   "GET  /a HTTP/1.1"  200   2326  "http://x/"  "a b"   0.012"#,
            "10.0.0.1\t-\t-\t[10/Oct/2000:13:55:36 -0700]\t\"GET /a HTTP/1.1\"\t200\t2326\t\"http://x/\"\t\"a b\"\t0.012",
            r#""10.0.0.1" "-" "-" "[10/Oct/2000:13:55:36 -0700]" "GET /a HTTP/1.1" "200" "2326" "http://x/" "a b" "0.012""#,
        ] {
            assert_eq!(read(line, &names), expected, "{line}");
        }
        let line = r#"h - - [x] "GET /" 200 "http://x/" "ua" 0.5"#;
        assert_eq!(read(line, &["t", "size", "referer", "ua"]), ["0.5", "", "http://x/", "ua"]);
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
