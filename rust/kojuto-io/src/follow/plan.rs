//! Finds out what to read: which files hold the lines since the last run, in which order.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use kojuto_core::logs::position::{Lingering, Mark, Position, Print, Rotated, WINDOW_BYTES};

use super::siblings::{self, Entry, STRONG_BYTES, Siblings};
use super::source::{Fit, Identity, Source};
use crate::{Error, Result};

/// How often files may move while they are being looked for.
const ATTEMPTS: u32 = 20;

/// How a file that is not the live one came to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// Renamed: a writer may still have it open.
    Renamed,
    /// A copy or a compressed file: nobody adds to it.
    Sealed,
}

/// A file to be read before the live one.
pub(super) struct Link {
    pub(super) source: Source,
    pub(super) origin: Origin,
    /// For a file that an earlier run has read already: since when it may still grow.
    pub(super) lingering_since: Option<f64>,
    /// Reading begins inside a line that does not count.
    pub(super) skip: bool,
    /// The rotated file before this one, where that may have to be remembered.
    pub(super) older: Option<Option<Rotated>>,
}

/// What to read, in this order.
pub(super) struct Plan {
    pub(super) links: Vec<Link>,
    /// The file under the log's name or, while there is none, the newest rotated one.
    pub(super) live: Option<Source>,
    /// Reading the live file begins inside a line that does not count.
    pub(super) skip: bool,
    /// The files after the lingering ones are one stream, cut by copytruncate: an unfinished line
    /// at the end of one goes on in the next.
    pub(super) join: bool,
    /// Where in `links` the lingering files end.
    pub(super) lingering: usize,
    /// The newest rotated file that is older than the place to remember, if it was looked for.
    pub(super) newest_rotated: Option<Option<Rotated>>,
    /// The newest rotated file, if it was looked for.
    newest_listed: Option<Option<Rotated>>,
    /// The live file, which that list leaves out.
    listed_beside: Option<Identity>,
    pub(super) notes: Vec<String>,
}

impl Plan {
    fn new(live: Option<Source>) -> Plan {
        Plan {
            listed_beside: live.as_ref().map(|live| live.identity),
            links: Vec::new(),
            live,
            skip: false,
            join: false,
            lingering: 0,
            newest_rotated: None,
            newest_listed: None,
            notes: Vec::new(),
        }
    }

    fn note_newest(&mut self, siblings: &Siblings) {
        self.newest_listed = Some(newest(&siblings.rotated));
        self.newest_rotated = self.newest_listed;
    }

    pub(super) fn seen(&self) -> Seen {
        Seen { newest: self.newest_listed, live: self.listed_beside }
    }
}

/// What the plan was made from, to be looked at again after reading.
pub(super) struct Seen {
    newest: Option<Option<Rotated>>,
    live: Option<Identity>,
}

impl Seen {
    /// Whether the newest rotated file is still the same, so that no copy was made since.
    pub(super) fn is_still_newest(&self, log: &Path, archive_dirs: &[PathBuf]) -> bool {
        let Some(newest) = self.newest else { return true };
        let finder = Finder { log, directories: siblings::directories(log, archive_dirs) };
        let rotated = finder.list(self.live.as_ref(), &mut Vec::new()).rotated;
        match newest {
            Some(known) => siblings::find(&rotated, &known)
                .is_some_and(|index| rotated[index + 1..].iter().all(|entry| entry.size == 0)),
            None => rotated.iter().all(|entry| entry.size == 0),
        }
    }
}

/// Makes the plan. Files may be renamed meanwhile, so it is made anew until nothing has moved.
pub(super) fn make(
    log: &Path,
    archive_dirs: &[PathBuf],
    before: Option<&Position>,
) -> Result<Plan> {
    let finder = Finder { log, directories: siblings::directories(log, archive_dirs) };
    until_unmoved(|| finder.attempt(before)).map_err(Error::on_path(log))
}

fn until_unmoved<T>(mut attempt: impl FnMut() -> io::Result<Option<T>>) -> io::Result<T> {
    for _ in 0..ATTEMPTS {
        if let Some(plan) = attempt()? {
            return Ok(plan);
        }
    }
    Err(io::Error::other("it was renamed again and again while it was looked for"))
}

