//! Tokens that were checked, each for as long as the answer holds.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock};

use hyper::header::{HeaderName, HeaderValue};

/// The headers of an answer that show claims of its token.
pub type Shown = Option<Arc<[(HeaderName, HeaderValue)]>>;

/// What is known of a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// It is good, and names this service; what is shown of it.
    Good(usize, Shown),
    /// It was refused, and always will be.
    Bad,
}

struct Entry {
    token: Box<[u8]>,
    service: usize,
    not_before_s: f64,
    not_after_s: f64,
    shown: Shown,
    /// The turn in which it was last asked for.
    used: AtomicU64,
}

/// A bounded set of tokens. Those that are good and those that are bad have room of their own, so
/// that a flood of bad ones drives no good one out.
///
/// Tokens are found by a hash with a random key and compared in a time that does not depend on
/// where they differ.
pub struct Tokens {
    size: usize,
    prune: usize,
    hasher: RandomState,
    good: RwLock<HashMap<u64, Entry>>,
    bad: RwLock<HashMap<u64, Box<[u8]>>>,
    turn: AtomicU64,
}

fn same(a: &[u8], b: &[u8]) -> bool {
    let differing = a.iter().zip(b).fold(0, |all, (a, b)| all | (a ^ b));
    a.len() == b.len() && std::hint::black_box(differing) == 0
}

impl Tokens {
    /// Room for `size` good and as many bad tokens; when it is full, `prune` are dropped: those
    /// that were not asked for for the longest.
    pub fn new(size: usize, prune: usize) -> Tokens {
        Tokens {
            size,
            prune: prune.clamp(1, size.max(1)),
            hasher: RandomState::new(),
            good: RwLock::default(),
            bad: RwLock::default(),
            turn: AtomicU64::new(0),
        }
    }

    /// What is known of a token now, in seconds since 1970.
    pub fn find(&self, token: &[u8], now_s: f64) -> Option<Found> {
        let key = self.hasher.hash_one(token);
        {
            let good = self.good.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(entry) = good.get(&key).filter(|entry| same(&entry.token, token)) {
                if now_s < entry.not_before_s || now_s >= entry.not_after_s {
                    return None;
                }
                entry.used.store(self.turn.load(Relaxed), Relaxed);
                return Some(Found::Good(entry.service, entry.shown.clone()));
            }
        }
        let bad = self.bad.read().unwrap_or_else(PoisonError::into_inner);
        bad.get(&key).filter(|known| same(known, token)).map(|_| Found::Bad)
    }

    /// Keeps a good token from the first until before the second moment.
    pub fn admit(
        &self,
        token: &[u8],
        service: usize,
        (not_before_s, not_after_s): (f64, f64),
        now_s: f64,
        shown: Shown,
    ) {
        if self.size == 0 || now_s >= not_after_s {
            return;
        }
        let turn = self.turn.fetch_add(1, Relaxed) + 1;
        let mut good = self.good.write().unwrap_or_else(PoisonError::into_inner);
        if good.len() >= self.size {
            good.retain(|_, entry| now_s < entry.not_after_s);
        }
        if good.len() >= self.size {
            let mut turns: Vec<u64> = good.values().map(|e| e.used.load(Relaxed)).collect();
            let last = self.prune.min(turns.len()) - 1;
            let (_, &mut oldest, _) = turns.select_nth_unstable(last);
            let mut left = self.prune;
            good.retain(|_, entry| {
                let drop = left > 0 && entry.used.load(Relaxed) <= oldest;
                left -= usize::from(drop);
                !drop
            });
        }
        let used = AtomicU64::new(turn);
        let token: Box<[u8]> = token.into();
        let key = self.hasher.hash_one(&*token);
        let entry = Entry { token, service, not_before_s, not_after_s, shown, used };
        good.insert(key, entry);
    }

    /// Keeps a token that is bad whatever the time is.
    pub fn refuse(&self, token: &[u8]) {
        if self.size == 0 {
            return;
        }
        let key = self.hasher.hash_one(token);
        let mut bad = self.bad.write().unwrap_or_else(PoisonError::into_inner);
        if bad.len() >= self.size {
            let mut left = self.prune;
            bad.retain(|_, _| {
                let drop = left > 0;
                left -= usize::from(drop);
                !drop
            });
        }
        bad.insert(key, token.into());
    }

