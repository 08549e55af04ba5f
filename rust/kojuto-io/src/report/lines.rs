//! The lines of logs as columns, a batch at a time and in their order, read ahead by threads.
//!
//! Threads take pieces in their order and read them side by side. What a thread has read waits in the
//! channel of its piece, the channels wait in one of their own, and both are short: so no more is
//! in memory than a few batches of each thread, however large the logs are.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kojuto_core::report::{Collector, Columns, Options, Totals};

use super::pieces::{Cut, Piece, Plan, plan};
use super::{Flag, Progress, Source};
use crate::{Cancel, Error, Result, running};

/// No piece of a file is smaller: a piece ends with a batch, which should not be a small one.
const LEAST_PIECE_BYTES: u64 = 8 << 20;
/// So many batches of a piece wait to be taken.
const WAITING_BATCHES: usize = 2;
/// How often one who waits for lines asks whether to stop.
const ASK_EVERY: Duration = Duration::from_millis(50);

/// How lines are handed out.
#[derive(Debug, Clone)]
pub struct LineOptions {
    /// The names of the columns, as [`Collector::of_columns`] takes them.
    pub columns: Vec<String>,
    /// A batch is handed out once it has so many lines.
    pub rows: usize,
    /// So many threads read.
    pub jobs: usize,
}

/// What a thread has read of a piece.
enum Read {
    Batch(Columns),
    /// Its end, or why there is no more of it.
    End(Result<()>),
}

/// Pieces that wait for a thread, and where the channel of the next goes.
struct Queue {
    pieces: VecDeque<Piece>,
    /// None once there is no piece left.
    order: Option<SyncSender<Receiver<Read>>>,
}

struct Shared {
    queue: Mutex<Queue>,
    rows: usize,
    stop: AtomicBool,
    /// What the lines of finished threads were.
    totals: Mutex<Option<Totals>>,
}

/// Lines on their way.
pub struct LineStream {
    shared: Arc<Shared>,
    order: Receiver<Receiver<Read>>,
    piece: Option<Receiver<Read>>,
    threads: Vec<std::thread::JoinHandle<Result<()>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl LineStream {
    /// Opens all sources and begins to read them.
    ///
    /// # Errors
    /// A source cannot be opened, an option cannot be so, or the system gives no thread.
    pub fn start(sources: &[Source], options: &Options, lines: &LineOptions) -> Result<LineStream> {
        let collector = Collector::of_columns(options, &lines.columns)?;
        let most = if lines.jobs <= 1 { 1 } else { u64::MAX };
        let cut = Cut { least_bytes: LEAST_PIECE_BYTES, most, ..Cut::default() };
        let Plan { pieces, failed, .. } = plan(sources, &collector, cut, &Progress::default())?;
        if let Some((_, error)) = failed.into_iter().next() {
            return Err(error);
        }
        let workers = lines.jobs.min(pieces.len()).max(1);
        let (sender, order) = sync_channel(workers);
        let queue = Mutex::new(Queue { pieces: pieces.into(), order: Some(sender) });
        let (stop, totals) = (AtomicBool::new(false), Mutex::new(None));
        let shared = Arc::new(Shared { queue, rows: lines.rows, stop, totals });
        let mut stream = LineStream { shared, order, piece: None, threads: Vec::new() };
        for _ in 0..workers {
            let (shared, collector) = (Arc::clone(&stream.shared), collector.another());
            match running::start("log reader", move || shared.work(collector)) {
                Ok(thread) => stream.threads.push(thread),
                Err(source) if stream.threads.is_empty() => {
                    return Err(Error::NoThread { what: "reading logs".to_owned(), source });
                }
                Err(_) => break,
            }
        }
        Ok(stream)
    }

    /// The next lines; `None` once there are no more.
    ///
    /// # Errors
    /// What was wrong with a source, of which there is no more then, and [`Error::Cancelled`].
    pub fn next(&mut self, cancel: &dyn Cancel) -> Result<Option<Columns>> {
        loop {
            let Some(piece) = &self.piece else {
                match wait(&self.order, cancel)? {
                    Some(piece) => self.piece = Some(piece),
                    None => return self.end().map(|()| None),
                }
                continue;
            };
            match wait(piece, cancel)? {
                Some(Read::Batch(columns)) => return Ok(Some(columns)),
                Some(Read::End(ended)) => {
                    self.piece = None;
                    ended?;
                }
                None => return Err(self.broken()),
            }
        }
    }

    /// Waits until the threads have ended.
    fn end(&mut self) -> Result<()> {
        self.threads.drain(..).try_for_each(|thread| match thread.join() {
            Ok(ended) => ended,
            Err(_) => Err(broken()),
        })
    }

    /// A thread has panicked, and has told why itself: the others end.
    fn broken(&mut self) -> Error {
        self.shared.stop.store(true, Ordering::Relaxed);
        broken()
    }

    /// What all lines were, once there are no more.
    pub fn totals(&self) -> Option<Totals> {
        lock(&self.shared.totals).clone()
    }
}

/// The threads end soon: they see that nobody takes what they read.
impl Drop for LineStream {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }
}

fn broken() -> Error {
    Error::Io { what: "reading logs".to_owned(), source: io::Error::other("a thread failed") }
}

/// What comes next; `None` once nothing can.
fn wait<T>(from: &Receiver<T>, cancel: &dyn Cancel) -> Result<Option<T>> {
    loop {
        match from.recv_timeout(ASK_EVERY) {
            Ok(next) => return Ok(Some(next)),
            Err(RecvTimeoutError::Timeout) => cancel.check()?,
            Err(RecvTimeoutError::Disconnected) => return Ok(None),
        }
    }
}

