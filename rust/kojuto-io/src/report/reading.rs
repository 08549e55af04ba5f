//! One piece read into a collector.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::sync::atomic::Ordering;

use kojuto_core::logs::lines::Cutter;
use kojuto_core::report::Collector;
use kojuto_core::scan::envelope;

use super::Progress;
use super::pieces::{Part, Piece};
use crate::sys::blocks::Input;
use crate::sys::holes;
use crate::unpack::{Packer, Told};
use crate::{Cancel, Error, Result};

/// Longer lines are dropped and counted.
pub(super) const MAX_LINE_BYTES: usize = 64 << 20;

impl Piece {
    /// Reads it to its end; `after` sees the collector each time lines have come to it.
    pub(super) fn read(
        &self,
        collector: &mut Collector,
        progress: &Progress,
        cancel: &dyn Cancel,
        after: &mut dyn FnMut(&mut Collector),
    ) -> Result<()> {
        collector.turn_to(&self.name, self.looked.as_deref());
        let mut lines = Lines::new(collector, progress, self.is_cut(), after);
        let file = self.open()?;
        match self.part {
            Part::Lines(from, to) => self.read_part(&file, (from, to), &mut lines, cancel),
            Part::Stream => self.read_stream(&file, &mut lines, cancel),
            Part::Packed(packer) => self.unpack(&file, packer, &mut lines, cancel),
        }
    }

    /// Whether it is a part of a file of which others read the rest.
    fn is_cut(&self) -> bool {
        matches!(self.part, Part::Lines(from, to) if from > 0 || to < u64::MAX)
    }

    /// The lines that begin from a byte on: what is behind the first line end from the byte before it
    /// on. So the last line goes up to the first line end from the byte before `to` on.
    fn read_part(
        &self,
        file: &File,
        (from, to): (u64, u64),
        lines: &mut Lines<'_>,
        cancel: &dyn Cancel,
    ) -> Result<()> {
        let mut at = from.saturating_sub(1);
        lines.cutter.forget_line(from > 0);
        loop {
            cancel.check()?;
            let space = lines.cutter.space();
            let count = match file.read_at(space, at) {
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {
                    cancel.interrupted()?;
                    continue;
                }
                Err(error) => return Err(Error::on(&self.name)(error)),
            };
            let behind = (to - 1).saturating_sub(at).min(count as u64) as usize;
            let end = memchr::memchr(b'\n', &space[behind..count]).filter(|_| to < u64::MAX);
            let taken = end.map_or(count, |end| behind + end + 1);
            let may_be_hole = holes::are_nuls(&space[..count]);
            at += taken as u64;
            if count == 0 {
                return lines.finish();
            }
            lines.take(taken, at == taken as u64)?;
            lines.progress.bytes.fetch_add(taken as u64, Ordering::Relaxed);
            if end.is_some() {
                return lines.finish();
            }
            if may_be_hole && lines.may_pass() {
                let behind = holes::behind(file, at);
                lines.progress.bytes.fetch_add(behind - at, Ordering::Relaxed);
                at = behind;
            }
        }
    }

    /// Reads what may be a pipe to its end; it may be compressed.
    fn read_stream(&self, file: &File, lines: &mut Lines<'_>, cancel: &dyn Cancel) -> Result<()> {
        let failed = Cell::new(None);
        let fd = file.as_fd();
        let mut input = Input { fd, what: &self.name, cancel, failed: &failed };
        let wrong =
            |error: io::Error| failed.take().unwrap_or_else(|| Error::on(&self.name)(error));
        let mut head = [0; Packer::HEAD_BYTES];
        let mut count = 0;
        // What was looked at is plain.
        let is_plain = self.looked.is_some();
        while !is_plain && count < head.len() && Packer::tell(&head[..count]) == Told::TooShort {
            match input.read(&mut head[count..]).map_err(wrong)? {
                0 => break,
                more => count += more,
            }
        }
        let head = &head[..count];
        let mut is_first = true;
        if let Told::Packed(packer) = Packer::tell(head) {
            let mut block = Vec::new();
            let mut result = Ok(());
            let taken = (head, fd);
            packer.read(taken, &self.name, &mut block, cancel, |bytes| {
                result = lines.take_all(bytes, std::mem::take(&mut is_first));
                result.is_ok()
            })?;
            return result.and_then(|()| lines.finish());
        }
        is_first = head.is_empty();
        lines.take_all(head, true)?;
        loop {
            match input.read(lines.cutter.space()).map_err(wrong)? {
                0 => return lines.finish(),
                count => {
                    let may_be_hole = holes::are_nuls(&lines.cutter.space()[..count]);
                    lines.take(count, std::mem::take(&mut is_first))?;
                    lines.progress.bytes.fetch_add(count as u64, Ordering::Relaxed);
                    if may_be_hole && lines.may_pass() {
                        holes::pass(fd);
                    }
                }
            }
        }
    }

