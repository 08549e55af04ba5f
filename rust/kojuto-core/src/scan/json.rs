//! JSON lines: finds the wanted members of the object on each line.
//!
//! Only members of the outermost object count, whatever is nested in them. The first member of a
//! name that has a value wins, so that a line is left as soon as all needed keys were found; what
//! follows is not looked at and need not be valid. A name may be written with escapes. Strings and
//! numbers are handed back as they stand in the line (without the quotes; [`unescape`] resolves
//! escapes); `null`, objects and arrays count as absent. What is found in a line that is no JSON
//! is open, but it stands in that line.
//!
//! 64 bytes at a time, bit masks tell quotes, backslashes and brackets apart (Langdale and Lemire,
//! "Parsing gigabytes of JSON per second", 2019); a line is not split into a map and not copied.

mod escapes;
mod members;
mod strings;

pub use self::escapes::unescape;

use self::members::{find_slowly, slashed_string, value_at, wanted};
use self::strings::{Before, Strings};
use crate::scan::fields::{Keys, Line, Names, Rows};
use crate::scan::simd::{Level, Masks, Places, STRIPE_BYTES, any_of, dispatch, stripes};

/// What stands before the object of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prefix {
    /// Blanks at most; a line that begins otherwise has no members.
    Refuse,
    /// Anything; the object begins at the first `{` (`--skip-until-json`).
    Skip,
}

/// Scans a block of whole lines, each ended by `\n`, and hands every line to `rows`.
///
/// What follows the last `\n` is left alone. Plain lines are expected; where one is not, the full
/// scan takes over, for the longer the sooner the next such line came.
pub fn scan<'a, R: Rows<'a>>(block: &'a [u8], keys: &Keys, prefix: Prefix, rows: &mut R) {
    scan_at(Level::best(), block, keys, prefix, rows);
}

