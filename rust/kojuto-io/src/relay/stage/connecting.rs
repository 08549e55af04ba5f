//! The way of a connection to its upstream.

use std::io;
use std::net::SocketAddr;

use super::opening::Opening;
use super::pumping::Pumping;
use super::race::{Attempt, Race, Runner, open};
use super::settling::Settling;
use super::{Closing, Event, Stage, failed, is_broken};
use crate::relay::client::Client;
use crate::relay::context::{Context, ms};
use crate::relay::endpoint::Party;
use crate::relay::failure::{AttemptFailure, Failure, Shortage};
use crate::relay::options::HeaderOut;
use crate::relay::shared::Starving;
use crate::relay::upstream::Lease;
use crate::sys::epoll;
use crate::sys::socket as sys;

/// How long to wait before asking for a descriptor once more.
const RETRY_MS: u64 = 20;
/// The pause between two rounds over all upstreams.
const ROUND_MS: u64 = 20;

pub(in crate::relay) struct Connecting {
    opening: Opening,
    wait: Wait,
}

/// What it waits for.
enum Wait {
    /// An upstream to come.
    Upstream { until_ms: u64 },
    /// A descriptor for a socket to the one that was chosen.
    Descriptor { attempt: Attempt, starving: Starving },
    /// Room in the backlog of the UNIX socket that was chosen, of which nobody tells.
    Backlog(Attempt),
    /// The answer of the one that was chosen, or of several.
    Answer(Race),
}

/// Tries one upstream after the other.
pub(super) fn connect(mut opening: Opening, client: &mut Client, context: &mut Context) -> Stage {
    loop {
        let Some(target) = opening.pick(client, context) else {
            return wait_or_give_up(opening, client, context);
        };
        let attempt = Attempt::new(target, context);
        match dial(opening, attempt, None, client, context) {
            Ok(stage) => return stage,
            Err(back) => opening = back,
        }
    }
}

/// Lets a client wait for an upstream to come, unless it is not to wait or has waited long enough.
fn wait_or_give_up(mut opening: Opening, client: &mut Client, context: &mut Context) -> Stage {
    if client.route.pool.waits_for_upstream() {
        let limit_ms = context.after(context.shared.options.connect_timeout);
        let until_ms = *opening.waits_until_ms.get_or_insert(limit_ms.unwrap_or(u64::MAX));
        if context.now_ms < until_ms {
            client.set_timer(Some(context.now_ms + ROUND_MS), context);
            return Stage::Connecting(Connecting { opening, wait: Wait::Upstream { until_ms } });
        }
    }
    let none = opening.tried.is_empty();
    let why = if none { Failure::NoUpstream } else { Failure::NoneReached };
    let line = client.line("error", "Giveup to connect backends").text("error", &why.to_string());
    context.shared.log.write(&line.end());
    failed(why)
}

/// Connects to the upstream that was chosen; gives the opening back when that failed.
fn dial(
    opening: Opening,
    mut attempt: Attempt,
    starving: Option<Starving>,
    client: &mut Client,
    context: &mut Context,
) -> Result<Stage, Opening> {
    let is_here = attempt.target.address.is_here();
    let is_unix = attempt.target.address.inet().is_none();
    let wait = match open(&attempt.target.address, client.place.token(Party::Upstream), context) {
        Ok(upstream) => {
            drop(starving);
            let runner = Runner { attempt, upstream };
            // Within one machine a handshake ends before connect(2) returns: no event need be
            // awaited.
            if is_here
                && talks_first(&opening, client, context)
                && sys::is_connected(runner.upstream.end.fd())
            {
                return Ok(established(opening, runner, client, context));
            }
            Wait::Answer(Race::begin(runner, client, context))
        }
        Err(error) if is_unix && error.kind() == io::ErrorKind::WouldBlock => {
            if !opening.is_last(client, context) {
                let head_start_ms = ms(client.route.pool.head_start(&attempt.target));
                attempt.deadline_ms = attempt.deadline_ms.min(context.now_ms + head_start_ms);
            }
            let retry_ms = attempt.deadline_ms.min(context.now_ms + RETRY_MS);
            client.set_timer(Some(retry_ms), context);
            Wait::Backlog(attempt)
        }
        Err(error) => match Shortage::of(error) {
            // Our own shortage is not the upstream's fault: wait for a descriptor.
            Ok(shortage) => {
                let starving = starving.unwrap_or_else(|| Starving::new(&context.shared));
                context.pause(&shortage);
                let retry_ms = attempt.deadline_ms.min(context.now_ms + RETRY_MS);
                client.set_timer(Some(retry_ms), context);
                Wait::Descriptor { attempt, starving }
            }
            Err(error) => {
                let why = AttemptFailure::Refused(error);
                opening.note_failure(attempt.target, &why, client, context);
                return Err(opening);
            }
        },
    };
    Ok(Stage::Connecting(Connecting { opening, wait }))
}

/// Whether the upstream is given bytes as soon as the connection is made.
fn talks_first(opening: &Opening, client: &Client, context: &Context) -> bool {
    let header = context.shared.options.header_out != HeaderOut::Off;
    (header || !opening.payload.is_empty()) && client.route.pool.settle_ms() == 0
}

