//! What becomes of a line.

mod reader;

use self::reader::{Gather, Queue, Reader};
use super::cells::Columns;
use super::known::{self, REQUEST, WHEN, bare};
use super::naming::Naming;
use super::options::Options;
use super::roles::Reading;
use super::targets::Targets;
use super::totals::Totals;
use crate::access::Format;
use crate::scan::fields::MAX_KEYS;
use crate::scan::instant::{self, SECOND, Zone};

/// Between the values of fields that name a row: the unit separator of ASCII.
pub const GROUP_SEPARATOR: u8 = 0x1f;

/// Something that groups or conditions ask of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Extra {
    Role(usize),
    /// The target of the request without its query.
    Path,
    /// What a target is counted under, whatever its method.
    Key,
    /// The name of the log.
    File,
    Field(String),
}

impl Extra {
    /// A column of lines, in which the time is when they were written.
    pub(super) fn of_column(name: &str) -> Extra {
        if name == known::ROLES[WHEN] { Extra::Role(WHEN) } else { Extra::of(name) }
    }

    pub(super) fn of(name: &str) -> Extra {
        match known::ROLES.iter().position(|role| *role == name) {
            // What the log calls time may well be what is meant.
            Some(role) if role != WHEN => Extra::Role(role),
            _ if name == "path" => Extra::Path,
            _ if name == "file" => Extra::File,
            _ => Extra::Field(name.to_owned()),
        }
    }

    /// The same where it names a row.
    pub(super) fn of_group(name: &str) -> Extra {
        match Extra::of(name) {
            Extra::Path => Extra::Key,
            extra => extra,
        }
    }

    /// The field that is to be read for it.
    pub(super) fn field(&self) -> Option<&str> {
        match self {
            Extra::Field(name) => Some(name),
            _ => None,
        }
    }
}

/// What lines are counted by.
#[derive(Debug, Clone, Copy)]
enum By {
    /// A request line.
    Request,
    /// A method and a target.
    Fields,
    /// A target, whatever its method.
    Path,
    /// Values of fields.
    Group,
}

/// When a line was written, and its text: that of the next line is the same as a rule.
#[derive(Debug, Clone, Default)]
struct Moment {
    text: Vec<u8>,
    /// Nanoseconds since the epoch.
    at: Option<i64>,
    /// Seconds since the epoch; 0 for none.
    second: u32,
    /// The zone of the text.
    zone_s: Option<i32>,
}

/// What is asked of lines, each with the place of the field that is read for it.
fn placed(reading: &Reading, extra: &[Extra]) -> Vec<(Extra, usize)> {
    let mut fields = reading.extra.iter();
    let place = |extra: &Extra| match extra {
        Extra::Field(_) => (extra.clone(), fields.next().map_or(MAX_KEYS - 1, |at| *at)),
        _ => (extra.clone(), MAX_KEYS - 1),
    };
    extra.iter().map(place).collect()
}

/// Counts lines.
#[derive(Debug, Clone)]
pub(super) struct Counter {
    naming: Naming,
    targets: Targets,
    pub(super) totals: Totals,
    moment: Moment,
    /// That of the last line.
    host: Vec<u8>,
    /// The name of the log.
    file: Vec<u8>,
    /// What a target is counted under, and the values of groups: buffers.
    key: Vec<u8>,
    group: Vec<u8>,
    /// The lines of this block that begin with NULs, without them.
    behind_nuls: Vec<u8>,
}

impl Counter {
    pub(super) fn new(naming: Naming, options: &Options) -> Counter {
        Counter {
            naming,
            targets: Targets::new(options.targets),
            totals: Totals::new(options),
            moment: Moment::default(),
            host: Vec::new(),
            file: Vec::new(),
            key: Vec::new(),
            group: Vec::new(),
            behind_nuls: Vec::new(),
        }
    }

    /// One of the same naming that has counted nothing.
    pub(super) fn another(&self, options: &Options) -> Counter {
        Counter::new(self.naming.clone(), options)
    }

    /// What was counted.
    pub(super) fn into_totals(mut self) -> Totals {
        self.totals.settle();
        if self.totals.is_over() {
            self.totals.save_memory(&self.naming);
        }
        self.totals
    }

    /// The lines that follow are of the log of that name.
    pub(super) fn turn_to(&mut self, file: &str) {
        self.file = file.as_bytes().to_vec();
    }

