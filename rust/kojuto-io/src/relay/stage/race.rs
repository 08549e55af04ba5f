//! Connections on their way to an upstream: to one, or to several at once, of which the first that is
//! made is taken ("happy eyeballs", RFC 8305, 5).

use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::time::Instant;

use super::opening::Opening;
use crate::relay::client::Client;
use crate::relay::context::{Context, ms};
use crate::relay::endpoint::{Party, Side, Tcp};
use crate::relay::failure::{AttemptFailure, Shortage};
use crate::relay::near;
use crate::relay::upstream::{Address, Lease};
use crate::sys::socket as sys;

/// One upstream that was chosen, and when to give it up.
pub(super) struct Attempt {
    pub(super) target: Lease,
    pub(super) began: Instant,
    pub(super) deadline_ms: u64,
}

impl Attempt {
    pub(super) fn new(target: Lease, context: &Context) -> Attempt {
        let deadline_ms = context.after(context.shared.options.connect_timeout);
        Attempt { target, began: Instant::now(), deadline_ms: deadline_ms.unwrap_or(u64::MAX) }
    }
}

/// An attempt with its socket.
pub(super) struct Runner {
    pub(super) attempt: Attempt,
    pub(super) upstream: Side,
}

/// Those that are on their way, in the order in which they began.
pub(super) struct Race {
    runners: Vec<Runner>,
    /// When another one joins; None: nobody is left.
    next_ms: Option<u64>,
}

impl Race {
    /// The race of one, who is given time before another one joins.
    pub(super) fn begin(runner: Runner, client: &mut Client, context: &mut Context) -> Race {
        let next_ms = Some(context.now_ms + head_start_ms(&runner, client));
        let race = Race { runners: vec![runner], next_ms };
        race.set_timer(client, context);
        race
    }

    fn set_timer(&self, client: &mut Client, context: &mut Context) {
        let deadlines = self.runners.iter().map(|runner| runner.attempt.deadline_ms);
        let first = deadlines.filter(|&at_ms| at_ms < u64::MAX).chain(self.next_ms).min();
        client.set_timer(first, context);
    }

    /// The one that an event of the upstream's socket is about; None where there are several.
    pub(super) fn only(&mut self) -> Option<&mut Runner> {
        match &mut self.runners[..] {
            [only] => Some(only),
            _ => None,
        }
    }

    /// Takes the first that is connected, and puts out those that have failed.
    pub(super) fn winner(
        &mut self,
        opening: &Opening,
        client: &mut Client,
        context: &mut Context,
    ) -> Option<Runner> {
        let mut at = 0;
        while at < self.runners.len() {
            let fd = self.runners[at].upstream.end.fd();
            if let Some(error) = sys::pending_error(fd) {
                self.put_out(at, &AttemptFailure::Refused(error), opening, client, context);
                self.next_ms = self.next_ms.map(|_| context.now_ms); // its place is free
            } else if sys::is_connected(fd) {
                return Some(self.finish(at, opening, client, context));
            } else {
                at += 1;
            }
        }
        self.set_timer(client, context);
        None
    }

    /// Of those that began before the winner each was given its time.
    fn finish(
        &mut self,
        at: usize,
        opening: &Opening,
        client: &Client,
        context: &Context,
    ) -> Runner {
        let winner = self.runners.remove(at);
        for runner in self.runners.drain(..at) {
            let waited = runner.attempt.began.elapsed();
            let why = AttemptFailure::Overtaken(waited);
            opening.note_failure(runner.attempt.target, &why, client, context);
        }
        self.runners.clear();
        let token = client.place.token(Party::Upstream);
        // The socket is watched already: nothing of it can be lacking.
        let _ = context.epoll.rename_stream(winner.upstream.end.fd(), token);
        winner
    }

    /// One of them has failed.
    pub(super) fn put_out(
        &mut self,
        at: usize,
        why: &AttemptFailure,
        opening: &Opening,
        client: &Client,
        context: &Context,
    ) {
        let Runner { attempt, upstream } = self.runners.remove(at);
        drop(upstream); // its descriptor may be the one that the next needs
        opening.note_failure(attempt.target, why, client, context);
    }

    /// Puts out those whose time is over, and has another one join when it is time for that.
    pub(super) fn timed_out(
        &mut self,
        opening: &mut Opening,
        client: &mut Client,
        context: &mut Context,
    ) {
        let now_ms = context.now_ms;
        let is_over = |runner: &Runner| runner.attempt.deadline_ms <= now_ms;
        while let Some(at) = self.runners.iter().position(is_over) {
            self.put_out(at, &AttemptFailure::TimedOut, opening, client, context);
        }
        if !self.is_over() && self.next_ms.is_some_and(|at_ms| at_ms <= now_ms) {
            self.next_ms = self.join(opening, client, context);
        }
        self.set_timer(client, context);
    }

    /// Has another one join; answers when the next but one does.
    fn join(
        &mut self,
        opening: &mut Opening,
        client: &mut Client,
        context: &mut Context,
    ) -> Option<u64> {
        let rival = client.place.rival_token();
        if let [first] = &self.runners[..] {
            // From now on events must not be told under the token that the winner is given.
            context.epoll.rename_stream(first.upstream.end.fd(), rival).ok()?;
        }
        loop {
            let attempt = Attempt::new(opening.pick(client, context)?, context);
            match open(&attempt.target.address, rival, context) {
                Ok(upstream) => {
                    let runner = Runner { attempt, upstream };
                    let next_ms = context.now_ms + head_start_ms(&runner, client);
                    self.runners.push(runner);
                    return Some(next_ms);
                }
                Err(error) => match Shortage::of(error) {
                    // Who is on the way already needs nothing more.
                    Ok(_) => return None,
                    Err(error) => {
                        let why = AttemptFailure::Refused(error);
                        opening.note_failure(attempt.target, &why, client, context);
                    }
                },
            }
        }
    }

    /// Whether nobody is on the way any more.
    pub(super) fn is_over(&self) -> bool {
        self.runners.is_empty()
    }

    pub(super) fn goes_to(&self, address: SocketAddr) -> bool {
        self.runners.iter().any(|runner| runner.attempt.target.address.inet() == Some(address))
    }

    /// Where the first one goes.
    pub(super) fn first(&self) -> Option<&Lease> {
        self.runners.first().map(|runner| &runner.attempt.target)
    }

    /// Takes the only one that is on its way.
    pub(super) fn take_only(&mut self) -> Option<Runner> {
        self.only().is_some().then(|| self.runners.remove(0))
    }

    /// The first that is still on its way.
    pub(super) fn into_first(self) -> Option<Runner> {
        self.runners.into_iter().next()
    }
}

fn head_start_ms(runner: &Runner, client: &Client) -> u64 {
    ms(client.route.pool.head_start(&runner.attempt.target))
}

/// A socket on its way to the upstream.
pub(super) fn open(address: &Address, token: u64, context: &Context) -> std::io::Result<Side> {
    let socket = match address {
        Address::Inet(address) => sys::connect(address, |fd| {
            if address.ip().is_loopback() {
                near::never_pace(fd);
            }
        })?,
        Address::Unix(path) => sys::connect_unix(path)?,
    };
    context.epoll.add_stream(socket.as_raw_fd(), token)?;
    let mut upstream = Side::new(Box::new(Tcp::new(socket)));
    upstream.writable = false;
    Ok(upstream)
}
