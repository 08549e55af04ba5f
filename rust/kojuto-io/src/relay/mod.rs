//! The TCP relay engine: accepts, chooses an upstream, connects, and moves bytes both ways until
//! both directions have ended.
//!
//! A few threads run an event loop each ([`worker`](self)); a connection stays with the thread
//! that accepted it. The handle, [`Relay`], only steers: nothing that waits happens in it except
//! [`Relay::wait`].

mod accept;
mod busy_poll;
mod client;
mod connection;
mod context;
mod dump;
mod duplex;
mod endpoint;
mod failure;
mod health;
mod listener;
mod near;
mod options;
mod pump;
mod remote;
mod shared;
mod slab;
mod stage;
mod stats;
mod tap;
mod timers;
mod tunnel;
mod unbelieved;
mod upstream;
mod worker;

use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub use dump::{CaptureOptions, Dump, DumpOptions};
pub use endpoint::{Beginning, Cut, Endpoint, HEADER_BYTES, Party, Tcp};
pub use health::Limits;
pub use options::{BUSY_POLL, HeaderIn, HeaderOut, Options};
pub use remote::Remote;
pub use stats::{CONNECT_BOUNDS_US, ROUND_TRIP_BOUNDS_US, Stats};
pub use tap::{Direction, Session, Tap};
pub use tunnel::{Adoption, Field, Stream};
pub use upstream::{Address, Pool, Upstream};

use crate::log::Log;
use crate::sys::epoll::Wake;
use crate::{Cancel, Error, Result};
use accept::access;
use accept::limit::Limit;
use busy_poll::Polling;
use connection::listing::document;
use listener::Listener;
use shared::{Command, Shared};
use worker::Worker;

