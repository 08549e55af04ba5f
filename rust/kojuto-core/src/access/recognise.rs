//! How programs call what an access log is read for, so that `--format auto` needs no keys. The table
//! of docs/formats.md is this one, with a sample for each row.

use crate::scan::envelope::Envelope;
use crate::scan::fields::{Keys, RowFn};
use crate::scan::json::{self, Prefix};
use crate::scan::{combined, ltsv};

use super::options::{Format, TimeField, first_lines};

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Json,
    Ltsv,
    /// With the time as `NAME=value` behind the fields of the combined format.
    Combined,
    /// A format of its own, by this name; see [`super::patterns`].
    Pattern(&'static str),
}

/// One way to call the time taken and the status.
#[derive(Debug, PartialEq, Eq)]
pub struct Profile {
    pub(super) kind: Kind,
    /// The key of the status.
    pub status: &'static str,
    /// The key of the time taken.
    pub time: &'static str,
    /// The unit of a time without one of its own, as on the command line.
    pub unit: &'static str,
    /// What else a line of it has, where another profile has the same keys; nothing as a rule.
    pub(super) beside: &'static str,
}

const fn json(
    status: &'static str,
    time: &'static str,
    unit: &'static str,
    beside: &'static str,
) -> Profile {
    Profile { kind: Kind::Json, status, time, unit, beside }
}

const fn ltsv(status: &'static str, time: &'static str, unit: &'static str) -> Profile {
    Profile { kind: Kind::Ltsv, status, time, unit, beside: "" }
}

const fn combined(time: &'static str) -> Profile {
    Profile { kind: Kind::Combined, status: "status", time, unit: "s", beside: "" }
}

/// The profiles, in the order in which they are tried.
const PROFILES: [Profile; 25] = [
    json("status", "ptime", "s", ""),
    json("status", "reqtime", "s", ""),
    json("status", "request_time", "s", ""),
    json("status", "response_time", "s", ""),
    json("status", "apptime", "s", ""),
    // lograge, before Caddy: the same keys in another unit.
    json("status", "duration", "ms", "controller"),
    json("status", "duration", "s", ""),
    json("DownstreamStatus", "Duration", "ns", ""),
    json("response_code", "duration", "ms", ""),
    json("http.response.status_code", "event.duration", "ns", ""),
    json("res.statusCode", "responseTime", "ms", ""),
    json("httpRequest.status", "httpRequest.latency", "s", ""),
    json("response.status", "latencies.request", "ms", ""),
    json("EdgeResponseStatus", "EdgeTimeToFirstByteMs", "ms", ""),
    json("properties.httpStatus", "properties.timeTaken", "s", ""),
    json("properties.httpStatusCode", "properties.timeTaken", "s", ""),
    json("status", "responseLatency", "ms", ""),
    ltsv("status", "ptime", "s"),
    ltsv("status", "reqtime", "s"),
    ltsv("status", "request_time", "s"),
    ltsv("status", "response_time", "s"),
    ltsv("status", "reqtime_microsec", "us"),
    ltsv("status", "apptime", "s"),
    combined("rt"),
    combined("request_time"),
];

/// What a log says of itself, as far as it was asked.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// What stands around its lines.
    pub envelope: Option<Envelope>,
    /// Its format, for [`Format::Auto`].
    pub format: Option<Format>,
    /// Its keys and unit.
    pub profile: Option<&'static Profile>,
}

impl Found {
    /// The name of the pattern that the lines have, if it is one.
    pub(crate) fn pattern(&self) -> Option<&'static str> {
        match self.profile?.kind {
            Kind::Pattern(name) => Some(name),
            _ => None,
        }
    }

    /// Whether a pattern was found before, which more than half of the lines of this block have, too.
    pub(crate) fn is_still_of_pattern(&self, block: &[u8]) -> bool {
        let (Some(_), Some(Format::Regex(regex))) = (self.pattern(), &self.format) else {
            return false;
        };
        let lines: Vec<&[u8]> = first_lines(block).collect();
        lines.iter().filter(|line| regex.is_match(line)).count() * 2 > lines.len()
    }
}

