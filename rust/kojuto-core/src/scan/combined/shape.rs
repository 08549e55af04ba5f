//! The shape that nearly all combined lines have, read from the places of their quotes.
//!
//! `HOST IDENT USER [TIME] "REQUEST" STATUS SIZE "REFERER" "USER AGENT" …`: one blank between two
//! fields, no backslash before the last of the six quotes, a status of three digits and a size of
//! eight bytes at most. A line of any other shape is read word by word ([`Wanted::read`]), which
//! gives the same for this one.

use super::TimeField;
use super::record::{Record, Wanted};
use crate::scan::fields::{Line, Rows};
use crate::scan::number::parse_short;
use crate::scan::simd::{Masks, Places, dispatch, stripes};

dispatch! {
    /// Scans a block of whole lines, each ended by `\n`.
    pub(super) fn scan_at['a, R: Rows<'a>](
        block: &'a [u8], wanted: &Wanted<'_>, rows: &mut R
    ) = scan_with
}

/// So many quotes a line of this shape has before what is added to the combined format.
const QUOTES: usize = 6;
/// The number of its quotes of a line that has a backslash among them.
const ODD: usize = QUOTES + 1;

#[inline(always)]
fn scan_with<'a, M: Masks, R: Rows<'a>>(
    masks: M,
    block: &'a [u8],
    wanted: &Wanted<'_>,
    rows: &mut R,
) {
    let mut line = Line::new(0);
    let mut quotes = [0; QUOTES];
    let mut count = 0;
    let mut places = Places::new();
    for (start, stripe) in stripes(block, &mut [0; 64]) {
        places.clear();
        for (index, bytes) in stripe.iter().enumerate() {
            let chunk = masks.load(bytes);
            let found = masks.eq(chunk, b'\n') | masks.eq(chunk, b'"') | masks.eq(chunk, b'\\');
            places.add::<2>(start + index * 64, found);
        }
        for &at in places.list() {
            let at = at as usize;
            let byte = block.get(at).copied().unwrap_or_default();
            if byte == b'\n' {
                let text = block.get(line.start..at).unwrap_or_default();
                let text = text.strip_suffix(b"\r").unwrap_or(text);
                let found = match count == QUOTES {
                    true => read(masks, block, line.start, text, &quotes),
                    false => None,
                };
                match found {
                    Some(record) => {
                        wanted.keep(&record, taken(wanted.time, text, record.extra), &mut line);
                    }
                    None => wanted.read(text, &mut line),
                }
                line.finish(block, at, rows);
                count = 0;
            } else if count < QUOTES {
                quotes[count] = at;
                count = if byte == b'"' { count + 1 } else { ODD };
            }
        }
    }
}

/// The time taken, which stands alone at the end of a line as a rule.
#[inline(always)]
fn taken<'a>(time: &TimeField, line: &'a [u8], extra: &'a [u8]) -> &'a [u8] {
    if let [b' ', word @ ..] = extra
        && matches!(time, TimeField::Telling)
        && parse_short(word).is_some_and(|short| short.has_fraction())
    {
        return word;
    }
    time.of(line, extra)
}

/// The record of a line of this shape, from `start` on in `block`, whose first six quotes stand at
/// `quotes`.
#[inline(always)]
fn read<'a, M: Masks>(
    masks: M,
    block: &[u8],
    start: usize,
    line: &'a [u8],
    quotes: &[usize; QUOTES],
) -> Option<Record<'a>> {
    let [begin, end, referer, referer_end, ua, ua_end] = quotes.map(|at| at - start);
    let bracket = bracket(masks, block.get(start..)?, begin)?;
    // ` 200 1234 "`
    let status = end + 2;
    let [before, _, _, _, behind, ..] = *line.get(end + 1..)?.first_chunk::<8>()?;
    let digits = line.get(status..status + 3)?;
    let size = line.get(status + 4..referer.checked_sub(1)?)?;
    let are_parted = before == b' '
        && behind == b' '
        && line.get(referer - 1) == Some(&b' ')
        && referer_end + 2 == ua
        && line.get(referer_end + 1) == Some(&b' ');
    if !are_parted
        || !digits.iter().all(u8::is_ascii_digit)
        || !is_size(line, referer - 1, size.len())
    {
        return None;
    }
    Some(Record {
        head: line.get(..bracket)?,
        time: line.get(bracket + 1..begin - 2)?,
        request: line.get(begin + 1..end)?,
        status: digits,
        size,
        referer: line.get(referer + 1..referer_end)?,
        ua: line.get(ua + 1..ua_end)?,
        extra: line.get(ua_end + 1..)?,
    })
}

