//! Connections while upstreams come and go: held back until the upstream has proved that it is
//! there, and made again when it was not. See [`Pool::set_settling`](crate::relay::Pool::set_settling).
//!
//! Nothing is ever sent twice. A connection is made again only while not a byte has been given to
//! the upstream: from then on a lost one may have done what it was asked for, and the client is
//! told of the loss instead.

use std::io;

use super::opening::Opening;
use super::pumping::Pumping;
use super::{Closing, Event, Stage, connect, is_broken};
use crate::relay::client::Client;
use crate::relay::context::Context;
use crate::relay::endpoint::{Party, Side};
use crate::relay::failure::{AttemptFailure, Failure};
use crate::relay::upstream::Lease;
use crate::sys::socket as sys;

pub(in crate::relay) struct Settling {
    opening: Opening,
    target: Lease,
    upstream: Side,
    until_ms: u64,
}

impl Settling {
    /// Holds the client's bytes back for a while; the upstream's word or silence decides.
    pub(super) fn begin(
        opening: Opening,
        target: Lease,
        upstream: Side,
        settle_ms: u64,
        client: &mut Client,
        context: &mut Context,
    ) -> Stage {
        let until_ms = context.now_ms + settle_ms;
        client.set_timer(Some(until_ms), context);
        Settling { opening, target, upstream, until_ms }.look(client, context)
    }

    pub(super) fn on_event(
        mut self,
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
                Stage::Settling(self)
            }
            Event::Ready { party: Party::Upstream, mask } => {
                self.upstream.saw(mask);
                self.look(client, context)
            }
            Event::TimedOut if self.until_ms > context.now_ms => {
                client.set_timer(Some(self.until_ms), context);
                Stage::Settling(self)
            }
            // Nothing was heard: good, unless the upstream was given up meanwhile.
            Event::TimedOut if client.route.pool.has(&self.target) => self.trust(client, context),
            Event::TimedOut => self.distrust(&AttemptFailure::Withdrawn, client, context),
            _ => Stage::Settling(self),
        }
    }

    /// Looks whether the upstream's socket has something to say.
    fn look(self, client: &mut Client, context: &mut Context) -> Stage {
        match sys::peek(self.upstream.end.fd(), &mut [0]) {
            Ok(1..) => self.trust(client, context),
            Ok(0) => self.distrust(&AttemptFailure::ClosedEarly, client, context),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Stage::Settling(self),
            Err(error) => self.distrust(&AttemptFailure::Refused(error), client, context),
        }
    }

    fn trust(self, client: &mut Client, context: &mut Context) -> Stage {
        Pumping::start(self.opening, self.target, self.upstream, client, context)
    }

    /// Goes on to the next upstream.
    fn distrust(self, why: &AttemptFailure, client: &mut Client, context: &mut Context) -> Stage {
        let Settling { opening, target, upstream, .. } = self;
        drop(upstream); // its descriptor may be the one that the next needs
        opening.note_failure(target, why, client, context);
        connect(opening, client, context)
    }

    pub(super) fn target(&self) -> &Lease {
        &self.target
    }

    pub(super) fn close(self, why: Option<Failure>) -> Stage {
        let (target, upstream) = (Some(self.target), Some(self.upstream));
        let dropped = self.opening.payload.len() as u64;
        Stage::Closing(Closing { why, target, upstream, dropped, ..Closing::default() })
    }
}
