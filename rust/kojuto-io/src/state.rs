//! Small state files: read with a bound, written atomically, locked against a second run.
//!
//! The work directory of a monitoring plugin is often writable by everybody, so a state file is
//! never opened through a symbolic link and never believed when another user owns it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FlockOperation, StatxAttributes, StatxFlags, flock, statx};
use rustix::io::{Errno, retry_on_intr};

use crate::error::passes;
use crate::{Error, Result, words};

/// The most a state file may hold; a larger one is not ours.
pub const MAX_STATE_BYTES: u64 = kojuto_core::logs::position::MAX_POSITION_BYTES as u64;

/// A longer name is none on Linux (NAME_MAX of linux/limits.h).
const MAX_NAME_BYTES: usize = 255;

/// What was found under a state file's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// No such file: a first run.
    Nothing,
    /// The whole content.
    Bytes(Vec<u8>),
    /// A file that must not be believed; the text says why.
    Unusable(String),
}

/// Reads a state file of at most [`MAX_STATE_BYTES`].
///
/// A file that cannot be trusted or read is [`Found::Unusable`], never an error: a plugin starts
/// afresh with a warning rather than fail for ever.
pub fn read(path: &Path) -> Found {
    try_read(path).unwrap_or_else(|error| Found::Unusable(words(&error)))
}

/// As [`read`], for what must not be taken for a first run because descriptors or memory are short.
///
/// # Errors
/// EMFILE, ENFILE, EAGAIN, ENOMEM.
pub(crate) fn try_read(path: &Path) -> io::Result<Found> {
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC | libc::O_NONBLOCK)
        .open(path);
    match opened.and_then(read_trusted) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Found::Nothing),
        Err(error) if error.raw_os_error() == Some(libc::ELOOP) => {
            Ok(Found::Unusable("it is a symbolic link".to_owned()))
        }
        Err(error) if !passes(&error) => Ok(Found::Unusable(words(&error))),
        found => found,
    }
}

fn read_trusted(file: File) -> io::Result<Found> {
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Ok(Found::Unusable("it is not a regular file".to_owned()));
    }
    if !owner_is_trusted(meta.uid()) {
        return Ok(Found::Unusable(format!("it belongs to another user (uid {})", meta.uid())));
    }
    if meta.len() > MAX_STATE_BYTES {
        let text = format!("it has {} bytes, more than {MAX_STATE_BYTES}", meta.len());
        return Ok(Found::Unusable(text));
    }
    let mut bytes = Vec::new();
    file.take(MAX_STATE_BYTES).read_to_end(&mut bytes)?;
    Ok(Found::Bytes(bytes))
}

fn owner_is_trusted(uid: u32) -> bool {
    let me = rustix::process::geteuid().as_raw();
    uid == me || uid == 0
}

/// Replaces `path` by `bytes` atomically: a temporary file of mode 0600 beside it, fsync, rename,
/// fsync of the directory. After a crash at any point the old or the new content is there, whole.
///
/// # Errors
/// [`Error::Io`] naming the file; the old content is then untouched.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<()> {
    Staged::write(path, &format!(".tmp{}", std::process::id()), bytes)?.rename()
}

/// New content of a state file, written and synced beside it under another name. A disk that is
/// full or read-only is found out here, before the content is renamed into place. Dropped instead,
/// it is removed.
#[derive(Debug)]
pub struct Staged {
    temporary: Option<PathBuf>,
    path: PathBuf,
}

impl Staged {
    /// Writes a temporary file of mode 0600, called as `path` with `ending`, and syncs it. A file
    /// of that name is replaced: a killed run left it behind. Where `path` is one that nobody may
    /// write to, this finds it out.
    ///
    /// # Errors
    /// [`Error::Io`] naming `path`.
    pub fn write(path: &Path, ending: &str, bytes: &[u8]) -> Result<Staged> {
        let mut name = path.file_name().map(|name| name.as_bytes().to_vec()).unwrap_or_default();
        name.truncate(MAX_NAME_BYTES.saturating_sub(ending.len()));
        name.extend_from_slice(ending.as_bytes());
        let temporary = path.with_file_name(std::ffi::OsStr::from_bytes(&name));
        can_be_replaced(path).map_err(Error::on_path(path))?;
        let mut file = create(&temporary).map_err(Error::on_path(path))?;
        let staged = Staged { temporary: Some(temporary), path: path.to_owned() };
        file.write_all(bytes).and_then(|()| file.sync_all()).map_err(Error::on_path(path))?;
        Ok(staged)
    }

