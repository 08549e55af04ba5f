//! A token bucket: how many bytes may pass at `now`.
//!
//! It starts empty, so a pipe begins at its rate and not with a burst, and what it saves while
//! the producer is idle is bounded: in any stretch of `t` seconds at most `rate * t + burst` bytes
//! pass. Time is an argument, counted from any fixed point.
//!
//! A process that wakes up late, since the machine is busy or its CPU quota is used up, is not an
//! idle producer: see [`TokenBucket::make_up`]. What it missed so is owed to it, a second of the
//! rate at most, and passes as soon as it runs again, a tenth of a second at once and the rest
//! bit by bit, so that no second has more than [`MOST_PER_MILLE`] of the rate.

use std::collections::VecDeque;
use std::time::Duration;

const NANOS: u128 = 1_000_000_000;

/// Nanoseconds of work that are handed out at once: shorter would wake the process more often
/// than smoothness needs.
const QUANTUM_NS: u128 = 10_000_000;

/// Nanoseconds of the rate that are saved by default, enough to make up for a late wake-up and
/// within the 5 % by which one second may differ.
const BURST_NS: u128 = 40_000_000;

/// Nanoseconds of the rate that may be owed.
const OWED_NS: u128 = 1_000_000_000;

/// Nanoseconds of the rate that pass at once of what is owed, and the part of the time after that.
const AT_ONCE_NS: u128 = 100_000_000;
const PACE_PERCENT: u128 = 4;

const SECOND: Duration = Duration::from_secs(1);

/// No second has more of the rate than this while something is made up.
pub const MOST_PER_MILLE: u128 = 1049;

/// What passes within so short a time is remembered as one.
const TOGETHER: Duration = Duration::from_micros(100);

/// The answer to "may these bytes pass now?".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grant {
    /// So many bytes may pass now (at least 1).
    Bytes(u64),
    /// Nothing yet; ask again after this long.
    Wait(Duration),
}

/// See the module's description.
#[derive(Debug, Clone)]
pub struct TokenBucket {
    rate: u64,
    extra_burst: u64,
    /// Billionths of a byte.
    credit: u128,
    at: Duration,
    /// What was missed by waking up late, and how much of it may pass now.
    owed: u128,
    ready: u128,
    /// Until then no second has more than its most: one longer than anything was owed.
    bounded_until: Duration,
    passed: Passed,
}

/// How much passed in the last second, and when: to the instant, for who passes something once in
/// so and so many milliseconds must not have to wait a little longer each second.
#[derive(Debug, Clone, Default)]
struct Passed {
    recent: VecDeque<Together>,
    sum: u64,
}

#[derive(Debug, Clone)]
struct Together {
    first: Duration,
    last: Duration,
    bytes: u64,
}

impl Passed {
    fn advance(&mut self, now: Duration) {
        while let Some(oldest) = self.recent.front()
            && oldest.last + SECOND <= now
        {
            self.sum = self.sum.saturating_sub(oldest.bytes);
            self.recent.pop_front();
        }
    }

    fn add(&mut self, now: Duration, bytes: u64) {
        self.sum = self.sum.saturating_add(bytes);
        match self.recent.back_mut() {
            Some(newest) if now < newest.first + TOGETHER => {
                newest.last = newest.last.max(now);
                newest.bytes = newest.bytes.saturating_add(bytes);
            }
            _ => self.recent.push_back(Together { first: now, last: now, bytes }),
        }
    }

    /// When no more than `most` bytes are left of those that count now.
    fn falls_to(&self, most: u64) -> Duration {
        let mut sum = self.sum;
        for each in &self.recent {
            sum = sum.saturating_sub(each.bytes);
            if sum <= most {
                return each.last + SECOND;
            }
        }
        Duration::ZERO
    }
}

impl TokenBucket {
    /// An empty bucket.
    ///
    /// `rate` is in bytes a second (0 counts as 1); `burst` is how many bytes may be saved while
    /// nothing passes, never less than 40 ms of the rate.
    pub fn new(rate: u64, burst: u64, now: Duration) -> Self {
        TokenBucket {
            rate: rate.max(1),
            extra_burst: burst,
            credit: 0,
            at: now,
            owed: 0,
            ready: 0,
            bounded_until: Duration::ZERO,
            passed: Passed::default(),
        }
    }

    /// The rate in bytes a second.
    pub fn rate(&self) -> u64 {
        self.rate
    }

    /// Changes the rate from `now` on; what was saved stays, up to the new limit.
    pub fn set_rate(&mut self, now: Duration, rate: u64) {
        self.refill(now);
        self.rate = rate.max(1);
    }

