//! The hosts of a run, and which of them what a socket tells is about.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Instant;

use kojuto_core::net::icmp::{self, Echo, Family, Mark};

use super::Plan;
use super::host::{Gate, Host};
use super::socket::Event;

pub(super) struct Book<'a> {
    pub(super) plan: &'a Plan,
    pub(super) hosts: Vec<Host>,
    /// Random, in every request.
    pub(super) token: u64,
    /// Which request of which host had a sequence number last.
    requests: HashMap<u16, (usize, usize)>,
    seq: u16,
    /// Whether the kernel has stamped anything, and whether a device has.
    pub(super) stamps: bool,
    pub(super) device_stamps: bool,
}

impl Book<'_> {
    pub(super) fn new(plan: &Plan, hosts: usize, token: u64) -> Book<'_> {
        Book {
            plan,
            hosts: (0..hosts).map(|_| Host::new()).collect(),
            token,
            requests: HashMap::new(),
            seq: (token >> 16) as u16,
            stamps: false,
            device_stamps: false,
        }
    }

    /// The next request to a host: its sequence number and its payload.
    pub(super) fn request(&mut self, index: usize) -> (u16, Vec<u8>) {
        self.seq = self.seq.wrapping_add(1);
        let number = self.hosts[index].next();
        self.requests.insert(self.seq, (index, number));
        let mark = Mark { token: self.token, host: index as u32, index: number as u32 };
        (self.seq, mark.encode(self.plan.payload_bytes))
    }

    /// Writes down what a socket of that family and identifier tells.
    pub(super) fn take(&mut self, family: Family, id: u16, event: Event<'_>) {
        let now = Instant::now();
        match event {
            Event::Sent { message, gate, at_ns } => {
                let len = icmp::HEADER_BYTES + self.plan.payload_bytes.max(icmp::MARK_BYTES);
                // The kernel gives the packet back with its lower headers before it.
                let start = message.len().saturating_sub(len);
                let echo = icmp::parse_request(family, &message[start..]);
                self.stamps = true;
                self.device_stamps |= gate == Gate::Device;
                if let Some((mark, seq)) = echo.and_then(|echo| self.ours(echo, id))
                    && let Some(host) = self.hosts.get_mut(mark.host as usize)
                {
                    host.stamp(mark.index as usize, seq, gate, at_ns, now);
                }
            }
            Event::Failed { message, to, words, verdict } => {
                let Some(echo) = icmp::parse_request(family, message) else { return };
                let Some(&(host, index)) = self.requests.get(&echo.seq) else { return };
                let host = &mut self.hosts[host];
                if echo.id == id && is_to(host, family, to) {
                    host.told(index, words, verdict, self.plan, now);
                }
            }
            Event::Received { message, from, at_ns } => {
                let echo = icmp::parse_reply(family, message);
                let Some((mark, seq)) = echo.and_then(|echo| self.ours(echo, id)) else { return };
                let Some(host) = self.hosts.get_mut(mark.host as usize) else { return };
                let Some(asked) = host.address.map(|address| address.ip()) else { return };
                if asked == from.ip() || asked.is_multicast() {
                    host.reply(mark.index as usize, seq, at_ns, self.plan, now);
                } else {
                    host.strange(mark.index as usize, seq, from);
                }
            }
        }
    }

    /// The mark and sequence of an echo message that this run sent.
    fn ours(&self, echo: Echo<'_>, id: u16) -> Option<(Mark, u16)> {
        let mark = Mark::decode(echo.payload)?;
        (echo.id == id && mark.token == self.token).then_some((mark, echo.seq))
    }
}

/// Whether an error about a packet to `to` may be about one to this host.
fn is_to(host: &Host, family: Family, to: Option<SocketAddr>) -> bool {
    host.address.is_some_and(|address| {
        address.is_ipv4() == (family == Family::V4) && to.is_none_or(|to| to.ip() == address.ip())
    })
}
