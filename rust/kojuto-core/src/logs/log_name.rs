//! Dated file names, the line stamp, and what a log directory's mark says; all from numbers.
//!
//! Times here are seconds of the wall clock since 1970-01-01 00:00:00: the Unix time plus the
//! offset of local time. So a file name needs no time zone, and every rule can be tested.

use crate::error::{Argument, Error, PatternFault};
use crate::scan::number::digits;

/// The longest pattern and file name.
const MAX_NAME_BYTES: usize = 200;

const DAY: i64 = 86_400;

/// Seconds from 0001-01-01, where rotation periods count from, to 1970-01-01.
const FROM_YEAR_ONE: i64 = 719_162 * DAY;

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// The beginning of the period of `minutes` in which `wall` lies; periods count from the year 1,
/// so that an hour begins at the full hour and a day at local midnight.
pub fn floor(wall: i64, minutes: i64) -> i64 {
    let period = minutes.max(1) * 60;
    wall - (wall + FROM_YEAR_ONE).rem_euclid(period)
}

#[derive(Debug, Clone, Copy)]
struct Civil {
    year: i64,
    month: i64,
    day: i64,
    year_day: i64,
    second: i64,
}

/// The Gregorian date of a wall-clock second ("days to civil" with years that begin in March).
fn civil(wall: i64) -> Civil {
    let (days, second) = (wall.div_euclid(DAY), wall.rem_euclid(DAY));
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    let before = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334][month as usize - 1];
    let year_day = before + day + i64::from(leap && month > 2);
    Civil { year, month, day, year_day, second }
}

/// The stamp before a line: `[02/Jan/2006:15:04:05 +0900] `, `offset` in seconds east of UTC.
pub fn stamp(wall: i64, offset: i64) -> String {
    let Civil { year, month, day, second, .. } = civil(wall);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let month = MONTHS[month as usize - 1];
    let sign = if offset < 0 { '-' } else { '+' };
    let (east, rest) = (offset.abs() / 3600, offset.abs() / 60 % 60);
    format!(
        "[{day:02}/{month}/{year:04}:{hour:02}:{minute:02}:{second:02} {sign}{east:02}{rest:02}] "
    )
}

/// `2026-11-23T10:20:30+09:00` (RFC 3339), `offset` in seconds east of UTC.
pub fn rfc3339(wall: i64, offset: i64) -> String {
    let Civil { year, month, day, second, .. } = civil(wall);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let sign = if offset < 0 { '-' } else { '+' };
    let (east, rest) = (offset.abs() / 3600, offset.abs() / 60 % 60);
    format!(
        "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{sign}{east:02}:{rest:02}"
    )
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(Vec<u8>),
    Field { letter: u8, width: usize },
}

/// A file name with fields of strftime(3): `%Y %y %m %d %H %M %S %j` and `%%`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    pieces: Vec<Piece>,
}

