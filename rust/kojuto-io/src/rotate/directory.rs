//! A directory of dated log files: the one that is written, its link, its lock and its mark.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use kojuto_core::logs::log_name::{LogName, MARK_BYTES, Mark, Pattern, Tail, with_generation};
use rustix::fs::{FlockOperation, flock};
use rustix::io::{Errno, retry_on_intr};

use crate::{Error, Result};

const LOCK: &str = ".relaxlogs.lock";
const LINK: &str = "current";

/// How far back the beginning of a torn line is looked for.
const LINE_BYTES: u64 = 64 << 20;

/// How long a predecessor that is just ending is waited for.
const LOCK_PATIENCE: Duration = Duration::from_millis(1500);

/// The file that is written now.
#[derive(Debug)]
pub(super) struct Current {
    /// Open for reading and writing, its position at the end.
    pub file: File,
    /// Its name in the directory.
    pub name: String,
    /// Its size as far as this process knows.
    pub size: u64,
    /// Its size when it was last seen to have a name.
    linked: u64,
}

/// See the module's description.
#[derive(Debug)]
pub(super) struct LogDir {
    /// Where the files are.
    pub path: PathBuf,
    pattern: Pattern,
    mode: u32,
    pipe: String,
    lock: Option<File>,
    tail: Tail,
}

impl LogDir {
    /// Makes the directory if it is not there and locks it.
    ///
    /// `pipe` names what is read, for the successor; an empty one never equals another.
    ///
    /// # Errors
    /// [`Error::Busy`] when another process writes there, [`Error::Io`] naming the directory.
    pub(super) fn open(path: &Path, pattern: Pattern, mode: u32, pipe: String) -> Result<LogDir> {
        let mut this =
            LogDir { path: path.to_owned(), pattern, mode, pipe, lock: None, tail: Tail::Lost };
        this.lock()?;
        Ok(this)
    }

