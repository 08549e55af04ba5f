//! When a line was written: the notations of access logs.

use crate::scan::number::{digits, parse_f64};

/// A moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instant {
    /// Nanoseconds since the epoch.
    pub nanos: i64,
    /// How far the clock of its notation is ahead of UTC, in seconds, where it tells.
    pub zone_s: Option<i32>,
    /// Whether it is by a clock that does not tell its zone, and was taken as UTC's.
    pub is_local: bool,
}

/// The clock on the wall of a place: how far it is ahead of UTC, and since when.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Zone {
    /// Seconds by that clock from which an offset holds, ascending.
    changes: Vec<(i64, i32)>,
}

impl Zone {
    /// One whose clock is changed at these seconds since the epoch to these offsets, in seconds; the
    /// first holds before its moment too.
    pub fn new(mut changes: Vec<(i64, i32)>) -> Zone {
        changes.sort_unstable();
        let before: Vec<i32> = changes.iter().map(|&(_, offset)| offset).collect();
        for (index, (at, offset)) in changes.iter_mut().enumerate() {
            // Of an hour that is there twice the first counts, as with mktime(3) and Python.
            *at += i64::from(before[index.saturating_sub(1)].max(*offset));
        }
        Zone { changes }
    }

    /// How far the clock is ahead of UTC, in seconds, when it shows so many since 1970.
    pub fn offset(&self, shown_s: i64) -> i32 {
        let later = self.changes.partition_point(|&(from, _)| from <= shown_s);
        self.changes.get(later.saturating_sub(1)).map_or(0, |&(_, offset)| offset)
    }
}

const MONTHS: [&[u8]; 12] = [
    b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec",
];

/// So many nanoseconds are a second.
pub const SECOND: i64 = 1_000_000_000;

/// The first year and the last that a log can be of.
const YEARS: std::ops::RangeInclusive<i64> = 1970..=2105;

/// Reads a moment: `10/Oct/2000:13:55:36 -0700` in brackets or without, RFC 3339 and what is near to it (a
/// blank or a tab for the `T`, a blank for the first colon, slashes in the date, no zone, `+09`), `Tue
/// May  6 10:13:11 2014` as of ctime(3), or a number since the epoch, whose size tells whether it is of
/// seconds, milli-, micro- or nanoseconds. What has no zone is taken as UTC.
pub fn parse(text: &[u8]) -> Option<Instant> {
    let text = text.trim_ascii();
    let text = text.strip_prefix(b"[").unwrap_or(text);
    let text = text.strip_suffix(b"]").unwrap_or(text);
    match text {
        [_, _, b'/', ..] => common(text),
        [_, _, _, _, b'-' | b'/', ..] => iso(text),
        [b'A'..=b'Z', b'a'..=b'z', b'a'..=b'z', b' ', ..] => ctime(&text[4..]),
        _ => number(text),
    }
}

fn common(text: &[u8]) -> Option<Instant> {
    let (date, time) = text.split_at_checked(12)?;
    let day = digits(&date[..2])?;
    let month = month_of(&date[3..6])?;
    let year = digits(&date[7..11])?;
    if date[6] != b'/' || !matches!(date[11], b':' | b' ') {
        return None;
    }
    moment([year, month, day], time)
}

/// What stands behind the day of the week: `May  6 10:13:11 2014`.
fn ctime(text: &[u8]) -> Option<Instant> {
    let (date, rest) = text.split_at_checked(7)?;
    let (time, year) = rest.split_at_checked(rest.len().checked_sub(5)?)?;
    let month = month_of(&date[..3])?;
    let day = digits(date[4..6].trim_ascii_start())?;
    if date[3] != b' ' || date[6] != b' ' || year[0] != b' ' {
        return None;
    }
    moment([digits(&year[1..])?, month, day], time)
}

fn month_of(name: &[u8]) -> Option<i64> {
    MONTHS.iter().position(|month| *month == name).map(|at| at as i64 + 1)
}

fn iso(text: &[u8]) -> Option<Instant> {
    let (date, rest) = text.split_at_checked(10)?;
    if date[7] != date[4] {
        return None;
    }
    let date = [digits(&date[..4])?, digits(&date[5..7])?, digits(&date[8..])?];
    let blanks = |b: &&u8| matches!(b, b'T' | b't' | b' ' | b'\t' | b'-' | b'_');
    let between = rest.iter().take_while(blanks).count();
    match between {
        0 => None,
        _ => moment(date, &rest[between..]),
    }
}

