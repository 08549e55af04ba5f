//! A log read once, from its first line to its last, whatever was read before: nothing is remembered.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::Path;

use kojuto_core::logs::lines::Cutter;

use super::many::merged;
use super::source::Source;
use super::{How, LineSink, Report, Scan};
use crate::sys::blocks;
use crate::{Cancel, Error, Result, parallel};

/// What stands for standard input among the logs.
const STDIN: &str = "-";

enum Input {
    /// A regular file, compressed or not.
    Regular(Box<Source>),
    /// Standard input, a pipe.
    Stream(File),
}

impl Input {
    fn open(log: &Path) -> io::Result<Input> {
        if log == Path::new(STDIN) {
            return Ok(Input::Stream(io::stdin().as_fd().try_clone_to_owned()?.into()));
        }
        let file = File::open(log)?;
        let meta = file.metadata()?;
        if meta.is_dir() {
            return Err(io::Error::from_raw_os_error(libc::EISDIR));
        }
        Ok(match meta.is_file() {
            true => Input::Regular(Box::new(Source::open_any(log)?)),
            false => Input::Stream(file),
        })
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Input::Regular(source) => source.read(buffer),
            Input::Stream(file) => file.read(buffer),
        }
    }

    /// Moves over a hole between two lines; false when nothing is behind it.
    fn pass_hole(&mut self, cutter: &mut Cutter) -> io::Result<bool> {
        let Input::Regular(source) = self else { return Ok(true) };
        if cutter.is_in_line() {
            return Ok(true);
        }
        let at = source.pos();
        let has_more = source.pass_hole()?;
        if source.pos() > at {
            cutter.restart(source.before(), false);
        }
        Ok(has_more)
    }

    fn wait(&self) {
        if let Input::Stream(file) = self {
            blocks::wait(file.as_fd());
        }
    }
}

/// Hands all lines of a log to copies of `scan`, the last one too when nothing ends it; `-` is
/// standard input. How much that is has no limit, and no position is read or kept.
///
/// # Errors
/// [`Error::Io`] naming the log; [`Error::Cancelled`].
pub fn read_once<S: Scan>(
    log: &Path,
    scan: S,
    how: &How,
    cancel: &dyn Cancel,
) -> Result<(S, Report)> {
    let (report, scans) = parallel::spread(how.threads, scan, |sink| read(log, how, sink, cancel));
    Ok((merged(scans), report?))
}

fn read(log: &Path, how: &How, sink: &mut dyn LineSink, cancel: &dyn Cancel) -> Result<Report> {
    let mut input = Input::open(log).map_err(Error::on_path(log))?;
    let mut cutter = Cutter::new(how.options.max_line_bytes).keeping(how.options.whole);
    let mut report = Report::default();
    let mut hand_over = |block: &[u8]| {
        report.bytes += block.len() as u64;
        sink.block(block);
    };
    let mut begins = true;
    while input.pass_hole(&mut cutter).map_err(Error::on_path(log))? {
        match input.read(cutter.space()) {
            Ok(0) => break,
            Ok(count) => {
                let count = if begins { cutter.without_mark(count) } else { count };
                begins = false;
                cutter.filled(count, &mut hand_over);
                cancel.check()?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => cancel.interrupted()?,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                // Whoever shares the pipe has made it one that does not wait.
                input.wait();
                cancel.check()?;
            }
            Err(error) => return Err(Error::on_path(log)(error)),
        }
    }
    cutter.finish_line(&mut hand_over);
    report.overlong = cutter.overlong().clone();
    Ok(report)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use super::super::CountingSink;
    use super::*;
    use crate::Never;

    fn lines(log: &Path) -> (u64, u64) {
        let how = How { threads: 1, ..How::default() };
        let (sink, report) = read_once(log, CountingSink::default(), &how, &Never).unwrap();
        (sink.lines, report.bytes)
    }

    #[test]
    fn all_of_a_log_is_read_each_time_and_its_last_line_too() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        fs::write(&log, "a\nb\nhalf").unwrap();
        assert_eq!(lines(&log), (3, 9));
        assert_eq!(lines(&log), (3, 9));
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
    }

    #[test]
    fn a_packed_log_and_one_of_no_lines_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let (log, empty) = (dir.path().join("log.gz"), dir.path().join("empty"));
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(b"a\nb\n").unwrap();
        fs::write(&log, packed.finish().unwrap()).unwrap();
        fs::write(&empty, "").unwrap();
        assert_eq!(lines(&log), (2, 4));
        assert_eq!(lines(&empty), (0, 0));
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let dir = tempfile::tempdir().unwrap();
        for log in [dir.path(), &dir.path().join("none")] {
            let error = read_once(log, CountingSink::default(), &How::default(), &Never);
            assert!(error.unwrap_err().to_string().starts_with(&*log.to_string_lossy()));
        }
    }
}
