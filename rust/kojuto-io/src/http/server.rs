//! The handle of a server.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::{Notify, watch};

use super::accept::Acceptor;
use super::access_log::{AccessLog, LogSink};
use super::message::{Quick, Slow};
use super::options::{Options, Stats};
use super::pause::Pause;
use super::pool::Pool;
use super::shared::{Course, LastCloses, Shared};
use super::worker::Worker;
use crate::log::Log;
use crate::sys::socket as sys;
use crate::{Cancel, Error, Result};

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
            pause: Pause::new(),
            stopping: AtomicBool::new(false),
            running: Arc::default(),
        });
        let (course, told) = watch::channel(Course::Serve);
        let server = Server { shared: Arc::clone(&shared), course };
        let begin = || -> io::Result<()> {
            if let Some(sink) = access_log {
                let (counted, format) = (shared.running.begin(), shared.options.access_log);
                let _ = shared.access_log.set(AccessLog::start(counted, sink, format)?);
            }
            let closes = Arc::new(LastCloses(Arc::clone(&shared)));
            let pool = Pool::start(threads, queue, slow)?;
            let workers: io::Result<Vec<Worker>> = (0..workers)
                .map(|index| Worker::start(index, &shared, &pool, &closes, told.clone()))
                .collect();
            Acceptor::start(&shared, workers?, sockets, told)
        };
        begin().map_err(Error::starting("the server"))?;
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
        self.shared.running.wait(limit, cancel)
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

fn listener(fd: RawFd) -> io::Result<OwnedFd> {
    let socket = sys::duplicate(fd)?;
    sys::set_nonblocking(socket.as_raw_fd())?;
    sys::tune_stream(socket.as_raw_fd()); // accepted sockets inherit it
    Ok(socket)
}
