//! A quantile sketch whose merges are exact: numbers in buckets of a fixed relative width.
//!
//! Bucket `i` counts the numbers in (g^(i-1), g^i] with g = (1 + a) / (1 - a); its middle is never
//! farther from any of them than the relative accuracy `a` (Masson, Rim, Lee, "DDSketch", 2019).
//! Buckets are never joined: all doubles fit into a bounded number of them, so the stated error
//! holds for every input, and merging is adding counts. Negative numbers have buckets of their
//! own, zero is counted apart, and the sum is exact.

use crate::error::{Argument, Error};
use crate::stats::exact_sum::ExactSum;
use crate::stats::quantile::rank_index;
use crate::stats::samples::Summary;

/// The finest accuracy: 0.1 %, which takes at most 32 MiB.
pub const MIN_ACCURACY: f64 = 0.001;
/// The coarsest accuracy: 20 %.
pub const MAX_ACCURACY: f64 = 0.2;

/// Counts of numbers by relative size.
#[derive(Debug, Clone, PartialEq)]
pub struct Sketch {
    pub(crate) accuracy: f64,
    pub(crate) count: u64,
    pub(crate) zeros: u64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    pub(crate) sum: ExactSum,
    pub(crate) positive: Buckets,
    pub(crate) negative: Buckets,
    /// 1 / ln g
    scale: f64,
}

/// Counts of buckets `first` to `first + counts.len() - 1`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Buckets {
    pub(crate) first: i32,
    pub(crate) counts: Vec<u64>,
}

/// So many buckets are made at once: neighbours are used next.
const ROOM: i32 = 8;

impl PartialEq for Buckets {
    fn eq(&self, other: &Self) -> bool {
        self.used().eq(other.used())
    }
}

impl Buckets {
    /// Adds to one bucket; the caller sees to it that the total of all buckets fits 64 bits.
    pub(crate) fn add(&mut self, index: i32, count: u64) {
        if self.counts.is_empty() {
            self.first = index & -ROOM;
        }
        if index < self.first {
            // At least as much again, so that a falling series does not move everything each time.
            let missing = (self.first - (index & -ROOM)) as usize;
            let missing = missing.max(self.counts.len());
            self.counts.splice(..0, std::iter::repeat_n(0, missing));
            self.first -= missing as i32;
        }
        let at = (index - self.first) as usize;
        if at >= self.counts.len() {
            self.counts.resize((at + 1).next_multiple_of(ROOM as usize), 0);
        }
        self.counts[at] += count;
    }

    /// Adds all of others, as [`Buckets::add`] does.
    pub(crate) fn merge(&mut self, other: &Buckets) {
        other.used().for_each(|(index, count)| self.add(index, count));
    }

    /// (index, count) of the buckets in use, ascending.
    pub(crate) fn used(&self) -> impl DoubleEndedIterator<Item = (i32, u64)> + '_ {
        let first = self.first;
        let indexed = self.counts.iter().enumerate();
        indexed.filter(|(_, count)| **count > 0).map(move |(at, count)| (first + at as i32, *count))
    }
}

impl Sketch {
    /// An empty sketch of the given relative accuracy (0.01 is 1 %).
    ///
    /// # Errors
    /// [`Error::Argument`] outside [`MIN_ACCURACY`] to [`MAX_ACCURACY`].
    pub fn new(accuracy: f64) -> Result<Sketch, Error> {
        if !(MIN_ACCURACY..=MAX_ACCURACY).contains(&accuracy) {
            return Err(Error::Argument(Argument::SketchAccuracy {
                value: accuracy,
                least: MIN_ACCURACY,
                most: MAX_ACCURACY,
            }));
        }
        Ok(Sketch::blank(accuracy, 1.0 / (2.0 * accuracy.atanh())))
    }

    /// Forgets all numbers.
    pub fn clear(&mut self) {
        let Sketch { accuracy, scale, .. } = *self;
        *self = Sketch::blank(accuracy, scale);
    }

    fn blank(accuracy: f64, scale: f64) -> Sketch {
        Sketch {
            accuracy,
            count: 0,
            zeros: 0,
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
            sum: ExactSum::default(),
            positive: Buckets::default(),
            negative: Buckets::default(),
            scale,
        }
    }

    /// The relative accuracy.
    pub fn accuracy(&self) -> f64 {
        self.accuracy
    }

