//! Whether a request's URI lies under a path in every way that somebody could read it.
//!
//! nginx, a proxy in between and the backend each decode, merge slashes and resolve dots in their
//! own way, one after the other. A URI is allowed when each of its [`readings`] lies under one of
//! the paths: as it stands, decoded once and twice, with `\` for a slash or not, with `;…` cut off
//! a segment or not, dots resolved or not, slashes merged or not, and with characters in their
//! compatibility forms or not.

use std::fmt;

use crate::error::{Argument, Error, PathFault};

mod readings;
#[cfg(test)]
mod tests;

/// The longest URI that is looked at.
pub const URI_BYTES: usize = 8192;

/// Why a URI is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// Longer than [`URI_BYTES`].
    TooLong,
    /// It does not begin with exactly one slash.
    Form,
    /// A control character or blank, as it is or encoded.
    Character,
    /// A `#`, which no client sends.
    Fragment,
    /// `%` without two hexadecimal digits.
    Escape,
    /// The decoded bytes are no UTF-8 (overlong forms are none).
    Utf8,
    /// Decoded once more, it has a control character or is no UTF-8.
    Twice,
    /// There are too many ways to read it.
    Many,
    /// A reading leads above the root.
    Leaves,
    /// It lies under none of the paths.
    Outside,
    /// It lies under one of the paths, but can be read as a path that does not.
    Reading,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refusal::TooLong => "the URI is over 8192 bytes",
            Refusal::Form => "the URI does not begin with one slash",
            Refusal::Character => "a control character or blank in the URI",
            Refusal::Fragment => "a # in the URI",
            Refusal::Escape => "a % without two hexadecimal digits in the path",
            Refusal::Utf8 => "the decoded path is not UTF-8",
            Refusal::Twice => "the path decoded twice has a control character or is not UTF-8",
            Refusal::Many => "the path can be read in too many ways",
            Refusal::Leaves => "the path can be read as one above the root",
            Refusal::Outside => "the path lies under none that is allowed",
            Refusal::Reading => "the path can be read as one that lies under none that is allowed",
        })
    }
}

/// A path that may be reached, with all below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allowed {
    /// As it was written, with one slash before it and none behind it; empty for everything.
    written: String,
    /// The same as [`opened`]; what a request is compared with.
    path: String,
    /// It has escapes: a request has to have the same ones.
    escaped: bool,
    /// No reader changes it.
    plain: bool,
}

impl Allowed {
    /// Reads `/api/echo`; a missing slash at the beginning and one more at the end mean nothing.
    /// `%XX` is an escape where all are such.
    ///
    /// # Errors
    /// [`Error::Argument`]: it is no path.
    pub fn new(text: &str) -> Result<Allowed, Error> {
        let path = || text.to_owned();
        let refuse = |fault| Err(Error::Argument(Argument::Path { path: path(), fault }));
        if text.len() > URI_BYTES {
            return refuse(PathFault::TooLong(URI_BYTES));
        }
        if let Some(odd) = text.chars().find(|c| c.is_control()) {
            return refuse(PathFault::Character(odd));
        }
        let mut written = text.trim_end_matches('/').to_owned();
        if !written.is_empty() && !written.starts_with('/') {
            written.insert(0, '/');
        }
        let (path, escaped) = if !written.contains('%') {
            (written.clone(), false)
        } else if unescape(written.as_bytes(), |_| true).is_none() {
            (written.replace('%', "%25"), false) // not all are escapes: each % stands for itself
        } else {
            match opened(written.as_bytes()) {
                Ok(path) => (path, true),
                Err(_) => return refuse(PathFault::Escapes),
            }
        };
        let plain = readings::is_plain(&path);
        Ok(Allowed { path, written, escaped, plain })
    }

    /// As it was written.
    pub fn written(&self) -> &str {
        if self.written.is_empty() { "/" } else { &self.written }
    }
}

