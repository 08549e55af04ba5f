//! The token of a request.

use hyper::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use kojuto_core::token::MAX_TOKEN_CHARS as TOKEN_BYTES;

/// Why a request has no token that could be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoToken {
    /// There is no Authorization header.
    Missing,
    /// Its scheme is not Bearer.
    OtherScheme,
    /// It has the scheme and nothing behind it.
    Cut,
    /// There is more than one.
    Repeated,
    /// The token is over [`TOKEN_BYTES`] bytes.
    TooLong,
}

impl NoToken {
    pub(super) fn words(self) -> &'static str {
        match self {
            NoToken::Missing => "no Authorization header",
            NoToken::OtherScheme | NoToken::Cut => "the Authorization header is not a Bearer token",
            NoToken::Repeated => "more than one Authorization header",
            NoToken::TooLong => "the token is over 16384 characters",
        }
    }
}

/// The one value of a header.
pub(super) fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => Some(value),
        _ => None,
    }
}

/// The token of `Authorization: Bearer TOKEN` (RFC 6750, 2.1), or of `Authorization: TOKEN`.
///
/// # Errors
/// Why there is none.
pub(super) fn token_of(headers: &HeaderMap) -> Result<&[u8], NoToken> {
    if !headers.contains_key(AUTHORIZATION) {
        return Err(NoToken::Missing);
    }
    let value = single(headers, &AUTHORIZATION).ok_or(NoToken::Repeated)?.as_bytes();
    let scheme = value.split(|&byte| byte == b' ').next().unwrap_or_default();
    if !scheme.eq_ignore_ascii_case(b"bearer") {
        let bare = scheme.len() == value.len() && value.contains(&b'.');
        return match value.len() {
            _ if !bare => Err(NoToken::OtherScheme),
            0..=TOKEN_BYTES => Ok(value),
            _ => Err(NoToken::TooLong),
        };
    }
    match value.get(scheme.len() + 1..) {
        Some(token) if token.len() > TOKEN_BYTES => Err(NoToken::TooLong),
        Some(token) => Ok(token),
        None => Err(NoToken::Cut),
    }
}

/// Whether a token has the form of a compact JWS (RFC 7515, 7.1): three parts of base64url.
pub(super) fn is_compact(token: &[u8]) -> bool {
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
    use super::*;

    fn headers(fields: &[(HeaderName, &str)]) -> HeaderMap {
        let value = |text: &str| HeaderValue::from_str(text).unwrap();
        fields.iter().map(|(name, text)| (name.clone(), value(text))).collect()
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
        for value in ["", "Basic dTpw", "Bearera", "abc", " Bearer x", "JWT a.b.c", "Bearer:a"] {
            assert_eq!(why(value), Err(NoToken::OtherScheme), "{value:?}");
        }
        assert_eq!(why("Bearer"), Err(NoToken::Cut));
        assert_eq!((why("bearer "), why("BEARER a.b.c")), (Ok(0), Ok(5)));
        assert_eq!((why("a.b.c"), why("Bearer  a.b.c")), (Ok(5), Ok(6)));
        assert_eq!(why(&format!("a.b.{}", "c".repeat(TOKEN_BYTES))), Err(NoToken::TooLong));
        assert_eq!(token_of(&HeaderMap::new()), Err(NoToken::Missing));
        let mut twice = headers(&[(AUTHORIZATION, "Bearer x")]);
        twice.append(AUTHORIZATION, HeaderValue::from_static("Bearer x"));
        assert_eq!(token_of(&twice), Err(NoToken::Repeated));
    }
}