    fn lock(&mut self) -> Result<()> {
        let builder = || {
            // Whoever may read the files must be able to reach them.
            let search = self.mode | ((self.mode & 0o444) >> 2) | 0o700;
            fs::DirBuilder::new().recursive(true).mode(search).create(&self.path)
        };
        builder().map_err(Error::on_path(&self.path))?;
        let name = self.path.join(LOCK);
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
                Errno::WOULDBLOCK if start.elapsed() < LOCK_PATIENCE => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                Errno::WOULDBLOCK => return Err(Error::Busy(self.path.clone())),
                _ => return Err(Error::on_path(&name)(error.into())),
            }
        }
        self.lock = Some(file);
        Ok(())
    }

    /// The names in the directory that fit the pattern.
    ///
    /// # Errors
    /// The system's, when the directory cannot be read.
    pub(super) fn own_files(&self) -> io::Result<Vec<(PathBuf, LogName)>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            if let Some(name) = self.pattern.read(entry.file_name().as_bytes())
                && entry.file_type()?.is_file()
            {
                found.push((entry.path(), name));
            }
        }
        Ok(found)
    }

    /// Opens the file to go on with after a start: the predecessor's when it was killed in the
    /// middle of a line whose rest is still in the same pipe. Mends the end of the file that was
    /// written last in every case.
    ///
    /// # Errors
    /// [`Error::Io`] naming the file.
    pub(super) fn resume(&mut self) -> Result<Option<Current>> {
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
        let mut current = self.open_file(&name.base, name.generation)?;
        let same = !self.pipe.is_empty() && mark.pipe == self.pipe;
        let path = self.path.join(&current.name);
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
        if !self.path.join(LOCK).exists() {
            self.lock()?;
        }
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
        let mut current = self.open_file(&base, generation)?;
        let path = self.path.join(&current.name);
        if current.size > 0 && !current.ends_line().map_err(Error::on_path(&path))? {
            current.write_all(b"\n").map_err(Error::on_path(&path))?;
        }
        self.remember(&current)?;
        Ok(current)
    }

    fn open_file(&self, base: &str, generation: u32) -> Result<Current> {
        let name = with_generation(base, generation);
        let path = self.path.join(&name);
        let open = || -> io::Result<(File, u64)> {
            let mut file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(self.mode)
                .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC)
                .open(&path)?;
            let size = file.seek(SeekFrom::End(0))?;
            Ok((file, size))
        };
        let (file, size) = open().map_err(Error::on_path(&path))?;
        Ok(Current { file, name, size, linked: size })
    }

    /// Writes the mark and turns the link to the file.
    ///
    /// # Errors
    /// [`Error::Io`] naming the link.
    pub(super) fn remember(&mut self, current: &Current) -> Result<()> {
        let mark = Mark { tail: self.tail, pipe: self.pipe_name(), file: current.name.clone() };
        if let Some(lock) = &self.lock {
            let text = mark.text();
            let written = lock.write_all_at(text.as_bytes(), 0);
            // An unreadable mark only means that a torn line is closed, not gone on with.
            let length = if written.is_ok() { text.len() as u64 } else { 0 };
            let _ = lock.set_len(length);
        }
        self.turn_link(&current.name)
    }

    fn pipe_name(&self) -> String {
        if self.pipe.is_empty() { "-".to_owned() } else { self.pipe.clone() }
    }

    fn turn_link(&self, name: &str) -> Result<()> {
        let link = self.path.join(LINK);
        let is_link = match fs::symlink_metadata(&link) {
            Ok(meta) => meta.file_type().is_symlink().then_some(true),
            Err(_) => Some(false),
        };
        if is_link == Some(true) && fs::read_link(&link).is_ok_and(|to| to == Path::new(name)) {
            return Ok(());
        }
        let turn = || -> io::Result<()> {
            if is_link.is_none() {
                // Another program's (multilog writes its newest lines there): keep it.
                let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
                let epoch = now.map_or(0, |age| age.as_secs());
                fs::rename(&link, self.path.join(format!("{LINK}.before-{epoch}")))?;
            }
            let fresh = self.path.join(format!(".{LINK}.{}", std::process::id()));
            let _ = fs::remove_file(&fresh);
            symlink(name, &fresh)?;
            fs::rename(&fresh, &link).inspect_err(|_| {
                let _ = fs::remove_file(&fresh);
            })
        };
        turn().map_err(Error::on_path(&link))
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

impl Current {
    /// Whether nothing of an unfinished line is at the end.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn ends_line(&self) -> io::Result<bool> {
        let mut last = [0; 1];
        Ok(self.size == 0
            || (self.file.read_at(&mut last, self.size - 1)? == 1 && last[0] == b'\n'))
    }

    /// Writes all of `bytes`.
    ///
    /// # Errors
    /// The system's; `size` then tells how far it came.
    pub(super) fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            rest = &rest[self.write(rest)?..];
        }
        Ok(())
    }

    /// Writes some of `bytes`.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.file.write(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    self.size += count as u64;
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Goes to the new end when somebody has cut the file, so that no hole is written.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn follow_truncation(&mut self) -> io::Result<()> {
        if self.file.metadata()?.len() < self.size {
            self.size = self.file.seek(SeekFrom::End(0))?;
            self.linked = self.linked.min(self.size);
        }
        Ok(())
    }

    /// Asked after a write: whether the file still has a name. If not, the answer is what was
    /// written since it last had one, from the beginning of the line.
    ///
    /// # Errors
    /// The system's.
    pub(super) fn rescue(&mut self) -> io::Result<Option<Vec<u8>>> {
        if self.file.metadata()?.nlink() > 0 {
            self.linked = self.size;
            return Ok(None);
        }
        let start = self.line_start(self.linked)?;
        let mut bytes = vec![0; (self.size - start) as usize];
        self.file.read_exact_at(&mut bytes, start)?;
        Ok(Some(bytes))
    }

    /// Cuts an unfinished line of at most `most` bytes off the end and returns it; None when there
    /// is none, or a longer one.
    ///
    /// # Errors
    /// The system's; the file is then as it was.
    pub(super) fn take_back(&mut self, most: u64) -> io::Result<Option<Vec<u8>>> {
        if self.ends_line()? {
            return Ok(None);
        }
        let start = self.line_start(self.size)?;
        if self.size - start > most {
            return Ok(None);
        }
        let mut bytes = vec![0; (self.size - start) as usize];
        self.file.read_exact_at(&mut bytes, start)?;
        self.cut(start)?;
        Ok(Some(bytes))
    }

    /// Where the line begins that `end` is in.
    fn line_start(&self, end: u64) -> io::Result<u64> {
        let mut at = end;
        let mut block = vec![0; 64 << 10];
        while at > 0 && end - at < LINE_BYTES {
            let count = at.min(block.len() as u64) as usize;
            self.file.read_exact_at(&mut block[..count], at - count as u64)?;
            if let Some(newline) = block[..count].iter().rposition(|&byte| byte == b'\n') {
                return Ok(at - (count - newline) as u64 + 1);
            }
            at -= count as u64;
        }
        Ok(at)
    }

    fn cut(&mut self, size: u64) -> io::Result<()> {
        self.file.set_len(size)?;
        self.size = self.file.seek(SeekFrom::End(0))?;
        self.linked = self.size;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_predecessor_that_is_just_ending_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let open = || {
            let pattern = Pattern::parse("log.%d").unwrap();
            LogDir::open(dir.path(), pattern, 0o644, String::new())
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
