//! How the times of an endpoint are spread: counts by bucket, from which every percentile can be had.

use super::counts::Counts;
use super::steps::middle;
use crate::stats::quantile::rank_index;

/// Counts by bucket.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Spread(pub(super) Counts);

impl Spread {
    /// Counts a time of a bucket; tells how many bytes more are held.
    #[inline(always)]
    pub(super) fn add_to(&mut self, bucket: usize) -> usize {
        self.0.bump(bucket)
    }

    pub(super) fn merge(&mut self, other: &Spread) {
        self.0.merge(&other.0);
    }

    /// (bucket, count) of those in use, ascending.
    pub(super) fn used(&self) -> impl Iterator<Item = (usize, u64)> + '_ {
        self.0.used()
    }

    /// (seconds in the middle of a bucket, count), ascending.
    pub fn buckets(&self) -> impl Iterator<Item = (f64, u64)> + '_ {
        self.used().map(|(at, count)| (middle(at) / 1e9, count))
    }

    /// The nanoseconds of each of the quantiles (0 to 1, ascending or not) of `count` times between
    /// `least` and `most`, which are exact.
    pub(super) fn quantiles(&self, fractions: &[f64], (least, most): (u64, u64)) -> Vec<f64> {
        let mut up_to = Vec::new();
        let mut total = 0u64;
        for (at, count) in self.used() {
            total += count;
            up_to.push((total, at));
        }
        let quantile = |fraction: &f64| {
            let rank = rank_index(usize::try_from(total).unwrap_or(usize::MAX), *fraction) as u64;
            if rank == 0 || rank + 1 >= total {
                return if rank == 0 { least } else { most } as f64;
            }
            let at = up_to.partition_point(|(seen, _)| *seen <= rank);
            let found = up_to.get(at).map_or(most as f64, |(_, at)| middle(*at));
            found.clamp(least as f64, most as f64)
        };
        fractions.iter().map(quantile).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::steps::bucket;
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_percentile_is_within_a_hundredth_of_the_exact_one(
            mut times in prop::collection::vec(
                prop_oneof![0u64..5_000_000_000, (0u32..62).prop_map(|bits| 1 << bits)], 1..300,
            ),
            fraction in 0.0f64..=1.0, cut in any::<prop::sample::Index>(),
        ) {
            let (a, b) = times.split_at(cut.index(times.len()));
            let (mut spread, mut other) = (Spread::default(), Spread::default());
            for (times, spread) in [(a, &mut spread), (b, &mut other)] {
                times.iter().for_each(|time| {
                    spread.add_to(bucket(*time));
                });
            }
            spread.merge(&other);
            times.sort_unstable();
            let ends = (times[0], times[times.len() - 1]);
            let exact = times[rank_index(times.len(), fraction)] as f64;
            let found = spread.quantiles(&[fraction], ends)[0];
            prop_assert!((found - exact).abs() <= exact * 0.01, "{} {}", found, exact);
            prop_assert_eq!(spread.buckets().map(|(_, n)| n).sum::<u64>(), times.len() as u64);
        }
    }
}
