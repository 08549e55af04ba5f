use super::*;
use proptest::prelude::*;

const SECONDS: u64 = 320;
const BEGIN: u64 = 1_700_000_000;

/// A run of 32 slices, in each of which the same times are, and so many lines that failed.
fn steady(times: &[(f64, u64)], failed: u64) -> Side {
    side(&[times; 32], failed)
}

/// A run of slices with these times each.
fn side(slices: &[&[(f64, u64)]], failed: u64) -> Side {
    let width_s = SECONDS / slices.len() as u64;
    let mut all: Vec<(f64, u64)> = slices.iter().flat_map(|times| times.iter().copied()).collect();
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    all.dedup_by(|next, kept| {
        let same = next.0 == kept.0;
        kept.1 += if same { next.1 } else { 0 };
        same
    });
    let slice = |(at, times): (usize, &&[(f64, u64)])| Slice {
        start_s: (BEGIN + at as u64 * width_s) as f64,
        width_s: width_s as f64,
        lines: times.iter().map(|(_, count)| count).sum(),
        failed,
        steps: times.iter().map(|&(time, count)| (side::step_of(time), count)).collect(),
    };
    Side {
        lines: all.iter().map(|(_, count)| count).sum(),
        failed: failed * slices.len() as u64,
        time_s: all.iter().map(|&(time, count)| time * count as f64).sum(),
        latencies: all,
        runs: vec![Run {
            from_s: BEGIN as f64,
            to_s: (BEGIN + SECONDS) as f64,
            slices: slices.iter().enumerate().map(slice).collect(),
        }],
    }
}

fn found(old: &Side, new: &Side, options: Options) -> Finding {
    let pair = Pair { old: Some(old), new: Some(new) };
    let found = compare(pair, &[pair], options);
    assert_eq!(found.all.verdict, found.endpoints[0].verdict);
    found.endpoints[0]
}

fn verdict(old: &Side, new: &Side) -> Verdict {
    found(old, new, Options { resolution_s: 0.001, fail_above: None }).verdict
}

/// Times about one in the middle, each so many times.
fn about(middle_s: f64, count: u64) -> Vec<(f64, u64)> {
    let spread = [0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.25, 1.45, 1.7, 2.0, 2.5, 3.0];
    spread.map(|factor| (middle_s * factor, count)).to_vec()
}

#[test]
fn a_change_of_all_times_is_told_whichever_way_it_goes() {
    let (fast, slow) = (steady(&about(0.1, 4), 0), steady(&about(0.13, 4), 0));
    assert_eq!(verdict(&fast, &slow), Verdict::Slower);
    assert_eq!(verdict(&slow, &fast), Verdict::Faster);
    assert_eq!(verdict(&fast, &fast), Verdict::Same);
}

#[test]
fn failures_are_told_before_anything_else() {
    let (old, new) = (steady(&about(0.1, 4), 0), steady(&about(0.05, 4), 3));
    let of_new = found(&old, &new, Options::default());
    assert_eq!((of_new.verdict, of_new.moved), (Verdict::Failing, Some(Moved::Median)));
    assert_eq!(verdict(&new, &old), Verdict::Slower, "fewer failures are no mark");
    let bounded = Options { fail_above: Some(0.1), ..Options::default() };
    assert!(found(&old, &new, bounded).above);
}

#[test]
fn a_few_failures_in_one_place_are_noise() {
    let times = about(0.1, 4);
    let (old, mut new) = (steady(&times, 0), steady(&times, 0));
    new.failed = 30;
    new.runs[0].slices[7].failed = 30;
    assert_ne!(verdict(&old, &new), Verdict::Failing);
}

#[test]
fn a_longer_tail_alone_is_slower_too() {
    let tail = |long_s: f64| {
        let mut times = about(0.1, 4);
        times.push((long_s, 5));
        steady(&times, 0)
    };
    let of_new = found(&tail(0.31), &tail(2.0), Options::default());
    assert_eq!((of_new.verdict, of_new.moved), (Verdict::Slower, Some(Moved::Tail)));
}

#[test]
fn times_that_all_fall_into_one_step_are_compared_by_their_buckets() {
    // 1.25^52 microseconds is 0.1095 s, 1.25^53 is 0.1368 s.
    let near =
        |middle_s: f64| steady(&[(middle_s * 0.98, 3), (middle_s, 5), (middle_s * 1.02, 3)], 0);
    assert_eq!(verdict(&near(0.113), &near(0.133)), Verdict::Slower);
    assert_eq!(verdict(&near(0.12), &near(0.12)), Verdict::Same);
}

