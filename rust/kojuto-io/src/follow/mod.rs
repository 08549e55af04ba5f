//! Follows a log from run to run: each line is counted once, whatever rotation does to the file.
//!
//! # What counts
//!
//! A run is [`Follower::open`], [`Follower::run`], [`Follower::stage`], [`Follower::commit`]. It
//! counts if and only if its commit has happened: what a run handed to its sink before it was
//! killed, or before its results could be written, is handed out again by the next run. The commit
//! is one rename(2), so it has happened or it has not. Stage first, so that a full disk is found out
//! while nothing is printed; then print, and flush; then commit. A run that is killed between the
//! last two has printed lines that the next one prints again: once more, never less.
//!
//! # Which lines are new
//!
//! What a file is called proves nothing: copies have the names of rotated files, and rotated files
//! those of other logs. So this is decided by what the position remembers.
//!
//! - The *mark*: how far the live log was read, its inode, device and birth, a print of its first KiB
//!   and one of the KiB before that place.
//! - The log's path as it was given and as it was resolved. A position of another path that does not
//!   lead to the same file either is none: the run is a first one.
//! - *known*: of the last 500 files that were read or passed over, or that were there before the first
//!   run, the print of the first KiB, how far they were read, the print of the KiB before that place,
//!   the inode, when they were last written to, and whether they were packed, or counted and plain.
//! - *changed*: an instant of the file system's clock, at which the live log or a directory had last
//!   changed: what was born before it was there.
//! - *lingering*: renamed files that a writer still has, and their directories.
//!
//! A run reads the file of the mark on, then the files that came *between*, then the live one. The
//! file of the mark is found by its inode, else by its content: the longest that has the prints, for
//! a shorter one is a copy that was made earlier; where the content tells nothing, the oldest that was
//! not there at the last run, packed since, when what was read before and is packed by now is left
//! out. A file is looked at as one that came between if it *belongs*: it is in a directory of the log,
//! of what a link of that name leads to or led to, or an archive, and it has a rotated form of the
//! name of one of these (`kojuto_core::logs::rotated`), or the form of what the link led to in between
//! (`kojuto_core::logs::form`): dates and the digits masked that are others now than at the last run; if
//! the link leads to a file that was there then, all digits. Where the link leads into one folder after
//! the other, the last 500 of them are searched. What was counted belongs whatever it is called. Then the
//! first line of this table that holds decides:
//!
//! | what is so | then it is |
//! | --- | --- |
//! | it was born before *changed*, was counted, and has grown | read on where it was read to |
//! | it was born before *changed* | a neighbour, or read |
//! | it has inode and time of a known file | that file |
//! | more files lie than are known, and it was written to before *changed* | old |
//! | it cannot be read or unpacked | named once, passed over |
//! | no known file has its content | new |
//! | it is `log.1`, `log.2`, …, the file of the mark is further up, and all that are before that one came since | new |
//! | its content tells it from all others | a copy, or read and packed since |
//! | its name is that of a copy (`.bak`), or it was written to when the known one was, and born later | a copy, or read and packed since |
//! | it is before the file of the mark in the order of the names, and no time contradicts that | read and packed since |
//! | it is packed, and a known file with this content, which was not, is gone | that file |
//! | nothing | new, and that is said |
//!
//! Without a birth, and when the clock has been set back, the first two lines hold for nothing. A live
//! log that was read before, as when its link leads back to a file, goes on where it was read to by the
//! same rule as the first one. A link that leads to the file of the mark, but was made since, may have
//! led to another one and back: then, too, what came between is looked for. Content
//! tells if it has 64 bytes, is more than one line, does not come again and again, at the beginning
//! or before the remembered place, and if no two known files have had it ([`telling`]). Of the new
//! files themselves, one that is a copy of another one or of the live log is left out (what is new by
//! its number only if it is the newest of a log that was cut in place: not cut yet); of a file and
//! its copies the longest counts, else one that does not say it is a copy, whose place in the order
//! agrees with the times, or that was born first; the others are known from then on. A position of an old
//! version knows the newest file: what comes after it in the order of the names is new. One of the Go tools
//! has only a time: then the file must have been written to since, and come after the file of the mark.
//!
//! What cannot be read or unpacked is named once, passed over and known from then on. The files are
//! ordered by their names where these agree with the times, else by the times; what counts does not
//! depend on that, but for a line that copytruncate cut in two. Before a run counts, the directories
//! are listed once more: a new copy that was not read has the run begin anew.
//!
//! A log that was changed in place goes on where it was read to if it still has the bytes before that
//! place: there, though its beginning is another (a hole), or elsewhere and only once (its beginning
//! was cut off). When it begins as before but ends earlier, and nothing has the rest, it was cut off
//! behind what is left.
//!
//! # What cannot be known
//!
//! - `copytruncate` loses what is written between the copy and the truncation; no reader sees it.
//! - Lines that a writer adds to a file that was already compressed or deleted are gone.
//! - When a log is cut short without a copy, what was added to it after the last run is gone; the
//!   report says so.
//! - A renamed file of which fewer than 64 bytes were there at the last run, that grew and was
//!   compressed before the next one, is not known again by its content; nor is one that grew and
//!   was compressed between its rename and the first run after it. Of a file that a link led back to,
//!   and that was compressed before the next run, what was added is not seen.
//! - When a log was both renamed and cut by copytruncate between two runs (two rotators at work on
//!   one log), lines may be lost or counted twice: which copy continues which is then a guess.
//! - Where content tells nothing, a copy under a dated name that kept no time is taken for a new file,
//!   and a new file that a rotation without numbers made is a copy if its content is like that of
//!   one file that was read, but no line over and over.
//! - The targets of two links in one folder that only a number behind the date tells apart
//!   (`web-20261128-1.log`), which stands in no link's name: then it may as well count the files of a
//!   day, and what the other link led to counts, too.
//! - A number within a rotated name (`access.443.log`) is that of a rotation if the next one is there;
//!   two other logs that were both made between two runs would count.
//! - After the clock was set back, a copy that was made before that, between two runs, and that is
//!   shorter than what was read, counts once more: no birth tells that it was there.
//! - Where the file system tells no birth, a file that a link leads back to counts once more, and what
//!   is added to a rotated file that nobody had open is not seen.
//! - A truncated log that grows again to exactly the same first KiB, and the same KiB before the
//!   position, is taken for unchanged.

