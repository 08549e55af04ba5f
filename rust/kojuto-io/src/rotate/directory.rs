//! A directory of dated log files: the one that is written, its link, its lock and its mark.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use kojuto_core::logs::log_name::{MARK_BYTES, Mark, Pattern, Tail, with_generation};
use rustix::fs::{FlockOperation, flock};
use rustix::io::{Errno, retry_on_intr};

use super::current::{Current, undo_write};
use super::input::Input;
use super::link::Link;
use crate::{Error, Result};

/// Of the pattern that has always been the default; others have their shape in the name.
const LOCK: &str = ".relaxlogs.lock";
const DEFAULT_SHAPE: &str = "log.%12";

/// As many generations of a period as are tried beside files that cannot be written to.
const MOST_FOREIGN: u32 = 1000;

/// How long a predecessor that is just ending is waited for.
const LOCK_PATIENCE: Duration = Duration::from_millis(1500);

/// See the module's description.
#[derive(Debug)]
pub(super) struct LogDir {
    /// Where the files are.
    pub path: PathBuf,
    pub(super) pattern: Pattern,
    mode: u32,
    pipe: String,
    lock_name: String,
    /// Taken, where there is none, with the next file that is opened.
    pub(super) lock: Option<File>,
    lock_is_shared: bool,
    /// Whether the directory was left to a successor.
    is_left: bool,
    /// Whether the last file was begun with the lock.
    pub(super) led: bool,
    link: Option<Link>,
    tail: Tail,
    /// Where the second line of the mark is.
    writing_at: u64,
}

/// What names the files: see [`super::Options`].
#[derive(Debug)]
pub(super) struct Naming {
    pub(super) pattern: Pattern,
    pub(super) mode: u32,
    pub(super) link: Option<String>,
}

impl LogDir {
    /// Makes the directory if it is not there and locks it.
    ///
    /// `pipe` names what is read, for the successor; an empty one never equals another.
    ///
    /// # Errors
    /// [`Error::Busy`] when another process writes there, [`Error::Io`] naming the directory.
    pub(super) fn open(path: &Path, naming: Naming, pipe: String) -> Result<LogDir> {
        let Naming { pattern, mode, link } = naming;
        let lock_name = match pattern.shape() {
            shape if shape == DEFAULT_SHAPE => LOCK.to_owned(),
            shape => format!(".relaxlogs.{shape}.lock"),
        };
        let mut this = LogDir {
            path: path.to_owned(),
            pattern,
            mode,
            pipe,
            lock_name,
            lock: None,
            lock_is_shared: false,
            is_left: false,
            led: true,
            link: link.map(Link::new),
            tail: Tail::Lost,
            writing_at: 0,
        };
        match this.lock(LOCK_PATIENCE) {
            // What may pass, as a full disk, must not end the producer: it is tried again with
            // the first line.
            Err(error) if !is_lasting(&error) => {}
            done => done?,
        }
        Ok(this)
    }

