//! What is asked of an endpoint that is on both sides, and what the answers make of it.

use std::collections::BTreeMap;

use super::parts::{Chance, FILLED, Part, Parts};
use super::ranks::ranks;
use super::shares::{shares, tail_begins};
use super::side::{Side, step_of};
use super::times::{Times, multiplied, written};
use super::{Finding, LEAST_MOVE, LEAST_STEPS, Moved, Options, Verdict};

/// Fewer lines, or times, on a side tell nothing.
const LEAST_LINES: f64 = 50.0;
/// Who is neither so much slower nor so much faster is the same.
const SAME: f64 = 0.1;

/// The question about the times counts so much, those about failures and the longest times so much:
/// they are there for what the first one does not see.
const WEIGHTS: [f64; QUESTIONS] = [1.0, 0.25, 0.25];

/// How many there are.
const QUESTIONS: usize = 3;
/// Which is which.
const TIMES: usize = 0;
const TAIL: usize = 1;
const FAILING: usize = 2;

/// The probabilities of what was found if nothing had changed; `None` is not asked.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Answers {
    /// Of times that differ so much, of longest times, of failures.
    marks: [Option<f64>; QUESTIONS],
    /// Whether the median and the 95th percentile went up, if they have moved.
    ways: [Option<bool>; 2],
    /// Of times, and longest times, that are so much longer even after what may be taken off them.
    still: [Option<f64>; QUESTIONS],
    /// Of times so near to each other, if they were 10 % longer or shorter.
    far: Option<f64>,
    /// Whether there is something that may be taken off.
    bounded: bool,
}

/// Which of the probabilities.
#[derive(Debug, Clone, Copy)]
pub(super) enum Of {
    /// What counts for a mark.
    Marks,
    /// What counts for `Finding::above`.
    Still,
}

impl Answers {
    /// Each with its weight.
    pub(super) fn asked(&self, of: Of) -> impl Iterator<Item = (f64, f64)> {
        let asked = match of {
            Of::Marks => self.marks,
            Of::Still => self.still,
        };
        asked.into_iter().zip(WEIGHTS).filter_map(|(asked, weight)| Some((asked?, weight)))
    }

    /// The same as they count with those of all endpoints.
    pub(super) fn count_as(&mut self, of: Of, mut next: impl FnMut() -> Option<f64>) {
        let asked = match of {
            Of::Marks => &mut self.marks,
            Of::Still => &mut self.still,
        };
        asked.iter_mut().flatten().for_each(|asked| *asked = next().unwrap_or(1.0));
    }

    /// The verdict, where so many are wrong.
    pub(super) fn finding(&self, wrong: f64) -> Finding {
        let is = |asked: Option<f64>| asked.is_some_and(|asked| asked <= wrong);
        let went = |up: bool| {
            let is = |at: usize| is(self.marks[at]) && self.ways[at] == Some(up);
            if is(TIMES) { Some(Moved::Median) } else { is(TAIL).then_some(Moved::Tail) }
        };
        let failing = is(self.marks[FAILING]);
        let (slower, faster) = (went(true), went(false));
        let verdict = match (failing, slower, faster) {
            (true, ..) => Verdict::Failing,
            (_, Some(_), _) => Verdict::Slower,
            (_, _, Some(_)) => Verdict::Faster,
            _ if is(self.far) => Verdict::Same,
            _ => Verdict::Unknown,
        };
        let still = slower.is_some() && self.still.into_iter().any(is);
        let above = self.bounded && (failing || still);
        Finding { verdict, moved: slower.or(faster), above }
    }
}

/// Asks everything.
pub(super) fn answers(old: &Side, new: &Side, options: Options) -> Answers {
    let (old_parts, new_parts) = (Parts::new(old), Parts::new(new));
    let sides = Sides { old, new, old_parts, new_parts, resolution_s: options.resolution_s };
    let bounded = options.fail_above.is_some();
    let mut answers = Answers { bounded, ..Answers::default() };
    if sides.enough(|part| part.lines) && old.failed.max(new.failed) > 0 {
        let failed = |part: &Part| (part.lines, part.failed);
        let failing = shares((&sides.old_parts, failed), (&sides.new_parts, failed));
        answers.marks[FAILING] = Some(failing.up);
    }
    if sides.enough(|part| part.timed) && sides.have_times() {
        sides.ask(&mut answers, options.fail_above);
    }
    answers
}

