//! Which fields of a line are wanted, and what a scanner hands back for each line.

use crate::Error;

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
    /// The first seven bytes of the name, or all of it, as a little-endian word, and a mask of
    /// as many bytes: one comparison that settles nearly every place.
    head: u64,
    head_mask: u64,
}

impl Key {
    fn new(name: &[u8]) -> Key {
        let length = name.len().min(7);
        let mut head = [0u8; 8];
        head[..length].copy_from_slice(&name[..length]);
        Key {
            name: name.into(),
            head: u64::from_le_bytes(head),
            head_mask: (1 << (length * 8)) - 1,
        }
    }

    /// Whether the name, followed by `end`, stands at the beginning of `text`.
    #[inline(always)]
    fn begins(&self, text: &[u8], end: u8) -> bool {
        let length = self.name.len();
        if let Some(head) = text.first_chunk::<8>() {
            if (u64::from_le_bytes(*head) ^ self.head) & self.head_mask != 0 {
                return false;
            }
            if length < 8 {
                return head[length] == end;
            }
        }
        text.len() > length && text[length] == end && text[..length] == *self.name
    }
}

impl Keys {
    /// Makes the set of wanted keys.
    ///
    /// `needed` says for each key whether a line must be scanned on until it is found; a line is
    /// left as soon as all needed keys were. Keys that are looked for but not needed are found
    /// only when they stand before that point.
    ///
    /// # Errors
    /// [`Error::Argument`] without a key, with more than [`MAX_KEYS`], or with an empty key.
    pub fn new(names: &[(&[u8], bool)]) -> Result<Keys, Error> {
        if names.is_empty() || names.len() > MAX_KEYS {
            let text = format!("{} keys; between 1 and {MAX_KEYS} can be read", names.len());
            return Err(Error::Argument(text));
        }
        if names.iter().any(|(name, _)| name.is_empty()) {
            return Err(Error::Argument("a key must not be empty".to_owned()));
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

    /// The key whose name, followed by `end`, stands at `at` in `block`.
    #[inline(always)]
    pub(crate) fn at(&self, block: &[u8], at: usize, end: u8) -> Option<(usize, &Key)> {
        let text = block.get(at..)?;
        self.keys.iter().enumerate().find(|(_, key)| key.begins(text, end))
    }

    #[inline(always)]
    pub(crate) fn stop(&self) -> u32 {
        self.stop
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
        if self.found & 1 << at == 0 && !value.is_empty() && !matches!(value, b"-") {
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
        let line = &block[self.start..end];
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
