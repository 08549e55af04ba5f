//! Where the name of each slot of a table is found: open addressing with linear probing.
//!
//! The names are not held here, so that one can take another's place without memory being asked
//! for; an entry is the number of a slot and the hash of its name.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

/// Slots by the hashes of their names. At most half of its places are taken.
#[derive(Debug, Clone)]
pub(crate) struct NameIndex {
    /// The hash in the upper half, the number of the slot and one in the lower; 0 for none. There
    /// are a power of two of them.
    entries: Vec<u64>,
    used: usize,
    seed: u64,
}

const LEAST_ENTRIES: usize = 16;

impl NameIndex {
    pub(crate) fn new() -> NameIndex {
        // Nobody who writes names into a log can tell which of them would share a place.
        let seed = RandomState::new().hash_one(LEAST_ENTRIES);
        NameIndex { entries: vec![0; LEAST_ENTRIES], used: 0, seed }
    }

    /// Takes all slots out; the hashes stay what they are.
    pub(crate) fn clear(&mut self) {
        *self = NameIndex { entries: vec![0; LEAST_ENTRIES], used: 0, seed: self.seed };
    }

    /// The hash of a name.
    #[inline]
    pub(crate) fn hash(&self, name: &[u8]) -> u32 {
        const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
        let mix = |hash: u64, word: u64| {
            let product = u128::from(hash ^ word) * u128::from(ODD);
            product as u64 ^ (product >> 64) as u64
        };
        let (words, rest) = name.as_chunks::<8>();
        let mut hash =
            words.iter().fold(self.seed, |hash, word| mix(hash, u64::from_le_bytes(*word)));
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        hash = mix(hash, u64::from_le_bytes(last));
        mix(hash, self.seed.rotate_left(32) ^ name.len() as u64) as u32
    }

    /// The slot of that hash for which `is_it` holds.
    #[inline]
    pub(crate) fn find(&self, hash: u32, is_it: impl Fn(usize) -> bool) -> Option<usize> {
        let mut place = self.home(hash);
        loop {
            let (theirs, slot) = parts(self.entries[place])?;
            if theirs == hash && is_it(slot) {
                return Some(slot);
            }
            place = self.next(place);
        }
    }

    /// Adds a slot, which must not be there yet.
    pub(crate) fn insert(&mut self, hash: u32, slot: usize) {
        self.used += 1;
        if self.used * 2 > self.entries.len() {
            let room = vec![0; self.entries.len() * 2];
            let entries = std::mem::replace(&mut self.entries, room);
            entries.into_iter().filter_map(parts).for_each(|(hash, slot)| self.put(hash, slot));
        }
        self.put(hash, slot);
    }

    /// Takes a slot out, if it is there.
    pub(crate) fn remove(&mut self, hash: u32, slot: usize) {
        let mut hole = self.home(hash);
        loop {
            match parts(self.entries[hole]) {
                None => return,
                Some((_, found)) if found == slot => break,
                Some(_) => hole = self.next(hole),
            }
        }
        self.used -= 1;
        // Those behind it that the hole would cut off from their homes move up.
        let mask = self.entries.len() - 1;
        let mut place = self.next(hole);
        while let Some((hash, _)) = parts(self.entries[place]) {
            let from_home = place.wrapping_sub(self.home(hash)) & mask;
            if from_home >= place.wrapping_sub(hole) & mask {
                self.entries[hole] = self.entries[place];
                hole = place;
            }
            place = self.next(place);
        }
        self.entries[hole] = 0;
    }

    fn put(&mut self, hash: u32, slot: usize) {
        let mut place = self.home(hash);
        while self.entries[place] != 0 {
            place = self.next(place);
        }
        self.entries[place] = u64::from(hash) << 32 | (slot as u64 + 1);
    }

    #[inline]
    fn home(&self, hash: u32) -> usize {
        hash as usize & (self.entries.len() - 1)
    }

    #[inline]
    fn next(&self, place: usize) -> usize {
        (place + 1) & (self.entries.len() - 1)
    }
}

#[inline]
fn parts(entry: u64) -> Option<(u32, usize)> {
    (entry != 0).then(|| ((entry >> 32) as u32, entry as u32 as usize - 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[test]
    fn names_that_differ_in_a_byte_or_their_length_have_other_hashes() {
        let index = NameIndex::new();
        let names = [&b""[..], b"\0", b"a", b"a\0", b"abcdefgh", b"abcdefgh\0", b"abcdefghi", b"b"];
        for (at, name) in names.iter().enumerate() {
            let elsewhere = name.to_vec();
            assert_eq!(index.hash(name), index.hash(&elsewhere));
            for other in &names[..at] {
                assert_ne!(index.hash(name), index.hash(other), "{name:?} {other:?}");
            }
        }
    }

    proptest! {
        /// Few hashes, so that many slots share a home; most hashes end alike.
        #[test]
        fn it_finds_what_a_map_finds(
            steps in prop::collection::vec((any::<bool>(), 0u32..12, 0usize..40), 0..200),
        ) {
            let mut index = NameIndex::new();
            let mut model: BTreeMap<usize, u32> = BTreeMap::new();
            for (adds, low, slot) in steps {
                let hash = ((low / 3) << 6) | ((low % 3) << 4) | 15;
                match (adds, model.get(&slot).copied()) {
                    (true, None) => {
                        index.insert(hash, slot);
                        model.insert(slot, hash);
                    }
                    (false, Some(hash)) => {
                        index.remove(hash, slot);
                        model.remove(&slot);
                    }
                    (_, found) => index.remove(found.unwrap_or(hash), 99),
                }
                prop_assert_eq!(index.used, model.len());
                prop_assert!(index.used * 2 <= index.entries.len());
                for slot in 0..40 {
                    let hash = model.get(&slot).copied();
                    let found = index.find(hash.unwrap_or(15), |at| at == slot);
                    prop_assert_eq!(found, hash.map(|_| slot));
                }
            }
        }
    }
}