/// Where the bracket of the time opens in a line that begins with two words, none of them a list,
/// and the time, when the first quote, at `quote`, stands behind it.
#[inline(always)]
fn bracket<M: Masks>(masks: M, line: &[u8], quote: usize) -> Option<usize> {
    let (mut opened, mut closed, mut blanks) = (0u128, 0u128, 0u128);
    let mut at = 0;
    while at < quote {
        if at >= 128 {
            return None;
        }
        let chunk = masks.load(line.get(at..)?.first_chunk::<64>()?);
        opened |= u128::from(masks.eq(chunk, b'[')) << at;
        closed |= u128::from(masks.eq(chunk, b']')) << at;
        blanks |= u128::from(masks.eq(chunk, b' ') | masks.eq(chunk, b'\t')) << at;
        at += 64;
    }
    // What stands behind the quote may be anything.
    let before = !0u128 >> (128 - quote.clamp(1, 128));
    let (opened, closed) = (opened & before, closed & before);
    let (bracket, close) = (opened.trailing_zeros() as usize, closed.trailing_zeros() as usize);
    let blank = blanks.trailing_zeros() as usize;
    let has = |at: usize| blanks >> at & 1 == 1;
    let is_alone = opened.count_ones() == 1 && closed.count_ones() == 1;
    if !is_alone || blank == 0 || blank + 2 > bracket || bracket > close || close + 2 != quote {
        return None;
    }
    let (before, behind) = (*line.get(blank - 1)?, *line.get(blank + 1)?);
    let is_list = before == b',' || behind == b':';
    (has(bracket - 1) && has(quote - 1) && !has(blank + 1) && !is_list).then_some(bracket)
}

