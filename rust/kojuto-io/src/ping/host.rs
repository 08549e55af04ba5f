//! One host of a run: its requests, and what becomes of each. It has neither socket nor clock.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::{Outcome, Plan};

/// The longest wait behind the last request, for a reply that may still come.
const LINGER_MOST: Duration = Duration::from_secs(1);
/// The shortest, where replies came at once.
const LINGER_LEAST: Duration = Duration::from_millis(10);
/// How many other addresses are told of, as replies came from them.
const STRANGERS: usize = 8;

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Phase {
    /// It has no address yet.
    Naming,
    /// The next request is to be sent then.
    Due(Instant),
    /// The next one waits for room in the buffer of its socket.
    NoRoom,
    /// The last request waits for its reply.
    Waiting,
    /// All is sent; replies count until then.
    Done(Instant),
}

/// Where on its way out a request was stamped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gate {
    /// Before the queue of the device, its next hop being known.
    Queue,
    /// The device took it.
    Device,
}

#[derive(Debug, Clone, PartialEq)]
enum Fate {
    Open,
    Answered(Duration),
    /// `refuted` by an ICMP error, which a reply within the time-out disproves.
    Lost {
        why: Cow<'static, str>,
        came_late: bool,
        refuted: bool,
    },
}

#[derive(Debug)]
struct Request {
    seq: u16,
    /// When it was given to the kernel, and the same by the clock of the kernel's stamps.
    sent: Instant,
    sent_ns: i64,
    /// When it was on its way, as far as is known: its time-out counts from here.
    away: Instant,
    queued_ns: Option<i64>,
    left_ns: Option<i64>,
    /// What a router said of it that decides nothing.
    remark: Option<&'static str>,
    fate: Fate,
}

impl Request {
    /// The round trip, and whether the kernel timed both ends.
    fn round_trip(&self, at_ns: Option<i64>, now: Instant) -> (Duration, bool) {
        let by_process = now.saturating_duration_since(self.sent);
        let start_ns = self.queued_ns.or(self.left_ns);
        let by_kernel = at_ns
            .and_then(|at| u64::try_from(at - start_ns.unwrap_or(self.sent_ns)).ok())
            .map(Duration::from_nanos)
            .filter(|&rtt| rtt <= by_process); // else the clock was stepped
        (by_kernel.unwrap_or(by_process), by_kernel.is_some() && start_ns.is_some())
    }

    fn why_no_reply(&self, stamps: bool, device_stamps: bool) -> Cow<'static, str> {
        match (self.remark, self.queued_ns, self.left_ns) {
            (Some(remark), ..) => format!("no reply (a router said: {remark})").into(),
            (None, None, None) if stamps => "no reply (next hop not found)".into(),
            (None, Some(_), None) if device_stamps => {
                "no reply (still in this machine's queue)".into()
            }
            _ => "no reply".into(),
        }
    }
}

#[derive(Debug)]
pub(super) struct Host {
    pub(super) address: Option<SocketAddr>,
    /// The place of its socket.
    pub(super) socket: usize,
    pub(super) phase: Phase,
    /// One for each request sent, the one that warms up first.
    requests: Vec<Request>,
    slowest: Duration,
    pub(super) outcome: Outcome,
}

impl Host {
    pub(super) fn new() -> Host {
        Host {
            address: None,
            socket: 0,
            phase: Phase::Naming,
            requests: Vec::new(),
            slowest: Duration::ZERO,
            outcome: Outcome::default(),
        }
    }

    /// The number of the next request.
    pub(super) fn next(&self) -> usize {
        self.requests.len()
    }

    /// A request was given to the kernel.
    pub(super) fn sent(&mut self, seq: u16, sent: Instant, sent_ns: i64) {
        self.requests.push(Request {
            seq,
            sent,
            sent_ns,
            away: sent,
            queued_ns: None,
            left_ns: None,
            remark: None,
            fate: Fate::Open,
        });
        self.phase = Phase::Waiting;
    }

    /// The system refused to send one at all, for a reason that waiting does not change.
    pub(super) fn refused(&mut self, seq: u16, why: String, plan: &Plan, now: Instant) {
        self.sent(seq, now, 0);
        self.lose(why.into(), false, plan, now);
    }

    /// When something is to be done; None while only others can help.
    pub(super) fn wakes(&self, plan: &Plan) -> Option<Instant> {
        match self.phase {
            Phase::Due(at) | Phase::Done(at) => Some(at),
            Phase::Waiting => self.requests.last().map(|request| request.away + plan.timeout),
            Phase::Naming | Phase::NoRoom => None,
        }
    }

    /// The kernel's stamp of a request on its way out; the first one of each gate counts.
    pub(super) fn stamp(&mut self, index: usize, seq: u16, gate: Gate, at_ns: i64, now: Instant) {
        let Some(request) = self.requests.get_mut(index).filter(|request| request.seq == seq)
        else {
            return;
        };
        let place = match gate {
            Gate::Queue => &mut request.queued_ns,
            Gate::Device => &mut request.left_ns,
        };
        if place.is_some() {
            return;
        }
        *place = Some(at_ns);
        // The time-out does not count while the next hop is asked for; a stepped clock is none.
        let held = u64::try_from(at_ns - request.sent_ns).unwrap_or(0);
        let away = request.sent + Duration::from_nanos(held);
        if gate == Gate::Queue && away <= now {
            request.away = away;
        }
        if let (Some(queued), Some(left)) = (request.queued_ns, request.left_ns)
            && index > 0
            && left >= queued
        {
            self.outcome.queues_ms.push((left - queued) as f64 / 1e6);
        }
    }

