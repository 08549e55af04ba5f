//! Labeled tab-separated values (ltsv.org): finds the wanted labels of each line.
//!
//! Fields are parted by tabs, label and value by the first colon. The first field of a label that
//! has a value wins. A line is not split into a map and not copied: 64 bytes at a time, the places
//! where a field begins with the first letter of a wanted label are found, and only those are
//! looked at; with many letters all fields are, each for the label that stood there in the line
//! before.

use crate::scan::fields::{Keys, Line, Names, Rows};
use crate::scan::order::Order;
use crate::scan::simd::{Level, Masks, Places, any_of, dispatch, find_any, stripes};

/// Scans a block of whole lines, each ended by `\n`, and hands every line to `rows`.
///
/// What follows the last `\n` is left alone.
pub fn scan<'a, R: Rows<'a>>(block: &'a [u8], keys: &Keys, rows: &mut R) {
    scan_at(Level::best(), block, keys, rows);
}

dispatch! {
    fn scan_at['a, R: Rows<'a>](block: &'a [u8], keys: &Keys, rows: &mut R) = scan_with
}

/// The same for lines whose beginning, up to the first `{`, does not count (a line without one
/// counts whole).
pub fn scan_behind_brace<'a, R: Rows<'a>>(block: &'a [u8], keys: &Keys, rows: &mut R) {
    let names = Names::new(keys, b':');
    let mut state = Line::new(0);
    for end in memchr::memchr_iter(b'\n', block) {
        let line = &block[state.start..end];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let from = memchr::memchr(b'{', line).unwrap_or(0);
        for field in line[from..].split(|&b| b == b'\t') {
            if let Some((key, value)) = names.at(field, 0) {
                state.keep(key, &field[value..]);
            }
        }
        state.finish(block, end, rows);
    }
}

#[inline(always)]
fn scan_with<'a, M: Masks, R: Rows<'a>>(masks: M, block: &'a [u8], keys: &Keys, rows: &mut R) {
    match *keys.first_bytes() {
        [a] => scan_masked::<M, R, 1>(masks, block, keys, rows, [a]),
        [a, b] => scan_masked::<M, R, 2>(masks, block, keys, rows, [a, b]),
        [a, b, c] => scan_masked::<M, R, 3>(masks, block, keys, rows, [a, b, c]),
        _ => scan_in_order(masks, block, keys, rows),
    }
}

/// The same where the wanted labels begin with many letters: every field is looked at, for what
/// stood there in the line before.
#[inline(always)]
fn scan_in_order<'a, M: Masks, R: Rows<'a>>(masks: M, block: &'a [u8], keys: &Keys, rows: &mut R) {
    let names = Names::new(keys, b':');
    let mut order = Order::new();
    let stop = keys.stop();
    let mut line = Line::new(0);
    let mut done = false;
    let (mut begin, mut field) = (0, 0);
    let mut places = Places::new();
    for (start, stripe) in stripes(block, &mut [0; 64]) {
        places.clear();
        for (index, bytes) in stripe.iter().enumerate() {
            let chunk = masks.load(bytes);
            let ends = masks.eq(chunk, b'\n') | masks.eq(chunk, b'\t');
            places.add::<4>(start + index * 64, ends);
        }
        for &at in places.list() {
            let at = at as usize;
            let is_last = block.get(at) == Some(&b'\n');
            if !done
                && let Some((key, value)) = order.at(&names, block, (field, begin))
                && let Some(text) = block.get(value..at)
            {
                match text {
                    [text @ .., b'\r'] if is_last => line.keep(key, text),
                    _ => line.keep(key, text),
                }
                done = line.found & stop == stop;
            }
            if is_last {
                line.finish(block, at, rows);
                (done, field) = (false, 0);
            } else {
                field += 1;
            }
            begin = at + 1;
        }
    }
}

#[inline(always)]
fn scan_masked<'a, M: Masks, R: Rows<'a>, const N: usize>(
    masks: M,
    block: &'a [u8],
    keys: &Keys,
    rows: &mut R,
    first: [u8; N],
) {
    let names = Names::new(keys, b':');
    let stop = keys.stop();
    let mut line = Line::new(0);
    let mut done = false;
    // Bit 0 when the next chunk begins with a field.
    let mut carry = 1u64;
    let mut places = Places::new();
    for (start, stripe) in stripes(block, &mut [0; 64]) {
        places.clear();
        for (index, bytes) in stripe.iter().enumerate() {
            let chunk = masks.load(bytes);
            let newlines = masks.eq(chunk, b'\n');
            let ends = newlines | masks.eq(chunk, b'\t');
            let starts = (ends << 1 | carry) & any_of(masks, chunk, first);
            carry = ends >> 63;
            places.add::<2>(start + index * 64, newlines | starts);
        }
        for &at in places.list() {
            let at = at as usize;
            if block.get(at) == Some(&b'\n') {
                line.finish(block, at, rows);
                done = false;
            } else if !done && let Some((key, value)) = names.at(block, at) {
                let end = find_any::<b'\t', b'\n', b'\n'>(block, value);
                let text = &block[value..end];
                let text = if block.get(end) == Some(&b'\n') {
                    text.strip_suffix(b"\r").unwrap_or(text)
                } else {
                    text
                };
                line.keep(key, text);
                done = line.found & stop == stop;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::fields::RowFn;
    use proptest::prelude::*;

    type Row = (Vec<u8>, Vec<Vec<u8>>);

    /// The rows of a scan, the same at every level.
    fn rows(block: &[u8], keys: &Keys) -> Vec<Row> {
        let at = |level: Level| {
            let mut rows = Vec::new();
            let mut row: RowFn<'_> = &mut |line, values| {
                let values = values[..keys.count()].iter().map(|v| v.to_vec()).collect();
                rows.push((line.to_vec(), values));
            };
            scan_at(level, block, keys, &mut row);
            rows
        };
        let best = at(Level::best());
        for level in Level::all() {
            assert_eq!(at(level), best, "{level:?}");
        }
        best
    }

    /// The same by the grammar: split at tabs, part at the first colon, first value wins.
    fn model(block: &[u8], names: &[&[u8]]) -> Vec<Row> {
        let Some(end) = block.iter().rposition(|&b| b == b'\n') else { return Vec::new() };
        block[..end]
            .split(|&b| b == b'\n')
            .map(|line| {
                let line = line.strip_suffix(b"\r").unwrap_or(line);
                let find = |name: &&[u8]| {
                    line.split(|&b| b == b'\t')
                        .filter_map(|field| field.strip_prefix(*name)?.strip_prefix(b":"))
                        .find(|value| !value.is_empty() && *value != b"-")
                        .unwrap_or_default()
                        .to_vec()
                };
                (line.to_vec(), names.iter().map(find).collect())
            })
            .collect()
    }

    fn needed(names: &[&[u8]]) -> Keys {
        Keys::new(&names.iter().map(|n| (*n, true)).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn a_line_gives_its_values() {
        let keys = needed(&[b"ptime", b"status"]);
        let block = b"time:x\tstatus:200\tuptime:9\tptime:0.1\r\nptime:-\tptime:\tptime:3\n";
        assert_eq!(rows(block, &keys), model(block, &[b"ptime", b"status"]));
        assert_eq!(rows(block, &keys)[0].1, [b"0.1".to_vec(), b"200".to_vec()]);
        assert_eq!(rows(block, &keys)[1].1, [b"3".to_vec(), b"".to_vec()]);
    }

    #[test]
    fn what_stands_before_a_brace_does_not_count() {
        let keys = needed(&[b"{a", b"status"]);
        let mut rows = Vec::new();
        let block = b"status:1\t{a:2\tstatus:3\r\nstatus:4\r\n";
        let mut row: RowFn<'_> =
            &mut |_, values| rows.push([values[0].to_vec(), values[1].to_vec()]);
        scan_behind_brace(block, &keys, &mut row);
        assert_eq!(rows, [[b"2".to_vec(), b"3".to_vec()], [b"".to_vec(), b"4".to_vec()]]);
    }

    #[test]
    fn a_line_is_left_once_the_needed_keys_are_found() {
        let keys = Keys::new(&[(b"a", true), (b"b", false)]).unwrap();
        assert_eq!(rows(b"b:1\ta:2\na:2\tb:1\n", &keys)[1].1, [b"2".to_vec(), b"".to_vec()]);
    }

    /// Names that are wanted, and some that begin as these do.
    const LABELS: [&str; 14] = [
        "request_time",
        "request_time2",
        "request_timer",
        "request_",
        "request",
        "upstream_addr",
        "upstream_address",
        "upstream",
        "u",
        "a",
        "b",
        "c:d",
        "c",
        "",
    ];

    proptest! {
        #[test]
        fn every_block_is_read_as_the_grammar_says(
            fields in proptest::collection::vec(
                ("(status|ptime|st|p|uri|s|-|)(:|)", "[-:a-z0-9. ]{0,70}", "[\t\t\t\n]|\r\n"), 0..60),
        ) {
            let block: String =
                fields.iter().map(|(label, value, end)| format!("{label}{value}{end}")).collect();
            for names in [
                &[b"ptime" as &[u8], b"status"] as &[&[u8]],
                &[b"status"],
                &[b"ptime", b"status", b"uri", b"s", b"-"],
            ] {
                prop_assert_eq!(
                    rows(block.as_bytes(), &needed(names)), model(block.as_bytes(), names));
            }
        }

        /// Lines with the labels of the line before, and lines with one of them gone, come or changed.
        #[test]
        fn labels_may_stand_in_another_order_than_in_the_line_before(
            lines in proptest::collection::vec(
                proptest::collection::vec((0usize..LABELS.len(), "[-:a-z0-9 ]{0,9}"), 0..9), 1..6),
            order in proptest::collection::vec((0usize..6, 0usize..9), 0..40),
            many in 0usize..70,
        ) {
            let mut block = String::new();
            for (line, gone) in order {
                let line = &lines[line % lines.len()];
                for (at, (label, value)) in line.iter().enumerate() {
                    let label = LABELS[(label + usize::from(at == gone)) % LABELS.len()];
                    block += &format!("{label}:{value}\t");
                }
                block += &"x:y\t".repeat(many * usize::from(gone == 0));
                block += "request_time:1\n";
            }
            let names = [
                &b"request_time"[..], b"upstream_addr", b"u", b"a", b"b", b"c:d", b"request_time2"];
            prop_assert_eq!(
                rows(block.as_bytes(), &needed(&names)), model(block.as_bytes(), &names));
        }
    }
}