/// What a file name that fits a pattern tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogName {
    /// The dated name alone.
    pub base: String,
    /// 0 for the first file of a period, then 1, 2, …
    pub generation: u32,
    /// Whether it ends in `.gz` or `.zst`.
    pub compressed: bool,
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// [`Error::Argument`] for a slash, an unknown field, a pattern without any field, one that
    /// begins with a dot or is too long.
    pub fn parse(text: &str) -> Result<Pattern, Error> {
        let refuse = |fault| Err(Error::Argument(Argument::Pattern(fault)));
        if text.len() > MAX_NAME_BYTES {
            return refuse(PatternFault::TooLong(MAX_NAME_BYTES));
        }
        if text.contains(['/', '\0']) || text.starts_with('.') {
            return refuse(PatternFault::FileName);
        }
        let mut pieces = Vec::new();
        let mut literal = Vec::new();
        let mut bytes = text.bytes();
        while let Some(byte) = bytes.next() {
            if byte != b'%' {
                literal.push(byte);
                continue;
            }
            let width = match bytes.next() {
                Some(b'%') => {
                    literal.push(b'%');
                    continue;
                }
                Some(letter @ (b'y' | b'm' | b'd' | b'H' | b'M' | b'S')) => (letter, 2),
                Some(b'j') => (b'j', 3),
                Some(b'Y') => (b'Y', 4),
                other => {
                    let field = other.map(char::from).unwrap_or(' ');
                    return refuse(PatternFault::Field(field));
                }
            };
            if !literal.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut literal)));
            }
            pieces.push(Piece::Field { letter: width.0, width: width.1 });
        }
        if !literal.is_empty() {
            pieces.push(Piece::Text(literal));
        }
        if !pieces.iter().any(|piece| matches!(piece, Piece::Field { .. })) {
            return refuse(PatternFault::NoField);
        }
        let length = |piece: &Piece| match piece {
            Piece::Text(text) => text.len(),
            Piece::Field { width, .. } => *width,
        };
        if pieces.iter().map(length).sum::<usize>() > MAX_NAME_BYTES {
            return refuse(PatternFault::LongNames(MAX_NAME_BYTES));
        }
        Ok(Pattern { pieces })
    }

    /// The name of the file of the period that begins at `wall`.
    pub fn format(&self, wall: i64) -> String {
        let date = civil(wall);
        let mut name = Vec::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => name.extend_from_slice(text),
                Piece::Field { letter, width } => {
                    let value = match letter {
                        b'Y' => date.year.clamp(0, 9999),
                        b'y' => date.year.rem_euclid(100),
                        b'm' => date.month,
                        b'd' => date.day,
                        b'j' => date.year_day,
                        b'H' => date.second / 3600,
                        b'M' => date.second / 60 % 60,
                        _ => date.second % 60,
                    };
                    name.extend_from_slice(format!("{value:0width$}").as_bytes());
                }
            }
        }
        String::from_utf8_lossy(&name).into_owned()
    }

    /// The same for all patterns whose names cannot be told apart: fields side by side are their
    /// digits.
    pub fn shape(&self) -> String {
        let mut shape = Vec::new();
        let mut digits = 0;
        for piece in &self.pieces {
            match piece {
                Piece::Field { width, .. } => digits += width,
                Piece::Text(text) => {
                    if digits > 0 {
                        shape.extend_from_slice(format!("%{digits}").as_bytes());
                    }
                    digits = 0;
                    shape.extend_from_slice(text);
                }
            }
        }
        if digits > 0 {
            shape.extend_from_slice(format!("%{digits}").as_bytes());
        }
        String::from_utf8_lossy(&shape).into_owned()
    }

    /// Whether a file name begins as this pattern's do and goes on with a suffix of somebody
    /// else's: `.bz2`, `_old`. What is held by a lock or is unfinished is left out.
    pub fn is_kin(&self, name: &[u8]) -> bool {
        let Some((_, rest)) = self.dated(name) else { return false };
        let kept = [b"lock".as_slice(), b"tmp"].iter().any(|end| rest.ends_with(end));
        matches!(rest, [b'.' | b'_' | b'-', _, ..]) && !kept
    }

    /// Reads a file name found in the directory: is it one of this pattern's, perhaps with a
    /// generation (`.1`) and a suffix of compression behind?
    pub fn read(&self, name: &[u8]) -> Option<LogName> {
        let (base, rest) = self.dated(name)?;
        let plain = rest.strip_suffix(b".gz").or_else(|| rest.strip_suffix(b".zst"));
        let compressed = plain.is_some();
        let generation = match plain.unwrap_or(rest) {
            b"" => 0,
            [b'.', number @ ..] if !number.starts_with(b"0") => digits(number)?,
            _ => return None,
        };
        Some(LogName { base, generation, compressed })
    }

    /// Splits a name behind what the pattern makes.
    fn dated<'a>(&self, name: &'a [u8]) -> Option<(String, &'a [u8])> {
        let mut rest = name;
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => rest = rest.strip_prefix(text.as_slice())?,
                Piece::Field { letter, width } => {
                    let (field, after) = rest.split_at_checked(*width)?;
                    let value: u32 = digits(field)?;
                    let range = match letter {
                        b'm' => 1..=12,
                        b'd' => 1..=31,
                        b'H' => 0..=23,
                        b'M' => 0..=59,
                        b'S' => 0..=60,
                        b'j' => 1..=366,
                        _ => 0..=9999,
                    };
                    range.contains(&value).then_some(())?;
                    rest = after;
                }
            }
        }
        let base = std::str::from_utf8(&name[..name.len() - rest.len()]).ok()?.to_owned();
        Some((base, rest))
    }
}

/// The file name of a generation.
pub fn with_generation(base: &str, generation: u32) -> String {
    if generation == 0 { base.to_owned() } else { format!("{base}.{generation}") }
}

/// What the end of the file means to who comes after a writer that was killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tail {
    /// The rest of an unfinished line is still in the pipe: go on with the line.
    InPipe,
    /// All of an unfinished line is still in the pipe: cut off what is of it here.
    Again,
    /// A newline was put behind an unfinished line, whose rest is in the pipe: take it away.
    Closed,
    /// The rest is lost: put a newline behind it.
    Lost,
}

impl Tail {
    /// The mark's letter.
    pub fn letter(self) -> u8 {
        match self {
            Tail::InPipe => b'P',
            Tail::Again => b'A',
            Tail::Closed => b'C',
            Tail::Lost => b'L',
        }
    }
}