#[test]
fn a_move_of_one_step_of_the_resolution_is_no_mark() {
    let times = |ms: &[(f64, u64)]| {
        steady(&ms.iter().map(|&(ms, count)| (ms / 1000.0, count)).collect::<Vec<_>>(), 0)
    };
    let one = times(&[(0.0, 5), (1.0, 60), (2.0, 5)]);
    assert_eq!(verdict(&one, &times(&[(1.0, 5), (2.0, 60), (3.0, 5)])), Verdict::Unknown);
    assert_eq!(verdict(&one, &times(&[(2.0, 5), (3.0, 60), (4.0, 5)])), Verdict::Slower);
    assert_eq!(verdict(&one, &one), Verdict::Same);
    let nothing = times(&[(0.0, 60)]);
    assert_eq!(verdict(&nothing, &nothing), Verdict::Unknown, "it hides any change");
}

#[test]
fn what_is_too_little_tells_nothing() {
    let (fast, slow) = (about(0.1, 4), about(0.2, 4));
    let few = |times: &[(f64, u64)], slices| {
        let mut some = vec![&[] as &[(f64, u64)]; 32];
        some[..slices].fill(times);
        side(&some, 0)
    };
    assert_eq!(verdict(&few(&fast, 16), &few(&slow, 16)), Verdict::Slower, "8 of 16 slices");
    assert_eq!(verdict(&few(&fast, 14), &few(&slow, 14)), Verdict::Unknown, "7 of 16 slices");
    let (fast, slow) = ([(0.1, 1)], [(0.2, 1)]);
    assert_eq!(verdict(&steady(&fast, 0), &steady(&slow, 0)), Verdict::Unknown, "32 lines");
    let (fast, slow) = ([(0.1, 2)], [(0.2, 2)]);
    assert_eq!(verdict(&steady(&fast, 0), &steady(&slow, 0)), Verdict::Slower, "64 lines");
}

#[test]
fn a_bound_is_failed_by_who_is_slower_than_it_allows() {
    let old = steady(&about(0.1, 20), 0);
    let above = |factor: f64, bound: f64| {
        let new = steady(&about(0.1 * factor, 20), 0);
        found(&old, &new, Options { resolution_s: 1e-6, fail_above: Some(bound) }).above
    };
    assert!(above(1.3, 0.1) && above(1.3, 0.0) && above(1.5, 0.3));
    assert!(!above(1.3, 0.3) && !above(1.0, 0.1) && !above(0.7, 0.0));
    assert!(!found(&old, &steady(&about(0.2, 20), 0), Options::default()).above, "without one");
}

#[test]
fn what_is_on_one_side_only_is_new_or_gone() {
    let some = steady(&about(0.1, 4), 0);
    let (old, new) = (Pair { old: Some(&some), new: None }, Pair { old: None, new: Some(&some) });
    let both = Pair { old: Some(&some), new: Some(&some) };
    let found = compare(both, &[old, new], Options::default());
    let verdicts: Vec<Verdict> = found.endpoints.iter().map(|of| of.verdict).collect();
    assert_eq!(verdicts, [Verdict::Gone, Verdict::New]);
    assert_eq!(found.unknown_share, 1.0, "nothing could be compared");
}

#[test]
fn the_unknown_share_is_one_of_the_old_sides_time() {
    let (known, hidden) = (steady(&about(0.1, 4), 0), steady(&[(0.02, 1)], 0));
    let all = Side { time_s: known.time_s + hidden.time_s, ..known.clone() };
    let pair = |side| Pair { old: Some(side), new: Some(side) };
    let found = compare(pair(&all), &[pair(&known), pair(&hidden)], Options::default());
    assert_eq!(found.endpoints[1].verdict, Verdict::Unknown);
    assert!((found.unknown_share - hidden.time_s / all.time_s).abs() < 1e-12);
}

#[test]
fn what_takes_no_time_to_speak_of_is_not_asked_about() {
    let (old, new) = (steady(&about(0.1, 4), 0), steady(&about(0.3, 4), 0));
    let all = Side { time_s: 2000.0 * new.time_s, ..old.clone() };
    let whole = Pair { old: Some(&all), new: Some(&all) };
    let endpoint = Pair { old: Some(&old), new: Some(&new) };
    let found = compare(whole, &[endpoint], Options::default());
    assert_eq!(found.endpoints[0].verdict, Verdict::Unknown);
}

