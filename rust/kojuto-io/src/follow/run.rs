//! One run: carries out a plan, block by block.

use std::collections::HashSet;
use std::io;
use std::path::Path;

use kojuto_core::logs::lines::Cutter;
use kojuto_core::logs::position::{Known, Lingering, MAX_KNOWN, MAX_LINGERING, Mark, Position};
use kojuto_core::scan::newlines;

use super::finder;
use super::identity::Identity;
use super::plan::{Link, Origin, Plan};
use super::source::Source;
use super::tail::last_line_end;
use super::{Begin, LineSink, Note, Options, Report, names, writers};
use crate::{Cancel, Error, Result, words};

/// How long a renamed file is watched while a process has it open for writing.
const LINGER_S: f64 = 24.0 * 3600.0;

/// The same where the system does not tell whether one has.
const LINGER_UNSURE_S: f64 = 3600.0;

/// How long an unfinished last line of a renamed file that is still open waits for its end.
const UNFINISHED_S: f64 = 600.0;

/// What a run works with.
pub(super) struct Run<'a> {
    pub(super) log: &'a Path,
    pub(super) options: &'a Options,
    /// Where a first run begins.
    pub(super) begin: Option<Begin<'a>>,
    pub(super) time: f64,
    pub(super) cutter: Cutter,
    pub(super) sink: &'a mut dyn LineSink,
    pub(super) cancel: &'a dyn Cancel,
    pub(super) report: Report,
    /// The files that were read, by inode and device.
    pub(super) read: HashSet<(u64, u64)>,
}

/// What the files before the live log gave.
struct Links {
    /// What to remember of each, the oldest first.
    read: Vec<Known>,
    /// The line that goes on in the next file.
    carried: Option<Carried>,
    /// The live log goes on where the last of them ends.
    in_stream: bool,
}

/// A line that began in one file and goes on in the next.
struct Carried {
    /// Where it began.
    mark: Mark,
    /// In a copy that copytruncate made of the live log; else in a file that was renamed.
    in_copy: bool,
    /// How many files had been read before that, and how many are watched.
    read: usize,
    lingering: usize,
}

impl Carried {
    /// Has the next run find the file again, a copy by its content, and those after it.
    fn put_back(self, live: &Source, before: Option<&Position>, after: &mut Position) {
        let Identity { inode, dev, born, .. } = live.identity;
        after.mark = match self.in_copy {
            true => Mark { inode, dev, born, ..self.mark },
            false => self.mark,
        };
        after.lingering.truncate(self.lingering);
        let knew = before.is_some_and(|before| before.known.is_some());
        after.known = after.known.take().filter(|_| knew);
        after.changed = before.and_then(|before| before.changed);
        after.newest_rotated = before.and_then(|before| before.newest_rotated);
    }
}

