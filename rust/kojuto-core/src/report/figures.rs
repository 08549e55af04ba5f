//! The figures of an endpoint. Counts, sums and the ends are exact; of few lines all is kept, of more
//! how their times are spread and what came when.

use super::classes::CLASSES;
use super::line::{Line, MOST_BYTES, weight_of};
use super::slices::{MOST_SLICES, Slices};
use super::spread::Spread;
use super::steps::{bucket, step};
use crate::scan::simd;

/// So many lines are kept as they are.
pub(super) const FEW: usize = 32;
/// There is room for so many at once.
const LEAST_LINES: usize = 4;
/// So many bytes of an example.
pub(super) const EXAMPLE_BYTES: usize = 256;

/// The figures of some lines. What a line needs that is taken in stands first.
#[derive(Debug, Clone, PartialEq)]
#[repr(C)]
pub struct Figures {
    /// The longest time and one, of all lines; 0 without times.
    pub(super) slowest: u64,
    /// Up to [`FEW`] lines: all of them, without `many`; else those that are not counted yet.
    pub(super) lines: Vec<Line>,
    /// How many of them are counted.
    counted: usize,
    /// What percentiles and maps come from, where there are more lines than are kept.
    pub(super) many: Option<Box<Many>>,
    /// Whose line the slowest is, or the first by its bytes.
    pub(super) example: Vec<u8>,
    /// Lines by class of status, in the order of [`CLASSES`].
    pub classes: [u64; CLASSES.len()],
    /// The sum of what was sent.
    pub bytes: u64,
    /// How many lines have a time.
    pub timed: u64,
    pub(super) min: u64,
    pub(super) max: u64,
    pub(super) sum: u128,
    /// Of the squares; no larger than it can be.
    pub(super) squares: u128,
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

    /// Counts a line; tells how many bytes more are held.
    #[inline]
    pub(super) fn add(&mut self, line: Line) -> usize {
        let mut more = 0;
        if line.is_timed() {
            more += self.spread.add_to(bucket(line.nanos));
        }
        if let Some(slices) = &mut self.slices
            && line.second != 0
        {
            let step = line.is_timed().then(|| step(line.nanos));
            more += slices.add(line.second, line.class(), step);
        }
        more
    }

    fn of(lines: &[Line]) -> Many {
        let mut many = Many::new(MOST_SLICES);
        for line in lines {
            many.add(*line);
        }
        many
    }

    fn allocated_bytes(&self) -> usize {
        self.spread.0.allocated_bytes() + self.slices.as_ref().map_or(0, Slices::allocated_bytes)
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
            example: Vec::new(),
            slowest: 0,
            lines: Vec::new(),
            counted: 0,
            many: None,
        }
    }
}

impl Figures {
    /// Figures with as many slices as are given, whatever the number of lines.
    pub(super) fn with_slices(most: usize) -> Figures {
        Figures::of_many(Many::new(most))
    }

    /// Figures without counts, of lines of which it is known how they are spread.
    pub(super) fn of_many(many: Many) -> Figures {
        Figures { many: Some(Box::new(many)), ..Figures::default() }
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

    /// Takes a line in; `target` is asked for when it may be the example. It counts from
    /// [`Figures::settle`] on: what is counted of many lines at once needs to be near the processor
    /// once. Tells how many bytes more are held, about: what becomes free is not taken off.
    #[inline(always)]
    pub(super) fn add<'t>(
        &mut self,
        line: Line,
        bytes: u64,
        target: impl FnOnce() -> &'t [u8],
    ) -> usize {
        let mut more = 0;
        // 0 for none.
        let slow = line.nanos.wrapping_add(1);
        if slow >= self.slowest {
            more += self.offer(slow > self.slowest, target());
            self.slowest = slow;
        }
        let line = line.with_bytes(bytes);
        if bytes > MOST_BYTES {
            self.bytes = self.bytes.saturating_add(bytes - MOST_BYTES);
        }
        if self.lines.len() < self.lines.capacity().min(FEW) {
            self.lines.push(line);
        } else {
            more += self.add_to_full(line);
        }
        more
    }

    /// Takes in a line for which there is no room among the few.
    #[inline(never)]
    fn add_to_full(&mut self, line: Line) -> usize {
        let mut more = 0;
        if self.lines.len() < FEW {
            // Twice as many, but no more than are kept.
            let room = if self.many.is_some() { FEW } else { self.lines.len() * 2 };
            let before = self.lines.capacity();
            self.lines.reserve_exact(room.clamp(LEAST_LINES, FEW) - self.lines.len());
            more += (self.lines.capacity() - before) * size_of::<Line>();
        } else {
            more += self.count_many();
        }
        self.lines.push(line);
        more
    }

    /// Counts all lines, more than are kept. Tells how many bytes more are held.
    fn count_many(&mut self) -> usize {
        let mut more = 0;
        self.count_lines();
        let many = self.many.get_or_insert_with(|| {
            more += size_of::<Many>();
            Box::new(Many::new(MOST_SLICES))
        });
        for line in self.lines.drain(..) {
            more += many.add(line);
        }
        self.counted = 0;
        more
    }

