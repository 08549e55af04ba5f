//! What a report has counted: the figures of each key, and of all lines. Parts of a log are put together
//! in any order; which keys are one endpoint is decided when it is asked for.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::classes::REFUSED;
use super::figures::Figures;
use super::naming::{Counted, Naming, NamingOptions};
use super::options::{MOST_BYTES, Options};
use super::roles::Taken;
use super::slowest::Slowest;
use crate::Error;
use crate::error::{Malformed, ReportFault};
use crate::scan::bad_lines::BadLines;
use crate::stats::space_saving::SpaceSaving;

/// Why a line could not be counted, as indexes of [`BadLines`].
pub const REASONS: [&str; 6] = [
    "not in the expected format",
    "no status",
    "status is not an integer",
    "time taken is not a number",
    "no time stamp",
    "longer than 64 MiB",
];
pub(super) const OVERLONG: usize = 5;

/// How many slices all lines have.
pub(super) const SLICES_OF_ALL: usize = 64;
/// The rows for which there are maps.
pub(super) const COSTLIEST: usize = 300;
/// How many different hosts are remembered.
pub(super) const MOST_HOSTS: usize = 16;
/// How many different ways to read a log are.
pub(super) const MOST_FOUND: usize = 16;

/// By what the keys are made; only those of one way can be put together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// How endpoints are named.
    pub naming: NamingOptions,
    /// The fields whose values name the rows, instead of the endpoint.
    pub group_by: Vec<String>,
}

/// What a log has said of itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Found {
    /// The name of its format.
    pub format: String,
    /// That of what stands around its lines.
    pub envelope: Option<String>,
    /// What its keys were taken as.
    pub keys: Vec<Taken>,
}

/// Moments in nanoseconds since the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) first: i64,
    /// The zone of the first.
    pub(super) zone_s: Option<i32>,
    pub(super) last: i64,
}

/// What a report has counted.
#[derive(Debug, Clone)]
pub struct Totals {
    pub(super) settings: Settings,
    pub(super) keys: SpaceSaving<Figures>,
    pub(super) all: Figures,
    /// Lines and nanoseconds of keys that lost their place.
    pub(super) other: (u64, u128),
    /// So many looks for room are left out, for the last one found little.
    skipped_looks: usize,
    /// The memory that the figures of the keys may take up, and hold, about.
    room_bytes: usize,
    pub(super) held_bytes: usize,
    pub(super) bad: BadLines<{ REASONS.len() }>,
    pub(super) lines: u64,
    pub(super) left_out: u64,
    pub(super) slowest: Slowest,
    pub(super) span: Option<Span>,
    pub(super) hosts: BTreeSet<Box<[u8]>>,
    /// The unit of nanoseconds of which all times are a multiple, a power of ten; 0 without times.
    pub(super) resolution: u64,
    /// How many lines were read in which way.
    pub(super) found: BTreeMap<Found, u64>,
}

/// The coarsest resolution.
pub(super) const SECOND: u64 = 1_000_000_000;

impl Totals {
    pub(super) fn new(options: &Options) -> Totals {
        let (naming, group_by) = (options.naming.clone(), options.group_by.clone());
        let settings = Settings { naming, group_by };
        let room_bytes = options.room_bytes;
        Totals { room_bytes, ..Totals::of(settings, options.capacity, options.slowest) }
    }

    pub(super) fn of(settings: Settings, capacity: usize, slowest: usize) -> Totals {
        Totals {
            settings,
            keys: SpaceSaving::new(capacity),
            all: Figures::with_slices(SLICES_OF_ALL),
            other: (0, 0),
            skipped_looks: 0,
            room_bytes: MOST_BYTES,
            held_bytes: 0,
            bad: BadLines::default(),
            lines: 0,
            left_out: 0,
            slowest: Slowest::new(slowest),
            span: None,
            hosts: BTreeSet::new(),
            resolution: 0,
            found: BTreeMap::new(),
        }
    }