    fn lock(&mut self, limit: Duration) -> Result<()> {
        let builder = || {
            // Whoever may read the files must be able to reach them.
            let search = self.mode | ((self.mode & 0o444) >> 2) | 0o700;
            fs::DirBuilder::new().recursive(true).mode(search).create(&self.path)
        };
        builder().map_err(Error::on_path(&self.path))?;
        let name = self.path.join(&self.lock_name);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC)
            .open(&name)
            .map_err(Error::on_path(&name))?;
        let start = Instant::now();
        let lock = || flock(&file, FlockOperation::NonBlockingLockExclusive);
        while let Err(error) = retry_on_intr(lock) {
            match error {
                Errno::WOULDBLOCK if start.elapsed() < limit => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                Errno::WOULDBLOCK => return Err(Error::Busy(self.path.clone())),
                _ => return Err(Error::on_path(&name)(error.into())),
            }
        }
        self.lock = Some(file);
        Ok(())
    }

    /// Leaves the lock, and with it the link, the mark and the old files, to a successor: from now
    /// on lines are written beside its own, to the end of the same files.
    pub(super) fn hand_over(&mut self) {
        (self.lock, self.is_left) = (None, true);
    }

    /// Does what only one may do at a time. After [`LogDir::hand_over`] it is left to the
    /// successor, but where there is none.
    pub(super) fn leading(&mut self, work: impl FnOnce(&mut LogDir)) {
        if !self.is_left {
            return work(self);
        }
        if self.lock(Duration::ZERO).is_ok() {
            work(self);
            self.lock = None;
        }
    }

    /// Whether the lock file in the directory is the one that is held.
    fn has_lock(&self) -> bool {
        let there = fs::symlink_metadata(self.path.join(&self.lock_name));
        let held = self.lock.as_ref().map(File::metadata);
        match (there, held) {
            (Ok(there), Some(Ok(held))) => (there.dev(), there.ino()) == (held.dev(), held.ino()),
            _ => false,
        }
    }

    /// Asked now and then: makes the lock file again if somebody removed it. Returns what to tell
    /// the user: that another process has the lock now.
    pub(super) fn keep_lock(&mut self, current: Option<&Current>) -> Option<String> {
        // Where it was let go of or the directory is gone it comes back with the next line.
        if self.lock.is_none() || self.has_lock() || !self.path.exists() {
            return None;
        }
        match self.lock(Duration::ZERO) {
            Ok(()) => {
                self.lock_is_shared = false;
                if let Some(current) = current {
                    self.write_mark(current);
                }
                None
            }
            Err(Error::Busy(_)) if !std::mem::replace(&mut self.lock_is_shared, true) => {
                Some(format!(
                    "{}: the lock file was removed, and another relaxlogs writes there now, too: \
                     end one of them",
                    self.path.display()
                ))
            }
            Err(_) => None,
        }
    }

    /// Opens the file to go on with after a start: the predecessor's when it was killed in the
    /// middle of a line whose rest is still in the same pipe. Mends the end of the file that was
    /// written last in every case.
    ///
    /// # Errors
    /// [`Error::Io`] naming the file.
    pub(super) fn resume(&mut self, input: &mut Input) -> Result<Option<Current>> {
        let mut content = Vec::new();
        let Some(lock) = &self.lock else { return Ok(None) };
        let mut bytes = [0; MARK_BYTES];
        if let Ok(count) = lock.read_at(&mut bytes, 0) {
            content.extend_from_slice(&bytes[..count]);
        }
        let Some(mark) = Mark::parse(&content) else { return Ok(None) };
        let Some(name) = self.pattern.read(mark.file.as_bytes()) else { return Ok(None) };
        if !self.path.join(&mark.file).exists() || name.compressed {
            return Ok(None);
        }
        // One that cannot be opened any more is somebody else's now.
        let Ok(mut current) = self.open_file(&name.base, name.generation) else { return Ok(None) };
        let same = !self.pipe.is_empty() && mark.pipe == self.pipe;
        let path = self.path.join(&current.name);
        if let (true, Some(from)) = (same, mark.writing) {
            undo_write(&mut current, from, input).map_err(Error::on_path(&path))?;
        }
        let torn = current.size > 0 && !current.ends_line().map_err(Error::on_path(&path))?;
        let mended = match mark.tail {
            Tail::InPipe if same && torn => return Ok(Some(current)),
            Tail::Closed if same && !torn && current.size > 0 => {
                let size = current.size - 1;
                current.cut(size).map(|()| true)
            }
            Tail::Again if same && torn => {
                let start = current.line_start(current.size);
                start.and_then(|start| current.cut(start)).map(|()| false)
            }
            _ if torn => current.write_all(b"\n").map(|()| false),
            _ => Ok(false),
        };
        let goes_on = mended.map_err(Error::on_path(&path))?;
        Ok(goes_on.then_some(current))
    }

    /// Opens the file of the period `base`: the one that was written last in it, to append, or a
    /// new generation when that is `full`, was compressed already or a new one is asked for.
    ///
    /// # Errors
    /// [`Error::Io`] naming the file.
    pub(super) fn open_period(
        &mut self,
        base: String,
        fresh: bool,
        full: impl Fn(u64) -> bool,
    ) -> Result<Current> {
        if self.is_left {
            // Only makes the directory if a successor has the lock.
            let _ = self.lock(Duration::ZERO);
        } else if self.lock.is_none() || !self.path.join(&self.lock_name).exists() {
            self.lock(LOCK_PATIENCE)?;
        }
        let opened = self.open_last(base, fresh, full);
        if self.is_left {
            self.led = self.lock.take().is_some();
        }
        opened
    }

    fn open_last(
        &mut self,
        base: String,
        fresh: bool,
        full: impl Fn(u64) -> bool,
    ) -> Result<Current> {
        let files = self.own_files().map_err(Error::on_path(&self.path))?;
        let last = files
            .into_iter()
            .filter(|(_, name)| name.base == base)
            .max_by_key(|(_, name)| (name.generation, name.compressed));
        let generation = match last {
            None => 0,
            Some((_, name)) if name.compressed || fresh => name.generation + 1,
            Some((path, name)) => {
                let size = fs::metadata(&path).map_or(0, |meta| meta.len());
                name.generation + u32::from(full(size))
            }
        };
        let mut current = self.open_beside_foreign(&base, generation)?;
        let path = self.path.join(&current.name);
        // Where a successor leads, an unfinished line may be its own.
        if self.lock.is_some()
            && current.size > 0
            && !current.ends_line().map_err(Error::on_path(&path))?
        {
            current.write_all(b"\n").map_err(Error::on_path(&path))?;
        }
        if self.lock.is_some() {
            self.remember(&current)?;
        }
        Ok(current)
    }

    /// Opens a file of the period; where there is one that is not for us (another user's, a
    /// directory, a link), the next generation.
    fn open_beside_foreign(&self, base: &str, generation: u32) -> Result<Current> {
        let mut next = generation;
        loop {
            let error = match self.open_file(base, next) {
                Ok(current) => return Ok(current),
                Err(error) => error,
            };
            let foreign = [libc::EACCES, libc::EPERM, libc::EISDIR, libc::ELOOP, libc::ENXIO];
            let is_there = self.path.join(with_generation(base, next)).symlink_metadata().is_ok();
            if !is_there || !foreign.contains(&os_error(&error)) || next > generation + MOST_FOREIGN
            {
                return Err(error);
            }
            next += 1;
        }
    }

    fn open_file(&self, base: &str, generation: u32) -> Result<Current> {
        let name = with_generation(base, generation);
        let path = self.path.join(&name);
        Current::open(&path, name, self.mode).map_err(Error::on_path(&path))
    }

    /// Writes the mark and turns the link to the file.
    ///
    /// # Errors
    /// [`Error::Io`] naming the link when the directory is gone.
    pub(super) fn remember(&mut self, current: &Current) -> Result<()> {
        self.write_mark(current);
        match &mut self.link {
            Some(link) => link.turn(&self.path, &current.name),
            None => Ok(()),
        }
    }

    fn write_mark(&mut self, current: &Current) {
        let file = current.name.clone();
        let mark = Mark { tail: self.tail, pipe: self.pipe_name(), file, writing: None };
        if let Some(lock) = &self.lock {
            let text = mark.text();
            let written = lock.write_all_at(text.as_bytes(), 0);
            // An unreadable mark only means that a torn line is closed, not gone on with.
            let length = if written.is_ok() { text.len() } else { 0 };
            let _ = lock.set_len(length as u64);
            self.writing_at = length.saturating_sub(Mark::WRITING_BYTES) as u64;
        }
    }

    /// Notes that bytes which are still in the pipe are written from this size on, or, with None,
    /// that they are out of the pipe: who is killed in between has its write undone.
    pub(super) fn set_writing(&self, from: Option<u64>) {
        if self.pipe.is_empty() || self.writing_at == 0 {
            return;
        }
        if let Some(lock) = &self.lock
            && lock.write_all_at(Mark::writing_line(from).as_bytes(), self.writing_at).is_err()
        {
            let _ = lock.set_len(0);
        }
    }

    fn pipe_name(&self) -> String {
        if self.pipe.is_empty() { "-".to_owned() } else { self.pipe.clone() }
    }

    /// What to tell the user of the link: see [`Link::look`].
    pub(super) fn look_at_link(&mut self) -> Option<String> {
        if self.is_left {
            return None;
        }
        let pattern = &self.pattern;
        self.link.as_mut()?.look(&self.path, |name| pattern.read(name).is_some())
    }

    /// Notes what the end of the file would mean if this process were killed now.
    pub(super) fn set_tail(&mut self, tail: Tail) {
        if tail != self.tail {
            self.tail = tail;
            if let Some(lock) = &self.lock
                && lock.write_all_at(&[tail.letter()], 0).is_err()
            {
                let _ = lock.set_len(0);
            }
        }
    }

    /// Makes names durable, as far as the filesystem can.
    pub(super) fn sync(&self) {
        if let Ok(directory) = File::open(&self.path) {
            let _ = directory.sync_all();
        }
    }
}

