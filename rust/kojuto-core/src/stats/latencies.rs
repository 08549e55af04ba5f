//! The times taken by a log's lines, kept exactly in little memory.
//!
//! Servers log whole milliseconds, and most requests take few of them: those are counted, one
//! counter a millisecond. Whatever else there is is kept as it is.

use crate::scan::number::Short;
use crate::stats::exact_sum::ExactSum;
use crate::stats::quantile;

/// Below this many milliseconds a time is counted: as many counters stay in the second cache.
const COUNTED_MS: usize = 32 << 10;
const LEAST_COUNTERS: usize = 1 << 10;

/// So few times of another set are added one by one, so that they are counted here if they can be.
const FEW: usize = 64;

/// A multiset of times, in seconds.
#[derive(Debug, Clone, Default)]
pub struct Latencies {
    /// How often each whole millisecond occurs.
    counts: Vec<u64>,
    /// All others, in the order in which they came.
    others: Vec<f64>,
}

impl Latencies {
    /// Adds a time as it was read.
    #[inline(always)]
    pub fn add_short(&mut self, seconds: Short) {
        if let Some(ms) = seconds.thousandths()
            && let Some(count) = self.counts.get_mut(ms as usize)
        {
            *count += 1;
        } else {
            self.add(seconds.value());
        }
    }

    /// Adds a time.
    #[inline(never)]
    pub fn add(&mut self, seconds: f64) {
        let Some(ms) = whole_ms(seconds) else { return self.others.push(seconds) };
        if let Some(count) = self.counts.get_mut(ms) {
            *count += 1;
            return;
        }
        self.others.push(seconds);
        // Counters must not take more memory than the times that they count.
        let needed = (ms + 1).next_power_of_two().max(LEAST_COUNTERS);
        if self.count() >= needed as u64 {
            self.counts.resize(needed, 0);
            let counts = &mut self.counts;
            self.others.retain(|&seconds| {
                let count = whole_ms(seconds).and_then(|ms| counts.get_mut(ms));
                count.map(|count| *count += 1).is_none()
            });
            self.others.shrink_to_fit();
        }
    }

    /// Adds all times of another set.
    pub fn merge(&mut self, mut other: Latencies) {
        if self.counts.len() < other.counts.len() {
            std::mem::swap(&mut self.counts, &mut other.counts);
        }
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count += more;
        }
        if other.others.len() < FEW {
            other.others.into_iter().for_each(|seconds| self.add(seconds));
        } else if self.others.is_empty() {
            self.others = other.others;
        } else {
            self.others.append(&mut other.others);
        }
    }

    /// Adds all times of another set, which is empty afterwards; where there were few, it keeps its
    /// memory.
    #[inline]
    pub fn absorb(&mut self, other: &mut Latencies) {
        if other.counts.is_empty() && other.others.len() < FEW {
            other.others.drain(..).for_each(|seconds| self.add(seconds));
        } else {
            self.merge(std::mem::take(other));
        }
    }

    /// Their mean, from exact sums, whatever the order in which they came; 0 without times.
    pub fn mean(&self) -> f64 {
        let count = self.count().max(1);
        let ms = self.counts.iter().zip(0u128..).map(|(&count, ms)| u128::from(count) * ms);
        let mut others = ExactSum::default();
        self.others.iter().for_each(|&seconds| others.add(seconds));
        ms.sum::<u128>() as f64 / 1000.0 / count as f64 + others.mean(count)
    }

    /// How many times there are.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum::<u64>() + self.others.len() as u64
    }

    /// Each time and how often it occurs there: whole milliseconds first and ascending.
    pub fn iter(&self) -> impl Iterator<Item = (f64, u64)> {
        let counted = self.counts.iter().enumerate().filter(|(_, count)| **count > 0);
        let others = self.others.iter().map(|&seconds| (seconds, 1));
        counted.map(|(ms, &count)| (of_ms(ms), count)).chain(others)
    }

    /// The quantiles `fractions` (each 0 to 1), in the order asked for, by the rule of
    /// [`quantile`]; empty without times.
    pub fn quantiles(&mut self, fractions: &[f64]) -> Vec<f64> {
        let count = self.count() as usize;
        if count == 0 {
            return Vec::new();
        }
        if self.others.is_empty() {
            let ranks = fractions.iter().map(|&p| quantile::rank_index(count, p) as u64);
            return ranks.map(|rank| self.counted_at(rank)).collect();
        }
        for (ms, count) in std::mem::take(&mut self.counts).into_iter().enumerate() {
            self.others.extend((0..count).map(|_| of_ms(ms)));
        }
        quantile::select(&mut self.others, fractions)
    }

    /// The counted time that stands at `rank` in ascending order.
    fn counted_at(&self, rank: u64) -> f64 {
        let mut before = 0;
        let found = self.counts.iter().position(|count| {
            before += count;
            before > rank
        });
        of_ms(found.unwrap_or(self.counts.len()))
    }
}

/// The whole milliseconds that a time is, if it is and they may be counted.
fn whole_ms(seconds: f64) -> Option<usize> {
    let ms = (seconds * 1000.0).round() as usize;
    (ms < COUNTED_MS && of_ms(ms).to_bits() == seconds.to_bits()).then_some(ms)
}

