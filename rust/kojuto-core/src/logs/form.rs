//! The form of the files that a link leads to one after the other: their path with the digits masked
//! that change from one to the next.
//!
//! `web1-20261127.log` and `web1-20261130.log` have the form `web1-########.log`: the `1` stays what
//! it is, for `web2-20261129.log` is the file of another log. What follows a masked number of a date
//! counts within it (`2026-11-27_23`, `20261127_001`) and is masked as well, though it be the same in
//! both, unless it stands in the log's own name. So is a date: the link may have led to a file of another
//! day and back.

/// Some of the text of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(Vec<u8>),
    /// Digits, which stay what they are.
    Digits(Vec<u8>),
    /// Any digits, so many if it says so.
    Masked(Option<usize>),
}

/// A directory or file name.
type Part = Vec<Piece>;

/// From so many digits on a number is a date or the like and has always as many.
const FIXED_DIGITS: usize = 4;

/// More digits are no number.
const MAX_DIGITS: usize = 20;

/// How many numbers behind a name are a matter of its rotation.
const MAX_GENERATIONS: u32 = 4;

/// What the paths of a link's targets have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Form {
    directories: Vec<Part>,
    /// The file name but for its extension.
    stem: Part,
    extension: Vec<u8>,
}

impl Form {
    /// The form of two absolute paths, of which one followed the other; `None` when they have none in
    /// common. Digits that stand in `own`, the log's own name, stay what they are.
    pub fn between(previous: &[u8], present: &[u8], own: &[u8]) -> Option<Form> {
        let (before, mut form) = (Form::literal(previous)?, Form::literal(present)?);
        let is_alike = before.directories.len() == form.directories.len()
            && before.extension == form.extension
            && before.directories.iter().zip(&form.directories).all(|(a, b)| is_like(a, b));
        let mut stem = before.stem;
        if !is_alike || !make_alike(&mut stem, &mut form.stem) {
            return None;
        }
        let own = numbers_of(own);
        let mut is_within = false;
        for (a, b) in before.directories.iter().zip(&mut form.directories) {
            // A directory that is a number alone goes on with the date: `2026/11/27`.
            is_within &= matches!(b[..], [Piece::Digits(_)]);
            is_within = mask(a, b, &own, is_within);
        }
        mask(&stem, &mut form.stem, &own, false);
        Some(form)
    }

    /// The form that has every number of a file's name masked, and those of directories that are a date
    /// or a number alone, but for those in `own`.
    pub fn widest(path: &[u8], own: &[u8]) -> Option<Form> {
        let mut form = Form::literal(path)?;
        let own = numbers_of(own);
        let is_date = |part: &&mut Part| {
            part.iter().all(|piece| match piece {
                Piece::Text(text) => separates(text),
                _ => true,
            })
        };
        let dates = form.directories.iter_mut().filter(is_date).flatten();
        for piece in form.stem.iter_mut().chain(dates) {
            if let Piece::Digits(digits) = piece
                && !own.contains(digits)
            {
                *piece = Piece::Masked(None);
            }
        }
        Some(form)
    }

    /// The form of one file alone, and of what is packed or rotated of it.
    pub fn literal(path: &[u8]) -> Option<Form> {
        let mut parts: Vec<&[u8]> = path.strip_prefix(b"/")?.split(|&byte| byte == b'/').collect();
        let name = parts.pop().filter(|name| !name.is_empty())?;
        let dot = name.iter().rposition(|&byte| byte == b'.').filter(|&at| {
            let extension = &name[at + 1..];
            at > 0 && !extension.is_empty() && extension.iter().all(u8::is_ascii_alphabetic)
        });
        let (stem, extension) = name.split_at(dot.unwrap_or(name.len()));
        let directories = parts.into_iter().map(pieces).collect();
        Some(Form { directories, stem: pieces(stem), extension: extension.to_vec() })
    }

    /// The extension of the file's name with its dot, if it has one.
    pub fn extension(&self) -> &[u8] {
        &self.extension
    }

    /// Whether files of this form are in several directories.
    pub fn has_directories(&self) -> bool {
        self.directories.iter().any(is_masked)
    }

    /// How many directories of the form have a fixed name, from the root on.
    pub fn fixed_directories(&self) -> usize {
        self.directories.iter().take_while(|part| !is_masked(part)).count()
    }