impl Shared {
    /// Reads pieces until there are none, or nobody wants more.
    fn work(&self, mut collector: Collector) -> Result<()> {
        while let Some((piece, sender)) = self.next_piece() {
            let send = |columns: &mut Columns| {
                if sender.send(Read::Batch(columns.take())).is_err() {
                    self.stop.store(true, Ordering::Relaxed);
                }
            };
            let mut after = |collector: &mut Collector| {
                let full = collector.columns().filter(|columns| columns.are_full(self.rows));
                full.into_iter().for_each(send);
            };
            let progress = Progress::default();
            let ended = piece.read(&mut collector, &progress, &Flag(&self.stop), &mut after);
            let rest = collector.columns().filter(|columns| columns.rows > 0);
            rest.into_iter().for_each(send);
            if sender.send(Read::End(ended)).is_err() {
                break;
            }
        }
        let mut whole = lock(&self.totals);
        match &mut *whole {
            Some(totals) => totals.merge(collector.into_totals())?,
            none => *none = Some(collector.into_totals()),
        }
        Ok(())
    }

    /// Takes the next piece, and gives its channel its place in the order.
    fn next_piece(&self) -> Option<(Piece, SyncSender<Read>)> {
        let mut queue = lock(&self.queue);
        let next = queue.pieces.pop_front();
        let (sender, receiver) = sync_channel(WAITING_BATCHES);
        let placed = next
            .zip(queue.order.as_ref())
            .and_then(|(piece, order)| order.send(receiver).is_ok().then_some((piece, sender)));
        if placed.is_none() {
            queue.order = None;
        }
        placed
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;
    use std::path::Path;

    use kojuto_core::report::Cells;

    use super::*;
    use crate::Never;

    fn line(at: usize) -> String {
        format!("uri:/{at}\tstatus:200\treqtime:0.001\tua:{}\n", "x".repeat(at % 90))
    }

    fn start(paths: &[&Path], rows: usize, jobs: usize) -> Result<LineStream> {
        let sources: Vec<Source> = paths.iter().map(|p| Source::Path(p.to_path_buf())).collect();
        let columns = vec!["uri".to_owned()];
        LineStream::start(&sources, &Options::default(), &LineOptions { columns, rows, jobs })
    }

    /// The lines of each batch, as the numbers in their targets.
    fn batches(mut stream: LineStream) -> Vec<Vec<usize>> {
        let mut all = Vec::new();
        while let Some(columns) = stream.next(&Never).unwrap() {
            let Cells::Texts(texts) = &columns.cells[0] else { panic!("no texts") };
            let number = |ends: &[i32]| {
                let text = &texts.bytes[ends[0] as usize + 1..ends[1] as usize];
                str::from_utf8(text).unwrap().parse().unwrap()
            };
            all.push(texts.ends.windows(2).map(number).collect());
        }
        let lines: usize = all.iter().map(Vec::len).sum();
        assert_eq!(stream.totals().map_or(0, |totals| totals.lines()), lines as u64);
        all
    }

    #[test]
    fn lines_come_in_their_order_however_many_read_them() {
        let dir = tempfile::tempdir().unwrap();
        let (large, small) = (dir.path().join("large"), dir.path().join("small"));
        let packed = dir.path().join("packed.gz");
        fs::write(&large, (0..500_000).map(line).collect::<String>()).unwrap();
        fs::write(&small, (500_000..500_010).map(line).collect::<String>()).unwrap();
        let file = fs::File::create(&packed).unwrap();
        let mut gzip = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
        (500_010..600_000).for_each(|at| gzip.write_all(line(at).as_bytes()).unwrap());
        gzip.finish().unwrap();
        for jobs in [1, 2, 7] {
            let found = batches(start(&[&large, &small, &packed], 20_000, jobs).unwrap());
            assert!(found.concat().into_iter().eq(0..600_000), "{jobs} threads");
            assert!(found.len() > 20 && found.iter().all(|batch| batch.len() < 40_000));
        }
    }

    #[test]
    fn who_takes_no_more_stops_the_threads() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        fs::write(&log, (0..500_000).map(line).collect::<String>()).unwrap();
        let mut stream = start(&[&log], 100, 3).unwrap();
        assert!(stream.next(&Never).unwrap().is_some());
        let shared = Arc::downgrade(&stream.shared);
        drop(stream);
        let deadline = std::time::Instant::now() + Duration::from_secs(60);
        while shared.strong_count() > 0 {
            assert!(std::time::Instant::now() < deadline, "the threads go on");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn what_cannot_be_read_is_told_behind_what_can() {
        let dir = tempfile::tempdir().unwrap();
        let (good, bad) = (dir.path().join("good"), dir.path().join("bad.gz"));
        fs::write(&good, line(0)).unwrap();
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        (1..9).for_each(|at| gzip.write_all(line(at).as_bytes()).unwrap());
        let packed = gzip.finish().unwrap();
        fs::write(&bad, &packed[..packed.len() - 6]).unwrap();
        let mut stream = start(&[&good, &bad], 10, 1).unwrap();
        assert_eq!(stream.next(&Never).unwrap().map(|columns| columns.rows), Some(1));
        let error = loop {
            match stream.next(&Never) {
                Ok(columns) => assert!(columns.is_some(), "no error"),
                Err(error) => break error.to_string(),
            }
        };
        assert!(error.contains("bad.gz: damaged gzip file"), "{error}");
        let error = start(&[&dir.path().join("none")], 10, 1).err().map(|error| error.to_string());
        assert!(error.is_some_and(|error| error.contains("none")));
        assert!(batches(start(&[], 10, 1).unwrap()).is_empty());
    }
}
