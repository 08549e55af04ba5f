//! Formats of programs that have one of their own, as regular expressions whose groups are called as
//! the programs call the fields. They are tried where a block is in none of the formats that have a
//! scan of their own.

use std::sync::OnceLock;

use regex::bytes::{Regex, RegexBuilder};

use super::options::first_lines;
use super::recognise::{Kind, Profile};

/// A program's format.
struct Pattern {
    profile: Profile,
    /// Its lines are in the combined format, too, with the time where that does not look for it.
    in_combined: bool,
    regex: &'static str,
}

const fn pattern(
    name: &'static str,
    [status, time, unit]: [&'static str; 3],
    regex: &'static str,
) -> Pattern {
    let profile = Profile { kind: Kind::Pattern(name), status, time, unit, beside: "" };
    Pattern { profile, in_combined: false, regex }
}

/// The patterns, in the order in which they are tried. The table of docs/formats.md has them with a
/// sample each. A time that a line need not have is an optional group: the status is enough.
static PATTERNS: [Pattern; 15] = [
    // Application and classic load balancers of AWS; -1 is no time.
    pattern(
        "aws-elb",
        ["elb_status_code", "target_processing_time", "s"],
        concat!(
            r"^(?:(?:https?|h2|grpcs?|wss?) )?(?P<when>\S+) \S+ \S+ \S+ (?:-1|[\d.]+) ",
            r"(?:-1|(?P<target_processing_time>[\d.]+)) (?:-1|[\d.]+) ",
            r#"(?P<elb_status_code>\d{3}) (?:\d{3}|-) \d+ (?P<size>\d+) "#,
            r#""(?P<method>\S+) (?P<uri>[^" ]+)"#,
        ),
    ),
    pattern(
        "cloudfront",
        ["sc_status", "time_taken", "s"],
        concat!(
            r"^(?P<when>\d{4}-\d\d-\d\d\t\d\d:\d\d:\d\d)\t[^\t]*\t(?P<size>\d+|-)\t",
            r"(?P<host>[^\t]*)\t",
            r"(?P<method>[^\t]*)\t(?P<vhost>[^\t]*)\t(?P<uri>[^\t]*)\t(?P<sc_status>\d{3})\t",
            r"(?:[^\t]*\t){9}(?P<time_taken>[\d.]+)(?:\t|$)",
        ),
    ),
    pattern(
        "aws-s3",
        ["status", "total_time", "ms"],
        concat!(
            r"^\S+ \S+ \[(?P<when>[^\]]+)\] (?P<host>\S+) \S+ \S+ (?P<method>\S+) (?P<uri>\S+) ",
            r#"(?:"[^"]*"|-) (?P<status>\d{3}) \S+ (?P<size>\S+) \S+ (?:-|(?P<total_time>\d+)) "#,
            r#"(?:-|\d+) ""#,
        ),
    ),
    // option httplog; a plus sign is that of logasap.
    pattern(
        "haproxy",
        ["status_code", "Ta", "ms"],
        concat!(
            r"^(?P<host>\S+):\d+ \[(?P<when>[^\]]+)\] \S+ \S+ (?:-?\d+/){4}\+?(?P<Ta>\d+) ",
            r"(?P<status_code>-1|\d{3}) \+?(?P<size>\d+) \S+ \S+ \S{4} (?:\d+/){4}\+?\d+ \d+/\d+ ",
            r#"(?:\{[^}]*\} )*"(?:(?P<method>[A-Z]+) (?P<uri>[^" ]*))?"#,
        ),
    ),
    // The text format of Envoy, and that of Istio.
    pattern(
        "envoy",
        ["response_code", "duration", "ms"],
        concat!(
            r#"^\[(?P<when>[^\]]+)\] "(?P<method>\S+) (?P<uri>\S+)[^"]*" "#,
            r#"(?P<response_code>\d{1,3}) \S+ (?:\S+ \S+ "[^"]*" )?\d+ (?P<size>\d+) "#,
            r#"(?P<duration>\d+) (?:\d+|-) ""#,
        ),
    ),
    Pattern {
        in_combined: true,
        ..pattern(
            "ingress-nginx",
            ["status", "request_time", "s"],
            concat!(
                r#"^(?P<host>\S+) .*? \[(?P<when>[^\]]+)\] "(?:(?P<method>\S+) (?P<uri>[^" ]+))?"#,
                r#"[^"]*" (?P<status>\d{3}) (?P<size>\d+) "[^"]*" "[^"]*" \d+ (?P<request_time>\d+\.\d+) "#,
                r"\[[^\]]*\] \[[^\]]*\] ",
            ),
        )
    },
    // The same with the client's address once more in brackets: before 0.25, and in APISIX' ingress.
    pattern(
        "real-ip",
        ["status", "request_time", "s"],
        concat!(
            r#"^(?P<host>\S+) - \[[^\]]*\] - .*? \[(?P<when>[^\]]+)\] "#,
            r#""(?:(?P<method>\S+) (?P<uri>[^" ]+))?"#,
            r#"[^"]*" (?P<status>\d{3}) (?P<size>\d+) "[^"]*" (?:\[[^\]]*\] )?"[^"]*" \d+ "#,
            r"(?P<request_time>\d+\.\d+) ",
        ),
    ),
    // The router of Heroku.
    pattern(
        "heroku",
        ["status", "service", "ms"],
        concat!(
            r#"^at=\w+ .*?method=(?P<method>\S+) path="?(?P<uri>[^" ]*)"? .*?"#,
            r"service=(?P<service>\d+ms)? status=(?P<status>\d{3})(?: |$)",
        ),
    ),
    // lograge of Rails, in its default form.
    pattern(
        "lograge",
        ["status", "duration", "ms"],
        concat!(
            r"^method=(?P<method>\S+) path=(?P<uri>\S+) (?:.*? )?status=(?P<status>\d{3}) ",
            r"(?:.*? )?duration=(?P<duration>[\d.]+)",
        ),
    ),
    // The logger of Go's gin; the time has its unit with it.
    pattern(
        "gin",
        ["status", "latency", "s"],
        concat!(
            r"^\[GIN\] (?P<when>.*?) \| *(?P<status>\d{3}) *\| *(?P<latency>\S+) *\| *(?P<host>\S+) *",
            r#"\| *(?P<method>\S+) +"(?P<uri>[^"]*)""#,
        ),
    ),
    // `tiny` of Node's morgan.
    pattern(
        "morgan",
        ["status", "response_time", "ms"],
        r"^(?P<method>[A-Z]+) (?P<uri>\S+) (?P<status>\d{3}) (?P<size>\S+) - (?P<response_time>[\d.]+) ms$",
    ),
    pattern(
        "squid",
        ["status", "elapsed", "ms"],
        concat!(
            r"^(?P<when>\d+\.\d+) +(?P<elapsed>\d+) (?P<host>\S+) [A-Z_]+/(?P<status>\d{3}) ",
            r"(?P<size>\d+) (?P<method>\S+) (?P<uri>\S+) ",
        ),
    ),
    pattern(
        "uwsgi",
        ["status", "msecs", "ms"],
        concat!(
            r"^\[pid: .*? \[(?P<when>[^\]]+)\] (?P<method>[A-Z]+) (?P<uri>\S+) => ",
            r"generated (?P<size>\d+) bytes ",
            r"in (?P<msecs>\d+) msecs (?:via \w+\(\) )?\(HTTP/[\d.]+ (?P<status>\d{3})\)",
        ),
    ),
    // The same with --log-micros.
    pattern(
        "uwsgi-micros",
        ["status", "micros", "us"],
        concat!(
            r"^\[pid: .*? \[(?P<when>[^\]]+)\] (?P<method>[A-Z]+) (?P<uri>\S+) => ",
            r"generated (?P<size>\d+) bytes ",
            r"in (?P<micros>\d+) micros (?:via \w+\(\) )?\(HTTP/[\d.]+ (?P<status>\d{3})\)",
        ),
    ),
    // W3C extended, with the fields that IIS has without being told.
    pattern(
        "iis",
        ["sc_status", "time_taken", "ms"],
        concat!(
            r"^(?P<when>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) \S+ (?P<method>[A-Z]+) (?P<uri>\S+) \S+ \d+ \S+ ",
            r"(?P<host>\S+) (?:\S+ ){1,4}?(?P<sc_status>\d{3}) \d+ \d+ (?P<time_taken>\d+)$",
        ),
    ),
];

/// Each is compiled when it is tried first.
static COMPILED: [OnceLock<Option<Regex>>; PATTERNS.len()] =
    [const { OnceLock::new() }; PATTERNS.len()];

fn compile(pattern: &Pattern) -> Option<Regex> {
    RegexBuilder::new(pattern.regex).unicode(false).build().ok()
}

/// The pattern that more than half of the lines at the beginning of a block have, and its expression;
/// of those in the combined format, or of all others.
pub(super) fn of(block: &[u8], in_combined: bool) -> Option<(&'static Profile, &'static Regex)> {
    let lines: Vec<&[u8]> = first_lines(block).collect();
    PATTERNS.iter().zip(&COMPILED).find_map(|(pattern, compiled)| {
        if pattern.in_combined != in_combined {
            return None;
        }
        let regex = compiled.get_or_init(|| compile(pattern)).as_ref()?;
        let count = lines.iter().filter(|line| regex.is_match(line)).count();
        (count * 2 > lines.len()).then_some((&pattern.profile, regex))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pattern_compiles_and_has_its_groups() {
        for pattern in &PATTERNS {
            let regex = compile(pattern).unwrap();
            let names: Vec<_> = regex.capture_names().flatten().collect();
            let Profile { status, time, .. } = pattern.profile;
            assert!(names.contains(&status) && names.contains(&time), "{}", pattern.regex);
        }
    }

    #[test]
    fn a_pattern_needs_more_than_half_of_the_lines() {
        let line = "GET / 200 12 - 1.5 ms\n";
        let of = |block: &str| of(block.as_bytes(), false).map(|(profile, _)| profile.time);
        assert_eq!(of(line), Some("response_time"));
        assert_eq!(of(&format!("{line}other\r\n")), None);
        assert_eq!(of(&format!("{line}other\n\n{line}")), Some("response_time"));
        assert_eq!(of(""), None);
    }
}