/// Both sides.
struct Sides<'a> {
    old: &'a Side,
    new: &'a Side,
    old_parts: Parts,
    new_parts: Parts,
    resolution_s: f64,
}

impl Sides<'_> {
    /// Whether either has enough of what is counted.
    fn enough(&self, of: fn(&Part) -> f64) -> bool {
        [&self.old_parts, &self.new_parts].iter().all(|parts| {
            let counts = || parts.each().iter().map(of);
            counts().sum::<f64>() >= LEAST_LINES && counts().filter(|n| *n > 0.0).count() >= FILLED
        })
    }

    fn have_times(&self) -> bool {
        let none = |side: &Side| multiplied(&side.latencies, 1.0, self.resolution_s).is_empty();
        !none(self.old) && !none(self.new)
    }

    fn ask(&self, answers: &mut Answers, fail_above: Option<f64>) {
        let either = |chance: Chance| (2.0 * chance.up.min(chance.down)).min(1.0);
        let (times, tail) = (self.times(1.0), self.tail(1.0));
        answers.marks[TIMES] = Some(either(times));
        answers.marks[TAIL] = Some(either(tail));
        answers.ways = [self.way(0.5, times), self.way(0.95, tail)];
        if let Some(bound) = fail_above {
            let factor = 1.0 / (1.0 + bound);
            answers.still[TIMES] = Some(self.times(factor).up);
            answers.still[TAIL] = Some(self.tail(factor).up);
        }
        let (less, more) = (self.times(1.0 / (1.0 + SAME)), self.times(1.0 + SAME));
        answers.far = Some(less.down.max(more.up));
    }

    /// The new side's times, each multiplied.
    fn multiplied(&self, factor: f64) -> Vec<Times> {
        multiplied(&self.new.latencies, factor, self.resolution_s)
    }

    /// Whether the new side's times, each multiplied, are longer or shorter.
    fn times(&self, factor: f64) -> Chance {
        let old = multiplied(&self.old.latencies, 1.0, self.resolution_s);
        let new = self.multiplied(factor);
        ranks((&old, &self.old_parts), (&new, &self.new_parts), factor)
    }

    /// Whether more or fewer of the new side's times, each multiplied, are as long as the longest
    /// twentieth of the old side's.
    fn tail(&self, factor: f64) -> Chance {
        let begins = tail_begins(&self.old_parts);
        let counted = |step: i32| f64::from(u8::from(step >= begins));
        let old = |part: &Part| (part.timed, part.steps.iter().map(|(s, n)| n * counted(*s)).sum());
        let moved = self.multiplied(factor);
        // Of the times counted in a step how many there are, and how many are that long now.
        let mut of_steps: BTreeMap<i32, (f64, f64)> = BTreeMap::new();
        for time in &moved {
            let (all, long) = of_steps.entry(time.step).or_default();
            *all += time.count;
            *long += time.count * counted(step_of(time.value));
        }
        let now = |step: i32| of_steps.get(&step).map_or_else(|| counted(step), |of| of.1 / of.0);
        let new = |part: &Part| (part.timed, part.steps.iter().map(|(s, n)| n * now(*s)).sum());
        shares((&self.old_parts, old), (&self.new_parts, new))
    }

    /// Whether a quantile went up, if it went far enough, and the way that its chance says.
    fn way(&self, fraction: f64, chance: Chance) -> Option<bool> {
        let at = |side: &Side| side.quantile(fraction).map(|at| written(at, self.resolution_s));
        let (old, new) = (at(self.old)?, at(self.new)?);
        let moved = new - old;
        // A hair less, for neither is exact.
        let far = moved.abs() >= LEAST_MOVE * old * (1.0 - 1e-9)
            && moved.abs() >= (LEAST_STEPS - 1e-6) * self.resolution_s;
        let up = moved > 0.0;
        (far && moved != 0.0 && up == (chance.up < chance.down)).then_some(up)
    }
}
