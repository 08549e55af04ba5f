//! The parts that a side is cut into, and how far a mean over them may be off.
//!
//! Latencies of one run hang together in time, so lines are no independent samples; long enough
//! slices of time nearly are. How much their means differ tells how far the mean of all is off,
//! whatever makes them differ.

use super::side::{Run, Side};
use super::student::upper_tail;

/// A run is cut into so many slices.
const SLICES: usize = 16;
/// From so many runs on, the runs themselves are the parts.
pub(super) const FILLED: usize = 8;

/// What came in one part of a side.
#[derive(Debug, Clone, Default)]
pub(super) struct Part {
    pub(super) lines: f64,
    pub(super) failed: f64,
    pub(super) timed: f64,
    /// The times by step.
    pub(super) steps: Vec<(i32, f64)>,
}

/// The parts of a side in the order of time.
#[derive(Debug, Clone)]
pub(super) struct Parts {
    /// Slices of time, those of a run behind those of the run before; without those that are empty.
    slices: Vec<Part>,
    /// The runs, if there are several.
    runs: Vec<Part>,
}

/// How far a mean may be off: its variance, and the degrees of freedom behind that.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spread {
    pub(super) variance: f64,
    pub(super) df: f64,
}

/// One-sided probabilities of what was found if there were no difference.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Chance {
    /// Of so large a rise.
    pub(super) up: f64,
    /// Of so large a fall.
    pub(super) down: f64,
}

impl Part {
    fn add(&mut self, other: &Part) {
        self.lines += other.lines;
        self.failed += other.failed;
        self.timed += other.timed;
        self.steps.extend_from_slice(&other.steps);
    }
}

impl Parts {
    pub(super) fn new(side: &Side) -> Parts {
        let cut: Vec<Vec<Part>> = side.runs.iter().map(slices_of).collect();
        let whole = |slices: &Vec<Part>| {
            slices.iter().fold(Part::default(), |mut whole, slice| {
                whole.add(slice);
                whole
            })
        };
        let filled = cut.iter().filter(|slices| !slices.is_empty());
        let runs: Vec<Part> = filled.map(whole).collect();
        if runs.len() >= FILLED {
            return Parts { slices: runs, runs: Vec::new() };
        }
        let runs = if runs.len() > 1 { runs } else { Vec::new() };
        Parts { slices: cut.into_iter().flatten().collect(), runs }
    }

    /// The parts, each once.
    pub(super) fn each(&self) -> &[Part] {
        &self.slices
    }

    /// How far the mean over all parts is off, of parts with (weight, mean). Where the runs differ
    /// by more than their slices do, they are what counts.
    pub(super) fn spread(&self, of: impl Fn(&Part) -> (f64, f64)) -> Spread {
        let by = |parts: &[Part]| spread(&parts.iter().map(&of).collect::<Vec<_>>());
        let slices = by(&self.slices);
        if self.runs.is_empty() {
            return slices;
        }
        let runs = by(&self.runs);
        if runs.variance > slices.variance { runs } else { slices }
    }
}

/// The slices of a run in which there is anything.
fn slices_of(run: &Run) -> Vec<Part> {
    let mut parts = vec![Part::default(); SLICES];
    let length_s = run.to_s - run.from_s;
    for slice in &run.slices {
        let middle_s = slice.start_s + slice.width_s / 2.0 - run.from_s;
        let at = (middle_s / length_s * SLICES as f64).clamp(0.0, (SLICES - 1) as f64);
        let steps: Vec<(i32, f64)> = slice.steps.iter().map(|&(at, n)| (at, n as f64)).collect();
        // What is no number is the first.
        parts[at as usize].add(&Part {
            lines: slice.lines as f64,
            failed: slice.failed.min(slice.lines) as f64,
            timed: steps.iter().map(|(_, count)| count).sum(),
            steps,
        });
    }
    parts.retain(|part| part.lines > 0.0);
    parts
}

/// How far the mean of means is off, by the jackknife over (weight, mean), which does not take a part
/// that holds nearly everything for certain. So many parts of different weights are worth as many
/// equal ones as Kish has it ("Survey Sampling", 1965), which gives the degrees of freedom.
fn spread(means: &[(f64, f64)]) -> Spread {
    let total: f64 = means.iter().map(|(weight, _)| weight).sum();
    let shares = || means.iter().map(|&(weight, mean)| (weight / total, mean));
    let mean: f64 = shares().map(|(share, mean)| share * mean).sum();
    let filled = means.iter().filter(|(weight, _)| *weight > 0.0).count() as f64;
    if filled < 2.0 {
        return Spread { variance: f64::INFINITY, df: 1.0 };
    }
    let apart: Vec<f64> = shares()
        .map(|(share, one)| share * (one - mean) / (1.0 - share).max(f64::EPSILON))
        .collect();
    let squares: f64 = apart.iter().map(|one| one * one).sum();
    // A slow drift has slices be like the one before, so all of them tell less: by twice their
    // correlation, if there is any.
    let alike: f64 = apart.windows(2).map(|pair| pair[0] * pair[1]).sum();
    let variance = (filled - 1.0) / filled * (squares + 2.0 * alike.max(0.0));
    let worth = 1.0 / shares().map(|(share, _)| share * share).sum::<f64>();
    Spread { variance, df: (worth - 1.0).max(1.0) }
}

