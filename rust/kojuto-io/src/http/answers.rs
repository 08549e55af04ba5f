//! A table of prepared answers.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};
use std::time::Instant;

use hyper::Method;
use hyper::http::request::Parts;

use super::message::{Quick, Reply};

/// Prepared answers to `GET` and `HEAD`, by the exact target of the request.
#[derive(Debug, Default)]
pub struct Answers {
    table: RwLock<HashMap<String, Entry>>,
}

/// An answer and the end of its life.
#[derive(Clone, Debug)]
pub struct Entry {
    /// What is answered.
    pub reply: Reply,
    /// Until when; `None` for as long as it stands in the table.
    pub until: Option<Instant>,
}

impl Answers {
    /// Replaces the whole table at once.
    pub fn replace(&self, entries: HashMap<String, Entry>) {
        let old = std::mem::replace(
            &mut *self.table.write().unwrap_or_else(PoisonError::into_inner),
            entries,
        );
        drop(old); // after the lock is free again
    }

    /// Adds entries, or puts them in the place of those with the same target, all at once.
    pub fn extend(&self, entries: HashMap<String, Entry>) {
        self.table.write().unwrap_or_else(PoisonError::into_inner).extend(entries);
    }

    /// Takes entries out, all at once.
    pub fn remove(&self, targets: &[String]) {
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        for target in targets {
            table.remove(target);
        }
    }

    /// Entries in the table; those whose life has ended are taken out.
    pub fn count(&self) -> usize {
        let now = Instant::now();
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        table.retain(|_, entry| entry.until.is_none_or(|until| now < until));
        table.len()
    }
}

impl Quick for Answers {
    fn quick(&self, head: &Parts, _remote: &str) -> Option<Reply> {
        if head.method != Method::GET && head.method != Method::HEAD {
            return None;
        }
        if head.uri.scheme().is_some() {
            return None;
        }
        let target = head.uri.path_and_query()?.as_str();
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        let entry = table.get(target)?;
        match entry.until {
            Some(until) if Instant::now() >= until => None,
            _ => Some(entry.reply.clone()),
        }
    }
}