    /// How many of `want` bytes may pass at `now`. Nothing is taken yet: see [`Self::take`].
    ///
    /// To keep wake-ups few, the answer is [`Grant::Wait`] until `want` bytes or 10 ms of the rate
    /// have gathered, whichever is less.
    pub fn allow(&mut self, now: Duration, want: u64) -> Grant {
        self.refill(now);
        let want = u128::from(want.max(1)) * NANOS;
        let needed = want.min(self.quantum());
        let mut most = self.credit.saturating_add(self.ready.min(self.owed));
        if self.at < self.bounded_until {
            most = most.min(self.room());
            if most < needed && self.credit >= needed {
                let below = self.most_a_second().saturating_sub(needed) / NANOS;
                let room_at = self.passed.falls_to(below as u64);
                return Grant::Wait(room_at.saturating_sub(now).max(Duration::from_nanos(1)));
            }
        }
        if most >= needed {
            return Grant::Bytes((most.min(want) / NANOS) as u64);
        }
        let missing = (needed - self.credit).div_ceil(u128::from(self.rate));
        Grant::Wait(Duration::from_nanos(missing.min(u128::from(u64::MAX)) as u64))
    }

    /// Takes `bytes` that had passed at `now`, which is not when they were granted: the process may
    /// have been stopped in between. More than was granted leaves the bucket empty.
    pub fn take(&mut self, now: Duration, bytes: u64) {
        let taken = u128::from(bytes) * NANOS;
        let late = taken.saturating_sub(self.credit);
        self.credit = self.credit.saturating_sub(taken);
        self.owed = self.owed.saturating_sub(late);
        self.ready = self.ready.saturating_sub(late).min(self.owed);
        self.passed.advance(now);
        self.passed.add(now, bytes);
    }

    /// As much time as has gone by since it was asked last went by because the process slept too
    /// long, or could not run: what was earned over the limit is owed.
    pub fn make_up(&mut self, now: Duration) {
        let earned = now.saturating_sub(self.at).as_nanos().saturating_mul(u128::from(self.rate));
        let over = self.credit.saturating_add(earned).saturating_sub(self.limit());
        if over > 0 {
            let rate = u128::from(self.rate);
            self.owed = self.owed.saturating_add(over).min(rate * OWED_NS);
            self.ready = self.ready.saturating_add(over).min(rate * AT_ONCE_NS);
            self.bounded_until = now.saturating_add(SECOND);
        }
        self.refill(now);
    }

    /// Billionths of a byte that a second may have.
    fn most_a_second(&self) -> u128 {
        (u128::from(self.rate) * MOST_PER_MILLE / 1000).max(1) * NANOS
    }

    /// How much may pass before this second has all that it may have.
    fn room(&self) -> u128 {
        self.most_a_second().saturating_sub(u128::from(self.passed.sum) * NANOS)
    }

    /// Gives back bytes that were taken and then did not pass, up to what may be saved.
    pub fn give_back(&mut self, bytes: u64) {
        self.credit = self.credit.saturating_add(u128::from(bytes) * NANOS);
    }

    /// Adds what was earned; whatever the bucket holds, what is over the limit is lost here.
    fn refill(&mut self, now: Duration) {
        // A clock that stands still or goes back earns nothing.
        let elapsed = now.saturating_sub(self.at).as_nanos();
        self.at = self.at.max(now);
        let earned = elapsed.saturating_mul(u128::from(self.rate));
        self.credit = self.credit.saturating_add(earned).min(self.limit());
        self.ready = self.ready.saturating_add(earned / 100 * PACE_PERCENT);
        let most = self.owed.min(u128::from(self.rate) * AT_ONCE_NS);
        self.ready = self.ready.min(most);
        if self.owed > 0 {
            self.bounded_until = self.at.saturating_add(SECOND);
        }
        self.passed.advance(now);
    }

    /// Ten milliseconds of the rate, at least one byte; whole bytes, so that waiting for it ends.
    fn quantum(&self) -> u128 {
        (u128::from(self.rate) * QUANTUM_NS / NANOS).max(1) * NANOS
    }