/// A date and what stands behind it: the time of the day and perhaps a zone.
fn moment([year, month, day]: [i64; 3], rest: &[u8]) -> Option<Instant> {
    let (time, rest) = rest.split_at_checked(8)?;
    let clock: [i64; 3] = [digits(&time[..2])?, digits(&time[3..5])?, digits(&time[6..])?];
    let in_range = YEARS.contains(&year)
        && (1..=12).contains(&month)
        && (1..=days_of(year, month)).contains(&day)
        && clock[0] < 24
        && clock[1] < 60
        && clock[2] <= 60;
    if time[2] != b':' || time[5] != b':' || !in_range {
        return None;
    }
    let (fraction, rest) = match rest {
        [b'.' | b',', rest @ ..] => {
            let count = rest.iter().take_while(|b| b.is_ascii_digit()).count();
            let shown = &rest[..count.min(9)];
            let number: i64 = digits(shown)?;
            (number * 10i64.pow(9 - shown.len() as u32), &rest[count..])
        }
        _ => (0, rest),
    };
    let zone_s = zone(rest.trim_ascii_start())?;
    let seconds = days(year, month, day) * 86400 + clock[0] * 3600 + clock[1] * 60 + clock[2]
        - i64::from(zone_s.unwrap_or(0));
    let is_local = zone_s.is_none();
    Some(Instant { nanos: seconds * SECOND + fraction, zone_s, is_local })
}

/// `Z`, `+0900`, `+09:00`, `+09` or nothing; what else follows is no part of the moment.
fn zone(text: &[u8]) -> Option<Option<i32>> {
    let (sign, rest) = match text {
        [b'Z' | b'z', ..] => return Some(Some(0)),
        [b'+', rest @ ..] => (1, rest),
        [b'-', rest @ ..] => (-1, rest),
        _ => return Some(None),
    };
    let hours: i32 = digits(rest.get(..2)?)?;
    let rest = rest[2..].strip_prefix(b":").unwrap_or(&rest[2..]);
    let minutes: i32 = match rest.first() {
        Some(b'0'..=b'9') => digits(rest.get(..2)?)?,
        _ => 0,
    };
    (hours < 24 && minutes < 60).then_some(Some(sign * (hours * 3600 + minutes * 60)))
}

/// Nanoseconds as seconds, rounded once.
pub fn seconds(nanos: i64) -> f64 {
    (nanos / SECOND) as f64 + (nanos % SECOND) as f64 / SECOND as f64
}

