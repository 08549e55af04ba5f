//! Whether an address is given connections, by what the attempts to reach it have met.
//!
//! After some failures in a row it rests. When the rest is over one connection tries it: a success
//! makes it good again, a failure has it rest twice as long. What is known belongs to the address; it
//! does not depend on how often its name is resolved.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Rests become no longer than this, or than the first one.
const LONGEST_REST: Duration = Duration::from_secs(60);
/// What is known of an address that its name no longer has is kept for so long.
const KEPT: Duration = Duration::from_secs(120);

/// When an address is to rest; never, unless told.
#[derive(Debug, Clone, Copy, Default)]
pub struct Limits {
    /// So many failures in a row; 0: never.
    pub max_fails: u32,
    /// How long the first time.
    pub rest: Duration,
}

/// How an address stands when one is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// It is given connections.
    Good,
    /// It is not.
    Resting,
    /// Its rest is over: one connection may try it.
    Due,
}

#[derive(Debug, Default)]
struct State {
    /// Failures since the last success.
    fails: u32,
    /// The last failure.
    last: Option<Instant>,
    rest: Duration,
    /// The end of its rest; set until a connection succeeds.
    until: Option<Instant>,
    /// A connection tries it after its rest.
    trial: bool,
}

#[derive(Debug, Default)]
pub(super) struct Health(Mutex<State>);

impl Health {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn standing(&self, now: Instant) -> Standing {
        let state = self.state();
        match state.until {
            None => Standing::Good,
            Some(until) if now < until || state.trial => Standing::Resting,
            Some(_) => Standing::Due,
        }
    }

    /// Whether it rests, or has not proved itself since.
    pub(super) fn is_left_out(&self) -> bool {
        self.state().until.is_some()
    }

    /// Whether the last attempt that is known has failed.
    pub(super) fn has_failed(&self) -> bool {
        self.state().fails > 0
    }

    /// Takes the trial after its rest; false when another connection has it.
    pub(super) fn take_trial(&self) -> bool {
        !std::mem::replace(&mut self.state().trial, true)
    }

    /// The trial has ended and nothing is known.
    pub(super) fn give_trial_back(&self) {
        self.state().trial = false;
    }

    /// Notes a failure; answers how long the address rests when that begins now.
    pub(super) fn failed(&self, limits: Limits, now: Instant) -> Option<Duration> {
        let mut state = self.state();
        state.fails = state.fails.saturating_add(1);
        state.last = Some(now);
        // Of attempts that began before its rest the rest is not made longer.
        let resting = state.until.is_some_and(|until| now < until);
        if resting || limits.max_fails == 0 || state.fails < limits.max_fails {
            return None;
        }
        state.rest = match state.until {
            None => limits.rest,
            Some(_) => (state.rest * 2).min(LONGEST_REST.max(limits.rest)),
        };
        state.until = Some(now + state.rest);
        state.trial = false;
        Some(state.rest)
    }

    /// Notes a success; answers whether the address had been left out.
    pub(super) fn succeeded(&self) -> bool {
        let mut state = self.state();
        let left_out = state.until.is_some();
        if state.fails > 0 {
            *state = State::default();
        }
        left_out
    }

    /// Whether it is worth keeping what is known of an address that is no upstream now.
    pub(super) fn is_worth_keeping(&self, now: Instant) -> bool {
        self.state().last.is_some_and(|last| now < last + KEPT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REST: Duration = Duration::from_secs(10);

    fn limits(max_fails: u32) -> Limits {
        Limits { max_fails, rest: REST }
    }

    #[test]
    fn it_rests_after_so_many_failures_in_a_row() {
        let now = Instant::now();
        for max_fails in [1, 2, 3] {
            let health = Health::default();
            for _ in 1..max_fails {
                assert_eq!(health.failed(limits(max_fails), now), None);
                assert_eq!(health.standing(now), Standing::Good, "below {max_fails}");
            }
            assert!(!health.succeeded(), "it was not left out");
            for _ in 1..max_fails {
                assert_eq!(health.failed(limits(max_fails), now), None, "it counts anew");
            }
            assert_eq!(health.failed(limits(max_fails), now), Some(REST));
            assert_eq!(health.standing(now), Standing::Resting);
        }
    }

    #[test]
    fn without_a_limit_it_never_rests() {
        let (health, now) = (Health::default(), Instant::now());
        for _ in 0..1000 {
            assert_eq!(health.failed(limits(0), now), None);
        }
        assert_eq!((health.standing(now), health.is_left_out()), (Standing::Good, false));
        assert!(health.has_failed());
    }

    #[test]
    fn after_its_rest_one_connection_tries_it() {
        let (health, now) = (Health::default(), Instant::now());
        health.failed(limits(1), now);
        let just_before = now + REST - Duration::from_nanos(1);
        assert_eq!(health.standing(just_before), Standing::Resting);
        assert_eq!(health.standing(now + REST), Standing::Due);
        assert!(health.take_trial() && !health.take_trial());
        assert_eq!(health.standing(now + REST), Standing::Resting, "another has it");
        health.give_trial_back();
        assert_eq!(health.standing(now + REST), Standing::Due, "which came to nothing");
        assert!(health.is_left_out());
        assert!(health.succeeded());
        assert_eq!((health.standing(now), health.has_failed()), (Standing::Good, false));
    }

    #[test]
    fn each_rest_is_twice_the_one_before_up_to_a_minute_until_a_success() {
        let (health, mut now) = (Health::default(), Instant::now());
        for seconds in [10, 20, 40, 60, 60] {
            let rest = Duration::from_secs(seconds);
            assert_eq!(health.failed(limits(1), now), Some(rest));
            assert_eq!(health.failed(limits(1), now), None, "an attempt from before");
            assert_eq!(health.standing(now + rest - Duration::from_millis(1)), Standing::Resting);
            now += rest;
            assert_eq!(health.standing(now), Standing::Due);
        }
        health.succeeded();
        assert_eq!(health.failed(limits(1), now), Some(REST));
        let longer = Limits { max_fails: 1, rest: Duration::from_secs(90) };
        let health = Health::default();
        assert_eq!(health.failed(longer, now), Some(longer.rest));
        assert_eq!(health.failed(longer, now + longer.rest), Some(longer.rest));
    }

    #[test]
    fn what_is_known_of_an_address_is_kept_for_two_minutes() {
        let (health, now) = (Health::default(), Instant::now());
        assert!(!health.is_worth_keeping(now), "nothing is");
        health.failed(limits(1), now);
        assert!(health.is_worth_keeping(now + KEPT - Duration::from_nanos(1)));
        assert!(!health.is_worth_keeping(now + KEPT));
    }
}
