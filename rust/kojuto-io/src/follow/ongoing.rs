//! A log followed by a process that goes on: where it is, is remembered in memory.

use std::path::{Path, PathBuf};
use std::time::Duration;

use kojuto_core::logs::position::Position;

use super::rounds::{Start, run_from};
use super::run::Run;
use super::source::Source;
use super::{Begin, LineSink, Options, Report};
use crate::{Cancel, Error, Result};

/// A log that is read again and again, each line once.
#[derive(Debug)]
pub struct Ongoing {
    log: PathBuf,
    options: Options,
    position: Option<Position>,
}

impl Ongoing {
    /// One that has read nothing.
    pub fn new(log: &Path, options: Options) -> Ongoing {
        Ongoing { log: log.to_owned(), options, position: None }
    }

    /// Hands everything that was added since the last call that did not fail to `sink`; of the file
    /// that is there at the first one, what is behind the place that `begin` tells. `now` is the
    /// time since the epoch.
    ///
    /// # Errors
    /// [`crate::Error::Io`] naming the log; [`crate::Error::Cancelled`]. What the sink was given then
    /// does not count, and comes again.
    pub fn run(
        &mut self,
        now: Duration,
        begin: Begin<'_>,
        sink: &mut dyn LineSink,
        cancel: &dyn Cancel,
    ) -> Result<Report> {
        let Ongoing { log, options, position } = self;
        let start = Start { log, options, before: position.as_ref(), begin: Some(begin) };
        let (after, report) = run_from(&start, Vec::new(), now, sink, cancel)?;
        self.position = after;
        Ok(report)
    }
}

impl Run<'_> {
    /// Moves a log that has not been read to where that is to begin. Answers whether this is inside of
    /// a line.
    pub(super) fn move_to_beginning(&self, live: &mut Source, begin: Begin<'_>) -> Result<bool> {
        let Some(file) = live.plain_file() else { return Ok(false) };
        let pos = live.size().and_then(|size| begin(file, size));
        let has_it = pos.and_then(|pos| live.move_to(pos)).map_err(Error::on_path(self.log))?;
        if !has_it {
            return Err(self.truncated_meanwhile());
        }
        Ok(live.begins_inside_a_line())
    }
}
