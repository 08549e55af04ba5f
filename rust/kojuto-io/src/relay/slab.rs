//! Connections under small numbers; a number that is used again carries another generation, so
//! that an event for the old connection cannot touch the new one.

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

    /// Reserves a slot: (slot, generation). It must be filled or released.
    pub(super) fn reserve(&mut self) -> (u32, u32) {
        if let Some(slot) = self.free.pop() {
            return (slot, self.entries[slot as usize].0);
        }
        self.entries.push((self.first, None));
        (self.entries.len() as u32 - 1, self.first)
    }

    pub(super) fn fill(&mut self, slot: u32, value: Box<T>) {
        self.entries[slot as usize].1 = Some(value);
    }

    pub(super) fn get(&mut self, slot: u32) -> Option<&mut T> {
        self.entries.get_mut(slot as usize)?.1.as_deref_mut()
    }

    pub(super) fn is_current(&self, slot: u32, generation: u32) -> bool {
        self.entries.get(slot as usize).is_some_and(|e| e.0 == generation && e.1.is_some())
    }

    pub(super) fn generation(&self, slot: u32) -> u32 {
        self.entries[slot as usize].0
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

    pub(super) fn slots(&self) -> Vec<u32> {
        (0..self.entries.len() as u32).filter(|&i| self.entries[i as usize].1.is_some()).collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.free.len() == self.entries.len()
    }
}

/// Generations fit into 30 bits of an epoll token.
pub(super) const GENERATIONS: u32 = (1 << 30) - 1;
