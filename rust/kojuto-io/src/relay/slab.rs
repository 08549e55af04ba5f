//! Connections under small numbers; a number that is used again carries another generation, so
//! that an event for the old connection cannot touch the new one.

use super::endpoint::Party;

const UPSTREAM_SIDE: u64 = 1 << 62;
const RIVAL_SIDE: u64 = 1 << 61;

/// Where a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) slot: u32,
    pub(super) generation: u32,
}

impl Place {
    /// What epoll tells with the events of one of its sockets.
    pub(super) fn token(self, party: Party) -> u64 {
        let side = if party == Party::Upstream { UPSTREAM_SIDE } else { 0 };
        u64::from(self.slot) | u64::from(self.generation) << 32 | side
    }

    /// The same for one of several sockets of which the first to be connected becomes the upstream's.
    pub(super) fn rival_token(self) -> u64 {
        self.token(Party::Client) | RIVAL_SIDE
    }

    /// Whose event it is; no party's: a rival's.
    pub(super) fn of_token(token: u64) -> (Place, Option<Party>) {
        let place = Place { slot: token as u32, generation: (token >> 32) as u32 & GENERATIONS };
        let party = match token {
            _ if token & RIVAL_SIDE != 0 => None,
            _ if token & UPSTREAM_SIDE != 0 => Some(Party::Upstream),
            _ => Some(Party::Client),
        };
        (place, party)
    }
}

pub(super) struct Slab<T> {
    entries: Vec<(u32, Option<Box<T>>)>,
    free: Vec<u32>,
    /// The generation of slots that were never used.
    first: u32,
}

impl<T> Slab<T> {
    pub(super) fn new() -> Slab<T> {
        Slab { entries: Vec::new(), free: Vec::new(), first: 0 }
    }

    /// Reserves a place, which must be filled or released.
    pub(super) fn reserve(&mut self) -> Place {
        if let Some(slot) = self.free.pop() {
            return Place { slot, generation: self.entries[slot as usize].0 };
        }
        self.entries.push((self.first, None));
        Place { slot: self.entries.len() as u32 - 1, generation: self.first }
    }

    pub(super) fn fill(&mut self, slot: u32, value: Box<T>) {
        self.entries[slot as usize].1 = Some(value);
    }

    pub(super) fn get(&mut self, slot: u32) -> Option<&mut T> {
        self.entries.get_mut(slot as usize)?.1.as_deref_mut()
    }

    /// What is in a place, if it is still the same.
    pub(super) fn current(&mut self, place: Place) -> Option<&mut T> {
        let entry = self.entries.get_mut(place.slot as usize)?;
        if entry.0 == place.generation { entry.1.as_deref_mut() } else { None }
    }

    pub(super) fn is_current(&self, place: Place) -> bool {
        let entry = self.entries.get(place.slot as usize);
        entry.is_some_and(|entry| entry.0 == place.generation && entry.1.is_some())
    }

    /// Frees a slot, filled or only reserved.
    pub(super) fn release(&mut self, slot: u32) -> Option<Box<T>> {
        let entry = &mut self.entries[slot as usize];
        let value = entry.1.take();
        entry.0 = entry.0.wrapping_add(1) & GENERATIONS;
        self.free.push(slot);
        if self.free.len() == self.entries.len() {
            // Nothing is left: give the memory of the peak back.
            if self.entries.len() > 1024 {
                let newest = self.entries.iter().map(|entry| entry.0).max().unwrap_or(0);
                self.first = (newest + 1) & GENERATIONS;
                self.entries = Vec::new();
                self.free = Vec::new();
            }
        }
        value
    }

    /// How many slots there are, filled or not.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// What is in some slots from one on.
    pub(super) fn some(&self, from: usize, most: usize) -> impl Iterator<Item = &T> {
        self.entries.iter().skip(from).take(most).filter_map(|entry| entry.1.as_deref())
    }

    /// All that are filled.
    pub(super) fn places(&self) -> Vec<Place> {
        let filled = self.entries.iter().enumerate().filter(|(_, entry)| entry.1.is_some());
        filled.map(|(at, entry)| Place { slot: at as u32, generation: entry.0 }).collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.free.len() == self.entries.len()
    }
}

/// Generations fit into 29 bits of an epoll token.
const GENERATIONS: u32 = (1 << 29) - 1;
