//! Signed tokens (JWT) without the signature: their form and their claims.
//!
//! The verifier in Python says what is refused and with which words; what is read here is judged
//! as there, or left to it. Sources: RFC 7515, 7519, 8725.

mod claims;
mod form;
mod json;

pub use claims::{Life, Policy, subject};
pub use form::{MAX_TOKEN_CHARS, Parts, is_name};
pub use json::{Object, Value};

/// What is said of a token that is not good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is refused, for a reason that holds nothing of the token.
    Refused(String),
    /// It is not for this reader to say.
    Unsure,
}

impl Verdict {
    fn refused<T>(why: &str) -> Result<T, Verdict> {
        Err(Verdict::Refused(why.to_owned()))
    }
}
