//! Counts by place, each in a byte as long as it is small: hundreds of them are near the processor.

/// Counts of the places `first` to `first + low.len() - 1`.
#[derive(Debug, Clone, Default)]
pub(super) struct Counts {
    first: usize,
    /// The lowest eight bits of each.
    low: Vec<u8>,
    /// What is above them, of each; of none as long as there is nothing.
    high: Vec<u64>,
}

/// So many places are made at once: neighbours are used next.
const ROOM: usize = 32;

impl PartialEq for Counts {
    fn eq(&self, other: &Self) -> bool {
        self.used().eq(other.used())
    }
}

impl Counts {
    /// Adds one to a place, which is there already as a rule; tells how many bytes more are held.
    #[inline(always)]
    pub(super) fn bump(&mut self, place: usize) -> usize {
        match self.low.get_mut(place.wrapping_sub(self.first)) {
            Some(count) if *count < u8::MAX => {
                *count += 1;
                0
            }
            _ => self.add(place, 1),
        }
    }

    /// Adds to a place; the caller sees to it that the total of all fits 64 bits. Tells how many
    /// bytes more are held.
    #[inline(never)]
    pub(super) fn add(&mut self, place: usize, count: u64) -> usize {
        let before = self.allocated_bytes();
        let at = self.at(place);
        // Of what is no sum of 64 bits the low ones are right, and the others too.
        let sum = u64::from(self.low[at]) + (count & 0xff);
        self.low[at] = sum as u8;
        let carried = (count >> 8) + (sum >> 8);
        if carried > 0 {
            self.high.resize(self.low.len(), 0);
            self.high[at] += carried;
        }
        self.allocated_bytes().saturating_sub(before)
    }

    /// Where a place is, which there is from now on.
    fn at(&mut self, place: usize) -> usize {
        let block = place / ROOM * ROOM;
        if self.low.is_empty() {
            self.first = block;
        }
        if place < self.first {
            // At least as much again, so that a falling series does not move everything each time.
            let missing = (self.first - block).max(self.low.len().min(self.first));
            self.low.splice(..0, std::iter::repeat_n(0, missing));
            if !self.high.is_empty() {
                self.high.splice(..0, std::iter::repeat_n(0, missing));
            }
            self.first -= missing;
        }
        let at = place - self.first;
        if at >= self.low.len() {
            let length = (at + 1).next_multiple_of(ROOM);
            self.low.reserve_exact(length - self.low.len());
            self.low.resize(length, 0);
            if !self.high.is_empty() {
                self.high.resize(length, 0);
            }
        }
        at
    }

    /// Adds all of others, as [`Counts::add`] does.
    pub(super) fn merge(&mut self, other: &Counts) -> usize {
        other.used().map(|(place, count)| self.add(place, count)).sum()
    }

    /// Has nothing be in them, in the same memory.
    pub(super) fn clear(&mut self) {
        self.low.fill(0);
        self.high.clear();
    }

    /// The memory that they take up beside themselves.
    pub(super) fn allocated_bytes(&self) -> usize {
        self.low.capacity() + self.high.capacity() * size_of::<u64>()
    }

    /// The memory that they need beside themselves: for all from the first in use to the last.
    pub(super) fn held_bytes(&self) -> usize {
        let mut used = self.used();
        let first = used.next().map(|(place, _)| place);
        let last = used.next_back().map(|(place, _)| place).or(first);
        let each = if self.high.is_empty() { 1 } else { 1 + size_of::<u64>() };
        first.zip(last).map_or(0, |(first, last)| (last - first + 1) * each)
    }

    /// (place, count) of those in use, ascending.
    pub(super) fn used(&self) -> impl DoubleEndedIterator<Item = (usize, u64)> + '_ {
        let count = |at: usize| {
            let high = self.high.get(at).copied().unwrap_or(0);
            (self.first + at, high << 8 | u64::from(self.low[at]))
        };
        (0..self.low.len()).map(count).filter(|(_, count)| *count > 0)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn counts_are_those_of_a_map_whatever_their_order_and_size(
            adds in prop::collection::vec(
                (0usize..300, prop_oneof![Just(1u64), 1u64..600, 1u64 << 40..1 << 41], 1usize..300),
                0..60,
            ),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut parts = [Counts::default(), Counts::default()];
            let mut expected = BTreeMap::new();
            let (mut told, cut) = (0, cut.index(adds.len() + 1));
            for (at, (place, count, times)) in adds.iter().enumerate() {
                let part = &mut parts[usize::from(at >= cut)];
                told += part.add(*place, *count);
                for _ in 0..*times {
                    told += part.bump(*place);
                }
                *expected.entry(*place).or_insert(0) += count + *times as u64;
            }
            let [mut all, other] = parts;
            told += all.merge(&other);
            prop_assert!(told >= all.allocated_bytes() + other.allocated_bytes());
            prop_assert!(all.used().eq(expected.clone()));
            prop_assert!(all.used().rev().eq(expected.into_iter().rev()));
            prop_assert!(all.held_bytes() <= all.allocated_bytes());
            let mut again = all.clone();
            again.clear();
            prop_assert!(again.used().next().is_none());
            again.merge(&all);
            prop_assert_eq!(again, all);
        }
    }
}
