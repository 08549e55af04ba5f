//! The fields of a combined line, and which of them are wanted.

use super::TimeField;
use super::words::{Words, blanks_off, quoted};
use crate::scan::fields::{Keys, Line};

/// A field of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Taken,
    Vhost,
    Host,
    Ident,
    User,
    Time,
    Request,
    /// The method, the URI or the protocol of the request.
    Part(usize),
    Status,
    Size,
    Referer,
    Ua,
    /// There is none of that name.
    None,
}

/// The fields that are wanted, in the order of the keys.
pub(super) struct Wanted<'k> {
    fields: Vec<Field>,
    pub(super) time: &'k TimeField,
}

impl<'k> Wanted<'k> {
    /// Key 0 takes the time taken, whatever its name; the others take the field of their name.
    pub(super) fn new(keys: &Keys, time: &'k TimeField) -> Wanted<'k> {
        let field = |(at, key): (usize, &crate::scan::fields::Key)| match &*key.name {
            _ if at == 0 => Field::Taken,
            b"vhost" => Field::Vhost,
            b"host" => Field::Host,
            b"ident" => Field::Ident,
            b"user" => Field::User,
            b"time" => Field::Time,
            b"req" => Field::Request,
            b"method" => Field::Part(0),
            b"uri" => Field::Part(1),
            b"protocol" => Field::Part(2),
            b"status" => Field::Status,
            b"size" => Field::Size,
            b"referer" => Field::Referer,
            b"ua" => Field::Ua,
            _ => Field::None,
        };
        Wanted { fields: keys.list().iter().enumerate().map(field).collect(), time }
    }

    /// Keeps the wanted fields of a record but for the time taken, which is given.
    #[inline(always)]
    pub(super) fn keep<'a>(&self, record: &Record<'a>, taken: &'a [u8], state: &mut Line<'a>) {
        for (at, field) in self.fields.iter().enumerate() {
            let value = match *field {
                Field::Taken => taken,
                Field::Status => record.status,
                other => record.other(other),
            };
            state.keep(at, value);
        }
    }

    /// Reads a line of any shape.
    #[inline(never)]
    pub(super) fn read<'a>(&self, line: &'a [u8], state: &mut Line<'a>) {
        if let Some(record) = Record::read(line) {
            self.keep(&record, self.time.of(line, record.extra), state);
        }
    }
}

pub(super) struct Record<'a> {
    /// What stands before the time: the virtual host, the client, its ident and user.
    pub(super) head: &'a [u8],
    pub(super) time: &'a [u8],
    pub(super) request: &'a [u8],
    pub(super) status: &'a [u8],
    pub(super) size: &'a [u8],
    pub(super) referer: &'a [u8],
    pub(super) ua: &'a [u8],
    /// What follows the user agent; without one, what follows the size.
    pub(super) extra: &'a [u8],
}

impl<'a> Record<'a> {
    pub(super) fn read(line: &'a [u8]) -> Option<Record<'a>> {
        let line = blanks_off(line);
        let bracket = memchr::memchr_iter(b'[', line)
            .find(|&at| at > 0 && matches!(line[at - 1], b' ' | b'\t' | b'"'))?;
        let head = line[..bracket].strip_suffix(b"\"").unwrap_or(&line[..bracket]);
        let rest = &line[bracket + 1..];
        let close = memchr::memchr(b']', rest)?;
        let time = &rest[..close];
        let rest = &rest[close + 1..];
        let rest = blanks_off(rest.strip_prefix(b"\"").unwrap_or(rest));
        let (request, rest) = quoted(rest)?;
        // The client is there, and what stands behind it.
        Words { rest: head }.nth(1)?;
        let mut words = Words { rest };
        let status = words.next()?;
        // Without a size what comes next may be the referer; when all are quoted it is the size.
        let all_quoted = blanks_off(rest).starts_with(b"\"");
        let quoted_next = |words: &Words<'_>| blanks_off(words.rest).starts_with(b"\"");
        let size = match quoted_next(&words) == all_quoted {
            true => words.next().unwrap_or_default(),
            false => b"",
        };
        let mut text = || if quoted_next(&words) { words.next().unwrap_or_default() } else { b"" };
        let (referer, ua) = (text(), text());
        let extra = words.rest;
        Some(Record { head, time, request, status, size, referer, ua, extra })
    }

    #[inline(never)]
    fn other(&self, field: Field) -> &'a [u8] {
        match field {
            Field::Vhost => names(self.head).vhost,
            Field::Host => names(self.head).host,
            Field::Ident => names(self.head).ident,
            Field::User => names(self.head).user,
            Field::Time => self.time,
            Field::Request => self.request,
            Field::Part(index) => request_part(self.request, index),
            Field::Size => self.size,
            Field::Referer => self.referer,
            Field::Ua => self.ua,
            Field::Status | Field::Taken | Field::None => b"",
        }
    }
}

#[derive(Default)]
struct Names<'a> {
    vhost: &'a [u8],
    host: &'a [u8],
    ident: &'a [u8],
    user: &'a [u8],
}

/// The first words of a line; a virtual host is there when the client stands second.
fn names(head: &[u8]) -> Names<'_> {
    let mut words = Words { rest: head };
    let (Some(first), Some(second)) = (words.next(), words.next()) else { return Names::default() };
    let mut behind = words.clone();
    let is_address = |word: &[u8]| {
        std::str::from_utf8(word).is_ok_and(|word| word.parse::<std::net::IpAddr>().is_ok())
    };
    let vhost_first = is_address(second) && !is_address(first)
        || second != b"-" && behind.next() == Some(b"-") && behind.next().is_some();
    let (vhost, host, ident) = match vhost_first {
        true => (first, second, words.next().unwrap_or_default()),
        false => (&b""[..], first, second),
    };
    let mut user = words.clone();
    let user = match (user.next(), user.next()) {
        (first, None) => first.unwrap_or_default(),
        _ => words.rest.trim_ascii(),
    };
    Names { vhost, host, ident, user }
}

/// The method, the URI or the protocol of a request.
pub(in crate::scan) fn request_part(request: &[u8], index: usize) -> &[u8] {
    request.split(|&b| b == b' ').filter(|part| !part.is_empty()).nth(index).unwrap_or_default()
}