impl Run<'_> {
    /// Reads everything that is there. Answers the new position, and whether the log was renamed
    /// while it was read.
    pub(super) fn round(&mut self, before: Option<&Position>) -> Result<(Position, bool)> {
        let mut plan = finder::make(self.log, &self.options.archive_dirs, before, self.time)?;
        let paths = plan.paths.take();
        let (after, moved) = self.carry_out(plan, before)?;
        Ok((Position { paths, ..after }, moved))
    }

    fn carry_out(&mut self, mut plan: Plan, before: Option<&Position>) -> Result<(Position, bool)> {
        self.report.notes.append(&mut plan.notes);
        let mut after = Position { time: self.time, ..before.cloned().unwrap_or_default() };
        after.lingering = Vec::new();
        remember(&mut after, plan.there.take());
        for (known, replaced) in plan.passed.drain(..) {
            after.known.get_or_insert_default().retain(|old| Some(*old) != replaced);
            remember(&mut after, Some(vec![known]));
        }
        after.changed = plan.instant;
        if self.is_too_much(&mut plan)? {
            let links = plan.links.drain(..);
            let passed = links.filter_map(|link| link.source.known_unread().ok()).collect();
            remember(&mut after, Some(passed));
            if let Some(mut live) = plan.live {
                after.mark = self.skip_to_end(&mut live)?;
                let moved = !self.is_still(&live)?;
                return Ok((after, moved));
            }
        }
        let listed = plan.listed();
        let Links { mut read, carried, in_stream } = self.read_links(&mut plan, &mut after)?;
        let Some(mut live) = plan.live else {
            remember(&mut after, Some(read));
            return Ok((after, false));
        };
        if let Some(begin) = self.begin.filter(|_| before.is_none()) {
            plan.skip = self.move_to_beginning(&mut live, begin)?;
        }
        if !in_stream {
            self.cutter.restart(live.before(), plan.skip);
        }
        self.read_to_end(&mut live)?;
        self.check_unchanged(&live)?;
        match carried {
            Some(carried) if self.cutter.pending() as u64 > live.pos() => {
                read.truncate(carried.read);
                carried.put_back(&live, before, &mut after);
            }
            _ => self.end_in(&live, &mut after),
        }
        if !read.is_empty() {
            remember(&mut after, Some(read));
        }
        let moved = !self.is_still(&live)?;
        if let Some(listed) = listed
            && !moved
            && finder::has_appeared(self.log, &self.options.archive_dirs, &listed, &after, &live)?
        {
            return Err(self.truncated_meanwhile());
        }
        Ok((after, moved))
    }

    /// Has the position be where the last whole line of the live log ends.
    fn end_in(&self, live: &Source, after: &mut Position) {
        let pos = live.pos() - self.cutter.pending() as u64;
        after.mark = live.mark(pos, self.cutter.before(), self.cutter.is_skipping());
    }

    /// Reads what comes before the live log.
    fn read_links(&mut self, plan: &mut Plan, after: &mut Position) -> Result<Links> {
        let mut all = Links { read: Vec::new(), carried: None, in_stream: false };
        let live_begins = plan.live.as_ref().is_some_and(|live| live.pos() == 0);
        let mut links = plan.links.drain(..).enumerate().peekable();
        while let Some((index, link)) = links.next() {
            let is_lingering = index < plan.lingering;
            if !all.in_stream {
                self.cutter.restart(link.source.before(), link.skip);
            }
            let (read, lingering) = (all.read.len(), after.lingering.len());
            let carried = |in_copy, mark| Carried { mark, in_copy, read, lingering };
            if plan.join && !is_lingering {
                all.in_stream = true;
                let (known, mark) = self.read_joined(link)?;
                all.read.extend(known);
                let is_whole = self.cutter.pending() == 0;
                let mark = mark.map(|mark| carried(true, mark));
                all.carried = if is_whole { None } else { mark.or(all.carried) };
            } else {
                let next = links.peek().map(|(_, next)| next.source.pos() == 0);
                let may_go_on = !is_lingering && next.unwrap_or(live_begins);
                let (known, mark, grows) = self.read_link(link, may_go_on)?;
                all.read.extend(known);
                after.lingering.extend(grows);
                all.in_stream = may_go_on && self.cutter.keeps_lines();
                all.carried = match (all.in_stream, &mark) {
                    (false, _) => None,
                    (true, None) => all.carried,
                    (true, Some(mark)) => Some(carried(false, mark.clone())),
                };
                after.mark = mark.unwrap_or_else(|| after.mark.clone());
            }
        }
        drop(links);
        let excess = after.lingering.len().saturating_sub(MAX_LINGERING);
        after.lingering.drain(..excess);
        if let Some(carried) = &mut all.carried {
            carried.lingering = carried.lingering.saturating_sub(excess);
        }
        Ok(all)
    }

    pub(super) fn truncated_meanwhile(&self) -> Error {
        let text = "rotated while it was read; this run does not count, the next one reads the \
                    same lines again";
        Error::on_path(self.log)(io::Error::other(text))
    }

    /// Whether the file is still the one under the log's name, or there is none.
    fn is_still(&self, live: &Source) -> Result<bool> {
        match finder::is_still(self.log, &live.identity) {
            Ok(false) if !self.log.exists() => Ok(true),
            other => other.map_err(Error::on_path(self.log)),
        }
    }

    /// Reads a copy that copytruncate made; answers what to remember of it, and the place of its
    /// unfinished last line, if that began in it.
    fn read_joined(&mut self, link: Link) -> Result<(Option<Known>, Option<Mark>)> {
        let mut source = link.source;
        self.read_packed(&mut source)?;
        let pending = self.cutter.pending() as u64;
        let began_here = pending > 0 && pending <= source.pos();
        let before = self.cutter.before();
        let mark = began_here.then(|| source.mark(source.pos() - pending, before, false));
        Ok((source.known(), mark))
    }

    /// Reads a rotated file to its end. Answers what to remember of it, where its end is, and what to
    /// watch if it may grow. Its end is nowhere when all of it belongs to a line that began before it.
    /// Lines that the cutter keeps back go on in the next file, if they may.
    fn read_link(
        &mut self,
        link: Link,
        may_go_on: bool,
    ) -> Result<(Option<Known>, Option<Mark>, Option<Lingering>)> {
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
        let began_here = pending <= source.pos();
        let waits = writers == Some(true)
            && began_here
            && (lingering_since.is_none() || source.pos() > start + pending || age < UNFINISHED_S);
        let goes_on = may_go_on && !waits && self.cutter.keeps_lines();
        let mark = if goes_on && !began_here {
            return Ok((source.known(), None, None));
        } else if waits || goes_on || pending == 0 {
            let skipping = self.cutter.is_skipping();
            source.mark(source.pos() - pending, self.cutter.before(), skipping)
        } else {
            self.finish_line();
            source.mark(source.pos(), self.cutter.before(), true)
        };
        if waits {
            self.cutter.forget_line(false); // it waits there, not in the next file
        }
        let directory = names::directory_of(&source.path);
        let grows = Lingering { mark: mark.clone(), since, directory };
        Ok((source.known(), Some(mark), may_grow(writers, age).then_some(grows)))
    }

    /// Reads to the end; where a compressed file is damaged, that is its end, with a note.
    fn read_packed(&mut self, source: &mut Source) -> Result<()> {
        match self.read_to_end(source) {
            Err(Error::Io { what, source: error }) if !source.is_plain() => {
                let (pos, why) = (source.pos(), words(&error));
                let text = format!("{what}: damaged after byte {pos}: {why}; the rest is lost");
                self.report.notes.push(Note::lost(text));
                self.cutter.forget_line(false);
                Ok(())
            }
            other => other,
        }
    }

    fn read_to_end(&mut self, source: &mut Source) -> Result<()> {
        source.advise_sequential();
        self.read.insert((source.identity.inode, source.identity.dev));
        while self.pass_hole(source)? {
            let begins = source.pos() == 0;
            match source.read(self.cutter.space()) {
                Ok(0) => return Ok(()),
                Ok(count) => {
                    let count = if begins { self.cutter.without_mark(count) } else { count };
                    let (sink, report) = (&mut *self.sink, &mut self.report);
                    self.cutter.filled(count, |block| hand_on(block, sink, report));
                    self.cancel.check()?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                    self.cancel.interrupted()?;
                }
                Err(error) => return Err(Error::on_path(&source.path)(error)),
            }
        }
        Ok(())
    }

    /// Moves over a hole between two lines; false when nothing is behind it.
    fn pass_hole(&mut self, source: &mut Source) -> Result<bool> {
        if self.cutter.is_in_line() {
            return Ok(true);
        }
        let at = source.pos();
        let has_more = source.pass_hole().map_err(Error::on_path(&source.path))?;
        if source.pos() > at {
            self.cutter.restart(source.before(), false);
        }
        Ok(has_more)
    }

    fn finish_line(&mut self) {
        let (sink, report) = (&mut *self.sink, &mut self.report);
        self.cutter.finish_line(|block| hand_on(block, sink, report));
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
        self.report.notes.push(Note::lost(format!(
            "{}: {skipped} bytes skipped: more than the limit of {limit} bytes was added",
            self.log.display()
        )));
        Ok(live.mark(pos, live.before(), end.is_none()))
    }
}

