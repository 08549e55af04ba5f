//! The addresses of watched Consul services, and the answers that can be given from them.
//!
//! Who watches puts a set here for each key (what Consul is asked, see
//! [`kojuto_core::membership`]) and says when Consul is away; who serves asks here first. A set is
//! good as long as its watch stands; once Consul is away it may be used for a while, and the
//! answer says so.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use kojuto_core::membership::{
    Asked, BODY_YES, Client, Flavour, Members, Question, body_no, body_problem, read,
};

use crate::http::{Quick, Reply, moved};

const STALE: HeaderName = HeaderName::from_static("x-consul-stale");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
/// How long it is remembered that a service has no instance.
const EMPTY_FOR: Duration = Duration::from_secs(5);
/// Services that are remembered so; who asks about more has the oldest forgotten.
const MOST_EMPTY: usize = 4096;

/// What is known of one key.
#[derive(Debug, Default)]
struct Known {
    /// `None` until the first answer, and when Consul has refused.
    members: Option<Arc<Members>>,
    /// Since when Consul is away.
    away: Option<Instant>,
}

#[derive(Debug)]
struct Watched {
    /// Milliseconds after the table's birth at which it was asked last.
    asked_ms: AtomicU64,
    known: RwLock<Known>,
}

/// Answers given so far.
#[derive(Debug, Default)]
pub struct Counts {
    /// The address is in the service.
    pub yes: AtomicU64,
    /// It is not.
    pub no: AtomicU64,
    /// Answers from a set that was known before Consul went away, `yes` and `no` alike.
    pub stale: AtomicU64,
    /// Requests for something else, wrong questions, missing headers.
    pub refused: AtomicU64,
}

/// What a request comes to.
pub enum Outcome {
    /// The answer.
    Reply(Reply),
    /// Nothing good is known of this key yet; with `once` it is not to be watched.
    Ask {
        /// See [`Question::key`].
        key: String,
        /// See [`Question::once`].
        once: bool,
    },
}

/// What a request was understood as.
enum Heard {
    /// A question, and the address that it is about.
    Question(Question, String),
    /// Something that is answered without a set.
    Reply(Reply),
}

/// See the module's description.
#[derive(Debug)]
pub struct Membership {
    client: Client,
    stale_limit: Duration,
    born: Instant,
    table: RwLock<HashMap<String, Arc<Watched>>>,
    /// Services that had no instance when they were asked about, and until when that is believed.
    empty: RwLock<HashMap<String, Instant>>,
    /// What was answered.
    pub counts: Counts,
}

impl Membership {
    /// An empty table; sets are used for `stale_limit` after Consul went away.
    pub fn new(client: Client, stale_limit: Duration) -> Membership {
        let born = Instant::now();
        Membership {
            client,
            stale_limit,
            born,
            table: RwLock::default(),
            empty: RwLock::default(),
            counts: Counts::default(),
        }
    }

    fn now_ms(&self) -> u64 {
        self.born.elapsed().as_millis() as u64
    }

