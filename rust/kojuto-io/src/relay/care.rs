//! Connections while upstreams come and go: held back until the upstream has proved that it is
//! there, and made again when it was not. See [`Pool::set_care`](super::Pool::set_care).
//!
//! Nothing is ever sent twice. A connection is made again only while not a byte has been given to
//! the upstream: from then on a lost one may have done what it was asked for, and the client is
//! told of the loss instead.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use super::connection::Phase;
use super::failure::{AttemptFailure, Failure};
use super::upstream::Pool;
use super::worker::Worker;
use crate::sys::socket as sys;

/// The pause between two rounds over all upstreams.
const ROUND_MS: u64 = 20;

impl Worker {
    /// Holds the client's bytes back for a while; the upstream's word or silence decides.
    pub(super) fn settle(&mut self, slot: u32, payload: Vec<u8>, settle_ms: u64) {
        let until_ms = self.now_ms + settle_ms;
        let Some(connection) = self.connections.get(slot) else { return };
        connection.phase = Phase::Settle { payload, until_ms };
        self.set_timer(slot, Some(until_ms));
        self.settling(slot);
    }

    /// The upstream's socket has something to say.
    pub(super) fn settling(&mut self, slot: u32) {
        let Some(connection) = self.connections.get(slot) else { return };
        let Some(side) = &connection.upstream else { return };
        match sys::peek(side.end.fd(), &mut [0]) {
            Ok(1..) => self.trust(slot),
            Ok(0) => self.attempt_failed(slot, AttemptFailure::ClosedEarly),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => self.attempt_failed(slot, AttemptFailure::Refused(error)),
        }
    }

    /// The time is up, and nothing was heard: good, unless the upstream was given up meanwhile.
    pub(super) fn settled(&mut self, slot: u32) {
        let now_ms = self.now_ms;
        let Some(connection) = self.connections.get(slot) else { return };
        if let Phase::Settle { until_ms, .. } = connection.phase
            && until_ms > now_ms
        {
            return self.set_timer(slot, Some(until_ms));
        }
        let pool = &connection.route.pool;
        if connection.target.as_ref().is_some_and(|target| pool.has(target)) {
            self.trust(slot);
        } else {
            self.attempt_failed(slot, AttemptFailure::Withdrawn);
        }
    }

    fn trust(&mut self, slot: u32) {
        let Some(connection) = self.connections.get(slot) else { return };
        if let Phase::Settle { payload, .. } = std::mem::replace(&mut connection.phase, Phase::Pump)
        {
            self.start(slot, &payload);
        }
    }

    /// Lets a client wait for an upstream to come; false when it has waited long enough, or is
    /// not to wait at all.
    pub(super) fn wait_for_upstream(&mut self, slot: u32, payload: &[u8]) -> bool {
        let timeout = Self::ms(self.shared.options.connect_timeout);
        let now_ms = self.now_ms;
        let Some(connection) = self.connections.get(slot) else { return false };
        if !connection.route.pool.is_patient() {
            return false;
        }
        let limit = if timeout > 0 { now_ms + timeout } else { u64::MAX };
        let until_ms = *connection.patience_ms.get_or_insert(limit);
        if now_ms >= until_ms {
            return false;
        }
        connection.phase = Phase::Connect {
            payload: payload.to_vec(),
            deadline_ms: until_ms,
            began: Instant::now(),
        };
        self.set_timer(slot, Some(now_ms + ROUND_MS));
        true
    }

    /// Ends a connection if it goes to this upstream, which has had its time.
    pub(super) fn cut_off(&mut self, slot: u32, pool: &Arc<Pool>, address: SocketAddr) {
        let Some(connection) = self.connections.get(slot) else { return };
        let there = connection.target.as_ref().is_some_and(|target| target.address == address);
        if there && Arc::ptr_eq(&connection.route.pool, pool) {
            self.fail(slot, Failure::Replaced);
        }
    }

    /// Starts another round over all upstreams.
    pub(super) fn try_all_again(&mut self, slot: u32) {
        let Some(connection) = self.connections.get(slot) else { return };
        connection.tried.clear();
        let payload = match &mut connection.phase {
            Phase::Connect { payload, .. } => std::mem::take(payload),
            _ => return,
        };
        self.set_timer(slot, None);
        self.connect(slot, payload);
    }
}
