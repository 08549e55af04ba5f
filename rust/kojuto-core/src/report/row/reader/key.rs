//! What the figures of a line are counted under.

use super::super::super::figures::Figures;
use super::super::super::targets::Hash;
use super::super::super::totals::drop_into;
use super::super::{By, Counter, GROUP_SEPARATOR};
use super::{Reader, Row};
use crate::stats::space_saving::Place;

/// A longer key is cut.
pub(super) const MOST_KEY_BYTES: usize = 1024;

impl Reader<'_, '_> {
    /// Where the figures of a target are.
    #[inline]
    pub(super) fn place(&mut self, hash: Hash, method: &[u8], target: &[u8]) -> Place {
        let Counter { targets, totals, .. } = &mut *self.counter;
        match targets.find(hash) {
            Some(place) if totals.keys.again(place, 0).is_some() => place,
            _ => self.take_in(hash, method, target),
        }
    }

    #[inline(never)]
    fn take_in(&mut self, hash: Hash, method: &[u8], target: &[u8]) -> Place {
        self.make_key(method, target);
        let Counter { naming, targets, totals, key, .. } = &mut *self.counter;
        if !totals.keys.has_room_for(1) && totals.make_room(naming) {
            targets.forget();
        }
        let (pool, held_bytes) = (&mut totals.other, &mut totals.held_bytes);
        let drop = |figures: &mut Figures| {
            *held_bytes = held_bytes.saturating_sub(figures.allocated_bytes());
            drop_into(pool, figures);
        };
        let (place, _) = totals.keys.place(key, 0, drop);
        targets.put(hash, place);
        place
    }

    /// Puts what a target is counted under into the buffer for it.
    pub(super) fn make_key(&mut self, method: &[u8], target: &[u8]) {
        let Counter { naming, key, .. } = &mut *self.counter;
        key.clear();
        match self.naming {
            By::Request => naming.key_of_request(target, key),
            By::Fields | By::Path => naming.key(method, target, key),
            By::Group => key.extend_from_slice(target),
        }
        if key.len() > MOST_KEY_BYTES {
            key.truncate(MOST_KEY_BYTES);
            key.extend_from_slice("\u{2026}".as_bytes());
        }
    }

    /// The values that name the row, one behind the other.
    pub(super) fn join_groups(&self, row: &Row<'_, '_>, group: &mut Vec<u8>) {
        group.clear();
        for (at, extra) in self.groups.iter().enumerate() {
            if at > 0 {
                group.push(GROUP_SEPARATOR);
            }
            match &*self.value(row, extra) {
                b"" => group.push(b'-'),
                value => {
                    let value = &value[..value.len().min(MOST_KEY_BYTES)];
                    // Nothing of the log stands for what is between two values.
                    let plain = |byte: &u8| if *byte == GROUP_SEPARATOR { b'?' } else { *byte };
                    group.extend(value.iter().map(plain));
                }
            }
        }
    }
}
