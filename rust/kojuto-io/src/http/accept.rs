//! The thread that accepts, and gives each connection to the worker with the fewest.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;

use super::shared::{Course, Shared, accepting_again, pausing};
use super::worker::{Accepted, Worker};
use crate::error::words;
use crate::running;
use crate::sys::socket::{self as sys, QUEUE};

/// Without descriptors or memory the next attempt is made after this time.
const PAUSE: Duration = Duration::from_millis(100);
/// Longer than any server runs.
const FOREVER: Duration = Duration::from_secs(1 << 32);

type Listener = AsyncFd<OwnedFd>;

pub(super) struct Acceptor {
    shared: Arc<Shared>,
    workers: Vec<Worker>,
}

impl Acceptor {
    pub(super) fn start(
        shared: &Arc<Shared>,
        workers: Vec<Worker>,
        sockets: Vec<OwnedFd>,
        course: watch::Receiver<Course>,
    ) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let listeners = {
            let _inside = runtime.enter();
            let register = |socket| {
                // SAFETY: the descriptor is owned, and stays open until the listener is dropped.
                unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) }
                    .map_err(|error| error.into_parts().1)
            };
            sockets.into_iter().map(register).collect::<io::Result<Vec<Listener>>>()?
        };
        let acceptor = Arc::new(Acceptor { shared: Arc::clone(shared), workers });
        let counted = shared.running.begin();
        running::start("accept", move || {
            let _counted = counted;
            runtime.block_on(async {
                let tasks: Vec<_> = listeners
                    .into_iter()
                    .map(|listener| {
                        let (acceptor, course) = (Arc::clone(&acceptor), course.clone());
                        tokio::spawn(async move { acceptor.run(&listener, course).await })
                    })
                    .collect();
                drop(acceptor); // the workers' ends of their queues close with the last task
                for task in tasks {
                    let _ = task.await;
                }
            });
        })?;
        Ok(())
    }

    /// Accepts until the server stops; then takes what waits in the queue already, unless
    /// everything is to end at once.
    async fn run(&self, listener: &Listener, mut course: watch::Receiver<Course>) {
        loop {
            tokio::select! {
                biased;
                told = course.changed() => {
                    if told.is_err() || *course.borrow() > Course::Serve {
                        break;
                    }
                }
                accepted = self.next(listener) => self.give(accepted),
            }
        }
        for _ in 0..QUEUE {
            while !self.reserve() {
                tokio::select! {
                    () = self.shared.freed.notified() => {}
                    _ = course.changed() => if *course.borrow() == Course::Abort { return },
                }
            }
            match self.accept(listener) {
                Ok(Some(accepted)) => self.give(accepted),
                Err(error) if !is_short_of_something(&error) => {}
                _ => return,
            }
        }
    }

    /// The next connection, when there is room for it.
    async fn next(&self, listener: &Listener) -> Accepted {
        loop {
            let rest = self.shared.pause.rest();
            if rest == Some(Duration::ZERO) {
                accepting_again(&self.shared);
            }
            let rest = rest.filter(|rest| !rest.is_zero()).unwrap_or(FOREVER);
            let Ok(ready) = tokio::time::timeout(rest, listener.readable()).await else {
                continue;
            };
            let Ok(mut ready) = ready else {
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            while !self.reserve() {
                pausing(&self.shared, "the connection limit is reached");
                self.shared.freed.notified().await;
            }
            match self.accept(listener) {
                Ok(Some(accepted)) => return accepted,
                Ok(None) => ready.clear_ready(),
                Err(error) if is_short_of_something(&error) => {
                    pausing(&self.shared, &words(&error));
                    tokio::time::sleep(PAUSE).await;
                }
                Err(_) => tokio::task::yield_now().await, // a client that went away (accept(2))
            }
        }
    }

    /// Takes a place for a connection that is about to be accepted; false when all are taken.
    fn reserve(&self) -> bool {
        let (open, limit) = (&self.shared.stats.open, self.shared.options.max_connections);
        let more = |open| (limit == 0 || open < limit).then_some(open + 1);
        open.fetch_update(Relaxed, Relaxed, more).is_ok()
    }

    fn give_place_back(&self) {
        self.shared.stats.open.fetch_sub(1, Relaxed);
        self.shared.freed.notify_one();
    }

    /// Accepts for the place that was taken, or gives it back; None when nobody waits.
    fn accept(&self, listener: &Listener) -> io::Result<Option<Accepted>> {
        match sys::accept(listener.as_raw_fd()) {
            Ok((socket, Some(peer))) => {
                Ok(Some(Accepted::Tcp(socket.into(), peer.ip().to_string())))
            }
            Ok((socket, None)) => Ok(Some(Accepted::Unix(socket.into()))),
            Err(error) => {
                self.give_place_back();
                if error.kind() == io::ErrorKind::WouldBlock { Ok(None) } else { Err(error) }
            }
        }
    }

    fn give(&self, accepted: Accepted) {
        self.shared.stats.accepted.fetch_add(1, Relaxed);
        let worker = self.workers.iter().min_by_key(|worker| worker.open());
        if !worker.is_some_and(|worker| worker.give(accepted)) {
            self.give_place_back(); // everything is ended at once
        }
    }
}

fn is_short_of_something(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM))
}
