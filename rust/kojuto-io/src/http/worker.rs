//! A thread that serves connections on a runtime of its own.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::connection::{Answerer, State, Stream, serve};
use super::pool::Pool;
use super::shared::{Course, LastCloses, Shared};
use crate::running;

/// How often deadlines are looked at; they are as exact as this.
const TICK: Duration = Duration::from_millis(100);

/// A connection on its way to its worker.
pub(super) enum Accepted {
    Tcp(std::net::TcpStream, String),
    Unix(std::os::unix::net::UnixStream),
}

/// The acceptor's end of a worker.
pub(super) struct Worker {
    queue: mpsc::UnboundedSender<Accepted>,
    open: Arc<AtomicUsize>,
}

impl Worker {
    pub(super) fn start(
        index: usize,
        shared: &Arc<Shared>,
        pool: &Pool,
        closes: &Arc<LastCloses>,
        course: watch::Receiver<Course>,
    ) -> io::Result<Worker> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (queue, incoming) = mpsc::unbounded_channel();
        let open = Arc::new(AtomicUsize::new(0));
        let house = House {
            shared: Arc::clone(shared),
            pool: pool.clone(),
            open: Arc::clone(&open),
            clock: Arc::new(AtomicU64::new(1)),
            known: Arc::default(),
            next: 0,
        };
        let (counted, closes) = (shared.running.begin(), Arc::clone(closes));
        running::start(&format!("http-{index}"), move || {
            let _counted = counted;
            let _closes = closes;
            runtime.block_on(house.run(incoming, course));
        })?;
        Ok(Worker { queue, open })
    }

    /// Connections it has.
    pub(super) fn open(&self) -> usize {
        self.open.load(Relaxed)
    }

    /// Hands a connection over; answers whether the worker still takes any.
    pub(super) fn give(&self, accepted: Accepted) -> bool {
        self.open.fetch_add(1, Relaxed);
        let given = self.queue.send(accepted).is_ok();
        if !given {
            self.open.fetch_sub(1, Relaxed);
        }
        given
    }
}

type Known = Arc<Mutex<HashMap<u64, Arc<State>>>>;

/// What a worker's own task has.
struct House {
    shared: Arc<Shared>,
    pool: Pool,
    open: Arc<AtomicUsize>,
    /// Milliseconds, as of the last tick.
    clock: Arc<AtomicU64>,
    known: Known,
    next: u64,
}

impl House {
    async fn run(
        mut self,
        mut incoming: mpsc::UnboundedReceiver<Accepted>,
        mut course: watch::Receiver<Course>,
    ) {
        let began = Instant::now();
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut more, mut told) = (true, true);
        while more || self.open.load(Relaxed) > 0 {
            tokio::select! {
                accepted = incoming.recv(), if more => match accepted {
                    Some(accepted) => {
                        let now = began.elapsed().as_millis() as u64;
                        self.clock.store(now.max(1), Relaxed);
                        self.admit(accepted, *course.borrow());
                    }
                    None => more = false,
                },
                changed = course.changed(), if told => {
                    told = changed.is_ok();
                    let now = if told { *course.borrow_and_update() } else { Course::Abort };
                    self.each(|state| follow(state, now));
                    if now == Course::Abort {
                        incoming.close();
                    }
                },
                _ = ticks.tick(), if self.open.load(Relaxed) > 0 => {
                    let now = (began.elapsed().as_millis() as u64).max(1);
                    self.clock.store(now, Relaxed);
                    self.cut_late(now);
                },
            }
        }
    }

    fn each(&self, action: impl Fn(&State)) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).values().for_each(|s| action(s));
    }

    fn cut_late(&self, now_ms: u64) {
        self.each(|state| {
            if state.is_late(now_ms) {
                self.shared.stats.timeouts.fetch_add(1, Relaxed);
                state.cut();
            }
        });
    }

    fn admit(&mut self, accepted: Accepted, course: Course) {
        let (stream, remote) = match accepted {
            Accepted::Tcp(stream, remote) => (TcpStream::from_std(stream).map(Stream::Tcp), remote),
            Accepted::Unix(stream) => {
                (UnixStream::from_std(stream).map(Stream::Unix), "unix:".to_owned())
            }
        };
        let id = self.next;
        self.next += 1;
        let guard = Open {
            shared: Arc::clone(&self.shared),
            open: Arc::clone(&self.open),
            known: Arc::clone(&self.known),
            id,
        };
        let Ok(stream) = stream else { return }; // epoll has no room for it
        let state = Arc::new(State::new(Arc::clone(&self.clock), &self.shared));
        follow(&state, course);
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(id, Arc::clone(&state));
        let (shared, pool) = (Arc::clone(&self.shared), self.pool.clone());
        tokio::spawn(async move {
            let _open = guard;
            serve(stream, Answerer { shared, pool, remote, state }).await;
        });
    }
}

fn follow(state: &State, course: Course) {
    match course {
        Course::Serve => {}
        Course::Stop => state.stop(),
        Course::Abort => state.cut(),
    }
}

/// A connection's place in the counts.
struct Open {
    shared: Arc<Shared>,
    open: Arc<AtomicUsize>,
    known: Known,
    id: u64,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
        self.open.fetch_sub(1, Relaxed);
        self.shared.stats.open.fetch_sub(1, Relaxed);
        self.shared.freed.notify_one();
    }
}
