use std::collections::BTreeMap;

use super::super::Way;
use super::*;
use crate::sys::resolve::Want;

const S: i64 = 1_000_000_000;
const MS: i64 = 1_000_000;

fn plan() -> Plan {
    Plan {
        want: Want::Either,
        count: 1,
        timeout: Duration::from_secs(1),
        interval: Duration::ZERO,
        pace: Duration::ZERO,
        deadline: Duration::from_secs(25),
        payload_bytes: 56,
        linger: false,
        way: Way::default(),
    }
}

/// A host whose first counted request, of sequence 7, was given to the kernel 50 ms ago.
fn waiting(plan: &Plan) -> (Host, Instant) {
    let now = Instant::now();
    let mut host = Host::new();
    host.sent(6, now - Duration::from_millis(60), 5 * S - 10 * MS);
    host.reply(0, 6, None, plan, now - Duration::from_millis(59));
    host.sent(7, now - Duration::from_millis(50), 5 * S);
    (host, now)
}

fn rtts(host: Host) -> Vec<Option<f64>> {
    host.into_outcome(&plan()).rtts_ms
}

#[test]
fn the_kernels_stamps_are_taken_and_a_stepped_clock_is_not() {
    for (step_ms, expected) in [(30, 30.0), (-3_600_000, 50.0), (3_600_000, 50.0)] {
        let (mut host, now) = waiting(&plan());
        host.reply(1, 7, Some(5 * S + step_ms * MS), &plan(), now);
        assert!(matches!(host.phase, Phase::Done(_)));
        assert_eq!(rtts(host), [Some(expected)], "{step_ms}");
    }
}

#[test]
fn a_round_trip_begins_before_the_queue_and_the_queue_is_told() {
    let (mut host, now) = waiting(&plan());
    host.stamp(1, 7, Gate::Queue, 5 * S + 2 * MS, now);
    host.stamp(1, 7, Gate::Queue, 5 * S + 9 * MS, now); // the first one counts
    host.stamp(1, 7, Gate::Device, 5 * S + 20 * MS, now);
    host.stamp(1, 8, Gate::Device, 5 * S + 21 * MS, now); // of another request
    host.reply(1, 7, Some(5 * S + 32 * MS), &plan(), now);
    let outcome = host.into_outcome(&plan());
    assert_eq!(outcome.rtts_ms, [Some(30.0)]);
    assert_eq!(outcome.queues_ms, [18.0]);
    assert_eq!(outcome.stamped, 1);
}

#[test]
fn the_time_out_begins_when_the_next_hop_is_known() {
    let plan = Plan { timeout: Duration::from_millis(45), ..plan() };
    let (mut host, now) = waiting(&plan);
    host.stamp(1, 7, Gate::Queue, 5 * S + 40 * MS, now);
    host.time_out(&plan, now, true, true);
    assert_eq!(host.phase, Phase::Waiting);
    host.time_out(&plan, now + Duration::from_millis(36), true, true);
    assert!(matches!(host.phase, Phase::Done(_)));
    // A stamp from the future is a stepped clock's.
    let (mut host, now) = waiting(&plan);
    host.stamp(1, 7, Gate::Queue, 3605 * S, now);
    host.time_out(&plan, now, true, true);
    assert!(matches!(host.phase, Phase::Done(_)));
}

#[test]
fn a_reply_within_its_time_wins_over_an_error_and_over_a_time_out_that_was_early() {
    let plan = Plan { count: 2, ..plan() };
    let (mut host, now) = waiting(&plan);
    host.told(1, "host unreachable", true, &plan, now);
    assert_eq!(host.phase, Phase::Due(now));
    host.sent(8, now, 6 * S);
    host.reply(1, 7, Some(5 * S + 40 * MS), &plan, now);
    assert_eq!(host.phase, Phase::Waiting, "it waits for the second one still");
    host.time_out(&plan, now + Duration::from_secs(1), false, false);
    let at = now + Duration::from_millis(1100);
    host.stamp(2, 8, Gate::Queue, 6 * S + 900 * MS, at);
    host.reply(2, 8, Some(6 * S + 1090 * MS), &plan, at);
    let outcome = host.into_outcome(&plan);
    assert_eq!(outcome.rtts_ms, [Some(40.0), Some(190.0)]);
    assert_eq!((outcome.reasons, outcome.late), (BTreeMap::new(), 0));
}

#[test]
fn after_an_error_a_reply_may_come_until_the_time_out_and_no_longer_than_a_second() {
    let (mut host, now) = waiting(&plan());
    host.told(1, "host unreachable", true, &plan(), now);
    assert_eq!(host.phase, Phase::Done(now + Duration::from_millis(950)));
    let long = Plan { timeout: Duration::from_secs(60), ..plan() };
    let (mut host, now) = waiting(&long);
    host.told(1, "host unreachable", true, &long, now);
    assert_eq!(host.phase, Phase::Done(now + LINGER_MOST));
}

