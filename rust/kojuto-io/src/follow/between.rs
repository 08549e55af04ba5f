//! Which files came between the last run and this one: not there then, and not read before.

use std::io;
use std::path::Path;

use kojuto_core::logs::position::{Known, MAX_KNOWN, Position, Print};

use super::known::{self, Look, Memory};
use super::plan::{Link, Origin, Plan};
use super::siblings::{Entry, Siblings};
use super::source::Source;

/// A rotated file of which nothing was read.
pub(super) struct Newer {
    /// Its place among the rotated files.
    pub(super) index: usize,
    source: Source,
}

/// What tells the files that were there at the last run from those that came since.
struct Since<'a> {
    before: &'a Position,
    /// Nothing that was born before this instant of the file system's clock came since.
    born: Option<u64>,
}

impl<'a> Since<'a> {
    fn of(before: &'a Position, live: Option<&Source>, time: f64) -> Since<'a> {
        // A log that was born, or changed, before the last run's was: the clock has been set back.
        let went_back = |changed: u64| {
            let live = live.map(|live| live.identity);
            let is_earlier = live.is_some_and(|live| {
                live.changed < changed
                    || (!live.fits(&before.mark) && live.born.is_some_and(|born| born < changed))
            });
            is_earlier || time < before.time
        };
        Since { before, born: before.changed.filter(|&changed| !went_back(changed)) }
    }

    fn may_be_newer(&self, entry: &Entry) -> bool {
        // What is archived or restored may be older than its lines are to us. Where more files lie
        // than are remembered, their time must do: compressing makes all of them anew.
        let all_are_known = self.before.known.as_ref().is_some_and(|all| all.len() < MAX_KNOWN);
        let slack_s = if all_are_known { 86_400 } else { 0 };
        if self.before.known.is_none() {
            // Of the Go tools or an old version: what was written to after that run.
            let none_was_there = self.before.newest_rotated == Some(None);
            return none_was_there || entry.mtime_s as f64 >= self.before.time.floor();
        }
        let Some(since) = self.born else { return true };
        entry.born.is_none_or(|born| born >= since)
            && entry.mtime_s + slack_s >= (since / 1_000_000_000) as i64
    }
}

/// The rotated files that were not there at the last run and of which nothing was read, oldest
/// first; `None` when one moved.
pub(super) fn find(
    log: &Path,
    before: &Position,
    siblings: &Siblings,
    time: f64,
    plan: &mut Plan,
) -> io::Result<Option<Vec<Newer>>> {
    let memory = Memory::of(before);
    let since = Since::of(before, plan.live.as_ref(), time);
    let mut newer: Vec<Newer> = Vec::new();
    let entries = siblings.rotated.iter().enumerate().filter(|(_, entry)| !entry.taken);
    for (index, entry) in entries {
        if !(since.may_be_newer(entry) || entry.is_of(&before.mark) && before.mark.pos == 0) {
            continue;
        }
        match memory.look(entry) {
            Look::Moved => return Ok(None),
            Look::Before => {}
            Look::New(source) => newer.push(Newer { index, source: *source }),
            Look::Unreadable(_) if memory.has_named(entry) => {}
            Look::Unreadable(why) => {
                let (log, path) = (log.display(), entry.path.display());
                plan.notes.push(format!("{log}: {path} cannot be read, passed over: {why}"));
                let (head, inode) = (Print::of(b""), entry.inode);
                plan.passed.push(Known { head, inode, pos: 0, tail: None });
            }
        }
    }
    Ok(Some(newer))
}

/// Adds the files rotated since; of a file and its copies the longest.
pub(super) fn add(
    log: &Path,
    newer: impl Iterator<Item = Newer>,
    rotated: &[Entry],
    origin: Origin,
    plan: &mut Plan,
) -> io::Result<()> {
    let log = log.display();
    for Newer { index, source } in newer {
        let entry = &rotated[index];
        let is_in = |other: &Source| known::is_copy(entry, &source, other);
        if plan.live.as_ref().map_or(Ok(false), is_in)? {
            continue;
        }
        let mut copy_of = None;
        for (at, link) in plan.links.iter().enumerate() {
            if copy_of.is_none() && is_in(&link.source)? {
                copy_of = Some(at);
            }
        }
        let origin = if source.is_plain() { origin } else { Origin::Sealed };
        let link = Link { source, origin, lingering_since: None, skip: false };
        if let Some(at) = copy_of {
            let other = &plan.links[at];
            let is_whole = other.source.pos() == 0 && other.lingering_since.is_none();
            if is_whole && link.source.length()? > other.source.length()? {
                plan.links[at] = link;
            }
            continue;
        }
        if entry.size > 0 {
            let path = entry.path.display();
            plan.notes.push(format!("{log}: {path} was rotated meanwhile; reading it"));
        }
        plan.links.push(link);
    }
    Ok(())
}
