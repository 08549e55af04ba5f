//! By what right tunnels are open, in the words of whoever has judged it and may do so again.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

#[derive(Default)]
struct Known {
    last: u64,
    texts: HashMap<u64, Arc<str>>,
}

/// The rights of all tunnels that were handed over with one and are open, each under a number of
/// its own.
#[derive(Default)]
pub(in crate::relay) struct Grants(Mutex<Known>);

/// The right of one tunnel, known until this is dropped.
pub(super) struct Grant {
    known: Arc<Grants>,
    pub(super) number: u64,
}

impl Grants {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those of the tunnels that are open now.
    pub(in crate::relay) fn all(&self) -> Vec<(u64, Arc<str>)> {
        self.lock().texts.iter().map(|(number, text)| (*number, Arc::clone(text))).collect()
    }

    /// Forgets some: their tunnels are about to end.
    pub(in crate::relay) fn forget(&self, numbers: &HashSet<u64>) {
        self.lock().texts.retain(|number, _| !numbers.contains(number));
    }
}

impl Grant {
    pub(super) fn new(known: &Arc<Grants>, text: String) -> Grant {
        let mut held = known.lock();
        held.last += 1;
        let number = held.last;
        held.texts.insert(number, text.into());
        drop(held);
        Grant { known: Arc::clone(known), number }
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        let mut held = self.known.lock();
        held.texts.remove(&self.number);
        if held.texts.is_empty() {
            held.texts = HashMap::new(); // the memory of the peak
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_right_is_known_as_long_as_its_tunnel_has_it() {
        let known = Arc::<Grants>::default();
        let one = Grant::new(&known, "one".to_owned());
        let two = Grant::new(&known, "two".to_owned());
        let mut all = known.all();
        all.sort();
        assert_eq!(all, [(one.number, "one".into()), (two.number, "two".into())]);
        let number = one.number;
        drop(one);
        assert_eq!(known.all(), [(two.number, "two".into())]);
        known.forget(&[two.number].into());
        assert!(known.all().is_empty());
        drop(two);
        let three = Grant::new(&known, "one".to_owned());
        assert_ne!(three.number, number, "a number is used once");
    }
}