#[test]
fn advice_decides_nothing_and_is_told_when_no_reply_comes() {
    let (mut host, now) = waiting(&plan());
    host.told(1, "redirect", false, &plan(), now);
    assert_eq!(host.phase, Phase::Waiting);
    host.time_out(&plan(), now + Duration::from_secs(1), true, true);
    let reasons = host.into_outcome(&plan()).reasons;
    assert_eq!(reasons, BTreeMap::from([("no reply (a router said: redirect)".to_owned(), 1)]));
}

#[test]
fn a_lost_request_tells_how_far_it_came() {
    let later = Duration::from_secs(2);
    for (gates, stamps, why) in [
        (&[][..], true, "no reply (next hop not found)"),
        (&[][..], false, "no reply"),
        (&[Gate::Queue][..], true, "no reply (still in this machine's queue)"),
        (&[Gate::Queue, Gate::Device][..], true, "no reply"),
    ] {
        let (mut host, now) = waiting(&plan());
        for &gate in gates {
            host.stamp(1, 7, gate, 5 * S + MS, now);
        }
        host.time_out(&plan(), now + later, stamps, stamps);
        assert_eq!(host.into_outcome(&plan()).reasons, BTreeMap::from([(why.to_owned(), 1)]));
    }
}

#[test]
fn a_reply_after_its_time_out_is_late_once_and_then_a_duplicate() {
    let plan = Plan { timeout: Duration::from_millis(20), ..plan() };
    let (mut host, now) = waiting(&plan);
    for _ in 0..2 {
        host.reply(1, 7, Some(5 * S + 40 * MS), &plan, now);
    }
    assert_eq!((host.outcome.late, host.outcome.duplicates), (1, 1));
    assert_eq!(rtts(host), [None]);
    let (mut host, now) = waiting(&plan);
    host.reply(1, 8, Some(5 * S + 10 * MS), &plan, now); // another sequence number
    assert_eq!(host.phase, Phase::Waiting);
    host.reply(1, 7, Some(5 * S + 10 * MS), &plan, now);
    host.reply(1, 7, Some(5 * S + 11 * MS), &plan, now);
    host.reply(0, 6, Some(5 * S + 11 * MS), &plan, now); // the one that warms up never counts
    assert_eq!((host.outcome.late, host.outcome.duplicates), (0, 1));
    assert_eq!(rtts(host), [Some(10.0)]);
}

#[test]
fn who_wants_to_know_of_late_replies_waits_for_those_of_the_last_request() {
    let ms = Duration::from_millis;
    let until = |plan: &Plan, lost: bool| {
        let (mut host, now) = waiting(plan);
        if lost {
            host.time_out(plan, now + ms(1), false, false);
            (host.phase, now + ms(1))
        } else {
            host.reply(1, 7, Some(5 * S + 40 * MS), plan, now);
            (host.phase, now)
        }
    };
    let quick = Plan { timeout: ms(45), linger: true, ..plan() };
    let (phase, now) = until(&quick, true);
    assert_eq!(phase, Phase::Done(now + ms(45)));
    let (phase, now) = until(&quick, false);
    assert_eq!(phase, Phase::Done(now + ms(80)));
    let (phase, now) = until(&Plan { linger: false, ..quick }, true);
    assert_eq!(phase, Phase::Done(now));
}

#[test]
fn the_pause_between_two_requests_begins_with_the_end_of_the_first() {
    let plan = Plan { count: 2, interval: Duration::from_secs(3), ..plan() };
    let (mut host, now) = waiting(&plan);
    let end = now + Duration::from_secs(1);
    host.time_out(&plan, end, false, false);
    assert_eq!(host.phase, Phase::Due(end + Duration::from_secs(3)));
}

#[test]
fn what_was_not_sent_or_not_decided_is_no_loss() {
    let plan = Plan { count: 5, ..plan() };
    let (host, _) = waiting(&plan);
    let outcome = host.into_outcome(&plan);
    assert_eq!((outcome.rtts_ms.len(), outcome.undecided, outcome.unsent), (0, 1, 4));
    let outcome = Host::new().into_outcome(&plan);
    assert_eq!((outcome.undecided, outcome.unsent), (0, 5));
    let mut host = Host::new();
    host.refused(1, "network is unreachable".to_owned(), &plan, Instant::now());
    host.refused(2, "network is unreachable".to_owned(), &plan, Instant::now());
    let outcome = host.into_outcome(&plan);
    assert_eq!((outcome.rtts_ms, outcome.unsent), (vec![None], 4));
}

#[test]
fn strangers_are_named_but_not_without_end() {
    let (mut host, _) = waiting(&plan());
    for last in 0..20u8 {
        host.strange(1, 7, SocketAddr::new([192, 0, 2, last].into(), 0));
        host.strange(1, 9, SocketAddr::new([192, 0, 3, last].into(), 0));
    }
    host.strange(1, 7, "192.0.2.0:0".parse().unwrap());
    assert_eq!(host.outcome.strangers.len(), STRANGERS);
    assert_eq!(host.outcome.strangers["192.0.2.0"], 2);
}
