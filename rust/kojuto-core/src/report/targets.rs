//! Where the figures of a target are, so that its key is made once and not for each line.
//!
//! A target is known by 64 bits of a hash whose seeds nobody who writes targets can know, in a place
//! that others tell: one look into memory a line, and none at the text of what came before. A target
//! is compared with one or two others, so that it is taken for another in one of 10^19 lines.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

use crate::scan::simd;
use crate::stats::space_saving::Place;

/// So many targets are remembered before all are forgotten.
pub(super) const MOST: usize = 1 << 17;
/// As long as few came.
const FEW_ENTRIES: usize = 1 << 10;

/// The hash of a method and a target: what tells it from others, and what says where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hash([u64; 2]);

/// A part of a hash, and a place; zeros for none.
type Entry = [u64; 2];

const FREE: Entry = [0; 2];

/// The places of the targets that came: open addressing with linear probing, at most half full.
#[derive(Debug, Clone)]
pub(super) struct Targets {
    entries: Vec<Entry>,
    most: usize,
    used: usize,
    /// How often all were forgotten.
    forgotten: u64,
    seeds: [u64; 2],
}

impl Targets {
    /// None yet; `most` are remembered.
    pub(super) fn new(most: usize) -> Targets {
        let seeds = [RandomState::new().hash_one(0), RandomState::new().hash_one(1)];
        Targets { entries: vec![FREE; FEW_ENTRIES], most, used: 0, forgotten: 0, seeds }
    }

    #[inline]
    pub(super) fn hash(&self, method: &[u8], target: &[u8]) -> Hash {
        // As much of the target as is behind the first 8 bytes of the method, with both lengths.
        let lengths = (method.len() as u64) << 32 ^ target.len() as u64;
        let lanes = mix_text(self.seeds, [short_word(method), lengths], method);
        let [a, b] = mix_text(lanes, [short_word(target), 0], target);
        // Each half alone may have the last bytes of a target in its upper bits only.
        Hash([a ^ b.rotate_left(29), a.wrapping_add(b)])
    }

    /// Has what [`Targets::find`] looks at be brought near.
    #[inline(always)]
    pub(super) fn bring_near(&self, hash: Hash) {
        simd::bring_near(&raw const self.entries[hash.0[1] as usize & (self.entries.len() - 1)]);
    }

    /// Where its figures were when it came last.
    #[inline]
    pub(super) fn find(&self, hash: Hash) -> Option<Place> {
        Place::from_bits(self.entries[self.at(hash)][1])
    }

    /// Remembers where its figures are.
    pub(super) fn put(&mut self, hash: Hash, place: Place) {
        let at = self.at(hash);
        self.used += usize::from(self.entries[at] == FREE);
        self.entries[at] = [hash.0[0], place.to_bits()];
        if self.used > self.most {
            self.forget();
        } else if self.used * 2 > self.entries.len() {
            // What is kept of the hashes does not say where they would be among more.
            self.entries = vec![FREE; (self.most * 2).next_power_of_two()];
            self.used = 0;
            self.forget();
        }
    }

    /// Forgets all places.
    pub(super) fn forget(&mut self) {
        if self.used > 0 {
            self.entries.fill(FREE);
        }
        self.used = 0;
        self.forgotten += 1;
    }

    /// How often all were forgotten.
    #[inline]
    pub(super) fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// Where a hash is, or would be.
    #[inline]
    fn at(&self, hash: Hash) -> usize {
        let mask = self.entries.len() - 1;
        let mut at = hash.0[1] as usize & mask;
        while self.entries[at] != FREE && self.entries[at][0] != hash.0[0] {
            at = (at + 1) & mask;
        }
        at
    }
}

/// All of a text of at most eight bytes and of a known length; of a longer one nothing.
#[inline(always)]
fn short_word(text: &[u8]) -> u64 {
    match (text.len(), text.first_chunk::<4>(), text.last_chunk::<4>()) {
        (4..=8, Some(first), Some(last)) => {
            u64::from(u32::from_le_bytes(*first)) << 32 | u64::from(u32::from_le_bytes(*last))
        }
        (..4, ..) => text.iter().fold(0, |word, byte| word << 8 | u64::from(*byte)),
        _ => 0,
    }
}

