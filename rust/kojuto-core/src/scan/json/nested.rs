//! Members of members: `http.response.status_code` is `{"http":{"response":{"status_code":200}}}`, and
//! also the member of the outermost object that is called so, which wins. And names with escapes: what
//! cannot be read 64 bytes at a time.

use super::members::{behind_colon, skip_blanks, string_end, value_at};
use super::{Prefix, unescape};
use crate::scan::fields::{Keys, Line, MAX_KEYS, Rows, is_absent};

/// Scans a block of whole lines for keys some of which have a dot, byte by byte.
pub(super) fn scan<'a, R: Rows<'a>>(block: &'a [u8], keys: &Keys, prefix: Prefix, rows: &mut R) {
    let mut line = Line::new(0);
    for end in memchr::memchr_iter(b'\n', block) {
        let text = &block[line.start..end];
        if let Some(brace) = beginning(text, prefix) {
            find(block, line.start + brace, keys, prefix, &mut line);
            let is_quoted = || memchr::memchr(b'"', &text[..brace]).is_some();
            if line.found == 0 && prefix == Prefix::Skip && is_quoted() {
                find_slowly(block, line.start, keys, prefix, &mut line);
            }
        }
        line.finish(block, end, rows);
    }
}

/// Where the object of a line begins.
fn beginning(line: &[u8], prefix: Prefix) -> Option<usize> {
    match prefix {
        Prefix::Skip => memchr::memchr(b'{', line),
        Prefix::Refuse => {
            let blanks = line.iter().take_while(|b| matches!(b, b' ' | b'\t' | b'\r')).count();
            (line.get(blanks) == Some(&b'{')).then_some(blanks)
        }
    }
}

/// The members of the objects of a line, and those of their objects, by the names that lead to them;
/// an object itself is none, and what has no text has an empty one.
pub fn members(line: &[u8], prefix: Prefix) -> Vec<(Vec<u8>, &[u8])> {
    let mut all = Vec::new();
    if let Some(brace) = beginning(line, prefix) {
        walk(line, brace, prefix, |path, depth, value| {
            if line[value] != b'{' {
                all.push((path.to_vec(), text_at(line, value, depth)));
            }
            true
        });
    }
    all
}

/// Reads a line afresh from `from` on, byte by byte: its names have escapes, or a quote stands before
/// its object.
#[cold]
pub(super) fn find_slowly<'a>(
    block: &'a [u8],
    from: usize,
    keys: &Keys,
    prefix: Prefix,
    line: &mut Line<'a>,
) {
    line.restart();
    find(block, from, keys, prefix, line);
}

/// Keeps the wanted members of the objects from `brace` on. One that stands deeper counts when
/// no flat one of its name has a value, so all of the object is read for it.
fn find<'a>(block: &'a [u8], brace: usize, keys: &Keys, prefix: Prefix, line: &mut Line<'a>) {
    let mut deeper: [&[u8]; MAX_KEYS] = [&[]; MAX_KEYS];
    walk(block, brace, prefix, |path, depth, value| {
        let Some(key) = keys.list().iter().position(|key| *key.name == *path) else { return true };
        let value = text_at(block, value, depth);
        if depth == 1 {
            line.keep(key, value);
        } else if is_absent(deeper[key]) {
            deeper[key] = value;
        }
        line.found & keys.stop() != keys.stop()
    });
    for (key, value) in deeper[..keys.count()].iter().enumerate() {
        line.keep(key, value);
    }
}

/// The text of the value that begins at `at`; that of a member of a member may be the first of an
/// array of strings, as Go's programs write the headers of a request.
fn text_at(block: &[u8], at: usize, depth: usize) -> &[u8] {
    let inside = skip_blanks(block, at + 1);
    let is_array = depth > 1 && block.get(at) == Some(&b'[');
    value_at(block, if is_array && block.get(inside) == Some(&b'"') { inside } else { at })
}

/// Calls `member` for each member of the object that begins at `brace`, and for those of its objects,
/// with the names that lead to it, parted by dots, how deep it is, and where its value begins; as long
/// as it answers true. What is in an array is no member. With [`Prefix::Skip`] the objects that follow
/// on the line are read too.
pub(super) fn walk(
    block: &[u8],
    brace: usize,
    prefix: Prefix,
    mut member: impl FnMut(&[u8], usize, usize) -> bool,
) {
    let mut path = Vec::new();
    // Of each object that leads to the next: its depth among all brackets, and its part of the path.
    let mut objects: Vec<(usize, usize)> = vec![(1, 0)];
    let mut next_object = None;
    let mut depth = 0usize;
    let mut at = brace;
    loop {
        match block.get(at) {
            None | Some(b'\n') => return,
            // Text between two objects.
            Some(b'[') if depth == 0 && prefix == Prefix::Skip => {}
            Some(b'{' | b'[') => {
                depth += 1;
                if next_object == Some(at) {
                    objects.push((depth, path.len()));
                }
            }
            Some(b'}' | b']') if depth <= 1 && prefix == Prefix::Refuse => return,
            Some(b'}' | b']') => {
                depth = depth.saturating_sub(1);
                // The outermost one stays: another may follow.
                if objects.len() > 1 {
                    objects.pop_if(|(inside, _)| *inside > depth);
                }
            }
            Some(b'"') => {
                let Some(end) = string_end(block, at + 1) else { return };
                if let Some(&(inside, length)) = objects.last()
                    && depth == inside
                    && let Some(value) = behind_colon(block, end + 1)
                {
                    path.truncate(length);
                    if objects.len() > 1 {
                        path.push(b'.');
                    }
                    path.extend_from_slice(&unescape(&block[at + 1..end]));
                    if !member(&path, objects.len(), value) {
                        return;
                    }
                    next_object = (block.get(value) == Some(&b'{')).then_some(value);
                }
                at = end;
            }
            Some(b'\\') if matches!(block.get(at + 1), Some(b'"' | b'\\')) => at += 1,
            Some(_) => {}
        }
        at += 1;
    }
}
