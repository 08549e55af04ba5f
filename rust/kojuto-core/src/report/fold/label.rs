//! Segments of keys, and what is shown of them.

use std::borrow::Cow;
use std::collections::HashMap;

use crate::report::shape::{Kind, LEAST_HEX, extension_of_name};

/// Adds a variable as it stands in a key; `digits` as in [`Id`](crate::report::shape::Id).
pub(in crate::report) fn push_variable(kind: Kind, digits: usize, out: &mut Vec<u8>) {
    out.push(0);
    out.extend_from_slice(kind.name().as_bytes());
    // Fewer digits are no hexadecimal id, so nothing hangs on how many they are.
    if digits >= LEAST_HEX {
        let digits = digits.min(MOST_DIGITS) as u8;
        out.extend([b'0' + digits / 10, b'0' + digits % 10]);
    }
    out.push(b'}');
}

/// More are counted as so many, so that there are no more keys than lengths.
const MOST_DIGITS: usize = 99;

/// What the label of a segment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    /// Something that a place may have many of.
    Name,
    /// An id of a kind, with its digits as far as they were counted.
    Id(Kind, u8),
    /// Folded already.
    Folded,
}

#[derive(Debug)]
struct Label<'a> {
    text: Cow<'a, [u8]>,
    what: What,
    /// The label that is shown of it.
    shown: u32,
    /// How many bytes of its text are a sign (`@`, `~`, `$`, `:` or an escape of one).
    sign: usize,
}

/// The different texts of segments, by numbers.
#[derive(Debug, Default)]
pub(super) struct Labels<'a> {
    all: Vec<Label<'a>>,
    by_text: HashMap<Cow<'a, [u8]>, u32>,
}

impl<'a> Labels<'a> {
    /// The number of a text.
    pub(super) fn add(&mut self, text: &'a [u8]) -> u32 {
        match self.by_text.get(text) {
            Some(&label) => label,
            None => self.insert(Cow::Borrowed(text)),
        }
    }

    fn add_owned(&mut self, text: Vec<u8>) -> u32 {
        match self.by_text.get(&*text) {
            Some(&label) => label,
            None => self.insert(Cow::Owned(text)),
        }
    }

    fn insert(&mut self, text: Cow<'a, [u8]>) -> u32 {
        let number = self.all.len() as u32;
        let sign = sign(&text);
        let what = what(&text[sign..]);
        let shown = shown(&text);
        self.by_text.insert(text.clone(), number);
        self.all.push(Label { text, what, shown: number, sign });
        if let Some(shown) = shown {
            self.all[number as usize].shown = self.add_owned(shown);
        }
        number
    }

    pub(super) fn text(&self, label: u32) -> &[u8] {
        &self.all[label as usize].text
    }

    pub(super) fn what(&self, label: u32) -> What {
        self.all[label as usize].what
    }

    /// What is shown of a label that stays by itself.
    pub(super) fn shown(&self, label: u32) -> u32 {
        self.all[label as usize].shown
    }

    /// `*` for a label, with its sign and its extensions.
    pub(super) fn star(&mut self, label: u32) -> u32 {
        let Label { text, sign, what, .. } = &self.all[label as usize];
        let (sign, body) = text.split_at(*sign);
        let extension = match what {
            What::Name => &body[body.len() - extension_of_name(body)..],
            What::Id(..) | What::Folded => behind_variable(body),
        };
        let star = [sign, b"*", extension].concat();
        self.add_owned(star)
    }

    /// `*`
    pub(super) fn bare_star(&mut self) -> u32 {
        self.add(b"*")
    }

    /// What is shown of an id when the ids of its place are hexadecimal.
    pub(super) fn hex(&mut self, label: u32) -> u32 {
        let Label { text, sign, .. } = &self.all[label as usize];
        let (sign, body) = text.split_at(*sign);
        let hex = [sign, b"{", Kind::Hex.name().as_bytes(), b"}", behind_variable(body)].concat();
        self.add_owned(hex)
    }
}

fn sign(text: &[u8]) -> usize {
    match text {
        [b'@' | b'~' | b'$' | b':', _, ..] => 1,
        [b'%', b'4', b'0', _, ..] | [b'%', b'2', b'4', _, ..] | [b'%', b'3', b'A', _, ..] => 3,
        _ => 0,
    }
}

/// What is behind the variable at the beginning of a text.
fn behind_variable(body: &[u8]) -> &[u8] {
    if let Some(behind) = body.strip_prefix(b"*") {
        return behind;
    }
    memchr::memchr(b'}', body).map_or(b"", |end| &body[end + 1..])
}

/// What a text without its sign is. A name that is shown reads as what it is shown of.
fn what(body: &[u8]) -> What {
    match body {
        [b'*', ..] => What::Folded,
        [0 | b'{', rest @ ..] => {
            let Some((kind, digits, _)) = variable(rest) else { return What::Name };
            What::Id(kind, digits)
        }
        _ => What::Name,
    }
}

/// A variable behind its first byte: its kind, its digits, and what is behind it.
fn variable(text: &[u8]) -> Option<(Kind, u8, &[u8])> {
    let end = text.iter().position(|byte| !byte.is_ascii_lowercase())?;
    let (name, rest) = text.split_at(end);
    let kind = Kind::ALL.into_iter().find(|kind| kind.name().as_bytes() == name)?;
    match rest {
        [b'}', rest @ ..] => Some((kind, 0, rest)),
        [tens @ b'0'..=b'9', ones @ b'0'..=b'9', b'}', rest @ ..] => {
            Some((kind, (tens - b'0') * 10 + ones - b'0', rest))
        }
        _ => None,
    }
}

/// A text of a key as it is shown; None if it is shown as it is.
fn shown(text: &[u8]) -> Option<Vec<u8>> {
    let mut at = memchr::memchr(0, text)?;
    let mut shown = Vec::with_capacity(text.len());
    let mut rest = text;
    loop {
        shown.extend_from_slice(&rest[..at]);
        rest = &rest[at + 1..];
        match variable(rest) {
            Some((kind, _, behind)) => {
                shown.extend_from_slice(format!("{{{}}}", kind.name()).as_bytes());
                rest = behind;
            }
            // No key that was made here.
            None => shown.extend_from_slice(b"%00"),
        }
        match memchr::memchr(0, rest) {
            Some(next) => at = next,
            None => break,
        }
    }
    shown.extend_from_slice(rest);
    Some(shown)
}
