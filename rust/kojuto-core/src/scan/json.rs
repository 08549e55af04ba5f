//! JSON lines: finds the wanted members of the object on each line.
//!
//! Only members of the outermost object count, whatever is nested in them, but for keys with a dot:
//! `a.b` is the member `b` of the member `a`, too, in lines without a flat `a.b`. The first member of
//! a name that has a value wins, so that a line is left as soon as all needed keys were found (with a
//! dot among the keys, flat ones); what follows is not looked at and need not be valid. A name may be
//! written with escapes. Strings and numbers are handed back as they stand in the line (without the
//! quotes; [`unescape`] resolves escapes); `null`, objects and arrays count as absent, but for the
//! first string of an array that is a member of a member, as the headers of a request are.
//!
//! A line that is no JSON is read by the same grammar, which tells what is found in any line,
//! whatever stands around it: a quote opens or closes a string, a backslash takes its meaning from
//! the quote or backslash behind it, a string ends with its line at the latest, an opening bracket
//! outside of strings goes one deeper and a closing one comes back, each of either kind. A string
//! at depth one with a colon behind it is a name, and its value is what stands behind the colon.
//! With [`Prefix::Skip`] only a `{` begins what is outermost, several times in a line, and the text
//! before the first one is passed over, its quotes too; where nothing wanted is found so and there is
//! a quote in it, the whole line is read by the grammar.
//!
//! 64 bytes at a time, bit masks tell quotes, backslashes and brackets apart (Langdale and Lemire,
//! "Parsing gigabytes of JSON per second", 2019); a line is not split into a map and not copied.

mod escapes;
mod members;
mod nested;
mod strings;

pub use self::escapes::unescape;
pub use self::nested::members;

use self::members::{behind_colon, slashed_string, value_at, wanted};
use self::nested::find_slowly;
pub(super) use self::strings::find_escaped;
use self::strings::{Before, Strings};
use crate::scan::fields::{Keys, Line, Names, Rows};
use crate::scan::order::Order;
use crate::scan::simd::{Level, Masks, Places, STRIPE_BYTES, any_of, dispatch, stripes};

/// What stands before the object of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prefix {
    /// Blanks at most; a line that begins otherwise has no members.
    Refuse,
    /// Anything; the object begins at the first `{`, and where that one has none of the wanted members,
    /// further objects of the line may have them.
    Skip,
}

/// Scans a block of whole lines, each ended by `\n`, and hands every line to `rows`.
///
/// What follows the last `\n` is left alone. Plain lines are expected; where one is not, the full
/// scan takes over, for the longer the sooner the next such line came.
pub fn scan<'a, R: Rows<'a>>(block: &'a [u8], keys: &Keys, prefix: Prefix, rows: &mut R) {
    if keys.lead_deeper() {
        nested::scan(block, keys, prefix, rows);
    } else {
        scan_at(Level::best(), block, keys, prefix, rows);
    }
}

fn scan_at<'a, R: Rows<'a>>(
    level: Level,
    block: &'a [u8],
    keys: &Keys,
    prefix: Prefix,
    rows: &mut R,
) {
    let mut rest = block;
    let mut full_bytes = 1;
    loop {
        let plain = scan_plain(level, rest, keys, prefix, rows);
        full_bytes = if plain < STRIPE_BYTES { MOST_FULL_BYTES.min(full_bytes * 2) } else { 1 };
        rest = &rest[plain..];
        let Some(behind) = rest.get(full_bytes..) else {
            return scan_full(level, rest, keys, prefix, rows);
        };
        let end = memchr::memchr(b'\n', behind).map_or(rest.len(), |at| full_bytes + at + 1);
        scan_full(level, &rest[..end], keys, prefix, rows);
        rest = &rest[end..];
    }
}

/// The full scan is used for so many bytes at most before plain lines are expected again.
const MOST_FULL_BYTES: usize = 64 << 10;