    /// Whether the directory at `depth` from the root may be called so.
    pub fn has_directory(&self, depth: usize, name: &[u8]) -> bool {
        let read = |part: &Part| read(part, name, &mut Vec::new()).is_some_and(<[u8]>::is_empty);
        self.directories.get(depth).is_some_and(read)
    }

    /// How many directories lead to a file.
    pub fn depth(&self) -> usize {
        self.directories.len()
    }

    /// Reads the stem of a name, of a file in an absolute `directory`: the numbers that were masked or
    /// come after those in a path, and what follows the stem.
    pub(super) fn read<'a>(
        &self,
        directory: &[u8],
        name: &'a [u8],
    ) -> Option<(Vec<u64>, &'a [u8])> {
        let mut numbers = Vec::new();
        let inside = directory.strip_prefix(b"/").unwrap_or_default();
        let mut parts = inside.split(|&byte| byte == b'/');
        let mut is_here = true;
        for part in &self.directories {
            let rest = parts.next().and_then(|name| read(part, name, &mut numbers));
            is_here &= rest.is_some_and(<[u8]>::is_empty);
        }
        is_here &= parts.next().is_none();
        if !is_here {
            // Elsewhere, as in an archive, the name alone must tell.
            numbers.clear();
            if !is_masked(&self.stem) {
                return None;
            }
        }
        let rest = read(&self.stem, name, &mut numbers)?;
        Some((numbers, rest))
    }
}

/// Cuts a name into numbers and what is between them.
fn pieces(name: &[u8]) -> Part {
    let runs = name.chunk_by(|a, b| a.is_ascii_digit() == b.is_ascii_digit());
    let piece = |run: &[u8]| match run[0].is_ascii_digit() {
        true => Piece::Digits(run.to_vec()),
        false => Piece::Text(run.to_vec()),
    };
    runs.map(piece).collect()
}

fn numbers_of(name: &[u8]) -> Vec<Vec<u8>> {
    let numbers = name.split(|byte| !byte.is_ascii_digit()).filter(|run| !run.is_empty());
    numbers.map(<[u8]>::to_vec).collect()
}

fn is_masked(part: &Part) -> bool {
    part.iter().any(|piece| matches!(piece, Piece::Masked(_)))
}

/// Whether two names differ in their numbers only.
fn is_like(a: &Part, b: &Part) -> bool {
    let is_like = |(a, b): (&Piece, &Piece)| match (a, b) {
        (Piece::Text(a), Piece::Text(b)) => a == b,
        (Piece::Text(_), _) | (_, Piece::Text(_)) => false,
        _ => true,
    };
    a.len() == b.len() && a.iter().zip(b).all(is_like)
}

/// Takes the numbers of generations (`.1`, `_002`) from the longer name, until two differ in their
/// numbers only; false when they do not then.
fn make_alike(a: &mut Part, b: &mut Part) -> bool {
    for _ in 0..MAX_GENERATIONS {
        let longer = match a.len().cmp(&b.len()) {
            std::cmp::Ordering::Equal => break,
            std::cmp::Ordering::Greater => &mut *a,
            std::cmp::Ordering::Less => &mut *b,
        };
        match &longer[..] {
            [.., _, Piece::Text(text), Piece::Digits(_)] if separates(text) => {
                longer.truncate(longer.len() - 2);
            }
            _ => return false,
        }
    }
    is_like(a, b)
}

/// Whether the numbers beside it may be those of one date and time.
fn separates(text: &[u8]) -> bool {
    matches!(text, [byte] if b"-_.:T@+".contains(byte))
}

/// Whether a date begins here: `20261127`, also with a time behind it, or `2026-11`.
fn begins_with_date(part: &[Piece]) -> bool {
    let number =
        |digits: &[u8]| digits.iter().fold(0, |all, digit| all * 10 + u32::from(digit - b'0'));
    let is_month = |digits: &[u8]| digits.len() == 2 && (1..=12).contains(&number(digits));
    let [Piece::Digits(digits), behind @ ..] = part else { return false };
    let Some((year, rest)) = digits.split_at_checked(4) else { return false };
    let goes_on = match (rest, behind) {
        ([], [Piece::Text(text), Piece::Digits(month), ..]) => separates(text) && is_month(month),
        _ => matches!(rest.len(), 4 | 6 | 8 | 10) && is_month(&rest[..2]),
    };
    goes_on && (1970..2200).contains(&number(year))
}

