//! Access-log statistics: latencies and status classes of the lines of a log.

mod options;
mod tally;

use memchr::memmem::Finder;

pub use self::options::{Format, Options, TimeField, TimeList};
pub use self::tally::Tally;

use crate::Error;
use crate::scan::bad_lines::BadLines;
use crate::scan::beginning;
use crate::scan::envelope::{Envelope, Opener};
use crate::scan::fields::{Keys, Rows, Values};
use crate::scan::json::{self, Prefix, unescape};
use crate::scan::ltsv;
use crate::scan::number::{parse_f64, parse_i64, parse_short};
use crate::scan::{combined, duration, log_format};
use crate::stats::group_name::{self, GroupName};
use crate::stats::space_saving::SpaceSaving;

/// Why a line could not be counted, as indexes of [`BadLines`].
pub const REASONS: [&str; 5] = [
    "not in the expected format",
    "no time taken",
    "no status",
    "time taken is not a number",
    "status is not an integer",
];
const FORMAT: usize = 0;
const NO_TIME: usize = 1;
const NO_STATUS: usize = 2;
const BAD_TIME: usize = 3;
const BAD_STATUS: usize = 4;

/// Counts the lines of an access log, block by block.
#[derive(Debug, Clone)]
pub struct Access {
    keys: Keys,
    envelope: Option<Envelope>,
    opener: Opener,
    format: Format,
    time_field: TimeField,
    detected: Option<&'static str>,
    counter: Counter,
}

/// What is needed for each line once its values are found.
#[derive(Debug, Clone)]
struct Counter {
    statuses: usize,
    by: Option<usize>,
    escapes: bool,
    time_optional: bool,
    filter: Option<(Finder<'static>, bool)>,
    time_scale: f64,
    time_list: TimeList,
    max_groups: usize,
    all: Tally,
    groups: SpaceSaving<Tally>,
    missing: Tally,
    other: Tally,
    bad: BadLines<{ REASONS.len() }>,
    lines: u64,
}

impl Access {
    /// A scan that has counted nothing yet.
    ///
    /// # Errors
    /// [`Error::Argument`] for an empty or too many keys.
    pub fn new(options: &Options) -> Result<Access, Error> {
        let mut names = vec![(options.ptime_key.as_bytes(), true)];
        for (at, key) in options.status_keys.iter().enumerate() {
            // Only the first of them ends the search: another may be followed by a better one.
            names.push((key.as_bytes(), at == 0));
        }
        let by = options.by.as_ref().map(|by| {
            // It may be one of those already.
            let at = names.iter().position(|(name, _)| *name == by.as_bytes());
            let at = at.unwrap_or_else(|| {
                names.push((by.as_bytes(), true));
                names.len() - 1
            });
            names[at].1 = true;
            at
        });
        let keys = Keys::new(&names)?;
        Ok(Access {
            keys,
            envelope: options.envelope,
            opener: Opener::default(),
            format: options.format.clone(),
            time_field: options.time_field.clone(),
            detected: None,
            counter: Counter {
                statuses: options.status_keys.len(),
                by,
                escapes: false,
                time_optional: false,
                filter: options
                    .filter
                    .as_ref()
                    .map(|(text, invert)| (Finder::new(text).into_owned(), *invert)),
                time_scale: options.time_scale * options.format.time_scale(&options.time_field),
                time_list: options.time_list,
                max_groups: options.max_groups,
                all: Tally::default(),
                // Sixteen times as many as are shown: those that turn out to be the largest are
                // whole in any log but a hostile one.
                groups: SpaceSaving::new(options.max_groups.saturating_mul(16)),
                missing: Tally::default(),
                other: Tally::default(),
                bad: BadLines::default(),
                lines: 0,
            },
        })
    }

    /// Counts a block of whole lines, each ended by `\n`; of what an envelope splits, all pieces are in
    /// one block.
    pub fn block(&mut self, block: &[u8]) {
        let envelope = match self.envelope {
            Some(Envelope::Auto) => Envelope::detect(block),
            given => given,
        };
        let Some(envelope) = envelope else { return self.lines_of(block) };
        let mut opener = std::mem::take(&mut self.opener);
        self.lines_of(opener.open(envelope, block));
        self.opener = opener;
    }

    /// Counts a block of lines without an envelope.
    fn lines_of(&mut self, block: &[u8]) {
        let Access { keys, format, time_field, detected, counter, .. } = self;
        let block = beginning::passed(block);
        let found;
        let format = match format {
            Format::Auto(prefix) => {
                found = Format::detect(block, *prefix);
                *detected = Some(found.name());
                &found
            }
            given => given,
        };
        counter.escapes = matches!(format, Format::Json(_));
        counter.time_optional = match format {
            Format::Combined | Format::Text(_) => true,
            Format::Regex(regex) => !regex
                .capture_names()
                .flatten()
                .any(|name| name.as_bytes() == &*keys.list()[0].name),
            _ => false,
        };
        // The common case gets a scan of its own, without a test for what it does not need.
        let plain = counter.filter.is_none()
            && counter.by.is_none()
            && counter.statuses == 1
            && counter.time_scale == 1.0;
        match format {
            Format::Ltsv(Prefix::Refuse) if plain => ltsv::scan(block, keys, &mut Plain(counter)),
            Format::Json(prefix) if plain => {
                json::scan(block, keys, *prefix, &mut Plain(counter));
            }
            Format::Ltsv(Prefix::Refuse) => ltsv::scan(block, keys, counter),
            Format::Ltsv(Prefix::Skip) => ltsv::scan_behind_brace(block, keys, counter),
            Format::Json(prefix) => json::scan(block, keys, *prefix, counter),
            Format::Combined => combined::scan(block, keys, time_field, counter),
            Format::Text(text) => log_format::scan(block, keys, text, time_field, counter),
            Format::Regex(regex) => combined::scan_regex(block, keys, regex, counter),
            Format::Auto(_) => {}
        }
    }

