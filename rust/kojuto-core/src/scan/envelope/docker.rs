//! Entries of docker's json-file driver: `{"log":"…\n","stream":"stdout","time":"…"}`.
//!
//! A `log` that does not end in `\n` is a piece: the line goes on in the next entry of its stream
//! (moby/moby, daemon/logger/copier.go: 16 KiB of it). The driver writes `log` first and nothing
//! between the members; an entry that another program wrote otherwise is read, but slowly.

use std::borrow::Cow;

use super::{Opener, Output};
use crate::scan::beginning::behind_nuls;
use crate::scan::fields::{Keys, RowFn};
use crate::scan::json::{self, Prefix, find_escaped, unescape};
use crate::scan::simd::{Blanks, Masks, dispatch_squeezing};

const HEAD: &[u8] = b"{\"log\":\"";
const STREAM: &[u8] = b"\",\"stream\":\"";

/// Whether a line is an entry as the driver writes it.
pub(super) fn holds(line: &[u8]) -> bool {
    plain_entry(line).is_some()
}

/// The stream of an entry, 0 or 1, and whether its line ends with it.
pub(super) fn piece(line: &[u8]) -> Option<(usize, bool)> {
    let (log, stream) = entry(line)?;
    Some((stream, ends_in_newline(&log)))
}

/// Whether the inside of a JSON string ends in an escaped newline.
fn ends_in_newline(text: &[u8]) -> bool {
    let Some(before) = text.strip_suffix(b"n") else { return false };
    before.iter().rev().take_while(|&&byte| byte == b'\\').count() % 2 == 1
}

dispatch_squeezing! {
    /// Takes the lines of a block out of their entries.
    pub(super) fn open(block: &[u8], opener: &mut Opener) = open_with
}

#[inline(always)]
fn open_with<M: Masks>(masks: M, block: &[u8], opener: &mut Opener) {
    let mut start = 0;
    while start < block.len() {
        let from = opener.out.at;
        let string = match block[start..].starts_with(HEAD) {
            true => copied(masks, block, start + HEAD.len(), &mut opener.out),
            false => None,
        };
        if let Some((quote, is_whole)) = string
            && let Some(stream) = block[quote..].strip_prefix(STREAM)
        {
            let stream = usize::from(stream.starts_with(b"stderr\""));
            opener.end_entry(from, stream, is_whole);
            start = next_line(block, quote);
        } else {
            opener.out.at = from;
            let end = next_line(block, start);
            open_slowly(&block[start..end], opener);
            start = end;
        }
    }
}

/// Where the next line begins.
#[inline(always)]
fn next_line(block: &[u8], from: usize) -> usize {
    memchr::memchr(b'\n', &block[from..]).map_or(block.len(), |at| from + at + 1)
}

/// Copies the inside of the string that begins at `from`, its escapes resolved and without the
/// newline that it may end in. Answers where its closing quote is, and whether there was one; `None`
/// where it is not plain: at the end of the block, torn, or with an escape that is rare.
///
/// Backslashes are squeezed out, 64 bytes at a time.
#[inline(always)]
fn copied<M: Masks>(
    masks: M,
    block: &[u8],
    mut from: usize,
    out: &mut Output,
) -> Option<(usize, bool)> {
    let mut escaped_first = 0;
    let mut newline_last = false;
    loop {
        let bytes = block.get(from..)?.first_chunk::<64>()?;
        let chunk = masks.load(bytes);
        let (quotes, backslashes) = (masks.eq(chunk, b'"'), masks.eq(chunk, b'\\'));
        let (escaped, next) = find_escaped(backslashes, escaped_first);
        let ends = quotes & !escaped | masks.eq(chunk, b'\n');
        let end = ends.trailing_zeros();
        let letters = escaped & below(end) & !(quotes | backslashes);
        let (tabs, newlines) = (masks.eq(chunk, b't') & letters, masks.eq(chunk, b'n') & letters);
        // A newline is read as a blank.
        let blanks = Blanks { tabs, blanks: newlines };
        let mut keep = !(backslashes & !escaped);
        let room = out.bytes.get_mut(out.at..)?.first_chunk_mut::<64>()?;
        let rare = letters & !(tabs | newlines);
        let mut used = end;
        if rare == 0 {
            keep &= below(end);
            masks.squeeze(bytes, keep, blanks, room);
        } else {
            let plain = resolved(bytes, rare, end);
            keep &= plain.keep & below(plain.end);
            masks.squeeze(&plain.bytes, keep, blanks, room);
            used = plain.end;
        }
        out.at += keep.count_ones() as usize;
        if used < end {
            if used == 0 {
                return None;
            }
            (escaped_first, newline_last) = (0, false);
        } else if end < 64 {
            let is_whole = if end > 0 { newlines >> (end - 1) & 1 == 1 } else { newline_last };
            out.at -= usize::from(is_whole);
            let at = from + end as usize;
            return (block[at] == b'"').then_some((at, is_whole));
        } else {
            (escaped_first, newline_last) = (next, newlines >> 63 == 1);
        }
        from += used as usize;
    }
}