fn os_error(error: &Error) -> i32 {
    match error {
        Error::Io { source, .. } => source.raw_os_error().unwrap_or(0),
        _ => 0,
    }
}

/// Whether the user has to do something about it; anything else may pass.
fn is_lasting(error: &Error) -> bool {
    const LASTING: [i32; 8] = [
        libc::EACCES,
        libc::EPERM,
        libc::ENOENT,
        libc::ENOTDIR,
        libc::EROFS,
        libc::ELOOP,
        libc::ENAMETOOLONG,
        libc::EISDIR,
    ];
    matches!(error, Error::Busy(_)) || LASTING.contains(&os_error(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_predecessor_that_is_just_ending_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let open = || {
            let pattern = Pattern::parse("log.%d").unwrap();
            let naming = Naming { pattern, mode: 0o644, link: Some("current".to_owned()) };
            LogDir::open(dir.path(), naming, String::new())
        };
        let first = open().unwrap();
        let start = Instant::now();
        assert!(matches!(open(), Err(Error::Busy(_))));
        assert!(start.elapsed() >= LOCK_PATIENCE);
        std::thread::scope(|scope| {
            scope.spawn(move || {
                std::thread::sleep(Duration::from_millis(100));
                drop(first);
            });
            assert!(open().is_ok());
        });
    }
}
