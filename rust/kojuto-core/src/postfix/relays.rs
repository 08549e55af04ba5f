//! Deliveries told apart by relay, with a bound on how many relays are.

use std::cmp::Reverse;
use std::collections::HashMap;

use super::Relay;
use super::fields::Delivery;
use super::tally::Tally;
use crate::stats::group_name::GroupName;

/// So many relays are followed; which of them have most deliveries is known only at the end.
/// What further ones deliver goes to the pool.
const MAX_FOLLOWED: usize = 4096;

/// DNS allows 255 bytes.
const MAX_HOST_BYTES: usize = 255;

#[derive(Debug, Clone, Default)]
pub(super) struct Relays {
    /// By host, in small letters: host names have no case.
    by_host: HashMap<Box<[u8]>, Tally>,
    pool: Tally,
    /// The host at hand, kept for its memory.
    host: Vec<u8>,
}

impl Relays {
    pub(super) fn add(&mut self, host: Option<&[u8]>, delivery: &Delivery) {
        let host = host.filter(|host| host.len() <= MAX_HOST_BYTES);
        let tally = match host {
            None => &mut self.pool,
            Some(host) => {
                self.host.clear();
                self.host.extend_from_slice(host);
                self.host.make_ascii_lowercase();
                if let Some(tally) = self.by_host.get_mut(&*self.host) {
                    tally
                } else if self.by_host.len() < MAX_FOLLOWED {
                    self.by_host.entry(self.host.as_slice().into()).or_default()
                } else {
                    &mut self.pool
                }
            }
        };
        tally.add(delivery);
    }

    pub(super) fn absorb(&mut self, other: Relays) {
        self.pool.absorb(other.pool);
        for (host, tally) in other.by_host {
            if let Some(own) = self.by_host.get_mut(&host) {
                own.absorb(tally);
            } else if self.by_host.len() < MAX_FOLLOWED {
                self.by_host.insert(host, tally);
            } else {
                self.pool.absorb(tally);
            }
        }
    }

    pub(super) fn report(self, max_groups: usize) -> Vec<Relay> {
        let mut all: Vec<(Box<[u8]>, Tally)> = self.by_host.into_iter().collect();
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
