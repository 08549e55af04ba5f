//! The figures of an endpoint. Counts, sums and the ends are exact; of few lines all is kept, of more
//! how their times are spread and what came when.

use super::classes::CLASSES;
use super::slices::{MOST_SLICES, Slices};
use super::spread::Spread;
use super::steps::{bucket, step};
use crate::access::class_of;

/// So many lines are kept as they are.
pub(super) const FEW: usize = 32;
/// So many bytes of an example.
pub(super) const EXAMPLE_BYTES: usize = 256;

/// What a time weighs beside a line in the choice of the keys that stay: one for 2^27 nanoseconds.
#[inline]
pub(super) fn weight_of(nanos: u64) -> u64 {
    nanos >> 27
}

/// What a line has for the figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Line {
    /// The second in which it was written; 0 for none.
    pub(super) second: u32,
    /// Of [`CLASSES`].
    pub(super) class: u8,
    /// Those of the time, which are made once for all that count it.
    step: u8,
    bucket: u16,
    /// The time taken in nanoseconds; [`NO_TIME`] for none.
    pub(super) nanos: u64,
}

/// The time of a line without one.
pub(super) const NO_TIME: u64 = u64::MAX;

impl Line {
    #[inline(always)]
    pub(super) fn new(second: u32, status: i64, nanos: u64) -> Line {
        Line::of_class(second, class_of(status) as u8, nanos)
    }

    #[inline(always)]
    pub(super) fn of_class(second: u32, class: u8, nanos: u64) -> Line {
        Line { second, class, step: step(nanos), bucket: bucket(nanos) as u16, nanos }
    }

    /// The step of its time, if it has one.
    #[inline(always)]
    fn step(&self) -> Option<u8> {
        (self.nanos != NO_TIME).then_some(self.step)
    }
}

/// The figures of some lines.
#[derive(Debug, Clone, PartialEq)]
pub struct Figures {
    /// Lines by class of status, in the order of [`CLASSES`].
    pub classes: [u64; CLASSES.len()],
    /// The sum of what was sent.
    pub bytes: u64,
    /// How many lines have a time.
    pub timed: u64,
    pub(super) sum: u128,
    /// Of the squares; no larger than it can be.
    pub(super) squares: u128,
    pub(super) min: u64,
    pub(super) max: u64,
    /// Whose line the slowest is, or the first by its bytes.
    pub(super) example: Box<[u8]>,
    pub(super) detail: Detail,
}

/// What percentiles and maps come from.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Detail {
    /// Up to [`FEW`] lines.
    Few(Vec<Line>),
    Many(Box<Many>),
}

/// More lines than are kept.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Many {
    pub(super) spread: Spread,
    /// None once they were left out of a file.
    pub(super) slices: Option<Slices>,
}

impl Many {
    fn new(most: usize) -> Many {
        Many { spread: Spread::default(), slices: Some(Slices::new(most)) }
    }

    #[inline]
    pub(super) fn add(&mut self, line: Line) {
        if line.nanos != NO_TIME {
            self.spread.add_to(line.bucket);
        }
        if let Some(slices) = &mut self.slices
            && line.second != 0
        {
            slices.add(line.second, usize::from(line.class), line.step());
        }
    }

    /// Reads what [`Many::add`] will count in.
    #[inline(always)]
    fn near(&self, line: Line) -> u64 {
        let slices = self.slices.as_ref().map_or(0, |slices| slices.near(line.step));
        slices ^ self.spread.near(line.bucket)
    }

    fn merge(&mut self, other: &Many) {
        self.spread.merge(&other.spread);
        match (&mut self.slices, &other.slices) {
            (Some(mine), Some(theirs)) => mine.merge(theirs),
            (mine, _) => *mine = None,
        }
    }
}

impl Default for Figures {
    fn default() -> Self {
        Figures {
            classes: [0; CLASSES.len()],
            bytes: 0,
            timed: 0,
            sum: 0,
            squares: 0,
            min: u64::MAX,
            max: 0,
            example: Box::default(),
            detail: Detail::Few(Vec::new()),
        }
    }
}

impl Figures {
    /// Figures with as many slices as are given, whatever the number of lines.
    pub(super) fn with_slices(most: usize) -> Figures {
        Figures { detail: Detail::Many(Box::new(Many::new(most))), ..Figures::default() }
    }

    /// What they weigh in the choice of the keys that stay, about.
    pub(super) fn weight(&self) -> u64 {
        let sum = u64::try_from(self.sum).unwrap_or(u64::MAX);
        self.count().saturating_add(weight_of(sum))
    }