/// The profile that most of the lines at the beginning of a block have, the one `before` if more than
/// half of them have that; `None` when no line has any.
pub(super) fn profile(
    block: &[u8],
    format: &Format,
    before: Option<&'static Profile>,
) -> Option<&'static Profile> {
    let mut head = Vec::new();
    let mut count = 0;
    for line in first_lines(block) {
        head.extend_from_slice(line);
        head.push(b'\n');
        count += 1;
    }
    if let Some(before) = before
        && before.votes(&head, format) * 2 > count
    {
        return Some(before);
    }
    let mut best = (0, None);
    for profile in &PROFILES {
        let votes = profile.votes(&head, format);
        if votes > best.0 {
            best = (votes, Some(profile));
        }
    }
    best.1
}

impl Profile {
    /// Whether its time is behind the fields of the combined format.
    pub(crate) fn is_combined(&self) -> bool {
        self.kind == Kind::Combined
    }

    /// Whether its times have no zone and are UTC's: W3C's Extended Log File Format has them so, and
    /// CloudFront's standard log.
    pub(crate) fn is_utc(&self) -> bool {
        matches!(self.kind, Kind::Pattern("iis" | "cloudfront"))
    }

    /// What a number in its unit is multiplied with to give seconds.
    pub(crate) fn scale(&self) -> f64 {
        match self.unit {
            "ms" => 1e-3,
            "us" => 1e-6,
            "ns" => 1e-9,
            _ => 1.0,
        }
    }

    /// How many of the lines have its keys.
    fn votes(&self, lines: &[u8], format: &Format) -> usize {
        let names = [self.status, self.time, self.beside].map(|name| (name.as_bytes(), true));
        let count = if self.beside.is_empty() { 2 } else { 3 };
        let Ok(keys) = Keys::new(&names[..count]) else { return 0 };
        let mut votes = 0;
        let mut row: RowFn<'_> = &mut |_, values| {
            votes += usize::from(values[..count].iter().all(|value| !value.is_empty()));
        };
        match (&self.kind, format) {
            (Kind::Json, Format::Json(prefix)) => json::scan(lines, &keys, *prefix, &mut row),
            (Kind::Ltsv, Format::Ltsv(Prefix::Refuse)) => ltsv::scan(lines, &keys, &mut row),
            (Kind::Ltsv, Format::Ltsv(Prefix::Skip)) => {
                ltsv::scan_behind_brace(lines, &keys, &mut row);
            }
            (Kind::Combined, Format::Combined) => {
                // The first key is the one of the time.
                let Ok(keys) = Keys::new(&[names[1], names[0]]) else { return 0 };
                let time = TimeField::Name(self.time.as_bytes().into());
                combined::scan(lines, &keys, &time, &mut row);
            }
            _ => {}
        }
        votes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(block: &str, before: Option<&'static Profile>) -> Option<&'static Profile> {
        let format = if block.starts_with('{') {
            Format::Json(Prefix::Refuse)
        } else {
            Format::Ltsv(Prefix::Refuse)
        };
        profile(block.as_bytes(), &format, before)
    }

    #[test]
    fn the_keys_that_most_lines_have_are_found() {
        let caddy = "{\"status\":200,\"duration\":0.1}\n";
        let rails = "{\"status\":200,\"duration\":9.5,\"controller\":\"a\"}\n";
        assert_eq!(found(caddy, None).unwrap().unit, "s");
        assert_eq!(found(rails, None).unwrap().unit, "ms");
        let mixed = format!("{caddy}{rails}{rails}{caddy}{rails}");
        // All of them have Caddy's keys.
        assert_eq!(found(&mixed, None).unwrap().unit, "s");
        assert_eq!(found("status:200\treqtime_microsec:7\n", None).unwrap().unit, "us");
        assert_eq!(found("{\"a\":1}\n", None), None);
        assert_eq!(found("", None), None);
    }

    #[test]
    fn what_was_found_before_stays_while_most_lines_have_it() {
        let two = "status:200\tapptime:1\treqtime:2\n";
        let apptime = PROFILES.iter().find(|p| p.time == "apptime" && p.kind == Kind::Ltsv);
        assert_eq!(found(two, None).unwrap().time, "reqtime");
        assert_eq!(found(two, apptime), apptime);
        let reqtime = "status:200\treqtime:2\n";
        assert_eq!(found(&format!("{two}{reqtime}"), apptime).unwrap().time, "reqtime");
    }
}