    /// Counts the lines that are not counted yet.
    fn count_lines(&mut self) {
        for line in &mut self.lines[self.counted..] {
            self.classes[line.class()] += 1;
            self.bytes = self.bytes.saturating_add(line.bytes());
            if line.is_timed() {
                self.timed += 1;
                self.sum += u128::from(line.nanos);
                let square = u128::from(line.nanos) * u128::from(line.nanos);
                self.squares = self.squares.saturating_add(square);
                self.min = self.min.min(line.nanos);
                self.max = self.max.max(line.nanos);
            }
            line.forget_bytes();
        }
        self.counted = self.lines.len();
    }

    /// Has all lines that were taken in be counted; all else expects that. Tells how many bytes more
    /// are held.
    pub(super) fn settle(&mut self) -> usize {
        if self.many.is_some() {
            let more = self.count_many();
            self.lines = Vec::new();
            return more;
        }
        self.count_lines();
        0
    }

    /// The memory that they take up beside themselves.
    pub(super) fn allocated_bytes(&self) -> usize {
        let many = self.many.as_ref().map_or(0, |many| size_of::<Many>() + many.allocated_bytes());
        self.example.capacity() + self.lines.capacity() * size_of::<Line>() + many
    }

    /// Forgets what came when, where that is more than a few lines.
    pub(super) fn forget_slices(&mut self) {
        if let Some(many) = &mut self.many {
            many.slices = None;
        }
    }

    /// Has what [`Figures::add`] will write to beside them be brought near.
    #[inline(always)]
    pub(super) fn bring_near(&self) {
        simd::bring_near(self.lines.as_ptr().wrapping_add(self.lines.len()));
    }

    /// Takes an example that is better, or as good and stands before; tells how many bytes more are
    /// held.
    fn offer(&mut self, is_better: bool, target: &[u8]) -> usize {
        let target = &target[..target.len().min(EXAMPLE_BYTES)];
        let before = self.example.capacity();
        if is_better || self.example.is_empty() || target < &*self.example {
            self.example.clear();
            self.example.extend_from_slice(target);
        }
        self.example.capacity() - before
    }

    /// Whether all lines that were taken in are counted.
    fn is_settled(&self) -> bool {
        self.counted == self.lines.len() && (self.many.is_none() || self.lines.is_empty())
    }

    /// What percentiles come from, once there are more than a few lines.
    #[inline(never)]
    pub(super) fn many(&mut self) -> &mut Many {
        debug_assert!(self.is_settled());
        let lines = std::mem::take(&mut self.lines);
        self.counted = 0;
        self.many.get_or_insert_with(|| Box::new(Many::of(&lines)))
    }

    /// Adds the figures of other lines.
    pub(super) fn merge(&mut self, other: Figures) {
        self.add_all(&other);
    }

    /// The same, of figures that stay.
    pub(super) fn add_all(&mut self, other: &Figures) {
        debug_assert!(self.is_settled() && other.is_settled());
        if other.slowest >= self.slowest && other.count() > 0 {
            self.offer(other.slowest > self.slowest || self.count() == 0, &other.example);
            self.slowest = other.slowest;
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
        let lines = self.lines.len() + other.lines.len();
        if self.many.is_none() && other.many.is_none() && lines <= FEW {
            self.lines.extend(&other.lines);
            self.counted = lines;
            return;
        }
        let many = self.many();
        other.lines.iter().for_each(|line| {
            many.add(*line);
        });
        if let Some(theirs) = &other.many {
            many.merge(theirs);
        }
    }

    /// Has figures of the same lines be the same, whatever the order in which these came.
    pub(super) fn sort(&mut self) {
        debug_assert!(self.is_settled());
        self.lines.sort_unstable();
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
        let nanos = match &self.many {
            _ if self.timed == 0 => return None,
            Some(many) => many.spread.quantiles(fractions, ends),
            None => self.spread().quantiles(fractions, ends),
        };
        Some(nanos.iter().map(|nanos| nanos / 1e9).collect())
    }

    /// How the times are spread.
    pub fn spread(&self) -> Spread {
        match &self.many {
            Some(many) => many.spread.clone(),
            None => Many::of(&self.lines).spread,
        }
    }

    /// What came when; `None` when that was left out of a file.
    pub fn slices(&self) -> Option<Slices> {
        match &self.many {
            Some(many) => many.slices.clone(),
            None => Many::of(&self.lines).slices,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::line::NO_TIME;
    use super::*;
    use proptest::prelude::*;

    fn of(lines: &[(u32, i64, Option<u64>)]) -> Figures {
        let mut figures = Figures::default();
        for (at, &(second, status, nanos)) in lines.iter().enumerate() {
            let line = Line::new(second, status, nanos.unwrap_or(NO_TIME));
            figures.add(line, 10, || &b"/0/1/2"[at % 3 * 2..][..2]);
        }
        figures.settle();
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

    #[test]
    fn what_figures_hold_is_told_while_they_grow() {
        let (mut figures, mut told) = (Figures::default(), 0);
        for n in 0..700u32 {
            let nanos = u64::from(n * 7919 % 1000) << (n % 37);
            let line = Line::new(n * 60, 200, nanos);
            told += figures.add(line, 1 << (n % 40), || &[b'/'; 99][..n as usize % 99]);
            assert!(told >= figures.allocated_bytes(), "{n}");
        }
        told += figures.settle();
        let exact = figures.allocated_bytes();
        assert!((exact..exact * 3 / 2).contains(&told), "{told} {exact}");
        let bytes: u64 = (0..700).map(|n| 1 << (n % 40)).sum();
        assert_eq!((figures.bytes, figures.count(), figures.lines.len()), (bytes, 700, 0));
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
                figures.settle();
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
