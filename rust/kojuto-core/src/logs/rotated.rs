//! The names that rotation gives to a log, and the order in which it gave them.
//!
//! For `access.log`: `access.log.1` (higher is older), `access.log-20260131` and its kin (dateext,
//! with or without a time), `access-20260131.log`, `access20260131_001.log` and `access.1.log`
//! (logrotate's `extension` and `addextension`), `20260131__access.log`, `access.log.old`, each with
//! or without the ending of a compressor. For `current`, as multilog, svlogd and s6-log call their log,
//! `@4000000069….s` too. What the target of a link is called is the subject of
//! [`super::form`].

use super::form::Form;

/// What was done to a rotated file, by the ending of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// Nothing, or something that shows only in the content.
    None,
    /// A compressor whose files can be read; of some, where its program is installed.
    Readable,
    /// A compressor whose files cannot be read.
    Unreadable,
}

/// How a name tells when its file was rotated.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Stamp {
    /// `.1`, `.2`, …
    Number(u64),
    /// A date or time, as the numbers in it.
    Date(Vec<u64>),
    /// `.old`, `.bak`, …: says nothing.
    Word,
}

/// A file name taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RotatedName {
    stamp: Stamp,
    /// What was done to the file.
    pub packing: Packing,
    /// The length of the name without the compressor's ending.
    pub plain_len: usize,
    /// The name may be that of another log as well: `access.443.log`. It is one of this log when one
    /// with the next number is there.
    pub is_doubtful: bool,
}

impl RotatedName {
    /// The number in `access.log.7` and its like, where a higher one is older.
    pub fn number(&self) -> Option<u64> {
        match self.stamp {
            Stamp::Number(number) => Some(number),
            _ => None,
        }
    }

    /// Whether the name says no more than that the file is an old one: `.old`, `.bak`.
    pub fn is_word(&self) -> bool {
        self.stamp == Stamp::Word
    }
}

const ENDINGS: [(&[u8], Packing); 9] = [
    (b".gz", Packing::Readable),
    (b".zst", Packing::Readable),
    (b".zstd", Packing::Readable),
    (b".xz", Packing::Readable),
    (b".bz2", Packing::Readable),
    (b".lz4", Packing::Readable),
    (b".lzma", Packing::Unreadable),
    (b".Z", Packing::Unreadable),
    (b".zip", Packing::Unreadable),
];

/// What logrotate is usually told to add to a name.
const ADDED_EXTENSIONS: [&[u8]; 2] = [b".log", b".txt"];

const WORDS: [&[u8]; 6] = [b"old", b"bak", b"prev", b"backup", b"orig", b"rotated"];

/// Takes `name` apart as a rotated form of `log`; `None` when it is none, such as `access.log.err`
/// beside `access.log`.
pub fn parse(log: &[u8], name: &[u8]) -> Option<RotatedName> {
    let (plain, packing) = unpacked(name);
    let (stamp, is_doubtful) = match plain.strip_prefix(log) {
        Some(suffix) => (parse_suffix(suffix).or_else(|| parse_added_extension(suffix)), false),
        None => {
            let stamp = parse_before_extension(log, plain)
                .or_else(|| parse_before_name(log, plain))
                .or_else(|| parse_tai64n(log, plain));
            let is_number = matches!(stamp, Some(Stamp::Number(2..)));
            (stamp, is_number)
        }
    };
    Some(RotatedName { stamp: stamp?, packing, plain_len: plain.len(), is_doubtful })
}

/// The same for a file that has the form of a link's targets.
pub fn parse_as(form: &Form, directory: &[u8], name: &[u8]) -> Option<RotatedName> {
    let (plain, packing) = unpacked(name);
    let (mut numbers, rest) = form.read(directory, plain)?;
    let (generation, suffix) = match form.extension() {
        [] => (&rest[..0], rest),
        extension => {
            let at = rest.windows(extension.len()).position(|part| part == extension)?;
            (&rest[..at], &rest[at + extension.len()..])
        }
    };
    let mut is_word = false;
    for part in [generation, suffix].into_iter().filter(|part| !part.is_empty()) {
        match parse_suffix(part)? {
            Stamp::Number(number) => numbers.push(number),
            Stamp::Date(more) => numbers.extend(more),
            Stamp::Word => is_word = true,
        }
    }
    let stamp = if is_word { Stamp::Word } else { Stamp::Date(numbers) };
    Some(RotatedName { stamp, packing, plain_len: plain.len(), is_doubtful: false })
}

