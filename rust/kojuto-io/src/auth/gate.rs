//! The decisions of a token gate (`auth_request` of nginx): whether the request is well formed,
//! whether its token is good, whether the path is the service's.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use hyper::StatusCode;
use hyper::header::{CACHE_CONTROL, HeaderMap, HeaderName, HeaderValue, WWW_AUTHENTICATE};
use hyper::http::request::Parts;
use kojuto_core::net::uri_path::{self, Allowed, Refusal};

use super::bearer::{NoToken, is_compact, single, token_of};
use super::tokens::{Found, Shown, Tokens};
use super::verify::{Judged, Signers, Verifier};
use crate::http::{Quick, Reply, moved};
use crate::log::{Log, unix_time_s};
use crate::{Error, Refused};

const URI: HeaderName = HeaderName::from_static("x-original-uri");
const METHOD: HeaderName = HeaderName::from_static("x-original-method");
const USER: HeaderName = HeaderName::from_static("x-deteco-user");

/// Refusals that are logged in a second; the rest are counted.
const LINES_PER_S: u64 = 100;
/// The most of a path that a log line shows.
const LOGGED_BYTES: usize = 256;

/// A path and the methods that may reach it.
#[derive(Clone, Debug)]
pub struct Rule {
    /// The path.
    pub path: Allowed,
    /// Upper-case names; empty for all.
    pub methods: Vec<String>,
}

/// Who may reach what.
#[derive(Clone)]
pub struct Service {
    /// Its name, the `sub` of its tokens.
    pub id: String,
    /// What it may reach.
    pub rules: Vec<Rule>,
    /// Who signs for it.
    pub signers: Signers,
    /// The headers of the answer that show its tokens' claims, as many as are shown.
    pub headers: Vec<HeaderName>,
}

/// Counters that go on when the configuration is read again.
#[derive(Debug, Default)]
pub struct GateStats {
    /// Requests that were allowed.
    pub allowed: AtomicU64,
    /// Requests with a good token for a path that is not the service's.
    pub forbidden: AtomicU64,
    /// Requests without a good token.
    pub unauthorized: AtomicU64,
    /// Requests whose token was known as good or bad.
    pub hits: AtomicU64,
    /// Refusals that were not logged because there were too many in that second.
    pub unlogged: AtomicU64,
    second: AtomicU64,
    lines: AtomicU64,
}

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// Without a good token.
    Token(String),
    /// The header is missing or there twice.
    Header(&'static str),
    /// The path.
    Path(Refusal),
    /// The path is right, the method is not.
    Method,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Why::Token(reason) => f.write_str(reason),
            Why::Header(name) => write!(f, "not exactly one {name} header"),
            Why::Path(refusal) => refusal.fmt(f),
            Why::Method => f.write_str("the method is not allowed for the path"),
        }
    }
}

/// One state of the configuration with the tokens that were checked under it.
pub struct Gate {
    endpoint: String,
    services: Vec<(Service, Reply)>,
    verifier: Verifier,
    log_allowed: bool,
    /// Tokens that were checked.
    pub tokens: Tokens,
    /// Counters.
    pub stats: Arc<GateStats>,
    log: Arc<Log>,
    texts: Texts,
}

struct Texts {
    ok: Reply,
    not_found: Reply,
    no_token: Reply,
    bad_token: Reply,
    forbidden: Reply,
}

impl Texts {
    fn new() -> Texts {
        let text = |status, body| {
            let uncached = HeaderValue::from_static("no-store");
            Reply::text(status, body).with(CACHE_CONTROL, uncached)
        };
        let challenge = |value| {
            let value = HeaderValue::from_static(value);
            text(StatusCode::UNAUTHORIZED, "Unauthorized\n").with(WWW_AUTHENTICATE, value)
        };
        Texts {
            ok: Reply::text(StatusCode::OK, "OK\n"),
            not_found: Reply::text(StatusCode::NOT_FOUND, "404 page not found\n"),
            // RFC 6750, 3.1: no error code when the request has no Bearer token at all.
            no_token: challenge("Bearer"),
            bad_token: challenge("Bearer error=\"invalid_token\""),
            forbidden: text(StatusCode::FORBIDDEN, "Forbidden\n"),
        }
    }
}

impl Gate {
    /// A gate without known tokens.
    ///
    /// # Errors
    /// [`Error::Refused`]: the name of a service cannot be the value of a header.
    pub fn new(
        endpoint: &str,
        services: Vec<Service>,
        tokens: Tokens,
        stats: Arc<GateStats>,
        log: Arc<Log>,
        log_allowed: bool,
    ) -> crate::Result<Gate> {
        let signers = services.iter().map(|s| (s.id.clone(), s.signers.clone())).collect();
        let answered = services.into_iter().map(|service| {
            let user = HeaderValue::from_bytes(service.id.as_bytes())
                .map_err(|_| Error::Refused(Refused::HeaderText(service.id.clone())))?;
            let reply = Reply::text(StatusCode::OK, "OK\n").with(USER, user);
            Ok((service, reply))
        });
        Ok(Gate {
            endpoint: endpoint.to_owned(),
            services: answered.collect::<crate::Result<_>>()?,
            verifier: Verifier::new(signers),
            log_allowed,
            tokens,
            stats,
            log,
            texts: Texts::new(),
        })
    }