/// The double that a whole millisecond is read as.
#[inline(always)]
fn of_ms(ms: usize) -> f64 {
    ms as i64 as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::number::{parse_f64, parse_short};
    use proptest::prelude::*;

    fn of(times: &[f64]) -> Latencies {
        let mut latencies = Latencies::default();
        times.iter().for_each(|&time| latencies.add(time));
        latencies
    }

    fn sorted(latencies: &Latencies) -> Vec<u64> {
        let mut all: Vec<f64> =
            latencies.iter().flat_map(|(time, n)| std::iter::repeat_n(time, n as usize)).collect();
        all.sort_by(f64::total_cmp);
        bits(&all)
    }

    fn bits(values: &[f64]) -> Vec<u64> {
        values.iter().map(|value| value.to_bits()).collect()
    }

    #[test]
    fn whole_milliseconds_are_counted_however_they_are_written() {
        for ms in 0..COUNTED_MS {
            for text in [format!("{}.{:03}", ms / 1000, ms % 1000), format!("{ms}e-3")] {
                assert_eq!(whole_ms(parse_f64(text.as_bytes()).unwrap()), Some(ms), "{text}");
            }
        }
    }

    #[test]
    fn a_time_as_it_was_read_is_the_same_time() {
        let texts = ["10", ".5", "0.049", "1.5", "31.9999", "12345678", "0.00001", "32.768"];
        for text in texts.map(str::as_bytes) {
            let mut latencies = of(&[0.0]);
            latencies.add_short(parse_short(text).unwrap());
            assert_eq!(sorted(&latencies), sorted(&of(&[0.0, parse_f64(text).unwrap()])));
        }
    }

    #[test]
    fn other_times_are_kept_bit_by_bit() {
        let times = [0.0005, -0.0, -0.001, 32.768, 1e300, 5e-324, 4294967.296, 0.1 + 0.2, -1e18];
        let latencies = of(&times);
        assert!(latencies.counts.iter().all(|&count| count == 0));
        assert_eq!(bits(&latencies.others), bits(&times));
    }

    #[test]
    fn a_few_times_take_no_more_memory_than_they_would_as_they_are() {
        let latencies = of(&[0.001, 32.0, 0.5]);
        assert_eq!((latencies.counts.len(), latencies.others.len()), (0, 3));
    }

    #[test]
    fn whole_milliseconds_take_no_memory_a_line() {
        let latencies =
            of(&(0..1_000_000).map(|n| f64::from(n % 500) / 1000.0).collect::<Vec<_>>());
        assert_eq!(latencies.count(), 1_000_000);
        assert_eq!((latencies.counts.len(), latencies.others.capacity()), (LEAST_COUNTERS, 0));
    }

    #[test]
    fn a_set_that_is_absorbed_is_empty_and_keeps_little_memory() {
        let mut all = of(&[]);
        for (times, kept) in
            [(vec![0.5, 1e300], true), (vec![0.001; 2000], false), (vec![-1.0; FEW], false)]
        {
            let before = all.count();
            let mut part = of(&times);
            all.absorb(&mut part);
            assert_eq!((part.count(), all.count() - before), (0, times.len() as u64));
            assert_eq!(part.others.capacity() > 0, kept);
            assert!(part.counts.is_empty());
        }
    }

    fn time() -> impl Strategy<Value = f64> {
        prop_oneof![
            8 => (0u32..3000).prop_map(|ms| f64::from(ms) / 1000.0),
            1 => (0u32..100_000).prop_map(|ms| f64::from(ms) / 1000.0),
            1 => -10.0..50.0,
            1 => proptest::num::f64::NORMAL,
        ]
    }

    proptest! {
        #[test]
        fn it_is_the_multiset_that_was_added(
            times in proptest::collection::vec(time(), 0..2500),
            whole_only in any::<bool>(),
            cut in 0usize..2500,
            fractions in proptest::collection::vec(0.0..=1.0, 1..5),
        ) {
            let mut times = times;
            if whole_only {
                let whole = |time: &f64| *time == (time * 1000.0).round() / 1000.0;
                times.retain(|time| (0.0..32.0).contains(time) && whole(time));
            }
            let mut latencies = of(&times[..cut.min(times.len())]);
            latencies.merge(of(&times[cut.min(times.len())..]));
            let mut expected = times.clone();
            expected.sort_by(f64::total_cmp);
            prop_assert_eq!(sorted(&latencies), bits(&expected));
            prop_assert_eq!(latencies.count(), times.len() as u64);
            let mean = times.iter().map(|time| time / times.len() as f64).sum::<f64>();
            let largest = times.iter().fold(1.0, |largest: f64, time| largest.max(time.abs()));
            prop_assert!((latencies.mean() - mean).abs() <= 1e-9 * largest);
            let found = latencies.quantiles(&fractions);
            prop_assert_eq!(bits(&found), bits(&quantile::select(&mut times, &fractions)));
            prop_assert_eq!(sorted(&latencies), bits(&expected));
        }
    }
}