    fn limit(&self) -> u128 {
        let default = u128::from(self.rate) * BURST_NS;
        default.max(u128::from(self.extra_burst) * NANOS).max(self.quantum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const S: Duration = Duration::from_secs(1);

    fn spend(bucket: &mut TokenBucket, now: Duration, want: u64) -> u64 {
        match bucket.allow(now, want) {
            Grant::Bytes(bytes) => {
                bucket.take(now, bytes);
                bytes
            }
            Grant::Wait(_) => 0,
        }
    }

    #[test]
    fn it_starts_empty_and_saves_40_ms_at_most() {
        let mut bucket = TokenBucket::new(100_000, 0, S);
        assert_eq!(bucket.allow(S, 1 << 20), Grant::Wait(Duration::from_millis(10)));
        assert_eq!(spend(&mut bucket, S * 100, u64::MAX), 4_000);
        let mut bucket = TokenBucket::new(100_000, 9_000, S);
        assert_eq!(spend(&mut bucket, S * 100, u64::MAX), 9_000);
    }

    #[test]
    fn what_is_given_back_is_saved_up_to_the_limit() {
        let mut bucket = TokenBucket::new(100_000, 0, S);
        assert_eq!(spend(&mut bucket, S * 100, 3_000), 3_000);
        bucket.give_back(2_000);
        assert_eq!(spend(&mut bucket, S * 100, u64::MAX), 3_000);
        bucket.give_back(4_001);
        assert_eq!(spend(&mut bucket, S * 100, u64::MAX), 4_000);
    }

    #[test]
    fn a_clock_that_goes_back_earns_nothing_and_takes_nothing() {
        let mut bucket = TokenBucket::new(1_000, 0, S * 10);
        assert_eq!(spend(&mut bucket, S * 5, 100), 0);
        assert_eq!(spend(&mut bucket, S * 10, 100), 0);
        assert_eq!(spend(&mut bucket, S * 10 + Duration::from_millis(20), 100), 20);
    }

    #[test]
    fn a_wait_is_as_long_as_it_must_be() {
        for rate in [1, 3, 7, 999, 1_000, 33_333, 1 << 20, 2_000_000_000, u64::MAX / 2] {
            for want in [1, 2, 100, 65_536] {
                let mut bucket = TokenBucket::new(rate, 0, S);
                let Grant::Wait(wait) = bucket.allow(S, want) else { panic!("burst at the start") };
                assert!(matches!(bucket.allow(S + wait, want), Grant::Bytes(n) if n <= want));
            }
        }
    }

    #[test]
    fn a_new_rate_counts_from_its_moment() {
        let mut bucket = TokenBucket::new(1_000_000, 0, Duration::ZERO);
        bucket.set_rate(S, 1_000);
        assert_eq!(spend(&mut bucket, S, u64::MAX), 40);
        bucket.set_rate(S, 1_000_000);
        assert_eq!(spend(&mut bucket, S + Duration::from_millis(20), u64::MAX), 20_000);
    }

    /// What passed, and when.
    type Events = Vec<(Duration, u64)>;

    fn between(events: &Events, since: Duration, until: Duration) -> u64 {
        let inside = |&&(at, _): &&(Duration, u64)| since <= at && at < until;
        events.iter().filter(inside).map(|(_, bytes)| bytes).sum()
    }

    /// The most that passed in any second, wherever it begins.
    fn most_in_a_second(events: &Events) -> u64 {
        let (mut first, mut sum, mut most) = (0, 0, 0);
        for &(at, bytes) in events {
            sum += bytes;
            while events[first].0 + S <= at {
                sum -= events[first].1;
                first += 1;
            }
            most = most.max(sum);
        }
        most
    }

    /// Twelve seconds of a process that runs for `runs_us` of each `period_us`.
    fn under_quota(rate: u64, period_us: u64, runs_us: u64) -> Events {
        let mut bucket = TokenBucket::new(rate, 0, Duration::ZERO);
        let (mut now, end, mut events) = (Duration::ZERO, Duration::from_secs(12), Vec::new());
        while now < end {
            let in_period = now.as_micros() as u64 % period_us;
            if in_period >= runs_us {
                now = Duration::from_micros(now.as_micros() as u64 - in_period + period_us);
                continue;
            }
            bucket.make_up(now);
            match bucket.allow(now, 1 << 20) {
                Grant::Bytes(bytes) => {
                    bucket.take(now, bytes);
                    events.push((now, bytes));
                    now += Duration::from_micros(100);
                }
                Grant::Wait(wait) => now += wait.max(Duration::from_micros(100)),
            }
        }
        events
    }

    #[test]
    fn what_a_quota_of_the_processor_takes_is_made_up() {
        let rate = 3_000_000;
        let periods = [(100, 20), (100, 5), (60, 10), (150, 30)].map(|(p, r)| (p * 1000, r * 1000));
        // The last two: what falls into eleven, and into just less than ten, periods of a second.
        for (period_us, runs_us) in periods.into_iter().chain([(99_950, 20_000), (100_050, 20_000)])
        {
            let events = under_quota(rate, period_us, runs_us);
            let ten_seconds = between(&events, S, S * 11);
            let off = (ten_seconds as f64 / (rate * 10) as f64 - 1.0).abs();
            assert!(off < 0.01, "{period_us} {runs_us}: {ten_seconds}");
            let most = most_in_a_second(&events);
            assert!(most as f64 <= rate as f64 * 1.05, "{period_us} {runs_us}: {most}");
        }
    }

    /// A process that does not run from `stopped_at` for two seconds; whatever it does takes
    /// `step` before it has passed.
    fn stopped(rate: u64, stopped_at: Duration, step: Duration) -> Events {
        let run_on = |at: Duration| {
            let stands = stopped_at <= at && at < stopped_at + S * 2;
            if stands { stopped_at + S * 2 } else { at }
        };
        let mut bucket = TokenBucket::new(rate, 0, Duration::ZERO);
        let (mut now, mut events) = (Duration::ZERO, Vec::new());
        while now < S * 40 {
            bucket.make_up(now);
            match bucket.allow(now, 1 << 20) {
                Grant::Bytes(bytes) => {
                    now = run_on(now + step);
                    events.push((now, bytes));
                    bucket.take(now, bytes);
                }
                Grant::Wait(wait) => now = run_on(now + wait),
            }
        }
        events
    }

    #[test]
    fn a_stop_gives_no_second_more_than_its_most_wherever_it_begins() {
        let rate = 5_000_000;
        for micros in (0..20_000).step_by(700) {
            for step in [Duration::ZERO, Duration::from_micros(150)] {
                let stopped_at = S * 2 + Duration::from_micros(micros);
                let events = stopped(rate, stopped_at, step);
                let most = most_in_a_second(&events);
                assert!(most <= rate * 105 / 100, "{micros} {step:?}: {most}");
                // A second of the two is made up, and that is not for ever.
                let passed = between(&events, Duration::ZERO, S * 39) as f64;
                let short = (38.0 * rate as f64 - passed).abs();
                assert!(short < 0.05 * rate as f64, "{micros} {step:?}: {passed}");
            }
        }
    }

    #[test]
    fn bytes_that_were_granted_before_a_stop_count_when_they_pass() {
        let rate = 1_000_000;
        let mut bucket = TokenBucket::new(rate, 0, Duration::ZERO);
        let Grant::Bytes(granted) = bucket.allow(S, u64::MAX) else { panic!("nothing was saved") };
        let mut now = S * 4;
        let mut events = vec![(now, granted)];
        bucket.take(now, granted);
        while now < S * 7 {
            bucket.make_up(now);
            match bucket.allow(now, 1 << 20) {
                Grant::Bytes(bytes) => {
                    bucket.take(now, bytes);
                    events.push((now, bytes));
                }
                Grant::Wait(wait) => now += wait,
            }
        }
        let most = most_in_a_second(&events);
        assert!(most <= rate * 105 / 100, "{most}");
    }

    proptest! {
        #[test]
        fn no_stretch_of_time_passes_more_than_rate_and_burst(
            rate in 1u64..3_000_000_000,
            burst in 0u64..1_000_000,
            steps in proptest::collection::vec((0u64..300_000_000, 1u64..3_000_000), 1..200),
        ) {
            let mut bucket = TokenBucket::new(rate, burst, Duration::ZERO);
            let limit = burst.max(rate / 25).max(rate / 100).max(1) as f64 + 1.0;
            let mut now = Duration::ZERO;
            let mut passed = vec![(now, 0u64)];
            let mut total = 0;
            for (nanos, want) in steps {
                now += Duration::from_nanos(nanos);
                total += spend(&mut bucket, now, want);
                passed.push((now, total));
            }
            for (i, (from, before)) in passed.iter().enumerate() {
                for (to, after) in &passed[i..] {
                    let allowed = limit + rate as f64 * (*to - *from).as_secs_f64();
                    prop_assert!((after - before) as f64 <= allowed * 1.000_001);
                }
            }
        }

        #[test]
        fn who_waits_as_told_gets_the_whole_rate(rate in 1u64..3_000_000_000, late in 0u64..25) {
            let mut bucket = TokenBucket::new(rate, 0, Duration::ZERO);
            let (mut now, mut total) = (Duration::ZERO, 0u64);
            let end = Duration::from_secs(20);
            while now < end {
                match bucket.allow(now, u64::MAX) {
                    Grant::Bytes(bytes) => {
                        bucket.take(now, bytes);
                        total += bytes;
                    }
                    Grant::Wait(wait) => now += wait + Duration::from_millis(late),
                }
            }
            let expected = rate as f64 * now.as_secs_f64();
            let short = expected - total as f64;
            prop_assert!(short <= rate as f64 * 0.05 + 2.0, "{short} of {expected}");
            prop_assert!(short >= -1.0);
        }
    }
}