    /// Renames the content into place, and syncs the directory.
    ///
    /// # Errors
    /// [`Error::Io`] naming the state file; the old content is then untouched.
    pub fn rename(mut self) -> Result<()> {
        if let Some(temporary) = &self.temporary {
            fs::rename(temporary, &self.path).map_err(Error::on_path(&self.path))?;
            self.temporary = None;
        }
        if let Some(directory) = self.path.parent() {
            // The rename itself is durable only with its directory. Some filesystems refuse to sync
            // a directory; the data is safe either way.
            let here = directory.as_os_str().is_empty();
            if let Ok(directory) = File::open(if here { Path::new(".") } else { directory }) {
                let _ = directory.sync_all();
            }
        }
        Ok(())
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary {
            let _ = fs::remove_file(temporary);
        }
    }
}

/// A file that never changes or only grows (`chattr +i`, `+a`) keeps its name, too, and one that is
/// mounted has its own: the rename would fail, after all that comes before it.
fn can_be_replaced(path: &Path) -> io::Result<()> {
    let flags = libc::O_NOFOLLOW | libc::O_CLOEXEC | libc::O_NONBLOCK;
    let file = match OpenOptions::new().write(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => return Err(error),
        Err(_) => return Ok(()),
    };
    match statx(&file, "", AtFlags::EMPTY_PATH, StatxFlags::empty()) {
        Ok(about) if about.stx_attributes.contains(StatxAttributes::MOUNT_ROOT) => {
            Err(io::Error::from_raw_os_error(libc::EBUSY))
        }
        _ => Ok(()),
    }
}

fn create(temporary: &Path) -> io::Result<File> {
    let open = || {
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC)
            .open(temporary)
    };
    let file = match open() {
        // Left behind by a run that was killed; O_EXCL guards what follows.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            fs::remove_file(temporary)?;
            open()
        }
        other => other,
    }?;
    // A umask may keep ourselves out; a file system may have no modes.
    let _ = file.set_permissions(fs::Permissions::from_mode(0o600));
    Ok(file)
}

/// How often a file may be replaced while it is being locked.
const ATTEMPTS: u32 = 20;

/// An exclusive lock beside a state file, held until it is dropped or the process ends.
///
/// The lock lives in a file of its own (`<name>.lock`), since the state file itself is replaced
/// at each write. Where everybody may write, another user may have put something in its place: that
/// is passed by. The state file is ours or is not believed; it is locked too, so that two runs of one
/// user keep each other out whatever becomes of the lock file.
#[derive(Debug)]
pub struct Lock {
    files: Vec<File>,
    passed_by: Option<String>,
    /// The state file, which there was none of, and which was made to be locked.
    made: Option<PathBuf>,
}

impl Lock {
    /// Takes the lock that guards `path`, without waiting.
    ///
    /// # Errors
    /// [`Error::Busy`] when another process holds it, [`Error::Io`] when the lock file cannot be
    /// opened.
    pub fn try_acquire(path: &Path) -> Result<Lock> {
        let mut name = path.as_os_str().to_owned();
        name.push(".lock");
        let name = PathBuf::from(name);
        let held = |file: Option<File>| file.ok_or_else(|| Error::Busy(path.to_owned()));
        let mut lock = Lock { files: Vec::new(), passed_by: None, made: None };
        match Locked::take(&name, true).map_err(Error::on_path(&name))? {
            Locked::Ours { file, .. } => lock.files.push(held(file)?),
            Locked::Foreign(why) => {
                let name = name.display();
                lock.passed_by = Some(format!(
                    "{name}: {why}; passed by, the state file is locked instead. Remove it, or keep \
                     the state where only this user may write"
                ));
            }
            Locked::Nothing => {}
        }
        // One that cannot be opened is not believed either.
        if let Ok(Locked::Ours { file, made }) = Locked::take(path, lock.passed_by.is_some()) {
            lock.files.push(held(file)?);
            lock.made = made.then(|| path.to_owned());
        }
        Ok(lock)
    }

    /// What was found in place of the lock file, for a person, and what to do about it.
    pub fn passed_by(&self) -> Option<&str> {
        self.passed_by.as_deref()
    }

