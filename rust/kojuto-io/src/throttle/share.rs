//! Lock files by which processes share one budget of bytes a second.
//!
//! Each member holds an exclusive flock on its files in the work directory; a file that can be
//! locked belongs to nobody any more and is removed. The kernel drops the lock of a process that
//! was killed, so nothing else is needed to notice its end.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use kojuto_core::budget::share::{LockName, budget_of, lock_name, parse_lock_name};
use rustix::fs::{AtFlags, CWD, FlockOperation, Timespec, Timestamps, UTIME_NOW, utimensat};

use super::others::{LENDS, Others};
use super::probe::{Probe, lock, probe};
use super::rate;
use crate::{Error, Result};

/// The mode of a lock file.
const MODE: u32 = 0o644;

/// So many files are looked at for other budgets in the directory.
const MOST_LOOKS: usize = 64;

/// How many are alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    /// Live lock files, this member's included.
    pub locks: u32,
    /// Those of others that lend their share.
    pub lent: u32,
    /// Live members, this one included.
    pub members: u32,
}

/// Membership in one budget; dropping it leaves.
#[derive(Debug)]
pub struct Member {
    directory: PathBuf,
    budget: u64,
    weight: u32,
    files: Vec<(File, PathBuf)>,
    others: Others,
    lends: bool,
}

impl Member {
    /// Joins with `weight` lock files (at least 1).
    ///
    /// # Errors
    /// [`Error::Io`] naming the directory or file: it is missing, read-only or full.
    pub fn join(directory: &Path, budget: u64, weight: u32) -> Result<Member> {
        if !fs::metadata(directory).map_err(Error::on_path(directory))?.is_dir() {
            let error = io::Error::from_raw_os_error(libc::ENOTDIR);
            return Err(Error::on_path(directory)(error));
        }
        let mut member = Member {
            directory: directory.to_owned(),
            budget,
            weight: weight.max(1),
            files: Vec::new(),
            others: Others::default(),
            lends: false,
        };
        member.put_files()?;
        if member.count().is_ok_and(|count| count.members == 1) {
            // Of a group that is over.
            rate::forget(directory, budget);
        }
        Ok(member)
    }

    /// How many lock files this member holds.
    pub fn weight(&self) -> u32 {
        self.weight
    }

    fn put_files(&mut self) -> Result<()> {
        let unique = unique().map_err(Error::on("getrandom"))?;
        let mut files = Vec::new();
        for part in 1..=self.weight {
            let name = lock_name(self.budget, std::process::id(), &unique, part);
            match put_file(&self.directory, &name) {
                Ok(file) => files.push((file, self.directory.join(&name))),
                Err(error) => {
                    remove_all(&files);
                    return Err(Error::on_path(&self.directory.join(&name))(error));
                }
            }
        }
        self.files = files;
        Ok(())
    }

    /// Looks at the lock files of the others: counts the live ones, removes dead ones, and puts its
    /// own back when somebody removed them.
    ///
    /// # Errors
    /// [`Error::Io`] when the directory cannot be read or the own files cannot be put back.
    pub fn count(&mut self) -> Result<Count> {
        let own: Vec<&OsStr> = self.files.iter().filter_map(|(_, path)| path.file_name()).collect();
        let seen = self.others.look(&self.directory, self.budget, &own);
        let seen = seen.map_err(Error::on_path(&self.directory))?;
        if seen.own < self.weight {
            remove_all(&self.files);
            self.put_files()?;
            self.mark();
        }
        let locks = seen.locks + self.weight;
        Ok(Count { locks, lent: seen.lent, members: seen.members + 1 })
    }

    /// Bytes a second of all members together: what the group was started with, or was set since.
    pub fn budget(&self) -> u64 {
        rate::read(&self.directory, self.budget).unwrap_or(self.budget)
    }

    /// Whether the others may have this member's share until it wants it again; the file stays
    /// empty and locked, so that a program that knows nothing of this counts it as ever.
    pub fn lend(&mut self, lends: bool) {
        if lends != self.lends {
            self.lends = lends;
            self.mark();
        }
    }

    /// Whether it lends its share.
    pub fn lends(&self) -> bool {
        self.lends
    }

