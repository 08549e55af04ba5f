//! The largest groups of a stream in bounded memory: Space-Saving (Metwally, Agrawal and El Abbadi,
//! "Efficient computation of frequent and top-k elements in data streams", 2005).
//!
//! So many groups are kept. A value that has none takes the place of the smallest one and begins
//! with that one's count, so that what is frequent stays, however late it came: with `m` groups
//! every value that makes up more than one in `m` of the stream is among them. That count serves to
//! choose alone: what a group has counted since it was taken in is its own, and what it had when it
//! lost its place is handed back, so that nothing is counted twice or lost.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::mem::offset_of;

use crate::scan::simd;
use crate::stats::name_index::NameIndex;

/// The most groups that can be kept.
pub const MAX_CAPACITY: usize = 1 << SLOT_BITS;

/// The groups by value, each with its figures.
#[derive(Debug, Clone)]
pub struct SpaceSaving<T> {
    capacity: usize,
    slots: Vec<Slot<T>>,
    by_name: NameIndex,
    /// The ranks of all slots, the smallest first. One here may be an old one: it is looked at
    /// again when it comes to the top.
    smallest: BinaryHeap<Reverse<Rank>>,
    /// What those that were merged could have lost, and the most that one has lost since.
    lost: (u64, u64),
    /// The memory of all names.
    names_bytes: usize,
}

/// Where a group is, as long as it has its place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    at: u32,
    takes: u32,
}

impl Place {
    /// Not zero.
    pub(crate) fn to_bits(self) -> u64 {
        u64::from(self.takes) << 32 | (u64::from(self.at) + 1)
    }

    /// Of what [`Place::to_bits`] gave; `None` for zero.
    #[inline]
    pub(crate) fn from_bits(bits: u64) -> Option<Place> {
        let at = (bits as u32).checked_sub(1)?;
        Some(Place { at, takes: (bits >> 32) as u32 })
    }
}

/// The count of a slot, how much of that is not its own, and its place: of two with one count the
/// one with less of its own goes first. One number, which a processor compares without a guess.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rank(u128);

const SLOT_BITS: u32 = 24;
const COUNT_BITS: u32 = 52;
/// Whoever counted this many lines a nanosecond apart began 52 days ago.
const MAX_COUNT: u64 = (1 << COUNT_BITS) - 1;

impl Rank {
    fn new(count: u64, inherited: u64, at: usize) -> Rank {
        let own = MAX_COUNT - inherited.min(MAX_COUNT);
        let count = u128::from(count.min(MAX_COUNT)) << COUNT_BITS | u128::from(own);
        Rank(count << SLOT_BITS | at as u128)
    }

    fn count(self) -> u64 {
        (self.0 >> (COUNT_BITS + SLOT_BITS)) as u64
    }

    fn at(self) -> usize {
        self.0 as usize & (MAX_CAPACITY - 1)
    }
}

/// What a value that comes again needs stands together, the figures right behind it.
#[derive(Debug, Clone)]
#[repr(C)]
struct Slot<T> {
    name: Vec<u8>,
    hash: u32,
    /// How much of its count it began with.
    inherited: u64,
    /// At least how often the value has come, those before its place was free included.
    count: u64,
    /// How often a value has taken the place of another here.
    takes: u32,
    figures: T,
}

impl<T> Slot<T> {
    fn rank(&self, at: usize) -> Rank {
        Rank::new(self.count, self.inherited, at)
    }
}

impl<T> SpaceSaving<T> {
    /// No groups yet; `capacity` are kept, at least one and at most [`MAX_CAPACITY`].
    pub fn new(capacity: usize) -> SpaceSaving<T> {
        SpaceSaving {
            capacity: capacity.clamp(1, MAX_CAPACITY),
            slots: Vec::new(),
            by_name: NameIndex::new(),
            smallest: BinaryHeap::new(),
            lost: (0, 0),
            names_bytes: 0,
        }
    }

    /// The memory that the groups take up beside what their figures hold.
    pub(crate) fn allocated_bytes(&self) -> usize {
        self.slots.capacity() * size_of::<Slot<T>>() + self.names_bytes
    }

    /// The figures of each group.
    pub(crate) fn figures(&mut self) -> impl Iterator<Item = &mut T> {
        self.slots.iter_mut().map(|slot| &mut slot.figures)
    }