fn established(
    opening: Opening,
    Runner { attempt, upstream }: Runner,
    client: &mut Client,
    context: &mut Context,
) -> Stage {
    context.shared.stats.connected_after(attempt.began.elapsed());
    match client.route.pool.settle_ms() {
        0 => Pumping::start(opening, attempt.target, upstream, client, context),
        settle_ms => Settling::begin(opening, attempt.target, upstream, settle_ms, client, context),
    }
}

impl Connecting {
    pub(super) fn on_event(
        self,
        event: Event<'_>,
        client: &mut Client,
        context: &mut Context,
    ) -> Stage {
        match event {
            Event::Ready { party: Party::Client, mask } => {
                client.side.saw(mask);
                if is_broken(mask) {
                    return self.close(Some(Failure::GoneEarly));
                }
                Stage::Connecting(self)
            }
            Event::Ready { party: Party::Upstream, mask } => self.answered(mask, client, context),
            Event::Rival => match self.wait {
                Wait::Answer(race) => look(self.opening, race, client, context),
                wait => Stage::Connecting(Connecting { opening: self.opening, wait }),
            },
            Event::TimedOut => self.timed_out(client, context),
            _ => Stage::Connecting(self),
        }
    }

    /// The upstream's socket has something to tell.
    fn answered(self, mask: u32, client: &mut Client, context: &mut Context) -> Stage {
        let Connecting { opening, wait } = self;
        let Wait::Answer(mut race) = wait else {
            return Stage::Connecting(Connecting { opening, wait });
        };
        let Some(runner) = race.only() else {
            return look(opening, race, client, context);
        };
        runner.upstream.saw(mask);
        if mask & epoll::HANGUP != 0
            && let Some(error) = sys::pending_error(runner.upstream.end.fd())
        {
            race.put_out(0, &AttemptFailure::Refused(error), &opening, client, context);
            return go_on(opening, race, client, context);
        }
        match if mask & epoll::WRITE == 0 { None } else { race.take_only() } {
            Some(runner) => established(opening, runner, client, context),
            None => Stage::Connecting(Connecting { opening, wait: Wait::Answer(race) }),
        }
    }

    fn timed_out(self, client: &mut Client, context: &mut Context) -> Stage {
        let Connecting { mut opening, wait } = self;
        match wait {
            Wait::Upstream { until_ms } => {
                if context.now_ms < until_ms {
                    opening.tried.clear();
                }
                connect(opening, client, context)
            }
            Wait::Descriptor { attempt, starving } if context.now_ms < attempt.deadline_ms => {
                dial(opening, attempt, Some(starving), client, context)
                    .unwrap_or_else(|opening| connect(opening, client, context))
            }
            Wait::Backlog(attempt) if context.now_ms < attempt.deadline_ms => {
                dial(opening, attempt, None, client, context)
                    .unwrap_or_else(|opening| connect(opening, client, context))
            }
            Wait::Backlog(attempt) => {
                opening.note_failure(attempt.target, &AttemptFailure::BacklogFull, client, context);
                connect(opening, client, context)
            }
            Wait::Descriptor { attempt, .. } => {
                opening.note_failure(attempt.target, &AttemptFailure::TimedOut, client, context);
                connect(opening, client, context)
            }
            Wait::Answer(mut race) => {
                race.timed_out(&mut opening, client, context);
                go_on(opening, race, client, context)
            }
        }
    }

    pub(super) fn goes_to(&self, address: SocketAddr) -> bool {
        match &self.wait {
            Wait::Upstream { .. } => false,
            Wait::Descriptor { attempt, .. } | Wait::Backlog(attempt) => {
                attempt.target.address.inet() == Some(address)
            }
            Wait::Answer(race) => race.goes_to(address),
        }
    }

    /// Where it is taken to, or the first of several.
    pub(super) fn target(&self) -> Option<&Lease> {
        match &self.wait {
            Wait::Upstream { .. } => None,
            Wait::Descriptor { attempt, .. } | Wait::Backlog(attempt) => Some(&attempt.target),
            Wait::Answer(race) => race.first(),
        }
    }

    pub(super) fn close(self, why: Option<Failure>) -> Stage {
        let (target, upstream) = match self.wait {
            Wait::Upstream { .. } => (None, None),
            Wait::Descriptor { attempt, .. } | Wait::Backlog(attempt) => {
                (Some(attempt.target), None)
            }
            Wait::Answer(race) => match race.into_first() {
                Some(Runner { attempt, upstream }) => (Some(attempt.target), Some(upstream)),
                None => (None, None),
            },
        };
        let dropped = self.opening.payload.len() as u64;
        Stage::Closing(Closing { why, target, upstream, dropped, ..Closing::default() })
    }
}

/// Looks whether one of several is connected.
fn look(opening: Opening, mut race: Race, client: &mut Client, context: &mut Context) -> Stage {
    match race.winner(&opening, client, context) {
        Some(runner) => established(opening, runner, client, context),
        None => go_on(opening, race, client, context),
    }
}

/// Waits for those that are on their way, or looks for another upstream when nobody is.
fn go_on(opening: Opening, race: Race, client: &mut Client, context: &mut Context) -> Stage {
    if race.is_over() {
        return connect(opening, client, context);
    }
    Stage::Connecting(Connecting { opening, wait: Wait::Answer(race) })
}