/// Masks the numbers of `present` that are others in `previous`, dates, and the numbers behind them
/// that belong to the same date; answers whether it ends in such a one.
fn mask(previous: &Part, present: &mut Part, own: &[Vec<u8>], mut is_within: bool) -> bool {
    for (index, a) in previous.iter().enumerate() {
        let is_date = begins_with_date(&present[index..]);
        let b = &mut present[index];
        let Piece::Digits(digits) = b else {
            is_within &= matches!(b, Piece::Text(text) if separates(text));
            continue;
        };
        let was = match a {
            Piece::Digits(was) => was,
            _ => continue,
        };
        is_within = was != digits || (is_within || is_date) && !own.contains(digits);
        if is_within {
            let is_fixed = was.len() == digits.len() && digits.len() >= FIXED_DIGITS;
            *b = Piece::Masked(is_fixed.then_some(digits.len()));
        }
    }
    is_within
}

/// Reads a name by its form: adds the numbers in it, and answers what follows.
fn read<'a>(part: &Part, name: &'a [u8], numbers: &mut Vec<u64>) -> Option<&'a [u8]> {
    let mut rest = name;
    for piece in part {
        if let Piece::Text(text) = piece {
            rest = rest.strip_prefix(&text[..])?;
            continue;
        }
        let end = rest.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(rest.len());
        let (digits, after) = rest.split_at(end);
        let fits = match piece {
            Piece::Masked(width) => {
                (1..=MAX_DIGITS).contains(&end) && width.is_none_or(|width| width == end)
            }
            Piece::Digits(literal) => digits == literal,
            Piece::Text(_) => false,
        };
        if !fits {
            return None;
        }
        let value = digits.iter().fold(0u64, |value, digit| {
            value.saturating_mul(10).saturating_add(u64::from(digit - b'0'))
        });
        numbers.push(value);
        rest = after;
    }
    Some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logs::rotated::parse_as;
    use proptest::prelude::*;

    /// Which of some paths are of the form of a link's two targets.
    fn belonging<'a>(own: &str, targets: [&str; 2], paths: &[&'a str]) -> Vec<&'a str> {
        let [previous, present] = targets.map(str::as_bytes);
        let form = Form::between(previous, present, own.as_bytes()).expect("a form");
        let belongs = |path: &&str| {
            let (directory, name) = path.rsplit_once('/').unwrap();
            parse_as(&form, directory.as_bytes(), name.as_bytes()).is_some()
        };
        paths.iter().copied().filter(belongs).collect()
    }

    #[test]
    fn what_changed_is_masked_and_all_else_stays() {
        for (own, targets, belong, others) in [
            (
                "current",
                ["/l/access.20261127.log", "/l/access.20261130.log"],
                &[
                    "/l/access.20261128.log",
                    "/l/access.20261129.log.gz",
                    "/l/access.20261128.1.log",
                    "/l/access.20261128.log.1",
                    "/archive/access.20261129.log.zst",
                ][..],
                &[
                    "/l/access.2026112.log",
                    "/l/access.log",
                    "/l/error.20261128.log",
                    "/l/access.20261128.err",
                    "/l/access.20261128-api.log",
                ][..],
            ),
            (
                "current",
                ["/l/access.log-20261127", "/l/access.log-20261130"],
                &["/l/access.log-20261129", "/l/access.log-20261128.zst"],
                &["/l/access.log"],
            ),
            (
                "web1",
                ["/l/web1-20261127.log", "/l/web1-20261128.log"],
                &["/l/web1-20261126.log"],
                &["/l/web2-20261128.log", "/l/web-20261128.log", "/l/web12-20261128.log"],
            ),
            (
                "app",
                ["/l/app-2026-11-27_23.log", "/l/app-2026-11-29_23.log"],
                &["/l/app-2026-11-28_01.log", "/l/app-2026-12-28_01.log"],
                &["/l/app1-2026-11-28_01.log"],
            ),
            (
                "app",
                ["/l/app20261127_001.log", "/l/app20261128_001.log"],
                &["/l/app20261127_002.log", "/l/app20261127_010.log.gz"],
                &["/l/app20261127_b02.log"],
            ),
            (
                "current",
                ["/l/app20261127_001.log", "/l/app20261127_003.log"],
                &["/l/app20261128_000.log"],
                &["/l/app120261128_000.log", "/l/app2026112_000.log"],
            ),
            (
                "current",
                ["/l/w2020-2026-11-27.log", "/l/w2020-2026-11-30.log"],
                &["/l/w2020-2026-12-01.log", "/l/w2020-2027-01-01.log.1"],
                &["/l/w2021-2026-11-28.log"],
            ),
            (
                "web-1",
                ["/l/web-20261127-1.log", "/l/web-20261128-1.log"],
                &["/l/web-20261126-1.log"],
                &["/l/web-20261127-2.log"],
            ),
            (
                "current",
                ["/l/20261127-worker1.log", "/l/20261128-worker1.log"],
                &["/l/20261126-worker1.log"],
                &["/l/20261128-worker2.log"],
            ),
            ("current", ["/l/n-9", "/l/n-11"], &["/l/n-10", "/l/n-10.gz"], &["/l/m-10"]),
            (
                "current",
                ["/l/access.20261127.3", "/l/access.20261128"],
                &["/l/access.20261127.4", "/l/access.20261127"],
                &["/l/access.20261127.err"],
            ),
        ] {
            let both = [belong, others].concat();
            assert_eq!(belonging(own, targets, &both), belong, "{targets:?}");
        }
    }

    #[test]
    fn folders_that_changed_are_masked_and_the_names_in_them_stay() {
        let targets = ["/v/2026/11/27/app.log", "/v/2026/12/01/app.log"];
        let paths = [
            "/v/2026/11/28/app.log",
            "/v/2026/11/30/app.log.gz",
            "/v/2026/11/28/app.log.1",
            "/v/2026/11/28/web.log",
            "/v/2025/11/28/app.log",
            "/v/2026/11/app.log",
            "/archive/app.log",
        ];
        assert_eq!(belonging("app.log", targets, &paths), paths[..3]);
        let [previous, present] = targets.map(str::as_bytes);
        let form = Form::between(previous, present, b"app.log").unwrap();
        assert_eq!((form.has_directories(), form.depth(), form.fixed_directories()), (true, 4, 2));
        assert!(form.has_directory(2, b"09") && !form.has_directory(1, b"2025"));
        assert!(!form.has_directory(4, b"x"));
    }

    #[test]
    fn what_has_another_text_has_no_form_in_common() {
        for (previous, present) in [
            ("/l/web-1.log", "/l/api-2.log"),
            ("/l/web-1.log", "/m/web-2.log"),
            ("/l/web-1.log", "/l/web-2.txt"),
            ("/l/web-1.log", "/l/l/web-2.log"),
            ("/l/web.log", "/l/web-old.log"),
            ("web-1.log", "web-2.log"),
            ("/", "/"),
        ] {
            let form = Form::between(previous.as_bytes(), present.as_bytes(), b"log");
            assert_eq!(form, None, "{previous} {present}");
        }
    }

    #[test]
    fn the_widest_form_has_all_numbers_masked_but_those_of_the_log() {
        let dated = Form::widest(b"/app2/2026-11-27/30/app.log", b"app").unwrap();
        assert_eq!((dated.fixed_directories(), dated.depth()), (1, 3));
        assert!(dated.read(b"/app2/2026-12-01/01", b"app.log").is_some());
        assert!(dated.read(b"/app3/2026-12-01/01", b"app.log").is_none());
        let form = Form::widest(b"/l/web1-20261127-3.log", b"web1").unwrap();
        let has = |name: &str| form.read(b"/l", name.as_bytes()).is_some();
        assert!(has("web1-20260101-12.log") && !has("web2-20261127-3.log"));
    }

    proptest! {
        #[test]
        fn both_paths_are_of_their_form(a in "/[ab]/[ab1-9._-]{1,9}", b in "/[ab]/[ab1-9._-]{1,9}") {
            if let Some(form) = Form::between(a.as_bytes(), b.as_bytes(), b"log") {
                for path in [a, b] {
                    let (directory, name) = path.rsplit_once('/').unwrap();
                    let read = form.read(directory.as_bytes(), name.as_bytes());
                    prop_assert!(read.is_some(), "{} {:?}", path, form);
                }
            }
        }
    }
}
