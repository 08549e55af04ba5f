//! Deliveries told apart by relay, with a bound on how many relays are.

use std::cmp::Reverse;
use std::collections::HashMap;

use super::Relay;
use super::fields::Delivery;
use super::tally::Tally;

/// So many relays are followed; which of them have most deliveries is known only at the end.
/// What further ones deliver goes to the pool.
const MAX_FOLLOWED: usize = 4096;

/// DNS allows 255 bytes.
const MAX_HOST_BYTES: usize = 255;

/// The pool's name.
const OTHER: &str = "other";

#[derive(Debug, Clone, Default)]
pub(super) struct Relays {
    by_name: HashMap<String, (String, Tally)>,
    pool: Tally,
    /// The name at hand, kept for its memory.
    name: String,
}

impl Relays {
    pub(super) fn add(&mut self, host: Option<&[u8]>, delivery: &Delivery) {
        let host = host.filter(|host| host.len() <= MAX_HOST_BYTES);
        let tally = match host {
            None => &mut self.pool,
            Some(host) => {
                self.name.clear();
                self.name.extend(host.iter().map(|&b| name_character(b)));
                if self.name == OTHER {
                    &mut self.pool
                } else if let Some((_, tally)) = self.by_name.get_mut(&self.name) {
                    tally
                } else if self.by_name.len() < MAX_FOLLOWED {
                    let host = String::from_utf8_lossy(host).into_owned();
                    let entry = self.by_name.entry(self.name.clone());
                    &mut entry.or_insert((host, Tally::default())).1
                } else {
                    &mut self.pool
                }
            }
        };
        tally.add(delivery);
    }

    pub(super) fn absorb(&mut self, other: Relays) {
        self.pool.absorb(other.pool);
        for (name, (host, tally)) in other.by_name {
            if let Some((_, own)) = self.by_name.get_mut(&name) {
                own.absorb(tally);
            } else if self.by_name.len() < MAX_FOLLOWED {
                self.by_name.insert(name, (host, tally));
            } else {
                self.pool.absorb(tally);
            }
        }
    }

    pub(super) fn report(self, max_groups: usize) -> Vec<Relay> {
        let mut all: Vec<(String, (String, Tally))> = self.by_name.into_iter().collect();
        all.sort_unstable_by(|a, b| {
            (Reverse(a.1.1.total), &a.0).cmp(&(Reverse(b.1.1.total), &b.0))
        });
        let mut pool = self.pool;
        for (_, (_, tally)) in all.split_off(max_groups.min(all.len())) {
            pool.absorb(tally);
        }
        let mut relays: Vec<Relay> = all
            .into_iter()
            .map(|(name, (host, tally))| Relay { name, host, figures: tally.figures() })
            .collect();
        if pool.total > 0 {
            let figures = pool.figures();
            relays.push(Relay { name: OTHER.to_owned(), host: OTHER.to_owned(), figures });
        }
        relays
    }
}

/// What may stand in one part of a metric's name; host names have no case.
fn name_character(byte: u8) -> char {
    match byte.to_ascii_lowercase() {
        kept @ (b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_') => char::from(kept),
        _ => '_',
    }
}
