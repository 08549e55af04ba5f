//! JSON lines: finds the wanted members of the object on each line.
//!
//! Only members of the outermost object count, whatever is nested in them. The first member of a
//! name that has a value wins, so that a line is left as soon as all needed keys were found; what
//! follows is not looked at and need not be valid. A name may be written with escapes. Strings and
//! numbers are handed back as they stand in the line (without the quotes; [`unescape`] resolves
//! escapes); `null`, objects and arrays count as absent.
//!
//! 64 bytes at a time, bit masks tell quotes, backslashes and brackets apart (Langdale and Lemire,
//! "Parsing gigabytes of JSON per second", 2019); a line is not split into a map and not copied.

use std::borrow::Cow;

use crate::fields::{Keys, Line, Rows};
use crate::simd::{Masks, any_of, dispatch, padded};

/// What stands before the object of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prefix {
    /// Blanks at most; a line that begins otherwise has no members.
    Refuse,
    /// Anything; the object begins at the first `{` (`--skip-until-json`).
    Skip,
}

dispatch! {
    /// Scans a block of whole lines, each ended by `\n`, and hands every line to `rows`.
    ///
    /// What follows the last `\n` is left alone.
    pub fn scan['a, R: Rows<'a>](block: &'a [u8], keys: &Keys, prefix: Prefix, rows: &mut R)
        = scan_with
}

/// Where in its line the scan stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Before the outermost object.
    Prefix,
    /// In it.
    Object,
    /// All was found, or the object has ended: the rest of the line is passed over.
    Done,
}

#[inline(always)]
fn scan_with<'a, M: Masks, R: Rows<'a>>(
    block: &'a [u8],
    keys: &Keys,
    prefix: Prefix,
    rows: &mut R,
) {
    match *keys.first_bytes() {
        [a] => scan_masked::<M, R, 1>(block, keys, prefix, rows, [a]),
        [a, b] => scan_masked::<M, R, 2>(block, keys, prefix, rows, [a, b]),
        [a, b, c] => scan_masked::<M, R, 3>(block, keys, prefix, rows, [a, b, c]),
        _ => scan_masked::<M, R, 0>(block, keys, prefix, rows, []),
    }
}

#[inline(always)]
fn scan_masked<'a, M: Masks, R: Rows<'a>, const N: usize>(
    block: &'a [u8],
    keys: &Keys,
    prefix: Prefix,
    rows: &mut R,
    first: [u8; N],
) {
    let stop = keys.stop();
    let mut line = Line::new(0);
    let mut place = Place::Prefix;
    let mut depth = 0u64;
    let mut in_string = 0u64; // all ones while a string goes on into the next chunk
    let mut escaped_next = 0u64; // bit 0 when the first byte of the next chunk is escaped
    let mut passed = 0usize; // a string with escapes that is no name ends here
    let mut opened = 0u64; // bit 0 when the next chunk begins just behind an opening quote
    let (whole, rest) = block.as_chunks::<64>();
    let tail = padded(rest);
    for index in 0..whole.len() + usize::from(!rest.is_empty()) {
        let bytes = whole.get(index).unwrap_or(&tail);
        let base = index * 64;
        let chunk = M::load(bytes);
        let newlines = M::eq(chunk, b'\n');
        if place == Place::Done && newlines == 0 {
            continue;
        }
        let quotes = M::eq(chunk, b'"');
        let backslashes = M::eq(chunk, b'\\');
        let opening = M::eq_with_bit5(chunk, b'{');
        let closing = M::eq_with_bit5(chunk, b'}');
        let letters = any_of::<M, N>(chunk, first);
        let mut left = !0u64;
        // One turn for each line, or part of one, in the chunk.
        loop {
            let newline = newlines & left;
            let newline = newline & newline.wrapping_neg();
            let mut segment = left & newline.wrapping_sub(1);
            if place == Place::Prefix {
                place = enter(block, base, opening & segment, prefix, line.start, &mut segment);
                (depth, in_string, escaped_next, opened) = (0, 0, 0, 0);
            }
            if place == Place::Object {
                let mut escaped = 0;
                let slashes = backslashes & segment;
                if slashes | escaped_next != 0 {
                    (escaped, escaped_next) = find_escaped(slashes, escaped_next);
                }
                let quotes = quotes & segment & !escaped;
                let inside = M::prefix_xor(quotes) ^ in_string;
                in_string = ((inside as i64) >> 63) as u64;
                let begin = quotes & inside;
                let names = (begin << 1 | opened) & segment & letters;
                opened = begin >> 63;
                let structure = (opening | closing) & segment & !inside;
                // A name may hold an escape anywhere, not just at its beginning.
                let slashes = slashes & inside & !escaped;
                let mut events = names | structure | slashes;
                while events != 0 {
                    let bit = events & events.wrapping_neg();
                    events ^= bit;
                    let at = base + bit.trailing_zeros() as usize;
                    if structure & bit != 0 {
                        if opening & bit != 0 {
                            depth += 1;
                        } else if depth <= 1 {
                            place = Place::Done;
                            break;
                        } else {
                            depth -= 1;
                        }
                    } else if depth == 1 {
                        if slashes & bit != 0 {
                            if at < passed {
                                continue;
                            }
                            let (end, is_name) = slashed_string(block, at);
                            if is_name {
                                find_slowly(block, keys, &mut line);
                                place = Place::Done;
                                break;
                            }
                            passed = end;
                        } else if let Some((key, value)) = wanted(block, keys, at) {
                            let closing_quotes = if value - base < 63 && block[value] == b'"' {
                                quotes & !0 << (value - base) << 1
                            } else {
                                0
                            };
                            let text = if closing_quotes != 0 {
                                &block[value + 1..base + closing_quotes.trailing_zeros() as usize]
                            } else {
                                value_at(block, value)
                            };
                            line.keep(key, text);
                            if line.found & stop == stop {
                                place = Place::Done;
                                break;
                            }
                        }
                    }
                }
            }
            if newline == 0 {
                break;
            }
            line.finish(block, base + newline.trailing_zeros() as usize, rows);
            place = Place::Prefix;
            left = !(newline | newline.wrapping_sub(1));
        }
    }
}

