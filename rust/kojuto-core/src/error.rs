//! The crate's one error enum.

use std::fmt;

/// What a pure part can refuse.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// An argument is outside what the part can do; the text names the value and the bound.
    Argument(String),
    /// Bytes that others wrote are not of the expected form; the text says where and why.
    Malformed(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Argument(text) | Error::Malformed(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for Error {}