/// Whether the log's name still leads to this file.
pub(super) fn is_still(log: &Path, identity: &Identity) -> io::Result<bool> {
    match fs::metadata(log) {
        Ok(meta) => {
            let now = Identity::of(&meta);
            Ok((now.inode, now.dev) == (identity.inode, identity.dev))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

struct Finder<'a> {
    log: &'a Path,
    directories: Vec<PathBuf>,
}

impl Finder<'_> {
    /// `None` when something moved meanwhile.
    fn attempt(&self, before: Option<&Position>) -> io::Result<Option<Plan>> {
        let live = match Source::open(self.log) {
            Ok(source) => Some(source),
            Err(error) if error.kind() == io::ErrorKind::NotFound && before.is_some() => None,
            Err(error) => return Err(error),
        };
        let identity = live.as_ref().map(|live| live.identity);
        let plan = match before {
            None => {
                let mut plan = Plan::new(live);
                let siblings = self.list(identity.as_ref(), &mut plan.notes);
                plan.note_newest(&siblings);
                Some(plan)
            }
            Some(before) => self.resume(before, live)?,
        };
        let Some(plan) = plan else { return Ok(None) };
        let unmoved = match identity {
            Some(identity) => is_still(self.log, &identity)?,
            None => !self.log.try_exists()?,
        };
        Ok(unmoved.then_some(plan))
    }

    fn list(&self, live: Option<&Identity>, notes: &mut Vec<String>) -> Siblings {
        let mut siblings = siblings::list(self.log, &self.directories, notes);
        let is_live =
            |entry: &Entry| live.is_some_and(|id| (id.inode, id.dev) == (entry.inode, entry.dev));
        siblings.all.retain(|entry| !is_live(entry));
        siblings.rotated.retain(|entry| !is_live(entry));
        siblings
    }

    fn resume(&self, before: &Position, mut live: Option<Source>) -> io::Result<Option<Plan>> {
        let mark = &before.mark;
        let fits = match &mut live {
            Some(live) => may_be_live(live, mark) && matches!(live.seek_mark(mark)?, Fit::Yes),
            None => false,
        };
        let identity = live.as_ref().map(|live| live.identity);
        let mut plan = Plan::new(live);
        if fits && is_strong(mark) && before.lingering.is_empty() {
            plan.skip = mark.skip;
            return Ok(Some(plan));
        }
        let mut siblings = self.list(identity.as_ref(), &mut plan.notes);
        plan.note_newest(&siblings);
        if !find_lingering(&before.lingering, &mut siblings, &mut plan)? {
            return Ok(None);
        }
        // Too few bytes were seen to be sure: a rotated file that was not there says otherwise.
        let surely_fits = fits
            && (is_strong(mark)
                || mark.head.is_none()
                || !has_content(&siblings, &newer_than_known(&siblings.rotated, before)));
        if surely_fits {
            plan.skip = mark.skip;
            return Ok(Some(plan));
        }
        self.find_rotated(before, siblings, plan)
    }

    fn find_rotated(
        &self,
        before: &Position,
        siblings: Siblings,
        mut plan: Plan,
    ) -> io::Result<Option<Plan>> {
        let mark = &before.mark;
        let in_place = plan.live.as_ref().is_some_and(|live| live.identity.fits(mark));
        let what = match &plan.live {
            None => "not there now",
            Some(_) if in_place => "truncated",
            Some(_) => "rotated",
        };
        if let Some(live) = &mut plan.live {
            live.move_to(0)?;
        }
        let newer = newer_than_known(&siblings.rotated, before);
        let previous = match find_previous(before, &siblings, &newer, in_place)? {
            Search::Moved => return Ok(None),
            Search::Found(previous) => Some(previous),
            Search::Nothing => None,
        };
        let log = self.log.display();
        let mut first_between = 0;
        let mut last = None;
        match previous {
            Some(Previous { source, index, broken }) => {
                // Of a file that had nothing to read, not even the beginning tells whether others
                // came before it: then it is just one of the new ones.
                let is_new = mark.pos == 0 && index.is_some_and(|index| newer.contains(&index));
                let source = source.filter(|_| !is_new);
                if !is_new {
                    first_between = index.map_or(0, |index| index + 1);
                }
                last = index;
                if let Some((path, reason)) = broken {
                    let path = path.display();
                    plan.notes.push(format!("{log}: {what}; lines are lost: {path}: {reason}"));
                }
                if let Some((source, origin)) = source {
                    let path = source.path.display();
                    plan.notes.push(format!("{log}: {what}; reading the rest of {path}"));
                    let skip = mark.skip;
                    let older = in_place.then(|| newest(&siblings.rotated[..index.unwrap_or(0)]));
                    plan.links.push(Link { source, origin, lingering_since: None, skip, older });
                }
            }
            None => {
                // The same content under another inode or device: restored, or mounted anew.
                if let Some(live) = plan.live.as_mut().filter(|_| is_strong(mark)) {
                    if matches!(live.seek_mark(mark)?, Fit::Yes) {
                        plan.skip = mark.skip;
                        plan.notes.push(format!("{log}: another file with the same content"));
                        return Ok(Some(plan));
                    }
                    live.move_to(0)?;
                }
                if plan.live.is_none() && !has_content(&siblings, &newer) {
                    return Err(io::ErrorKind::NotFound.into());
                }
                plan.notes.push(not_found(&log.to_string(), what, mark, &siblings));
            }
        }
        let origin = if in_place { Origin::Sealed } else { Origin::Renamed };
        for index in newer.into_iter().filter(|&index| index >= first_between) {
            let entry = &siblings.rotated[index];
            if plan.links.iter().any(|link| entry.is_of(&link.source.mark(0, &[], false))) {
                continue;
            }
            let path = entry.path.display();
            match entry.open() {
                Ok(None) => return Ok(None),
                // A compressed copy of what was read as a plain file, left lying about.
                Ok(Some(source)) if entry.packed && begins_as_read(&source, before) => {
                    plan.notes.push(format!("{log}: {path} was read before; passed over"));
                }
                Ok(Some(source)) => {
                    if entry.size > 0 {
                        plan.notes.push(format!("{log}: {path} was rotated meanwhile; reading it"));
                    }
                    let origin = if source.is_plain() { origin } else { Origin::Sealed };
                    let older = in_place.then(|| newest(&siblings.rotated[..index]));
                    let (lingering_since, skip) = (None, false);
                    plan.links.push(Link { source, origin, lingering_since, skip, older });
                    last = Some(index);
                }
                Err(error) => plan.notes.push(format!("{log}: {path} cannot be read: {error}")),
            }
        }
        plan.join = in_place;
        if plan.live.is_none() {
            // The place to remember is in the newest rotated file: what is known is older.
            if let Some(index) = last {
                plan.newest_rotated = Some(newest(&siblings.rotated[..index]));
            }
            let can_grow = |link: &mut Link| link.origin == Origin::Renamed;
            if plan.links.len() > plan.lingering
                && let Some(link) = plan.links.pop_if(can_grow)
            {
                plan.skip = link.skip;
                plan.live = Some(link.source);
            }
        }
        Ok(Some(plan))
    }
}

fn not_found(log: &str, what: &str, mark: &Mark, siblings: &Siblings) -> String {
    let pos = mark.pos;
    let mut note = format!(
        "{log}: {what}, and the file that was read up to byte {pos} is not to be found; \
         lines added to it since are lost"
    );
    if let Some(path) = siblings.unreadable.first() {
        note.push_str(&format!(" (this cannot be decompressed: {})", path.display()));
    }
    note
}

/// Whether a file begins as the newest rotated one known, which was read, does.
fn begins_as_read(source: &Source, before: &Position) -> bool {
    let known = before.newest_rotated.flatten().map(|known| known.head);
    // Many files may begin with the same few bytes.
    known.filter(|print| print.len as usize == WINDOW_BYTES).is_some_and(|print| {
        source.first_bytes(WINDOW_BYTES).is_ok_and(|bytes| Print::of(&bytes) == print)
    })
}

fn has_content(siblings: &Siblings, indices: &[usize]) -> bool {
    indices.iter().any(|&index| siblings.rotated[index].size > 0)
}

/// Whether the live file may be the one that the mark was made in, before its content is looked
/// at. A device number can change at a reboot, and the Go tools take 0 for "not rotated".
fn may_be_live(live: &Source, mark: &Mark) -> bool {
    let unknown = mark.inode == 0 || mark.dev == 0;
    unknown
        || live.identity.fits(mark)
        || (live.identity.inode == mark.inode && is_strong(mark) && same_birth(live, mark))
}

fn same_birth(live: &Source, mark: &Mark) -> bool {
    live.identity.born == mark.born
}

fn is_strong(mark: &Mark) -> bool {
    mark.head.is_some_and(|print| print.len >= STRONG_BYTES)
}

fn newest(rotated: &[Entry]) -> Option<Rotated> {
    rotated.iter().rev().find_map(siblings::remember)
}

/// The rotated files that were not there at the last run (by index, oldest first).
fn newer_than_known(rotated: &[Entry], before: &Position) -> Vec<usize> {
    let known = match before.newest_rotated {
        Some(None) => Some(0),
        Some(Some(known)) => siblings::find(rotated, &known).map(|index| index + 1),
        None => None,
    };
    // When the one known is gone: what was written to after the last run was not read by it.
    let is_newer = |index: usize| match known {
        Some(first) => index >= first,
        None => rotated[index].mtime_s as f64 >= before.time.floor(),
    };
    (0..rotated.len()).filter(|&index| is_newer(index) && !rotated[index].taken).collect()
}

struct Previous {
    source: Option<(Source, Origin)>,
    /// Its place among the rotated files, when its name is that of one.
    index: Option<usize>,
    broken: Option<(PathBuf, String)>,
}

enum Search {
    Found(Previous),
    Nothing,
    Moved,
}

/// Finds the file that the mark was made in: by its inode, else by its content.
fn find_previous(
    before: &Position,
    siblings: &Siblings,
    newer: &[usize],
    in_place: bool,
) -> io::Result<Search> {
    let mark = &before.mark;
    let index_of = |source: &Source| {
        let place = source.mark(0, &[], false);
        siblings.rotated.iter().position(|entry| entry.is_of(&place))
    };
    if !in_place {
        for entry in siblings.all.iter().filter(|entry| entry.is_of(mark)) {
            let mut source = match entry.open() {
                Ok(Some(source)) => source,
                Ok(None) => return Ok(Search::Moved),
                Err(_) => continue,
            };
            if source.identity.fits(mark) && matches!(source.seek_mark(mark)?, Fit::Yes) {
                let index = index_of(&source);
                let origin = if source.is_plain() { Origin::Renamed } else { Origin::Sealed };
                let source = Some((source, origin));
                return Ok(Search::Found(Previous { source, index, broken: None }));
            }
        }
    }
    // By content. With few bytes to go by, and for the Go tools that kept none, only the first
    // file rotated since can be it.
    let candidates: Vec<usize> = if is_strong(mark) {
        (0..siblings.rotated.len()).rev().filter(|&index| !siblings.rotated[index].taken).collect()
    } else if mark.head.is_none() || mark.head.is_some_and(|print| print.len > 0) {
        newer.iter().copied().find(|&index| siblings.rotated[index].size > 0).into_iter().collect()
    } else {
        Vec::new()
    };
    for index in candidates {
        let entry = &siblings.rotated[index];
        let mut source = match entry.open() {
            Ok(Some(source)) => source,
            Ok(None) => return Ok(Search::Moved),
            Err(_) => continue,
        };
        match source.seek_mark(mark)? {
            Fit::Yes => {
                let source = Some((source, Origin::Sealed));
                let index = Some(index);
                return Ok(Search::Found(Previous { source, index, broken: None }));
            }
            Fit::Broken(reason) => {
                let broken = Some((entry.path.clone(), reason));
                let index = Some(index);
                return Ok(Search::Found(Previous { source: None, index, broken }));
            }
            Fit::No => {}
        }
    }
    Ok(Search::Nothing)
}

/// Puts the lingering files that are still there at the front of the plan; false when one moved.
fn find_lingering(
    lingering: &[Lingering],
    siblings: &mut Siblings,
    plan: &mut Plan,
) -> io::Result<bool> {
    for Lingering { mark, since } in lingering {
        let by_inode = siblings.all.iter().filter(|entry| entry.is_of(mark));
        let strong = siblings.rotated.iter().rev().filter(|_| is_strong(mark));
        // A small file is known by the whole of it.
        let whole = mark.head.filter(|head| head.len > 0 && !is_strong(mark));
        let whole = whole.map(|head| Rotated { head, inode: mark.inode });
        let weak = whole.and_then(|known| siblings::find(&siblings.rotated, &known));
        let by_content = strong.chain(weak.map(|index| &siblings.rotated[index]));
        let by_content = by_content.filter(|entry| !entry.taken);
        let mut found = None;
        for (entry, is_same) in
            by_inode.map(|entry| (entry, true)).chain(by_content.map(|entry| (entry, false)))
        {
            let mut source = match entry.open() {
                Ok(Some(source)) => source,
                Ok(None) => return Ok(false),
                Err(_) => continue,
            };
            if is_same && !source.identity.fits(mark) {
                continue;
            }
            match source.seek_mark(mark)? {
                Fit::Yes => {
                    found = Some((source, is_same));
                    break;
                }
                Fit::No => {}
                Fit::Broken(reason) => {
                    plan.notes.push(format!("{}: {reason}", entry.path.display()));
                }
            }
        }
        let Some((source, is_same)) = found else { continue };
        let (inode, dev) = (source.identity.inode, source.identity.dev);
        for entry in &mut siblings.rotated {
            if (entry.inode, entry.dev) == (inode, dev) {
                entry.taken = true;
                entry.known_as = Some(mark.inode);
            }
        }
        let renamed = is_same && source.is_plain();
        plan.links.push(Link {
            source,
            origin: if renamed { Origin::Renamed } else { Origin::Sealed },
            lingering_since: Some(*since),
            skip: mark.skip,
            older: None,
        });
    }
    plan.lingering = plan.links.len();
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_moves_is_looked_for_20_times() {
        let moves = |times: u32| {
            let mut attempts = 0;
            let found = until_unmoved(|| {
                attempts += 1;
                Ok((attempts > times).then_some("a plan"))
            });
            (found.map_err(|error| error.to_string()), attempts)
        };
        assert_eq!(moves(0), (Ok("a plan"), 1));
        assert_eq!(moves(ATTEMPTS - 1), (Ok("a plan"), 20));
        let again = "it was renamed again and again while it was looked for".to_owned();
        assert_eq!(moves(ATTEMPTS), (Err(again), 20));
    }
}