/// How many days a month has.
fn days_of(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since the epoch (Hinnant, "chrono-compatible low-level date algorithms").
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let of_era = year - era * 400;
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// Seconds of 1973 to 2105, or a thousandth, millionth or milliardth of them.
fn number(text: &[u8]) -> Option<Instant> {
    let whole = text.iter().take_while(|b| b.is_ascii_digit()).count();
    let nanos = match (digits::<i64>(text), &text[whole..]) {
        (Some(number), _) => number.checked_mul(unit(number as f64)?)?,
        // Whole seconds and their fraction apart: a double has too few digits for both.
        (None, [b'.', fraction @ ..]) if fraction.iter().all(u8::is_ascii_digit) => {
            let unit = unit(parse_f64(&text[..whole])?)?;
            let part = parse_f64(&[b"0.", fraction].concat()).filter(|part| *part < 1.0)?;
            digits::<i64>(&text[..whole])?.checked_mul(unit)? + (part * unit as f64).round() as i64
        }
        _ => {
            let number = parse_f64(text)?;
            (number * unit(number)? as f64).round() as i64
        }
    };
    Some(Instant { nanos, zone_s: None, is_local: false })
}

/// How many nanoseconds one of a number since the epoch is.
fn unit(number: f64) -> Option<i64> {
    [1_000_000_000, 1_000_000, 1000, 1]
        .into_iter()
        .find(|unit| (1e17..4.3e18).contains(&(number * *unit as f64)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<(f64, Option<i32>)> {
        parse(text.as_bytes()).map(|at| (seconds(at.nanos), at.zone_s))
    }

    #[test]
    fn the_notations_of_logs_are_read() {
        for (text, seconds, zone) in [
            ("10/Oct/2000:13:55:36 -0700", 971_211_336.0, Some(-25200)),
            ("[10/Oct/2000:13:55:36 -0700]", 971_211_336.0, Some(-25200)),
            ("29/Feb/2024:00:00:00.250 +0900", 1_709_132_400.25, Some(32400)),
            ("29/Feb/2000:00:00:00 +0000", 951_782_400.0, Some(0)),
            ("29/Feb/2000 00:00:00", 951_782_400.0, None),
            ("31/Dec/2024:00:00:00 +0000", 1_735_603_200.0, Some(0)),
            ("2015-09-06T05:58:05+09:00", 1_441_486_685.0, Some(32400)),
            ("2026-11-29T14:06:41.5Z", 1_795_961_201.5, Some(0)),
            ("2026-11-29 14:06:41,5", 1_795_961_201.5, None),
            ("2026/11/29 - 14:06:41", 1_795_961_201.0, None),
            ("2026-11-29\t14:06:41", 1_795_961_201.0, None),
            ("2026-11-29 14:06:41 +05", 1_795_961_201.0 - 18000.0, Some(18000)),
            ("Tue May  6 10:13:11 2014", 1_399_371_191.0, None),
            ("[Sun Nov 29 14:06:41.5 2026]", 1_795_961_201.5, None),
            ("1693840791.7564995", 1_693_840_791.756_499_5, None),
            ("1.6938407917565e9", 1_693_840_791.756_5, None),
            ("1693840791", 1_693_840_791.0, None),
            ("1527006306862", 1_527_006_306.862, None),
            ("1527006306862000", 1_527_006_306.862, None),
            ("1527006306862000000", 1_527_006_306.862, None),
        ] {
            assert_eq!(read(text), Some((seconds, zone)), "{text}");
        }
    }

    #[test]
    fn a_number_since_the_epoch_is_by_no_clock() {
        for (text, is_local) in [
            ("1693840791.5", false),
            ("1527006306862", false),
            ("1.6938407917565e9", false),
            ("2026-11-29T14:06:41Z", false),
            ("10/Oct/2000:13:55:36 -0700", false),
            ("10/Oct/2000:13:55:36", true),
            ("2026-11-29 14:06:41", true),
        ] {
            assert_eq!(parse(text.as_bytes()).map(|at| at.is_local), Some(is_local), "{text}");
        }
    }

    #[test]
    fn a_clock_that_is_changed_twice_a_year_is_read_as_it_was_then() {
        // Berlin, 2026: on 29 March from 02:00 to 03:00, on 25 October from 03:00 to 02:00.
        let berlin =
            Zone::new(vec![(1_700_000_000, 3600), (1_774_746_000, 7200), (1_792_890_000, 3600)]);
        for (text, utc) in [
            ("2020-01-01 01:00:00", "2020-01-01T00:00:00Z"),
            ("2026-03-29 01:59:59", "2026-03-29T00:59:59Z"),
            ("2026-03-29 02:30:00", "2026-03-29T01:30:00Z"), // no clock there showed it
            ("2026-03-29 03:00:00", "2026-03-29T01:00:00Z"),
            ("2026-07-01 12:00:00", "2026-07-01T10:00:00Z"),
            ("2026-10-25 01:59:59", "2026-10-24T23:59:59Z"),
            ("2026-10-25 02:30:00", "2026-10-25T00:30:00Z"), // the first of two
            ("2026-10-25 03:00:00", "2026-10-25T02:00:00Z"),
            ("2026-12-01 12:00:00", "2026-12-01T11:00:00Z"),
        ] {
            let shown = parse(text.as_bytes()).unwrap().nanos / 1_000_000_000;
            let at = shown - i64::from(berlin.offset(shown));
            assert_eq!(
                Some(at),
                parse(utc.as_bytes()).map(|utc| utc.nanos / 1_000_000_000),
                "{text}"
            );
        }
        assert_eq!(Zone::default().offset(0), 0);
    }

    #[test]
    fn what_is_no_moment_is_none() {
        for text in [
            "",
            "-",
            "x",
            "12",
            "0.5",
            "10/Foo/2000:13:55:36 -0700",
            "Tue May  6",
            "Tue Foo  6 10:13:11 2014",
            "Fri Feb 30 10:13:11 2024",
            "Tue May  6 10:13:11 +2014",
            "10/Oct/2000",
            "2026-11-29",
            "2026-13-29T14:06:41Z",
            "2026-11-29T24:06:41Z",
            "2026-11-29T14:06",
            "99999999999999999999",
            "10/Oct/2000:13:55:36 -070",
            "2026-11-29T14:06:41.Z",
            "1969-12-31T23:59:59Z",
            "31/Feb/2024:00:00:00 +0900",
            "30/Feb/2024:00:00:00 +0900",
            "29/Feb/2023:00:00:00 +0900",
            "29/Feb/2100:00:00:00 +0900",
            "31/Apr/2024:00:00:00 +0900",
            "2024-11-31T00:00:00Z",
            "32/Dec/2024:00:00:00 +0900",
        ] {
            assert_eq!(read(text), None, "{text:?}");
        }
    }
}