    /// Keeps the largest groups, as many as there is room for, and no more from now on. What a group
    /// takes up is told by `bytes`; what the others had is handed to `evicted`. No place is where it
    /// was.
    pub(crate) fn narrow(
        &mut self,
        mut room_bytes: usize,
        bytes: impl Fn(&T) -> usize,
        mut evicted: impl FnMut(&mut T),
    ) {
        let mut order: Vec<Rank> = (0..).zip(&self.slots).map(|(at, slot)| slot.rank(at)).collect();
        order.sort_unstable_by_key(|rank| Reverse(*rank));
        let has_room = |rank: &&Rank| {
            let Slot { name, figures, .. } = &self.slots[rank.at()];
            let needed = size_of::<Slot<T>>() + name.capacity() + bytes(figures);
            room_bytes.checked_sub(needed).map(|rest| room_bytes = rest).is_some()
        };
        self.capacity = order.iter().take_while(has_room).count().max(1);
        let Some(least) = order.get(self.capacity - 1) else { return };
        let mut at = 0;
        self.slots.retain_mut(|slot| {
            let stays = slot.rank(at) >= *least;
            if !stays {
                self.lost.1 = self.lost.1.max(slot.count);
                evicted(&mut slot.figures);
            }
            at += 1;
            stays
        });
        self.slots.shrink_to_fit();
        self.by_name = NameIndex::new();
        self.smallest.clear();
        self.names_bytes = 0;
        for (at, slot) in self.slots.iter_mut().enumerate() {
            slot.hash = self.by_name.hash(&slot.name);
            self.by_name.insert(slot.hash, at);
            self.smallest.push(Reverse(slot.rank(at)));
            self.names_bytes += slot.name.capacity();
        }
    }

    /// Has at least `capacity` groups be kept from now on, at most [`MAX_CAPACITY`].
    pub(crate) fn widen(&mut self, capacity: usize) {
        self.capacity = self.capacity.max(capacity.min(MAX_CAPACITY));
    }

    /// How much of its count any group can have lost, and any value that has none: 0 as long as none
    /// has lost its place.
    pub fn off_by(&self) -> u64 {
        self.lost.0.saturating_add(self.lost.1)
    }

    /// As many may be lost of each as is said, beside what this one loses.
    pub(crate) fn set_lost(&mut self, lost: u64) {
        self.lost.0 = lost;
    }

    /// The value and the figures of each group.
    pub(crate) fn groups(&self) -> impl Iterator<Item = (&[u8], &T)> {
        self.slots.iter().map(|slot| (&*slot.name, &slot.figures))
    }

    /// The figures of the group that was found in a place before, whose value came so many times more;
    /// `None` when another has taken its place.
    #[inline]
    pub(crate) fn again(&mut self, place: Place, times: u64) -> Option<&mut T> {
        let slot = self.slots.get_mut(place.at as usize)?;
        if slot.takes != place.takes {
            return None;
        }
        slot.count += times;
        Some(&mut slot.figures)
    }

    /// The figures that are in a place, whose ever they are.
    #[inline]
    pub(crate) fn look(&self, place: Place) -> Option<&T> {
        self.slots.get(place.at as usize).map(|slot| &slot.figures)
    }

    /// Has what is in a place be brought near, of the figures the first 48 bytes.
    #[inline(always)]
    pub(crate) fn bring_near(&self, place: Place) {
        let slot = self.slots.as_ptr().wrapping_add(place.at as usize).cast::<u8>();
        simd::bring_near(slot.wrapping_add(offset_of!(Slot<T>, count)));
        simd::bring_near(slot.wrapping_add(offset_of!(Slot<T>, figures) + 47));
    }

    /// Whether so many new values come in without taking the place of others.
    pub(crate) fn has_room_for(&self, more: usize) -> bool {
        more <= self.capacity - self.slots.len()
    }

    /// How many groups there are.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The groups: the value and the figures of each, in no order.
    pub fn into_groups(self) -> impl Iterator<Item = (Box<[u8]>, T)> {
        self.slots.into_iter().map(|slot| (slot.name.into_boxed_slice(), slot.figures))
    }
}

impl<T: Default> SpaceSaving<T> {
    /// The figures of a value that came once more. What the group had that lost its place to it, if
    /// one did, is handed to `evicted`, which takes all of it out: the new one begins with what is
    /// left, and with its memory.
    #[inline]
    pub fn group(&mut self, name: &[u8], evicted: impl FnOnce(&mut T)) -> &mut T {
        self.group_of(name, 1, evicted)
    }

    #[inline]
    fn group_of(&mut self, name: &[u8], times: u64, evicted: impl FnOnce(&mut T)) -> &mut T {
        let at = self.place_of(name, times, evicted);
        &mut self.slots[at].figures
    }

    /// Where the figures of a value are that came so many times more, as [`SpaceSaving::group`] gives
    /// them.
    pub(crate) fn place(
        &mut self,
        name: &[u8],
        times: u64,
        evicted: impl FnOnce(&mut T),
    ) -> (Place, &mut T) {
        let at = self.place_of(name, times, evicted);
        let slot = &mut self.slots[at];
        (Place { at: at as u32, takes: slot.takes }, &mut slot.figures)
    }

