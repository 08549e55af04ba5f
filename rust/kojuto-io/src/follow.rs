//! Follows a log from run to run: each line is counted once, whatever rotation does to the file.
//!
//! # What counts
//!
//! A run is [`Follower::open`], [`Follower::run`], [`Follower::commit`]. It counts if and only if
//! its commit has happened: what a run handed to its sink before it was killed, or before its
//! commit failed, is handed out again by the next run. The commit is one rename(2), so it has
//! happened or it has not. Commit first and print afterwards, in one write: a full disk at the
//! commit then costs nothing, while printing first would report the same lines every minute.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kojuto_core::lines::{Cutter, Overlong};
use kojuto_core::newlines;
use kojuto_core::position::{Mark, Position};

use crate::state::{self, Found, Lock};
use crate::{Cancel, Error, Result};

/// What a follower may do.
#[derive(Debug, Clone)]
pub struct Options {
    /// When more than this was added, it is skipped, and the run says so.
    pub max_read_bytes: u64,
    /// A longer line (without its line end) is skipped and counted.
    pub max_line_bytes: usize,
    /// Where rotated files may be beside the log's own directory.
    pub archive_dirs: Vec<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Options { max_read_bytes: 500_000_000, max_line_bytes: 64 << 20, archive_dirs: Vec::new() }
    }
}

/// What a run has to tell beside the lines themselves.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Report {
    /// Seconds since the previous run, in whole seconds as the Go tools count; `None` on the first
    /// run and after the clock went backwards.
    pub duration_s: Option<f64>,
    /// Bytes handed to the sink.
    pub bytes: u64,
    /// Bytes that were passed over because more than the limit was added.
    pub skipped_bytes: u64,
    /// Lines longer than the limit.
    pub overlong: Overlong,
    /// One line each, for a person: rotation, truncation, skipped bytes, a corrupt position file.
    pub notes: Vec<String>,
}

/// Takes the lines of a run.
pub trait LineSink {
    /// `lines` is whole lines, each ended by a line feed, about 256 KiB of them (more only when a
    /// single line is longer).
    fn block(&mut self, lines: &[u8]);
}

/// Only counts the lines.
#[derive(Debug, Clone, Copy, Default)]
pub struct CountingSink {
    /// Lines so far.
    pub lines: u64,
}

impl LineSink for CountingSink {
    fn block(&mut self, lines: &[u8]) {
        self.lines += newlines::count(lines);
    }
}

/// One log and its position file, locked against a second run.
#[derive(Debug)]
pub struct Follower {
    log: PathBuf,
    position_file: PathBuf,
    options: Options,
    _lock: Lock,
    before: Option<Position>,
    after: Option<Position>,
    notes: Vec<String>,
}

impl Follower {
    /// Locks and reads the position file. `legacy_position_file` is read instead while the proper
    /// one does not exist.
    ///
    /// # Errors
    /// [`Error::Busy`] when another run holds the lock, [`Error::Io`] when the lock file cannot be
    /// made. A position file that cannot be believed is a note of the report and a first run.
    pub fn open(
        log: &Path,
        position_file: &Path,
        legacy_position_file: Option<&Path>,
        options: Options,
    ) -> Result<Follower> {
        let lock = Lock::try_acquire(position_file)?;
        let mut notes = Vec::new();
        let before = read_position(position_file, legacy_position_file, &mut notes);
        Ok(Follower {
            log: log.to_owned(),
            position_file: position_file.to_owned(),
            options,
            _lock: lock,
            before,
            after: None,
            notes,
        })
    }