mod between;
mod finder;
mod identity;
mod known;
mod many;
mod names;
mod newer;
mod note;
mod once;
mod ongoing;
mod plan;
mod previous;
mod rounds;
mod run;
mod siblings;
mod source;
mod stored;
mod tail;
mod telling;
mod writers;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kojuto_core::logs::lines::Overlong;
use kojuto_core::logs::position::{Paths, Position, Set};
use kojuto_core::scan::newlines;

pub use self::many::{Followed, How, Scan, Task, follow_all};
pub use self::note::{Note, NoteKind};
pub use self::once::read_once;
pub use self::ongoing::Ongoing;
use self::rounds::{Start, run_from};
use self::source::Source;
pub(crate) use self::source::read_at_most;
use crate::state::{Lock, Staged};
use crate::sys::descriptor;
use crate::{Cancel, Result};

/// What a follower may do.
#[derive(Debug, Clone)]
pub struct Options {
    /// When more than this was added, it is skipped, and the run says so.
    pub max_read_bytes: u64,
    /// A longer line (without its line end) is skipped and counted.
    pub max_line_bytes: usize,
    /// Where rotated files may be beside the log's own directory.
    pub archive_dirs: Vec<PathBuf>,
    /// [`Report::lines`] is wanted.
    pub counts_lines: bool,
    /// How many bytes of whole lines may be handed out; what is behind waits for the rest of it, as
    /// an unfinished line does. All of them, as a rule.
    pub whole: fn(&[u8]) -> usize,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            max_read_bytes: 500_000_000,
            max_line_bytes: 64 << 20,
            archive_dirs: Vec::new(),
            counts_lines: false,
            whole: <[u8]>::len,
        }
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
    /// Rotation, truncation, skipped bytes, a corrupt position file.
    pub notes: Vec<Note>,
    /// How many files were read, those without a new line too.
    pub files: usize,
    /// Lines handed to the sink, if they are counted.
    pub lines: Option<u64>,
}

/// Where to begin in a log that is there when it is first looked for, by the file and its size.
pub type Begin<'a> = &'a dyn Fn(&File, u64) -> io::Result<u64>;

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
    before: Option<Position>,
    after: Option<Position>,
    staged: Option<Staged>,
    /// The position file of the original, and what is staged for it.
    legacy: Option<PathBuf>,
    staged_legacy: Option<Staged>,
    notes: Vec<Note>,
    _lock: Lock, // dropped last
}

