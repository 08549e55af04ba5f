//! What came when: lines by slice of time, each with its statuses and the steps of its times.
//!
//! All slices have one width of 2^k seconds and begin at a multiple of it since the epoch. It is
//! the smallest with which no more than so many are in use, so the slices of parts that are put
//! together are those of the whole, in whatever order that is done.

use super::classes::CLASSES;
use super::counts::Counts;

/// The slices of an endpoint.
pub(super) const MOST_SLICES: usize = 32;

/// There is room for so many at once.
const LEAST_ROOM: usize = 4;

/// What came in one slice.
#[derive(Debug, Clone, PartialEq)]
pub struct Slice {
    /// How many widths after the epoch it begins.
    pub(super) index: u32,
    /// Lines by class of status, in the order of [`CLASSES`].
    pub classes: [u64; CLASSES.len()],
    /// Times by step, one higher than it is told outside.
    pub(super) steps: Counts,
}

impl Slice {
    pub(super) fn new(index: u32) -> Slice {
        Slice { index, classes: [0; CLASSES.len()], steps: Counts::default() }
    }

    /// How many lines there are.
    pub fn lines(&self) -> u64 {
        self.classes.iter().sum()
    }

    /// (step, count): step i is of times from 1.25^i microseconds on, -1 of those below one.
    pub fn steps(&self) -> impl Iterator<Item = (i32, u64)> + '_ {
        self.steps.used().map(|(step, count)| (step as i32 - 1, count))
    }

    /// Adds those of another; tells how many bytes more are held.
    fn merge(&mut self, other: &Slice) -> usize {
        for (count, more) in self.classes.iter_mut().zip(other.classes) {
            *count += more;
        }
        self.steps.merge(&other.steps)
    }
}

/// The slices that anything came in.
#[derive(Debug, Clone)]
pub struct Slices {
    pub(super) most: usize,
    /// The width is 2^shift seconds.
    pub(super) shift: u32,
    /// Ascending.
    pub(super) list: Vec<Slice>,
    /// Where the last line went.
    recent: usize,
    /// Steps of slices that were put together with others, all zero: the next slices take them, and
    /// no memory is asked for.
    spare: Vec<Counts>,
}

impl PartialEq for Slices {
    fn eq(&self, other: &Self) -> bool {
        (self.shift, &self.list) == (other.shift, &other.list)
    }
}

impl Slices {
    /// None yet, and never more than `most`.
    pub(super) fn new(most: usize) -> Slices {
        Slices { most, shift: 0, list: Vec::new(), recent: 0, spare: Vec::new() }
    }

    /// The width in seconds.
    pub fn width_s(&self) -> u64 {
        1 << self.shift
    }

