//! Which file is written, when the next one is due, and what time it is.

use std::path::PathBuf;
use std::time::{Instant, SystemTime};

use kojuto_core::logs::log_name::{Pattern, Tail, stamp};

use super::compress::Compressor;
use super::current::Current;
use super::directory::{LogDir, Naming};
use super::hook::Hooks;
use super::input::Input;
use super::{Options, Rotator, Sink};
use crate::sys::local_time::offset_s;
use crate::{Error, Result};

#[derive(Debug)]
pub(super) struct Files {
    pub(super) directory: LogDir,
    pub(super) pattern: Pattern,
    pub(super) current: Option<Current>,
    pub(super) compressor: Option<Compressor>,
    pub(super) hooks: Option<Hooks>,
    pub(super) period: i64,
    pub(super) fresh: bool,
    pub(super) reopen: bool,
    /// The name of a file that was closed though it is not full: see [`Files::doubt`].
    left: Option<String>,
    /// Whether it was told that files reach a limit of their size.
    pub(super) limit_told: bool,
    /// Whether it was told that old files cannot be removed.
    pub(super) refusal_told: bool,
}

impl Files {
    /// Opens the directory of the files and the file to go on with; answers whether that is one in
    /// which another process stopped.
    ///
    /// # Errors
    /// [`Error`]: the directory cannot be used, or no file be made in it.
    pub(super) fn open(
        (path, pattern): &(PathBuf, Pattern),
        options: &Options,
        input: &mut Input,
    ) -> Result<(Files, bool)> {
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok();
        let inode = if input.can_peek() { input.pipe_inode() } else { None };
        let pipe = match (inode, boot) {
            (Some(inode), Some(boot)) => format!("{inode}:{}", boot.trim()),
            _ => String::new(),
        };
        let link = options.link.clone();
        let naming = Naming { pattern: pattern.clone(), mode: options.mode, link };
        let mut directory = LogDir::open(path, naming, pipe)?;
        // What cannot be mended now stays as it is; the lines that come are what matters.
        let current = directory.resume(input).unwrap_or_default();
        let resumed = current.is_some();
        if let Some(current) = &current {
            let _ = directory.remember(current);
        }
        let compressor = options.compress.as_deref().and_then(Compressor::new);
        if let Some(compressor) = &compressor {
            compressor.recover(&directory);
        }
        let files = Files {
            directory,
            pattern: pattern.clone(),
            period: i64::MIN,
            current,
            compressor,
            hooks: options.on_rotate.clone().map(Hooks::new),
            fresh: false,
            reopen: false,
            left: None,
            limit_told: false,
            refusal_told: false,
        };
        Ok((files, resumed))
    }

    /// After a write that failed: whether its file system may be gone for good. Then nothing of it
    /// stays open, or it could not be unmounted, nor come to life where it is mounted again, and the
    /// file is opened by its name; but what only cannot be written to keeps the line that is `torn`.
    pub(super) fn doubt(&mut self, error: &Error, torn: bool) {
        let gone = [libc::EIO, libc::EROFS, libc::ESTALE, libc::ENODEV, libc::ENXIO];
        let Error::Io { source, .. } = error else { return };
        let Some(code) = source.raw_os_error().filter(|code| gone.contains(code)) else { return };
        self.reopen = true;
        if code == libc::EROFS && torn {
            return;
        }
        self.left = self.current.take().map(|current| current.name).or(self.left.take());
        self.directory.lock = None;
    }

    /// Begins the next file. Returns what to tell the user.
    pub(super) fn renew(&mut self, options: &Options, period: i64) -> Result<Option<String>> {
        let base = self.pattern.format(period);
        let full = |size: u64| options.max_size.is_some_and(|most| size >= most);
        let next = self.directory.open_period(base, self.fresh, full)?;
        let mut told = None;
        if let Some(old) = self.current.take() {
            if options.fsync.is_some() {
                let _ = old.file.sync_data();
            }
            self.left = Some(old.name);
        }
        if let Some(left) = self.left.take()
            && let Some(hooks) = &mut self.hooks
            && left != next.name
            && self.directory.led
        {
            told = hooks.closed(self.directory.path.join(&left));
        }
        self.current = Some(next);
        self.period = period;
        (self.fresh, self.reopen) = (false, false);
        if let Some(compressor) = &mut self.compressor {
            compressor.rotated();
        }
        Ok(told)
    }
}

/// Local time at a glance: the offset is asked for once a second.
#[derive(Debug, Default)]
pub(super) struct Clock {
    utc: bool,
    now: i64,
    pub(super) offset: i64,
    stamped: i64,
    stamp: Vec<u8>,
}

impl Clock {
    pub(super) fn new(utc: bool) -> Clock {
        Clock { utc, ..Clock::default() }
    }

    pub(super) fn wall(&mut self) -> i64 {
        let age = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let now = age.as_secs() as i64;
        if now != self.now {
            self.now = now;
            if let (false, Some(offset)) = (self.utc, offset_s(now)) {
                self.offset = offset;
            }
        }
        now + self.offset
    }

    pub(super) fn stamp(&mut self) -> &[u8] {
        let wall = self.wall();
        if wall != self.stamped || self.stamp.is_empty() {
            self.stamped = wall;
            self.stamp = stamp(wall, self.offset).into_bytes();
        }
        &self.stamp
    }
}

impl Rotator<'_> {
    /// Whether another file should be begun at the end of the line.
    pub(super) fn is_due(&self) -> bool {
        let Sink::Files(files) = &self.sink else { return false };
        let Some(current) = &files.current else { return true };
        files.fresh
            || files.reopen
            || self.period != files.period
            || self.options.max_size.is_some_and(|most| current.size >= most)
    }

    /// Begins another file if that is due and no line is unfinished.
    pub(super) fn prepare(&mut self) -> Result<()> {
        if !self.is_due() {
            return Ok(());
        }
        let has_line = !self.held.bytes.is_empty() || self.input.has_bytes();
        let Sink::Files(files) = &mut self.sink else { return Ok(()) };
        // Neither the start nor the turn of a period makes an empty file: the next line does.
        if !files.fresh && !files.reopen && !has_line {
            return Ok(());
        }
        if let Some(current) = &files.current {
            let mid = match self.mid_line {
                Some(known) => known,
                None => !current.ends_line().map_err(Error::on("log file"))?,
            };
            self.mid_line = Some(mid);
            if mid {
                return Ok(());
            }
        }
        let told = [files.renew(&self.options, self.period)?, files.directory.look_at_link()];
        told.into_iter().flatten().for_each(|text| (self.on_event)(text));
        self.next_purge = Instant::now();
        self.mid_line = Some(false);
        self.mark();
        Ok(())
    }

    /// Tells the lock file what a torn end would mean from now on.
    pub(super) fn mark(&mut self) {
        let in_memory = !self.held.bytes.is_empty() || !self.input.can_peek();
        let in_line = self.mid_line == Some(true);
        let tail = match (in_memory, self.keeps_torn() || in_line) {
            (true, _) => Tail::Lost,
            (false, true) => Tail::InPipe,
            (false, false) => Tail::Again,
        };
        if let Sink::Files(files) = &mut self.sink {
            files.directory.set_tail(tail);
        }
    }
}