fn unpacked(name: &[u8]) -> (&[u8], Packing) {
    let ending = ENDINGS.iter().find(|(ending, _)| name.ends_with(ending));
    match ending {
        Some((ending, packing)) => (&name[..name.len() - ending.len()], *packing),
        None => (name, Packing::None),
    }
}

fn parse_suffix(suffix: &[u8]) -> Option<Stamp> {
    let [b'.' | b'-' | b'_', rest @ ..] = suffix else { return None };
    if WORDS.contains(&rest) {
        return Some(Stamp::Word);
    }
    parse_stamp(rest)
}

/// `access.1.log` for `access` (logrotate's `addextension`).
fn parse_added_extension(suffix: &[u8]) -> Option<Stamp> {
    let extension = ADDED_EXTENSIONS.iter().find(|&&extension| suffix.ends_with(extension))?;
    let stamp = parse_suffix(&suffix[..suffix.len() - extension.len()])?;
    (stamp != Stamp::Word).then_some(stamp)
}

/// `access-20260131.log`, `access20260131.log` and `access.1.log` for `access.log`; `access-1.log`
/// and `access1.log` are other logs.
fn parse_before_extension(log: &[u8], plain: &[u8]) -> Option<Stamp> {
    let dot = log.iter().rposition(|&byte| byte == b'.').filter(|&at| at > 0)?;
    let middle = plain.strip_prefix(&log[..dot])?.strip_suffix(&log[dot..])?;
    if middle.first()?.is_ascii_digit() {
        return parse_stamp(middle).filter(begins_with_a_date);
    }
    match parse_suffix(middle)? {
        stamp @ Stamp::Date(_) => Some(stamp),
        stamp @ Stamp::Number(_) if middle[0] == b'.' => Some(stamp),
        _ => None,
    }
}

/// `20260131__access.log` and `1.access.log` for `access.log`; `1_access.log` is another log.
fn parse_before_name(log: &[u8], plain: &[u8]) -> Option<Stamp> {
    let before = plain.strip_suffix(log).filter(|_| !log.is_empty())?;
    let end = before.iter().rposition(|byte| !b"._-".contains(byte))? + 1;
    let separator = &before[end..];
    if separator.is_empty() || separator.len() > 2 {
        return None;
    }
    match parse_stamp(&before[..end])? {
        stamp @ Stamp::Date(_) if begins_with_a_date(&stamp) => Some(stamp),
        stamp @ Stamp::Number(_) if separator == b"." => Some(stamp),
        _ => None,
    }
}

/// `@4000000069a3b2c11dcd6500.s` or `.u` for `current`: an external TAI64N label, as D. J. Bernstein's
/// tai64nlocal reads them, and whether what is run on each file has been.
fn parse_tai64n(log: &[u8], plain: &[u8]) -> Option<Stamp> {
    let label = plain.strip_prefix(b"@").filter(|_| log == b"current")?;
    let label = label.strip_suffix(b".s").or_else(|| label.strip_suffix(b".u"))?;
    let (second, nano) = label.split_at_checked(16).filter(|(_, nano)| nano.len() == 8)?;
    let number = |hex: &[u8]| {
        hex.iter().try_fold(0u64, |n, &b| Some(n << 4 | u64::from(char::from(b).to_digit(16)?)))
    };
    Some(Stamp::Date(vec![number(second)?.checked_sub(1 << 62)?, number(nano)?]))
}

/// Whether a stamp begins with a date, the year or the day first, or with epoch seconds.
fn begins_with_a_date(stamp: &Stamp) -> bool {
    let Stamp::Date(groups) = stamp else { return false };
    let is_date = |year: u64, month: u64, day: u64| {
        (1970..3000).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day)
    };
    let is_whole = |date: u64| {
        is_date(date / 10_000, date / 100 % 100, date % 100)
            || is_date(date % 10_000, date / 10_000 % 100, date / 1_000_000)
    };
    match groups[..] {
        [1_000_000_000..10_000_000_000, ..] => true, // epoch seconds, or a date and an hour
        [long, ..] if long >= 10_000_000_000 => is_whole(long / 10u64.pow(long.ilog10() - 7)),
        [first, second, third, ..] => {
            is_date(first, second, third) || is_date(third, second, first) || is_whole(first)
        }
        [first, second] => is_date(first, second, 1) || is_whole(first),
        [first] => is_whole(first),
        [] => false,
    }
}

