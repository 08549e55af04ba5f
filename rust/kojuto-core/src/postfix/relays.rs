//! Deliveries told apart by relay, with a bound on how many relays are.

use std::cmp::Reverse;

use super::Relay;
use super::fields::Delivery;
use super::tally::Tally;
use crate::stats::group_name::GroupName;
use crate::stats::space_saving::SpaceSaving;

/// So many relays are followed, those with most deliveries; which they are is known only at the end.
/// What the others deliver goes to the pool.
const MAX_FOLLOWED: usize = 4096;

/// DNS allows 255 bytes.
const MAX_HOST_BYTES: usize = 255;

#[derive(Debug, Clone)]
pub(super) struct Relays {
    /// By host, in small letters: host names have no case.
    by_host: SpaceSaving<Tally>,
    pool: Tally,
    /// The host at hand, kept for its memory.
    host: Vec<u8>,
}

impl Default for Relays {
    fn default() -> Relays {
        let by_host = SpaceSaving::new(MAX_FOLLOWED);
        Relays { by_host, pool: Tally::default(), host: Vec::new() }
    }
}

impl Relays {
    pub(super) fn add(&mut self, host: Option<&[u8]>, delivery: &Delivery) {
        let Some(host) = host.filter(|host| host.len() <= MAX_HOST_BYTES) else {
            return self.pool.add(delivery);
        };
        self.host.clear();
        self.host.extend_from_slice(host);
        self.host.make_ascii_lowercase();
        let pool = &mut self.pool;
        self.by_host
            .group(&self.host, |evicted| pool.absorb(std::mem::take(evicted)))
            .add(delivery);
    }

    pub(super) fn absorb(&mut self, other: Relays) {
        let pool = &mut self.pool;
        pool.absorb(other.pool);
        self.by_host
            .merge(other.by_host, Tally::absorb, |evicted| pool.absorb(std::mem::take(evicted)));
    }

    pub(super) fn report(self, max_groups: usize) -> Vec<Relay> {
        let mut all: Vec<(Box<[u8]>, Tally)> = self.by_host.into_groups().collect();
        all.sort_unstable_by(|a, b| (Reverse(a.1.total), &a.0).cmp(&(Reverse(b.1.total), &b.0)));
        let mut pool = self.pool;
        for (_, tally) in all.split_off(max_groups.min(all.len())) {
            pool.absorb(tally);
        }
        let mut relays: Vec<Relay> = all
            .into_iter()
            .map(|(host, tally)| Relay {
                host: GroupName::Value(host),
                figures: tally.figures(&[]),
            })
            .collect();
        if pool.total > 0 {
            relays.push(Relay { host: GroupName::Other, figures: pool.figures(&[]) });
        }
        relays
    }
}
