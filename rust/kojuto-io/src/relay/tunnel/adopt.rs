//! Puts a connection that was handed over among the others, and keeps it from falling silent.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use kojuto_core::net::balance::Balance;

use super::Adopted;
use crate::relay::connection::{Connection, Phase};
use crate::relay::endpoint::{Party, Side};
use crate::relay::failure::Failure;
use crate::relay::listener::Route;
use crate::relay::options::HeaderIn;
use crate::relay::pump::Pump;
use crate::relay::tap::Direction;
use crate::relay::upstream::Pool;
use crate::relay::worker::{Worker, token};

impl Connection {
    /// When the WebSocket peer is due for a ping.
    pub(in crate::relay) fn ping_at_ms(&self) -> Option<u64> {
        let tunnel = self.tunnel.as_ref().filter(|tunnel| tunnel.ping_ms > 0)?;
        Some(self.active_ms.max(tunnel.pinged_ms).saturating_add(tunnel.ping_ms))
    }

    /// Sends the peer a ping, or as much of it as there is room for.
    pub(in crate::relay) fn ping(&mut self, now_ms: u64) -> io::Result<()> {
        let Some(tunnel) = &mut self.tunnel else { return Ok(()) };
        tunnel.pinged_ms = now_ms;
        let side = match tunnel.websocket {
            Party::Client => Some(&mut self.client),
            Party::Upstream => self.upstream.as_mut(),
        };
        let Some(side) = side else { return Ok(()) };
        side.end.ping();
        side.flush()
    }
}

impl Worker {
    /// Begins in the middle: both sides are connected.
    pub(in crate::relay) fn adopt(&mut self, adopted: Adopted) {
        let shared = Arc::clone(&self.shared);
        let (slot, generation) = self.connections.reserve();
        let fds = [adopted.client.fd(), adopted.upstream.fd()];
        let [client, upstream] = [adopted.client, adopted.upstream].map(|end| {
            let mut side = Side::new(end);
            side.readable = true; // what was read before may hide what is there now
            side
        });
        let pool = Arc::new(Pool::new(Balance::First, 0, String::new()));
        let mut connection = Connection {
            id: shared.next_id.fetch_add(1, Relaxed),
            route: Arc::new(Route { name: adopted.listener, pool, header_in: HeaderIn::Off }),
            remote: adopted.remote,
            probe: false,
            header: None,
            client,
            upstream: Some(upstream),
            target: None,
            tried: Vec::new(),
            phase: Phase::Pump,
            up: Pump::default(),
            down: Pump::default(),
            began: Instant::now(),
            active_ms: self.now_ms,
            timer_ms: None,
            tapped: false,
            watched: false,
            starving: false,
            patience_ms: None,
            tunnel: Some(Box::new(adopted.tunnel)),
        };
        if let (Some(tap), Some(peer)) = (&shared.tap, adopted.peer) {
            connection.tapped = true;
            tap.opened(connection.id, &connection.route.name, &connection.remote, peer);
        }
        for (data, pump, direction) in [
            (adopted.client_data, &mut connection.up, Direction::ToUpstream),
            (adopted.upstream_data, &mut connection.down, Direction::ToClient),
        ] {
            if data.is_empty() {
                continue;
            }
            if let Some(tap) = shared.tap.as_ref().filter(|tap| tap.wants(direction)) {
                tap.bytes(connection.id, direction, &data);
            }
            pump.preload(&[], &data);
        }
        self.connections.fill(slot, Box::new(connection));
        self.announce(slot);
        for (fd, upstream) in [(fds[0], false), (fds[1], true)] {
            if let Err(error) = self.epoll.add_stream(fd, token(slot, generation, upstream)) {
                return self.fail(slot, Failure::Watch(error));
            }
        }
        self.watch_silence(slot);
        self.pump(slot);
    }
}
