//! The end of a connection: what the peers, the counters and the log are told of it.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use crate::relay::client::Client;
use crate::relay::context::Context;
use crate::relay::endpoint::{Party, Side};
use crate::relay::failure::Failure;
use crate::relay::tunnel::Tunnel;
use crate::relay::upstream::Lease;

#[derive(Default)]
pub(in crate::relay) struct Closing {
    /// None: it has ended as both sides wanted.
    pub(super) why: Option<Failure>,
    /// The client had ended its stream, all of which is passed on, and then closed.
    pub(super) parted: bool,
    pub(super) upstream: Option<Side>,
    pub(super) target: Option<Lease>,
    pub(super) tunnel: Option<Box<Tunnel>>,
    /// Payload bytes that the upstream has taken, and the client.
    pub(super) moved: (u64, u64),
    /// Those that nobody was there to take.
    pub(super) dropped: u64,
    /// The tap was told that it has opened.
    pub(super) tapped: bool,
}

impl Closing {
    /// Ends it; after a failure both peers see that their stream was cut.
    pub(in crate::relay) fn finish(mut self, mut client: Client, context: &mut Context) {
        if self.tunnel.is_none()
            && (self.moved, self.dropped) == ((0, 0), 0)
            && self.why.as_ref().is_some_and(Failure::is_departure)
        {
            self.why = None; // a check of the port, which is no failure
        }
        if let Some(why) = &self.why {
            client.side.end.reset(why.cut());
            if let Some(upstream) = &mut self.upstream {
                upstream.end.reset(why.cut());
            }
        }
        if self.parted {
            self.why = None; // it wanted nothing of what the upstream still had to say
        }
        client.set_timer(None, context);
        if self.tapped
            && let Some(tap) = &context.shared.tap
        {
            tap.closed(client.id);
        }
        let stats = &context.shared.stats;
        stats.open.fetch_sub(1, Relaxed);
        let ended = if self.why.is_none() { &stats.succeeded } else { &stats.failed };
        ended.fetch_add(1, Relaxed);
        if matches!(self.why, Some(Failure::Header(_))) {
            stats.header_failures.fetch_add(1, Relaxed);
        }
        let mut left_out = 0;
        let mut is_told = self.why.is_some() || client.is_logged(context);
        if matches!(self.why, Some(Failure::Refused(_))) {
            stats.refused.fetch_add(1, Relaxed);
            let line = context.shared.refusal_lines.take(Instant::now());
            (is_told, left_out) = (line.is_some(), line.unwrap_or(0));
        }
        if is_told {
            let line = self.line(&client, left_out);
            self.target = None; // who reads the line finds it counted as closed
            context.shared.log.write(&line);
        }
    }

    /// Its line; `left_out`: so many had none for the same reason.
    fn line(&self, client: &Client, left_out: u64) -> Vec<u8> {
        let (level, status) =
            if self.why.is_none() { ("info", "Suceeded") } else { ("warn", "Failed") };
        let mut line = client.line(level, "log");
        line = match (&self.tunnel, &self.target) {
            (Some(tunnel), _) => tunnel.describe(line),
            (None, Some(target)) => target.describe(line),
            (None, None) => line,
        };
        line = line
            .text("status", status)
            .number("read", self.moved.0)
            .number("write", self.moved.1)
            .seconds("duration", client.age().as_secs_f64());
        if let Some(tunnel) = &self.tunnel
            && tunnel.websocket == Party::Client
        {
            line = line.text("disconnect_at", tunnel.ended_at.unwrap_or("server"));
        }
        if let Some(round_trip) = self.tunnel.as_ref().and_then(|tunnel| tunnel.round_trip()) {
            line = line.seconds("ping_rtt", round_trip.as_secs_f64());
        }
        if self.dropped > 0 {
            line = line.number("dropped", self.dropped); // for a peer that had left
        }
        if let Some(why) = &self.why {
            line = line.text("error", &why.to_string());
        }
        if left_out > 0 {
            line = line.number("unlogged", left_out);
        }
        line.end()
    }
}
