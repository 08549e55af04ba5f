//! Finds out what to read: which files hold the lines since the last run, in which order.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use kojuto_core::logs::position::{Mark, Position, WINDOW_BYTES};

use super::between::{self, Between};
use super::identity::Identity;
use super::names::{self, Names};
use super::newer::{self, Newer};
use super::note::Note;
use super::plan::{Link, Listed, Origin, Plan};
use super::previous::{self, Previous, Search, find_lingering};
use super::siblings::{self, Entry, Siblings};
use super::source::{Fit, Source, is_strong};
use crate::{Error, Result};

/// How often files may move while they are being looked for.
const ATTEMPTS: u32 = 20;

/// Whether a copy was made since the files were `listed`, which the run has not read.
pub(super) fn has_appeared(
    log: &Path,
    archive_dirs: &[PathBuf],
    listed: &Listed,
    after: &Position,
    live: &Source,
) -> Result<bool> {
    let finder = Finder { log, archive_dirs, time: 0.0 };
    let names = Names::of(log, Some(after));
    let siblings =
        finder.list(names, &listed.directories, Some(&live.identity), Some(after), &mut Vec::new());
    between::has_appeared(&siblings, &listed.ids, after, live).map_err(Error::on_path(log))
}

/// Makes the plan. Files may be renamed meanwhile, so it is made anew until nothing has moved.
pub(super) fn make(
    log: &Path,
    archive_dirs: &[PathBuf],
    before: Option<&Position>,
    time: f64,
) -> Result<Plan> {
    let finder = Finder { log, archive_dirs, time };
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
    archive_dirs: &'a [PathBuf],
    /// Now, in seconds since the epoch.
    time: f64,
}