    /// Adds what was counted of other lines.
    ///
    /// # Errors
    /// [`Error::Malformed`] when the keys of the other are made in another way; nothing is added then.
    pub fn merge(&mut self, mut other: Totals) -> Result<(), Error> {
        if self.settings != other.settings {
            return Err(Error::Malformed(Malformed::Report(ReportFault::Settings)));
        }
        if !self.keys.has_room_for(other.keys.len()) {
            let naming = Naming::new(&self.settings.naming)?;
            self.make_room(&naming);
            other.make_room(&naming);
        }
        let pool = &mut self.other;
        self.keys.merge(other.keys, Figures::merge, |figures| drop_into(pool, figures));
        self.held_bytes += other.held_bytes;
        if self.is_over() {
            let naming = Naming::new(&self.settings.naming)?;
            self.save_memory(&naming);
        }
        self.all.merge(other.all);
        self.other = (self.other.0 + other.other.0, self.other.1 + other.other.1);
        self.bad.merge(other.bad);
        self.lines += other.lines;
        self.left_out += other.left_out;
        self.slowest.merge(other.slowest);
        if let Some(span) = other.span {
            self.stretch(span);
        }
        other.hosts.into_iter().for_each(|host| self.add_host(&host));
        if other.resolution > 0 {
            self.refine(other.resolution);
        }
        for (found, lines) in other.found {
            self.add_found(found, lines);
        }
        Ok(())
    }

    /// Has at least so many keys be kept apart, in so much memory, when others are put to these.
    pub fn widen(&mut self, options: &Options) {
        self.keys.widen(options.capacity);
        self.room_bytes = self.room_bytes.max(options.room_bytes);
    }

    /// Puts keys together whose names fold already, so that there is room for others. Whoever knows
    /// places of keys must forget them when this is true.
    pub(super) fn make_room(&mut self, naming: &Naming) -> bool {
        if !self.settings.names_endpoints() || self.skipped_looks > 0 {
            self.skipped_looks = self.skipped_looks.saturating_sub(1);
            return false;
        }
        let before = self.keys.len();
        self.shorten(naming);
        if self.keys.len() > before - before / 8 {
            self.skipped_looks = before;
        }
        true
    }

    /// Has all lines be counted that figures have taken in; all else expects that.
    pub(super) fn settle(&mut self) {
        self.all.settle();
        self.held_bytes += self.keys.figures().map(Figures::settle).sum::<usize>();
    }

    /// Puts keys together whose names fold already.
    fn shorten(&mut self, naming: &Naming) {
        self.settle();
        let keys: Vec<(&[u8], &Figures)> = self.keys.groups().collect();
        let shorter = naming.shorter(&counted(&keys));
        let renamed = keys.iter().zip(&shorter);
        let renamed = renamed.filter_map(|((key, _), name)| Some((*key, name.as_ref()?)));
        let renamed: HashMap<&[u8], &Box<[u8]>> = renamed.collect();
        self.slowest.rename(|key| renamed.get(key).map(|name| (*name).clone()));
        self.keys.rename(shorter, Figures::merge);
        self.weigh();
    }

    /// Whether the figures of the keys take up more memory than they may.
    #[inline]
    pub(super) fn is_over(&self) -> bool {
        self.bytes() > self.room_bytes
    }

    pub(super) fn bytes(&self) -> usize {
        self.keys.allocated_bytes() + self.held_bytes
    }

    /// Finds how much the figures of the keys hold.
    fn weigh(&mut self) {
        self.held_bytes = self.keys.figures().map(|figures| figures.allocated_bytes()).sum();
    }

    /// Has the figures of the keys take up no more than three quarters of the memory that they may:
    /// keys are put together whose names fold already; then what came when is forgotten of all but
    /// the costliest; then the least lose their places. Whoever knows places of keys must forget
    /// them.
    #[inline(never)]
    pub(super) fn save_memory(&mut self, naming: &Naming) {
        let room_bytes = self.room_bytes / 4 * 3;
        self.settle();
        self.weigh();
        let folds = self.settings.naming.fold && self.settings.names_endpoints();
        if self.bytes() > room_bytes && folds {
            self.shorten(naming);
        }
        if self.bytes() > room_bytes {
            let mut all: Vec<&mut Figures> = self.keys.figures().collect();
            all.sort_by_key(|figures| Reverse((figures.sum, figures.count())));
            all.into_iter().skip(COSTLIEST).for_each(Figures::forget_slices);
            self.weigh();
        }
        if self.bytes() > room_bytes {
            let pool = &mut self.other;
            let drop = |figures: &mut Figures| drop_into(pool, figures);
            self.keys.narrow(room_bytes, Figures::allocated_bytes, drop);
            self.weigh();
        }
    }

