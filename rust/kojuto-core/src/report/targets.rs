//! Where the figures of a target are, so that its key is made once and not for each line.
//!
//! A target is known by 128 bits of a hash whose seeds nobody who writes targets can know: one look
//! into memory a line, and none at the text of what came before. That two of the targets that are
//! remembered at a time share all bits is less likely than that the memory fails.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

use crate::stats::space_saving::Place;

/// So many targets are remembered before all are forgotten.
const MOST: usize = 1 << 17;
const LEAST_ENTRIES: usize = 1 << 10;

/// The hash of a method and a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hash([u64; 2]);

/// The places of the targets that came: open addressing with linear probing, at most half full.
#[derive(Debug, Clone)]
pub(super) struct Targets {
    entries: Vec<Option<(Hash, Place)>>,
    used: usize,
    seeds: [u64; 2],
}

impl Targets {
    pub(super) fn new() -> Targets {
        let seeds = [RandomState::new().hash_one(0), RandomState::new().hash_one(1)];
        Targets { entries: vec![None; LEAST_ENTRIES], used: 0, seeds }
    }

    #[inline]
    pub(super) fn hash(&self, method: &[u8], target: &[u8]) -> Hash {
        let mut lanes = self.seeds;
        for text in [method, target] {
            let (words, rest) = text.as_chunks::<8>();
            for word in words {
                lanes = mix(lanes, u64::from_le_bytes(*word));
            }
            let mut last = [0; 8];
            last[..rest.len()].copy_from_slice(rest);
            lanes = mix(lanes, u64::from_le_bytes(last));
            lanes = mix(lanes, text.len() as u64);
        }
        Hash(lanes)
    }

    /// Where its figures were when it came last.
    #[inline]
    pub(super) fn find(&self, hash: Hash) -> Option<Place> {
        self.entries[self.at(hash)].map(|(_, place)| place)
    }

    /// Remembers where its figures are.
    pub(super) fn put(&mut self, hash: Hash, place: Place) {
        let at = self.at(hash);
        let is_new = self.entries[at].is_none();
        self.entries[at] = Some((hash, place));
        self.used += usize::from(is_new);
        if self.used > MOST {
            self.forget();
        } else if self.used * 2 > self.entries.len() {
            let room = vec![None; self.entries.len() * 2];
            for (hash, place) in std::mem::replace(&mut self.entries, room).into_iter().flatten() {
                let at = self.at(hash);
                self.entries[at] = Some((hash, place));
            }
        }
    }

    /// Forgets all places.
    pub(super) fn forget(&mut self) {
        self.entries.fill(None);
        self.used = 0;
    }

    /// Where a hash is, or would be.
    #[inline]
    fn at(&self, hash: Hash) -> usize {
        let mask = self.entries.len() - 1;
        let mut at = hash.0[0] as usize & mask;
        while self.entries[at].is_some_and(|(other, _)| other != hash) {
            at = (at + 1) & mask;
        }
        at
    }
}

/// Takes a word into both halves of a hash.
#[inline(always)]
fn mix([a, b]: [u64; 2], word: u64) -> [u64; 2] {
    let fold = |product: u128| product as u64 ^ (product >> 64) as u64;
    [
        fold(u128::from(a ^ word) * 0x9e37_79b9_7f4a_7c15),
        fold(u128::from(b ^ word) * 0xd6e8_feb8_6659_fd93),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::space_saving::SpaceSaving;

    #[test]
    fn a_target_is_found_by_its_method_too() {
        let mut targets = Targets::new();
        let mut figures = SpaceSaving::<u64>::new(10);
        let made = [("GET", "/a"), ("POST", "/a"), ("", "GET/a"), ("GET/a", ""), ("GET", "/a\0")];
        for (method, target) in made {
            let hash = targets.hash(method.as_bytes(), target.as_bytes());
            assert!(targets.find(hash).is_none(), "{method} {target}");
            let name = format!("{method} {target}");
            targets.put(hash, figures.place(name.as_bytes(), 1, |_| ()).0);
            *figures.again(targets.find(hash).unwrap(), 0).unwrap() += 1;
        }
        assert!(figures.groups().all(|(_, count)| *count == 1));
        assert_eq!(figures.len(), made.len());
    }

    #[test]
    fn all_are_found_again_until_there_are_too_many() {
        let mut targets = Targets::new();
        let place = SpaceSaving::<u64>::new(1).place(b"x", 1, |_| ()).0;
        let name = |at: usize| at.to_string().into_bytes();
        for at in 0..MOST {
            targets.put(targets.hash(b"", &name(at)), place);
        }
        assert!((0..MOST).all(|at| targets.find(targets.hash(b"", &name(at))).is_some()));
        assert!(targets.find(targets.hash(b"", &name(MOST))).is_none());
        targets.put(targets.hash(b"", &name(MOST)), place);
        assert!(targets.find(targets.hash(b"", &name(0))).is_none());
    }
}
