//! Accepting: as many as there is room for, and at the end what waits already.

pub(super) mod access;
pub(super) mod limit;

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::context::Context;
use super::endpoint::lazy::Lazy;
use super::endpoint::{Endpoint, Side, Tcp};
use super::failure::Shortage;
use super::listener::{Listener, Route};
use super::options::HeaderIn;
use super::remote::Remote;
use super::stage::is_trusted;
use super::unbelieved::Unbelieved;
use super::upstream::Pool;
use super::worker::{LISTENER_TOKEN, Worker};
use crate::error::words;
use crate::log::Log;
use crate::sys::socket::{self as sys, QUEUE};
use limit::Room;

/// How long accepting rests when there are no descriptors.
const PAUSE_MS: u64 = 20;
/// For so long there must have been room for all before the log is told of it: short connections at
/// the limit change that many times a second.
const ROOM_MS: u64 = 1000;
/// Accepts in a row before the connections get their turn.
const BATCH: usize = 32;

impl Context {
    /// Accepts on a socket from now on.
    pub(super) fn listen(&mut self, listener: Arc<Listener>) {
        let free = self.listeners.iter().position(Option::is_none);
        let at = free.unwrap_or(self.listeners.len());
        if self.watching {
            self.watch_one(at, &listener);
        }
        match self.listeners.get_mut(at) {
            Some(place) => *place = Some(listener),
            None => self.listeners.push(Some(listener)),
        }
    }

    /// Accepts no more for a pool.
    pub(super) fn unlisten(&mut self, pool: &Arc<Pool>) {
        for place in &mut self.listeners {
            if let Some(listener) = place.take_if(|one| Arc::ptr_eq(&one.route.pool, pool)) {
                self.epoll.remove(listener.fd());
            }
        }
    }

    fn watch(&mut self) {
        if !std::mem::replace(&mut self.watching, true) {
            for (at, place) in self.listeners.iter().enumerate() {
                if let Some(listener) = place {
                    self.watch_one(at, listener);
                }
            }
        }
    }

    fn unwatch(&mut self) {
        if std::mem::replace(&mut self.watching, false) {
            for listener in self.listeners.iter().flatten() {
                self.epoll.remove(listener.fd());
            }
        }
    }

    fn watch_one(&self, at: usize, listener: &Listener) {
        if let Err(error) = self.epoll.add_listener(listener.fd(), LISTENER_TOKEN | at as u64) {
            let line = Log::line("error", "cannot watch a listening socket");
            let line = line.text("listener", &listener.route.name).text("error", &words(&error));
            self.shared.log.write(&line.end());
        }
    }

    /// Stops accepting for a moment, whatever the reason; the log is told once.
    pub(super) fn pause(&mut self, why: &Shortage) {
        self.tools.pipes.clear();
        self.shared.limit.fail();
        self.shared.pausing(why);
        if !self.stopping {
            self.look_away();
        }
    }

    /// Looks away from the listeners for a moment.
    fn look_away(&mut self) {
        self.paused_until = Some(self.now_ms + PAUSE_MS);
        self.unwatch();
    }

    pub(super) fn resume(&mut self) {
        self.paused_until = None;
        if !self.full {
            self.watch_again();
        }
    }

    /// Watches the listeners after a while without, and notes since when there is room.
    fn watch_again(&mut self) {
        self.watch();
        let limit = &self.shared.limit;
        let (at_ms, failures) = (self.now_ms + ROOM_MS, limit.failures());
        self.room = limit.is_told().then_some(Room { at_ms, failures });
    }

    fn is_accepting(&self) -> bool {
        self.paused_until.is_none() && !self.full
    }

    /// Accepts nothing more until a connection has ended; the log is told once.
    fn await_room(&mut self) {
        self.full = true;
        self.room = None;
        self.unwatch();
        let limit = &self.shared.limit;
        self.shared.pausing(&Shortage::Connections { limit: limit.most });
    }

    /// Tells the log that there is room again, once nobody has lacked it for a while.
    pub(super) fn tell_of_room(&mut self) {
        let Some(room) = self.room.take_if(|room| room.at_ms <= self.now_ms) else { return };
        let limit = &self.shared.limit;
        if room.failures == limit.failures() && limit.tell_room() {
            self.shared.tell_resumption();
        }
    }
}

impl Worker {
    /// Takes what the kernel has already accepted for us, then lets go of the sockets.
    pub(super) fn unlisten(&mut self) {
        self.context.full = false; // it looks again
        for at in 0..self.context.listeners.len() {
            self.accept(at, QUEUE);
            if let Some(listener) = &self.context.listeners[at] {
                self.context.epoll.remove(listener.fd());
            }
        }
        self.context.listeners.clear();
        self.context.full = false;
    }

    /// A connection has ended and somebody waited for its place: accepts what waits already, from the
    /// listeners in turn, before they are watched again.
    pub(super) fn refill(&mut self) {
        if !std::mem::take(&mut self.context.full) || self.context.paused_until.is_some() {
            return;
        }
        let count = self.context.listeners.len();
        for step in 0..count {
            self.accept_some((self.context.next_listener + step) % count);
        }
        self.context.next_listener = (self.context.next_listener + 1) % count.max(1);
        if self.context.is_accepting() {
            self.context.watch_again();
        }
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

    /// The client's socket, watched where a PROXY header is not waited for.
    fn endpoint(&self, socket: Tcp, route: &Route, remote: &Remote) -> Box<dyn Endpoint> {
        match route.header_in {
            HeaderIn::Off | HeaderIn::Require => Box::new(socket),
            _ if !is_trusted(remote, &self.context) => Box::new(Unbelieved::new(socket)),
            HeaderIn::Optional => Box::new(socket),
            HeaderIn::Lazy => Box::new(Lazy::new(socket)),
        }
    }

    /// Accepts at most `most` connections, none when there is no place for it.
    pub(super) fn accept(&mut self, at: usize, most: usize) {
        let Some(listener) = self.context.listeners.get(at).cloned().flatten() else { return };
        for _ in 0..most {
            if !self.context.is_accepting() {
                return;
            }
            if !self.context.shared.limit.take() {
                return self.context.await_room();
            }
            let accepted = sys::accept(listener.fd());
            if accepted.is_err() {
                self.context.shared.give_place_back();
            }
            match accepted {
                Ok((socket, address)) => {
                    self.context.shared.stats.open.fetch_add(1, Relaxed);
                    let remote = address.map_or_else(|| Remote::Unix("".into()), Remote::Socket);
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
        pool.replace(&[server.local_addr().unwrap().into()]);
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