/// Whether each reading of a raw request URI lies under one of the paths.
///
/// # Errors
/// Why not.
pub fn check<'a>(uri: &[u8], paths: impl IntoIterator<Item = &'a Allowed>) -> Result<(), Refusal> {
    let raw = path_of(uri)?;
    let text = opened(raw)?;
    let fits = |path: &&Allowed| !path.escaped || lies_under(raw, path.written.as_bytes());
    let allowed: Vec<&Allowed> = paths.into_iter().filter(fits).collect();
    let mut why = Refusal::Outside;
    readings::each(text, &allowed, |reading| {
        let under = |path: &str| lies_under(reading.text.as_bytes(), path.as_bytes());
        let lies = match &reading.allowed {
            Some(paths) => paths.iter().any(|path| under(path)),
            None => allowed.iter().any(|path| under(&path.path)),
        };
        if lies {
            why = Refusal::Reading; // of the next one that does not
            return Ok(());
        }
        Err(why)
    })
}

/// Every reading of a raw request URI, the first as it stands.
///
/// # Errors
/// It is no URI that a client sends.
pub fn readings(uri: &[u8]) -> Result<Vec<String>, Refusal> {
    let text = opened(path_of(uri)?)?;
    let mut found: Vec<String> = Vec::new();
    readings::each(text, &[], |reading| {
        if !found.contains(&reading.text) {
            found.push(reading.text.clone());
        }
        Ok(())
    })?;
    Ok(found)
}

/// A path decoded once; `None` when its escapes are broken or no text.
pub fn decoded(path: &str) -> Option<String> {
    String::from_utf8(unescape(path.as_bytes(), |_| true)?).ok()
}

fn lies_under(path: &[u8], allowed: &[u8]) -> bool {
    let allowed = allowed.strip_suffix(b"/").unwrap_or(allowed);
    path.strip_prefix(allowed).is_some_and(|rest| matches!(rest.first(), None | Some(b'/')))
}

/// The path of a raw request URI, when it has a form that clients send.
fn path_of(uri: &[u8]) -> Result<&[u8], Refusal> {
    if uri.len() > URI_BYTES {
        return Err(Refusal::TooLong);
    }
    if uri.first() != Some(&b'/') || uri.get(1) == Some(&b'/') {
        return Err(Refusal::Form);
    }
    let end = uri.iter().position(|&byte| byte == b'?').unwrap_or(uri.len());
    match uri.iter().find(|&&byte| byte <= b' ' || byte == 0x7f || byte == b'#') {
        Some(b'#') => Err(Refusal::Fragment),
        Some(_) => Err(Refusal::Character),
        None => Ok(&uri[..end]),
    }
}

/// A raw path without the escapes that a client has to write: those of bytes that may not stand in
/// a path for themselves. Escapes of others stay, since not everybody takes `%61` for an `a`.
fn opened(raw: &[u8]) -> Result<String, Refusal> {
    if raw.is_ascii() && !raw.contains(&b'%') {
        return String::from_utf8(raw.to_vec()).map_err(|_| Refusal::Utf8);
    }
    let whole = unescape(raw, |_| true).ok_or(Refusal::Escape)?;
    let whole = String::from_utf8(whole).map_err(|_| Refusal::Utf8)?;
    if has_control(&whole) {
        return Err(Refusal::Character);
    }
    let opened = unescape(raw, |byte| !stands_for_itself(byte)).ok_or(Refusal::Escape)?;
    String::from_utf8(opened).map_err(|_| Refusal::Utf8)
}

fn has_control(text: &str) -> bool {
    text.chars().any(char::is_control)
}

/// RFC 3986, 3.3: a byte of a path that needs no escape; `%`, which is one, too.
fn stands_for_itself(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/%".contains(&byte)
}

/// Undoes the escapes of the wanted bytes; `None` when one is broken.
fn unescape(raw: &[u8], wanted: impl Fn(u8) -> bool) -> Option<Vec<u8>> {
    let digit = |at: usize| raw.get(at).and_then(|&byte| char::from(byte).to_digit(16));
    let (mut bytes, mut at) = (Vec::with_capacity(raw.len()), 0);
    while let Some(&byte) = raw.get(at) {
        if byte != b'%' {
            bytes.push(byte);
            at += 1;
            continue;
        }
        let decoded = (digit(at + 1)? * 16 + digit(at + 2)?) as u8;
        if wanted(decoded) {
            bytes.push(decoded);
        } else {
            bytes.extend_from_slice(&raw[at..at + 3]);
        }
        at += 3;
    }
    Some(bytes)
}
