//! A look at a lock file: whether somebody holds its lock.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, SystemTime};

use kojuto_core::budget::share::LockName;
use rustix::fs::{FlockOperation, flock};
use rustix::io::retry_on_intr;

/// A file that was made but never put in place is removed when nobody has locked it after this
/// long.
const UNFINISHED_AFTER: Duration = Duration::from_secs(60);

/// What a look at a lock file tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Probe {
    /// Somebody holds the file's lock.
    Alive {
        mode: u32,
    },
    Dead,
}

/// Whether somebody holds the file's lock; removes a member's file that nobody holds.
pub(super) fn probe(path: &Path, name: &LockName) -> Probe {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC;
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        // Another user's file (the Go program makes them 0600): the kernel's list of locks tells,
        // and where there is none the pid in its name.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let Ok(meta) = fs::symlink_metadata(path) else { return Probe::Dead };
            let lives = is_locked(meta.ino()).unwrap_or_else(|| name.pid.is_some_and(is_running));
            return if lives { Probe::Alive { mode: meta.mode() } } else { Probe::Dead };
        }
        Err(_) => return Probe::Dead,
    };
    let Some(meta) = file.metadata().ok().filter(fs::Metadata::is_file) else { return Probe::Dead };
    // A shared lock is refused by the owner's exclusive one all the same, and two members that
    // look at the same moment do not take each other's look for a life sign.
    match lock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => {
            // A lock file is empty: what has something in it is somebody's data.
            if name.exact && meta.len() == 0 {
                let _ = fs::remove_file(path);
            }
            Probe::Dead
        }
        Err(error) if error.raw_os_error() == Some(libc::EWOULDBLOCK) => {
            Probe::Alive { mode: meta.mode() }
        }
        Err(_) => Probe::Dead,
    }
}

/// Whether the kernel lists a lock on the inode (proc(5), /proc/locks); None where it lists none.
pub(super) fn is_locked(inode: u64) -> Option<bool> {
    let text = fs::read_to_string("/proc/locks").ok()?;
    Some(text.lines().any(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let is_flock = fields.next() == Some("FLOCK");
        let file = fields.nth(3).and_then(|file| file.rsplit(':').next());
        is_flock && file.and_then(|number| number.parse().ok()) == Some(inode)
    }))
}

fn is_running(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

pub(super) fn is_old(path: &Path) -> bool {
    let modified = fs::symlink_metadata(path).and_then(|meta| meta.modified());
    modified.is_ok_and(|at| {
        SystemTime::now().duration_since(at).is_ok_and(|age| age > UNFINISHED_AFTER)
    })
}

pub(super) fn lock(file: &File, how: FlockOperation) -> io::Result<()> {
    Ok(retry_on_intr(|| flock(file, how))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pid_names_a_process_that_runs() {
        assert!(is_running(std::process::id()));
        assert!(!is_running(4_194_305), "above the largest there can be (proc(5), pid_max)");
    }
}
