//! ICMP round trips: one packet at a time to each host, all hosts side by side.
//!
//! The time of a round trip is the kernel's, from its stamp of the request leaving to its stamp of
//! the reply arriving, so that neither the scheduler nor this process adds to it. A clock that is
//! stepped meanwhile is noticed by the monotonic clock, whose figure is then taken.

mod socket;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use kojuto_core::net::icmp::{self, Echo, Family, Mark};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::{Cancel, Error, Result, words};
use socket::{Event, IcmpSocket};

/// The longest wait between two looks for a pending signal.
const MAX_WAIT: Duration = Duration::from_millis(200);

/// What to do for each host.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Counted round trips for each host, after one that warms up and is not counted.
    pub count: u32,
    /// How long to wait for each reply.
    pub timeout: Duration,
    /// The pause after a reply (or its time-out) before the next request to that host.
    pub interval: Duration,
    /// The least time between any two requests, whichever their hosts.
    pub pace: Duration,
    /// Payload bytes of a request, at least [`icmp::MARK_BYTES`].
    pub payload_bytes: usize,
}

/// What came of one host.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Outcome {
    /// One entry for each counted request in the order sent: milliseconds, or None when lost.
    pub rtts_ms: Vec<Option<f64>>,
    /// Replies that came again.
    pub duplicates: u32,
    /// Replies that came after their time-out; they stay lost.
    pub late: u32,
    /// Round trips timed by the kernel at both ends.
    pub stamped: u32,
    /// Why requests were lost, each reason with how often.
    pub reasons: BTreeMap<String, u32>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Phase {
    Due(Instant),
    Waiting { seq: u16, sent: Instant, sent_ns: i64, stamped: bool },
    Done,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Fate {
    Open,
    Answered,
    Lost,
}

struct Host {
    address: SocketAddr,
    socket: usize,
    phase: Phase,
    /// One for each request sent, the one that warms up first.
    fates: Vec<Fate>,
    outcome: Outcome,
}

impl Host {
    /// Ends the request under way: `rtt_ms` when it was answered, else `why` not.
    fn finish(&mut self, rtt_ms: Option<f64>, why: &str, plan: &Plan, now: Instant) {
        let warm_up = self.fates.len() == 1;
        if let Some(last) = self.fates.last_mut() {
            *last = if rtt_ms.is_some() { Fate::Answered } else { Fate::Lost };
        }
        if !warm_up {
            self.outcome.rtts_ms.push(rtt_ms);
            if rtt_ms.is_none() {
                *self.outcome.reasons.entry(why.to_owned()).or_insert(0) += 1;
            }
        }
        let done = self.fates.len() > plan.count as usize;
        self.phase = if done { Phase::Done } else { Phase::Due(now + plan.interval) };
    }
}

/// Pings every address of `targets` by `plan` and answers their outcomes in the same order.
///
/// # Errors
/// [`Error::Io`] when no ICMP socket is allowed, [`Error::Cancelled`].
pub fn ping(targets: &[SocketAddr], plan: &Plan, cancel: &dyn Cancel) -> Result<Vec<Outcome>> {
    let token = random()?;
    let mut sockets: Vec<IcmpSocket> = Vec::new();
    let mut hosts = Vec::new();
    let start = Instant::now();
    for &address in targets {
        let family = if address.is_ipv4() { Family::V4 } else { Family::V6 };
        let socket = match sockets.iter().position(|socket| socket.family == family) {
            Some(found) => found,
            None => {
                sockets.push(IcmpSocket::open(family, token as u16)?);
                sockets.len() - 1
            }
        };
        let phase = Phase::Due(start);
        let outcome = Outcome::default();
        hosts.push(Host { address, socket, phase, fates: Vec::new(), outcome });
    }
    let mut run = Run { token, sockets, hosts, plan, seq: (token >> 16) as u16, next_send: start };
    run.all(cancel)?;
    Ok(run.hosts.into_iter().map(|host| host.outcome).collect())
}

struct Run<'a> {
    token: u64,
    sockets: Vec<IcmpSocket>,
    hosts: Vec<Host>,
    plan: &'a Plan,
    seq: u16,
    next_send: Instant,
}

