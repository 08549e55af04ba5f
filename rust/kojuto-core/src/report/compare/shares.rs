//! Whether a share of the lines has grown: of those that failed, of those that took very long.

use super::parts::{Chance, Part, Parts, chance};
use super::student::binomial_tail;

/// More hits than these are told by the slices alone.
const FEW: f64 = 10_000.0;

/// How many of the lines of a part there are, and how many of them are hits.
pub(super) type Count = (f64, f64);

/// Whether the share of hits is larger or smaller on the new side.
///
/// By the slices, as all means are; and few hits have to be too many for chance even if each came
/// alone: given all hits, those of the new side are binomial.
pub(super) fn shares(
    (old, of_old): (&Parts, impl Fn(&Part) -> Count),
    (new, of_new): (&Parts, impl Fn(&Part) -> Count),
) -> Chance {
    let (old_lines, old_hits) = total(old, &of_old);
    let (new_lines, new_hits) = total(new, &of_new);
    if old_lines <= 0.0 || new_lines <= 0.0 || old_hits + new_hits <= 0.0 {
        return Chance { up: 1.0, down: 1.0 };
    }
    let share = |(lines, hits): Count| (lines, if lines > 0.0 { hits / lines } else { 0.0 });
    let old_spread = old.spread(|part| share(of_old(part)));
    let new_spread = new.spread(|part| share(of_new(part)));
    let difference = new_hits / new_lines - old_hits / old_lines;
    let slices = chance(difference, old_spread, new_spread);
    if old_hits + new_hits > FEW {
        return slices;
    }
    let new_share = new_lines / (old_lines + new_lines);
    let alone = |hits: f64, share: f64| {
        if hits > 0.0 { binomial_tail(hits, old_hits + new_hits, share) } else { 1.0 }
    };
    Chance {
        up: slices.up.max(alone(new_hits, new_share)),
        down: slices.down.max(alone(old_hits, 1.0 - new_share)),
    }
}

fn total(parts: &Parts, of: &impl Fn(&Part) -> Count) -> Count {
    parts.each().iter().map(of).fold((0.0, 0.0), |sum, part| (sum.0 + part.0, sum.1 + part.1))
}

/// The step from which on about one time in twenty of the old side is: of all bounds between two
/// steps the one that comes nearest.
pub(super) fn tail_begins(old: &Parts) -> i32 {
    const WANTED: f64 = 0.05;
    let mut steps: Vec<(i32, f64)> =
        old.each().iter().flat_map(|part| part.steps.iter().copied()).collect();
    steps.sort_by_key(|(step, _)| std::cmp::Reverse(*step));
    let total: f64 = steps.iter().map(|(_, count)| count).sum();
    let mut above = 0.0;
    let mut begins = steps.first().map_or(0, |(step, _)| step.saturating_add(1));
    let mut best = WANTED;
    for of_step in steps.chunk_by(|a, b| a.0 == b.0) {
        above += of_step.iter().map(|(_, count)| count).sum::<f64>() / total;
        if (above - WANTED).abs() < best {
            best = (above - WANTED).abs();
            begins = of_step[0].0;
        }
    }
    begins
}

#[cfg(test)]
mod tests {
    use super::super::side::{Run, Side, Slice};
    use super::*;

    /// Sixteen slices of 100 lines with so many hits each.
    fn parts(hits: [u64; 16]) -> Parts {
        let slice = |(at, failed): (usize, u64)| Slice {
            start_s: at as f64,
            width_s: 1.0,
            lines: 100,
            failed,
            steps: vec![(30, 100 - failed), (40, failed)],
        };
        let slices = hits.into_iter().enumerate().map(slice).collect();
        let runs = vec![Run { from_s: 0.0, to_s: 16.0, slices }];
        Parts::new(&Side { runs, ..Side::default() })
    }

    fn of(old: [u64; 16], new: [u64; 16]) -> Chance {
        let failed = |part: &Part| (part.lines, part.failed);
        shares((&parts(old), failed), (&parts(new), failed))
    }

    #[test]
    fn a_share_that_grew_everywhere_is_no_chance() {
        let found = of([1; 16], [3; 16]);
        // 48 of 64 by tossing a coin
        assert!(found.up < 1e-4 && found.down > 0.999, "{found:?}");
    }

    #[test]
    fn few_hits_have_to_be_too_many_for_a_coin() {
        let mut new = [0; 16];
        [0, 3, 6, 9, 12].into_iter().for_each(|at| new[at] = 1);
        assert!((of([0; 16], new).up - 1.0 / 32.0).abs() < 1e-9);
        assert_eq!(of([0; 16], [0; 16]), Chance { up: 1.0, down: 1.0 });
    }

    #[test]
    fn many_hits_in_one_slice_are_one_piece_of_luck() {
        let mut new = [0; 16];
        new[3] = 90;
        assert!(of([0; 16], new).up > 0.05);
    }

    #[test]
    fn the_tail_begins_where_a_twentieth_is_above() {
        assert_eq!(tail_begins(&parts([5; 16])), 40);
        assert_eq!(tail_begins(&parts([0; 16])), 41, "all are in one step");
        assert_eq!(tail_begins(&parts([90; 16])), 41);
    }
}
