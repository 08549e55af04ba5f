//! Files that were rotated since the last run, told from the copies among them.

use std::io;
use std::path::Path;

use super::known;
use super::note::Note;
use super::plan::{Link, Origin, Plan};
use super::siblings::Entry;
use super::source::Source;

/// A rotated file of which nothing was read.
pub(super) struct Newer {
    /// Its place among the rotated files.
    pub(super) index: usize,
    pub(super) source: Source,
    /// It is no copy, whatever its content is like.
    pub(super) is_sure: bool,
    /// Its content tells nothing.
    pub(super) is_alike: bool,
}

/// Adds the files rotated since; of a file and its copies the longest, or the one born first.
pub(super) fn add(
    log: &Path,
    newer: impl Iterator<Item = Newer>,
    rotated: &[Entry],
    origin: Origin,
    plan: &mut Plan,
) -> io::Result<()> {
    let mut all: Vec<Newer> = Vec::new();
    let newer: Vec<Newer> = newer.collect();
    let newest = newer.iter().map(|new| new.index).max();
    for mut new in newer {
        // Its name says that it came last; but what copytruncate has copied and not cut yet did, too.
        new.is_sure &= origin != Origin::Sealed || Some(new.index) != newest;
        let is_in = |other: &Source| new.is_copy_of(other, rotated);
        let mut others = plan.links.iter().map(|link| &link.source).chain(&plan.live);
        if others.try_fold(false, |found, other| Ok::<_, io::Error>(found || is_in(other)?))? {
            plan.passed.push((known::there_only(&rotated[new.index]), None));
            continue;
        }
        let mut is_best = true;
        let mut keep = Vec::with_capacity(all.len() + 1);
        for other in all {
            let are_one = is_best
                && (new.is_copy_of(&other.source, rotated)?
                    || other.is_copy_of(&new.source, rotated)?);
            is_best &= !are_one || new.is_better(&other, rotated)?;
            match are_one && is_best {
                true => plan.passed.push((known::there_only(&rotated[other.index]), None)),
                false => keep.push(other),
            }
        }
        match is_best {
            true => keep.push(new),
            false => plan.passed.push((known::there_only(&rotated[new.index]), None)),
        }
        all = keep;
    }
    for Newer { index, source, .. } in all {
        let entry = &rotated[index];
        let origin = if source.is_plain() { origin } else { Origin::Sealed };
        if entry.size > 0 {
            let (log, path) = (log.display(), entry.path.display());
            let text = format!("{log}: {path} was rotated meanwhile; reading it");
            plan.notes.push(Note::ordinary(text));
        }
        plan.links.push(Link { source, origin, lingering_since: None, skip: false });
    }
    Ok(())
}

impl Newer {
    fn is_copy_of(&self, other: &Source, rotated: &[Entry]) -> io::Result<bool> {
        let entry = &rotated[self.index];
        Ok(!self.is_sure && known::is_copy(entry, &self.source, other, !self.is_alike)?)
    }

    /// Whether this one of two that are copies is the one to read. Of two that are as long, a
    /// copy may say what it is, or its name may contradict the times.
    fn is_better(&self, other: &Newer, rotated: &[Entry]) -> io::Result<bool> {
        if self.is_sure != other.is_sure {
            return Ok(self.is_sure);
        }
        let (length, of_other) = (self.source.length()?, other.source.length()?);
        if length != of_other {
            return Ok(length > of_other);
        }
        let says_copy = |index: usize| rotated[index].says_copy;
        if says_copy(self.index) != says_copy(other.index) {
            return Ok(says_copy(other.index));
        }
        let odd = (contradictions(self.index, rotated), contradictions(other.index, rotated));
        if odd.0 != odd.1 {
            return Ok(odd.0 < odd.1);
        }
        let births = self.source.identity.born.zip(other.source.identity.born);
        Ok(births.is_some_and(|(born, of_other)| born < of_other))
    }
}

/// With how many others the time of a file contradicts its place in the order.
fn contradictions(index: usize, rotated: &[Entry]) -> usize {
    let time = rotated[index].written;
    let (before, after) = (&rotated[..index], &rotated[index + 1..]);
    before.iter().filter(|one| one.written > time).count()
        + after.iter().filter(|one| one.written < time).count()
}