    /// Reads a compressed file to its end. What is before damage counts.
    fn unpack(
        &self,
        file: &File,
        packer: Packer,
        lines: &mut Lines<'_>,
        cancel: &dyn Cancel,
    ) -> Result<()> {
        let wrong = Error::on(&self.name);
        let mut watched = match file.try_clone() {
            Ok(file) => file,
            Err(error) => return Err(wrong(error)),
        };
        let file = file.try_clone().map_err(wrong)?;
        let mut reader = packer.unpack_file(file).map_err(Error::on(&self.name))?;
        let mut done = 0;
        let mut is_first = true;
        loop {
            cancel.check()?;
            match reader.read(lines.cutter.space()) {
                Ok(0) => {
                    lines
                        .progress
                        .bytes
                        .fetch_add(moved(&mut watched, done) - done, Ordering::Relaxed);
                    return lines.finish();
                }
                Ok(count) => {
                    lines.take(count, is_first)?;
                    is_first = false;
                    let now = moved(&mut watched, done);
                    lines.progress.bytes.fetch_add(now - done, Ordering::Relaxed);
                    done = now;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => cancel.interrupted()?,
                Err(source) => {
                    lines.finish()?;
                    let what = match source.raw_os_error() {
                        Some(_) => self.name.clone(),
                        None => format!("{}: damaged {} file", self.name, packer.program()),
                    };
                    return Err(Error::Io { what, source });
                }
            }
        }
    }
}

/// How far a file was read by whoever shares its offset.
fn moved(file: &mut File, before: u64) -> u64 {
    file.stream_position().unwrap_or(before).max(before)
}

/// Whole lines on their way to a collector.
struct Lines<'c> {
    cutter: Cutter,
    collector: &'c mut Collector,
    progress: &'c Progress,
    /// Once so many lines were read they are told.
    told: u64,
    after: &'c mut dyn FnMut(&mut Collector),
}

impl<'c> Lines<'c> {
    fn new(
        collector: &'c mut Collector,
        progress: &'c Progress,
        is_cut: bool,
        after: &'c mut dyn FnMut(&mut Collector),
    ) -> Lines<'c> {
        let cutter = Cutter::new(MAX_LINE_BYTES);
        // What an envelope has split is handed over as a whole.
        let cutter = if is_cut { cutter } else { cutter.keeping(envelope::whole_bytes) };
        let told = collector.lines();
        Lines { cutter, collector, progress, told, after }
    }

    /// Takes bytes that were read to the space of the cutter.
    fn take(&mut self, count: usize, is_first: bool) -> Result<()> {
        let count = if is_first { self.cutter.without_mark(count) } else { count };
        let Lines { cutter, collector, .. } = self;
        let mut result = Ok(());
        cutter.filled(count, |block| {
            if result.is_ok() {
                result = collector.block(block);
            }
        });
        self.tell();
        Ok(result?)
    }

    fn take_all(&mut self, mut bytes: &[u8], mut is_first: bool) -> Result<()> {
        while !bytes.is_empty() {
            let space = self.cutter.space();
            let count = space.len().min(bytes.len());
            space[..count].copy_from_slice(&bytes[..count]);
            bytes = &bytes[count..];
            self.take(count, std::mem::take(&mut is_first))?;
        }
        Ok(())
    }

    /// Whether the NULs of a hole are nothing that counts here.
    fn may_pass(&self) -> bool {
        self.cutter.is_skipping() || !self.cutter.is_in_line()
    }

    /// The last line need not have an end.
    fn finish(&mut self) -> Result<()> {
        let Lines { cutter, collector, .. } = self;
        let mut result = Ok(());
        cutter.finish_line(|block| result = collector.block(block));
        let overlong = cutter.overlong();
        collector.add_overlong(overlong.lines, &overlong.first);
        self.tell();
        Ok(result?)
    }

    fn tell(&mut self) {
        let lines = self.collector.lines();
        self.progress.lines.fetch_add(lines - self.told, Ordering::Relaxed);
        self.told = lines;
        (self.after)(self.collector);
    }
}