fn scan_at<'a, R: Rows<'a>>(
    level: Level,
    block: &'a [u8],
    keys: &Keys,
    prefix: Prefix,
    rows: &mut R,
) {
    let separates = |byte: &u8| matches!(byte, b',' | b':');
    if prefix == Prefix::Skip || keys.list().iter().any(|key| key.name.iter().any(separates)) {
        return scan_full(level, block, keys, prefix, rows);
    }
    let mut rest = block;
    let mut full_bytes = 1;
    loop {
        let plain = scan_plain(level, rest, keys, rows);
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

/// The full scan is used for this many bytes, in whole lines, at most before plain lines are
/// expected again.
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
    match *keys.first_bytes() {
        [a] => full_masked::<M, R, 1>(masks, block, keys, prefix, rows, [a]),
        [a, b] => full_masked::<M, R, 2>(masks, block, keys, prefix, rows, [a, b]),
        [a, b, c] => full_masked::<M, R, 3>(masks, block, keys, prefix, rows, [a, b, c]),
        _ => full_masked::<M, R, 0>(masks, block, keys, prefix, rows, []),
    }
}

dispatch! {
    /// Scans plain lines: those without a backslash, a `|`, or a bracket but the first and the last
    /// byte. What stands in quotes there with a colon behind it is the name of a member, whichever
    /// quote is which: between two strings stands a comma or a colon, and no wanted name has one.
    ///
    /// Answers where the first line begins that is not plain, before all of its wanted members were
    /// found.
    fn scan_plain['a, R: Rows<'a>](block: &'a [u8], keys: &Keys, rows: &mut R) -> usize
        = plain_with
}

#[inline(always)]
fn plain_with<'a, M: Masks, R: Rows<'a>>(
    masks: M,
    block: &'a [u8],
    keys: &Keys,
    rows: &mut R,
) -> usize {
    match *keys.first_bytes() {
        [a] => plain_masked::<M, R, 1>(masks, block, keys, rows, [a]),
        [a, b] => plain_masked::<M, R, 2>(masks, block, keys, rows, [a, b]),
        [a, b, c] => plain_masked::<M, R, 3>(masks, block, keys, rows, [a, b, c]),
        _ => plain_masked::<M, R, 0>(masks, block, keys, rows, []),
    }
}

#[inline(always)]
fn plain_masked<'a, M: Masks, R: Rows<'a>, const N: usize>(
    masks: M,
    block: &'a [u8],
    keys: &Keys,
    rows: &mut R,
    first: [u8; N],
) -> usize {
    let mut reader = Reader::new(block, keys, Prefix::Refuse);
    let mut strings = Strings::default();
    let mut places = Places::new();
    let mut line_begins = 1u64;
    for (start, stripe) in stripes(block, &mut [0; 64]) {
        places.clear();
        for (index, bytes) in stripe.iter().enumerate() {
            let chunk = masks.load(bytes);
            let newlines = masks.eq(chunk, b'\n');
            let names = strings.beginnings(masks.eq(chunk, b'"')) & any_of(masks, chunk, first);
            let outermost = (newlines << 1 | line_begins) | newlines >> 1;
            line_begins = newlines >> 63;
            places.add(start + index * 64, newlines | names | masks.odd(chunk) & !outermost);
        }
        for &at in places.list() {
            if !reader.plain_place(at as usize, rows) {
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
            let names = strings.beginnings(quotes & inside) & any_of(masks, chunk, first);
            // The brace that begins a line, and what stands last on it, need no look.
            let outermost = (newlines << 1 | line_begins) | newlines >> 1;
            line_begins = newlines >> 63;
            let structure = brackets & !(inside | text | outermost);
            // A name may hold an escape anywhere, not just at its beginning.
            let slashes = backslashes & inside & !escaped;
            places.add(start + index * 64, newlines | names | structure | slashes);
        }
        for &at in places.list() {
            reader.place(at as usize, rows);
        }
    }
}

/// Looks at the places that were found, in their order.
struct Reader<'a, 'k> {
    block: &'a [u8],
    keys: &'k Keys,
    names: Names<'k>,
    prefix: Prefix,
    stop: u32,
    line: Line<'a>,
    depth: u32,
    /// All was found, or the object has ended: the rest of the line is passed over.
    done: bool,
    /// Where a string with escapes that is no name ends.
    passed: usize,
}

impl<'a, 'k> Reader<'a, 'k> {
    #[inline(always)]
    fn new(block: &'a [u8], keys: &'k Keys, prefix: Prefix) -> Self {
        let line = Line::new(0);
        let stop = keys.stop();
        let names = Names::new(keys, b'"');
        let mut reader =
            Reader { block, keys, names, prefix, stop, line, depth: 0, done: false, passed: 0 };
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

    #[inline(always)]
    fn place(&mut self, at: usize, rows: &mut impl Rows<'a>) {
        let Some(&byte) = self.block.get(at) else { return };
        if byte == b'\n' {
            self.line.finish(self.block, at, rows);
            self.begin_line(at + 1);
        } else if self.done {
        } else if self.depth == 1 && !matches!(byte, b'{' | b'}' | b'[' | b']' | b'\\') {
            if let Some((key, value)) = wanted(self.block, &self.names, at) {
                self.line.keep(key, value_at(self.block, value));
                self.done = self.line.found & self.stop == self.stop;
            }
        } else {
            self.rare(at, byte);
        }
    }

    /// The same in a line that has been plain up to here; false when it no longer is.
    #[inline(always)]
    fn plain_place(&mut self, at: usize, rows: &mut impl Rows<'a>) -> bool {
        let Some(&byte) = self.block.get(at) else { return true };
        if byte == b'\n' {
            self.line.finish(self.block, at, rows);
            self.begin_line(at + 1);
        } else if !self.done {
            if self.depth == 0 || matches!(byte, b'['..=b']' | b'{'..=b'}') {
                return false;
            }
            if let Some((key, value)) = wanted(self.block, &self.names, at) {
                self.line.keep(key, value_at(self.block, value));
                self.done = self.line.found & self.stop == self.stop;
            }
        }
        true
    }

    /// Brackets and escapes.
    #[inline(always)]
    fn rare(&mut self, at: usize, byte: u8) {
        match byte {
            b'{' | b'[' => {
                if self.depth == 0 {
                    self.done = !self.may_begin(at, byte);
                }
                self.depth = self.depth.saturating_add(1);
            }
            b'}' | b']' => {
                // The end of the object, or of something that is none.
                self.done = self.depth <= 1;
                self.depth = self.depth.saturating_sub(1);
            }
            b'\\' if self.depth == 1 && at >= self.passed => {
                let (end, is_name) = slashed_string(self.block, at);
                self.passed = end;
                if is_name {
                    find_slowly(self.block, self.keys, &mut self.line);
                    self.done = true;
                }
            }
            _ => {}
        }
    }

    /// Whether the outermost object of the line may begin at `at`.
    #[inline(always)]
    fn may_begin(&self, at: usize, byte: u8) -> bool {
        if byte != b'{' {
            return false;
        }
        let before = &self.block[self.line.start..at];
        before.is_empty()
            || self.prefix == Prefix::Skip
            || before.iter().all(|b| matches!(b, b' ' | b'\t' | b'\r'))
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;
    use crate::scan::fields::Values;
    use proptest::prelude::*;

    type Row = (Vec<u8>, Vec<Vec<u8>>);

    fn needed(names: &[&str]) -> Keys {
        Keys::new(&names.iter().map(|n| (n.as_bytes(), true)).collect::<Vec<_>>()).unwrap()
    }

    /// Takes rows as a scan hands them over.
    macro_rules! collect {
        ($keys:ident, |$rows:ident| $scan:expr) => {{
            let mut found: Vec<Row> = Vec::new();
            let $rows = &mut |line: &[u8], values: &Values<'_>| {
                let values = values[..$keys.count()].iter().map(|v| v.to_vec());
                found.push((line.to_vec(), values.collect()));
            };
            let answer = $scan;
            (answer, found)
        }};
    }

    /// The rows of a scan, after a look whether the other ways to them lead there too, at every
    /// level.
    fn rows(block: &[u8], keys: &Keys, prefix: Prefix) -> Vec<Row> {
        let at = |level: Level| {
            let ((), found) = collect!(keys, |rows| scan_at(level, block, keys, prefix, rows));
            let ((), full) = collect!(keys, |rows| scan_full(level, block, keys, prefix, rows));
            (found, full, collect!(keys, |rows| scan_plain(level, block, keys, rows)))
        };
        let best = at(Level::best());
        for level in Level::all() {
            assert_eq!(at(level), best, "{level:?}");
        }
        let (found, full, _) = best;
        assert_eq!(found.len(), full.len());
        for (found, full) in found.iter().zip(&full) {
            assert_eq!(found.0, full.0);
            if serde_json::from_slice::<serde::de::IgnoredAny>(&found.0).is_ok() {
                assert_eq!(found, full);
            }
        }
        found
    }

    fn one(line: &str) -> [String; 2] {
        let block = format!("{line}\n");
        let rows = rows(block.as_bytes(), &needed(&["ptime", "status"]), Prefix::Refuse);
        assert_eq!(rows.len(), 1);
        [0, 1].map(|i| String::from_utf8(rows[0].1[i].clone()).unwrap())
    }

    #[test]
    fn members_of_the_outermost_object_count_and_no_others() {
        assert_eq!(one(r#"{"status":200,"ptime":0.1}"#), ["0.1", "200"]);
        assert_eq!(one(r#" { "ptime" : "0.1" , "status" : "200" } "#), ["0.1", "200"]);
        assert_eq!(one(r#"{"a":{"status":1,"ptime":2},"ptime":3,"status":4}"#), ["3", "4"]);
        assert_eq!(one(r#"{"a":[{"status":1},{"ptime":2}],"ptime":3}"#), ["3", ""]);
        assert_eq!(one(r#"{"a":"\"status\":1","status":2,"ptime":3}"#), ["3", "2"]);
        assert_eq!(one(r#"{"a":"status","ptime":3}"#), ["3", ""]);
        assert_eq!(one(r#"[{"status":1,"ptime":2}]"#), ["", ""]);
        assert_eq!(one(r#"{"a":1} {"status":1,"ptime":2}"#), ["", ""]);
        assert_eq!(one(r#"x {"status":1,"ptime":2}"#), ["", ""]);
        assert_eq!(one(""), ["", ""]);
    }

    #[test]
    fn the_first_member_with_a_value_wins() {
        assert_eq!(one(r#"{"status":1,"status":2,"ptime":3,"ptime":4}"#), ["3", "1"]);
        assert_eq!(one(r#"{"status":"-","status":2,"ptime":null,"ptime":4}"#), ["4", "2"]);
        assert_eq!(one(r#"{"status":{},"ptime":[1],"status":"","status":5}"#), ["", "5"]);
    }

    #[test]
    fn names_may_be_written_with_escapes() {
        assert_eq!(one(r#"{"\u0073tatus":200,"pt\u0069me":0.1}"#), ["0.1", "200"]);
        assert_eq!(one(r#"{"u\\":"\\","statu\u0073":200,"status":1,"ptime":5}"#), ["5", "200"]);
        assert_eq!(one(r#"{"sta\tus":200,"ptime":"a\/b"}"#), ["a\\/b", ""]);
    }

    #[test]
    fn text_before_the_object_is_passed_over_when_asked() {
        let block = b"2025 \"x {\"status\":1,\"ptime\":2}\nnone\n[{\"status\":3,\"ptime\":4}\n";
        let rows = rows(block, &needed(&["ptime", "status"]), Prefix::Skip);
        assert_eq!(rows[0].1, [b"2", b"1"]);
        assert_eq!(rows[1].1, [b"", b""]);
        assert_eq!(rows[2].1, [b"4", b"3"]);
    }

    #[test]
    fn lines_that_are_plain_and_lines_that_are_not_may_come_in_any_order() {
        let plain = r#"{"uri":"/a","status":"200","ptime":0.5,"ua":"x"}"#;
        let nested = r#"{"a":{"status":"x"},"status":"200","ptime":0.5}"#;
        let escaped = r#"{"ua":"\"status\":1","status":"200","ptime":0.5}"#;
        let late = r#"{"status":"200","ptime":0.5,"a":[{"status":"x"}]}"#;
        let keys = needed(&["ptime", "status"]);
        for every in [1, 2, 3, 50, 400, 5_000] {
            let lines: Vec<&str> = (0..10_000)
                .map(|n| match n % every {
                    0 => [nested, escaped, late][n / every % 3],
                    _ => plain,
                })
                .collect();
            let rows = rows((lines.join("\n") + "\n").as_bytes(), &keys, Prefix::Refuse);
            assert_eq!(rows.len(), lines.len());
            for (row, line) in rows.iter().zip(&lines) {
                assert_eq!(row.0, line.as_bytes());
                assert_eq!(row.1, [b"0.5".to_vec(), b"200".to_vec()], "{line}");
            }
        }
    }

    #[test]
    fn names_that_may_stand_between_two_strings_are_told_from_them() {
        for level in Level::all() {
            let (line, keys) = (br#"{"a":"b",":":1}"#, needed(&["x"]));
            assert_eq!(scan_plain(level, line, &keys, &mut |_: &[u8], _: &_| ()), 0);
        }
        let rows = rows(b"{\"a\":\"b\",\":\":1,\",\":2}\n", &needed(&[",", ":"]), Prefix::Refuse);
        assert_eq!(rows[0].1, [b"2", b"1"]);
    }

    #[test]
    fn a_broken_line_does_not_harm_the_next() {
        for broken in [r#"{"status":"20"#, r#"{"a\"#, r#"{"a":[[["#, r#""""#, "}", r#"{"status":"#]
        {
            let block = format!("{broken}\n{{\"status\":1,\"ptime\":2}}\n");
            let rows = rows(block.as_bytes(), &needed(&["ptime", "status"]), Prefix::Refuse);
            assert_eq!(rows[0].1, [b"", b""], "{broken}");
            assert_eq!(rows[1].1, [b"2", b"1"], "{broken}");
        }
    }

    #[test]
    fn escapes_are_resolved() {
        assert_eq!(
            &*unescape(br#"a\/\u3042\ud83d\ude00\n\x\u12"#),
            "a/\u{3042}\u{1f600}\n\\x\\u12".as_bytes()
        );
        assert_eq!(&*unescape(br"\ud800x"), "\u{fffd}x".as_bytes());
        assert!(matches!(unescape(b"plain"), Cow::Borrowed(_)));
    }

    /// A member's value as written, and what a scan should hand back for it.
    fn value() -> impl Strategy<Value = (String, String)> {
        prop_oneof![
            "[0-9]{1,5}(\\.[0-9]{1,3})?".prop_map(|n| (n.clone(), n)),
            r#"([ -!#-\[\]-~]|\\[\\"/bn]|\\u00[67][0-9]){0,70}"#
                .prop_map(|s| (format!("\"{s}\""), if s == "-" { String::new() } else { s })),
            Just(("null".to_owned(), String::new())),
            Just((r#"{"status":9,"ptime":[{"ptime":8}],"x":"}"}"#.to_owned(), String::new())),
            Just((r#"[1,"status",{"status":7}]"#.to_owned(), String::new())),
        ]
    }

    fn name() -> impl Strategy<Value = (String, &'static str)> {
        prop::sample::select(vec![
            ("status", "status"),
            ("ptime", "ptime"),
            (r"pt\u0069me", "ptime"),
            ("st", ""),
            ("statuss", ""),
            (r#"st\"atus"#, ""),
            (r"x\\", ""),
            ("", ""),
        ])
        .prop_map(|(written, name)| (format!("\"{written}\""), name))
    }

    proptest! {
        #[test]
        fn every_object_is_read_as_it_was_built(
            lines in prop::collection::vec(
                prop::collection::vec((name(), value(), " {0,3}"), 0..9), 0..9),
        ) {
            let mut block = String::new();
            let mut expected = Vec::new();
            for members in &lines {
                let written: Vec<String> = members.iter()
                    .map(|((name, _), (value, _), gap)| format!("{gap}{name}{gap}:{gap}{value}{gap}"))
                    .collect();
                block += &format!("{{{}}}\n", written.join(","));
                expected.push(["ptime", "status"].map(|wanted| members.iter()
                    .find(|((_, name), (_, text), _)| *name == wanted && !text.is_empty())
                    .map_or(Vec::new(), |(_, (_, text), _)| text.clone().into_bytes())).to_vec());
            }
            let rows = rows(block.as_bytes(), &needed(&["ptime", "status"]), Prefix::Refuse);
            let found: Vec<_> = rows.into_iter().map(|(_, values)| values).collect();
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn any_bytes_end_well_and_keep_their_lines(
            bytes in prop::collection::vec(prop::sample::select(
                br#"{}[]":,\ -ptimestatus01"#.iter().copied().chain([b'\n']).collect::<Vec<_>>()), 0..400),
        ) {
            for prefix in [Prefix::Refuse, Prefix::Skip] {
                let rows = rows(&bytes, &needed(&["ptime", "status"]), prefix);
                let whole = bytes.iter().rposition(|&b| b == b'\n').map_or(&[][..], |end| &bytes[..end + 1]);
                let again: Vec<u8> = rows.iter().flat_map(|(line, _)| [line, &b"\n"[..]].concat()).collect();
                prop_assert_eq!(again, whole);
            }
        }
    }
}