impl Follower {
    /// Locks and reads the position file. `legacy_position_file` is read instead while the proper
    /// one does not exist; while it is there and tells of the same log it is written too, so that
    /// the program whose it is goes on where this one was.
    ///
    /// # Errors
    /// [`Error::Busy`] when another run holds the lock, [`Error::Io`] when the lock file cannot be
    /// made or descriptors or memory are short. A position file that cannot be believed is a note of
    /// the report and a first run.
    pub fn open(
        log: &Path,
        position_file: &Path,
        legacy_position_file: Option<&Path>,
        options: Options,
    ) -> Result<Follower> {
        // Each log has its lock open, and each file that was rotated since stays open until it is read.
        descriptor::raise_limit();
        let lock = Lock::try_acquire(position_file)?;
        let passed_by = lock.passed_by().map(|text| Note::odd(text.to_owned()));
        let mut notes: Vec<Note> = passed_by.into_iter().collect();
        let legacy = legacy_position_file;
        let mut before = stored::read(position_file, !lock.made_state(), legacy, &mut notes)?;
        let was = before.as_ref().and_then(|before| before.paths.as_ref());
        let paths = names::paths(log, was);
        if let Some(other) = before.as_ref().and_then(|before| another_log(before, &paths, log)) {
            let log = log.display();
            let text = format!("{log}: the last run read {other}; starting as for a new log");
            notes.push(Note::odd(text));
            before = None;
        }
        Ok(Follower {
            log: log.to_owned(),
            position_file: position_file.to_owned(),
            options,
            before,
            after: None,
            staged: None,
            legacy: legacy.filter(|legacy| *legacy != position_file).map(Path::to_owned),
            staged_legacy: None,
            notes,
            _lock: lock,
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
        (self.after, self.staged, self.staged_legacy) = (None, None, None);
        let before = self.before.as_ref();
        let start = Start { log: &self.log, options: &self.options, before, begin: None };
        let notes = std::mem::take(&mut self.notes);
        let (after, report) = run_from(&start, notes, now, sink, cancel)?;
        self.after = after;
        Ok(report)
    }

    /// The numbers that the last committed run left.
    pub fn carried(&self) -> impl Iterator<Item = (&str, f64)> {
        self.before.iter().flat_map(|before| before.carried.iter())
    }

    /// The sets that the last committed run left.
    pub fn sets(&self) -> impl Iterator<Item = &Set> {
        self.before.iter().flat_map(|before| before.sets.iter())
    }

    /// Has the sets given staged in place of those of the last run. Answers how many could not be kept
    /// (see [`kojuto_core::logs::position::Sets::renew`]). Without a successful run it does nothing.
    pub fn renew_sets(&mut self, sets: impl IntoIterator<Item = Set>) -> usize {
        self.after.as_mut().map_or(0, |after| after.sets.renew(sets))
    }

    /// Writes the new position and `numbers` beside the position file, for [`Follower::commit`].
    /// Numbers that are not given stay as the last run left them. Answers how many could not be
    /// kept (see [`kojuto_core::logs::position::Carried::renew`]). Without a successful run it does nothing.
    ///
    /// # Errors
    /// [`crate::Error::Io`] naming the position file.
    pub fn stage(&mut self, numbers: impl IntoIterator<Item = (String, f64)>) -> Result<usize> {
        let Some(after) = &mut self.after else { return Ok(0) };
        let left_out = after.carried.renew(numbers);
        // Removes an earlier one, whose name is the same.
        (self.staged, self.staged_legacy) = (None, None);
        let text = after.encode();
        self.staged = Some(Staged::write(&self.position_file, ".new", text.as_bytes())?);
        let marks = [self.before.as_ref().map(|before| &before.mark), Some(&after.mark)];
        if let Some(legacy) = &self.legacy
            && stored::is_of(legacy, marks.into_iter().flatten())
        {
            // It is the other program's: that it cannot be written does no harm here.
            self.staged_legacy = Staged::write(legacy, ".new", text.as_bytes()).ok();
        }
        Ok(left_out)
    }

    /// Makes the run count: renames what was staged (the position alone, when nothing was) over the
    /// position file. Without a successful run it does nothing.
    ///
    /// # Errors
    /// [`crate::Error::Io`] naming the position file; the old one is then untouched.
    pub fn commit(mut self) -> Result<()> {
        if self.staged.is_none() {
            self.stage([])?;
        }
        self.staged.take().map_or(Ok(()), Staged::rename)?;
        let _ = self.staged_legacy.take().map(Staged::rename);
        Ok(())
    }
}

/// The path of the log that the position is about, when it is another one than `log`: under another
/// path, which does not lead to the same file either.
fn another_log<'a>(before: &'a Position, paths: &Paths, log: &Path) -> Option<&'a str> {
    let was = before.paths.as_ref()?;
    let same_path = was.given == paths.given || was.target == paths.target;
    let same_file = || Source::open(log).is_ok_and(|live| live.identity.fits(&before.mark));
    (!same_path && !same_file()).then_some(&was.given)
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
