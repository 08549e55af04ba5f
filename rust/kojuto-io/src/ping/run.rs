//! A run: names, requests, replies and time-outs of all hosts, until all are done or the deadline.

use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use kojuto_core::net::icmp::{self, Echo, Family};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::book::Book;
use super::host::Phase;
use super::names::{self, Found, Names};
use super::socket::{Sending, zone_of};
use super::sockets::{Sockets, lacks_family};
use super::{Outcome, Plan};
use crate::sys::resolve::Unresolved;
use crate::{Cancel, Error, Result, words};

/// The longest wait between two looks for a pending signal.
const MAX_WAIT: Duration = Duration::from_millis(200);
/// The pause after the queue of the device was full.
const QUEUE_PAUSE: Duration = Duration::from_millis(10);

pub(super) struct Run<'a> {
    book: Book<'a>,
    sockets: Sockets,
    names: Names,
    zone: Option<u32>,
    next_send: Instant,
    ends: Instant,
}

/// Which descriptors have something to tell.
#[derive(Default)]
struct Ready {
    /// Places of sockets, and whether there is room to send.
    sockets: Vec<(usize, bool)>,
    interrupted: bool,
}

impl Run<'_> {
    pub(super) fn begin<'a>(hosts: &[String], plan: &'a Plan) -> Result<Run<'a>> {
        let start = Instant::now();
        let token = random()?;
        let zone = plan.way.interface.as_deref().map(zone_of).transpose()?;
        let want = names::narrowed(plan.want, plan.way.source);
        Ok(Run {
            book: Book::new(plan, hosts.len(), token),
            sockets: Sockets::new(plan.way.clone(), token as u16),
            names: Names::ask(hosts, want)?,
            zone,
            next_send: start,
            ends: start + plan.deadline,
        })
    }

    pub(super) fn all(mut self, cancel: &dyn Cancel) -> Result<Vec<Outcome>> {
        loop {
            let now = Instant::now();
            self.take_names()?;
            // What has arrived counts before time-outs do: a busy machine loses no reply.
            self.take_events(Duration::ZERO)?;
            self.end_timeouts(now);
            self.send_due();
            let Some(wake) = self.next_event() else { break };
            let wait = wake.saturating_duration_since(Instant::now()).min(MAX_WAIT);
            if self.take_events(wait)? {
                cancel.interrupted()?;
            }
            cancel.check()?;
        }
        let plan = self.book.plan;
        let outcome = |host: super::host::Host| {
            let unresolved = host.phase == Phase::Naming;
            let mut outcome = host.into_outcome(plan);
            if unresolved {
                outcome.unresolved = Some(Unresolved::Silent(plan.deadline));
            }
            outcome
        };
        Ok(self.book.hosts.into_iter().map(outcome).collect())
    }

    /// Begins with the hosts whose names have been found.
    fn take_names(&mut self) -> Result<()> {
        for (index, found) in self.names.news() {
            if let Err(why) = self.named(index, found)? {
                let host = &mut self.book.hosts[index];
                host.outcome.unresolved = Some(why);
                host.phase = Phase::Done(self.next_send);
            }
        }
        Ok(())
    }

    fn named(&mut self, index: usize, found: Found) -> Result<std::result::Result<(), Unresolved>> {
        let count = found.as_ref().map_or(0, Vec::len);
        let address = match found.and_then(|found| names::choose(&found, self.zone)) {
            Ok(address) => address,
            Err(why) => return Ok(Err(why)),
        };
        let socket = match self.sockets.place(family_of(&address)) {
            Ok(socket) => socket,
            Err(error) if lacks_family(&error) => return Ok(Err(Unresolved::Family)),
            Err(error) => return Err(error),
        };
        let host = &mut self.book.hosts[index];
        host.address = Some(address);
        host.socket = socket;
        host.outcome.addresses = count as u32;
        host.phase = Phase::Due(Instant::now());
        Ok(Ok(()))
    }

    /// The next time at which something is to be done; None when all is.
    fn next_event(&self) -> Option<Instant> {
        let (now, plan) = (Instant::now(), self.book.plan);
        let mut next: Option<Instant> = None;
        let mut open = false;
        for host in &self.book.hosts {
            let wakes = match (host.phase, host.wakes(plan)) {
                (Phase::Done(until), _) if until <= now => continue,
                (Phase::Due(_), Some(at)) => Some(at.max(self.next_send)),
                (_, wakes) => wakes,
            };
            open = true;
            next = match (next, wakes) {
                (Some(next), Some(at)) => Some(next.min(at)),
                (next, at) => next.or(at),
            };
        }
        (open && now < self.ends).then(|| next.unwrap_or(self.ends).min(self.ends))
    }

    fn send_due(&mut self) {
        let now = Instant::now();
        if now < self.next_send || now >= self.ends {
            return;
        }
        let due = |(index, host): (usize, &super::host::Host)| match host.phase {
            Phase::Due(at) if at <= now => Some((at, index)),
            _ => None,
        };
        if let Some((_, index)) = self.book.hosts.iter().enumerate().filter_map(due).min()
            && self.send(index)
        {
            self.next_send = now + self.book.plan.pace;
        }
    }

    /// Sends a host its next request; false when this machine had no room for it.
    fn send(&mut self, index: usize) -> bool {
        let (seq, payload) = self.book.request(index);
        let plan = self.book.plan;
        let host = &mut self.book.hosts[index];
        let Some(address) = host.address else { return false };
        let socket = &self.sockets.all[host.socket];
        let message =
            icmp::encode_request(socket.family, Echo { id: socket.id, seq, payload: &payload });
        let (sent, sent_ns) = (Instant::now(), realtime_ns());
        match socket.send(&message, address) {
            Sending::Done => host.sent(seq, sent, sent_ns),
            Sending::NoRoom => host.phase = Phase::NoRoom,
            Sending::QueueFull => host.phase = Phase::Due(sent + QUEUE_PAUSE),
            Sending::Refused(error) => {
                host.refused(seq, words(&error).to_lowercase(), plan, sent);
                return true;
            }
        }
        let held = host.phase != Phase::Waiting;
        host.outcome.held_back += u32::from(held);
        !held
    }

    fn end_timeouts(&mut self, now: Instant) {
        let Book { plan, stamps, device_stamps, .. } = self.book;
        for host in &mut self.book.hosts {
            host.time_out(plan, now, stamps, device_stamps);
        }
    }

    /// Waits for a descriptor or the time and takes what is there; true when a signal came.
    fn take_events(&mut self, at_most: Duration) -> Result<bool> {
        let ready = self.wait(at_most)?;
        for (place, room) in ready.sockets {
            let (book, socket) = (&mut self.book, &mut self.sockets.all[place]);
            let (family, id) = (socket.family, socket.id);
            socket.drain(|event| book.take(family, id, event));
            if room {
                let now = Instant::now();
                let waits = |host: &&mut super::host::Host| {
                    host.phase == Phase::NoRoom && host.socket == place
                };
                for host in self.book.hosts.iter_mut().filter(waits) {
                    host.phase = Phase::Due(now);
                }
            }
        }
        Ok(ready.interrupted)
    }

    fn wait(&self, at_most: Duration) -> Result<Ready> {
        let mut wanted = vec![PollFlags::IN; self.sockets.all.len()];
        for host in self.book.hosts.iter().filter(|host| host.phase == Phase::NoRoom) {
            wanted[host.socket] |= PollFlags::OUT;
        }
        let mut watched: Vec<PollFd<'_>> = Vec::with_capacity(wanted.len() + 1);
        for (socket, flags) in self.sockets.all.iter().zip(wanted) {
            watched.push(PollFd::from_borrowed_fd(socket.fd(), flags));
        }
        watched.push(PollFd::from_borrowed_fd(self.names.fd(), PollFlags::IN));
        let limit = Timespec::try_from(at_most).ok();
        match poll(&mut watched, limit.as_ref()) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(Ready { interrupted: true, ..Ready::default() }),
            Err(error) => return Err(Error::on("ICMP socket")(error.into())),
        }
        let told = |(place, fd): (usize, &PollFd<'_>)| {
            let events = fd.revents();
            (!events.is_empty()).then(|| (place, events.contains(PollFlags::OUT)))
        };
        let sockets = &watched[..self.sockets.all.len()];
        let sockets = sockets.iter().enumerate().filter_map(told).collect();
        Ok(Ready { sockets, interrupted: false })
    }
}

fn family_of(address: &SocketAddr) -> Family {
    if address.is_ipv4() { Family::V4 } else { Family::V6 }
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