/// Looks for the beginning of the object in a segment that begins before it, and cuts what stands
/// before it off the segment.
#[inline(always)]
fn enter(
    block: &[u8],
    base: usize,
    mut opening: u64,
    prefix: Prefix,
    line: usize,
    segment: &mut u64,
) -> Place {
    while opening != 0 {
        let at = base + opening.trailing_zeros() as usize;
        if block[at] == b'{' {
            let blank = || block[line..at].iter().all(|b| matches!(b, b' ' | b'\t' | b'\r'));
            if prefix == Prefix::Refuse && at != line && !blank() {
                return Place::Done;
            }
            *segment &= !(opening & opening.wrapping_neg()).wrapping_sub(1);
            return Place::Object;
        }
        opening &= opening - 1;
    }
    Place::Prefix
}

/// Which bytes are escaped by a backslash: (mask, bit 0 for the first byte of the next chunk).
#[inline(always)]
fn find_escaped(backslashes: u64, escaped_first: u64) -> (u64, u64) {
    const EVEN: u64 = 0x5555_5555_5555_5555;
    let backslashes = backslashes & !escaped_first;
    let follows = backslashes << 1 | escaped_first;
    let odd_starts = backslashes & !EVEN & !follows;
    let (sequences, overflow) = odd_starts.overflowing_add(backslashes);
    ((EVEN ^ (sequences << 1)) & follows, u64::from(overflow))
}

/// The wanted key whose name begins at `at` (behind its quote), and where its value begins.
#[inline(always)]
fn wanted(block: &[u8], keys: &Keys, at: usize) -> Option<(usize, usize)> {
    let (index, key) = keys.at(block, at, b'"')?;
    Some((index, behind_colon(block, at + key.name.len() + 1)?))
}

/// Where the value begins, when a colon comes next.
#[inline(always)]
fn behind_colon(block: &[u8], from: usize) -> Option<usize> {
    let colon = skip_blanks(block, from);
    let value = skip_blanks(block, colon + 1);
    (block.get(colon) == Some(&b':') && value < block.len()).then_some(value)
}

#[inline(always)]
fn skip_blanks(block: &[u8], mut at: usize) -> usize {
    while matches!(block.get(at), Some(b' ' | b'\t' | b'\r')) {
        at += 1;
    }
    at
}

/// The text of the value that begins at `at`: a string's inside, or a number or word; empty for
/// `null`, an object, an array, or a string that does not end on its line.
#[inline(always)]
fn value_at(block: &[u8], at: usize) -> &[u8] {
    if block.get(at) == Some(&b'"') {
        return string_end(block, at + 1).map_or(&[], |end| &block[at + 1..end]);
    }
    let rest = block.get(at..).unwrap_or_default();
    let length = rest
        .iter()
        .position(|b| matches!(b, b',' | b'}' | b']' | b' ' | b'\t' | b'\r' | b'\n' | b'{' | b'['))
        .unwrap_or(rest.len());
    if &rest[..length] == b"null" { &[] } else { &rest[..length] }
}

/// The closing quote of the string whose inside begins at `from`.
#[inline(always)]
fn string_end(block: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    loop {
        match block.get(at)? {
            b'"' => return Some(at),
            b'\\' if block.get(at + 1) != Some(&b'\n') => at += 2,
            b'\n' => return None,
            _ => at += 1,
        }
    }
}