fn parse_stamp(text: &[u8]) -> Option<Stamp> {
    let fits = |byte: &u8| byte.is_ascii_digit() || b"TZ.:_+-@".contains(byte);
    if text.len() > 64 || !text.first()?.is_ascii_digit() || !text.iter().all(fits) {
        return None;
    }
    let number = |digits: &[u8]| {
        digits.iter().fold(0u64, |n, d| n.saturating_mul(10).saturating_add(u64::from(d - b'0')))
    };
    if text.len() < 6 && text.iter().all(u8::is_ascii_digit) {
        return Some(Stamp::Number(number(text)));
    }
    let groups = text.split(|byte| !byte.is_ascii_digit()).filter(|group| !group.is_empty());
    Some(Stamp::Date(groups.map(number).collect()))
}

/// Whether a later date of this form is the larger number: epoch seconds, or the year first.
fn sorts_by_number(stamp: &Stamp) -> bool {
    let Stamp::Date(groups) = stamp else { return false };
    match groups.first().copied().unwrap_or_default() {
        1_000_000_000.. => true,
        date @ 19_700_000..30_000_000 => (1..=12).contains(&(date / 100 % 100)),
        1970..3000 => groups.get(1).is_none_or(|month| (1..=12).contains(month)),
        _ => false,
    }
}

