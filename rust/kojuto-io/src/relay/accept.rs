//! Accepting: as many as there is room for, and at the end what waits already.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::context::Context;
use super::endpoint::{Endpoint, Side, Tcp};
use super::failure::Shortage;
use super::listener::{Listener, Route};
use super::options::HeaderIn;
use super::remote::Remote;
use super::stage::is_trusted;
use super::unbelieved::Unbelieved;
use super::worker::{LISTENER_TOKEN, Worker};
use crate::error::words;
use crate::log::Log;
use crate::sys::socket::{self as sys, QUEUE};

/// How long accepting rests when there are no descriptors, or too many connections.
const PAUSE_MS: u64 = 20;
/// Accepts in a row before the connections get their turn.
const BATCH: usize = 32;

impl Context {
    /// Accepts on a socket from now on.
    pub(super) fn listen(&mut self, listener: Arc<Listener>) {
        if self.paused_until.is_none() {
            self.watch(self.listeners.len(), &listener);
        }
        self.listeners.push(listener);
    }

    fn watch(&self, at: usize, listener: &Listener) {
        if let Err(error) = self.epoll.add_listener(listener.fd(), LISTENER_TOKEN | at as u64) {
            let line = Log::line("error", "cannot watch a listening socket");
            let line = line.text("listener", &listener.route.name).text("error", &words(&error));
            self.shared.log.write(&line.end());
        }
    }

    /// Stops accepting for a moment, whatever the reason; the log is told once.
    pub(super) fn pause(&mut self, why: &Shortage) {
        self.tools.pipes.clear();
        self.shared.pausing(why);
        if !self.stopping {
            self.look_away();
        }
    }

    /// Looks away from the listeners for a moment.
    fn look_away(&mut self) {
        if self.paused_until.replace(self.now_ms + PAUSE_MS).is_none() {
            for listener in &self.listeners {
                self.epoll.remove(listener.fd());
            }
        }
    }

    pub(super) fn resume(&mut self) {
        self.paused_until = None;
        for (at, listener) in self.listeners.iter().enumerate() {
            self.watch(at, listener);
        }
    }
}

impl Worker {
    /// Takes what the kernel has already accepted for us, then lets go of the sockets.
    pub(super) fn unlisten(&mut self) {
        for at in 0..self.context.listeners.len() {
            if self.context.paused_until.is_none() {
                self.accept(at, QUEUE);
            }
            self.context.epoll.remove(self.context.listeners[at].fd());
        }
        self.context.listeners.clear();
    }

    /// Accepts what waits, a batch at most. Those who were accepted and still lack a descriptor for
    /// their upstream come first: else clients could take every descriptor there is and none of them
    /// be served.
    pub(super) fn accept_some(&mut self, at: usize) {
        if self.context.shared.starving.load(Relaxed) > 0 {
            self.context.look_away();
        } else {
            self.accept(at, BATCH);
        }
    }

    /// The client's socket, watched where its PROXY header would not be believed.
    fn endpoint(&self, socket: Tcp, route: &Route, remote: &Remote) -> Box<dyn Endpoint> {
        if route.header_in == HeaderIn::Optional && !is_trusted(remote, &self.context) {
            return Box::new(Unbelieved::new(socket));
        }
        Box::new(socket)
    }

    /// Accepts at most `most` connections, none when there is no place for it.
    pub(super) fn accept(&mut self, at: usize, most: usize) {
        let Some(listener) = self.context.listeners.get(at).cloned() else { return };
        for _ in 0..most {
            if self.context.paused_until.is_some() {
                return;
            }
            if !self.context.shared.reserve() {
                let limit = self.context.shared.options.max_connections;
                self.context.pause(&Shortage::Connections { limit });
                return;
            }
            // One that was accepted before another thread paused does not end the pause.
            let paused = self.context.shared.paused.load(Relaxed);
            let accepted = sys::accept(listener.fd());
            self.context.shared.settle_place(accepted.is_ok());
            match accepted {
                Ok((socket, address)) => {
                    let remote = address.map_or_else(|| Remote::Unix("".into()), Remote::Socket);
                    if paused {
                        self.context.shared.accepting_again();
                    }
                    let end = self.endpoint(Tcp::new(socket), &listener.route, &remote);
                    self.begin(Arc::clone(&listener.route), Side::new(end), remote);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => {
                    if let Ok(shortage) = Shortage::of(error) {
                        return self.context.pause(&shortage);
                    }
                    // Else the peer has gone already, or a network error that accept(2) hands on.
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsRawFd;
    use std::sync::Arc;
    use std::sync::atomic::Ordering::Relaxed;
    use std::thread;
    use std::time::Duration;

    use kojuto_core::net::balance::Balance;

    use crate::log::Log;
    use crate::relay::{HeaderIn, Limits, Options, Pool, Relay};

    /// A relay to a server that answers each connection with one byte, and where it listens.
    fn relay(threads: usize) -> (Relay, TcpListener) {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let pool = Arc::new(Pool::new(Balance::LeastConn, Limits::default(), String::new()));
        pool.replace(&[server.local_addr().unwrap()]);
        thread::spawn(move || {
            for stream in server.incoming() {
                stream.unwrap().write_all(b"x").unwrap();
            }
        });
        let (log, _thread) = Log::start(2, crate::log::Detail::Usual).unwrap();
        log.close();
        let relay = Relay::start(Options { threads, ..Options::default() }, log, None).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        relay.listen(listener.as_raw_fd(), "test", &pool, HeaderIn::Off).unwrap();
        (relay, listener)
    }

    #[test]
    fn no_thread_accepts_while_a_client_lacks_a_descriptor() {
        for threads in [1, 2] {
            let (relay, listener) = relay(threads);
            relay.shared.starving.fetch_add(1, Relaxed);
            let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            thread::sleep(Duration::from_millis(150));
            assert_eq!(relay.stats().accepted.load(Relaxed), 0, "{threads} threads");
            relay.shared.starving.fetch_sub(1, Relaxed);
            client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            client.read_exact(&mut [0]).unwrap();
        }
    }
}
