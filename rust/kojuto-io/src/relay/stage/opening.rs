//! What a connection has until its bytes are moved: what the client has said, and which upstreams
//! were tried.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::Ordering::Relaxed;

use kojuto_core::net::proxy_protocol::{self, Addresses, Header};

use crate::log::Log;
use crate::relay::client::Client;
use crate::relay::context::Context;
use crate::relay::failure::AttemptFailure;
use crate::relay::options::HeaderOut;
use crate::relay::remote::Remote;
use crate::relay::upstream::{Address, Lease};
use crate::sys::socket as sys;

pub(super) struct Opening {
    /// What the client has said behind its header.
    pub(super) payload: Vec<u8>,
    /// What the client's PROXY header said, for the one that is sent on.
    header: Option<Box<Header>>,
    /// Whom this round over the upstreams has met.
    pub(super) tried: Vec<Address>,
    /// Until when to try all upstreams again and again; set once there was none left.
    pub(super) waits_until_ms: Option<u64>,
}

impl Opening {
    pub(super) fn new(payload: Vec<u8>, header: Option<Header>) -> Opening {
        let header = header.map(Box::new);
        Opening { payload, header, tried: Vec::new(), waits_until_ms: None }
    }

    /// Chooses the next upstream, which is not chosen again in this round.
    pub(super) fn pick(&mut self, client: &Client, context: &mut Context) -> Option<Lease> {
        let random = context.random();
        let most = context.shared.options.max_attempts;
        if most > 0 && self.tried.len() >= most {
            return None;
        }
        let found = client.route.pool.pick(&client.remote, &self.tried, most, random)?;
        self.tried.push(found.address.clone());
        Some(found)
    }

    /// Whether no other upstream is left to try in this round.
    pub(super) fn is_last(&self, client: &Client, context: &Context) -> bool {
        let (most, count) =
            (context.shared.options.max_attempts, client.route.pool.members().len());
        self.tried.len() >= if most == 0 { count } else { most.min(count) }
    }

    /// Counts a failure against the upstream.
    pub(super) fn note_failure(
        &self,
        target: Lease,
        why: &AttemptFailure,
        client: &Client,
        context: &Context,
    ) {
        context.shared.stats.connect_failures.fetch_add(1, Relaxed);
        if self.waits_until_ms.is_none() {
            let line = client.line("warn", "Failed to connect backend");
            let line = target.describe(line).text("error", &why.to_string());
            context.shared.log.write(&line.end());
        }
        let upstream = target.upstream();
        if let Some(rest) = client.route.pool.failed(target) {
            let line = upstream.describe(Log::line("warn", "Upstream left out"));
            context.shared.log.write(&line.seconds("seconds", rest.as_secs_f64()).end());
        }
    }

    /// The header that the upstream is to be sent before the client's bytes.
    pub(super) fn header_for_upstream(&self, client: &Client, context: &Context) -> Vec<u8> {
        let addresses = || self.addresses(client, sys::local_address(client.side.end.fd()));
        match context.shared.options.header_out {
            HeaderOut::Off => Vec::new(),
            HeaderOut::V1 => proxy_protocol::write_v1(&addresses()),
            HeaderOut::V2 => proxy_protocol::write_v2(&addresses()),
        }
    }

    /// The addresses that it names.
    fn addresses(&self, client: &Client, local: io::Result<SocketAddr>) -> Addresses {
        if let Some(header) = &self.header {
            if client.probe {
                return Addresses::Unknown;
            }
            if header.addresses != Addresses::Unknown {
                return header.addresses.clone();
            }
        }
        match (&client.remote, local) {
            (Remote::Socket(source), Ok(destination)) => {
                Addresses::Inet { source: *source, destination, datagram: false }
            }
            _ => Addresses::Unknown,
        }
    }
}
