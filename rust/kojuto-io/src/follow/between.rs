//! Which files came between the last run and this one: not there then, and not read before. The
//! table that decides is in the manual of the module above.

use std::collections::HashSet;
use std::io;
use std::path::Path;

use kojuto_core::logs::position::{MAX_KNOWN, Mark, Position};

use super::known::{self, Content, Look, Memory};
use super::newer::Newer;
use super::note::Note;
use super::plan::{Link, Origin, Plan};
use super::siblings::{self, Entry, Siblings};
use super::source::{Source, is_strong};
use crate::error::passes;

/// A file that was not there at the last run.
struct Found {
    index: usize,
    content: Content,
}

/// The files that were not there at the last run, oldest first.
pub(super) struct Between<'a> {
    log: &'a Path,
    siblings: &'a Siblings,
    memory: Memory,
    found: Vec<Found>,
    /// Files that were counted and written to since, and up to where they were counted.
    grown: Vec<(Source, u64)>,
}

/// Where the file of the mark is among the rotated ones, if it is found by its inode.
fn by_inode(before: &Position, siblings: &Siblings) -> Option<usize> {
    siblings.rotated.iter().position(|entry| entry.is_of(&before.mark))
}

/// What tells the files that were there at the last run from those that came since.
struct Since<'a> {
    before: &'a Position,
    /// Nothing that was born before this instant of the file system's clock came since.
    born: Option<u64>,
    /// Of an old version: the files after this one in the order of the names came since.
    after: Option<usize>,
}

impl<'a> Since<'a> {
    fn of(
        before: &'a Position,
        memory: &Memory,
        siblings: &Siblings,
        plan: &Plan,
        time: f64,
    ) -> Since<'a> {
        // A log that was born, or changed, before the last run's was: the clock has been set back,
        // unless it is a file that was read then.
        let is_unknown = |live: &&Source| !memory.place(live).is_ok_and(|place| place.is_some());
        let live = plan.live.as_ref().filter(is_unknown).map(|live| live.identity);
        let went_back = |then: u64| {
            let is_earlier = plan.instant.is_none_or(|now| now + 1 < then)
                || live.is_some_and(|live| {
                    !live.fits(&before.mark) && live.born.is_some_and(|born| born < then)
                });
            is_earlier || time < before.time
        };
        let newest = before.newest_rotated.flatten();
        let after = newest.and_then(|newest| siblings::find(&siblings.rotated, &newest));
        let after = after.max(by_inode(before, siblings));
        Since { before, born: before.changed.filter(|&then| !went_back(then)), after }
    }

    fn may_be_newer(&self, index: usize, entry: &Entry) -> bool {
        let Some(known) = &self.before.known else {
            // Of the Go tools or an old version: the names, else what was written to after that run.
            let none_was_there = self.before.newest_rotated == Some(None);
            let is_later = self.after.is_none_or(|after| index > after);
            let is_new = match self.before.newest_rotated {
                Some(Some(_)) if self.after.is_some() => true,
                _ => entry.mtime_s as f64 >= self.before.time.floor(),
            };
            return none_was_there || is_later && is_new;
        };
        let Some(since) = self.born else { return true };
        // Where more files lie than are remembered, their time must do: compressing makes all of
        // them anew.
        let is_old = known.len() >= MAX_KNOWN && entry.written < since;
        entry.born.is_none_or(|born| born >= since) && !is_old
    }
}

/// Looks for the rotated files that were not there at the last run; `None` when one moved.
///
/// # Errors
/// One could not be looked into now, though there is nothing wrong with it.
pub(super) fn find<'a>(
    log: &'a Path,
    before: &Position,
    siblings: &'a Siblings,
    time: f64,
    plan: &mut Plan,
) -> io::Result<Option<Between<'a>>> {
    let memory = Memory::of(before);
    let since = Since::of(before, &memory, siblings, plan, time);
    let Some(grown) = find_grown(&before.mark, &memory, siblings)? else { return Ok(None) };
    let mut found = Vec::new();
    let is_grown = |entry: &Entry| grown.iter().any(|(source, _)| entry.is(&source.identity));
    let entries = siblings.rotated.iter().enumerate();
    for (index, entry) in entries.filter(|(_, entry)| !entry.taken && !is_grown(entry)) {
        let is_marked = entry.is_of(&before.mark) && before.mark.pos == 0;
        if !is_marked && (!since.may_be_newer(index, entry) || memory.has_listed(entry)) {
            continue;
        }
        match memory.look(entry)? {
            Look::Moved => return Ok(None),
            Look::Nothing => {}
            Look::Content(content) => found.push(Found { index, content }),
            Look::Unreadable(why) => {
                if !memory.has_named(entry) {
                    let (log, path) = (log.display(), entry.path.display());
                    let text = format!("{log}: {path} cannot be read, passed over: {why}");
                    plan.notes.push(Note::unproven(text));
                }
                plan.passed.push((known::there_only(entry), None));
            }
        }
    }
    Ok(Some(Between { log, siblings, memory, found, grown }))
}