/// A running relay.
pub struct Relay {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Relay {
    /// Starts the threads; they wait for listeners.
    ///
    /// # Errors
    /// [`Error::Io`]: the system gives no thread or descriptor.
    pub fn start(options: Options, log: Arc<Log>, tap: Option<Arc<dyn Tap>>) -> Result<Relay> {
        let threads = match options.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from).min(4),
            count => count,
        };
        let polling = Polling::new(options.busy_poll);
        let wakes: io::Result<Vec<_>> = (0..threads).map(|_| Wake::new().map(Arc::new)).collect();
        let limit = Limit::new(options.max_connections);
        let shared = Arc::new(Shared {
            options,
            stats: Stats::default(),
            log,
            tap,
            next_id: AtomicU64::new(1),
            wakes: wakes.map_err(Error::starting("the relay"))?,
            commands: Mutex::new((0..threads).map(|_| Vec::new()).collect()),
            stopped: AtomicBool::new(false),
            grants: Arc::default(),
            adoptions: AtomicUsize::new(0),
            running: Arc::default(),
            limit,
            refusal_lines: access::Lines::default(),
            starving: AtomicUsize::new(0),
            polling,
            pipes: Arc::default(),
        });
        let mut relay = Relay { shared, threads: Vec::new() };
        for index in 0..threads {
            relay.add_worker(index).map_err(Error::starting("the relay"))?;
        }
        Ok(relay)
    }

    fn add_worker(&mut self, index: usize) -> io::Result<()> {
        let worker = Worker::new(Arc::clone(&self.shared), index)?;
        let runs = self.shared.running.begin();
        let thread = crate::running::start(&format!("relay-{index}"), move || {
            let _runs = runs;
            worker.run();
        })?;
        self.threads.push(thread);
        Ok(())
    }

    fn tell_all(&self, command: impl Fn() -> Command) {
        for queue in lock(&self.shared.commands).iter_mut() {
            let command = command();
            if matches!(command, Command::Stop) {
                self.shared.stopped.store(true, Relaxed);
            }
            queue.push(command);
        }
        self.shared.wake_all();
    }

    /// Accepts on a listening socket from now on; `fd` stays the caller's, and `header_in` says
    /// whether the clients begin with a PROXY header.
    ///
    /// # Errors
    /// [`Error::Io`]: `fd` is no open descriptor.
    pub fn listen(
        &self,
        fd: RawFd,
        name: &str,
        pool: &Arc<Pool>,
        header_in: HeaderIn,
    ) -> Result<()> {
        let listener = Listener::new(fd, name.to_owned(), Arc::clone(pool), header_in)?;
        let listener = Arc::new(listener);
        self.tell_all(|| Command::Listen(Arc::clone(&listener)));
        Ok(())
    }

    /// Accepts no more connections for a pool; those that are open go on. The sockets are closed as
    /// soon as all threads have let go of them, and what waits in them is refused.
    pub fn unlisten(&self, pool: &Arc<Pool>) {
        self.tell_all(|| Command::Unlisten(Arc::clone(pool)));
    }

    /// Takes over a connection that was made elsewhere; the threads take turns.
    ///
    /// # Errors
    /// [`Error::Io`]: a descriptor is not open, there is none left, or the relay was stopped.
    pub fn adopt(&self, adoption: Adoption) -> Result<()> {
        let mut adopted = adoption.prepare().map_err(Error::on("adopting a connection"))?;
        let mut queues = lock(&self.shared.commands);
        if self.shared.stopped.load(Relaxed) {
            let source = std::io::Error::other("the relay was stopped");
            return Err(Error::Io { what: "adopting a connection".to_owned(), source });
        }
        self.shared.stats.accepted.fetch_add(1, Relaxed);
        self.shared.limit.take_anyhow();
        self.shared.stats.open.fetch_add(1, Relaxed); // now: whoever counts must not miss it
        adopted.register(&self.shared.grants);
        let at = self.shared.adoptions.fetch_add(1, Relaxed) % queues.len();
        queues[at].push(Command::Adopt(Box::new(adopted)));
        drop(queues);
        self.shared.wakes[at].wake();
        Ok(())
    }

    /// Ends the connections to one upstream of a pool, with resets.
    pub fn cut(&self, pool: &Arc<Pool>, address: SocketAddr) {
        self.tell_all(|| Command::Cut(Arc::clone(pool), address));
    }

    /// The open connections as a JSON document, the oldest first: `connections`, each with `state`
    /// (`header`, `connecting`, `settling`, `open`, `half-closed`, `closing`), `id`, `listener`,
    /// `client`, `upstream`, `since` (seconds since 1970), `age_s`, `idle_s`, `read_bytes` (from the
    /// client), `write_bytes`, and `user` and `db` where the tap knows them. A thread that does not
    /// answer within `limit` is left out.
    pub fn connections(&self, limit: Duration) -> Vec<u8> {
        let (to, answers) = mpsc::channel();
        self.tell_all(|| Command::List(to.clone()));
        drop(to);
        let deadline = Instant::now() + limit;
        let mut rows = Vec::new();
        let left = || deadline.saturating_duration_since(Instant::now());
        while let Ok(mut some) = answers.recv_timeout(left()) {
            rows.append(&mut some);
        }
        let tap = self.shared.tap.as_ref();
        document(rows, |id| tap.and_then(|tap| tap.session(id)))
    }

    /// The rights of the tunnels that are open and were handed over with one, under the numbers that
    /// [`Relay::revoke`] takes.
    pub fn grants(&self) -> Vec<(u64, Arc<str>)> {
        self.shared.grants.all()
    }

    /// Ends the tunnels with these rights. The WebSocket peer is told by a Close frame with 1008, or
    /// by a reset in the middle of a frame. [`Relay::grants`] has them no more.
    pub fn revoke(&self, numbers: impl IntoIterator<Item = u64>) {
        let numbers: Arc<HashSet<u64>> = Arc::new(numbers.into_iter().collect());
        if !numbers.is_empty() {
            self.shared.grants.forget(&numbers);
            self.tell_all(|| Command::Revoke(Arc::clone(&numbers)));
        }
    }

    /// Stops accepting; the threads end with their last connection.
    pub fn stop(&self) {
        self.tell_all(|| Command::Stop);
    }

    /// Ends all connections now, with resets.
    pub fn abort(&self) {
        self.stop();
        self.tell_all(|| Command::Abort);
    }

    /// Waits until all threads have ended, or for `limit`; answers whether they have.
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

impl Drop for Relay {
    fn drop(&mut self) {
        self.abort();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