impl Finder<'_> {
    /// `None` when something moved meanwhile.
    fn attempt(&self, before: Option<&Position>) -> io::Result<Option<Plan>> {
        let live = match Source::open_live(self.log) {
            Ok(source) => Some(source),
            Err(error) if error.kind() == io::ErrorKind::NotFound && before.is_some() => None,
            Err(error) => return Err(error),
        };
        let identity = live.as_ref().map(|live| live.identity);
        let was = before.and_then(|before| before.paths.as_ref());
        let paths = names::paths(self.log, was);
        let plan = match before {
            None => {
                let turned = names::turned(self.log);
                let mut plan = Plan::new(live, &self.directories(), turned);
                let siblings = self.list_all(identity.as_ref(), None, false, &mut plan.notes);
                plan.note_listed(&siblings, None);
                Some(plan)
            }
            Some(before) => self.resume(before, live)?,
        };
        let Some(mut plan) = plan else { return Ok(None) };
        plan.paths = Some(match was {
            // A link that leads nowhere now led there last.
            Some(was) if identity.is_none() && was.given == paths.given => was.clone(),
            _ => paths,
        });
        let unmoved = match identity {
            Some(identity) => is_still(self.log, &identity)?,
            None => !self.log.try_exists()?,
        };
        Ok(unmoved.then_some(plan))
    }

    fn directories(&self) -> Vec<PathBuf> {
        siblings::directories(self.log, self.archive_dirs)
    }

    fn list_all(
        &self,
        live: Option<&Identity>,
        before: Option<&Position>,
        from_anywhere: bool,
        notes: &mut Vec<Note>,
    ) -> Siblings {
        let mut names = Names::of(self.log, before);
        if from_anywhere {
            names.add_widest();
        }
        let mut directories = self.directories();
        directories.extend(names.directories(before));
        siblings::keep_one_of_each(&mut directories);
        self.list(names, &directories, live, before, notes)
    }

    fn list(
        &self,
        names: Names,
        directories: &[PathBuf],
        live: Option<&Identity>,
        before: Option<&Position>,
        notes: &mut Vec<Note>,
    ) -> Siblings {
        let mark = before.map(|before| &before.mark);
        let mut siblings = siblings::list(names, mark, directories, notes);
        let is_live =
            |entry: &Entry| live.is_some_and(|id| (id.inode, id.dev) == (entry.inode, entry.dev));
        siblings.all.retain(|entry| !is_live(entry));
        siblings.rotated.retain(|entry| !is_live(entry));
        siblings.widest.retain(|entry| !is_live(entry));
        siblings
    }

    fn resume(&self, before: &Position, mut live: Option<Source>) -> io::Result<Option<Plan>> {
        let mark = &before.mark;
        let fits = match &mut live {
            Some(live) => {
                (may_be_live(live, mark) && matches!(live.seek_mark(mark)?, Fit::Yes))
                    || live.seek_tail(mark)?
            }
            None => false,
        };
        let identity = live.as_ref().map(|live| live.identity);
        let is_link = before.paths.as_ref().is_none_or(|paths| paths.given != paths.target);
        let turned = if is_link { names::turned(self.log) } else { None };
        let has_turned = before.changed.is_none_or(|then| turned >= Some(then));
        // It leads where it led at the last run, and may have led elsewhere between.
        let led_back = fits && turned.is_some() && (has_turned || self.time < before.time);
        let mut plan = Plan::new(live, &self.directories(), turned);
        if fits && is_strong(mark) && before.lingering.is_empty() && !led_back {
            plan.skip = mark.skip;
            return Ok(Some(plan));
        }
        // To a file that was there then it leads from anywhere.
        let is_earlier = |id: Identity| id.born.zip(before.changed).is_some_and(|(a, b)| a < b);
        let from_anywhere = led_back || !fits && identity.is_some_and(is_earlier);
        let mut siblings =
            self.list_all(identity.as_ref(), Some(before), from_anywhere, &mut plan.notes);
        plan.note_listed(&siblings, Some(before));
        if !find_lingering(&before.lingering, &mut siblings, &mut plan)? {
            return Ok(None);
        }
        if fits && (is_strong(mark) || mark.head.is_none()) && !led_back {
            plan.skip = mark.skip;
            return Ok(Some(plan));
        }
        let Some(mut between) = between::find(self.log, before, &siblings, self.time, &mut plan)?
        else {
            return Ok(None);
        };
        if led_back {
            plan.skip = mark.skip;
            between.add_grown(&mut plan)?;
            let newer = between.resolve(None, &mut plan);
            newer::add(self.log, newer.into_iter(), &siblings.rotated, Origin::Renamed, &mut plan)?;
            return Ok(Some(plan));
        }
        // Too few bytes were seen to be sure: a rotated file that was not there says otherwise.
        if fits && !between.has_content() {
            plan.skip = mark.skip;
            return Ok(Some(plan));
        }
        self.find_rotated(before, &siblings, between, plan)
    }

    fn find_rotated(
        &self,
        before: &Position,
        siblings: &Siblings,
        mut between: Between<'_>,
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
        let previous = match previous::find(before, siblings, &between, in_place)? {
            Search::Moved => return Ok(None),
            Search::Found(previous) => Some(previous),
            Search::Nothing => None,
        };
        let tells = plan.live.as_ref().map_or(Ok(false), |live| between.mark_tells(live))?;
        if tells && self.goes_on(mark, in_place, previous.is_some(), &mut plan)? {
            return Ok(Some(plan));
        }
        if !in_place {
            seek_read(&between, &mut plan)?;
        }
        between.add_grown(&mut plan)?;
        let newer =
            between.resolve(previous.as_ref().and_then(|previous| previous.index), &mut plan);
        let mut index = None;
        match previous {
            Some(previous) => {
                index = previous.index;
                self.add_previous(*previous, mark, what, &mut plan);
            }
            None => {
                let has_content = |newer: &Newer| siblings.rotated[newer.index].size > 0;
                if plan.live.is_none() && !newer.iter().any(has_content) {
                    return Err(io::Error::from_raw_os_error(libc::ENOENT));
                }
                if mark.pos > 0 || newer.is_empty() {
                    let log = self.log.display().to_string();
                    plan.notes.push(Note::lost(not_found(&log, what, mark, siblings)));
                }
            }
        }
        let origin = if in_place { Origin::Sealed } else { Origin::Renamed };
        // The file of a mark that had nothing to read is just one of the new ones.
        let newer = newer.into_iter().filter(|one| mark.pos == 0 || Some(one.index) != index);
        newer::add(self.log, newer, &siblings.rotated, origin, &mut plan)?;
        plan.join = in_place;
        if plan.live.is_none() {
            plan.remember_newest();
        }
        Ok(Some(plan))
    }

    /// Whether the live file has what was read, though it is another one or was cut in place: then
    /// it stands behind that.
    fn goes_on(
        &self,
        mark: &Mark,
        in_place: bool,
        found: bool,
        plan: &mut Plan,
    ) -> io::Result<bool> {
        let Some(live) = plan.live.as_mut() else { return Ok(false) };
        let log = self.log.display();
        if !found && matches!(live.seek_mark(mark)?, Fit::Yes) {
            // Restored, or mounted anew.
            plan.skip = mark.skip;
            plan.notes.push(Note::odd(format!("{log}: another file with the same content")));
            return Ok(true);
        }
        live.move_to(0)?;
        if !in_place {
            return Ok(false);
        }
        if let Some(place) = live.find_tail(mark)? {
            live.move_to(place)?;
            let text = format!("{log}: its beginning was cut off; going on behind it");
            plan.notes.push(Note::odd(text));
            return Ok(true);
        }
        let head = mark.head.filter(|head| head.len as usize == WINDOW_BYTES && !found);
        let size = live.size()?;
        if head.is_some_and(|head| live.starts_as(head)) && size < mark.pos {
            live.move_to(size)?;
            plan.skip = live.before().last() != Some(&b'\n');
            let text = format!("{log}: its end was cut off; going on behind what is left");
            plan.notes.push(Note::unproven(text));
            return Ok(true);
        }
        Ok(false)
    }

    fn add_previous(&self, previous: Previous, mark: &Mark, what: &str, plan: &mut Plan) {
        let log = self.log.display();
        if let Some((path, reason)) = previous.broken {
            let path = path.display();
            let text = format!("{log}: {what}; lines are lost: {path}: {reason}");
            plan.notes.push(Note::lost(text));
        }
        // Of a file that had nothing to read not even the beginning is known.
        let is_new = mark.pos == 0 && previous.index.is_some();
        if let Some((source, origin)) = previous.source.filter(|_| !is_new) {
            let path = source.path.display();
            let text = format!("{log}: {what}; reading the rest of {path}");
            plan.notes.push(Note::ordinary(text));
            plan.links.push(Link { source, origin, lingering_since: None, skip: mark.skip });
        }
    }
}

/// Moves the live log, which is another file now, behind what was read of it.
fn seek_read(between: &Between<'_>, plan: &mut Plan) -> io::Result<()> {
    let Some(live) = plan.live.as_mut() else { return Ok(()) };
    plan.skip = match plan.lingered.take() {
        Some(mark) if matches!(live.seek_mark(&mark)?, Fit::Yes) => mark.skip,
        _ => between.seek_known(live)?,
    };
    Ok(())
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

/// Whether the live file may be the one that the mark was made in, before its content is looked
/// at. A device number can change at a reboot, and the Go tools take 0 for "not rotated".
fn may_be_live(live: &Source, mark: &Mark) -> bool {
    let unknown = mark.inode == 0 || mark.dev == 0;
    // Its birth tells a file in which there is little, or nothing yet.
    let is_told = is_strong(mark) || mark.born.is_some();
    unknown
        || live.identity.fits(mark)
        || (live.identity.inode == mark.inode && is_told && same_birth(live, mark))
}

fn same_birth(live: &Source, mark: &Mark) -> bool {
    live.identity.born == mark.born
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