    pub(super) fn stretch(&mut self, other: Span) {
        let Some(span) = &mut self.span else {
            self.span = Some(other);
            return;
        };
        if (other.first, other.zone_s) < (span.first, span.zone_s) {
            (span.first, span.zone_s) = (other.first, other.zone_s);
        }
        span.last = span.last.max(other.last);
    }

    pub(super) fn add_host(&mut self, host: &[u8]) {
        if self.hosts.contains(host) {
            return;
        }
        self.hosts.insert(host.into());
        if self.hosts.len() > MOST_HOSTS {
            self.hosts.pop_last();
        }
    }

    pub(super) fn add_found(&mut self, found: Found, lines: u64) {
        *self.found.entry(found).or_default() += lines;
        if self.found.len() > MOST_FOUND {
            self.found.pop_last();
        }
    }

    /// Has the resolution be such that a time is a multiple of it.
    #[inline]
    pub(super) fn refine(&mut self, nanos: u64) {
        if self.resolution == 0 {
            self.resolution = SECOND;
        }
        while !nanos.is_multiple_of(self.resolution) {
            self.resolution /= 10;
        }
    }

    /// All lines that were read: those that count, bad ones, and those that were left out.
    pub fn lines(&self) -> u64 {
        self.lines
    }

    /// Lines that conditions and the window of time have left out.
    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    /// The lines that could not be counted.
    pub fn bad(&self) -> &BadLines<{ REASONS.len() }> {
        &self.bad
    }

    /// The figures of all lines.
    pub fn all(&self) -> &Figures {
        &self.all
    }

    /// By what the keys are made.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The first moment in nanoseconds since the epoch, the zone of its notation in seconds ahead of
    /// UTC if it had one, and the last moment.
    pub fn span(&self) -> Option<(i64, Option<i32>, i64)> {
        self.span.map(|span| (span.first, span.zone_s, span.last))
    }

    /// The first so many hosts by name.
    pub fn hosts(&self) -> impl Iterator<Item = &[u8]> {
        self.hosts.iter().map(|host| &**host)
    }

    /// Seconds of which all times are multiples, a power of ten; `None` without times.
    pub fn resolution_s(&self) -> Option<f64> {
        (self.resolution > 0).then_some(self.resolution as f64 / 1e9)
    }

    /// What most lines were read as.
    pub fn found(&self) -> Option<&Found> {
        let most =
            self.found.iter().max_by_key(|(found, lines)| (**lines, std::cmp::Reverse(*found)));
        most.map(|(found, _)| found)
    }

    /// Lines and seconds of what had to be dropped, and how far the count of any endpoint can be off.
    pub fn other(&self) -> (u64, f64, u64) {
        (self.other.0, self.other.1 as f64 / 1e9, self.keys.off_by())
    }
}

impl Settings {
    /// Whether keys are of endpoints, and not values of fields.
    pub(super) fn names_endpoints(&self) -> bool {
        match &self.group_by[..] {
            [] => true,
            [path] => path == "path",
            [method, path] => method == "method" && path == "path",
            _ => false,
        }
    }

    /// Where the path stands among other values in the name of a row.
    pub(super) fn place_of_path(&self) -> Option<usize> {
        self.group_by.iter().position(|name| name == "path")
    }
}

/// What keys stand for when they are folded.
pub(super) fn counted<'a>(keys: &[(&'a [u8], &Figures)]) -> Vec<Counted<'a>> {
    let counted = keys.iter().map(|(key, figures)| Counted {
        key,
        lines: figures.count(),
        refused: figures.classes[REFUSED],
        time_s: figures.sum_s(),
    });
    counted.collect()
}

/// Puts figures that lose their place into the pool.
pub(super) fn drop_into(pool: &mut (u64, u128), figures: &mut Figures) {
    let mut figures = std::mem::take(figures);
    figures.settle();
    *pool = (pool.0 + figures.count(), pool.1 + figures.sum);
}

#[cfg(test)]
mod tests;