    #[inline]
    fn place_of(&mut self, name: &[u8], times: u64, evicted: impl FnOnce(&mut T)) -> usize {
        let hash = self.by_name.hash(name);
        let slots = &self.slots;
        match self.by_name.find(hash, |at| slots[at].name == name) {
            Some(at) => {
                self.slots[at].count += times;
                at
            }
            None => self.take_in(name, hash, times, evicted),
        }
    }

    /// Gives groups other values, in the order of [`SpaceSaving::groups`]; `add` puts the figures of
    /// those together that have one value then. No place is where it was.
    pub(crate) fn rename(&mut self, names: Vec<Option<Box<[u8]>>>, mut add: impl FnMut(&mut T, T)) {
        let renamed = SpaceSaving { lost: self.lost, ..SpaceSaving::new(self.capacity) };
        for (slot, name) in std::mem::replace(self, renamed).slots.into_iter().zip(names) {
            let name = name.as_deref().unwrap_or(&slot.name);
            add(self.group_of(name, slot.count, |_| {}), slot.figures);
        }
    }

    fn take_in(
        &mut self,
        name: &[u8],
        hash: u32,
        times: u64,
        evicted: impl FnOnce(&mut T),
    ) -> usize {
        if self.slots.len() < self.capacity {
            let at = self.slots.len();
            let figures = T::default();
            let name: Vec<u8> = name.into();
            self.names_bytes += name.capacity();
            self.slots.push(Slot { name, hash, takes: 0, count: times, inherited: 0, figures });
            self.by_name.insert(hash, at);
            self.smallest.push(Reverse(self.slots[at].rank(at)));
            return at;
        }
        // Each look at an old rank is paid for by a line that made it old.
        while let Some(mut top) = self.smallest.peek_mut() {
            let Reverse(rank) = *top;
            let at = rank.at();
            let slot = &mut self.slots[at];
            if slot.count.min(MAX_COUNT) != rank.count() {
                *top = Reverse(slot.rank(at));
                continue;
            }
            self.by_name.remove(slot.hash, at);
            self.by_name.insert(hash, at);
            self.lost.1 = self.lost.1.max(slot.count);
            slot.takes = slot.takes.wrapping_add(1);
            (slot.count, slot.inherited, slot.hash) = (slot.count + times, slot.count, hash);
            let before = slot.name.capacity();
            slot.name.clear();
            slot.name.extend_from_slice(name);
            self.names_bytes += slot.name.capacity() - before;
            evicted(&mut slot.figures);
            *top = Reverse(slot.rank(at));
            return at;
        }
        unreachable!("there is at least one slot, and each has a rank")
    }

