//! The endpoint of a request: first a key for each target that is met, in bounded variety; once all
//! keys are there, their names.
//!
//! A key is `METHOD /path?query` with the path in its one form, in which ids that are certain stand as
//! `\0n}`, `\0hex24}` and so on: NUL, the kind, for decimal and hexadecimal digits how many there are,
//! and a brace. What an expression or a route has named is `METHOD \0=NAME`. A NUL of the log itself is
//! an escape by then. Keys of several machines and runs are the same bytes for the same request and
//! the same [`NamingOptions`].

mod matches;
mod routes;

use std::borrow::Cow;

pub use super::fold::Counted;
pub use super::path::query::QueryRule;

use self::matches::Matches;
use self::routes::Routes;
use super::fold::{Folding, NAMED};
use super::path::request::{self, Request};
use super::path::{one_form, query, without_host};
use super::shape;
use crate::Error;

/// The name of what is no request.
pub const NO_REQUEST: &[u8] = b"(no request)";

/// How endpoints are named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamingOptions {
    /// Ids and names of places with many of them are folded.
    pub fold: bool,
    /// A place with more names is folded.
    pub fold_above: u64,
    /// What stays of a query.
    pub query: QueryRule,
    /// The parameters that stay in any case, with their values.
    pub query_values: Vec<Box<[u8]>>,
    /// Regular expressions, several in one with commas between them, each with its name behind `=>` if
    /// it has another one than itself.
    pub matches: Vec<String>,
    /// Lines with templates of paths, as frameworks print them.
    pub routes: Vec<String>,
}

impl Default for NamingOptions {
    fn default() -> NamingOptions {
        NamingOptions {
            fold: true,
            fold_above: 50,
            query: QueryRule::Drop,
            query_values: Vec::new(),
            matches: Vec::new(),
            routes: Vec::new(),
        }
    }
}

/// Names endpoints.
#[derive(Debug, Clone)]
pub struct Naming {
    fold: bool,
    folding: Folding,
    query: QueryRule,
    query_values: Vec<Box<[u8]>>,
    matches: Matches,
    routes: Routes,
}

/// A path with more segments ends in `/**`.
const MAX_SEGMENTS: usize = 8;

impl Naming {
    /// Names endpoints in that way; an error if an expression or the routes cannot be read.
    pub fn new(options: &NamingOptions) -> Result<Naming, Error> {
        Ok(Naming {
            fold: options.fold,
            folding: Folding::new(options.fold_above),
            query: options.query,
            query_values: options.query_values.clone(),
            matches: Matches::new(&options.matches)?,
            routes: Routes::new(&options.routes)?,
        })
    }

    /// Adds the key of a request whose method and target are in fields of their own; the method is
    /// empty or `-` where the log has none.
    pub fn key(&self, method: &[u8], target: &[u8], out: &mut Vec<u8>) {
        self.push(request::of_fields(method, target), out);
    }

    /// Adds the key of a request line.
    pub fn key_of_request(&self, line: &[u8], out: &mut Vec<u8>) {
        self.push(request::of_line(line), out);
    }

    /// The names of the keys, in their order. Equal ones are one endpoint. They do not hang on the
    /// order of the keys, but on what each stands for: that must be all of it.
    pub fn fold(&self, keys: &[Counted<'_>]) -> Vec<Box<[u8]>> {
        if self.fold {
            return self.folding.names(keys);
        }
        keys.iter().map(|counted| super::fold::as_it_is(counted.key).into()).collect()
    }

    fn push(&self, request: Option<Request<'_>>, out: &mut Vec<u8>) {
        let Some(Request { method, target }) = request else {
            out.extend_from_slice(NO_REQUEST);
            return;
        };
        out.extend_from_slice(method);
        if method == b"CONNECT" {
            return;
        }
        if !method.is_empty() {
            out.push(b' ');
        }
        if target == b"*" {
            out.push(b'*');
            return;
        }
        let (path, query) = cut(without_host(target));
        let path = one_form(path);
        if !self.matches.is_empty() && self.push_match(&path, query, out) {
            return;
        }
        if let Some(route) = self.routes.find(method, &path) {
            out.extend_from_slice(NAMED);
            out.extend_from_slice(route);
        } else if self.fold {
            push_path(&path, out);
        } else {
            out.extend_from_slice(&path);
        }
        self.push_query(query, out);
    }

    fn push_query(&self, query: &[u8], out: &mut Vec<u8>) {
        query::push(query, self.query, &self.query_values, out);
    }

    /// Adds the name that an expression gives to a path and what stays of its query, if one does.
    fn push_match(&self, path: &[u8], query: &[u8], out: &mut Vec<u8>) -> bool {
        let mut text = Cow::Borrowed(path);
        if self.query != QueryRule::Drop || !self.query_values.is_empty() {
            self.push_query(query, text.to_mut());
        }
        let Some(name) = self.matches.find(&text) else { return false };
        out.extend_from_slice(NAMED);
        out.extend_from_slice(name);
        true
    }
}

/// Path and query, without a fragment.
fn cut(target: &[u8]) -> (&[u8], &[u8]) {
    let end = memchr::memchr(b'#', target).unwrap_or(target.len());
    let target = &target[..end];
    match memchr::memchr(b'?', target) {
        Some(at) => (&target[..at], &target[at + 1..]),
        None => (target, b""),
    }
}

/// Adds a path in its one form, with its certain ids as variables.
fn push_path(path: &[u8], out: &mut Vec<u8>) {
    if path == b"/" {
        out.push(b'/');
        return;
    }
    for (at, segment) in path[1..].split(|&byte| byte == b'/').enumerate() {
        if at == MAX_SEGMENTS {
            out.extend_from_slice(b"/**");
            return;
        }
        out.push(b'/');
        push_segment(segment, out);
    }
}

fn push_segment(segment: &[u8], out: &mut Vec<u8>) {
    if let Some(id) = shape::id(segment) {
        out.extend_from_slice(&segment[..id.sign]);
        super::fold::push_variable(id.kind, id.digits, out);
        out.extend_from_slice(&segment[segment.len() - id.extension..]);
        return;
    }
    let mut done = 0;
    for part in shape::hashed_parts(segment) {
        out.extend_from_slice(&segment[done..part.start]);
        super::fold::push_variable(shape::Kind::Hash, 0, out);
        done = part.end;
    }
    out.extend_from_slice(&segment[done..]);
}

#[cfg(test)]
mod tests;