    /// What an ICMP error said of a request.
    pub(super) fn told(
        &mut self,
        index: usize,
        words: &'static str,
        verdict: bool,
        plan: &Plan,
        now: Instant,
    ) {
        let Some(request) = self.requests.get_mut(index) else { return };
        if request.fate != Fate::Open {
            return;
        }
        if verdict {
            self.lose(words.into(), true, plan, now);
        } else {
            request.remark = Some(words);
        }
    }

    /// The reply to a request. Within its time-out it counts, whatever was said before.
    pub(super) fn reply(
        &mut self,
        index: usize,
        seq: u16,
        at_ns: Option<i64>,
        plan: &Plan,
        now: Instant,
    ) {
        let Some(request) = self.requests.get_mut(index).filter(|request| request.seq == seq)
        else {
            return;
        };
        let counted = u32::from(index > 0);
        if matches!(request.fate, Fate::Answered(_) | Fate::Lost { came_late: true, .. }) {
            self.outcome.duplicates += counted;
            return;
        }
        let (rtt, stamped) = request.round_trip(at_ns, now);
        let was_open = request.fate == Fate::Open;
        self.slowest = self.slowest.max(rtt);
        if rtt <= plan.timeout {
            request.fate = Fate::Answered(rtt);
            self.outcome.stamped += if stamped { counted } else { 0 };
        } else {
            self.outcome.late += counted;
            let why = match std::mem::replace(&mut request.fate, Fate::Open) {
                Fate::Lost { why, .. } => why,
                _ => "no reply".into(),
            };
            request.fate = Fate::Lost { why, came_late: true, refuted: false };
        }
        if was_open {
            self.go_on(plan, now);
        }
    }

    /// A reply as to a request of ours, from an address that was not asked.
    pub(super) fn strange(&mut self, index: usize, seq: u16, from: SocketAddr) {
        let ours = self.requests.get(index).is_some_and(|request| request.seq == seq);
        let strangers = &mut self.outcome.strangers;
        let from = from.ip().to_string();
        if ours && index > 0 && (strangers.len() < STRANGERS || strangers.contains_key(&from)) {
            *strangers.entry(from).or_insert(0) += 1;
        }
    }

    /// Ends the request under way once its time is over.
    pub(super) fn time_out(
        &mut self,
        plan: &Plan,
        now: Instant,
        stamps: bool,
        device_stamps: bool,
    ) {
        if self.phase == Phase::Waiting
            && let Some(request) = self.requests.last()
            && now >= request.away + plan.timeout
        {
            self.lose(request.why_no_reply(stamps, device_stamps), false, plan, now);
        }
    }

    fn lose(&mut self, why: Cow<'static, str>, refuted: bool, plan: &Plan, now: Instant) {
        if let Some(request) = self.requests.last_mut() {
            request.fate = Fate::Lost { why, came_late: false, refuted };
        }
        self.go_on(plan, now);
    }

    fn go_on(&mut self, plan: &Plan, now: Instant) {
        let done = self.requests.len() > plan.count as usize;
        self.phase = if done {
            Phase::Done(self.listens_until(plan, now))
        } else {
            Phase::Due(now + plan.interval)
        };
    }

    /// How long replies may still come that change what is told.
    fn listens_until(&self, plan: &Plan, now: Instant) -> Instant {
        let refuted = self.requests.iter().skip(1).filter_map(|request| match request.fate {
            Fate::Lost { refuted: true, .. } => Some(request.away + plan.timeout),
            _ => None,
        });
        let mut until = refuted.max().unwrap_or(now).max(now);
        if plan.linger {
            let missing =
                |request: &Request| matches!(request.fate, Fate::Lost { came_late: false, .. });
            let one_more =
                if self.requests.last().is_some_and(missing) { plan.timeout } else { LINGER_LEAST };
            until = until.max(now + one_more.max(self.slowest * 2));
        }
        until.min(now + LINGER_MOST)
    }

    /// What came of it by now.
    pub(super) fn into_outcome(self, plan: &Plan) -> Outcome {
        let mut outcome = self.outcome;
        outcome.address = self.address;
        for request in self.requests.into_iter().skip(1) {
            match request.fate {
                Fate::Answered(rtt) => outcome.rtts_ms.push(Some(rtt.as_secs_f64() * 1e3)),
                Fate::Lost { why, .. } => {
                    outcome.rtts_ms.push(None);
                    *outcome.reasons.entry(why.into_owned()).or_insert(0) += 1;
                }
                Fate::Open => outcome.undecided += 1,
            }
        }
        let told = outcome.rtts_ms.len() + outcome.undecided as usize;
        outcome.unsent = plan.count.saturating_sub(told as u32);
        outcome
    }
}

#[cfg(test)]
mod tests;
