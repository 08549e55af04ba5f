//! Moves the bytes of one direction, by copying or by splicing, whichever costs less.
//!
//! Small messages: one read into a buffer that all connections of a worker share, one write. A
//! source that fills the buffer again and again is spliced through a pipe instead. What the sink
//! does not take stays in one buffer or one pipe, and nothing more is read until it is gone.

mod pipes;
mod splicing;

use std::io;
use std::sync::Arc;

use super::endpoint::Side;
use super::near;
use pipes::Pipe;
pub(super) use pipes::Pipes;

/// What is read at a time.
const COPY_BYTES: usize = 256 << 10;
/// More room for a source with frames, so that it can read one as large and what begins the next.
const FRAME_HEADER_BYTES: usize = 64;
/// A copy of at least this much speaks for splicing.
const LARGE: usize = 32 << 10;
/// Large copies in a row before splicing starts.
const LARGE_IN_A_ROW: u8 = 2;
/// A splice below this much speaks for copying.
const SMALL: usize = 8 << 10;
/// Small splices in a row before copying starts again.
const SMALL_IN_A_ROW: u8 = 4;
/// What moves one way without an answer or a rest before its reader awaits much at a time.
const LONG: u64 = 4 << 20;
/// What one connection may move before the others get their turn.
const TURN_BYTES: usize = 4 << 20;

/// Looks at the bytes as they pass; a direction with a tap is copied, never spliced.
pub(super) type Tap<'a> = Option<&'a mut dyn FnMut(&[u8])>;

/// What a worker lends to each pump.
pub(super) struct Tools {
    pub(super) buffer: Box<[u8]>,
    pub(super) pipes: Arc<Pipes>,
}

impl Tools {
    pub(super) fn new(pipes: Arc<Pipes>) -> Tools {
        let buffer = vec![0; COPY_BYTES + FRAME_HEADER_BYTES];
        Tools { buffer: buffer.into_boxed_slice(), pipes }
    }
}

/// How a pump's turn ended.
#[derive(Debug)]
pub(super) enum Turn {
    /// Nothing to do before the next event.
    Waiting,
    /// The turn was used up with more to do.
    Again,
    /// The stream has ended and its end was passed on.
    Done,
    /// The side that was read failed.
    SourceFailed(io::Error),
    /// The side that was written failed.
    SinkFailed(io::Error),
}

/// One direction of a connection.
#[derive(Default)]
pub(super) struct Pump {
    /// Bytes read that the sink has not taken, from `start` on.
    held: Vec<u8>,
    start: usize,
    pipe: Option<Pipe>,
    in_pipe: usize,
    splicing: bool,
    streak: u8,
    /// The sockets were made ready for bulk, if they are of this machine.
    tuned: bool,
    /// The source is a process of this machine.
    near: bool,
    /// Bytes since the last answer or rest.
    run: u64,
    /// The source is readable with much in its queue only ([`near`]).
    waiting_for_much: bool,
    source_ended: bool,
    /// The sink has left; what still comes is dropped.
    abandoned: bool,
    dropped: u64,
    done: bool,
    /// Bytes that the sink has taken.
    moved: u64,
    /// Those of them that this side put in itself, at the front.
    ours: u64,
}

impl Pump {
    /// Puts bytes before what the source will say: `ours` are not counted, `theirs` are.
    pub(super) fn preload(&mut self, ours: &[u8], theirs: &[u8]) {
        self.ours = ours.len() as u64;
        self.held = [ours, theirs].concat();
    }

    /// The source's bytes that the sink has taken.
    pub(super) fn moved(&self) -> u64 {
        self.moved.saturating_sub(self.ours)
    }

    pub(super) fn is_done(&self) -> bool {
        self.done
    }

    /// The sink has left: what is held for it is dropped, and what still comes is read and dropped,
    /// so that the source may end as it wants to.
    pub(super) fn abandon(&mut self, tools: &mut Tools) {
        self.dropped += (self.held.len() - self.start + self.in_pipe) as u64;
        self.clear(tools);
        self.start = 0;
        self.abandoned = true;
    }

