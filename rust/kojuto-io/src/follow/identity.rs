//! What the file system tells of a file.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

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

/// When a file was last written to, in nanoseconds since the epoch.
pub(super) fn written(meta: &Metadata) -> u64 {
    meta.mtime().max(0) as u64 * 1_000_000_000 + meta.mtime_nsec() as u64
}

/// A clock of a file system ticks at least this often (CONFIG_HZ=100).
const TICK: Duration = Duration::from_millis(20);

/// The last instant at which something is known to have happened to the log, to a link that leads to
/// it or to what its directories hold, by the clock of their file system: when they last changed.
/// Taken first, so that what comes later is later. When the clock has ticked since, what will happen
/// is later.
pub(super) fn instant(
    directories: &[PathBuf],
    live: Option<&Identity>,
    turned: Option<u64>,
) -> Option<u64> {
    let on_its_device = |meta: &Metadata| live.is_none_or(|live| live.dev == meta.dev());
    let changed = |meta: Metadata| Identity::of(&meta).changed;
    let metas = directories.iter().filter_map(|dir| fs::metadata(dir).ok());
    let last = metas.filter(on_its_device).map(changed);
    let last = last.chain(live.map(|live| live.changed)).chain(turned).max()?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    let has_ticked = now > Duration::from_nanos(last) + TICK;
    Some(last + u64::from(has_ticked))
}
