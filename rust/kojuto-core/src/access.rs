//! Access-log statistics: latencies and status classes of the lines of a log.

mod explain;
mod finding;
mod options;
mod patterns;
mod recognise;
mod tally;

use memchr::memmem::Finder;

pub use self::explain::{Explained, Field, Role, Verdict, explain};
pub(crate) use self::finding::telling;
pub(crate) use self::options::first_lines;
pub use self::options::{Format, Options, TimeField, TimeList};
pub use self::recognise::{Found, Profile};
pub use self::tally::Tally;
pub(crate) use self::tally::class_of;

use crate::Error;
use crate::scan::bad_lines::BadLines;
use crate::scan::beginning::behind_nuls;
use crate::scan::envelope::{Envelope, Opener};
use crate::scan::fields::{Keys, Rows, Values};
use crate::scan::json::{self, Prefix, unescape};
use crate::scan::ltsv;
use crate::scan::number::{parse_i64, parse_short};
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
    group_key: Option<String>,
    finds_keys: bool,
    found: Found,
    counter: Counter,
}

/// What is needed for each line once its values are found.
#[derive(Debug, Clone)]
struct Counter {
    statuses: usize,
    by: Option<usize>,
    escapes: bool,
    time_optional: bool,
    /// There is one status key, and times are in seconds: nothing is left to be done with the
    /// values of most lines.
    is_plain: bool,
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
    /// Lines that were counted without their time, since it is a list.
    refused_lists: u64,
    /// The lines of this block that begin with NULs, without them.
    behind_nuls: Vec<u8>,
}

impl Access {
    /// A scan that has counted nothing yet.
    ///
    /// # Errors
    /// [`Error::Argument`] for an empty or too many keys.
    pub fn new(options: &Options) -> Result<Access, Error> {
        let statuses: Vec<&str> = options.status_keys.iter().map(String::as_str).collect();
        let by = options.by.as_deref();
        let (keys, by) = options::wanted(&options.ptime_key, &statuses, by)?;
        Ok(Access {
            keys,
            envelope: options.envelope,
            opener: Opener::default(),
            format: options.format.clone(),
            time_field: options.time_field.clone(),
            group_key: options.by.clone(),
            finds_keys: options.finds_keys,
            found: Found::default(),
            counter: Counter {
                statuses: options.status_keys.len(),
                by,
                escapes: false,
                time_optional: false,
                is_plain: false,
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
                refused_lists: 0,
                behind_nuls: Vec::new(),
            },
        })
    }

    /// Counts a block of whole lines, each ended by `\n`; of what an envelope splits, all pieces are in
    /// one block.
    pub fn block(&mut self, block: &[u8]) {
        let envelope = match self.envelope {
            Some(Envelope::Auto) => Envelope::detect(block).or(self.found.envelope),
            given => given,
        };
        let Some(envelope) = envelope else { return self.lines_of(block) };
        self.found.envelope = Some(envelope);
        let mut opener = std::mem::take(&mut self.opener);
        self.lines_of(opener.open(envelope, block));
        self.opener = opener;
    }

    /// Counts a block of lines without an envelope.
    fn lines_of(&mut self, block: &[u8]) {
        self.find(block);
        let Access { keys, format, time_field, counter, found, .. } = self;
        let format = found.format.as_ref().unwrap_or(format);
        counter.escapes = matches!(format, Format::Json(_));
        counter.time_optional = match format {
            Format::Combined | Format::Text(_) => true,
            Format::Regex(regex) => {
                let mut names = regex.capture_names().flatten();
                found.pattern().is_some()
                    || !names.any(|name| name.as_bytes() == &*keys.list()[0].name)
            }
            _ => false,
        };
        scan(block, keys, format, time_field, counter);
        if !counter.behind_nuls.is_empty() {
            let lines = std::mem::take(&mut counter.behind_nuls);
            scan(&lines, keys, format, time_field, counter);
        }
    }