    pub(super) fn is_abandoned(&self) -> bool {
        self.abandoned
    }

    /// The source's bytes that nobody was there to take.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Whether the source has ended, the sink perhaps not yet.
    pub(super) fn source_ended(&self) -> bool {
        self.source_ended
    }

    /// Whether the source may hold bytes that no event tells of.
    pub(super) fn waits_for_much(&self) -> bool {
        self.waiting_for_much
    }

    /// The stream rested, or was answered: somebody may wait for each byte of it.
    pub(super) fn note_rest(&mut self) {
        self.run = 0;
    }

    /// Ends the waiting for much and lets the next turn read what there is.
    pub(super) fn stop_waiting_for_much(&mut self, from: &mut Side) {
        if std::mem::take(&mut self.waiting_for_much) {
            near::await_any(from.end.fd());
            self.run = 0;
            from.readable = true;
        }
    }

    fn blocked(&self) -> bool {
        self.start < self.held.len() || self.in_pipe > 0
    }

    /// Moves what can be moved now.
    pub(super) fn turn(
        &mut self,
        from: &mut Side,
        to: &mut Side,
        tools: &mut Tools,
        mut tap: Tap<'_>,
    ) -> Turn {
        if self.done {
            return Turn::Waiting;
        }
        if self.abandoned {
            return self.swallow(from, &mut tools.buffer);
        }
        let before = self.moved;
        let turn = loop {
            if self.blocked() {
                match self.flush(to, tools) {
                    Ok(true) => {}
                    Ok(false) => break Turn::Waiting,
                    Err(error) => break Turn::SinkFailed(error),
                }
            }
            if self.source_ended {
                break self.end(to);
            }
            if !from.readable {
                break Turn::Waiting;
            }
            if self.moved - before > TURN_BYTES as u64 {
                break Turn::Again;
            }
            let splice =
                if self.splicing && tap.is_none() { self.open_pipe(from, to, tools) } else { None };
            let moved = match splice {
                Some((source, limit)) => self.splice(source, limit, from, to),
                None => self.copy(from, to, &mut tools.buffer, &mut tap),
            };
            if let Err(failed) = moved {
                break failed;
            }
        };
        self.give_back(tools);
        self.run += self.moved - before;
        if self.near && self.run >= LONG && !self.waiting_for_much && !from.readable && !from.ending
        {
            near::await_much(from.end.fd());
            self.waiting_for_much = true;
        }
        turn
    }

    /// Passes the end of the source on.
    fn end(&mut self, to: &mut Side) -> Turn {
        // The last direction: closing the socket says it all.
        if !(to.ended && to.end.finishes_on_drop())
            && let Err(error) = to.end.finish()
        {
            match error.kind() {
                io::ErrorKind::WouldBlock => {
                    to.writable = false;
                    return Turn::Waiting;
                }
                // The sink is gone already; its other direction tells why.
                io::ErrorKind::NotConnected => {}
                _ => return Turn::SinkFailed(error),
            }
        }
        self.done = true;
        Turn::Done
    }

    /// Reads and drops what there is.
    fn swallow(&mut self, from: &mut Side, buffer: &mut [u8]) -> Turn {
        let before = self.dropped;
        while !self.source_ended {
            if !from.readable {
                return Turn::Waiting;
            }
            if self.dropped - before > TURN_BYTES as u64 {
                return Turn::Again;
            }
            match from.read(buffer) {
                Ok(0) => {
                    self.source_ended = true;
                    from.ended = true;
                }
                Ok(count) => {
                    self.dropped += count as u64;
                    from.was_read(count, buffer.len());
                }
                Err(error) => {
                    if let Err(failed) = self.source_refused(error, from) {
                        return failed;
                    }
                }
            }
        }
        self.done = true;
        Turn::Done
    }