    /// The name of the log's format, the detected one for [`Format::Auto`].
    pub fn format_name(&self) -> &'static str {
        self.detected.unwrap_or(self.format.name())
    }

    /// How many lines were seen, bad and filtered ones included.
    pub fn lines(&self) -> u64 {
        self.counter.lines
    }

    /// The lines that could not be counted.
    pub fn bad(&self) -> &BadLines<{ REASONS.len() }> {
        &self.counter.bad
    }

    /// Adds what another scan with the same options has counted.
    pub fn merge(&mut self, other: Access) {
        let (mine, other) = (&mut self.counter, other.counter);
        mine.all.merge(other.all);
        mine.missing.merge(other.missing);
        mine.other.merge(other.other);
        let pool = &mut mine.other;
        mine.groups.merge(other.groups, Tally::merge, |evicted| pool.merge(evicted));
        mine.bad.merge(other.bad);
        mine.lines += other.lines;
    }

    /// The figures of all lines, and those of each group: the largest first, the pool last.
    pub fn finish(self) -> (Tally, Vec<(GroupName, Tally)>) {
        let Counter { all, groups, missing, mut other, max_groups, .. } = self.counter;
        let mut groups: Vec<_> =
            groups.into_groups().map(|(value, tally)| (GroupName::Value(value), tally)).collect();
        if missing.total() > 0 {
            groups.push((GroupName::Missing, missing));
        }
        groups.sort_by(|a, b| b.1.total().cmp(&a.1.total()).then_with(|| a.0.cmp(&b.0)));
        for (_, tally) in groups.split_off(max_groups.min(groups.len())) {
            other.merge(tally);
        }
        if other.total() > 0 {
            groups.push((GroupName::Other, other));
        }
        (all, groups)
    }
}

/// Takes the lines when there is one status key, no filter, no grouping, and times in seconds.
struct Plain<'c>(&'c mut Counter);

impl<'a> Rows<'a> for Plain<'_> {
    #[inline(always)]
    fn row(&mut self, line: &'a [u8], values: &Values<'a>) {
        let counter = &mut *self.0;
        counter.lines += 1;
        match (parse_short(values[0]), parse_i64(values[1])) {
            (Some(latency), Some(status)) => {
                counter.all.count(status);
                counter.all.latencies.add_short(latency);
            }
            _ => counter.odd_row(line, values),
        }
    }
}

impl<'a> Rows<'a> for Counter {
    fn row(&mut self, line: &'a [u8], values: &Values<'a>) {
        self.lines += 1;
        if let Some((finder, invert)) = &self.filter
            && finder.find(line).is_some() == *invert
        {
            return;
        }
        self.odd_row(line, values);
    }
}

impl Counter {
    /// A line in the general case: lists of times, escapes, several status keys, groups.
    #[inline(never)]
    fn odd_row(&mut self, line: &[u8], values: &Values<'_>) {
        let status =
            values[1..=self.statuses].iter().find(|v| !v.is_empty()).copied().unwrap_or_default();
        if values[0].is_empty() && !self.time_optional {
            let reason =
                if status.is_empty() && !self.looks_right(line) { FORMAT } else { NO_TIME };
            return self.bad.count(reason, line);
        }
        if status.is_empty() {
            return self.bad.count(if self.time_optional { FORMAT } else { NO_STATUS }, line);
        }
        let latency = match self.time(values[0]) {
            Some(time) => Some(time),
            None if self.time_optional => None,
            None => return self.bad.count(BAD_TIME, line),
        };
        let Some(status) = parse_i64(self.resolved(status).trim_ascii()) else {
            return self.bad.count(BAD_STATUS, line);
        };
        self.all.add(status, latency);
        if let Some(by) = self.by {
            let name = self.resolved(values[by]);
            let name = &*group_name::bounded(&name);
            if name.is_empty() {
                self.missing.add(status, latency);
            } else {
                let other = &mut self.other;
                self.groups.group(name, |evicted| other.merge(evicted)).add(status, latency);
            }
        }
    }

    /// Whether a line without values may at least be of the format.
    fn looks_right(&self, line: &[u8]) -> bool {
        if self.escapes { line.contains(&b'{') } else { line.contains(&b':') }
    }

    fn resolved<'v>(&self, value: &'v [u8]) -> std::borrow::Cow<'v, [u8]> {
        if self.escapes { unescape(value) } else { value.into() }
    }

    /// The seconds of a time taken.
    fn time(&self, text: &[u8]) -> Option<f64> {
        // percentile takes a number with blanks around it, too.
        let text = self.resolved(text);
        let text = text.trim_ascii();
        let seconds = |text: &[u8]| match parse_f64(text) {
            Some(number) => Some(number * self.time_scale),
            None => duration::seconds(text),
        };
        if let Some(time) = seconds(text) {
            return Some(time);
        }
        if self.time_list == TimeList::Refuse || text.is_empty() {
            return None;
        }
        // nginx parts upstreams by ", " and groups after an internal redirect by " : "; an
        // upstream that was not asked is "-".
        let mut times = text
            .split(|b| matches!(b, b',' | b':'))
            .map(<[u8]>::trim_ascii)
            .filter(|part| !matches!(*part, b"-" | b""))
            .map(seconds);
        let first = times.next()??;
        times.try_fold(first, |time, next| {
            let next = next?;
            Some(match self.time_list {
                TimeList::Sum => time + next,
                TimeList::Max => time.max(next),
                TimeList::Last | TimeList::Refuse => next,
            })
        })
    }
}

#[cfg(test)]
mod tests;
