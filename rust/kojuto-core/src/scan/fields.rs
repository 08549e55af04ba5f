//! Which fields of a line are wanted, and what a scanner hands back for each line.

use crate::error::{Argument, Error};

/// The most keys that one scan can look for.
pub const MAX_KEYS: usize = 16;

/// The wanted keys, in the order in which their values are handed back.
#[derive(Debug, Clone)]
pub struct Keys {
    keys: Vec<Key>,
    /// Bit `i` is set when the scan of a line need not go on once key `i` was found.
    stop: u32,
    first_bytes: Vec<u8>,
}

#[derive(Debug, Clone)]
pub(crate) struct Key {
    pub(crate) name: Box<[u8]>,
    /// The first eight bytes of the name, or all of it, as a little-endian word.
    head: u64,
}

impl Key {
    fn new(name: &[u8]) -> Key {
        let length = name.len().min(8);
        let mut head = [0u8; 8];
        head[..length].copy_from_slice(&name[..length]);
        Key { name: name.into(), head: u64::from_le_bytes(head) }
    }
}

/// The wanted keys as they stand in a log: each name with the byte that ends it.
pub(crate) struct Names<'k> {
    keys: &'k [Key],
    heads: [Head; MAX_KEYS],
    end: u8,
}

/// What the word of eight bytes at the beginning of a name must be, where the mask has ones:
/// one comparison that settles nearly every place.
#[derive(Clone, Copy, Default)]
pub(crate) struct Head {
    pub(crate) word: u64,
    pub(crate) mask: u64,
    pub(crate) length: usize,
}

impl Head {
    /// Whether a text with these first eight bytes may begin with it.
    #[inline(always)]
    pub(crate) fn begins(&self, word: u64) -> bool {
        word & self.mask == self.word
    }

    /// A head that nothing begins with.
    pub(crate) const NONE: Head = Head { word: 1, mask: 0, length: 8 };
}

impl<'k> Names<'k> {
    /// The names of `keys`, each ended by `end`.
    #[inline(always)]
    pub(crate) fn new(keys: &'k Keys, end: u8) -> Names<'k> {
        Names::as_written(keys, end, |_| false)
    }

    /// The names of `keys`, each ended by `end`, but for those that hold a byte that no name can
    /// hold as it is written: they are found nowhere.
    #[inline(always)]
    pub(crate) fn as_written(keys: &'k Keys, end: u8, never: impl Fn(u8) -> bool) -> Names<'k> {
        let mut heads = [Head::default(); MAX_KEYS];
        for (head, key) in heads.iter_mut().zip(&keys.keys) {
            let length = key.name.len();
            *head = if key.name.iter().any(|&byte| never(byte)) {
                Head::NONE
            } else if length < 8 {
                let word = key.head | u64::from(end) << (length * 8);
                Head { word, mask: !0 >> ((7 - length) * 8), length }
            } else {
                Head { word: key.head, mask: !0, length }
            };
        }
        Names { keys: &keys.keys, heads, end }
    }

    /// Which of the keys has its name, and the end of that, at `at` in `block`, and where what
    /// follows begins.
    #[inline(always)]
    pub(crate) fn at(&self, block: &[u8], at: usize) -> Option<(usize, usize)> {
        let Some(word) = block.get(at..).and_then(<[u8]>::first_chunk::<8>) else {
            return self.at_the_end(block, at);
        };
        let word = u64::from_le_bytes(*word);
        let mut index = 0;
        while index < self.keys.len() {
            let head = self.heads.get(index)?;
            if head.begins(word) && (head.length < 8 || self.ends(block, at, index)) {
                return Some((index, at + head.length + 1));
            }
            index += 1;
        }
        None
    }

    /// The beginning of a key's name.
    pub(crate) fn head(&self, key: usize) -> Head {
        self.heads[key]
    }

    /// The beginning of a name that is none of these, up to its end at most: `None` where one that
    /// begins so may be one of them.
    pub(crate) fn unlike(&self, word: u64) -> Option<Head> {
        let length = word.to_le_bytes().iter().position(|&byte| byte == self.end).unwrap_or(8);
        let mask = if length < 8 { !0 >> ((7 - length) * 8) } else { !0 };
        let mut heads = self.heads[..self.keys.len()].iter();
        let is_like = |head: &Head| head.mask != 0 && (head.word ^ word) & head.mask & mask == 0;
        (!heads.any(is_like)).then_some(Head { word: word & mask, mask, length })
    }

    /// Where no eight bytes are left.
    #[cold]
    fn at_the_end(&self, block: &[u8], at: usize) -> Option<(usize, usize)> {
        let index = (0..self.keys.len()).find(|&index| self.ends(block, at, index))?;
        Some((index, at + self.heads[index].length + 1))
    }

    /// Whether all of the name stands there.
    #[inline(never)]
    pub(crate) fn ends(&self, block: &[u8], at: usize, index: usize) -> bool {
        if self.heads[index].mask == 0 {
            return false;
        }
        let rest = block[at..].strip_prefix(&*self.keys[index].name);
        rest.is_some_and(|rest| rest.first() == Some(&self.end))
    }
}

impl Keys {
    /// Makes the set of wanted keys.
    ///
    /// Of keys of one name the first gets the value.
    ///
    /// `needed` says for each key whether a line must be scanned on until it is found; a line is
    /// left as soon as all needed keys were. Keys that are looked for but not needed are found
    /// only when they stand before that point.
    ///
    /// # Errors
    /// [`Error::Argument`] without a key, with more than [`MAX_KEYS`], or with an empty key.
    pub fn new(names: &[(&[u8], bool)]) -> Result<Keys, Error> {
        if names.is_empty() || names.len() > MAX_KEYS {
            return Err(Error::Argument(Argument::Keys { count: names.len(), most: MAX_KEYS }));
        }
        if names.iter().any(|(name, _)| name.is_empty()) {
            return Err(Error::Argument(Argument::EmptyKey));
        }
        let keys = names.iter().map(|(name, _)| Key::new(name)).collect();
        let stop = names
            .iter()
            .enumerate()
            .fold(0, |bits, (at, (_, needed))| bits | u32::from(*needed) << at);
        let mut first_bytes: Vec<u8> = names.iter().map(|(name, _)| name[0]).collect();
        first_bytes.sort_unstable();
        first_bytes.dedup();
        Ok(Keys { keys, stop, first_bytes })
    }

    /// How many keys there are.
    pub fn count(&self) -> usize {
        self.keys.len()
    }

    #[inline(always)]
    pub(crate) fn list(&self) -> &[Key] {
        &self.keys
    }

    #[inline(always)]
    pub(crate) fn stop(&self) -> u32 {
        self.stop
    }

    /// Whether one of them may be the name of a member of a member.
    pub(crate) fn lead_deeper(&self) -> bool {
        self.keys.iter().any(|key| key.name.contains(&b'.'))
    }

    /// The distinct first bytes of all keys, ascending.
    #[inline(always)]
    pub(crate) fn first_bytes(&self) -> &[u8] {
        &self.first_bytes
    }
}

/// The values found in one line: `values[i]` is the text of key `i`, empty when it is absent.
///
/// A value of `-` or of nothing counts as absent, and so does JSON's `null`.
pub type Values<'a> = [&'a [u8]; MAX_KEYS];

/// Whether a value counts as absent.
#[inline(always)]
pub(crate) fn is_absent(value: &[u8]) -> bool {
    value.is_empty() || matches!(value, b"-")
}

/// Takes the lines of a scan, one by one.
pub trait Rows<'a> {
    /// A line without its line end, and the values found in it.
    fn row(&mut self, line: &'a [u8], values: &Values<'a>);
}