    /// Hands what is held to the sink; true when nothing is left.
    fn flush(&mut self, to: &mut Side, tools: &mut Tools) -> io::Result<bool> {
        while self.start < self.held.len() {
            if !to.writable {
                return Ok(false);
            }
            match to.end.write(&mut self.held[self.start..]) {
                Ok(count) => {
                    self.start += count;
                    self.moved += count as u64;
                }
                Err(error) => refused(error, &mut to.writable)?,
            }
        }
        self.held = Vec::new();
        self.start = 0;
        self.drain(to)?;
        if self.in_pipe > 0 {
            return Ok(false);
        }
        self.give_back(tools);
        Ok(true)
    }

    /// Moves what is in the pipe to the sink, as far as there is room.
    fn drain(&mut self, to: &mut Side) -> io::Result<()> {
        while to.writable && self.in_pipe > 0 {
            let (Some(pipe), Some(sink)) = (&self.pipe, to.end.splice_sink()) else {
                return Err(io::Error::other("bytes in a pipe that has no sink"));
            };
            match to.end.announce(self.in_pipe).and_then(|limit| pipe.drain(sink, limit)) {
                Ok(count) => {
                    to.end.spliced_in(count);
                    self.in_pipe -= count;
                    self.moved += count as u64;
                }
                Err(error) => refused(error, &mut to.writable)?,
            }
        }
        Ok(())
    }

    /// One read and, as far as the sink takes it, one write.
    fn copy(
        &mut self,
        from: &mut Side,
        to: &mut Side,
        buffer: &mut [u8],
        tap: &mut Tap<'_>,
    ) -> Result<(), Turn> {
        let room =
            if from.end.is_plain() { buffer.len() - FRAME_HEADER_BYTES } else { buffer.len() };
        let buffer = &mut buffer[..room];
        let count = match from.read(buffer) {
            Ok(0) => {
                self.source_ended = true;
                from.ended = true;
                return Ok(());
            }
            Ok(count) => count,
            Err(error) => return self.source_refused(error, from),
        };
        from.was_read(count, buffer.len());
        self.streak = if count >= LARGE { self.streak.saturating_add(1) } else { 0 };
        if self.streak >= LARGE_IN_A_ROW {
            self.streak = 0;
            self.splicing = true;
            self.tune(from, to);
        }
        if let Some(tap) = tap {
            tap(&buffer[..count]);
        }
        let (mut sent, mut failed) = (0, Ok(()));
        while to.writable && sent < count {
            match to.end.write(&mut buffer[sent..count]) {
                Ok(taken) => {
                    sent += taken;
                    self.moved += taken as u64;
                }
                Err(error) => {
                    failed = refused(error, &mut to.writable);
                    if failed.is_err() {
                        break;
                    }
                }
            }
        }
        if sent < count {
            self.held.extend_from_slice(&buffer[sent..count]);
        }
        failed.map_err(Turn::SinkFailed)
    }

    /// Makes the sockets of a stream ready for bulk, once.
    fn tune(&mut self, from: &Side, to: &Side) {
        if std::mem::replace(&mut self.tuned, true) {
            return;
        }
        let (source, sink) = (from.end.fd(), to.end.fd());
        self.near = near::is_near(source);
        if self.near && from.end.is_plain() && to.end.splice_sink().is_none() {
            near::shorten_window(source);
        }
        if near::is_near(sink) {
            near::unpace(sink);
            if from.end.is_plain() && to.end.is_plain() {
                near::shorten_sink(sink);
            }
        }
    }

    fn source_refused(&mut self, error: io::Error, from: &mut Side) -> Result<(), Turn> {
        refused(error, &mut from.readable).map_err(Turn::SourceFailed)
    }

    /// Drops what is held, at the end of the connection; a pipe with bytes in it is closed.
    pub(super) fn clear(&mut self, tools: &mut Tools) {
        self.give_back(tools);
        self.pipe = None;
        self.in_pipe = 0;
        self.held = Vec::new();
    }
}

/// Sorts out an error: not now (the flag goes down), try again, or a failure.
fn refused(error: io::Error, ready: &mut bool) -> io::Result<()> {
    match error.kind() {
        io::ErrorKind::WouldBlock => {
            *ready = false;
            Ok(())
        }
        io::ErrorKind::Interrupted => Ok(()),
        _ => Err(error),
    }
}

#[cfg(test)]
mod tests;
