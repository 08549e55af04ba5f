//! Signals, what is done now and then, and the end.

use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use kojuto_core::logs::log_name::{Tail, floor};

use super::compress::Compressor;
use super::files::Files;
use super::hook::Hooks;
use super::input::Seen;
use super::keep::{Keep, purge};
use super::{
    CHUNK_BYTES, Ended, Ending, LINE_GRACE, LOOK_EVERY, PURGE_EVERY, Rotator, Sink, first_newline,
};
use crate::sys::signals::wait;
use crate::{Error, Result, words};

/// How often it is looked whether a command has ended, when nothing else is left to do.
const HOOK_LOOK: Duration = Duration::from_millis(20);

impl Files {
    /// Runs the commands for closed files, compresses and removes them. Returns what to tell the
    /// user.
    fn tidy(&mut self, mut is_due: bool, now: Instant, keep: Keep) -> Vec<String> {
        let mut told = Vec::new();
        // Before the first line: the file of this period may be an old one that goes on.
        let Some(current) = &self.current else { return told };
        if let Some(hooks) = &mut self.hooks
            && hooks.is_busy()
        {
            told.extend(hooks.step(now));
            // Compressing may have waited for them.
            is_due |= !hooks.is_busy();
        }
        let hooks = self.hooks.as_ref();
        let is_kept = |path: &Path| {
            path.file_name().is_some_and(|name| name == current.name.as_str())
                || hooks.is_some_and(|hooks| hooks.holds(path))
        };
        if let Some(compressor) = &mut self.compressor
            && (compressor.is_busy() || is_due)
        {
            told.extend(compressor.step(&self.directory, is_kept));
        }
        if is_due {
            let mut refused = None;
            self.directory.leading(|directory| {
                refused = purge(directory, is_kept, keep, SystemTime::now()).ok().flatten();
            });
            // Once, until all can be removed again.
            let was_told = std::mem::replace(&mut self.refusal_told, refused.is_some());
            told.extend(refused.filter(|_| !was_told));
        }
        told
    }
}