    fn find(&self, key: &str) -> Option<Arc<Watched>> {
        self.table.read().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    /// Makes a place for a key.
    pub fn watch(&self, key: &str) {
        let asked_ms = AtomicU64::new(self.now_ms());
        let fresh = Arc::new(Watched { asked_ms, known: RwLock::default() });
        self.empty.write().unwrap_or_else(PoisonError::into_inner).remove(key);
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        table.entry(key.to_owned()).or_insert(fresh);
    }

    /// Forgets a key.
    pub fn unwatch(&self, key: &str) {
        self.table.write().unwrap_or_else(PoisonError::into_inner).remove(key);
    }

    /// Puts the addresses that Consul has told; whether they are others than before.
    pub fn put(&self, key: &str, members: Members) -> bool {
        let Some(watched) = self.find(key) else { return false };
        let mut known = watched.known.write().unwrap_or_else(PoisonError::into_inner);
        let changed = known.members.as_deref() != Some(&members);
        *known = Known { members: Some(Arc::new(members)), away: None };
        changed
    }

    /// Consul has told that the service has no instance; that is believed for a few seconds.
    pub fn put_empty(&self, key: &str) {
        let now = Instant::now();
        let mut empty = self.empty.write().unwrap_or_else(PoisonError::into_inner);
        if empty.len() >= MOST_EMPTY {
            empty.retain(|_, until| *until > now);
        }
        if empty.len() >= MOST_EMPTY {
            empty.clear(); // each is asked about once more
        }
        empty.insert(key.to_owned(), now + EMPTY_FOR);
    }

    fn is_empty(&self, key: &str) -> bool {
        let empty = self.empty.read().unwrap_or_else(PoisonError::into_inner);
        empty.get(key).is_some_and(|until| *until > Instant::now())
    }

    /// Consul is away from now on, if it was not already.
    pub fn away(&self, key: &str) {
        let Some(watched) = self.find(key) else { return };
        let mut known = watched.known.write().unwrap_or_else(PoisonError::into_inner);
        known.away.get_or_insert_with(Instant::now);
    }

    /// Consul has refused to tell: what was known before must not be used.
    pub fn refuse(&self, key: &str) {
        let Some(watched) = self.find(key) else { return };
        *watched.known.write().unwrap_or_else(PoisonError::into_inner) = Known::default();
    }

    /// How long nobody has asked about a key; `None` when it is not watched.
    pub fn idle(&self, key: &str) -> Option<Duration> {
        let asked = self.find(key)?.asked_ms.load(Relaxed);
        Some(Duration::from_millis(self.now_ms().saturating_sub(asked)))
    }

    /// How many addresses are known under a key, and for how long Consul has been away.
    pub fn state(&self, key: &str) -> Option<(Option<usize>, Option<Duration>)> {
        let watched = self.find(key)?;
        let known = watched.known.read().unwrap_or_else(PoisonError::into_inner);
        Some((known.members.as_ref().map(|m| m.len()), known.away.map(|since| since.elapsed())))
    }

    /// Answers a request, or names the key that is to be watched for it.
    pub fn ask(&self, head: &Parts, remote: &str) -> Outcome {
        let (question, address) = match self.hear(head, remote) {
            Heard::Question(question, address) => (question, address),
            Heard::Reply(reply) => return Outcome::Reply(reply),
        };
        let Some(watched) = self.find(&question.key) else {
            if self.is_empty(&question.key) {
                return Outcome::Reply(self.judge(&question, &address, &Members::default()));
            }
            return Outcome::Ask { key: question.key, once: question.once };
        };
        watched.asked_ms.store(self.now_ms(), Relaxed);
        let known = watched.known.read().unwrap_or_else(PoisonError::into_inner);
        let away = known.away.map(|since| since.elapsed());
        match (&known.members, away) {
            (Some(members), None) => Outcome::Reply(self.judge(&question, &address, members)),
            (Some(members), Some(away)) if away < self.stale_limit => {
                self.counts.stale.fetch_add(1, Relaxed);
                let reply = self.judge(&question, &address, members);
                Outcome::Reply(reply.with(STALE, HeaderValue::from(away.as_secs())))
            }
            _ => Outcome::Ask { key: question.key, once: question.once },
        }
    }

    /// Answers a request from addresses that are in no table.
    pub fn ask_of(&self, head: &Parts, remote: &str, members: &Members) -> Reply {
        match self.hear(head, remote) {
            Heard::Question(question, address) => self.judge(&question, &address, members),
            Heard::Reply(reply) => reply,
        }
    }

    fn hear(&self, head: &Parts, remote: &str) -> Heard {
        if let Some(moved) = moved(head) {
            return self.refused(moved);
        }
        let mut question = match read(head.uri.path(), head.uri.query().unwrap_or("")) {
            Asked::Question(question) => question,
            Asked::Live => return Heard::Reply(made(200, "OK\n").with(CONTENT_TYPE, TEXT)),
            Asked::Unknown => {
                let reply = made(404, "404 page not found\n").with(CONTENT_TYPE, TEXT);
                return self.refused(reply);
            }
            Asked::Wrong(why) => return self.refused(problem(400, &why.to_string())),
        };
        if !self.client.may_ask(remote) {
            return self.refused(problem(403, &format!("{remote} may not ask (--allow-from)")));
        }
        let named = question.address.take();
        let address = match (question.flavour, named) {
            (Flavour::Has, Some(address)) => Ok(address),
            (_, named) => {
                let headers = head.headers.get_all(self.client.header.name());
                let values = headers.iter().map(HeaderValue::as_bytes);
                self.client.address(remote, named.as_deref(), values)
            }
        };
        match address {
            Ok(address) => Heard::Question(question, address),
            Err(why) => self.refused(problem(403, &why.to_string())),
        }
    }

    fn refused(&self, reply: Reply) -> Heard {
        self.counts.refused.fetch_add(1, Relaxed);
        Heard::Reply(reply)
    }

    fn judge(&self, question: &Question, address: &str, members: &Members) -> Reply {
        let reply = if members.contains(address, &question.tags) {
            self.counts.yes.fetch_add(1, Relaxed);
            made(200, BODY_YES)
        } else {
            self.counts.no.fetch_add(1, Relaxed);
            let status = if question.flavour == Flavour::Auth { 403 } else { 404 };
            made(status, body_no(address, &question.service))
        };
        reply.with(CONTENT_TYPE, JSON)
    }
}

impl Quick for Membership {
    fn quick(&self, head: &Parts, remote: &str) -> Option<Reply> {
        match self.ask(head, remote) {
            Outcome::Reply(reply) => Some(reply),
            Outcome::Ask { .. } => None,
        }
    }
}

/// An answer that says what is wrong.
pub fn problem(status: u16, message: &str) -> Reply {
    made(status, body_problem(message)).with(CONTENT_TYPE, JSON)
}

fn made(status: u16, body: impl Into<bytes::Bytes>) -> Reply {
    let made = Reply::new(status, &[], body);
    made.unwrap_or_else(|_| unreachable!("a status of this file, and no header"))
}
