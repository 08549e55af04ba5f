//! Follows a log from run to run: each line is counted once, whatever rotation does to the file.
//!
//! # What counts
//!
//! A run is [`Follower::open`], [`Follower::run`], [`Follower::commit`]. It counts if and only if
//! its commit has happened: what a run handed to its sink before it was killed, or before its
//! commit failed, is handed out again by the next run. The commit is one rename(2), so it has
//! happened or it has not. Commit first and print afterwards, in one write: a full disk at the
//! commit then costs nothing, while printing first would report the same lines every minute.

//!
//! # What cannot be known
//!
//! - `copytruncate` loses what is written between the copy and the truncation; no reader sees it.
//! - Lines that a writer adds to a file that was already compressed or deleted are gone.
//! - When a log is cut short without a copy, what was added to it after the last run is gone; the
//!   report says so.
//! - A renamed file of which fewer than 64 bytes were there at the last run, that grew and was
//!   compressed before the next one, is not known again by its content.
//! - When a log was both renamed and cut by copytruncate between two runs, a line that a copy cut
//!   in two counts as two.
//! - A truncated log that grows again to exactly the same first KiB, and the same KiB before the
//!   position, is taken for unchanged.

mod plan;
mod siblings;
mod source;
mod writers;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kojuto_core::lines::{Cutter, Overlong};
use kojuto_core::newlines;
use kojuto_core::position::{Lingering, MAX_LINGERING, Mark, Position, Rotated};

use self::plan::{Link, Origin, Plan};
use self::source::Source;
use crate::state::{self, Found, Lock};
use crate::{Cancel, Error, Result};

/// A log that is renamed this often during one run is read on by the next one.
const MAX_ROUNDS: u32 = 8;

/// How long a renamed file is watched while a process has it open for writing.
const LINGER_S: f64 = 24.0 * 3600.0;

/// The same where the system does not tell whether one has.
const LINGER_UNSURE_S: f64 = 3600.0;

/// How long an unfinished last line of a renamed file that is still open waits for its end.
const UNFINISHED_S: f64 = 600.0;

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
    /// [`Error::Io`] naming the log; [`Error::Cancelled`]. What the sink was given then does not
    /// count, and there is nothing to commit.
    pub fn run(
        &mut self,
        now: Duration,
        sink: &mut dyn LineSink,
        cancel: &dyn Cancel,
    ) -> Result<Report> {
        self.after = None;
        let time = now.as_secs() as f64;
        let mut run = Run {
            log: &self.log,
            options: &self.options,
            time,
            cutter: Cutter::new(self.options.max_line_bytes),
            sink,
            cancel,
            report: Report { notes: std::mem::take(&mut self.notes), ..Report::default() },
        };
        let duration_s = self.before.as_ref().map(|before| time - before.time);
        run.report.duration_s = duration_s.filter(|&seconds| seconds >= 0.0);
        let mut position = self.before.clone();
        for _ in 0..MAX_ROUNDS {
            let (next, moved) = run.round(position.as_ref())?;
            position = Some(next);
            if !moved {
                break;
            }
        }
        run.report.overlong = run.cutter.overlong().clone();
        let report = run.report;
        self.after = position;
        Ok(report)
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

/// What a run works with.
struct Run<'a> {
    log: &'a Path,
    options: &'a Options,
    time: f64,
    cutter: Cutter,
    sink: &'a mut dyn LineSink,
    cancel: &'a dyn Cancel,
    report: Report,
}