/// As many ones as that, at most 64.
#[inline(always)]
fn below(count: u32) -> u64 {
    if count < 64 { (1 << count) - 1 } else { !0 }
}

/// Sixty-four bytes whose escapes are resolved, up to `end`, where their backslashes and those that
/// `keep` does not have are squeezed out.
struct Resolved {
    bytes: [u8; 64],
    keep: u64,
    end: u32,
}

/// What the letters stand for that stand behind a backslash and are not those of a tab or a newline.
/// Where a code goes on behind the bytes, or is of no ASCII character, its backslash is the end.
#[inline(always)]
fn resolved(bytes: &[u8; 64], mut letters: u64, end: u32) -> Resolved {
    let mut plain = Resolved { bytes: *bytes, keep: !0, end };
    while letters != 0 {
        let at = letters.trailing_zeros();
        let byte = &mut plain.bytes[at as usize];
        *byte = match *byte {
            b'/' => b'/',
            b'r' => b'\r',
            b'b' => 8,
            b'f' => 12,
            _ => match ascii_code(&bytes[at as usize..]) {
                Some(byte) => {
                    plain.keep &= !(0b1111 << (at + 1));
                    byte
                }
                None => {
                    plain.end = at.saturating_sub(1);
                    return plain;
                }
            },
        };
        letters &= letters - 1;
    }
    plain
}

/// The character of `u00XX`, as Go writes `<`, `>` and `&`.
#[inline(always)]
fn ascii_code(text: &[u8]) -> Option<u8> {
    let &[b'u', b'0', b'0', high @ b'0'..=b'7', low] = text.first_chunk::<5>()? else {
        return None;
    };
    let byte = (high - b'0') << 4 | (low as char).to_digit(16)? as u8;
    (byte >= b' ').then_some(byte)
}

/// One line in the general case, and what is no entry at all.
#[inline(never)]
fn open_slowly(line: &[u8], opener: &mut Opener) {
    let Some((log, stream)) = entry(behind_nuls(line)) else { return opener.out.push(line) };
    let (from, is_whole) = (opener.out.at, ends_in_newline(&log));
    let text = unescape(&log);
    opener.out.push(text.strip_suffix(b"\n").filter(|_| is_whole).unwrap_or(&text));
    let message = &mut opener.out.bytes[from..opener.out.at];
    message.iter_mut().filter(|byte| **byte == b'\n').for_each(|byte| *byte = b' ');
    opener.end_entry(from, stream, is_whole);
}

/// The inside of the string of an entry, and its stream: members may come in any order, with blanks
/// between them.
fn entry(line: &[u8]) -> Option<(Cow<'_, [u8]>, usize)> {
    if let Some((log, stream)) = plain_entry(line) {
        return Some((log.into(), stream));
    }
    let keys = Keys::new(&[(b"log", true), (b"stream", true)]).ok()?;
    let mut found = None;
    let line = [line, b"\n"].concat();
    let mut row: RowFn<'_> = &mut |_, values| {
        if found.is_none() && !values[0].is_empty() {
            found = Some((values[0].to_vec().into(), usize::from(values[1] == b"stderr")));
        }
    };
    json::scan(&line, &keys, Prefix::Refuse, &mut row);
    found
}

/// The inside of the string, and the stream, of an entry as the driver writes it.
fn plain_entry(line: &[u8]) -> Option<(&[u8], usize)> {
    let inside = line.strip_prefix(HEAD)?;
    let mut end = 0;
    loop {
        end += memchr::memchr2(b'"', b'\\', inside.get(end..)?)?;
        if inside[end] == b'"' {
            break;
        }
        end += 2;
    }
    let stream = inside[end..].strip_prefix(STREAM)?;
    Some((&inside[..end], usize::from(stream.starts_with(b"stderr\""))))
}
