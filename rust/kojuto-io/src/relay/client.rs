//! The client of a connection: who it is, where it came in, and its socket.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use kojuto_core::scan::json_line::JsonLine;

use super::context::Context;
use super::endpoint::Side;
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
    began: Instant,
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
