//! The decisions of a token gate (`auth_request` of nginx) that need no signature checked: whether
//! the request is well formed, whether its token is known, whether the path is the service's.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use hyper::header::{
    ALLOW, AUTHORIZATION, CACHE_CONTROL, HeaderMap, HeaderName, HeaderValue, WWW_AUTHENTICATE,
};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode};
use kojuto_core::net::uri_path::{self, Allowed, Refusal};

use super::tokens::{Found, Tokens};
use crate::http::{Quick, Reply};
use crate::log::{Log, unix_time_s};
use crate::{Error, Refused};

const URI: HeaderName = HeaderName::from_static("x-original-uri");
const METHOD: HeaderName = HeaderName::from_static("x-original-method");
const USER: HeaderName = HeaderName::from_static("x-deteco-user");

/// The longest token that is looked at; the same as of the verifier in Python.
const TOKEN_BYTES: usize = 16_384;
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
#[derive(Clone, Debug)]
pub struct Service {
    /// Its name, the `sub` of its tokens.
    pub id: String,
    /// What it may reach.
    pub rules: Vec<Rule>,
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
    bad_method: Reply,
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
            not_found: Reply::text(StatusCode::NOT_FOUND, "Not found\n"),
            // RFC 6750, 3.1: no error code when the request has no Bearer token at all.
            no_token: challenge("Bearer"),
            bad_token: challenge("Bearer error=\"invalid_token\""),
            forbidden: text(StatusCode::FORBIDDEN, "Forbidden\n"),
            bad_method: text(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed\n")
                .with(ALLOW, HeaderValue::from_static("GET, HEAD")),
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
    ) -> crate::Result<Gate> {
        let answered = services.into_iter().map(|service| {
            let user = HeaderValue::from_bytes(service.id.as_bytes())
                .map_err(|_| Error::Refused(Refused::HeaderText(service.id.clone())))?;
            let reply = Reply::text(StatusCode::OK, "OK\n").with(USER, user);
            Ok((service, reply))
        });
        Ok(Gate {
            endpoint: endpoint.to_owned(),
            services: answered.collect::<crate::Result<_>>()?,
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
        under(&|rule| rule.methods.iter().any(|known| known.as_bytes() == method.as_bytes()))
            .map_err(|_| Why::Method)
    }

    /// The answer for a service that the token has named.
    pub fn answer(&self, service: usize, headers: &HeaderMap) -> Reply {
        match (self.decide(service, headers), self.services.get(service)) {
            (Ok(()), Some((_, reply))) => {
                self.stats.allowed.fetch_add(1, Relaxed);
                reply.clone()
            }
            (decided, known) => {
                self.stats.forbidden.fetch_add(1, Relaxed);
                let why = decided.err().map(|why| why.to_string()).unwrap_or_default();
                self.note(403, &why, known.map_or("", |(service, _)| &service.id), headers);
                self.texts.forbidden.clone()
            }
        }
    }

    /// The answer to a token that the verifier refused, for the reason given.
    pub fn refuse(&self, why: &str, headers: &HeaderMap) -> Reply {
        self.stats.unauthorized.fetch_add(1, Relaxed);
        self.note(401, why, "", headers);
        self.texts.bad_token.clone()
    }

    /// Logs a refusal, unless there were many in this second. Nothing of the token is shown, nor
    /// of the query, which may hold secrets.
    fn note(&self, status: u64, why: &str, user: &str, headers: &HeaderMap) {
        let (stats, now) = (&self.stats, unix_time_s() as u64);
        if stats.second.swap(now, Relaxed) != now {
            stats.lines.store(0, Relaxed);
        }
        if stats.lines.fetch_add(1, Relaxed) >= LINES_PER_S {
            stats.unlogged.fetch_add(1, Relaxed);
            return;
        }
        let uri = headers.get(&URI).map_or(&b""[..], |value| value.as_bytes());
        let path = uri.split(|&byte| byte == b'?').next().unwrap_or_default();
        let mut line = Log::line("info", "Refused").number("status", status).text("reason", why);
        if !user.is_empty() {
            line = line.text("user", user);
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
            return (!is_compact(token))
                .then(|| self.refuse("the token is not three parts of base64url", &head.headers));
        };
        self.stats.hits.fetch_add(1, Relaxed);
        Some(match found {
            Found::Good(service) => self.answer(service, &head.headers),
            Found::Bad => {
                self.stats.unauthorized.fetch_add(1, Relaxed);
                self.texts.bad_token.clone()
            }
        })
    }
}

impl Quick for Gate {
    fn quick(&self, head: &Parts, _remote: &str) -> Option<Reply> {
        let path = head.uri.path();
        let probe = path == "/" || path == "/live";
        if head.uri.scheme().is_some() || !(probe || path == self.endpoint) {
            return Some(self.texts.not_found.clone());
        }
        if head.method != Method::GET && head.method != Method::HEAD {
            return Some(self.texts.bad_method.clone());
        }
        if probe { Some(self.texts.ok.clone()) } else { self.of_token(head) }
    }
}

/// Why a request has no token that could be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NoToken {
    /// There is no Authorization header.
    Missing,
    /// Its scheme is not Bearer.
    OtherScheme,
    /// It has the scheme and nothing behind it.
    Cut,
    /// There is more than one.
    Repeated,
    /// The token is over [`TOKEN_BYTES`].
    TooLong,
}

impl NoToken {
    fn words(self) -> &'static str {
        match self {
            NoToken::Missing => "no Authorization header",
            NoToken::OtherScheme | NoToken::Cut => "the Authorization header is not a Bearer token",
            NoToken::Repeated => "more than one Authorization header",
            NoToken::TooLong => "the token is over 16384 characters",
        }
    }
}

