//! One run: round after round, until the log was not renamed meanwhile.

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use kojuto_core::logs::lines::Cutter;
use kojuto_core::logs::position::Position;

use super::run::Run;
use super::{Begin, LineSink, Note, Options, Report};
use crate::{Cancel, Result};

/// A log that is renamed this often during one run is read on by the next one.
const MAX_ROUNDS: u32 = 8;

/// From where a run goes on.
pub(super) struct Start<'a> {
    pub(super) log: &'a Path,
    pub(super) options: &'a Options,
    pub(super) before: Option<&'a Position>,
    /// Where the first run begins, if not at the first line.
    pub(super) begin: Option<Begin<'a>>,
}

/// Hands what was added to `sink`; answers the new position.
pub(super) fn run_from(
    start: &Start<'_>,
    notes: Vec<Note>,
    now: Duration,
    sink: &mut dyn LineSink,
    cancel: &dyn Cancel,
) -> Result<(Option<Position>, Report)> {
    let Start { log, options, before, begin } = *start;
    let time = now.as_secs() as f64;
    let duration_s = before.map(|before| time - before.time);
    let mut run = Run {
        log,
        options,
        begin,
        time,
        cutter: Cutter::new(options.max_line_bytes).keeping(options.whole),
        sink,
        cancel,
        report: Report {
            duration_s: duration_s.filter(|&seconds| seconds >= 0.0),
            notes,
            lines: options.counts_lines.then_some(0),
            ..Report::default()
        },
        read: HashSet::new(),
    };
    let mut position = before.cloned();
    for _ in 0..MAX_ROUNDS {
        let (next, moved) = run.round(position.as_ref())?;
        position = Some(next);
        if !moved {
            break;
        }
    }
    run.report.overlong = run.cutter.overlong().clone();
    run.report.files = run.read.len();
    Ok((position, run.report))
}