#[test]
fn a_log_without_times_is_asked_about_its_failures() {
    let untimed = |failed| {
        let mut side = steady(&about(0.1, 4), failed);
        (side.time_s, side.latencies) = (0.0, Vec::new());
        side.runs[0].slices.iter_mut().for_each(|slice| slice.steps.clear());
        side
    };
    assert_eq!(verdict(&untimed(0), &untimed(3)), Verdict::Failing);
    assert_eq!(verdict(&untimed(0), &untimed(0)), Verdict::Unknown);
}

fn any_number() -> impl Strategy<Value = f64> {
    prop_oneof![
        6 => 0.0f64..10.0,
        2 => (0u32..5).prop_map(|ms| f64::from(ms) / 1000.0),
        1 => any::<f64>(),
    ]
}

fn any_count() -> impl Strategy<Value = u64> {
    prop_oneof![6 => 0u64..50, 1 => any::<u64>().prop_map(|count| count >> 12), 1 => any::<u64>()]
}

fn any_side() -> impl Strategy<Value = Side> {
    let steps = prop::collection::vec((-3i32..80, any_count()), 0..6);
    let slice = (any_number(), any_number(), any_count(), any_count(), steps).prop_map(
        |(start_s, width_s, lines, failed, steps)| Slice { start_s, width_s, lines, failed, steps },
    );
    let run = (any_number(), any_number(), prop::collection::vec(slice, 0..40))
        .prop_map(|(from_s, to_s, slices)| Run { from_s, to_s, slices });
    let latencies = prop::collection::vec((any_number(), any_count()), 0..20);
    (any_count(), any_count(), any_number(), latencies, prop::collection::vec(run, 0..12)).prop_map(
        |(lines, failed, time_s, latencies, runs)| Side { lines, failed, time_s, latencies, runs },
    )
}

proptest! {
    #[test]
    fn nothing_makes_it_panic_and_every_share_is_one(
        sides in prop::collection::vec((any_side(), any_side()), 1..4),
        resolution_s in any_number(), bound in prop::option::of(any_number()),
    ) {
        let pairs: Vec<Pair<'_>> = sides
            .iter()
            .map(|(old, new)| Pair { old: Some(old), new: Some(new) })
            .collect();
        let found = compare(pairs[0], &pairs[1..], Options { resolution_s, fail_above: bound });
        prop_assert!((0.0..=1.0).contains(&found.unknown_share), "{}", found.unknown_share);
        for (pair, of) in pairs.iter().zip(std::iter::once(&found.all).chain(&found.endpoints)) {
            let answers = answers(pair.old.unwrap(), pair.new.unwrap(), Options { resolution_s, fail_above: bound });
            for kind in [Of::Marks, Of::Still] {
                for (probability, _) in answers.asked(kind) {
                    prop_assert!((0.0..=1.0).contains(&probability), "{probability} {of:?}");
                }
            }
        }
    }

    #[test]
    fn the_other_way_round_it_is_the_other_verdict(
        old in prop::collection::vec(prop::collection::vec((0.001f64..2.0, 1u64..9), 1..5), 16),
        new in prop::collection::vec(prop::collection::vec((0.001f64..2.0, 1u64..9), 1..5), 16),
    ) {
        let of = |slices: &[Vec<(f64, u64)>]| {
            side(&slices.iter().map(Vec::as_slice).collect::<Vec<_>>(), 0)
        };
        let (old, new) = (of(&old), of(&new));
        let there = found(&old, &new, Options::default());
        let back = found(&new, &old, Options::default());
        // The tail is one of the old side, so only what the median says has two sides.
        if there.moved == Some(Moved::Median) && back.moved == Some(Moved::Median) {
            prop_assert_ne!(there.verdict, back.verdict);
        }
        // Whether it says so depends on the other questions too, but its chance does not.
        let chance = |old: &Side, new: &Side| {
            let asked = answers(old, new, Options::default());
            asked.asked(Of::Marks).find(|(_, weight)| *weight == 1.0).map(|(chance, _)| chance)
        };
        match (chance(&old, &new), chance(&new, &old)) {
            (Some(there), Some(back)) => prop_assert!((there - back).abs() < 1e-9, "{there} {back}"),
            (there, back) => prop_assert_eq!(there, back),
        }
    }
}