/// Whether a difference of two means is more than chance: Student's t with Welch's degrees.
pub(super) fn chance(difference: f64, a: Spread, b: Spread) -> Chance {
    let variance = a.variance + b.variance;
    if variance == 0.0 {
        let sure = |is: bool| if is { 0.0 } else { 1.0 };
        let none = difference == 0.0;
        return Chance {
            up: if none { 0.5 } else { sure(difference > 0.0) },
            down: if none { 0.5 } else { sure(difference < 0.0) },
        };
    }
    if !variance.is_finite() || !difference.is_finite() {
        return Chance { up: 1.0, down: 1.0 };
    }
    let (share_a, share_b) = (a.variance / variance, b.variance / variance);
    let df = 1.0 / (share_a * share_a / a.df + share_b * share_b / b.df);
    let t = difference / variance.sqrt();
    Chance { up: upper_tail(t, df), down: upper_tail(-t, df) }
}

#[cfg(test)]
mod tests {
    use super::super::side::Slice;
    use super::*;

    fn run(begin: f64, slices: usize, lines: u64) -> Run {
        let slice = |at: usize| Slice {
            start_s: begin + at as f64 * 4.0,
            width_s: 4.0,
            lines,
            failed: 0,
            steps: vec![(30, lines)],
        };
        let to_s = begin + slices as f64 * 4.0;
        Run { from_s: begin, to_s, slices: (0..slices).map(slice).collect() }
    }

    fn lines(runs: Vec<Run>) -> Vec<f64> {
        let parts = Parts::new(&Side { runs, ..Side::default() });
        parts.each().iter().map(|part| part.lines).collect()
    }

    #[test]
    fn a_run_is_cut_into_sixteen_at_most() {
        assert_eq!(lines(vec![run(1000.0, 32, 5)]), [10.0; 16]);
        assert_eq!(lines(vec![run(1000.0, 11, 5)]), [5.0; 11]);
        let uneven = lines(vec![run(1000.0, 20, 5)]);
        assert_eq!((uneven.len(), uneven.iter().sum::<f64>()), (16, 100.0));
    }

    #[test]
    fn the_slices_are_those_of_the_run_not_of_the_endpoint() {
        let mut late = run(1000.0, 32, 5);
        late.slices.drain(..28);
        assert_eq!(lines(vec![late]), [10.0; 2]);
    }

    #[test]
    fn many_runs_are_the_parts_themselves() {
        let runs = |count: usize| (0..count).map(|at| run(1e4 * at as f64, 16, 5)).collect();
        assert_eq!(lines(runs(8)), [80.0; 8]);
        assert_eq!(lines(runs(3)), [5.0; 48]);
    }

    #[test]
    fn runs_that_differ_count_more_than_their_slices() {
        let mut runs: Vec<Run> = (0..3).map(|at| run(1e4 * f64::from(at), 16, 5)).collect();
        for slice in &mut runs[1].slices {
            slice.failed = 1;
        }
        let parts = Parts::new(&Side { runs, ..Side::default() });
        let spread = parts.spread(|part| (part.lines, part.failed / part.lines));
        // (0, 0.2, 0): the variance of their mean is 0.2^2 / 9.
        assert!((spread.variance - 0.04 / 9.0).abs() < 1e-12, "{spread:?}");
        assert!((spread.df - 2.0).abs() < 1e-12);
    }

    #[test]
    fn equal_parts_have_the_usual_variance_of_a_mean() {
        let found = spread(&[(7.0, 1.0), (7.0, 2.0), (7.0, 6.0), (7.0, 3.0)]);
        assert!((found.variance - 14.0 / 3.0 / 4.0).abs() < 1e-12, "{found:?}");
        assert!((found.df - 3.0).abs() < 1e-12);
    }

    #[test]
    fn parts_that_are_like_the_one_before_are_worth_less() {
        let of = |means: [f64; 8]| spread(&means.map(|mean| (1.0, mean))).variance;
        let (mixed, sorted) = (
            of([1.0, 8.0, 2.0, 7.0, 3.0, 6.0, 4.0, 5.0]),
            of([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]),
        );
        assert!((mixed - 6.0 / 8.0).abs() < 1e-12, "{mixed}");
        // The correlation of 1 to 8 with the next is 0.625.
        assert!((sorted - 6.0 / 8.0 * 2.25).abs() < 1e-12, "{sorted}");
    }

    #[test]
    fn a_part_with_nearly_everything_is_not_certain() {
        let mut means = vec![(1.0, 0.0); 8];
        means[0] = (1000.0, 1.0);
        let found = spread(&means);
        assert!(found.variance > 0.5 && found.df < 1.1, "{found:?}");
        assert_eq!(spread(&[(5.0, 1.0)]).variance, f64::INFINITY);
        assert_eq!(spread(&[(5.0, 1.0), (0.0, 0.0)]).variance, f64::INFINITY);
    }

    #[test]
    fn welch_gives_the_degrees_between() {
        // (1, 2, 6, 3) and (9, 8, 14, 10, 11): by mpmath t = -4.95911, df = 6.74928, p = 0.00182233
        let a = Spread { variance: 14.0 / 12.0, df: 3.0 };
        let b = Spread { variance: 5.3 / 5.0, df: 4.0 };
        let found = chance(3.0 - 10.4, a, b);
        assert!((2.0 * found.down - 0.001_822_328_766).abs() < 1e-11, "{found:?}");
        assert!((found.up + found.down - 1.0).abs() < 1e-12);
    }
}
