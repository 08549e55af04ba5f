//! What a comparison is told of one endpoint on one side.

/// An endpoint, or all lines, on one side.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Side {
    /// How many lines there are.
    pub lines: u64,
    /// How many of them have a status of 500 to 599.
    pub failed: u64,
    /// The sum of the times taken.
    pub time_s: f64,
    /// The times in buckets: (seconds in the middle, count), ascending.
    pub latencies: Vec<(f64, u64)>,
    /// The runs of the side, each on its own; without slices where there are none.
    pub runs: Vec<Run>,
}

/// What came when in one run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Run {
    /// The first line of the whole run, of whatever endpoint, in seconds since the epoch.
    pub from_s: f64,
    /// The last one.
    pub to_s: f64,
    /// Slices of time, ascending.
    pub slices: Vec<Slice>,
}

/// What came in one slice of time.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Slice {
    /// Its beginning in seconds since the epoch.
    pub start_s: f64,
    /// How long it is.
    pub width_s: f64,
    /// How many lines there are.
    pub lines: u64,
    /// How many of them have a status of 500 to 599.
    pub failed: u64,
    /// The times by step: (step, count), ascending. Step i is of times from 1.25^i microseconds on,
    /// -1 of those below one.
    pub steps: Vec<(i32, u64)>,
}

/// The step of a time.
pub(super) fn step_of(seconds: f64) -> i32 {
    if seconds < 1e-6 * (1.0 - 1e-9) {
        return -1;
    }
    // A little up, so that a bound which no double can hold belongs to the step that it begins.
    ((seconds * 1e6).ln() / 1.25f64.ln() + 1e-9).floor() as i32
}

/// The time in the middle of a step.
pub(super) fn middle_of(step: i32) -> f64 {
    if step < 0 { 0.0 } else { 1.25f64.powf(f64::from(step) + 0.5) * 1e-6 }
}

impl Side {
    /// The quantile (0 to 1) of the times by nearest rank; `None` without times.
    pub(super) fn quantile(&self, fraction: f64) -> Option<f64> {
        let total: f64 = self.latencies.iter().map(|(_, count)| *count as f64).sum();
        let mut seen = 0.0;
        let found = self.latencies.iter().find(|(_, count)| {
            seen += *count as f64;
            seen >= fraction * total && seen > 0.0
        });
        found.map(|(value, _)| *value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_the_step_that_it_begins() {
        for (seconds, step) in [(0.0, -1), (9e-7, -1), (1e-6, 0), (1.25e-6, 1), (1.953_125e-6, 3)] {
            assert_eq!(step_of(seconds), step, "{seconds}");
        }
        assert_eq!((step_of(1e-3), step_of(1.0)), (30, 61));
    }

    #[test]
    fn the_middle_of_a_step_is_in_it() {
        assert!((-1..170).all(|step| step_of(middle_of(step)) == step));
    }

    #[test]
    fn a_quantile_is_one_of_the_times() {
        let latencies = vec![(0.001, 50), (0.002, 45), (0.5, 5)];
        let side = Side { latencies, ..Side::default() };
        let quantiles = [0.0, 0.5, 0.51, 0.95, 0.96, 1.0].map(|at| side.quantile(at).unwrap());
        assert_eq!(quantiles, [0.001, 0.001, 0.002, 0.002, 0.5, 0.5]);
        assert_eq!(Side::default().quantile(0.5), None);
    }
}