/// The indices of `files` (their names taken apart and the nanosecond of their last change) from
/// the one rotated first to the one rotated last.
///
/// Within one way of naming the names decide, unless the times contradict them (a numbering that
/// counts upwards, a date with the day first); between two ways the times do. Compressors keep
/// the time of the file they replace.
pub fn order(files: &[(RotatedName, i64)]) -> Vec<usize> {
    let mut numbered = Vec::new();
    let mut dated = Vec::new();
    let mut others = Vec::new();
    for (index, (name, _)) in files.iter().enumerate() {
        match name.stamp {
            Stamp::Number(_) => numbered.push(index),
            Stamp::Date(_) => dated.push(index),
            Stamp::Word => others.push(index),
        }
    }
    let time = |index: usize| files[index].1;
    // Not every compressor keeps the time, and the older files are compressed first: those that have an
    // earlier time nevertheless agree.
    let tells = |pair: &&[usize]| {
        let packed = |index: usize| files[index].0.packing != Packing::None;
        !packed(pair[0]) || packed(pair[1])
    };
    // Some compressors keep the second alone.
    let is_other = |pair: &&[usize]| {
        let (first, second) = (time(pair[0]), time(pair[1]));
        let is_whole = first % 1_000_000_000 == 0 || second % 1_000_000_000 == 0;
        !is_whole || first / 1_000_000_000 != second / 1_000_000_000
    };
    let disagreements = |sorted: &[usize]| {
        let pairs = sorted.windows(2).filter(tells).filter(is_other);
        pairs.filter(|pair| time(pair[0]) > time(pair[1])).count()
    };
    let agreements = |sorted: &[usize]| {
        let pairs = sorted.windows(2).filter(is_other);
        pairs.filter(|pair| time(pair[0]) < time(pair[1])).count()
    };
    numbered.sort_by(|&a, &b| match (&files[b].0.stamp, &files[a].0.stamp) {
        (Stamp::Number(b), Stamp::Number(a)) => b.cmp(a),
        _ => std::cmp::Ordering::Equal,
    });
    if disagreements(&numbered) > agreements(&numbered) {
        numbered.reverse();
    }
    dated.sort_by(|&a, &b| match (&files[a].0.stamp, &files[b].0.stamp) {
        (Stamp::Date(a), Stamp::Date(b)) => a.cmp(b),
        _ => std::cmp::Ordering::Equal,
    });
    let plain_order = dated.iter().all(|&index| sorts_by_number(&files[index].0.stamp));
    if !plain_order && disagreements(&dated) > 0 {
        dated.sort_by_key(|&index| time(index)); // stable: names still decide within an instant
    }
    others.sort_by_key(|&index| time(index));
    let merge = |a: Vec<usize>, b: Vec<usize>| {
        let mut merged = Vec::with_capacity(a.len() + b.len());
        let (mut a, mut b) = (a.into_iter().peekable(), b.into_iter().peekable());
        while let (Some(&x), Some(&y)) = (a.peek(), b.peek()) {
            merged.extend(if time(y) < time(x) { b.next() } else { a.next() });
        }
        merged.extend(a.chain(b));
        merged
    };
    merge(merge(numbered, dated), others)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ordered(log: &str, files: &[(&str, i64)]) -> Vec<String> {
        let parsed: Vec<_> = files
            .iter()
            .map(|(name, time)| (parse(log.as_bytes(), name.as_bytes()).unwrap(), *time))
            .collect();
        order(&parsed).into_iter().map(|index| files[index].0.to_owned()).collect()
    }

    #[test]
    fn one_file_of_a_time_of_its_own_does_not_turn_the_order() {
        let (first, second) = (("access.log.3.gz", 10), ("access.log.2", 20));
        let files = [("access.log.77.gz", 30), ("access.log.1", 20), second, first];
        let order = ["access.log.77.gz", "access.log.3.gz", "access.log.2", "access.log.1"];
        assert_eq!(ordered("access.log", &files), order);
    }

    #[test]
    fn rotated_names_are_told_from_other_logs() {
        for name in [
            "access.log.1",
            "access.log.12.gz",
            "access.log-20260131",
            "access.log-20260131.zst",
            "access.log-20260131-1769817600.gz",
            "access.log.2026-01-31T10:00:00Z",
            "access-20260131.log",
            "access-20260131.log.gz",
            "access.log.old",
            "access.log_1",
            "access.1.log",
            "access.12.log.gz",
            "1.access.log",
            "access20260131.log",
            "access20260131_001.log",
            "access1769817600.log",
            "20260131__access.log",
            "2026-01-31_access.log.zst",
            "20260131-120000.access.log",
        ] {
            assert!(parse(b"access.log", name.as_bytes()).is_some(), "{name}");
        }
        assert!(parse(b"access", b"access.1.log").is_some());
        assert!(parse(b"access", b"access-20260131.log.gz").is_some());
        for name in [
            "access.log",
            "access.log.gz",
            "access.log.err",
            "access.log-api.1",
            "access.logs.1",
            "access-1.log",
            "access_443.log",
            "access1.log",
            "access20261399.log",
            "access-ssl.log",
            "1_access.log",
            "site1_access.log",
            "20260131access.log",
            "20260131---access.log",
            "access.1.log.err",
            "other.log.1",
            "access.log.",
            "access.log.1x",
            "access.log.1.lock",
            "ccess.log.1",
            "",
        ] {
            assert!(parse(b"access.log", name.as_bytes()).is_none(), "{name}");
        }
        assert_eq!(parse(b"maillog", b"maillog.2.lzma").unwrap().packing, Packing::Unreadable);
        assert!(parse(b".log", b"-20260131.log").is_none());
    }

    #[test]
    fn what_multilog_and_its_kin_call_their_files() {
        let of = |log: &[u8], name: &str| parse(log, name.as_bytes());
        let label = "@400000006b0dc3273489ab3c";
        for ending in [".s", ".u", ".s.gz"] {
            let name = of(b"current", &format!("{label}{ending}")).unwrap();
            assert_eq!(name.stamp, Stamp::Date(vec![1_796_064_039, 881_437_500]));
        }
        for ending in ["", ".t", ".s.lock", "0.s"] {
            assert_eq!(of(b"current", &format!("{label}{ending}")), None, "{ending}");
        }
        assert_eq!(of(b"current", "@400000006b0dc3273489ab3g.s"), None);
        assert_eq!(of(b"current", "@000000006b0dc3273489ab3c.s"), None);
        assert_eq!(of(b"access.log", &format!("{label}.s")), None);
    }

    #[test]
    fn a_number_within_the_name_is_doubtful_but_for_the_first() {
        let is_doubtful = |name: &str| parse(b"l.log", name.as_bytes()).unwrap().is_doubtful;
        for (name, doubtful) in [
            ("l.log.443", false),
            ("l.1.log", false),
            ("l.443.log", true),
            ("443.l.log.gz", true),
            ("l.20260131.log", false),
        ] {
            assert_eq!(is_doubtful(name), doubtful, "{name}");
        }
    }

    #[test]
    fn a_higher_number_is_older_and_a_later_date_is_newer() {
        assert_eq!(
            ordered("l", &[("l.2.gz", 5), ("l.10.gz", 5), ("l.1", 5)]),
            ["l.10.gz", "l.2.gz", "l.1"]
        );
        assert_eq!(
            ordered("l", &[("l-20260201", 5), ("l-20260131.gz", 5), ("l-20260131-2.gz", 5)]),
            ["l-20260131.gz", "l-20260131-2.gz", "l-20260201"]
        );
    }

    #[test]
    fn what_was_done_to_a_file_is_seen_by_its_ending() {
        let packing =
            |ending: &str| parse(b"l", format!("l.1{ending}").as_bytes()).unwrap().packing;
        assert_eq!(packing(""), Packing::None);
        for ending in [".gz", ".zst", ".zstd", ".xz", ".bz2", ".lz4"] {
            assert_eq!(packing(ending), Packing::Readable, "{ending}");
        }
        for ending in [".lzma", ".Z", ".zip"] {
            assert_eq!(packing(ending), Packing::Unreadable, "{ending}");
        }
    }

    #[test]
    fn five_digits_are_a_number_six_a_date_and_a_date_ends_somewhere() {
        assert_eq!(ordered("l", &[("l.99998", 5), ("l.99999", 5)]), ["l.99999", "l.99998"]);
        assert_eq!(ordered("l", &[("l.100001", 5), ("l.100000", 5)]), ["l.100000", "l.100001"]);
        let digits = |count: usize| parse(b"l", format!("l.{}", "1".repeat(count)).as_bytes());
        assert!(digits(64).is_some());
        assert_eq!(digits(65), None);
    }

    #[test]
    fn a_year_is_one_up_to_2999() {
        let turned = |first: &str, second: &str| {
            ordered("l", &[(first, 20), (second, 10)]) == [second, first]
        };
        for (first, second, by_time) in [
            ("l-2999-01", "l-2999-02", false),
            ("l-3000-01", "l-3000-02", true),
            ("l-1970-01", "l-1970-02", false),
            ("l-1969-01", "l-1969-02", true),
            ("l-29990101", "l-29990102", false),
            ("l-30000101", "l-30000102", true),
            ("l-1000000000", "l-1000000001", false),
            ("l-999999999", "l-1000000000", true),
        ] {
            assert_eq!(turned(first, second), by_time, "{first}");
        }
    }

    #[test]
    fn a_numbering_that_counts_upwards_is_seen_by_the_times() {
        assert_eq!(ordered("l", &[("l.3", 30), ("l.1", 10), ("l.2", 20)]), ["l.1", "l.2", "l.3"]);
    }

    #[test]
    fn the_time_at_which_an_older_file_was_compressed_contradicts_no_name() {
        assert_eq!(ordered("l", &[("l.1", 10), ("l.2.gz", 20)]), ["l.2.gz", "l.1"]);
        assert_eq!(ordered("l", &[("l.1.gz", 10), ("l.2.gz", 20)]), ["l.1.gz", "l.2.gz"]);
        assert_eq!(ordered("l", &[("l.1.gz", 10), ("l.2", 20)]), ["l.1.gz", "l.2"]);
    }

    #[test]
    fn a_compressor_that_keeps_the_second_alone_contradicts_no_name() {
        let second = 1_000_000_000;
        let files = [("l.1", 7 * second), ("l.2", 7 * second + 5), ("l.3", 7 * second + 3)];
        assert_eq!(ordered("l", &files), ["l.3", "l.2", "l.1"]);
        let files = [("l.1", 7 * second), ("l.2", 8 * second)];
        assert_eq!(ordered("l", &files), ["l.1", "l.2"]);
    }

    #[test]
    fn a_date_with_the_day_first_is_ordered_by_the_times() {
        let files = [("l-31012026", 10), ("l-01022026", 20), ("l-02022026", 30), ("l-28012026", 5)];
        assert_eq!(ordered("l", &files), ["l-28012026", "l-31012026", "l-01022026", "l-02022026"]);
    }

    #[test]
    fn after_a_change_of_naming_the_times_decide_between_the_ways() {
        let files = [("l.2.gz", 10), ("l.1", 20), ("l-20260131", 30), ("l.old", 1)];
        assert_eq!(ordered("l", &files), ["l.old", "l.2.gz", "l.1", "l-20260131"]);
    }

    proptest! {
        #[test]
        fn any_files_are_ordered_completely(
            files in proptest::collection::vec(("l[-._](old|[0-9]{1,9})(-[0-9]{1,3})?", 0i64..5), 0..20),
        ) {
            let parsed: Vec<_> = files
                .iter()
                .filter_map(|(name, time)| Some((parse(b"l", name.as_bytes())?, *time)))
                .collect();
            let mut indices = order(&parsed);
            indices.sort_unstable();
            prop_assert_eq!(indices, (0..parsed.len()).collect::<Vec<_>>());
        }

        #[test]
        fn no_name_makes_it_panic(
            log in proptest::collection::vec(any::<u8>(), 0..12),
            name in proptest::collection::vec(any::<u8>(), 0..24),
        ) {
            let _ = parse(&log, &name);
            let _ = parse(&log, &[&log[..], &name[..]].concat());
        }
    }
}
