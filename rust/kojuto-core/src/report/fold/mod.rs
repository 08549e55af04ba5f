//! Which names of a place become `*`: decided by what all requests together show.
//!
//! A place is what follows a path whose own names are decided: below `/users/*` the segments behind
//! every user are one place. Each key is looked at once for each of its segments.

mod groups;
mod label;
mod place;

pub(super) use self::label::push_variable;

use self::groups::Groups;
use self::label::Labels;
use self::place::{Limits, Place, Totals};

/// What a key stands for.
#[derive(Debug, Clone, Copy)]
pub struct Counted<'a> {
    /// As [`Naming::key`](super::naming::Naming::key) made it.
    pub key: &'a [u8],
    /// How many lines it has.
    pub lines: u64,
    /// How many of them were answered with 4xx.
    pub refused: u64,
    /// The time that they took.
    pub time_s: f64,
}

/// Before a name that is not to be looked at.
pub(super) const NAMED: &[u8] = b"\0=";

/// The first segment folds above so many times the names of others.
const FIRST_SEGMENT: u64 = 4;

/// Folds names.
#[derive(Debug, Clone)]
pub(super) struct Folding {
    above: u64,
}

/// A key cut into what is before its path, its segments, and what is behind.
struct Row<'a> {
    head: &'a [u8],
    tail: &'a [u8],
    /// Where its labels begin among those of all rows.
    start: usize,
    /// How many it has.
    depth: usize,
}

impl Folding {
    pub(super) fn new(above: u64) -> Folding {
        Folding { above }
    }

    /// The name of each key.
    pub(super) fn names(&self, keys: &[Counted<'_>]) -> Vec<Box<[u8]>> {
        let mut labels = Labels::default();
        let mut path: Vec<u32> = Vec::with_capacity(keys.len() * 4);
        let rows: Vec<_> =
            keys.iter().map(|counted| row(counted.key, &mut labels, &mut path)).collect();
        self.decide(keys, &rows, &mut labels, &mut path);
        let mut name = Vec::new();
        let named = rows.iter().zip(keys).map(|(row, counted)| {
            let Some(row) = row else { return as_it_is(counted.key).into() };
            name.clear();
            name.extend_from_slice(row.head);
            for &label in &path[row.start..row.start + row.depth] {
                name.push(b'/');
                name.extend_from_slice(labels.text(label));
            }
            if row.depth == 0 {
                name.push(b'/');
            }
            name.extend_from_slice(row.tail);
            name.as_slice().into()
        });
        named.collect()
    }

    /// Puts the labels that are shown into the places of those that came.
    fn decide<'a>(
        &self,
        keys: &[Counted<'_>],
        rows: &[Option<Row<'a>>],
        labels: &mut Labels<'a>,
        path: &mut [u32],
    ) {
        let totals = Totals::of(keys);
        let depth = |row: u32| rows[row as usize].as_ref().map_or(0, |row| row.depth);
        let label_at =
            |row: u32, level| rows[row as usize].as_ref().map_or(0, |row| row.start + level);
        let mut order: Vec<u32> = (0..rows.len() as u32).filter(|&row| depth(row) > 0).collect();
        let mut spare = vec![0; order.len()];
        let (mut place, mut groups) = (Place::default(), Groups::default());
        let mut waiting = vec![(0..order.len(), 0)];
        while let Some((range, level)) = waiting.pop() {
            let members = &mut order[range.clone()];
            for &row in &*members {
                place.add(path[label_at(row, level)], &keys[row as usize]);
            }
            place.decide(&self.limits(level), &totals, labels);
            // The rows that go on are put together by what is shown of them here.
            for &row in &*members {
                let label = &mut path[label_at(row, level)];
                *label = place.shown(*label);
                if depth(row) > level + 1 {
                    groups.count(*label);
                }
            }
            place.clear();
            groups.begin(range.start, |group| waiting.push((group, level + 1)));
            for &row in members.iter().filter(|&&row| depth(row) > level + 1) {
                spare[groups.next(path[label_at(row, level)])] = row;
            }
            let end = groups.clear(range.start);
            order[range.start..end].copy_from_slice(&spare[range.start..end]);
        }
    }

    fn limits(&self, level: usize) -> Limits {
        let above = if level == 0 { self.above.saturating_mul(FIRST_SEGMENT) } else { self.above };
        Limits { above, refused_above: self.above }
    }
}

/// Cuts a key and adds its labels to the path; None for one without a path.
fn row<'a>(key: &'a [u8], labels: &mut Labels<'a>, path: &mut Vec<u32>) -> Option<Row<'a>> {
    let method = memchr::memchr(b' ', key).map_or(0, |blank| blank + 1);
    let method = if key.first() == Some(&b'/') { 0 } else { method };
    let (head, rest) = key.split_at(method);
    let target = rest.strip_prefix(b"/")?;
    let end = memchr::memchr(b'?', target).unwrap_or(target.len());
    let (segments, tail) = target.split_at(end);
    let start = path.len();
    if !segments.is_empty() {
        path.extend(segments.split(|&byte| byte == b'/').map(|segment| labels.add(segment)));
    }
    Some(Row { head, tail, start, depth: path.len() - start })
}

/// A key that is not folded, as it is shown.
pub(super) fn as_it_is(key: &[u8]) -> Vec<u8> {
    let Some(at) = memchr::memmem::find(key, NAMED) else { return key.to_vec() };
    [&key[..at], &key[at + NAMED.len()..]].concat()
}

#[cfg(test)]
mod tests;
