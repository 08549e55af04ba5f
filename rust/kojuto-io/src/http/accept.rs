//! The thread that accepts, and gives each connection to the worker with the fewest.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;

use super::server::{Course, Running, Shared, accepting_again, pausing};
use super::worker::{Accepted, Worker};
use crate::relay::sys;

/// Without descriptors or memory the next attempt is made after this time.
const PAUSE: Duration = Duration::from_millis(100);

/// How long the last look into the queue of a socket may take.
const LAST_CALL: Duration = Duration::from_millis(5);

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    fn new(socket: OwnedFd) -> io::Result<Listener> {
        let listener = std::net::TcpListener::from(socket);
        if listener.local_addr().is_ok() {
            return TcpListener::from_std(listener).map(Listener::Tcp);
        }
        let listener = std::os::unix::net::UnixListener::from(OwnedFd::from(listener));
        UnixListener::from_std(listener).map(Listener::Unix)
    }

    async fn accept(&self) -> io::Result<Accepted> {
        match self {
            Listener::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                Ok(Accepted::Tcp(stream.into_std()?, peer.ip().to_canonical().to_string()))
            }
            Listener::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                Ok(Accepted::Unix(stream.into_std()?))
            }
        }
    }
}

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
            sockets.into_iter().map(Listener::new).collect::<io::Result<Vec<Listener>>>()?
        };
        let acceptor = Arc::new(Acceptor { shared: Arc::clone(shared), workers });
        let running = Running::begin(shared);
        std::thread::Builder::new().name("accept".to_owned()).spawn(move || {
            let _running = running;
            sys::block_signals();
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
        while *course.borrow() == Course::Stop {
            match tokio::time::timeout(LAST_CALL, listener.accept()).await {
                Ok(Ok(accepted)) => self.give(accepted),
                _ => break,
            }
        }
    }

    /// The next connection, when there is room for it.
    async fn next(&self, listener: &Listener) -> Accepted {
        let (stats, limit) = (&self.shared.stats, self.shared.options.max_connections);
        loop {
            while limit > 0 && stats.open.load(Relaxed) >= limit {
                pausing(&self.shared, "the limit of connections is reached");
                self.shared.freed.notified().await;
            }
            match listener.accept().await {
                Ok(accepted) => {
                    accepting_again(&self.shared);
                    return accepted;
                }
                Err(error) if is_short_of_something(&error) => {
                    pausing(&self.shared, &error.to_string());
                    tokio::time::sleep(PAUSE).await;
                }
                Err(_) => tokio::task::yield_now().await, // a client that went away (accept(2))
            }
        }
    }

    fn give(&self, accepted: Accepted) {
        let stats = &self.shared.stats;
        stats.accepted.fetch_add(1, Relaxed);
        stats.open.fetch_add(1, Relaxed);
        let worker = self.workers.iter().min_by_key(|worker| worker.open());
        if !worker.is_some_and(|worker| worker.give(accepted)) {
            stats.open.fetch_sub(1, Relaxed); // everything is ended at once
        }
    }
}

fn is_short_of_something(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM))
}
