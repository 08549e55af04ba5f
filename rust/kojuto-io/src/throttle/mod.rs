//! A budget as one member sees it: the token bucket, and the share that changes with the others.

use std::path::Path;
use std::time::{Duration, Instant};

use kojuto_core::budget::share::share;
use kojuto_core::budget::token_bucket::{Grant, TokenBucket};

mod others;
mod probe;
pub mod pump;
pub mod rate;
pub mod share;

use self::share::{Count, Member};
use crate::Result;

/// How often a member counts the others (the protocol's second).
pub const REFRESH: Duration = Duration::from_secs(1);

/// What a member wants of the budget.
#[derive(Debug, Clone, Copy)]
pub struct Wish {
    /// Bytes a second of all members together.
    pub budget: u64,
    /// How many shares this member takes.
    pub weight: u32,
    /// Bytes a second below which this member does not go, however many the others are.
    pub min_share: u64,
    /// Bytes that may be saved while nothing passes (at least 40 ms of the share are).
    pub burst: u64,
}

/// See the module's description.
#[derive(Debug)]
pub struct Throttle {
    wish: Wish,
    /// Bytes a second of all members together, which may be set while they run.
    budget: u64,
    member: Option<Member>,
    bucket: TokenBucket,
    start: Instant,
    next_count: Instant,
    count: Count,
    complained: bool,
    floored: bool,
}

impl Throttle {
    /// Joins the budget in `directory`; without a directory the whole budget is its own.
    ///
    /// # Errors
    /// [`crate::Error::Io`] naming the directory that is missing, read-only or full.
    pub fn join(directory: Option<&Path>, wish: Wish) -> Result<(Throttle, Vec<String>)> {
        let mut member =
            directory.map(|path| Member::join(path, wish.budget, wish.weight)).transpose()?;
        let alone = Count { locks: wish.weight.max(1), lent: 0, members: 1 };
        let count = member.as_mut().map_or(Ok(alone), Member::count)?;
        let start = Instant::now();
        let mut this = Throttle {
            wish,
            budget: wish.budget,
            member,
            bucket: TokenBucket::new(1, wish.burst, Duration::ZERO),
            start,
            next_count: start + REFRESH,
            count,
            complained: false,
            floored: false,
        };
        let other = this.member.as_ref().and_then(Member::other_budget).map(|other| {
            format!(
                "members of another budget, {other} bytes/s, work in the directory too: it is not \
                 shared with this one of {}",
                wish.budget
            )
        });
        let warning = this.adopt(start, count);
        Ok((this, other.into_iter().chain(warning).collect()))
    }

    /// Bytes a second that this member may pass.
    pub fn share(&self) -> u64 {
        self.bucket.rate()
    }

    /// Live members, this one included.
    pub fn members(&self) -> u32 {
        self.count.members
    }

    /// How many of `want` bytes may pass now; see [`TokenBucket::allow`].
    pub fn allow(&mut self, now: Instant, want: u64) -> Grant {
        self.bucket.allow(now - self.start, want)
    }

    /// No time since the last question went by waiting for the producer or the reader: see
    /// [`TokenBucket::make_up`].
    pub fn make_up(&mut self, now: Instant) {
        self.bucket.make_up(now - self.start);
    }

    /// Takes bytes that had passed at `now`; see [`TokenBucket::take`].
    pub fn take(&mut self, now: Instant, bytes: u64) {
        self.bucket.take(now - self.start, bytes);
    }

    /// Nothing has come for the length of a count, or nobody took it: the others may have the share.
    pub fn lend(&mut self) {
        if let Some(member) = &mut self.member {
            member.lend(true);
        }
    }

    /// Something passes again. The others see that when they count next.
    pub fn reclaim(&mut self, now: Instant) -> Option<String> {
        let member = self.member.as_mut().filter(|member| member.lends())?;
        member.lend(false);
        let count = member.count().ok()?;
        self.adopt(now, count)
    }

    /// Gives back bytes that were taken and then did not pass.
    pub fn give_back(&mut self, bytes: u64) {
        self.bucket.give_back(bytes);
    }

    /// When the others are to be counted next; None for a budget that nobody shares.
    pub fn next_count(&self) -> Option<Instant> {
        self.member.as_ref().map(|_| self.next_count)
    }

    /// Counts the others if it is time to; returns what the user should be told, once each.
    pub fn refresh(&mut self, now: Instant) -> Option<String> {
        let member = self.member.as_mut()?;
        if now < self.next_count {
            return None;
        }
        // Steady seconds; a process that was stopped for long does not count in a row.
        self.next_count = (self.next_count + REFRESH).max(now + REFRESH / 2);
        match member.count() {
            Ok(count) => {
                let back = std::mem::take(&mut self.complained)
                    .then(|| "the work directory is back, shares are counted again".to_owned());
                self.adopt(now, count).or(back)
            }
            Err(error) => {
                let first = !std::mem::replace(&mut self.complained, true);
                let share = self.bucket.rate();
                first.then(|| format!("{error}; going on with the last share, {share} bytes/s"))
            }
        }
    }

    fn adopt(&mut self, now: Instant, count: Count) -> Option<String> {
        self.count = count;
        let weight = self.member.as_ref().map_or(1, Member::weight);
        let total = if self.member.is_some() { count.locks - count.lent } else { 1 };
        let wish = self.wish;
        let budget = self.member.as_ref().map_or(wish.budget, Member::budget);
        let changed = std::mem::replace(&mut self.budget, budget) != budget;
        let rate = share(budget, weight, total, wish.min_share);
        if rate != self.bucket.rate() {
            self.bucket.set_rate(now - self.start, rate);
        }
        let floored = share(budget, weight, total, 0) < rate;
        let news = floored && !std::mem::replace(&mut self.floored, floored);
        self.floored = floored;
        if changed {
            return Some(format!("all members together have {budget} bytes/s now"));
        }
        news.then(|| {
            format!(
                "--min-share {} is above the fair share among {} members: together they pass \
                 more than {} bytes/s",
                wish.min_share, count.members, budget
            )
        })
    }
}
