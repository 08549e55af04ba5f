//! Which endpoints have changed between two sides, by more than the noise of either.
//!
//! Each question is asked of the slices of time of both sides (see `parts`): whether more lines
//! failed, whether the times are longer (`ranks`), whether more of them are above the old side's 95th
//! percentile (`shares`). All answers together are wrong once in twenty comparisons (`holm`).

mod holm;
mod parts;
mod questions;
mod ranks;
mod shares;
mod side;
mod student;
mod times;

pub use self::side::{Run, Side, Slice};

use self::questions::{Answers, Of, answers};

/// All marks of a comparison together are wrong so often; each `same`, and each `above`, too.
const WRONG: f64 = 0.05;
/// Endpoints with a smaller share of the time of either side are not asked about.
const LEAST_SHARE: f64 = 0.001;
/// By so much a quantile has to move for a mark.
const LEAST_MOVE: f64 = 0.05;
/// By so many steps of the log's resolution, too.
const LEAST_STEPS: f64 = 2.0;

/// An endpoint on both sides; `None` where it is not.
#[derive(Debug, Clone, Copy)]
pub struct Pair<'a> {
    /// Before.
    pub old: Option<&'a Side>,
    /// After.
    pub new: Option<&'a Side>,
}

/// How to compare.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// All times of either log are multiples of so many seconds; 0 when that is not known.
    pub resolution_s: f64,
    /// By how much an endpoint may become slower: 0.1 is 10 %.
    pub fail_above: Option<f64>,
}

/// What has become of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// More lines have a status of 500 to 599.
    Failing,
    /// It takes longer.
    Slower,
    /// It takes less time.
    Faster,
    /// It is neither 10 % slower nor 10 % faster.
    Same,
    /// Nothing can be told.
    Unknown,
    /// It was not there before.
    New,
    /// It is not there any more.
    Gone,
}

/// By what it is slower or faster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moved {
    /// The times as a whole, and with them the median.
    Median,
    /// Only the longest ones.
    Tail,
}

/// What is found of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Finding {
    /// What has become of it.
    pub verdict: Verdict,
    /// By what it is slower or faster; also of one that fails.
    pub moved: Option<Moved>,
    /// More lines fail, or it would still be slower if the new side had taken less by
    /// `Options::fail_above`.
    pub above: bool,
}

/// What is found of all.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// Of all lines together.
    pub all: Finding,
    /// Of each endpoint, in the order given.
    pub endpoints: Vec<Finding>,
    /// The share of the old side's time (of its lines, if it has no times) that endpoints have of
    /// which nothing can be told. 1 when no endpoint is on both sides.
    pub unknown_share: f64,
}

/// Compares the endpoints of two sides; `all` has all lines of each.
pub fn compare(all: Pair<'_>, endpoints: &[Pair<'_>], options: Options) -> Comparison {
    let whole = Whole::new(all);
    let asked = |pair: &Pair<'_>, options| match (pair.old, pair.new) {
        (Some(old), Some(new)) if whole.matters(old, new) => Some(answers(old, new, options)),
        _ => None,
    };
    let pairs: Vec<Pair<'_>> = std::iter::once(all).chain(endpoints.iter().copied()).collect();
    // All lines become slower when more of them are of slow endpoints: that is for nobody to fail by.
    let mut found = vec![asked(&all, Options { fail_above: None, ..options })];
    found.extend(endpoints.iter().map(|pair| asked(pair, options)));
    count_together(&mut found);
    let mut findings = pairs.iter().zip(&found).map(|(pair, answers)| finding(pair, *answers));
    let all = findings.next().unwrap_or(UNKNOWN);
    let endpoints_found: Vec<Finding> = findings.collect();
    let unknown_share = whole.unknown_share(endpoints, &endpoints_found);
    Comparison { all, endpoints: endpoints_found, unknown_share }
}

const UNKNOWN: Finding = Finding { verdict: Verdict::Unknown, moved: None, above: false };

/// Has the probabilities of all questions count as those of one (see `holm`).
fn count_together(found: &mut [Option<Answers>]) {
    for of in [Of::Marks, Of::Still] {
        let asked: Vec<(f64, f64)> = found.iter().flatten().flat_map(|one| one.asked(of)).collect();
        let mut counted = holm::adjusted(&asked).into_iter();
        found.iter_mut().flatten().for_each(|one| one.count_as(of, || counted.next()));
    }
}

fn finding(pair: &Pair<'_>, answers: Option<Answers>) -> Finding {
    let verdict = match (pair.old, pair.new, answers) {
        (None, Some(_), _) => Verdict::New,
        (Some(_), None, _) => Verdict::Gone,
        (_, _, Some(answers)) => return answers.finding(WRONG),
        _ => Verdict::Unknown,
    };
    Finding { verdict, ..UNKNOWN }
}

/// What all endpoints together have.
struct Whole {
    old: f64,
    new: f64,
    timed: bool,
}

impl Whole {
    fn new(all: Pair<'_>) -> Whole {
        let time = |side: Option<&Side>| side.map_or(0.0, |side| side.time_s);
        let lines = |side: Option<&Side>| side.map_or(0.0, |side| side.lines as f64);
        let timed = time(all.old) > 0.0 && time(all.new) > 0.0;
        let of = |side| if timed { time(side) } else { lines(side) };
        Whole { old: of(all.old), new: of(all.new), timed }
    }

    fn cost(&self, side: &Side) -> f64 {
        if self.timed { side.time_s.max(0.0) } else { side.lines as f64 }
    }

    fn matters(&self, old: &Side, new: &Side) -> bool {
        self.cost(old) >= LEAST_SHARE * self.old || self.cost(new) >= LEAST_SHARE * self.new
    }

    fn unknown_share(&self, endpoints: &[Pair<'_>], findings: &[Finding]) -> f64 {
        if endpoints.iter().all(|pair| pair.old.is_none() || pair.new.is_none()) {
            return 1.0;
        }
        let unknown =
            endpoints.iter().zip(findings).filter(|(_, of)| of.verdict == Verdict::Unknown);
        let cost: f64 = unknown.filter_map(|(pair, _)| pair.old).map(|old| self.cost(old)).sum();
        if cost == 0.0 { 0.0 } else { (cost / self.old).min(1.0) }
    }
}

#[cfg(test)]
mod tests;