/// The files that were counted and have been written to since, whatever they are called by now, and up
/// to where they were counted; `None` when one moved.
fn find_grown(
    mark: &Mark,
    memory: &Memory,
    siblings: &Siblings,
) -> io::Result<Option<Vec<(Source, u64)>>> {
    let mut grown = Vec::new();
    let others = siblings.all.iter().filter(|entry| !entry.taken && !entry.is_of(mark));
    for entry in others.filter(|entry| memory.may_have_grown(entry)) {
        match entry.open().map(|source| source.map(|it| (memory.place(&it), it))) {
            Ok(Some((Ok(Some(place)), source))) => grown.push((source, place)),
            Ok(None) => return Ok(None),
            Err(error) | Ok(Some((Err(error), _))) if passes(&error) => return Err(error),
            _ => {} // another file, or one that cannot be read
        }
    }
    Ok(Some(grown))
}

/// Whether one of `siblings` came since they were `listed`, and the run has not read it.
pub(super) fn has_appeared(
    siblings: &Siblings,
    listed: &HashSet<(u64, u64)>,
    after: &Position,
    live: &Source,
) -> io::Result<bool> {
    let memory = Memory::of(after);
    for entry in siblings.rotated.iter().filter(|entry| entry.size > 0) {
        if listed.contains(&(entry.inode, entry.dev)) {
            continue;
        }
        if let Look::Content(content) = memory.look(entry)? {
            let is_alike = !content.fits.is_empty();
            let may_be_read = content.tells
                || is_copy_by_itself(&memory, entry, &content)
                || gone(&memory, siblings, entry, &content).next().is_some();
            let was_read = is_alike && may_be_read;
            if !was_read && !known::is_copy(entry, &content.source, live, !is_alike)? {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// The known files with this content that are gone and were not packed: a packed one may be one of
/// them.
fn gone(
    memory: &Memory,
    siblings: &Siblings,
    entry: &Entry,
    content: &Content,
) -> impl Iterator<Item = usize> {
    let length = if content.fits.is_empty() { None } else { content.source.length().ok() };
    let was_packed = |&index: &usize| {
        let known = memory.get(index);
        entry.packed && !known.packed && Some(known.pos) == length
    };
    let all = content.fits.iter().copied().filter(was_packed);
    all.filter(|&index| memory.is_gone(index, siblings)).collect::<Vec<_>>().into_iter()
}

/// Whether a file with the content of a known one says itself that it is a copy: by its name, or for
/// it was written to at the same time as that one, and born later.
fn is_copy_by_itself(memory: &Memory, entry: &Entry, content: &Content) -> bool {
    let was_set = entry.born.is_none() || entry.has_set_time();
    let is_of = |&index: &usize| memory.get(index).written == Some(entry.written);
    entry.says_copy || was_set && content.fits.iter().any(is_of)
}

impl Between<'_> {
    /// Whether there is anything in one of which nothing was read, as far as it tells itself.
    pub(super) fn has_content(&self) -> bool {
        self.found.iter().any(|found| {
            let (entry, content) = (&self.siblings.rotated[found.index], &found.content);
            let was_read = !content.fits.is_empty()
                && (content.tells
                    || is_copy_by_itself(&self.memory, entry, content)
                    || self.gone(found).next().is_some());
            entry.size > 0 && !was_read
        })
    }

    /// The file of the mark, packed or copied since, where its content tells nothing: the oldest
    /// one that may be it. What was read before, and is packed since as well, is older. A plain file
    /// of a time of its own is it if no other may be: copied under another inode, and then deleted.
    pub(super) fn previous(&self, mark: &Mark, in_place: bool) -> Option<usize> {
        let is_weak = !is_strong(mark);
        let has_mark = |found: &&Found| {
            let (entry, content) = (&self.siblings.rotated[found.index], &found.content);
            let has_content = match is_weak {
                true => entry.size > 0 && mark.head.is_none_or(|it| content.source.starts_as(it)),
                false => content.has_mark,
            };
            has_content && !content.tells && !is_copy_by_itself(&self.memory, entry, content)
        };
        let was_made_anew = |found: &&Found| {
            let entry = &self.siblings.rotated[found.index];
            in_place || entry.packed || entry.dev != mark.dev || entry.has_set_time()
        };
        let with_mark: Vec<&Found> = self.found.iter().filter(has_mark).collect();
        let all: Vec<&Found> = with_mark.iter().copied().filter(was_made_anew).collect();
        if all.is_empty() && mark.head.is_some() {
            return with_mark.first().map(|found| found.index);
        }
        let mut used: Vec<usize> =
            self.found.iter().flat_map(|found| self.of_time(found)).collect();
        let mut older = 0;
        for found in &all {
            if let Some(known) = self.gone(found).find(|known| !used.contains(known)) {
                used.push(known);
                older += 1;
            }
        }
        all.get(older.min(all.len().saturating_sub(1))).map(|found| found.index)
    }

    /// The known files that a file is, going by the time at which it was written to.
    fn of_time<'b>(&'b self, found: &'b Found) -> impl Iterator<Item = usize> + 'b {
        let entry = &self.siblings.rotated[found.index];
        let fits = found.content.fits.iter().copied().filter(|_| entry.has_set_time());
        fits.filter(|&known| self.memory.get(known).written == Some(entry.written))
    }

    /// Moves the live log behind what was read of it before another file had its name; answers whether
    /// reading then begins inside a line that does not count.
    pub(super) fn seek_known(&self, live: &mut Source) -> io::Result<bool> {
        live.move_to(0)?;
        let Some(place) = self.memory.place(live)? else { return Ok(false) };
        Ok(live.move_to(place)? && live.begins_inside_a_line())
    }

    /// Adds what was written to files since they were counted: a writer came back to them, as with a
    /// clock that was set back.
    pub(super) fn add_grown(&mut self, plan: &mut Plan) -> io::Result<()> {
        for (mut source, place) in self.grown.drain(..) {
            source.move_to(place)?;
            let path = source.path.display();
            let text = format!("{path}: written to since it was read; reading on");
            plan.notes.push(Note::ordinary(text));
            let (origin, skip) = (Origin::Renamed, source.begins_inside_a_line());
            plan.links.push(Link { source, origin, lingering_since: None, skip });
            plan.lingering += 1; // no part of a stream that was cut
        }
        Ok(())
    }

    /// Whether what was read of the file of the mark tells one that has it from others.
    pub(super) fn mark_tells(&self, source: &Source) -> io::Result<bool> {
        self.memory.mark_tells(source)
    }

    fn gone(&self, found: &Found) -> impl Iterator<Item = usize> {
        let entry = &self.siblings.rotated[found.index];
        gone(&self.memory, self.siblings, entry, &found.content)
    }

    /// Whether the names say that it came after the file of the mark: of `log.1`, `log.2`, …, all
    /// that are before that one's were given since.
    fn has_moved_up(&self, found: &Found, previous: usize) -> bool {
        let rotated = &self.siblings.rotated;
        let last = &rotated[previous];
        let (Some(number), Some(end)) = (rotated[found.index].number, last.number) else {
            return false;
        };
        let is_beside = |index: usize| rotated[index].path.parent() == last.path.parent();
        let came = |number: u64| {
            let later = self.found.iter().map(|found| found.index).filter(|&at| at > previous);
            later.into_iter().any(|at| rotated[at].number == Some(number) && is_beside(at))
        };
        let is_between = number < end && found.index > previous && is_beside(found.index);
        is_between && (1..end).all(came)
    }

    /// Whether the times contradict the names: it was written to after the file of the mark was.
    fn is_written_after(&self, found: &Found, previous: usize) -> bool {
        let (entry, last) = (&self.siblings.rotated[found.index], &self.siblings.rotated[previous]);
        let is_told = |entry: &Entry| !entry.packed || entry.has_set_time();
        is_told(entry) && is_told(last) && entry.written > last.written
    }

    /// Tells the new ones from those that were read before; `previous` is the file of the mark.
    pub(super) fn resolve(mut self, previous: Option<usize>, plan: &mut Plan) -> Vec<Newer> {
        let mut used: Vec<usize> = Vec::new();
        let mut is_sure = Vec::new();
        for found in &self.found {
            let entry = &self.siblings.rotated[found.index];
            let is_known = !found.content.fits.is_empty();
            let of_time = self.of_time(found).collect::<Vec<_>>();
            let mut gone: Vec<usize> =
                self.gone(found).filter(|index| !used.contains(index)).collect();
            gone.sort_by_key(|index| !of_time.contains(index));
            let gone = gone.first().copied();
            let moved_up = previous.is_some_and(|previous| self.has_moved_up(found, previous));
            let was_read = if !is_known || moved_up || Some(found.index) == previous {
                false
            } else if found.content.tells || is_copy_by_itself(&self.memory, entry, &found.content)
            {
                true
            } else if let Some(previous) = previous {
                found.index < previous && !self.is_written_after(found, previous)
            } else {
                gone.is_some()
            };
            if is_known && !was_read && previous.is_none() {
                let (log, path) = (self.log.display(), entry.path.display());
                let note =
                    "like a file that was read, and nothing tells whether it is a copy; it counts";
                plan.notes.push(Note::unproven(format!("{log}: {path} is {note}")));
            }
            is_sure.push((!was_read).then_some((moved_up, is_known)));
            if !was_read {
                continue;
            }
            used.extend(gone);
            plan.passed.push(match gone.map(|index| *self.memory.get(index)) {
                Some(known) => (entry.now_holds(known), Some(known)),
                None => (known::there_only(entry), None),
            });
        }
        let found = std::mem::take(&mut self.found).into_iter().zip(is_sure);
        let newer = found.filter_map(|(Found { index, content }, is_sure)| {
            let (is_sure, is_alike) = is_sure?;
            Some(Newer { index, source: *content.source, is_sure, is_alike })
        });
        newer.collect()
    }
}