impl<'a, F: FnMut(&'a [u8], &Values<'a>)> Rows<'a> for F {
    #[inline(always)]
    fn row(&mut self, line: &'a [u8], values: &Values<'a>) {
        self(line, values);
    }
}

/// Takes lines through a pointer. A scanner is compiled once more for each type of rows and at each
/// level of the processor: all who read a few lines share the copy for this one.
pub(crate) type RowFn<'r> = &'r mut dyn FnMut(&[u8], &Values<'_>);

/// The state of one line while it is scanned.
pub(crate) struct Line<'a> {
    pub(crate) start: usize,
    pub(crate) found: u32,
    /// The keys whose values may still be those of an earlier line.
    stale: u32,
    pub(crate) values: Values<'a>,
}

impl<'a> Line<'a> {
    #[inline(always)]
    pub(crate) fn new(start: usize) -> Self {
        Line { start, found: 0, stale: 0, values: [&[]; MAX_KEYS] }
    }

    /// Keeps the value of key `at`, unless it is as if absent or an earlier one was kept.
    #[inline(always)]
    pub(crate) fn keep(&mut self, at: usize, value: &'a [u8]) {
        if self.found & 1 << at == 0 && !is_absent(value) {
            self.values[at] = value;
            self.found |= 1 << at;
        }
    }

    /// Hands the line over and begins the next.
    #[inline(always)]
    pub(crate) fn finish(&mut self, block: &'a [u8], end: usize, rows: &mut impl Rows<'a>) {
        // Values of the line before that this one has not replaced; there are none as a rule.
        let mut stale = self.stale & !self.found;
        while stale != 0 {
            self.values[stale.trailing_zeros() as usize] = &[];
            stale &= stale - 1;
        }
        // Without a panic, so that who needs no line need not have it cut out.
        let line = block.get(self.start..end).unwrap_or_default();
        rows.row(line.strip_suffix(b"\r").unwrap_or(line), &self.values);
        self.stale = self.found;
        self.found = 0;
        self.start = end + 1;
    }

    /// Forgets what was found in the line so far.
    pub(crate) fn restart(&mut self) {
        self.stale |= self.found;
        self.found = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_keys_and_no_more() {
        let keys = |count: usize| Keys::new(&vec![(&b"key"[..], true); count]);
        assert_eq!(keys(MAX_KEYS).unwrap().count(), MAX_KEYS);
        let error = keys(MAX_KEYS + 1).unwrap_err().to_string();
        assert!(error.starts_with("17 keys; between 1 and 16"), "{error}");
        assert!(keys(0).is_err());
        assert!(Keys::new(&[(b"key", true), (b"", false)]).is_err());
    }
}
