//! Where the lines of the last so many minutes begin in a log: looked for from its end.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use kojuto_core::report::{Clock, Collector, Options, Window};

use crate::Result;
use crate::follow::read_at_most;

/// What is looked at of a log at a time.
const LOOK_BYTES: u64 = 64 << 10;

/// Looks for it.
pub(super) struct Beginning {
    window: Duration,
    /// Reads the times of lines, whatever else is asked of them.
    collector: Collector,
}

impl Beginning {
    pub(super) fn new(options: &Options, window: Duration) -> Result<Beginning> {
        let options = Window::options(options);
        let options = Options { conditions: Vec::new(), group_by: Vec::new(), ..options };
        Ok(Beginning { window, collector: Collector::new(&options)? })
    }

    /// The byte at or before the first line of the window that ends `now`, and by the clock of the log,
    /// which is found by its last line and by when that was written. Of a log whose lines have no times
    /// it is the end.
    ///
    /// # Errors
    /// Those of reading the file.
    pub(super) fn find(
        &mut self,
        file: &File,
        size: u64,
        now: i64,
        clock: &mut Clock,
    ) -> io::Result<u64> {
        self.collector.turn_to("", None);
        let tail_begins = size.saturating_sub(LOOK_BYTES);
        let tail = look(file, tail_begins, size)?;
        let end =
            memchr::memrchr(b'\n', &tail).map_or(tail_begins, |at| tail_begins + at as u64 + 1);
        let Some((_, last)) = self.times(&tail, tail_begins > 0) else { return Ok(end) };
        let about = file.metadata()?;
        let written =
            about.mtime().saturating_mul(1_000_000_000).saturating_add(about.mtime_nsec());
        *clock = Clock::of(last, written, self.window);
        let window = i64::try_from(self.window.as_nanos()).unwrap_or(i64::MAX);
        let since = clock.theirs(now).saturating_sub(window);
        if last < since {
            return Ok(end);
        }
        let (mut old, mut new) = (0, tail_begins);
        while new - old > LOOK_BYTES {
            let middle = old + (new - old) / 2;
            match self.times(&look(file, middle, size)?, true) {
                Some((_, last)) if last < since => old = middle,
                _ => new = middle,
            }
        }
        Ok(old)
    }

    /// The first and the last time of some lines, of which the first may not be whole.
    fn times(&mut self, bytes: &[u8], is_cut: bool) -> Option<(i64, i64)> {
        let begin = if is_cut { memchr::memchr(b'\n', bytes)? + 1 } else { 0 };
        let end = memchr::memrchr(b'\n', bytes)? + 1;
        self.collector.block(bytes.get(begin..end)?).ok()?;
        let (first, _, last) = self.collector.take().span()?;
        Some((first, last))
    }
}

fn look(file: &File, begin: u64, size: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; LOOK_BYTES.min(size - begin) as usize];
    let count = read_at_most(file, &mut bytes, begin)?;
    bytes.truncate(count);
    Ok(bytes)
}