    /// Whether the service may make the request whose original target and method these headers
    /// name.
    ///
    /// # Errors
    /// Why not.
    pub fn decide(&self, service: usize, headers: &HeaderMap) -> Result<(), Why> {
        let (service, _) =
            self.services.get(service).ok_or_else(|| Why::Token("no such service".to_owned()))?;
        let uri = single(headers, &URI).ok_or(Why::Header("X-Original-URI"))?.as_bytes();
        let under = |fits: &dyn Fn(&Rule) -> bool| {
            uri_path::check(uri, service.rules.iter().filter(|r| fits(r)).map(|rule| &rule.path))
        };
        match under(&|rule| rule.methods.is_empty()) {
            Ok(()) => return Ok(()),
            Err(why) if service.rules.iter().all(|rule| rule.methods.is_empty()) => {
                return Err(Why::Path(why));
            }
            Err(_) => under(&|_| true).map_err(Why::Path)?,
        }
        let method = single(headers, &METHOD).ok_or(Why::Header("X-Original-Method"))?;
        let fits = |known: &String| known.as_bytes() == method.as_bytes();
        under(&|rule| rule.methods.is_empty() || rule.methods.iter().any(fits))
            .map_err(|_| Why::Method)
    }

    /// The answer for a service that the token has named, with the claims that are shown.
    pub fn answer(&self, service: usize, shown: &Shown, headers: &HeaderMap) -> Reply {
        match (self.decide(service, headers), self.services.get(service)) {
            (Ok(()), Some((service, reply))) => {
                self.stats.allowed.fetch_add(1, Relaxed);
                if self.log_allowed {
                    let line = Log::line("info", "Authorized").text("service", &service.id);
                    self.log.write_flood(&line.bytes("path", path_of(headers)).end());
                }
                let with = |reply: Reply, (name, value): &(HeaderName, HeaderValue)| {
                    reply.with(name.clone(), value.clone())
                };
                shown.iter().flat_map(|shown| shown.iter()).fold(reply.clone(), with)
            }
            (decided, known) => {
                self.stats.forbidden.fetch_add(1, Relaxed);
                let why = decided.err().map(|why| why.to_string()).unwrap_or_default();
                let service = known.map_or("", |(service, _)| &service.id);
                self.note("Not allowed access", &why, service, headers);
                self.texts.forbidden.clone()
            }
        }
    }

    /// The headers for the texts of a token's claims that are shown.
    pub fn show(&self, service: usize, texts: &[Option<String>]) -> Shown {
        let (service, _) = self.services.get(service)?;
        let value = |text: &Option<String>| HeaderValue::from_bytes(text.as_ref()?.as_bytes()).ok();
        let pairs = service.headers.iter().zip(texts);
        let found: Vec<_> =
            pairs.filter_map(|(name, text)| Some((name.clone(), value(text)?))).collect();
        (!found.is_empty()).then(|| found.into())
    }

    /// What comes of a token that is not known yet.
    pub fn judge(&self, token: &[u8], now_s: f64) -> Judged {
        self.verifier.judge(token, now_s)
    }

    /// The answer to a token that the verifier refused, for the reason given.
    pub fn refuse(&self, why: &str, headers: &HeaderMap) -> Reply {
        self.stats.unauthorized.fetch_add(1, Relaxed);
        self.note("Failed to authorize JWT", why, "", headers);
        self.texts.bad_token.clone()
    }

    /// Logs a refusal, unless there were many in this second. Nothing of the token is shown, nor
    /// of the query, which may hold secrets.
    fn note(&self, message: &str, why: &str, service: &str, headers: &HeaderMap) {
        let (stats, now) = (&self.stats, unix_time_s() as u64);
        if stats.second.swap(now, Relaxed) != now {
            stats.lines.store(0, Relaxed);
        }
        if stats.lines.fetch_add(1, Relaxed) >= LINES_PER_S {
            stats.unlogged.fetch_add(1, Relaxed);
            return;
        }
        let path = path_of(headers);
        let mut line = Log::line("warn", message).text("error", why).text("errorVerbose", why);
        if !service.is_empty() {
            line = line.text("service", service);
        }
        let line = line.bytes("path", &path[..path.len().min(LOGGED_BYTES)]);
        self.log.write(&line.end());
    }

    fn of_token(&self, head: &Parts) -> Option<Reply> {
        let token = match token_of(&head.headers) {
            Ok(token) => token,
            Err(why) => {
                let refused = self.refuse(why.words(), &head.headers);
                let bare = matches!(why, NoToken::Missing | NoToken::OtherScheme);
                return Some(if bare { self.texts.no_token.clone() } else { refused });
            }
        };
        let Some(found) = self.tokens.find(token, unix_time_s()) else {
            // What is known has been looked at; only now the form is worth the time.
            if !is_compact(token) {
                let why = "the token is not three parts of base64url";
                return Some(self.refuse(why, &head.headers));
            }
            return self.of_new_token(token, &head.headers);
        };
        self.stats.hits.fetch_add(1, Relaxed);
        Some(match found {
            Found::Good(service, shown) => self.answer(service, &shown, &head.headers),
            Found::Bad => {
                self.stats.unauthorized.fetch_add(1, Relaxed);
                self.texts.bad_token.clone()
            }
        })
    }