impl Run<'_> {
    fn all(&mut self, cancel: &dyn Cancel) -> Result<()> {
        loop {
            // What has arrived counts before time-outs do: a busy machine loses no reply.
            self.take_events();
            self.end_timeouts();
            self.send_due();
            let Some(wake) = self.next_event() else { return Ok(()) };
            let wait = wake.saturating_duration_since(Instant::now()).min(MAX_WAIT);
            if self.wait(wait)? {
                cancel.interrupted()?;
            }
            cancel.check()?;
        }
    }

    /// The next time at which something is to be done; None when all hosts are done.
    fn next_event(&self) -> Option<Instant> {
        let of_host = |host: &Host| match host.phase {
            Phase::Due(at) => Some(at.max(self.next_send)),
            Phase::Waiting { sent, .. } => Some(sent + self.plan.timeout),
            Phase::Done => None,
        };
        self.hosts.iter().filter_map(of_host).min()
    }

    fn send_due(&mut self) {
        let now = Instant::now();
        if now < self.next_send {
            return;
        }
        let due = |(index, host): (usize, &Host)| match host.phase {
            Phase::Due(at) if at <= now => Some((at, index)),
            _ => None,
        };
        if let Some((_, index)) = self.hosts.iter().enumerate().filter_map(due).min() {
            self.send(index);
            self.next_send = now + self.plan.pace;
        }
    }

    fn send(&mut self, index: usize) {
        self.seq = self.seq.wrapping_add(1);
        let (seq, host) = (self.seq, &mut self.hosts[index]);
        let number = host.fates.len() as u32;
        let mark = Mark { token: self.token, host: index as u32, index: number };
        let payload = mark.encode(self.plan.payload_bytes);
        let socket = &mut self.sockets[host.socket];
        let echo = Echo { id: socket.id, seq, payload: &payload };
        let message = icmp::encode_request(socket.family, echo);
        host.fates.push(Fate::Open);
        let address = host.address;
        let mut sent = Instant::now();
        let mut sent_ns = realtime_ns();
        let mut result = socket.send(&message, address);
        if result.is_err() {
            // It may be an earlier packet's ICMP error, which the next call on a socket reports.
            self.take_events();
            sent = Instant::now();
            sent_ns = realtime_ns();
            result = self.sockets[self.hosts[index].socket].send(&message, address);
        }
        let host = &mut self.hosts[index];
        match result {
            Ok(()) => host.phase = Phase::Waiting { seq, sent, sent_ns, stamped: false },
            Err(error) => host.finish(None, &words(&error).to_lowercase(), self.plan, sent),
        }
    }

    fn end_timeouts(&mut self) {
        let now = Instant::now();
        for host in &mut self.hosts {
            if let Phase::Waiting { sent, .. } = host.phase
                && now >= sent + self.plan.timeout
            {
                host.finish(None, "no reply", self.plan, now);
            }
        }
    }

    fn take_events(&mut self) {
        let (hosts, plan, token) = (&mut self.hosts, self.plan, self.token);
        for socket in &mut self.sockets {
            let (family, id) = (socket.family, socket.id);
            socket.drain(|event| match event {
                Event::Sent { message, at_ns } => {
                    let len = icmp::HEADER_BYTES + plan.payload_bytes.max(icmp::MARK_BYTES);
                    // The kernel gives the packet back with its lower headers before it.
                    let start = message.len().saturating_sub(len);
                    let echo = icmp::parse_request(family, &message[start..]);
                    if let Some((mark, seq)) = echo.and_then(|echo| ours(echo, id, token))
                        && let Some(host) = hosts.get_mut(mark.host as usize)
                    {
                        stamp_sent(host, seq, at_ns);
                    }
                }
                Event::Failed { message, words } => {
                    let Some(echo) = icmp::parse_request(family, message) else { return };
                    let waits = |host: &&mut Host| {
                        host.address.is_ipv4() == (family == Family::V4)
                            && matches!(host.phase, Phase::Waiting { seq, .. } if seq == echo.seq)
                    };
                    if echo.id == id
                        && let Some(host) = hosts.iter_mut().find(waits)
                    {
                        host.finish(None, words, plan, Instant::now());
                    }
                }
                Event::Received { message, from, at_ns } => {
                    let echo = icmp::parse_reply(family, message);
                    if let Some((mark, seq)) = echo.and_then(|echo| ours(echo, id, token))
                        && let Some(host) = hosts.get_mut(mark.host as usize)
                        && (host.address.ip() == from.ip() || host.address.ip().is_multicast())
                    {
                        take_reply(host, mark.index as usize, seq, at_ns, plan);
                    }
                }
            });
        }
    }

    /// Waits for a socket or the time; true when a signal came.
    fn wait(&self, at_most: Duration) -> Result<bool> {
        let mut watched: Vec<PollFd<'_>> = self
            .sockets
            .iter()
            .map(|socket| PollFd::from_borrowed_fd(socket.fd(), PollFlags::IN))
            .collect();
        let limit = Timespec::try_from(at_most).ok();
        match poll(&mut watched, limit.as_ref()) {
            Ok(_) => Ok(false),
            Err(Errno::INTR) => Ok(true),
            Err(error) => Err(Error::on("ICMP socket")(error.into())),
        }
    }
}

/// The mark and sequence of an echo message that this run sent.
fn ours(echo: Echo<'_>, id: u16, token: u64) -> Option<(Mark, u16)> {
    let mark = Mark::decode(echo.payload)?;
    (echo.id == id && mark.token == token).then_some((mark, echo.seq))
}

fn stamp_sent(host: &mut Host, of: u16, at_ns: i64) {
    if let Phase::Waiting { seq, sent_ns, stamped, .. } = &mut host.phase
        && *seq == of
        && !*stamped
    {
        *sent_ns = at_ns;
        *stamped = true;
    }
}

