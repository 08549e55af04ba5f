//! ICMP round trips: one packet at a time to each host, all hosts side by side, from the question
//! for their addresses on.
//!
//! The time of a round trip is the kernel's, from its stamp of the request before the queue of the
//! device to its stamp of the reply arriving, so that neither the scheduler nor this process adds
//! to it, but a queue that any program would wait in does. A clock that is stepped meanwhile is
//! noticed by the monotonic clock, whose figure is then taken.

mod book;
mod host;
mod names;
mod notes;
mod run;
mod socket;
mod sockets;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::sys::resolve::{Unresolved, Want};
use crate::{Cancel, Result};

/// What to do for each host.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Which addresses of a name are wanted.
    pub want: Want,
    /// Counted round trips for each host, after one that warms up and is not counted.
    pub count: u32,
    /// How long to wait for each reply.
    pub timeout: Duration,
    /// The pause after a reply (or its time-out) before the next request to that host.
    pub interval: Duration,
    /// The least time between any two requests, whichever their hosts.
    pub pace: Duration,
    /// The end of it all, names included, counted from the start.
    pub deadline: Duration,
    /// Payload bytes of a request, at least [`kojuto_core::net::icmp::MARK_BYTES`].
    pub payload_bytes: usize,
    /// Whether to wait a little for late and repeated replies to the last request.
    pub linger: bool,
    /// How the packets leave.
    pub way: Way,
}

/// How the packets leave this machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Way {
    /// The address that they come from.
    pub source: Option<IpAddr>,
    /// The interface that they leave by.
    pub interface: Option<String>,
    /// Whether no router may cut them.
    pub dont_fragment: bool,
    /// Type of service of IPv4, traffic class of IPv6.
    pub tos: Option<u8>,
}

/// What came of one host.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Outcome {
    /// The address that was pinged.
    pub address: Option<SocketAddr>,
    /// How many addresses the name has, as far as they were asked for.
    pub addresses: u32,
    /// Why there is no address.
    pub unresolved: Option<Unresolved>,
    /// One entry for each counted request in the order sent: milliseconds, or None when lost.
    pub rtts_ms: Vec<Option<f64>>,
    /// How long requests stood in the queue of this machine's device, milliseconds.
    pub queues_ms: Vec<f64>,
    /// Replies that came again.
    pub duplicates: u32,
    /// Replies that came after their time-out; they stay lost.
    pub late: u32,
    /// Round trips timed by the kernel at both ends.
    pub stamped: u32,
    /// Requests that waited for their reply at the deadline.
    pub undecided: u32,
    /// Requests that were never sent before it.
    pub unsent: u32,
    /// How often this machine had no room to send one.
    pub held_back: u32,
    /// Why requests were lost, each reason with how often.
    pub reasons: BTreeMap<String, u32>,
    /// Replies as to our requests from addresses that were not asked; they never count.
    pub strangers: BTreeMap<String, u32>,
}

/// Pings every one of `names` (host names or addresses) by `plan` and answers their outcomes in
/// the same order.
///
/// # Errors
/// [`crate::Error::Io`] when no ICMP socket is allowed, or none as [`Way`] wants it;
/// [`crate::Error::Cancelled`].
pub fn ping(names: &[String], plan: &Plan, cancel: &dyn Cancel) -> Result<Vec<Outcome>> {
    run::Run::begin(names, plan)?.all(cancel)
}
