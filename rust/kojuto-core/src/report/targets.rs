//! Where the figures of a target are, so that its key is made once and not for each line.

use crate::stats::name_index::NameIndex;
use crate::stats::space_saving::Place;

/// So many targets are remembered, and so many bytes of them, before all are forgotten.
const MOST: usize = 1 << 17;
const MOST_BYTES: usize = 12 << 20;
/// A longer one is not.
const MOST_TARGET_BYTES: usize = 2048;

/// The places of the targets that came.
#[derive(Debug, Clone)]
pub(super) struct Targets {
    index: NameIndex,
    all: Vec<Target>,
    /// The methods and targets, one behind the other.
    text: Vec<u8>,
}

#[derive(Debug, Clone)]
struct Target {
    start: u32,
    method: u16,
    length: u16,
    place: Place,
}

impl Targets {
    pub(super) fn new() -> Targets {
        Targets { index: NameIndex::new(), all: Vec::new(), text: Vec::new() }
    }

    /// The hash of a method and a target.
    #[inline]
    pub(super) fn hash(&self, method: &[u8], target: &[u8]) -> u32 {
        let hash = self.index.hash(target);
        if method.is_empty() { hash } else { hash ^ self.index.hash(method).rotate_left(1) }
    }

    /// Where its figures were when it came last.
    #[inline]
    pub(super) fn find(&self, hash: u32, method: &[u8], target: &[u8]) -> Option<Place> {
        let at = self.at(hash, method, target)?;
        Some(self.all[at].place)
    }

    #[inline]
    fn at(&self, hash: u32, method: &[u8], target: &[u8]) -> Option<usize> {
        self.index.find(hash, |at| {
            let Target { start, method: length, length: all, .. } = self.all[at];
            let text = &self.text[start as usize..start as usize + usize::from(all)];
            text.split_at_checked(usize::from(length)) == Some((method, target))
        })
    }

    /// Remembers where its figures are.
    pub(super) fn put(&mut self, hash: u32, method: &[u8], target: &[u8], place: Place) {
        if let Some(at) = self.at(hash, method, target) {
            self.all[at].place = place;
            return;
        }
        let length = method.len() + target.len();
        if length > MOST_TARGET_BYTES {
            return;
        }
        if self.all.len() >= MOST || self.text.len() + length > MOST_BYTES {
            // The seed stays, and so do the hashes that are on their way.
            self.index.clear();
            self.all.clear();
            self.text.clear();
        }
        let start = self.text.len() as u32;
        self.text.extend_from_slice(method);
        self.text.extend_from_slice(target);
        self.index.insert(hash, self.all.len());
        let (method, length) = (method.len() as u16, length as u16);
        self.all.push(Target { start, method, length, place });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::space_saving::SpaceSaving;

    #[test]
    fn a_target_is_found_by_its_method_too_and_all_are_forgotten_at_a_bound() {
        let mut targets = Targets::new();
        let mut figures = SpaceSaving::<u64>::new(10);
        for (count, (method, target)) in
            [("GET", "/a"), ("POST", "/a"), ("", "GET/a")].iter().enumerate()
        {
            let (method, target) = (method.as_bytes(), target.as_bytes());
            let hash = targets.hash(method, target);
            assert!(targets.find(hash, method, target).is_none());
            let name = [method, b" ", target].concat();
            targets.put(hash, method, target, figures.place(&name, count as u64, |_| ()).0);
            let place = targets.find(hash, method, target).unwrap();
            *figures.again(place, 0).unwrap() += 1 + count as u64;
        }
        let mut counts: Vec<u64> = figures.groups().map(|(_, count)| *count).collect();
        counts.sort_unstable();
        assert_eq!(counts, [1, 2, 3]);
        let long = vec![b'x'; MOST_TARGET_BYTES + 1];
        let place = figures.place(b"x", 1, |_| ()).0;
        targets.put(targets.hash(b"", &long), b"", &long, place);
        assert_eq!(targets.all.len(), 3);
        for at in 0..MOST {
            let name = at.to_string();
            targets.put(targets.hash(b"", name.as_bytes()), b"", name.as_bytes(), place);
            assert!(targets.all.len() <= MOST);
        }
        assert!(targets.find(targets.hash(b"GET", b"/a"), b"GET", b"/a").is_none());
    }
}