fn take_reply(host: &mut Host, index: usize, of: u16, at_ns: Option<i64>, plan: &Plan) {
    let now = Instant::now();
    match host.fates.get(index) {
        Some(Fate::Answered) if index > 0 => host.outcome.duplicates += 1,
        Some(Fate::Lost) if index > 0 => host.outcome.late += 1,
        Some(Fate::Open) => {
            let Phase::Waiting { seq, sent, sent_ns, stamped } = host.phase else { return };
            if seq != of {
                return;
            }
            let by_process = now.duration_since(sent);
            let by_kernel = at_ns
                .and_then(|at| u64::try_from(at - sent_ns).ok())
                .map(Duration::from_nanos)
                .filter(|&rtt| rtt <= by_process); // else the clock was stepped
            let rtt = by_kernel.unwrap_or(by_process);
            if rtt > plan.timeout {
                host.finish(None, "no reply", plan, now);
                if index > 0 {
                    host.outcome.late += 1;
                }
                return;
            }
            if index > 0 && stamped && by_kernel.is_some() {
                host.outcome.stamped += 1;
            }
            host.finish(Some(rtt.as_secs_f64() * 1e3), "", plan, now);
        }
        _ => {}
    }
}

fn realtime_ns() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|since| i64::try_from(since.as_nanos()).ok())
        .unwrap_or(0)
}

fn random() -> Result<u64> {
    let mut bytes = [0u8; 8];
    crate::sys::random::fill(&mut bytes).map_err(Error::on("getrandom"))?;
    Ok(u64::from_be_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Never;

    const PLAN: Plan = Plan {
        count: 1,
        timeout: Duration::from_millis(1000),
        interval: Duration::ZERO,
        pace: Duration::ZERO,
        payload_bytes: 56,
    };

    /// A host whose first counted request left 50 ms ago, by the monotonic clock.
    fn waiting() -> Host {
        let sent = Instant::now() - Duration::from_millis(50);
        Host {
            address: "127.0.0.1:0".parse().unwrap(),
            socket: 0,
            phase: Phase::Waiting { seq: 7, sent, sent_ns: 5_000_000_000, stamped: true },
            fates: vec![Fate::Answered, Fate::Open],
            outcome: Outcome::default(),
        }
    }

    #[test]
    fn the_kernels_stamps_are_taken_and_a_stepped_clock_is_not() {
        for (step_ms, expected) in
            [(30, 30.0..30.1), (-3_600_000, 50.0..500.0), (3_600_000, 50.0..500.0)]
        {
            let mut host = waiting();
            let at = 5_000_000_000 + step_ms * 1_000_000;
            take_reply(&mut host, 1, 7, Some(at), &PLAN);
            let rtt = host.outcome.rtts_ms[0].unwrap();
            assert!(expected.contains(&rtt), "{step_ms}: {rtt}");
            assert_eq!(host.phase, Phase::Done);
        }
    }

    #[test]
    fn a_reply_after_the_time_out_by_its_stamp_is_lost_and_a_second_one_a_duplicate() {
        let plan = Plan { timeout: Duration::from_millis(20), ..PLAN };
        let mut host = waiting();
        take_reply(&mut host, 1, 7, Some(5_040_000_000), &plan);
        assert_eq!((host.outcome.rtts_ms[0], host.outcome.late), (None, 1));
        let mut host = waiting();
        take_reply(&mut host, 1, 8, Some(5_010_000_000), &PLAN); // another sequence number
        assert_eq!(host.outcome, Outcome::default());
        take_reply(&mut host, 1, 7, Some(5_010_000_000), &plan);
        take_reply(&mut host, 1, 7, Some(5_011_000_000), &plan);
        assert_eq!(
            (host.outcome.rtts_ms.as_slice(), host.outcome.duplicates),
            (&[Some(10.0)][..], 1)
        );
    }

    #[test]
    fn the_first_stamp_of_a_request_counts_and_the_one_that_warms_up_never_does() {
        let mut host = waiting();
        let Phase::Waiting { stamped, .. } = &mut host.phase else { unreachable!() };
        *stamped = false;
        stamp_sent(&mut host, 7, 5_020_000_000);
        stamp_sent(&mut host, 7, 5_029_000_000);
        take_reply(&mut host, 1, 7, Some(5_030_000_000), &PLAN);
        assert_eq!(host.outcome.rtts_ms, [Some(10.0)]);
        take_reply(&mut host, 0, 6, Some(5_031_000_000), &PLAN);
        assert_eq!((host.outcome.duplicates, host.outcome.late), (0, 0));
    }

    #[test]
    fn the_pause_between_two_requests_begins_with_the_end_of_the_first() {
        let plan = Plan { count: 2, interval: Duration::from_secs(3), ..PLAN };
        let (mut host, now) = (waiting(), Instant::now());
        host.finish(None, "no reply", &plan, now);
        assert_eq!(host.phase, Phase::Due(now + Duration::from_secs(3)));
        assert_eq!(host.outcome.reasons, BTreeMap::from([("no reply".to_owned(), 1)]));
    }

    #[test]
    fn nothing_to_ping_is_done_at_once() {
        assert_eq!(ping(&[], &PLAN, &Never).unwrap(), []);
    }
}
