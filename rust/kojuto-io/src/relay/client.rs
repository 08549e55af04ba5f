//! The client of a connection: who it is, where it came in, and its socket.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use kojuto_core::net::proxy_protocol::{Addresses, Header};
use kojuto_core::scan::json_line::JsonLine;

use super::context::Context;
use super::endpoint::{Beginning, Side};
use super::listener::Route;
use super::remote::Remote;
use super::slab::Place;
use crate::log::Log;

pub(super) struct Client {
    pub(super) id: u64,
    pub(super) place: Place,
    pub(super) route: Arc<Route>,
    pub(super) remote: Remote,
    /// The header said LOCAL: a health check, which is not worth a line in the log.
    pub(super) probe: bool,
    pub(super) side: Side,
    pub(super) began: Instant,
    timer_ms: Option<u64>,
}

impl Client {
    pub(super) fn new(
        place: Place,
        route: Arc<Route>,
        remote: Remote,
        side: Side,
        context: &Context,
    ) -> Client {
        let id = context.shared.next_id.fetch_add(1, Relaxed);
        let began = Instant::now();
        Client { id, place, route, remote, probe: false, side, began, timer_ms: None }
    }

    pub(super) fn age(&self) -> Duration {
        self.began.elapsed()
    }

    /// Takes over who it is from its PROXY header.
    pub(super) fn introduce(&mut self, header: &Header) {
        if header.local {
            return;
        }
        match &header.addresses {
            Addresses::Inet { source, .. } => self.remote = Remote::Socket(*source),
            Addresses::Unix { source, .. } => {
                self.remote = Remote::Unix(String::from_utf8_lossy(source).into());
            }
            Addresses::Unknown => {}
        }
    }

    /// Takes over who it is if its PROXY header has come after all, and tells the tap; answers how many
    /// bytes are held that may be the beginning of one.
    pub(super) fn look_at_beginning(&mut self, context: &Context) -> usize {
        match self.side.end.beginning() {
            Beginning::Nothing => 0,
            Beginning::Held { seen } => seen,
            Beginning::Header(header) => {
                if header.local {
                    self.probe = true;
                    context.shared.stats.probes.fetch_add(1, Relaxed);
                }
                self.introduce(&header);
                if let Some(tap) = &context.shared.tap {
                    tap.introduced(self.id, &self.remote);
                }
                0
            }
        }
    }

    /// Sets the connection's only timer, or clears it.
    pub(super) fn set_timer(&mut self, at_ms: Option<u64>, context: &mut Context) {
        context.timers.set(self.place.slot, &mut self.timer_ms, at_ms);
    }

    /// A log line with who it is.
    pub(super) fn line(&self, level: &str, message: &str) -> JsonLine {
        Log::line(level, message)
            .text("listener", &self.route.name)
            .text("remote-addr", &self.remote.to_string())
    }

    /// Whether the log is told of its coming and of a good end.
    pub(super) fn is_logged(&self, context: &Context) -> bool {
        let log = &context.shared.log;
        !log.is_quiet() && (!self.probe || log.is_verbose())
    }

    /// Tells the log that it has come.
    pub(super) fn announce(&self, context: &Context) {
        if self.is_logged(context) {
            let line = self.line("info", "log").text("status", "Connected");
            context.shared.log.write(&line.end());
        }
    }
}
