//! What a container runtime, the journal or a syslog puts around each line, taken off again.
//!
//! A message is one line, whatever it was split into: the pieces that docker and CRI make of a line
//! that is longer than 16 KiB are put together, for each stream by itself, and a newline inside of a
//! message is read as a blank. A line that is not in the envelope is handed on as it is.

mod cri;
mod docker;
mod journald;
mod pieces;
mod syslog;

pub use self::pieces::whole_bytes;

use crate::scan::beginning::behind_nuls;
use crate::scan::simd::Level;

/// What stands around each line of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Envelope {
    /// The files of docker's json-file driver: `{"log":"…\n","stream":"stdout","time":"…"}`.
    Docker,
    /// The files of the Container Runtime Interface: `2026-11-29T14:06:41.1Z stdout F …`.
    Cri,
    /// What `journalctl -o json` writes.
    Journald,
    /// The head of RFC 5424 or RFC 3164, with its priority or, as in files, without.
    Syslog,
    /// Whichever of them most lines at the beginning of a block are in, if any.
    Auto,
}

/// How many lines of a block are looked at to tell what is around them.
const DETECT_LINES: usize = 32;

impl Envelope {
    /// Those that there are, in the order in which they are tried.
    pub const KNOWN: [Envelope; 4] =
        [Envelope::Docker, Envelope::Cri, Envelope::Journald, Envelope::Syslog];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Envelope::Docker => "docker",
            Envelope::Cri => "cri",
            Envelope::Journald => "journald",
            Envelope::Syslog => "syslog",
            Envelope::Auto => "auto",
        }
    }

    /// The one of that name.
    pub fn named(name: &str) -> Option<Envelope> {
        let mut all = Envelope::KNOWN.into_iter().chain([Envelope::Auto]);
        all.find(|envelope| envelope.name() == name)
    }

    /// What more than half of the lines at the beginning of a block are in.
    pub fn detect(block: &[u8]) -> Option<Envelope> {
        let lines = block.split(|&b| b == b'\n').map(behind_nuls).filter(|line| !line.is_empty());
        let lines: Vec<&[u8]> = lines.take(DETECT_LINES).collect();
        Envelope::KNOWN.into_iter().find(|envelope| {
            let inside = lines.iter().filter(|line| envelope.holds(line)).count();
            inside * 2 > lines.len()
        })
    }

    /// Whether a line is in it.
    fn holds(self, line: &[u8]) -> bool {
        match self {
            Envelope::Docker => docker::holds(line),
            Envelope::Cri => cri::entry(line).is_some(),
            Envelope::Journald => journald::holds(line),
            Envelope::Syslog => syslog::message(line).is_some(),
            Envelope::Auto => false,
        }
    }
}

/// Takes lines out of their envelopes, in a buffer that serves for every block.
#[derive(Debug, Clone, Default)]
pub struct Opener {
    out: Output,
    /// The pieces of a line of standard output and of standard error that has not ended.
    pieces: [Vec<u8>; 2],
}

impl Opener {
    /// The messages of a block of whole lines, one a line, each ended by `\n`.
    pub fn open(&mut self, envelope: Envelope, block: &[u8]) -> &[u8] {
        self.open_at(Level::best(), envelope, block)
    }

    fn open_at(&mut self, level: Level, envelope: Envelope, block: &[u8]) -> &[u8] {
        self.out.begin(block.len());
        match envelope {
            Envelope::Docker => docker::open(level, block, self),
            Envelope::Cri => self.each_line(block, |line, opener| {
                let Some(entry) = cri::entry(line) else { return false };
                let from = opener.out.at;
                opener.out.push(entry.content);
                opener.end_entry(from, entry.stream, entry.is_whole);
                true
            }),
            Envelope::Journald => self.each_line(block, |line, opener| {
                let from = opener.out.at;
                let found = journald::message(line, &mut opener.out);
                opener.end_message(from);
                found
            }),
            Envelope::Syslog => self.each_line(block, |line, opener| {
                let Some(message) = syslog::message(line) else { return false };
                opener.out.push(message);
                opener.out.push(b"\n");
                true
            }),
            Envelope::Auto => self.out.push(block),
        }
        for stream in 0..self.pieces.len() {
            // Its rest was lost, or it is the end of the log.
            if !self.pieces[stream].is_empty() {
                self.end_entry(self.out.at, stream, true);
            }
        }
        &self.out.bytes[..self.out.at]
    }

    /// Calls `open` for each line; one that it cannot open is handed on as it is.
    fn each_line(&mut self, block: &[u8], open: impl Fn(&[u8], &mut Opener) -> bool) {
        for line in block.split_inclusive(|&b| b == b'\n') {
            let text = behind_nuls(line.strip_suffix(b"\n").unwrap_or(line));
            let from = self.out.at;
            if !open(text.strip_suffix(b"\r").unwrap_or(text), self) {
                self.out.at = from;
                self.out.push(line);
            }
        }
    }

    /// The entry of a stream that was written from `from` on has ended; what of the line came before
    /// it is put before it, or it waits for the rest.
    #[inline(always)]
    fn end_entry(&mut self, from: usize, stream: usize, is_whole: bool) {
        if is_whole && self.pieces[stream].is_empty() {
            self.out.push(b"\n");
        } else {
            self.end_piece(from, stream, is_whole);
        }
    }

    #[cold]
    fn end_piece(&mut self, from: usize, stream: usize, is_whole: bool) {
        let pieces = &mut self.pieces[stream];
        pieces.extend_from_slice(&self.out.bytes[from..self.out.at]);
        self.out.at = from;
        if is_whole {
            self.out.push(pieces);
            self.out.push(b"\n");
            pieces.clear();
        }
    }

    /// The message that was written from `from` on has ended: it is one line.
    fn end_message(&mut self, from: usize) {
        let message = &mut self.out.bytes[from..self.out.at];
        message.iter_mut().filter(|byte| **byte == b'\n').for_each(|byte| *byte = b' ');
        self.out.push(b"\n");
    }
}

/// Bytes that are written one after the other, as many as were announced and no more.
#[derive(Debug, Clone, Default)]
struct Output {
    bytes: Vec<u8>,
    at: usize,
}

impl Output {
    /// How many bytes behind the next may be written to before they count.
    const SLACK: usize = 64;

    /// Begins anew; up to `most` bytes will come, and a newline.
    fn begin(&mut self, most: usize) {
        self.at = 0;
        // Where what was there is written over, it need not be cleared.
        if self.bytes.len() < most + 1 + Output::SLACK {
            self.bytes.resize(most + 1 + Output::SLACK, 0);
        }
    }

    #[inline(always)]
    fn push(&mut self, bytes: &[u8]) {
        let end = self.at + bytes.len();
        if self.bytes.len() < end + Output::SLACK {
            self.bytes.resize(end + Output::SLACK, 0);
        }
        self.bytes[self.at..end].copy_from_slice(bytes);
        self.at = end;
    }
}

#[cfg(test)]
mod tests;