    /// How many lines there are.
    pub fn count(&self) -> u64 {
        self.classes.iter().sum()
    }

    /// Counts a line; `target` is asked for when it may be the example.
    #[inline]
    pub(super) fn add<'t>(&mut self, line: Line, bytes: u64, target: impl FnOnce() -> &'t [u8]) {
        self.classes[usize::from(line.class)] += 1;
        self.bytes = self.bytes.saturating_add(bytes);
        let slowest = if self.timed == 0 { None } else { Some(self.max) };
        if line.nanos != NO_TIME {
            self.timed += 1;
            self.sum += u128::from(line.nanos);
            let square = u128::from(line.nanos) * u128::from(line.nanos);
            self.squares = self.squares.saturating_add(square);
            self.min = self.min.min(line.nanos);
            self.max = self.max.max(line.nanos);
        }
        let mine = (line.nanos != NO_TIME).then_some(line.nanos);
        if mine >= slowest {
            self.offer(mine > slowest, target());
        }
        match &mut self.detail {
            Detail::Many(many) => many.add(line),
            Detail::Few(lines) if lines.len() < FEW => lines.push(line),
            Detail::Few(_) => self.many().add(line),
        }
    }

    /// Reads what [`Figures::add`] will count in, so that it is near when that is called: the answer is
    /// worth nothing. Many of these at once wait for memory together.
    #[inline(always)]
    pub(super) fn near(&self, line: Line) -> u64 {
        let detail = match &self.detail {
            Detail::Many(many) => many.near(line),
            Detail::Few(lines) => lines.last().map_or(0, |line| line.nanos),
        };
        detail ^ self.max ^ self.classes[0]
    }

    /// Takes an example that is better, or as good and stands before.
    fn offer(&mut self, is_better: bool, target: &[u8]) {
        let target = &target[..target.len().min(EXAMPLE_BYTES)];
        if is_better || self.example.is_empty() || target < &*self.example {
            self.example = target.into();
        }
    }

    /// What percentiles come from, once there are more than a few lines.
    #[inline(never)]
    pub(super) fn many(&mut self) -> &mut Many {
        if let Detail::Few(lines) = &mut self.detail {
            let mut many = Box::new(Many::new(MOST_SLICES));
            lines.drain(..).for_each(|line| many.add(line));
            self.detail = Detail::Many(many);
        }
        match &mut self.detail {
            Detail::Many(many) => many,
            Detail::Few(_) => unreachable!("they were just made many"),
        }
    }

    /// Adds the figures of other lines.
    pub(super) fn merge(&mut self, other: Figures) {
        self.add_all(&other);
    }

    /// The same, of figures that stay.
    pub(super) fn add_all(&mut self, other: &Figures) {
        let slowest = |figures: &Figures| (figures.timed > 0).then_some(figures.max);
        let (mine, theirs) = (slowest(self), slowest(other));
        if theirs >= mine && other.count() > 0 {
            self.offer(theirs > mine || self.count() == 0, &other.example);
        }
        for (count, more) in self.classes.iter_mut().zip(other.classes) {
            *count += more;
        }
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.timed += other.timed;
        self.sum += other.sum;
        self.squares = self.squares.saturating_add(other.squares);
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        match (&mut self.detail, &other.detail) {
            (Detail::Few(mine), Detail::Few(theirs)) if mine.len() + theirs.len() <= FEW => {
                mine.extend(theirs);
            }
            (_, Detail::Few(theirs)) => {
                let many = self.many();
                theirs.iter().for_each(|line| many.add(*line));
            }
            (_, Detail::Many(theirs)) => self.many().merge(theirs),
        }
    }

    /// Has figures of the same lines be the same, whatever the order in which these came.
    pub(super) fn sort(&mut self) {
        if let Detail::Few(lines) = &mut self.detail {
            lines.sort_unstable();
        }
    }

    /// Seconds of all times.
    pub fn sum_s(&self) -> f64 {
        self.sum as f64 / 1e9
    }

    /// The mean of the times in seconds; there must be one.
    pub fn mean_s(&self) -> f64 {
        self.sum as f64 / self.timed as f64 / 1e9
    }

    /// The shortest and the longest time, if any line has one.
    pub fn ends_s(&self) -> Option<(f64, f64)> {
        (self.timed > 0).then(|| (self.min as f64 / 1e9, self.max as f64 / 1e9))
    }

    /// The standard deviation of the times in seconds (of all of them, not of a sample).
    pub fn stddev_s(&self) -> Option<f64> {
        let count = self.timed as f64;
        // (n * squares - sum^2) / n^2, with whole numbers where they are not too large.
        let exact = u128::from(self.timed)
            .checked_mul(self.squares)
            .zip(self.sum.checked_mul(self.sum))
            .map(|(squares, square)| squares.saturating_sub(square) as f64 / count / count);
        let rough = || {
            let mean = self.sum as f64 / count;
            (self.squares as f64 / count - mean * mean).max(0.0)
        };
        (self.timed > 0).then(|| exact.unwrap_or_else(rough).sqrt() / 1e9)
    }

    /// The target of its slowest line, or without times the first by its bytes; cut at 256 bytes.
    pub fn example(&self) -> &[u8] {
        &self.example
    }

    /// Seconds at each of the quantiles (0 to 1); `None` without times.
    pub fn quantiles_s(&self, fractions: &[f64]) -> Option<Vec<f64>> {
        let ends = (self.min, self.max);
        let nanos = match &self.detail {
            _ if self.timed == 0 => return None,
            Detail::Many(many) => many.spread.quantiles(fractions, ends),
            Detail::Few(_) => self.spread().quantiles(fractions, ends),
        };
        Some(nanos.iter().map(|nanos| nanos / 1e9).collect())
    }

    /// How the times are spread.
    pub fn spread(&self) -> Spread {
        match &self.detail {
            Detail::Many(many) => many.spread.clone(),
            Detail::Few(lines) => {
                let mut spread = Spread::default();
                let times = lines.iter().filter(|line| line.nanos != NO_TIME);
                times.for_each(|line| spread.add_to(line.bucket));
                spread
            }
        }
    }

    /// What came when; `None` when that was left out of a file.
    pub fn slices(&self) -> Option<Slices> {
        match &self.detail {
            Detail::Many(many) => many.slices.clone(),
            Detail::Few(lines) => {
                let mut many = Many::new(MOST_SLICES);
                lines.iter().for_each(|line| many.add(*line));
                many.slices
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(lines: &[(u32, i64, Option<u64>)]) -> Figures {
        let mut figures = Figures::default();
        for (at, &(second, status, nanos)) in lines.iter().enumerate() {
            let line = Line::new(second, status, nanos.unwrap_or(NO_TIME));
            figures.add(line, 10, || &b"/0/1/2"[at % 3 * 2..][..2]);
        }
        figures
    }

    #[test]
    fn sums_and_ends_are_exact() {
        let figures =
            of(&[(1, 200, Some(100_000_000)), (2, 499, Some(200_000_000)), (3, 101, None)]);
        assert_eq!((figures.sum_s(), figures.ends_s()), (0.3, Some((0.1, 0.2))));
        assert_eq!((figures.count(), figures.timed, figures.bytes), (3, 2, 30));
        assert_eq!(figures.classes, [1, 1, 0, 0, 1, 0, 0]);
        assert_eq!(figures.stddev_s(), Some(0.05));
        assert_eq!(figures.example(), b"/1");
        assert_eq!(of(&[(1, 200, None)]).quantiles_s(&[0.5]), None);
    }

    proptest! {
        #[test]
        fn parts_put_together_are_the_whole(
            lines in prop::collection::vec(
                (0u32..9000, 100i64..700, prop::option::of(0u64..10_000_000_000)), 0..120,
            ),
            cut in any::<prop::sample::Index>(), more in any::<prop::sample::Index>(),
        ) {
            let mut cuts = [cut.index(lines.len() + 1), more.index(lines.len() + 1)];
            cuts.sort_unstable();
            let part = |from: usize, to: usize| {
                let mut figures = Figures::default();
                for (at, line) in lines.iter().enumerate().take(to).skip(from) {
                    let line = Line::new(line.0, line.1, line.2.unwrap_or(NO_TIME));
                    figures.add(line, 10, || &b"/0/1/2"[at % 3 * 2..][..2]);
                }
                figures
            };
            let [a, b, c] = [part(0, cuts[0]), part(cuts[0], cuts[1]), part(cuts[1], lines.len())];
            let mut left = a.clone();
            left.merge(b.clone());
            left.merge(c.clone());
            let mut right = c;
            right.merge(b);
            right.merge(a);
            let sorted = |mut figures: Figures| {
                figures.sort();
                figures
            };
            let whole = sorted(of(&lines));
            prop_assert_eq!(sorted(left), whole.clone());
            prop_assert_eq!(sorted(right), whole);
        }
    }
}
