//! What was read before, by its content: names and inode numbers prove nothing.
//!
//! A file has the content of a known one when it begins as that one did and has the remembered bytes
//! at the remembered place. That proves that it was read, under whatever name it comes, if such
//! bytes tell a file from others ([`super::telling`]) and no two known files have them.

use std::io;

use kojuto_core::logs::position::{Known, MAX_KNOWN, Mark, Position, Print, WINDOW_BYTES};

use super::identity::Identity;
use super::siblings::{Entry, STRONG_BYTES, Siblings};
use super::source::Source;
use super::telling::{do_tell, tells};
use crate::error::passes;
use crate::words;

/// What a look into a file showed.
pub(super) enum Look {
    /// It can be read.
    Content(Content),
    /// It is packed, and there is nothing in it.
    Nothing,
    /// It cannot be read: the text says why.
    Unreadable(String),
    /// Another file has its name now.
    Moved,
}

/// What a file holds.
pub(super) struct Content {
    pub(super) source: Box<Source>,
    /// The known files that have the same, by their places.
    pub(super) fits: Vec<usize>,
    /// It has what was read of the file of the mark, and may go on.
    pub(super) has_mark: bool,
    /// What it has in common with these is in no other file of this log.
    pub(super) tells: bool,
}

/// The files that need not be read.
pub(super) struct Memory {
    known: Vec<Known>,
    /// Where the file of the mark is among them, if all that was there of it was read.
    mark: Option<usize>,
    /// What was read of that file, if it is enough to know it by.
    marked: Option<Known>,
}

impl Memory {
    /// What a position remembers: the files it knows, and the one that its mark is in.
    pub(super) fn of(position: &Position) -> Memory {
        let mut known = position.known.clone().unwrap_or_default();
        // An old position file has the newest rotated file only.
        known.extend(position.newest_rotated.flatten().map(|rotated| Known {
            pos: u64::from(rotated.head.len),
            ..nothing(rotated.head, rotated.inode)
        }));
        let of_mark = of_mark(&position.mark);
        let mark = of_mark.map(|_| known.len());
        known.extend(of_mark);
        Memory { known, mark, marked: marked(&position.mark) }
    }

    pub(super) fn get(&self, index: usize) -> &Known {
        &self.known[index]
    }

    /// Whether the content up to the mark tells a file that has it from others.
    pub(super) fn mark_tells(&self, source: &Source) -> io::Result<bool> {
        self.marked.map_or(Ok(false), |marked| tells(source, &marked))
    }

    /// Whether this same file was listed before, and not written to since.
    pub(super) fn has_listed(&self, entry: &Entry) -> bool {
        let is_it =
            |known: &Known| known.inode == entry.inode && known.written == Some(entry.written);
        self.known.iter().any(is_it)
    }

    /// Whether a file that cannot be read has been named already.
    pub(super) fn has_named(&self, entry: &Entry) -> bool {
        let is_it = |known: &Known| known.head.len == 0 && !known.counted;
        self.known.iter().any(|known| is_it(known) && known.inode == entry.inode)
    }

    /// Whether a known file is there no more under its inode number.
    pub(super) fn is_gone(&self, index: usize, siblings: &Siblings) -> bool {
        let known = &self.known[index];
        let is_it = |entry: &Entry| {
            entry.inode == known.inode && known.written.is_none_or(|time| time == entry.written)
        };
        self.mark != Some(index) && !siblings.all.iter().any(is_it)
    }

    /// The place up to which this same file was read or is to be passed over; it may have grown since.
    pub(super) fn place(&self, source: &Source) -> io::Result<Option<u64>> {
        let Identity { inode, born, .. } = source.identity;
        // Another one under the same inode number was born after that one was last written to.
        let is_it = |known: &&Known| {
            known.inode == inode
                && (known.head.len > 0 || known.counted)
                && born.zip(known.written).is_some_and(|(born, written)| born <= written)
        };
        for known in self.known.iter().rev().filter(is_it) {
            if source.starts_as(known.head) && has_tail(known, source)? {
                return Ok(Some(known.pos));
            }
        }
        Ok(None)
    }

    /// Whether a file that was counted has been written to since.
    pub(super) fn may_have_grown(&self, entry: &Entry) -> bool {
        let is_it = |known: &Known| {
            known.counted
                && known.inode == entry.inode
                && known.written != Some(entry.written)
                && entry.size > known.pos
        };
        !entry.packed && self.known.iter().any(is_it)
    }

    /// Looks into a file.
    ///
    /// # Errors
    /// What is wrong with this process now, and not with the file.
    pub(super) fn look(&self, entry: &Entry) -> io::Result<Look> {
        let look = match entry.open() {
            Ok(Some(source)) => self.look_into(entry, source),
            Ok(None) => Ok(Look::Moved),
            Err(error) => Err(error),
        };
        match look {
            Err(error) if !passes(&error) => Ok(Look::Unreadable(words(&error))),
            other => other,
        }
    }

