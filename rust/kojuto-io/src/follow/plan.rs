//! What a run reads: which files hold the lines since the last run, in which order.

use kojuto_core::logs::position::{Known, Position};

use super::known;
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
    /// What the next run is to know of files that this one does not read.
    pub(super) passed: Vec<Known>,
    /// All rotated files, when they were listed and nothing is remembered of them yet.
    pub(super) there: Option<Vec<Known>>,
    /// What was listed, if anything was.
    listed: Option<Vec<(u64, u64)>>,
    pub(super) notes: Vec<String>,
}

impl Plan {
    pub(super) fn new(live: Option<Source>) -> Plan {
        Plan {
            links: Vec::new(),
            live,
            skip: false,
            join: false,
            lingering: 0,
            passed: Vec::new(),
            there: None,
            listed: None,
            notes: Vec::new(),
        }
    }

    pub(super) fn note_listed(&mut self, siblings: &Siblings, before: Option<&Position>) {
        let ids = siblings.all.iter().map(|entry| (entry.inode, entry.dev));
        self.listed = Some(ids.collect());
        let knows = before.is_some_and(|before| before.known.is_some());
        self.there = (!knows).then(|| known::all_there(&siblings.rotated));
    }

    /// What the plan was made from, to be looked at again after reading.
    pub(super) fn listed(&mut self) -> Option<Vec<(u64, u64)>> {
        self.listed.take()
    }
}
