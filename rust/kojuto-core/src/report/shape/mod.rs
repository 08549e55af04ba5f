//! What of a segment of a path is certainly an id, without other requests to compare with.

mod address;
mod extension;
mod hash;
mod id;
mod number;

pub(super) use extension::{of_id as extensions_of_id, of_name as extension_of_name};
pub(super) use hash::parts as hashed_parts;

use super::path::escaped;

/// What a variable is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// `{n}`
    Number,
    /// `{uuid}`
    Uuid,
    /// `{ulid}`
    Ulid,
    /// `{hex}`
    Hex,
    /// `{hash}`
    Hash,
    /// `{token}`
    Token,
    /// `{date}`
    Date,
    /// `{ip}`
    Ip,
    /// `{email}`
    Email,
}

impl Kind {
    pub(super) const ALL: [Kind; 9] = [
        Kind::Number,
        Kind::Uuid,
        Kind::Ulid,
        Kind::Hex,
        Kind::Hash,
        Kind::Token,
        Kind::Date,
        Kind::Ip,
        Kind::Email,
    ];

    /// Its name, as it stands within braces.
    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Number => "n",
            Kind::Uuid => "uuid",
            Kind::Ulid => "ulid",
            Kind::Hex => "hex",
            Kind::Hash => "hash",
            Kind::Token => "token",
            Kind::Date => "date",
            Kind::Ip => "ip",
            Kind::Email => "email",
        }
    }
}

/// A segment that is an id but for a sign before it and an extension behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Id {
    pub(super) kind: Kind,
    /// How many bytes of the segment are its sign.
    pub(super) sign: usize,
    /// How many bytes of the segment are its extensions.
    pub(super) extension: usize,
    /// Of hexadecimal digits, and of decimal ones alone: how many there are. 0 of anything else.
    pub(super) digits: usize,
}

/// Which bytes there are in a text.
#[derive(Debug, Clone, Copy)]
pub(super) struct Classes(u16);

const DIGIT: u16 = 1;
const HEX_LETTER: u16 = 1 << 1;
const OTHER_LETTER: u16 = 1 << 2;
const LOWER: u16 = 1 << 3;
const UPPER: u16 = 1 << 4;
const DASH: u16 = 1 << 5;
const UNDERSCORE: u16 = 1 << 6;
const DOT: u16 = 1 << 7;
const AT: u16 = 1 << 8;
const COLON: u16 = 1 << 9;
const PERCENT: u16 = 1 << 10;
const BASE64: u16 = 1 << 11;
const OTHER: u16 = 1 << 12;
const LETTER: u16 = HEX_LETTER | OTHER_LETTER;

static CLASS: [u16; 256] = {
    let mut table = [OTHER; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = match byte as u8 {
            b'0'..=b'9' => DIGIT,
            b'a'..=b'f' => HEX_LETTER | LOWER,
            b'A'..=b'F' => HEX_LETTER | UPPER,
            b'g'..=b'z' => OTHER_LETTER | LOWER,
            b'G'..=b'Z' => OTHER_LETTER | UPPER,
            b'-' => DASH,
            b'_' => UNDERSCORE,
            b'.' => DOT,
            b'@' => AT,
            b':' => COLON,
            b'%' => PERCENT,
            b'+' | b'/' | b'=' => BASE64,
            _ => OTHER,
        };
        byte += 1;
    }
    table
};

impl Classes {
    pub(super) fn of(text: &[u8]) -> Classes {
        Classes(text.iter().fold(0, |found, &byte| found | CLASS[usize::from(byte)]))
    }

    fn has(self, any: u16) -> bool {
        self.0 & any != 0
    }

    /// Hexadecimal digits, letters of one case among them.
    fn is_hex(self) -> bool {
        self.only(DIGIT | HEX_LETTER | LOWER | UPPER)
            && self.has(HEX_LETTER)
            && self.has(LOWER) != self.has(UPPER)
    }

