//! Accepting: as many as there is room for, and at the end what waits already.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::connection::words;
use super::endpoint::{Side, Tcp};
use super::listener::Listener;
use super::remote::Remote;
use super::worker::{LISTENER_TOKEN, Worker};
use crate::log::Log;
use crate::sys::socket::{self as sys, QUEUE};

/// How long accepting rests when there are no descriptors, or too many connections.
const PAUSE_MS: u64 = 20;

impl Worker {
    pub(super) fn watch(&self, at: usize, listener: &Listener) {
        if let Err(error) = self.epoll.add_listener(listener.fd(), LISTENER_TOKEN | at as u64) {
            let line = Log::line("error", "cannot watch a listening socket");
            let line = line.text("listener", &listener.route.name).text("error", &words(&error));
            self.shared.log.write(&line.end());
        }
    }

    /// Takes what the kernel has already accepted for us, then lets go of the socket.
    pub(super) fn unlisten(&mut self, at: usize) {
        if self.paused_until.is_none() {
            self.accept(at, QUEUE);
        }
        if let Some(listener) = self.listeners[at].take() {
            self.epoll.remove(listener.fd());
        }
    }

    /// Accepts at most `most` connections, none when there is no place for it.
    pub(super) fn accept(&mut self, at: usize, most: usize) {
        let Some(listener) = self.listeners[at].clone() else { return };
        for _ in 0..most {
            if self.paused_until.is_some() {
                return;
            }
            if !self.shared.reserve() {
                let limit = self.shared.options.max_connections;
                self.pause(&format!("the limit of {limit} connections is reached"));
                return;
            }
            let accepted = sys::accept(listener.fd());
            self.shared.settle_place(accepted.is_ok());
            match accepted {
                Ok((socket, address)) => {
                    let remote = address.map_or_else(|| Remote::Unix("".into()), Remote::Socket);
                    self.shared.accepting_again();
                    self.begin(
                        Arc::clone(&listener.route),
                        Side::new(Box::new(Tcp::new(socket))),
                        remote,
                    );
                }
                Err(error) => match error.raw_os_error() {
                    Some(libc::EAGAIN) => return,
                    Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => {
                        self.pause(&words(&error));
                        return;
                    }
                    // The peer has gone already, or a network error that accept(2) hands on.
                    _ => {}
                },
            }
        }
    }

    /// Stops accepting for a moment, whatever the reason; the log is told once.
    pub(super) fn pause(&mut self, why: &str) {
        self.tools.pipes.clear();
        self.shared.pausing(why);
        if self.stopping {
            return;
        }
        if self.paused_until.replace(self.now_ms + PAUSE_MS).is_none() {
            for listener in self.listeners.iter().flatten() {
                self.epoll.remove(listener.fd());
            }
        }
    }

    /// Those who were accepted and still lack a descriptor for their upstream come first: else
    /// clients could take every descriptor there is and none of them be served.
    pub(super) fn resume(&mut self) {
        if self.shared.starving.load(Relaxed) > 0 {
            self.paused_until = Some(self.now_ms + PAUSE_MS);
            return;
        }
        self.paused_until = None;
        for (at, listener) in self.listeners.iter().enumerate() {
            if let Some(listener) = listener {
                self.watch(at, listener);
            }
        }
    }
}