/// Takes two words into both halves of a hash, and then a text of a known length if it has more than
/// eight bytes: its words, two and two, and its last two, which may be some of those again.
#[inline(always)]
fn mix_text(lanes: [u64; 2], words: [u64; 2], text: &[u8]) -> [u64; 2] {
    let mut lanes = mix(lanes, words);
    let two = |two: &[u8; 16]| {
        let both = u128::from_le_bytes(*two);
        [both as u64, (both >> 64) as u64]
    };
    if let Some(last) = text.last_chunk::<16>() {
        for words in text[..text.len() - 1].as_chunks::<16>().0 {
            lanes = mix(lanes, two(words));
        }
        lanes = mix(lanes, two(last));
    } else if let (9.., Some(first), Some(last)) =
        (text.len(), text.first_chunk::<8>(), text.last_chunk::<8>())
    {
        lanes = mix(lanes, [u64::from_le_bytes(*first), u64::from_le_bytes(*last)]);
    }
    lanes
}

/// Takes two words into both halves of a hash.
#[inline(always)]
fn mix([a, b]: [u64; 2], [first, second]: [u64; 2]) -> [u64; 2] {
    let fold = |product: u128| product as u64 ^ (product >> 64) as u64;
    let times = |one: u64, other: u64| fold(u128::from(one) * u128::from(other));
    [
        times(a ^ first, 0x9e37_79b9_7f4a_7c15) ^ b.rotate_left(32) ^ second,
        times(b ^ second, 0xd6e8_feb8_6659_fd93) ^ a.rotate_left(32) ^ first,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::space_saving::SpaceSaving;

    #[test]
    fn a_target_is_found_by_its_method_too() {
        let mut targets = Targets::new(MOST);
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
    fn targets_that_differ_in_a_byte_or_their_length_have_other_hashes() {
        let targets = Targets::new(MOST);
        for length in 0..50 {
            let text: Vec<u8> = (0..length).map(|at| at as u8 | 64).collect();
            let hash = targets.hash(b"", &text);
            assert_eq!(hash, targets.hash(b"", &text.clone()));
            for at in 0..length {
                let mut other = text.clone();
                other[at] ^= 1;
                assert_ne!(hash, targets.hash(b"", &other), "{length} {at}");
                let (method, target) = text.split_at(at + 1);
                assert_ne!(hash, targets.hash(method, target), "{length} {at}");
            }
            assert_ne!(hash, targets.hash(b"", &[&text[..], b"\0"].concat()), "{length}");
        }
    }

    #[test]
    fn targets_that_differ_in_a_few_bytes_have_places_apart() {
        let targets = Targets::new(MOST);
        for (before, behind) in [("/item/", ""), ("/a/item/of/", "/with/more"), ("", "/a/b/c/d/e")]
        {
            let mut places: Vec<u64> = (0..4096)
                .map(|at| targets.hash(b"GET", format!("{before}{at:06}{behind}").as_bytes()))
                .map(|hash| hash.0[1] & 0xffff)
                .collect();
            places.sort_unstable();
            places.dedup();
            // Of 4,096 in 65,536 places by chance 124 meet another.
            assert!(places.len() > 3900, "{before} {behind} {}", places.len());
        }
    }

    #[test]
    fn all_are_found_again_until_there_are_too_many() {
        let mut targets = Targets::new(MOST);
        let place = SpaceSaving::<u64>::new(1).place(b"x", 1, |_| ()).0;
        let name = |at: usize| at.to_string().into_bytes();
        for at in 0..FEW_ENTRIES / 2 {
            targets.put(targets.hash(b"", &name(at)), place);
        }
        assert!(targets.find(targets.hash(b"", &name(0))).is_some());
        targets.put(targets.hash(b"", &name(MOST)), place);
        assert!(targets.find(targets.hash(b"", &name(0))).is_none());
        assert_eq!((targets.forgotten(), targets.entries.len()), (1, MOST * 2));
        for at in 0..MOST {
            targets.put(targets.hash(b"", &name(at)), place);
        }
        assert!((0..MOST).all(|at| targets.find(targets.hash(b"", &name(at))).is_some()));
        assert!(targets.find(targets.hash(b"", &name(MOST))).is_none());
        targets.put(targets.hash(b"", &name(MOST)), place);
        assert!(targets.find(targets.hash(b"", &name(0))).is_none());
    }
}