    /// Counts the lines of a block.
    pub(super) fn count(
        &mut self,
        reading: &Reading,
        options: &Options,
        extra: &[Extra],
        block: &[u8],
    ) {
        let extra = placed(reading, extra);
        let naming = match &options.group_by[..] {
            [path] if path == "path" => By::Path,
            [method, path] if method == "method" && path == "path" => By::Fields,
            [] => By::Fields,
            _ => By::Group,
        };
        self.read(reading, options, (&extra, naming), block);
        if !self.behind_nuls.is_empty() {
            let lines = std::mem::take(&mut self.behind_nuls);
            self.read(reading, options, (&extra, naming), &lines);
        }
    }

    fn read(
        &mut self,
        reading: &Reading,
        options: &Options,
        (extra, naming): (&[(Extra, usize)], By),
        block: &[u8],
    ) {
        let places = reading.places.map(|place| place.unwrap_or(MAX_KEYS - 1));
        let (groups, conditions) = extra.split_at(options.group_by.len());
        let is_line = reading.places[REQUEST].is_some() && matches!(naming, By::Fields);
        let mut rows = Reader {
            counter: self,
            naming: if is_line { By::Request } else { naming },
            reading,
            options,
            places,
            escapes: matches!(reading.format, Format::Json(_)),
            groups,
            conditions: options.conditions.iter().zip(conditions).collect(),
            queue: Queue::default(),
        };
        reading.read(block, &mut rows);
        rows.count_waiting();
    }

    /// Puts what is asked of the lines of a block into columns.
    pub(super) fn gather(
        &mut self,
        reading: &Reading,
        options: &Options,
        extra: &[Extra],
        columns: &mut Columns,
        block: &[u8],
    ) {
        let extra = placed(reading, extra);
        self.gather_lines(reading, options, &extra, columns, block);
        if !self.behind_nuls.is_empty() {
            let lines = std::mem::take(&mut self.behind_nuls);
            self.gather_lines(reading, options, &extra, columns, &lines);
        }
    }

    fn gather_lines(
        &mut self,
        reading: &Reading,
        options: &Options,
        extra: &[(Extra, usize)],
        columns: &mut Columns,
        block: &[u8],
    ) {
        let (asked, conditions) = extra.split_at(columns.cells.len());
        let reader = Reader {
            counter: self,
            naming: By::Group,
            reading,
            options,
            places: reading.places.map(|place| place.unwrap_or(MAX_KEYS - 1)),
            escapes: matches!(reading.format, Format::Json(_)),
            groups: &[],
            conditions: options.conditions.iter().zip(conditions).collect(),
            queue: Queue::default(),
        };
        reading.read(block, &mut Gather::new(reader, asked, columns));
    }

    /// When a line was written, by a text that is often the same as that of the line before.
    #[inline]
    fn moment(&mut self, text: &[u8], zone: Option<&Zone>) -> (Option<i64>, u32) {
        if !is_same(&self.moment.text, text) {
            self.moment.turn_to(text, zone);
        }
        (self.moment.at, self.moment.second)
    }
}

/// Whether two texts are the same: of a few to 32 bytes, without a call.
#[inline(always)]
fn is_same(one: &[u8], other: &[u8]) -> bool {
    fn ends<const N: usize>(text: &[u8]) -> Option<(&[u8; N], &[u8; N])> {
        text.first_chunk::<N>().zip(text.last_chunk::<N>())
    }
    match one.len() {
        length if length != other.len() => false,
        17..=32 => ends::<16>(one) == ends::<16>(other),
        9..=16 => ends::<8>(one) == ends::<8>(other),
        _ => one == other,
    }
}

impl Moment {
    /// Reads a text; `zone` is the clock of those that have none, UTC's where there is none.
    fn turn_to(&mut self, text: &[u8], zone: Option<&Zone>) {
        self.text.clear();
        self.text.extend_from_slice(text);
        let instant = instant::parse(bare(text));
        self.zone_s = instant.and_then(|instant| instant.zone_s);
        self.at = instant.map(|instant| match zone {
            Some(zone) if instant.is_local => {
                instant.nanos - i64::from(zone.offset(instant.nanos / SECOND)) * SECOND
            }
            _ => instant.nanos,
        });
        let second = |at: i64| u32::try_from(at / SECOND).unwrap_or(0);
        self.second = self.at.map_or(0, second);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_differ_in_a_byte_or_their_length_are_not_the_same() {
        let text: Vec<u8> = (0..50).collect();
        for length in 0..text.len() {
            assert!(is_same(&text[..length], &text.clone()[..length]), "{length}");
            assert!(!is_same(&text[..length], &text[..length + 1]), "{length}");
            for at in 0..length {
                let mut other = text[..length].to_vec();
                other[at] ^= 1;
                assert!(!is_same(&text[..length], &other), "{length} {at}");
            }
        }
    }
}
