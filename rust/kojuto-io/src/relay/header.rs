//! The PROXY header with which a client's connection may begin.

use std::io;
use std::sync::atomic::Ordering::Relaxed;

use kojuto_core::net::proxy_protocol::{self, Addresses, Header, Step};

use super::connection::Phase;
use super::failure::{Failure, HeaderFailure};
use super::options::HeaderIn;
use super::remote::Remote;
use super::worker::Worker;

/// The longest PROXY header that is accepted; nginx's own limit is half of it.
pub const HEADER_BYTES: usize = 8192;

impl Worker {
    pub(super) fn await_header(&mut self, slot: u32) {
        let timeout = Self::ms(self.shared.options.header_timeout);
        self.set_timer(slot, (timeout > 0).then_some(self.now_ms + timeout));
    }

    pub(super) fn read_header(&mut self, slot: u32) {
        loop {
            let Some(connection) = self.connections.get(slot) else { return };
            let optional = connection.route.header_in == HeaderIn::Optional;
            let Phase::Header(seen) = &mut connection.phase else { return };
            if !connection.client.readable {
                return;
            }
            let count = match connection.client.end.read(&mut self.tools.buffer[..HEADER_BYTES]) {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    connection.client.readable = false;
                    return;
                }
                Err(error) => return self.refuse(slot, HeaderFailure::Read(error)),
            };
            seen.extend_from_slice(&self.tools.buffer[..count]);
            match proxy_protocol::parse(seen, HEADER_BYTES) {
                Ok(Step::NeedMore) if count == 0 && optional => {
                    // Not a whole header, and nothing more will come: relayed as it is.
                    let payload = std::mem::take(seen);
                    connection.client.readable = true;
                    return self.without_header(slot, payload);
                }
                Ok(Step::NeedMore) if count == 0 => {
                    let seen = seen.len();
                    return self.refuse(slot, HeaderFailure::Ended { seen });
                }
                Ok(Step::NeedMore) => {}
                Ok(Step::NotProxy) if optional => {
                    let payload = std::mem::take(seen);
                    return self.without_header(slot, payload);
                }
                Ok(Step::NotProxy) => return self.refuse(slot, HeaderFailure::Missing),
                Ok(Step::Done { header, used }) => {
                    let payload = seen[used..].to_vec();
                    return self.with_header(slot, header, payload);
                }
                Err(error) => return self.refuse(slot, HeaderFailure::Malformed(error)),
            }
        }
    }

    fn is_trusted(&self, remote: &Remote) -> bool {
        let trusted = &self.shared.options.trusted;
        trusted.is_empty()
            || remote.ip().is_some_and(|ip| trusted.iter().any(|range| range.contains(ip)))
    }

    fn with_header(&mut self, slot: u32, header: Header, payload: Vec<u8>) {
        let Some(connection) = self.connections.get(slot) else { return };
        let remote = connection.remote.clone();
        if !self.is_trusted(&remote) {
            return self.refuse(slot, HeaderFailure::Untrusted);
        }
        let Some(connection) = self.connections.get(slot) else { return };
        if header.local {
            connection.probe = true;
            self.shared.stats.probes.fetch_add(1, Relaxed);
        } else {
            match &header.addresses {
                Addresses::Inet { source, .. } => connection.remote = Remote::Socket(*source),
                Addresses::Unix { source, .. } => {
                    connection.remote = Remote::Unix(String::from_utf8_lossy(source).into());
                }
                Addresses::Unknown => {}
            }
        }
        connection.header = Some(Box::new(header));
        self.announce(slot);
        self.connect(slot, payload);
    }

    pub(super) fn without_header(&mut self, slot: u32, payload: Vec<u8>) {
        self.announce(slot);
        self.connect(slot, payload);
    }

    pub(super) fn refuse(&mut self, slot: u32, why: HeaderFailure) {
        self.shared.stats.header_failures.fetch_add(1, Relaxed);
        self.fail(slot, Failure::Header(why));
    }
}