/// A mark is shorter, so that a reader of this many bytes has all of it.
pub const MARK_BYTES: usize = 1024;

/// The content of the lock file in a log directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// See [`Tail`].
    pub tail: Tail,
    /// Which pipe the writer read: its inode and the boot's identity.
    pub pipe: String,
    /// The file it wrote.
    pub file: String,
    /// The size from which on it was writing bytes that were still in the pipe.
    pub writing: Option<u64>,
}

impl Mark {
    /// A line: letter, pipe, file; and a second one of [`Self::WRITING_BYTES`]. Both are changed
    /// in place.
    pub fn text(&self) -> String {
        let head = format!("{} {} {}\n", char::from(self.tail.letter()), self.pipe, self.file);
        head + &Mark::writing_line(self.writing)
    }

    /// The length of the second line.
    pub const WRITING_BYTES: usize = 22;

    /// The second line: `w` and a size while bytes are written, else `-`.
    pub fn writing_line(from: Option<u64>) -> String {
        let letter = if from.is_some() { 'w' } else { '-' };
        format!("{letter}{:020}\n", from.unwrap_or(0))
    }

    /// Reads it back; None for anything else.
    pub fn parse(bytes: &[u8]) -> Option<Mark> {
        let text = std::str::from_utf8(bytes).ok().filter(|text| text.len() < MARK_BYTES)?;
        let (head, second) = text.split_once('\n')?;
        // Marks of older versions have no second line.
        let writing = match second.strip_suffix('\n').map(|line| line.split_at_checked(1)) {
            None if second.is_empty() => None,
            Some(Some(("-", _))) => None,
            Some(Some(("w", size))) => Some(size.parse().ok()?),
            _ => return None,
        };
        let (letter, rest) = head.split_once(' ')?;
        let (pipe, file) = rest.split_once(' ')?;
        let tail = match letter {
            "P" => Tail::InPipe,
            "A" => Tail::Again,
            "C" => Tail::Closed,
            "L" => Tail::Lost,
            _ => return None,
        };
        let plain = !pipe.is_empty() && !file.is_empty() && !file.contains(['/', '\n', '\0']);
        plain.then(|| Mark { tail, pipe: pipe.to_owned(), file: file.to_owned(), writing })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// 2026-11-22 22:45:10
    const WALL: i64 = 1_795_387_510;

    #[test]
    fn names_and_stamps() {
        let pattern = Pattern::parse("log.%Y%m%d%H%M").unwrap();
        assert_eq!(pattern.format(WALL), "log.202611222245");
        assert_eq!(pattern.format(floor(WALL, 60)), "log.202611222200");
        assert_eq!(pattern.format(floor(WALL, 1440)), "log.202611220000");
        // A week begins on a Monday, as 0001-01-01 was one.
        assert_eq!(pattern.format(floor(WALL, 7 * 1440)), "log.202611160000");
        assert_eq!(stamp(WALL, 9 * 3600), "[22/Nov/2026:22:45:10 +0900] ");
        assert_eq!(stamp(WALL, -(3 * 3600 + 1800)), "[22/Nov/2026:22:45:10 -0330] ");
        assert_eq!(rfc3339(WALL, 9 * 3600), "2026-11-22T22:45:10+09:00");
        assert_eq!(rfc3339(WALL, -(3 * 3600 + 1800)), "2026-11-22T22:45:10-03:30");
        let other = Pattern::parse("a%%%y-%j_%S").unwrap();
        assert_eq!(other.format(WALL), "a%26-326_10");
        assert_eq!(Pattern::parse("%Y%m%d").unwrap().format(951_782_400), "20000229");
        assert_eq!(Pattern::parse("%j").unwrap().format(978_220_800), "366");
    }

    #[test]
    fn only_own_names_are_read() {
        let pattern = Pattern::parse("log.%Y%m%d%H%M").unwrap();
        let name = |text: &str| pattern.read(text.as_bytes());
        let found = |generation, compressed| {
            Some(LogName { base: "log.202611222245".into(), generation, compressed })
        };
        assert_eq!(name("log.202611222245"), found(0, false));
        assert_eq!(name("log.202611222245.12"), found(12, false));
        assert_eq!(name("log.202611222245.gz"), found(0, true));
        assert_eq!(name("log.202611222245.3.zst"), found(3, true));
        for other in [
            "current",
            "log",
            "log.",
            "log.20261122224",
            "log.2026112222456",
            "log.202613222245",
            "log.202611222245.",
            "log.202611222245.bak",
            "log.202611222245.01",
            "log.202611222260",
            "log.202611222245.gz.tmp",
            "xlog.202611222245",
            "log.2026112222x5",
            "log.202611222245.99999999999",
        ] {
            assert_eq!(name(other), None, "{other}");
        }
        for (field, highest) in
            [("%m", "12"), ("%d", "31"), ("%H", "23"), ("%M", "59"), ("%S", "60"), ("%j", "366")]
        {
            let read = |name: &str| Pattern::parse(field).unwrap().read(name.as_bytes()).is_some();
            let above = highest.parse::<u32>().unwrap() + 1;
            assert!(read(highest), "{field}");
            assert!(!read(&above.to_string()), "{field}");
        }
    }

    #[test]
    fn suffixes_of_others_are_told_from_other_names() {
        let pattern = Pattern::parse("log.%Y%m%d%H%M").unwrap();
        for (rest, kin) in [
            (".bz2", true),
            (".xz", true),
            ("_old", true),
            ("-1", true),
            (".", false),
            ("", false),
            ("x", false),
            ("5", false),
            ("_lock", false),
            (".gz.tmp", false),
        ] {
            assert_eq!(pattern.is_kin(format!("log.202001020000{rest}").as_bytes()), kin, "{rest}");
        }
        assert!(!pattern.is_kin(b"other.202001020000.xz"));
    }

    #[test]
    fn patterns_of_one_shape_make_the_same_names() {
        let shape = |text: &str| Pattern::parse(text).unwrap().shape();
        assert_eq!(shape("log.%Y%m%d%H%M"), "log.%12");
        assert_eq!(shape("a%y-%m.log"), "a%2-%2.log");
        assert_eq!(shape("%Y%m%d"), shape("%d%m%Y"));
        assert_ne!(shape("a.%Y%m%d"), shape("b.%Y%m%d"));
    }

    #[test]
    fn unusable_patterns_are_refused() {
        for text in ["", "log", "a/%Y", ".%Y", "%Q", "%Y%", "log%%", &"x%Y".repeat(100)] {
            assert!(Pattern::parse(text).is_err(), "{text}");
        }
        let why = |text: &str| Pattern::parse(text).unwrap_err().to_string();
        let longest = "x".repeat(MAX_NAME_BYTES - 2);
        assert!(Pattern::parse(&format!("{longest}%m")).is_ok());
        assert_eq!(why(&format!("{longest}x%m")), "longer than 200 bytes");
        // A year has four digits.
        assert!(Pattern::parse(&"%Y".repeat(50)).is_ok());
        assert_eq!(why(&"%Y".repeat(51)), "its names are longer than 200 bytes");
    }

    #[test]
    fn marks_read_back() {
        for tail in [Tail::InPipe, Tail::Again, Tail::Closed, Tail::Lost] {
            for writing in [None, Some(0), Some(u64::MAX)] {
                let mark = Mark { tail, pipe: "12:ab-cd".into(), file: "log.1 2".into(), writing };
                assert_eq!(Mark::parse(mark.text().as_bytes()), Some(mark));
                assert_eq!(Mark::writing_line(writing).len(), Mark::WRITING_BYTES);
            }
        }
        for text in ["", "P", "P 1", "P 1 ", "X 1 f\n", "P 1 a/b\n", "P  f\n", "P 1 f", "P 1 f\nx"]
        {
            assert_eq!(Mark::parse(text.as_bytes()), None, "{text}");
        }
        let of = |len: usize| format!("P 1 {}\n", "f".repeat(len - 5));
        assert!(Mark::parse(of(MARK_BYTES - 1).as_bytes()).is_some());
        assert_eq!(Mark::parse(of(MARK_BYTES).as_bytes()), None);
    }

    proptest! {
        #[test]
        fn every_name_that_is_made_is_read(
            wall in 0i64..250_000_000_000, minutes in 1i64..100_000, generation in 0u32..1000,
        ) {
            let pattern = Pattern::parse("log.%Y%m%d%H%M").unwrap();
            let start = floor(wall, minutes);
            prop_assert!(start <= wall && wall - start < minutes * 60);
            prop_assert_eq!(floor(start, minutes), start);
            let base = pattern.format(start);
            let found = pattern.read(with_generation(&base, generation).as_bytes());
            prop_assert_eq!(found, Some(LogName { base, generation, compressed: false }));
        }

        #[test]
        fn dates_are_those_of_the_days_before_and_after(day in -10_000i64..100_000) {
            let (one, two) = (civil(day * DAY), civil((day + 1) * DAY));
            if two.day == 1 {
                prop_assert!((28..=31).contains(&one.day));
                prop_assert_eq!(two.month, one.month % 12 + 1);
            } else {
                prop_assert_eq!((two.year, two.month, two.day), (one.year, one.month, one.day + 1));
            }
            let next = if two.year == one.year { one.year_day + 1 } else { 1 };
            prop_assert_eq!(two.year_day, next);
        }
    }
}