    /// How many numbers were added.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The smallest and the largest number, exact; `None` without numbers.
    pub fn ends(&self) -> Option<(f64, f64)> {
        (self.count > 0).then_some((self.min, self.max))
    }

    /// The sum, rounded once from the exact one; infinite where no double is so large.
    pub fn sum(&self) -> f64 {
        self.sum.mean(1)
    }

    /// The quantile `fraction` (0 to 1) within the accuracy; `None` without numbers.
    pub fn quantile(&self, fraction: f64) -> Option<f64> {
        (self.count > 0).then(|| self.nearest_rank(fraction))
    }

    /// Adds a finite number.
    pub fn add(&mut self, number: f64) {
        let number = number + 0.0; // no negative zero, whose place would depend on the order
        self.count += 1;
        self.min = self.min.min(number);
        self.max = self.max.max(number);
        self.sum.add(number);
        if number == 0.0 {
            self.zeros += 1;
        } else if number > 0.0 {
            self.positive.add(self.index(number), 1);
        } else {
            self.negative.add(self.index(-number), 1);
        }
    }

    /// The bucket of a positive number.
    pub(crate) fn index(&self, magnitude: f64) -> i32 {
        (magnitude.ln() * self.scale).ceil() as i32
    }

    /// The middle of a bucket: at most the accuracy away from all that it counts.
    fn middle(&self, index: i32) -> f64 {
        // g^i * 2 / (g + 1), and 2 / (g + 1) is 1 - accuracy.
        (f64::from(index) / self.scale + (-self.accuracy).ln_1p()).exp()
    }

    /// Adds all that another sketch has counted; the outcome is the sketch of both inputs.
    ///
    /// # Errors
    /// [`Error::Accuracy`] when the accuracies differ, [`Error::Argument`] when a count would
    /// overflow; nothing is added then.
    pub fn merge(&mut self, other: &Sketch) -> Result<(), Error> {
        if self.accuracy != other.accuracy {
            return Err(Error::Accuracy { theirs: other.accuracy, ours: self.accuracy });
        }
        let count = self.count.checked_add(other.count);
        self.count = count.ok_or(Error::Argument(Argument::TooManyNumbers))?;
        // No bucket can overflow where their total does not.
        self.zeros += other.zeros;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.sum.merge(&other.sum);
        for (mine, theirs) in
            [(&mut self.positive, &other.positive), (&mut self.negative, &other.negative)]
        {
            mine.merge(theirs);
        }
        Ok(())
    }