    /// Good and bad tokens that are kept.
    pub fn counts(&self) -> (usize, usize) {
        let good = self.good.read().unwrap_or_else(PoisonError::into_inner).len();
        (good, self.bad.read().unwrap_or_else(PoisonError::into_inner).len())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_token_is_good_for_its_time_and_for_its_service() {
        let tokens = Tokens::new(10, 1);
        tokens.admit(b"a.b.c", 3, (100.0, 200.0), 150.0, None);
        assert_eq!(tokens.find(b"a.b.c", 100.0), Some(Found::Good(3, None)));
        assert_eq!(tokens.find(b"a.b.c", 199.9), Some(Found::Good(3, None)));
        assert_eq!(tokens.find(b"a.b.c", 200.0), None);
        assert_eq!(tokens.find(b"a.b.c", 99.9), None); // the clock stepped back
        for other in [&b"a.b.d"[..], b"a.b.", b"a.b.cc", b""] {
            assert_eq!(tokens.find(other, 150.0), None);
        }
        tokens.admit(b"late", 0, (0.0, 150.0), 150.0, None);
        assert_eq!(tokens.counts(), (1, 0));
    }

    #[test]
    fn the_ones_that_are_not_asked_for_go_first() {
        let tokens = Tokens::new(10, 3);
        let name = |n: u8| [b't', n];
        for n in 0..10 {
            tokens.admit(&name(n), 0, (0.0, 1e9), 1.0, None);
        }
        for n in [0, 1, 2] {
            assert!(tokens.find(&name(n), 1.0).is_some());
        }
        tokens.admit(&name(10), 0, (0.0, 1e9), 1.0, None);
        let kept: Vec<u8> = (0..11).filter(|&n| tokens.find(&name(n), 1.0).is_some()).collect();
        assert_eq!(kept, [0, 1, 2, 6, 7, 8, 9, 10]);
    }

    #[test]
    fn what_has_expired_goes_before_anything_else() {
        let tokens = Tokens::new(4, 4);
        for n in 0..4u8 {
            tokens.admit(&[n], 0, (0.0, if n == 0 { 10.0 } else { 1e9 }), 1.0, None);
        }
        tokens.admit(b"new", 0, (0.0, 1e9), 11.0, None);
        assert_eq!(tokens.counts().0, 4);
    }

    #[test]
    fn bad_tokens_drive_no_good_one_out() {
        let tokens = Tokens::new(8, 2);
        tokens.admit(b"good", 1, (0.0, 1e9), 1.0, None);
        for n in 0..1000u32 {
            tokens.refuse(&n.to_be_bytes());
        }
        assert_eq!(tokens.find(b"good", 1.0), Some(Found::Good(1, None)));
        assert_eq!(tokens.find(&999u32.to_be_bytes(), 1.0), Some(Found::Bad));
        assert!(tokens.counts().1 <= 8);
    }

    #[test]
    fn a_size_of_zero_keeps_nothing() {
        let tokens = Tokens::new(0, 100);
        tokens.admit(b"good", 1, (0.0, 1e9), 1.0, None);
        tokens.refuse(b"bad");
        assert_eq!(tokens.counts(), (0, 0));
    }

    proptest! {
        #[test]
        fn it_never_grows_over_its_size_nor_answers_for_another_token(
            size in 1usize..20, prune in 0usize..30,
            steps in prop::collection::vec((0u8..40, 0usize..3, 0.0f64..100.0), 0..200),
        ) {
            let tokens = Tokens::new(size, prune);
            for (name, service, until) in steps {
                tokens.admit(&[name], usize::from(name) * 3 + service, (0.0, until), 10.0, None);
                prop_assert!(tokens.counts().0 <= size);
                if let Some(Found::Good(found, _)) = tokens.find(&[name], 10.0) {
                    prop_assert_eq!(found / 3, usize::from(name));
                }
            }
        }
    }
}