    /// Hands everything that was added since the last committed run to `sink`. `now` is the time
    /// since the epoch.
    ///
    /// # Errors
    /// [`Error::Io`] naming the log; [`Error::Cancelled`].
    pub fn run(
        &mut self,
        now: Duration,
        sink: &mut dyn LineSink,
        cancel: &dyn Cancel,
    ) -> Result<Report> {
        let mut report = Report { notes: std::mem::take(&mut self.notes), ..Report::default() };
        let time = now.as_secs() as f64;
        let before = self.before.clone().unwrap_or_default();
        report.duration_s =
            self.before.as_ref().map(|before| time - before.time).filter(|&s| s >= 0.0);
        let mut cutter = Cutter::new(self.options.max_line_bytes);
        let file = File::open(&self.log).map_err(Error::on_path(&self.log))?;
        let meta = file.metadata().map_err(Error::on_path(&self.log))?;
        let mut start = before.mark.pos;
        let rotated = before.mark.inode != 0
            && before.mark.dev != 0
            && (before.mark.inode, before.mark.dev) != (meta.ino(), meta.dev());
        if rotated {
            report.notes.push("the log was rotated".to_owned());
            if let Some(previous) = find_by_inode(&self.log, &before.mark) {
                self.read(&previous, before.mark.pos, &mut cutter, sink, cancel, &mut report)?;
                cutter.finish_line(|block| {
                    report.bytes += block.len() as u64;
                    sink.block(block);
                });
            }
            start = 0;
        } else if meta.len() < start {
            report.notes.push("the log was truncated".to_owned());
            start = 0;
        }
        let added = meta.len() - start;
        if added > self.options.max_read_bytes {
            report.skipped_bytes = added;
            report.notes.push(format!("{added} bytes were added, more than the limit; skipped"));
            start = meta.len();
        }
        let end = self.read(&file, start, &mut cutter, sink, cancel, &mut report)?;
        let pos = end - cutter.pending() as u64;
        report.overlong = cutter.overlong().clone();
        let mark = Mark { pos, inode: meta.ino(), dev: meta.dev(), ..Mark::default() };
        self.after = Some(Position { mark, time, ..Position::default() });
        Ok(report)
    }

    fn read(
        &self,
        mut file: &File,
        start: u64,
        cutter: &mut Cutter,
        sink: &mut dyn LineSink,
        cancel: &dyn Cancel,
        report: &mut Report,
    ) -> Result<u64> {
        let mut end = file.seek(SeekFrom::Start(start)).map_err(Error::on_path(&self.log))?;
        loop {
            match file.read(cutter.space()) {
                Ok(0) => return Ok(end),
                Ok(count) => {
                    end += count as u64;
                    cutter.filled(count, |block| {
                        report.bytes += block.len() as u64;
                        sink.block(block);
                    });
                    cancel.check()?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => cancel.interrupted()?,
                Err(error) => return Err(Error::on_path(&self.log)(error)),
            }
        }
    }

    /// Makes the run count: replaces the position file. Without a successful run it does nothing.
    ///
    /// # Errors
    /// [`Error::Io`] naming the position file; the old one is then untouched.
    pub fn commit(self) -> Result<()> {
        match &self.after {
            Some(after) => state::write_atomic(&self.position_file, after.encode().as_bytes()),
            None => Ok(()),
        }
    }
}

fn read_position(path: &Path, legacy: Option<&Path>, notes: &mut Vec<String>) -> Option<Position> {
    let (path, found) = match (state::read(path), legacy) {
        (Found::Nothing, Some(legacy)) => (legacy, state::read(legacy)),
        (found, _) => (path, found),
    };
    let reason = match found {
        Found::Nothing => return None,
        Found::Unusable(reason) => reason,
        Found::Bytes(bytes) => match Position::decode(&bytes) {
            Ok(position) => return Some(position),
            Err(error) => error.to_string(),
        },
    };
    notes.push(format!("{}: not used, starting afresh: {reason}", path.display()));
    None
}

fn find_by_inode(log: &Path, mark: &Mark) -> Option<File> {
    let directory = log.parent().filter(|dir| !dir.as_os_str().is_empty());
    for entry in fs::read_dir(directory.unwrap_or(Path::new("."))).ok()?.flatten() {
        let Ok(meta) = entry.metadata() else { continue };
        if meta.is_file() && (meta.ino(), meta.dev()) == (mark.inode, mark.dev) {
            return File::open(entry.path()).ok();
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Never;

    #[test]
    fn an_unfinished_last_line_is_left_for_the_next_run() {
        let dir = tempfile::tempdir().unwrap();
        let (log, state) = (dir.path().join("log"), dir.path().join("state"));
        let run = |second: u64| {
            let mut sink = CountingSink::default();
            let mut follower = Follower::open(&log, &state, None, Options::default()).unwrap();
            let report = follower.run(Duration::from_secs(second), &mut sink, &Never).unwrap();
            follower.commit().unwrap();
            (sink.lines, report.duration_s)
        };
        fs::write(&log, "a\nb\nhal").unwrap();
        assert_eq!(run(100), (2, None));
        fs::write(&log, "a\nb\nhalf\n").unwrap();
        assert_eq!(run(160), (1, Some(60.0)));
        assert_eq!(run(150), (0, None));
    }
}
