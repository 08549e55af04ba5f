//! The slowest lines.

use std::cmp::Reverse;
use std::collections::BTreeSet;

/// No report keeps more.
pub const MOST_SLOWEST: usize = 1000;
/// So many bytes of a target.
const TARGET_BYTES: usize = 1024;

/// A single line.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Slow {
    /// The slower the less, so that the slowest stand first.
    pub(super) nanos: Reverse<u64>,
    /// Nanoseconds since the epoch at which it was written, if it tells.
    pub at: Option<i64>,
    /// The method, empty where the log has none.
    pub method: Box<[u8]>,
    /// The target as it came; its first 1,024 bytes.
    pub target: Box<[u8]>,
    /// The status.
    pub status: i64,
    /// What it is counted under.
    pub key: Box<[u8]>,
}

impl Slow {
    pub(super) fn new(nanos: u64, at: Option<i64>, (method, target): (&[u8], &[u8])) -> Slow {
        let target = target[..target.len().min(TARGET_BYTES)].into();
        let (status, key) = (0, Box::default());
        Slow { nanos: Reverse(nanos), at, method: method.into(), target, status, key }
    }

    /// The time taken in seconds.
    pub fn time_s(&self) -> f64 {
        self.nanos.0 as f64 / 1e9
    }
}

/// So many of the slowest lines, the slowest first. Lines that are the same in all are one.
#[derive(Debug, Clone)]
pub(super) struct Slowest {
    pub(super) most: usize,
    pub(super) lines: BTreeSet<Slow>,
    /// Only a line that took as long can be one of them.
    pub(super) least: u64,
}

impl Slowest {
    pub(super) fn new(most: usize) -> Slowest {
        let least = if most == 0 { u64::MAX } else { 0 };
        Slowest { most, lines: BTreeSet::new(), least }
    }

    /// Has lines be counted under other keys.
    pub(super) fn rename(&mut self, name: impl Fn(&[u8]) -> Option<Box<[u8]>>) {
        let renamed = std::mem::take(&mut self.lines).into_iter().map(|line| {
            let key = name(&line.key).unwrap_or_else(|| line.key.clone());
            Slow { key, ..line }
        });
        self.lines = renamed.collect();
    }

    /// Whether a line is one of the slowest so far, as far as its status does not decide that.
    pub(super) fn is_one(&self, line: &Slow) -> bool {
        let last = self.lines.last().filter(|_| self.lines.len() >= self.most);
        last.is_none_or(|last| {
            let place = |slow: &Slow| (slow.nanos, slow.at);
            place(line) < place(last)
                || place(line) == place(last)
                    && (&line.method, &line.target) <= (&last.method, &last.target)
        })
    }

    pub(super) fn add(&mut self, line: Slow) {
        self.lines.insert(line);
        if self.lines.len() > self.most {
            self.lines.pop_last();
        }
        if self.lines.len() == self.most {
            self.least = self.lines.last().map_or(u64::MAX, |line| line.nanos.0);
        }
    }

    pub(super) fn merge(&mut self, other: Slowest) {
        other.lines.into_iter().for_each(|line| self.add(line));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_are_kept_in_their_order_whatever_that_of_the_lines() {
        let line = |nanos: u64, target: &str| Slow::new(nanos, None, (b"GET", target.as_bytes()));
        let mut all = [line(3, "/c"), line(9, "/a"), line(5, "/b"), line(5, "/a"), line(1, "/d")];
        for _ in 0..all.len() {
            all.rotate_left(1);
            let mut slowest = Slowest::new(3);
            let mut other = Slowest::new(3);
            all[..2].iter().cloned().for_each(|line| slowest.add(line));
            all[2..].iter().cloned().for_each(|line| other.add(line));
            slowest.merge(other);
            let found: Vec<_> =
                slowest.lines.iter().map(|line| (line.nanos.0, &*line.target)).collect();
            assert_eq!(found, [(9, &b"/a"[..]), (5, b"/a"), (5, b"/b")]);
            assert_eq!(slowest.least, 5);
        }
        assert_eq!(Slowest::new(0).least, u64::MAX);
    }
}
