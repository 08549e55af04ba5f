//! The names of a line in their order, expected to be those of the line before: one comparison
//! settles what nearly every field is, wanted or not, whatever the number of wanted keys.

use crate::scan::fields::{Head, Names};

/// So many fields of a line are remembered; those behind share their places.
const MOST: usize = 64;

/// What stood at a place of the line before.
#[derive(Clone, Copy)]
struct Expected {
    head: Head,
    /// The last seven bytes of the name and its end, where a name that is not wanted is longer.
    tail: u64,
    /// [`NO_KEY`] for a name that is not wanted.
    key: u32,
}

const NO_KEY: u32 = u32::MAX;

impl Expected {
    const NOTHING: Expected = Expected { head: Head::NONE, tail: 0, key: NO_KEY };
}

/// The names of the line before.
pub(crate) struct Order {
    expected: [Expected; MOST],
    /// How many names of this line were asked for by their ends.
    at: usize,
}

impl Order {
    #[inline(always)]
    pub(crate) fn new() -> Order {
        Order { expected: [Expected::NOTHING; MOST], at: 0 }
    }

    /// Begins a line whose names are asked for by their ends.
    #[inline(always)]
    pub(crate) fn begin_line(&mut self) {
        self.at = 0;
    }

    /// Which of the keys has its name at `at`, where the field of that number in its line begins, and
    /// where what follows begins: as [`Names::at`] finds it.
    #[inline(always)]
    pub(crate) fn at(
        &mut self,
        names: &Names<'_>,
        block: &[u8],
        (field, at): (usize, usize),
    ) -> Option<(usize, usize)> {
        let place = field % MOST;
        let Expected { head, key, .. } = &self.expected[place];
        if let Some(word) = word_at(block, at)
            && head.begins(word)
        {
            if *key == NO_KEY {
                return None;
            }
            let (key, length) = (*key as usize, head.length);
            if length < 8 || names.ends(block, at, key) {
                return Some((key, at + length + 1));
            }
        }
        self.look_at(names, block, (place, at))
    }

    #[inline(never)]
    fn look_at(
        &mut self,
        names: &Names<'_>,
        block: &[u8],
        (place, at): (usize, usize),
    ) -> Option<(usize, usize)> {
        let found = names.at(block, at);
        self.learn(names, block, (place, at), found.map(|(key, _)| key), None);
        found
    }

    /// Which of the keys has its name between two quotes, the second of them before `end`; no quote
    /// and no line end is in it.
    #[inline(always)]
    pub(crate) fn before(&mut self, names: &Names<'_>, block: &[u8], end: usize) -> Option<usize> {
        let place = self.at % MOST;
        self.at += 1;
        let Expected { head, key, tail } = &self.expected[place];
        let at = end.wrapping_sub(head.length + 1);
        if word_at(block, at).is_some_and(|word| head.begins(word))
            && block.get(at.wrapping_sub(1)) == Some(&b'"')
        {
            let is_it = match *key {
                _ if head.length < 8 => true,
                NO_KEY => word_at(block, end - 8) == Some(*tail),
                key => names.ends(block, at, key as usize),
            };
            if is_it {
                return (*key != NO_KEY).then_some(*key as usize);
            }
        }
        self.look_before(names, block, (place, end))
    }

    #[inline(never)]
    fn look_before(
        &mut self,
        names: &Names<'_>,
        block: &[u8],
        (place, end): (usize, usize),
    ) -> Option<usize> {
        let at = memchr::memrchr(b'"', block.get(..end - 1)?)? + 1;
        let key = names.at(block, at).map(|(key, _)| key);
        self.learn(names, block, (place, at), key, Some(end - at - 1));
        key
    }

    /// Remembers what stands at a place of the line; the length of a name counts where others that
    /// begin as it does are told apart from it.
    fn learn(
        &mut self,
        names: &Names<'_>,
        block: &[u8],
        (place, at): (usize, usize),
        key: Option<usize>,
        length: Option<usize>,
    ) {
        let Some(word) = word_at(block, at) else { return };
        let expected = &mut self.expected[place];
        let head = key.map_or_else(|| names.unlike(word), |key| Some(names.head(key)));
        let number = key.map_or(NO_KEY, |key| key as u32);
        *expected = head.map_or(Expected::NOTHING, |head| Expected { head, tail: 0, key: number });
        if let (None, Some(length @ 8..)) = (key, length) {
            expected.head.length = length;
            match word_at(block, at + length - 7) {
                // The head and the tail are all of it.
                Some(tail) if length < 16 => expected.tail = tail,
                _ => *expected = Expected::NOTHING,
            }
        }
    }
}

#[inline(always)]
fn word_at(block: &[u8], at: usize) -> Option<u64> {
    let word = block.get(at..at.wrapping_add(8))?.first_chunk::<8>()?;
    Some(u64::from_le_bytes(*word))
}
