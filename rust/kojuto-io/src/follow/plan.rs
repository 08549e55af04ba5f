//! What a run reads: which files hold the lines since the last run, in which order.

use std::collections::HashSet;
use std::path::PathBuf;

use kojuto_core::logs::position::{Known, Mark, Paths, Position};

use super::identity;
use super::known;
use super::note::Note;
use super::siblings::Siblings;
use super::source::Source;

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
}

/// What directories held when they were listed.
pub(super) struct Listed {
    /// Inode and device of each file.
    pub(super) ids: HashSet<(u64, u64)>,
    pub(super) directories: Vec<PathBuf>,
}

/// What to read, in this order.
pub(super) struct Plan {
    pub(super) links: Vec<Link>,
    /// The file under the log's name or, while there is none, the newest rotated one.
    pub(super) live: Option<Source>,
    /// Reading the live file begins inside a line that does not count.
    pub(super) skip: bool,
    /// The log, and what its name led to when the live file was opened.
    pub(super) paths: Option<Paths>,
    /// How far the live file was read while it was one that lingered: its link leads back to it.
    pub(super) lingered: Option<Mark>,
    /// The files after the lingering ones are one stream, cut by copytruncate: an unfinished line
    /// at the end of one goes on in the next.
    pub(super) join: bool,
    /// Where in `links` the lingering files end.
    pub(super) lingering: usize,
    /// What the next run is to know of files that this one does not read, and what it replaces.
    pub(super) passed: Vec<(Known, Option<Known>)>,
    /// An instant of the file system's clock: what was born before it was there.
    pub(super) instant: Option<u64>,
    /// All rotated files, when they were listed and nothing is remembered of them yet.
    pub(super) there: Option<Vec<Known>>,
    /// What was listed, if anything was.
    listed: Option<Listed>,
    pub(super) notes: Vec<Note>,
}

impl Plan {
    pub(super) fn new(live: Option<Source>, directories: &[PathBuf], turned: Option<u64>) -> Plan {
        let identity = live.as_ref().map(|live| live.identity);
        Plan {
            links: Vec::new(),
            live,
            skip: false,
            paths: None,
            lingered: None,
            join: false,
            lingering: 0,
            passed: Vec::new(),
            instant: identity::instant(directories, identity.as_ref(), turned),
            there: None,
            listed: None,
            notes: Vec::new(),
        }
    }

    pub(super) fn note_listed(&mut self, siblings: &Siblings, before: Option<&Position>) {
        let ids = siblings.all.iter().map(|entry| (entry.inode, entry.dev)).collect();
        self.listed = Some(Listed { ids, directories: siblings.directories.clone() });
        let knows = before.is_some_and(|before| before.known.is_some());
        self.there = (!knows).then(|| {
            let mut all = known::all_there(&siblings.widest);
            all.extend(known::all_there(&siblings.rotated));
            all
        });
    }

    /// Has the place to remember be in the newest rotated file: there is no live one.
    pub(super) fn remember_newest(&mut self) {
        let can_grow = |link: &mut Link| link.origin == Origin::Renamed;
        if self.links.len() > self.lingering
            && let Some(link) = self.links.pop_if(can_grow)
        {
            self.skip = link.skip;
            self.live = Some(link.source);
        }
    }

    /// What the plan was made from, to be looked at again after reading.
    pub(super) fn listed(&mut self) -> Option<Listed> {
        self.listed.take()
    }
}