fn hand_on(block: &[u8], sink: &mut dyn LineSink, report: &mut Report) {
    report.bytes += block.len() as u64;
    if let Some(lines) = &mut report.lines {
        *lines += newlines::count(block);
    }
    sink.block(block);
}

/// Adds to what the next run is to know, the newest last.
fn remember(after: &mut Position, more: Option<Vec<Known>>) {
    let Some(more) = more else { return };
    let known = after.known.get_or_insert_default();
    let is_same = |old: &Known, new: &Known| {
        let was_empty = old.counted && old.head.len == 0;
        old.inode == new.inode && (old.head == new.head || was_empty)
    };
    known.retain(|old| !more.iter().any(|new| is_same(old, new)));
    known.extend(more);
    known.drain(..known.len().saturating_sub(MAX_KNOWN));
    after.newest_rotated = None;
}

/// Whether a renamed file is watched on, `age` seconds after it was first read to its end; `writers`
/// tells whether a process has it open for writing, if the system does.
fn may_grow(writers: Option<bool>, age: f64) -> bool {
    match writers {
        Some(true) => age < LINGER_S,
        None => age < LINGER_UNSURE_S,
        Some(false) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_long_a_renamed_file_is_watched() {
        for (writers, seconds) in [(Some(true), 86_400.0), (None, 3600.0), (Some(false), 0.0)] {
            assert_eq!(may_grow(writers, seconds - 0.5), seconds > 0.0, "{writers:?}");
            assert!(!may_grow(writers, seconds), "{writers:?}");
        }
    }
}