    /// Takes in what another has counted of another part of the stream: `add` adds the figures of
    /// a value that both have; what loses its place goes to `evicted`.
    pub fn merge(
        &mut self,
        other: SpaceSaving<T>,
        mut add: impl FnMut(&mut T, T),
        mut evicted: impl FnMut(&mut T),
    ) {
        self.lost = (self.off_by().saturating_add(other.off_by()), 0);
        let mut others = other.slots;
        // The largest last: none of them is put out by a smaller one.
        others.sort_by(|a, b| (a.count, &a.name).cmp(&(b.count, &b.name)));
        for slot in others {
            let figures = self.group_of(&slot.name, slot.count, &mut evicted);
            add(figures, slot.figures);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The groups of a stream with their own counts, ascending by name, and what was evicted.
    fn count(capacity: usize, stream: &[u8]) -> (Vec<(u8, u64)>, u64) {
        let (groups, pool) = counted(capacity, stream);
        let mut groups: Vec<_> = groups.into_groups().map(|(name, n)| (name[0], n)).collect();
        groups.sort_unstable();
        (groups, pool)
    }

    fn counted(capacity: usize, stream: &[u8]) -> (SpaceSaving<u64>, u64) {
        let mut groups = SpaceSaving::new(capacity);
        let mut pool = 0;
        for byte in stream {
            *groups.group(&[*byte], |count: &mut u64| pool += std::mem::take(count)) += 1;
        }
        assert!(groups.len() <= capacity && groups.smallest.len() == groups.len());
        assert!(groups.is_empty() == stream.is_empty());
        (groups, pool)
    }

    #[test]
    fn a_value_that_comes_late_and_often_puts_out_those_that_came_once() {
        assert_eq!(count(2, b"abcccc"), (vec![(b'b', 1), (b'c', 4)], 1));
        assert_eq!(count(2, b"aaabcbc"), (vec![(b'a', 3), (b'c', 1)], 3));
        assert_eq!(count(3, b"abc"), (vec![(b'a', 1), (b'b', 1), (b'c', 1)], 0));
    }

    #[test]
    fn both_parts_of_a_stream_count_when_they_are_merged() {
        let ((mut a, mut pool), (b, more)) = (counted(2, b"aaab"), counted(2, b"cccab"));
        pool += more;
        a.merge(b, |figures, more| *figures += more, |count| pool += std::mem::take(count));
        let mut groups: Vec<_> = a.into_groups().map(|(name, n)| (name[0], n)).collect();
        groups.sort_unstable();
        assert_eq!(groups.iter().map(|(_, n)| n).sum::<u64>() + pool, 9);
        assert!(groups.contains(&(b'c', 3)), "{groups:?}");
    }

    #[test]
    fn a_place_is_known_until_another_takes_it() {
        let mut groups = SpaceSaving::<u64>::new(2);
        let drop = |count: &mut u64| *count = 0;
        let (a, figures) = groups.place(b"a", 1, drop);
        *figures += 1;
        groups.place(b"b", 5, drop);
        *groups.again(a, 1).unwrap() += 1;
        assert_eq!((groups.again(a, 0).copied(), groups.off_by()), (Some(2), 0));
        *groups.place(b"c", 1, drop).1 += 1;
        assert!(groups.again(a, 1).is_none());
        let mut found: Vec<_> = groups.groups().collect();
        found.sort_unstable();
        assert_eq!((found, groups.off_by()), (vec![(&b"b"[..], &0), (b"c", &1)], 2));
    }

    #[test]
    fn what_there_is_no_room_for_goes_the_smallest_first() {
        let mut groups = SpaceSaving::<u64>::new(10);
        for (name, times) in [(b"a", 5), (b"b", 1), (b"c", 3), (b"d", 2), (b"e", 4)] {
            *groups.place(name, times, |_| ()).1 += times;
        }
        let room = 3 * (size_of::<Slot<u64>>() + 1);
        let mut pool = 0;
        groups.narrow(room, |_| 0, |count| pool += std::mem::take(count));
        let mut found: Vec<_> = groups.groups().collect();
        found.sort_unstable();
        assert_eq!(found, [(&b"a"[..], &5), (b"c", &3), (b"e", &4)]);
        assert_eq!((pool, groups.off_by()), (3, 2));
        // What comes from now on puts out the smallest, and is known by its name.
        *groups.group(b"a", |_| ()) += 1;
        *groups.group(b"f", |count| pool += std::mem::take(count)) += 1;
        let mut found: Vec<_> = groups.groups().collect();
        found.sort_unstable();
        assert_eq!(found, [(&b"a"[..], &6), (b"e", &4), (b"f", &1)]);
        assert_eq!((pool, groups.off_by()), (6, 3));
        groups.narrow(0, |_| 0, |count| pool += std::mem::take(count));
        assert_eq!((groups.len(), pool), (1, 11));
    }

    proptest! {
        /// The bound of the paper: what makes up more than one in `capacity` is kept; and here:
        /// nothing is lost, and no group has more than there was.
        #[test]
        fn the_frequent_are_kept_and_the_sums_are_whole(
            stream in prop::collection::vec(0u8..40, 0..400), capacity in 1usize..12,
            cut in any::<prop::sample::Index>(),
        ) {
            let occurs = |value: u8| stream.iter().filter(|&&byte| byte == value).count() as u64;
            let (groups, pool) = count(capacity, &stream);
            prop_assert_eq!(groups.iter().map(|(_, n)| n).sum::<u64>() + pool, stream.len() as u64);
            for &(value, own) in &groups {
                prop_assert!((1..=occurs(value)).contains(&own));
            }
            let off_by = counted(capacity, &stream).0.off_by();
            for value in 0..40 {
                let own = groups.iter().find(|(kept, _)| *kept == value).map_or(0, |(_, own)| *own);
                prop_assert!(occurs(value) - own <= off_by);
            }
            for value in 0..40 {
                if occurs(value) * capacity as u64 > stream.len() as u64 {
                    prop_assert!(groups.iter().any(|(kept, _)| *kept == value), "{}", value);
                }
            }
            let (a, b) = stream.split_at(cut.index(stream.len() + 1));
            let ((mut a, mut pool), (b, more)) = (counted(capacity, a), counted(capacity, b));
            pool += more;
            a.merge(b, |figures, more| *figures += more, |count| pool += std::mem::take(count));
            prop_assert!(a.len() <= capacity);
            for (name, own) in a.groups() {
                prop_assert!(occurs(name[0]) - own <= a.off_by());
            }
            let kept: u64 = a.into_groups().map(|(_, own)| own).sum();
            prop_assert_eq!(kept + pool, stream.len() as u64);
        }
    }
}