    /// The name of the log's format, the detected one for [`Format::Auto`].
    pub fn format_name(&self) -> &'static str {
        let format = || self.found.format.as_ref().unwrap_or(&self.format).name();
        self.found.pattern().unwrap_or_else(format)
    }

    /// What the log has said of itself.
    pub fn found(&self) -> &Found {
        &self.found
    }

    /// How many lines were seen, bad and filtered ones included.
    pub fn lines(&self) -> u64 {
        self.counter.lines
    }

    /// How many lines were counted without their time, since that is a list and lists are refused.
    pub fn refused_lists(&self) -> u64 {
        self.counter.refused_lists
    }

    /// The lines that could not be counted.
    pub fn bad(&self) -> &BadLines<{ REASONS.len() }> {
        &self.counter.bad
    }

    /// Adds what another scan with the same options has counted.
    pub fn merge(&mut self, other: Access) {
        if self.found.format.is_none() && self.found.profile.is_none() {
            self.found = other.found;
        }
        let (mine, other) = (&mut self.counter, other.counter);
        mine.all.merge(other.all);
        mine.missing.merge(other.missing);
        mine.other.merge(other.other);
        let pool = &mut mine.other;
        mine.groups.merge(other.groups, Tally::merge, |evicted| pool.absorb(evicted));
        mine.bad.merge(other.bad);
        mine.lines += other.lines;
        mine.refused_lists += other.refused_lists;
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

/// Counts a block of lines in a format that is known.
fn scan(block: &[u8], keys: &Keys, format: &Format, time: &TimeField, counter: &mut Counter) {
    counter.is_plain = counter.statuses == 1 && counter.time_scale == 1.0;
    // The common case gets a scan of its own, without a test for what it does not need.
    let plain = counter.is_plain && counter.filter.is_none() && counter.by.is_none();
    match format {
        Format::Ltsv(Prefix::Refuse) if plain => ltsv::scan(block, keys, &mut Plain(counter)),
        Format::Json(prefix) if plain => json::scan(block, keys, *prefix, &mut Plain(counter)),
        Format::Combined if plain => combined::scan(block, keys, time, &mut Plain(counter)),
        Format::Text(text) if plain => {
            log_format::scan(block, keys, text, time, &mut Plain(counter));
        }
        _ => read(block, keys, format, time, counter),
    }
}

/// Hands each line of a block, and the values of the keys in it, to `rows`.
pub(crate) fn read<'a, R: Rows<'a>>(
    block: &'a [u8],
    keys: &Keys,
    format: &Format,
    time: &TimeField,
    rows: &mut R,
) {
    match format {
        Format::Ltsv(Prefix::Refuse) => ltsv::scan(block, keys, rows),
        Format::Ltsv(Prefix::Skip) => ltsv::scan_behind_brace(block, keys, rows),
        Format::Json(prefix) => json::scan(block, keys, *prefix, rows),
        Format::Combined => combined::scan(block, keys, time, rows),
        Format::Text(text) => log_format::scan(block, keys, text, time, rows),
        Format::Regex(regex) => combined::scan_regex(block, keys, regex, rows),
        Format::Auto(_) => {}
    }
}

/// Takes the lines when there is one status key, no filter, no grouping, and times in seconds.
struct Plain<'c>(&'c mut Counter);

impl<'a> Rows<'a> for Plain<'_> {
    #[inline(always)]
    fn row(&mut self, line: &'a [u8], values: &Values<'a>) {
        let counter = &mut *self.0;
        if line.first() == Some(&0) {
            return counter.put_by(line);
        }
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
        if line.first() == Some(&0) {
            return self.put_by(line);
        }
        self.lines += 1;
        if let Some((finder, invert)) = &self.filter
            && finder.find(line).is_some() == *invert
        {
            return;
        }
        if self.is_plain
            && let (Some(latency), Some(status)) = (parse_short(values[0]), parse_i64(values[1]))
        {
            self.all.count(status);
            self.all.latencies.add_short(latency);
            return self.count_in_group(values, status, Some(latency.value()));
        }
        self.odd_row(line, values);
    }
}

impl Counter {
    /// A line that begins with NULs was not read as what it is: it is read once more.
    #[cold]
    fn put_by(&mut self, line: &[u8]) {
        self.behind_nuls.extend_from_slice(behind_nuls(line));
        self.behind_nuls.push(b'\n');
    }

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
            None if self.time_optional => {
                self.refused_lists += u64::from(self.is_refused_list(values[0]));
                None
            }
            None => return self.bad.count(BAD_TIME, line),
        };
        let Some(status) = parse_i64(self.resolved(status).trim_ascii()) else {
            return self.bad.count(BAD_STATUS, line);
        };
        self.all.add(status, latency);
        self.count_in_group(values, status, latency);
    }

    /// Counts a line in its group, if there are groups.
    #[inline]
    fn count_in_group(&mut self, values: &Values<'_>, status: i64, latency: Option<f64>) {
        let Some(by) = self.by else { return };
        let name = self.resolved(values[by]);
        let name = &*group_name::bounded(&name);
        if name.is_empty() {
            self.missing.add(status, latency);
        } else {
            let other = &mut self.other;
            self.groups.group(name, |evicted| other.absorb(evicted)).add(status, latency);
        }
    }

    /// Whether a line without values may at least be of the format.
    fn looks_right(&self, line: &[u8]) -> bool {
        if self.escapes { line.contains(&b'{') } else { line.contains(&b':') }
    }

    fn resolved<'v>(&self, value: &'v [u8]) -> std::borrow::Cow<'v, [u8]> {
        if self.escapes { unescape(value) } else { value.into() }
    }

    /// Whether a time taken would be one if lists were not refused.
    fn is_refused_list(&self, text: &[u8]) -> bool {
        self.time_list == duration::TimeList::Refuse
            && duration::taken(&self.resolved(text), self.time_scale, duration::TimeList::Sum)
                .is_some()
    }

    /// The seconds of a time taken.
    fn time(&self, text: &[u8]) -> Option<f64> {
        duration::taken(&self.resolved(text), self.time_scale, self.time_list)
    }
}

#[cfg(test)]
mod tests;