dispatch! {
    /// Scans any lines.
    fn scan_full['a, R: Rows<'a>](block: &'a [u8], keys: &Keys, prefix: Prefix, rows: &mut R)
        = full_with
}

#[inline(always)]
fn full_with<'a, M: Masks, R: Rows<'a>>(
    masks: M,
    block: &'a [u8],
    keys: &Keys,
    prefix: Prefix,
    rows: &mut R,
) {
    match *first_bytes(keys) {
        [a] => full_masked::<M, R, 1>(masks, block, keys, prefix, rows, [a]),
        [a, b] => full_masked::<M, R, 2>(masks, block, keys, prefix, rows, [a, b]),
        [a, b, c] => full_masked::<M, R, 3>(masks, block, keys, prefix, rows, [a, b, c]),
        _ => full_masked::<M, R, 0>(masks, block, keys, prefix, rows, []),
    }
}

/// The first bytes of the names, by which strings are told apart that may be names, if none of them
/// could be taken for structure; without them strings with something behind them are looked at.
#[inline(always)]
fn first_bytes(keys: &Keys) -> &[u8] {
    let first = keys.first_bytes();
    let like_structure = |byte: &u8| matches!(byte, b'"' | b'[' | b'\\' | b']' | b'{' | b'}');
    if first.iter().any(like_structure) { &[] } else { first }
}

dispatch! {
    /// Scans plain lines: those that begin with a brace and have no backslash, no `|` and no other
    /// bracket but as their last byte, at least up to the last of the wanted members, and whose
    /// strings all end.
    ///
    /// Answers where a line begins from which on nothing was handed over: the first that is not
    /// plain, or one that stands some lines before a string that does not end.
    fn scan_plain['a, R: Rows<'a>](block: &'a [u8], keys: &Keys, prefix: Prefix, rows: &mut R)
        -> usize = plain_with
}

#[inline(always)]
fn plain_with<'a, M: Masks, R: Rows<'a>>(
    masks: M,
    block: &'a [u8],
    keys: &Keys,
    prefix: Prefix,
    rows: &mut R,
) -> usize {
    match *first_bytes(keys) {
        [a] => plain_masked::<M, R, 1>(masks, block, keys, prefix, rows, [a]),
        [a, b] => plain_masked::<M, R, 2>(masks, block, keys, prefix, rows, [a, b]),
        [a, b, c] => plain_masked::<M, R, 3>(masks, block, keys, prefix, rows, [a, b, c]),
        _ => plain_masked::<M, R, 0>(masks, block, keys, prefix, rows, []),
    }
}

#[inline(always)]
fn plain_masked<'a, M: Masks, R: Rows<'a>, const N: usize>(
    masks: M,
    block: &'a [u8],
    keys: &Keys,
    prefix: Prefix,
    rows: &mut R,
    first: [u8; N],
) -> usize {
    let mut reader = Reader::new(block, keys, prefix);
    let mut strings = Strings::default();
    let mut places = Places::new();
    let mut line_begins = 1u64;
    for (start, stripe) in stripes(block, &mut [0; 64]) {
        places.clear();
        let mut torn = 0;
        for (index, bytes) in stripe.iter().enumerate() {
            let chunk = masks.load(bytes);
            let newlines = masks.eq(chunk, b'\n');
            let quotes = masks.eq(chunk, b'"');
            let inside = strings.inside_whole_lines(masks, quotes);
            torn |= newlines & inside;
            let names = if N == 0 {
                // Of values, which a comma follows or the last bracket, none need be looked at.
                strings.behind(quotes & !inside) & !masks.eq(chunk, b',')
            } else {
                strings.behind(quotes & inside) & any_of(masks, chunk, first)
            };
            let outermost = (newlines << 1 | line_begins) | newlines >> 1;
            line_begins = newlines >> 63;
            let found = newlines | (names | masks.odd(chunk)) & !outermost;
            places.add::<2>(start + index * 64, found);
        }
        if torn != 0 {
            return reader.line.start;
        }
        for &at in places.list() {
            if !reader.plain_place::<N>(at as usize, rows) {
                return reader.line.start;
            }
        }
    }
    reader.line.start
}

#[inline(always)]
fn full_masked<'a, M: Masks, R: Rows<'a>, const N: usize>(
    masks: M,
    block: &'a [u8],
    keys: &Keys,
    prefix: Prefix,
    rows: &mut R,
    first: [u8; N],
) {
    let mut reader = Reader::new(block, keys, prefix);
    let mut strings = Strings::default();
    let mut before = Before { active: prefix == Prefix::Skip };
    let mut places = Places::new();
    // Bit 0 when the next chunk begins with a line.
    let mut line_begins = 1u64;
    for (start, stripe) in stripes(block, &mut [0; 64]) {
        places.clear();
        for (index, bytes) in stripe.iter().enumerate() {
            let chunk = masks.load(bytes);
            let newlines = masks.eq(chunk, b'\n');
            let mut quotes = masks.eq(chunk, b'"');
            let mut backslashes = masks.eq(chunk, b'\\');
            let brackets = masks.brackets(chunk);
            let mut text = 0;
            if prefix == Prefix::Skip {
                text = before.text(bytes, newlines, brackets);
                quotes &= !text;
                backslashes &= !text;
            }
            let escaped = strings.escaped(backslashes);
            let quotes = quotes & !escaped;
            let inside = strings.inside(masks, quotes, newlines);
            let mut odd = brackets;
            let names = if N == 0 {
                quotes & inside
            } else {
                // What else is among the brackets must not be taken for the beginning of a name.
                let first = any_of(masks, chunk, first);
                odd &= !first;
                strings.behind(quotes & inside) & first
            };
            // The brace that begins a line, and what stands last on it, need no look.
            let outermost = (newlines << 1 | line_begins) | newlines >> 1;
            line_begins = newlines >> 63;
            let structure = odd & !(inside | text | outermost);
            // A name may hold an escape anywhere, not just at its beginning.
            let slashes = backslashes & inside & !escaped;
            places.add::<2>(start + index * 64, newlines | names | structure | slashes);
        }
        for &at in places.list() {
            reader.place::<N>(at as usize, rows);
        }
    }
}

/// Looks at the places that were found, in their order.
struct Reader<'a, 'k> {
    block: &'a [u8],
    keys: &'k Keys,
    names: Names<'k>,
    order: Order,
    prefix: Prefix,
    stop: u32,
    line: Line<'a>,
    depth: u32,
    /// All was found, or nothing more can be: the rest of the line is passed over.
    done: bool,
    /// Whether there is a quote before the first object of the line, once that has begun.
    quoted_before: Option<bool>,
    /// Where a string with escapes that is no name ends.
    passed: usize,
}

impl<'a, 'k> Reader<'a, 'k> {
    #[inline(always)]
    fn new(block: &'a [u8], keys: &'k Keys, prefix: Prefix) -> Self {
        let mut reader = Reader {
            block,
            keys,
            names: Names::as_written(keys, b'"', |byte| matches!(byte, b'"' | b'\\')),
            order: Order::new(),
            prefix,
            stop: keys.stop(),
            line: Line::new(0),
            depth: 0,
            done: false,
            quoted_before: None,
            passed: 0,
        };
        reader.begin_line(0);
        reader
    }

    /// A bracket that begins the line is not among the places.
    #[inline(always)]
    fn begin_line(&mut self, at: usize) {
        let first = self.block.get(at);
        self.depth = u32::from(first == Some(&b'{'));
        // With a prefix to skip it is part of that.
        self.done = self.depth == 0
            && self.prefix == Prefix::Refuse
            && matches!(first, Some(b'[' | b'}' | b']'));
    }

    /// `N` is the number of first bytes by which names were found; without any, every string is
    /// among the places, by its quote.
    #[inline(always)]
    fn place<const N: usize>(&mut self, at: usize, rows: &mut impl Rows<'a>) {
        let Some(&byte) = self.block.get(at) else { return };
        if byte == b'\n' {
            if self.quoted_before.take() == Some(true) && self.line.found == 0 {
                find_slowly(self.block, self.line.start, self.keys, self.prefix, &mut self.line);
            }
            self.line.finish(self.block, at, rows);
            self.begin_line(at + 1);
        } else if self.done {
        } else if self.depth == 1 && !matches!(byte, b'{' | b'}' | b'[' | b']' | b'\\') {
            if N > 0 || byte == b'"' {
                self.string(at + usize::from(N == 0));
            }
        } else {
            self.rare(at, byte);
        }
    }

    /// The same in a line that has been plain up to here; false when it no longer is.
    #[inline(always)]
    fn plain_place<const N: usize>(&mut self, at: usize, rows: &mut impl Rows<'a>) -> bool {
        let Some(&byte) = self.block.get(at) else { return true };
        if byte == b'\n' {
            self.line.finish(self.block, at, rows);
            self.order.begin_line();
            self.begin_line(at + 1);
        } else if !self.done {
            if self.depth == 0 || matches!(byte, b'['..=b']' | b'{'..=b'}') {
                return false;
            }
            if N > 0 {
                self.string(at);
            } else if let Some(key) = self.order.before(&self.names, self.block, at)
                && let Some(value) = behind_colon(self.block, at)
            {
                self.keep(key, value);
            }
        }
        true
    }

    /// A string at depth one, whose inside begins at `at`.
    #[inline(always)]
    fn string(&mut self, at: usize) {
        if let Some((key, value)) = wanted(self.block, &self.names, at) {
            self.keep(key, value);
        }
    }

    /// Keeps the value that begins at `value`.
    #[inline(always)]
    fn keep(&mut self, key: usize, value: usize) {
        self.line.keep(key, value_at(self.block, value));
        self.done = self.line.found & self.stop == self.stop;
    }

    /// Brackets and escapes.
    #[inline(always)]
    fn rare(&mut self, at: usize, byte: u8) {
        match byte {
            // Text between two objects.
            b'[' if self.depth == 0 && self.prefix == Prefix::Skip => {}
            b'{' | b'[' => {
                if self.depth == 0 {
                    self.begin(at, byte);
                }
                self.depth = self.depth.saturating_add(1);
            }
            b'}' | b']' => {
                // The end of the object, or of something that is none.
                self.done = self.depth <= 1 && self.prefix == Prefix::Refuse;
                self.depth = self.depth.saturating_sub(1);
            }
            b'\\' if self.depth == 1 && at >= self.passed => {
                let (end, is_name) = slashed_string(self.block, at);
                self.passed = end;
                if is_name {
                    find_slowly(self.block, self.brace(), self.keys, self.prefix, &mut self.line);
                    self.done = true;
                }
            }
            _ => {}
        }
    }

    /// What is outermost begins at `at`.
    #[inline(always)]
    fn begin(&mut self, at: usize, byte: u8) {
        let before = &self.block[self.line.start..at];
        if self.prefix == Prefix::Skip {
            self.quoted_before.get_or_insert_with(|| memchr::memchr(b'"', before).is_some());
        } else {
            let is_blank = |b: &u8| matches!(b, b' ' | b'\t' | b'\r');
            self.done = byte != b'{' || !before.iter().all(is_blank);
        }
    }

    /// Where the object of the line begins, which it may.
    fn brace(&self) -> usize {
        let line = &self.block[self.line.start..];
        self.line.start + memchr::memchr(b'{', line).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests;
