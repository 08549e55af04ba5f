//! A rate that was set for a group while it runs: a file beside the lock files.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::others::Others;
use crate::{Error, Result};

/// A number of bytes a second and a newline.
const MOST_BYTES: u64 = 24;

fn path(directory: &Path, budget: u64) -> PathBuf {
    directory.join(format!(".sabo_{budget}.rate"))
}

/// The rate that the members which were started with `budget` have together now, when it is
/// another.
pub(super) fn read(directory: &Path, budget: u64) -> Option<u64> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC;
    let path = path(directory, budget);
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).ok()?;
    file.metadata().ok().filter(fs::Metadata::is_file)?;
    let mut text = String::new();
    file.take(MOST_BYTES).read_to_string(&mut text).ok()?;
    text.strip_suffix('\n')?.parse().ok().filter(|&rate| rate > 0)
}

/// The group is over: what was set for it is too.
pub(super) fn forget(directory: &Path, budget: u64) {
    let _ = fs::remove_file(path(directory, budget));
}

/// Who follows a rate that was set, and who does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Followers {
    /// Members that follow it within a second.
    pub members: u32,
    /// Members of the program of this name that others wrote, which go on as they were.
    pub foreign: u32,
}

/// Sets the rate of the members that were started with `budget`, when any runs.
///
/// # Errors
/// [`Error::Io`] naming the directory or the file that cannot be written.
pub fn set(directory: &Path, budget: u64, rate: u64) -> Result<Followers> {
    let seen = Others::default().look(directory, budget, &[]).map_err(Error::on_path(directory))?;
    let followers = Followers { members: seen.members - seen.foreign, foreign: seen.foreign };
    if followers.members > 0 {
        let path = path(directory, budget);
        put(directory, &path, rate).map_err(Error::on_path(&path))?;
    }
    Ok(followers)
}

fn put(directory: &Path, path: &Path, rate: u64) -> io::Result<()> {
    let fresh = directory.join(format!(".sabo_rate.{}", std::process::id()));
    let _ = fs::remove_file(&fresh);
    let written = File::options().write(true).create_new(true).mode(0o644).open(&fresh).and_then(
        |mut file| {
            // Members of other users read it too, whatever the umask.
            file.set_permissions(fs::Permissions::from_mode(0o644))?;
            file.write_all(format!("{rate}\n").as_bytes())
        },
    );
    written.and_then(|()| fs::rename(&fresh, path)).inspect_err(|_| {
        let _ = fs::remove_file(&fresh);
    })
}

#[cfg(test)]
mod tests {
    use super::super::share::Member;
    use super::*;

    #[test]
    fn a_rate_holds_as_long_as_the_group() {
        let dir = tempfile::tempdir().unwrap();
        let nobody = Followers { members: 0, foreign: 0 };
        assert_eq!(set(dir.path(), 1000, 2000).unwrap(), nobody);
        assert_eq!(read(dir.path(), 1000), None);
        let one = Member::join(dir.path(), 1000, 2).unwrap();
        let two = Member::join(dir.path(), 1000, 1).unwrap();
        assert_eq!(set(dir.path(), 1000, 2000).unwrap(), Followers { members: 2, foreign: 0 });
        assert_eq!((one.budget(), two.budget(), read(dir.path(), 1001)), (2000, 2000, None));
        drop(one);
        assert_eq!(two.budget(), 2000);
        drop(two);
        assert_eq!(read(dir.path(), 1000), None);
        // One that was killed could not take it away.
        put(dir.path(), &path(dir.path(), 1000), 5).unwrap();
        assert_eq!(Member::join(dir.path(), 1000, 1).unwrap().budget(), 1000);
    }

    #[test]
    fn only_a_number_and_a_newline_is_a_rate() {
        let dir = tempfile::tempdir().unwrap();
        for (text, rate) in [
            ("5000\n", Some(5000)),
            ("5000", None),
            ("0\n", None),
            ("-1\n", None),
            ("5000\n\n", None),
            ("99999999999999999999999999\n", None),
        ] {
            fs::write(path(dir.path(), 7), text).unwrap();
            assert_eq!(read(dir.path(), 7), rate, "{text:?}");
        }
        fs::remove_file(path(dir.path(), 7)).unwrap();
        std::os::unix::fs::symlink("/etc/hostname", path(dir.path(), 7)).unwrap();
        assert_eq!(read(dir.path(), 7), None);
    }

    #[test]
    fn another_programs_members_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let _ours = Member::join(dir.path(), 1000, 1).unwrap();
        let theirs = Member::join(dir.path(), 1000, 1).unwrap();
        for name in theirs.names() {
            let mode = fs::Permissions::from_mode(0o600);
            fs::set_permissions(dir.path().join(name), mode).unwrap();
        }
        assert_eq!(set(dir.path(), 1000, 2000).unwrap(), Followers { members: 1, foreign: 1 });
    }
}
