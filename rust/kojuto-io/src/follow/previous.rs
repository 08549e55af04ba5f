//! Finds again the files that a position is about: the one that the mark was made in, and those that
//! could still grow.

use std::io;
use std::path::PathBuf;

use kojuto_core::logs::position::{Lingering, Mark, Position};

use super::between::Between;
use super::note::Note;
use super::plan::{Link, Origin, Plan};
use super::siblings::{self, Entry, MOST_LOOKED_INTO, Siblings};
use super::source::{Fit, Source, is_strong};

/// The file that the mark was made in.
pub(super) struct Previous {
    pub(super) source: Option<(Source, Origin)>,
    /// Its place among the rotated files, when its name is that of one.
    pub(super) index: Option<usize>,
    /// The file begins as that one did, but cannot be read as far as the mark.
    pub(super) broken: Option<(PathBuf, String)>,
}

pub(super) enum Search {
    Found(Box<Previous>),
    Nothing,
    Moved,
}

/// Finds the file that the mark was made in: by its inode, else by its content. With few bytes to go
/// by, for the Go tools that kept none, and where several have that content, only the oldest one of
/// those that came since can be it.
pub(super) fn find(
    before: &Position,
    siblings: &Siblings,
    between: &Between<'_>,
    in_place: bool,
) -> io::Result<Search> {
    let mark = &before.mark;
    if !in_place {
        match by_inode(mark, siblings)? {
            Search::Nothing => {}
            other => return Ok(other),
        }
    }
    if mark.head.is_some_and(|print| print.len == 0) {
        return Ok(Search::Nothing);
    }
    if let Some(oldest) = between.previous(mark, in_place) {
        return by_content(mark, siblings, [oldest], |_| Ok(true));
    }
    if !is_strong(mark) {
        return Ok(Search::Nothing);
    }
    let all = (0..siblings.rotated.len()).rev().filter(|&index| !siblings.rotated[index].taken);
    by_content(mark, siblings, all.take(MOST_LOOKED_INTO), |source| between.mark_tells(source))
}

fn by_inode(mark: &Mark, siblings: &Siblings) -> io::Result<Search> {
    for entry in siblings.all.iter().filter(|entry| entry.is_of(mark)) {
        let mut source = match entry.open() {
            Ok(Some(source)) => source,
            Ok(None) => return Ok(Search::Moved),
            Err(_) => continue,
        };
        if source.identity.fits(mark) && matches!(source.seek_mark(mark)?, Fit::Yes) {
            let index = siblings.rotated.iter().position(|entry| entry.is_of(mark));
            let origin = if source.is_plain() { Origin::Renamed } else { Origin::Sealed };
            let source = Some((source, origin));
            return Ok(Search::Found(Box::new(Previous { source, index, broken: None })));
        }
    }
    Ok(Search::Nothing)
}

/// Of several with that content, some are copies that were made earlier: the longest has it all.
fn by_content(
    mark: &Mark,
    siblings: &Siblings,
    candidates: impl IntoIterator<Item = usize>,
    tells: impl Fn(&Source) -> io::Result<bool>,
) -> io::Result<Search> {
    let mut found: Option<(Source, usize)> = None;
    let mut broken = None;
    for index in candidates {
        let entry = &siblings.rotated[index];
        let mut source = match entry.open() {
            Ok(Some(source)) => source,
            Ok(None) => return Ok(Search::Moved),
            Err(_) => continue,
        };
        match source.seek_mark(mark)? {
            Fit::Yes if !tells(&source)? => {}
            Fit::Yes => {
                let is_longer = match &found {
                    Some((other, _)) => source.remaining(u64::MAX)? >= other.remaining(u64::MAX)?,
                    None => true,
                };
                if is_longer {
                    found = Some((source, index));
                }
            }
            Fit::Broken(reason) if broken.is_none() => {
                let broken_at = Some((entry.path.clone(), reason));
                broken = Some(Previous { source: None, index: Some(index), broken: broken_at });
            }
            Fit::Broken(_) | Fit::No => {}
        }
    }
    let found = found.map(|(source, index)| {
        let source = Some((source, Origin::Sealed));
        Previous { source, index: Some(index), broken: None }
    });
    Ok(found.or(broken).map_or(Search::Nothing, |previous| Search::Found(Box::new(previous))))
}

/// Puts the lingering files that are still there at the front of the plan; false when one moved.
pub(super) fn find_lingering(
    lingering: &[Lingering],
    siblings: &mut Siblings,
    plan: &mut Plan,
) -> io::Result<bool> {
    for Lingering { mark, since, .. } in lingering {
        if plan.live.as_ref().is_some_and(|live| live.identity.fits(mark)) {
            plan.lingered = Some(mark.clone());
            continue;
        }
        let (source, is_same) = match find_one_lingering(mark, siblings, plan)? {
            Found::Here(source, is_same) => (*source, is_same),
            Found::Nothing => continue,
            Found::Moved => return Ok(false),
        };
        let (inode, dev) = (source.identity.inode, source.identity.dev);
        for entry in siblings.rotated.iter_mut().chain(&mut siblings.all) {
            entry.taken |= (entry.inode, entry.dev) == (inode, dev);
        }
        let renamed = is_same && source.is_plain();
        plan.links.push(Link {
            source,
            origin: if renamed { Origin::Renamed } else { Origin::Sealed },
            lingering_since: Some(*since),
            skip: mark.skip,
        });
    }
    plan.lingering = plan.links.len();
    Ok(true)
}

enum Found {
    /// The file, and whether it is the same by its inode.
    Here(Box<Source>, bool),
    Nothing,
    Moved,
}

fn find_one_lingering(mark: &Mark, siblings: &Siblings, plan: &mut Plan) -> io::Result<Found> {
    let strong = is_strong(mark);
    let by_inode = siblings.all.iter().filter(|entry| entry.is_of(mark));
    let looked_into = siblings.rotated.iter().rev().take(MOST_LOOKED_INTO).filter(|_| strong);
    // A small file is known by the whole of it.
    let small = mark.head.filter(|head| head.len > 0 && !strong);
    let small = small.and_then(|head| siblings::find_small(&siblings.rotated, &head, mark.inode));
    let by_content = looked_into.chain(small.map(|index| &siblings.rotated[index]));
    let by_content = by_content.filter(|entry| !entry.taken);
    let candidates: Vec<(&Entry, bool)> =
        by_inode.map(|entry| (entry, true)).chain(by_content.map(|entry| (entry, false))).collect();
    for (entry, is_same) in candidates {
        let mut source = match entry.open() {
            Ok(Some(source)) => source,
            Ok(None) => return Ok(Found::Moved),
            Err(_) => continue,
        };
        if is_same && !source.identity.fits(mark) {
            continue;
        }
        match source.seek_mark(mark)? {
            Fit::Yes => return Ok(Found::Here(Box::new(source), is_same)),
            Fit::No => {}
            Fit::Broken(reason) => {
                plan.notes.push(Note::lost(format!("{}: {reason}", entry.path.display())));
            }
        }
    }
    Ok(Found::Nothing)
}