    /// The buckets in ascending order of their numbers: (middle, count).
    pub fn buckets(&self) -> impl Iterator<Item = (f64, u64)> + '_ {
        let clamp = |value: f64| value.clamp(self.min, self.max);
        let negative = self.negative.used().rev();
        let positive = self.positive.used();
        negative
            .map(move |(index, count)| (clamp(-self.middle(index)), count))
            .chain((self.zeros > 0).then_some((0.0, self.zeros)))
            .chain(positive.map(move |(index, count)| (clamp(self.middle(index)), count)))
    }

    /// The quantile `fraction` (0 to 1); count must not be 0. The smallest and the largest number
    /// are exact.
    fn nearest_rank(&self, fraction: f64) -> f64 {
        let rank = rank_index(usize::try_from(self.count).unwrap_or(usize::MAX), fraction) as u64;
        if rank == 0 {
            return self.min;
        }
        if rank == self.count - 1 {
            return self.max;
        }
        let mut seen = 0;
        for (middle, count) in self.buckets() {
            seen += count;
            if seen > rank {
                return middle;
            }
        }
        self.max
    }

    /// Count, maximum, mean and minimum are exact, the quantiles within the accuracy; `None`
    /// without numbers.
    pub fn summarise(&self, fractions: &[f64]) -> Option<Summary> {
        (self.count > 0).then(|| Summary {
            count: self.count,
            max: self.max,
            mean: self.sum.mean(self.count).clamp(self.min, self.max),
            min: self.min,
            quantiles: fractions.iter().map(|&part| self.nearest_rank(part)).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::sketch_file::to_bytes;
    use proptest::prelude::*;

    fn sketch(accuracy: f64, numbers: &[f64]) -> Sketch {
        let mut sketch = Sketch::new(accuracy).unwrap();
        numbers.iter().for_each(|&number| sketch.add(number));
        sketch
    }

    fn number() -> impl Strategy<Value = f64> {
        prop_oneof![
            any::<f64>().prop_filter("normal", |v| v.is_normal()),
            -1e3f64..1e3,
            (-300i32..300).prop_map(|e| 10f64.powi(e)),
            Just(0.0),
        ]
    }

    #[test]
    fn the_accuracy_has_bounds() {
        for accuracy in [0.0, -0.1, 0.0009, 0.3, f64::NAN, f64::INFINITY] {
            assert!(Sketch::new(accuracy).is_err(), "{accuracy}");
        }
    }

    #[test]
    fn all_doubles_fit_into_a_bounded_number_of_buckets() {
        let ends = [f64::MAX, 5e-324, f64::MIN, -5e-324, 1.0];
        let sketch = sketch(MIN_ACCURACY, &ends);
        let buckets = sketch.positive.counts.len() + sketch.negative.counts.len();
        assert!(buckets * 8 < 32 << 20, "{buckets}");
        let summary = sketch.summarise(&[0.2, 0.4, 0.6, 0.8, 1.0]).unwrap();
        assert_eq!(summary.quantiles[0], f64::MIN);
        assert_eq!(summary.quantiles[4], f64::MAX);
        assert_eq!(summary.mean, 0.2);
    }

    #[test]
    fn figures_one_by_one_are_those_of_the_summary() {
        let some = sketch(0.01, &[0.1, -2.0, 7.0, 0.1]);
        let summary = some.summarise(&[0.0, 0.5, 1.0]).unwrap();
        let quantiles = [0.0, 0.5, 1.0].map(|fraction| some.quantile(fraction).unwrap());
        assert_eq!(summary.quantiles, quantiles);
        assert_eq!((some.count(), some.ends()), (4, Some((summary.min, summary.max))));
        assert_eq!(some.sum(), 5.2);
        let none = sketch(0.01, &[]);
        let figures = (none.count(), none.ends(), none.sum(), none.quantile(0.5));
        assert_eq!(figures, (0, None, 0.0, None));
        assert_eq!(sketch(0.01, &[f64::MAX, f64::MAX]).sum(), f64::INFINITY);
    }

    #[test]
    fn the_order_of_zeros_does_not_matter() {
        let bytes = |numbers: &[f64]| to_bytes(None, &sketch(0.01, numbers));
        assert_eq!(bytes(&[0.0, -0.0]), bytes(&[-0.0, 0.0]));
    }

    #[test]
    fn different_accuracies_do_not_mix() {
        let mut fine = sketch(0.01, &[1.0]);
        let before = fine.clone();
        assert!(fine.merge(&sketch(0.02, &[2.0])).is_err());
        assert_eq!(fine, before);
    }

    proptest! {
        #[test]
        fn each_quantile_is_within_the_stated_error(
            numbers in proptest::collection::vec(number(), 1..200),
            accuracy in MIN_ACCURACY..=MAX_ACCURACY,
            fraction in 0.0f64..=1.0,
        ) {
            let summary = sketch(accuracy, &numbers).summarise(&[fraction]).unwrap();
            let mut sorted = numbers.clone();
            sorted.sort_by(f64::total_cmp);
            let exact = sorted[rank_index(sorted.len(), fraction)];
            let error = (summary.quantiles[0] - exact).abs();
            prop_assert!(error <= accuracy * (1.0 + 1e-9) * exact.abs(), "{summary:?} {exact}");
            prop_assert_eq!((summary.min, summary.max), (sorted[0], sorted[sorted.len() - 1]));
        }

        #[test]
        fn merging_parts_gives_the_sketch_of_the_whole(
            numbers in proptest::collection::vec(number(), 0..200),
            cuts in proptest::collection::vec(0usize..200, 0..5),
        ) {
            let mut parts: Vec<Vec<f64>> = vec![Vec::new(); cuts.len() + 1];
            for (at, &number) in numbers.iter().enumerate() {
                parts[cuts.iter().filter(|&&cut| cut <= at).count()].push(number);
            }
            let mut pooled = Sketch::new(0.01).unwrap();
            for part in parts.iter().rev() {
                pooled.merge(&sketch(0.01, part)).unwrap();
            }
            prop_assert_eq!(pooled, sketch(0.01, &numbers));
        }
    }
}