    /// Whether the state file is empty and only there to be locked.
    pub fn made_state(&self) -> bool {
        self.made.is_some()
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if let Some(path) = &self.made
            && fs::symlink_metadata(path).is_ok_and(|meta| meta.len() == 0)
        {
            let _ = fs::remove_file(path);
        }
        // By hand: a child of another thread has the files too, between its fork and its exec.
        for file in &self.files {
            let _ = flock(file, FlockOperation::Unlock);
        }
    }
}

/// A file that was to be locked.
enum Locked {
    /// The file, and whether it was made; `None` where another process holds the lock.
    Ours {
        file: Option<File>,
        made: bool,
    },
    /// Another user could hold the lock, or have made a trap of it: the text says how.
    Foreign(String),
    Nothing,
}

impl Locked {
    /// Locks a file that nobody else can lock; makes it first, if `make` says so.
    fn take(path: &Path, make: bool) -> io::Result<Locked> {
        for _ in 0..ATTEMPTS {
            let before = match fs::symlink_metadata(path) {
                Ok(meta) => Some(meta),
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                Err(error) => return Err(error),
            };
            if let Some(why) = before.as_ref().and_then(foreign) {
                return Ok(Locked::Foreign(why));
            }
            let made = before.is_none();
            if made && !make {
                return Ok(Locked::Nothing);
            }
            // One that is there is opened without O_CREAT: with it the kernel refuses even root a
            // file of others in a directory like /tmp (fs.protected_regular).
            let opened = OpenOptions::new()
                .write(true)
                .create_new(made)
                .mode(0o600)
                .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC | libc::O_NONBLOCK)
                .open(path);
            let file = match opened {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(error) if error.kind() == io::ErrorKind::NotFound && !made => continue,
                Err(error) => return Err(error),
            };
            let meta = file.metadata()?;
            if let Some(why) = foreign(&meta) {
                return Ok(Locked::Foreign(why));
            }
            if made || others_may_open(&meta) {
                let _ = file.set_permissions(fs::Permissions::from_mode(0o600));
            }
            match retry_on_intr(|| flock(&file, FlockOperation::NonBlockingLockExclusive)) {
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => return Ok(Locked::Ours { file: None, made }),
                Err(error) => return Err(error.into()),
            }
            let is_still = |now: fs::Metadata| (now.ino(), now.dev()) == (meta.ino(), meta.dev());
            if fs::symlink_metadata(path).is_ok_and(is_still) {
                return Ok(Locked::Ours { file: Some(file), made });
            }
        }
        Err(io::Error::other("it was replaced again and again while it was being locked"))
    }
}

/// Why the lock of a file is none to be trusted in, if so.
fn foreign(meta: &fs::Metadata) -> Option<String> {
    let me = rustix::process::geteuid().as_raw();
    if meta.is_symlink() {
        return Some("it is a symbolic link".to_owned());
    }
    if !meta.is_file() {
        return Some("it is not a regular file".to_owned());
    }
    if !owner_is_trusted(meta.uid()) {
        return Some(format!("it belongs to another user (uid {})", meta.uid()));
    }
    if meta.nlink() > 1 {
        return Some("it has another name, too".to_owned());
    }
    let is_open = meta.uid() != me && others_may_open(meta);
    is_open.then(|| format!("other users may lock it (mode {:03o})", meta.mode() & 0o777))
}

fn others_may_open(meta: &fs::Metadata) -> bool {
    meta.mode() & 0o077 != 0
}