    fn of_new_token(&self, token: &[u8], headers: &HeaderMap) -> Option<Reply> {
        let now_s = unix_time_s();
        match self.judge(token, now_s) {
            Judged::Unsure => None,
            Judged::Refused(why) => Some(self.refuse(&why, headers)),
            Judged::Bad(why) => {
                self.tokens.refuse(token);
                Some(self.refuse(&why, headers))
            }
            Judged::Good { service, life, shown } => {
                let shown = self.show(service, &shown);
                let life = (life.begins_s, life.ends_s);
                self.tokens.admit(token, service, life, now_s, shown.clone());
                Some(self.answer(service, &shown, headers))
            }
        }
    }
}

/// The path of the original URI, for the log.
fn path_of(headers: &HeaderMap) -> &[u8] {
    let uri = headers.get(&URI).map_or(&b""[..], |value| value.as_bytes());
    uri.split(|&byte| byte == b'?').next().unwrap_or_default()
}

impl Quick for Gate {
    fn quick(&self, head: &Parts, _remote: &str) -> Option<Reply> {
        let path = head.uri.path();
        if path == self.endpoint {
            return self.of_token(head);
        }
        if let Some(moved) = moved(head) {
            return Some(moved);
        }
        match uri_path::decoded(path).as_deref() {
            Some("/" | "/live") => Some(self.texts.ok.clone()),
            Some(path) if path == self.endpoint => self.of_token(head),
            _ => Some(self.texts.not_found.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::fd::AsRawFd;

    use super::*;

    /// A gate of one service, and what it logs while `work` runs.
    fn logged(work: impl FnOnce(&Gate)) -> String {
        let (mut read, write) = std::io::pipe().unwrap();
        let (log, thread) = Log::start(write.as_raw_fd(), crate::log::Detail::Usual).unwrap();
        let path = Allowed::new("/api").unwrap();
        let rules = vec![Rule { path, methods: Vec::new() }];
        let signers = Signers::default();
        let services = vec![Service { id: "svc".to_owned(), rules, signers, headers: Vec::new() }];
        let (tokens, stats) = (Tokens::new(10, 1), Arc::default());
        let gate = Gate::new("/auth", services, tokens, stats, Arc::clone(&log), true).unwrap();
        work(&gate);
        log.close();
        thread.join().unwrap();
        drop(write);
        let mut text = String::new();
        read.read_to_string(&mut text).unwrap();
        text
    }

    fn headers(fields: &[(HeaderName, &str)]) -> HeaderMap {
        let value = |text: &str| HeaderValue::from_str(text).unwrap();
        fields.iter().map(|(name, text)| (name.clone(), value(text))).collect()
    }

    #[test]
    fn a_hundred_refusals_of_a_second_are_logged_and_the_others_counted() {
        let (mut unlogged, mut attempt) = (0, 0);
        let text = logged(|gate| {
            let headers = headers(&[(URI, "/x")]);
            // All within one second, which may just be ending.
            loop {
                attempt += 1;
                gate.stats.second.store(0, Relaxed);
                let (second, before) = (unix_time_s() as u64, gate.stats.unlogged.load(Relaxed));
                for _ in 0..LINES_PER_S + 7 {
                    gate.refuse(&format!("attempt {attempt}."), &headers);
                }
                unlogged = gate.stats.unlogged.load(Relaxed) - before;
                if unix_time_s() as u64 == second {
                    break;
                }
                gate.stats.unlogged.store(0, Relaxed);
            }
            // Another second, another hundred.
            gate.stats.second.store(0, Relaxed);
            gate.refuse("another second", &headers);
            assert_eq!(gate.stats.unlogged.load(Relaxed), unlogged);
        });
        assert_eq!(unlogged, 7);
        assert_eq!(text.matches("\"error\":\"another second\"").count(), 1);
        let error = format!("\"error\":\"attempt {attempt}.\"");
        assert_eq!(text.matches(&error).count(), 100, "{}", text.lines().count());
    }

    #[test]
    fn a_line_shows_256_bytes_of_a_path_and_nothing_of_the_query() {
        let shown = |uri: &str| {
            let text = logged(|gate| drop(gate.refuse("why", &headers(&[(URI, uri)]))));
            let (_, path) = text.split_once("\"path\":\"").unwrap();
            path.split('"').next().unwrap().to_owned()
        };
        let path = |length: usize| format!("/{}", "p".repeat(length - 1));
        assert_eq!(shown(&(path(LOGGED_BYTES) + "?secret")), path(256));
        assert_eq!(shown(&path(LOGGED_BYTES + 1)), path(256));
    }
}