/// Whether the `length` bytes before `end` are one word, and of what sizes are made: digits and `-`.
#[inline(always)]
fn is_size(line: &[u8], end: usize, length: usize) -> bool {
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let repeated = |byte: u8| u64::from(byte) * 0x0101_0101_0101_0101;
    let Some(word) = line.get(..end).and_then(<[u8]>::last_chunk::<8>) else { return false };
    if !(1..=8).contains(&length) {
        return false;
    }
    // What stands before them counts as a digit.
    let mine = !0u64 << ((8 - length) * 8);
    let word = u64::from_le_bytes(*word) & mine | repeated(b'0') & !mine;
    // From `-` on, `.` and `/` between, up to `9`.
    let above = word.wrapping_add(repeated(0x80 - b':'));
    let below = word.wrapping_add(repeated(0x80 - b'-'));
    (word | above) & HIGH == 0 && below & HIGH == HIGH
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::combined::each_line;
    use crate::scan::fields::{Keys, RowFn};
    use crate::scan::simd::Level;
    use proptest::prelude::*;

    const NAMES: [&str; 14] = [
        "t", "vhost", "host", "ident", "user", "time", "req", "method", "uri", "protocol",
        "status", "size", "referer", "ua",
    ];

    type Row = (Vec<u8>, Vec<Vec<u8>>);

    fn rows(read: impl FnOnce(RowFn<'_>)) -> Vec<Row> {
        let mut rows = Vec::new();
        read(&mut |line, values| {
            let values = values[..NAMES.len()].iter().map(|value| value.to_vec()).collect();
            rows.push((line.to_vec(), values));
        });
        rows
    }

    /// The rows of a scan, which are the same at every level and word by word; and how many lines
    /// were read by their quotes alone, wherever these say the same.
    fn check(block: &[u8], time: &TimeField) -> Vec<Row> {
        let names: Vec<_> = NAMES.iter().map(|name| (name.as_bytes(), true)).collect();
        let keys = Keys::new(&names).unwrap();
        let wanted = Wanted::new(&keys, time);
        let plain = rows(|mut row| {
            each_line(block, |line, state| wanted.read(line, state), &mut row);
        });
        for level in Level::all() {
            let found = rows(|mut row| scan_at(level, block, &wanted, &mut row));
            assert_eq!(found, plain, "{level:?} {}", String::from_utf8_lossy(block));
        }
        plain
    }

    dispatch! {
        fn has_shape[](block: &[u8], line: &[u8], quotes: &[usize; QUOTES]) -> bool = has_shape_with
    }

    #[inline(always)]
    fn has_shape_with<M: Masks>(
        masks: M,
        block: &[u8],
        line: &[u8],
        quotes: &[usize; QUOTES],
    ) -> bool {
        read(masks, block, 0, line, quotes).is_some()
    }

    /// Whether a line, with enough behind it, is read by its quotes.
    fn is_of_shape(line: &str) -> bool {
        let quotes: Vec<usize> = line.match_indices('"').map(|(at, _)| at).collect();
        let Some(quotes) = quotes.first_chunk() else { return false };
        let block = format!("{line}\n{}", " ".repeat(128));
        has_shape(Level::best(), block.as_bytes(), line.as_bytes(), quotes)
    }

    const LINE: &str = r#"10.0.0.1 - - [10/Oct/2000:13:55:36 -0700] "GET /a HTTP/1.1" 200 2326 "http://x/" "a b" 0.012"#;

    #[test]
    fn the_usual_lines_are_read_by_their_quotes() {
        for (from, to) in [
            ("", ""),
            ("10.0.0.1 - -", "2001:0db8:85a3:0000:0000:8a2e:0370:7334 - John Doe"),
            ("10.0.0.1 - -", "www.example.com:443 10.0.0.1 - -"),
            ("2326", "-"),
            ("2326", "99999999"),
            ("GET /a HTTP/1.1", ""),
            (" 0.012", ""),
            (" 0.012", r#" "-" "a \"b" 12ms"#),
            ("a b", "[FBAN/x] {y}"),
        ] {
            assert!(is_of_shape(&LINE.replacen(from, to, 1)), "{from} {to}");
        }
    }

    #[test]
    fn lines_of_other_shapes_are_not() {
        for (from, to) in [
            ("10.0.0.1 - -", "10.0.0.1"),
            ("10.0.0.1 - -", " 10.0.0.1 - -"),
            ("10.0.0.1 - -", "10.0.0.1, 10.0.0.2 - -"),
            ("10.0.0.1 - -", "10.0.0.1 : 10.0.0.2 - -"),
            ("10.0.0.1 - -", "10.0.0.1  - -"),
            ("10.0.0.1 - -", "[::1] - -"),
            ("10.0.0.1 - -", &"x".repeat(120)),
            ("[10", "[[10"),
            ("] ", "]] "),
            ("] ", "]  "),
            ("] ", "]"),
            (" 200 ", "  200 "),
            (" 200 ", " 2000 "),
            (" 200 ", " 20x "),
            ("2326", "2326 1"),
            ("2326", "2,6"),
            ("2326", "232600000"),
            (" 2326", ""),
            (r#"/" ""#, r#"/"  ""#),
            (r#"/" ""#, r#"/"x""#),
        ] {
            assert!(!is_of_shape(&LINE.replacen(from, to, 1)), "{from} {to}");
        }
    }

    #[test]
    fn every_line_gives_the_same_as_word_by_word() {
        let mut block = String::new();
        for cut in 0..=LINE.len() {
            block += &format!("{}\r\n{}x{}\n", &LINE[..cut], &LINE[..cut], &LINE[cut..]);
            block += &format!(
                "{}\\{}\n{}\"{}\n",
                &LINE[..cut],
                &LINE[cut..],
                &LINE[..cut],
                &LINE[cut..]
            );
        }
        check(block.as_bytes(), &TimeField::Telling);
        let found = check(format!("{LINE}\n").as_bytes(), &TimeField::Telling);
        assert_eq!(found[0].1[10], b"200");
    }

    /// What stands in a line, in place of what: nearly all lines have nearly the shape.
    fn piece() -> impl Strategy<Value = (&'static str, String)> {
        prop_oneof![
            (Just("10.0.0.1"), "(h|::1|a,|a :|-|\\[x|vhost:1 1.2.3.4|v -|[a-f0-9:]{1,90}|)"),
            (Just("- -"), "(- John Doe|-|- [a-z]{1,40}|-  -|\t-|x -|, -|: x| )"),
            (Just("["), "(\\[\\[|\"\\[|x| )"),
            (Just("10/Oct"), "(\\]|\"|\\[|[ \t\\[\\]]{0,3})"),
            (Just("] "), "(\\]|\\]  |\\]\t|\\]\"|\\] x|\\]\\] )"),
            (Just("GET /a HTTP/1.1"), "([ -~]{0,20}|\\\\x16|-|)"),
            (Just(" 200 "), "( [0-9]{1,4} |  200 | 200\t| \"200\" |200 | 2,0 | - )"),
            (Just("2326"), "([0-9]{0,10}|-|\"12\"|1 2|:|[ -~]{0,8}|\t7)"),
            (Just("http://x/"), "([ -~]{0,9}|-|\\\\)"),
            (Just("\" \""), "(\"\"|\"  \"|\"x\"| )"),
            (Just("a b"), "([ -~]{0,90}|\\\\|)"),
            (Just(" 0.012"), "( [0-9.]{0,9}| -| \"0.1\"|  0.5| 12ms|[ -~]{0,20}| 0.1, 0.2|\t0.5)"),
        ]
    }

    fn line() -> impl Strategy<Value = String> {
        proptest::collection::vec(piece(), 0..3).prop_map(|pieces| {
            pieces.iter().fold(LINE.to_owned(), |line, (from, to)| line.replacen(from, to, 1))
        })
    }

    proptest! {
        #[test]
        fn any_block_gives_the_same_as_word_by_word(
            lines in proptest::collection::vec((line(), "\n|\r\n|\n\0"), 1..12),
            time in proptest::sample::select(vec!["", "last", "none", "11", "-1", "1", "rt"]),
        ) {
            let block: String = lines.iter().map(|(line, end)| format!("{line}{end}")).collect();
            check(block.as_bytes(), &TimeField::parse(time).unwrap_or_default());
        }
    }
}