#[cfg(test)]
mod tests {
    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    #[test]
    fn what_was_written_is_read_back_and_nothing_else_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        assert_eq!(read(&path), Found::Nothing);
        write_atomic(&path, b"one").unwrap();
        write_atomic(&path, b"two").unwrap();
        assert_eq!(read(&path), Found::Bytes(b"two".to_vec()));
        let names: Vec<_> = fs::read_dir(dir.path()).unwrap().collect();
        assert_eq!(names.len(), 1);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_symbolic_link_or_an_oversized_file_is_not_believed() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("target");
        fs::write(&target, b"secret").unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&target, &link).unwrap();
        assert!(matches!(read(&link), Found::Unusable(_)));
        let large = dir.path().join("large");
        File::create(&large).unwrap().set_len(MAX_STATE_BYTES).unwrap();
        assert_eq!(read(&large), Found::Bytes(vec![0; MAX_STATE_BYTES as usize]));
        File::create(&large).unwrap().set_len(MAX_STATE_BYTES + 1).unwrap();
        let why = "it has 12582913 bytes, more than 12582912".to_owned();
        assert_eq!(read(&large), Found::Unusable(why));
        assert!(matches!(read(dir.path()), Found::Unusable(_)));
    }

    #[test]
    fn a_leftover_temporary_file_does_not_stop_the_next_write() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        fs::write(dir.path().join("state.new"), b"torn").unwrap();
        Staged::write(&path, ".new", b"whole").unwrap().rename().unwrap();
        assert_eq!(read(&path), Found::Bytes(b"whole".to_vec()));
    }

    #[test]
    fn staged_content_is_seen_after_its_rename_only_and_leaves_nothing_when_it_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        write_atomic(&path, b"old").unwrap();
        drop(Staged::write(&path, ".new", b"never").unwrap());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        let staged = Staged::write(&path, ".new", b"new").unwrap();
        assert_eq!(read(&path), Found::Bytes(b"old".to_vec()));
        staged.rename().unwrap();
        assert_eq!(read(&path), Found::Bytes(b"new".to_vec()));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_second_lock_is_refused_until_the_first_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        let first = Lock::try_acquire(&path).unwrap();
        assert!(matches!(Lock::try_acquire(&path), Err(Error::Busy(_))));
        drop(first);
        Lock::try_acquire(&path).unwrap();
    }

    #[test]
    fn what_stands_in_place_of_a_lock_file_is_passed_by_and_a_second_run_is_refused_all_the_same() {
        type Put = fn(&Path);
        let ways: [(&str, Put); 5] = [
            ("symbolic link", |at| std::os::unix::fs::symlink("elsewhere", at).unwrap()),
            ("not a regular file", |at| fs::create_dir(at).unwrap()),
            ("not a regular file", |at| {
                let mode = Mode::from_raw_mode(0o600);
                mknodat(CWD, at, FileType::Fifo, mode, 0).unwrap();
            }),
            ("another name", |at| {
                fs::write(at.with_file_name("other"), b"").unwrap();
                fs::hard_link(at.with_file_name("other"), at).unwrap();
            }),
            ("", |_| {}),
        ];
        for (why, put) in ways {
            for has_state in [false, true] {
                let dir = tempfile::tempdir().unwrap();
                let path = dir.path().join("state");
                if has_state {
                    write_atomic(&path, b"kept").unwrap();
                }
                put(&dir.path().join("state.lock"));
                let first = Lock::try_acquire(&path).unwrap();
                let said = first.passed_by().unwrap_or_default();
                assert!(said.contains(why) && said.is_empty() == why.is_empty(), "{said}");
                assert_eq!(first.made_state(), !has_state && !why.is_empty(), "{why}");
                assert!(matches!(Lock::try_acquire(&path), Err(Error::Busy(_))), "{why}");
                // The lock file is gone or was put right: the first one still has the state.
                if first.made_state() || has_state {
                    let lock = dir.path().join("state.lock");
                    let _ = fs::remove_dir(&lock).or_else(|_| fs::remove_file(&lock));
                    assert!(matches!(Lock::try_acquire(&path), Err(Error::Busy(_))), "{why}");
                }
                drop(first);
                assert_eq!(path.exists(), has_state, "{why}");
                let mine = Lock::try_acquire(&path).unwrap();
                write_atomic(&path, b"new").unwrap();
                drop(mine);
                Lock::try_acquire(&path).unwrap();
                assert_eq!(read(&path), Found::Bytes(b"new".to_vec()));
            }
        }
    }

    #[test]
    fn a_lock_file_that_others_could_open_is_closed_to_them() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        for name in ["state", "state.lock"] {
            fs::write(dir.path().join(name), b"").unwrap();
            let open = fs::Permissions::from_mode(0o666);
            fs::set_permissions(dir.path().join(name), open).unwrap();
        }
        let lock = Lock::try_acquire(&path).unwrap();
        assert_eq!(lock.passed_by(), None);
        for name in ["state", "state.lock"] {
            let meta = fs::metadata(dir.path().join(name)).unwrap();
            assert_eq!(meta.mode() & 0o777, 0o600, "{name}");
        }
    }

    #[test]
    fn an_unwritable_place_names_the_file() {
        let error = write_atomic(Path::new("/nonexistent/state"), b"x").unwrap_err();
        assert!(error.to_string().contains("/nonexistent/state"), "{error}");
    }
}
