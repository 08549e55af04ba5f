//! The values of a line, and where they are counted.

mod gather;
mod key;
mod waiting;

use std::borrow::Cow;

pub(super) use self::gather::Gather;
use self::key::MOST_KEY_BYTES;
pub(super) use self::waiting::Queue;
use self::waiting::Waiting;
use super::super::condition::Condition;
use super::super::known::{self, BYTES, HOST, METHOD, REQUEST, STATUS, TAKEN, URI, WHEN, bare};
use super::super::line::{Line, NO_TIME};
use super::super::options::Options;
use super::super::path::request;
use super::super::roles::Reading;
use super::super::slowest::Slow;
use super::super::totals::Span;
use super::{By, Counter, Extra, is_same};
use crate::access::Format;
use crate::scan::beginning::behind_nuls;
use crate::scan::duration::{self, TimeList};
use crate::scan::fields::{Rows, Values};
use crate::scan::json::unescape;
use crate::scan::number::{Short, parse_f64, parse_i64, parse_short};

// Why a line could not be counted: indexes of `REASONS`.
const FORMAT: usize = 0;
const NO_STATUS: usize = 1;
const BAD_STATUS: usize = 2;
const BAD_TIME: usize = 3;
const NO_MOMENT: usize = 4;

const MILLISECOND: u64 = 1_000_000;
/// Times of a century and more are none.
const MOST_SECONDS: f64 = 3.2e9;
/// Takes the lines of a scan.
pub(super) struct Reader<'c, 'a> {
    pub(super) counter: &'c mut Counter,
    pub(super) naming: By,
    pub(super) reading: &'c Reading,
    pub(super) options: &'c Options,
    /// Where the value of each role is; where it has none, the last place, which no key has.
    pub(super) places: [usize; known::ROLES.len()],
    pub(super) escapes: bool,
    pub(super) groups: &'c [(Extra, usize)],
    pub(super) conditions: Vec<(&'c Condition, &'c (Extra, usize))>,
    pub(super) queue: Queue<'a>,
}

/// The values of a line.
struct Row<'r, 'a> {
    values: &'r Values<'a>,
    status: i64,
    nanos: u64,
    at: Option<i64>,
    /// That of `at`, or 0.
    second: u32,
}

impl<'a> Rows<'a> for Reader<'_, 'a> {
    #[inline]
    fn row(&mut self, line: &'a [u8], values: &Values<'a>) {
        if let Some(row) = self.wanted(line, values) {
            self.count(&row);
        }
    }
}