/// The one value of a header.
fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => Some(value),
        _ => None,
    }
}

/// The token of `Authorization: Bearer TOKEN` (RFC 6750, 2.1).
///
/// # Errors
/// Why there is none.
fn token_of(headers: &HeaderMap) -> Result<&[u8], NoToken> {
    if !headers.contains_key(AUTHORIZATION) {
        return Err(NoToken::Missing);
    }
    let value = single(headers, &AUTHORIZATION).ok_or(NoToken::Repeated)?.as_bytes();
    let scheme = value.split(|&byte| byte == b' ').next().unwrap_or_default();
    if !scheme.eq_ignore_ascii_case(b"bearer") {
        return Err(NoToken::OtherScheme);
    }
    match value.get(scheme.len() + 1..) {
        Some(token) if token.len() > TOKEN_BYTES => Err(NoToken::TooLong),
        Some(token) => Ok(token),
        None => Err(NoToken::Cut),
    }
}

/// Whether a token has the form of a compact JWS (RFC 7515, 7.1): three parts of base64url.
fn is_compact(token: &[u8]) -> bool {
    let (mut dots, mut length) = (0, 0);
    for &byte in token {
        match byte {
            b'.' if length > 0 => {
                dots += 1;
                length = 0;
            }
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => length += 1,
            _ => return false,
        }
    }
    dots == 2 && length > 0
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::fd::AsRawFd;

    use super::*;

    /// A gate of one service, and what it logs while `work` runs.
    fn logged(work: impl FnOnce(&Gate)) -> String {
        let (mut read, write) = std::io::pipe().unwrap();
        let (log, thread) = Log::start(write.as_raw_fd(), false).unwrap();
        let path = Allowed::new("/api").unwrap();
        let rules = vec![Rule { path, methods: Vec::new() }];
        let services = vec![Service { id: "svc".to_owned(), rules }];
        let tokens = Tokens::new(10, 1);
        let gate = Gate::new("/auth", services, tokens, Arc::default(), Arc::clone(&log)).unwrap();
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
        let mut unlogged = 0;
        let text = logged(|gate| {
            let headers = headers(&[(URI, "/x")]);
            // All within one second, which may just be ending.
            loop {
                gate.stats.second.store(0, Relaxed);
                let (second, before) = (unix_time_s() as u64, gate.stats.unlogged.load(Relaxed));
                for _ in 0..LINES_PER_S + 7 {
                    gate.refuse("why", &headers);
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
        assert_eq!(text.matches("another second").count(), 1);
        // What an attempt that ran over a second's end has logged comes before.
        assert_eq!(text.matches("\"why\"").count() % 100, 0, "{}", text.lines().count());
    }

    #[test]
    fn a_token_has_16384_characters_at_most() {
        let token =
            |length: usize| headers(&[(AUTHORIZATION, &format!("Bearer {}", "t".repeat(length)))]);
        assert_eq!(token_of(&token(TOKEN_BYTES)), Ok("t".repeat(16_384).as_bytes()));
        let over = token(TOKEN_BYTES + 1);
        assert_eq!(token_of(&over), Err(NoToken::TooLong));
    }

    #[test]
    fn another_scheme_is_no_token_and_a_scheme_alone_is_a_cut_one() {
        let why = |value: &str| token_of(&headers(&[(AUTHORIZATION, value)])).map(<[u8]>::len);
        for value in ["", "Basic dTpw", "Bearera.b.c", "a.b.c", " Bearer x"] {
            assert_eq!(why(value), Err(NoToken::OtherScheme), "{value:?}");
        }
        assert_eq!(why("Bearer"), Err(NoToken::Cut));
        assert_eq!((why("bearer "), why("BEARER a.b.c")), (Ok(0), Ok(5)));
        assert_eq!(token_of(&HeaderMap::new()), Err(NoToken::Missing));
        let mut twice = headers(&[(AUTHORIZATION, "Bearer x")]);
        twice.append(AUTHORIZATION, HeaderValue::from_static("Bearer x"));
        assert_eq!(token_of(&twice), Err(NoToken::Repeated));
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