    /// Whether there is nothing but these.
    fn only(self, these: u16) -> bool {
        self.0 & !these == 0
    }
}

/// Longer segments are ids only in what they are written with.
const MOST_UNESCAPED: usize = 256;

/// What an id is written as with a server that escapes more than it need: `@ , : / + = $` and blank.
const ESCAPED_IN_IDS: &[u8] = b"@,:/+=$ ";

/// The id that a segment of a path in its one form is, if it certainly is one.
pub(super) fn id(segment: &[u8]) -> Option<Id> {
    let classes = Classes::of(segment);
    if !classes.has(DIGIT | AT | COLON | PERCENT | BASE64) {
        return None;
    }
    if !classes.has(PERCENT) {
        return signed_id(segment, classes);
    }
    // An extension has no escapes, so its length stays what it is; a sign may be one.
    let mut room = [0; MOST_UNESCAPED];
    let plain = unescape(segment, &mut room)?;
    let mut id = signed_id(plain, Classes::of(plain))?;
    if id.sign == 1 && segment[0] == b'%' {
        id.sign = 3;
    }
    Some(id)
}

fn unescape<'a>(segment: &[u8], room: &'a mut [u8; MOST_UNESCAPED]) -> Option<&'a [u8]> {
    let (mut from, mut to) = (0, 0);
    while from < segment.len() {
        let (byte, length) = match escaped(&segment[from..]) {
            Some(byte) if ESCAPED_IN_IDS.contains(&byte) => (byte, 3),
            _ => (segment[from], 1),
        };
        *room.get_mut(to)? = byte;
        from += length;
        to += 1;
    }
    Some(&room[..to])
}

fn signed_id(segment: &[u8], classes: Classes) -> Option<Id> {
    let sign = usize::from(matches!(segment, [b'@' | b'~' | b'$' | b':', _, ..]));
    let body = &segment[sign..];
    let classes = if sign == 0 { classes } else { Classes::of(body) };
    if let Some((kind, digits)) = whole(body, classes) {
        return Some(Id { kind, sign, extension: 0, digits });
    }
    if !classes.has(DOT) {
        return None;
    }
    extensions_of_id(body).find_map(|extension| {
        let stem = &body[..body.len() - extension];
        let (kind, digits) = whole(stem, Classes::of(stem))?;
        // A word, a hash and an extension are a name with a hash in its middle.
        if kind == Kind::Token && hash::begins_with_word(stem) {
            return None;
        }
        Some(Id { kind, sign, extension, digits })
    })
}

/// The least length of a hexadecimal id.
pub(super) const LEAST_HEX: usize = 8;

/// The kind of a text that is an id without a sign or an extension, and its [digits](Id::digits).
fn whole(text: &[u8], classes: Classes) -> Option<(Kind, usize)> {
    if !classes.has(DIGIT) && !classes.has(AT | COLON | BASE64) {
        return None;
    }
    if classes.only(DIGIT) {
        return Some((Kind::Number, text.len()));
    }
    if !classes.has(LETTER) && number::is_list(text) {
        return Some((Kind::Number, 0));
    }
    if text.len() >= LEAST_HEX && classes.is_hex() {
        return Some((Kind::Hex, text.len()));
    }
    let kind = if classes.has(DASH) && id::is_uuid(text) {
        Kind::Uuid
    } else if id::is_ulid(text) {
        Kind::Ulid
    } else if number::is_date(text) {
        Kind::Date
    } else if classes.has(DOT | COLON) && address::is_ip(text) {
        Kind::Ip
    } else if classes.has(AT) && address::is_email(text) {
        Kind::Email
    } else if classes.has(COLON) && hash::is_digest(text) {
        Kind::Hash
    } else if id::is_token(text, classes) {
        Kind::Token
    } else {
        return None;
    };
    Some((kind, 0))
}

#[cfg(test)]
mod tests;
