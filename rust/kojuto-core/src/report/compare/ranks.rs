//! Which side is the slower one, by ranks: Mann-Whitney's statistic, ties half.
//!
//! The statistic is the probability that a time of the new side is above one of the old side. It is
//! a mean over either side: of each time's place among those of the other side. So what its slices
//! have as their mean tells its variance (DeLong, DeLong and Clarke-Pearson, Biometrics 44, 1988;
//! with clusters: Obuchowski, Biometrics 53, 1997).

use super::parts::{Chance, Parts, Spread, chance};
use super::side::middle_of;
use super::times::Times;

/// Where the steps of the slices show so much of how the places vary, the rest is taken to vary as
/// they do; where they show less than the other, as much as it can.
const SEEN: f64 = 0.9;
const HIDDEN: f64 = 0.5;

/// The times of a side, among which those of the other have their places.
struct Places<'a> {
    times: &'a [Times],
    /// Counts below each.
    below: Vec<f64>,
    total: f64,
}

impl<'a> Places<'a> {
    fn among(times: &'a [Times]) -> Places<'a> {
        let below = times.iter().scan(0.0, |sum, time| {
            *sum += time.count;
            Some(*sum - time.count)
        });
        let total = times.iter().map(|time| time.count).sum();
        Places { below: below.collect(), times, total }
    }

    /// The share of these below a value, those that are equal half.
    fn of(&self, value: f64) -> f64 {
        let up_to = |at: usize| self.below.get(at).copied().unwrap_or(self.total);
        let first = self.times.partition_point(|time| time.value < value);
        let behind = self.times.partition_point(|time| time.value <= value);
        (up_to(first) + up_to(behind)) / 2.0 / self.total
    }
}

/// The places of a side by the step in which the times were counted.
struct BySteps {
    /// (step, count, mean place), ascending.
    steps: Vec<(i32, f64, f64)>,
    mean: f64,
    /// How much of the variance of the places is one between steps.
    seen: f64,
}

impl BySteps {
    fn new(times: &[Times], places: &Places<'_>) -> BySteps {
        // What a grid has torn apart (see `times`) is one time still.
        let mut sorted: Vec<&Times> = times.iter().collect();
        sorted.sort_by(|a, b| a.counted.total_cmp(&b.counted));
        let place_of = |same: &[&Times]| {
            let count: f64 = same.iter().map(|time| time.count).sum();
            let sum: f64 = same.iter().map(|time| time.count * places.of(time.value)).sum();
            (same[0].step, count, sum / count)
        };
        let same = sorted.chunk_by(|a, b| a.counted == b.counted);
        let each: Vec<(i32, f64, f64)> = same.map(place_of).collect();
        let moments = |each: &[(i32, f64, f64)]| {
            let total: f64 = each.iter().map(|(_, count, _)| count).sum();
            let mean = each.iter().map(|(_, count, place)| count * place).sum::<f64>() / total;
            let square = |(_, count, place): &(i32, f64, f64)| count * (place - mean).powi(2);
            (mean, each.iter().map(square).sum::<f64>() / total)
        };
        let (mean, whole) = moments(&each);
        let mut steps: Vec<(i32, f64, f64)> = Vec::new();
        for (step, count, place) in each {
            match steps.last_mut() {
                Some(last) if last.0 == step => {
                    last.2 += (place - last.2) * count / (last.1 + count);
                    last.1 += count;
                }
                _ => steps.push((step, count, place)),
            }
        }
        let between = moments(&steps).1;
        BySteps { steps, mean, seen: if whole > 0.0 { between / whole } else { 0.0 } }
    }

    /// The mean place of what was counted in a step; where a bucket lies across a bound, `places`
    /// tell.
    fn place(&self, step: i32, outside: impl Fn(f64) -> f64) -> f64 {
        match self.steps.binary_search_by_key(&step, |(step, ..)| *step) {
            Ok(at) => self.steps[at].2,
            Err(_) => outside(middle_of(step)),
        }
    }

    /// How far the mean place is off.
    fn spread(&self, parts: &Parts, outside: impl Fn(f64) -> f64) -> Spread {
        let shown = parts.spread(|part| {
            let place = |&(step, count): &(i32, f64)| count * self.place(step, &outside);
            let sum: f64 = part.steps.iter().map(place).sum();
            (part.timed, if part.timed > 0.0 { sum / part.timed } else { 0.0 })
        });
        if shown.variance.is_infinite() {
            return shown;
        }
        // Places are 0 to 1, so their means vary no more than this, whatever the steps hide (Bhatia
        // and Davis, 2000). Nothing is more certain than one part in two of all parts.
        let least = 0.5 / (shown.df + 1.0);
        let mean = self.mean.clamp(least, 1.0 - least);
        let most = mean * (1.0 - mean) / shown.df;
        let hidden = ((SEEN - self.seen) / (SEEN - HIDDEN)).clamp(0.0, 1.0);
        let shown_more = if hidden < 1.0 { shown.variance / self.seen } else { 0.0 };
        let variance = shown_more * (1.0 - hidden) + most * hidden;
        Spread { variance: variance.min(most), df: shown.df }
    }
}

/// Whether the times of the new side are longer or shorter than those of the old one. The times may
/// have been multiplied by `factor` since they were counted; both sides have some.
pub(super) fn ranks(old: (&[Times], &Parts), new: (&[Times], &Parts), factor: f64) -> Chance {
    let (among_old, among_new) = (Places::among(old.0), Places::among(new.0));
    let of_new = BySteps::new(new.0, &among_old);
    let of_old = BySteps::new(old.0, &among_new);
    let new_spread = of_new.spread(new.1, |value| among_old.of(value * factor));
    let old_spread = of_old.spread(old.1, |value| among_new.of(value));
    chance(of_new.mean - 0.5, old_spread, new_spread)
}

#[cfg(test)]
mod tests {
    use super::super::side::{Run, Side, Slice, step_of};
    use super::super::times::multiplied;
    use super::*;
    use proptest::prelude::*;

