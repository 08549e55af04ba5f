//! The last so many minutes of logs that grow: figures by slice of time, the oldest of which leave as
//! a whole.
//!
//! A line belongs to the slice of the time that is written in it, by the clock of its log. That clock
//! need not be ours: where the newest line of a read is of a time that is still to come, or that has
//! left the window, it is taken to be written now, and the clock of the log is off by so much.

use std::collections::BTreeMap;
use std::time::Duration;

use super::collector::Collector;
use super::options::Options;
use super::totals::Totals;
use crate::Error;
use crate::scan::envelope;

/// So many slices the window has, beside the one that is filled.
const SLICES: i64 = 30;
/// Lines that are this part of a slice apart are not told apart: all are where the last of them is.
const TOGETHER: i64 = 5;
/// So many keys are kept apart in each slice, and in the whole, in so much memory.
const KEYS_OF_A_SLICE: usize = 2_000;
const BYTES_OF_A_SLICE: usize = 2 << 20;
const KEYS: usize = 10_000;
const BYTES: usize = 24 << 20;

/// What lines are counted in, slice by slice.
#[derive(Debug)]
pub struct Window {
    empty: Totals,
    /// The width of a slice in nanoseconds.
    width: i64,
    slices: BTreeMap<i64, Totals>,
    /// All slices but the last one, put together.
    before_last: Option<Totals>,
}

/// How far the clock of a log is ahead of ours, in nanoseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Clock(i64);

impl Clock {
    /// That of a log whose last line was written `last` by its own time and `written` by ours.
    pub fn of(last: i64, written: i64, window: Duration) -> Clock {
        let mut clock = Clock::default();
        clock.fit(last, written, nanos(window));
        clock
    }

    /// A moment of ours as the log would write it.
    pub fn theirs(self, ours: i64) -> i64 {
        ours.saturating_add(self.0)
    }

    /// Has a moment of the log be in the window that ends now.
    fn fit(&mut self, moment: i64, now: i64, window: i64) {
        let behind = now.saturating_sub(moment.saturating_sub(self.0));
        if !(0..window).contains(&behind) {
            self.0 = moment.saturating_sub(now);
        }
    }
}

/// What one read of a log has given, by the time of the log.
#[derive(Debug)]
pub struct Part {
    width: i64,
    slices: BTreeMap<i64, Totals>,
    /// Lines without a time.
    untimed: Option<Totals>,
    newest: Option<i64>,
}

impl Part {
    /// Counts a block of whole lines, as [`Collector::block`] has them.
    ///
    /// # Errors
    /// As there.
    pub fn block(&mut self, collector: &mut Collector, block: &[u8]) -> Result<(), Error> {
        collector.block(block)?;
        let totals = collector.take();
        let Some((first, _, last)) = totals.span() else {
            return add(&mut self.untimed, totals);
        };
        let index = last.div_euclid(self.width);
        if first.div_euclid(self.width) < index
            && last - first > self.width / TOGETHER
            && let Some(middle) = middle(block)
        {
            self.block(collector, &block[..middle])?;
            return self.block(collector, &block[middle..]);
        }
        self.newest = self.newest.max(Some(last));
        put(&mut self.slices, index, totals)?;
        // Of a long absence the end is enough.
        if self.slices.len() > SLICES as usize + 1 {
            self.slices.pop_first();
        }
        Ok(())
    }
}

impl Window {
    /// One of so long a time; what the options say of moments and of keys is passed over.
    ///
    /// # Errors
    /// [`Error::Argument`] for an expression or a route that is none.
    pub fn new(options: &Options, window: Duration) -> Result<Window, Error> {
        let options = Options { capacity: KEYS, room_bytes: BYTES, ..options.clone() };
        let empty = Collector::new(&options)?.into_totals();
        let width = (nanos(window) / SLICES).max(1);
        Ok(Window { empty, width, slices: BTreeMap::new(), before_last: None })
    }

    /// The options of the collectors whose lines it takes.
    #[must_use]
    pub fn options(options: &Options) -> Options {
        let (since, until, capacity) = (None, None, KEYS_OF_A_SLICE);
        Options { since, until, capacity, room_bytes: BYTES_OF_A_SLICE, ..options.clone() }
    }

    /// How much time it has.
    pub fn length(&self) -> Duration {
        Duration::from_nanos((self.width * SLICES) as u64)
    }

    /// For what is read next.
    pub fn part(&self) -> Part {
        Part { width: self.width, slices: BTreeMap::new(), untimed: None, newest: None }
    }

    /// Takes in what was read by now, in nanoseconds since the epoch.
    ///
    /// # Errors
    /// [`Error::Malformed`] when its keys are made in another way.
    pub fn add(&mut self, part: Part, clock: &mut Clock, now: i64) -> Result<(), Error> {
        if let Some(newest) = part.newest {
            clock.fit(newest, now, self.width * SLICES);
        }
        let last = now.div_euclid(self.width);
        let half = self.width / 2;
        let ours = |index: i64| {
            let moment = index.saturating_mul(self.width).saturating_add(half);
            moment.saturating_sub(clock.0).div_euclid(self.width).min(last)
        };
        let timed = part.slices.into_iter().map(|(index, totals)| (ours(index), totals));
        for (index, totals) in timed.chain(part.untimed.map(|totals| (last, totals))) {
            if index < last - SLICES {
                continue;
            }
            if self.slices.last_key_value().is_none_or(|(newest, _)| *newest != index) {
                self.before_last = None;
            }
            put(&mut self.slices, index, totals)?;
        }
        Ok(())
    }

    /// Lets go of what is too old by now. Answers whether there was any.
    pub fn slide(&mut self, now: i64) -> bool {
        let kept = self.slices.split_off(&(now.div_euclid(self.width) - SLICES));
        let has_left = !std::mem::replace(&mut self.slices, kept).is_empty();
        if has_left {
            self.before_last = None;
        }
        has_left
    }

    /// All lines that are in it.
    ///
    /// # Errors
    /// None that [`Window::add`] has not had.
    pub fn totals(&mut self) -> Result<Totals, Error> {
        let mut slices = self.slices.values().rev();
        let Some(last) = slices.next() else { return Ok(self.empty.clone()) };
        if self.before_last.is_none() {
            let mut all = self.empty.clone();
            slices.rev().try_for_each(|slice| all.merge(slice.clone()))?;
            self.before_last = Some(all);
        }
        let mut all = self.before_last.as_ref().unwrap_or(&self.empty).clone();
        all.merge(last.clone())?;
        Ok(all)
    }
}

fn put(slices: &mut BTreeMap<i64, Totals>, index: i64, totals: Totals) -> Result<(), Error> {
    match slices.get_mut(&index) {
        Some(slice) => slice.merge(totals),
        None => {
            slices.insert(index, totals);
            Ok(())
        }
    }
}

fn add(to: &mut Option<Totals>, totals: Totals) -> Result<(), Error> {
    match to {
        Some(whole) => whole.merge(totals),
        None => {
            *to = Some(totals);
            Ok(())
        }
    }
}

/// Where a block can be cut in two, of which neither is empty; not between pieces of one line.
fn middle(block: &[u8]) -> Option<usize> {
    let half = block.len() / 2;
    let before = memchr::memrchr(b'\n', &block[..half]).map(|at| at + 1);
    let line = before.or_else(|| memchr::memchr(b'\n', &block[half..]).map(|at| half + at + 1))?;
    let cut = envelope::whole_bytes(&block[..line]);
    (0 < cut && cut < block.len()).then_some(cut)
}

fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
