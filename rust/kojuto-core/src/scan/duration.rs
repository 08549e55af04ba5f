//! Times with a unit: `12ms`, `0.123s`, `1m2.5s`.

use crate::scan::number::parse_f64;

/// The units of Go's durations (`time.ParseDuration`), with the longest first where one begins
/// another, as what a number of them is multiplied with and divided by to give seconds.
const UNITS: [(&[u8], f64, f64); 8] = [
    (b"ns", 1.0, 1e9),
    (b"us", 1.0, 1e6),
    ("\u{b5}s".as_bytes(), 1.0, 1e6),
    ("\u{3bc}s".as_bytes(), 1.0, 1e6),
    (b"ms", 1.0, 1e3),
    (b"s", 1.0, 1.0),
    (b"m", 60.0, 1.0),
    (b"h", 3600.0, 1.0),
];

/// The seconds of a duration with a unit, such as Go programs print (`1m2.5s`, `350.2µs`), or of
/// Apache's `%T/%D`: whole seconds, and the same time in microseconds.
///
/// `None` for anything else, a bare number included: what unit it is in nobody can tell.
pub fn seconds(text: &[u8]) -> Option<f64> {
    if let Some(slash) = memchr::memchr(b'/', text) {
        return seconds_and_microseconds(&text[..slash], &text[slash + 1..]);
    }
    let mut rest = text;
    let mut total = 0.0;
    while !rest.is_empty() {
        let digits = rest.iter().take_while(|b| b.is_ascii_digit() || **b == b'.').count();
        let number = parse_f64(&rest[..digits])?;
        rest = rest[digits..].trim_ascii_start();
        let end = rest.iter().take_while(|b| !b.is_ascii_digit() && **b != b'.').count();
        let unit = rest[..end].trim_ascii_end();
        let (_, times, over) = UNITS.iter().find(|(name, ..)| *name == unit)?;
        total += number * times / over;
        rest = &rest[end..];
    }
    (!text.is_empty() && total.is_finite()).then_some(total)
}

fn seconds_and_microseconds(whole: &[u8], micros: &[u8]) -> Option<f64> {
    let digits = |text: &[u8]| !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    if !digits(whole) || !digits(micros) {
        return None;
    }
    let time = parse_f64(micros)? / 1e6;
    (time.trunc() == parse_f64(whole)?).then_some(time)
}

/// What to do with a time that is a list, as nginx's `$upstream_response_time` is after several
/// upstreams were asked: `0.1, 0.2 : 0.3`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeList {
    /// It is no number: the line is bad.
    Refuse,
    /// Their sum: how long the client waited for all of them.
    Sum,
    /// The last one: the upstream that answered.
    Last,
    /// The longest one.
    Max,
}

/// The seconds of a time taken: a number of a unit that is `scale` seconds, a time with its own unit,
/// or a list of such.
pub(crate) fn taken(text: &[u8], scale: f64, list: TimeList) -> Option<f64> {
    // percentile takes a number with blanks around it, too.
    let text = text.trim_ascii();
    let one = |text: &[u8]| match parse_f64(text) {
        Some(number) => Some(number * scale),
        None => seconds(text),
    };
    if let Some(time) = one(text) {
        return Some(time);
    }
    if list == TimeList::Refuse || text.is_empty() || has_decimal_comma(text) {
        return None;
    }
    // nginx parts upstreams by ", " and groups after an internal redirect by " : "; an
    // upstream that was not asked is "-".
    let mut times = text
        .split(|b| matches!(b, b',' | b':'))
        .map(<[u8]>::trim_ascii)
        .filter(|part| !matches!(*part, b"-" | b""))
        .map(one);
    let first = times.next()??;
    times.try_fold(first, |time, next| {
        let next = next?;
        Some(match list {
            TimeList::Sum => time + next,
            TimeList::Max => time.max(next),
            TimeList::Last | TimeList::Refuse => next,
        })
    })
}

/// Whether a comma stands within a number, as in `0,123` and `1,5ms`: between digits, with no point before
/// it or behind. Such a text is no list: nginx puts a blank behind the comma, and its times have a point.
fn has_decimal_comma(text: &[u8]) -> bool {
    memchr::memchr_iter(b',', text).any(|at| {
        let before = text[..at].rsplit(|b| b", :".contains(b)).next().unwrap_or_default();
        let behind = text[at + 1..].split(|b| b", :".contains(b)).next().unwrap_or_default();
        let is_whole = !before.is_empty() && before.iter().all(u8::is_ascii_digit);
        is_whole && behind.first().is_some_and(u8::is_ascii_digit) && !behind.contains(&b'.')
    })
}

/// Whether a time tells its own unit or is at least a fraction, as the seconds in logs are: what
/// a bare integer is (bytes, a port, a count) nobody can tell. Lists count by their parts.
pub(crate) fn is_telling(text: &[u8]) -> bool {
    let mut telling = false;
    for part in text.split(|b| matches!(b, b',' | b':')).map(<[u8]>::trim_ascii) {
        match part {
            b"-" | b"" => {}
            _ if seconds(part).is_some() => telling = true,
            _ if parse_f64(part).is_some() => telling |= part.contains(&b'.'),
            _ => return false,
        }
    }
    telling
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_as_programs_print_them() {
        for (text, value) in [
            ("12ms", 0.012),
            ("0.123s", 0.123),
            ("123us", 0.000123),
            ("350.2\u{b5}s", 0.0003502),
            ("350.2\u{3bc}s", 0.0003502),
            ("7ns", 7e-9),
            ("1m2.5s", 62.5),
            ("1h0m1s", 3601.0),
            ("2 ms", 0.002),
            (".5s", 0.5),
            ("0s", 0.0),
            ("3/3400123", 3.400123),
            ("0/812", 0.000812),
        ] {
            assert_eq!(seconds(text.as_bytes()), Some(value), "{text}");
        }
    }

    #[test]
    fn what_has_no_unit_or_another_is_no_duration() {
        for text in [
            "",
            "12",
            "0.5",
            "ms",
            "12 parsecs",
            "1.2.3s",
            "-1s",
            "12ms!",
            "12msx",
            "s1",
            "1e3s",
            "0/",
            "/5",
            "1/200",
            "2/1999999999",
            "a/b",
            "200/OK",
            "1/1.5",
            "5S",
        ] {
            assert_eq!(seconds(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn a_fraction_or_a_unit_makes_a_time() {
        for text in ["0.012", "12ms", "0/5", "0.1, 0.2 : 0.3", "-, 0.5", "5."] {
            assert!(is_telling(text.as_bytes()), "{text}");
        }
        for text in ["", "-", "4096", "1, 2", "www.example.com", "TLSv1.3", "10.0.0.1:80", "a1.5"] {
            assert!(!is_telling(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn a_comma_within_a_number_makes_no_list() {
        let sum = |text: &str| taken(text.as_bytes(), 1.0, TimeList::Sum);
        for (text, value) in [
            ("0.5, 0.25", 0.75),
            ("0.5,0.25", 0.75),
            ("1, 2", 3.0),
            ("-, 1 : 2", 3.0),
            ("12ms,1s", 1.012),
        ] {
            assert_eq!(sum(text), Some(value), "{text}");
        }
        for text in ["0,123", "1,234,567", "0,5 : 0,25", "0.5, 1,5", "12,5ms,1s", ",", "1,x"] {
            assert_eq!(sum(text), None, "{text}");
        }
    }
}