    fn look_into(&self, entry: &Entry, source: Source) -> io::Result<Look> {
        let head = source.first_bytes(WINDOW_BYTES)?;
        if head.is_empty() {
            let (source, fits, has_mark, tells) = (Box::new(source), Vec::new(), false, false);
            let content = Content { source, fits, has_mark, tells };
            return Ok(if entry.packed { Look::Nothing } else { Look::Content(content) });
        }
        let mut fits = Vec::new();
        let mut begin = Print::of(&head);
        for (index, known) in self.known.iter().enumerate() {
            let length = known.head.len as usize;
            if length == 0 || length > head.len() {
                continue;
            }
            if begin.len != known.head.len {
                begin = Print::of(&head[..length]);
            }
            if begin == known.head && goes_on_as(known, &source, &head)? {
                fits.push(index);
            }
        }
        let marked = self.marked.as_ref().filter(|marked| source.starts_as(marked.head));
        let marked = match marked {
            Some(marked) if has_tail(marked, &source)? => Some(marked),
            _ => None,
        };
        let mut all = fits.iter().map(|&index| &self.known[index]).chain(marked);
        let tells = match all.next_back() {
            Some(last) => all.all(|one| one.inode == last.inode) && tells(&source, last)?,
            None => false,
        };
        let has_mark = marked.is_some();
        Ok(Look::Content(Content { source: Box::new(source), fits, has_mark, tells }))
    }
}

/// Whether a file that begins with `head`, and so as a known one, has its content.
fn goes_on_as(known: &Known, source: &Source, head: &[u8]) -> io::Result<bool> {
    let length = known.head.len as usize;
    if length < WINDOW_BYTES {
        // All of a small file is known; one that goes on is another, unless it was left to grow.
        return Ok(known.tail.is_none() && do_tell(head) || head.len() == length);
    }
    has_tail(known, source)
}

/// Whether a file has the remembered bytes at the remembered place, if there are any.
fn has_tail(known: &Known, source: &Source) -> io::Result<bool> {
    let Some(tail) = known.tail_print() else { return Ok(true) };
    let before = source.bytes_before(known.pos, WINDOW_BYTES)?;
    Ok(before.is_some_and(|bytes| Print::of(&bytes) == tail))
}

/// What is remembered of the file that a mark is in; `None` of one with too little in it.
fn of_mark(mark: &Mark) -> Option<Known> {
    let is_whole = |known: &Known| {
        known.head.len as usize == WINDOW_BYTES || u64::from(known.head.len) == known.pos
    };
    marked(mark).filter(|known| is_whole(known) && known.pos > 0)
}

/// The same, of a file of which not all that was there was read, too.
fn marked(mark: &Mark) -> Option<Known> {
    let (head, tail) = (mark.head.filter(|head| head.len >= STRONG_BYTES)?, mark.tail?);
    let is_whole = u64::from(tail.len) == mark.pos.min(WINDOW_BYTES as u64);
    let tail = is_whole.then_some(tail.hash);
    Some(Known { pos: mark.pos, tail, ..nothing(head, mark.inode) })
}

fn nothing(head: Print, inode: u64) -> Known {
    Known { head, inode, pos: 0, tail: None, written: None, packed: false, counted: false }
}

/// What to remember of a file of which the content is not kept: that it is there.
pub(super) fn there_only(entry: &Entry) -> Known {
    Known { written: Some(entry.written), ..nothing(Print::of(b""), entry.inode) }
}

/// What to remember of a file that was there before anything was read; of one that cannot be read,
/// that it is there.
pub(super) fn there(entry: &Entry) -> Option<Known> {
    let source = entry.open().transpose()?;
    Some(source.and_then(|source| source.known_unread()).unwrap_or_else(|_| there_only(entry)))
}

/// The same of the newest files.
pub(super) fn all_there(rotated: &[Entry]) -> Vec<Known> {
    rotated[rotated.len().saturating_sub(MAX_KNOWN)..].iter().filter_map(there).collect()
}

/// Whether one of two files is a copy of the other, or of its beginning. Neither was read before.
/// Where content tells nothing, its name or its time must say so.
pub(super) fn is_copy(
    entry: &Entry,
    copy: &Source,
    other: &Source,
    may_tell: bool,
) -> io::Result<bool> {
    let (a, b) = (copy.first_bytes(WINDOW_BYTES)?, other.first_bytes(WINDOW_BYTES)?);
    let common = a.len().min(b.len());
    if a[..common] != b[..common] || common == 0 {
        return Ok(false);
    }
    let (length, of_other) = (copy.length()?, other.length()?);
    let end = length.min(of_other);
    let both = copy.bytes_before(end, WINDOW_BYTES)?;
    if both != other.bytes_before(end, WINDOW_BYTES)? {
        return Ok(false);
    }
    let head = Print::of(&a[..common]);
    let common = Known { pos: end, tail: Some(0), ..nothing(head, 0) };
    let was_born_later = other.identity.born.is_some_and(|born| born > entry.written);
    // What was written to since the copy was made has another time.
    let has_its_time = length == of_other && other.written() == Some(entry.written);
    let has_its_time = has_its_time && (entry.has_set_time() || was_born_later);
    let says_so = entry.says_copy && length <= of_other;
    Ok(says_so || has_its_time || may_tell && tells(copy, &common)?)
}
