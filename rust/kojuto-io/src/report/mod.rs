//! Logs read for a report: files, standard input, compressed ones, on as many threads as there are
//! pieces of work. A large plain file is several, cut at line ends.

mod lines;
mod live;
mod pieces;
mod reading;

use std::fs::File;
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use kojuto_core::report::{Collector, Options, Totals};

pub use self::lines::{LineOptions, LineStream};
pub use self::live::{Live, State};
use self::pieces::{Cut, PIECES_A_THREAD, Piece, plan};
use crate::sys::descriptor;
use crate::{Cancel, Error, Result};

/// Where lines come from.
#[derive(Debug, Clone)]
pub enum Source {
    /// A file.
    Path(PathBuf),
    /// The lines of a file that begin from one byte on and before another, and its name in
    /// messages; the file is plain, and nothing stands around its lines.
    Lines(PathBuf, String, u64, u64),
    /// What is open for reading, and its name in messages.
    Open(Arc<File>, String),
    /// The same of which it is known how the log begins that it is a part of, or all of.
    Begun(Arc<File>, String, Vec<u8>),
}

impl Source {
    /// What somebody else has open, and how its log begins.
    ///
    /// # Errors
    /// [`Error::Io`] for a number that nothing is open under.
    pub fn begun(fd: RawFd, name: String, head: Vec<u8>) -> Result<Source> {
        let file = descriptor::duplicate(fd).map_err(Error::on(&name))?;
        Ok(Source::Begun(Arc::new(File::from(file)), name, head))
    }
}

/// What is looked at of a log before it is read.
pub const HEAD_BYTES: usize = 64 << 10;

/// How far a scan is, for whoever looks while it runs.
#[derive(Debug, Default)]
pub struct Progress {
    /// Bytes of the sources that were read, compressed ones as they are.
    pub bytes: AtomicU64,
    /// How many there are, as far as that is known before.
    pub total_bytes: AtomicU64,
    /// Lines that were counted.
    pub lines: AtomicU64,
}

/// What a scan has found.
#[derive(Debug)]
pub struct Scanned {
    /// The figures.
    pub totals: Totals,
    /// The names of the sources that were read.
    pub read: Vec<String>,
    /// Files that were named more than once and read once.
    pub twice: Vec<String>,
    /// Those that could not be read, or not to their end.
    pub failed: Vec<(String, Error)>,
}

/// How often one who waits for threads asks whether to stop.
const ASK_EVERY: Duration = Duration::from_millis(5);

/// Counts the lines of all sources with up to `jobs` threads.
///
/// # Errors
/// [`Error::Cancelled`], and [`Error::Core`] for options that cannot be.
pub fn scan(
    sources: &[Source],
    options: &Options,
    jobs: usize,
    progress: &Progress,
    cancel: &dyn Cancel,
) -> Result<Scanned> {
    let collector = Collector::new(options)?;
    let most = if jobs <= 1 { 1 } else { jobs as u64 * PIECES_A_THREAD };
    let plan = plan(sources, &collector, Cut { most, ..Cut::default() }, progress)?;
    let queue =
        Queue { pieces: Mutex::new(plan.pieces.iter()), failed: Mutex::new(plan.failed), progress };
    let workers = jobs.min(plan.pieces.len());
    let done = if workers <= 1 {
        vec![queue.work(collector, cancel)]
    } else {
        queue.work_together(workers, &collector.one_of(workers), cancel)
    };
    let mut parts = done.into_iter();
    let first = parts.next().expect("one thread at least has worked")?;
    let mut totals = first.into_totals();
    totals.widen(options);
    for part in parts {
        totals.merge(part?.into_totals())?;
    }
    let failed = queue.failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(Scanned { totals, read: plan.read, twice: plan.twice, failed })
}

/// Pieces that wait for a thread.
struct Queue<'p, I> {
    pieces: Mutex<I>,
    failed: Mutex<Vec<(String, Error)>>,
    progress: &'p Progress,
}

impl<'p, I: Iterator<Item = &'p Piece> + Send> Queue<'p, I> {
    /// Reads pieces until there are none.
    fn work(&self, mut collector: Collector, cancel: &dyn Cancel) -> Result<Collector> {
        loop {
            let next = self.pieces.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some(piece) = next else { return Ok(collector) };
            match piece.read(&mut collector, self.progress, cancel, &mut |_| {}) {
                Ok(()) => {}
                Err(error @ (Error::Cancelled | Error::Core(_))) => return Err(error),
                Err(error) => {
                    let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
                    failed.push((piece.name.clone(), error));
                }
            }
        }
    }

    /// The same on threads, while this one asks whether to stop; on this one where the system gives
    /// none.
    fn work_together(
        &self,
        workers: usize,
        collector: &Collector,
        cancel: &dyn Cancel,
    ) -> Vec<Result<Collector>> {
        let stop = AtomicBool::new(false);
        let stop = &stop;
        thread::scope(|scope| {
            let start = || {
                let collector = collector.another();
                let work = move || self.work(collector, &Flag(stop));
                thread::Builder::new().spawn_scoped(scope, work).ok()
            };
            let threads: Vec<_> = (0..workers).map_while(|_| start()).collect();
            if threads.is_empty() {
                return vec![self.work(collector.another(), cancel)];
            }
            while threads.iter().any(|thread| !thread.is_finished()) {
                thread::sleep(ASK_EVERY);
                if cancel.check().is_err() {
                    stop.store(true, Ordering::Relaxed);
                }
            }
            let join = |thread: thread::ScopedJoinHandle<'_, _>| match thread.join() {
                Ok(done) => done,
                Err(panic) => std::panic::resume_unwind(panic),
            };
            threads.into_iter().map(join).collect()
        })
    }
}

struct Flag<'a>(&'a AtomicBool);

impl Cancel for Flag<'_> {
    fn check(&self) -> Result<()> {
        if self.0.load(Ordering::Relaxed) { Err(Error::Cancelled) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests;
