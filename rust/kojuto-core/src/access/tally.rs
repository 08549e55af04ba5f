//! The figures of an access log: latencies and status classes.

use crate::stats::latencies::Latencies;

/// The figures of a log or of one group of its lines.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// The time taken by each line that has one.
    pub latencies: Latencies,
    /// Lines with a status of 1xx, 2xx, 3xx, 4xx but 499, 499, 5xx, and any other.
    pub classes: [u64; 7],
}

/// The class of each status below 600: a table, since what comes next no processor can guess.
const CLASS: [u8; 600] = {
    let mut table = [6; 600];
    let mut status = 100;
    while status < 600 {
        table[status] = match status {
            499 => 4,
            500.. => 5,
            _ => (status / 100 - 1) as u8,
        };
        status += 1;
    }
    table
};

/// Where a status counts in [`Tally::classes`].
#[inline(always)]
pub(crate) fn class_of(status: i64) -> usize {
    let class = usize::try_from(status).ok().and_then(|status| CLASS.get(status));
    usize::from(class.copied().unwrap_or(6))
}

impl Tally {
    /// How many lines were counted.
    pub fn total(&self) -> u64 {
        self.classes.iter().sum()
    }

    #[inline(always)]
    pub(super) fn count(&mut self, status: i64) {
        self.classes[class_of(status)] += 1;
    }

    pub(super) fn add(&mut self, status: i64, latency: Option<f64>) {
        self.count(status);
        if let Some(latency) = latency {
            self.latencies.add(latency);
        }
    }

    /// Adds the figures of a part, which has none afterwards.
    #[inline]
    pub(super) fn absorb(&mut self, part: &mut Tally) {
        self.latencies.absorb(&mut part.latencies);
        for (count, more) in self.classes.iter_mut().zip(&mut part.classes) {
            *count += std::mem::take(more);
        }
    }

    /// Adds the figures of another part of the same log or of another log.
    pub fn merge(&mut self, other: Tally) {
        self.latencies.merge(other.latencies);
        for (count, more) in self.classes.iter_mut().zip(other.classes) {
            *count += more;
        }
    }
}