    fn mark(&self) {
        let mode = if self.lends { MODE | LENDS } else { MODE };
        for (file, _) in &self.files {
            let _ = file.set_permissions(fs::Permissions::from_mode(mode));
        }
        // Who looks only at what has changed in the directory looks again.
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        let times = Timestamps { last_access: now, last_modification: now };
        let _ = utimensat(CWD, &self.directory, &times, AtFlags::empty());
    }

    /// Another budget in the directory that has a live member.
    pub fn other_budget(&self) -> Option<u64> {
        let entries = fs::read_dir(&self.directory).ok()?;
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let others = names.filter_map(|name| {
            let budget = budget_of(name.as_bytes()).filter(|&budget| budget != self.budget)?;
            Some((budget, self.directory.join(&name), parse_lock_name(name.as_bytes(), budget)?))
        });
        let lives = |path: &Path, lock: &LockName| {
            matches!(probe(path, &LockName { exact: false, ..*lock }), Probe::Alive { .. })
        };
        let mut others = others.take(MOST_LOOKS);
        others.find(|(_, path, lock)| lives(path, lock)).map(|(budget, ..)| budget)
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let had_rate = self.budget() != self.budget;
        remove_all(&self.files);
        if had_rate
            && self.others.look(&self.directory, self.budget, &[]).is_ok_and(|seen| seen.locks == 0)
        {
            rate::forget(&self.directory, self.budget);
        }
    }
}

fn remove_all(files: &[(File, PathBuf)]) {
    for (_, path) in files {
        let _ = fs::remove_file(path);
    }
}

/// Makes a lock file under a name nobody counts, locks it, and only then puts it in place.
fn put_file(directory: &Path, name: &str) -> io::Result<File> {
    let hidden = directory.join(format!("_{name}"));
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        // Readable for everybody, so that members of other users can see that it is locked.
        .mode(MODE)
        .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC)
        .open(&hidden)?;
    // Whatever the umask: who may not open it cannot see that it is locked.
    let open_to_all = file.set_permissions(fs::Permissions::from_mode(MODE));
    let placed = open_to_all
        .and_then(|()| lock(&file, FlockOperation::NonBlockingLockExclusive))
        .and_then(|()| fs::rename(&hidden, directory.join(name)));
    if let Err(error) = placed {
        let _ = fs::remove_file(&hidden);
        return Err(error);
    }
    Ok(file)
}

/// Twenty characters that no other member has, in the alphabet of the Go program's names.
fn unique() -> io::Result<String> {
    let mut random = [0u8; 20];
    crate::sys::random::fill(&mut random)?;
    Ok(random
        .iter()
        .map(|byte| char::from(b"0123456789abcdefghijklmnopqrstuv"[usize::from(byte % 32)]))
        .collect())
}

#[cfg(test)]
impl Member {
    /// The names of its lock files.
    pub(super) fn names(&self) -> Vec<std::ffi::OsString> {
        self.files.iter().filter_map(|(_, path)| path.file_name().map(OsStr::to_owned)).collect()
    }

    /// Loses its locks, as a process that was killed.
    pub(super) fn die(&mut self) {
        self.files.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;
    use std::time::{Duration, SystemTime};

    use super::super::probe::is_locked;
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn members_see_each_other_and_leave_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let mut one = Member::join(dir.path(), 1000, 1).unwrap();
        assert_eq!(one.count().unwrap(), Count { locks: 1, lent: 0, members: 1 });
        let mut two = Member::join(dir.path(), 1000, 3).unwrap();
        let _other_budget = Member::join(dir.path(), 1001, 1).unwrap();
        assert_eq!(one.count().unwrap(), Count { locks: 4, lent: 0, members: 2 });
        assert_eq!(two.count().unwrap(), Count { locks: 4, lent: 0, members: 2 });
        drop(two);
        assert_eq!(one.count().unwrap(), Count { locks: 1, lent: 0, members: 1 });
        drop(one);
        assert_eq!(names(dir.path()).len(), 1);
    }