impl Run<'_> {
    /// Reads everything that is there. Answers the new position, and whether the log was renamed
    /// while it was read.
    fn round(&mut self, before: Option<&Position>) -> Result<(Position, bool)> {
        let mut plan = plan::make(self.log, &self.options.archive_dirs, before)?;
        self.report.notes.append(&mut plan.notes);
        let mut after = Position { time: self.time, ..before.cloned().unwrap_or_default() };
        after.lingering = Vec::new();
        if plan.newest_rotated.is_some() {
            after.newest_rotated = plan.newest_rotated;
        }
        if self.is_too_much(&mut plan)? {
            plan.links.clear();
            if let Some(live) = &mut plan.live {
                after.mark = self.skip_to_end(live)?;
                let moved = !self.is_still(live)?;
                return Ok((after, moved));
            }
        }
        let seen = plan.seen();
        let Plan { links, live, skip, join, lingering, .. } = plan;
        // Where an unfinished line began that goes on in the next file.
        let mut carried: Option<(Mark, Option<Rotated>)> = None;
        let mut in_stream = false;
        for (index, link) in links.into_iter().enumerate() {
            let joined = join && index >= lingering;
            if !in_stream {
                self.cutter.restart(link.source.before(), link.skip);
            }
            if joined {
                in_stream = true;
                let older = link.older.unwrap_or_default();
                let mark = self.read_joined(link)?.map(|mark| (mark, older));
                if self.cutter.pending() == 0 {
                    carried = None;
                } else {
                    carried = mark.or(carried);
                }
            } else {
                let (mark, grows) = self.read_link(link)?;
                after.lingering.extend(grows);
                after.mark = mark;
            }
        }
        let excess = after.lingering.len().saturating_sub(MAX_LINGERING);
        after.lingering.drain(..excess);
        let Some(mut live) = live else { return Ok((after, false)) };
        if !in_stream {
            self.cutter.restart(live.before(), skip);
        }
        self.read_to_end(&mut live)?;
        self.check_unchanged(&live)?;
        let pending = self.cutter.pending() as u64;
        match carried {
            Some((mark, older)) if pending > live.pos() => {
                // The next run finds the copy again, by its content.
                after.mark = Mark {
                    inode: live.identity.inode,
                    dev: live.identity.dev,
                    born: live.identity.born,
                    ..mark
                };
                after.newest_rotated = Some(older);
            }
            _ => {
                let skipping = self.cutter.is_skipping();
                after.mark = live.mark(live.pos() - pending, self.cutter.before(), skipping);
            }
        }
        let moved = !self.is_still(&live)?;
        let archives = &self.options.archive_dirs;
        if !moved && !seen.is_still_newest(self.log, archives) {
            return Err(self.truncated_meanwhile());
        }
        Ok((after, moved))
    }

    fn truncated_meanwhile(&self) -> Error {
        let text = "rotated while it was read; this run does not count, the next one reads the \
                    same lines again";
        Error::on_path(self.log)(io::Error::other(text))
    }

    /// Whether the file is still the one under the log's name, or there is none.
    fn is_still(&self, live: &Source) -> Result<bool> {
        match plan::is_still(self.log, &live.identity) {
            Ok(false) if !self.log.exists() => Ok(true),
            other => other.map_err(Error::on_path(self.log)),
        }
    }

    /// Reads a copy that copytruncate made; answers the place of its unfinished last line, if that
    /// began in it.
    fn read_joined(&mut self, link: Link) -> Result<Option<Mark>> {
        let mut source = link.source;
        self.read_packed(&mut source)?;
        let pending = self.cutter.pending() as u64;
        let began_here = pending > 0 && pending <= source.pos();
        let before = self.cutter.before();
        Ok(began_here.then(|| source.mark(source.pos() - pending, before, false)))
    }

    /// Reads a rotated file to its end. Answers where that is, and what to watch if it may grow.
    fn read_link(&mut self, link: Link) -> Result<(Mark, Option<Lingering>)> {
        let Link { mut source, origin, lingering_since, .. } = link;
        let since = lingering_since.unwrap_or(self.time).min(self.time);
        let age = self.time - since;
        // Asked before reading: what was written by a writer that is gone by now, is there.
        let writers = match (origin, source.plain_file()) {
            (Origin::Renamed, Some(file)) => writers::exist(file),
            _ => Some(false),
        };
        let start = source.pos();
        self.read_packed(&mut source)?;
        let pending = self.cutter.pending() as u64;
        let waits = writers == Some(true)
            && (lingering_since.is_none() || source.pos() > start + pending || age < UNFINISHED_S);
        let mark = if waits || pending == 0 {
            let skipping = self.cutter.is_skipping();
            source.mark(source.pos() - pending, self.cutter.before(), skipping)
        } else {
            self.finish_line();
            source.mark(source.pos(), self.cutter.before(), true)
        };
        let keep_s = match writers {
            Some(true) => LINGER_S,
            None => LINGER_UNSURE_S,
            Some(false) => return Ok((mark, None)),
        };
        let grows = Lingering { mark: mark.clone(), since };
        Ok((mark, (age < keep_s).then_some(grows)))
    }

    /// Reads to the end; where a compressed file is damaged, that is its end, with a note.
    fn read_packed(&mut self, source: &mut Source) -> Result<()> {
        match self.read_to_end(source) {
            Err(Error::Io { what, source: error }) if !source.is_plain() => {
                let pos = source.pos();
                let note = format!("{what}: damaged after byte {pos}: {error}; the rest is lost");
                self.report.notes.push(note);
                self.cutter.forget_line(false);
                Ok(())
            }
            other => other,
        }
    }

    fn read_to_end(&mut self, source: &mut Source) -> Result<()> {
        source.advise_sequential();
        loop {
            match source.read(self.cutter.space()) {
                Ok(0) => return Ok(()),
                Ok(count) => {
                    let (sink, bytes) = (&mut *self.sink, &mut self.report.bytes);
                    self.cutter.filled(count, |block| {
                        *bytes += block.len() as u64;
                        sink.block(block);
                    });
                    self.cancel.check()?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                    self.cancel.interrupted()?;
                }
                Err(error) => return Err(Error::on_path(&source.path)(error)),
            }
        }
    }

    fn finish_line(&mut self) {
        let (sink, bytes) = (&mut *self.sink, &mut self.report.bytes);
        self.cutter.finish_line(|block| {
            *bytes += block.len() as u64;
            sink.block(block);
        });
    }

    /// A log that was cut short and grew past the place of the last read(2) meanwhile may have
    /// given bytes of two contents in a row: then nothing of this run may count.
    fn check_unchanged(&self, live: &Source) -> Result<()> {
        let unchanged =
            live.size().and_then(|size| Ok(size < live.pos() || live.still_begins_the_same()?));
        if unchanged.map_err(Error::on_path(self.log))? {
            return Ok(());
        }
        Err(self.truncated_meanwhile())
    }

    fn is_too_much(&mut self, plan: &mut Plan) -> Result<bool> {
        let limit = self.options.max_read_bytes;
        let mut added: u64 = 0;
        for source in plan.links.iter().map(|link| &link.source).chain(&plan.live) {
            let enough = limit.saturating_sub(added);
            added += source.remaining(enough).map_err(Error::on_path(&source.path))?;
        }
        if added > limit {
            self.report.skipped_bytes += added;
            return Ok(true);
        }
        Ok(false)
    }

    /// Passes over everything up to the unfinished last line of the live log.
    fn skip_to_end(&mut self, live: &mut Source) -> Result<Mark> {
        let failed = |error| Error::on_path(self.log)(error);
        let size = live.size().map_err(failed)?;
        let end = match live.plain_file() {
            Some(file) => last_line_end(file, size, self.options.max_line_bytes).map_err(failed)?,
            None => None,
        };
        let pos = end.unwrap_or(size);
        if !live.move_to(pos).map_err(failed)? {
            let text = "truncated while it was read; the next run reads it";
            return Err(failed(io::Error::other(text)));
        }
        self.report.skipped_bytes = self.report.skipped_bytes.saturating_sub(size - pos);
        let skipped = self.report.skipped_bytes;
        let limit = self.options.max_read_bytes;
        self.report.notes.push(format!(
            "{}: {skipped} bytes skipped: more than the limit of {limit} bytes was added",
            self.log.display()
        ));
        Ok(live.mark(pos, live.before(), end.is_none()))
    }
}

/// The place after the last line feed before `size`, or `None` when the last line is longer than
/// `max_line_bytes`.
fn last_line_end(file: &File, size: u64, max_line_bytes: usize) -> io::Result<Option<u64>> {
    let mut buffer = vec![0u8; 64 * 1024];
    let mut end = size;
    while end > 0 && size - end <= max_line_bytes as u64 {
        let start = end.saturating_sub(buffer.len() as u64);
        let part = &mut buffer[..(end - start) as usize];
        file.read_exact_at(part, start)?;
        if let Some(at) = part.iter().rposition(|&byte| byte == b'\n') {
            return Ok(Some(start + at as u64 + 1));
        }
        end = start;
    }
    Ok((end == 0).then_some(0))
}

#[cfg(test)]
mod tests {
    use std::fs;

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