impl Rotator<'_> {
    pub(super) fn look_at_signals(&mut self) {
        if !self.signals.any() {
            return;
        }
        self.signals.clear();
        let hang_up = self.signals.take(libc::SIGHUP) > 0;
        let rotate = self.signals.take(libc::SIGUSR1) + self.signals.take(libc::SIGALRM) > 0;
        if let Sink::Files(files) = &mut self.sink {
            files.reopen |= hang_up;
            files.fresh |= rotate;
        }
        for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGQUIT] {
            let times = self.signals.take(signal);
            if times > 0 && signal == libc::SIGTERM && self.options.hand_over {
                self.handing_over = true;
                self.signals.go_on();
            } else if times > 0 {
                let input = &self.input;
                let ending = self.ending.get_or_insert_with(|| Ending {
                    signal,
                    since: Instant::now(),
                    signals: 0,
                    drain: input.waiting(),
                });
                ending.signals += times;
            }
        }
    }

    /// After a signal: a second one came, or the time is over in which the lines may still go.
    pub(super) fn is_cut_short(&self) -> bool {
        self.ending.as_ref().is_some_and(|ending| {
            ending.signals >= 2 || ending.since.elapsed() >= self.options.stop_timeout
        })
    }

    /// How many bytes may still be taken out of the pipe.
    pub(super) fn drain(&self) -> usize {
        self.ending.as_ref().map_or(usize::MAX, |ending| ending.drain)
    }

    /// So many bytes were taken out of the pipe.
    pub(super) fn drained(&mut self, count: usize) {
        if let Some(ending) = &mut self.ending {
            ending.drain = ending.drain.saturating_sub(count);
        }
    }

    pub(super) fn is_over(&mut self, now: Instant) -> Result<bool> {
        let Some(Ending { since, drain, .. }) = self.ending else { return Ok(false) };
        if self.held.retry_at.is_some() || !self.held.bytes.is_empty() {
            return Ok(self.is_cut_short());
        }
        if drain > 0 {
            return Ok(false);
        }
        // The pipe held so much; a line that was cut there still ends.
        if self.mid_line.is_none()
            && let Sink::Files(files) = &self.sink
            && let Some(current) = &files.current
        {
            self.mid_line = Some(!current.ends_line().unwrap_or(true));
        }
        if self.mid_line != Some(true) || now.duration_since(since) > self.options.stop_timeout {
            return Ok(true);
        }
        match self.input.look(CHUNK_BYTES)? {
            Seen::Bytes => {
                let bytes = self.input.bytes();
                let rest = first_newline(bytes).map_or(bytes.len(), |at| at + 1);
                if let Some(ending) = &mut self.ending {
                    ending.drain = rest;
                }
                Ok(false)
            }
            Seen::End => Ok(true),
            Seen::Nothing => {
                if now.duration_since(since) > LINE_GRACE {
                    return Ok(true);
                }
                wait(
                    Some(self.signals),
                    [(self.input.as_raw_fd(), libc::POLLIN)],
                    Some(LINE_GRACE),
                )?;
                self.is_over(Instant::now())
            }
        }
    }

    pub(super) fn wait_for_input(&self, pause: Duration) -> Result<()> {
        wait(Some(self.signals), [(self.input.as_raw_fd(), libc::POLLIN)], Some(pause)).map(|_| ())
    }

    /// How long nothing has to be done.
    pub(super) fn pause(&self, now: Instant) -> Duration {
        let mut pause = PURGE_EVERY.min(self.next_purge.saturating_duration_since(now));
        if self.unsynced && self.options.fsync.is_some() {
            pause = pause.min(self.next_sync.saturating_duration_since(now));
        }
        if let Sink::Files(files) = &self.sink {
            let compresses = files.compressor.as_ref().is_some_and(Compressor::is_busy);
            if compresses || files.hooks.as_ref().is_some_and(Hooks::is_busy) {
                pause = pause.min(Duration::from_millis(100));
            }
            if files.fresh || files.reopen {
                pause = pause.min(LINE_GRACE);
            }
        }
        pause
    }

    /// Leaves the directory to a successor if that was asked for and no line is unfinished.
    fn hand_over(&mut self) {
        let Sink::Files(files) = &mut self.sink else { return };
        let torn = match (&files.current, self.mid_line) {
            (None, _) => false,
            (Some(current), None) => !current.ends_line().unwrap_or(true),
            (Some(_), Some(known)) => known,
        };
        if self.handing_over && !torn && self.held.bytes.is_empty() {
            files.compressor = None;
            files.directory.hand_over();
            self.handing_over = false;
        }
    }

    pub(super) fn do_housekeeping(&mut self, now: Instant) {
        self.hand_over();
        self.period = floor(self.clock.wall(), self.options.rotation_minutes);
        if let (Some(every), true) = (self.options.fsync, self.unsynced)
            && now >= self.next_sync
        {
            self.next_sync = now + every;
            self.unsynced = false;
            self.sync();
        }
        let Sink::Files(files) = &mut self.sink else { return };
        if now >= self.next_look {
            self.next_look = now + LOOK_EVERY;
            let current = files.current.as_ref();
            let told = [files.directory.keep_lock(current), files.directory.look_at_link()];
            told.into_iter().flatten().for_each(|text| (self.on_event)(text));
        }
        let forced = files.fresh || files.reopen;
        let told = files.tidy(now >= self.next_purge, now, self.options.keep);
        told.into_iter().for_each(|text| (self.on_event)(text));
        if now >= self.next_purge {
            self.next_purge = now + PURGE_EVERY;
        }
        // Asked for by a signal: at once, even if no line comes.
        if forced
            && self.held.retry_at.is_none()
            && self.held.bytes.is_empty()
            && let Err(error) = self.prepare()
        {
            let _ = self.refused(&error);
        }
    }

    /// Gives the commands for closed files the time that is left to end.
    fn wait_for_hooks(&mut self) -> Result<()> {
        let until = Instant::now() + self.options.stop_timeout;
        let Sink::Files(files) = &mut self.sink else { return Ok(()) };
        let Some(hooks) = &mut files.hooks else { return Ok(()) };
        while hooks.is_busy() {
            let now = Instant::now();
            let told = if now < until { hooks.step(now) } else { hooks.give_up() };
            told.into_iter().for_each(|text| (self.on_event)(text));
            if hooks.is_busy() {
                wait(None, [], Some(HOOK_LOOK))?;
            }
        }
        Ok(())
    }

    pub(super) fn sync(&mut self) {
        if let Sink::Files(files) = &mut self.sink
            && let Some(current) = &files.current
            && let Err(error) = current.file.sync_data()
        {
            let path = files.directory.path.join(&current.name);
            (self.on_event)(format!("{}: fsync: {}", path.display(), words(&error)));
        }
    }

    pub(super) fn finish(&mut self) -> Result<Ended> {
        let (dropped, mut lost) = (self.held.newly_dropped(), self.held.bytes.len() as u64);
        if lost > 0 && self.held.mid_line && self.input.look(CHUNK_BYTES)? == Seen::Bytes {
            // The rest of a line whose beginning is lost is no line for a successor.
            let rest =
                first_newline(self.input.bytes()).map_or(self.input.bytes().len(), |at| at + 1);
            self.input.consume(rest)?;
            lost += rest as u64;
        }
        let signal = self.ending.as_ref().map_or(0, |ending| ending.signal);
        if lost == 0 {
            let mid = match (self.mid_line, &self.sink) {
                (None, Sink::Files(files)) => files
                    .current
                    .as_ref()
                    .is_some_and(|current| !current.ends_line().unwrap_or(true)),
                (known, _) => known == Some(true),
            };
            if mid {
                self.write(b"\n").map_err(|(_, error)| error)?;
                // A successor on the same pipe goes on with the line.
                let whole = signal == 0 || !self.input.can_peek();
                if let Sink::Files(files) = &mut self.sink {
                    files.directory.set_tail(if whole { Tail::Lost } else { Tail::Closed });
                }
            }
        }
        // Whoever ends it may be about to end the machine, too.
        let is_durable = signal != 0 || self.options.fsync.is_some();
        if let (Sink::Files(files), true) = (&mut self.sink, is_durable) {
            if let Some(current) = &files.current {
                let path = files.directory.path.join(&current.name);
                current.file.sync_all().map_err(Error::on_path(&path))?;
            }
            files.directory.sync();
        }
        self.wait_for_hooks()?;
        Ok(Ended { signal, dropped, lost })
    }
}
