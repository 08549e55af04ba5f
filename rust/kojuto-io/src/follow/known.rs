//! What was read before, by its content: names and inode numbers prove nothing.
//!
//! A file was read before when its first KiB is that of a file that was read, and it has the
//! remembered bytes at the remembered place. So a beginning that all files have in common, a banner
//! or a header, is no proof, and a copy is known whatever it is called.

use std::io;

use kojuto_core::logs::position::{Known, MAX_KNOWN, Mark, Position, Print, WINDOW_BYTES};

use super::siblings::{Entry, STRONG_BYTES};
use super::source::Source;

/// What a look into a file showed.
pub(super) enum Look {
    /// Nothing of it was read.
    New(Box<Source>),
    /// It was read, or there is nothing in it.
    Before,
    /// It cannot be read: the text says why.
    Unreadable(String),
    /// Another file has its name now.
    Moved,
}

/// The files that need not be read.
pub(super) struct Memory {
    known: Vec<Known>,
}

impl Memory {
    /// What a position remembers: the files it knows, and the one that its mark is in.
    pub(super) fn of(position: &Position) -> Memory {
        let mut known = position.known.clone().unwrap_or_default();
        // An old position file has the newest rotated file only.
        known.extend(position.newest_rotated.flatten().map(|rotated| Known {
            head: rotated.head,
            inode: rotated.inode,
            pos: u64::from(rotated.head.len),
            tail: None,
        }));
        known.extend(of_mark(&position.mark));
        Memory { known }
    }

    /// Whether a file that cannot be read has been named already.
    pub(super) fn has_named(&self, entry: &Entry) -> bool {
        self.known.iter().any(|known| known.head.len == 0 && known.inode == entry.inode)
    }

    /// Looks into a file.
    pub(super) fn look(&self, entry: &Entry) -> Look {
        let source = match entry.open() {
            Ok(Some(source)) => source,
            Ok(None) => return Look::Moved,
            Err(error) => return Look::Unreadable(error.to_string()),
        };
        match self.has_read(entry, &source) {
            Ok(true) => Look::Before,
            Ok(false) => Look::New(Box::new(source)),
            Err(error) => Look::Unreadable(error.to_string()),
        }
    }

    fn has_read(&self, entry: &Entry, source: &Source) -> io::Result<bool> {
        let head = source.first_bytes(WINDOW_BYTES)?;
        if head.is_empty() {
            return Ok(entry.packed);
        }
        for known in self.known.iter().rev() {
            let length = known.head.len as usize;
            if length == 0 || length > head.len() || Print::of(&head[..length]) != known.head {
                continue;
            }
            if is_same(known, entry, source, &head)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// The same for a file that begins as the known one does: with `head`.
fn is_same(known: &Known, entry: &Entry, source: &Source, head: &[u8]) -> io::Result<bool> {
    let length = known.head.len as usize;
    let tells = tells(&head[..length]);
    if length == WINDOW_BYTES && tells {
        let Some(tail) = known.tail_print() else { return Ok(true) };
        let before = source.bytes_before(known.pos)?;
        return Ok(before.is_some_and(|bytes| Print::of(&bytes) == tail));
    }
    if tells {
        // All of a small file is known; one that goes on is another, unless it was left to grow.
        return Ok(known.tail.is_none() || head.len() == length);
    }
    // Such bytes may be those of many files.
    Ok(head.len() == length && (known.inode == entry.inode || entry.packed || entry.says_copy))
}

/// Whether bytes tell a file from others: they are enough, and not the same few over and over, as in
/// the middle of a long line.
fn tells(bytes: &[u8]) -> bool {
    let mut seen = [false; 256];
    bytes.iter().for_each(|&byte| seen[usize::from(byte)] = true);
    bytes.len() >= STRONG_BYTES as usize && seen.iter().filter(|&&seen| seen).count() >= 8
}

/// What is remembered of the file that a mark is in; `None` of one with too little in it.
fn of_mark(mark: &Mark) -> Option<Known> {
    let (head, tail) = (mark.head?, mark.tail?);
    let whole = head.len as usize == WINDOW_BYTES || u64::from(head.len) == mark.pos;
    let strong = head.len >= STRONG_BYTES && whole && mark.pos > 0;
    strong.then_some(Known { head, inode: mark.inode, pos: mark.pos, tail: Some(tail.hash) })
}

/// What to remember of a file that was there before anything was read; of one that cannot be read,
/// that it is there.
pub(super) fn there(entry: &Entry) -> Option<Known> {
    let nothing = Known { head: Print::of(b""), inode: entry.inode, pos: 0, tail: None };
    let source = entry.open().transpose()?;
    Some(source.and_then(|source| source.known_unread()).unwrap_or(nothing))
}

/// The same of the newest files.
pub(super) fn all_there(rotated: &[Entry]) -> Vec<Known> {
    rotated[rotated.len().saturating_sub(MAX_KNOWN)..].iter().filter_map(there).collect()
}

/// Whether one of two files is a copy of the other, or of its beginning. Neither was read before.
pub(super) fn is_copy(entry: &Entry, copy: &Source, other: &Source) -> io::Result<bool> {
    let (a, b) = (copy.first_bytes(WINDOW_BYTES)?, other.first_bytes(WINDOW_BYTES)?);
    let length = a.len().min(b.len());
    if a[..length] != b[..length] || length == 0 {
        return Ok(false);
    }
    if !tells(&a[..length]) {
        return Ok(entry.says_copy);
    }
    if length < WINDOW_BYTES {
        return Ok(true);
    }
    let end = copy.length()?.min(other.length()?);
    Ok(copy.bytes_before(end)? == other.bytes_before(end)?)
}