    /// (beginning in seconds since the epoch, slice), ascending.
    pub fn each(&self) -> impl Iterator<Item = (u64, &Slice)> + '_ {
        self.list.iter().map(|slice| (u64::from(slice.index) << self.shift, slice))
    }

    /// Counts a line of some second, with the step of its time if it has one. Tells how many bytes
    /// more are held; those that become free are not taken off.
    #[inline]
    pub(super) fn add(&mut self, second: u32, class: usize, step: Option<u8>) -> usize {
        let index = second >> self.shift;
        let mut more = 0;
        if self.list.get(self.recent).is_none_or(|slice| slice.index != index) {
            more += self.turn_to(index);
        }
        if let Some(slice) = self.list.get_mut(self.recent) {
            slice.classes[class] += 1;
            if let Some(step) = step {
                more += slice.steps.bump(usize::from(step));
            }
        }
        if self.list.len() > self.most {
            more += self.fit();
        }
        more
    }

    /// The memory that they take up beside themselves.
    pub(super) fn allocated_bytes(&self) -> usize {
        let steps = self.list.iter().map(|slice| &slice.steps).chain(&self.spare);
        self.list.capacity() * size_of::<Slice>()
            + self.spare.capacity() * size_of::<Counts>()
            + steps.map(Counts::allocated_bytes).sum::<usize>()
    }

    /// Has `recent` be the slice of that index; tells how many bytes more are held.
    #[inline(never)]
    fn turn_to(&mut self, index: u32) -> usize {
        let before = self.list.capacity();
        // As a rule it is the next one.
        let place = match self.list.last() {
            Some(last) if last.index >= index => {
                self.list.binary_search_by_key(&index, |slice| slice.index)
            }
            _ => Err(self.list.len()),
        };
        self.recent = place.unwrap_or_else(|at| {
            if self.list.len() == before {
                // One more than there may be, and no memory for twice as many.
                let room = (before * 2).clamp(LEAST_ROOM, LEAST_ROOM.max(self.most + 1));
                self.list.reserve_exact(room.saturating_sub(before));
            }
            let steps = self.spare.pop().unwrap_or_default();
            self.list.insert(at, Slice { steps, ..Slice::new(index) });
            at
        });
        (self.list.capacity() - before) * size_of::<Slice>()
    }

    /// Doubles the width until there are few enough.
    fn fit(&mut self) -> usize {
        let mut more = 0;
        while self.list.len() > self.most {
            more += self.widen();
        }
        more
    }

    fn widen(&mut self) -> usize {
        let before = self.spare.capacity();
        let mut more = 0;
        self.shift += 1;
        self.recent = 0;
        for slice in &mut self.list {
            slice.index >>= 1;
        }
        let spare = &mut self.spare;
        self.list.dedup_by(|second, first| {
            let same = first.index == second.index;
            if same {
                more += first.merge(second);
                second.steps.clear();
                spare.push(std::mem::take(&mut second.steps));
            }
            same
        });
        more + (self.spare.capacity() - before) * size_of::<Counts>()
    }

    /// Adds those of another part.
    pub(super) fn merge(&mut self, other: &Slices) {
        while self.shift < other.shift {
            self.widen();
        }
        for slice in &other.list {
            self.turn_to(slice.index >> (self.shift - other.shift));
            if let Some(mine) = self.list.get_mut(self.recent) {
                mine.merge(slice);
            }
            // Of a wider one the rest is given its place by its own index.
            if self.list.len() > self.most {
                self.fit();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(lines: &[(u32, usize, u8)], most: usize) -> Slices {
        let mut slices = Slices::new(most);
        for &(second, class, step) in lines {
            slices.add(second, class, (step > 0).then_some(step));
        }
        slices
    }

    #[test]
    fn the_width_doubles_when_there_are_more_than_so_many() {
        let lines: Vec<_> = (0..5).map(|n| (1000 + n * 10, 1, 7)).collect();
        assert_eq!((of(&lines, 5).width_s(), of(&lines, 4).width_s()), (1, 16));
        let slices = of(&lines, 4);
        let found: Vec<_> = slices.each().map(|(at, slice)| (at, slice.lines())).collect();
        assert_eq!(found, [(992, 1), (1008, 2), (1024, 1), (1040, 1)]);
        assert_eq!(slices.list[1].steps().collect::<Vec<_>>(), [(6, 2)]);
    }

    proptest! {
        #[test]
        fn neither_order_nor_parts_matter(
            lines in prop::collection::vec((0u32..100_000, 0usize..7, 0u8..9), 0..200),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..4), most in 1usize..9,
        ) {
            let whole = of(&lines, most);
            prop_assert!(whole.list.len() <= most);
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(lines.len() + 1)).collect();
            cuts.extend([0, lines.len()]);
            cuts.sort_unstable();
            let mut merged = Slices::new(most);
            for cut in cuts.windows(2).rev() {
                let mut part = of(&lines[cut[0]..cut[1]], most);
                part.merge(&merged);
                merged = part;
            }
            prop_assert_eq!(merged, whole);
        }
    }
}