    #[test]
    fn a_dead_file_is_removed_and_foreign_things_are_not() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("sabo_1000_1_dead.lock"), b"").unwrap();
        fs::write(dir.path().join("sabo_2000_1_other.lock"), b"").unwrap();
        fs::write(dir.path().join("_sabo_1000_1_young.lock"), b"").unwrap();
        for (name, age_s) in [("_sabo_1000_1_old.lock", 65), ("_sabo_1000_1_younger.lock", 30)] {
            let file = File::create(dir.path().join(name)).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(age_s)).unwrap();
        }
        fs::create_dir(dir.path().join("sabo_1000_1_directory")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("sabo_1000_1_link")).unwrap();
        let mut member = Member::join(dir.path(), 1000, 1).unwrap();
        assert_eq!(member.count().unwrap(), Count { locks: 1, lent: 0, members: 1 });
        let mut left = names(dir.path());
        left.retain(|name| !name.starts_with(&format!("sabo_1000_{}_", std::process::id())));
        left.sort();
        assert_eq!(
            left,
            [
                "_sabo_1000_1_young.lock",
                "_sabo_1000_1_younger.lock",
                "sabo_1000_1_directory",
                "sabo_1000_1_link",
                "sabo_2000_1_other.lock"
            ]
        );
    }

    #[test]
    fn a_file_that_only_begins_like_a_lock_file_stays() {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
        put("sabo_1000_app.sql", "");
        put("sabo_1000_1_abc.lock", "a dump");
        put("sabo_1000_1_empty.lock", "");
        let mut member = Member::join(dir.path(), 1000, 1).unwrap();
        assert_eq!(member.count().unwrap(), Count { locks: 1, lent: 0, members: 1 });
        drop(member);
        let mut left = names(dir.path());
        left.sort();
        assert_eq!(left, ["sabo_1000_1_abc.lock", "sabo_1000_app.sql"]);
    }

    #[test]
    fn the_kernel_lists_who_is_locked() {
        let dir = tempfile::tempdir().unwrap();
        let member = Member::join(dir.path(), 1000, 1).unwrap();
        let meta = member.files[0].0.metadata().unwrap();
        // Open, so that no file of another test is given its inode number.
        let _held = File::open(&member.files[0].1).unwrap();
        assert_eq!(meta.mode() & 0o777, 0o644);
        assert_eq!(is_locked(meta.ino()), Some(true));
        drop(member);
        assert_eq!(is_locked(meta.ino()), Some(false));
    }

    #[test]
    fn a_lent_share_is_seen_and_the_file_stays_as_others_know_it() {
        let dir = tempfile::tempdir().unwrap();
        let mut one = Member::join(dir.path(), 1000, 1).unwrap();
        let mut two = Member::join(dir.path(), 1000, 3).unwrap();
        for lends in [true, false, true] {
            two.lend(lends);
            let lent = if lends { 3 } else { 0 };
            assert_eq!(one.count().unwrap(), Count { locks: 4, lent, members: 2 });
            assert_eq!(two.count().unwrap(), Count { locks: 4, lent: 0, members: 2 });
        }
        assert!(two.files.iter().all(|(file, _)| file.metadata().unwrap().len() == 0));
    }

    #[test]
    fn another_budget_in_the_directory_is_seen_while_it_lives() {
        let dir = tempfile::tempdir().unwrap();
        let one = Member::join(dir.path(), 1_000_000, 1).unwrap();
        fs::write(dir.path().join("sabo_5_1_dead.lock"), b"").unwrap();
        assert_eq!(one.other_budget(), None);
        let other = Member::join(dir.path(), 1_048_576, 1).unwrap();
        assert_eq!(one.other_budget(), Some(1_048_576));
        assert_eq!(other.other_budget(), Some(1_000_000));
        drop(other);
        assert_eq!(one.other_budget(), None);
        assert!(dir.path().join("sabo_5_1_dead.lock").exists(), "another budget's own business");
    }

    #[test]
    fn own_files_that_were_removed_come_back() {
        let dir = tempfile::tempdir().unwrap();
        let mut member = Member::join(dir.path(), 1000, 2).unwrap();
        for name in names(dir.path()) {
            fs::remove_file(dir.path().join(name)).unwrap();
        }
        assert_eq!(member.count().unwrap(), Count { locks: 2, lent: 0, members: 1 });
        assert_eq!(names(dir.path()).len(), 2);
        fs::remove_dir_all(dir.path()).unwrap();
        assert!(member.count().is_err());
        fs::create_dir(dir.path()).unwrap();
        assert_eq!(member.count().unwrap(), Count { locks: 2, lent: 0, members: 1 });
    }

    #[test]
    fn a_missing_directory_is_named() {
        let error = Member::join(Path::new("/nonexistent"), 1000, 1).unwrap_err();
        assert!(error.to_string().contains("/nonexistent"), "{error}");
        assert!(Member::join(Path::new("/etc/passwd"), 1000, 1).is_err());
    }
}