    /// A side of slices with these times each.
    fn side(slices: &[Vec<f64>]) -> Side {
        let mut latencies: Vec<(f64, u64)> =
            slices.iter().flatten().map(|time| (*time, 1)).collect();
        latencies.sort_by(|a, b| a.0.total_cmp(&b.0));
        let slice = |(at, times): (usize, &Vec<f64>)| Slice {
            start_s: at as f64,
            width_s: 1.0,
            lines: times.len() as u64,
            failed: 0,
            steps: times.iter().map(|time| (step_of(*time), 1)).collect(),
        };
        let slices: Vec<Slice> = slices.iter().enumerate().map(slice).collect();
        let runs = vec![Run { from_s: 0.0, to_s: slices.len() as f64, slices }];
        Side { latencies, runs, ..Side::default() }
    }

    fn by_steps(of: &Side, among: &Side) -> (BySteps, Parts) {
        let (times, others) =
            (multiplied(&of.latencies, 1.0, 0.0), multiplied(&among.latencies, 1.0, 0.0));
        (BySteps::new(&times, &Places::among(&others)), Parts::new(of))
    }

    /// Powers of 1.3, so that no two of them are in one step.
    fn times() -> impl Strategy<Value = Vec<Vec<f64>>> {
        let time = (0i32..12).prop_map(|power| 0.001 * 1.3f64.powi(power));
        prop::collection::vec(prop::collection::vec(time, 1..6), 2..17)
    }

    proptest! {
        #[test]
        fn the_statistic_is_a_count_of_pairs_and_its_variance_one_of_slices(
            old in times(), new in times(),
        ) {
            let (mut pairs, mut above) = (0.0, 0.0);
            for a in old.iter().flatten() {
                for b in new.iter().flatten() {
                    pairs += 1.0;
                    above += if a == b { 0.5 } else { f64::from(u8::from(b > a)) };
                }
            }
            let (of_new, parts) = by_steps(&side(&new), &side(&old));
            prop_assert!((of_new.mean - above / pairs).abs() < 1e-12);
            let (of_old, _) = by_steps(&side(&old), &side(&new));
            prop_assert!((of_new.mean + of_old.mean - 1.0).abs() < 1e-12);

            let old_count = old.iter().flatten().count() as f64;
            let place = |time: f64| {
                let below = old.iter().flatten().map(|&a| {
                    if a == time { 0.5 } else { f64::from(u8::from(a < time)) }
                });
                below.sum::<f64>() / old_count
            };
            let total = new.iter().flatten().count() as f64;
            // The jackknife: how far the mean moves without each slice.
            let slices = new.len() as f64;
            let moves = new.iter().map(|slice| {
                let (n, sum) = (slice.len() as f64, slice.iter().map(|t| place(*t)).sum::<f64>());
                ((of_new.mean * total - sum) / (total - n) - of_new.mean).powi(2)
            });
            let variance = (slices - 1.0) / slices * moves.sum::<f64>();
            // Those that are like the one before make it up to three times as much.
            let found = of_new.spread(&parts, |_| f64::NAN);
            if of_new.seen > 1.0 - 1e-9 {
                let most = of_new.mean * (1.0 - of_new.mean) / found.df;
                let expected = variance.min(most);
                prop_assert!(found.variance >= expected * (1.0 - 1e-9) - 1e-15);
                prop_assert!(found.variance <= 3.0 * variance * (1.0 + 1e-9) + 1e-15);
            }
        }
    }

    #[test]
    fn full_separation_is_as_certain_as_the_number_of_slices_allows() {
        let chance_of = |slices: usize| {
            let (old, new) =
                (side(&vec![vec![0.1; 50]; slices]), side(&vec![vec![0.2; 50]; slices]));
            let times = |of: &Side| multiplied(&of.latencies, 1.0, 0.0);
            let (a, b) = (Parts::new(&old), Parts::new(&new));
            ranks((&times(&old), &a), (&times(&new), &b), 1.0).up
        };
        assert!((1e-9..1e-6).contains(&chance_of(16)), "{}", chance_of(16));
        assert!((1e-4..2e-3).contains(&chance_of(8)), "{}", chance_of(8));
    }
}