/// Of the string with a backslash at `at`: where it ends, and whether it is the name of a member.
#[cold]
fn slashed_string(block: &[u8], at: usize) -> (usize, bool) {
    match string_end(block, at) {
        Some(end) => (end, behind_colon(block, end + 1).is_some()),
        None => (at + block[at..].iter().position(|&b| b == b'\n').unwrap_or(0), false),
    }
}

/// Reads a line whose names have escapes, from its beginning, byte by byte.
#[cold]
fn find_slowly<'a>(block: &'a [u8], keys: &Keys, line: &mut Line<'a>) {
    let start = line.start;
    *line = Line::new(start);
    let mut depth = 0usize;
    let mut at = start;
    // The caller has seen that the object may begin where the first brace stands.
    while block[at] != b'{' {
        at += 1;
    }
    loop {
        match block.get(at) {
            None | Some(b'\n') => return,
            Some(b'{' | b'[') => depth += 1,
            Some(b'}' | b']') if depth <= 1 => return,
            Some(b'}' | b']') => depth -= 1,
            Some(b'"') => {
                let Some(end) = string_end(block, at + 1) else { return };
                if depth == 1
                    && let Some(value) = behind_colon(block, end + 1)
                {
                    let name = unescape(&block[at + 1..end]);
                    if let Some(key) = keys.list().iter().position(|key| *key.name == *name) {
                        line.keep(key, value_at(block, value));
                        if line.found & keys.stop() == keys.stop() {
                            return;
                        }
                    }
                }
                at = end;
            }
            Some(_) => {}
        }
        at += 1;
    }
}

/// Resolves the escapes of a string's inside (RFC 8259, section 7); borrows when there are none.
///
/// An escape that is none stays as it stands; a surrogate without its other half becomes U+FFFD.
pub fn unescape(text: &[u8]) -> Cow<'_, [u8]> {
    let Some(first) = text.iter().position(|&b| b == b'\\') else { return Cow::Borrowed(text) };
    let mut out = text[..first].to_vec();
    let mut rest = &text[first..];
    while let Some((&byte, after)) = rest.split_first() {
        if byte != b'\\' {
            out.push(byte);
            rest = after;
            continue;
        }
        let plain = match after.first() {
            Some(b'"') => b'"',
            Some(b'\\') => b'\\',
            Some(b'/') => b'/',
            Some(b'b') => 8,
            Some(b'f') => 12,
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(b'u') => {
                let (character, used) = unicode_escape(rest);
                if used > 0 {
                    out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                    rest = &rest[used..];
                    continue;
                }
                out.push(b'\\');
                rest = after;
                continue;
            }
            _ => {
                out.push(b'\\');
                rest = after;
                continue;
            }
        };
        out.push(plain);
        rest = &after[1..];
    }
    Cow::Owned(out)
}

/// The character of a `\uXXXX` or a surrogate pair at the beginning of `text`, and its length.
fn unicode_escape(text: &[u8]) -> (char, usize) {
    let unit = |at: usize| -> Option<u32> {
        let escape = text.get(at..at + 6)?;
        let digits = escape.strip_prefix(b"\\u")?;
        digits.iter().try_fold(0, |value, &b| Some(value * 16 + (b as char).to_digit(16)?))
    };
    match (unit(0), unit(6)) {
        (Some(high @ 0xd800..=0xdbff), Some(low @ 0xdc00..=0xdfff)) => {
            let code = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
            (char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER), 12)
        }
        (Some(code), _) => (char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER), 6),
        (None, _) => ('\0', 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fields::Values;
    use proptest::prelude::*;

    type Row = (Vec<u8>, Vec<Vec<u8>>);

    fn needed(names: &[&str]) -> Keys {
        Keys::new(&names.iter().map(|n| (n.as_bytes(), true)).collect::<Vec<_>>()).unwrap()
    }

    fn rows(block: &[u8], keys: &Keys, prefix: Prefix) -> Vec<Row> {
        let mut rows: Vec<Row> = Vec::new();
        scan(block, keys, prefix, &mut |line: &[u8], values: &Values<'_>| {
            rows.push((line.to_vec(), values[..keys.count()].iter().map(|v| v.to_vec()).collect()));
        });
        let mut portable: Vec<Row> = Vec::new();
        let mut push = |line: &[u8], values: &Values<'_>| {
            portable
                .push((line.to_vec(), values[..keys.count()].iter().map(|v| v.to_vec()).collect()));
        };
        scan_with::<crate::simd::Portable, _>(block, keys, prefix, &mut push);
        assert_eq!(rows, portable);
        rows
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
