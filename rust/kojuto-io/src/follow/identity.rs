//! What the file system tells of a file.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::time::UNIX_EPOCH;

use kojuto_core::logs::position::Mark;

/// What tells one file from all others on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) inode: u64,
    pub(super) dev: u64,
    pub(super) born: Option<u64>,
    /// When it had last changed (ctime), in nanoseconds since the epoch.
    pub(super) changed: u64,
}

impl Identity {
    pub(super) fn of(meta: &Metadata) -> Identity {
        let born = meta.created().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let changed = meta.ctime().max(0) as u64 * 1_000_000_000 + meta.ctime_nsec() as u64;
        let born = born.map(|b| b.as_nanos() as u64);
        Identity { inode: meta.ino(), dev: meta.dev(), born, changed }
    }

    /// Whether the mark was made in this file, going by what the file system says. An unknown
    /// birth contradicts nothing.
    pub(super) fn fits(&self, mark: &Mark) -> bool {
        let same_birth = match (self.born, mark.born) {
            (Some(a), Some(b)) => a == b,
            _ => true,
        };
        (self.inode, self.dev) == (mark.inode, mark.dev) && same_birth
    }
}
