//! What the threads of one server share, and its handle.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

use hyper::http::request::Parts;
use tokio::sync::{Notify, watch};

use super::accept::Acceptor;
use super::access_log::{AccessLog, LogSink};
use super::message::{Quick, Reply, Slow};
use super::options::{Options, Stats};
use super::pool::Pool;
use super::worker::Worker;
use crate::log::Log;
use crate::sys::socket as sys;
use crate::{Cancel, Error, Result};

/// How far a server has come to its end.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub(super) enum Course {
    Serve,
    Stop,
    Abort,
}

pub(super) struct Shared {
    pub(super) options: Options,
    pub(super) stats: Stats,
    pub(super) log: Arc<Log>,
    quick: RwLock<Option<Arc<dyn Quick>>>,
    access_log: OnceLock<Arc<AccessLog>>,
    /// Told when a connection ends, for an acceptor that waits for room.
    pub(super) freed: Notify,
    pub(super) paused: AtomicBool,
    /// [`Server::stop`] was called; the workers and their connections learn it a little later.
    pub(super) stopping: AtomicBool,
    /// Threads that still run, those that only ask [`Slow`] left out.
    running: Mutex<usize>,
    ended: Condvar,
}

impl Shared {
    pub(super) fn quick(&self, head: &Parts, remote: &str) -> Option<Reply> {
        self.quick.read().unwrap_or_else(PoisonError::into_inner).as_ref()?.quick(head, remote)
    }

    pub(super) fn access_log(&self) -> Option<&AccessLog> {
        self.access_log.get().map(AsRef::as_ref)
    }
}

/// A thread that [`Server::wait`] waits for, counted as ended even when it panics.
pub(super) struct Running(Arc<Shared>);

impl Running {
    pub(super) fn begin(shared: &Arc<Shared>) -> Running {
        *lock(&shared.running) += 1;
        Running(Arc::clone(shared))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        *lock(&self.0.running) -= 1;
        self.0.ended.notify_all();
    }
}

/// The last worker to end closes the access log.
pub(super) struct LastCloses(pub(super) Arc<Shared>);

impl Drop for LastCloses {
    fn drop(&mut self) {
        if let Some(log) = self.0.access_log() {
            log.close();
        }
    }
}

/// A running HTTP/1.1 server.
pub struct Server {
    shared: Arc<Shared>,
    course: watch::Sender<Course>,
}

impl Server {
    /// Serves on copies of the listening sockets `fds`, which stay the caller's.
    ///
    /// # Errors
    /// [`Error::Io`]: a descriptor is not open, or the system gives no thread.
    pub fn start(
        options: Options,
        fds: &[RawFd],
        log: Arc<Log>,
        quick: Option<Arc<dyn Quick>>,
        slow: &Arc<dyn Slow>,
        access_log: Option<Arc<dyn LogSink>>,
    ) -> Result<Server> {
        let sockets: io::Result<Vec<OwnedFd>> = fds.iter().map(|&fd| listener(fd)).collect();
        let sockets = sockets.map_err(Error::on("listening socket"))?;
        let workers = match options.workers {
            0 => std::thread::available_parallelism().map_or(1, usize::from).min(4),
            count => count,
        };
        let (threads, queue) = (options.threads, options.queue);
        let shared = Arc::new(Shared {
            options,
            stats: Stats::default(),
            log,
            quick: RwLock::new(quick),
            access_log: OnceLock::new(),
            freed: Notify::new(),
            paused: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            running: Mutex::new(0),
            ended: Condvar::new(),
        });
        let (course, told) = watch::channel(Course::Serve);
        let server = Server { shared: Arc::clone(&shared), course };
        let begin = || -> io::Result<()> {
            if let Some(sink) = access_log {
                let _ = shared.access_log.set(AccessLog::start(&shared, sink)?);
            }
            let closes = Arc::new(LastCloses(Arc::clone(&shared)));
            let pool = Pool::start(threads, queue, slow)?;
            let workers: io::Result<Vec<Worker>> = (0..workers)
                .map(|index| Worker::start(index, &shared, &pool, &closes, told.clone()))
                .collect();
            Acceptor::start(&shared, workers?, sockets, told)
        };
        begin().map_err(Error::on("starting the server"))?;
        Ok(server)
    }

    /// Puts other answers at hand; a request sees the old ones or the new ones.
    pub fn set_quick(&self, quick: Option<Arc<dyn Quick>>) {
        let mut known = self.shared.quick.write().unwrap_or_else(PoisonError::into_inner);
        let old = std::mem::replace(&mut *known, quick);
        drop(known);
        drop(old);
    }

    fn tell(&self, course: Course) {
        self.shared.stopping.store(true, Relaxed);
        self.course.send_if_modified(|known| {
            let further = *known < course;
            if further {
                *known = course;
            }
            further
        });
    }

    /// Stops accepting; connections end with the request that is under way.
    pub fn stop(&self) {
        self.tell(Course::Stop);
    }

    /// Ends all connections now.
    pub fn abort(&self) {
        self.tell(Course::Abort);
    }

    /// Waits until everything has ended, or for `limit`; answers whether it has.
    ///
    /// # Errors
    /// [`Error::Cancelled`].
    pub fn wait(&self, limit: Duration, cancel: &dyn Cancel) -> Result<bool> {
        const SLICE: Duration = Duration::from_millis(50);
        let deadline = Instant::now().checked_add(limit);
        let mut running = lock(&self.shared.running);
        while *running > 0 {
            let left = deadline.map_or(SLICE, |at| at.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return Ok(false);
            }
            let ended = &self.shared.ended;
            running = ended
                .wait_timeout(running, left.min(SLICE))
                .unwrap_or_else(PoisonError::into_inner)
                .0;
            cancel.check()?;
        }
        Ok(true)
    }

    /// The counters.
    pub fn stats(&self) -> &Stats {
        &self.shared.stats
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.abort();
    }
}

/// Notes that accepting pauses; says so in the log if it did not before.
pub(super) fn pausing(shared: &Shared, why: &str) {
    if !shared.paused.swap(true, Relaxed) {
        shared.stats.pauses.fetch_add(1, Relaxed);
        shared.log.write(&Log::line("warn", "accepting is paused").text("error", why).end());
    }
}

pub(super) fn accepting_again(shared: &Shared) {
    if shared.paused.load(Relaxed) && shared.paused.swap(false, Relaxed) {
        shared.log.write(&Log::line("info", "accepting again").end());
    }
}

fn listener(fd: RawFd) -> io::Result<OwnedFd> {
    let socket = sys::duplicate(fd)?;
    sys::set_nonblocking(socket.as_raw_fd())?;
    sys::tune_stream(socket.as_raw_fd()); // accepted sockets inherit it
    Ok(socket)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