impl<'a> Reader<'_, 'a> {
    /// What a line has, if it can be read and is wanted; else it is counted as what it is.
    #[inline(always)]
    fn wanted<'r>(&mut self, line: &[u8], values: &'r Values<'a>) -> Option<Row<'r, 'a>> {
        if matches!(line.first(), None | Some(..=b'#')) && self.is_passed_over(line, values) {
            return None;
        }
        self.counter.totals.lines += 1;
        match self.read(values) {
            Ok(row) if self.is_wanted(&row) => return Some(row),
            Ok(_) => self.counter.totals.left_out += 1,
            Err(reason) => self.counter.totals.bad.count(reason, line),
        }
        None
    }

    /// Whether a line is none: of blanks alone, or a comment, as W3C's formats begin with. What
    /// begins with NULs is read once more, without them.
    #[cold]
    fn is_passed_over(&mut self, line: &[u8], values: &Values<'a>) -> bool {
        match line.first() {
            Some(0) => {
                self.counter.behind_nuls.extend_from_slice(behind_nuls(line));
                self.counter.behind_nuls.push(b'\n');
                true
            }
            // An expression, or the words of a format, may say that lines begin so.
            Some(b'#') if matches!(self.reading.format, Format::Regex(_) | Format::Text(_)) => {
                let is_empty = |role: &usize| values[self.places[*role]].is_empty();
                [STATUS, REQUEST, URI].iter().all(is_empty)
            }
            Some(b'#') => true,
            _ => line.trim_ascii().is_empty(),
        }
    }

    #[inline]
    fn read<'r>(&mut self, values: &'r Values<'a>) -> Result<Row<'r, 'a>, usize> {
        let text = values[self.places[STATUS]];
        let status = match parse_i64(text) {
            Some(status) => status,
            None => self.odd_status(text, values)?,
        };
        let nanos = match status {
            // Its time is how long the connection lived.
            101 => NO_TIME,
            _ => self.nanos(values[self.places[TAKEN]])?,
        };
        let moment = values[self.places[WHEN]];
        let zone = (!self.reading.is_utc).then_some(&self.options.zone);
        let (at, second) = self.counter.moment(moment, zone);
        if at.is_none() && (self.options.since.is_some() || self.options.until.is_some()) {
            return Err(NO_MOMENT);
        }
        Ok(Row { values, status, nanos, at, second })
    }

    /// A status that is not just digits, or none.
    #[cold]
    fn odd_status(&self, text: &[u8], values: &Values<'_>) -> Result<i64, usize> {
        let text = bare(text);
        if !text.is_empty() {
            let whole =
                parse_f64(text).filter(|number| number.fract() == 0.0 && number.abs() < 1e9);
            return whole.map(|number| number as i64).ok_or(BAD_STATUS);
        }
        let is_empty = |role: usize| values[self.places[role]].is_empty();
        let nothing = is_empty(URI) && is_empty(REQUEST);
        match self.reading.places[STATUS] {
            None if nothing && self.groups.is_empty() => Err(FORMAT),
            None => Ok(0),
            Some(_) if nothing => Err(FORMAT),
            Some(_) => Err(NO_STATUS),
        }
    }

    /// The nanoseconds of a time taken.
    #[inline]
    fn nanos(&self, text: &[u8]) -> Result<u64, usize> {
        if self.reading.scale == 1.0
            && let Some(nanos) = parse_short(text).map(Short::nanos)
        {
            return Ok(nanos);
        }
        if text.is_empty() { Ok(NO_TIME) } else { self.odd_time(text) }
    }

    #[inline(never)]
    fn odd_time(&self, text: &[u8]) -> Result<u64, usize> {
        let text = self.resolved(text);
        let seconds = match bare(&text) {
            b"-" | b"" => return Ok(NO_TIME),
            text => duration::taken(text, self.reading.scale, TimeList::Sum),
        };
        match seconds {
            // Load balancers have -1 for what they did not measure.
            Some(seconds) if seconds < 0.0 => Ok(NO_TIME),
            Some(seconds) if seconds < MOST_SECONDS => Ok((seconds * 1e9).round() as u64),
            None if bare(&text).iter().all(|b| b"-,: ".contains(b)) => Ok(NO_TIME),
            _ => Err(BAD_TIME),
        }
    }

    #[inline]
    fn resolved<'v>(&self, value: &'v [u8]) -> Cow<'v, [u8]> {
        if self.escapes && memchr::memchr(b'\\', value).is_some() {
            unescape(value)
        } else {
            value.into()
        }
    }

    /// Whether a line is in the window of time and meets the conditions.
    #[inline]
    fn is_wanted(&self, row: &Row<'_, '_>) -> bool {
        let Options { since, until, .. } = self.options;
        let is_before =
            |limit: &Option<i64>| limit.zip(row.at).is_some_and(|(limit, at)| at < limit);
        !is_before(since)
            && (until.is_none() || is_before(until))
            && (self.conditions.is_empty() || self.meets(row))
    }

    #[inline(never)]
    fn meets(&self, row: &Row<'_, '_>) -> bool {
        self.conditions.iter().all(|(condition, extra)| condition.holds(&self.value(row, extra)))
    }

    /// What groups or conditions ask of a line, as text.
    fn value<'v>(&self, row: &'v Row<'_, '_>, (extra, at): &(Extra, usize)) -> Cow<'v, [u8]> {
        match extra {
            Extra::Role(STATUS) => row.status.to_string().into_bytes().into(),
            Extra::Role(TAKEN) if row.nanos == NO_TIME => Cow::Borrowed(b""),
            Extra::Role(TAKEN) => (row.nanos as f64 / 1e9).to_string().into_bytes().into(),
            Extra::Role(METHOD) => self.request(row).0.into_owned().into(),
            Extra::Role(URI) => self.request(row).1.into_owned().into(),
            Extra::Path => {
                let target = self.request(row).1.into_owned();
                let end = memchr::memchr2(b'?', b'#', &target).unwrap_or(target.len());
                target[..end].to_vec().into()
            }
            Extra::Key => {
                let mut key = Vec::new();
                self.counter.naming.key(b"", &self.request(row).1, &mut key);
                key.into()
            }
            Extra::File => self.counter.file.as_slice().to_vec().into(),
            Extra::Role(role) => self.resolved(row.values[self.places[*role]]),
            Extra::Field(_) => match self.resolved(row.values[*at]) {
                Cow::Borrowed(value) => bare(value).into(),
                Cow::Owned(value) => value.into(),
            },
        }
    }

    /// The method and the target of a line.
    fn request<'v>(&self, row: &'v Row<'_, '_>) -> (Cow<'v, [u8]>, Cow<'v, [u8]>) {
        if self.reading.places[REQUEST].is_none() {
            let value = |role: usize| self.resolved(row.values[self.places[role]]);
            return (value(METHOD), value(URI));
        }
        match self.resolved(row.values[self.places[REQUEST]]) {
            Cow::Borrowed(line) => match request::of_line(line) {
                Some(found) => (found.method.into(), found.target.into()),
                None => (Cow::Borrowed(b""), line.into()),
            },
            Cow::Owned(line) => match request::of_line(&line) {
                Some(found) => (found.method.to_vec().into(), found.target.to_vec().into()),
                None => (Cow::Borrowed(b""), line.into()),
            },
        }
    }

    /// Counts a line.
    #[inline]
    fn count(&mut self, row: &Row<'_, 'a>) {
        match self.naming {
            By::Fields => {
                let method = row.values[self.places[METHOD]];
                self.count_as(row, method, row.values[self.places[URI]]);
            }
            By::Request => self.count_as(row, b"", row.values[self.places[REQUEST]]),
            By::Path => {
                let target = self.request(row).1;
                let waiting = self.of_key(row, b"", &target);
                self.count_now(waiting);
                self.count_all(row, waiting.line, waiting.bytes, (b"", &target));
            }
            By::Group => {
                let mut group = std::mem::take(&mut self.counter.group);
                self.join_groups(row, &mut group);
                let waiting = self.of_key(row, b"", &group);
                self.count_now(waiting);
                self.count_all(row, waiting.line, waiting.bytes, (b"", &group));
                self.counter.group = group;
            }
        }
    }

    /// Counts a line under a target as it stands in the line.
    #[inline(always)]
    fn count_as(&mut self, row: &Row<'_, 'a>, method: &'a [u8], target: &'a [u8]) {
        match self.resolved(target) {
            Cow::Borrowed(target) => {
                let waiting = self.of_key(row, method, target);
                self.wait(waiting);
                self.count_all(row, waiting.line, waiting.bytes, (method, target));
            }
            Cow::Owned(target) => {
                let waiting = self.of_key(row, method, &target);
                self.count_now(waiting);
                self.count_all(row, waiting.line, waiting.bytes, (method, &target));
            }
        }
    }

    /// What a line counts under its key.
    #[inline(always)]
    fn of_key<'t>(&self, row: &Row<'_, '_>, method: &'t [u8], target: &'t [u8]) -> Waiting<'t> {
        let hash = self.counter.targets.hash(method, target);
        let line = Line::new(row.second, row.status, row.nanos);
        let bytes = self.bytes(row.values[self.places[BYTES]]);
        Waiting { method, target, hash, line, bytes }
    }

    /// Counts a line among all.
    #[inline(always)]
    fn count_all(
        &mut self,
        row: &Row<'_, '_>,
        line: Line,
        bytes: u64,
        (method, target): (&[u8], &[u8]),
    ) {
        let totals = &mut self.counter.totals;
        totals.all.add(line, bytes, || b"-");
        if row.nanos != NO_TIME {
            // As a rule it is a millisecond, and that without a division.
            let is_fine = (1..=MILLISECOND).contains(&totals.resolution);
            if !is_fine || !row.nanos.is_multiple_of(MILLISECOND) {
                totals.refine(row.nanos);
            }
            if row.nanos >= totals.slowest.least {
                self.slow(row, method, target);
            }
        }
        self.rest(row);
    }

    /// The bytes that were sent.
    #[inline]
    fn bytes(&self, text: &[u8]) -> u64 {
        match parse_short(text).and_then(Short::whole) {
            Some(bytes) => bytes,
            None if text.is_empty() => 0,
            None => {
                let number = parse_f64(bare(text)).filter(|number| *number >= 0.0);
                number.map_or(0, |number| number as u64)
            }
        }
    }

    /// A line that may be one of the slowest.
    #[cold]
    fn slow(&mut self, row: &Row<'_, '_>, method: &[u8], target: &[u8]) {
        let (method_shown, target_shown) = self.request(row);
        let mut line = Slow::new(row.nanos, row.at, (&method_shown, &target_shown));
        if self.counter.totals.slowest.is_one(&line) {
            self.make_key(method, target);
            (line.status, line.key) = (row.status, self.counter.key[..].into());
            self.counter.totals.slowest.add(line);
        }
    }

    /// What else a line tells.
    #[inline]
    fn rest(&mut self, row: &Row<'_, '_>) {
        let Counter { totals, host, moment, .. } = &mut *self.counter;
        if let Some(at) = row.at {
            let is_inside = totals.span.is_some_and(|span| span.first < at && at <= span.last);
            if !is_inside {
                let zone_s = moment.zone_s;
                totals.stretch(Span { first: at, zone_s, last: at });
            }
        }
        let value = row.values[self.places[HOST]];
        if !value.is_empty() && !is_same(value, host) {
            host.clear();
            host.extend_from_slice(value);
            if known::is_host(value) {
                totals.add_host(&value[..value.len().min(MOST_KEY_BYTES)]);
            }
        }
    }
}
