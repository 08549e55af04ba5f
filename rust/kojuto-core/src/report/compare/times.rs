//! The times of a side, and what they would be if all had been longer or shorter.
//!
//! A log in whole milliseconds cannot show a tenth of one. So the times near its resolution stay on
//! its steps: 10 % less of 1 ms is 0 ms for one line in ten, of 0 ms it is nothing.

use super::side::step_of;

/// Times below so many steps of the log's resolution are counts of them; above, a bucket has several.
const COUNTED: f64 = 50.0;

/// Some times of a side that are the same.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Times {
    pub(super) value: f64,
    pub(super) count: f64,
    /// The time that they had when they were counted, whatever has become of it since.
    pub(super) counted: f64,
    /// The step in which they were counted.
    pub(super) step: i32,
}

/// A time as its log writes it, of one from the middle of a bucket.
pub(super) fn written(seconds: f64, resolution_s: f64) -> f64 {
    if resolution_s > 0.0 && seconds < COUNTED * resolution_s {
        (seconds / resolution_s).round() * resolution_s
    } else {
        seconds
    }
}

/// The times of buckets, each multiplied, ascending.
pub(super) fn multiplied(buckets: &[(f64, u64)], factor: f64, resolution_s: f64) -> Vec<Times> {
    let mut times = Vec::with_capacity(buckets.len() + 64);
    for &(seconds, count) in buckets {
        if !(seconds.is_finite() && seconds >= 0.0 && count > 0) {
            continue;
        }
        let value = written(seconds, resolution_s);
        let (counted, step, count) = (value, step_of(value), count as f64);
        if factor == 1.0 || value == seconds && seconds >= COUNTED * resolution_s {
            times.push(Times { value: value * factor, count, counted, step });
            continue;
        }
        // So many steps of the resolution, rounded up as often as its fraction says.
        let steps = value / resolution_s * factor;
        let more = steps - steps.floor();
        for (steps, share) in [(steps.floor(), 1.0 - more), (steps.floor() + 1.0, more)] {
            if share > 0.0 {
                let (value, count) = (steps * resolution_s, count * share);
                times.push(Times { value, count, counted, step });
            }
        }
    }
    times.sort_by(|a, b| a.value.total_cmp(&b.value));
    times
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn values(times: &[Times]) -> Vec<(f64, f64)> {
        times.iter().map(|time| (time.value, (time.count * 1e6).round() / 1e6)).collect()
    }

    #[test]
    fn times_near_the_resolution_are_whole_steps_of_it() {
        let buckets = [(0.0, 10), (0.000_996, 20), (0.002_01, 30), (0.5, 5)];
        let times = multiplied(&buckets, 1.0, 0.001);
        assert_eq!(values(&times), [(0.0, 10.0), (0.001, 20.0), (0.002, 30.0), (0.5, 5.0)]);
        assert_eq!(times.iter().map(|time| time.step).collect::<Vec<_>>(), [-1, 30, 34, 58]);
    }

    #[test]
    fn a_tenth_less_takes_one_line_of_some_a_step_down() {
        let times = multiplied(&[(0.0, 10), (0.001, 22), (1.1, 4)], 1.0 / 1.1, 0.001);
        assert_eq!(values(&times), [(0.0, 10.0), (0.0, 2.0), (0.001, 20.0), (1.0, 4.0)]);
        assert_eq!(times[1].step, 30, "where they were counted");
    }

    #[test]
    fn without_a_resolution_each_time_is_multiplied() {
        let times = multiplied(&[(0.001, 22)], 2.0, 0.0);
        assert_eq!(values(&times), [(0.002, 22.0)]);
    }

    proptest! {
        #[test]
        fn the_mean_is_multiplied_on_any_grid(
            steps in 0u32..200, factor in 0.5f64..2.0, unit in 1e-9f64..1.0,
        ) {
            let value = f64::from(steps) * unit;
            let times = multiplied(&[(value, 1000)], factor, unit);
            let mean = times.iter().map(|time| time.value * time.count).sum::<f64>() / 1000.0;
            prop_assert!((mean - value * factor).abs() <= 1e-9 * value, "{mean} {value} {factor}");
            let count = times.iter().map(|time| time.count).sum::<f64>();
            prop_assert!((count - 1000.0).abs() < 1e-6);
        }
    }
}
