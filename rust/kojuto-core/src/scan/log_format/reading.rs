//! Lines cut into the fields of a log format.

use super::LogFormat;
use super::literal::{Literal, find_either};
use crate::scan::combined::{TimeField, request_part};
use crate::scan::fields::{Keys, Line, Rows};
use crate::scan::simd::{Masks, dispatch};

/// Where a wanted value comes from: a field, a part of the request, or nowhere.
#[derive(Clone, Copy)]
enum Source {
    Field(usize),
    Request(usize, usize),
    None,
}

/// How a field ends.
struct Ending<'f> {
    /// The text behind it.
    literal: &'f Literal,
    /// The first byte of that; without one, the field goes on to the end of the line.
    first: Option<u8>,
    /// A backslash where the field is in quotes, for then it may hold one in front of a quote.
    escape: u8,
    list: bool,
}

/// What is wanted of each line.
pub(super) struct Wanted<'f> {
    /// What stands before the first field.
    before: Option<&'f Literal>,
    /// The endings of the fields, up to the last one that is wanted.
    endings: Vec<Ending<'f>>,
    /// In the order of the keys.
    sources: Vec<Source>,
}

impl<'f> Wanted<'f> {
    pub(super) fn new(keys: &Keys, format: &'f LogFormat, time: &TimeField) -> Wanted<'f> {
        let part = |name: &[u8]| {
            [b"method".as_slice(), b"uri", b"protocol"].iter().position(|n| *n == name)
        };
        let source = |(at, name): (usize, &[u8])| {
            let place = match at {
                0 => format.time(time),
                _ => std::str::from_utf8(name).ok().and_then(|name| format.place(name)),
            };
            match (place, part(name), format.place("request")) {
                (Some(place), ..) => Source::Field(place),
                (None, Some(part), Some(request)) if at > 0 => Source::Request(request, part),
                _ => Source::None,
            }
        };
        let sources: Vec<Source> =
            keys.list().iter().map(|key| &*key.name).enumerate().map(source).collect();
        let count = sources.iter().map(|source| match *source {
            Source::Field(at) | Source::Request(at, _) => at + 1,
            Source::None => 0,
        });
        let ending = |at: usize| {
            let literal = format.pieces.get(at + 1).map_or(&format.tail, |next| &next.before);
            // Where nothing stands between them, the next field begins with a slash.
            let slash = (at + 1 < format.pieces.len()).then_some(b'/');
            let first = literal.text.first().copied().or(slash);
            let escape = if first == Some(b'"') { b'\\' } else { first.unwrap_or_default() };
            Ending { literal, first, escape, list: format.pieces[at].meaning.list }
        };
        Wanted {
            before: format.pieces.first().map(|first| &first.before),
            endings: (0..count.max().unwrap_or_default()).map(ending).collect(),
            sources,
        }
    }
}

dispatch! {
    /// Scans a block of whole lines, each ended by `\n`.
    pub(super) fn scan_at['a, R: Rows<'a>](
        block: &'a [u8], wanted: &Wanted<'_>, rows: &mut R
    ) = scan_with
}

#[inline(always)]
fn scan_with<'a, M: Masks, R: Rows<'a>>(
    masks: M,
    block: &'a [u8],
    wanted: &Wanted<'_>,
    rows: &mut R,
) {
    let mut fields: Vec<&[u8]> = vec![b""; wanted.endings.len()];
    let mut line = Line::new(0);
    for newline in memchr::memchr_iter(b'\n', block) {
        let end = if block[..newline].ends_with(b"\r") { newline - 1 } else { newline };
        // The line with all that is behind it, for what looks at many bytes at once.
        let (ahead, length) = (&block[line.start..], end.saturating_sub(line.start));
        let mut from = wanted.before.and_then(|before| before.matches(ahead, length, 0));
        let mut count = 0;
        for (ending, field) in wanted.endings.iter().zip(&mut fields) {
            let Some(begin) = from else { break };
            let end;
            (end, from) = ending.find(masks, ahead, length, begin);
            *field = ahead.get(begin..end).unwrap_or_default();
            count += 1;
        }
        for (key, source) in wanted.sources.iter().enumerate() {
            let value = match *source {
                Source::Field(at) if at < count => fields[at],
                Source::Request(at, part) if at < count => request_part(fields[at], part),
                _ => b"",
            };
            line.keep(key, value);
        }
        line.finish(block, newline, rows);
    }
}

impl Ending<'_> {
    /// The end of a field that begins at `from`, and where the text behind it ends; the end of the
    /// line, which has `length` bytes, when that text is not there.
    #[inline(always)]
    fn find<M: Masks>(
        &self,
        masks: M,
        ahead: &[u8],
        length: usize,
        from: usize,
    ) -> (usize, Option<usize>) {
        let Some(first) = self.first else { return (length, Some(length)) };
        let mut place = from;
        while let Some(found) = find_either(masks, ahead, length, place, [first, self.escape]) {
            place = found;
            if ahead[place] != first {
                place += 2;
            } else if let Some(behind) = self.literal.matches(ahead, length, place)
                && !(self.list && goes_on(&ahead[from..place], &ahead[place..length]))
            {
                return (place, Some(behind));
            } else {
                place += 1;
            }
        }
        (length, None)
    }
}

/// Whether a list goes on behind a blank.
fn goes_on(so_far: &[u8], behind: &[u8]) -> bool {
    so_far.ends_with(b",") || behind.starts_with(b" : ") || so_far.ends_with(b" :")
}
