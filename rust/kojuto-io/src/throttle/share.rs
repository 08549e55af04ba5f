//! Lock files by which processes share one budget of bytes a second.
//!
//! Each member holds an exclusive flock on its files in the work directory; a file that can be
//! locked belongs to nobody any more and is removed. The kernel drops the lock of a process that
//! was killed, so nothing else is needed to notice its end.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use kojuto_core::budget::share::{LockName, is_unfinished, lock_name, parse_lock_name};
use rustix::fs::{FlockOperation, flock};
use rustix::io::retry_on_intr;

use crate::{Error, Result};

/// A file that was made but never put in place is removed when nobody has locked it after this
/// long.
const UNFINISHED_AFTER: Duration = Duration::from_secs(60);

/// How many are alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    /// Live lock files, this member's included.
    pub locks: u32,
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
        };
        member.put_files()?;
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

    /// Looks once at all lock files: counts the live ones, removes the dead ones, and puts its own
    /// back when somebody removed them.
    ///
    /// # Errors
    /// [`Error::Io`] when the directory cannot be read or the own files cannot be put back.
    pub fn count(&mut self) -> Result<Count> {
        let found = self.look()?;
        if found.own < self.weight {
            remove_all(&self.files);
            self.put_files()?;
        }
        let (weight, others) = (self.weight, found.other_locks);
        Ok(Count { locks: others + weight, members: found.other_members + 1 })
    }

    fn look(&self) -> Result<Seen> {
        let mut seen = Seen::default();
        let entries = fs::read_dir(&self.directory).map_err(Error::on_path(&self.directory))?;
        for entry in entries {
            let name = entry.map_err(Error::on_path(&self.directory))?.file_name();
            let bytes = name.as_bytes();
            let path = self.directory.join(&name);
            if let Some(lock) = parse_lock_name(bytes, self.budget) {
                if self.files.iter().any(|(_, own)| *own == path) {
                    seen.own += 1;
                } else if is_alive(&path, &lock) {
                    seen.other_locks += 1;
                    seen.other_members += u32::from(lock.part == 1);
                }
            } else if is_unfinished(bytes, self.budget) && is_old(&path) {
                is_alive(&path, &LockName { pid: None, part: 1, exact: true });
            }
        }
        Ok(seen)
    }
}

#[derive(Default)]
struct Seen {
    own: u32,
    other_locks: u32,
    other_members: u32,
}

impl Drop for Member {
    fn drop(&mut self) {
        remove_all(&self.files);
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
        .mode(0o644)
        .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC)
        .open(&hidden)?;
    // Whatever the umask: who may not open it cannot see that it is locked.
    let open_to_all = file.set_permissions(fs::Permissions::from_mode(0o644));
    let placed = open_to_all
        .and_then(|()| lock(&file, FlockOperation::NonBlockingLockExclusive))
        .and_then(|()| fs::rename(&hidden, directory.join(name)));
    if let Err(error) = placed {
        let _ = fs::remove_file(&hidden);
        return Err(error);
    }
    Ok(file)
}

/// Whether somebody holds the file's lock; removes a member's file that nobody holds.
fn is_alive(path: &Path, name: &LockName) -> bool {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_CLOEXEC;
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        // Another user's file (the Go program makes them 0600): the kernel's list of locks tells,
        // and where there is none the pid in its name.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let Ok(meta) = fs::symlink_metadata(path) else { return false };
            return is_locked(meta.ino()).unwrap_or_else(|| name.pid.is_some_and(is_running));
        }
        Err(_) => return false,
    };
    let Some(meta) = file.metadata().ok().filter(fs::Metadata::is_file) else { return false };
    // A shared lock is refused by the owner's exclusive one all the same, and two members that
    // look at the same moment do not take each other's look for a life sign.
    match lock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => {
            // A lock file is empty: what has something in it is somebody's data.
            if name.exact && meta.len() == 0 {
                let _ = fs::remove_file(path);
            }
            false
        }
        Err(error) => error.raw_os_error() == Some(libc::EWOULDBLOCK),
    }
}

/// Whether the kernel lists a lock on the inode (proc(5), /proc/locks); None where it lists none.
fn is_locked(inode: u64) -> Option<bool> {
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

fn is_old(path: &Path) -> bool {
    let modified = fs::symlink_metadata(path).and_then(|meta| meta.modified());
    modified.is_ok_and(|at| {
        SystemTime::now().duration_since(at).is_ok_and(|age| age > UNFINISHED_AFTER)
    })
}

fn lock(file: &File, how: FlockOperation) -> io::Result<()> {
    Ok(retry_on_intr(|| flock(file, how))?)
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
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn members_see_each_other_and_leave_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let mut one = Member::join(dir.path(), 1000, 1).unwrap();
        assert_eq!(one.count().unwrap(), Count { locks: 1, members: 1 });
        let mut two = Member::join(dir.path(), 1000, 3).unwrap();
        let _other_budget = Member::join(dir.path(), 1001, 1).unwrap();
        assert_eq!(one.count().unwrap(), Count { locks: 4, members: 2 });
        assert_eq!(two.count().unwrap(), Count { locks: 4, members: 2 });
        drop(two);
        assert_eq!(one.count().unwrap(), Count { locks: 1, members: 1 });
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
        assert_eq!(member.count().unwrap(), Count { locks: 1, members: 1 });
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
        assert_eq!(member.count().unwrap(), Count { locks: 1, members: 1 });
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
        assert_eq!(meta.mode() & 0o777, 0o644);
        assert_eq!(is_locked(meta.ino()), Some(true));
        drop(member);
        assert_eq!(is_locked(meta.ino()), Some(false));
    }

    #[test]
    fn a_pid_names_a_process_that_runs() {
        assert!(is_running(std::process::id()));
        assert!(!is_running(4_194_305), "above the largest there can be (proc(5), pid_max)");
    }

    #[test]
    fn own_files_that_were_removed_come_back() {
        let dir = tempfile::tempdir().unwrap();
        let mut member = Member::join(dir.path(), 1000, 2).unwrap();
        for name in names(dir.path()) {
            fs::remove_file(dir.path().join(name)).unwrap();
        }
        assert_eq!(member.count().unwrap(), Count { locks: 2, members: 1 });
        assert_eq!(names(dir.path()).len(), 2);
        fs::remove_dir_all(dir.path()).unwrap();
        assert!(member.count().is_err());
        fs::create_dir(dir.path()).unwrap();
        assert_eq!(member.count().unwrap(), Count { locks: 2, members: 1 });
    }

    #[test]
    fn a_missing_directory_is_named() {
        let error = Member::join(Path::new("/nonexistent"), 1000, 1).unwrap_err();
        assert!(error.to_string().contains("/nonexistent"), "{error}");
        assert!(Member::join(Path::new("/etc/passwd"), 1000, 1).is_err());
    }
}
